//! Health of a server: what came of connections, and what came of checks.
//!
//! Each has its say, and both must say yes. Attempts in a row that failed eject a server for a
//! while, and one connection then tries whether it is well. Checks hold it down until they succeed
//! again, and that ends an ejection as well.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::random;
use crate::upstream::options::{Ejection, HealthCheck};

/// Attempts have failed since the last success.
const FAILING: u8 = 1;
/// It is ejected.
const OUT: u8 = 2;
/// Checks say that it is down.
const DOWN: u8 = 4;

/// Whether a server is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    /// Like any other.
    Healthy,
    /// By one connection, which tries it out.
    Probing,
    /// Only if no other server is left: it is ejected.
    Ejected,
    /// Only if no other server is left, not even one that is ejected.
    Down,
}

/// The health of a server, by what has become of connections and of checks.
#[derive(Debug, Default)]
pub(super) struct ServerHealth {
    /// A summary of the history, so that finding a healthy server takes no lock.
    flags: AtomicU8,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    /// Attempts in a row that failed.
    failures: u32,
    /// Ejections in a row.
    ejections: u32,
    /// When it is to be tried again, while it is ejected.
    due: Option<Instant>,
    /// A connection is trying it.
    on_trial: bool,
    /// The verdict of the checks, if there were any.
    verdict: Option<bool>,
    /// Checks in a row that contradict the verdict.
    contradictions: u32,
    /// Nothing that they say counts. One may still be on its way when a reload has removed them.
    ignores_checks: bool,
}

impl ServerHealth {
    /// Whether it is to be used.
    pub(super) fn state(&self) -> HealthState {
        self.state_at(Instant::now)
    }

    /// The time is asked for only where it matters.
    fn state_at(&self, now: impl FnOnce() -> Instant) -> HealthState {
        let flags = self.flags.load(Ordering::Acquire);
        if flags & DOWN != 0 {
            HealthState::Down
        } else if flags & OUT == 0 {
            HealthState::Healthy
        } else if self.history().is_due(now()) {
            HealthState::Probing
        } else {
            HealthState::Ejected
        }
    }

    /// How long it is still ejected, where it is.
    pub(super) fn ejected_for(&self, now: Instant) -> Option<Duration> {
        let due = self.history().due?;
        Some(due.saturating_duration_since(now))
    }

    /// Whether the last that is known of it is bad.
    pub(super) fn is_failing(&self) -> bool {
        self.flags.load(Ordering::Acquire) != 0
    }

    pub(super) fn is_out(&self) -> bool {
        self.flags.load(Ordering::Acquire) & OUT != 0
    }

    /// Whether the caller is the one who tries it. It then says what came of it, or that it gave
    /// up.
    pub(super) fn begin_trial(&self) -> bool {
        self.begin_trial_at(Instant::now())
    }

    fn begin_trial_at(&self, now: Instant) -> bool {
        let mut history = self.history();
        let begins = history.is_due(now);
        history.on_trial |= begins;
        begins
    }

    /// The trial ended without an answer.
    pub(super) fn give_up_trial(&self) {
        self.history().on_trial = false;
    }

    /// It was reached. Whether that ended an ejection.
    pub(super) fn succeeded(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (FAILING | OUT) != 0 && self.forgive()
    }

    /// Forgets every failure. Whether that ended an ejection.
    pub(super) fn forgive(&self) -> bool {
        let mut history = self.history();
        let History {
            verdict,
            contradictions,
            ignores_checks,
            ..
        } = *history;
        *history = History {
            verdict,
            contradictions,
            ignores_checks,
            ..History::default()
        };
        self.flags.fetch_and(!(FAILING | OUT), Ordering::AcqRel) & OUT != 0
    }

    /// Other options count from now on. One that is ejected stays so for no longer than they would
    /// have it.
    pub(super) fn shorten(&self, ejection: &Ejection) {
        let mut history = self.history();
        let most = Instant::now() + ejection.nth_time(history.ejections.saturating_sub(1));
        history.due = history.due.map(|due| due.min(most));
    }

