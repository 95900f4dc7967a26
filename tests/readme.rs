//! What the README says of the program is what the program does.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed, also in a function that it calls")]

use std::fs;
use std::path::Path;
use std::process::Command;

use snigate::telemetry::Outcome;
use snigate::tls::pki::{Authority, Validity};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_table_of_outcomes_has_every_outcome_and_no_other() {
    let readme = readme();
    let rows = readme.lines().skip_while(|line| !line.starts_with("| outcome |")).skip(2);
    let rows: Vec<&str> = rows.map_while(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let words: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.word()).collect();
    for word in &words {
        assert!(rows.contains(word), "{word} is not in the table");
    }
    for row in &rows {
        assert!(words.contains(row), "{row} is no outcome");
    }
}

#[test]
fn every_configuration_in_the_text_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", Validity::days(20)).unwrap();
    let issued = authority.server(&["vault.example.net"], Validity::days(20)).unwrap();
    let client = authority.client("edge", Validity::days(20)).unwrap();
    for (name, text) in [("edge-client.pem", &client.certificate), ("edge-client-key.pem", &client.key)] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    fs::write(dir.path().join("corp-ca.pem"), authority.certificate()).unwrap();
    for (name, text) in
        [("ca.pem", authority.certificate()), ("vault.pem", &issued.certificate), ("vault-key.pem", &issued.key)]
    {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let readme = readme();
    let blocks: Vec<&str> = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "{} blocks", blocks.len());
    for block in blocks {
        // A part of a file, such as a [tls] table alone, needs a listener around it.
        let listener = if block.contains("[listeners.") { "" } else { "[listeners.edge]\nbind = \"127.0.0.1:0\"\n" };
        fs::write(dir.path().join("snigate.toml"), format!("{listener}{block}")).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_snigate"));
        let output = check.arg("check").current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_commands_are_those_of_the_table() {
    let output = Command::new(env!("CARGO_BIN_EXE_snigate")).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands: Vec<&str> =
        commands.map_while(|line| line.split_whitespace().next()).filter(|c| *c != "help").collect();
    assert!(commands.len() >= 6, "{help}");
    for command in commands {
        assert!(readme().contains(&format!("| `snigate {command}")), "{command} is not in the README");
    }
}
