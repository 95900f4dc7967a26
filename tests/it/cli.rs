//! What the commands print.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use snigate::pki::{Authority, RevocationList, Validity};
use tempfile::TempDir;

use crate::support::tls;

pub(crate) fn snigate(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_snigate"))
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("it runs")
}

pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A directory with this configuration and a CA, `ca.pem`, which has issued `a.example.pem`.
pub(crate) fn with_config(config: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let authority = tls::authority(dir.path(), "ca");
    tls::write(
        dir.path(),
        "a.example",
        &authority
            .server(&["a.example"], Validity::days(20))
            .unwrap(),
    );
    fs::write(dir.path().join("snigate.toml"), config).unwrap();
    dir
}

/// What `check` says of a configuration that is not valid.
fn refused(config: &str) -> String {
    let dir = with_config(config);
    let output = snigate(dir.path(), &["check"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

pub(crate) const LISTENER: &str = "[listeners.edge]\nbind = \"127.0.0.1:8443\"\n";
pub(crate) const CERTIFICATE: &str =
    "[certificates.a]\ncert_file = \"a.example.pem\"\nkey_file = \"a.example-key.pem\"\n";

#[test]
fn what_the_system_said_is_told_once_and_without_its_number() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
    for (arguments, expected) in [
        (
            &["pki", "init", "--dir", "file/sub", "--name", "a"][..],
            "there is something of that name already",
        ),
        (
            &["pki", "inspect", "loop"],
            "its symbolic links lead to each other",
        ),
        (
            &["check", "-c", "loop"],
            "its symbolic links lead to each other",
        ),
        (&["check", "-c", "nowhere"], "there is no such file"),
        (&["check", "-c", "file/nowhere"], "is no directory"),
    ] {
        let output = snigate(dir.path(), arguments);
        let said = text(&output);
        assert!(
            !output.status.success() && !said.contains("os error"),
            "{arguments:?}: {said}"
        );
        assert_eq!(said.matches(expected).count(), 1, "{arguments:?}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = LISTENER.replace("127.0.0.1:8443", &taken.local_addr().unwrap().to_string());
    let output = snigate(with_config(&config).path(), &["run"]);
    let said = text(&output);
    assert!(
        !output.status.success() && !said.contains("os error"),
        "{said}"
    );
    assert_eq!(said.matches("the address is in use").count(), 1, "{said}");
}

#[test]
fn every_configuration_that_comes_with_the_project_is_valid() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    for directory in ["routes.d", "clients.d", "certs", "trusted.d", "lists.d"] {
        fs::create_dir(path.join(directory)).unwrap();
    }
    let authority = tls::authority(path, "ca");
    for copy in [
        "ca.crt",
        "clients.d/ca.pem",
        "trusted.d/ca.pem",
        "corp-ca.pem",
    ] {
        fs::copy(path.join("ca.pem"), path.join(copy)).unwrap();
    }
    tls::write(
        path,
        "edge-client",
        &authority.client("edge", Validity::days(20)).unwrap(),
    );
    for file in ["ca.crl", "lists.d/ca.crl"] {
        fs::write(
            path.join(file),
            RevocationList::default()
                .sign(&authority, Validity::days(30))
                .unwrap(),
        )
        .unwrap();
    }
    tls::write(
        path,
        "vault",
        &authority
            .server(
                &["vault.example.net", "*.vault.example.net"],
                Validity::days(20),
            )
            .unwrap(),
    );
    let lan = authority
        .server(&["gpu.local", "localhost", "127.0.0.1"], Validity::days(20))
        .unwrap();
    tls::write(&path.join("certs"), "server", &lan);
    let mut checked = 0;
    for entry in fs::read_dir(project).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, path.join("snigate.toml")).unwrap();
        let output = snigate(path, &["check"]);
        let text = text(&output);
        assert!(
            output.status.success() && text.contains("0 errors, 0 warnings"),
            "{}:\n{text}",
            file.display()
        );
        checked += 1;
    }
    assert!(checked >= 5, "only {checked} files were found");
}

#[test]
fn the_example_has_every_key_of_the_schema_and_no_other() {
    let example =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.toml"))
            .unwrap();
    let example: toml::Table = example.parse().unwrap();
    let schema: serde_json::Value =
        serde_json::from_slice(&snigate(Path::new("/"), &["schema"]).stdout).unwrap();
    let mut in_schema = BTreeSet::new();
    schema_keys(&schema, &schema, "", &mut in_schema);
    let mut in_example = BTreeSet::new();
    example_keys(&example, "", &mut in_example);
    // A key of a table that the example shows in several tables counts once.
    let missing: Vec<_> = in_schema
        .difference(&in_example)
        .filter(|key| *key != "log" && *key != "timeouts")
        .collect();
    assert!(missing.is_empty(), "not in the example: {missing:?}");
    assert!(in_schema.len() > 30, "{in_schema:?}");
}

/// The keys below `schema`, with `NAME` for the names of tables.
fn schema_keys(
    root: &serde_json::Value,
    schema: &serde_json::Value,
    prefix: &str,
    keys: &mut BTreeSet<String>,
) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return schema_keys(root, &root["$defs"][name], prefix, keys);
    }
    for variant in schema["anyOf"].as_array().into_iter().flatten() {
        schema_keys(root, variant, prefix, keys);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        let before = keys.len();
        match property.get("additionalProperties") {
            Some(table) if table.is_object() => {
                schema_keys(root, table, &format!("{key}.NAME"), keys)
            }
            _ => schema_keys(root, property, &key, keys),
        }
        if keys.len() == before {
            keys.insert(key);
        }
    }
}

