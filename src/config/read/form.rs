//! The form of one file: what is not TOML, what is not known, and what is of another type than is due.
//!
//! A mistake does not hide the next one: the key that holds it is reported, left out, and the rest is read again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::config::diagnostic::{Diagnostic, Place, Severity, Source, did_you_mean};
use crate::config::file::File;
use crate::config::read::paste::{self, Below};
use crate::config::read::variables::Variables;

/// After this many mistakes in one file nobody reads on.
const MAX_MISTAKES: usize = 20;

/// Keys whose value is a duration.
const DURATIONS: [&str; 19] = [
    "hello",
    "handshake",
    "connect",
    "idle",
    "half_close",
    "drain",
    "max_lifetime",
    "keepalive",
    "unacknowledged",
    "interval",
    "timeout",
    "time",
    "max_time",
    "per",
    "min_ttl",
    "max_ttl",
    "stale",
    "connect_timeout",
    "timeouts",
];

/// The keys that were left out because something is wrong with them, with dots between the tables. That they are missing
/// is no second mistake.
#[derive(Debug, Default)]
pub(super) struct LeftOut(BTreeSet<String>);

impl LeftOut {
    fn add(&mut self, path: &[String]) {
        self.0.insert(path.join("."));
    }

    /// Whether `key` is missing because it, a table around it or something in it was left out.
    pub(super) fn explains(&self, key: &str) -> bool {
        let is_within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with('.'))
        };
        // Files that are not included would have defined anything.
        self.0.contains("include") || self.0.iter().any(|path| is_within(key, path) || is_within(path, key))
    }
}

/// What is reported to while a file is read.
pub(super) struct Found<'a> {
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
    pub(super) left_out: &'a mut LeftOut,
    pub(super) variables: &'a mut Variables,
}

/// Reads one file; what is wrong with its form is reported and left out. Nothing if it is not TOML at all.
pub(super) fn parse(source: &Arc<Source>, found: &mut Found<'_>) -> Option<File> {
    let (mut table, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        not_toml(source, &errors, found.diagnostics);
        return None;
    }
    if !only_tables(table.get_ref(), source, found.diagnostics) {
        return None;
    }
    let mut removed = prepare(table.get_mut(), source, found);
    let mut mistakes = removed.len();
    let mut attempt = table;
    // Reading takes a table apart. Only a file with mistakes is parsed again.
    let mut sound = None;
    loop {
        let error = match File::deserialize(Deserializer::from(attempt)) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let table = sound.get_or_insert_with(|| {
            let mut table = DeTable::parse_recoverable(&source.text).0;
            found.variables.expand(table.get_mut(), &source.text);
            removed.drain(..).for_each(|path| remove(table.get_mut(), &path));
            table
        });
        let path = error.span().map(|span| path_to(table.get_ref(), &span)).unwrap_or_default();
        let value = error.span().and_then(|span| value_at(table.get_ref(), &path, &span));
        let (diagnostic, missed) = type_error(&error, &path, value, source);
        found.diagnostics.push(diagnostic);
        found.left_out.add(&path);
        if let Some(missed) = missed {
            found.left_out.add(&missed);
        }
        mistakes += 1;
        // Without a key to leave out the next attempt would end in the same place.
        if path.is_empty() || mistakes >= MAX_MISTAKES {
            return None;
        }
        remove(table.get_mut(), &path);
        attempt = table.clone();
    }
}

/// Puts the values of variables in their places, and leaves out what cannot be a value. The keys that were left out.
fn prepare(table: &mut DeTable<'_>, source: &Arc<Source>, found: &mut Found<'_>) -> Vec<Vec<String>> {
    let mut wrong: Vec<(Vec<String>, Diagnostic)> = Vec::new();
    for unset in found.variables.expand(table, &source.text) {
        let message = format!("{}: {}", unset.path.join("."), unset.message);
        let diagnostic = Diagnostic::new(Severity::Error, message).at(source, &unset.span).help(unset.help);
        wrong.push((unset.path, diagnostic));
    }
    if source.text.contains("-----BEGIN ") {
        contents(table, source, &mut Vec::new(), &mut wrong);
    }
    let (mut removed, mut said) = (Vec::new(), BTreeSet::new());
    for (path, diagnostic) in wrong {
        // One variable that is not set is one mistake, wherever it is used.
        let what = diagnostic.message.split_once(": ").map_or("", |(_, what)| what).to_owned();
        if said.insert(what) {
            found.diagnostics.push(diagnostic);
        }
        found.left_out.add(&path);
        remove(table, &path);
        removed.push(path);
    }
    removed
}

