//! Files in another language.

use std::ops::Range;

use crate::config::read::paste::{Remedy, is_yaml};

/// The name of the language that a file is in from its first line to its last.
pub(in crate::config::read) fn language(text: &str) -> Option<Remedy> {
    let lines = || lines(text).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (span, first) = lines().next()?;
    let has = |test: fn(&str) -> bool| lines().any(|(_, line)| test(line));
    let found = |language: &str, help: &str| {
        let message = format!("this is {language}, and the configuration is TOML");
        Some(Remedy {
            span: span.clone(),
            message,
            help: help.to_owned(),
        })
    };
    let tables = "write `[routes.NAME]` for each route, and `key = \"value\"` below it; config/example.toml has every key";
    // A Caddyfile may begin with its global options in braces.
    let second = lines().nth(1).map_or("}", |(_, line)| line);
    if first.starts_with('{') && (first.len() > 1 || second.starts_with(['"', '}', '{', '['])) {
        return found("JSON", tables);
    }
    if first == "{" {
        return found("a Caddyfile", tables);
    }
    if first.starts_with('<') {
        return found("XML", tables);
    }
    if first.starts_with("traefik.") {
        return found("a list of labels for Traefik", tables);
    }
    if first.starts_with("HostSNI(") || first.starts_with("Host(") {
        return found(
            "a rule of Traefik's",
            "write `[routes.NAME]`, and `sni = \"app.example.net\"` below it",
        );
    }
    let word = first.split_whitespace().next().unwrap_or_default();
    const NGINX: [&str; 9] = [
        "stream",
        "http",
        "server",
        "events",
        "user",
        "worker_processes",
        "load_module",
        "map",
        "error_log",
    ];
    if NGINX.contains(&word) && first.ends_with(['{', ';']) {
        return found("a configuration of nginx", tables);
    }
    if ["listen", "listener", "table"].contains(&word) && first.ends_with('{') {
        return found("a configuration of sniproxy", tables);
    }
    // Of a file that has a table the rest is TOML, too.
    if has(|line| line.starts_with('[') && line.contains(']')) || has(|line| line.contains(" = ")) {
        return None;
    }
    if first == "---" || is_yaml(first) {
        return found("YAML", tables);
    }
    let is_section = |line: &str| {
        let mut words = line.split_whitespace();
        let begins = matches!(
            words.next(),
            Some("frontend" | "backend" | "listen" | "defaults" | "global")
        );
        begins && words.count() <= 1 && !line.ends_with('{')
    };
    if is_section(first) {
        return found("a configuration of HAProxy", tables);
    }
    if has(|line| line.ends_with('{')) {
        let language = if has(|line| line.ends_with(';')) {
            "a configuration of nginx"
        } else {
            "a Caddyfile"
        };
        return found(language, tables);
    }
    None
}

/// The lines of a text without the blanks around them, each with its place.
fn lines(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |whole| {
        let line = whole.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let start = at + whole.find(line).unwrap_or_default();
        at += whole.len();
        (start..start + line.len(), line)
    })
}
