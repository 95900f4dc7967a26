//! TLS handshakes under way at a listener, and the connections that wait to begin one.
//!
//! A free slot goes to the source that holds fewest, and of equals to who came first. While others
//! wait, handshakes that take long give way, those of the source that holds most before others:
//! clients that only begin handshakes hold up no other for long.

mod turns;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::net::cold;
use crate::proxy::SourceNetwork;
use crate::proxy::handshakes::turns::{HandshakeTurn, Turns};

/// The handshakes of one listener.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<Turns>);

/// A handshake that is under way, or waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Handshake<'a> {
    all: &'a Handshakes,
    id: u64,
}

impl Handshakes {
    /// Waits until the connection `id` may begin its handshake, before `deadline`: nothing if that
    /// passes first, or if too many wait. `source` is nothing for a connection without an address,
    /// which counts alone. `end` is told of each connection that has to go. Cancel safe.
    pub(super) async fn begin(
        &self,
        id: u64,
        source: Option<SourceNetwork>,
        deadline: Instant,
        end: impl Fn(u64),
    ) -> Option<Handshake<'_>> {
        let waiter = self.change(|turns| turns.enter(id, source, Instant::now()));
        let handshake = Handshake { all: self, id };
        if let Some(waiter) = waiter {
            cold(self.wait(id, &waiter, deadline, end)).await?;
        }
        Some(handshake)
    }

    async fn wait(
        &self,
        id: u64,
        waiter: &Notify,
        deadline: Instant,
        end: impl Fn(u64),
    ) -> Option<()> {
        loop {
            let (turn, woken) = {
                let mut turns = self.turns();
                let (turn, gone) = turns.look(id, Instant::now());
                let woken = turns.woken();
                drop(turns);
                // A handshake that goes does so before others begin.
                gone.into_iter().for_each(&end);
                (turn, woken)
            };
            woken.iter().for_each(|waiter| waiter.notify_one());
            let until = match turn {
                HandshakeTurn::Begun => return Some(()),
                HandshakeTurn::Withdrawn => return None,
                HandshakeTurn::Waits(until) => until.map_or(deadline, |until| until.min(deadline)),
            };
            if timeout_at(until, waiter.notified()).await.is_err() && deadline <= Instant::now() {
                return None;
            }
        }
    }

    /// How many there may be.
    pub(super) fn most(&self) -> usize {
        self.turns().most()
    }

    /// From now on there may be so many.
    pub(super) fn limit(&self, most: u32) {
        self.change(|turns| turns.limit(most as usize, Instant::now()));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Turns) -> T) -> T {
        let mut turns = self.turns();
        let changed = change(&mut turns);
        let woken = turns.woken();
        drop(turns);
        woken.iter().for_each(|waiter| waiter.notify_one());
        changed
    }

    /// Nothing that may panic happens while it is held.
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.all
            .change(|turns| turns.leave(self.id, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    use tokio::task::{AbortHandle, JoinSet};

    use super::*;
    use crate::addr::ClientAddr;
    use crate::proxy::handshakes::turns::{HASTE, PATIENCE};

    /// Runs a test whose clock goes on when everybody waits. It ends also where somebody never
    /// waits.
    fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
        let (ended, end) = mpsc::channel();
        let tests = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build();
            runtime.unwrap().block_on(test());
            ended.send(()).unwrap();
        });
        match end.recv_timeout(Duration::from_secs(60)) {
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it goes on for ever"),
            _ => tests
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        }
    }

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

    fn source(number: u32) -> Option<SourceNetwork> {
        SourceNetwork::of(ClientAddr::Socket((Ipv4Addr::from_bits(number), 1).into()))
    }

    /// Connections that begin handshakes at a listener, each in a task of its own.
    #[derive(Default)]
    struct Crowd {
        all: Arc<Handshakes>,
        tasks: JoinSet<Option<Duration>>,
        open: Arc<Mutex<Vec<Option<AbortHandle>>>>,
    }

    impl Crowd {
        /// A connection that waits for its turn and then takes `time`. Its result is how long it
        /// waited, if it is served.
        fn connect(&mut self, source: Option<SourceNetwork>, time: Duration) -> u64 {
            let (all, open, start) = (
                Arc::clone(&self.all),
                Arc::clone(&self.open),
                Instant::now(),
            );
            let id = self.open.lock().unwrap().len() as u64;
            let task = self.tasks.spawn(async move {
                let end = |id| {
                    open.lock().unwrap()[id as usize]
                        .take()
                        .expect("it is told once")
                        .abort()
                };
                let handshake = all.begin(id, source, late(), end).await?;
                let waited = start.elapsed();
                tokio::time::sleep(time).await;
                drop(handshake);
                (time != STALLED).then_some(waited)
            });
            self.open.lock().unwrap().push(Some(task));
            id
        }

        /// How long those waited that were served.
        async fn waited(mut self) -> Vec<Duration> {
            let mut waited = Vec::new();
            while let Some(ended) = self.tasks.join_next().await {
                waited.extend(ended.ok().flatten());
            }
            waited
        }
    }

    const STALLED: Duration = Duration::from_secs(1000);
    const QUICK: Duration = Duration::from_millis(50);

    /// Ten thousand connections of so many sources that begin handshakes and do not go on.
    async fn besiege(sources: u32) -> Crowd {
        let mut crowd = Crowd {
            all: Arc::new(at_most(1024)),
            ..Crowd::default()
        };
        for number in 0..10_000 {
            crowd.connect(source(1 + number % sources), STALLED);
        }
        tokio::time::sleep(QUICK).await;
        crowd
    }

    #[test]
    fn ten_thousand_stalled_handshakes_of_one_source_delay_another_by_one_short_patience() {
        run(async || {
            let mut crowd = besiege(1).await;
            crowd.connect(source(99), QUICK);
            let waited = crowd.waited().await;
            assert!(waited.len() == 1 && waited[0] <= HASTE, "{waited:?}");
        });
    }

    #[test]
    fn ten_thousand_stalled_handshakes_of_fifty_sources_delay_others_by_one_short_patience() {
        run(async || {
            let mut crowd = besiege(50).await;
            // Some alone, some behind one address, some without any.
            let good = (0..30)
                .map(|n| source(100 + n / 3))
                .chain((0..10).map(|_| None));
            good.for_each(|source| _ = crowd.connect(source, QUICK));
            let waited = crowd.waited().await;
            assert!(
                waited.len() == 40 && waited.iter().all(|waited| *waited <= HASTE),
                "{waited:?}"
            );
        });
    }

    #[test]
    fn stalled_handshakes_of_thousands_of_sources_delay_others_by_little_more_than_two_seconds() {
        run(async || {
            let mut crowd = besiege(5000).await;
            (0..40).for_each(|n| _ = crowd.connect(source(10_000 + n), QUICK));
            let waited = crowd.waited().await;
            assert!(
                waited.len() == 40
                    && waited
                        .iter()
                        .all(|waited| *waited <= 2 * PATIENCE + 2 * QUICK),
                "{waited:?}"
            );
        });
    }

    #[test]
    fn at_the_limit_they_begin_in_order_and_nobody_goes_who_gets_on() {
        run(async || {
            let all = at_most(2);
            let order = RefCell::new(Vec::new());
            let shake = |id, source| {
                let (all, order) = (&all, &order);
                async move {
                    let handshake = all
                        .begin(id, source, late(), nobody)
                        .await
                        .expect("its turn");
                    order.borrow_mut().push(id);
                    // Two that end at a time begin others in no order.
                    tokio::time::sleep(HASTE / 2 + Duration::from_millis(id)).await;
                    drop(handshake);
                }
            };
            tokio::join!(
                shake(1, None),
                shake(2, None),
                shake(3, None),
                shake(4, None),
                shake(5, None)
            );
            let same = source(1);
            tokio::join!(
                shake(6, same),
                shake(7, same),
                shake(8, same),
                shake(9, same)
            );
            assert_eq!(order.into_inner(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        });
    }

    #[test]
    fn whoever_does_not_get_on_gives_way_to_who_waits_and_only_then() {
        run(async || {
            let all = at_most(1);
            let mut stuck = all.begin(1, None, late(), nobody).await;
            tokio::time::advance(3 * PATIENCE).await;
            assert!(stuck.is_some(), "nobody else was there");
            let gone = RefCell::new(Vec::new());
            let second = pin!(all.begin(2, None, late(), |id| gone.borrow_mut().push(id)));
            let second = timeout_at(Instant::now() + PATIENCE, second).await;
            assert_eq!(*gone.borrow(), [1]);
            let second = second.expect("its turn has come").expect("in time");
            // What the one that had to go gives back is no slot any more.
            drop(stuck.take());
            assert!(
                all.begin(3, None, Instant::now() + HASTE / 2, nobody)
                    .await
                    .is_none()
            );
            drop(second);
            assert!(all.begin(4, None, late(), nobody).await.is_some());
        });
    }

    #[test]
    fn who_goes_on_waiting_has_the_timer_when_its_holder_leaves() {
        run(async || {
            let mut crowd = Crowd {
                all: Arc::new(at_most(1)),
                ..Crowd::default()
            };
            crowd.connect(None, STALLED);
            let others: Vec<u64> = (0..50).map(|_| crowd.connect(None, QUICK)).collect();
            tokio::task::yield_now().await;
            // All but one, in the order in which they would be asked.
            for id in others.iter().skip(1).rev() {
                let task = crowd.open.lock().unwrap()[*id as usize].take();
                task.expect("it is open").abort();
                tokio::task::yield_now().await;
            }
            let waited = crowd.waited().await;
            assert!(
                waited.len() == 1 && waited[0] <= PATIENCE + HASTE,
                "{waited:?}"
            );
        });
    }

    #[test]
    fn nobody_waits_beyond_the_deadline_of_the_handshake() {
        run(async || {
            let all = at_most(1);
            let _stuck = all.begin(1, None, late(), nobody).await;
            assert!(
                all.begin(2, None, Instant::now() + PATIENCE / 2, nobody)
                    .await
                    .is_none()
            );
        });
    }

    #[test]
    fn a_limit_that_changes_is_reached_from_both_sides() {
        run(async || {
            let all = at_most(4);
            let begin = |id| all.begin(id, source(1), Instant::now() + PATIENCE / 10, nobody);
            let mut running = Vec::new();
            for id in 0..4 {
                running.extend(begin(id).await);
            }
            all.limit(2);
            assert!(begin(9).await.is_none());
            running.truncate(2);
            assert!(
                begin(9).await.is_none(),
                "there are as many as there may be"
            );
            running.truncate(1);
            running.extend(begin(5).await);
            assert!(begin(9).await.is_none());
            all.limit(3);
            running.extend(begin(6).await);
            assert_eq!(running.len(), 3);
            assert!(begin(9).await.is_none());
        });
    }
}
