//! Access lines, of which nobody can make too many.
//!
//! Whoever is refused costs little and may come back a hundred thousand times a second. Lines of refusals are written as
//! long as they are few; of the others their number is logged, so that no connection is missing from the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::telemetry::{Ending, Outcome, Record};

/// In the long run each outcome may have a line as often as this: a hundred per second tell all there is to know.
const INTERVAL: Duration = Duration::from_millis(10);

/// Five thousand lines at once, such as those of clients that all come back after a restart, are still worth having.
const BURST: Duration = Duration::from_secs(50);

/// Writes access lines.
#[derive(Debug)]
pub struct AccessLog {
    /// By the place of the outcome in [`Outcome::ALL`].
    quotas: Mutex<Vec<Quota>>,
}

/// The lines of one outcome.
#[derive(Clone, Debug, Default)]
struct Quota {
    /// Until when the lines written so far have used up the intervals.
    used_until: Option<Instant>,
    /// Lines that were not written, since the last report.
    withheld: u64,
}

impl Quota {
    /// Whether there is a line left at the time `now`, which is then used; it is counted if there is none.
    fn take(&mut self, now: Instant) -> bool {
        let used_until = self.used_until.map_or(now, |until| until.max(now));
        let admitted = used_until - now < BURST;
        if admitted {
            self.used_until = Some(used_until + INTERVAL);
        } else {
            self.withheld += 1;
        }
        admitted
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { quotas: Mutex::new(vec![Quota::default(); Outcome::ALL.len()]) }
    }
}

impl AccessLog {
    /// How often [`report`](Self::report) is to be called.
    pub const REPORT_EVERY: Duration = Duration::from_secs(10);

    /// Writes the line of a connection that has ended, or counts it: see [`Ending::is_refusal`].
    pub fn write(&self, record: &Record, ending: &Ending) {
        if !ending.is_refusal() || self.admit(ending.outcome, Instant::now()) {
            record.log(ending);
        }
    }

    /// Logs how many lines were not written since the last report, for each outcome that has any.
    pub fn report(&self) {
        for (outcome, count) in self.take_withheld() {
            info!(outcome = outcome.word(), count, "connections without an access line");
        }
    }

    fn admit(&self, outcome: Outcome, now: Instant) -> bool {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)[outcome as usize].take(now)
    }

    fn take_withheld(&self) -> Vec<(Outcome, u64)> {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = Outcome::ALL.iter().zip(quotas.iter_mut().map(|quota| std::mem::take(&mut quota.withheld)));
        counts.map(|(&outcome, count)| (outcome, count)).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Party;

    #[test]
    fn every_outcome_has_a_quota_of_its_own() {
        for (at, &outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome as usize, at, "{outcome:?}");
        }
    }

    #[test]
    fn what_exceeds_the_limit_is_counted_and_nothing_is_counted_twice() {
        let log = AccessLog::default();
        let start = Instant::now() + Duration::from_secs(60);
        let written = |outcome, attempts, second| {
            (0..attempts).filter(|_| log.admit(outcome, start + Duration::from_secs(second))).count()
        };
        assert_eq!(written(Outcome::NoRoute, 5500, 0), 5000);
        assert_eq!(written(Outcome::NotAllowed, 5100, 0), 5000, "outcomes do not count for each other");
        assert_eq!(written(Outcome::NoRoute, 150, 1), 100);
        assert_eq!(written(Outcome::NoRoute, 99, 2), 99);
        let mut withheld = log.take_withheld();
        withheld.sort_by_key(|(outcome, _)| *outcome as usize);
        assert_eq!(withheld, [(Outcome::NoRoute, 550), (Outcome::NotAllowed, 100)]);
        assert_eq!(log.take_withheld(), []);
        // Time that nobody used is not saved up beyond the burst.
        assert_eq!(written(Outcome::NoRoute, 7000, 3600), 5000);
        // Another thread may have read its clock earlier.
        assert_eq!(written(Outcome::NoRoute, 1, 3599), 0);
        assert_eq!(log.take_withheld(), [(Outcome::NoRoute, 2001)]);
    }

    #[test]
    fn only_who_was_refused_can_lose_a_line() {
        for outcome in
            [Outcome::Closed, Outcome::Reset, Outcome::ConnectFailed, Outcome::Drained, Outcome::InternalError]
        {
            assert!(!Ending::new(outcome, Party::Client).is_refusal(), "{outcome:?}");
        }
        for outcome in [Outcome::NoCertificate, Outcome::NotAllowed, Outcome::NoRoute, Outcome::NotTls] {
            assert!(Ending::new(outcome, Party::Client).is_refusal(), "{outcome:?}");
        }
        assert!(Ending::new(Outcome::RevokedCertificate, Party::Client).is_refusal());
        // It was in.
        assert!(!Ending::new(Outcome::RevokedCertificate, Party::Proxy).is_refusal());
        assert!(!Ending::new(Outcome::NoCertificate, Party::Proxy).is_refusal());
    }
}