/// Finds what is a certificate itself where the name of its file is due.
fn contents(
    table: &DeTable<'_>,
    source: &Arc<Source>,
    path: &mut Vec<String>,
    wrong: &mut Vec<(Vec<String>, Diagnostic)>,
) {
    let is_content = |value: &DeValue<'_>| value.as_str().is_some_and(|text| text.contains("-----BEGIN "));
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        path.push(name.to_owned());
        match value.get_ref() {
            DeValue::Table(inner) => contents(inner, source, path, wrong),
            _ if !(name.ends_with("_file") || name.ends_with("_files") || name == "dir") => {}
            other => {
                let items: &[Spanned<DeValue<'_>>] = other.as_array().map_or(&[], |items| items.as_ref());
                if is_content(other) || items.iter().any(|item| is_content(item.get_ref())) {
                    let message = format!(
                        "{}: this is the certificate itself, where the name of its file is due",
                        path.join(".")
                    );
                    let help = "save it in a file of its own, and write that file's name".to_owned();
                    let diagnostic = Diagnostic::new(Severity::Error, message).at(source, &value.span()).help(help);
                    wrong.push((path.clone(), diagnostic));
                }
            }
        }
        path.pop();
    }
}

/// Reports why a text is not TOML: the language that it is in, or what is wrong in each line, each kind once.
fn not_toml(source: &Arc<Source>, errors: &[toml::de::Error], diagnostics: &mut Vec<Diagnostic>) {
    let text = &source.text;
    if let Some(paste::Remedy { span, message, help }) = paste::language(text) {
        diagnostics.push(Diagnostic::new(Severity::Error, message).at(source, &span).help(help));
        return;
    }
    let mut errors: Vec<(Range<usize>, &toml::de::Error)> =
        errors.iter().map(|error| (error.span().unwrap_or_default(), error)).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let (mut after, mut said) = (0, BTreeSet::new());
    for (span, error) in errors {
        let mut start = text[..span.start.min(text.len())].rfind('\n').map_or(0, |at| at + 1);
        if error.message().contains("array") && is_assignment(&text[start..]) {
            start = text[..start].rfind('[').and_then(|open| text[..open].rfind('\n')).map_or(start, |at| at + 1);
        }
        if start < after || said.len() >= MAX_MISTAKES {
            continue;
        }
        let line = text[start..].lines().next().unwrap_or_default();
        after = start + line.len() + 1;
        let (diagnostic, below) = match paste::line(line) {
            Some((message, help, below)) => {
                let begin = start + line.len() - line.trim_start().len();
                let place = begin..(start + line.trim_end().len()).max(begin);
                (Diagnostic::new(Severity::Error, message).at(source, &place).help(help), below)
            }
            None => {
                let message = error.message().trim().to_owned();
                let below = if message.contains("array") { Below::Unknown } else { Below::Known };
                let help =
                    error.message().contains("comma").then(|| "the entries of a list are apart by commas".to_owned());
                (Diagnostic::new(Severity::Error, message).at(source, &span).help(help), below)
            }
        };
        // The same mistake all over the file is one: whoever sees it once knows the rest.
        if said.insert(diagnostic.message.clone()) {
            diagnostics.push(diagnostic);
        }
        if below == Below::Unknown {
            return;
        }
    }
}

/// Whether a line of its own begins here, where a list that has not been closed should have ended.
fn is_assignment(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    line.starts_with('[') || line.split_once('=').is_some_and(|(key, _)| !key.contains(['"', '\'', '{']))
}

