//! Pairs of configurations, and what differs between them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tempfile::TempDir;

use super::*;
use crate::config;
use crate::config::diff::keys::Base;
use crate::config::diff::tables::TableOutlines;
use crate::config::load::Loaded;
use crate::pki::{Authority, RevocationList, Validity};

const FRAME: &str = "[listeners.edge]\nbind = \"127.0.0.1:443\"\n[certificates.site]\ncert_file = \"site.pem\"\n\
    [storage]\ndir = \"state\"\n";

/// A directory with the files of [`FRAME`], two CAs and a list.
fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        renew(dir.path(), name);
    }
    dir
}

/// Puts new ones into the place of the CA `NAME.pem`, its list `NAME.crl` and `site.pem`.
fn renew(dir: &Path, name: &str) {
    let write = |name: String, content: &[u8]| fs::write(dir.join(name), content).unwrap();
    let ca = Authority::new(name, Validity::days(20)).unwrap();
    let site = ca.server(&["*.example"], Validity::days(20)).unwrap();
    let list = RevocationList::default()
        .sign(&ca, Validity::days(20))
        .unwrap();
    write(format!("{name}.pem"), ca.certificate().as_bytes());
    write(format!("{name}.crl"), list.as_bytes());
    write(
        "site.pem".to_owned(),
        (site.certificate + &site.key).as_bytes(),
    );
}

fn load(path: &Path, text: &str) -> Loaded {
    fs::write(path, text).unwrap();
    config::load(path)
}

fn outline(dir: &Path, text: &str) -> Outline {
    let path = dir.join("snigate.toml");
    let loaded = load(&path, text);
    loaded
        .outline(&path, None)
        .unwrap_or_else(|| panic!("{:?}\n{text}", loaded.diagnostics))
}

fn between(dir: &Path, old: &str, new: &str) -> Diff {
    diff(&outline(dir, old), &outline(dir, new))
}

/// One of these tables, and what a configuration needs beside it.
fn passthrough(more: &str) -> String {
    format!(
        "{FRAME}[routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\nupstream = \"10.0.0.1:1\"\n{more}"
    )
}

fn terminate(more: &str) -> String {
    format!(
        "{FRAME}[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"app\"\n{more}"
    )
}

const APP: &str = "[upstreams.app]\nservers = [\"10.0.0.1:1\", \"10.0.0.2:1\"]\n";

#[test]
fn each_change_is_said_by_kind_name_and_key() {
    let dir = directory();
    let route = "[routes.b]\nsni = \"b.example\"\naction = \"reject\"\n";
    let app = |more: &str| terminate(&format!("{APP}{more}"));
    let servers = |list: &str| terminate(&format!("[upstreams.app]\nservers = [{list}]\n"));
    let tls = |more: &str| app(&format!("[tls.default]\n{more}"));
    let mtls = "client_auth.ca_files = \"one.pem\"\n";
    let rows: &[(String, String, &[&str])] = &[
        (passthrough(""), passthrough(""), &[]),
        (passthrough(""), passthrough(route), &["+ route b"]),
        (
            passthrough(""),
            passthrough("").replace("10.0.0.1", "10.0.0.2"),
            &["~ route a: upstream"],
        ),
        (
            passthrough(""),
            passthrough("from = \"10.0.0.0/8\"\ntimeouts.idle = \"1m\"\n"),
            &["~ route a: from, timeouts.idle"],
        ),
        (
            passthrough("[listeners.two]\nbind = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n"),
            passthrough("[timeouts]\ndrain = \"1s\"\n")
                .replace("443\"", "443\"\npending_per_source = 9"),
            &[
                "~ listener edge: pending_per_source",
                "- listener two",
                "~ timeouts: drain",
                "~ log: level",
            ],
        ),
        (
            passthrough(""),
            passthrough("[resolver]\nmode = \"system\"\n").replace("state", "kept"),
            &["~ resolver: max_ttl, min_ttl, mode", "~ storage: dir"],
        ),
        (
            app(""),
            servers("\"10.0.0.2:1\", \"10.0.0.3:1\""),
            &[
                "- server 10.0.0.1:1 of upstream app",
                "+ server 10.0.0.3:1 of upstream app",
            ],
        ),
        (
            app(""),
            servers("\"10.0.0.2:1\", \"10.0.0.1:1\""),
            &["~ upstream app: servers"],
        ),
        (
            app(""),
            servers(
                "\"10.0.0.1:1\", { address = \"10.0.0.2:1\", backup = true, max_connections = 7 }",
            ),
            &["~ server 10.0.0.2:1 of upstream app: backup, max_connections"],
        ),
        (
            app(""),
            terminate(&APP.replace("app", "other")).replace("\"app\"", "\"other\""),
            &["~ route a: upstream", "- upstream app", "+ upstream other"],
        ),
        (
            app(""),
            app("ejection = \"off\"\nhealth = true\ntls.insecure = true\n"),
            &["~ upstream app: ejection, health, tls"],
        ),
        (
            app("tls.trust = \"t\"\n[trust.t]\nca_files = \"one.pem\"\n"),
            app("tls.trust = \"t\"\n[trust.t]\nca_files = \"two.pem\"\n"),
            &["~ trust t: ca_files"],
        ),
        (
            tls(""),
            tls("client_auth.mode = \"request\"\nalpn = \"h2\"\n"),
            &["~ tls default: alpn, client_auth.mode"],
        ),
        (
            tls(mtls),
            tls(&format!(
                "{mtls}client_auth.allow.cn = \"c\"\nclient_auth.crl_files = \"one.crl\"\n"
            )),
            &["~ tls default: client_auth.allow, client_auth.crl, client_auth.crl_files"],
        ),
        (
            tls(&format!("{mtls}client_auth.allow.cn = \"c\"\n")),
            tls(&format!(
                "{mtls}client_auth.allow.dns = \"c.example\"\nclient_auth.allow.cn = \"c\"\n"
            )),
            &["~ tls default: client_auth.allow.dns"],
        ),
        (
            passthrough(""),
            passthrough("").replace("passthrough", "terminate"),
            &["~ route a: action, on_truncation"],
        ),
    ];
    for (old, new, lines) in rows {
        let said = between(dir.path(), old, new).to_string();
        assert_eq!(said, lines.join("\n"), "{old}\n=>\n{new}");
    }
}

