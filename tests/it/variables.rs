//! `${NAME}` in the values of a configuration.

use std::path::Path;
use std::process::{Command, Output};

use snigate::pki::{Authority, Validity};

use crate::cli::{text, with_config};

fn with(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(dir)
        .output()
        .expect("it runs")
}

const CONFIG: &str = "include = \"${PART}.d/*.toml\"\n[listeners.edge]\nbind = \"127.0.0.1:${PORT}\"\n\
     [routes.a]\nsni = [\"${HOST}\", \"$${literal}.d\"]\naction = \"passthrough\"\nupstream = \"u\"\ntimeouts.idle = \"${IDLE}\"\n\
     [storage]\ndir = \"/var/lib/$${x}\"\n";

const INCLUDED: &str = "[upstreams.u]\nservers = [\"${SERVER}:1\", \"${SERVER}:2\"]\n";

const ALL: [(&str, &str); 5] = [
    ("PART", "more"),
    ("PORT", "18443"),
    ("HOST", "Hidden.Example."),
    ("IDLE", "90s"),
    ("SERVER", "backend-of-secret.internal"),
];

fn files() -> tempfile::TempDir {
    let dir = with_config(&CONFIG.replace(", \"$${literal}.d\"", ""));
    std::fs::create_dir(dir.path().join("more.d")).unwrap();
    std::fs::write(dir.path().join("more.d/u.toml"), INCLUDED).unwrap();
    dir
}

#[test]
fn values_come_from_the_environment_and_are_never_printed() {
    let dir = files();
    let check = with(dir.path(), &["check"], &ALL);
    assert!(check.status.success(), "{}", text(&check));
    let show = with(dir.path(), &["show"], &ALL);
    let explain = with(dir.path(), &["explain", "--sni", "hidden.example"], &ALL);
    assert!(explain.status.success(), "{}", text(&explain));
    for output in [&show, &explain] {
        let said = text(output);
        for value in [
            "hidden.example",
            "Hidden",
            "18443",
            "1m 30s",
            "90s",
            "secret",
        ] {
            assert!(!said.contains(value), "{value} is in:\n{said}");
        }
        assert!(
            said.contains("${SERVER}:1") && said.contains("${HOST}") && said.contains("${IDLE}"),
            "{said}"
        );
    }
    // What is shown means the same, with the same variables.
    assert!(
        text(&show).contains("dir = \"/var/lib/$${x}\""),
        "{}",
        text(&show)
    );
    std::fs::write(dir.path().join("shown.toml"), &show.stdout).unwrap();
    let again = with(dir.path(), &["show", "shown.toml"], &ALL);
    assert_eq!(
        String::from_utf8_lossy(&again.stdout),
        String::from_utf8_lossy(&show.stdout)
    );
}

#[test]
fn a_variable_that_is_missing_is_one_error_with_its_place() {
    let dir = files();
    for (missing, place) in [
        ("PART", "snigate.toml:1:12"),
        ("PORT", "snigate.toml:3:19"),
        ("HOST", "snigate.toml:5:9"),
        ("IDLE", "snigate.toml:8:18"),
        ("SERVER", "more.d/u.toml:2:13"),
    ] {
        let left: Vec<(&str, &str)> = ALL
            .into_iter()
            .filter(|(name, _)| *name != missing)
            .collect();
        for (variables, wrong) in [
            (left.clone(), "not set"),
            ([left, vec![(missing, "")]].concat(), "empty"),
        ] {
            let output = with(dir.path(), &["check"], &variables);
            let said = text(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(
                said.contains(&format!("the environment variable {missing} is {wrong}")),
                "{said}"
            );
            assert!(said.contains(place), "{place} is not in:\n{said}");
            // Although it is used twice, and although a file that is not included is missed by the
            // route.
            assert!(said.contains("not valid: 1 error,"), "{missing}:\n{said}");
        }
    }
}

#[test]
fn a_message_about_a_value_has_the_name_of_its_variable() {
    let dir = files();
    for (name, value) in [
        ("HOST", "not a name!"),
        ("IDLE", "soon-enough"),
        ("SERVER", "\"quo\u{ff}ted\""),
        ("PORT", "99999999"),
    ] {
        let variables: Vec<(&str, &str)> = ALL
            .into_iter()
            .map(|(other, own)| (other, if other == name { value } else { own }))
            .collect();
        for arguments in [&["check"][..], &["check", "--json"], &["show"], &["run"]] {
            let said = text(&with(dir.path(), arguments, &variables));
            // The snippet has the line as it is written, or the message has the name in the value's
            // place.
            assert!(
                arguments.contains(&"--json") || said.contains(&format!("${{{name}}}")),
                "{name}: {said}"
            );
            assert!(
                !said.contains(value) && !said.contains(&value.escape_debug().to_string()),
                "{name}: {said}"
            );
        }
    }
}

#[test]
fn keys_hold_no_variables_and_variables_no_private_keys() {
    let key = Authority::new("ca", Validity::days(20))
        .unwrap()
        .server(&["a.example"], Validity::days(20))
        .unwrap()
        .key;
    for (more, variables, expected) in [
        (
            "[routes.\"${HOST}\"]\nsni = \"b\"\naction = \"reject\"\n",
            &[][..],
            "never in a key",
        ),
        (
            "[trust.t]\npem = \"${KEY}\"\n",
            &[("KEY", key.as_str())],
            "a private key is in the variable",
        ),
        (
            "[trust.t]\npem = \"${\"\n",
            &[],
            "`$${` for the two characters themselves",
        ),
    ] {
        let dir = with_config(&format!("[listeners.edge]\nbind = \"127.0.0.1:0\"\n{more}"));
        let output = with(dir.path(), &["check"], &[&ALL[..], variables].concat());
        let said = text(&output);
        assert!(
            said.contains(expected) && said.contains("not valid: 1 error"),
            "{expected:?} is not in:\n{said}"
        );
        assert!(!said.contains(key.lines().nth(1).unwrap()), "{said}");
    }
}
