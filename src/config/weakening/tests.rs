//! Pairs of configurations, and what is lost between them.

mod pinned;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tempfile::TempDir;

use super::*;
use crate::config;
use crate::config::file::ClientAuthMode;
use crate::config::load::Loaded;
use crate::config::model::{Action, Config};
use crate::pki::{Authority, RevocationList, Validity};

/// A directory with a server's certificate, two CAs, and lists of the first.
fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(dir.path().join(name), content).unwrap();
    let [one, two] = ["one", "two"].map(|name| Authority::new(name, Validity::days(20)).unwrap());
    let server = one
        .server(&["*.example", "example"], Validity::days(20))
        .unwrap();
    write("site.pem", (server.certificate + &server.key).as_bytes());
    write("one.pem", one.certificate().as_bytes());
    write("two.pem", two.certificate().as_bytes());
    let serials: Vec<_> = (0..2)
        .map(|_| {
            one.serial_of(
                one.client("c", Validity::days(20))
                    .unwrap()
                    .certificate
                    .as_bytes(),
            )
            .unwrap()
        })
        .collect();
    let day = Duration::from_secs(24 * 3600);
    for (name, serials, age) in [
        ("one.crl", &serials[..], 1),
        ("short.crl", &serials[..1], 0),
        ("older.crl", &serials[..], 2),
    ] {
        let mut list = RevocationList::default();
        for serial in serials {
            list.revoke(serial, None);
        }
        let validity = Validity {
            not_before: SystemTime::now() - day * age,
            ..Validity::days(20)
        };
        write(name, list.sign(&one, validity).unwrap().as_ref());
    }
    let renewed = Authority::new("one", Validity::days(20)).unwrap();
    write("renewed.pem", renewed.certificate().as_bytes());
    write(
        "renewed.crl",
        RevocationList::default()
            .sign(&renewed, Validity::days(20))
            .unwrap()
            .as_ref(),
    );
    dir
}

fn load(dir: &Path, text: &str) -> Loaded {
    let path = dir.join("snigate.toml");
    fs::write(&path, text).unwrap();
    config::load(&path)
}

fn valid(dir: &Path, text: &str) -> Config {
    let Loaded {
        config,
        diagnostics,
        ..
    } = load(dir, text);
    config.unwrap_or_else(|| panic!("{diagnostics:?}\n{text}"))
}

fn change(dir: &Path, old: &str, new: &str) -> Weakening {
    let [old, new] = [old, new].map(|text| Standing::of(&valid(dir, text)));
    compare(&old, &new)
}

const FRAME: &str =
    "[listeners.edge]\nbind = \"127.0.0.1:443\"\n[certificates.site]\ncert_file = \"site.pem\"\n";

/// A configuration of these tables, the first of which is `[routes.a]` for `a.example`.
fn with(route: &str, more: &str) -> String {
    format!("{FRAME}[routes.a]\nsni = \"a.example\"\nupstream = \"10.0.0.1:1\"\n{route}\n{more}\n")
}

fn terminate(tls: &str) -> String {
    with(
        "action = \"terminate\"\ntls = \"t\"",
        &format!("[tls.t]\n{tls}"),
    )
}

const MTLS: &str = "client_auth.ca_files = \"one.pem\"";

/// The fate of a change that no operator has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Served,
    Waits,
    Held,
}

fn fate(change: &Weakening) -> Fate {
    match (change.vanished.is_empty(), change.loosened.is_empty()) {
        (false, _) => Fate::Held,
        (true, false) => Fate::Waits,
        (true, true) => Fate::Served,
    }
}

