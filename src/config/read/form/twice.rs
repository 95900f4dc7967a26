//! A key or a table that is there twice: both places.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::read::form::path::path_to;

/// The tables that were found twice. What stands in them is there twice for the same reason.
#[derive(Default)]
pub(super) struct Tables(Vec<Vec<String>>);

/// The diagnostic for a parser's error, if it is one of this kind; `Some(None)` where a
/// table around it has been reported.
pub(super) fn judge(
    source: &Arc<Source>,
    error: &toml::de::Error,
    span: &Range<usize>,
    tables: &mut Tables,
) -> Option<Option<Diagnostic>> {
    let is_extended = error.message().starts_with("cannot extend value");
    if !is_extended && error.message() != "duplicate key" {
        return None;
    }
    let text = &source.text;
    let line = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let (path, beside) = path_in(text, line, span)?;
    if tables.0.iter().any(|table| path.starts_with(table)) {
        return Some(None);
    }
    // What is before this line has been read, and is in order but for what was said of it.
    let before = DeTable::parse_recoverable(&text[..line]).0;
    if let Some(first) = beside {
        return Some(Some(twice(
            &path,
            source,
            span,
            &first,
            "remove one of them".to_owned(),
        )));
    }
    let (depth, first, value) = find(before.get_ref(), &path)?;
    let is_header = text[line..].trim_start().starts_with('[');
    let name = path[..depth].join(".");
    if is_extended || depth < path.len() {
        let message = match value {
            DeValue::Table(_) if is_extended => {
                format!("{name} is closed by its braces, and no key can be added to it")
            }
            DeValue::Table(_) => {
                format!("{name} is a table of its own, and its keys stand below its name")
            }
            _ => format!("{name} has a value already, and here it is a table"),
        };
        let help = match value {
            DeValue::Table(inner) if is_extended => {
                format!("there, write {}", lines(&path[..depth], inner, text))
            }
            DeValue::Table(_) => {
                format!("write this below `[{name}]`, without what is before the last dot")
            }
            _ => {
                let here = text[span.start..]
                    .split(['=', '\n'])
                    .next()
                    .unwrap_or_default()
                    .trim();
                format!("remove it there, and write each key of the table as `{here}` is here")
            }
        };
        let diagnostic = Diagnostic::new(Severity::Error, message)
            .at(source, span)
            .help(help);
        return Some(Some(diagnostic.and_at(
            source,
            &first,
            "first defined here",
        )));
    }
    let help = if is_header {
        tables.0.push(path.clone());
        "give one of them another name, or write all of its keys below one"
    } else {
        "remove one of them; several values of a key are a list: `key = [\"a\", \"b\"]`"
    };
    Some(Some(twice(&path, source, span, &first, help.to_owned())))
}

fn twice(
    path: &[String],
    source: &Arc<Source>,
    second: &Range<usize>,
    first: &Range<usize>,
    help: String,
) -> Diagnostic {
    let line = source.position(first.start).0;
    let message = format!("{} is defined twice, first in line {line}", path.join("."));
    Diagnostic::new(Severity::Error, message)
        .at(source, second)
        .and_at(source, first, "first defined here")
        .help(help)
}

/// The keys on the way to what is at `span`, in the line that begins at `line`: read by itself,
/// with the name of its table. Where the first of two stands in the same braces, also its place.
fn path_in(
    text: &str,
    line: usize,
    span: &Range<usize>,
) -> Option<(Vec<String>, Option<Range<usize>>)> {
    let is_header = |line: &str| {
        let line = line.trim();
        line.starts_with('[') && line.parse::<toml::Table>().is_ok()
    };
    let own = text[line..].lines().next().unwrap_or_default();
    let header = if is_header(own) {
        None
    } else {
        text[..line].lines().rev().find(|line| is_header(line))
    };
    let header = header.map_or_else(String::new, |header| format!("{header}\n"));
    let alone = format!("{header}{}", &text[line..]);
    let place = span.start - line + header.len()..span.end - line + header.len();
    let (table, _) = DeTable::parse_recoverable(&alone);
    let path = path_to(table.get_ref(), &place);
    let word = text.get(span.clone())?.trim_matches(['"', '\'']);
    if path.last().is_some_and(|key| key == word) {
        return Some((path, None));
    }
    // The second of two in one pair of braces is in no table.
    let mut path = Vec::new();
    let first = key_before(table.get_ref(), word, header.len()..place.start, &mut path)?;
    Some((
        path,
        Some(first.start - header.len() + line..first.end - header.len() + line),
    ))
}

/// A key `word` within `place`, and the keys on the way to it.
fn key_before(
    table: &DeTable<'_>,
    word: &str,
    place: Range<usize>,
    path: &mut Vec<String>,
) -> Option<Range<usize>> {
    for (key, value) in table {
        let name: &str = key.get_ref();
        path.push(name.to_owned());
        if name == word && place.contains(&key.span().start) {
            return Some(key.span());
        }
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(found) = key_before(inner, word, place.clone(), path)
        {
            return Some(found);
        }
        path.pop();
    }
    None
}

/// How many of the keys of `path` lead to something, where the last of them stands, and what it is;
/// nothing if there is no more than a section.
fn find<'a>(
    table: &'a DeTable<'_>,
    path: &[String],
) -> Option<(usize, Range<usize>, &'a DeValue<'a>)> {
    let mut table = table;
    let mut found = None;
    for (depth, key) in path.iter().enumerate() {
        let Some((own, value)) = table.get_key_value(key.as_str()) else {
            break;
        };
        found = Some((depth + 1, own.span(), value.get_ref()));
        let DeValue::Table(inner) = value.get_ref() else {
            break;
        };
        table = inner;
    }
    found.filter(|(depth, ..)| *depth > 1 || path.len() == 1)
}

/// The keys of a table in braces as lines of their own.
fn lines(path: &[String], table: &DeTable<'_>, text: &str) -> String {
    let name = path.last().map_or("", String::as_str);
    let line = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        format!(
            "`{name}.{key} = {}`",
            text.get(value.span()).unwrap_or("...")
        )
    };
    let lines: Vec<String> = table.iter().map(line).collect();
    if lines.is_empty() {
        "nothing".to_owned()
    } else {
        lines.join(" and ")
    }
}
