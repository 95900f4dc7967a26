//! Connection in its own task: what is done to its record, and its ending, written exactly once.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::addr::ClientAddr;
use crate::proxy::connections::Registration;
use crate::proxy::counts::Admitted;
use crate::proxy::limits::Evicted;
use crate::proxy::{
    ConnectionCounts, Connections, Error, Limit, Limits, Listener, Route, SourceNetwork,
};
use crate::telemetry::{Ending, Matched, Outcome, Party, Record, Totals};
use crate::tls::Signatures;

/// A connection from accept to its access line, which is written when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    /// Nothing until it has ended. One that is dropped before that was closed from outside,
    /// or panicked.
    ending: Option<Ending>,
    /// From accept to the end.
    duration: Option<Duration>,
    /// The signatures that the client can verify: they decide between certificates. Empty where TLS
    /// does not end here.
    pub(super) signatures: Signatures,
    access_log: bool,
    silent: bool,
    /// Whether the connection has to begin with a PROXY header.
    pub(super) is_proxy: bool,
    admitted: Admitted,
    /// Last: a task that waits for the last connection finds nothing left of it.
    pub(super) place: Registration,
}

impl Connection {
    pub(super) fn begin(
        connections: &Arc<Connections>,
        listener: &Listener,
        peer: ClientAddr,
        admitted: Admitted,
    ) -> Self {
        let place = connections.enter(&listener.name, peer);
        Self {
            duration: None,
            ending: None,
            signatures: Signatures::default(),
            access_log: listener.access_log,
            silent: false,
            is_proxy: false,
            admitted,
            place,
        }
    }

    /// The record of the connection so far.
    pub(super) fn record(&self) -> &Record {
        &self.place.live.record
    }

    pub(super) fn id(&self) -> u64 {
        self.place.id()
    }

    /// The connection waits to be routed, and another one may have to go for it.
    pub(super) fn wait(&mut self, limits: &Limits, source: Option<SourceNetwork>) {
        let evicted = self.admitted.wait(self.place.id(), limits, source);
        self.evict(evicted, limits, source);
    }

    /// Closes the connection that has to go for this one, and perhaps another one.
    fn evict(&self, evicted: Option<Evicted>, limits: &Limits, source: Option<SourceNetwork>) {
        let Some(evicted) = evicted else { return };
        for (id, limit) in [Some(evicted), self.admitted.excess(limits, source)]
            .into_iter()
            .flatten()
        {
            self.place
                .connections()
                .cut(id, Error::Limit(limit).ending());
        }
    }

    /// The connection holds so many bytes of a hello that is not whole, and others may have to go
    /// for them.
    pub(super) fn hold(&self, bytes: usize, limits: &Limits) {
        for (id, limit) in self
            .admitted
            .hold(u32::try_from(bytes).unwrap_or(u32::MAX), limits)
        {
            self.place
                .connections()
                .cut(id, Error::Limit(limit).ending());
        }
    }

    /// The counts of the listener, for the handshakes.
    pub(super) fn counts(&self) -> &Arc<ConnectionCounts> {
        self.admitted.counts()
    }

    /// A header has told whose the connection is: it counts as that client's from now on, and
    /// another one may have to go.
    ///
    /// # Errors
    ///
    /// When that client connects too often, or has too many connections.
    pub(super) fn speaks_for(&mut self, limits: &Limits) -> Result<(), Limit> {
        let Some(source) = SourceNetwork::of(self.record().client()) else {
            return Ok(());
        };
        let evicted = self.admitted.source(limits, source)?;
        self.evict(evicted, limits, Some(source));
        Ok(())
    }

    /// A route takes the connection.
    ///
    /// # Errors
    ///
    /// When the connection has just been told to go.
    pub(super) fn matched(&mut self, route: &Arc<Route>) -> Result<(), Limit> {
        self.admitted.routed()?;
        self.place.connections().counters.routed();
        let (route, action) = (Arc::clone(&route.name), route.action.word());
        let _ = self.record().route.set(Matched { route, action });
        Ok(())
    }

    /// How the connection ended. What happens afterwards (an alert is delivered) does not change
    /// it.
    pub(super) fn end(&mut self, ending: Ending) {
        self.duration = Some(self.record().accepted.elapsed());
        self.ending = Some(ending);
    }

    /// The client ended without having sent a byte: counted, not logged.
    pub(super) fn end_silently(&mut self) {
        self.silent = true;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let connections = self.place.connections();
        if self.silent {
            connections.counters.silent();
            return;
        }
        let ending = self.ending.take();
        let unfinished = || {
            if std::thread::panicking() {
                return Ending::new(Outcome::InternalError, Party::Proxy);
            }
            self.place
                .live
                .cut()
                .cloned()
                .unwrap_or(Ending::new(Outcome::Drained, Party::Proxy))
        };
        let mut ending = ending.unwrap_or_else(unfinished);
        let moved = self.place.live.meter.read();
        if let (None, Some(alert)) = (&ending.detail, moved.alert) {
            ending.detail = Some(format!("the server answered alert {alert}").into());
        }
        let record = self.record();
        if ending.outcome == Outcome::InternalError {
            warn!(
                id = format_args!("{:016x}", record.id),
                "a connection met a fault in snigate; please report it"
            );
        }
        let totals = Totals {
            sent: self.place.live.sent(),
            received: self.place.live.received(),
            truncated: moved.client_truncated || moved.server_truncated,
            duration: self.duration.unwrap_or_else(|| record.accepted.elapsed()),
        };
        connections.record(record, &totals, &ending, self.access_log);
    }
}
