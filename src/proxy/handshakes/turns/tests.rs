//! Turns without a task and without a clock.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::addr::ClientAddr;

fn source(number: u32) -> Option<SourceNetwork> {
    SourceNetwork::of(ClientAddr::Socket((Ipv4Addr::from_bits(number), 1).into()))
}

fn at_most(most: usize, now: Instant) -> Turns {
    let mut turns = Turns::default();
    turns.limit(most, now);
    turns
}

/// Whoever has the timer looks when it is set for, and later by `late`: who has to go, and the
/// time.
fn next_timer(turns: &mut Turns, late: Duration) -> (Vec<u64>, Instant) {
    let (id, at) = turns.timer.expect("somebody waits");
    let now = at + late;
    (turns.look(id, now).1, now)
}

fn turn(turns: &mut Turns, id: u64, now: Instant) -> HandshakeTurn {
    let is_timer = turns.timer.is_some_and(|timer| timer.0 == id);
    match turns.look(id, now).0 {
        HandshakeTurn::Waits(at) => {
            assert_eq!(at.is_some(), is_timer, "who has the timer knows the time");
            HandshakeTurn::Waits(None)
        }
        other => other,
    }
}

/// That every part of the state says the same.
fn check(turns: &Turns, now: Instant) -> Result<(), TestCaseError> {
    let waits = |place: &&HandshakePlace| place.waiter.is_some();
    prop_assert_eq!(turns.waiting, turns.places.values().filter(waits).count());
    prop_assert_eq!(turns.running.len() + turns.waiting, turns.places.len());
    prop_assert!(
        turns.waiting == 0 || turns.running.len() >= turns.most,
        "a slot is free and somebody waits"
    );
    prop_assert!(turns.waiting <= LEAST_QUEUED.max(QUEUED * turns.most));
    let sum = |count: fn(&Share) -> usize| turns.shares.values().map(count).sum::<usize>();
    prop_assert_eq!(sum(|share| share.running.len()), turns.running.len());
    prop_assert_eq!(sum(|share| share.waiting.len()), turns.waiting);
    let holders = |count: fn(&Share) -> usize| {
        turns
            .shares
            .values()
            .filter(|share| count(share) > 0)
            .count()
    };
    prop_assert_eq!(
        holders(|share| share.running.len()),
        turns.ranks.greedy.len()
    );
    let waiting = holders(|share| share.waiting.len());
    prop_assert_eq!(
        (waiting, waiting),
        (turns.ranks.next.len(), turns.ranks.crowded.len())
    );
    prop_assert_eq!(
        turns.timer.is_some(),
        turns.waiting > 0 && !turns.running.is_empty()
    );
    if let Some((id, at)) = turns.timer {
        prop_assert!(
            turns.places[&id].waiter.is_some(),
            "the timer is that of who waits"
        );
        prop_assert!(
            turns
                .next_to_go()
                .is_some_and(|(due, _)| at <= due.max(now)),
            "the timer is too late"
        );
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
            check(&turns, now)?;
        }
        (1..=next).for_each(|id| turns.leave(id, now));
        check(&turns, now)?;
        prop_assert!(turns.places.is_empty() && turns.shares.is_empty() && turns.running.is_empty());
    }
}

#[test]
fn a_slot_goes_to_the_source_that_holds_fewest_and_of_equals_to_who_came_first() {
    let now = Instant::now();
    let mut turns = at_most(3, now);
    // 1 holds two of them, 2 holds one, and nobody of 3 and of those without an address holds any.
    for (id, of) in [
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 1),
        (5, 2),
        (6, 3),
        (7, 0),
        (8, 3),
    ] {
        turns.enter(
            id,
            (of > 0).then(|| source(of)).flatten(),
            now + Duration::from_millis(id),
        );
    }
    let now = now + Duration::from_millis(100);
    // Sources without a slot come first, also before others that have waited for longer.
    for (ends, begins) in [(1, 6), (2, 4), (3, 5), (4, 7), (5, 8)] {
        assert!(
            matches!(turn(&mut turns, begins, now), HandshakeTurn::Waits(_)),
            "{begins}"
        );
        turns.leave(ends, now);
        assert_eq!(
            turn(&mut turns, begins, now),
            HandshakeTurn::Begun,
            "{begins} after {ends}"
        );
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
    assert_eq!(
        (gone, now),
        ((1000..1007).collect(), later + HASTE),
        "its own alone"
    );
    assert_eq!(turn(&mut turns, 100, now), HandshakeTurn::Begun);
    // It is the oldest of all by then.
    let mut at = now;
    while turn(&mut turns, 100, at) == HandshakeTurn::Begun {
        let (gone, now) = next_timer(&mut turns, Duration::ZERO);
        assert_eq!(gone.contains(&100), now >= start + PATIENCE, "{gone:?}");
        at = now;
    }
    assert!(at <= start + PATIENCE + HASTE, "a second and no more");
}

