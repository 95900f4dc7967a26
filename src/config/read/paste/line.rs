//! Lines that are not TOML.

use crate::config::read::paste::{is_key, list, rule};

/// What is wrong in a line that is not TOML, and whether more may be said of the lines below it.
pub(in crate::config::read) fn line(line: &str) -> Option<(String, String, Below)> {
    let bare = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let said = |message: &str, help: String| Some((message.to_owned(), help, Below::Known));
    if bare.contains(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}']) {
        let straight = bare.replace(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}'], "\"");
        return said("these quotes are typographic", write(&straight, "straight ones: `\"` or `'`"));
    }
    if ["//", ";", "--", "/*"].iter().any(|begin| bare.starts_with(begin)) && !bare.starts_with("-----") {
        return said("this is no comment", "a comment begins with `#`".to_owned());
    }
    if bare.starts_with("-----BEGIN ") {
        return Some(pem());
    }
    if let Some(name) = bare.strip_prefix('[') {
        let Some((name, _)) = name.split_once(']') else {
            return said("the name of a table ends in `]`", format!("write `{bare}]`"));
        };
        return header(name);
    }
    for end in [';', ','] {
        if let Some(rest) = bare.strip_suffix(end).map(str::trim_end)
            && is_toml(rest)
        {
            return said(&format!("a line does not end in `{end}`"), format!("write `{rest}`"));
        }
    }
    let (key, value) = match joined(bare)? {
        Joined::By(word, key, value) => {
            let value = value.trim_end_matches([',', ';']);
            // What is below may be the value.
            if value.is_empty() {
                let message = format!("a key and its value are joined by `=`, not by {word}");
                return Some((message, format!("write `{key} = \"value\"`"), Below::Unknown));
            }
            let help = write(&format!("{key} = {}", written(key, value)), &format!("`{key} = \"value\"`"));
            return said(&format!("a key and its value are joined by `=`, not by {word}"), help);
        }
        Joined::Well(key, value) => (key, value),
    };
    if value.starts_with("-----BEGIN ") || value.starts_with("\"-----BEGIN ") {
        return Some(pem());
    }
    assigned(key, value)
}

fn is_toml(line: &str) -> bool {
    line.parse::<toml::Table>().is_ok()
}

/// `line` as what to write, if it is right now; otherwise the rule. The one door for them: what is to be copied must be read.
fn write(line: &str, rule: &str) -> String {
    if is_toml(line) { format!("write `{line}`") } else { format!("write {rule}") }
}

/// Whether the lines below one that is wrong mean what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config::read) enum Below {
    Known,
    /// They may belong to what has not been closed.
    Unknown,
}

fn pem() -> (String, String, Below) {
    let help = "save it in a file of its own, and write that file's name: `cert_file = \"app.pem\"`";
    (
        "this is the certificate or key itself, where the name of its file is due".to_owned(),
        help.to_owned(),
        Below::Unknown,
    )
}

/// What is wrong with the name of a table.
fn header(name: &str) -> Option<(String, String, Below)> {
    let (section, rest) = name.trim_matches(['[', ']']).split_once('.')?;
    let message = "a name with other characters than letters, digits, `-` and `_` stands in quotes".to_owned();
    let rest = rest.trim_matches(['"', '\'']);
    (!is_key(rest)).then(|| (message, format!("write `[{section}.{rest:?}]`"), Below::Known))
}

/// A key and a value, and what stands between them.
enum Joined<'a> {
    Well(&'a str, &'a str),
    By(&'static str, &'a str, &'a str),
}

fn joined(line: &str) -> Option<Joined<'_>> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"')))?;
    let (key, rest) = (&line[..end], line[end..].trim_start());
    // An entry of a list begins with quotes, too.
    let is_quoted = key.len() > 2 && key.starts_with('"') && key.ends_with('"');
    let key = if is_quoted { &key[1..key.len() - 1] } else { key };
    if !is_key(key) {
        return None;
    }
    for (sign, word) in [("=>", "`=>`"), (":=", "`:=`"), ("==", "`==`"), (":", "`:`")] {
        if let Some(value) = rest.strip_prefix(sign) {
            return Some(Joined::By(word, key, value.trim()));
        }
    }
    match rest.strip_prefix('=') {
        Some(value) => Some(Joined::Well(key, value.trim())),
        None if rest.is_empty() => None,
        None => Some(Joined::By("a blank", key, rest.trim())),
    }
}

