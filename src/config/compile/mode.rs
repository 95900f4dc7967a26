//! Mode of client authentication that is in effect, and what has no effect beside it.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use crate::config::compile::chain::{Chain, Found};
use crate::config::compile::report::Report;
use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::file::{self, ClientAuthMode, Spanned};

/// The keys of this mode only.
pub(super) const PINNED_KEYS: [&str; 3] = ["spki_sha256", "cert_files", "dates"];

/// The mode that is in effect, and where it was written.
pub(super) struct ModeInEffect<'a> {
    pub(super) effective: ClientAuthMode,
    /// Its place; the whole table where that has no mode.
    pub(super) span: &'a Range<usize>,
    pub(super) source: &'a Arc<Source>,
    /// Whether it stands in the table that names the CA files.
    pub(super) beside_files: bool,
    /// How far away the table is that it stands in; the furthest where it stands in none.
    pub(super) depth: usize,
}

impl<'a> ModeInEffect<'a> {
    /// The mode of the nearest tables. CA files mean that clients are verified, unless a table that
    /// is as near says otherwise: a mode without verification that is inherited from further away
    /// was not written with these files in mind.
    pub(super) fn of(chain: &Chain<'a>, ca_files: Option<&Found<'_, Spanned<file::List>>>) -> Self {
        let files_depth = ca_files.map_or(usize::MAX, |files| files.depth);
        let written = chain
            .nearest_of_clients(|auth| auth.mode.as_ref())
            .filter(|mode| mode.depth <= files_depth || mode.at.value.verifies());
        if let Some(mode) = written {
            return Self {
                effective: mode.at.value,
                span: &mode.at.span,
                source: mode.source,
                beside_files: mode.depth == files_depth,
                depth: mode.depth,
            };
        }
        let table = chain.own();
        Self {
            effective: if ca_files.is_some() {
                ClientAuthMode::RequireAndVerify
            } else {
                ClientAuthMode::None
            },
            span: &table.span,
            source: &table.source,
            beside_files: false,
            depth: usize::MAX,
        }
    }
}

/// Where mistakes of one `[tls]` table go. What it inherits may stand in other files.
pub(super) struct Reporter<'a> {
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
    pub(super) table: String,
    /// Its name, and those of the tables that it inherits from.
    pub(super) tables: Vec<String>,
    /// Keys without effect in the mode: the key, and what there is to say if it is the only one.
    pub(super) beside: Vec<(&'static str, Diagnostic)>,
}

impl Reporter<'_> {
    /// A mistake only if none of the `keys` of `client_auth` was left out for another one, in the
    /// table or in one that it inherits from.
    pub(super) fn lacking(
        &mut self,
        keys: &[&str],
        (source, span): (&Arc<Source>, &Range<usize>),
        message: impl Display,
        help: String,
    ) {
        let diagnostic = self.error((source, span), message, help);
        self.push_lacking(keys, diagnostic);
    }

    /// The same of any severity.
    pub(super) fn push_lacking(&mut self, keys: &[&str], diagnostic: Diagnostic) {
        let diagnostic = self.lacks(keys, diagnostic);
        self.diagnostics.push(diagnostic);
    }

    /// The key `key` has no effect in the mode, unless one of `lacking` was left out for another
    /// mistake.
    pub(super) fn beside(&mut self, key: &'static str, lacking: &[&str], diagnostic: Diagnostic) {
        let diagnostic = self.lacks(lacking, diagnostic);
        self.beside.push((key, diagnostic));
    }

    /// One mode that does not fit is one mistake, however many keys stand beside it.
    pub(super) fn tell_beside(&mut self, mode: &ModeInEffect<'_>) {
        let beside = std::mem::take(&mut self.beside);
        if beside.len() < 2 {
            self.diagnostics
                .extend(beside.into_iter().map(|(_, diagnostic)| diagnostic));
            return;
        }
        let keys: Vec<&str> = beside.iter().map(|(key, _)| *key).collect();
        let word = mode.effective.word();
        let message = format!(
            "client_auth.mode is {word}, in which {} have no effect",
            keys.join(", ")
        );
        let help = match mode.effective {
            ClientAuthMode::Pinned => {
                "remove them, or write `mode = \"require_and_verify\"`, in which no pin counts"
                    .to_owned()
            }
            other => {
                let is_pin = |key: &&str| PINNED_KEYS.contains(key);
                let instead = if keys.iter().any(is_pin) {
                    "pinned"
                } else {
                    "require_and_verify"
                };
                let meaning = if other.verifies() {
                    ""
                } else {
                    "; as it is anybody could claim to be anybody"
                };
                format!("write `mode = \"{instead}\"`, or remove them{meaning}")
            }
        };
        let place = (mode.source, mode.span);
        let mut diagnostic = self.error(place, message, help);
        // A key that stands beside a mode which was written is one whatever else was left out.
        if beside.iter().all(|(_, alone)| !alone.lacks.is_empty()) {
            diagnostic.lacks = beside
                .into_iter()
                .flat_map(|(_, alone)| alone.lacks)
                .collect();
        }
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn error(
        &self,
        (source, span): (&Arc<Source>, &Range<usize>),
        message: impl Display,
        help: String,
    ) -> Diagnostic {
        Diagnostic::new(Severity::Error, format!("{}: {message}", self.table))
            .at(source, span)
            .help(help)
    }

    fn lacks(&self, keys: &[&str], diagnostic: Diagnostic) -> Diagnostic {
        let keys = self.tables.iter().flat_map(|table| {
            keys.iter()
                .map(move |key| format!("tls.{table}.client_auth.{key}"))
        });
        keys.fold(diagnostic, Diagnostic::lacking)
    }

    pub(super) fn in_file<'a>(&'a mut self, source: &'a Arc<Source>) -> Report<'a> {
        Report {
            diagnostics: self.diagnostics,
            source,
            table: self.table.clone(),
        }
    }
}

/// Reports keys that need verified clients where none are verified.
pub(super) fn needs_verification<T>(
    key: &'static str,
    found: &Found<'_, Spanned<T>>,
    mode: &ModeInEffect<'_>,
    reporter: &mut Reporter<'_>,
) {
    if !mode.effective.verifies() {
        let word = mode.effective.word();
        let message =
            format!("client_auth.{key} needs a mode that verifies, and the mode is {word}");
        let help = "anybody could claim to be anybody; write `mode = \"require_and_verify\"` and `ca_files`".to_owned();
        let diagnostic = reporter.error((found.source, &found.at.span), message, help);
        let diagnostic = diagnostic.and_at(mode.source, mode.span, "the mode");
        reporter.beside(key, &["mode", "ca_files"], diagnostic);
    }
}
