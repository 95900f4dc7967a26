//! What README and the book say of the program is what the program does.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

#[path = "docs/book.rs"]
mod book;
#[path = "docs/generated.rs"]
mod generated;
#[path = "it/support/left_out.rs"]
mod left_out;
#[path = "docs/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use snigate::pki::{Authority, RevocationList, Validity};
use snigate::proxy::Error;
use snigate::telemetry::Outcome;
use snigate::wire::{HelloParser, Preamble};

use book::{Page, page, pages, root, spans};
use generated::is_generated;
use left_out::lacks;
use program::{Commands, commands, help, snigate};

/// A text without its line ends.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where outcomes and the rate limit of the log are described.
fn access_log() -> String {
    page("docs/reference/access-log.md").text
}

#[test]
fn the_table_of_outcomes_has_every_outcome_and_no_other() {
    let text = access_log();
    let rows = text
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
fn row(text: &str, outcome: Outcome) -> String {
    let start = format!("| `{}` |", outcome.word());
    text.lines()
        .find(|line| line.starts_with(&start))
        .expect("a row")
        .to_owned()
}

#[test]
fn the_table_of_outcomes_names_the_alerts_that_are_sent_before_tls_begins() {
    let text = access_log();
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
        let row = row(&text, error.ending().outcome);
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
    let text = access_log();
    let sentence = text
        .lines()
        .find(|line| line.starts_with("Of each outcome from `"))
        .expect("the sentence");
    assert!(
        one_line(&text).contains("and of every outcome of a connection that no route has taken"),
        "see `telemetry::access`"
    );
    let mut quoted = sentence.split('`').skip(1).step_by(2);
    let mut place = || {
        let word = quoted.next().expect("an outcome");
        let rows = text
            .lines()
            .skip_while(|line| !line.starts_with("| outcome |"))
            .skip(2);
        rows.take_while(|line| line.starts_with('|'))
            .position(|line| line.starts_with(&format!("| `{word}`")))
            .unwrap()
    };
    let limited = place()..=place();
    let rows = text
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

/// A directory with every file that the configurations in the text name.
fn materials() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", Validity::days(20)).unwrap();
    let names = ["vault.example.net", "gpu.local", "localhost"];
    let server = authority.server(&names, Validity::days(20)).unwrap();
    let client = authority.client("edge", Validity::days(20)).unwrap();
    let list = RevocationList::default();
    let list = list.sign(&authority, Validity::days(30)).unwrap();
    fs::create_dir(dir.path().join("certs")).unwrap();
    for (name, text) in [
        ("ca.crt", authority.certificate()),
        ("corp-ca.pem", authority.certificate()),
        ("ca.crl", &list),
        ("vault.pem", &server.certificate),
        ("vault-key.pem", &server.key),
        ("certs/server.pem", &server.certificate),
        ("certs/server-key.pem", &server.key),
        ("edge-client.pem", &client.certificate),
        ("edge-client-key.pem", &client.key),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn every_configuration_in_the_text_is_valid() {
    let dir = materials();
    let recipe: toml::Table = page("docs/recipes/mutual-tls.md").bodies("toml")[0]
        .parse()
        .unwrap();
    let mut found = 0;
    for page in pages() {
        for block in page.bodies("toml") {
            found += 1;
            let place = page.path.display();
            // A whole file is one as it stands; of a part the first line says where it goes.
            let is_whole = block.starts_with("# /etc/snigate/snigate.toml");
            assert!(
                is_whole || block.starts_with("# part of snigate.toml: "),
                "{place}: whole, or a part of what?\n{block}"
            );
            let text = if is_whole {
                block.clone()
            } else {
                within(&recipe, &block)
            };
            fs::write(dir.path().join("snigate.toml"), text).unwrap();
            let output = snigate(dir.path(), &["check"]);
            assert!(
                output.status.success(),
                "{place}: {block}\n{}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
    }
    assert!(found > 15, "{found} blocks");
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

#[test]
fn the_recipe_for_a_private_ca_leads_its_challenges_back() {
    let dir = tempfile::tempdir().unwrap();
    let [config, challenge] = &page("docs/recipes/ca-behind-443.md").bodies("toml")[..] else {
        panic!("two blocks")
    };
    let path = dir.path().join("snigate.toml");
    let explain = |arguments: &[&str]| {
        let output = snigate(dir.path(), &[&["explain"], arguments].concat());
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
    let recipe = page("docs/recipes/mutual-tls.md");
    let (config, script) = (
        recipe.bodies("toml").remove(0),
        recipe.bodies("sh").remove(0),
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
    let text = page("docs/reference/pki.md");
    let [script] = &text.bodies("sh")[..] else {
        panic!("one block")
    };
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

    let commands: BTreeSet<String> = commands(&help(&["pki"])).into_iter().collect();
    let rows = text
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("| `pki ")?.split('`').next());
    let rows: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(rows, commands);
    for command in commands {
        assert!(
            script.contains(&format!("snigate pki {command} ")),
            "{command} is not shown"
        );
    }
}

#[test]
fn the_figures_are_those_of_the_last_full_run() {
    let rows = |page: Page| -> Vec<String> {
        let rows = page.text.lines();
        let rows = rows.skip_while(|line| !line.starts_with("| work | snigate |"));
        rows.take_while(|line| line.starts_with('|'))
            .map(str::to_owned)
            .collect()
    };
    let results = rows(page("benches/compare/RESULTS.md"));
    assert!(results.len() > 10);
    assert_eq!(
        rows(page("docs/operate/performance.md")),
        results,
        "run docs/generate"
    );
    assert_eq!(
        rows(page("README.md")),
        generated::five_figures(),
        "run docs/generate"
    );
}

#[test]
fn the_generated_pages_are_those_of_the_program() {
    let configuration = generated::configuration();
    is_generated("docs/reference/configuration.md", &configuration);
    is_generated("docs/reference/command-line.md", &generated::command_line());
    let performance = "docs/operate/performance.md";
    let figures = generated::figures();
    is_generated(performance, &generated::with_figures(performance, &figures));
    let readme = generated::with_figures("README.md", &generated::five_figures());
    is_generated("README.md", &generated::with_outputs(&readme));
}

#[test]
fn the_commands_are_those_of_the_table() {
    let commands = commands(&help(&[]));
    assert!(commands.len() >= 6, "{commands:?}");
    let text = page("docs/operate/install.md").text;
    for command in commands {
        assert!(
            text.contains(&format!("| `snigate {command}")),
            "{command} is not in the table"
        );
    }
}

#[test]
fn every_command_line_in_the_text_is_understood() {
    let commands = Commands::new();
    let mut found = 0;
    for page in pages() {
        let scripts = page
            .blocks()
            .into_iter()
            .filter(|block| ["sh", "console"].contains(&block.language.as_str()));
        let lines: Vec<String> = scripts
            .flat_map(|block| block.body.lines().map(str::to_owned).collect::<Vec<_>>())
            .map(|line| line.trim_start_matches("$ ").to_owned())
            .collect();
        for line in lines.into_iter().chain(page.spans()) {
            let Some(arguments) = line.strip_prefix("snigate ") else {
                continue;
            };
            found += 1;
            let fault = commands.fault(arguments);
            assert!(
                fault.is_none(),
                "{}: {line}: {}",
                page.path.display(),
                fault.unwrap_or_default()
            );
        }
    }
    assert!(found > 40, "{found} command lines");
}

#[test]
fn what_the_text_installs_is_built_with_the_profile_of_what_is_shipped() {
    let manifest: toml::Table = page("Cargo.toml").text.parse().unwrap();
    assert!(manifest["profile"].get("dist").is_some());
    let mut found = 0;
    for page in pages() {
        let scripts = page.bodies("sh");
        let lines = scripts.iter().flat_map(|script| script.lines());
        for line in lines.filter(|line| {
            line.starts_with("cargo install ") || line.starts_with("install -m 755 ")
        }) {
            found += 1;
            assert!(
                line.contains(" --profile dist ") || line.contains(" target/dist/snigate "),
                "{}: {line}",
                page.path.display()
            );
        }
    }
    assert!(found >= 3, "{found} lines");
}

#[test]
fn a_command_line_that_is_none_is_found_out() {
    let commands = Commands::new();
    for (line, fault) in [
        ("serve", Some("serve is no command of snigate ")),
        ("pki make", Some("make is no command of snigate pki")),
        (
            "check --quiet",
            Some("--quiet is no option of snigate check"),
        ),
        ("check -c FILE --strict", None),
        ("pki issue --name a --ip 192.0.2.1 # why", None),
        ("explain [FILE] [--sni NAME] ...", None),
    ] {
        assert_eq!(commands.fault(line).as_deref(), fault, "{line}");
    }
}

/// The words of a lexicon, each between these two.
fn terms(text: &str, begin: &str, end: &str) -> Vec<String> {
    let lines = text.lines();
    lines
        .filter_map(|line| Some(line.strip_prefix(begin)?.split_once(end)?.0.to_owned()))
        .collect()
}

#[test]
fn the_lexicon_of_the_crate_has_the_words_of_the_book() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let crates = terms(&lib, "//! * ", ": ");
    let books = terms(&page("docs/develop/lexicon.md").text, "| ", " | ");
    assert!(crates.len() > 20, "only {} words", crates.len());
    assert_eq!(crates, books[1..][1..]);
}

/// The page, and perhaps the anchor, that a link from `page` leads to.
fn target(page: &Page, link: &str) -> (std::path::PathBuf, Option<String>) {
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    let mut resolved = std::path::PathBuf::new();
    let directory = page.path.parent().unwrap();
    let joined = match path {
        "" => page.path.clone(),
        path => directory.join(path),
    };
    for part in joined.components() {
        match part {
            std::path::Component::ParentDir => assert!(resolved.pop(), "{link} leaves the tree"),
            part => resolved.push(part),
        }
    }
    (resolved, anchor)
}

#[test]
fn every_link_leads_to_a_page_and_a_heading() {
    let mut found = 0;
    for page in pages() {
        let place = page.path.display();
        for link in page.links() {
            if link.starts_with("http") {
                continue;
            }
            found += 1;
            let (path, anchor) = target(&page, &link);
            assert!(root().join(&path).exists(), "{place}: {link} leads nowhere");
            // The book stands alone.
            assert!(
                !page.path.starts_with("docs") || path.starts_with("docs"),
                "{place}: {link} leads out of the book"
            );
            if let Some(anchor) = anchor {
                let anchors = book::page(path.to_str().unwrap()).anchors();
                assert!(anchors.contains(&anchor), "{place}: {link}: {anchors:?}");
            }
        }
    }
    assert!(found > 80, "{found} links");
}

#[test]
fn the_summary_names_every_page_of_the_book_once() {
    let summary = page("docs/SUMMARY.md");
    let links = summary.links();
    let named: BTreeSet<_> = links.iter().map(|link| target(&summary, link).0).collect();
    assert_eq!(links.len(), named.len(), "a page is there twice");
    let mut pages = book::book();
    assert!(pages.remove(Path::new("docs/SUMMARY.md")));
    assert_eq!(named, pages);
}

#[test]
fn every_file_of_the_tree_that_the_text_names_is_there() {
    let directories = ["benches", "config", "docs", "packaging", "src", "tests"];
    let mut found = 0;
    for page in pages() {
        for span in page.spans() {
            let path = span.split(' ').next().unwrap();
            let is_of_the_tree = directories.iter().any(|directory| {
                let rest = path.strip_prefix(directory);
                rest.is_some_and(|rest| rest.starts_with('/'))
            });
            if is_of_the_tree && !path.contains('*') {
                found += 1;
                assert!(
                    root().join(path).exists(),
                    "{}: there is no {path}",
                    page.path.display()
                );
            }
        }
    }
    assert!(found > 20, "{found} files");
}

/// The text of every Rust file below these directories.
fn sources(directories: &[&str]) -> String {
    let mut text = String::new();
    let mut next: Vec<_> = directories.iter().map(|name| root().join(name)).collect();
    while let Some(path) = next.pop() {
        if path.is_dir() {
            next.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

#[test]
fn what_holds_a_decision_is_a_test_that_there_is() {
    let sources = sources(&["src", "tests"]);
    let mut found = 0;
    let rooms = pages().into_iter().filter(|page| {
        page.path.starts_with("docs/develop/decisions") || page.path == Path::new("ARCHITECTURE.md")
    });
    for page in rooms {
        let place = page.path.display();
        for held in page.text.split("Held by:").skip(1) {
            let names = spans(held.split(".\n").next().unwrap());
            assert!(!names.is_empty(), "{place}: held by nothing: {held}");
            for name in names {
                found += 1;
                let is_there = match name.contains('/') {
                    true => root().join(&name).exists(),
                    false => sources.contains(&format!("fn {name}(")),
                };
                assert!(is_there, "{place}: there is no test {name}");
            }
        }
    }
    assert!(found > 80, "{found} tests");
}

#[test]
fn every_message_that_the_text_explains_is_printed() {
    // As one line, whatever lines the source has.
    let sources = one_line(&sources(&["src"]).replace("\\\n", " "));
    let text = page("docs/operate/troubleshooting.md").text;
    let clients = text
        .find("## What clients print")
        .expect("the last section");
    let mut found = 0;
    for row in text[..clients].lines() {
        let Some(row) = row.strip_prefix("| `") else {
            continue;
        };
        let message = row.split('`').next().unwrap();
        if message == "detail" {
            continue;
        }
        found += 1;
        assert!(
            sources.contains(message.trim()),
            "nothing prints {message:?}"
        );
    }
    assert!(found > 30, "{found} messages");
}

/// Whether both are durations, and equal: `60s` is shown as `1m`.
fn is_the_same_time(one: &str, other: &str) -> bool {
    let seconds = |text: &str| {
        let number: u64 = text.get(..text.len().checked_sub(1)?)?.parse().ok()?;
        match text.chars().last()? {
            's' => Some(number),
            'm' => Some(number * 60),
            'h' => Some(number * 3600),
            _ => None,
        }
    };
    seconds(one).is_some() && seconds(one) == seconds(other)
}

#[test]
fn the_defaults_in_the_tables_are_those_that_show_prints() {
    let dir = materials();
    let text = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\n\
                upstream = \"a\"\n[upstreams.a]\nservers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nhealth = true\n";
    fs::write(dir.path().join("snigate.toml"), text).unwrap();
    let output = snigate(dir.path(), &["show"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    let shown: toml::Table = shown.parse().unwrap();
    let (limits, upstreams, resolver) = (
        "docs/reference/limits.md",
        "docs/reference/upstreams.md",
        "docs/reference/resolver.md",
    );
    for (path, head, table) in [
        (limits, "| key | default | `off`", &shown["timeouts"]),
        (
            upstreams,
            "| key of `ejection` |",
            &shown["upstreams"]["a"]["ejection"],
        ),
        (
            upstreams,
            "| key of `health` |",
            &shown["upstreams"]["a"]["health"],
        ),
        (resolver, "| key of `[resolver]` |", &shown["resolver"]),
    ] {
        let text = page(path).text;
        let rows = text.lines().skip_while(|line| !line.starts_with(head));
        let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
        let rows: Vec<Vec<&str>> = rows
            .map(|row| row.split('|').map(str::trim).collect())
            .collect();
        for (key, value) in table.as_table().unwrap() {
            let row = rows.iter().find(|row| row[1] == format!("`{key}`"));
            let row = row.unwrap_or_else(|| panic!("{path}: there is no row of {key}"));
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let default = row[2].split('`').nth(1).unwrap_or_default();
            assert!(
                default == value || is_the_same_time(default, &value),
                "{path}: {key} is {value}: {row:?}"
            );
        }
        assert!(rows.len() >= 4, "{path}: {head}");
    }
}

#[test]
fn the_readme_is_short() {
    let lines = page("README.md").text.lines().count();
    assert!(lines <= 150, "{lines} lines");
}

#[test]
fn the_book_is_built() {
    if lacks(&["mdbook"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("mdbook")
        .args(["build", "docs", "--dest-dir"])
        .arg(dir.path())
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("ERROR") && !said.contains("WARN"),
        "{said}"
    );
    // Pages of the root of the tree are included.
    for (file, words) in [
        ("develop/architecture.html", "Ten decisions"),
        ("develop/style.html", "Contributing"),
        ("operate/security.html", "What bounds each phase"),
        ("reference/configuration.html", "max_pending"),
    ] {
        let html = fs::read_to_string(dir.path().join(file)).unwrap();
        assert!(html.contains(words), "{file}");
    }
}
