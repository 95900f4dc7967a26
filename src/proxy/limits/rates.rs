//! Rate limits by source.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::proxy::limits::{Rate, SourceNetwork};
use crate::rate::{Pace, Used};

/// How often sources have connected, of as many of them as there is room for.
///
/// A source is forgotten when another one needs its place. Of those that could give it up it is the
/// one that is owed the most, so that a flood from many sources makes the limit milder for some of
/// them and stricter for none.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Rates {
    sets: Vec<[RateUsage; WAYS]>,
    /// The rate that they are counted against.
    pace: Option<Pace>,
    hasher: RandomState,
}

/// The use that a source has made of its rate.
#[derive(Clone, Copy, Debug, Default)]
struct RateUsage {
    source: u64,
    used: Used,
}

/// Places among which a source has to find one.
const WAYS: usize = 8;

/// With [`WAYS`] that is room for 32,768 sources, in 768 KiB.
const SETS: usize = 4096;

impl Rates {
    /// Whether a source may connect at the time `now`; then it has.
    pub(in crate::proxy) fn take(
        &mut self,
        source: SourceNetwork,
        rate: &Rate,
        now: Duration,
    ) -> bool {
        if self.sets.is_empty() {
            self.sets = vec![[RateUsage::default(); WAYS]; SETS];
        }
        let pace = rate.pace();
        if let Some(before) = self.pace.replace(pace).filter(|before| *before != pace) {
            // A reload: everybody goes on with as many connections as they have had, at the rate
            // that counts from now on.
            self.sets
                .as_flattened_mut()
                .iter_mut()
                .for_each(|usage| usage.used.change(&before, &pace, now));
        }
        let set = &mut self.sets[(self.hasher.hash_one(source.0) % SETS as u64) as usize];
        let at = set.iter().position(|usage| usage.source == source.0);
        let at = at.unwrap_or_else(|| {
            let at = (0..WAYS).min_by_key(|&at| set[at].used).unwrap_or(0);
            set[at] = RateUsage {
                source: source.0,
                used: Used::default(),
            };
            at
        });
        set[at].used.take(&pace, now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::addr::ClientAddr;
    use crate::proxy::limits::source;

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let (a, b) = (source("192.0.2.1"), source("2001:db8::1"));
        let rate = Rate {
            connections: 10,
            per: Duration::from_secs(1),
            burst: 3,
        };
        let mut rates = Rates::default();
        let mut taken = |source, attempts, ms| {
            (0..attempts)
                .filter(|_| rates.take(source, &rate, Duration::from_millis(ms)))
                .count()
        };
        assert_eq!(taken(a, 10, 5000), 3);
        assert_eq!(taken(b, 2, 5000), 2, "another source");
        assert_eq!(taken(a, 10, 5099), 0);
        assert_eq!(taken(a, 10, 5100), 1);
        assert_eq!(taken(a, 10, 5350), 2);
        // Unused time is not saved up beyond the burst.
        assert_eq!(taken(a, 10, 900_000), 3);
        // Another thread may have read its clock earlier.
        assert_eq!(taken(a, 1, 899_000), 0);
    }

    #[test]
    fn a_rate_that_is_loosened_frees_at_once_and_one_that_is_tightened_does_not() {
        let rate = |connections, secs, burst| Rate {
            connections,
            per: Duration::from_secs(secs),
            burst,
        };
        let hourly = rate(1, 3600, 5);
        let now = Duration::from_secs(100);
        for (after, allowed) in [
            (rate(1000, 1, 1000), true),
            (rate(10, 60, 10), true),
            (rate(1, 3600, 6), true),
            (hourly, false),
            (rate(1, 3600, 2), false),
            (rate(1, 86400, 5), false),
            (rate(1, 1, 5), false),
        ] {
            let mut rates = Rates::default();
            let a = source("192.0.2.1");
            assert_eq!((0..9).filter(|_| rates.take(a, &hourly, now)).count(), 5);
            assert_eq!(rates.take(a, &after, now), allowed, "{after:?}");
            // In no case longer than it takes at the rate that counts.
            assert!(
                rates.take(a, &after, now + after.per / after.connections),
                "{after:?}"
            );
            assert!(
                rates.take(source("192.0.2.2"), &after, now),
                "{after:?}: who was not held back"
            );
        }
    }

    #[test]
    fn who_takes_the_place_of_another_source_begins_with_nothing_used() {
        let rate = Rate {
            connections: 1,
            per: Duration::from_secs(3600),
            burst: 1,
        };
        let mut rates = Rates::default();
        for number in 0..50_000_u32 {
            let ip = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
            let source = SourceNetwork::of(ClientAddr::Socket((ip, 1).into())).unwrap();
            assert!(rates.take(source, &rate, Duration::from_secs(1)), "{ip}");
        }
    }

    #[test]
    fn sources_beyond_the_room_are_forgotten_and_the_busiest_last() {
        let rate = Rate {
            connections: 1,
            per: Duration::from_secs(3600),
            burst: 20,
        };
        let mut rates = Rates::default();
        let busy = source("198.51.100.1");
        let now = Duration::from_secs(1);
        assert_eq!((0..30).filter(|_| rates.take(busy, &rate, now)).count(), 20);
        for number in 0..200_000_u32 {
            let ip = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
            assert!(rates.take(
                SourceNetwork::of(ClientAddr::Socket((ip, 1).into())).unwrap(),
                &rate,
                now
            ));
        }
        assert!(
            !rates.take(busy, &rate, now),
            "others have connected less often"
        );
        assert_eq!(size_of_val(&*rates.sets), 768 * 1024);
    }
}
