//! Configuration of other proxies, as people paste it: languages, keys and words, and what each of
//! them is here.
//!
//! It makes messages better and accepts nothing.

mod address;
mod language;
mod line;
mod name;
mod range;
mod words;

use std::ops::Range;

pub(super) use language::language;
pub(super) use line::{Below, line};
pub(super) use words::{key, plain, word};

/// The fault in a piece of text, and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remedy {
    /// The bytes that are meant.
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

/// The remedy for a text that is no value of `key`.
pub(in crate::config) fn text(key: &str, text: &str) -> Option<String> {
    if let Some(names) = rule(text) {
        return Some(format!("write `sni = {names}`"));
    }
    if let Some(written) = variable(text) {
        return Some(format!(
            "a variable of the environment is `${{NAME}}`: write `{written}`"
        ));
    }
    if key == "bind"
        && let Some(remedy) = address::to_listen_on(text)
    {
        return Some(remedy);
    }
    if key.ends_with(".uri") {
        return uri(key, text);
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        return Some(format!(
            "write it without the scheme and the path: `{key} = {host:?}`"
        ));
    }
    if key == "sni"
        && let Some(remedy) = name::of_route(text)
    {
        return Some(remedy);
    }
    if ["from", "ip"].contains(&key.rsplit('.').next().unwrap_or(key))
        && let Some(remedy) = range::of_addresses(key, text)
    {
        return Some(remedy);
    }
    if ["upstream", "servers", "address"].contains(&key)
        && let Some(remedy) = address::of_server(text)
    {
        return Some(remedy);
    }
    let parts = text
        .split([',', ' '])
        .map(|part| part.trim_matches(['"', '\'']));
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    // The options of another proxy behind an address are no addresses.
    let is_address = |part: &&str| {
        part.contains(':') || !["bind", "servers", "upstream", "address"].contains(&key)
    };
    if parts.len() > 1 && key != "pem" && parts.iter().all(is_address) {
        return Some(format!(
            "several of them are a list: `{key} = {}`",
            list(&parts)
        ));
    }
    None
}

/// A URI without a scheme as one with it, and a `*` behind a host as one behind its path: where a
/// scheme belongs, it is no slip of the pen.
fn uri(key: &str, text: &str) -> Option<String> {
    let written = match text.split_once("://") {
        None if text.contains([':', ' ']) => return None,
        None => format!("spiffe://{text}"),
        Some(_) => text.to_owned(),
    };
    let (uri, is_prefix) = written
        .strip_suffix('*')
        .map_or((&*written, false), |uri| (uri, true));
    let (_, rest) = uri.split_once("://")?;
    let is_whole = rest.contains('/') && !rest.starts_with('/');
    if uri.contains('*') || rest.is_empty() || rest.starts_with('/') {
        return None;
    }
    let slash = if is_prefix && !is_whole { "/" } else { "" };
    let end = if is_prefix { "*" } else { "" };
    Some(format!("write `{key} = \"{uri}{slash}{end}\"`"))
}

/// A text with the variable of a shell, of Caddy, of Windows or of a template as it is written
/// here.
pub(in crate::config) fn variable(text: &str) -> Option<String> {
    for (begin, end) in [
        ("{{", "}}"),
        ("{$", "}"),
        ("{env.", "}"),
        ("$(", ")"),
        ("%", "%"),
        ("$", ""),
    ] {
        let Some((before, rest)) = text.split_once(begin) else {
            continue;
        };
        let inner = rest.trim_start().trim_start_matches(['.', '$']);
        let end_of_name = inner
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(inner.len());
        let (name, after) = inner.split_at(end_of_name);
        let Some(after) = after.trim_start().strip_prefix(end) else {
            continue;
        };
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Some(format!("{before}${{{}}}{after}", name.to_uppercase()));
        }
    }
    None
}

/// The names of a rule such as ``HostSNI(`a.example`) || Host("b.example")``, as a value.
fn rule(text: &str) -> Option<String> {
    if !["HostSNI(", "Host(", "HostRegexp(", "HostSNIRegexp("]
        .iter()
        .any(|function| text.contains(function))
    {
        return None;
    }
    // There are no regular expressions here, only wildcards.
    if text.contains("Regexp(") {
        return Some("\"*.example.net\"".to_owned());
    }
    let names: Vec<&str> = text.split(['`', '"', '\'']).skip(1).step_by(2).collect();
    match names[..] {
        [] => Some("\"app.example.net\"".to_owned()),
        [name] => Some(format!("{name:?}")),
        _ => Some(list(&names)),
    }
}

fn list(items: &[&str]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", quoted.join(", "))
}

/// The whole number that a text stands for: `100`, `10_000`, `10k`, `64MiB`. Binary units count in
/// powers of 1,024.
pub(super) fn number(text: &str) -> Option<u64> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
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
    digits
        .replace('_', "")
        .parse::<u64>()
        .ok()?
        .checked_mul(factor)
}

/// `key:` or `key: value`
fn is_yaml(line: &str) -> bool {
    let Some((key, value)) = line.trim_start_matches("- ").split_once(':') else {
        return false;
    };
    is_key(key.trim().trim_matches('"')) && (value.is_empty() || value.starts_with(' '))
}

fn is_key(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}
