//! Reports of mistakes, found while one table is compiled.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use crate::addr::Cidr;
use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::file::{self, Spanned};
use crate::config::material::Item;
use crate::config::read::paste;
use crate::net::Liveness;

/// Longer is a slip of the pen, and deadlines must not overflow.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// That a list is missing, or stands there and names none of what it should.
pub(super) fn absent(key: &str, is_written: bool, what: &str) -> String {
    if is_written {
        format!("{key} names no {what}")
    } else {
        format!("{key} is missing")
    }
}

/// Where mistakes are reported while one table is compiled.
pub(super) struct Report<'a> {
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
    pub(super) source: &'a Arc<Source>,
    /// The table: `routes.api`.
    pub(super) table: String,
}

impl Report<'_> {
    pub(super) fn error(
        &mut self,
        span: &Range<usize>,
        message: impl std::fmt::Display,
        help: impl Into<Option<String>>,
    ) {
        self.push(Severity::Error, span, message, help);
    }

    /// A key of this table that must be there, or a table that a name stands for: `key` from the
    /// beginning.
    pub(super) fn missing(
        &mut self,
        key: impl Into<String>,
        span: &Range<usize>,
        message: impl std::fmt::Display,
        help: impl Into<Option<String>>,
    ) {
        let diagnostic = Diagnostic::new(Severity::Error, format!("{}: {message}", self.table));
        self.diagnostics
            .push(diagnostic.at(self.source, span).help(help).lacking(key));
    }

    pub(super) fn warning(
        &mut self,
        span: &Range<usize>,
        message: impl std::fmt::Display,
        help: impl Into<Option<String>>,
    ) {
        self.push(Severity::Warning, span, message, help);
    }

    /// A point to look back to with [`is_sound_since`](Self::is_sound_since).
    pub(super) fn mark(&self) -> usize {
        self.diagnostics.len()
    }

    /// Whether nothing that was found since then refuses the configuration.
    pub(super) fn is_sound_since(&self, mark: usize) -> bool {
        self.diagnostics
            .iter()
            .skip(mark)
            .all(|diagnostic| !diagnostic.severity.refuses())
    }

    /// Notes that what was found since `mark` is a fault of `item`, which runs and can go on.
    pub(super) fn blame(&mut self, mark: usize, item: &Item) {
        for diagnostic in self
            .diagnostics
            .iter_mut()
            .skip(mark)
            .filter(|diagnostic| diagnostic.severity.refuses())
        {
            diagnostic.fault_of.get_or_insert_with(|| item.clone());
        }
    }

    pub(super) fn push(
        &mut self,
        severity: Severity,
        span: &Range<usize>,
        message: impl std::fmt::Display,
        help: impl Into<Option<String>>,
    ) {
        let diagnostic = Diagnostic::new(severity, format!("{}: {message}", self.table));
        self.diagnostics
            .push(diagnostic.at(self.source, span).help(help));
    }

    /// A text as what it should be; a mistake names the key and says what to write.
    pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
        text: &Spanned<String>,
    ) -> Option<T> {
        let parsed = text.parse().map_err(|error| format!("{key}: {error}"));
        parsed
            .map_err(|message| self.error(&text.span, message, self.instead(key, text)))
            .ok()
    }

    /// The text to write in place of one that is no value of `key`, where that can be told.
    pub(super) fn instead(&self, key: &str, text: &Spanned<String>) -> Option<String> {
        // The parts of a variable's value must not be shown.
        let is_written = self
            .source
            .text
            .get(text.span.clone())
            .is_some_and(|written| !written.contains("${"));
        paste::text(key, text).filter(|_| is_written)
    }

    /// A file that cannot be read. What a shell would have put in its place is none of its name.
    pub(super) fn unreadable(&mut self, path: &Path, error: &io::Error, span: &Range<usize>) {
        let text = path.to_string_lossy();
        let help = if text.split('/').any(|part| part.starts_with('~')) {
            Some("`~` is no directory here: write the whole path".to_owned())
        } else if ["http:/", "https:/", "ldap:/", "ftp:/"]
            .iter()
            .any(|scheme| text.contains(scheme))
        {
            Some(
                "nothing is fetched: let a timer save it into a file, and write the name of that"
                    .to_owned(),
            )
        } else {
            let variable = paste::variable(&text);
            let variable = variable.map(|written| {
                format!("a variable of the environment is `${{NAME}}`: `{written}`")
            });
            variable.or_else(|| {
                self.made_by(path, span)
                    .filter(|_| error.kind() == io::ErrorKind::NotFound)
            })
        };
        self.error(
            span,
            format_args!("cannot read {}: {error}", path.display()),
            help,
        );
    }

    /// The command that makes a file beside the configuration which has one of the names that
    /// `snigate pki` gives.
    pub(super) fn made_by(&self, path: &Path, span: &Range<usize>) -> Option<String> {
        let written = self.source.text.get(span.clone()).unwrap_or("/");
        let name = path
            .file_name()?
            .to_str()
            .filter(|_| !written.contains('/'))?;
        let directory = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty());
        let dir = directory.map_or_else(String::new, |directory| {
            format!(" --dir {}", directory.display())
        });
        if name == "ca.crt" {
            return Some(format!(
                "`snigate pki init{dir}` makes a CA, and this file with its certificate"
            ));
        }
        if name == "ca.crl" {
            return Some(format!(
                "`snigate pki crl{dir}` writes it, for the CA of `snigate pki init`"
            ));
        }
        let stem = name
            .strip_suffix("-key.pem")
            .or_else(|| name.strip_suffix(".pem"))?;
        self.table.starts_with("certificates.").then(|| {
            format!(
                "`snigate pki issue{dir} --name SERVER_NAME --out {stem}` makes the certificate and its key, with `--client` \
                 for one that servers are shown"
            )
        })
    }

    /// Every range of addresses of a list, without those that are wrong. The one door for them:
    /// bits behind a prefix are pointed out, because the range is larger than it looks.
    pub(super) fn ranges<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
        list: &file::List,
    ) -> Vec<T> {
        list.0
            .iter()
            .filter_map(|text| self.range(key, text))
            .collect()
    }

    /// One range of addresses.
    pub(super) fn range<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
        text: &Spanned<String>,
    ) -> Option<T> {
        let range = self.parse(key, text)?;
        if let Some(network) = Cidr::behind(text) {
            let address = text.split('/').next().unwrap_or_default();
            let message = format!("{key}: {} is the whole network {network}", text.value);
            self.warning(
                &text.span,
                message,
                format!("write `{network}`, or `{address}` for this one address"),
            );
        }
        Some(range)
    }

    /// Every text of a list, without those that are wrong.
    pub(super) fn parse_all<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
        list: &file::List,
    ) -> Vec<T> {
        list.0
            .iter()
            .filter_map(|text| self.parse(key, text))
            .collect()
    }

    /// A duration above zero.
    pub(super) fn duration(&mut self, key: &str, text: &Spanned<String>) -> Option<Duration> {
        let duration = text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok());
        match duration {
            Some(duration) if !duration.is_zero() && duration <= MAX_DURATION => Some(duration),
            _ => {
                let message = format!(
                    "{key}: {:?} is not a duration above zero, of at most ten years",
                    text.value
                );
                self.error(
                    &text.span,
                    message,
                    "write `500ms`, `5s`, `2m` or `1h30m`; hours are the largest unit".to_owned(),
                );
                None
            }
        }
    }

    /// The options of keep-alive; `prefix` is the table of the keys, with a dot.
    pub(super) fn liveness(
        &mut self,
        prefix: &str,
        keepalive: Option<&Spanned<String>>,
        unacknowledged: Option<&Spanned<String>>,
        liveness: &mut Liveness,
    ) {
        let mut set = |key: &str,
                       text: Option<&Spanned<String>>,
                       most: Duration,
                       whole: bool,
                       value: &mut Option<_>| {
            let Some(text) = text else { return };
            let key = format!("{prefix}{key}");
            let Some(duration) = self.duration_or_off(&key, text) else {
                return;
            };
            let fits = |duration: Duration| {
                duration.as_secs() >= 1
                    && duration <= most
                    && !(whole && duration.subsec_nanos() > 0)
            };
            if duration.is_some_and(|duration| !fits(duration)) {
                let whole = if whole { ", in whole seconds" } else { "" };
                let help = format!(
                    "write `1s` to `{}h`{whole}, or `off`",
                    most.as_secs() / 3600
                );
                self.error(
                    &text.span,
                    format_args!("{key}: the kernel cannot do {:?}", text.value),
                    help,
                );
            } else {
                *value = duration;
            }
        };
        set(
            "keepalive",
            keepalive,
            Liveness::MAX_KEEPALIVE,
            true,
            &mut liveness.keepalive,
        );
        let most = Liveness::MAX_UNACKNOWLEDGED;
        set(
            "unacknowledged",
            unacknowledged,
            most,
            false,
            &mut liveness.unacknowledged,
        );
    }

    /// A duration, or `off`.
    pub(super) fn duration_or_off(
        &mut self,
        key: &str,
        text: &Spanned<String>,
    ) -> Option<Option<Duration>> {
        if text.value == "off" {
            Some(None)
        } else {
            self.duration(key, text).map(Some)
        }
    }
}
