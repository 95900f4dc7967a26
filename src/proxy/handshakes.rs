//! How many TLS handshakes are under way at a listener, and who waits to begin one.
//!
//! They begin in the order in which their hellos came. Whoever does not get on with one for a second while others wait gives
//! way, so that clients which only begin handshakes hold up nobody for longer.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// A client far away has three round trips in it, whatever its version of TLS.
const PATIENCE: Duration = Duration::from_secs(1);

/// The handshakes of one listener.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// Who waits for it has their turn in the order in which they came.
    free: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many there may be, as `free` knows it.
    most: usize,
    /// How many of those that are under way are too many, because a reload has lowered the limit.
    excess: usize,
    /// Those that are under way, the oldest first.
    running: BTreeSet<(Instant, u64)>,
}

/// A handshake that is under way, until this is dropped.
#[derive(Debug)]
pub(super) struct Handshake<'a> {
    all: &'a Handshakes,
    key: (Instant, u64),
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { free: Semaphore::new(0), state: Mutex::default() }
    }
}

impl Handshakes {
    /// Waits until the connection `id` may begin its handshake, before `deadline`: nothing if that passes first. `end` is told
    /// of each connection that has to go. Cancel safe.
    pub(super) async fn begin(&self, id: u64, deadline: Instant, end: impl Fn(u64)) -> Option<Handshake<'_>> {
        let permit = match self.free.try_acquire() {
            Ok(permit) => permit,
            // Boxed: hardly anybody waits.
            Err(_) => {
                let mut acquire = Box::pin(self.free.acquire());
                loop {
                    let again = self.overdue_at().min(deadline);
                    match timeout_at(again, &mut acquire).await {
                        // It is never closed.
                        Ok(permit) => break permit.ok()?,
                        Err(_) if Instant::now() >= deadline => return None,
                        Err(_) => self.take_overdue().into_iter().for_each(&end),
                    }
                }
            }
        };
        permit.forget();
        let key = (Instant::now(), id);
        self.state().running.insert(key);
        Some(Handshake { all: self, key })
    }

    /// How many there may be.
    pub(super) fn most(&self) -> usize {
        self.state().most
    }

    /// From now on there may be so many.
    pub(super) fn limit(&self, most: u32) {
        let most = most as usize;
        let mut state = self.state();
        let before = std::mem::replace(&mut state.most, most);
        if most > before {
            let more = most - before;
            let paid = more.min(state.excess);
            state.excess -= paid;
            self.free.add_permits(more - paid);
        } else {
            let fewer = before - most;
            state.excess += fewer - self.free.forget_permits(fewer);
        }
    }

    /// When the oldest has had its time.
    fn overdue_at(&self) -> Instant {
        self.state().running.first().map_or_else(Instant::now, |(began, _)| *began) + PATIENCE
    }

    /// The oldest, if it has had its time. It is asked to go only once.
    fn take_overdue(&self) -> Option<u64> {
        let mut state = self.state();
        let oldest = *state.running.first()?;
        let is_overdue = oldest.0 + PATIENCE <= Instant::now();
        (is_overdue && state.running.remove(&oldest)).then_some(oldest.1)
    }

    /// Nothing that may panic happens while it is held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        let mut state = self.all.state();
        state.running.remove(&self.key);
        if state.excess > 0 {
            state.excess -= 1;
        } else {
            self.all.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;

    use super::*;

    fn at_most(most: u32) -> Handshakes {
        let all = Handshakes::default();
        all.limit(most);
        all
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn nobody(id: u64) {
        panic!("{id} had to go");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_limit_they_begin_in_order_and_nobody_goes_who_gets_on() {
        let all = at_most(2);
        let order = RefCell::new(Vec::new());
        let shake = |id| {
            let (all, order) = (&all, &order);
            async move {
                let handshake = all.begin(id, late(), nobody).await.expect("its turn");
                order.borrow_mut().push(id);
                tokio::time::sleep(PATIENCE / 2).await;
                drop(handshake);
            }
        };
        tokio::join!(shake(1), shake(2), shake(3), shake(4), shake(5));
        assert_eq!(order.into_inner(), [1, 2, 3, 4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_get_on_gives_way_to_who_waits_and_only_then() {
        let all = at_most(1);
        let mut stuck = all.begin(1, late(), nobody).await;
        tokio::time::advance(3 * PATIENCE).await;
        assert!(stuck.is_some(), "nobody else was there");
        let gone = RefCell::new(Vec::new());
        let second = all.begin(2, late(), |id| gone.borrow_mut().push(id));
        let mut second = pin!(second);
        while gone.borrow().is_empty() {
            assert!(timeout_at(Instant::now() + PATIENCE, &mut second).await.is_err());
        }
        assert_eq!(*gone.borrow(), [1]);
        drop(stuck.take());
        assert!(second.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_beyond_the_deadline_of_the_handshake() {
        let all = at_most(1);
        let _stuck = all.begin(1, late(), nobody).await;
        assert!(all.begin(2, Instant::now() + PATIENCE / 2, nobody).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_changes_is_reached_from_both_sides() {
        let all = at_most(4);
        let begin = |id| all.begin(id, Instant::now() + PATIENCE / 10, nobody);
        let mut running = Vec::new();
        for id in 0..4 {
            running.extend(begin(id).await);
        }
        all.limit(2);
        assert!(begin(9).await.is_none());
        running.truncate(2);
        assert!(begin(9).await.is_none(), "there are as many as there may be");
        running.truncate(1);
        running.extend(begin(5).await);
        assert!(begin(9).await.is_none());
        all.limit(3);
        running.extend(begin(6).await);
        assert_eq!(running.len(), 3);
        assert!(begin(9).await.is_none());
    }
}
