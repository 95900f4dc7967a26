//! How many connections a server has, how many it may have, and who waits for one of them to end.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::upstream::standing::{Standing, Use};

/// Who waits costs three kilobytes, and where a thousand wait for one upstream the next one would
/// wait in vain.
pub(super) const MAX_WAITING: usize = 1024;

/// No limit.
const UNLIMITED: usize = usize::MAX;

/// A server's connections.
#[derive(Debug)]
pub(super) struct Places {
    taken: AtomicUsize,
    limit: AtomicUsize,
}

/// Who waits for a place at a server of an upstream, in the order in which they came.
///
/// A place that becomes free goes to the first one who can use it, before anybody else gets to see
/// it. `waiting` is what tells whoever gives a place back that there is somebody; it is written
/// before the last look for a free place, and read after giving one back, so that one of the two
/// always sees the other.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    clients: VecDeque<Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    wishes: Vec<Wish>,
    call: oneshot::Sender<Place>,
}

/// A server that somebody waits for.
#[derive(Debug)]
pub(super) struct Wish {
    /// Its number in the upstream of who waits.
    pub(super) at: usize,
    pub(super) places: Arc<Places>,
    pub(super) standing: Arc<Standing>,
    /// Also while it is not well: there is no other.
    pub(super) in_any_state: bool,
}

/// A place that was given to somebody, who may not be there any more. Given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    at: usize,
    /// Nothing once it was taken.
    held: Option<(Arc<Places>, Arc<Line>)>,
}

/// What somebody gets who asks for a place.
#[derive(Debug)]
pub(super) enum Turn {
    /// One was free.
    Now(Place),
    /// One will be.
    Later(Ticket),
    /// Too many wait already.
    Never,
}

/// A place in the line, given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    line: Arc<Line>,
    call: oneshot::Receiver<Place>,
}

impl Places {
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

    /// Takes a place if one is free.
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

impl Line {
    /// Whether anybody waits. Then nobody who comes takes a place without asking here.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// Asks for a place at one of these servers.
    pub(super) fn enter(self: &Arc<Self>, wishes: Vec<Wish>) -> Turn {
        let mut queue = self.queue();
        if queue.clients.len() >= MAX_WAITING {
            return Turn::Never;
        }
        self.waiting
            .store(queue.clients.len() + 1, Ordering::SeqCst);
        let is_mine = |wish: &&Wish| {
            wish.is_offered()
                && !queue
                    .clients
                    .iter()
                    .any(|client| client.wants(&wish.places).is_some())
        };
        if let Some(wish) = wishes
            .iter()
            .filter(is_mine)
            .find(|wish| wish.places.take())
        {
            self.waiting.store(queue.clients.len(), Ordering::SeqCst);
            return Turn::Now(Place {
                at: wish.at,
                held: Some((Arc::clone(&wish.places), Arc::clone(self))),
            });
        }
        let (call, called) = oneshot::channel();
        let number = queue.next;
        queue.next += 1;
        queue.clients.push_back(Waiting {
            number,
            wishes,
            call,
        });
        Turn::Later(Ticket {
            number,
            line: Arc::clone(self),
            call: called,
        })
    }

    /// Gives a place back.
    pub(super) fn give_back(self: &Arc<Self>, places: &Arc<Places>) {
        places.taken.fetch_sub(1, Ordering::SeqCst);
        self.offer(places);
    }

