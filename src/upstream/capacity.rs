//! Capacity of servers, and the queue of connections that wait for some.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::upstream::health::{HealthState, ServerHealth};

/// The length of a queue. Each connection in it costs three kilobytes, and behind a thousand others
/// a connection would wait in vain.
pub(super) const MAX_WAITING: usize = 1024;

/// No limit.
const UNLIMITED: usize = usize::MAX;

/// How many connections a server has, and how many it may have.
#[derive(Debug)]
pub(super) struct Capacity {
    taken: AtomicUsize,
    limit: AtomicUsize,
}

/// The connections that wait for capacity of an upstream's servers, in the order in which they came.
///
/// Capacity that is given back goes to the first of them that can use it, before anything else gets
/// to see it. `waiting` tells whoever gives capacity back that the queue is not empty; it is written
/// before the last look for capacity, and read after giving some back, so that one of the two always
/// sees the other.
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    waiting: AtomicUsize,
    queue: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    clients: VecDeque<Waiter>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    eligible: Vec<Eligible>,
    call: oneshot::Sender<Reservation>,
}

/// A server that a connection in the queue can use.
#[derive(Debug)]
pub(super) struct Eligible {
    /// Its number in the upstream of who waits.
    pub(super) at: usize,
    pub(super) capacity: Arc<Capacity>,
    pub(super) health: Arc<ServerHealth>,
    /// Also while it is not well: there is no other.
    pub(super) in_any_state: bool,
}

/// Capacity for one connection, which may have gone meanwhile. Given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    at: usize,
    /// Nothing once it was taken.
    held: Option<(Arc<Capacity>, Arc<WaitQueue>)>,
}

/// The answer to a connection that asks for capacity.
#[derive(Debug)]
pub(super) enum Enqueued {
    /// There was some.
    Granted(Reservation),
    /// There will be some.
    Queued(QueueEntry),
    /// The queue is full.
    Rejected,
}

/// A place in the queue, given back when dropped.
#[derive(Debug)]
pub(super) struct QueueEntry {
    number: u64,
    wait_queue: Arc<WaitQueue>,
    call: oneshot::Receiver<Reservation>,
}

impl Capacity {
    pub(super) fn new(limit: Option<NonZeroU32>) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            limit: AtomicUsize::new(in_numbers(limit)),
        }
    }

    /// How many connections the server has, those that are just being made included.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken() >= self.limit.load(Ordering::Relaxed)
    }

    /// From now on the server has at most so many. Those that it has stay.
    pub(super) fn set_limit(&self, limit: Option<NonZeroU32>) {
        self.limit.store(in_numbers(limit), Ordering::SeqCst);
    }

    /// Takes capacity for one connection, if any is free.
    pub(super) fn take(&self) -> bool {
        let limit = self.limit.load(Ordering::SeqCst);
        if limit == UNLIMITED {
            self.taken.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        let more = |taken| (taken < limit).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }
}

fn in_numbers(limit: Option<NonZeroU32>) -> usize {
    limit.map_or(UNLIMITED, |limit| limit.get() as usize)
}

impl WaitQueue {
    /// Whether a connection waits. Then no connection takes capacity without asking here.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Asks for capacity of one of these servers.
    pub(super) fn enter(self: &Arc<Self>, eligible: Vec<Eligible>) -> Enqueued {
        let mut queue = self.queue();
        if queue.clients.len() >= MAX_WAITING {
            return Enqueued::Rejected;
        }
        self.waiting
            .store(queue.clients.len() + 1, Ordering::SeqCst);
        let is_mine = |eligible: &&Eligible| {
            eligible.is_offered()
                && !queue
                    .clients
                    .iter()
                    .any(|client| client.wants(&eligible.capacity).is_some())
        };
        if let Some(eligible) = eligible
            .iter()
            .filter(is_mine)
            .find(|eligible| eligible.capacity.take())
        {
            self.waiting.store(queue.clients.len(), Ordering::SeqCst);
            return Enqueued::Granted(Reservation {
                at: eligible.at,
                held: Some((Arc::clone(&eligible.capacity), Arc::clone(self))),
            });
        }
        let (call, called) = oneshot::channel();
        let number = queue.next;
        queue.next += 1;
        queue.clients.push_back(Waiter {
            number,
            eligible,
            call,
        });
        Enqueued::Queued(QueueEntry {
            number,
            wait_queue: Arc::clone(self),
            call: called,
        })
    }

    /// Gives back the capacity of one connection.
    pub(super) fn give_back(self: &Arc<Self>, capacity: &Arc<Capacity>) {
        capacity.taken.fetch_sub(1, Ordering::SeqCst);
        self.offer(capacity);
    }

