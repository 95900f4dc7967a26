//! The connections that are open: counted, ended together, waited for.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::addr::ClientAddr;
use crate::proxy::terms::{RouteTerms, TermsVerdict, Tie};
use crate::proxy::{Error, Route};
use crate::relay::{Count, Meter};
use crate::telemetry::{AccessLog, Counters, Ending, Record, Totals};
use crate::tls::{Accepted, Acceptor};

/// Two threads that open and close connections rarely want the same shard at the same time.
const SHARDS: usize = 16;

/// Every open connection.
#[derive(Debug)]
pub struct Connections {
    shards: [Mutex<HashMap<u64, Arc<Live>>>; SHARDS],
    open: AtomicUsize,
    ended: Notify,
    closing: AtomicBool,
    terms: ArcSwap<RouteTerms>,
    /// When the first connection whose route is gone has had its time, if there is one.
    drained_at: Mutex<Option<Instant>>,
    /// It is another time.
    rescheduled: Notify,
    /// The start of the process in the upper half, so that numbers are not used again after a
    /// restart.
    epoch: u64,
    /// Counts since the start.
    pub counters: Counters,
    /// The log of their access lines.
    pub access_log: AccessLog,
}

/// An open connection, as others than its own task have it: its record, what it has moved, and its
/// end.
pub struct Live {
    /// The record of the connection.
    pub record: Record,
    /// The counts of its relay.
    pub meter: Meter,
    /// Bytes to and from the client that the relay has not moved: an alert, and a hello where that
    /// goes to no server.
    pub(super) aside: Aside,
    /// The registry that it is kept in.
    connections: Arc<Connections>,
    abort: OnceLock<AbortHandle>,
    /// Where a reload can end it.
    tie: OnceLock<Box<Tie>>,
    /// Boxed: hardly any connection ends so, and each has the room for it.
    cut: OnceLock<Box<Ending>>,
}

/// Bytes beside those of the relay.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) sent: Count,
    pub(super) received: Count,
}

/// A place among the open connections, given back when dropped.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) live: Arc<Live>,
}

impl Default for Connections {
    fn default() -> Self {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        Self {
            shards: Default::default(),
            open: AtomicUsize::new(0),
            ended: Notify::new(),
            closing: AtomicBool::new(false),
            terms: ArcSwap::default(),
            drained_at: Mutex::default(),
            rescheduled: Notify::new(),
            epoch: seconds << 32,
            counters: Counters::default(),
            access_log: AccessLog::default(),
        }
    }
}

impl Connections {
    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Returns when none is open.
    pub async fn wait_until_empty(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Before looking, so that the last end between the look and the wait is not missed.
            ended.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Ends every connection, now and from now on, wherever it is: the number of those that nothing
    /// else was ending. Their sessions record that they were drained.
    pub fn close_all(&self) -> usize {
        self.closing.store(true, Ordering::SeqCst);
        let mut closed = 0;
        for shard in &self.shards {
            for live in lock(shard).values() {
                closed += usize::from(live.cut().is_none());
                if let Some(abort) = live.abort.get() {
                    abort.abort();
                }
            }
        }
        closed
    }

    /// From now on these terms count. Call it before the first connection can meet them, and
    /// [`close_withdrawn`](Self::close_withdrawn) afterwards.
    pub fn set_terms(&self, terms: Arc<RouteTerms>) {
        self.terms.store(terms);
        // A connection that is tied meanwhile looks at these, or is seen by the look at the
        // connections.
        fence(Ordering::SeqCst);
    }

    /// Closes every connection whose client would not be let in on the present terms, or whose
    /// route is gone: the number of them. It takes the time of one verification for each connection
    /// that can be recalled.
    pub fn close_withdrawn(&self) -> usize {
        let terms = self.terms.load_full();
        self.tied().iter().filter(|live| live.judge(&terms)).count()
    }

    /// Returns when it is time to call [`close_drained`](Self::close_drained). Cancel safe.
    pub async fn wait_for_drained(&self) {
        loop {
            let at = *lock(&self.drained_at);
            tokio::select! {
                () = self.rescheduled.notified() => {}
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    *lock(&self.drained_at) = None;
                    return;
                }
            }
        }
    }

