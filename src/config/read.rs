//! Files merged into one [`File`], with every mistake in their form.

mod form;
mod known;
pub(super) mod paste;
mod variables;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Place, Severity, Source};
use crate::config::file::{self, File, Spanned, Tables};
use crate::config::files::{Files, here};
use crate::config::left_over::{is_left_over, names};
use crate::config::writable::writable;
use crate::os::words;

pub use variables::Variables;

use form::{Found, LeftOut};

/// More is a mistake, such as a pattern that takes in a whole disk.
const MAX_FILES: usize = 10_000;

/// A value, the file that it stands in, and where its name stands there.
#[derive(Debug)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
}

/// Tables by name, each with the file that it came from.
pub(super) type Named<T> = BTreeMap<String, Sourced<T>>;

/// Several files merged: every table with the file that it came from.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) listeners: Named<file::Listener>,
    pub(super) routes: Named<file::Route>,
    pub(super) upstreams: Named<file::Upstream>,
    pub(super) resolver: Option<Sourced<file::Resolver>>,
    pub(super) tls: Named<file::Tls>,
    pub(super) certificates: Named<file::Certificate>,
    pub(super) storage: Option<Sourced<file::Storage>>,
    pub(super) trust: Named<file::Trust>,
    pub(super) timeouts: Option<Sourced<file::Timeouts>>,
    pub(super) log: Option<Sourced<file::Log>>,
}

/// The result of reading the files.
pub(super) struct Read {
    /// The tables that they define; `None` if any of them cannot be read.
    pub(super) merged: Option<Merged>,
    pub(super) variables: Variables,
    left_out: LeftOut,
}

impl Read {
    /// Whether something that is missing is so because of another mistake, which has been reported.
    pub(super) fn explains(&self, diagnostic: &Diagnostic) -> bool {
        diagnostic
            .lacks
            .iter()
            .any(|key| self.left_out.explains(key))
    }
}

/// Reads `path` and every file that it includes. Nothing comes of files that cannot be read or are
/// not TOML: what they would have defined would be missed everywhere.
pub(super) fn read(path: &Path, files: &mut Files, diagnostics: &mut Vec<Diagnostic>) -> Read {
    let mut reader = Reader {
        files,
        diagnostics,
        merged: Merged::default(),
        visited: BTreeSet::new(),
        incomplete: false,
        left_out: LeftOut::default(),
        variables: Variables::default(),
    };
    reader.file(path, None);
    let Reader {
        merged,
        incomplete,
        left_out,
        variables,
        ..
    } = reader;
    Read {
        merged: (!incomplete).then_some(merged),
        variables,
        left_out,
    }
}

