//! The order in which TLS handshakes begin, and which of them gives way.
//!
//! Here is the logic alone: no lock, no task, and the clock is an argument. Every step takes
//! logarithmic time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::proxy::limits::{KEPT, SourceNetwork};

/// After so long a handshake gives way to any other. A client far away has three round trips in it,
/// whatever its version of TLS.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Before that no handshake gives way. Three round trips within a continent.
pub(super) const HASTE: Duration = Duration::from_millis(250);

/// A handshake runs at most three times: when it begins, and on what the client sends in its two
/// round trips.
const RUNS: u32 = 3;

/// A timer may be so late without any load.
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
    places: HashMap<u64, HandshakePlace>,
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

/// Slots that are counted together: a source's, or one connection's that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Holder {
    SourceNetwork(SourceNetwork),
    Connection(u64),
}

/// Since when a connection waits, or its handshake is under way, and its number.
type Since = (Instant, u64);

#[derive(Debug)]
struct HandshakePlace {
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
    /// Of those with slots: by slots, then by whose oldest handshake is younger. The last holds
    /// most.
    greedy: BTreeSet<(usize, Reverse<Since>, Holder)>,
    /// Of those that wait: by how many do, then by who came last. The last waits most.
    crowded: BTreeSet<(usize, Reverse<Since>, Holder)>,
}

/// The state of a connection that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeTurn {
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
    pub(super) fn enter(
        &mut self,
        id: u64,
        source: Option<SourceNetwork>,
        now: Instant,
    ) -> Option<Arc<Notify>> {
        let holder = source.map_or(Holder::Connection(id), Holder::SourceNetwork);
        if self.running.len() < self.most {
            self.places.insert(
                id,
                HandshakePlace {
                    holder,
                    since: now,
                    waiter: None,
                },
            );
            self.running.insert((now, id));
            self.change(holder, |share| share.running.insert((now, id)));
            return None;
        }
        let waiter = Arc::<Notify>::default();
        self.places.insert(
            id,
            HandshakePlace {
                holder,
                since: now,
                waiter: Some(Arc::clone(&waiter)),
            },
        );
        self.waiting += 1;
        self.change(holder, |share| share.waiting.insert((now, id)));
        self.settle(now);
        Some(waiter)
    }

    /// Where the connection `id` stands, and who has to go. The latter is asked of the one
    /// connection alone that has the timer.
    pub(super) fn look(&mut self, id: u64, now: Instant) -> (HandshakeTurn, Vec<u64>) {
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
            None => HandshakeTurn::Withdrawn,
            Some(HandshakePlace { waiter: None, .. }) => HandshakeTurn::Begun,
            Some(_) => {
                HandshakeTurn::Waits(self.timer.filter(|timer| timer.0 == id).map(|(_, at)| at))
            }
        };
        (turn, gone)
    }

    /// The connection is served, or has gone.
    pub(super) fn leave(&mut self, id: u64, now: Instant) {
        self.remove(id);
        self.settle(now);
        if self.places.is_empty() && self.places.capacity() > KEPT {
            *self = Self {
                most: self.most,
                woken: take(&mut self.woken),
                ..Self::default()
            };
        }
    }

    /// The connections that are to look at their turn again.
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
        let Some(&(_, since, holder)) = self
            .ranks
            .next
            .first()
            .filter(|_| self.running.len() < self.most)
        else {
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
        let Some(HandshakePlace {
            holder,
            since,
            waiter,
        }) = self.places.remove(&id)
        else {
            return;
        };
        let since = (since, id);
        if waiter.is_some() {
            self.waiting -= 1;
            self.change(holder, |share| share.waiting.remove(&since));
        } else {
            self.running.remove(&since);
            self.change(holder, |share| share.running.remove(&since));
        }
    }

    /// The handshake that gives way next to a waiting connection, and when.
    ///
    /// It is the oldest of the holder with most slots, where it has more than the one whose turn it
    /// is, which waits for its own handshakes otherwise. Whoever takes longer than [`PATIENCE`]
    /// gives way to anybody.
    fn next_to_go(&self) -> Option<(Instant, u64)> {
        let &(held, _, holder) = self.ranks.next.first()?;
        let &(most, Reverse(oldest_of_most), _) = self.ranks.greedy.last()?;
        let oldest = self.running.first()?;
        let own = self
            .shares
            .get(&holder)
            .and_then(|share| share.running.first())
            .filter(|_| most == held);
        let greedy = own.unwrap_or(&oldest_of_most);
        // In so many rounds all that wait have had their turn.
        let rounds = self.waiting.div_ceil(self.most.max(1));
        let patience = if most >= held + 2 {
            HASTE
        } else {
            HASTE.max(PATIENCE / u32::try_from(rounds).unwrap_or(u32::MAX))
        };
        let late = self.late * RUNS;
        let (due, id) = (greedy.0 + patience, greedy.1).min((oldest.0 + PATIENCE, oldest.1));
        Some((due + late, id))
    }

    /// One of the waiting connections has the timer, and it is set for the handshake that gives way
    /// next, or for earlier.
    fn set_timer(&mut self, now: Instant) {
        let Some((due, _)) = self.next_to_go() else {
            (self.timer, self.late) = (None, Duration::ZERO);
            return;
        };
        let due = due.max(now);
        let is_waiting = |id: &u64| {
            self.places
                .get(id)
                .is_some_and(|place| place.waiter.is_some())
        };
        let holder = match self.timer {
            Some((id, at)) if is_waiting(&id) => {
                if at <= due {
                    return;
                }
                Some(id)
            }
            // Whose turn is far away.
            _ => self
                .ranks
                .crowded
                .last()
                .and_then(|(.., holder)| Some(self.shares.get(holder)?.waiting.last()?.1)),
        };
        self.timer = holder.map(|id| (id, due));
        holder.into_iter().for_each(|id| self.wake(id));
    }

    fn wake(&mut self, id: u64) {
        self.woken
            .extend(self.places.get(&id).and_then(|place| place.waiter.clone()));
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
            self.crowded
                .insert((share.waiting.len(), Reverse(oldest), holder));
        }
    }

    fn remove(&mut self, holder: Holder, share: &Share) {
        let held = share.running.len();
        if let Some(&oldest) = share.running.first() {
            self.greedy.remove(&(held, Reverse(oldest), holder));
        }
        if let Some(&oldest) = share.waiting.first() {
            self.next.remove(&(held, oldest, holder));
            self.crowded
                .remove(&(share.waiting.len(), Reverse(oldest), holder));
        }
    }
}

#[cfg(test)]
mod tests;