    /// It was not reached. For how long it is ejected, if it is ejected by that: `may_eject` is
    /// asked when it is to be.
    pub(super) fn failed(
        &self,
        ejection: &Ejection,
        was_trial: bool,
        may_eject: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let mut history = self.history();
        let is_out = history.due.is_some();
        // A connection that comes as a last resort, or began before the ejection, says nothing new.
        if is_out && !was_trial {
            return None;
        }
        history.failures = history.failures.saturating_add(1);
        self.flags.fetch_or(FAILING, Ordering::AcqRel);
        if !is_out && (history.failures < ejection.failures || !may_eject()) {
            return None;
        }
        let time = random::about(ejection.nth_time(history.ejections), 0.2).min(ejection.max_time);
        history.ejections = history.ejections.saturating_add(1);
        history.due = Some(Instant::now() + time);
        history.on_trial = false;
        self.flags.fetch_or(OUT, Ordering::AcqRel);
        Some(time)
    }

    /// A check succeeded, or failed. The new verdict, if that changed it.
    ///
    /// The first check decides alone: nothing was known before it, and a server is used until
    /// something is.
    pub(super) fn checked(&self, is_well: bool, health: &HealthCheck) -> Option<bool> {
        let mut history = self.history();
        if history.ignores_checks {
            return None;
        }
        let changed = match history.verdict {
            None => !is_well,
            Some(verdict) if verdict == is_well => {
                history.contradictions = 0;
                false
            }
            Some(_) => {
                history.contradictions += 1;
                history.contradictions >= if is_well { health.rise } else { health.fall }
            }
        };
        if !changed {
            history.verdict.get_or_insert(is_well);
            return None;
        }
        history.verdict = Some(is_well);
        history.contradictions = 0;
        // With the history still held, so that a call that forgets what checks have said forgets
        // both.
        if is_well {
            self.flags.fetch_and(!DOWN, Ordering::AcqRel);
            drop(history);
            self.forgive();
        } else {
            self.flags.fetch_or(DOWN, Ordering::AcqRel);
        }
        Some(is_well)
    }

    /// From now on the verdict of checks counts.
    pub(super) fn expect_checks(&self) {
        self.history().ignores_checks = false;
    }

    /// There are no checks any more, and nothing that they said or say counts. Whether it was down.
    pub(super) fn forget_checks(&self) -> bool {
        let mut history = self.history();
        history.ignores_checks = true;
        (history.verdict, history.contradictions) = (None, 0);
        self.flags.fetch_and(!DOWN, Ordering::AcqRel) & DOWN != 0
    }

