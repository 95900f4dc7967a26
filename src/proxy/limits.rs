//! How many connections a listener takes, at a time and from one source, and which of them has to go.
//!
//! Here is the logic alone: no clock, no lock, no task. All of it takes the same time however many connections wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use thiserror::Error;

use crate::addr::ClientAddr;
use crate::rate::{Pace, Used};

/// What a listener takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. At this many a new one is refused.
    pub max_connections: Option<u32>,
    /// Connections that have not been routed. At this many the oldest of them gives way to a new one.
    pub max_pending: u32,
    /// Connections of one source that have not been routed. At this many the oldest of them gives way to a new one.
    pub pending_per_source: Option<u32>,
    /// New connections of one source. What exceeds it is refused.
    pub rate_per_source: Option<Rate>,
    /// Open connections of one source. At this many a new one of it is refused.
    pub connections_per_source: Option<u32>,
    /// Bytes that connections hold together whose hello is not whole and takes more than a few kilobytes. At this many the
    /// oldest of them gives way.
    pub max_pending_bytes: u32,
    /// TLS handshakes that are under way. At this many a new one waits for its turn.
    pub max_handshakes: u32,
}

impl Limits {
    /// Connections that have not been routed, where nothing is said about them. They take some 30 MiB then.
    pub const MAX_PENDING: u32 = 10_000;

    /// The bytes that they may hold of large hellos, where nothing is said about them.
    pub const MAX_PENDING_BYTES: u32 = 64 << 20;

    /// TLS handshakes for each processor, where nothing is said about them. They take some 20 MiB, and a processor some
    /// hundred milliseconds.
    pub const HANDSHAKES_PER_PROCESSOR: u32 = 1024;

    /// TLS handshakes, where nothing is said about them.
    #[must_use]
    pub fn usual_handshakes() -> u32 {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::HANDSHAKES_PER_PROCESSOR.saturating_mul(u32::try_from(processors).unwrap_or(u32::MAX))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_pending: Self::MAX_PENDING,
            pending_per_source: None,
            rate_per_source: None,
            connections_per_source: None,
            max_pending_bytes: Self::MAX_PENDING_BYTES,
            max_handshakes: Self::HANDSHAKES_PER_PROCESSOR,
        }
    }
}

/// How often a source may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Sustained rate: `connections` per `per`.
    pub connections: u32,
    /// See `connections`.
    pub per: Duration,
    /// How many may come back to back.
    pub burst: u32,
}

impl Rate {
    fn pace(&self) -> Pace {
        Pace { interval: self.per / self.connections, burst: self.burst }
    }
}

/// Where connections come from that count as one client's: an IPv4 address, or the 64 leading bits of an IPv6 address,
/// which are those of one network (RFC 4291 §2.5.4), in which everybody may have as many addresses as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(u64);

/// Above every IPv4 address that is kept in the same number. As the start of an IPv6 address it is multicast, which no
/// connection comes from.
const V4: u64 = 0xffff_ffff << 32;

impl Source {
    /// That of a client; a unix socket has none.
    #[must_use]
    pub fn of(client: ClientAddr) -> Option<Self> {
        Some(match client.ip()? {
            IpAddr::V4(ip) => Self(V4 | u64::from(ip.to_bits())),
            IpAddr::V6(ip) => Self((ip.to_bits() >> 64) as u64),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & V4 == V4 {
            return Ipv4Addr::from_bits(self.0 as u32).fmt(f);
        }
        write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(self.0) << 64))
    }
}

/// The limit by which a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Limit {
    /// See [`Limits::max_connections`].
    #[error("max_connections = {0}")]
    MaxConnections(u32),
    /// See [`Limits::max_pending`].
    #[error("max_pending = {0}: the oldest of them gave way")]
    MaxPending(u32),
    /// See [`Limits::pending_per_source`].
    #[error("pending_per_source = {0}: the oldest of {1} gave way")]
    PendingPerSource(u32, Source),
    /// See [`Limits::rate_per_source`].
    #[error("rate_per_source: {0} connects too often")]
    RatePerSource(Source),
    /// See [`Limits::connections_per_source`].
    #[error("connections_per_source = {0}: {1} has as many")]
    ConnectionsPerSource(u32, Source),
    /// See [`Limits::max_pending_bytes`].
    #[error("max_pending_bytes = {0}: the oldest of those that hold any gave way")]
    MaxPendingBytes(u32),
    /// See [`Limits::max_handshakes`]: it waited for its turn until its time was over.
    #[error("max_handshakes = {0}: none of them ended in time")]
    MaxHandshakes(u32),
    /// See [`Limits::max_handshakes`]: it did not get on.
    #[error("max_handshakes = {0}: it took longer than a second, and others waited")]
    SlowHandshake(u32),
}

