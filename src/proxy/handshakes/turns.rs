//! The order in which TLS handshakes begin, and which of them gives way.
//!
//! Here is the logic alone: no lock, no task, and the clock is an argument. Every step takes logarithmic time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::proxy::limits::{KEPT, Source};

/// After so long a handshake gives way to anybody. A client far away has three round trips in it, whatever its version of
/// TLS.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Before that no handshake gives way. Three round trips within a continent.
pub(super) const HASTE: Duration = Duration::from_millis(250);

/// A handshake runs at most three times: when it begins, and on what the client sends in its two round trips.
const RUNS: u32 = 3;

/// A timer may be so late without anybody being busy.
const GRAIN: Duration = Duration::from_millis(1);

/// So many may wait for each that may be under way: they hold a hello each.
const QUEUED: usize = 4;

/// So many may wait however few may be under way.
const LEAST_QUEUED: usize = 1024;

/// The handshakes that are under way and those that wait, all together and by source.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// How many may be under way.
    most: usize,
    places: HashMap<u64, Place>,
    shares: HashMap<Holder, Share>,
    ranks: Ranks,
    running: BTreeSet<Since>,
    /// How many wait. While any do, no slot is free.
    waiting: usize,
    /// The one of them whose timer all use, and what it is set for.
    timer: Option<(u64, Instant)>,
    /// How late that timer last was. Where the processors are busy, handshakes are as late.
    late: Duration,
    woken: Vec<Arc<Notify>>,
}

/// Whose slots are counted together: a source's, or one connection's that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Holder {
    Source(Source),
    Connection(u64),
}

/// Since when a connection waits, or its handshake is under way, and its number.
type Since = (Instant, u64);

#[derive(Debug)]
struct Place {
    holder: Holder,
    since: Instant,
    /// Tells a connection that waits that something has changed for it.
    waiter: Option<Arc<Notify>>,
}

/// The handshakes of one holder.
#[derive(Debug, Default)]
struct Share {
    running: BTreeSet<Since>,
    waiting: BTreeSet<Since>,
}

/// The holders, in three orders.
#[derive(Debug, Default)]
struct Ranks {
    /// Of those that wait: by slots, then by who came first. The first has the next slot.
    next: BTreeSet<(usize, Since, Holder)>,
    /// Of those with slots: by slots, then by whose oldest handshake is younger. The last holds most.
    greedy: BTreeSet<(usize, Reverse<Since>, Holder)>,
    /// Of those that wait: by how many do, then by who came last. The last waits most.
    crowded: BTreeSet<(usize, Reverse<Since>, Holder)>,
}

/// What has become of a connection that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its handshake may begin.
    Begun,
    /// It looks again when it is told to, or at this time.
    Waits(Option<Instant>),
    /// It has had to make room for others that wait.
    Withdrawn,
}

impl Turns {
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// From now on so many may be under way.
    pub(super) fn limit(&mut self, most: usize, now: Instant) {
        if self.most != most {
            self.most = most;
            self.settle(now);
        }
    }

    /// The handshake of the connection `id` begins, or waits: then by what it is told to look.
    pub(super) fn enter(&mut self, id: u64, source: Option<Source>, now: Instant) -> Option<Arc<Notify>> {
        let holder = source.map_or(Holder::Connection(id), Holder::Source);
        if self.running.len() < self.most {
            self.places.insert(id, Place { holder, since: now, waiter: None });
            self.running.insert((now, id));
            self.change(holder, |share| share.running.insert((now, id)));
            return None;
        }
        let waiter = Arc::<Notify>::default();
        self.places.insert(id, Place { holder, since: now, waiter: Some(Arc::clone(&waiter)) });
        self.waiting += 1;
        self.change(holder, |share| share.waiting.insert((now, id)));
        self.settle(now);
        Some(waiter)
    }

    /// Where the connection `id` stands, and who has to go. The latter is asked of the one connection alone that has the timer.
    pub(super) fn look(&mut self, id: u64, now: Instant) -> (Turn, Vec<u64>) {
        let mut gone = Vec::new();
        if let Some((_, at)) = self.timer.filter(|timer| timer.0 == id) {
            if at <= now {
                self.late = (now - at).saturating_sub(GRAIN).min(PATIENCE);
            }
            while let Some((_, victim)) = self.next_to_go().filter(|(due, _)| *due <= now) {
                gone.push(victim);
                self.remove(victim);
                self.grant(now);
            }
            // It is set anew, also for later.
            self.timer = self.next_to_go().map(|(due, _)| (id, due));
            self.set_timer(now);
        }
        let turn = match self.places.get(&id) {
            None => Turn::Withdrawn,
            Some(Place { waiter: None, .. }) => Turn::Begun,
            Some(_) => Turn::Waits(self.timer.filter(|timer| timer.0 == id).map(|(_, at)| at)),
        };
        (turn, gone)
    }