fn example_keys(table: &toml::Table, prefix: &str, keys: &mut BTreeSet<String>) {
    let tables = [
        "listeners",
        "routes",
        "upstreams",
        "tls",
        "certificates",
        "trust",
    ];
    for (name, value) in table {
        let name = if tables.contains(&prefix) {
            "NAME"
        } else {
            name.as_str()
        };
        let key = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => example_keys(inner, &key, keys),
            toml::Value::Array(entries) => {
                // An entry of a list may be a table.
                entries
                    .iter()
                    .filter_map(toml::Value::as_table)
                    .for_each(|inner| example_keys(inner, &key, keys));
                keys.insert(key);
            }
            _ => _ = keys.insert(key),
        }
    }
}

#[test]
fn check_reports_every_mistake_with_its_place_and_what_to_write() {
    let text = refused(&format!(
        "{LISTENER}[routes.api]\nsin = \"a.example\"\naction = \"passthru\"\nupstream = \"app\"\n\
         [upstreams.api]\nservers = [\"10.0.0.1\"]\n[timeouts]\nidle = \"long\"\n"
    ));
    for expected in [
        "routes.api.sin: unknown key `sin`",
        "did you mean \"sni\"?",
        "snigate.toml:4:1",
        "routes.api.action: unknown value `passthru`",
        "did you mean \"passthrough\"?",
        "upstreams.api: servers: an address ends in a port",
        "timeouts: idle: \"long\" is not a duration",
        "10 | idle = \"long\"",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}

#[test]
fn a_configuration_that_could_serve_less_safely_than_written_is_refused() {
    let terminate = format!(
        "{LISTENER}{CERTIFICATE}[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"10.0.0.1:1\"\n"
    );
    let passthrough = format!(
        "{LISTENER}[routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\nupstream = \"10.0.0.1:1\"\n"
    );
    for (config, expected) in [
        (
            format!("{terminate}tls = \"m\"\n[tls.m]\nclient_auth.mode = \"require_and_verify\"\n"),
            "there are no ca_files",
        ),
        (
            format!("{terminate}tls = \"m\"\n[tls.m]\nclient_auth.ca_files = [\"no.pem\"]\n"),
            "cannot read no.pem",
        ),
        (
            format!("{terminate}tls = \"m\"\n[tls.m]\nclient_auth.ca_files = [\"snigate.toml\"]\n"),
            "no certificate in the file",
        ),
        (
            format!(
                "{terminate}tls = \"m\"\n[tls.m]\nclient_auth.ca_files = [\"a.example.pem\"]\n"
            ),
            "is not a CA certificate",
        ),
        (
            format!("{terminate}tls = \"n\"\n[tls.m]\nclient_auth.ca_files = [\"ca.pem\"]\n"),
            "did you mean \"m\"?",
        ),
        (
            format!("{terminate}tls = \"m\"\n[tls.m]\nextends = \"k\"\n[tls.k]\nextends = \"m\"\n"),
            "extends itself",
        ),
        (
            format!("{terminate}tls = \"m\"\n[tls.m]\nextends = \"k\"\n"),
            "tls \"k\" is not defined",
        ),
        (
            format!("{passthrough}tls = \"m\"\n[tls.m]\nclient_auth.ca_files = [\"ca.pem\"]\n"),
            "tls has no effect",
        ),
        (
            format!("{passthrough}certificates = [\"a\"]\n{CERTIFICATE}"),
            "certificates has no effect",
        ),
        (
            format!("{passthrough}[routes.b]\nsni = [\"A.Example.\"]\naction = \"reject\"\n"),
            "routes.b and routes.a both take",
        ),
        (format!("{passthrough}from = []\n"), "from is empty"),
        (
            format!("{passthrough}listeners = [\"egde\"]\n"),
            "did you mean \"edge\"?",
        ),
        (
            format!("{terminate}certificates = [\"b\"]\n"),
            "certificate \"b\" is not defined",
        ),
        (
            format!(
                "{LISTENER}[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"10.0.0.1:1\"\n"
            ),
            "there is no certificate",
        ),
        (
            passthrough.replace("\"a.example\"", "\"10.0.0.1\""),
            "an IP address is not a server name",
        ),
        (
            format!("{LISTENER}[listeners.b]\nbind = \"0.0.0.0:8443\"\n"),
            "listeners.b is on 0.0.0.0:8443 already",
        ),
        (String::new(), "there are no listeners"),
        (
            format!("{terminate}tls = \"m\"\n[tls.m]\nclient_auth = []\n"),
            "tls.m.client_auth must be a table",
        ),
        (
            format!(
                "{terminate}tls = \"m\"\n[tls.m]\nclient_auth.mode = \"none\"\nclient_auth.ca_files = \"ca.pem\"\n"
            ),
            "none beside ca_files",
        ),
        (
            format!("{passthrough}[[routes.b]]\nsni = \"b\"\n"),
            "write `[routes.b]`, once",
        ),
        (
            format!(
                "{LISTENER}[routes.a]\nsni = \"a\"\naction = \"passthrough\"\nupstream = \"127.0.0.1:8443\"\n"
            ),
            "where the client came from",
        ),
        (
            passthrough.replace("127.0.0.1:8443", "[::ffff:127.0.0.1]:8443"),
            "write the IPv4 address, 127.0.0.1",
        ),
        (
            "[listeners.edge]\nbind = \"127.0.0.1:1\"\nbind = \"127.0.0.1:2\"\n".to_owned(),
            "listeners.edge.bind is defined twice, first in line 2",
        ),
    ] {
        let text = refused(&config);
        assert!(
            text.contains(expected),
            "{expected:?} is not in what is said of\n{config}\n{text}"
        );
    }
}

#[test]
fn files_that_include_each_other_are_read_once() {
    let dir = with_config(&format!(
        "include = [\"x/../y.toml\", \"./snigate.toml\", \"*.toml\"]\n{LISTENER}"
    ));
    fs::create_dir(dir.path().join("x")).unwrap();
    let back = "include = [\"x/../x/../snigate.toml\", \"x/../y.toml\"]\n[routes.a]\nsni = \"a\"\naction = \"reject\"\n";
    fs::write(dir.path().join("y.toml"), back).unwrap();
    let said = text(&snigate(dir.path(), &["check"]));
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
}

#[test]
fn a_mistake_is_reported_once() {
    let said = refused("[listners.edge]\nbind = \"127.0.0.1:1\"\n");
    assert!(said.contains("did you mean \"listeners\"?"), "{said}");
    assert_eq!(said.matches("unknown key `listners`").count(), 1, "{said}");
}

#[test]
fn ca_files_count_more_than_a_mode_that_is_inherited() {
    let dir = with_config(&format!(
        "{LISTENER}{CERTIFICATE}[tls.base]\nclient_auth.mode = \"none\"\n\
         [tls.m]\nextends = \"base\"\nclient_auth.ca_files = \"ca.pem\"\n[tls.open]\nextends = \"m\"\nclient_auth.mode = \"none\"\n\
         [routes.a]\nsni = \"a.example\"\naction = \"terminate\"\ntls = \"m\"\nupstream = \"10.0.0.1:1\"\n\
         [routes.b]\nsni = \"*\"\naction = \"terminate\"\ntls = \"open\"\nupstream = \"10.0.0.1:1\"\n"
    ));
    let explained = |name| text(&snigate(dir.path(), &["explain", "--sni", name]));
    assert!(
        explained("a.example").contains("client_auth  require_and_verify against ca.pem"),
        "{}",
        explained("a.example")
    );
    assert!(
        explained("b.example").contains("client_auth  none"),
        "{}",
        explained("b.example")
    );
}

#[test]
fn tables_that_no_route_uses_are_pointed_out() {
    let dir = with_config(&format!(
        "{LISTENER}{CERTIFICATE}[tls.m]\nclient_auth.ca_files = \"ca.pem\"\n[upstreams.u]\nservers = \"10.0.0.1:1\"\n\
         [routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"10.0.0.1:1\"\n"
    ));
    let said = text(&snigate(dir.path(), &["check"]));
    for expected in [
        "routes.a would let in every client",
        "add `tls = \"m\"`",
        "upstreams.u: no route uses it",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
    let meant =
        fs::read_to_string(dir.path().join("snigate.toml")).unwrap() + "tls = \"default\"\n";
    fs::write(dir.path().join("snigate.toml"), &meant).unwrap();
    let said = text(&snigate(dir.path(), &["check"]));
    assert!(
        said.contains("routes.a: tls \"default\" is not defined"),
        "{said}"
    );
    let meant = meant + "[tls.default]\nclient_auth.mode = \"none\"\n";
    fs::write(dir.path().join("snigate.toml"), &meant).unwrap();
    let said = text(&snigate(dir.path(), &["check"]));
    assert!(
        said.contains("0 errors, 2 warnings") && said.contains("tls.m: no route uses it"),
        "{said}"
    );
    fs::write(
        dir.path().join("snigate.toml"),
        meant.clone() + "[tls.nothing]\n",
    )
    .unwrap();
    let said = text(&snigate(dir.path(), &["check"]));
    assert!(
        said.contains("tls.nothing sets nothing: every client comes in"),
        "{said}"
    );
    let meant = meant.replace("[tls.default]", "[tls.other]") + "extends = \"default\"\n";
    fs::write(
        dir.path().join("snigate.toml"),
        meant.replace("tls = \"default\"", "tls = \"other\""),
    )
    .unwrap();
    let said = text(&snigate(dir.path(), &["check"]));
    assert!(
        said.contains("tls.other: extends: tls \"default\" is not defined"),
        "{said}"
    );
}

#[test]
fn a_check_against_another_configuration_says_what_a_reload_would_hold_and_what_would_wait() {
    let open =
        "[routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\nupstream = \"10.0.0.1:1\"\n";
    let dir = with_config(&format!("{LISTENER}{open}"));
    let old =
        |text: &str| fs::write(dir.path().join("old.toml"), format!("{LISTENER}{text}")).unwrap();
    let check = || text(&snigate(dir.path(), &["check", "--against", "old.toml"]));
    old(&format!("{open}from = \"10.0.0.0/8\"\n"));
    let said = check();
    assert!(
        said.contains("would be held: routes.a: from would go")
            && said.contains("snigate.toml:3:9"),
        "{said}"
    );
    assert!(
        said.contains("0 errors, 1 warning") && said.contains("SIGHUP"),
        "{said}"
    );
    old(&open
        .replace("routes.a", "routes.b")
        .replace("a.example", "b.example"));
    let said = check();
    assert!(
        said.contains(
            "would wait until its files are quiet: routes.a would take clients for a.example"
        ),
        "{said}"
    );
    old(open);
    assert!(check().contains("0 errors, 0 warnings"), "{}", check());
    old("");
    fs::write(dir.path().join("old.toml"), "[").unwrap();
    let said = check();
    assert!(
        said.contains("nothing can be compared with old.toml: old.toml:1:1: "),
        "{said}"
    );
}

#[test]
fn what_is_worth_knowing_of_certificates_is_said() {
    let base = format!(
        "{LISTENER}[routes.a]\nsni = \"b.example\"\naction = \"terminate\"\nupstream = \"10.0.0.1:1\"\n"
    );
    let dir = with_config(&format!("{base}{CERTIFICATE}"));
    let output = snigate(dir.path(), &["check"]);
    let said = text(&output);
    assert!(
        output.status.success() && said.contains("no certificate covers b.example"),
        "{said}"
    );
    assert!(
        said.contains("it can never match") && said.contains("dns:a.example"),
        "{said}"
    );

    let authority = Authority::new("ca", Validity::days(30)).unwrap();
    let now = SystemTime::now();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    fs::write(
        dir.path().join("snigate.toml"),
        format!("{}{CERTIFICATE}", base.replace("b.example", "*.example")),
    )
    .unwrap();
    // The last quarter of its life, and at most thirty days. The first warning is that no
    // certificate covers *.example.
    for (before, after, expected) in [
        (1, 24, "0 errors, 1 warning"),
        (19, 5, "expires on"),
        (50 * 24, 31 * 24, "0 errors, 1 warning"),
        (67 * 24, 22 * 24, "expires on"),
        (300 * 24, 65 * 24, "0 errors, 1 warning"),
        (337 * 24, 28 * 24, "expires on"),
        (24, 0, "urgent: certificates.a"),
    ] {
        let validity = Validity {
            not_before: now - hours(before),
            not_after: now + hours(after),
        };
        let issued = authority.server(&["b.example"], validity).unwrap();
        tls::write(dir.path(), "a.example", &issued);
        let output = snigate(dir.path(), &["check"]);
        let said = text(&output);
        assert!(said.contains(expected), "{before} {after}: {said}");
        assert_eq!(output.status.code(), Some(0), "{said}");
    }

    let [one, two] = [1, 2].map(|_| {
        authority
            .server(&["b.example"], Validity::days(30))
            .unwrap()
    });
    tls::write(dir.path(), "a.example", &one);
    fs::write(dir.path().join("a.example-key.pem"), two.key).unwrap();
    let said = text(&snigate(dir.path(), &["check"]));
    assert!(
        said.contains("the private key belongs to no certificate"),
        "{said}"
    );
    assert!(
        said.contains("`openssl pkey -in KEY -pubout` print the same"),
        "{said}"
    );
}

#[test]
fn a_certificate_that_lets_browsers_around_client_authentication_is_pointed_out() {
    let config = |alpn: &str| {
        format!(
            "{LISTENER}{CERTIFICATE}[tls.m]\nclient_auth.ca_files = \"ca.pem\"\n[tls.default]\nalpn = [\"{alpn}\"]\n\
             [routes.a]\nsni = \"a.example\"\naction = \"terminate\"\ntls = \"m\"\nupstream = \"10.0.0.1:1\"\n\
             [routes.b]\nsni = \"b.example\"\naction = \"terminate\"\nstrict_sni = false\nupstream = \"10.0.0.1:2\"\n"
        )
    };
    for (alpn, warned) in [("h2", true), ("http/1.1", false)] {
        let dir = with_config(&config(alpn));
        let said = text(&snigate(dir.path(), &["check"]));
        assert_eq!(
            said.contains("routes.a: a certificate of routes.b"),
            warned,
            "{said}"
        );
    }
}

#[test]
fn a_name_that_two_files_define_is_an_error_that_shows_both() {
    let dir = with_config(&format!(
        "include = \"more.toml\"\n{LISTENER}[routes.a]\nsni = \"a\"\naction = \"reject\"\n"
    ));
    fs::write(
        dir.path().join("more.toml"),
        "[routes.a]\nsni = \"b\"\naction = \"reject\"\n",
    )
    .unwrap();
    let said = text(&snigate(dir.path(), &["check"]));
    for expected in [
        "routes.a is defined twice",
        "more.toml:1:9",
        "snigate.toml:4:9",
        "first defined here",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}

#[test]
fn what_show_prints_is_a_configuration_that_shows_the_same() {
    let dir = with_config(&format!(
        "{LISTENER}{CERTIFICATE}[routes.a]\nsni = \"A.example.\"\naction = \"terminate\"\nupstream = \"app\"\ntls = \"m\"\n\
         timeouts.idle = \"off\"\n[upstreams.app]\nconnect_timeout = \"90s\"\n\
         servers = [\"10.0.0.1:1\", {{ address = \"unix:/s\", weight = 3, max_connections = 7, backup = true }}]\n\
         balance = \"source_hash\"\nejection = {{ failures = 9, max_percent = 60 }}\nhealth.rise = 4\n\
         [tls.base]\nmin_version = \"1.3\"\n[tls.m]\nextends = \"base\"\nclient_auth.ca_files = \"ca.pem\"\n"
    ));
    let shown = snigate(dir.path(), &["show"]);
    assert!(shown.status.success(), "{}", text(&shown));
    fs::write(dir.path().join("snigate.toml"), &shown.stdout).unwrap();
    let again = snigate(dir.path(), &["show"]);
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout),
        String::from_utf8_lossy(&again.stdout)
    );
    let shown: toml::Table = String::from_utf8(shown.stdout).unwrap().parse().unwrap();
    let (route, policy) = (&shown["routes"]["a"], &shown["tls"]["m"]);
    assert_eq!(route["sni"][0].as_str(), Some("a.example"));
    assert_eq!(route["timeouts"]["idle"].as_str(), Some("off"));
    assert_eq!(
        route["timeouts"]["connect"]
            .as_str()
            .map(|text| text.parse::<jiff::SignedDuration>().unwrap().as_secs()),
        Some(90)
    );
    let upstream = &shown["upstreams"]["app"];
    let server = &upstream["servers"][1];
    assert_eq!(
        (
            server["weight"].as_integer(),
            server["max_connections"].as_integer()
        ),
        (Some(3), Some(7))
    );
    assert_eq!(
        (server["backup"].as_bool(), upstream["balance"].as_str()),
        (Some(true), Some("source_hash"))
    );
    let (ejection, health) = (&upstream["ejection"], &upstream["health"]);
    assert_eq!(
        (
            ejection["failures"].as_integer(),
            ejection["max_percent"].as_integer()
        ),
        (Some(9), Some(60))
    );
    assert_eq!(
        (health["kind"].as_str(), health["rise"].as_integer()),
        (Some("tcp"), Some(4))
    );
    assert_eq!(policy["min_version"].as_str(), Some("1.3"));
    assert_eq!(
        policy["client_auth"]["mode"].as_str(),
        Some("require_and_verify")
    );
}

#[test]
fn explain_says_which_route_a_client_gets_and_why() {
    let dir = with_config(&format!(
        "{LISTENER}{CERTIFICATE}[tls.default]\nclient_auth.ca_files = \"ca.pem\"\n\
         [routes.exact]\nsni = \"a.example\"\nfrom = \"10.0.0.0/8\"\naction = \"terminate\"\nupstream = \"10.0.0.1:1\"\n\
         [routes.wild]\nsni = \"*.example\"\naction = \"passthrough\"\nupstream = \"10.0.0.2:1\"\n\
         [routes.no]\nsni = \"no.example\"\naction = \"reject\"\n"
    ));
    for (arguments, expected) in [
        (
            &["--sni", "A.EXAMPLE.", "--from", "10.1.2.3"][..],
            "route        exact, because it names the server exactly, the client is in 10.0.0.0/8",
        ),
        (
            &["--sni", "a.example", "--from", "10.1.2.3"],
            "require_and_verify against ca.pem",
        ),
        (
            &["--sni", "a.example"],
            "route        wild, because its pattern *.example matches",
        ),
        (
            &["--sni", "a.example"],
            "not          exact: the client's address is not in `from`",
        ),
        (&["--sni", "no.example"], "the alert access_denied (49)"),
        (&["--sni", "other"], "the alert unrecognized_name (112)"),
        (&["--sni", "10.0.0.1"], "sends no server name"),
        (&[], "the alert unrecognized_name (112)"),
    ] {
        let output = snigate(dir.path(), &[&["explain"], arguments].concat());
        let said = text(&output);
        assert!(
            said.contains(expected),
            "{expected:?} is not in {arguments:?}:\n{said}"
        );
        let code = if said.contains("the log says no_route") {
            3
        } else {
            0
        };
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
    let unknown = snigate(dir.path(), &["explain", "--listener", "egde"]);
    assert!(!unknown.status.success() && text(&unknown).contains("did you mean \"edge\"?"));

    // A route on one of two listeners is enough, whichever stands last.
    for other in ["before", "z"] {
        let route = "[routes.a]\nsni = \"a.example\"\naction = \"reject\"\nlisteners = \"edge\"\n";
        let dir = with_config(&format!(
            "{LISTENER}[listeners.{other}]\nbind = \"127.0.0.1:8444\"\n{route}"
        ));
        let output = snigate(dir.path(), &["explain", "--sni", "a.example"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(
            said.contains("route        a,") && said.contains("route        none"),
            "{said}"
        );
    }
}

#[test]
fn check_tells_what_would_not_start_from_what_is_worth_a_look() {
    let route =
        "[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"10.0.0.1:1\"\n";
    let base = format!("{LISTENER}{CERTIFICATE}{route}");
    let unused = format!("{base}[upstreams.u]\nservers = \"10.0.0.1:1\"\n");
    let wrong = base.replace("10.0.0.1:1", "10.0.0.1");
    let authority = Authority::new("ca", Validity::days(60)).unwrap();
    let [sound, expired] = [40, 0].map(|days| {
        authority
            .server(&["a.example"], Validity::days(days))
            .unwrap()
    });
    let urgent =
        ": valid, but clients refuse part of what it serves: 0 errors, 0 warnings, 1 urgent\n";
    for (config, certificate, verdict, plain, strict) in [
        (&base, &sound, ": valid: 0 errors, 0 warnings\n", 0, 0),
        (&unused, &sound, ": valid: 0 errors, 1 warning\n", 0, 4),
        (&base, &expired, urgent, 0, 4),
        (&wrong, &sound, ": not valid: 1 error", 1, 1),
        (&wrong, &expired, ": not valid: 1 error", 1, 1),
    ] {
        let dir = with_config(config);
        tls::write(dir.path(), "a.example", certificate);
        for (arguments, code) in [(&["check"][..], plain), (&["check", "--strict"], strict)] {
            let output = snigate(dir.path(), arguments);
            let said = text(&output);
            assert!(said.contains(verdict), "{verdict:?} is not in:\n{said}");
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn check_prints_one_json_object_per_finding() {
    let dir = with_config(&format!(
        "include = \"more.toml\"\n{LISTENER}[routes.a]\nsni = \"a\"\naction = \"reject\"\n\
         [upstreams.u]\nservers = \"10.0.0.1\"\n"
    ));
    fs::write(
        dir.path().join("more.toml"),
        "[routes.a]\nsni = \"b\"\naction = \"reject\"\n",
    )
    .unwrap();
    let output = snigate(dir.path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let findings: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let keys = [
        "severity", "message", "file", "line", "column", "end", "help", "related", "reload",
    ];
    for finding in &findings {
        let found: BTreeSet<&str> = finding
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(found, BTreeSet::from(keys));
    }
    let twice = findings
        .iter()
        .find(|finding| finding["message"] == "routes.a is defined twice")
        .unwrap();
    let (first, second) = (&twice["related"], twice);
    for (place, file, line, end) in [(second, "more.toml", 1, 10), (first, "snigate.toml", 4, 10)] {
        assert_eq!(place["file"], file, "{twice}");
        assert_eq!(
            (&place["line"], &place["column"]),
            (&line.into(), &9.into()),
            "{twice}"
        );
        assert_eq!(
            place["end"],
            serde_json::json!({ "line": line, "column": end }),
            "{twice}"
        );
    }
    assert_eq!(
        (&twice["severity"], &first["message"]),
        (&"error".into(), &"first defined here".into())
    );
}

#[test]
fn the_file_is_named_by_an_option_an_argument_or_the_environment_in_this_order() {
    let dir = with_config("not TOML");
    let right = format!("{LISTENER}[routes.a]\nsni = \"a\"\naction = \"reject\"\n");
    fs::write(dir.path().join("other.toml"), right).unwrap();
    let says = |arguments: &[&str], environment: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
        let output = command
            .args(arguments)
            .env("SNIGATE_CONFIG", environment)
            .current_dir(dir.path())
            .output();
        text(&output.unwrap())
    };
    for (arguments, environment) in [
        (&["check", "-c", "other.toml"][..], "missing.toml"),
        (&["check", "other.toml"], "missing.toml"),
        (&["check"], "other.toml"),
    ] {
        assert!(
            says(arguments, environment).contains("other.toml: valid"),
            "{arguments:?}"
        );
    }
    assert!(
        says(&["check"], "").contains("snigate.toml: not valid"),
        "an empty variable names no file"
    );
    assert!(says(&["check", "a", "-c", "b"], "").contains("cannot be used with"));
}

#[test]
fn explain_shows_every_default_of_a_route() {
    let dir = with_config(&format!(
        "{LISTENER}{CERTIFICATE}[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"u\"\n\
         [upstreams.u]\nservers = [\"10.0.0.1:1\", \"10.0.0.2:1\"]\nhealth = true\n"
    ));
    let show = String::from_utf8(snigate(dir.path(), &["show"]).stdout).unwrap();
    let shown: toml::Table = show.parse().unwrap();
    let said = text(&snigate(dir.path(), &["explain", "--sni", "a.example"]));
    // What `show` has of the route and its upstream, with the name of the key where it is one of
    // several durations.
    for (key, value) in shown["routes"]["a"]["timeouts"].as_table().unwrap() {
        let expected = format!("{key} {}", value.as_str().unwrap());
        assert!(said.contains(&expected), "{expected:?} is not in:\n{said}");
    }
    let health = &shown["upstreams"]["u"]["health"];
    for expected in [
        format!(
            "every {}, {} each",
            health["interval"].as_str().unwrap(),
            health["timeout"].as_str().unwrap()
        ),
        format!(
            "up after {} that succeed, down after {}",
            health["rise"], health["fall"]
        ),
        format!(
            "on_remove    {}:",
            shown["routes"]["a"]["on_remove"].as_str().unwrap()
        ),
        format!("strict_sni   {}", shown["routes"]["a"]["strict_sni"]),
        "client_auth  none".to_owned(),
        " in turn".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected:?} is not in:\n{said}");
    }
}

#[test]
fn bash_completes_commands_and_options() {
    let dir = tempfile::tempdir().unwrap();
    let script = snigate(dir.path(), &["completions", "bash"]);
    assert!(script.status.success());
    fs::write(dir.path().join("snigate.bash"), &script.stdout).unwrap();
    for (words, expected) in [
        ("snigate ch", "check"),
        ("snigate check --st", "--strict"),
        ("snigate explain --sn", "--sni"),
        ("snigate pki is", "issue"),
    ] {
        // As bash calls it: the program, the word that is completed, and the one before.
        let list: Vec<&str> = words.split(' ').collect();
        let [.., before, last] = list[..] else {
            panic!("two words")
        };
        let ask = format!(
            "source snigate.bash && complete -p snigate && COMP_WORDS=({words}) COMP_CWORD={} && \
             _snigate snigate {last} {before} && echo \"${{COMPREPLY[@]}}\"",
            list.len() - 1
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &ask])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = text(&output);
        assert!(
            said.lines()
                .last()
                .is_some_and(|line| line.split(' ').any(|word| word == expected)),
            "{words}: {said}"
        );
    }
    // What each shell asks is its own; that the names are there is the same for all.
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let output = snigate(dir.path(), &["completions", shell]);
        let said = text(&output);
        assert!(output.status.success(), "{shell}");
        assert!(
            ["check", "strict", "sni", "issue"]
                .iter()
                .all(|word| said.contains(word)),
            "{shell}: {said}"
        );
    }
    assert_eq!(
        snigate(dir.path(), &["completions", "tcsh"]).status.code(),
        Some(2)
    );
}

#[test]
fn the_manual_page_has_every_command_option_and_exit_code() {
    let page = text(&snigate(Path::new("/"), &["man"])).replace('\\', "");
    assert!(page.contains(".TH snigate 8"), "{page}");
    let sections: Vec<(&str, &str)> = page
        .split(".SH ")
        .filter_map(|section| section.split_once('\n'))
        .collect();
    let help = |command: &str| {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        text(&snigate(Path::new("/"), &arguments))
    };
    let (mut commands, mut options) = (vec![String::new()], 0);
    while let Some(command) = commands.pop() {
        let help = help(&command);
        let below = |heading: &str| -> Vec<String> {
            let lines = help
                .split(heading)
                .nth(1)
                .unwrap_or_default()
                .lines()
                .skip(1);
            lines
                .take_while(|line| !line.is_empty())
                .map(|line| line.trim().to_owned())
                .collect()
        };
        let inner = below("Commands:")
            .into_iter()
            .filter_map(|line| line.split(' ').next().map(str::to_owned));
        commands.extend(
            inner
                .filter(|name| name != "help")
                .map(|inner| format!("{command} {inner}")),
        );
        // What the program takes itself stands in the synopsis.
        if command.is_empty() {
            continue;
        }
        let title = format!("\"snigate{command}\"");
        let body = sections
            .iter()
            .find(|(found, _)| *found == title)
            .unwrap_or_else(|| panic!("{title}: {page}"))
            .1;
        for line in below("Options:")
            .iter()
            .filter(|line| line.starts_with('-'))
        {
            let option = line.split_once("--").unwrap().1.split(' ').next().unwrap();
            assert!(
                body.contains(&format!("fB--{option}")),
                "{title}: {option:?} is not in:\n{body}"
            );
            options += 1;
        }
    }
    assert!(options > 20, "{options}");
    for line in help("")
        .split("Exit codes:")
        .nth(1)
        .unwrap()
        .lines()
        .map(str::trim)
    {
        assert!(page.contains(line), "{line:?} is not in:\n{page}");
    }
}

#[test]
fn without_a_configuration_the_commands_say_where_they_looked() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["run", "check", "show"] {
        let output = snigate(dir.path(), &[command]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output).contains("/etc/snigate/snigate.toml"),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn the_commands_that_the_demo_prints_work_as_printed() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_snigate"));
    let mut demo = demo
        .arg("demo")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let printed = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let printed: Vec<String> = printed
        .take_while(|line| !line.starts_with("Stop with"))
        .collect();
    let log = BufReader::new(demo.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(
        log.into_iter().any(|line| line.contains("ready")),
        "{printed:?}"
    );

    let commands = printed
        .iter()
        .filter(|line| line.starts_with("  ") && !line.starts_with("  #"));
    let expected = [
        (true, "This is the CA."),
        (false, "certificate required"),
        (true, "The proxy has verified your certificate."),
        (false, "unrecognized name"),
        (true, "[routes.ca]"),
    ];
    let answers: Vec<(String, Output)> = commands
        .map(|command| {
            (
                command.clone(),
                Command::new("sh").args(["-c", command]).output().unwrap(),
            )
        })
        .collect();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&demo),
        rustix::process::Signal::INT,
    )
    .unwrap();
    assert!(demo.wait().unwrap().success());
    assert_eq!(answers.len(), expected.len(), "{printed:?}");
    for ((command, output), (succeeds, said)) in answers.iter().zip(expected) {
        let text = text(output);
        assert!(
            output.status.success() == succeeds && text.contains(said),
            "{said:?} is not in {command}\n{text}"
        );
    }
    let path = printed
        .iter()
        .find_map(|line| line.split("--cacert ").nth(1)?.split("/ca.pem").next())
        .unwrap();
    assert!(!Path::new(path).exists(), "{path} is left behind");
}

#[test]
fn explain_says_what_a_revoked_client_sees() {
    let dir = with_config(&format!(
        "{LISTENER}{CERTIFICATE}[tls.m]\nclient_auth.ca_files = \"ca.pem\"\nclient_auth.crl_files = \"ca.crl\"\n\
         [routes.a]\nsni = \"a.example\"\naction = \"terminate\"\ntls = \"m\"\nupstream = \"10.0.0.1:1\"\n"
    ));
    let authority = Authority::new("another", Validity::days(20)).unwrap();
    let list = RevocationList::default()
        .sign(&authority, Validity::days(30))
        .unwrap();
    fs::write(dir.path().join("ca.pem"), authority.certificate()).unwrap();
    fs::write(dir.path().join("ca.crl"), list).unwrap();
    let said = text(&snigate(dir.path(), &["explain", "--sni", "a.example"]));
    for expected in [
        "with one that is revoked: alert certificate_revoked (44), revoked_certificate",
        "crl_files    ca.crl\n",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}

#[test]
fn root_reads_no_file_by_itself_that_somebody_else_can_change() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("LEFT OUT: only root can give files away");
        return;
    }
    let dir = with_config(&format!(
        "{LISTENER}[routes.a]\nsni = \"a.example\"\naction = \"reject\"\n"
    ));
    let (directory, file) = (dir.path(), dir.path().join("snigate.toml"));
    let set = |path: &Path, user: u32, group: u32, mode: u32| {
        std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, user, group, mode, expected) in [
        (directory, 0, 0, 0o755, None),
        (
            directory,
            1234,
            0,
            0o755,
            Some("the directory belongs to user 1234"),
        ),
        (
            directory,
            0,
            0,
            0o1777,
            Some("everybody can write to the directory"),
        ),
        (
            directory,
            0,
            1234,
            0o775,
            Some("group 1234 can write to the directory"),
        ),
        (directory, 0, 1234, 0o755, None),
        (
            &file,
            1234,
            0,
            0o644,
            Some("./snigate.toml belongs to user 1234"),
        ),
        (
            &file,
            0,
            0,
            0o646,
            Some("everybody can write to ./snigate.toml"),
        ),
        (&file, 0, 0, 0o664, None),
    ] {
        set(path, user, group, mode);
        for command in ["check", "show"] {
            let output = snigate(directory, &[command]);
            assert_eq!(
                output.status.success(),
                expected.is_none(),
                "{expected:?}: {}",
                text(&output)
            );
            if let Some(expected) = expected {
                let said = text(&output);
                assert!(
                    said.contains(expected) && said.contains("name it with -c ./snigate.toml"),
                    "{said}"
                );
            }
        }
        assert!(
            snigate(directory, &["check", "-c", "./snigate.toml"])
                .status
                .success(),
            "{expected:?}"
        );
        set(path, 0, 0, if path == directory { 0o755 } else { 0o644 });
    }
}
