//! `check --against`: what a process that runs another configuration would do with this one.

use std::process::Command;

use serde_json::{Value, json};

use super::*;

const MAIN: &str = "include = [\"conf.d/*.toml\"]\n[listeners.edge]\nbind = \"127.0.0.1:0\"\n[routes.a]\nsni = \"a.example\"\n\
    action = \"passthrough\"\nupstream = \"127.0.0.1:1\"\n";

#[test]
fn a_file_that_is_emptied_or_gone_is_as_much_as_it_is_for_the_process_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let policy = "# nothing but this line\n";
    for place in ["running", "new"] {
        write(&format!("{place}/snigate.toml"), MAIN);
        write(&format!("{place}/conf.d/policy.toml"), policy);
    }
    let said = |new: &Path, old: &Path| {
        let arguments = [
            "check",
            "-c",
            new.to_str().unwrap(),
            "--against",
            old.to_str().unwrap(),
        ];
        text(&snigate(dir.path(), &arguments))
    };
    let relative = || {
        said(
            Path::new("new/snigate.toml"),
            Path::new("running/snigate.toml"),
        )
    };
    let absolute = || {
        said(
            &dir.path().join("new/snigate.toml"),
            &dir.path().join("running/snigate.toml"),
        )
    };
    for check in [&relative as &dyn Fn() -> String, &absolute] {
        write("new/conf.d/policy.toml", policy);
        assert!(!check().contains("would be held"), "{}", check());
        write("new/conf.d/policy.toml", " \n");
        assert!(
            check().contains("would be held: ") && check().contains("conf.d/policy.toml is empty"),
            "{}",
            check()
        );
        fs::remove_file(dir.path().join("new/conf.d/policy.toml")).unwrap();
        let gone = "new/conf.d/*.toml matches no file any more";
        assert!(
            check().contains("would be held: include: ") && check().contains(gone),
            "{}",
            check()
        );
    }
}

/// The configuration [`MAIN`] as `new.toml` and, with `from` in place of what it has, as `old.toml`.
fn two(changes: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let more = "[upstreams.app]\nservers = [\"${SERVER}:1\", \"${SERVER}:2\"]\n[routes.b]\nsni = \"b.example\"\n\
                action = \"passthrough\"\nupstream = \"app\"\n";
    let new = format!("{MAIN}{more}").replace("include = [\"conf.d/*.toml\"]\n", "");
    let old = changes
        .iter()
        .fold(new.clone(), |old, (now, before)| old.replace(now, before));
    fs::write(dir.path().join("new.toml"), new).unwrap();
    fs::write(dir.path().join("old.toml"), old).unwrap();
    dir
}

fn check(dir: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
        .args([&["check", "new.toml", "--against", "old.toml"], arguments].concat())
        .env("SERVER", "backend-of-secret.internal")
        .current_dir(dir.path())
        .output()
        .expect("it runs");
    (output.status.code(), text(&output))
}

const CHANGES: &[(&str, &str)] = &[
    ("[routes.b]", "[routes.c]"),
    ("b.example", "c.example"),
    ("${SERVER}:2", "${SERVER}:3"),
    ("127.0.0.1:1\"", "127.0.0.1:2\"\ntimeouts.idle = \"1m\""),
];

