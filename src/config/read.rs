//! From files to one merged [`File`], with every mistake in their form.
//!
//! A mistake does not hide the next one: the key that holds it is reported, left out, and the rest is read again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::config::diagnostic::{Diagnostic, Place, Severity, Source, did_you_mean};
use crate::config::file::{self, At, File, Tables};
use crate::config::files::{Files, here};
use crate::tls::Form;

/// After this many mistakes in one file nobody reads on.
const MAX_MISTAKES: usize = 20;

/// More is a mistake, such as a pattern that takes in a whole disk.
const MAX_FILES: usize = 10_000;

/// A value, the file that it stands in, and where its name stands there.
#[derive(Debug)]
pub(super) struct In<T> {
    pub(super) value: T,
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
}

/// Tables by name, each with the file that it came from.
pub(super) type Named<T> = BTreeMap<String, In<T>>;

/// Several files merged: every table with the file that it came from.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) listeners: Named<file::Listener>,
    pub(super) routes: Named<file::Route>,
    pub(super) upstreams: Named<file::Upstream>,
    pub(super) resolver: Option<In<file::Resolver>>,
    pub(super) tls: Named<file::Tls>,
    pub(super) certificates: Named<file::Certificate>,
    pub(super) storage: Option<In<file::Storage>>,
    pub(super) trust: Named<file::Trust>,
    pub(super) timeouts: Option<In<file::Timeouts>>,
    pub(super) log: Option<In<file::Log>>,
}

/// Reads `path` and every file that it includes. Nothing comes of files that cannot be read or are not TOML: what they
/// would have defined would be missed everywhere.
pub(super) fn read(path: &Path, files: &mut Files, diagnostics: &mut Vec<Diagnostic>) -> Option<Merged> {
    let mut reader =
        Reader { files, diagnostics, merged: Merged::default(), visited: BTreeSet::new(), incomplete: false };
    reader.file(path, None);
    (!reader.incomplete).then_some(reader.merged)
}

struct Reader<'a> {
    files: &'a mut Files,
    diagnostics: &'a mut Vec<Diagnostic>,
    merged: Merged,
    visited: BTreeSet<PathBuf>,
    incomplete: bool,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, included_at: Option<Place>) {
        // A file has many spellings, and one that includes itself by another one would never end.
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if !self.visited.insert(identity) {
            return;
        }
        if self.visited.len() > MAX_FILES {
            self.incomplete = true;
            return self.error(format!("more than {MAX_FILES} files are included"), included_at);
        }
        let text = self.files.read(path).and_then(|mut bytes| {
            // Zeros are UTF-8, so UTF-16 may well be.
            if let Some(form) = Form::of(&bytes).filter(|form| form.is_wide()) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, form));
            }
            String::from_utf8(std::mem::take(&mut *bytes))
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
        });
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                self.incomplete = true;
                self.error(format!("cannot read {}: {error}", path.display()), included_at);
                return;
            }
        };
        if let Some(line) = line_of_key(&text) {
            self.incomplete = true;
            return self.error(key_in_configuration(path, line), included_at);
        }
        let source = Arc::new(Source::new(path, text));
        match parse(&source, self.diagnostics) {
            Some(file) => self.merge(file, &source),
            None => self.incomplete = true,
        }
    }

    fn merge(&mut self, file: File, source: &Arc<Source>) {
        let into = &mut self.merged;
        let diagnostics = &mut *self.diagnostics;
        merge_tables("listeners", file.listeners, &mut into.listeners, source, diagnostics);
        merge_tables("routes", file.routes, &mut into.routes, source, diagnostics);
        merge_tables("upstreams", file.upstreams, &mut into.upstreams, source, diagnostics);
        merge_section("resolver", file.resolver, &mut into.resolver, source, diagnostics);
        merge_tables("tls", file.tls, &mut into.tls, source, diagnostics);
        merge_tables("certificates", file.certificates, &mut into.certificates, source, diagnostics);
        merge_section("storage", file.storage, &mut into.storage, source, diagnostics);
        merge_tables("trust", file.trust, &mut into.trust, source, diagnostics);
        merge_section("timeouts", file.timeouts, &mut into.timeouts, source, diagnostics);
        merge_section("log", file.log, &mut into.log, source, diagnostics);
        for pattern in file.include.unwrap_or_default().0 {
            let place = Place { source: Arc::clone(source), span: pattern.span.clone() };
            self.include(&pattern, place);
        }
    }

    fn include(&mut self, pattern: &str, place: Place) {
        let path = beside(&place.source.path, pattern);
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.contains('*')) else {
            return self.file(&path, Some(place));
        };
        let Ok(name) = glob::Pattern::new(name) else {
            return self.error(format!("include: {pattern:?} is not a pattern of file names"), Some(place));
        };
        let directory = path.parent().map_or(Path::new("."), here);
        match self.files.list(directory) {
            Err(error) => self.error(format!("include: cannot list {}: {error}", directory.display()), Some(place)),
            Ok(paths) => {
                let is_meant =
                    |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| name.matches(n));
                for path in paths.iter().filter(|path| is_meant(path)) {
                    self.file(path, Some(place.clone()));
                }
            }
        }
    }

    fn error(&mut self, message: String, place: Option<Place>) {
        self.diagnostics.push(Diagnostic { place, ..Diagnostic::new(Severity::Error, message) });
    }
}

/// The line, from 1, on which a private key begins. Messages quote the configuration, so there must be none in it.
fn line_of_key(text: &str) -> Option<usize> {
    let is_marker = |line: &str| line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
    text.lines().position(is_marker).map(|line| line + 1)
}

