//! Compilation of a configuration: from what was written to what it means. Every rule that a
//! configuration must keep is checked here, and every breach of one is reported, not only the
//! first.

pub(super) mod access;
mod authorities;
mod bind;
mod chain;
mod client_auth;
mod door;
pub(super) mod left_out;
mod limits;
pub(super) mod listeners;
mod origin;
mod pinned;
mod premature;
pub(super) mod resolver;
mod revocation;
mod routes;
mod seen_by;
mod self_signed;
mod servers;
mod strangers;
mod tls;
mod trust;
mod unused;
mod upstream_tls;
mod upstreams;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tracing::Level;

use crate::addr::Cidr;
use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::file::{self, Spanned};
use crate::config::files::Files;
use crate::config::material::Item;
use crate::config::model::{Circumstances, Config, Timeouts};
use crate::config::read::{Merged, Sourced, beside, paste};
use crate::net::Liveness;
use crate::storage::Storage;
use crate::telemetry;

/// Longer is a slip of the pen, and deadlines must not overflow.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// That a list is missing, or stands there and names none of what it should.
fn absent(key: &str, is_written: bool, what: &str) -> String {
    if is_written {
        format!("{key} names no {what}")
    } else {
        format!("{key} is missing")
    }
}

/// Where mistakes are reported while one table is compiled.
struct Report<'a> {
    diagnostics: &'a mut Vec<Diagnostic>,
    source: &'a Arc<Source>,
    /// The table: `routes.api`.
    table: String,
}