#[test]
fn equal_values_written_differently_are_no_change() {
    let dir = directory();
    let tls = |more: &str| {
        terminate(&format!(
            "{APP}[tls.default]\nclient_auth.ca_files = [\"one.pem\", \"two.pem\"]\n{more}"
        ))
    };
    let rules = tls("client_auth.allow.cn = [\"a\", \"b\"]\nmin_version = \"1.2\"\n");
    let rules = rules.replace(
        "sni = \"a.example\"",
        "sni = [\"a.example\", \"b.example\"]",
    );
    let other = tls(
        "client_auth.mode = \"RequireAndVerifyClientCert\"\nclient_auth.allow.cn = [\"b\", \"a\"]\n",
    );
    let other = other
        .replace(
            "sni = \"a.example\"",
            "timeouts.idle = \"60m\"\nsni = [\"B.example\", \"a.example\"]",
        )
        .replace(
            "[\"one.pem\", \"two.pem\"]",
            "[\"two.pem\", \"./one.pem\"]\nextends = \"base\"\n[tls.base]\nalpn = []",
        )
        .replace("[tls.base]\nalpn = []", "[tls.base]");
    let without_base = other.replace("extends = \"base\"\n[tls.base]\n", "");
    assert_eq!(between(dir.path(), &rules, &without_base).to_string(), "");
}

#[test]
fn what_comes_from_another_table_is_said_there_alone() {
    let dir = directory();
    let own = |more: &str| terminate(&format!("timeouts.connect = \"7s\"\n{APP}{more}"));
    let site = "[certificates.two]\ncert_file = \"site.pem\"\n";
    let rows: &[(String, String, &str)] = &[
        (
            own(""),
            own("[timeouts]\nidle = \"1m\"\nhello = \"1s\"\nconnect = \"8s\"\n"),
            "~ timeouts: connect, hello, idle",
        ),
        (
            own("[timeouts]\nconnect = \"7s\"\n"),
            own(""),
            "~ timeouts: connect",
        ),
        (own(""), own(site), "+ certificate two"),
        (
            own("[tls.default]\nclient_auth.ca_files = \"one.pem\"\n"),
            own("[tls.default]\nclient_auth.ca_files = \"one.pem\"\non_revoke = \"close\"\n"),
            "~ tls default: on_revoke",
        ),
        (
            own("").replace("\"7s\"", "\"5s\""),
            own(""),
            "~ route a: timeouts.connect",
        ),
    ];
    for (old, new, said) in rows {
        assert_eq!(
            between(dir.path(), old, new).to_string(),
            *said,
            "{old}\n=>\n{new}"
        );
    }
}