fn key_in_configuration(path: &Path, line: usize) -> String {
    let path = path.display();
    format!("{path}:{line}: a private key begins here: keys stand in files of their own, which `key_file` names")
}

/// `path` as it is meant in the file `from`.
pub(super) fn beside(from: &Path, path: &str) -> PathBuf {
    from.parent().map_or_else(|| PathBuf::from(path), |directory| directory.join(path))
}

fn merge_tables<T>(
    section: &str,
    tables: Tables<T>,
    into: &mut Named<T>,
    source: &Arc<Source>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (At { value: name, span }, value) in tables {
        match into.entry(name) {
            Entry::Vacant(vacant) => _ = vacant.insert(In { value, source: Arc::clone(source), span }),
            Entry::Occupied(first) => {
                diagnostics.push(twice(&format!("{section}.{}", first.key()), (source, span), first.get()));
            }
        }
    }
}

fn merge_section<T>(
    section: &str,
    value: Option<At<T>>,
    into: &mut Option<In<T>>,
    source: &Arc<Source>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    match (value, &into) {
        (None, _) => {}
        (Some(At { value, span }), None) => *into = Some(In { value, source: Arc::clone(source), span }),
        (Some(second), Some(first)) => diagnostics.push(twice(section, (source, second.span), first)),
    }
}

fn twice<T>(key: &str, second: (&Arc<Source>, Range<usize>), first: &In<T>) -> Diagnostic {
    Diagnostic::new(Severity::Error, format!("{key} is defined twice"))
        .at(second.0, &second.1)
        .and_at(&first.source, &first.span, "first defined here")
        .help("give one of them another name, or remove it".to_owned())
}

/// Reads one file; what is wrong with its form is reported and left out. Nothing if it is not TOML at all.
fn parse(source: &Arc<Source>, diagnostics: &mut Vec<Diagnostic>) -> Option<File> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        diagnostics.extend(errors.iter().take(MAX_MISTAKES).map(|error| form_error(error, String::new(), source)));
        return None;
    }
    if !only_tables(table.get_ref(), source, diagnostics) {
        return None;
    }
    let mut mistakes = 0;
    let mut attempt = table;
    // Reading takes a table apart. Only a file with mistakes is parsed again.
    let mut sound = None;
    loop {
        let error = match File::deserialize(Deserializer::from(attempt)) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let table = sound.get_or_insert_with(|| DeTable::parse_recoverable(&source.text).0);
        let path = error.span().map(|span| path_to(table.get_ref(), &span)).unwrap_or_default();
        diagnostics.push(form_error(&error, path.join("."), source));
        mistakes += 1;
        // Without a key to leave out the next attempt would end in the same place.
        if path.is_empty() || mistakes >= MAX_MISTAKES {
            return None;
        }
        remove(table.get_mut(), &path);
        attempt = table.clone();
    }
}

/// Whether everything that must be a table is one. A list in its place would be read as the values of its keys, in an
/// order that nobody knows: `client_auth = []` would be a policy.
fn only_tables(file: &DeTable<'_>, source: &Arc<Source>, diagnostics: &mut Vec<Diagnostic>) -> bool {
    const SECTIONS: [&str; 6] = ["listeners", "routes", "upstreams", "tls", "certificates", "trust"];
    let before = diagnostics.len();
    let mut require = |key: &str, value: &toml::Spanned<DeValue<'_>>| {
        if !value.get_ref().is_table() {
            let message = format!("{key} must be a table");
            let help = format!("write `[{key}]`, once, and its keys below it");
            diagnostics.push(Diagnostic::new(Severity::Error, message).at(source, &value.span()).help(help));
        }
    };
    for (section, value) in file {
        let section = section.get_ref().as_ref();
        if ["storage", "timeouts", "log"].contains(&section) || SECTIONS.contains(&section) {
            require(section, value);
        }
        let Some(tables) = value.get_ref().as_table().filter(|_| SECTIONS.contains(&section)) else { continue };
        for (name, table) in tables {
            let name = format!("{section}.{}", name.get_ref());
            require(&name, table);
            let keys: &[&str] = match section {
                "listeners" => &["proxy_protocol", "rate_per_source", "timeouts"],
                _ => &["client_auth", "timeouts"],
            };
            for (key, inner) in entries(table, keys) {
                let key = format!("{name}.{key}");
                require(&key, inner);
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
    table: &'a toml::Spanned<DeValue<'b>>,
    keys: &'a [&'a str],
) -> impl Iterator<Item = (&'a str, &'a toml::Spanned<DeValue<'b>>)> {
    let table = table.get_ref().as_table();
    keys.iter().filter_map(move |&key| Some((key, table?.get(key)?)))
}

fn form_error(error: &toml::de::Error, key: String, source: &Arc<Source>) -> Diagnostic {
    let message = error.message().trim();
    // serde's wording: unknown field `sin`, expected one of `sni`, `alpn`
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown =
        (message.starts_with("unknown field") || message.starts_with("unknown variant")).then(|| quoted.next());
    let help = unknown.flatten().and_then(|word| did_you_mean(word, quoted));
    let message = message.replace("unknown field", "unknown key").replace("unknown variant", "unknown value");
    let message = if key.is_empty() { message } else { format!("{key}: {message}") };
    let place = error.span().map(|span| Place { source: Arc::clone(source), span });
    Diagnostic { place, help, ..Diagnostic::new(Severity::Error, message) }
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
            if let Some(DeValue::Table(inner)) = table.get_mut(key.as_str()).map(toml::Spanned::get_mut) {
                remove(inner, rest);
            }
        }
    }
}
