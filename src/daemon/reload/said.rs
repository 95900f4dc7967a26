//! Log of reloads that are not served: once, and not at each look; and again every hour, as long as
//! what runs goes on in its place.

use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::diagnostic::{Diagnostic, Excerpt, Severity};
use crate::config::files::Behind;
use crate::config::weakening::Findings;
use crate::daemon::BindError;
use crate::daemon::reload::calm::{QUIET, UNREST};
use crate::daemon::reload::look::{Pending, RefusedReload, ReloadKind, Restless};

/// A renewal of a certificate writes two files. For this long it is no news that they do not fit.
const GRACE: Duration = Duration::from_secs(30);

/// The operator may have overlooked that a change is held or refused.
const REMIND_EVERY: Duration = Duration::from_secs(3600);

/// A reader of a log has seen enough by then.
const MOST_NAMES: usize = 20;

/// The log of the last attempt: what is refused of it, and what is held.
pub(super) struct Said {
    kind: ReloadKind,
    refused: RefusedBy,
    held: Option<HeldChange>,
    /// The findings that are stricter in what waits or is held, if there are any.
    without: Option<LoggedLine>,
    /// The file that is written so often that it has not waited for as long as it should.
    restless: Option<(Restless, LoggedLine)>,
}

enum RefusedBy {
    /// It is served, or waited for.
    Nothing,
    /// It is refused until something changes, for the reason that was logged; of files with this
    /// content.
    Now {
        of: [u8; 32],
        is_partial: bool,
        said: LoggedLine,
    },
    /// It is refused, and may be served though no file changes.
    Retried {
        since: Instant,
        /// The error that was logged.
        reported: Option<LoggedLine>,
    },
}

/// A line that was logged, and when to log it again.
struct LoggedLine {
    text: String,
    remind_at: Instant,
}

impl LoggedLine {
    fn new(text: String) -> Self {
        Self {
            text,
            remind_at: Instant::now() + REMIND_EVERY,
        }
    }

    /// Whether it is to be logged again, which is put off by as long again.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.remind_at <= now;
        if is_due {
            self.remind_at = now + REMIND_EVERY;
        }
        is_due
    }
}

/// A protection would be gone.
struct HeldChange {
    findings: LoggedLine,
    /// The files that do not act meanwhile.
    behind: Behind,
}

/// When anything of any kind is to be said again.
pub(super) fn remind_at(said: &[Said]) -> Option<Instant> {
    said.iter().filter_map(Said::remind_at).min()
}

/// Says again what is due of every kind.
pub(super) fn remind(said: &mut [Said]) {
    said.iter_mut().for_each(Said::remind);
}

impl Said {
    pub(super) fn new(kind: ReloadKind) -> Self {
        Self {
            kind,
            refused: RefusedBy::Nothing,
            held: None,
            without: None,
            restless: None,
        }
    }

    /// There is nothing to say any more.
    pub(super) fn nothing(&mut self) {
        *self = Self::new(self.kind);
    }

    /// Says what is not served of an attempt, if it has not been said.
    pub(super) fn pends(&mut self, pending: Pending) {
        match pending.refusal {
            Some(refusal) => self.refused(&refusal),
            None => self.refused = RefusedBy::Nothing,
        }
        match pending.held {
            Some((findings, behind)) => self.held(&findings, behind),
            None => self.held = None,
        }
        self.without(pending.without.on_one_line());
        self.restless(pending.restless);
    }

    /// Warns of a file that acts without having been quiet.
    fn restless(&mut self, now: Option<Restless>) {
        let Some(now) = now else {
            return self.restless = None;
        };
        if self.restless.as_ref().is_none_or(|(said, _)| *said != now) {
            now.say();
            self.restless = Some((now, LoggedLine::new(String::new())));
        }
    }

