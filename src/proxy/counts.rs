//! Connection counts of a listener, against limits that a reload may change meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::proxy::handshakes::Handshakes;
use crate::proxy::limits::{Evicted, Limit, Limits, Open, PendingQueue, Rates, SourceNetwork};

/// The counts of one listener. They outlive reloads.
#[derive(Debug)]
pub struct ConnectionCounts {
    open: AtomicU32,
    waiting: Mutex<PendingQueue>,
    rates: Mutex<Rates>,
    sources: Mutex<Open>,
    /// TLS handshakes that are under way.
    pub(super) handshakes: Handshakes,
    /// The origin of the time that [`Rates`] counts in.
    start: Instant,
}

impl Default for ConnectionCounts {
    fn default() -> Self {
        Self {
            open: AtomicU32::new(0),
            waiting: Mutex::default(),
            rates: Mutex::default(),
            sources: Mutex::default(),
            handshakes: Handshakes::default(),
            start: Instant::now(),
        }
    }
}

impl ConnectionCounts {
    /// Connections that have not been routed.
    #[must_use]
    pub fn pending(&self) -> usize {
        lock(&self.waiting).len()
    }

    fn judge_rate(&self, limits: &Limits, source: Option<SourceNetwork>) -> Result<(), Limit> {
        let (Some(rate), Some(source)) = (&limits.rate_per_source, source) else {
            return Ok(());
        };
        let allowed = lock(&self.rates).take(source, rate, self.start.elapsed());
        if allowed {
            Ok(())
        } else {
            Err(Limit::RatePerSource(source))
        }
    }
}

/// A connection that its listener has admitted: counted until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    counts: Arc<ConnectionCounts>,
    /// Its slot among those that have not been routed.
    slot: Option<u32>,
    /// The source that it is counted for, where those are limited. Boxed, like all that few
    /// listeners have.
    source: Option<Box<SourceNetwork>>,
}

impl Admitted {
    /// Lets a new connection in, unless there are too many. `source` is nothing where it is not
    /// known yet.
    pub(super) fn new(
        counts: &Arc<ConnectionCounts>,
        limits: &Limits,
        source: Option<SourceNetwork>,
    ) -> Result<Self, Limit> {
        counts.judge_rate(limits, source)?;
        let open = counts.open.fetch_add(1, Ordering::Relaxed);
        let mut admitted = Self {
            counts: Arc::clone(counts),
            slot: None,
            source: None,
        };
        match limits.max_connections {
            Some(most) if open >= most => return Err(Limit::MaxConnections(most)),
            _ => admitted.count(limits, source)?,
        }
        Ok(admitted)
    }

    /// Counts the connection among those of its source, if they are limited.
    fn count(&mut self, limits: &Limits, source: Option<SourceNetwork>) -> Result<(), Limit> {
        let (Some(most), Some(source)) = (limits.connections_per_source, source) else {
            return Ok(());
        };
        lock(&self.counts.sources).enter(source, most)?;
        self.source = Some(Box::new(source));
        Ok(())
    }

    /// The connection holds so many bytes of a hello that is not whole: who has to go for them.
    pub(super) fn hold(&self, bytes: u32, limits: &Limits) -> Vec<Evicted> {
        self.slot.map_or_else(Vec::new, |slot| {
            lock(&self.counts.waiting).hold(slot, bytes, limits)
        })
    }

    /// The counts of the listener, for the handshakes.
    pub(super) fn counts(&self) -> &Arc<ConnectionCounts> {
        &self.counts
    }

    /// From now on the connection waits to be routed: who has to go for it.
    pub(super) fn wait(
        &mut self,
        id: u64,
        limits: &Limits,
        source: Option<SourceNetwork>,
    ) -> Option<Evicted> {
        let (slot, evicted) = lock(&self.counts.waiting).push(id, source, limits);
        self.slot = Some(slot);
        evicted
    }

    /// A further connection to evict, if limits have been lowered, for a connection that has had to
    /// evict one.
    pub(super) fn excess(&self, limits: &Limits, source: Option<SourceNetwork>) -> Option<Evicted> {
        lock(&self.counts.waiting).excess(source, limits)
    }

