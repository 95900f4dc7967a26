//! Access log: one line per connection, as long as they are few.
//!
//! A client that is refused costs little and may come back a hundred thousand times a second. Lines
//! of connections that no route has taken, however they ended, and of refusals are written as long
//! as they are few, and while the log has room for others; of the rest their number is logged, so
//! that no connection is missing from the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::rate::{Pace, Used};
use crate::telemetry::log::QUEUE;
use crate::telemetry::{Ending, Outcome, Record, Totals};

/// In the long run each outcome may have a line as often as this: a hundred per second tell all
/// there is to know. Five thousand lines at once, such as those of clients that all come back after
/// a restart, are still worth having.
const PACE: Pace = Pace {
    interval: Duration::from_millis(10),
    burst: 5000,
};

/// Writes access lines.
#[derive(Debug)]
pub struct AccessLog {
    /// By how far the connections came, and by the place of the outcome in [`Outcome::ALL`].
    quotas: Mutex<[Vec<Quota>; 2]>,
    /// The origin of time.
    start: Instant,
}

/// How far a connection came whose line may be left out. One that no route has taken costs no line
/// of one that was routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No route took it. That alone decides, so that no outcome is a way around the quota.
    NotRouted,
    /// A route took it, and refused the client.
    Refused,
}

/// The lines of one phase and outcome.
#[derive(Clone, Debug, Default)]
struct Quota {
    used: Used,
    /// Lines that were not written, since the last report.
    withheld: u64,
}

impl Phase {
    /// That of a connection which may be left out; nothing for one whose line is always written.
    fn of(record: &Record, ending: &Ending) -> Option<Self> {
        match record.route.get() {
            None => Some(Self::NotRouted),
            Some(_) if ending.is_refusal() => Some(Self::Refused),
            Some(_) => None,
        }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        let quotas = || vec![Quota::default(); Outcome::ALL.len()];
        Self {
            quotas: Mutex::new([quotas(), quotas()]),
            start: Instant::now(),
        }
    }
}

impl AccessLog {
    /// How often [`report`](Self::report) is to be called.
    pub const REPORT_EVERY: Duration = Duration::from_secs(10);

    /// Writes the line of a connection that has ended, or counts it where no route took the client,
    /// or one refused it: see [`Ending::is_refusal`].
    pub fn write(&self, record: &Record, totals: &Totals, ending: &Ending) {
        let is_written = Phase::of(record, ending).is_none_or(|phase| {
            self.admit(
                phase,
                ending.outcome,
                self.start.elapsed(),
                QUEUE.has_room_to_spare(),
            )
        });
        if is_written {
            record.log(totals, ending);
        }
    }

    /// Logs how many lines were not written since the last report, for each outcome that has any.
    pub fn report(&self) {
        for (outcome, count) in self.take_withheld() {
            info!(
                outcome = outcome.word(),
                count, "connections without an access line"
            );
        }
    }

    fn admit(&self, phase: Phase, outcome: Outcome, now: Duration, has_room: bool) -> bool {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        let quota = &mut quotas[phase as usize][outcome as usize];
        let admitted = has_room && quota.used.take(&PACE, now);
        quota.withheld += u64::from(!admitted);
        admitted
    }

