//! Access lines, of which nobody can make too many.
//!
//! Whoever is refused costs little and may come back a hundred thousand times a second. Lines of refusals are written as
//! long as they are few; of the others their number is logged, so that no connection is missing from the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::telemetry::{Ending, Outcome, Record};

/// Lines per second for each outcome. Of a refusal that comes more often, the first hundred tell all there is to know.
const MAX_PER_SECOND: u32 = 100;

/// Writes access lines.
#[derive(Debug)]
pub struct AccessLog {
    windows: Mutex<Vec<Window>>,
}

/// One outcome in one second.
#[derive(Clone, Debug, Default)]
struct Window {
    began: Option<Instant>,
    written: u32,
    /// Since the last report, in all seconds.
    withheld: u64,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { windows: Mutex::new(vec![Window::default(); Outcome::ALL.len()]) }
    }
}

impl AccessLog {
    /// How often [`report`](Self::report) is to be called.
    pub const REPORT_EVERY: Duration = Duration::from_secs(10);

    /// Writes the line of a connection that has ended, or counts it: see [`Outcome::is_refusal`].
    pub fn write(&self, record: &Record, ending: &Ending) {
        if !ending.outcome.is_refusal() || self.admit(ending.outcome, Instant::now()) {
            record.log(ending);
        }
    }

    /// Logs how many lines were not written since the last report, for each outcome that has any.
    pub fn report(&self) {
        for (outcome, count) in self.take_withheld() {
            info!(outcome = outcome.word(), count, "connections without an access line");
        }
    }

    /// Whether a line of this outcome is written at the time `now`; it is counted if not.
    fn admit(&self, outcome: Outcome, now: Instant) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = &mut windows[outcome as usize];
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= Duration::from_secs(1)) {
            (window.began, window.written) = (Some(now), 0);
        }
        let admitted = window.written < MAX_PER_SECOND;
        if admitted {
            window.written += 1;
        } else {
            window.withheld += 1;
        }
        admitted
    }

    fn take_withheld(&self) -> Vec<(Outcome, u64)> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = Outcome::ALL.iter().zip(windows.iter_mut().map(|window| std::mem::take(&mut window.withheld)));
        counts.map(|(&outcome, count)| (outcome, count)).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_window_of_its_own() {
        for (at, &outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome as usize, at, "{outcome:?}");
        }
    }

    #[test]
    fn what_exceeds_the_limit_of_a_second_is_counted_and_nothing_is_counted_twice() {
        let log = AccessLog::default();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let written = |outcome, milliseconds| (0..150).filter(|_| log.admit(outcome, at(milliseconds))).count();
        assert_eq!(written(Outcome::NoRoute, 0), 100);
        assert_eq!(written(Outcome::NoRoute, 999), 0);
        assert_eq!(written(Outcome::NotAllowed, 999), 100, "outcomes do not count for each other");
        assert_eq!(written(Outcome::NoRoute, 1000), 100);
        // A clock that is read on another thread may be late.
        assert_eq!(written(Outcome::NoRoute, 500), 0);
        let mut withheld = log.take_withheld();
        withheld.sort_by_key(|(outcome, _)| *outcome as usize);
        assert_eq!(withheld, [(Outcome::NoRoute, 50 + 150 + 50 + 150), (Outcome::NotAllowed, 50)]);
        assert_eq!(log.take_withheld(), []);
        assert_eq!(written(Outcome::NoRoute, 5000), 100);
        assert_eq!(log.take_withheld(), [(Outcome::NoRoute, 50)]);
    }

    #[test]
    fn only_who_was_refused_can_lose_a_line() {
        for outcome in
            [Outcome::Closed, Outcome::Reset, Outcome::ConnectFailed, Outcome::Drained, Outcome::InternalError]
        {
            assert!(!outcome.is_refusal(), "{outcome:?}");
        }
        for outcome in [Outcome::NoCertificate, Outcome::NotAllowed, Outcome::NoRoute, Outcome::NotTls] {
            assert!(outcome.is_refusal(), "{outcome:?}");
        }
    }
}
