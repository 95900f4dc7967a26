//! What the log says of a reload that is not served: once, and not at each look.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::diagnostic::{Diagnostic, Excerpt, Severity};
use crate::config::diff::Findings;
use crate::server::BindError;
use crate::server::reload::look::{Kind, Pending, Refusal};

/// Whoever renews a certificate writes two files. For this long it is no news that they do not fit.
const GRACE: Duration = Duration::from_secs(30);

/// Somebody may have overlooked that a change is held.
const REMIND_EVERY: Duration = Duration::from_secs(3600);

/// What was said of the last attempt: what is refused of it, and what is held.
pub(super) struct Said {
    kind: Kind,
    refused: Refused,
    held: Option<Held>,
    /// What is stricter in texts that wait or are held, as it was said.
    without: String,
}

enum Refused {
    /// It is served, or waited for.
    Nothing,
    /// It is refused until something changes, for the reason that was logged; of files with this content.
    Now { said: String, of: [u8; 32] },
    /// It is refused, and may be served though no file changes.
    Retried {
        since: Instant,
        /// The error that was logged.
        reported: Option<String>,
    },
}

/// A protection would be gone.
struct Held {
    findings: String,
    texts: [u8; 32],
    remind_at: Instant,
}

impl Said {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, refused: Refused::Nothing, held: None, without: String::new() }
    }

    /// There is nothing to say any more.
    pub(super) fn nothing(&mut self) {
        *self = Self::new(self.kind);
    }

    /// Says what is not served of an attempt, if it has not been said.
    pub(super) fn pends(&mut self, pending: Pending) {
        match pending.refusal {
            Some(refusal) => self.refused(&refusal),
            None => self.refused = Refused::Nothing,
        }
        match pending.held {
            Some((findings, texts)) => self.held(&findings, texts),
            None => self.held = None,
        }
        self.without(pending.without.on_one_line());
    }

    /// What tightens is served with the rest of its texts or not at all, and whoever has written it has to know.
    fn without(&mut self, without: String) {
        if !without.is_empty() && without != self.without {
            let help = format!("{}, or write what tightens by itself: that acts at once", confirm());
            warn!(without, help, "the files also tighten, which does not act before the rest of them does");
        }
        self.without = without;
    }

    /// What to add to the state of the process, for people.
    pub(super) fn status(&self) -> Option<&'static str> {
        match (&self.refused, &self.held) {
            (Refused::Nothing, None) => None,
            (Refused::Nothing, Some(_)) => Some("; a reload is held because a protection would go, the log says which"),
            (Refused::Now { .. } | Refused::Retried { .. }, _) => {
                Some("; the last reload was refused, the log says why")
            }
        }
    }

    /// Whether the attempt is worth another one though nothing has changed.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.refused, Refused::Retried { .. })
    }

    fn refused(&mut self, refusal: &Refusal) {
        let refusing: Vec<Diagnostic> =
            refusal.diagnostics.iter().filter(|found| found.severity >= Severity::Premature).cloned().collect();
        let text = Excerpt::of(&refusing).on_one_line();
        if refusal.is_incomplete {
            return self.failed(&text);
        }
        if refusing.iter().all(|diagnostic| diagnostic.severity < Severity::Error) {
            return self.later(&text, false);
        }
        let of = refusal.digest;
        if !matches!(&self.refused, Refused::Now { said, of: before } if *said == text && *before == of) {
            match refusal.is_partial {
                true => error!(diagnostics = text, "reloaded in part; of the rest what runs goes on"),
                false => refuse(&text),
            }
        }
        self.refused = Refused::Now { said: text, of };
    }

    /// The reason may pass by itself. It is reported once, however often it is tried.
    pub(super) fn failed(&mut self, text: &str) {
        self.later(text, true);
    }

    /// Reported with who has the address, which is asked where nobody waits for it.
    pub(super) fn not_bound(&mut self, errors: Vec<BindError>) {
        let in_short = |errors: &[BindError]| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let text = in_short(&errors);
        if matches!(&self.refused, Refused::Retried { reported: Some(said), .. } if *said == text) {
            return;
        }
        self.refused = Refused::Retried { since: Instant::now(), reported: Some(text) };
        drop(spawn_blocking(move || {
            let errors: Vec<BindError> = errors.into_iter().map(BindError::explained).collect();
            refuse(&in_short(&errors));
        }));
    }

    fn later(&mut self, text: &str, at_once: bool) {
        if !self.may_pass() {
            if !at_once {
                info!(reason = text, "not reloaded yet, the configuration that runs goes on");
            }
            self.refused = Refused::Retried { since: Instant::now(), reported: None };
        }
        let Refused::Retried { since, reported } = &mut self.refused else { return };
        let is_news = reported.as_deref() != Some(text);
        if is_news && (at_once || since.elapsed() >= GRACE) {
            *reported = Some(text.to_owned());
            refuse(text);
        }
    }

    /// `texts` are those of the configuration in short.
    fn held(&mut self, findings: &Findings, texts: [u8; 32]) {
        let findings = findings.on_one_line();
        if !self.held.as_ref().is_some_and(|held| held.findings == findings && held.texts == texts) {
            self.held = Some(Held { findings, texts, remind_at: Instant::now() + REMIND_EVERY });
            self.hold();
        }
    }

    /// When what is held is to be said again.
    pub(super) fn remind_at(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.remind_at)
    }

    /// Says it again.
    pub(super) fn remind(&mut self) {
        if let Some(held) = &mut self.held {
            held.remind_at = Instant::now() + REMIND_EVERY;
        }
        self.hold();
    }

    fn hold(&self) {
        let Some(Held { findings, .. }) = &self.held else { return };
        let help = match self.kind {
            Kind::Files => format!("if it is meant, {}", confirm()),
            Kind::Materials => "give the files back, or confirm it when the configuration is valid".to_owned(),
        };
        error!(diagnostics = findings, help, "reload held, a protection would go; the configuration that runs goes on");
    }
}

fn confirm() -> String {
    let pid = std::process::id();
    format!("confirm it: `kill -HUP {pid}` or `systemctl reload snigate`")
}

fn refuse(text: &str) {
    error!(diagnostics = text, "reload refused, the configuration that runs goes on");
}