/// Whether everything that must be a table is one. A list in its place would be read as the values of its keys, in an
/// order that nobody knows: `client_auth = []` would be a policy.
fn only_tables(file: &DeTable<'_>, source: &Arc<Source>, diagnostics: &mut Vec<Diagnostic>) -> bool {
    const SECTIONS: [&str; 6] = ["listeners", "routes", "upstreams", "tls", "certificates", "trust"];
    let before = diagnostics.len();
    let mut require = |key: &str, value: &Spanned<DeValue<'_>>| {
        if !value.get_ref().is_table() {
            let is_named = SECTIONS.contains(&key);
            let help = match (key.split_once('.'), is_named) {
                (_, true) => format!("each has a name: write `[{key}.NAME]`, and its keys below it"),
                (Some((section, inner)), _)
                    if SECTIONS.contains(&section) && !inner.contains('.') && !value.get_ref().is_array() =>
                {
                    format!("a table of {section} has a name: write `[{section}.NAME]`, and `{inner}` below it")
                }
                _ => format!("write `[{key}]`, once, and its keys below it"),
            };
            let message = format!("{key} must be a table");
            diagnostics.push(Diagnostic::new(Severity::Error, message).at(source, &value.span()).help(help));
        }
    };
    for (section, value) in file {
        let section = section.get_ref().as_ref();
        if ["storage", "timeouts", "log"].contains(&section) || SECTIONS.contains(&section) {
            require(section, value);
        }
        let Some(tables) = value.get_ref().as_table().filter(|_| SECTIONS.contains(&section)) else { continue };
        // The keys of a table without a name are one mistake.
        let is_stray = |value: &Spanned<DeValue<'_>>| !value.get_ref().is_table() && !value.get_ref().is_array();
        let stray = tables.iter().filter(|(_, value)| is_stray(value)).min_by_key(|(_, value)| value.span().start);
        if let Some((name, value)) = stray {
            require(&format!("{section}.{}", name.get_ref()), value);
        }
        for (name, table) in tables.iter().filter(|(_, value)| !is_stray(value)) {
            let name = format!("{section}.{}", name.get_ref());
            require(&name, table);
            let keys: &[&str] = match section {
                "listeners" => &["proxy_protocol", "rate_per_source", "timeouts"],
                _ => &["client_auth", "timeouts"],
            };
            for (key, inner) in entries(table, keys) {
                let key = format!("{name}.{key}");
                // A text or a number there is no mistake that would be taken for a table.
                if inner.get_ref().is_array() {
                    require(&key, inner);
                }
                for (list, inner) in entries(inner, &["allow", "deny", "crl"]) {
                    require(&format!("{key}.{list}"), inner);
                }
            }
        }
    }
    diagnostics.len() == before
}

/// Those of `keys` that `table` has, with their values; nothing if it is no table.
fn entries<'a, 'b>(
    table: &'a Spanned<DeValue<'b>>,
    keys: &'a [&'a str],
) -> impl Iterator<Item = (&'a str, &'a Spanned<DeValue<'b>>)> {
    let table = table.get_ref().as_table();
    keys.iter().filter_map(move |&key| Some((key, table?.get(key)?)))
}

/// What is wrong at `path`, and the key that is missing now because it was meant there.
fn type_error(
    error: &toml::de::Error,
    path: &[String],
    value: Option<&DeValue<'_>>,
    source: &Arc<Source>,
) -> (Diagnostic, Option<Vec<String>>) {
    let message = error.message().trim();
    let place = error.span().map(|span| Place { source: Arc::clone(source), span });
    // serde's wording: unknown field `sin`, expected one of `sni`, `alpn`
    let mut quoted = message.split('`').skip(1).step_by(2);
    let section = if path.len() > 1 { path[0].as_str() } else { "" };
    let key = path.last().map_or("", String::as_str);
    let mut missed = None;
    let (message, help) = if message.starts_with("unknown field") {
        let word = quoted.next().unwrap_or_default();
        let near = did_you_mean(word, quoted);
        let table = &path[..path.len().saturating_sub(1)];
        // Whatever was meant by a word that nobody knows may be what is missing.
        let meant = near.as_deref().and_then(|near| near.split('"').nth(1));
        missed = Some(table.iter().cloned().chain(meant.map(str::to_owned)).collect());
        let foreign = paste::key(section, word);
        (message.replace("unknown field", "unknown key"), foreign.or(near))
    } else if message.starts_with("unknown variant") {
        let word = quoted.next().unwrap_or_default();
        let help = paste::word(key, word).or_else(|| did_you_mean(word, quoted));
        (message.replace("unknown variant", "unknown value"), help)
    } else if message.starts_with("invalid ") || message == "wanted string or table" {
        wrong_type(message, path, value)
    } else {
        (message.to_owned(), None)
    };
    let message = if path.is_empty() { message } else { format!("{}: {message}", path.join(".")) };
    (Diagnostic { place, help, ..Diagnostic::new(Severity::Error, message) }, missed)
}

/// serde's `invalid type: integer 60, expected a string` in the words of the file.
fn wrong_type(message: &str, path: &[String], value: Option<&DeValue<'_>>) -> (String, Option<String>) {
    let due = message.strip_prefix("wanted ").or_else(|| message.rsplit_once("expected ").map(|(_, due)| due));
    let due = due.unwrap_or("something else");
    let due = match due {
        "a string" | "str" | "string" => "a text",
        "string or table" => "a word",
        "a boolean" | "bool" => "`true` or `false`",
        "u8" | "u16" | "u32" | "u64" => "a whole number, from 0",
        "a map" => "a table",
        _ if due.starts_with("struct ") => "a table",
        _ => due,
    };
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
    (format!("this is {what}, and {due} is due"), value.and_then(|value| remedy(due, path, value)))
}

