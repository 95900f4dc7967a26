//! What people bring along: the languages, keys and words of other proxies, and what each of them is here.
//!
//! It makes messages better and accepts nothing.

mod language;
mod line;
mod words;

use std::ops::Range;

pub(super) use language::language;
pub(super) use line::{Below, line};
pub(super) use words::{key, word};

/// What is wrong with a piece of text, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remedy {
    /// The bytes that are meant.
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

/// What to write in place of a text that is no value of `key`.
pub(in crate::config) fn text(key: &str, text: &str) -> Option<String> {
    if let Some(names) = rule(text) {
        return Some(format!("write `sni = {names}`"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        return Some(format!("write it without the scheme and the path: `{key} = {host:?}`"));
    }
    let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 && key != "pem" && !text.contains('"') {
        return Some(format!("several of them are a list: `{key} = {}`", list(&parts)));
    }
    None
}

/// The names of a rule such as ``HostSNI(`a.example`) || Host("b.example")``, as a value.
fn rule(text: &str) -> Option<String> {
    if !["HostSNI(", "Host(", "HostRegexp(", "HostSNIRegexp("].iter().any(|function| text.contains(function)) {
        return None;
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

/// `key:` or `key: value`
fn is_yaml(line: &str) -> bool {
    let Some((key, value)) = line.trim_start_matches("- ").split_once(':') else { return false };
    is_key(key.trim().trim_matches('"')) && (value.is_empty() || value.starts_with(' '))
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}
