//! No words of a library reach an operator.

use std::sync::Arc;

use super::*;
use crate::config::read::known;

/// A file in which the key of `known` has this value.
fn file(known: &known::Known, value: &str) -> String {
    let tables: Vec<&str> = known.tables.iter().map(|table| if table == "NAME" { "x" } else { table }).collect();
    match tables.split_last() {
        None => format!("{} = {value}\n", known.key),
        Some((list, around)) if known.in_list => {
            format!("[{}]\n{list} = [{{ {} = {value} }}]\n", around.join("."), known.key)
        }
        Some(_) => format!("[{}]\n{} = {value}\n", tables.join("."), known.key),
    }
}

fn diagnostics(text: &str) -> Vec<Diagnostic> {
    let (mut diagnostics, mut left_out, mut variables) = (Vec::new(), LeftOut::default(), Variables::default());
    let source = Arc::new(Source::new("x.toml", text));
    let mut found = Found { diagnostics: &mut diagnostics, left_out: &mut left_out, variables: &mut variables };
    parse(&source, &mut found);
    diagnostics
}

#[test]
fn a_value_of_the_wrong_type_is_told_in_the_words_of_the_file() {
    const VALUES: [&str; 8] = ["{}", "[]", "1", "\"\"", "true", "1.5", "2026-01-01", "[[1]]"];
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
                assert!(!OURS_NEVER.iter().any(|word| said.contains(word)), "{text}{said}");
                assert!(said.contains(&known.key) && diagnostic.place.is_some(), "{text}{said}");
            }
        }
    }
    // Most keys take one kind of value.
    assert!(mistakes > 5 * known::keys().len(), "{mistakes} of {}", known::keys().len());
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
        ("routes.b.sni", false),
        ("tls.m.client_auth.ca_files", true),
        ("tls.m.client_auth.mode", false),
        ("trust.m", false),
    ] {
        assert_eq!(left_out.explains(key), explained, "{key}");
    }
}