/// The whole number that a text stands for: `100`, `10_000`, `10k`, `64MiB`. Binary units count in powers of 1,024.
fn number(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let factor = match unit.trim().to_lowercase().as_str() {
        "" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    digits.replace('_', "").parse::<u64>().ok()?.checked_mul(factor)
}

/// What to write in place of a value of the wrong type.
fn remedy(due: &str, path: &[String], value: &DeValue<'_>) -> Option<String> {
    let key = path.last()?.as_str();
    let takes_text = due.contains("text") || due.contains("string") || due.contains("address") || due == "a word";
    let written = match value {
        DeValue::Integer(number) if DURATIONS.contains(&key) => format!("{key} = \"{number}s\""),
        DeValue::Integer(number) if ["bind", "address"].contains(&key) => format!("{key} = \"0.0.0.0:{number}\""),
        DeValue::Integer(number) if ["upstream", "servers"].contains(&key) => {
            format!("{key} = \"192.0.2.1:{number}\"")
        }
        DeValue::Integer(number) if takes_text => format!("{key} = \"{number}\""),
        DeValue::Float(number) if takes_text => format!("{key} = \"{number}\""),
        DeValue::Boolean(false) if DURATIONS.contains(&key) || key == "ejection" => format!("{key} = \"off\""),
        DeValue::Boolean(on) if key == "mode" => {
            format!("{key} = \"{}\"", if *on { "require_and_verify" } else { "none" })
        }
        DeValue::Boolean(_) if key == "proxy_protocol" && path[0] == "listeners" => {
            "proxy_protocol = { from = [\"10.0.0.0/8\"] }".to_owned()
        }
        DeValue::Boolean(true) if key == "proxy_protocol" => "proxy_protocol = \"v2\"".to_owned(),
        DeValue::Boolean(true) if path[0] == "routes" && key == "tls" => "action = \"terminate\"".to_owned(),
        DeValue::Boolean(_) if key == "client_auth" => "client_auth.mode = \"require_and_verify\"".to_owned(),
        DeValue::String(text) if due.contains("true") => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => format!("{key} = true"),
            "false" | "no" | "off" | "0" => format!("{key} = false"),
            _ => return None,
        },
        DeValue::String(text) if due.contains("number") => format!("{key} = {}", number(text)?),
        DeValue::String(text) if key == "client_auth" => format!("client_auth.mode = {text:?}"),
        DeValue::String(text) if key == "timeouts" => format!("timeouts.idle = {text:?}"),
        DeValue::String(text) if key == "proxy_protocol" => format!("proxy_protocol = {{ from = [{text:?}] }}"),
        DeValue::Array(items) if due == "a text" || due == "a word" => {
            let first = items.iter().find_map(|item| item.get_ref().as_str())?;
            format!("{key} = {first:?}")
        }
        DeValue::Table(inner) if key == "tls" && inner.contains_key("passthrough") => {
            "action = \"passthrough\"".to_owned()
        }
        DeValue::Table(_) if due == "a text" || due == "a word" => format!("{key} = \"NAME\""),
        _ => return None,
    };
    Some(format!("write `{written}`"))
}

/// The value at `span` in what `path` leads to.
fn value_at<'a, 'b>(table: &'a DeTable<'b>, path: &[String], span: &Range<usize>) -> Option<&'a DeValue<'b>> {
    let (first, rest) = path.split_first()?;
    let value = table.get(first.as_str())?;
    match (value.get_ref(), rest) {
        (DeValue::Table(inner), [_, ..]) => value_at(inner, rest, span),
        (DeValue::Array(items), _) if value.span() != *span => {
            let holds = |item: &&Spanned<DeValue<'_>>| item.span().start <= span.start && span.end <= item.span().end;
            items.iter().find(holds).map_or(Some(value.get_ref()), |item| Some(item.get_ref()))
        }
        (other, _) => Some(other),
    }
}

/// The keys on the way to the entry whose name is at `span`, or else to the innermost one that holds it.
fn path_to(table: &DeTable<'_>, span: &Range<usize>) -> Vec<String> {
    if let Some((key, _)) = table.iter().find(|(key, _)| key.span() == *span) {
        return vec![key.get_ref().to_string()];
    }
    let holds = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table {
        let name = || key.get_ref().to_string();
        if let DeValue::Table(inner) = value.get_ref() {
            let mut path = path_to(inner, span);
            if !path.is_empty() {
                path.insert(0, name());
                return path;
            }
        }
        if holds(&key.span()) || holds(&value.span()) {
            return vec![name()];
        }
    }
    Vec::new()
}

fn remove(table: &mut DeTable<'_>, path: &[String]) {
    match path {
        [] => {}
        [key] => _ = table.remove(key.as_str()),
        [key, rest @ ..] => {
            if let Some(DeValue::Table(inner)) = table.get_mut(key.as_str()).map(Spanned::get_mut) {
                remove(inner, rest);
            }
        }
    }
}