#[test]
fn only_who_holds_more_gives_way_in_less_than_a_second_and_sooner_where_it_holds_two_more() {
    // Each connection comes a millisecond after the one before; the first three have a slot.
    for (sources, victim, patience) in [
        (&[2, 1, 1, 3][..], 1, HASTE),
        (&[1, 1, 1, 3], 0, HASTE),
        (&[1, 2, 3, 4], 0, PATIENCE),
        (&[2, 1, 1, 2], 0, PATIENCE),
        (&[2, 1, 1, 2, 2, 2, 2], 1, PATIENCE / 2),
        (&[2, 1, 1, 1, 1, 1, 1], 1, PATIENCE / 2),
        (&[3, 2, 1, 1, 1, 1, 1], 2, PATIENCE / 2),
    ] {
        let start = Instant::now();
        let mut turns = at_most(3, start);
        for (id, of) in (0..).zip(sources) {
            turns.enter(id, source(*of), start + Duration::from_millis(id));
        }
        let due = start + Duration::from_millis(victim) + patience;
        assert_eq!(turns.next_to_go(), Some((due, victim)), "{sources:?}");
        // However patient the first of them had reason to be.
        assert_eq!(turns.timer.map(|(_, at)| at), Some(due), "{sources:?}");
    }
}

#[test]
fn a_timer_is_set_anew_for_who_has_more_reason_to_be_impatient() {
    let start = Instant::now();
    let mut turns = at_most(2, start);
    let waiter = (0..3)
        .filter_map(|id| turns.enter(id, source(1), start))
        .next()
        .expect("the third waits");
    assert_eq!(turns.timer, Some((2, start + PATIENCE)));
    turns.woken();
    turns.enter(3, source(2), start);
    assert_eq!(turns.timer, Some((2, start + HASTE)));
    let woken = turns.woken();
    assert!(
        woken.len() == 1 && Arc::ptr_eq(&woken[0], &waiter),
        "{woken:?}"
    );
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
    assert!(matches!(turn(&mut turns, id, now), HandshakeTurn::Waits(_)));
    for (n, of) in [(0, 3), (1, 4), (2, 1)] {
        assert!(matches!(
            turn(&mut turns, id + n, now),
            HandshakeTurn::Waits(_)
        ));
        turns.enter(9000 + n, source(of), now);
        assert_eq!(
            turn(&mut turns, id + n, now),
            HandshakeTurn::Withdrawn,
            "{n}"
        );
        assert_eq!(turns.waiting, LEAST_QUEUED);
    }
    turns.leave(1, now);
    assert_eq!(turn(&mut turns, 2, now), HandshakeTurn::Begun);
    // The room grows with the slots.
    turns.limit(LEAST_QUEUED, now);
    (0..5 * LEAST_QUEUED as u64).for_each(|n| _ = turns.enter(10_000 + n, source(1), now));
    assert_eq!(
        (turns.running.len(), turns.waiting),
        (LEAST_QUEUED, QUEUED * LEAST_QUEUED)
    );
}

#[test]
fn patience_ends_sooner_where_more_wait_and_never_too_soon() {
    for (waiting, patience) in [
        (1, PATIENCE),
        (2, PATIENCE),
        (3, PATIENCE / 2),
        (4, PATIENCE / 2),
        (6, PATIENCE / 3),
        (99, HASTE),
    ] {
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
    [(1, 1), (2, 1), (3, 2)]
        .into_iter()
        .for_each(|(id, of)| _ = turns.enter(id, source(of), start));
    let (gone, now) = next_timer(&mut turns, busy);
    assert_eq!(
        (gone, now),
        (vec![], start + HASTE + busy),
        "the timer was late, so handshakes are, too"
    );
    let (gone, now) = next_timer(&mut turns, Duration::ZERO);
    assert_eq!(gone, [1]);
    assert!(now <= start + HASTE + RUNS * busy);
    // A machine that has slept keeps nobody waiting for as long.
    [4, 5]
        .into_iter()
        .for_each(|id| _ = turns.enter(id, source(id as u32), now));
    next_timer(&mut turns, 100 * PATIENCE);
    assert!(turns.late <= PATIENCE);
}