    /// Says where the connection comes from, if that was not known when it came: who has to go for
    /// it.
    ///
    /// # Errors
    ///
    /// When the source connects too often, or has too many connections.
    pub(super) fn source(
        &mut self,
        limits: &Limits,
        source: SourceNetwork,
    ) -> Result<Option<Evicted>, Limit> {
        self.counts.judge_rate(limits, Some(source))?;
        if self.source.is_none() {
            self.count(limits, Some(source))?;
        }
        Ok(self
            .slot
            .and_then(|slot| lock(&self.counts.waiting).attach(slot, source, limits)))
    }

    /// The connection has been routed, and makes room for others no more.
    ///
    /// # Errors
    ///
    /// When it has just been told to go.
    pub(super) fn routed(&mut self) -> Result<(), Limit> {
        let lost = self
            .slot
            .take()
            .and_then(|slot| lock(&self.counts.waiting).remove(slot));
        lost.map_or(Ok(()), Err)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // It has no say any more.
        let _ = self.routed();
        if let Some(source) = self.source.take() {
            lock(&self.counts.sources).leave(*source);
        }
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Nothing that may panic happens under a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::addr::ClientAddr;
    use crate::proxy::limits::Rate;

    fn client() -> Option<SourceNetwork> {
        SourceNetwork::of(ClientAddr::Socket(([192, 0, 2, 1], 1).into()))
    }

    #[test]
    fn at_the_limit_a_new_one_is_refused_until_another_has_left() {
        let counts = Arc::new(ConnectionCounts::default());
        let limits = Limits {
            max_connections: Some(2),
            ..Limits::default()
        };
        let enter = || Admitted::new(&counts, &limits, None);
        let (first, _second) = (enter().unwrap(), enter().unwrap());
        for _ in 0..3 {
            assert_eq!(enter().unwrap_err(), Limit::MaxConnections(2));
        }
        drop(first);
        let _third = enter().unwrap();
        assert!(enter().is_err());
    }

    #[test]
    fn whatever_becomes_of_a_connection_its_place_is_given_back_once() {
        let counts = Arc::new(ConnectionCounts::default());
        let limits = Limits {
            max_pending: 2,
            pending_per_source: Some(1),
            ..Limits::default()
        };
        let mut admitted: Vec<Admitted> = (0..4)
            .map(|_| Admitted::new(&counts, &limits, None).unwrap())
            .collect();
        assert_eq!(admitted[0].wait(0, &limits, client()), None);
        assert_eq!(admitted[1].wait(1, &limits, None), None);
        assert_eq!(
            admitted[1]
                .source(&limits, client().unwrap())
                .unwrap()
                .map(|(id, _)| id),
            Some(0)
        );
        assert_eq!(admitted[2].wait(2, &limits, None), None);
        assert_eq!(
            admitted[3].wait(3, &limits, None).map(|(id, _)| id),
            Some(1)
        );
        assert!(admitted[0].routed().is_err(), "it was told to go before");
        assert_eq!(admitted[2].routed(), Ok(()));
        assert_eq!(counts.pending(), 1);
        drop(admitted);
        assert_eq!(
            (counts.pending(), counts.open.load(Ordering::Relaxed)),
            (0, 0)
        );
    }

    #[test]
    fn a_source_that_is_known_late_is_judged_then() {
        let counts = Arc::new(ConnectionCounts::default());
        let rate = Rate {
            connections: 1,
            per: Duration::from_secs(3600),
            burst: 1,
        };
        let limits = Limits {
            rate_per_source: Some(rate),
            ..Limits::default()
        };
        let mut late = Admitted::new(&counts, &limits, None).unwrap();
        late.wait(1, &limits, None);
        let source = client().unwrap();
        assert_eq!(late.source(&limits, source), Ok(None));
        assert_eq!(
            late.source(&limits, source),
            Err(Limit::RatePerSource(source))
        );
        assert_eq!(
            Admitted::new(&counts, &limits, client()).unwrap_err(),
            Limit::RatePerSource(source)
        );
        assert!(Admitted::new(&counts, &limits, None).is_ok());
    }
}
