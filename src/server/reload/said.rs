//! What the log says of a reload that is not served: once, and not at each look.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{error, info};

use crate::config::diagnostic::{Diagnostic, Excerpt, Severity};
use crate::config::diff::Findings;
use crate::server::BindError;
use crate::server::reload::look::{Kind, Refusal};

/// Whoever renews a certificate writes two files. For this long it is no news that they do not fit.
const GRACE: Duration = Duration::from_secs(30);

/// Somebody may have overlooked that a change is held.
const REMIND_EVERY: Duration = Duration::from_secs(3600);

/// What was said of the last attempt.
pub(super) struct Said {
    kind: Kind,
    state: State,
}

enum State {
    /// It is served, or waited for.
    Nothing,
    /// It is refused until something changes, for the reason that was logged; of files with this content.
    Refused { said: String, of: [u8; 32] },
    /// It is refused, and may be served though no file changes.
    Retried {
        since: Instant,
        /// The error that was logged.
        reported: Option<String>,
    },
    /// A protection would be gone.
    Held { findings: String, texts: [u8; 32], remind_at: Instant },
}

impl Said {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, state: State::Nothing }
    }

    /// There is nothing to say any more.
    pub(super) fn nothing(&mut self) {
        self.state = State::Nothing;
    }

    /// What to add to the state of the process, for people.
    pub(super) fn status(&self) -> Option<&'static str> {
        match self.state {
            State::Nothing => None,
            State::Refused { .. } | State::Retried { .. } => Some("; the last reload was refused, the log says why"),
            State::Held { .. } => Some("; a reload is held because a protection would go, the log says which"),
        }
    }

    /// Whether the attempt is worth another one though nothing has changed.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.state, State::Retried { .. })
    }

    pub(super) fn refused(&mut self, refusal: &Refusal) {
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
        if !matches!(&self.state, State::Refused { said, of: before } if *said == text && *before == of) {
            refuse(&text);
        }
        self.state = State::Refused { said: text, of };
    }

    /// The reason may pass by itself. It is reported once, however often it is tried.
    pub(super) fn failed(&mut self, text: &str) {
        self.later(text, true);
    }

    /// Reported with who has the address, which is asked where nobody waits for it.
    pub(super) fn not_bound(&mut self, errors: Vec<BindError>) {
        let in_short = |errors: &[BindError]| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let text = in_short(&errors);
        if matches!(&self.state, State::Retried { reported: Some(said), .. } if *said == text) {
            return;
        }
        self.state = State::Retried { since: Instant::now(), reported: Some(text) };
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
            self.state = State::Retried { since: Instant::now(), reported: None };
        }
        let State::Retried { since, reported } = &mut self.state else { return };
        let is_news = reported.as_deref() != Some(text);
        if is_news && (at_once || since.elapsed() >= GRACE) {
            *reported = Some(text.to_owned());
            refuse(text);
        }
    }

    /// `texts` are those of the configuration in short.
    pub(super) fn held(&mut self, findings: &Findings, texts: [u8; 32]) {
        let findings = findings.on_one_line();
        if matches!(&self.state, State::Held { findings: said, texts: of, .. } if *said == findings && *of == texts) {
            return;
        }
        self.state = State::Held { findings, texts, remind_at: Instant::now() + REMIND_EVERY };
        self.hold();
    }

    /// When what is held is to be said again.
    pub(super) fn remind_at(&self) -> Option<Instant> {
        match self.state {
            State::Held { remind_at, .. } => Some(remind_at),
            _ => None,
        }
    }

    /// Says it again.
    pub(super) fn remind(&mut self) {
        if let State::Held { remind_at, .. } = &mut self.state {
            *remind_at = Instant::now() + REMIND_EVERY;
        }
        self.hold();
    }

    fn hold(&self) {
        let State::Held { findings, .. } = &self.state else { return };
        let help = match self.kind {
            Kind::Files => {
                let pid = std::process::id();
                format!("if it is meant, confirm it: `kill -HUP {pid}` or `systemctl reload snigate`")
            }
            Kind::Materials => "give the files back, or confirm it when the configuration is valid".to_owned(),
        };
        error!(diagnostics = findings, help, "reload held, a protection would go; the configuration that runs goes on");
    }
}

fn refuse(text: &str) {
    error!(diagnostics = text, "reload refused, the configuration that runs goes on");
}