    /// Warns that what tightens is served with the rest of its texts or not at all.
    fn without(&mut self, without: String) {
        if without.is_empty() {
            self.without = None;
        } else if self
            .without
            .as_ref()
            .is_none_or(|said| said.text != without)
        {
            tighten(&without);
            self.without = Some(LoggedLine::new(without));
        }
    }

    /// The status to add to the state of the process, for people.
    pub(super) fn status(&self) -> Option<&'static str> {
        match (&self.refused, &self.held) {
            (RefusedBy::Nothing, None) => None,
            (RefusedBy::Nothing, Some(_)) => {
                Some("a reload is held because a protection would go, the log says which")
            }
            (RefusedBy::Now { .. } | RefusedBy::Retried { .. }, _) => {
                Some("the last reload was refused, the log says why")
            }
        }
    }

    /// Whether the attempt is worth another one though nothing has changed.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.refused, RefusedBy::Retried { .. })
    }

    fn refused(&mut self, refusal: &RefusedReload) {
        let refusing: Vec<Diagnostic> = refusal
            .diagnostics
            .iter()
            .filter(|found| found.severity >= Severity::Premature)
            .cloned()
            .collect();
        let text = Excerpt::of(&refusing).on_one_line();
        if refusal.is_incomplete {
            return self.failed(&text);
        }
        if refusing
            .iter()
            .all(|diagnostic| diagnostic.severity < Severity::Error)
        {
            return self.later(&text, false);
        }
        let of = refusal.digest;
        let is_partial = refusal.is_partial;
        match &mut self.refused {
            RefusedBy::Now {
                said,
                of: before,
                is_partial: was,
            } if said.text == text && *before == of => *was = is_partial,
            refused => {
                refuse(&text, is_partial);
                *refused = RefusedBy::Now {
                    of,
                    is_partial,
                    said: LoggedLine::new(text),
                };
            }
        }
    }

    /// The reason may pass by itself. It is reported once, however often it is tried.
    pub(super) fn failed(&mut self, text: &str) {
        self.later(text, true);
    }

    /// Reported with the process that has the address, which is looked for where no connection
    /// waits.
    pub(super) fn not_bound(&mut self, errors: Vec<BindError>) {
        let in_short = |errors: &[BindError]| {
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        let text = in_short(&errors);
        if matches!(&self.refused, RefusedBy::Retried { reported: Some(said), .. } if said.text == text)
        {
            return;
        }
        self.refused = RefusedBy::Retried {
            since: Instant::now(),
            reported: Some(LoggedLine::new(text)),
        };
        drop(spawn_blocking(move || {
            let errors: Vec<BindError> = errors.into_iter().map(BindError::explained).collect();
            refuse(&in_short(&errors), false);
        }));
    }

    fn later(&mut self, text: &str, at_once: bool) {
        if !self.may_pass() {
            if !at_once {
                info!(
                    reason = text,
                    "not reloaded yet, the configuration that runs goes on"
                );
            }
            self.refused = RefusedBy::Retried {
                since: Instant::now(),
                reported: None,
            };
        }
        let RefusedBy::Retried { since, reported } = &mut self.refused else {
            return;
        };
        let is_news = reported.as_ref().is_none_or(|said| said.text != text);
        if is_news && (at_once || since.elapsed() >= GRACE) {
            *reported = Some(LoggedLine::new(text.to_owned()));
            refuse(text, false);
        }
    }

    /// Warns that what has come since stands behind what was held before.
    fn held(&mut self, findings: &Findings, behind: Behind) {
        let findings = findings.on_one_line();
        match &mut self.held {
            Some(held) if held.findings.text == findings => {
                let since = names(behind.since(&held.behind));
                held.behind = behind;
                if let Some(files) = since {
                    let help = self.way_out();
                    error!(
                        files,
                        diagnostics = findings,
                        help,
                        "files have changed behind the reload that is held: they do not act before it does"
                    );
                }
            }
            before => {
                let known = before.take().map(|held| held.behind).unwrap_or_default();
                let files = names(behind.since(&known));
                *before = Some(HeldChange {
                    findings: LoggedLine::new(findings),
                    behind,
                });
                self.hold(files);
            }
        }
    }

    /// When anything is to be said again.
    fn remind_at(&self) -> Option<Instant> {
        let refused = match &self.refused {
            RefusedBy::Now { said, .. }
            | RefusedBy::Retried {
                reported: Some(said),
                ..
            } => Some(said),
            RefusedBy::Nothing | RefusedBy::Retried { reported: None, .. } => None,
        };
        let held = self.held.as_ref().map(|held| &held.findings);
        let restless = self.restless.as_ref().map(|(_, line)| line);
        [refused, held, self.without.as_ref(), restless]
            .into_iter()
            .flatten()
            .map(|line| line.remind_at)
            .min()
    }

    /// Says again what is due, each in its own line.
    fn remind(&mut self) {
        let refused = match &mut self.refused {
            RefusedBy::Now {
                said, is_partial, ..
            } => Some((said, *is_partial)),
            RefusedBy::Retried {
                reported: Some(said),
                ..
            } => Some((said, false)),
            RefusedBy::Nothing | RefusedBy::Retried { reported: None, .. } => None,
        };
        if let Some((said, is_partial)) = refused
            && said.is_due()
        {
            refuse(&said.text, is_partial);
        }
        if let Some(held) = &mut self.held
            && held.findings.is_due()
        {
            let files = names(held.behind.since(&Behind::default()));
            self.hold(files);
        }
        if let Some(without) = &mut self.without
            && without.is_due()
        {
            tighten(&without.text);
        }
        if let Some((restless, line)) = &mut self.restless
            && line.is_due()
        {
            restless.say();
        }
    }

    fn hold(&self, files: Option<String>) {
        let Some(HeldChange { findings, .. }) = &self.held else {
            return;
        };
        let (diagnostics, help) = (&findings.text, self.way_out());
        error!(
            diagnostics,
            files, help, "reload held, a protection would go; the configuration that runs goes on"
        );
    }

    fn way_out(&self) -> String {
        match self.kind {
            ReloadKind::Files => format!("if it is meant, {}", confirm()),
            ReloadKind::Materials => {
                "give the files back, or confirm it when the configuration is valid".to_owned()
            }
        }
    }
}