#[test]
fn the_contents_of_each_file_that_is_named_are_compared() {
    let dir = directory();
    fs::create_dir(dir.path().join("cas")).unwrap();
    fs::copy(dir.path().join("one.pem"), dir.path().join("cas/one.pem")).unwrap();
    let text = terminate(&format!(
        "{APP}tls.trust = \"t\"\n[trust.t]\nca_files = \"one.pem\"\n[tls.default]\n\
         client_auth.ca_files = [\"one.pem\", \"cas\"]\nclient_auth.crl_files = \"one.crl\"\n"
    ));
    let before = outline(dir.path(), &text);
    let since = || diff(&before, &outline(dir.path(), &text)).to_string();
    assert_eq!(since(), "");
    let site = fs::read(dir.path().join("site.pem")).unwrap();
    fs::copy(dir.path().join("two.pem"), dir.path().join("cas/two.pem")).unwrap();
    assert_eq!(since(), "~ tls default: contents of cas");
    renew(dir.path(), "one");
    fs::write(dir.path().join("site.pem"), &site).unwrap();
    let lists = "~ tls default: contents of cas, contents of one.crl, contents of one.pem\n\
                 ~ trust t: contents of one.pem";
    assert_eq!(since(), lists);
    renew(dir.path(), "two");
    let said = format!("{lists}\n").replace(
        "\n~ trust",
        "\n~ certificate site: contents of site.pem\n~ trust",
    );
    assert_eq!(since() + "\n", said);
}

#[test]
fn a_certificate_that_is_yet_to_be_made_is_the_same_each_time() {
    let dir = directory();
    let text = terminate(APP).replace("cert_file = \"site.pem\"", "self_signed = true");
    assert!(between(dir.path(), &text, &text).is_empty());
}

#[test]
fn the_directory_of_a_configuration_is_no_part_of_it() {
    let (one, other) = (directory(), tempfile::tempdir().unwrap());
    for name in ["site.pem", "one.pem"] {
        fs::copy(one.path().join(name), other.path().join(name)).unwrap();
    }
    let text = terminate(&format!(
        "{APP}[tls.default]\nclient_auth.ca_files = \"one.pem\"\n"
    ));
    let [one, other] = [one, other].map(|dir| outline(dir.path(), &text));
    assert_eq!(diff(&one, &other).to_string(), "");
}

/// What a reload that leaves a broken file has served goes on.
#[test]
fn a_file_of_which_what_runs_goes_on_has_the_contents_of_before() {
    let dir = directory();
    let path = dir.path().join("snigate.toml");
    let text = terminate(&format!(
        "{APP}[tls.default]\nclient_auth.ca_files = \"one.pem\"\n"
    ));
    let mut loaded = load(&path, &text);
    let before = loaded.outline(&path, None).unwrap();
    let circumstances = config::Circumstances {
        running: loaded.files.take_materials().into(),
        ..config::Circumstances::at(std::time::SystemTime::now())
    };
    fs::write(dir.path().join("one.pem"), "broken").unwrap();
    let loaded = config::load_in(&path, &circumstances);
    assert!(!loaded.unfit.is_empty());
    let now = loaded.outline(&path, Some(&before)).unwrap();
    assert!(diff(&before, &now).is_empty());
    renew(dir.path(), "one");
    let after = config::load(&path).outline(&path, Some(&now)).unwrap();
    let said = diff(&now, &after).to_string();
    assert!(said.contains("contents of one.pem"), "{said}");
}

#[test]
fn what_stands_in_the_file_is_never_said() {
    let dir = directory();
    let pem = |name: &str| fs::read_to_string(dir.path().join(format!("{name}.pem"))).unwrap();
    let inline = |name: &str, port: u16| {
        terminate(&format!(
            "[upstreams.app]\nservers = \"app.internal:{port}\"\ntls.trust = \"t\"\n\
             [trust.t]\npem = '''{}'''\n",
            pem(name)
        ))
    };
    let change = between(dir.path(), &inline("one", 1), &inline("two", 2));
    let lines = "- server app.internal:1 of upstream app\n\
                 + server app.internal:2 of upstream app\n~ trust t: pem";
    assert_eq!(change.to_string(), lines);
    let json = serde_json::to_string(&change).unwrap();
    assert!(!json.contains("BEGIN"), "{json}");
}