#[test]
fn a_list_that_is_lost_is_told_with_whom_it_counts_for_where_that_is_not_known() {
    let dir = directory();
    let stranger = Authority::new("stranger", Validity::days(20)).unwrap();
    let list = RevocationList::default()
        .sign(&stranger, Validity::days(20))
        .unwrap();
    fs::write(dir.path().join("stranger.crl"), list).unwrap();
    let lists = |files: &str| terminate(&format!("{MTLS}\nclient_auth.crl_files = [{files}]"));
    let both = lists("\"one.crl\", \"stranger.crl\"");
    let unknown = "the revocation list of CN=stranger would go, which counts if CN=stranger is an intermediate whose \
        certificate comes with a client";
    let known = "the revocation list of CN=one would go";
    for (old, new, said) in [
        (both, lists("\"one.crl\""), unknown),
        (lists("\"one.crl\""), terminate(MTLS), known),
    ] {
        let held = change(dir.path(), &old, &new).vanished.on_one_line();
        assert!(held.ends_with(said), "{held}");
    }
}

#[test]
fn each_protection_that_goes_is_held_each_entry_waits_and_what_tightens_is_served() {
    let dir = directory();
    let pass = |keys: &str| with(&format!("action = \"passthrough\"\n{keys}"), "");
    let mtls = |keys: &str| terminate(&format!("{MTLS}\n{keys}"));
    let lists = |keys: &str| mtls(&format!("client_auth.crl_files = \"one.crl\"\n{keys}"));
    let route =
        |name: &str, keys: &str| format!("[routes.{name}]\nupstream = \"10.0.0.2:1\"\n{keys}\n");
    let any = route("any", "sni = \"*\"\naction = \"passthrough\"");
    let tls_to = |keys: &str| {
        let upstream = format!(
            "[upstreams.u]\nservers = \"example:1\"\n{keys}\n[trust.x]\nca_files = \"one.pem\"\n"
        );
        let route = "[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"u\"\n";
        format!("{FRAME}{route}{upstream}[trust.both]\nca_files = [\"one.pem\", \"two.pem\"]\n")
    };
    let pin = "\"".to_owned() + &"ab".repeat(32) + "\"";
    let (trusted, pinned) = (
        "tls = { trust = \"x\" }",
        format!("tls = {{ trust = \"x\", pin = {pin} }}"),
    );
    let on = |listeners: &str| {
        pass(listeners)
            + "[listeners.other]\nbind = \"127.0.0.1:444\"\n"
            + &route("b", "sni = \"b.example\"\naction = \"reject\"")
                .replace("upstream = \"10.0.0.2:1\"\n", "")
    };
    let reject =
        |more: &str| format!("{FRAME}[routes.a]\nsni = \"a.example\"\naction = \"reject\"\n{more}");
    let edge = |keys: &str| pass("").replace("443\"\n", &format!("443\"\n{keys}\n"));
    // The same name, without and with client authentication, on two listeners.
    let two = |port: &str| {
        mtls("").replace("[tls.t]", "listeners = [\"public\"]\n[tls.t]")
            + &format!(
                "[tls.o]\nmin_version = \"1.2\"\n[listeners.public]\nbind = \"0.0.0.0:{port}\"\n"
            )
            + &route(
                "b",
                "sni = \"a.example\"\naction = \"terminate\"\ntls = \"o\"\nlisteners = [\"edge\"]",
            )
    };
    let moved = |name: &str, addr: &str, text: String| {
        let bind = format!("listeners.{name}]\nbind = [\"{addr}\"]");
        text.replace("listeners.edge]\nbind = \"127.0.0.1:443\"", &bind)
    };
    let rows = [
        // Who clients have to be.
        (
            mtls(""),
            terminate("client_auth.mode = \"none\""),
            Fate::Held,
            "client authentication (require_and_verify) would go",
        ),
        (
            mtls(""),
            with("action = \"terminate\"", ""),
            Fate::Held,
            "tls \"default\" sets none",
        ),
        (
            mtls(""),
            mtls("client_auth.mode = \"verify_if_given\""),
            Fate::Held,
            "sets verify_if_given",
        ),
        (mtls(""), pass(""), Fate::Held, "clients pass through"),
        (
            terminate("client_auth.mode = \"require_any\""),
            terminate("client_auth.mode = \"request\""),
            Fate::Held,
            "require_any",
        ),
        (
            terminate("client_auth.mode = \"none\""),
            mtls(""),
            Fate::Served,
            "",
        ),
        (
            terminate("client_auth.mode = \"none\""),
            with("action = \"terminate\"", ""),
            Fate::Served,
            "",
        ),
        (
            mtls(""),
            mtls("").replace("\"one.pem\"", "[\"one.pem\", \"two.pem\"]"),
            Fate::Waits,
            "clients of CN=two would come in",
        ),
        (
            mtls(""),
            mtls("").replace("one.pem", "two.pem"),
            Fate::Waits,
            "CN=two",
        ),
        (
            mtls("").replace("\"one.pem\"", "[\"one.pem\", \"two.pem\"]"),
            mtls(""),
            Fate::Served,
            "",
        ),
        (
            mtls("client_auth.allow.cn = \"c\""),
            mtls(""),
            Fate::Held,
            "client_auth.allow would go",
        ),
        (
            mtls("client_auth.allow.cn = \"c\""),
            mtls("client_auth.allow.cn = [\"c\", \"d\"]"),
            Fate::Waits,
            "client_auth.allow.cn would take d",
        ),
        (
            mtls("client_auth.allow.cn = [\"c\", \"d\"]"),
            mtls("client_auth.allow.cn = \"c\""),
            Fate::Served,
            "",
        ),
        (
            mtls("client_auth.deny.cn = \"c\""),
            mtls(""),
            Fate::Held,
            "client_auth.deny.cn would go",
        ),
        (
            mtls("client_auth.deny = { cn = \"c\", ou = \"o\" }"),
            mtls("client_auth.deny.ou = \"o\""),
            Fate::Held,
            "client_auth.deny.cn would go",
        ),
        (
            mtls("client_auth.deny.cn = [\"c\", \"d\"]"),
            mtls("client_auth.deny.cn = \"d\""),
            Fate::Waits,
            "client_auth.deny.cn would no longer name c",
        ),
        (
            mtls("client_auth.deny.cn = \"d\""),
            mtls("client_auth.deny.cn = [\"c\", \"d\"]"),
            Fate::Served,
            "",
        ),
        // What may be taken back.
        (
            lists(""),
            mtls(""),
            Fate::Held,
            "the revocation list of CN=one would go",
        ),
        (
            lists(""),
            lists("").replace("one.crl", "short.crl"),
            Fate::Waits,
            "name fewer certificates",
        ),
        (
            lists("").replace("one.crl", "older.crl"),
            lists(""),
            Fate::Served,
            "",
        ),
        (
            lists(""),
            lists("").replace("one.crl", "older.crl"),
            Fate::Held,
            "replaced by an older one",
        ),
        // Another key under the same name: whom the old one has issued comes in no more.
        (
            lists(""),
            lists("")
                .replace("one.pem", "renewed.pem")
                .replace("one.crl", "renewed.crl"),
            Fate::Waits,
            "CN=one",
        ),
        (
            lists(""),
            mtls("").replace("one.pem", "two.pem"),
            Fate::Waits,
            "CN=two",
        ),
        (
            lists("client_auth.crl.depth = \"chain\""),
            lists(""),
            Fate::Held,
            "crl.depth",
        ),
        (
            lists(""),
            lists("client_auth.crl.unknown = \"allow\""),
            Fate::Held,
            "crl.unknown",
        ),
        (
            lists(""),
            lists("client_auth.crl.expired = \"allow\""),
            Fate::Held,
            "crl.expired",
        ),
        (
            mtls("on_revoke = \"close\""),
            mtls(""),
            Fate::Held,
            "on_revoke",
        ),
        (
            terminate("min_version = \"1.3\""),
            terminate("min_version = \"1.2\""),
            Fate::Held,
            "min_version",
        ),
        (
            terminate("min_version = \"1.2\""),
            terminate("min_version = \"1.3\""),
            Fate::Served,
            "",
        ),
        // Who comes in at all.
        (
            pass("from = \"10.0.0.0/8\""),
            pass(""),
            Fate::Held,
            "routes.a: from would go",
        ),
        (
            pass("from = \"10.0.0.0/8\""),
            pass("from = [\"0.0.0.0/0\", \"::/0\"]"),
            Fate::Held,
            "from would go",
        ),
        (
            pass("from = \"10.0.0.0/8\""),
            pass("from = [\"10.0.0.0/8\", \"192.168.0.0/16\"]"),
            Fate::Waits,
            "would take clients for a.example",
        ),
        (
            pass("from = \"10.0.0.0/8\""),
            pass("from = \"10.1.0.0/16\""),
            Fate::Served,
            "",
        ),
        (pass(""), pass("from = \"10.1.0.0/16\""), Fate::Served, ""),
        (
            pass("from = \"10.0.0.0/8\"") + &any,
            any.clone() + FRAME,
            Fate::Served,
            "",
        ),
        // It was refused by its address, and by the catch-all because of its protocols.
        (
            pass("from = \"10.0.0.0/8\"") + &any + "alpn = \"h2\"\n",
            any.clone() + FRAME,
            Fate::Held,
            "routes.any: from would go: clients for a.example",
        ),
        (
            pass("strict_sni = true"),
            pass("strict_sni = false"),
            Fate::Held,
            "strict_sni would go",
        ),
        (
            pass("strict_sni = false"),
            pass("strict_sni = true"),
            Fate::Served,
            "",
        ),
        (
            pass("alpn = \"h2\""),
            pass(""),
            Fate::Waits,
            "would take clients for a.example",
        ),
        (
            FRAME.to_owned() + &any + "alpn = \"h2\"\n",
            FRAME.to_owned() + &any,
            Fate::Waits,
            "would take clients for any name",
        ),
        (
            FRAME.to_owned() + &any + "alpn = \"h2\"\nstrict_sni = true\n",
            FRAME.to_owned() + &any + "strict_sni = true\n",
            Fate::Waits,
            "for any name",
        ),
        (
            FRAME.to_owned() + &any,
            FRAME.to_owned() + &any + "alpn = \"h2\"\n",
            Fate::Served,
            "",
        ),
        (
            mtls("") + &any + "alpn = \"h2\"\n",
            mtls("") + &any,
            Fate::Waits,
            "would take clients for any name",
        ),
        (
            reject(""),
            pass(""),
            Fate::Held,
            "action \"reject\" would go",
        ),
        (
            reject(&any),
            FRAME.to_owned() + &any,
            Fate::Held,
            "action \"reject\" would go",
        ),
        (
            mtls("") + &any,
            FRAME.to_owned() + &any,
            Fate::Held,
            "routes.any, for clients of routes.a: client authentication",
        ),
        (
            mtls(""),
            FRAME.to_owned() + &route("b", "sni = \"b.example\"\naction = \"passthrough\""),
            Fate::Waits,
            "routes.b would take",
        ),
        (
            pass("") + &route("b", "sni = \"b.example\"\naction = \"passthrough\""),
            pass(""),
            Fate::Served,
            "",
        ),
        (
            mtls("").replace("a.example", "*.example"),
            mtls("").replace("a.example", "*.example")
                + &route("b", "sni = \"b.example\"\naction = \"passthrough\""),
            Fate::Held,
            "routes.b, for clients of routes.a",
        ),
        (
            mtls(""),
            mtls("")
                .replace("routes.a", "routes.renamed")
                .replace("tls.t", "tls.u")
                .replace("\"t\"", "\"u\""),
            Fate::Served,
            "",
        ),
        (
            on("listeners = \"edge\""),
            on(""),
            Fate::Held,
            "listeners would go",
        ),
        (
            on("listeners = \"edge\""),
            on("listeners = [\"edge\", \"other\"]"),
            Fate::Waits,
            "would take clients for a.example",
        ),
        (pass(""), on(""), Fate::Waits, "listeners.other is new"),
        (on(""), pass(""), Fate::Served, ""),
        // Listeners.
        (
            edge("proxy_protocol.from = \"10.0.0.0/8\""),
            edge(""),
            Fate::Held,
            "proxy_protocol would go",
        ),
        (
            edge("proxy_protocol.from = \"10.0.0.0/8\""),
            edge("").replace("listeners.edge", "listeners.door"),
            Fate::Held,
            "proxy_protocol would go",
        ),
        (
            edge("proxy_protocol.from = \"10.0.0.0/8\""),
            edge("proxy_protocol.from = [\"10.0.0.0/8\", \"11.0.0.1\"]"),
            Fate::Waits,
            "11.0.0.1",
        ),
        (
            edge("max_connections = 5"),
            edge("max_connections = 6"),
            Fate::Waits,
            "max_connections",
        ),
        (
            edge("max_connections = 5"),
            edge(""),
            Fate::Held,
            "max_connections would go",
        ),
        (
            edge("connections_per_source = 5"),
            edge(""),
            Fate::Held,
            "connections_per_source would go",
        ),
        (
            edge("pending_per_source = 5"),
            edge(""),
            Fate::Held,
            "pending_per_source would go",
        ),
        (
            edge("rate_per_source = { connections = 5 }"),
            edge(""),
            Fate::Held,
            "rate_per_source would go",
        ),
        (
            edge(""),
            edge("").replace("127.0.0.1:443", "0.0.0.0:443"),
            Fate::Waits,
            "would listen on 0.0.0.0:443",
        ),
        (
            edge("").replace("127.0.0.1:443", "0.0.0.0:443"),
            edge(""),
            Fate::Served,
            "",
        ),
        (
            edge("max_connections = 5"),
            edge("max_connections = 4"),
            Fate::Served,
            "",
        ),
        (
            edge("pending_per_source = 5"),
            edge("pending_per_source = 6"),
            Fate::Waits,
            "pending_per_source",
        ),
        (
            two("444"),
            two("445").replace("\"127.0.0.1:443\"", "[\"127.0.0.1:443\", \"0.0.0.0:444\"]"),
            Fate::Held,
            "tls \"o\" sets none",
        ),
        (
            mtls(""),
            terminate("min_version = \"1.2\"").replace(
                "edge]\nbind = \"127.0.0.1:443",
                "door]\nbind = \"0.0.0.0:443",
            ),
            Fate::Held,
            "client authentication (require_and_verify) would go",
        ),
        // Another name and another kind of address at once: a client that was sent to the one is
        // sent to the other.
        (
            moved("edge", "systemd:web", mtls("")),
            moved("door", "0.0.0.0:443", terminate("min_version = \"1.2\"")),
            Fate::Held,
            "client authentication (require_and_verify) would go",
        ),
        (
            moved("edge", "systemd:web", mtls("")) + "[listeners.plain]\nbind = \"127.0.0.1:80\"\n",
            moved(
                "plain",
                "127.0.0.1:80\", \"0.0.0.0:443",
                terminate("min_version = \"1.2\""),
            ),
            Fate::Held,
            "client authentication (require_and_verify) would go",
        ),
        (
            moved("edge", "unix:/run/web", mtls("")),
            moved("door", "127.0.0.1:443", mtls("")),
            Fate::Waits,
            "listeners.door is new",
        ),
        // Servers.
        (
            tls_to(trusted),
            tls_to(""),
            Fate::Held,
            "tls to its servers would go",
        ),
        (
            tls_to(trusted),
            tls_to("tls = { insecure = true }"),
            Fate::Held,
            "verification of servers would go",
        ),
        (
            tls_to(trusted),
            tls_to("tls = { trust = \"both\" }"),
            Fate::Waits,
            "servers of another CA",
        ),
        (
            tls_to("tls = { trust = \"both\" }"),
            tls_to(trusted),
            Fate::Served,
            "",
        ),
        (
            tls_to(&pinned),
            tls_to(trusted),
            Fate::Held,
            "tls.pin would go",
        ),
        (
            tls_to(&pinned),
            tls_to(&pinned.replace("ab", "cd")),
            Fate::Waits,
            "tls.pin: another key",
        ),
        (tls_to(trusted), tls_to(&pinned), Fate::Served, ""),
        // Other servers, and times.
        (
            pass(""),
            pass("").replace("10.0.0.1", "10.0.0.9"),
            Fate::Served,
            "",
        ),
        (
            mtls(""),
            mtls("") + "[timeouts]\nidle = \"2h\"\n",
            Fate::Served,
            "",
        ),
    ];
    for (old, new, expected, text) in &rows {
        let change = change(dir.path(), old, new);
        let said = change.vanished.on_one_line() + &change.loosened.on_one_line();
        assert_eq!(fate(&change), *expected, "{said}\n{old}\n=>\n{new}");
        assert!(
            said.contains(text),
            "{text:?} is not in {said:?}\n{old}\n=>\n{new}"
        );
        let meanwhile = without(
            &Standing::of(&valid(dir.path(), new)),
            &Standing::of(&valid(dir.path(), old)),
        );
        let meanwhile = meanwhile.on_one_line();
        assert!(
            !meanwhile.contains("would") && !meanwhile.contains(" is new"),
            "{meanwhile}"
        );
        assert_eq!(meanwhile.is_empty(), said.is_empty(), "{meanwhile}");
        assert!(
            compare(
                &Standing::of(&valid(dir.path(), old)),
                &Standing::of(&valid(dir.path(), old))
            )
            .only_tightens(),
            "{old}"
        );
    }
}

