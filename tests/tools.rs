//! What runs the tests: the list of programs in `tests/run` is that of the programs which tests
//! call, and the workflow runs `tests/run`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The files below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// The texts in quotes that follow `start` in `text`, up to `end`.
fn quoted(text: &str, start: &str, end: char) -> Vec<String> {
    let parts = text
        .split(start)
        .skip(1)
        .filter_map(|rest| rest.split(end).next());
    parts
        .flat_map(|part| {
            part.split('"')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_program_that_a_test_calls_is_in_the_list_and_no_other() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let run = fs::read_to_string(tests.join("run")).unwrap();
    let (_, list) = run.split_once("tools=(").unwrap();
    let list = list
        .split(')')
        .next()
        .unwrap()
        .split_whitespace()
        .map(|entry| entry.split(':').next().unwrap());
    let list: BTreeSet<String> = list.map(str::to_owned).collect();

    let mut called = BTreeSet::new();
    for path in below(&tests) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tools.rs")
        {
            let programs = text
                .split("Command::new(\"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next());
            called.extend(programs.map(str::to_owned));
            called.extend(quoted(&text, "lacks(&[", ']'));
        } else if path.starts_with(tests.join("scenarios")) {
            let needs = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("need "));
            // What a variable names is in the list by itself.
            let names = needs
                .flat_map(str::split_whitespace)
                .filter(|name| !name.contains('$'));
            called.extend(names.map(str::to_owned));
        }
    }
    // What every system has, and what is tried where it is there or `tests/run` has from elsewhere.
    let everywhere = ["sh", "chromium", "mdbook"].map(str::to_owned);
    let missing: Vec<&String> = called
        .iter()
        .filter(|name| !list.contains(*name) && !everywhere.contains(name))
        .collect();
    assert!(
        called.len() > 10 && missing.is_empty(),
        "not in the list of tests/run: {missing:?}"
    );
    for tool in &list {
        let is_called = called.contains(tool)
            || below(&tests).iter().any(|path| {
                fs::read_to_string(path).is_ok_and(|text| {
                    let text = if path.ends_with("run") {
                        text.split("packages < <(")
                            .nth(1)
                            .unwrap_or_default()
                            .to_owned()
                    } else {
                        text
                    };
                    text.contains(tool.as_str())
                })
            });
        // Cargo calls the compiler.
        assert!(is_called || tool == "cc", "no test calls {tool}");
    }
}

#[test]
fn the_workflow_runs_the_one_command_and_names_no_other_rust_than_the_manifest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workflow = fs::read_to_string(root.join(".github/workflows/ci.yml")).unwrap();
    let own = fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(
        workflow
            .lines()
            .any(|line| line.trim() == "- run: tests/run")
            && own.trim_end().ends_with("/tests/run\""),
        "tests/run is not called"
    );
    let words = workflow.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    for version in words.filter(|word| word.starts_with("1.")) {
        assert_eq!(version, env!("CARGO_PKG_RUST_VERSION"), "see Cargo.toml");
    }
}
