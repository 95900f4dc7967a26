//! What a reload that nobody has asked for may not do: let in anybody whom a protection kept out.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use rustls::version::TLS13;
use serde_json::Value;
use snigate::pki::{Authority, Issued, RevocationList, Validity};

use super::*;
use crate::support::proxy::{directory, passthrough};
use crate::support::tls::{self, authority, client, write};

const NAME: &str = "app.example";
const HELD: &str = "reload held, a protection would go; the configuration that runs goes on";

/// A route with mutual TLS, whose policy is in a file of its own.
struct Site {
    servers: Authority,
    clients: Authority,
    member: Issued,
    proxy: Proxy,
    _backend: Backend,
}

/// The policy, which a copy of the configuration brings along.
const POLICY: &str = "# who comes in\n[tls.default]\nclient_auth.ca_files = [\"../clients.pem\"]\non_revoke = \"close\"\n";

fn policy(proxy: &Proxy) -> std::path::PathBuf {
    proxy.dir().join("conf.d/tls.toml")
}

fn site(policy: &str) -> Site {
    let dir = directory();
    let [servers, clients] = ["servers", "clients"].map(|name| authority(dir.path(), name));
    write(
        dir.path(),
        "site",
        &servers.server(&[NAME], Validity::days(20)).unwrap(),
    );
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    fs::write(dir.path().join("conf.d/tls.toml"), policy).unwrap();
    let list = RevocationList::default()
        .sign(&clients, Validity::days(20))
        .unwrap();
    fs::write(dir.path().join("clients.crl"), list).unwrap();
    let backend = Backend::echo();
    let config = format!(
        "include = [\"conf.d/*.toml\"]\n[certificates.site]\ncert_file = \"site.pem\"\nkey_file = \"site-key.pem\"\n\
         [routes.app]\nsni = \"{NAME}\"\naction = \"terminate\"\nupstream = \"{}\"\n",
        backend.addr
    );
    let member = clients.client("member", Validity::days(20)).unwrap();
    let site = Site {
        servers,
        clients,
        member,
        proxy: Proxy::start_in(dir, &config),
        _backend: backend,
    };
    assert!(site.comes_in(Some(&site.member)) && !site.comes_in(None));
    site
}

impl Site {
    /// Whether a client comes in that shows this certificate.
    fn comes_in(&self, identity: Option<&Issued>) -> bool {
        let config = client(&self.servers, identity, &[&TLS13]);
        tls::exchange(&config, NAME, self.proxy.connect(), b"the question").is_ok()
    }

    /// Puts this client on the revocation list.
    fn revoke(&self, revoked: &Issued) {
        let mut list = RevocationList::default();
        list.revoke(
            &self
                .clients
                .serial_of(revoked.certificate.as_bytes())
                .unwrap(),
            None,
        );
        let list = list.sign(&self.clients, Validity::days(20)).unwrap();
        rename_into(&self.proxy.dir().join("clients.crl"), list.as_ref());
    }
}

