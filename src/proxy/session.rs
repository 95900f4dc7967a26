//! One connection's record, written exactly once however the connection ends.

use std::sync::Arc;

use tracing::warn;

use crate::addr::ClientAddr;
use crate::proxy::connections::Place;
use crate::proxy::{Connections, Listener, Route};
use crate::relay::Meter;
use crate::telemetry::{Ending, Outcome, Party, Record};
use crate::tls::Signatures;

/// A connection from accept to its access line, which is written when this is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) record: Record,
    /// What the relay moves.
    pub(super) meter: Meter,
    /// Nothing until it has ended. A session that is dropped before that was closed from outside, or panicked.
    ending: Option<Ending>,
    /// What the client can verify: it decides between certificates.
    pub(super) signatures: Signatures,
    access_log: bool,
    silent: bool,
    pub(super) place: Place,
}

impl Session {
    pub(super) fn begin(connections: &Arc<Connections>, listener: &Listener, client: ClientAddr) -> Self {
        let place = connections.enter();
        Self {
            record: Record::new(place.id(), Arc::clone(&listener.name), client),
            meter: Meter::default(),
            ending: None,
            signatures: Signatures::default(),
            access_log: listener.access_log,
            silent: false,
            place,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.place.id()
    }

    pub(super) fn matched(&mut self, route: &Route) {
        self.record.route = Some((Arc::clone(&route.name), route.action.word()));
    }

    /// How the connection ended. What happens afterwards (an alert is delivered) does not change it.
    pub(super) fn end(&mut self, ending: Ending) {
        self.record.duration = Some(self.record.accepted.elapsed());
        self.ending = Some(ending);
    }

    /// The client ended without having sent a byte: counted, not logged.
    pub(super) fn end_silently(&mut self) {
        self.silent = true;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.silent {
            self.place.connections.counters.silent();
            return;
        }
        let ending = self.ending.take();
        let unfinished = || {
            if std::thread::panicking() {
                return Ending::new(Outcome::InternalError, Party::Proxy);
            }
            self.place.live.withdrawn().cloned().unwrap_or(Ending::new(Outcome::Drained, Party::Proxy))
        };
        let ending = ending.unwrap_or_else(unfinished);
        self.record.sent += self.meter.sent;
        self.record.received += self.meter.received;
        self.record.truncated = self.meter.client_truncated || self.meter.server_truncated;
        if ending.outcome == Outcome::InternalError {
            warn!(
                id = format_args!("{:016x}", self.record.id),
                "a connection met a fault in snigate; please report it"
            );
        }
        if self.access_log {
            self.place.connections.access_log.write(&self.record, &ending);
        }
    }
}