#[test]
fn what_differs_is_printed_by_name_and_key_and_without_values() {
    let dir = two(CHANGES);
    let (code, said) = check(&dir, &[]);
    let lines = "~ route a: timeouts.idle, upstream\n+ route b\n- route c\n+ server ${SERVER}:2 of upstream app\n\
                 - server ${SERVER}:3 of upstream app\nnew.toml: valid: ";
    assert!(said.contains(lines), "{said}");
    assert!(!said.contains("secret"), "{said}");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_configuration_that_says_the_same_in_other_words_does_not_differ() {
    let dir = two(&[
        ("sni = \"a.example\"", "sni = [\"A.example\"]"),
        ("[routes.b]", "[timeouts]\nidle = \"60m\"\n[routes.b]"),
    ]);
    let (_, said) = check(&dir, &[]);
    assert!(said.contains("nothing differs from old.toml\n"), "{said}");
    let (_, json) = check(&dir, &["--json"]);
    assert!(!json.contains("change"), "{json}");
}

#[test]
fn each_change_is_one_json_object_beside_the_findings() {
    let (code, said) = check(&two(CHANGES), &["--json", "--strict"]);
    let objects: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (changes, findings): (Vec<Value>, Vec<Value>) = objects
        .into_iter()
        .partition(|object| object["severity"].is_null());
    assert!(
        findings.iter().all(|finding| finding["change"].is_null()),
        "{said}"
    );
    // As for a check of the new one alone: what would wait is a warning.
    assert_eq!((findings.is_empty(), code), (false, Some(4)), "{said}");
    let expected = [
        json!({ "change": "changed", "kind": "route", "name": "a", "upstream": null, "keys": ["timeouts.idle", "upstream"] }),
        json!({ "change": "added", "kind": "route", "name": "b", "upstream": null, "keys": [] }),
        json!({ "change": "removed", "kind": "route", "name": "c", "upstream": null, "keys": [] }),
        json!({ "change": "added", "kind": "server", "name": "${SERVER}:2", "upstream": "app", "keys": [] }),
        json!({ "change": "removed", "kind": "server", "name": "${SERVER}:3", "upstream": "app", "keys": [] }),
    ];
    assert_eq!(changes, expected);
}

#[test]
fn what_differs_from_a_configuration_that_is_not_valid_is_an_error_and_of_one_that_is_not_nothing()
{
    let dir = two(CHANGES);
    fs::write(dir.path().join("old.toml"), "[").unwrap();
    let (code, said) = check(&dir, &[]);
    assert!(
        code == Some(1) && said.contains("nothing can be compared with old.toml: "),
        "{said}"
    );
    let dir = two(CHANGES);
    fs::write(dir.path().join("new.toml"), "[").unwrap();
    let (code, said) = check(&dir, &[]);
    assert!(
        code == Some(1) && !said.contains("~ route") && said.contains("not valid"),
        "{said}"
    );
}

/// What `check --against` prints of two files, with an address in a variable.
fn compared(dir: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_snigate"))
        .current_dir(dir)
        .env("ADDRESS", "10.0.0.1")
        .args(["check", "new.toml", "--against", "old.toml"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_value_from_a_variable_is_the_value_and_is_printed_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, server: &str| {
        let text = format!(
            "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[upstreams.u]\nservers = [\"{server}\", \"10.0.0.9:1\"]\n\
             [routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\nupstream = \"u\"\n"
        );
        fs::write(dir.path().join(name), text).unwrap();
    };
    write("old.toml", "10.0.0.1:443");
    write("new.toml", "${ADDRESS}:443");
    let said = text(&compared(dir.path(), &[]));
    assert!(said.contains("nothing differs from old.toml"), "{said}");
    write("old.toml", "10.0.0.2:443");
    let said = text(&compared(dir.path(), &[]));
    assert!(
        said.contains("+ server ${ADDRESS}:443 of upstream u"),
        "{said}"
    );
    assert!(!said.contains("10.0.0.1"), "{said}");
}

#[test]
fn what_a_reload_would_hold_is_told_to_programs_and_a_file_that_is_missing_by_its_error() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, more: &str| {
        let text = format!(
            "[listeners.edge]\nbind = \"127.0.0.1:0\"\n{more}[routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\n\
             upstream = \"127.0.0.1:1\"\n"
        );
        fs::write(dir.path().join(name), text).unwrap();
    };
    write("old.toml", "max_connections = 10\n");
    write("new.toml", "");
    let output = compared(dir.path(), &["--json"]);
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().any(|line| line["reload"] == "held"),
        "{lines:#?}"
    );
    let said = text(&compared(dir.path(), &[]));
    assert!(said.contains("max_connections would go\nhelp: "), "{said}");
    fs::remove_file(dir.path().join("old.toml")).unwrap();
    let output = compared(dir.path(), &[]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("old.toml") && said.contains("no such file"),
        "{said}"
    );
    assert!(!said.contains("is not valid"), "{said}");
}