#[test]
fn a_line_of_the_log_is_bounded() {
    let change = |name: &str, keys: usize| Change {
        change: Edit::Changed,
        kind: TableKind::Route,
        name: Some(name.to_owned()),
        upstream: None,
        keys: (0..keys).map(|key| format!("k{key}")).collect(),
    };
    let of = |number: usize| Diff(vec![change("a\nb", 1); number]).in_short();
    assert_eq!(of(0), "nothing");
    assert_eq!(of(2), "~ route a\\0ab: k0; ~ route a\\0ab: k0");
    assert!(of(8).ends_with("k0") && of(20).ends_with("k0; and 12 more"));
    let keys = Diff(vec![change("a", 10)]).in_short();
    assert!(keys.ends_with("k6, k7, and 2 more"), "{keys}");
    let longest = Diff(vec![change(&"\u{fc}".repeat(10_000), 1_000); 100]).in_short();
    assert!(longest.chars().count() < 2_000, "{longest}");
}

#[test]
fn little_is_remembered_of_a_route() {
    let routes: String = (0..1000)
        .map(|number| {
            format!(
                "[routes.r{number}]\nsni = \"r{number}.example\"\naction = \"passthrough\"\nupstream = \"10.0.0.1:{}\"\n",
                number + 1
            )
        })
        .collect();
    let dir = directory();
    let outline = outline(dir.path(), &format!("{FRAME}{routes}"));
    let [_, (_, routes, _), ..] = outline.named(&outline);
    assert!(routes.size_of_each() < 46, "{}", routes.size_of_each());
}

/// Configurations whose lists are sorted, so that two are the same if and only if `show` prints the
/// same of them.
fn any_configuration() -> impl Strategy<Value = String> {
    let action = select(vec!["reject", "passthrough", "terminate"]);
    let names = subsequence(vec!["a.example", "b.example", "c.example"], 1..=2);
    let upstream = select(vec!["app", "db", "10.0.0.1:1"]);
    let idle = select(vec![None, Some("1m"), Some("60s"), Some("off")]);
    let route = (names, action, upstream, idle, any::<bool>());
    let servers = subsequence(vec!["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"], 1..=3);
    let upstreams = prop::collection::vec((servers, any::<bool>(), any::<bool>()), 2);
    let alone = (
        select(vec!["1h", "1m"]),
        select(vec!["info", "warn"]),
        subsequence(vec!["one.pem", "two.pem"], 0..=2),
    );
    (prop::collection::vec(route, 1..=3), upstreams, alone).prop_map(
        |(routes, upstreams, (idle, level, cas))| {
            let mut text =
                format!("{FRAME}[timeouts]\nidle = {idle:?}\n[log]\nlevel = {level:?}\n");
            for (at, (names, action, upstream, idle, strict)) in routes.iter().enumerate() {
                let names: Vec<_> = names.iter().map(|name| format!("r{at}.{name}")).collect();
                text += &format!(
                    "[routes.r{at}]\nsni = {names:?}\naction = {action:?}\nstrict_sni = {strict}\n"
                );
                if *action != "reject" {
                    text += &format!("upstream = {upstream:?}\n");
                    text +=
                        &idle.map_or(String::new(), |idle| format!("timeouts.idle = {idle:?}\n"));
                }
            }
            for (name, (servers, health, plain)) in ["app", "db"].iter().zip(upstreams) {
                text += &format!("[upstreams.{name}]\nservers = {servers:?}\nhealth = {health}\n");
                text += if plain { "" } else { "ejection = \"off\"\n" };
            }
            text + &match cas.is_empty() {
                true => String::new(),
                false => format!("[tls.default]\nclient_auth.ca_files = {cas:?}\n"),
            }
        },
    )
}

fn mirrored(Diff(changes): Diff) -> Diff {
    let mirrored = |change: Change| Change {
        change: match change.change {
            Edit::Added => Edit::Removed,
            Edit::Removed => Edit::Added,
            Edit::Changed => Edit::Changed,
        },
        ..change
    };
    Diff(changes.into_iter().map(mirrored).collect())
}