/// A connection that has to go, and why.
pub(super) type Evicted = (u64, Limit);

/// The connections that have not been routed, in the order in which they came, all together and by source.
///
/// Each has a slot, which stays its own until it is given back, also when the connection has been told to go.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    slots: Vec<Slot>,
    free: Vec<u32>,
    all: List,
    /// Those that hold bytes which count, the one that began to first.
    holding: List,
    /// How many these are.
    bytes: u64,
    /// Those whose source is counted.
    sources: HashMap<Source, List>,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    source: Option<Source>,
    /// In the list of all, in that of the source, and in that of those that hold bytes.
    links: [Link; 3],
    /// The bytes it holds, as far as they count.
    bytes: u32,
    lost: Option<Limit>,
}

const ALL: usize = 0;
const SOURCE: usize = 1;
const HOLDING: usize = 2;

/// Slots, the oldest first.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

/// No slot.
const NONE: u32 = u32::MAX;

/// Room for so many is kept when nobody waits.
const KEPT: usize = 1024;

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }
}

impl Waiting {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.all.len as usize
    }

    /// Adds a connection: its slot, and who has to go for it.
    pub(super) fn push(&mut self, id: u64, source: Option<Source>, limits: &Limits) -> (u32, Option<Evicted>) {
        let mut evicted = source.and_then(|source| self.make_room(source, limits));
        if evicted.is_none() && self.all.len >= limits.max_pending {
            evicted = self.evict(self.all.head, Limit::MaxPending(limits.max_pending));
        }
        let new = Slot { id, source: None, links: [Link { before: NONE, after: NONE }; 3], bytes: 0, lost: None };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = new;
                at
            }
            None => {
                self.slots.push(new);
                // There are fewer descriptors than that.
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        let mut all = self.all;
        self.append(ALL, &mut all, at);
        self.all = all;
        if let Some(source) = source.filter(|_| limits.pending_per_source.is_some()) {
            self.count(at, source);
        }
        (at, evicted)
    }

    /// Says where a connection that waits comes from, if that was not known when it came: who has to go for it.
    pub(super) fn attach(&mut self, at: u32, source: Source, limits: &Limits) -> Option<Evicted> {
        let Slot { source: None, lost: None, .. } = self.slots[at as usize] else { return None };
        limits.pending_per_source?;
        let evicted = self.make_room(source, limits);
        self.count(at, source);
        evicted
    }

    /// A connection holds so many bytes, which count: who has to go for them.
    pub(super) fn hold(&mut self, at: u32, bytes: u32, limits: &Limits) -> Vec<Evicted> {
        let Slot { bytes: before, lost: None, .. } = self.slots[at as usize] else { return Vec::new() };
        self.slots[at as usize].bytes = bytes;
        self.bytes = self.bytes - u64::from(before) + u64::from(bytes);
        if before == 0 && bytes > 0 {
            let mut holding = self.holding;
            self.append(HOLDING, &mut holding, at);
            self.holding = holding;
        }
        let most = limits.max_pending_bytes;
        let mut evicted = Vec::new();
        while self.bytes > u64::from(most)
            && let Some(oldest) = self.evict(self.holding.head, Limit::MaxPendingBytes(most))
        {
            evicted.push(oldest);
        }
        evicted
    }

    /// Who has to go as well, where a reload has lowered a limit below what waits: with everybody who comes one more, so
    /// that there are fewer of them also while somebody comes all the time.
    pub(super) fn excess(&mut self, source: Option<Source>, limits: &Limits) -> Option<Evicted> {
        let of_source = source.zip(limits.pending_per_source).and_then(|(source, most)| {
            let list = self.sources.get(&source).filter(|list| list.len > most)?;
            Some((list.head, Limit::PendingPerSource(most, source)))
        });
        let most = limits.max_pending;
        let of_all = (self.all.len > most).then_some((self.all.head, Limit::MaxPending(most)));
        let (at, limit) = of_source.or(of_all)?;
        self.evict(at, limit)
    }

    /// Gives a slot back. The limit, if the connection has been told to go.
    pub(super) fn remove(&mut self, at: u32) -> Option<Limit> {
        let lost = self.slots[at as usize].lost;
        if lost.is_none() {
            self.unlink(at);
        }
        self.free.push(at);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT {
            *self = Self::default();
        }
        lost
    }

    fn make_room(&mut self, source: Source, limits: &Limits) -> Option<Evicted> {
        let most = limits.pending_per_source?;
        let list = self.sources.get(&source).filter(|list| list.len >= most)?;
        self.evict(list.head, Limit::PendingPerSource(most, source))
    }

    fn evict(&mut self, at: u32, limit: Limit) -> Option<Evicted> {
        let id = self.slots.get(at as usize)?.id;
        self.unlink(at);
        self.slots[at as usize].lost = Some(limit);
        Some((id, limit))
    }

    fn count(&mut self, at: u32, source: Source) {
        self.slots[at as usize].source = Some(source);
        let mut list = self.sources.get(&source).copied().unwrap_or_default();
        self.append(SOURCE, &mut list, at);
        self.sources.insert(source, list);
    }

    fn unlink(&mut self, at: u32) {
        let mut all = self.all;
        self.take_out(ALL, &mut all, at);
        self.all = all;
        let bytes = std::mem::take(&mut self.slots[at as usize].bytes);
        if bytes > 0 {
            self.bytes -= u64::from(bytes);
            let mut holding = self.holding;
            self.take_out(HOLDING, &mut holding, at);
            self.holding = holding;
        }
        let Some(source) = self.slots[at as usize].source.take() else { return };
        let Some(mut list) = self.sources.get(&source).copied() else { return };
        self.take_out(SOURCE, &mut list, at);
        if list.len == 0 {
            self.sources.remove(&source);
        } else {
            self.sources.insert(source, list);
        }
    }

    fn append(&mut self, which: usize, list: &mut List, at: u32) {
        self.slots[at as usize].links[which] = Link { before: list.tail, after: NONE };
        match self.slots.get_mut(list.tail as usize) {
            Some(last) => last.links[which].after = at,
            None => list.head = at,
        }
        list.tail = at;
        list.len += 1;
    }

    fn take_out(&mut self, which: usize, list: &mut List, at: u32) {
        let Link { before, after } = self.slots[at as usize].links[which];
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.links[which].after = after,
            None => list.head = after,
        }
        match self.slots.get_mut(after as usize) {
            Some(slot) => slot.links[which].before = before,
            None => list.tail = before,
        }
        list.len -= 1;
    }
}