    /// Nothing in it is ever half done.
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    fn is_due(&self, now: Instant) -> bool {
        !self.on_trial && self.due.is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::options::HealthCheckKind;

    fn eject(health: &ServerHealth) -> Duration {
        let ejection = Ejection::default();
        assert_eq!(health.failed(&ejection, false, || true), None);
        assert_eq!(health.failed(&ejection, false, || true), None);
        assert_eq!(health.state(), HealthState::Healthy);
        health
            .failed(&ejection, false, || true)
            .expect("the third failure")
    }

    #[test]
    fn failures_in_a_row_eject_and_one_connection_tries_again() {
        let health = ServerHealth::default();
        health.failed(&Ejection::default(), false, || true);
        health.failed(&Ejection::default(), false, || true);
        assert!(!health.succeeded(), "it was not ejected");
        let time = eject(&health);
        assert_eq!(health.state(), HealthState::Ejected);
        assert!(!health.begin_trial());
        let then = Instant::now() + time;
        assert_eq!(health.state_at(|| then), HealthState::Probing);
        assert!(health.begin_trial_at(then));
        assert_eq!(
            health.state_at(|| then),
            HealthState::Ejected,
            "one is trying"
        );
        assert!(!health.begin_trial_at(then));
        health.give_up_trial();
        assert!(health.begin_trial_at(then), "who tried has gone away");
        assert!(health.succeeded());
        assert_eq!(health.state(), HealthState::Healthy);
    }

    #[test]
    fn each_trial_that_fails_doubles_the_time_up_to_a_limit() {
        let health = ServerHealth::default();
        let mut time = eject(&health);
        for doubled in [1, 2, 4, 8, 16, 32, 60, 60] {
            let seconds = time.as_secs_f64();
            assert!(
                (0.8..1.2).contains(&(seconds / f64::from(doubled))) && seconds <= 60.0,
                "{seconds} for {doubled}"
            );
            assert!(health.begin_trial_at(Instant::now() + time));
            assert_eq!(
                health.failed(&Ejection::default(), false, || true),
                None,
                "a last resort says nothing new"
            );
            time = health
                .failed(&Ejection::default(), true, || false)
                .expect("it stays out, whatever the others do");
        }
        assert!(health.begin_trial_at(Instant::now() + time) && health.succeeded());
        assert!(
            eject(&health) < Duration::from_millis(1200),
            "from the beginning"
        );
    }

    #[test]
    fn a_shorter_time_counts_for_who_is_ejected_and_a_longer_one_does_not() {
        let hour = Duration::from_secs(3600);
        let long = Ejection {
            failures: 1,
            time: hour,
            max_time: 4 * hour,
            ..Ejection::default()
        };
        let [short, shorter_limit] = [Duration::from_secs(10), Duration::from_secs(20)];
        for (after, due_within) in [
            (
                Ejection {
                    time: short,
                    ..long.clone()
                },
                2 * short,
            ),
            (
                Ejection {
                    time: short,
                    max_time: short,
                    ..long.clone()
                },
                short,
            ),
            (
                Ejection {
                    max_time: shorter_limit,
                    time: shorter_limit,
                    ..long.clone()
                },
                shorter_limit,
            ),
            (
                Ejection {
                    time: 4 * hour,
                    ..long.clone()
                },
                4 * hour,
            ),
        ] {
            let health = ServerHealth::default();
            let first = health.failed(&long, false, || true).expect("it is ejected");
            assert!(health.begin_trial_at(Instant::now() + first));
            let second = health
                .failed(&long, true, || true)
                .expect("it is ejected for longer");
            health.shorten(&after);
            let now = Instant::now();
            assert_eq!(health.state_at(|| now), HealthState::Ejected, "{after:?}");
            assert_eq!(
                health.state_at(|| now + due_within.min(second)),
                HealthState::Probing,
                "{after:?}"
            );
        }
    }

    #[test]
    fn nobody_is_ejected_beyond_the_limit() {
        let health = ServerHealth::default();
        for _ in 0..10 {
            assert_eq!(health.failed(&Ejection::default(), false, || false), None);
        }
        assert_eq!(health.state(), HealthState::Healthy);
        assert!(
            health
                .failed(&Ejection::default(), false, || true)
                .is_some(),
            "as soon as there is room"
        );
    }

    #[test]
    fn checks_decide_by_several_in_a_row_and_at_first_by_one() {
        let options = HealthCheck::of(HealthCheckKind::Tcp);
        let health = ServerHealth::default();
        let check = |outcomes: &[bool]| -> Vec<_> {
            outcomes
                .iter()
                .map(|is_well| health.checked(*is_well, &options))
                .collect()
        };
        assert_eq!(check(&[false]), [Some(false)], "nothing was known");
        assert_eq!(check(&[true, false, true]), [None; 3], "two in a row");
        assert_eq!(check(&[true]), [Some(true)]);
        assert_eq!(
            check(&[false, false, true, false, false]),
            [None; 5],
            "three in a row"
        );
        assert_eq!(check(&[false]), [Some(false)]);
        assert_eq!(health.state(), HealthState::Down);
        assert!(health.forget_checks());
        assert_eq!(health.state(), HealthState::Healthy);
        // One that was on its way.
        assert_eq!(check(&[false]), [None]);
        health.forgive();
        assert_eq!(check(&[false]), [None]);
        assert_eq!(health.state(), HealthState::Healthy);
        health.expect_checks();
        assert_eq!(check(&[false]), [Some(false)]);
    }

    #[test]
    fn a_connection_that_succeeds_between_checks_that_fail_is_none_of_them() {
        let health = ServerHealth::default();
        let options = HealthCheck::of(HealthCheckKind::Tcp);
        for is_well in [true, false, false] {
            assert_eq!(health.checked(is_well, &options), None);
        }
        health.failed(&Ejection::default(), false, || true);
        health.succeeded();
        assert_eq!(health.checked(false, &options), Some(false));
    }

    #[test]
    fn a_server_that_checks_find_up_again_is_not_ejected_any_more() {
        let health = ServerHealth::default();
        let options = HealthCheck::of(HealthCheckKind::Tcp);
        eject(&health);
        health.checked(true, &options);
        assert_eq!(
            health.state(),
            HealthState::Ejected,
            "a check that succeeds does not contradict connections that fail"
        );
        for is_well in [false, false, false, true, true] {
            health.checked(is_well, &options);
        }
        assert_eq!(health.state(), HealthState::Healthy);
    }
}
