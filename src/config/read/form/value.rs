//! Keys that are not known, and values of another type than is due.

use std::sync::Arc;

use toml::de::DeValue;

use crate::config::diagnostic::{Diagnostic, Place, Severity, Source, did_you_mean};
use crate::config::read::{known, paste};

/// The fault at `path`, and the keys that are missing now because they were meant there.
pub(super) fn type_error(
    error: &toml::de::Error,
    path: &[String],
    value: Option<&DeValue<'_>>,
    source: &Arc<Source>,
) -> (Diagnostic, Vec<Vec<String>>) {
    let said = error.message().trim();
    let place = error.span().map(|span| Place {
        source: Arc::clone(source),
        span,
    });
    // serde's wording: unknown field `sin`, expected one of `sni`, `alpn`
    let mut quoted = said.split('`').skip(1).step_by(2);
    let mut missed = Vec::new();
    let (message, help) = if said.starts_with("unknown field") {
        let word = quoted.next().unwrap_or_default();
        let (help, meant) = unknown_key(path, word, &quoted.collect::<Vec<_>>(), value);
        missed = meant;
        (format!("unknown key `{word}`"), Some(help))
    } else if said.starts_with("unknown variant") {
        let word = quoted.next().unwrap_or_default();
        let key = path.last().map_or("", String::as_str);
        let known: Vec<&str> = quoted.collect();
        let help = paste::word(key, word).or_else(|| nearest(word, &known));
        (
            format!("unknown value `{word}`"),
            Some(help.unwrap_or_else(|| format!("write {}", one_of(&known)))),
        )
    } else {
        wrong_type(said, path, value)
    };
    let message = if path.is_empty() {
        message
    } else {
        format!("{}: {message}", path.join("."))
    };
    (
        Diagnostic {
            place,
            help,
            ..Diagnostic::new(Severity::Error, message)
        },
        missed,
    )
}

/// The value that was probably meant. Where several are as near (`1.4` to `1.2` and `1.3`), none
/// is.
fn nearest(word: &str, known: &[&str]) -> Option<String> {
    let distance =
        |known: &&str| strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    let least = known.iter().map(distance).min()?;
    let is_one = known
        .iter()
        .filter(|known| distance(known) == least)
        .count()
        == 1;
    did_you_mean(word, known.iter().copied()).filter(|_| is_one)
}

/// The remedy for a key that its table does not have, and the keys that are missing now. A key of
/// another table is no misspelt one of this table.
fn unknown_key(
    path: &[String],
    word: &str,
    known: &[&str],
    value: Option<&DeValue<'_>>,
) -> (String, Vec<Vec<String>>) {
    // What stands in an entry of a list has the list for its table.
    let table = path
        .split_last()
        .filter(|(key, _)| *key == word)
        .map_or(path, |(_, table)| table);
    let section = if table.is_empty() {
        ""
    } else {
        path[0].as_str()
    };
    let home = known::home(table, word);
    // `allow` of a route is a list of addresses elsewhere, and `allow.dns` is none.
    let foreign = paste::key(section, word)
        .filter(|_| home.is_none() || !matches!(value, Some(DeValue::Table(_))));
    // `cert_file` beside `cert_files` is that, whatever it is elsewhere.
    let several = format!("{word}s");
    let is_here = word.len() > 3 && known.contains(&several.as_str());
    let foreign = foreign.filter(|help| !is_here || help.contains(&several));
    let near = did_you_mean(word, known.iter().copied());
    let here = |key: &str| [table, &[key.to_owned()]].concat();
    // Whatever was meant by an unknown word may be what is missing.
    let missed = match (
        &home,
        near.as_deref().and_then(|near| near.split('"').nth(1)),
    ) {
        (Some(_), _) if foreign.is_none() => Vec::new(),
        (_, Some(near)) => vec![here(near)],
        (_, None) => vec![table.to_vec()],
    };
    let (home, elsewhere) = home.map_or((None, Vec::new()), |home| (Some(home.help), home.missed));
    let dotted = || value.and_then(|value| unquoted_name(table, word, value));
    let help = foreign
        .or(home)
        .or(near)
        .or_else(dotted)
        .unwrap_or_else(|| format!("the keys of this table are {}", all_of(known)));
    (help, [missed, elsewhere].concat())
}

/// `[routes.a.example]`: the name of a table has a dot, and no quotes.
fn unquoted_name(table: &[String], word: &str, value: &DeValue<'_>) -> Option<String> {
    let [section, name] = table else { return None };
    let mut name = format!("{name}.{word}");
    let mut inner = value.as_table()?;
    while let Some((key, DeValue::Table(below))) = inner
        .iter()
        .next()
        .map(|(key, value)| (key, value.get_ref()))
        && inner.len() == 1
        && !["timeouts", "client_auth"].contains(&key.get_ref().as_ref())
    {
        name = format!("{name}.{}", key.get_ref());
        inner = below;
    }
    Some(format!(
        "a name with a dot stands in quotes: write `[{section}.{name:?}]`"
    ))
}

/// `a`, `b` or `c`
fn one_of(words: &[impl AsRef<str>]) -> String {
    enumerated(words, "or")
}

fn all_of(words: &[impl AsRef<str>]) -> String {
    enumerated(words, "and")
}

fn enumerated(words: &[impl AsRef<str>], last: &str) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("`{}`", word.as_ref()))
        .collect();
    match quoted.split_last() {
        Some((end, rest)) if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
        Some((end, _)) => end.clone(),
        None => "none".to_owned(),
    }
}