fn rename_into(path: &Path, content: &[u8]) {
    let new = path.with_file_name(".new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn a_policy_that_is_emptied_cut_commented_out_or_renamed_away_stays_until_somebody_confirms() {
    let commented = POLICY
        .replace("client_auth", "# client_auth")
        .replace("on_revoke", "# on_revoke");
    let cut = POLICY.find("client_auth").unwrap();
    type Do = fn(&Path, &str);
    let overwrite: Do = |path, text| fs::write(path, text).unwrap();
    let rename: Do = |path, _| fs::rename(path, path.with_extension("away")).unwrap();
    for (what, how, text, expected) in [
        ("emptied", overwrite, "", "conf.d/tls.toml is empty"),
        ("blank", overwrite, "\n \n", "conf.d/tls.toml is empty"),
        (
            "commented out",
            overwrite,
            &commented,
            "routes.app: client authentication (require_and_verify) would go",
        ),
        (
            "cut",
            overwrite,
            &POLICY[..cut],
            "tls \"default\" sets none",
        ),
        ("renamed away", rename, "", "matches no file any more"),
    ] {
        let site = site(POLICY);
        let proxy = &site.proxy;
        let held = proxy.held_after(|| how(&policy(proxy), text));
        assert!(held.contains(expected), "{what}: {held}");
        assert!(
            site.comes_in(Some(&site.member)) && !site.comes_in(None),
            "{what}"
        );
        // A change of something else does not bring it in either, and is not held with it.
        proxy.reload_after(|| {
            write(
                proxy.dir(),
                "site",
                &site.servers.server(&[NAME], Validity::days(20)).unwrap(),
            )
        });
        assert!(!site.comes_in(None), "{what}");
        assert_eq!(
            proxy.count(HELD),
            1,
            "{what}: it is said once\n{}",
            proxy.log()
        );
        proxy.reload_on_request();
        assert!(site.comes_in(None), "{what}: confirmed\n{}", proxy.log());
    }
}

#[test]
fn a_file_that_is_truncated_for_a_while_and_written_again_lets_nobody_in_meanwhile() {
    let site = site(POLICY);
    let held = site
        .proxy
        .held_after(|| drop(fs::File::create(policy(&site.proxy)).unwrap()));
    assert!(held.contains("tls.toml is empty"), "{held}");
    let mut file = fs::File::options()
        .append(true)
        .open(policy(&site.proxy))
        .unwrap();
    for byte in POLICY.as_bytes() {
        file.write_all(&[*byte]).unwrap();
        file.sync_data().unwrap();
        if *byte == b'\n' {
            assert!(!site.comes_in(None), "{}", site.proxy.log());
        }
    }
    site.proxy.reload_after(|| {
        file.write_all(b"[tls.other]\nextends = \"default\"\n")
            .unwrap()
    });
    assert!(
        site.comes_in(Some(&site.member)) && !site.comes_in(None),
        "{}",
        site.proxy.log()
    );
}

#[test]
fn a_revocation_acts_although_the_configuration_beside_it_is_broken_or_held() {
    for text in ["[tls.default", "", "[tls.default]\nmin_version = \"1.2\"\n"] {
        let site = site(&format!(
            "{POLICY}client_auth.crl_files = [\"../clients.crl\"]\n"
        ));
        let message = if text == "[tls.default" {
            "reload refused, the configuration that runs goes on"
        } else {
            HELD
        };
        fs::write(policy(&site.proxy), text).unwrap();
        site.proxy.wait_for(message);
        assert!(site.comes_in(Some(&site.member)));
        site.proxy.reload_after(|| site.revoke(&site.member));
        assert!(
            !site.comes_in(Some(&site.member)) && !site.comes_in(None),
            "{text:?}\n{}",
            site.proxy.log()
        );
        let other = site.clients.client("other", Validity::days(20)).unwrap();
        assert!(site.comes_in(Some(&other)), "{text:?}");
    }
}

#[test]
fn a_list_that_is_broken_beside_a_broken_configuration_is_said_once() {
    let sound = format!("{POLICY}client_auth.crl_files = [\"../clients.crl\"]\n");
    let site = site(&sound);
    let proxy = &site.proxy;
    let list = proxy.dir().join("clients.crl");
    let whole = fs::read(&list).unwrap();
    let wrong = "[routes.wrong]\nsni = \"wrong.example\"\naction = \"passthrough\"\nupstream = \"nobody\"\n";
    let says = |event: &Value, what: &str| {
        event["diagnostics"]
            .as_str()
            .is_some_and(|text| text.contains(what))
    };
    let refused = "reload refused, the configuration that runs goes on";
    rename_into(&policy(proxy), (sound.clone() + wrong).as_bytes());
    proxy.wait_until(refused, |event| says(event, "nobody"));
    rename_into(&list, b"no list");
    proxy.wait_until(refused, |event| says(event, "clients.crl"));
    // What is said after it has been said before it.
    rename_into(&list, &whole);
    proxy.reload_after(|| {
        rename_into(
            &policy(proxy),
            format!("{sound}client_auth.deny.cn = [\"other\"]\n").as_bytes(),
        )
    });
    let said = proxy.count_of(refused, |event| says(event, "clients.crl"));
    assert_eq!(said, 1, "{}", proxy.log());
}

#[test]
fn a_ca_that_waits_for_a_list_beside_it_is_said_once_with_what_is_wrong_with_the_list() {
    let site = site(&format!(
        "{POLICY}client_auth.crl_files = [\"../clients.crl\"]\nclient_auth.crl.unknown = \"allow\"\n"
    ));
    let proxy = &site.proxy;
    let [list, cas] = ["clients.crl", "clients.pem"].map(|name| proxy.dir().join(name));
    let in_part = "reloaded in part; of the rest what runs goes on";
    let refused = "reload refused, the configuration that runs goes on";
    let waits = |event: &Value| {
        let text = event["diagnostics"].as_str().unwrap_or_default();
        text.contains("clients.crl")
            && text
                .contains("clients.pem: its new CAs wait until every list beside them can be used")
    };
    let whole = fs::read(&list).unwrap();
    rename_into(&list, b"no list");
    let other = Authority::new("other", Validity::days(20)).unwrap();
    rename_into(
        &cas,
        format!("{}{}", site.clients.certificate(), other.certificate()).as_bytes(),
    );
    let told = || proxy.count_of(refused, waits) + proxy.count_of(in_part, waits);
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while told() == 0 {
        assert!(std::time::Instant::now() < limit, "{}", proxy.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let client = other.client("client", Validity::days(20)).unwrap();
    assert!(!site.comes_in(Some(&client)));
    proxy.reload_after(|| rename_into(&list, &whole));
    assert!(site.comes_in(Some(&client)));
    assert_eq!(told(), 1, "{}", proxy.log());
}

#[test]
fn what_only_tightens_is_served_without_waiting_and_what_loosens_waits() {
    let site = site(POLICY);
    let proxy = &site.proxy;
    let waits = "the reload waits until its files have been unchanged for 2s";
    let denied = format!("{POLICY}client_auth.deny.cn = [\"member\", \"other\"]\n");
    proxy.reload_after(|| rename_into(&policy(proxy), denied.as_bytes()));
    assert!(!site.comes_in(Some(&site.member)));
    assert_eq!(proxy.count(waits), 0, "{}", proxy.log());
    // An entry fewer, another CA, another route: by themselves, when nobody has written for two
    // seconds.
    let second = Authority::new("second", Validity::days(20)).unwrap();
    let both = format!("{}{}", site.clients.certificate(), second.certificate());
    let route = "[routes.new]\nsni = \"new.example\"\naction = \"reject\"\n[routes.more]\nsni = \"more.example\"\n\
                 action = \"passthrough\"\nupstream = \"127.0.0.1:1\"\n";
    let changes: [(&str, String); 3] = [
        ("conf.d/tls.toml", denied.replace("\"member\", ", "")),
        ("clients.pem", both),
        ("conf.d/more.toml", route.to_owned()),
    ];
    for (times, (file, text)) in (1..).zip(changes) {
        proxy.reload_after(|| rename_into(&proxy.dir().join(file), text.as_bytes()));
        assert_eq!(proxy.count(waits), times, "{}", proxy.log());
        assert!(site.comes_in(Some(&site.member)), "{file}\n{}", proxy.log());
    }
    assert!(site.comes_in(Some(&second.client("guest", Validity::days(20)).unwrap())));
    assert_eq!(proxy.count(HELD), 0, "{}", proxy.log());
}

#[test]
fn a_route_that_loses_its_sources_or_gives_way_to_a_catch_all_is_held() {
    let (inside, outside) = (Backend::greet(b"inside"), Backend::greet(b"outside"));
    let route = passthrough("a.example", inside.addr) + "from = \"10.0.0.0/8\"\n";
    let any = format!(
        "[routes.any]\nsni = \"*\"\naction = \"passthrough\"\nupstream = \"{}\"\n",
        outside.addr
    );
    let reject = "[routes.a]\nsni = \"a.example\"\naction = \"reject\"\n".to_owned();
    for (before, after, expected) in [
        (
            route,
            passthrough("a.example", inside.addr),
            "routes.a: from would go",
        ),
        (
            reject.clone() + &any,
            any,
            "routes.any: action \"reject\" would go for clients for a.example",
        ),
        (
            reject,
            passthrough("a.example", inside.addr),
            "routes.a: action \"reject\" would go",
        ),
    ] {
        let proxy = Proxy::start(&before);
        let held = proxy.held_after(|| proxy.write_config(&after));
        assert!(held.contains(expected), "{held}");
        let is_refused = || answer(proxy.connect(), "a.example").starts_with(&alert(112)[..5]);
        assert!(is_refused());
        let event = proxy.wait_for(HELD);
        let pid = proxy.pid().as_raw_nonzero().to_string();
        assert!(event["help"].as_str().unwrap().contains(&pid), "{event}");
        proxy.signal(Signal::HUP);
        proxy.wait_for("reloaded");
        assert!(!is_refused());
    }
}

#[test]
fn what_tightens_beside_something_held_or_new_is_said_at_once_and_acts_when_somebody_confirms_it() {
    let tightens = "the files also tighten, which does not act before the rest of them does";
    let denied = format!("{POLICY}client_auth.deny.cn = [\"member\"]\n");
    let held = denied.replace("on_revoke = \"close\"\n", "");
    let route = "[routes.new]\nsni = \"new.example\"\naction = \"passthrough\"\nupstream = \"127.0.0.1:1\"\n";
    let new = denied + route;
    for text in [held, new] {
        let site = site(POLICY);
        let proxy = &site.proxy;
        rename_into(&policy(proxy), text.as_bytes());
        let event = proxy.wait_for(tightens);
        assert_eq!(event["level"], "warn", "{event}");
        let without = event["without"].as_str().unwrap();
        assert!(
            without.contains("routes.app: client_auth.deny.cn does not act yet"),
            "{event}"
        );
        assert!(
            event["help"]
                .as_str()
                .unwrap()
                .contains(&proxy.pid().as_raw_nonzero().to_string()),
            "{event}"
        );
        proxy.reload_on_request();
        assert!(!site.comes_in(Some(&site.member)), "{}", proxy.log());
        assert_eq!(proxy.count(tightens), 1, "it is said once\n{}", proxy.log());
    }
}