    /// The connection is served, or has gone.
    pub(super) fn leave(&mut self, id: u64, now: Instant) {
        self.remove(id);
        self.settle(now);
        if self.places.is_empty() && self.places.capacity() > KEPT {
            *self = Self { most: self.most, woken: take(&mut self.woken), ..Self::default() };
        }
    }

    /// Who is to be told to look.
    pub(super) fn woken(&mut self) -> Vec<Arc<Notify>> {
        take(&mut self.woken)
    }

    fn settle(&mut self, now: Instant) {
        while self.grant(now) {}
        while self.waiting > LEAST_QUEUED.max(self.most.saturating_mul(QUEUED))
            && let Some(&(_, Reverse((_, oldest)), _)) = self.ranks.crowded.last()
        {
            self.wake(oldest);
            self.remove(oldest);
        }
        self.set_timer(now);
    }

    /// Gives a free slot to whose turn it is: false if there is none, or nobody waits.
    fn grant(&mut self, now: Instant) -> bool {
        let Some(&(_, since, holder)) = self.ranks.next.first().filter(|_| self.running.len() < self.most) else {
            return false;
        };
        let id = since.1;
        self.wake(id);
        if let Some(place) = self.places.get_mut(&id) {
            (place.since, place.waiter) = (now, None);
        }
        self.waiting -= 1;
        self.running.insert((now, id));
        self.change(holder, |share| {
            share.waiting.remove(&since);
            share.running.insert((now, id))
        });
        true
    }

    fn remove(&mut self, id: u64) {
        let Some(Place { holder, since, waiter }) = self.places.remove(&id) else { return };
        let since = (since, id);
        if waiter.is_some() {
            self.waiting -= 1;
            self.change(holder, |share| share.waiting.remove(&since));
        } else {
            self.running.remove(&since);
            self.change(holder, |share| share.running.remove(&since));
        }
    }

    /// Which handshake gives way next to who waits, and when.
    ///
    /// It is the oldest of the holder with most slots, where it has more than the one whose turn it is, which waits for its
    /// own handshakes otherwise. Whoever takes longer than [`PATIENCE`] gives way to anybody.
    fn next_to_go(&self) -> Option<(Instant, u64)> {
        let &(held, _, holder) = self.ranks.next.first()?;
        let &(most, Reverse(oldest_of_most), _) = self.ranks.greedy.last()?;
        let oldest = self.running.first()?;
        let own = self.shares.get(&holder).and_then(|share| share.running.first()).filter(|_| most == held);
        let greedy = own.unwrap_or(&oldest_of_most);
        // In so many rounds all that wait have had their turn.
        let rounds = self.waiting.div_ceil(self.most.max(1));
        let patience =
            if most >= held + 2 { HASTE } else { HASTE.max(PATIENCE / u32::try_from(rounds).unwrap_or(u32::MAX)) };
        let late = self.late * RUNS;
        let (due, id) = (greedy.0 + patience, greedy.1).min((oldest.0 + PATIENCE, oldest.1));
        Some((due + late, id))
    }

    /// Somebody who waits has the timer, and it is set for whoever gives way next, or for earlier.
    fn set_timer(&mut self, now: Instant) {
        let Some((due, _)) = self.next_to_go() else {
            (self.timer, self.late) = (None, Duration::ZERO);
            return;
        };
        let due = due.max(now);
        let is_waiting = |id: &u64| self.places.get(id).is_some_and(|place| place.waiter.is_some());
        let holder = match self.timer {
            Some((id, at)) if is_waiting(&id) => {
                if at <= due {
                    return;
                }
                Some(id)
            }
            // Whose turn is far away.
            _ => self.ranks.crowded.last().and_then(|(.., holder)| Some(self.shares.get(holder)?.waiting.last()?.1)),
        };
        self.timer = holder.map(|id| (id, due));
        holder.into_iter().for_each(|id| self.wake(id));
    }

    fn wake(&mut self, id: u64) {
        self.woken.extend(self.places.get(&id).and_then(|place| place.waiter.clone()));
    }

    /// The one way to change what a holder has: its ranks follow.
    fn change(&mut self, holder: Holder, change: impl FnOnce(&mut Share) -> bool) {
        let share = self.shares.entry(holder).or_default();
        self.ranks.remove(holder, share);
        let is_changed = change(share);
        debug_assert!(is_changed, "places and shares agree");
        self.ranks.insert(holder, share);
        if share.running.is_empty() && share.waiting.is_empty() {
            self.shares.remove(&holder);
        }
    }
}

