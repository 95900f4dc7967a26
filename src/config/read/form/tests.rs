//! No words of a library reach an operator.

use std::sync::Arc;

use super::*;
use crate::config::read::known;

/// A file in which the key of `known` has this value.
fn file(known: &known::Known, value: &str) -> String {
    let tables: Vec<&str> = known
        .tables
        .iter()
        .map(|table| if table == "NAME" { "x" } else { table })
        .collect();
    match tables.split_last() {
        None => format!("{} = {value}\n", known.key),
        Some((list, around)) if known.in_list => {
            format!(
                "[{}]\n{list} = [{{ {} = {value} }}]\n",
                around.join("."),
                known.key
            )
        }
        Some(_) => format!("[{}]\n{} = {value}\n", tables.join("."), known.key),
    }
}

fn diagnostics(text: &str) -> Vec<Diagnostic> {
    let (mut diagnostics, mut left_out, mut variables) =
        (Vec::new(), LeftOut::default(), Variables::default());
    let source = Arc::new(Source::new("x.toml", text));
    let mut found = Found {
        diagnostics: &mut diagnostics,
        left_out: &mut left_out,
        variables: &mut variables,
    };
    parse(&source, &mut found);
    diagnostics
}

#[test]
fn a_value_of_the_wrong_type_is_told_in_the_words_of_the_file() {
    const VALUES: [&str; 8] = [
        "{}",
        "[]",
        "1",
        "\"\"",
        "true",
        "1.5",
        "2026-01-01",
        "[[1]]",
    ];
    const OURS_NEVER: [&str; 18] = [
        "invalid",
        "expected",
        "variant",
        "serde",
        "wanted",
        "element",
        "struct",
        "string",
        "boolean",
        "integer",
        "u32",
        "u64",
        "i64",
        "sequence",
        "field",
        "another value",
        "Some(",
        "a map",
    ];
    let mut mistakes = 0;
    for known in known::keys() {
        for value in VALUES {
            let text = file(known, value);
            let found = diagnostics(&text);
            assert!(found.len() <= 1, "{text}{found:?}");
            for diagnostic in found {
                mistakes += 1;
                let said = diagnostic.to_string();
                assert!(
                    !OURS_NEVER.iter().any(|word| said.contains(word)),
                    "{text}{said}"
                );
                assert!(
                    said.contains(&known.key) && diagnostic.place.is_some(),
                    "{text}{said}"
                );
            }
        }
    }
    // Most keys take one kind of value.
    assert!(
        mistakes > 5 * known::keys().len(),
        "{mistakes} of {}",
        known::keys().len()
    );
}

/// Texts that differ from one that is right by one character, and values and lines that are wrong
/// in other ways.
fn broken() -> Vec<String> {
    const TEXT: &str =
        "[routes.a]\nsni = [\"a\", 'b']\ntls = { pin = \"x\", x.insecure = true }\nmax = 10 # c\n";
    const MORE: &str = "\"'[]{},=:#\\\n .0+\u{1}\u{df}\r";
    const VALUES: &[&str] = &[
        "",
        "0",
        "1_",
        "+-1",
        "08",
        "0X1",
        "1__0",
        "2026-13-01",
        "2026-1-1",
        "25:00",
        "\"\"\"",
        "'''",
        "\"\\q\"",
        "\"\\u1\"",
        "\"\\ud800\"",
        "\"\\uzzzz\"",
        "0b2",
        "+0x1",
        "1e",
        "1.",
        "1e999999999",
        "[=]",
        "[1 = 2]",
        "{1}",
        "{,}",
        "{==}",
        "{a=1=2}",
        "{a==1}",
        "nan1",
    ];
    const LINES: &[&str] = &[
        "\"\"\"a\"\"\" = 1\n",
        "'''a''' = 1\n",
        "[[a]]\n[a]\n",
        "a = 1\na.b = 2\n",
        "[a]]\n",
        "# \u{1}\n",
    ];
    let without = TEXT
        .char_indices()
        .map(|(at, c)| [&TEXT[..at], &TEXT[at + c.len_utf8()..]].concat());
    let with = |at| {
        MORE.chars()
            .map(move |more| format!("{}{more}{}", &TEXT[..at], &TEXT[at..]))
    };
    let mut texts: Vec<String> = without
        .chain(TEXT.char_indices().flat_map(|(at, _)| with(at)))
        .collect();
    texts.extend(VALUES.iter().map(|value| format!("a = {value}\n")));
    texts.extend(LINES.iter().map(|&line| line.to_owned()));
    texts.push(format!("a = {}\n", "[".repeat(500)));
    texts
}

#[test]
fn what_breaks_the_grammar_is_told_in_our_words_with_what_to_write() {
    const PARSERS: [&str; 12] = [
        "expected",
        "unclosed",
        "unquoted",
        "inline",
        "array",
        "string",
        "literal",
        "key-value",
        "assignment",
        "invalid",
        "this is not TOML",
        "write ``",
    ];
    let (mut told, mut wrong) = (0, Vec::new());
    for text in broken() {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let found = diagnostics(&text);
        assert!(errors.is_empty() || !found.is_empty(), "{text}");
        for diagnostic in found.into_iter().filter(|_| !errors.is_empty()) {
            told += 1;
            let help = diagnostic
                .help
                .as_deref()
                .unwrap_or("there is no help: this is not TOML");
            let said = format!("{}: {help}", diagnostic.message);
            if diagnostic.place.is_none() || PARSERS.iter().any(|word| said.contains(word)) {
                wrong.push(format!(
                    "{text}{said}; the parser: {:?}",
                    errors
                        .iter()
                        .map(|error| error.message())
                        .collect::<Vec<_>>()
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {told}:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    assert!(told > 1000, "{told}");
}

#[test]
fn what_is_left_out_explains_what_is_missing_because_of_it_and_nothing_else() {
    let mut left_out = LeftOut::default();
    let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    left_out.add(path("routes/a.example/sni"));
    left_out.add(path("tls/*/client_auth/ca_files"));
    for (key, explained) in [
        ("routes.a.example.sni", true),
        ("routes.a.example", true),
        ("routes.a.example.action", false),
        ("routes.a.example.sni_more", false),
        ("routes.a.examples.sni", false),
        ("routes.b.sni", false),
        ("tls.m.client_auth.ca_files", true),
        ("tls.m.client_auth.mode", false),
        ("trust.m", false),
    ] {
        assert_eq!(left_out.explains(key), explained, "{key}");
    }
    left_out.add(path("include"));
    assert!(
        left_out.explains("trust.m"),
        "a file that is not included may have it"
    );
}