/// How many connections sources have open, of those that have any.
#[derive(Debug, Default)]
pub(super) struct Open(HashMap<Source, u32>);

impl Open {
    /// Counts one more, unless there are `most` already.
    pub(super) fn enter(&mut self, source: Source, most: u32) -> Result<(), Limit> {
        let count = self.0.entry(source).or_default();
        if *count >= most {
            return Err(Limit::ConnectionsPerSource(most, source));
        }
        *count += 1;
        Ok(())
    }

    /// One that was counted has ended.
    pub(super) fn leave(&mut self, source: Source) {
        if let Entry::Occupied(mut count) = self.0.entry(source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = HashMap::new();
        }
    }
}

/// How often sources have connected, of as many of them as there is room for.
///
/// A source is forgotten when another one needs its place. Of those that could give it up it is the one that is owed the
/// most, so that a flood from many sources makes the limit milder for some of them and stricter for nobody.
#[derive(Debug, Default)]
pub(super) struct Rates {
    sets: Vec<[Usage; WAYS]>,
    /// What they are counted at.
    pace: Option<Pace>,
    hasher: RandomState,
}

/// What a source has used of its rate.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    source: u64,
    used: Used,
}

/// Places among which a source has to find one.
const WAYS: usize = 8;

/// With [`WAYS`] that is room for 32,768 sources, in 768 KiB.
const SETS: usize = 4096;