/// The route that a client meets, found by reading every one.
fn naive<'a>(config: &'a Config, key: &LookupKey<'_>) -> Option<&'a config::Route> {
    let judged = config
        .routes
        .iter()
        .filter_map(|route| Some((route, route.rule.judge(key).ok()?)));
    let mut judged: Vec<_> = judged.collect();
    if key.name.is_none() {
        let any = |route: &config::Route| route.rule.names.contains(&crate::name::NamePattern::Any);
        if judged.iter().any(|(route, _)| any(route)) {
            judged.retain(|(route, _)| any(route));
        } else if judged.len() > 1 {
            return None;
        }
    }
    judged
        .into_iter()
        .max_by_key(|(_, specificity)| *specificity)
        .map(|(route, _)| route)
}

/// How much a client is asked for: nothing inside where it is refused.
fn strength(config: &Config, route: Option<&config::Route>) -> Option<u8> {
    match &route?.action {
        Action::Reject => None,
        Action::Passthrough(_) => Some(0),
        Action::Terminate { tls, .. } => Some(
            match config
                .tls
                .get(tls)
                .map(|tls| (tls.client_auth, &tls.policy))
            {
                None | Some((ClientAuthMode::None, _)) => 0,
                Some((_, policy)) if policy.allow.is_some() => 2,
                Some(_) => 1,
            },
        ),
    }
}