    /// Closes every connection whose route is gone and that has had its time: the number of them.
    pub fn close_drained(&self) -> usize {
        let now = Instant::now();
        let mut closed = 0;
        for live in self.tied() {
            let Some(tie) = live.tie.get() else { continue };
            match *lock(&tie.until) {
                Some(until) if until <= now => closed += usize::from(live.end(tie.removed())),
                Some(until) => self.schedule(until),
                None => {}
            }
        }
        closed
    }

    fn schedule(&self, at: Instant) {
        let mut drained_at = lock(&self.drained_at);
        if drained_at.is_none_or(|before| at < before) {
            *drained_at = Some(at);
            self.rescheduled.notify_one();
        }
    }

    /// Those that a reload can end.
    fn tied(&self) -> Vec<Arc<Live>> {
        self.find(|live| live.tie.get().is_some())
    }

    fn find(&self, is_wanted: impl Fn(&Live) -> bool) -> Vec<Arc<Live>> {
        let is_wanted = |live: &&Arc<Live>| is_wanted(live);
        self.shards
            .iter()
            .flat_map(|shard| Vec::from_iter(lock(shard).values().filter(is_wanted).cloned()))
            .collect()
    }

    /// Every connection that is open, in no order. What is returned keeps the record of each, not
    /// the connection.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Live>> {
        self.find(|_| true)
    }

    /// The connection of this number, if it is open.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<Live>> {
        lock(self.shard(id)).get(&id).cloned()
    }

    /// Closes every connection that an operator has chosen: the number of those that nothing else
    /// was closing.
    pub fn close(&self, is_chosen: impl Fn(&Live) -> bool) -> usize {
        let ended = |live: &&Arc<Live>| live.end(Error::Killed.ending());
        // A shard is not held while its connections are looked at, so that none waits to be
        // accepted.
        self.list()
            .iter()
            .filter(|live| is_chosen(live))
            .filter(ended)
            .count()
    }

    /// The one door for a connection that has ended: counts it, and writes its access line.
    pub(super) fn record(
        &self,
        record: &Record,
        totals: &Totals,
        ending: &Ending,
        access_log: bool,
    ) {
        if record.route.get().is_none() {
            self.counters.refused(ending.outcome);
        }
        if access_log {
            self.access_log.write(record, totals, ending);
        }
    }

    /// Closes the connection of this number, if it is still open.
    pub(super) fn cut(&self, id: u64, ending: Ending) {
        if let Some(live) = self.get(id) {
            live.end(ending);
        }
    }

    /// Counts a connection that was just accepted: its number.
    pub(super) fn number(&self) -> u64 {
        self.epoch.wrapping_add(self.counters.accept())
    }

    /// Takes a place for a connection that was just accepted.
    pub(super) fn enter(self: &Arc<Self>, listener: &Arc<str>, peer: ClientAddr) -> Registration {
        let id = self.number();
        self.open.fetch_add(1, Ordering::AcqRel);
        let live = Arc::new(Live {
            record: Record::new(id, Arc::clone(listener), peer),
            meter: Meter::default(),
            aside: Aside::default(),
            connections: Arc::clone(self),
            abort: OnceLock::new(),
            tie: OnceLock::new(),
            cut: OnceLock::new(),
        });
        lock(self.shard(id)).insert(id, Arc::clone(&live));
        Registration { live }
    }

    /// Runs a connection in a task of its own. Its place, which `serve` owns, is what waits for it.
    pub(super) fn spawn(&self, id: u64, serve: impl Future<Output = ()> + Send + 'static) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the place waits for the task, see `wait_until_empty`"
        )]
        let task = tokio::spawn(serve);
        // It may have ended, and left, already.
        if let Some(live) = self.get(id) {
            let _ = live.abort.set(task.abort_handle());
            // The side that ends it sets its mark first and then looks for this handle: one of both
            // sees the other's.
            fence(Ordering::SeqCst);
            if self.closing.load(Ordering::SeqCst) || live.cut().is_some() {
                task.abort();
            }
        }
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Arc<Live>>> {
        &self.shards[(id % SHARDS as u64) as usize]
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what it is kept in, which shows it in turn.
        f.debug_struct("Live")
            .field("id", &self.record.id)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// Bytes to the client so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.aside.sent.get() + self.meter.read().sent
    }

    /// Bytes from the client so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.aside.received.get() + self.meter.read().received
    }

    /// Why the connection is being closed before its end, if it is.
    pub(super) fn cut(&self) -> Option<&Ending> {
        self.cut.get().map(AsRef::as_ref)
    }

    /// Closes the connection: false if that has been done before.
    fn end(&self, ending: Ending) -> bool {
        let first = self.cut.set(Box::new(ending)).is_ok();
        fence(Ordering::SeqCst);
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
        first
    }

    /// Does to the connection what these terms ask for: whether that is to close it.
    fn judge(&self, terms: &RouteTerms) -> bool {
        let Some(tie) = self.tie.get() else {
            return false;
        };
        match tie.judge(terms) {
            TermsVerdict::Ends(ending) => return self.end(ending),
            TermsVerdict::Stays => *lock(&tie.until) = None,
            TermsVerdict::Drains => {
                let until = *lock(&tie.until).get_or_insert_with(|| Instant::now() + terms.drain);
                self.connections.schedule(until);
            }
        }
        false
    }
}

