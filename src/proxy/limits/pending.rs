//! The connections that have not been routed, and which of them gives way.

use std::collections::HashMap;

use crate::proxy::limits::{KEPT, Limit, Limits, SourceNetwork};

/// A connection that has to go, and why.
pub(in crate::proxy) type Evicted = (u64, Limit);

/// The connections that have not been routed, in the order in which they came, all together and by
/// source.
///
/// Each has a slot, which stays its own until it is given back, also when the connection has been
/// told to go.
#[derive(Debug, Default)]
pub(in crate::proxy) struct PendingQueue {
    slots: Vec<PendingSlot>,
    free: Vec<u32>,
    all: SlotList,
    /// Those that hold bytes which count, the one that began to first.
    holding: SlotList,
    /// How many these are.
    bytes: u64,
    /// Those whose source is counted.
    sources: HashMap<SourceNetwork, SlotList>,
}

#[derive(Debug)]
struct PendingSlot {
    id: u64,
    source: Option<SourceNetwork>,
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
struct SlotList {
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

impl Default for SlotList {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            len: 0,
        }
    }
}

impl PendingQueue {
    /// How many wait.
    pub(in crate::proxy) fn len(&self) -> usize {
        self.all.len as usize
    }

    /// Adds a connection: its slot, and who has to go for it.
    pub(in crate::proxy) fn push(
        &mut self,
        id: u64,
        source: Option<SourceNetwork>,
        limits: &Limits,
    ) -> (u32, Option<Evicted>) {
        let mut evicted = source.and_then(|source| self.make_room(source, limits));
        if evicted.is_none() && self.all.len >= limits.max_pending {
            evicted = self.evict(self.all.head, Limit::MaxPending(limits.max_pending));
        }
        let new = PendingSlot {
            id,
            source: None,
            links: [Link {
                before: NONE,
                after: NONE,
            }; 3],
            bytes: 0,
            lost: None,
        };
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

    /// Says where a connection that waits comes from, if that was not known when it came: who has
    /// to go for it.
    pub(in crate::proxy) fn attach(
        &mut self,
        at: u32,
        source: SourceNetwork,
        limits: &Limits,
    ) -> Option<Evicted> {
        let PendingSlot {
            source: None,
            lost: None,
            ..
        } = self.slots[at as usize]
        else {
            return None;
        };
        limits.pending_per_source?;
        let evicted = self.make_room(source, limits);
        self.count(at, source);
        evicted
    }

    /// A connection holds so many bytes, which count: who has to go for them.
    pub(in crate::proxy) fn hold(&mut self, at: u32, bytes: u32, limits: &Limits) -> Vec<Evicted> {
        let PendingSlot {
            bytes: before,
            lost: None,
            ..
        } = self.slots[at as usize]
        else {
            return Vec::new();
        };
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

    /// A further connection to evict, where a reload has lowered a limit below the number that
    /// waits: one for each connection that comes, so that there are fewer of them also while
    /// connections come all the time.
    pub(in crate::proxy) fn excess(
        &mut self,
        source: Option<SourceNetwork>,
        limits: &Limits,
    ) -> Option<Evicted> {
        let of_source = source
            .zip(limits.pending_per_source)
            .and_then(|(source, most)| {
                let list = self.sources.get(&source).filter(|list| list.len > most)?;
                Some((list.head, Limit::PendingPerSource(most, source)))
            });
        let most = limits.max_pending;
        let of_all = (self.all.len > most).then_some((self.all.head, Limit::MaxPending(most)));
        let (at, limit) = of_source.or(of_all)?;
        self.evict(at, limit)
    }

    /// Gives a slot back. The limit, if the connection has been told to go.
    pub(in crate::proxy) fn remove(&mut self, at: u32) -> Option<Limit> {
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

    fn make_room(&mut self, source: SourceNetwork, limits: &Limits) -> Option<Evicted> {
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

    fn count(&mut self, at: u32, source: SourceNetwork) {
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
        let Some(source) = self.slots[at as usize].source.take() else {
            return;
        };
        let Some(mut list) = self.sources.get(&source).copied() else {
            return;
        };
        self.take_out(SOURCE, &mut list, at);
        if list.len == 0 {
            self.sources.remove(&source);
        } else {
            self.sources.insert(source, list);
        }
    }

    fn append(&mut self, which: usize, list: &mut SlotList, at: u32) {
        self.slots[at as usize].links[which] = Link {
            before: list.tail,
            after: NONE,
        };
        match self.slots.get_mut(list.tail as usize) {
            Some(last) => last.links[which].after = at,
            None => list.head = at,
        }
        list.tail = at;
        list.len += 1;
    }

    fn take_out(&mut self, which: usize, list: &mut SlotList, at: u32) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::limits::source;

    fn limits(max_pending: u32, pending_per_source: Option<u32>) -> Limits {
        Limits {
            max_pending,
            pending_per_source,
            ..Limits::default()
        }
    }

    #[test]
    fn the_oldest_gives_way_and_who_has_been_routed_does_not() {
        let mut waiting = PendingQueue::default();
        let limits = limits(3, None);
        let slots: Vec<u32> = (1..=3)
            .map(|id| waiting.push(id, None, &limits).0)
            .collect();
        assert_eq!(waiting.remove(slots[0]), None);
        assert_eq!(waiting.push(4, None, &limits).1, None);
        assert_eq!(
            waiting.push(5, None, &limits).1,
            Some((2, Limit::MaxPending(3)))
        );
        assert_eq!(
            waiting.push(6, None, &limits).1,
            Some((3, Limit::MaxPending(3)))
        );
        assert_eq!(waiting.len(), 3);
        assert_eq!(
            waiting.remove(slots[1]),
            Some(Limit::MaxPending(3)),
            "it learns why"
        );
        assert_eq!(waiting.len(), 3);
    }

    #[test]
    fn a_source_makes_room_for_itself_alone() {
        let (a, b) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut waiting = PendingQueue::default();
        let limits = limits(100, Some(2));
        for (id, from) in [(1, b), (2, a), (3, a), (4, b)] {
            assert_eq!(waiting.push(id, Some(from), &limits).1, None);
        }
        assert_eq!(
            waiting.push(5, Some(a), &limits).1,
            Some((2, Limit::PendingPerSource(2, a)))
        );
        assert_eq!(
            waiting.push(6, None, &limits).1,
            None,
            "a unix socket has no source"
        );
        assert_eq!(
            waiting.push(7, Some(b), &limits).1,
            Some((1, Limit::PendingPerSource(2, b)))
        );
    }

    #[test]
    fn a_source_that_is_known_later_counts_from_then_on() {
        let a = source("192.0.2.1");
        let mut waiting = PendingQueue::default();
        let limits = limits(100, Some(1));
        let slots: Vec<u32> = (1..=3)
            .map(|id| waiting.push(id, None, &limits).0)
            .collect();
        assert_eq!(waiting.attach(slots[1], a, &limits), None);
        assert_eq!(
            waiting.attach(slots[1], a, &limits),
            None,
            "it is known already"
        );
        assert_eq!(
            waiting.attach(slots[0], a, &limits),
            Some((2, Limit::PendingPerSource(1, a)))
        );
        assert_eq!(
            waiting.attach(slots[1], a, &limits),
            None,
            "it is about to go"
        );
        assert_eq!(waiting.len(), 2);
    }

    #[test]
    fn the_oldest_that_hold_bytes_give_way_to_bytes_and_nobody_else_does() {
        let mut waiting = PendingQueue::default();
        let limits = Limits {
            max_pending_bytes: 100,
            ..limits(9, None)
        };
        let slots: Vec<u32> = (1..=5)
            .map(|id| waiting.push(id, None, &limits).0)
            .collect();
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
            assert_eq!(
                evicted.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
                gone,
                "{bytes} of {at}"
            );
            assert!(
                evicted
                    .iter()
                    .all(|(_, limit)| *limit == Limit::MaxPendingBytes(100))
            );
        }
        assert_eq!((waiting.len(), waiting.bytes), (1, 0));
        assert_eq!(waiting.remove(slots[1]), Some(Limit::MaxPendingBytes(100)));
        assert_eq!(waiting.remove(slots[0]), None);
    }

    #[test]
    fn who_is_routed_holds_nothing_any_more() {
        let mut waiting = PendingQueue::default();
        let limits = Limits {
            max_pending_bytes: 100,
            ..limits(9, None)
        };
        for id in 0..20 {
            let slot = waiting.push(id, None, &limits).0;
            assert_eq!(waiting.hold(slot, 60, &limits), []);
            assert_eq!(waiting.remove(slot), None);
        }
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn a_limit_that_was_lowered_is_reached_although_somebody_comes_all_the_time() {
        let (a, b) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut waiting = PendingQueue::default();
        let before = limits(6, Some(4));
        for (id, from) in [(1, a), (2, a), (3, a), (4, a), (5, b), (6, b)] {
            assert_eq!(waiting.push(id, Some(from), &before).1, None);
        }
        assert_eq!(waiting.excess(Some(a), &before), None);
        let now = limits(4, Some(2));
        assert_eq!(waiting.push(7, Some(a), &now).1.map(|(id, _)| id), Some(1));
        assert_eq!(
            waiting.excess(Some(a), &now),
            Some((2, Limit::PendingPerSource(2, a)))
        );
        assert_eq!(
            waiting.push(8, None, &now).1,
            Some((3, Limit::MaxPending(4)))
        );
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
            let (mut waiting, mut model, mut slots) = (PendingQueue::default(), Vec::<(u64, u8)>::new(), Vec::new());
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
        let mut waiting = PendingQueue::default();
        let limits = limits(5000, Some(5000));
        let slots: Vec<u32> = (0..5000)
            .map(|id| waiting.push(id, Some(source("192.0.2.1")), &limits).0)
            .collect();
        for slot in slots {
            waiting.remove(slot);
        }
        assert!(waiting.slots.capacity() <= KEPT && waiting.free.capacity() <= KEPT);
    }
}