    fn take_withheld(&self) -> Vec<(Outcome, u64)> {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = |outcome: Outcome| -> u64 {
            quotas
                .iter_mut()
                .map(|phase| std::mem::take(&mut phase[outcome as usize].withheld))
                .sum()
        };
        let counts = Outcome::ALL
            .iter()
            .map(|&outcome| (outcome, count(outcome)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::ClientAddr;
    use crate::telemetry::{Matched, Party};

    #[test]
    fn every_outcome_has_a_quota_of_its_own() {
        for (at, &outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome as usize, at, "{outcome:?}");
        }
    }

    #[test]
    fn what_exceeds_the_limit_is_counted_and_nothing_is_counted_twice() {
        let log = AccessLog::default();
        let written = |outcome, attempts, second| {
            let now = Duration::from_secs(60_u64 + second);
            (0..attempts)
                .filter(|_| log.admit(Phase::NotRouted, outcome, now, true))
                .count()
        };
        assert_eq!(written(Outcome::NoRoute, 5500, 0), 5000);
        assert_eq!(
            written(Outcome::NotAllowed, 5100, 0),
            5000,
            "outcomes do not count for each other"
        );
        assert_eq!(written(Outcome::NoRoute, 150, 1), 100);
        assert_eq!(written(Outcome::NoRoute, 99, 2), 99);
        let mut withheld = log.take_withheld();
        withheld.sort_by_key(|(outcome, _)| *outcome as usize);
        assert_eq!(
            withheld,
            [(Outcome::NoRoute, 550), (Outcome::NotAllowed, 100)]
        );
        assert_eq!(log.take_withheld(), []);
        // Unused time is not saved up beyond the burst.
        assert_eq!(written(Outcome::NoRoute, 7000, 3600), 5000);
        // Another thread may have read its clock earlier.
        assert_eq!(written(Outcome::NoRoute, 1, 3599), 0);
        assert_eq!(log.take_withheld(), [(Outcome::NoRoute, 2001)]);
    }

    fn record(route: Option<&str>) -> Record {
        let record = Record::new(1, "edge".into(), ClientAddr::Unix);
        if let Some(route) = route {
            let action = "passthrough";
            let matched = Matched {
                route: route.into(),
                action,
            };
            record.route.set(matched).unwrap();
        }
        record
    }

    #[test]
    fn before_a_route_is_found_no_outcome_is_a_way_around_the_quota() {
        for &outcome in Outcome::ALL {
            for by in [Party::Client, Party::Server, Party::Proxy] {
                let phase = Phase::of(&record(None), &Ending::new(outcome, by));
                assert_eq!(phase, Some(Phase::NotRouted), "{outcome:?} {by:?}");
            }
        }
        assert_eq!(
            Phase::of(
                &record(Some("a")),
                &Ending::new(Outcome::Reset, Party::Client)
            ),
            None
        );
        let denied = Ending::new(Outcome::NotAllowed, Party::Client);
        assert_eq!(Phase::of(&record(Some("a")), &denied), Some(Phase::Refused));
    }

    #[test]
    fn connections_that_no_route_takes_use_up_nothing_of_those_that_one_refuses() {
        let log = AccessLog::default();
        let admit = |phase| log.admit(phase, Outcome::Limit, Duration::ZERO, true);
        assert_eq!((0..6000).filter(|_| admit(Phase::NotRouted)).count(), 5000);
        assert!(admit(Phase::Refused));
        assert_eq!(log.take_withheld(), [(Outcome::Limit, 1000)]);
    }

    #[test]
    fn what_may_be_left_out_is_counted_while_the_log_has_no_room_to_spare() {
        let log = AccessLog::default();
        assert!(!log.admit(Phase::NotRouted, Outcome::Reset, Duration::ZERO, false));
        assert_eq!(log.take_withheld(), [(Outcome::Reset, 1)]);
        let admitted =
            (0..6000).filter(|_| log.admit(Phase::NotRouted, Outcome::Reset, Duration::ZERO, true));
        assert_eq!(admitted.count(), 5000, "the quota is still whole");
    }

    #[test]
    fn only_who_was_refused_can_lose_a_line_once_a_route_was_found() {
        for outcome in [
            Outcome::Closed,
            Outcome::Reset,
            Outcome::ConnectFailed,
            Outcome::Drained,
            Outcome::InternalError,
        ] {
            assert!(
                !Ending::new(outcome, Party::Client).is_refusal(),
                "{outcome:?}"
            );
        }
        for outcome in [
            Outcome::NoCertificate,
            Outcome::NotAllowed,
            Outcome::NoRoute,
            Outcome::NotTls,
        ] {
            assert!(
                Ending::new(outcome, Party::Client).is_refusal(),
                "{outcome:?}"
            );
        }
        assert!(Ending::new(Outcome::RevokedCertificate, Party::Client).is_refusal());
        // It was in.
        assert!(!Ending::new(Outcome::RevokedCertificate, Party::Proxy).is_refusal());
        assert!(!Ending::new(Outcome::NoCertificate, Party::Proxy).is_refusal());
    }
}
