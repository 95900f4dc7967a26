//! Log lines of attempts, with the time standing still.

use std::fmt::Debug;
use std::fs;
use std::sync::{Arc, Mutex};

use tokio::time::advance;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use super::*;
use crate::config::files::Files;

const HELD: &str = "reload held, a protection would go; the configuration that runs goes on";
const BEHIND: &str =
    "files have changed behind the reload that is held: they do not act before it does";
const REFUSED: &str = "reload refused, the configuration that runs goes on";
const IN_PART: &str = "reloaded in part; of the rest what runs goes on";
const TIGHTENS: &str = "the files also tighten, which does not act before the rest of them does";

/// The lines that this thread logs: the level, the message and the names of files.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = LoggedLine::default();
        event.record(&mut line);
        let files = if line.files.is_empty() {
            String::new()
        } else {
            format!(" [{}]", line.files)
        };
        self.0.lock().unwrap().push(format!(
            "{} {}{files}",
            event.metadata().level(),
            line.message
        ));
    }
}

#[derive(Default)]
struct LoggedLine {
    message: String,
    files: String,
}

impl Visit for LoggedLine {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "files" => self.files = format!("{value:?}"),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "files" {
            self.files = value.to_owned();
        }
    }
}

impl Lines {
    fn new() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let guard = tracing::subscriber::set_default(Registry::default().with(lines.clone()));
        (lines, guard)
    }

    /// Those that were logged since this was asked last.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn findings(text: &str) -> Findings {
    let mut findings = Findings::default();
    findings.note(text.to_owned());
    findings
}

/// Items that wait, where nothing is served and these files have this content.
fn behind(dir: &Path, files: &[(&str, &str)]) -> Behind {
    let mut read = Files::default();
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
        read.read(&dir.join(name)).unwrap();
    }
    let mut behind = Behind::default();
    behind.add_changed(&read, &Files::default());
    behind
}

fn held(behind: Behind) -> Pending {
    Pending {
        held: Some((findings("client_auth would go"), behind)),
        ..Pending::default()
    }
}

fn refused(message: &str, is_partial: bool) -> Pending {
    let diagnostics = vec![Diagnostic::new(Severity::Error, message)];
    let refusal = RefusedReload {
        diagnostics,
        is_incomplete: false,
        digest: [1; 32],
        is_partial,
    };
    Pending {
        refusal: Some(refusal),
        ..Pending::default()
    }
}

#[test]
fn what_comes_behind_a_hold_is_said_once_and_loudly_with_the_files_that_changed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (lines, _guard) = Lines::new();
    let mut said = Said::new(ReloadKind::Files);
    let path = |name: &str| dir.join(name).display().to_string();
    let first = [("a.toml", "1"), ("new.pem", "1")];
    said.pends(held(behind(dir, &first)));
    assert_eq!(
        lines.take(),
        [format!(
            "ERROR {HELD} [{}, {}]",
            path("a.toml"),
            path("new.pem")
        )]
    );
    said.pends(held(behind(dir, &first)));
    assert_eq!(lines.take(), [""; 0], "it is no news");
    let then = [("a.toml", "1"), ("new.pem", "2"), ("new.crl", "1")];
    said.pends(held(behind(dir, &then)));
    assert_eq!(
        lines.take(),
        [format!(
            "ERROR {BEHIND} [{}, {}]",
            path("new.crl"),
            path("new.pem")
        )]
    );
    said.pends(held(behind(dir, &then)));
    assert_eq!(lines.take(), [""; 0], "it was said");
    said.pends(Pending {
        held: Some((findings("on_revoke would go"), behind(dir, &then))),
        ..Pending::default()
    });
    assert_eq!(
        lines.take(),
        [format!("ERROR {HELD}")],
        "nothing else changed"
    );
}

#[tokio::test(start_paused = true)]
async fn whatever_keeps_what_runs_in_force_is_said_again_every_hour_in_its_own_line() {
    let dir = tempfile::tempdir().unwrap();
    let (lines, _guard) = Lines::new();
    let waits = || behind(dir.path(), &[("a.toml", "1")]);
    let file = dir.path().join("a.toml").display().to_string();
    let tightens = || Pending {
        without: findings("client_auth.deny.cn would go"),
        ..held(waits())
    };
    let all = || Pending {
        refusal: refused("a pin is lost", true).refusal,
        ..tightens()
    };
    let hold = format!("ERROR {HELD} [{file}]");
    let later = || {
        let missing = Diagnostic::new(Severity::Premature, "not valid yet");
        let refusal = RefusedReload {
            diagnostics: vec![missing],
            is_incomplete: true,
            digest: [1; 32],
            is_partial: false,
        };
        Pending {
            refusal: Some(refusal),
            ..Pending::default()
        }
    };
    for kind in [ReloadKind::Files, ReloadKind::Materials] {
        for (pending, expected) in [
            (held(waits()), vec![hold.clone()]),
            (
                refused("a mistake", false),
                vec![format!("ERROR {REFUSED}")],
            ),
            (
                refused("the last pin", true),
                vec![format!("ERROR {IN_PART}")],
            ),
            (later(), vec![format!("ERROR {REFUSED}")]),
            (tightens(), vec![hold.clone(), format!("WARN {TIGHTENS}")]),
            (
                all(),
                vec![
                    format!("ERROR {IN_PART}"),
                    hold.clone(),
                    format!("WARN {TIGHTENS}"),
                ],
            ),
        ] {
            let mut said = [ReloadKind::Files, ReloadKind::Materials].map(Said::new);
            said[kind as usize].pends(pending);
            assert_eq!(lines.take(), expected, "{kind:?}");
            for hour in 1..3 {
                let at = remind_at(&said)
                    .unwrap_or_else(|| panic!("{kind:?}: {expected:?} is said again"));
                assert_eq!(at - Instant::now(), REMIND_EVERY, "{kind:?} {expected:?}");
                remind(&mut said);
                assert_eq!(lines.take(), [""; 0], "{kind:?}: before the hour is over");
                advance(REMIND_EVERY).await;
                remind(&mut said);
                assert_eq!(lines.take(), expected, "{kind:?}: after {hour} hours");
            }
            said[kind as usize].nothing();
            assert_eq!(remind_at(&said), None, "{kind:?} {expected:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn news_of_one_thing_puts_off_no_reminder_of_another() {
    let (lines, _guard) = Lines::new();
    let mut said = Said::new(ReloadKind::Files);
    said.pends(held(Behind::default()));
    advance(REMIND_EVERY / 2).await;
    said.pends(Pending {
        refusal: refused("a mistake", false).refusal,
        ..held(Behind::default())
    });
    assert_eq!(
        lines.take(),
        [format!("ERROR {HELD}"), format!("ERROR {REFUSED}")]
    );
    advance(REMIND_EVERY / 2).await;
    said.remind();
    assert_eq!(lines.take(), [format!("ERROR {HELD}")]);
}
