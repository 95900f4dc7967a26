//! Where connections enter a listener and leave it: counted against its limits, which a reload may
//! change meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::proxy::handshakes::Handshakes;
use crate::proxy::limits::{Evicted, Limit, Limits, Open, Rates, Source, Waiting};

/// What is counted of one listener. It outlives reloads.
#[derive(Debug)]
pub struct Gate {
    open: AtomicU32,
    waiting: Mutex<Waiting>,
    rates: Mutex<Rates>,
    sources: Mutex<Open>,
    /// TLS handshakes that are under way.
    pub(super) handshakes: Handshakes,
    /// What [`Rates`] counts time from.
    start: Instant,
}

impl Default for Gate {
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

impl Gate {
    /// Connections that have not been routed.
    #[must_use]
    pub fn pending(&self) -> usize {
        lock(&self.waiting).len()
    }

    fn judge_rate(&self, limits: &Limits, source: Option<Source>) -> Result<(), Limit> {
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

/// The place of one connection at its listener, given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    gate: Arc<Gate>,
    /// Its slot among those that have not been routed.
    slot: Option<u32>,
    /// Whose connections it is counted among, where those are limited. Boxed, like all that few
    /// listeners have.
    source: Option<Box<Source>>,
}

impl Ticket {
    /// Lets a new connection in, unless there are too many. `source` is nothing where it is not
    /// known yet.
    pub(super) fn new(
        gate: &Arc<Gate>,
        limits: &Limits,
        source: Option<Source>,
    ) -> Result<Self, Limit> {
        gate.judge_rate(limits, source)?;
        let open = gate.open.fetch_add(1, Ordering::Relaxed);
        let mut ticket = Self {
            gate: Arc::clone(gate),
            slot: None,
            source: None,
        };
        match limits.max_connections {
            Some(most) if open >= most => return Err(Limit::MaxConnections(most)),
            _ => ticket.count(limits, source)?,
        }
        Ok(ticket)
    }

    /// Counts the connection among those of its source, if they are limited.
    fn count(&mut self, limits: &Limits, source: Option<Source>) -> Result<(), Limit> {
        let (Some(most), Some(source)) = (limits.connections_per_source, source) else {
            return Ok(());
        };
        lock(&self.gate.sources).enter(source, most)?;
        self.source = Some(Box::new(source));
        Ok(())
    }

    /// The connection holds so many bytes of a hello that is not whole: who has to go for them.
    pub(super) fn hold(&self, bytes: u32, limits: &Limits) -> Vec<Evicted> {
        self.slot.map_or_else(Vec::new, |slot| {
            lock(&self.gate.waiting).hold(slot, bytes, limits)
        })
    }

    /// What counts the handshakes of the listener.
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// From now on the connection waits to be routed: who has to go for it.
    pub(super) fn wait(
        &mut self,
        id: u64,
        limits: &Limits,
        source: Option<Source>,
    ) -> Option<Evicted> {
        let (slot, evicted) = lock(&self.gate.waiting).push(id, source, limits);
        self.slot = Some(slot);
        evicted
    }

    /// Who has to go as well for a connection that somebody has had to go for.
    pub(super) fn excess(&self, limits: &Limits, source: Option<Source>) -> Option<Evicted> {
        lock(&self.gate.waiting).excess(source, limits)
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
        source: Source,
    ) -> Result<Option<Evicted>, Limit> {
        self.gate.judge_rate(limits, Some(source))?;
        if self.source.is_none() {
            self.count(limits, Some(source))?;
        }
        Ok(self
            .slot
            .and_then(|slot| lock(&self.gate.waiting).attach(slot, source, limits)))
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
            .and_then(|slot| lock(&self.gate.waiting).remove(slot));
        lost.map_or(Ok(()), Err)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // It has no say any more.
        let _ = self.routed();
        if let Some(source) = self.source.take() {
            lock(&self.gate.sources).leave(*source);
        }
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
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

    fn client() -> Option<Source> {
        Source::of(ClientAddr::Socket(([192, 0, 2, 1], 1).into()))
    }

    #[test]
    fn at_the_limit_a_new_one_is_refused_until_another_has_left() {
        let gate = Arc::new(Gate::default());
        let limits = Limits {
            max_connections: Some(2),
            ..Limits::default()
        };
        let enter = || Ticket::new(&gate, &limits, None);
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
        let gate = Arc::new(Gate::default());
        let limits = Limits {
            max_pending: 2,
            pending_per_source: Some(1),
            ..Limits::default()
        };
        let mut tickets: Vec<Ticket> = (0..4)
            .map(|_| Ticket::new(&gate, &limits, None).unwrap())
            .collect();
        assert_eq!(tickets[0].wait(0, &limits, client()), None);
        assert_eq!(tickets[1].wait(1, &limits, None), None);
        assert_eq!(
            tickets[1]
                .source(&limits, client().unwrap())
                .unwrap()
                .map(|(id, _)| id),
            Some(0)
        );
        assert_eq!(tickets[2].wait(2, &limits, None), None);
        assert_eq!(tickets[3].wait(3, &limits, None).map(|(id, _)| id), Some(1));
        assert!(tickets[0].routed().is_err(), "it was told to go before");
        assert_eq!(tickets[2].routed(), Ok(()));
        assert_eq!(gate.pending(), 1);
        drop(tickets);
        assert_eq!((gate.pending(), gate.open.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_source_that_is_known_late_is_judged_then() {
        let gate = Arc::new(Gate::default());
        let rate = Rate {
            connections: 1,
            per: Duration::from_secs(3600),
            burst: 1,
        };
        let limits = Limits {
            rate_per_source: Some(rate),
            ..Limits::default()
        };
        let mut late = Ticket::new(&gate, &limits, None).unwrap();
        late.wait(1, &limits, None);
        let source = client().unwrap();
        assert_eq!(late.source(&limits, source), Ok(None));
        assert_eq!(
            late.source(&limits, source),
            Err(Limit::RatePerSource(source))
        );
        assert_eq!(
            Ticket::new(&gate, &limits, client()).unwrap_err(),
            Limit::RatePerSource(source)
        );
        assert!(Ticket::new(&gate, &limits, None).is_ok());
    }
}