    /// Gives all free capacity of a server to the connections that wait for some. To be called
    /// whenever there may be any.
    pub(super) fn offer(self: &Arc<Self>, capacity: &Arc<Capacity>) {
        if self.is_empty() {
            return;
        }
        let mut queue = self.queue();
        let mut next = 0;
        let mut place = None;
        while let Some(client) = queue.clients.get(next) {
            let Some(at) = client.wants(capacity) else {
                next += 1;
                continue;
            };
            let mut offered = match place.take() {
                None if !capacity.take() => break,
                None => Reservation {
                    at,
                    held: Some((Arc::clone(capacity), Arc::clone(self))),
                },
                Some(place) => place,
            };
            offered.at = at;
            let Some(client) = queue.clients.remove(next) else {
                break;
            };
            // A connection that goes away leaves the queue first. If it did not, the capacity would
            // be the next one's.
            place = client.call.send(offered).err();
        }
        self.waiting.store(queue.clients.len(), Ordering::SeqCst);
        drop(queue);
        // Giving it back looks at the line again.
        drop(place);
    }

    /// Lets those go who wait for servers of which none is offered any more: they look for another
    /// way. To be called whenever a server has become one that is not.
    pub(super) fn let_go(&self) {
        if self.is_empty() {
            return;
        }
        let mut queue = self.queue();
        queue
            .clients
            .retain(|client| client.eligible.iter().any(Eligible::is_offered));
        self.waiting.store(queue.clients.len(), Ordering::SeqCst);
    }

    /// Nothing that may panic happens while it is held.
    fn queue(&self) -> MutexGuard<'_, Entries> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// By which number it calls this server, if it waits for it.
    fn wants(&self, capacity: &Arc<Capacity>) -> Option<usize> {
        let eligible = self
            .eligible
            .iter()
            .find(|eligible| Arc::ptr_eq(&eligible.capacity, capacity))?;
        eligible.is_offered().then_some(eligible.at)
    }
}

impl Eligible {
    fn is_offered(&self) -> bool {
        self.in_any_state || self.health.state() == HealthState::Healthy
    }
}

impl Reservation {
    /// The number of the server. The caller has its capacity from now on, and gives it back to the
    /// queue.
    pub(super) fn keep(mut self) -> usize {
        self.held = None;
        self.at
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some((capacity, wait_queue)) = self.held.take() {
            wait_queue.give_back(&capacity);
        }
    }
}