impl Rates {
    /// Whether a source may connect at the time `now`; then it has.
    pub(super) fn take(&mut self, source: Source, rate: &Rate, now: Duration) -> bool {
        if self.sets.is_empty() {
            self.sets = vec![[Usage::default(); WAYS]; SETS];
        }
        let pace = rate.pace();
        if let Some(before) = self.pace.replace(pace).filter(|before| *before != pace) {
            // A reload: everybody goes on with as many connections as they have had, at the rate that counts from now on.
            self.sets.as_flattened_mut().iter_mut().for_each(|usage| usage.used.change(&before, &pace, now));
        }
        let set = &mut self.sets[(self.hasher.hash_one(source.0) % SETS as u64) as usize];
        let at = set.iter().position(|usage| usage.source == source.0);
        let at = at.unwrap_or_else(|| {
            let at = (0..WAYS).min_by_key(|&at| set[at].used).unwrap_or(0);
            set[at] = Usage { source: source.0, used: Used::default() };
            at
        });
        set[at].used.take(&pace, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(ip: &str) -> Source {
        Source::of(ClientAddr::Socket((ip.parse::<IpAddr>().unwrap(), 1).into())).unwrap()
    }

    fn limits(max_pending: u32, pending_per_source: Option<u32>) -> Limits {
        Limits { max_pending, pending_per_source, ..Limits::default() }
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_a_network_of_ipv6() {
        assert_eq!(source("192.0.2.1").to_string(), "192.0.2.1");
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8:0:1::7"), source("2001:db8:0:1:ffff::8"));
        assert_ne!(source("2001:db8:0:1::7"), source("2001:db8:0:2::7"));
        assert_eq!(source("2001:db8:0:1::7").to_string(), "2001:db8:0:1::/64");
        assert_ne!(source("::"), source("0.0.0.0"));
        assert_eq!(Source::of(ClientAddr::Unix), None);
        let mapped: std::net::SocketAddr = "[::ffff:192.0.2.1]:5".parse().unwrap();
        assert_eq!(Source::of(mapped.into()), Some(source("192.0.2.1")));
    }

    #[test]
    fn the_oldest_gives_way_and_who_has_been_routed_does_not() {
        let mut waiting = Waiting::default();
        let limits = limits(3, None);
        let slots: Vec<u32> = (1..=3).map(|id| waiting.push(id, None, &limits).0).collect();
        assert_eq!(waiting.remove(slots[0]), None);
        assert_eq!(waiting.push(4, None, &limits).1, None);
        assert_eq!(waiting.push(5, None, &limits).1, Some((2, Limit::MaxPending(3))));
        assert_eq!(waiting.push(6, None, &limits).1, Some((3, Limit::MaxPending(3))));
        assert_eq!(waiting.len(), 3);
        assert_eq!(waiting.remove(slots[1]), Some(Limit::MaxPending(3)), "it learns why");
        assert_eq!(waiting.len(), 3);
    }

    #[test]
    fn a_source_makes_room_for_itself_alone() {
        let (a, b) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut waiting = Waiting::default();
        let limits = limits(100, Some(2));
        for (id, from) in [(1, b), (2, a), (3, a), (4, b)] {
            assert_eq!(waiting.push(id, Some(from), &limits).1, None);
        }
        assert_eq!(waiting.push(5, Some(a), &limits).1, Some((2, Limit::PendingPerSource(2, a))));
        assert_eq!(waiting.push(6, None, &limits).1, None, "a unix socket has no source");
        assert_eq!(waiting.push(7, Some(b), &limits).1, Some((1, Limit::PendingPerSource(2, b))));
    }

    #[test]
    fn a_source_that_is_known_later_counts_from_then_on() {
        let a = source("192.0.2.1");
        let mut waiting = Waiting::default();
        let limits = limits(100, Some(1));
        let slots: Vec<u32> = (1..=3).map(|id| waiting.push(id, None, &limits).0).collect();
        assert_eq!(waiting.attach(slots[1], a, &limits), None);
        assert_eq!(waiting.attach(slots[1], a, &limits), None, "it is known already");
        assert_eq!(waiting.attach(slots[0], a, &limits), Some((2, Limit::PendingPerSource(1, a))));
        assert_eq!(waiting.attach(slots[1], a, &limits), None, "it is about to go");
        assert_eq!(waiting.len(), 2);
    }

    #[test]
    fn the_oldest_that_hold_bytes_give_way_to_bytes_and_nobody_else_does() {
        let mut waiting = Waiting::default();
        let limits = Limits { max_pending_bytes: 100, ..limits(9, None) };
        let slots: Vec<u32> = (1..=5).map(|id| waiting.push(id, None, &limits).0).collect();
        for (at, bytes, gone) in [
            (1, 30, &[][..]),
            (3, 40, &[]),
            (1, 60, &[]),
            // 2 and 4 hold any, 1, 3 and 5 do not.
            (2, 1, &[2]),
            (4, 99, &[4]),
            (1, 1000, &[]),
            (4, 101, &[3, 5]),
        ] {
            let evicted = waiting.hold(slots[at], bytes, &limits);
            assert_eq!(evicted.iter().map(|(id, _)| *id).collect::<Vec<_>>(), gone, "{bytes} of {at}");
            assert!(evicted.iter().all(|(_, limit)| *limit == Limit::MaxPendingBytes(100)));
        }
        assert_eq!((waiting.len(), waiting.bytes), (1, 0));
        assert_eq!(waiting.remove(slots[1]), Some(Limit::MaxPendingBytes(100)));
        assert_eq!(waiting.remove(slots[0]), None);
    }

    #[test]
    fn who_is_routed_holds_nothing_any_more() {
        let mut waiting = Waiting::default();
        let limits = Limits { max_pending_bytes: 100, ..limits(9, None) };
        for id in 0..20 {
            let slot = waiting.push(id, None, &limits).0;
            assert_eq!(waiting.hold(slot, 60, &limits), []);
            assert_eq!(waiting.remove(slot), None);
        }
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn a_source_has_as_many_connections_as_it_may_and_leaves_nothing_behind() {
        let (a, b) = (source("192.0.2.1"), source("2001:db8::1"));
        let mut open = Open::default();
        assert_eq!((open.enter(a, 2), open.enter(a, 2)), (Ok(()), Ok(())));
        assert_eq!(open.enter(a, 2), Err(Limit::ConnectionsPerSource(2, a)));
        assert_eq!(open.enter(b, 2), Ok(()));
        open.leave(a);
        assert_eq!(open.enter(a, 2), Ok(()));
        [a, a, b].into_iter().for_each(|source| open.leave(source));
        assert!(open.0.is_empty());
    }

    #[test]
    fn a_limit_that_was_lowered_is_reached_although_somebody_comes_all_the_time() {
        let (a, b) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut waiting = Waiting::default();
        let before = limits(6, Some(4));
        for (id, from) in [(1, a), (2, a), (3, a), (4, a), (5, b), (6, b)] {
            assert_eq!(waiting.push(id, Some(from), &before).1, None);
        }
        assert_eq!(waiting.excess(Some(a), &before), None);
        let now = limits(4, Some(2));
        assert_eq!(waiting.push(7, Some(a), &now).1.map(|(id, _)| id), Some(1));
        assert_eq!(waiting.excess(Some(a), &now), Some((2, Limit::PendingPerSource(2, a))));
        assert_eq!(waiting.push(8, None, &now).1, Some((3, Limit::MaxPending(4))));
        assert_eq!(waiting.excess(None, &now), Some((4, Limit::MaxPending(4))));
        assert_eq!(waiting.excess(None, &now), None);
        assert_eq!(waiting.len(), 4);
    }

    proptest! {
        /// Against a model that is a plain list.
        #[test]
        fn it_is_a_queue_whose_members_may_leave_at_any_time(
            steps in prop::collection::vec((0_u8..4, 0_u8..4, any::<prop::sample::Index>()), 0..300)
        ) {
            let limits = limits(12, Some(5));
            let (mut waiting, mut model, mut slots) = (Waiting::default(), Vec::<(u64, u8)>::new(), Vec::new());
            for (id, (kind, from, which)) in steps.into_iter().enumerate() {
                if kind == 0 && !slots.is_empty() {
                    let (id, slot): (u64, u32) = slots.swap_remove(which.index(slots.len()));
                    let before = model.len();
                    model.retain(|(other, _)| *other != id);
                    prop_assert_eq!(waiting.remove(slot).is_some(), model.len() == before);
                } else {
                    let id = id as u64;
                    let of_source: Vec<u64> = model.iter().filter(|(_, of)| *of == from).map(|(id, _)| *id).collect();
                    let expected = if of_source.len() >= 5 {
                        Some(of_source[0])
                    } else {
                        (model.len() >= 12).then(|| model[0].0)
                    };
                    let (slot, evicted) = waiting.push(id, Some(source(&format!("192.0.2.{from}"))), &limits);
                    prop_assert_eq!(evicted.map(|(id, _)| id), expected);
                    model.retain(|(other, _)| Some(*other) != expected);
                    model.push((id, from));
                    slots.push((id, slot));
                }
                prop_assert_eq!(waiting.len(), model.len());
            }
            for (_, slot) in slots {
                waiting.remove(slot);
            }
            prop_assert_eq!(waiting.len(), 0);
            prop_assert!(waiting.sources.is_empty());
        }
    }

    #[test]
    fn the_room_of_a_flood_is_given_back() {
        let mut waiting = Waiting::default();
        let limits = limits(5000, Some(5000));
        let slots: Vec<u32> = (0..5000).map(|id| waiting.push(id, Some(source("192.0.2.1")), &limits).0).collect();
        for slot in slots {
            waiting.remove(slot);
        }
        assert!(waiting.slots.capacity() <= KEPT && waiting.free.capacity() <= KEPT);
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let (a, b) = (source("192.0.2.1"), source("2001:db8::1"));
        let rate = Rate { connections: 10, per: Duration::from_secs(1), burst: 3 };
        let mut rates = Rates::default();
        let mut taken = |source, attempts, ms| {
            (0..attempts).filter(|_| rates.take(source, &rate, Duration::from_millis(ms))).count()
        };
        assert_eq!(taken(a, 10, 5000), 3);
        assert_eq!(taken(b, 2, 5000), 2, "another source");
        assert_eq!(taken(a, 10, 5099), 0);
        assert_eq!(taken(a, 10, 5100), 1);
        assert_eq!(taken(a, 10, 5350), 2);
        // Time that nobody used is not saved up beyond the burst.
        assert_eq!(taken(a, 10, 900_000), 3);
        // Another thread may have read its clock earlier.
        assert_eq!(taken(a, 1, 899_000), 0);
    }

    #[test]
    fn a_rate_that_is_loosened_frees_at_once_and_one_that_is_tightened_does_not() {
        let rate = |connections, secs, burst| Rate { connections, per: Duration::from_secs(secs), burst };
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
            assert!(rates.take(a, &after, now + after.per / after.connections), "{after:?}");
            assert!(rates.take(source("192.0.2.2"), &after, now), "{after:?}: who was not held back");
        }
    }

    #[test]
    fn who_takes_the_place_of_another_source_begins_with_nothing_used() {
        let rate = Rate { connections: 1, per: Duration::from_secs(3600), burst: 1 };
        let mut rates = Rates::default();
        for number in 0..50_000_u32 {
            let ip = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
            let source = Source::of(ClientAddr::Socket((ip, 1).into())).unwrap();
            assert!(rates.take(source, &rate, Duration::from_secs(1)), "{ip}");
        }
    }

    #[test]
    fn sources_beyond_the_room_are_forgotten_and_the_busiest_last() {
        let rate = Rate { connections: 1, per: Duration::from_secs(3600), burst: 20 };
        let mut rates = Rates::default();
        let busy = source("198.51.100.1");
        let now = Duration::from_secs(1);
        assert_eq!((0..30).filter(|_| rates.take(busy, &rate, now)).count(), 20);
        for number in 0..200_000_u32 {
            let ip = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
            assert!(rates.take(Source::of(ClientAddr::Socket((ip, 1).into())).unwrap(), &rate, now));
        }
        assert!(!rates.take(busy, &rate, now), "others have connected less often");
        assert_eq!(size_of_val(&*rates.sets), 768 * 1024);
    }
}