/// Asserts that of each route those keys are said that `show` prints with other values, but for what
/// comes from other tables.
fn assert_keys_of_routes(diff: &Diff, old: &str, new: &str) {
    let [old_file, new_file]: [toml::Table; 2] = [old, new].map(|text| text.parse().unwrap());
    let values = |file: &toml::Table, name: &str| {
        let mut values = BTreeMap::new();
        let table = file["routes"].get(name);
        if let Some(table) = table {
            leaves(table, "", &mut values);
        }
        let idle = file["timeouts"]["idle"].to_string();
        values.retain(|key, _| match key.as_str() {
            "timeouts.idle" => true,
            "on_remove" | "certificates" | "tls" => false,
            key => !key.starts_with("timeouts."),
        });
        let own = |(key, value): (String, String)| {
            let is_own = key != "timeouts.idle" || value != idle;
            (key, (value, is_own))
        };
        let values: BTreeMap<_, _> = values.into_iter().map(own).collect();
        let has_table = table.is_some();
        has_table.then_some(values)
    };
    for at in 0..3 {
        let name = format!("r{at}");
        let (Some(before), Some(now)) = (values(&old_file, &name), values(&new_file, &name)) else {
            continue;
        };
        let is_said = |change: &&Change| {
            change.kind == TableKind::Route && change.name.as_ref() == Some(&name)
        };
        let said = diff.changes().find(is_said);
        let said: BTreeSet<&str> = said
            .iter()
            .flat_map(|change| &change.keys)
            .map(|key| {
                if key == "timeouts" {
                    "timeouts.idle"
                } else {
                    key
                }
            })
            .collect();
        let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let differ: BTreeSet<&str> = keys
            .into_iter()
            .filter(|key| {
                let values = [before.get(*key), now.get(*key)];
                let [old, new] = values.map(|value| value.map(|(value, _)| value));
                old != new && values.into_iter().flatten().any(|(_, is_own)| *is_own)
            })
            .map(String::as_str)
            .collect();
        assert_eq!(said, differ, "{diff}\n{old}\n=>\n{new}");
    }
}

fn leaves(value: &toml::Value, path: &str, into: &mut BTreeMap<String, String>) {
    let toml::Value::Table(table) = value else {
        into.insert(path.trim_start_matches('.').to_owned(), value.to_string());
        return;
    };
    for (key, value) in table {
        leaves(value, &format!("{path}.{key}"), into);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_global_rejects: 100_000, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_difference_is_its_own_mirror_and_empty_where_show_prints_the_same(old in any_configuration(), new in any_configuration()) {
        thread_local! { static DIR: TempDir = directory(); }
        DIR.with(|dir| {
            let path = dir.path().join("snigate.toml");
            // Some of them have tables that are not used.
            let read = |text: &str| {
                let loaded = load(&path, text);
                let shown = toml::to_string(&loaded.config.as_ref()?.to_file()).unwrap();
                Some((loaded.outline(&path, None)?, shown))
            };
            if let (Some((before, old_shown)), Some((after, new_shown))) = (read(&old), read(&new)) {
                let forth = diff(&before, &after);
                assert_eq!(mirrored(diff(&after, &before)), forth, "{old}\n=>\n{new}");
                assert_eq!(forth.is_empty(), old_shown == new_shown, "{forth}\n{old_shown}\n=>\n{new_shown}");
                let (again, _) = read(&new_shown).expect("what show prints is valid");
                assert_eq!(diff(&after, &again).to_string(), "", "{new}\n=>\n{new_shown}");
                assert!(diff(&before, &before).is_empty());
                assert_keys_of_routes(&forth, &old_shown, &new_shown);
            }
        });
    }
}

/// A route has no form as a file here, so somebody has to look that its keys are those of the file.
#[test]
fn the_keys_of_a_route_are_those_that_show_prints() {
    let dir = directory();
    let path = dir.path().join("snigate.toml");
    let all = "alpn = \"h2\"\nfrom = \"10.0.0.0/8\"\nlisteners = \"edge\"\n";
    let texts = [
        passthrough(""),
        passthrough(all),
        terminate(APP),
        terminate(&format!("{all}{APP}[tls.default]\nalpn = \"h2\"\n")),
        passthrough("").replace(
            "action = \"passthrough\"\nupstream = \"10.0.0.1:1\"",
            "action = \"reject\"",
        ),
    ];
    for text in texts {
        let loaded = load(&path, &text);
        let config = loaded
            .config
            .unwrap_or_else(|| panic!("{:?}\n{text}", loaded.diagnostics));
        let mut shown = Vec::new();
        let file = config.to_file();
        Base::of(&path).keys(&file.routes["a"], |key, _| shown.push(key.to_owned()));
        let inherited = route::RouteDefaults::of(&config);
        let routes = config.routes.iter().map(|route| (&route.name, route));
        let outlines =
            TableOutlines::of(routes, |_, route, row| route::keys(route, &inherited, row));
        let mut keys: Vec<String> = outlines.keys().map(str::to_owned).collect();
        keys.sort();
        shown.sort();
        assert_eq!(keys, shown, "{text}");
    }
}
