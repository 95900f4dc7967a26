//! Lines that are not TOML.

use crate::config::read::known;
use crate::config::read::paste::{is_key, list, number, rule};

/// The fault in a line that is not TOML, and whether more may be said of the lines below it.
pub(in crate::config::read) fn line(line: &str) -> Option<(String, String, Below)> {
    let bare = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let said = |message: &str, help: String| Some((message.to_owned(), help, Below::Known));
    if bare.contains(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}']) {
        let straight = bare.replace(
            ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}'],
            "\"",
        );
        return said(
            "these quotes are typographic",
            write(&straight, "straight ones: `\"` or `'`"),
        );
    }
    if ["//", ";", "--", "/*"]
        .iter()
        .any(|begin| bare.starts_with(begin))
        && !bare.starts_with("-----")
    {
        return said("this is no comment", "a comment begins with `#`".to_owned());
    }
    if bare.starts_with("-----BEGIN ") {
        return Some(pem());
    }
    if bare.starts_with('[') {
        return header(bare);
    }
    // `routes.a]`
    if let Some(name) = bare
        .strip_suffix(']')
        .filter(|name| name.contains('.') && is_key(name))
    {
        return said(
            "the name of a table begins with `[`",
            format!("write `[{name}]`"),
        );
    }
    for end in [';', ','] {
        if let Some(rest) = bare.strip_suffix(end).map(str::trim_end)
            && is_toml(rest)
        {
            return said(
                &format!("a line does not end in `{end}`"),
                format!("write `{rest}`"),
            );
        }
    }
    let (key, value) = match joined(bare)? {
        Joined::By(word, key, value) => {
            let value = value.trim_end_matches([',', ';']);
            // What is below may be the value.
            if value.is_empty() {
                let message = format!("a key and its value are joined by `=`, not by {word}");
                return Some((
                    message,
                    format!("write `{key} = \"value\"`"),
                    Below::Unknown,
                ));
            }
            let help = write(
                &format!("{key} = {}", written(key, value)),
                &format!("`{key} = \"value\"`"),
            );
            return said(
                &format!("a key and its value are joined by `=`, not by {word}"),
                help,
            );
        }
        Joined::Apart => {
            let help = "write it without the blank and what is before it, or in quotes";
            return said("a key is one word", help.to_owned());
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

/// The text behind a value that is complete, and the remedy.
fn behind(key: &str, value: &str) -> Option<(String, String)> {
    let begin = value.chars().next()?;
    let end = match begin {
        '"' | '\'' => value[1..].find(begin)? + 2,
        '[' => value.find(']')? + 1,
        '(' if value.ends_with(')') => value.len(),
        '{' if value.ends_with('}')
            && value[1..].trim_start().starts_with(['"', '\''])
            && !value.contains(['=', ':']) =>
        {
            value.len()
        }
        _ => return None,
    };
    let (own, rest) = (&value[..end], value[end..].trim());
    let said = |message: &str, help: String| Some((message.to_owned(), help));
    let line = |value: &str| {
        write(
            &format!("{key} = {value}"),
            &format!("`{key} = [\"a\", \"b\"]`"),
        )
    };
    if begin == '(' || begin == '{' {
        return said(
            "a list stands in brackets",
            line(&format!("[{}]", &own[1..own.len() - 1])),
        );
    }
    if !is_toml(&format!("{key} = {own}")) || rest.is_empty() {
        return None;
    }
    for comment in ["//", ";", "/*", "--"] {
        if let Some(comment) = rest.strip_prefix(comment) {
            return said(
                "a comment begins with `#`",
                format!("write `{key} = {own} #{comment}`"),
            );
        }
    }
    match rest {
        "]" if begin != '[' => return said("the list has no beginning", line(&format!("[{own}]"))),
        "]" | "}" | ")" => return said(&format!("there is a `{rest}` too many"), line(own)),
        _ => {}
    }
    let next = rest.trim_start_matches([',', ' ']);
    if is_toml(next) && next.contains('=') {
        return said(
            "each key has a line of its own",
            format!("write `{key} = {own}`, and `{next}` below it"),
        );
    }
    // `"a" "b"` and `"a", "b"`
    let values = rest.replace(begin, "").replace([',', ' '], "");
    if begin != '['
        && next.starts_with(begin)
        && rest.matches(begin).count() % 2 == 0
        && !values.is_empty()
    {
        let entries: Vec<&str> = value
            .split(begin)
            .map(|part| part.trim_matches([',', ' ']))
            .collect();
        let entries: Vec<&str> = entries
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        return said("several values of a key are a list", line(&list(&entries)));
    }
    None
}

/// `line` as what to write, if it is right now; otherwise the rule. The one door for them: what is
/// to be copied must be read.
fn write(line: &str, rule: &str) -> String {
    if !line.is_empty() && is_toml(line) {
        format!("write `{line}`")
    } else {
        format!("write {rule}")
    }
}

/// Whether the lines below one that is wrong mean what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config::read) enum Below {
    Known,
    /// They may belong to what has not been closed.
    Unknown,
}

fn pem() -> (String, String, Below) {
    let help =
        "save it in a file of its own, and write that file's name: `cert_file = \"app.pem\"`";
    (
        "this is the certificate or key itself, where the name of its file is due".to_owned(),
        help.to_owned(),
        Below::Unknown,
    )
}

/// The fault in the name of a table.
fn header(line: &str) -> Option<(String, String, Below)> {
    let said = |message: &str, help: String| Some((message.to_owned(), help, Below::Known));
    let end = line.rfind(']').map_or(line.len(), |at| at + 1);
    let (head, rest) = line.split_at(
        line.find('=')
            .and_then(|at| line[..at].find(']'))
            .map_or(end, |at| at + 1),
    );
    let name = head.trim_matches(['[', ']', ' ']);
    let count = |bracket| head.matches(bracket).count();
    let with_name = |name: &str| write(&format!("[{name}]"), "`[routes.NAME]`");
    if count(']') < count('[') {
        return said("the name of a table ends in `]`", with_name(name));
    }
    if count('[') < count(']') {
        return said("there is a `]` too many", with_name(name));
    }
    if name.is_empty() || name.ends_with('.') || name.starts_with('.') {
        return said(
            "the name of the table is missing",
            with_name(&format!("{}.NAME", name.trim_matches('.'))),
        );
    }
    let (section, inner) = name.split_once('.').unwrap_or((name, ""));
    let inner = inner.trim_matches(['"', '\'']);
    if !inner.is_empty() && !is_key(inner) {
        let message =
            "a name with other characters than letters, digits, `-` and `_` stands in quotes";
        return said(message, format!("write `[{section}.{inner:?}]`"));
    }
    if let Some((section, inner)) = section.split_once(' ') {
        return said(
            "the parts of a name are joined by a dot",
            with_name(&format!("{section}.{}", inner.trim())),
        );
    }
    let rest = rest.trim();
    if rest.is_empty() || rest.starts_with('#') {
        return None;
    }
    said(
        "the name of a table stands on a line of its own",
        format!("write `{head}`, and what is behind it below"),
    )
}

/// A key and a value, and what stands between them.
enum Joined<'a> {
    Well(&'a str, &'a str),
    By(&'static str, &'a str, &'a str),
    /// The key has a blank in it.
    Apart,
}

fn is_of_a_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ')
}