impl Registration {
    pub(super) fn id(&self) -> u64 {
        self.live.record.id
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.live.connections
    }

    /// Remembers that the connection is of this route, if it matters: other terms may have begun to
    /// count meanwhile, and false says that by these there is no such route.
    pub(super) fn tie(&self, route: &Arc<Route>) -> bool {
        if route.is_tied() {
            let _ = self.live.tie.set(Box::new(Tie::new(route)));
            fence(Ordering::SeqCst);
            self.live.judge(&self.connections().terms.load());
        }
        self.live.cut().is_none()
    }

    /// Remembers by what the client came in, as far as a reload may ask for it. `acceptor` is who
    /// let it in: other terms may have begun to count since the handshake began, and false says
    /// that by these it is not let in.
    pub(super) fn admit(
        &self,
        route: &Arc<Route>,
        acceptor: &Arc<Acceptor>,
        accepted: &Accepted,
    ) -> bool {
        // The acceptor that has taken its place judges the client below, and may ask for what it
        // came in by later.
        let terms = self.connections().terms.load();
        let current = terms.acceptor(&route.name).unwrap_or(acceptor);
        if let Some(admission) = current.remembers(accepted) {
            let _ = self
                .live
                .tie
                .get_or_init(|| Box::new(Tie::new(route)))
                .admission
                .set(admission);
        }
        fence(Ordering::SeqCst);
        let terms = self.connections().terms.load();
        if let Some(refusal) = terms.refuse(&route.name, acceptor, accepted) {
            self.live.end(Error::Withdrawn(Box::new(refusal)).ending());
        }
        self.live.cut().is_none()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let connections = self.connections();
        lock(connections.shard(self.id())).remove(&self.id());
        if connections.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            connections.ended.notify_waiters();
        }
    }
}

/// A panic in another connection's task leaves the map whole: nothing that may panic happens under
/// the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Outcome, Party};

    #[tokio::test]
    async fn waiting_ends_with_the_last_connection_also_when_it_panics_or_is_closed() {
        let connections = Arc::<Connections>::default();
        connections.wait_until_empty().await;
        for fails in [false, true] {
            let place = connections.enter(&"edge".into(), ClientAddr::Unix);
            assert_eq!(connections.open(), 1);
            connections.spawn(place.id(), async move {
                let _place = place;
                assert!(!fails, "a connection that fails");
            });
            connections.wait_until_empty().await;
        }
        let place = connections.enter(&"edge".into(), ClientAddr::Unix);
        connections.spawn(place.id(), async move {
            let _place = place;
            std::future::pending().await
        });
        assert_eq!(connections.close_all(), 1);
        connections.wait_until_empty().await;
        assert_eq!(connections.open(), 0);
    }

    #[test]
    fn a_connection_that_something_else_ends_is_not_counted_as_closed_at_the_stop() {
        let connections = Arc::<Connections>::default();
        let [removed, _kept] = [
            connections.enter(&"edge".into(), ClientAddr::Unix),
            connections.enter(&"edge".into(), ClientAddr::Unix),
        ];
        connections.cut(
            removed.id(),
            Ending::new(Outcome::RouteRemoved, Party::Proxy),
        );
        assert_eq!(connections.close_all(), 1);
    }
}
