//! What the README says of the program is what the program does.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

#[path = "it/support/left_out.rs"]
mod left_out;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use snigate::proxy::Error;
use snigate::telemetry::Outcome;
use snigate::tls::pki::{Authority, RevocationList, Validity};
use snigate::wire::{HelloParser, Preamble};

use left_out::lacks;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_table_of_outcomes_has_every_outcome_and_no_other() {
    let readme = readme();
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with("| outcome |"))
        .skip(2);
    let rows: Vec<&str> = rows
        .map_while(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let words: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.word()).collect();
    for word in &words {
        assert!(rows.contains(word), "{word} is not in the table");
    }
    for row in &rows {
        assert!(words.contains(row), "{row} is no outcome");
    }
}

/// The row of the table of outcomes that begins with this word.
fn row(readme: &str, outcome: Outcome) -> String {
    let start = format!("| `{}` |", outcome.word());
    readme
        .lines()
        .find(|line| line.starts_with(&start))
        .expect("a row")
        .to_owned()
}

#[test]
fn the_table_of_outcomes_names_the_alerts_that_are_sent_before_tls_begins() {
    let readme = readme();
    let malformed = [
        &[22, 3, 1, 0, 4, 2, 0, 0, 0][..],
        &[23, 3, 3],
        &[22, 3, 1, 0x40, 1],
        &[22, 3, 1, 0, 0],
        &[22, 3, 1, 0, 1, 1, 22, 2, 0],
    ];
    let malformed =
        malformed.map(|bytes| Error::Hello(HelloParser::new().feed(bytes).unwrap_err()));
    let not_tls = HelloParser::new().feed(b"GET / HTTP/1.1\r\n").unwrap_err();
    for error in [
        Error::NoRoute,
        Error::Rejected,
        Error::NameNotCovered("a.example".parse().unwrap()),
        Error::NoValidationRoute(None),
        Error::Version("".into()),
        Error::Hello(not_tls),
        Error::OtherProtocol(Preamble::of(b"GET / HTTP/1.1")),
        Error::NoProxyHeader,
        Error::HelloTimeout,
        Error::HandshakeTimeout,
    ]
    .into_iter()
    .chain(malformed)
    {
        let row = row(&readme, error.ending().outcome);
        match error.alert() {
            Some(alert) => assert!(
                row.contains(&format!("({})", alert.record()[6])),
                "{alert:?} is not in: {row}"
            ),
            None => assert!(!row.contains("alert"), "none is sent: {row}"),
        }
    }
}

#[test]
fn the_outcomes_whose_lines_are_limited_are_those_that_the_text_says() {
    let readme = readme();
    let sentence = readme
        .lines()
        .find(|line| line.starts_with("Of each outcome from `"))
        .expect("the sentence");
    assert!(
        readme.contains("and of every outcome of a connection that no route has taken"),
        "see `telemetry::access`"
    );
    let mut quoted = sentence.split('`').skip(1).step_by(2);
    let mut place = || {
        let word = quoted.next().expect("an outcome");
        let rows = readme
            .lines()
            .skip_while(|line| !line.starts_with("| outcome |"))
            .skip(2);
        rows.take_while(|line| line.starts_with('|'))
            .position(|line| line.starts_with(&format!("| `{word}`")))
            .unwrap()
    };
    let limited = place()..=place();
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with("| outcome |"))
        .skip(2);
    for (at, row) in rows.take_while(|line| line.starts_with('|')).enumerate() {
        let outcome = Outcome::ALL
            .iter()
            .find(|outcome| row.starts_with(&format!("| `{}` ", outcome.word())))
            .unwrap();
        assert_eq!(limited.contains(&at), outcome.is_refusal(), "{row}");
    }
}