    /// Gives every free place of a server to those who wait for one. To be called whenever there
    /// may be one.
    pub(super) fn offer(self: &Arc<Self>, places: &Arc<Places>) {
        if self.is_empty() {
            return;
        }
        let mut queue = self.queue();
        let mut next = 0;
        let mut place = None;
        while let Some(client) = queue.clients.get(next) {
            let Some(at) = client.wants(places) else {
                next += 1;
                continue;
            };
            let mut offered = match place.take() {
                None if !places.take() => break,
                None => Place {
                    at,
                    held: Some((Arc::clone(places), Arc::clone(self))),
                },
                Some(place) => place,
            };
            offered.at = at;
            let Some(client) = queue.clients.remove(next) else {
                break;
            };
            // Who goes away leaves the line first. If they did not, the place would be the next
            // one's.
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
            .retain(|client| client.wishes.iter().any(Wish::is_offered));
        self.waiting.store(queue.clients.len(), Ordering::SeqCst);
    }

    /// Nothing that may panic happens while it is held.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// By which number it calls this server, if it waits for it.
    fn wants(&self, places: &Arc<Places>) -> Option<usize> {
        let wish = self
            .wishes
            .iter()
            .find(|wish| Arc::ptr_eq(&wish.places, places))?;
        wish.is_offered().then_some(wish.at)
    }
}

impl Wish {
    fn is_offered(&self) -> bool {
        self.in_any_state || self.standing.judge() == Use::Well
    }
}

impl Place {
    /// The number of the server. Whoever asks has it from now on, and gives it back to the line.
    pub(super) fn keep(mut self) -> usize {
        self.held = None;
        self.at
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((places, line)) = self.held.take() {
            line.give_back(&places);
        }
    }
}

impl Ticket {
    /// Waits for the call; nothing once none of the servers is offered any more. Who is called
    /// after they stopped waiting has not lost the place: it goes to the next one.
    pub(super) async fn called(mut self) -> Option<Place> {
        (&mut self.call).await.ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queue = self.line.queue();
        queue.clients.retain(|client| client.number != self.number);
        self.line
            .waiting
            .store(queue.clients.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    fn server(limit: u32) -> (Arc<Places>, Arc<Standing>) {
        (
            Arc::new(Places::new(NonZeroU32::new(limit))),
            Arc::default(),
        )
    }

    fn wish(at: usize, (places, standing): &(Arc<Places>, Arc<Standing>)) -> Wish {
        Wish {
            at,
            places: Arc::clone(places),
            standing: Arc::clone(standing),
            in_any_state: false,
        }
    }

    fn later(turn: Turn) -> Ticket {
        let Turn::Later(ticket) = turn else {
            panic!("{turn:?}")
        };
        ticket
    }

    #[tokio::test]
    async fn a_place_that_becomes_free_goes_to_the_first_who_can_use_it() {
        let line = Arc::<Line>::default();
        let (a, b) = (server(1), server(1));
        assert!(a.0.take() && !a.0.take() && b.0.take());
        let for_b = later(line.enter(vec![wish(7, &b)]));
        let gone = later(line.enter(vec![wish(0, &a), wish(1, &b)]));
        let any = later(line.enter(vec![wish(0, &a), wish(1, &b)]));
        let last = later(line.enter(vec![wish(0, &a)]));
        drop(gone);
        line.give_back(&a.0);
        let place = any.called().await.unwrap();
        assert_eq!(place.at, 0);
        line.give_back(&b.0);
        assert_eq!(for_b.called().await.unwrap().keep(), 7);
        drop(place);
        assert_eq!(last.called().await.unwrap().keep(), 0);
        assert!(line.is_empty());
        assert_eq!((a.0.taken(), b.0.taken()), (1, 1));
    }

    #[tokio::test]
    async fn who_goes_away_after_the_call_loses_nothing_to_nobody() {
        let line = Arc::<Line>::default();
        let a = server(1);
        assert!(a.0.take());
        let (first, second) = (
            later(line.enter(vec![wish(0, &a)])),
            later(line.enter(vec![wish(0, &a)])),
        );
        line.give_back(&a.0);
        drop(first);
        let place = second.called().await.unwrap();
        drop(place);
        assert_eq!(a.0.taken(), 0);
        assert!(matches!(line.enter(vec![wish(0, &a)]), Turn::Now(_)));
    }

    #[tokio::test]
    async fn nobody_overtakes_who_waits_and_the_line_has_an_end() {
        let line = Arc::<Line>::default();
        let (a, b) = (server(1), server(1));
        assert!(a.0.take());
        let waiting = later(line.enter(vec![wish(0, &a)]));
        // As if the place had been given back and the line had not been told yet.
        a.0.taken.fetch_sub(1, Ordering::SeqCst);
        let behind = later(line.enter(vec![wish(0, &a)]));
        assert!(
            matches!(line.enter(vec![wish(0, &a), wish(1, &b)]), Turn::Now(place) if place.at == 1)
        );
        line.offer(&a.0);
        assert_eq!(waiting.called().await.unwrap().keep(), 0);
        let full: Vec<_> = (1..MAX_WAITING)
            .map(|_| later(line.enter(vec![wish(0, &a)])))
            .collect();
        assert!(matches!(line.enter(vec![wish(0, &a)]), Turn::Never));
        drop((behind, full));
        assert!(line.is_empty());
    }

    #[tokio::test]
    async fn a_server_that_is_not_well_is_offered_to_nobody_who_has_a_choice() {
        let line = Arc::<Line>::default();
        let a = server(1);
        assert!(a.0.take());
        let health =
            crate::upstream::options::Health::of(crate::upstream::options::HealthKind::Tcp);
        a.1.checked(false, &health);
        let choosy = later(line.enter(vec![wish(0, &a)]));
        let desperate = later(line.enter(vec![Wish {
            in_any_state: true,
            ..wish(0, &a)
        }]));
        line.give_back(&a.0);
        drop(desperate.called().await.unwrap());
        assert!(!line.is_empty());
        a.1.checked(true, &health);
        a.1.checked(true, &health);
        line.offer(&a.0);
        choosy.called().await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_servers_that_go_down_is_told_and_who_has_another_one_waits_on() {
        let line = Arc::<Line>::default();
        let (a, b) = (server(1), server(1));
        assert!(a.0.take() && b.0.take());
        let health =
            crate::upstream::options::Health::of(crate::upstream::options::HealthKind::Tcp);
        let for_a = later(line.enter(vec![wish(0, &a)]));
        let any = later(line.enter(vec![wish(0, &a), wish(1, &b)]));
        let desperate = later(line.enter(vec![Wish {
            in_any_state: true,
            ..wish(0, &a)
        }]));
        a.1.checked(false, &health);
        line.let_go();
        assert!(for_a.called().await.is_none());
        line.give_back(&a.0);
        assert_eq!(desperate.called().await.unwrap().keep(), 0);
        line.give_back(&b.0);
        assert_eq!(any.called().await.unwrap().keep(), 1);
        assert!(line.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_who_come_and_go_leave_no_place_taken_and_nobody_waiting() {
        let line = Arc::<Line>::default();
        let a = server(3);
        let (peak, now) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        for number in 0..400_u32 {
            let (line, a, peak, now) = (
                Arc::clone(&line),
                a.clone(),
                Arc::clone(&peak),
                Arc::clone(&now),
            );
            tasks.spawn(async move {
                let place = match line.enter(vec![wish(0, &a)]) {
                    Turn::Now(place) => place,
                    Turn::Later(ticket) if number % 3 == 0 => {
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
                    Turn::Later(ticket) => ticket.called().await.unwrap(),
                    Turn::Never => panic!("the line is long enough"),
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
        assert!(line.is_empty());
        assert!(peak.load(Ordering::SeqCst) <= 3);
    }
}