fn joined(line: &str) -> Option<Joined<'_>> {
    let end =
        line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"')))?;
    let (key, rest) = (&line[..end], line[end..].trim_start());
    // An entry of a list begins with quotes, too.
    let is_quoted = key.len() > 2 && key.starts_with('"') && key.ends_with('"');
    let key = if is_quoted {
        &key[1..key.len() - 1]
    } else {
        key
    };
    if !is_key(key) {
        return None;
    }
    for (sign, word) in [
        ("=>", "`=>`"),
        (":=", "`:=`"),
        ("+=", "`+=`"),
        ("==", "`==`"),
        (":", "`:`"),
    ] {
        if let Some(value) = rest.strip_prefix(sign) {
            return Some(Joined::By(word, key, value.trim()));
        }
    }
    if rest
        .split_once('=')
        .is_some_and(|(before, _)| !before.is_empty() && before.chars().all(is_of_a_key))
    {
        return Some(Joined::Apart);
    }
    match rest.strip_prefix('=') {
        Some(value) => Some(Joined::Well(key, value.trim())),
        // What has a `=` further on has it behind a key that is none.
        None if rest.is_empty() || rest.contains('=') || !rest.contains(char::is_alphanumeric) => {
            None
        }
        None => Some(Joined::By("a blank", key, rest.trim())),
    }
}