impl Report<'_> {
    fn error(
        &mut self,
        span: &Range<usize>,
        message: impl std::fmt::Display,
        help: impl Into<Option<String>>,
    ) {
        self.push(Severity::Error, span, message, help);
    }

    /// A key of this table that must be there, or a table that a name stands for: `key` from the
    /// beginning.
    fn missing(
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

    fn warning(
        &mut self,
        span: &Range<usize>,
        message: impl std::fmt::Display,
        help: impl Into<Option<String>>,
    ) {
        self.push(Severity::Warning, span, message, help);
    }

    /// A point to look back to with [`is_sound_since`](Self::is_sound_since).
    fn mark(&self) -> usize {
        self.diagnostics.len()
    }

    /// Whether nothing that was found since then refuses the configuration.
    fn is_sound_since(&self, mark: usize) -> bool {
        self.diagnostics
            .iter()
            .skip(mark)
            .all(|diagnostic| !diagnostic.severity.refuses())
    }

    /// Notes that what was found since `mark` is a fault of `item`, which runs and can go on.
    fn blame(&mut self, mark: usize, item: &Item) {
        for diagnostic in self
            .diagnostics
            .iter_mut()
            .skip(mark)
            .filter(|diagnostic| diagnostic.severity.refuses())
        {
            diagnostic.fault_of.get_or_insert_with(|| item.clone());
        }
    }

    fn push(
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
    fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
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
    fn instead(&self, key: &str, text: &Spanned<String>) -> Option<String> {
        // The parts of a variable's value must not be shown.
        let is_written = self
            .source
            .text
            .get(text.span.clone())
            .is_some_and(|written| !written.contains("${"));
        paste::text(key, text).filter(|_| is_written)
    }

    /// A file that cannot be read. What a shell would have put in its place is none of its name.
    fn unreadable(&mut self, path: &Path, error: &io::Error, span: &Range<usize>) {
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
    fn made_by(&self, path: &Path, span: &Range<usize>) -> Option<String> {
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
    fn ranges<T: std::str::FromStr<Err: std::fmt::Display>>(
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
    fn range<T: std::str::FromStr<Err: std::fmt::Display>>(
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
    fn parse_all<T: std::str::FromStr<Err: std::fmt::Display>>(
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
    fn duration(&mut self, key: &str, text: &Spanned<String>) -> Option<Duration> {
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
    fn liveness(
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
    fn duration_or_off(&mut self, key: &str, text: &Spanned<String>) -> Option<Option<Duration>> {
        if text.value == "off" {
            Some(None)
        } else {
            self.duration(key, text).map(Some)
        }
    }
}

pub(super) fn compile(
    merged: Merged,
    files: &mut Files,
    circumstances: &Circumstances,
    diagnostics: &mut Vec<Diagnostic>,
) -> Config {
    let timeouts = merged
        .timeouts
        .as_ref()
        .map_or_else(Timeouts::default, |section| timeouts(section, diagnostics));
    let (log, access_log) = log(merged.log.as_ref().map(|log| &log.value));
    if let Some(section) = merged
        .log
        .as_ref()
        .filter(|_| access_log && log.level < Level::INFO)
    {
        let mut report = Report {
            diagnostics,
            source: &section.source,
            table: "log".to_owned(),
        };
        let help = "write `access = false` if that is meant, or `level = \"info\"`".to_owned();
        report.warning(
            &section.span,
            "access lines are of level info, so this level leaves them out",
            help,
        );
    }
    let resolver = resolver::compile(&merged, diagnostics);
    let storage = storage(merged.storage.as_ref());
    let mut materials = tls::compile(&merged, &storage, files, circumstances.now, diagnostics);
    let trusts = trust::compile(&merged, files, diagnostics);
    let mut listeners = listeners::compile(&merged, &timeouts, files, diagnostics);
    let routes = routes::compile(&merged, &materials, &trusts, &timeouts, diagnostics);
    premature::judge(
        &routes,
        &merged,
        (&mut materials, files),
        circumstances,
        diagnostics,
    );
    listeners::fill(&mut listeners, &routes, &merged, diagnostics);
    unused::judge(&merged, diagnostics);
    let tls::Materials {
        certificates,
        policies,
    } = materials;
    let notices = policies
        .values()
        .flat_map(|policy| policy.notices.clone())
        .collect();
    Config {
        listeners,
        routes,
        resolver,
        tls: policies
            .into_iter()
            .map(|(name, policy)| (name, policy.shown))
            .collect(),
        certificates,
        storage,
        trusts,
        timeouts,
        notices,
        log,
        access_log,
    }
}

/// Where a daemon keeps what is its own (FHS §5.8.1).
const STORAGE: &str = "/var/lib/snigate";

fn storage(section: Option<&Sourced<file::Storage>>) -> Storage {
    let dir =
        section.and_then(|section| Some(beside(&section.source.path, section.value.dir.as_ref()?)));
    Storage::new(dir.unwrap_or_else(|| STORAGE.into()))
}

fn timeouts(section: &Sourced<file::Timeouts>, diagnostics: &mut Vec<Diagnostic>) -> Timeouts {
    let mut report = Report {
        diagnostics,
        source: &section.source,
        table: "timeouts".to_owned(),
    };
    let mut timeouts = Timeouts::default();
    let file::Timeouts {
        hello,
        handshake,
        connect,
        idle,
        half_close,
        drain,
        max_lifetime,
        keepalive,
        unacknowledged,
    } = &section.value;
    let own = [
        ("hello", hello, &mut timeouts.hello),
        ("handshake", handshake, &mut timeouts.handshake),
        ("connect", connect, &mut timeouts.connect),
        ("drain", drain, &mut timeouts.drain),
    ];
    for (key, text, timeout) in own {
        if let Some(duration) = text.as_ref().and_then(|text| report.duration(key, text)) {
            *timeout = duration;
        }
    }
    for (key, text, timeout) in [
        ("idle", idle, &mut timeouts.idle),
        ("half_close", half_close, &mut timeouts.half_close),
        ("max_lifetime", max_lifetime, &mut timeouts.max_lifetime),
    ] {
        if let Some(duration) = text
            .as_ref()
            .and_then(|text| report.duration_or_off(key, text))
        {
            *timeout = duration;
        }
    }
    report.liveness(
        "",
        keepalive.as_ref(),
        unacknowledged.as_ref(),
        &mut timeouts.liveness,
    );
    timeouts
}

fn log(section: Option<&file::Log>) -> (telemetry::LogOptions, bool) {
    let level = match section.and_then(|log| log.level) {
        Some(file::Level::Error) => Level::ERROR,
        Some(file::Level::Warn) => Level::WARN,
        Some(file::Level::Info) | None => Level::INFO,
        Some(file::Level::Debug) => Level::DEBUG,
        Some(file::Level::Trace) => Level::TRACE,
    };
    let format = match section.and_then(|log| log.format) {
        Some(file::Format::Text) | None => telemetry::Format::Text,
        Some(file::Format::Json) => telemetry::Format::Json,
    };
    (
        telemetry::LogOptions { level, format },
        section.and_then(|log| log.access).unwrap_or(true),
    )
}