/// serde's `invalid type: integer 60, expected a string` in the words of the file.
fn wrong_type(
    said: &str,
    path: &[String],
    value: Option<&DeValue<'_>>,
) -> (String, Option<String>) {
    let due = due(said, path);
    let what = match value {
        Some(DeValue::String(_)) => "a text",
        Some(DeValue::Integer(_)) => "a number",
        Some(DeValue::Float(_)) => "a fraction",
        Some(DeValue::Boolean(_)) => "`true` or `false`",
        Some(DeValue::Datetime(_)) => "a date",
        Some(DeValue::Array(_)) => "a list",
        Some(DeValue::Table(_)) => "a table",
        None => "of another type",
    };
    let help = value.and_then(|value| remedy(&due, path, value));
    (format!("this is {what}, and {due} is due"), help)
}

/// The type that is due at `path`, in the words of the file. Nothing of what the library says is
/// passed on but what the types of the file themselves say.
fn due(said: &str, path: &[String]) -> String {
    let words = known::words(path);
    if !words.is_empty() && !said.contains("expected a table") {
        return one_of(words);
    }
    let due = said.rsplit_once("expected ").map_or("", |(_, due)| due);
    match due {
        "a string" | "str" | "string" => "a text",
        "a boolean" | "bool" => "`true` or `false`",
        "u32" => "a whole number, from 0 to 4294967295,",
        "u64" => "a whole number, from 0",
        "a map" => "a table",
        "a sequence" => "a list",
        _ if due.starts_with("struct ") => "a table",
        // What `expecting` of a type of the file says.
        _ if due.starts_with("a ") || due.starts_with("an ") => due,
        _ if path.last().is_some_and(|key| known::takes_number(key)) => "a whole number",
        _ => "another value",
    }
    .to_owned()
}

/// The remedy for a value of the wrong type.
fn remedy(due: &str, path: &[String], value: &DeValue<'_>) -> Option<String> {
    let key = path.last()?.as_str();
    let words = known::words(path);
    let takes_text = due.contains("text") || due.contains("address");
    let takes_quoted = |text: &str| takes_text || words.iter().any(|word| word == text);
    let written = match value {
        DeValue::Integer(number) => {
            let number = number.to_string();
            in_place_of_number(key, &number, takes_quoted(&number))?
        }
        DeValue::Datetime(_) if known::is_duration(key) => {
            return Some(format!("write `{key} = \"5s\"`, `\"2m\"` or `\"1h30m\"`"));
        }
        DeValue::Datetime(date) if takes_text => format!("{key} = \"{date}\""),
        DeValue::Float(number) if takes_quoted(&number.to_string()) => {
            format!("{key} = \"{number}\"")
        }
        DeValue::Boolean(on) => in_place_of_switch(&path[0], key, *on)?,
        DeValue::String(text) => in_place_of_text(due, key, text)?,
        DeValue::Array(items) if due == "a text" || !words.is_empty() => {
            let first = items.iter().find_map(|item| item.get_ref().as_str())?;
            format!("{key} = {first:?}")
        }
        DeValue::Table(inner) if key == "tls" && inner.contains_key("passthrough") => {
            "action = \"passthrough\"".to_owned()
        }
        DeValue::Table(_) if due == "a text" => format!("{key} = \"NAME\""),
        _ => return None,
    };
    Some(format!("write `{written}`"))
}

/// The line to write in place of a number, which may stand as a text of its digits.
fn in_place_of_number(key: &str, number: &str, takes_quoted: bool) -> Option<String> {
    Some(match key {
        _ if known::is_duration(key) => format!("{key} = \"{number}s\""),
        "bind" | "address" => format!("{key} = \"0.0.0.0:{number}\""),
        "upstream" | "servers" => format!("{key} = \"192.0.2.1:{number}\""),
        "timeouts" => format!("timeouts.idle = \"{number}s\""),
        "rate_per_source" => {
            format!("rate_per_source = {{ connections = {number}, per = \"1s\" }}")
        }
        "ejection" => format!("ejection = {{ failures = {number} }}"),
        _ if takes_quoted => format!("{key} = \"{number}\""),
        _ => return None,
    })
}

/// The line to write in place of `true` or `false`.
fn in_place_of_switch(section: &str, key: &str, on: bool) -> Option<String> {
    if !on && (known::is_duration(key) || key == "ejection") {
        return Some(format!("{key} = \"off\""));
    }
    let written = match (key, on) {
        ("ejection", true) => "ejection = { failures = 3 }",
        ("mode", true) => "mode = \"require_and_verify\"",
        ("mode", false) => "mode = \"none\"",
        ("proxy_protocol", _) if section == "listeners" => {
            "proxy_protocol = { from = [\"10.0.0.0/8\"] }"
        }
        ("proxy_protocol", true) => "proxy_protocol = \"v2\"",
        ("tls", true) if section == "routes" => "action = \"terminate\"",
        ("client_auth", _) => "client_auth.mode = \"require_and_verify\"",
        _ => return None,
    };
    Some(written.to_owned())
}

/// The line to write in place of a text.
fn in_place_of_text(due: &str, key: &str, text: &str) -> Option<String> {
    Some(match key {
        _ if due.contains("true") => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => format!("{key} = true"),
            "false" | "no" | "off" | "0" => format!("{key} = false"),
            _ => return None,
        },
        _ if due.contains("number") => format!("{key} = {}", paste::number(text)?),
        "client_auth" => format!("client_auth.mode = {text:?}"),
        "rate_per_source" => {
            let count: String = text.chars().take_while(char::is_ascii_digit).collect();
            let per = if text.contains("/m") { "1m" } else { "1s" };
            let connections = count.parse::<u32>().ok()?;
            format!("rate_per_source = {{ connections = {connections}, per = \"{per}\" }}")
        }
        "timeouts" => format!("timeouts.idle = {text:?}"),
        "proxy_protocol" => format!("proxy_protocol = {{ from = [{text:?}] }}"),
        _ => return None,
    })
}