/// The first of these files, and how many more there are.
fn names<'a>(files: impl Iterator<Item = &'a Path>) -> Option<String> {
    let mut names: Vec<String> = files.map(|path| path.display().to_string()).collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let more = if more > 0 {
        format!(", and {more} more")
    } else {
        String::new()
    };
    (!names.is_empty()).then(|| names.join(", ") + &more)
}

impl Restless {
    fn say(&self) {
        let help = format!(
            "write files whole, by renaming them into place, and leave them alone for {QUIET:?}"
        );
        match self {
            Self::Items(items) => error!(
                files = items.join(", "),
                help,
                "files are written again and again: what they take away acts, what they allow waits until they are quiet"
            ),
            Self::Texts => error!(
                help,
                "the files have been written again and again for {UNREST:?}, and act as they are, because they also tighten"
            ),
        }
    }
}

fn confirm() -> String {
    let pid = std::process::id();
    format!("confirm it: `kill -HUP {pid}` or `systemctl reload snigate`")
}

fn refuse(text: &str, is_partial: bool) {
    match is_partial {
        true => error!(
            diagnostics = text,
            "reloaded in part; of the rest what runs goes on"
        ),
        false => error!(
            diagnostics = text,
            "reload refused, the configuration that runs goes on"
        ),
    }
}

fn tighten(without: &str) {
    let help = format!(
        "{}, or write what tightens by itself: that acts at once",
        confirm()
    );
    warn!(
        without,
        help, "the files also tighten, which does not act before the rest of them does"
    );
}

#[cfg(test)]
mod tests;