#[test]
fn every_configuration_in_the_text_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", Validity::days(20)).unwrap();
    let issued = authority
        .server(&["vault.example.net"], Validity::days(20))
        .unwrap();
    let client = authority.client("edge", Validity::days(20)).unwrap();
    for (name, text) in [
        ("edge-client.pem", &client.certificate),
        ("edge-client-key.pem", &client.key),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    fs::write(dir.path().join("corp-ca.pem"), authority.certificate()).unwrap();
    for (name, text) in [
        ("ca.crt", authority.certificate()),
        (
            "ca.crl",
            &RevocationList::default()
                .sign(&authority, Validity::days(30))
                .unwrap(),
        ),
        ("vault.pem", &issued.certificate),
        ("vault-key.pem", &issued.key),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let readme = readme();
    let blocks: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= 3, "{} blocks", blocks.len());
    let recipe: toml::Table = blocks
        .iter()
        .find(|block| block.contains("tls = \"mtls\""))
        .unwrap()
        .parse()
        .unwrap();
    for block in blocks {
        // A whole file is one as it stands; of a part the first line says where it goes.
        let is_whole = block.starts_with("# /etc/snigate/snigate.toml");
        assert!(
            is_whole || block.starts_with("# part of snigate.toml: "),
            "whole, or a part of what?\n{block}"
        );
        let text = if is_whole {
            block.to_owned()
        } else {
            within(&recipe, block)
        };
        fs::write(dir.path().join("snigate.toml"), text).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_snigate"));
        let output = check.arg("check").current_dir(dir.path()).output().unwrap();
        assert!(
            output.status.success(),
            "{block}\n{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

/// The recipe with the tables of a part in the place of its own, or beside them.
fn within(recipe: &toml::Table, part: &str) -> String {
    let mut whole = recipe.clone();
    for (section, tables) in part.parse::<toml::Table>().unwrap() {
        let own = whole
            .entry(section)
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
            .unwrap();
        own.extend(tables.as_table().unwrap().clone());
    }
    toml::to_string(&whole).unwrap()
}

/// The blocks of a language in the section with this title, in order.
fn blocks(title: &str, language: &str) -> Vec<String> {
    let readme = readme();
    let (_, section) = readme.split_once(&format!("\n## {title}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let begin = format!("```{language}\n");
    let blocks = section
        .split(&begin)
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

#[test]
fn the_recipe_for_a_private_ca_leads_its_challenges_back() {
    let dir = tempfile::tempdir().unwrap();
    let [config, challenge] = &blocks("Recipe: a private CA behind port 443", "toml")[..] else {
        panic!("two blocks")
    };
    let path = dir.path().join("snigate.toml");
    let explain = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
        let output = command
            .arg("explain")
            .args(arguments)
            .current_dir(dir.path())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    fs::write(&path, config).unwrap();
    let challenged = ["--sni", "www.example.org", "--alpn", "acme-tls/1"];
    assert_eq!(
        explain(&challenged).0,
        Some(3),
        "no route of the first block takes it"
    );
    fs::write(&path, format!("{config}{challenge}")).unwrap();
    for (arguments, route) in [
        (&challenged[..], "acme-challenge,"),
        (&["--sni", "ca.example.net", "--alpn", "acme-tls/1"], "ca,"),
        (&["--sni", "ca.example.net"], "ca,"),
        (&[], "ca,"),
    ] {
        let (code, said) = explain(arguments);
        assert!(
            code == Some(0) && said.contains(&format!("route        {route}")),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(
        explain(&["--sni", "www.example.org"]).0,
        Some(3),
        "others are not taken for a challenge"
    );
}

#[test]
fn the_recipe_for_mutual_tls_works_as_it_is_written() {
    if lacks(&["curl"]) {
        return;
    }
    let title = "Recipe: mutual TLS in front of a service";
    let (config, script) = (
        blocks(title, "toml").remove(0),
        blocks(title, "sh").remove(0),
    );
    let dir = tempfile::tempdir().unwrap();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = service.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in service.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            if lines.any(|line| line.is_empty()) {
                let _ = (&stream).write_all(b"HTTP/1.0 200 OK\r\n\r\nthe vault is open\n");
            }
        }
    });
    // The ports are this machine's affair; curl is told where the name leads, and waits until
    // somebody is there.
    let edge = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let all = "[\"0.0.0.0:443\", \"[::]:443\"]";
    assert!(
        config.contains(all) && config.contains("127.0.0.1:8200"),
        "{config}"
    );
    let config = config
        .replace(all, &format!("\"{edge}\""))
        .replace("127.0.0.1:8200", &upstream.to_string());
    fs::write(dir.path().join("snigate.toml"), config).unwrap();
    let curl = format!(
        "connect-to = \"vault.example.net:443:{edge}\"\nretry = 30\nretry-connrefused\nretry-delay = 1\n"
    );
    fs::write(
        dir.path().join(".curlrc"),
        format!("{curl}max-time = 60\nnoproxy = \"*\"\n"),
    )
    .unwrap();

    let program = Path::new(env!("CARGO_BIN_EXE_snigate")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let script = format!("trap 'kill $!' EXIT\n{script}");
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", script])
            .env("PATH", &path)
            .env("HOME", dir.path())
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let output = run(&script);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("the vault is open"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The files are there by now; without the certificate nobody comes in.
    let lines: Vec<&str> = script
        .lines()
        .filter(|line| !line.contains(" pki "))
        .collect();
    let refused = run(&lines
        .join("\n")
        .replace("--cert client.pem --key client-key.pem ", ""));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("certificate required"),
        "{said}"
    );
}

#[test]
fn the_commands_for_a_private_ca_work_one_after_the_other() {
    let readme = readme();
    let (_, section) = readme
        .split_once("\n## A private CA without openssl\n")
        .unwrap();
    let (_, script) = section.split_once("```sh\n").unwrap();
    let (script, rest) = script.split_once("```\n").unwrap();
    let rest = rest.split("\n## ").next().unwrap();
    assert!(!rest.contains("```"), "there is another block");
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_snigate")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-euc", script])
        .env("PATH", path)
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let help = Command::new(env!("CARGO_BIN_EXE_snigate"))
        .args(["pki", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let commands = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1);
    let commands = commands
        .map_while(|line| line.split_whitespace().next())
        .filter(|command| *command != "help");
    let commands: BTreeSet<&str> = commands.collect();
    let rows = rest
        .lines()
        .filter_map(|line| line.strip_prefix("| `pki ")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), commands);
    for command in commands {
        assert!(
            script.contains(&format!("snigate pki {command} ")),
            "{command} is not shown"
        );
    }
}

#[test]
fn the_figures_are_those_of_the_last_full_run() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/RESULTS.md");
    let results = fs::read_to_string(results).unwrap();
    let rows = |text: &str| -> Vec<String> {
        let rows = text
            .lines()
            .skip_while(|line| !line.starts_with("| work | snigate |"));
        rows.take_while(|line| line.starts_with('|'))
            .map(str::to_owned)
            .collect()
    };
    assert!(rows(&results).len() > 10);
    assert_eq!(rows(&readme()), rows(&results));
}

#[test]
fn the_commands_are_those_of_the_table() {
    let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let commands = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1);
    let commands: Vec<&str> = commands
        .map_while(|line| line.split_whitespace().next())
        .filter(|c| *c != "help")
        .collect();
    assert!(commands.len() >= 6, "{help}");
    for command in commands {
        assert!(
            readme().contains(&format!("| `snigate {command}")),
            "{command} is not in the README"
        );
    }
}
