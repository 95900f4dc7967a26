//! The connections that are open: counted, ended together, waited for.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::telemetry::{AccessLog, Counters, Ending};
use crate::tls::{Acceptor, Admission};

/// Two threads that open and close connections rarely want the same shard at the same time.
const SHARDS: usize = 16;

/// Every open connection.
#[derive(Debug)]
pub struct Connections {
    shards: [Mutex<HashMap<u64, Arc<Live>>>; SHARDS],
    open: AtomicUsize,
    ended: Notify,
    closing: AtomicBool,
    terms: ArcSwap<Terms>,
    /// The start of the process in the upper half, so that numbers are not used again after a restart.
    epoch: u64,
    /// Counts since the start.
    pub counters: Counters,
    /// Where their access lines go.
    pub access_log: AccessLog,
}

/// What can be done to an open connection from outside its task.
pub(super) struct Live {
    id: u64,
    /// Where it is kept while it has a place.
    connections: Arc<Connections>,
    abort: OnceLock<AbortHandle>,
    /// The route that let it in, and by what.
    admission: OnceLock<Box<(Arc<str>, Admission)>>,
    /// Boxed: hardly any connection ends so, and each has the room for it.
    cut: OnceLock<Box<Ending>>,
}

/// By route the terms on which clients are in, where they can be taken back.
pub type Terms = HashMap<Arc<str>, Arc<Acceptor>>;

/// A place among the open connections, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) live: Arc<Live>,
}

impl Default for Connections {
    fn default() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            shards: Default::default(),
            open: AtomicUsize::new(0),
            ended: Notify::new(),
            closing: AtomicBool::new(false),
            terms: ArcSwap::default(),
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

    /// Ends every connection, now and from now on, wherever it is. Their sessions record that they were drained.
    pub fn close_all(&self) {
        self.closing.store(true, Ordering::SeqCst);
        for shard in &self.shards {
            for live in lock(shard).values() {
                if let Some(abort) = live.abort.get() {
                    abort.abort();
                }
            }
        }
    }

    /// From now on clients are in on these terms. Call it before the first connection can meet them, and
    /// [`close_withdrawn`](Self::close_withdrawn) afterwards.
    pub fn set_terms(&self, terms: Terms) {
        self.terms.store(Arc::new(terms));
    }

    /// Closes every connection whose client would not be let in on the present terms: the number of them. It takes the
    /// time of one verification for each connection that can be recalled.
    pub fn close_withdrawn(&self) -> usize {
        let terms = self.terms.load_full();
        let admitted = |live: &&Arc<Live>| live.admission.get().is_some();
        let all: Vec<Arc<Live>> = self
            .shards
            .iter()
            .flat_map(|shard| Vec::from_iter(lock(shard).values().filter(admitted).cloned()))
            .collect();
        all.iter().filter(|live| live.judge(&terms)).count()
    }

    /// Closes the connection of this number, if it is still open.
    pub(super) fn cut(&self, id: u64, ending: Ending) {
        let live = lock(self.shard(id)).get(&id).cloned();
        if let Some(live) = live {
            live.end(ending);
        }
    }

    /// Counts a connection that was just accepted: its number.
    pub(super) fn number(&self) -> u64 {
        self.epoch.wrapping_add(self.counters.accept())
    }

    /// Takes a place for a connection that was just accepted.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let id = self.number();
        self.open.fetch_add(1, Ordering::AcqRel);
        let live = Arc::new(Live {
            id,
            connections: Arc::clone(self),
            abort: OnceLock::new(),
            admission: OnceLock::new(),
            cut: OnceLock::new(),
        });
        lock(self.shard(id)).insert(id, Arc::clone(&live));
        Place { live }
    }

    /// Runs a connection in a task of its own. Its place, which `serve` owns, is what waits for it.
    pub(super) fn spawn(&self, id: u64, serve: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "the place waits for the task, see `wait_until_empty`")]
        let task = tokio::spawn(serve);
        // It may have ended, and left, already.
        let live = lock(self.shard(id)).get(&id).cloned();
        if let Some(live) = live {
            let _ = live.abort.set(task.abort_handle());
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
        f.debug_struct("Live").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Live {
    /// Why the connection is being closed before its end, if it is.
    pub(super) fn cut(&self) -> Option<&Ending> {
        self.cut.get().map(AsRef::as_ref)
    }

    /// Closes the connection: false if that has been done before.
    fn end(&self, ending: Ending) -> bool {
        let first = self.cut.set(Box::new(ending)).is_ok();
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
        first
    }

    /// Closes the connection if its client would not be let in on these terms.
    fn judge(&self, terms: &Terms) -> bool {
        let Some((route, admission)) = self.admission.get().map(AsRef::as_ref) else { return false };
        let Some(Err(refusal)) = terms.get(route).map(|acceptor| acceptor.admits(admission)) else { return false };
        self.end(crate::proxy::error::withdrawn(&refusal))
    }
}

impl Place {
    pub(super) fn id(&self) -> u64 {
        self.live.id
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.live.connections
    }

    /// Remembers by what the client came in through `route`. `acceptor` is who let it in: other terms may have begun
    /// to count meanwhile, and false says that by these it is not let in.
    pub(super) fn admit(&self, route: &Arc<str>, acceptor: &Arc<Acceptor>, admission: Admission) -> bool {
        let _ = self.live.admission.set(Box::new((Arc::clone(route), admission)));
        let terms = self.connections().terms.load();
        if terms.get(route).is_some_and(|current| !Arc::ptr_eq(current, acceptor)) {
            self.live.judge(&terms);
        }
        self.live.cut().is_none()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connections = self.connections();
        lock(connections.shard(self.id())).remove(&self.id());
        if connections.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            connections.ended.notify_waiters();
        }
    }
}

/// A panic in another connection's task leaves the map whole: nothing that may panic happens under the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_last_connection_also_when_it_panics_or_is_closed() {
        let connections = Arc::<Connections>::default();
        connections.wait_until_empty().await;
        for fails in [false, true] {
            let place = connections.enter();
            assert_eq!(connections.open(), 1);
            connections.spawn(place.id(), async move {
                let _place = place;
                assert!(!fails, "a connection that fails");
            });
            connections.wait_until_empty().await;
        }
        let place = connections.enter();
        connections.spawn(place.id(), async move {
            let _place = place;
            std::future::pending().await
        });
        connections.close_all();
        connections.wait_until_empty().await;
        assert_eq!(connections.open(), 0);
    }
}