const NAMES: [Option<&str>; 6] = [
    Some("a.example"),
    Some("b.example"),
    Some("c.example"),
    Some("d.c.example"),
    Some("elsewhere"),
    None,
];
const IPS: [Option<&str>; 5] = [
    Some("10.1.0.1"),
    Some("10.2.0.1"),
    Some("11.0.0.1"),
    Some("2001:db8::1"),
    None,
];

/// Asserts of every client of a small world that it loses no protection by a change that is not
/// held, and gains nothing by one that is served at once.
fn assert_no_protection_goes(old: &Config, new: &Config, change: &Weakening, context: &str) {
    let offers: [&[Alpn]; 2] = [&[], &["h2".parse().unwrap()]];
    let held = !change.vanished.is_empty();
    for name in NAMES {
        let parsed: Option<ServerName> = name.map(|name| name.parse().unwrap());
        for ip in IPS {
            for alpn in offers {
                let key = LookupKey {
                    name: parsed.as_ref(),
                    client: ip.map(|ip| ip.parse().unwrap()),
                    alpn,
                };
                let (before, after) = (naive(old, &key), naive(new, &key));
                let (weak, strong) = (strength(new, after), strength(old, before));
                let client = format!(
                    "{name:?} from {ip:?} offering {alpn:?}: {strong:?} => {weak:?}\n{context}"
                );
                let Some(weak) = weak else { continue };
                match strong {
                    Some(strong) => assert!(held || weak >= strong, "weaker: {client}"),
                    None => {
                        assert!(
                            held || !change.loosened.is_empty(),
                            "let in at once: {client}"
                        );
                        let exact = |route: &&config::Route| {
                            parsed.clone().is_some_and(|name| {
                                route
                                    .rule
                                    .names
                                    .contains(&crate::name::NamePattern::Exact(name))
                            })
                        };
                        let own = || old.routes.iter().filter(exact);
                        let restricted = |route: &config::Route| {
                            !route.rule.from.is_empty() && route.rule.alpn.is_empty()
                        };
                        let everywhere = after.is_some_and(|route| route.rule.from.is_empty());
                        let had_from = own().next().is_some() && own().all(restricted);
                        assert!(held || !(had_from && everywhere), "from went: {client}");
                    }
                }
            }
        }
    }
}