/// What is wrong with the value of `key = value`.
fn assigned(key: &str, value: &str) -> Option<(String, String, Below)> {
    let said = |message: &str, help: String| Some((message.to_owned(), help, Below::Known));
    // A comment behind the value is none of it.
    let value = value.split(" #").next().unwrap_or(value).trim_end();
    if value.starts_with('"') && value.contains('\\') {
        let help = write(&format!("{key} = '{}'", value.trim_matches('"')), "two backslashes for each: `\\\\`");
        return said("a backslash in double quotes begins an escape", help);
    }
    for quote in ['"', '\''] {
        if value.starts_with(quote) && value.matches(quote).count() == 1 {
            let inner = value.trim_matches(['"', '\'', ',', ';', ' ']);
            let other = if quote == '"' { '\'' } else { '"' };
            let (message, below) = if value.ends_with(other) {
                ("the quotes at the beginning and at the end are not the same", Below::Known)
            } else {
                ("the quotes are not closed", Below::Unknown)
            };
            let help = write(&format!("{key} = {quote}{inner}{quote}"), &format!("`{key} = \"value\"`"));
            return Some((message.to_owned(), help, below));
        }
    }
    if value.starts_with('{') && value.contains(':') && !value.contains('=') {
        let line = format!("{key} = {}", value.replace(": ", " = "));
        let help = write(&line, &format!("`{key} = {{ name = \"value\" }}`"));
        return said("a key and its value are joined by `=`, not by `:`", help);
    }
    if value.starts_with('[') && !value.contains(']') {
        let help = write(&format!("{key} = {}]", value.trim_end_matches(',')), "`]` at the end of the list");
        return Some(("the list is not closed".to_owned(), help, Below::Unknown));
    }
    if value.starts_with('{') && !value.contains('}') {
        let help = write(&format!("{key} = {} }}", value.trim_end_matches(',')), "`}` at the end of the table");
        return Some(("the braces are not closed".to_owned(), help, Below::Unknown));
    }
    if value.is_empty() {
        return said("the value is missing", format!("write `{key} = \"value\"`"));
    }
    if value.starts_with('"') || value.starts_with('\'') || value.starts_with('{') {
        return None;
    }
    // It is a value as it stands, so that something else is wrong.
    if is_toml(&format!("{key} = {value}")) {
        return None;
    }
    let message = if is_switch(value) { "a switch is `true` or `false`" } else { "a text stands in quotes" };
    said(message, write(&format!("{key} = {}", written(key, value)), &format!("`{key} = \"value\"`")))
}

fn is_switch(value: &str) -> bool {
    ["true", "yes", "on", "false", "no"].contains(&value.to_lowercase().as_str())
}

/// A value as it is written in TOML.
fn written(key: &str, value: &str) -> String {
    let value = value.split(" #").next().unwrap_or(value).trim();
    if let Some(names) = rule(value) {
        return names;
    }
    if format!("x = {value}").parse::<toml::Table>().is_ok() {
        return value.to_owned();
    }
    match value.to_lowercase().as_str() {
        "true" | "yes" | "on" => return "true".to_owned(),
        "false" | "no" => return "false".to_owned(),
        _ => {}
    }
    let inner = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
    let items = inner.unwrap_or(value);
    let items: Vec<&str> =
        items.split([',', ' ']).map(|item| item.trim_matches(['"', '\''])).filter(|item| !item.is_empty()).collect();
    if inner.is_some() || items.len() > 1 && key != "pem" {
        return list(&items);
    }
    format!("{:?}", value.trim_matches(['"', '\'', '`']))
}
