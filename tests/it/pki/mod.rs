//! `snigate pki`, judged by openssl and by those who import what it makes.

mod agrees;
mod authority;
mod files;
mod inspect;
mod revocation;
mod store;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory with a CA.
fn with_ca() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    done(dir.path(), "init --name test-CA");
    dir
}

fn pki(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_snigate"))
        .arg("pki")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// What a command prints that succeeds. Its arguments have no blanks in them.
fn done(dir: &Path, arguments: &str) -> String {
    let output = pki(dir, &arguments.split(' ').collect::<Vec<_>>());
    let text = text(&output);
    assert!(output.status.success(), "{arguments}: {text}");
    text
}

/// What a command says that fails.
fn refused(dir: &Path, arguments: &str) -> String {
    let output = pki(dir, &arguments.split(' ').collect::<Vec<_>>());
    let text = text(&output);
    assert!(!output.status.success(), "{arguments}: {text}");
    text
}

/// Whether a foreign program is content, and what it says.
fn foreign(dir: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    (output.status.success(), text(&output))
}

/// What openssl says when it is content. Its arguments have no blanks in them.
fn openssl(dir: &Path, arguments: &str) -> String {
    let (success, text) = foreign(dir, "openssl", &arguments.split(' ').collect::<Vec<_>>());
    assert!(success, "openssl {arguments}: {text}");
    text
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn has(text: &str, all: &[&str]) {
    for expected in all {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}