struct Reader<'a> {
    files: &'a mut Files,
    diagnostics: &'a mut Vec<Diagnostic>,
    merged: Merged,
    visited: BTreeSet<PathBuf>,
    incomplete: bool,
    left_out: LeftOut,
    variables: Variables,
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
            return self.error(
                format!("more than {MAX_FILES} files are included"),
                included_at,
            );
        }
        let text = match self.files.read_text(path) {
            Ok(text) => text,
            Err(error) => {
                self.incomplete = true;
                let help = (included_at.is_some() && self.files.is_directory(path)).then(|| {
                    "or write `*.toml` behind it, after a `/`, for every such file of it".to_owned()
                });
                let message = format!("cannot read {}: {}", path.display(), words(&error));
                let diagnostic = Diagnostic::new(Severity::Error, message).help(help);
                return self.diagnostics.push(Diagnostic {
                    place: included_at,
                    ..diagnostic
                });
            }
        };
        if let Some(line) = line_of_key(&text) {
            self.incomplete = true;
            return self.error(key_in_configuration(path, line), included_at);
        }
        if let Some((message, help)) = writable(path) {
            let diagnostic = Diagnostic::new(Severity::Warning, message).help(help);
            self.diagnostics.push(Diagnostic {
                place: included_at,
                ..diagnostic
            });
        }
        let source = Arc::new(Source::new(path, text));
        let mut found = Found {
            diagnostics: self.diagnostics,
            left_out: &mut self.left_out,
            variables: &mut self.variables,
        };
        match form::parse(&source, &mut found) {
            Some(file) => self.merge(file, &source),
            None => self.incomplete = true,
        }
    }

    fn merge(&mut self, file: File, source: &Arc<Source>) {
        let into = &mut self.merged;
        let diagnostics = &mut *self.diagnostics;
        merge_tables(
            "listeners",
            file.listeners,
            &mut into.listeners,
            source,
            diagnostics,
        );
        merge_tables("routes", file.routes, &mut into.routes, source, diagnostics);
        merge_tables(
            "upstreams",
            file.upstreams,
            &mut into.upstreams,
            source,
            diagnostics,
        );
        merge_section(
            "resolver",
            file.resolver,
            &mut into.resolver,
            source,
            diagnostics,
        );
        merge_tables("tls", file.tls, &mut into.tls, source, diagnostics);
        merge_tables(
            "certificates",
            file.certificates,
            &mut into.certificates,
            source,
            diagnostics,
        );
        merge_section(
            "storage",
            file.storage,
            &mut into.storage,
            source,
            diagnostics,
        );
        merge_tables("trust", file.trust, &mut into.trust, source, diagnostics);
        merge_section(
            "timeouts",
            file.timeouts,
            &mut into.timeouts,
            source,
            diagnostics,
        );
        merge_section("log", file.log, &mut into.log, source, diagnostics);
        for pattern in file.include.unwrap_or_default().0 {
            let place = Place {
                source: Arc::clone(source),
                span: pattern.span.clone(),
            };
            self.include(&pattern, place);
        }
    }

    fn include(&mut self, pattern: &str, place: Place) {
        let path = beside(&place.source.path, pattern);
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| name.contains('*'))
        else {
            return self.file(&path, Some(place));
        };
        let Ok(name) = glob::Pattern::new(name) else {
            return self.error(
                format!("include: {pattern:?} is not a pattern of file names"),
                Some(place),
            );
        };
        let directory = path.parent().map_or(Path::new("."), here);
        match self.files.matching(directory, &name) {
            Err(error) => self.error(
                format!("include: cannot list {}: {error}", directory.display()),
                Some(place),
            ),
            Ok(paths) => {
                let (left_out, meant): (Vec<_>, Vec<_>) =
                    paths.into_iter().partition(|path| is_left_over(path));
                if !left_out.is_empty() {
                    let message = format!(
                        "include: in {} there is what does not count: {}",
                        directory.display(),
                        names(&left_out)
                    );
                    let diagnostic =
                        Diagnostic::new(Severity::Warning, message).at(&place.source, &place.span);
                    let help =
                        "its name is one of a backup; rename it if it is to count, or remove it"
                            .to_owned();
                    self.diagnostics.push(diagnostic.help(help));
                }
                for path in &meant {
                    self.file(path, Some(place.clone()));
                }
            }
        }
    }

    fn error(&mut self, message: String, place: Option<Place>) {
        self.diagnostics.push(Diagnostic {
            place,
            ..Diagnostic::new(Severity::Error, message)
        });
    }
}

/// The line, from 1, on which a private key begins. Messages quote the configuration, so there must
/// be none in it.
fn line_of_key(text: &str) -> Option<usize> {
    let is_marker = |line: &str| line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
    text.lines().position(is_marker).map(|line| line + 1)
}

fn key_in_configuration(path: &Path, line: usize) -> String {
    let path = path.display();
    format!(
        "{path}:{line}: a private key begins here: keys stand in files of their own, which `key_file` names"
    )
}

/// `path` as it is meant in the file `from`.
pub(super) fn beside(from: &Path, path: &str) -> PathBuf {
    from.parent()
        .map_or_else(|| PathBuf::from(path), |directory| directory.join(path))
}

fn merge_tables<T>(
    section: &str,
    tables: Tables<T>,
    into: &mut Named<T>,
    source: &Arc<Source>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (Spanned { value: name, span }, value) in tables {
        match into.entry(name) {
            Entry::Vacant(vacant) => {
                _ = vacant.insert(Sourced {
                    value,
                    source: Arc::clone(source),
                    span,
                })
            }
            Entry::Occupied(first) => {
                diagnostics.push(twice(
                    &format!("{section}.{}", first.key()),
                    (source, span),
                    first.get(),
                ));
            }
        }
    }
}

fn merge_section<T>(
    section: &str,
    value: Option<Spanned<T>>,
    into: &mut Option<Sourced<T>>,
    source: &Arc<Source>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    match (value, &into) {
        (None, _) => {}
        (Some(Spanned { value, span }), None) => {
            *into = Some(Sourced {
                value,
                source: Arc::clone(source),
                span,
            })
        }
        (Some(second), Some(first)) => {
            diagnostics.push(twice(section, (source, second.span), first))
        }
    }
}

fn twice<T>(key: &str, second: (&Arc<Source>, Range<usize>), first: &Sourced<T>) -> Diagnostic {
    Diagnostic::new(Severity::Error, format!("{key} is defined twice"))
        .at(second.0, &second.1)
        .and_at(&first.source, &first.span, "first defined here")
        .help("give one of them another name, or remove it".to_owned())
}