impl Ranks {
    fn insert(&mut self, holder: Holder, share: &Share) {
        let held = share.running.len();
        if let Some(&oldest) = share.running.first() {
            self.greedy.insert((held, Reverse(oldest), holder));
        }
        if let Some(&oldest) = share.waiting.first() {
            self.next.insert((held, oldest, holder));
            self.crowded.insert((share.waiting.len(), Reverse(oldest), holder));
        }
    }

    fn remove(&mut self, holder: Holder, share: &Share) {
        let held = share.running.len();
        if let Some(&oldest) = share.running.first() {
            self.greedy.remove(&(held, Reverse(oldest), holder));
        }
        if let Some(&oldest) = share.waiting.first() {
            self.next.remove(&(held, oldest, holder));
            self.crowded.remove(&(share.waiting.len(), Reverse(oldest), holder));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::addr::ClientAddr;

    fn source(number: u32) -> Option<Source> {
        Source::of(ClientAddr::Socket((Ipv4Addr::from_bits(number), 1).into()))
    }

    fn at_most(most: usize, now: Instant) -> Turns {
        let mut turns = Turns::default();
        turns.limit(most, now);
        turns
    }

    /// Whoever has the timer looks when it is set for, and later by `late`: who has to go, and the time.
    fn next_timer(turns: &mut Turns, late: Duration) -> (Vec<u64>, Instant) {
        let (id, at) = turns.timer.expect("somebody waits");
        let now = at + late;
        (turns.look(id, now).1, now)
    }

    fn turn(turns: &mut Turns, id: u64, now: Instant) -> Turn {
        let is_timer = turns.timer.is_some_and(|timer| timer.0 == id);
        match turns.look(id, now).0 {
            Turn::Waits(at) => {
                assert_eq!(at.is_some(), is_timer, "who has the timer knows the time");
                Turn::Waits(None)
            }
            other => other,
        }
    }

    /// That every part of the state says the same.
    fn check(turns: &Turns) -> Result<(), TestCaseError> {
        let waits = |place: &&Place| place.waiter.is_some();
        prop_assert_eq!(turns.waiting, turns.places.values().filter(waits).count());
        prop_assert_eq!(turns.running.len() + turns.waiting, turns.places.len());
        prop_assert!(turns.waiting == 0 || turns.running.len() >= turns.most, "a slot is free and somebody waits");
        prop_assert!(turns.waiting <= LEAST_QUEUED.max(QUEUED * turns.most));
        let sum = |count: fn(&Share) -> usize| turns.shares.values().map(count).sum::<usize>();
        prop_assert_eq!(sum(|share| share.running.len()), turns.running.len());
        prop_assert_eq!(sum(|share| share.waiting.len()), turns.waiting);
        let holders = |count: fn(&Share) -> usize| turns.shares.values().filter(|share| count(share) > 0).count();
        prop_assert_eq!(holders(|share| share.running.len()), turns.ranks.greedy.len());
        let waiting = holders(|share| share.waiting.len());
        prop_assert_eq!((waiting, waiting), (turns.ranks.next.len(), turns.ranks.crowded.len()));
        prop_assert_eq!(turns.timer.is_some(), turns.waiting > 0 && !turns.running.is_empty());
        if let Some((id, at)) = turns.timer {
            prop_assert!(turns.places[&id].waiter.is_some(), "the timer is that of who waits");
            prop_assert!(turns.next_to_go().is_some_and(|(due, _)| at <= due.max(at)));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn whatever_happens_nobody_waits_beside_a_free_slot_and_nothing_is_left_behind(
            steps in prop::collection::vec((0..6_u8, 0..8_u32, 0..300_u64), 1..400),
        ) {
            let mut now = Instant::now();
            let mut turns = at_most(4, now);
            let mut next = 0;
            for (what, number, ms) in steps {
                match what {
                    0..=2 => {
                        next += 1;
                        turns.enter(next, (number > 0).then(|| source(number)).flatten(), now);
                    }
                    3 => turns.leave(next.saturating_sub(number.into()), now),
                    4 => turns.limit(1 + number as usize, now),
                    _ => {
                        now += Duration::from_millis(ms);
                        if let Some((id, at)) = turns.timer && at <= now {
                            turns.look(id, now);
                            prop_assert!(turns.next_to_go().is_none_or(|(due, _)| due > now));
                        }
                    }
                }
                check(&turns)?;
            }
            (1..=next).for_each(|id| turns.leave(id, now));
            check(&turns)?;
            prop_assert!(turns.places.is_empty() && turns.shares.is_empty() && turns.running.is_empty());
        }
    }

    #[test]
    fn a_slot_goes_to_the_source_that_holds_fewest_and_of_equals_to_who_came_first() {
        let now = Instant::now();
        let mut turns = at_most(3, now);
        // 1 holds two of them, 2 holds one, and nobody of 3 and of those without an address holds any.
        for (id, of) in [(1, 1), (2, 1), (3, 2), (4, 1), (5, 2), (6, 3), (7, 0), (8, 3)] {
            turns.enter(id, (of > 0).then(|| source(of)).flatten(), now + Duration::from_millis(id));
        }
        let now = now + Duration::from_millis(100);
        // Sources without a slot come first, also before others that have waited for longer.
        for (ends, begins) in [(1, 6), (2, 4), (3, 5), (4, 7), (5, 8)] {
            assert!(matches!(turn(&mut turns, begins, now), Turn::Waits(_)), "{begins}");
            turns.leave(ends, now);
            assert_eq!(turn(&mut turns, begins, now), Turn::Begun, "{begins} after {ends}");
        }
    }

    #[test]
    fn a_source_that_holds_most_waits_for_its_own_and_others_have_their_second() {
        let start = Instant::now();
        let mut turns = at_most(8, start);
        turns.enter(100, source(1), start);
        let later = start + Duration::from_millis(10);
        // One source has all other slots, and thousands of its connections wait.
        (0..2000).for_each(|id| _ = turns.enter(1000 + id, source(2), later));
        let (gone, now) = next_timer(&mut turns, Duration::ZERO);
        assert_eq!((gone, now), ((1000..1007).collect(), later + HASTE), "its own alone");
        assert_eq!(turn(&mut turns, 100, now), Turn::Begun);
        // It is the oldest of all by then.
        let mut at = now;
        while turn(&mut turns, 100, at) == Turn::Begun {
            let (gone, now) = next_timer(&mut turns, Duration::ZERO);
            assert_eq!(gone.contains(&100), now >= start + PATIENCE, "{gone:?}");
            at = now;
        }
        assert!(at <= start + PATIENCE + HASTE, "a second and no more");
    }

    #[test]
    fn beyond_the_room_the_oldest_of_those_goes_who_wait_most() {
        let now = Instant::now();
        let mut turns = at_most(1, now);
        turns.enter(1, source(1), now);
        turns.enter(2, source(2), now);
        // One is less than there is room for, so that all that follow are too many.
        let id = 1000;
        (0..LEAST_QUEUED as u64 - 1).for_each(|n| _ = turns.enter(id + n, source(1), now));
        assert!(matches!(turn(&mut turns, id, now), Turn::Waits(_)));
        for (n, of) in [(0, 3), (1, 4), (2, 1)] {
            assert!(matches!(turn(&mut turns, id + n, now), Turn::Waits(_)));
            turns.enter(9000 + n, source(of), now);
            assert_eq!(turn(&mut turns, id + n, now), Turn::Withdrawn, "{n}");
            assert_eq!(turns.waiting, LEAST_QUEUED);
        }
        turns.leave(1, now);
        assert_eq!(turn(&mut turns, 2, now), Turn::Begun);
        // The room grows with the slots.
        turns.limit(LEAST_QUEUED, now);
        (0..5 * LEAST_QUEUED as u64).for_each(|n| _ = turns.enter(10_000 + n, source(1), now));
        assert_eq!((turns.running.len(), turns.waiting), (LEAST_QUEUED, QUEUED * LEAST_QUEUED));
    }

    #[test]
    fn patience_ends_sooner_where_more_wait_and_never_too_soon() {
        for (waiting, patience) in
            [(1, PATIENCE), (2, PATIENCE), (3, PATIENCE / 2), (4, PATIENCE / 2), (6, PATIENCE / 3), (99, HASTE)]
        {
            let now = Instant::now();
            let mut turns = at_most(2, now);
            (0..2 + waiting).for_each(|id| _ = turns.enter(id, None, now));
            assert_eq!(turns.next_to_go(), Some((now + patience, 0)), "{waiting}");
        }
    }

    #[test]
    fn time_in_which_the_processors_were_busy_does_not_count() {
        let busy = Duration::from_millis(200);
        let start = Instant::now();
        let mut turns = at_most(2, start);
        [(1, 1), (2, 1), (3, 2)].into_iter().for_each(|(id, of)| _ = turns.enter(id, source(of), start));
        let (gone, now) = next_timer(&mut turns, busy);
        assert_eq!((gone, now), (vec![], start + HASTE + busy), "the timer was late, so handshakes are, too");
        let (gone, now) = next_timer(&mut turns, Duration::ZERO);
        assert_eq!(gone, [1]);
        assert!(now <= start + HASTE + RUNS * busy);
        // A machine that has slept keeps nobody waiting for as long.
        [4, 5].into_iter().for_each(|id| _ = turns.enter(id, source(id as u32), now));
        next_timer(&mut turns, 100 * PATIENCE);
        assert!(turns.late <= PATIENCE);
    }
}
