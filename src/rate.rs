//! Rates: how often something may happen. The generic cell rate algorithm, with the clock as an
//! argument.

use std::time::Duration;

/// How often something may happen: once in each interval, and `burst` times back to back after a
/// pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Above zero.
    pub interval: Duration,
    /// Above zero.
    pub burst: u32,
}

/// Until when what has happened has used up the intervals (the "theoretical arrival time"), since
/// the start of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Used(Duration);

impl Used {
    /// Whether it may happen once more at the time `now`; then it has.
    pub fn take(&mut self, pace: &Pace, now: Duration) -> bool {
        let until = self.0.max(now);
        let allowed = until - now <= pace.interval * (pace.burst - 1);
        if allowed {
            self.0 = until + pace.interval;
        }
        allowed
    }

    /// The same number of times, counted at another pace, and never more than a whole burst of it:
    /// a pace that is loosened frees at once those that were held back by the one before, and one
    /// that is tightened forgets none.
    pub fn change(&mut self, from: &Pace, to: &Pace, now: Duration) {
        let times = self.0.saturating_sub(now).div_duration_f64(from.interval);
        self.0 = now + to.interval.mul_f64(times.min(f64::from(to.burst)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace() -> impl Strategy<Value = Pace> {
        let interval = (1_u64..10_000_000).prop_map(Duration::from_micros);
        (interval, 1_u32..50).prop_map(|(interval, burst)| Pace { interval, burst })
    }

    /// How many of so many attempts succeed at `now`.
    fn taken(used: &mut Used, pace: &Pace, now: Duration) -> u32 {
        (0..100).filter(|_| used.take(pace, now)).count() as u32
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_one_interval_of_the_pace_that_counts(from in pace(), to in pace(), start: u32) {
            let mut now = Duration::from_secs(start.into());
            let mut used = Used::default();
            prop_assert_eq!(taken(&mut used, &from, now), from.burst);
            used.change(&from, &to, now);
            // Rounding to nanoseconds is done for each of a burst.
            now += to.interval + Duration::from_nanos(u64::from(to.burst));
            prop_assert!(used.take(&to, now));
        }

        #[test]
        fn what_was_used_of_a_burst_is_used_of_the_next_one_and_the_rest_is_free(from in pace(), to in pace(), part in 0.0..1.0) {
            let now = Duration::from_secs(7);
            let mut used = Used::default();
            let before = (f64::from(from.burst) * part) as u32;
            prop_assert!((0..before).all(|_| used.take(&from, now)));
            used.change(&from, &to, now);
            let left = taken(&mut used, &to, now);
            // One more or less where a whole number was rounded.
            prop_assert!(left.abs_diff(to.burst.saturating_sub(before)) <= 1, "{} of {} after {}", left, to.burst, before);
        }
    }

    #[test]
    fn a_pause_earns_no_more_than_a_burst_and_a_clock_may_lag() {
        let pace = Pace {
            interval: Duration::from_millis(100),
            burst: 3,
        };
        let mut used = Used::default();
        let mut at = |ms| taken(&mut used, &pace, Duration::from_millis(ms));
        assert_eq!(
            [at(5000), at(5099), at(5100), at(5350), at(900_000)],
            [3, 0, 1, 2, 3]
        );
        assert_eq!(
            at(899_000),
            0,
            "another thread may have read its clock earlier"
        );
    }
}
