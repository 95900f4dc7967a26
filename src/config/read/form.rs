//! The form of one file: what is not TOML, what is not known, and what is of another type than is
//! due.
//!
//! A mistake does not hide the next one: the key that holds it is reported, left out, and the rest
//! is read again.

mod broken;
mod grammar;
mod path;
mod shape;
mod twice;
mod value;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::file::File;
use crate::config::read::variables::Variables;

use broken::not_toml;
use path::{in_entry, path_to, remove, value_at};
use shape::only_tables;
use value::type_error;

/// After this many mistakes in one file no reader reads on.
const MAX_MISTAKES: usize = 20;

/// The keys that were left out because something is wrong with them, each with the tables around
/// it; `*` is any name of a table. That they are missing is no second mistake.
#[derive(Debug, Default)]
pub(super) struct LeftOut(BTreeSet<Vec<String>>);

impl LeftOut {
    fn add(&mut self, path: Vec<String>) {
        self.0.insert(path);
    }

    /// Whether `key` is missing because it, a table around it or something in it was left out.
    pub(super) fn explains(&self, key: &str) -> bool {
        // A name may have dots, and then so has what it is compared with.
        let is_within = |path: &Vec<String>| {
            let mut rest = Some(key);
            for part in path {
                let Some(key) = rest else { return true };
                let after = key.split_once('.').map(|(_, after)| after);
                let own = key
                    .strip_prefix(part.as_str())
                    .filter(|rest| rest.is_empty() || rest.starts_with('.'));
                rest = match own {
                    Some("") => None,
                    Some(own) => Some(&own[1..]),
                    None if part == "*" => after,
                    None => return false,
                };
            }
            true
        };
        // Files that are not included would have defined anything.
        self.0
            .iter()
            .any(|path| path == &["include"] || is_within(path))
    }
}

/// The mistakes found while a file is read.
pub(super) struct Found<'a> {
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
    pub(super) left_out: &'a mut LeftOut,
    pub(super) variables: &'a mut Variables,
}

/// Reads one file; what is wrong with its form is reported and left out. Nothing if it is not TOML
/// at all.
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
            removed
                .drain(..)
                .for_each(|path| remove(table.get_mut(), &path));
            table
        });
        let path = error
            .span()
            .map(|span| path_to(table.get_ref(), &span))
            .unwrap_or_default();
        let value = error
            .span()
            .and_then(|span| value_at(table.get_ref(), &path, &span));
        // The list as a whole is left out for the sake of one entry, and the entry's key is told.
        let (diagnostic, missed) = match error
            .span()
            .and_then(|span| in_entry(table.get_ref(), &path, &span))
        {
            Some((key, value)) => {
                type_error(&error, &[&path[..], &[key]].concat(), Some(value), source)
            }
            None => type_error(&error, &path, value, source),
        };
        found.diagnostics.push(diagnostic);
        found.left_out.add(path.clone());
        missed.into_iter().for_each(|path| found.left_out.add(path));
        mistakes += 1;
        // Without a key to leave out the next attempt would end in the same place.
        if path.is_empty() || mistakes >= MAX_MISTAKES {
            return None;
        }
        remove(table.get_mut(), &path);
        attempt = table.clone();
    }
}

/// Puts the values of variables in their places, and leaves out what cannot be a value. The keys
/// that were left out.
fn prepare(
    table: &mut DeTable<'_>,
    source: &Arc<Source>,
    found: &mut Found<'_>,
) -> Vec<Vec<String>> {
    let mut wrong: Vec<(Vec<String>, Diagnostic)> = Vec::new();
    for unset in found.variables.expand(table, &source.text) {
        let message = format!("{}: {}", unset.path.join("."), unset.message);
        let diagnostic = Diagnostic::new(Severity::Error, message)
            .at(source, &unset.span)
            .help(unset.help);
        wrong.push((unset.path, diagnostic));
    }
    if source.text.contains("-----BEGIN ") {
        contents(table, source, &mut Vec::new(), &mut wrong);
    }
    let (mut removed, mut said) = (Vec::new(), BTreeSet::new());
    for (path, diagnostic) in wrong {
        // One variable that is not set is one mistake, wherever it is used.
        let what = diagnostic
            .message
            .split_once(": ")
            .map_or("", |(_, what)| what)
            .to_owned();
        if said.insert(what) {
            found.diagnostics.push(diagnostic);
        }
        found.left_out.add(path.clone());
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
    let is_content = |value: &DeValue<'_>| {
        value
            .as_str()
            .is_some_and(|text| text.contains("-----BEGIN "))
    };
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        path.push(name.to_owned());
        match value.get_ref() {
            DeValue::Table(inner) => contents(inner, source, path, wrong),
            _ if !(name.ends_with("_file") || name.ends_with("_files") || name == "dir") => {}
            other => {
                let items: &[Spanned<DeValue<'_>>] =
                    other.as_array().map_or(&[], |items| items.as_ref());
                if is_content(other) || items.iter().any(|item| is_content(item.get_ref())) {
                    let message = format!(
                        "{}: this is the certificate itself, where the name of its file is due",
                        path.join(".")
                    );
                    let help =
                        "save it in a file of its own, and write that file's name".to_owned();
                    let diagnostic = Diagnostic::new(Severity::Error, message)
                        .at(source, &value.span())
                        .help(help);
                    wrong.push((path.clone(), diagnostic));
                }
            }
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests;