/// The fault in the value of `key = value`.
fn assigned(key: &str, value: &str) -> Option<(String, String, Below)> {
    let said = |message: &str, help: String| Some((message.to_owned(), help, Below::Known));
    // A comment behind the value is none of it.
    let value = value.split(" #").next().unwrap_or(value).trim_end();
    if let Some((message, help)) = behind(key, value) {
        return said(&message, help);
    }
    if let Some(fault) = quotes(key, value) {
        return Some(fault);
    }
    if value.starts_with('{') && value.contains(':') && !value.contains('=') {
        let line = format!("{key} = {}", value.replace(": ", " = "));
        let help = write(&line, &format!("`{key} = {{ name = \"value\" }}`"));
        return said("a key and its value are joined by `=`, not by `:`", help);
    }
    if let Some(fault) = unclosed(key, value) {
        return Some(fault);
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
    if known::takes_number(key) {
        let line = ungrouped(value).map_or(String::new(), |number| format!("{key} = {number}"));
        return said("this is no number", write(&line, "its digits alone"));
    }
    let message = match value {
        _ if is_switch(value) => "a switch is `true` or `false`",
        _ if is_of_texts(value) => "the entries of a list are apart by one comma each",
        _ => "a text stands in quotes",
    };
    said(
        message,
        write(
            &format!("{key} = {}", written(key, value)),
            &format!("`{key} = \"value\"`"),
        ),
    )
}

/// The fault in the quotes of a value.
fn quotes(key: &str, value: &str) -> Option<(String, String, Below)> {
    let said = |message: &str, help: String| Some((message.to_owned(), help, Below::Known));
    if value.starts_with('"') && value.contains('\\') {
        let help = write(
            &format!("{key} = '{}'", value.trim_matches('"')),
            "two backslashes for each: `\\\\`",
        );
        return said("a backslash in double quotes begins an escape", help);
    }
    if value.starts_with('[') && value.ends_with(']') && value.matches('"').count() % 2 == 1 {
        let help = write(
            &format!("{key} = {}", written(key, value)),
            &format!("`{key} = [\"a\", \"b\"]`"),
        );
        return said("the quotes are not closed", help);
    }
    for quote in ['"', '\''] {
        if value.starts_with(quote) && value.matches(quote).count() == 1 {
            let inner = value.trim_matches(['"', '\'', ',', ';', ' ']);
            let other = if quote == '"' { '\'' } else { '"' };
            let (message, below) = if value.ends_with(other) {
                (
                    "the quotes at the beginning and at the end are not the same",
                    Below::Known,
                )
            } else {
                ("the quotes are not closed", Below::Unknown)
            };
            let help = write(
                &format!("{key} = {quote}{inner}{quote}"),
                &format!("`{key} = \"value\"`"),
            );
            return Some((message.to_owned(), help, below));
        }
    }
    None
}

/// The fault in a list or in braces that begin and do not end.
fn unclosed(key: &str, value: &str) -> Option<(String, String, Below)> {
    let (end, message, rule) = match value.chars().next()? {
        '[' if !value.contains(']') => ("]", "the list is not closed", "`]` behind its last entry"),
        '{' if !value.contains('}') => (
            " }",
            "the braces are not closed",
            "`}` behind the last key of the table",
        ),
        _ => return None,
    };
    let begun = value.trim_end_matches(',');
    // Of a list that goes on in the lines below, only its owner knows the end.
    let line = if begun.len() == 1 {
        String::new()
    } else {
        format!("{key} = {begun}{end}")
    };
    Some((message.to_owned(), write(&line, rule), Below::Unknown))
}

/// A number whose digits stand in groups of three, with or without a unit.
fn ungrouped(value: &str) -> Option<u64> {
    let mut groups = value
        .trim_matches(['"', '\''])
        .split([',', '.', '\'', '_', ' ']);
    let first = groups.next()?;
    let digits = |group: &str| group.bytes().take_while(u8::is_ascii_digit).count();
    let rest: Vec<&str> = groups.collect();
    let is_grouped = rest.iter().all(|group| digits(group) == 3);
    (is_grouped && digits(first) > 0).then(|| number(&format!("{first}{}", rest.concat())))?
}

/// Whether it is a list in which nothing is wrong but what stands between its texts.
fn is_of_texts(value: &str) -> bool {
    let outside = value.split('"').step_by(2).collect::<String>();
    value.starts_with('[')
        && outside
            .chars()
            .all(|c| matches!(c, '[' | ']' | ',' | ';' | ' '))
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
    let inner = value
        .strip_prefix('[')
        .and_then(|value| value.strip_suffix(']'));
    let items = inner.unwrap_or(value);
    let items: Vec<&str> = items
        .split([',', ';', ' '])
        .map(|item| item.trim_matches(['"', '\'']))
        .filter(|item| !item.is_empty())
        .collect();
    // What has parts of another language is no list of values, and what it was to be is not known.
    if items.iter().any(|item| {
        item.contains(['=', '(', ')', '{', '}', '[', ']', '"', '\'']) && !item.contains("${")
    }) {
        return String::new();
    }
    if known::is_duration(key) && items.len() > 1 {
        return format!("{:?}", items.concat());
    }
    if inner.is_some() || items.len() > 1 && key != "pem" {
        return list(&items);
    }
    format!("{:?}", value.trim_matches(['"', '\'', '`']))
}