fn any_configuration() -> impl Strategy<Value = String> {
    let names = subsequence(
        vec![
            "a.example",
            "b.example",
            "*.example",
            "**.example",
            "*.c.example",
            "*",
        ],
        1..=2,
    );
    let from = subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"], 0..=2);
    let action = select(vec![
        "reject",
        "passthrough",
        "open",
        "mtls",
        "strict",
        "none",
    ]);
    let route = (names, from, any::<bool>(), any::<bool>(), action);
    let tables = subsequence(vec!["default", "alpn"], 0..=2);
    (prop::collection::vec(route, 1..=3), tables).prop_map(|(routes, tables)| {
        let mut text = FRAME.to_owned();
        for (at, (names, from, h2, strict, action)) in routes.iter().enumerate() {
            let (action, tls) = match *action {
                "reject" | "passthrough" => (*action, None),
                "none" => ("terminate", None),
                tls => ("terminate", Some(tls)),
            };
            text += &format!("[routes.r{at}]\nsni = {names:?}\naction = {action:?}\nstrict_sni = {strict}\n");
            text += if action == "reject" { "" } else { "upstream = \"10.0.0.1:1\"\n" };
            text += &tls.map(|tls| format!("tls = {tls:?}\n")).unwrap_or_default();
            text += &if from.is_empty() { String::new() } else { format!("from = {from:?}\n") };
            text += if *h2 { "alpn = \"h2\"\n" } else { "" };
        }
        text += "[tls.open]\nclient_auth.mode = \"none\"\n[tls.mtls]\nclient_auth.ca_files = \"one.pem\"\n";
        text += "[tls.strict]\nextends = \"mtls\"\nclient_auth.allow.cn = \"c\"\n";
        text + if tables.contains(&"default") { "[tls.default]\nextends = \"mtls\"\n" } else { "" }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_global_rejects: 100_000, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn no_change_that_is_not_held_takes_a_protection_from_anybody(old in any_configuration(), new in any_configuration()) {
        thread_local! { static DIR: TempDir = directory(); }
        DIR.with(|dir| {
            // Many of them tie, or have tables that are not used.
            let [old_config, new_config] = [&old, &new].map(|text| load(dir.path(), text).config);
            if let (Some(before), Some(after)) = (old_config, new_config) {
                let change = compare(&Standing::of(&before), &Standing::of(&after));
                assert_no_protection_goes(&before, &after, &change, &format!("{old}\n=>\n{new}\n{change:?}"));
            }
        });
    }
}

/// Whole configurations as people have them: the files by name, the first of which includes the
/// others.
fn realistic() -> [Vec<(&'static str, String)>; 3] {
    let one = "[listeners.edge]\nbind = [\"127.0.0.1:443\"]\n\n[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\n\
               tls = \"mtls\"\nupstream = \"127.0.0.1:8200\"\n\n[tls.mtls]\nclient_auth.mode = \"require_and_verify\"\n\
               client_auth.ca_files = [\"one.pem\"]\nclient_auth.allow.cn = [\"c\", \"d\"]\n\n[certificates.site]\n\
               cert_file = \"site.pem\"\n\n[routes.b]\nsni = [\"b.example\"]\naction = \"passthrough\"\n\
               upstream = \"127.0.0.1:1\"\nfrom = [\"10.0.0.0/8\"]\n";
    let last = "[certificates.site]\ncert_file = \"site.pem\"\n[listeners.edge]\nbind = [\"127.0.0.1:443\"]\n\
                [routes.any]\nsni = \"*\"\naction = \"passthrough\"\nupstream = \"127.0.0.1:2\"\n\
                [routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"127.0.0.1:8200\"\n\
                [routes.b]\nsni = \"b.example\"\naction = \"reject\"\n\
                [tls.default]\nclient_auth.ca_files = \"one.pem\"\nclient_auth.allow.cn = \"c\"\n";
    let main = "include = [\"conf.d/*.toml\"]\n[listeners.edge]\nbind = \"127.0.0.1:443\"\n[certificates.site]\ncert_file = \"site.pem\"\n";
    let tls = "# who comes in\n[tls.default]\nclient_auth.ca_files = \"../one.pem\"\nclient_auth.allow.cn = \"c\"\n";
    let routes = "[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"127.0.0.1:1\"\n\
                  [routes.c]\nsni = \"c.example\"\naction = \"passthrough\"\nupstream = \"127.0.0.1:1\"\nfrom = \"10.1.0.0/16\"\n";
    [
        vec![("snigate.toml", one.to_owned())],
        vec![("snigate.toml", last.to_owned())],
        vec![
            ("snigate.toml", main.to_owned()),
            ("conf.d/tls.toml", tls.to_owned()),
            ("conf.d/routes.toml", routes.to_owned()),
        ],
    ]
}

#[test]
fn no_prefix_of_a_file_takes_a_protection_from_anybody() {
    let dir = directory();
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    let (mut compiled, mut held) = (0, 0);
    for files in realistic() {
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        files.iter().for_each(|(name, text)| write(name, text));
        let path = dir.path().join("snigate.toml");
        let mut whole = config::load(&path);
        let texts = whole.files.take_texts();
        let before = whole
            .config
            .unwrap_or_else(|| panic!("{:?}", whole.diagnostics));
        let standing = Standing::of(&before);
        for (name, text) in &files {
            for end in 0..text.len() {
                write(name, &text[..end]);
                let mut cut = config::load(&path);
                let Some(after) = &cut.config else { continue };
                let mut change = compare(&standing, &Standing::of(after));
                change.lose_files(cut.files.take_texts().lost(&texts));
                compiled += 1;
                held += usize::from(!change.vanished.is_empty());
                assert_no_protection_goes(
                    &before,
                    after,
                    &change,
                    &format!("{name} cut at {end}:\n{}\n{change:?}", &text[..end]),
                );
            }
            write(name, text);
        }
        fs::remove_dir_all(dir.path().join("conf.d")).unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
    }
    assert!(
        compiled > 20 && held > 5,
        "{compiled} prefixes are valid, {held} are held"
    );
}

#[test]
fn of_many_findings_the_first_are_kept_and_the_rest_are_counted() {
    let mut findings = Findings::default();
    (0..100).for_each(|number| findings.add(None, format!("finding {}", number % 50)));
    assert_eq!(
        (findings.iter().count(), findings.more()),
        (MOST_FINDINGS, 60)
    );
    assert!(
        findings.on_one_line().ends_with("finding 19; and 60 more"),
        "{}",
        findings.on_one_line()
    );
}