impl QueueEntry {
    /// Waits for the call; `None` once none of the servers is offered any more. If the future is
    /// dropped after the call, the capacity goes to the next one.
    pub(super) async fn called(mut self) -> Option<Reservation> {
        (&mut self.call).await.ok()
    }
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        let mut queue = self.wait_queue.queue();
        queue.clients.retain(|client| client.number != self.number);
        self.wait_queue
            .waiting
            .store(queue.clients.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    fn server(limit: u32) -> (Arc<Capacity>, Arc<ServerHealth>) {
        (
            Arc::new(Capacity::new(NonZeroU32::new(limit))),
            Arc::default(),
        )
    }

    fn eligible(at: usize, (capacity, health): &(Arc<Capacity>, Arc<ServerHealth>)) -> Eligible {
        Eligible {
            at,
            capacity: Arc::clone(capacity),
            health: Arc::clone(health),
            in_any_state: false,
        }
    }

    fn later(turn: Enqueued) -> QueueEntry {
        let Enqueued::Queued(ticket) = turn else {
            panic!("{turn:?}")
        };
        ticket
    }

    #[tokio::test]
    async fn a_place_that_becomes_free_goes_to_the_first_who_can_use_it() {
        let wait_queue = Arc::<WaitQueue>::default();
        let (a, b) = (server(1), server(1));
        assert!(a.0.take() && !a.0.take() && b.0.take());
        let for_b = later(wait_queue.enter(vec![eligible(7, &b)]));
        let gone = later(wait_queue.enter(vec![eligible(0, &a), eligible(1, &b)]));
        let any = later(wait_queue.enter(vec![eligible(0, &a), eligible(1, &b)]));
        let last = later(wait_queue.enter(vec![eligible(0, &a)]));
        drop(gone);
        wait_queue.give_back(&a.0);
        let place = any.called().await.unwrap();
        assert_eq!(place.at, 0);
        wait_queue.give_back(&b.0);
        assert_eq!(for_b.called().await.unwrap().keep(), 7);
        drop(place);
        assert_eq!(last.called().await.unwrap().keep(), 0);
        assert!(wait_queue.is_empty());
        assert_eq!((a.0.taken(), b.0.taken()), (1, 1));
    }

    #[tokio::test]
    async fn who_goes_away_after_the_call_loses_nothing_to_nobody() {
        let wait_queue = Arc::<WaitQueue>::default();
        let a = server(1);
        assert!(a.0.take());
        let (first, second) = (
            later(wait_queue.enter(vec![eligible(0, &a)])),
            later(wait_queue.enter(vec![eligible(0, &a)])),
        );
        wait_queue.give_back(&a.0);
        drop(first);
        let place = second.called().await.unwrap();
        drop(place);
        assert_eq!(a.0.taken(), 0);
        assert!(matches!(
            wait_queue.enter(vec![eligible(0, &a)]),
            Enqueued::Granted(_)
        ));
    }

    #[tokio::test]
    async fn nobody_overtakes_who_waits_and_the_line_has_an_end() {
        let wait_queue = Arc::<WaitQueue>::default();
        let (a, b) = (server(1), server(1));
        assert!(a.0.take());
        let waiting = later(wait_queue.enter(vec![eligible(0, &a)]));
        // As if the capacity had been given back and the queue had not been told yet.
        a.0.taken.fetch_sub(1, Ordering::SeqCst);
        let behind = later(wait_queue.enter(vec![eligible(0, &a)]));
        assert!(
            matches!(wait_queue.enter(vec![eligible(0, &a), eligible(1, &b)]), Enqueued::Granted(place) if place.at == 1)
        );
        wait_queue.offer(&a.0);
        assert_eq!(waiting.called().await.unwrap().keep(), 0);
        let full: Vec<_> = (1..MAX_WAITING)
            .map(|_| later(wait_queue.enter(vec![eligible(0, &a)])))
            .collect();
        assert!(matches!(
            wait_queue.enter(vec![eligible(0, &a)]),
            Enqueued::Rejected
        ));
        drop((behind, full));
        assert!(wait_queue.is_empty());
    }

    #[tokio::test]
    async fn a_server_that_is_not_well_is_offered_to_nobody_who_has_a_choice() {
        let wait_queue = Arc::<WaitQueue>::default();
        let a = server(1);
        assert!(a.0.take());
        let health = crate::upstream::options::HealthCheck::of(
            crate::upstream::options::HealthCheckKind::Tcp,
        );
        a.1.checked(false, &health);
        let choosy = later(wait_queue.enter(vec![eligible(0, &a)]));
        let desperate = later(wait_queue.enter(vec![Eligible {
            in_any_state: true,
            ..eligible(0, &a)
        }]));
        wait_queue.give_back(&a.0);
        drop(desperate.called().await.unwrap());
        assert!(!wait_queue.is_empty());
        a.1.checked(true, &health);
        a.1.checked(true, &health);
        wait_queue.offer(&a.0);
        choosy.called().await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_servers_that_go_down_is_told_and_who_has_another_one_waits_on() {
        let wait_queue = Arc::<WaitQueue>::default();
        let (a, b) = (server(1), server(1));
        assert!(a.0.take() && b.0.take());
        let health = crate::upstream::options::HealthCheck::of(
            crate::upstream::options::HealthCheckKind::Tcp,
        );
        let for_a = later(wait_queue.enter(vec![eligible(0, &a)]));
        let any = later(wait_queue.enter(vec![eligible(0, &a), eligible(1, &b)]));
        let desperate = later(wait_queue.enter(vec![Eligible {
            in_any_state: true,
            ..eligible(0, &a)
        }]));
        a.1.checked(false, &health);
        wait_queue.let_go();
        assert!(for_a.called().await.is_none());
        wait_queue.give_back(&a.0);
        assert_eq!(desperate.called().await.unwrap().keep(), 0);
        wait_queue.give_back(&b.0);
        assert_eq!(any.called().await.unwrap().keep(), 1);
        assert!(wait_queue.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_who_come_and_go_leave_no_place_taken_and_nobody_waiting() {
        let wait_queue = Arc::<WaitQueue>::default();
        let a = server(3);
        let (peak, now) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        for number in 0..400_u32 {
            let (wait_queue, a, peak, now) = (
                Arc::clone(&wait_queue),
                a.clone(),
                Arc::clone(&peak),
                Arc::clone(&now),
            );
            tasks.spawn(async move {
                let place = match wait_queue.enter(vec![eligible(0, &a)]) {
                    Enqueued::Granted(place) => place,
                    Enqueued::Queued(ticket) if number % 3 == 0 => {
                        // Goes away at about the time of its call.
                        match tokio::time::timeout(
                            Duration::from_micros(u64::from(number)),
                            ticket.called(),
                        )
                        .await
                        {
                            Ok(place) => place.unwrap(),
                            Err(_) => return,
                        }
                    }
                    Enqueued::Queued(ticket) => ticket.called().await.unwrap(),
                    Enqueued::Rejected => panic!("the line is long enough"),
                };
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                drop(place);
            });
        }
        // A lost wake-up would leave them waiting for ever.
        tokio::time::timeout(Duration::from_secs(30), tasks.join_all())
            .await
            .expect("everybody has had a turn");
        assert_eq!(a.0.taken(), 0);
        assert!(wait_queue.is_empty());
        assert!(peak.load(Ordering::SeqCst) <= 3);
    }
}
