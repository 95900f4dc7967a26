//! Limits of a listener: connections at a time and from one source, and which of them has to go.
//!
//! Here is the logic alone: no clock, no lock, no task. All of it takes the same time however many
//! connections wait.

mod open;
mod pending;
mod rates;
mod source;

use std::num::NonZeroUsize;
use std::time::Duration;

use thiserror::Error;

pub(super) use open::Open;
pub(super) use pending::{Evicted, PendingQueue};
pub(super) use rates::Rates;
pub use source::SourceNetwork;

use crate::rate::Pace;

/// Limits of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. At this many a new one is refused.
    pub max_connections: Option<u32>,
    /// Connections that have not been routed. At this many the oldest of them gives way to a new
    /// one.
    pub max_pending: u32,
    /// Connections of one source that have not been routed. At this many the oldest of them gives
    /// way to a new one.
    pub pending_per_source: Option<u32>,
    /// New connections of one source. What exceeds it is refused.
    pub rate_per_source: Option<Rate>,
    /// Open connections of one source. At this many a new one of it is refused.
    pub connections_per_source: Option<u32>,
    /// Bytes that connections hold together whose hello is not whole and takes more than a few
    /// kilobytes. At this many the oldest of them gives way.
    pub max_pending_bytes: u32,
    /// TLS handshakes that are under way. At this many a new one waits for its turn, as one of four
    /// times as many at most, or of 1024.
    pub max_handshakes: u32,
}

impl Limits {
    /// Connections that have not been routed, where nothing is said about them. They take some 30
    /// MiB then.
    pub const MAX_PENDING: u32 = 10_000;

    /// The bytes that they may hold of large hellos, where nothing is said about them.
    pub const MAX_PENDING_BYTES: u32 = 64 << 20;

    /// TLS handshakes for each processor, where nothing is said about them. They take some 20 MiB,
    /// and a processor some hundred milliseconds.
    pub const HANDSHAKES_PER_PROCESSOR: u32 = 1024;

    /// TLS handshakes, where nothing is said about them.
    #[must_use]
    pub fn usual_handshakes() -> u32 {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::HANDSHAKES_PER_PROCESSOR.saturating_mul(u32::try_from(processors).unwrap_or(u32::MAX))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_pending: Self::MAX_PENDING,
            pending_per_source: None,
            rate_per_source: None,
            connections_per_source: None,
            max_pending_bytes: Self::MAX_PENDING_BYTES,
            max_handshakes: Self::HANDSHAKES_PER_PROCESSOR,
        }
    }
}

/// How often a source may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Sustained rate: `connections` per `per`.
    pub connections: u32,
    /// See `connections`.
    pub per: Duration,
    /// How many may come back to back.
    pub burst: u32,
}

impl Rate {
    fn pace(&self) -> Pace {
        Pace {
            interval: self.per / self.connections,
            burst: self.burst,
        }
    }
}

/// The limit by which a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Limit {
    /// See [`Limits::max_connections`].
    #[error("max_connections = {0}")]
    MaxConnections(u32),
    /// See [`Limits::max_pending`].
    #[error("max_pending = {0}: the oldest of them gave way")]
    MaxPending(u32),
    /// See [`Limits::pending_per_source`].
    #[error("pending_per_source = {0}: the oldest of {1} gave way")]
    PendingPerSource(u32, SourceNetwork),
    /// See [`Limits::rate_per_source`].
    #[error("rate_per_source: {0} connects too often")]
    RatePerSource(SourceNetwork),
    /// See [`Limits::connections_per_source`].
    #[error("connections_per_source = {0}: {1} has as many")]
    ConnectionsPerSource(u32, SourceNetwork),
    /// See [`Limits::max_pending_bytes`].
    #[error("max_pending_bytes = {0}: the oldest of those that hold any gave way")]
    MaxPendingBytes(u32),
    /// See [`Limits::max_handshakes`]: it waited for its turn until its time was over, or until
    /// others of its source had to wait in its place.
    #[error("max_handshakes = {0}: none of them ended in time")]
    MaxHandshakes(u32),
    /// See [`Limits::max_handshakes`]: it did not get on.
    #[error("max_handshakes = {0}: it took too long, and others waited")]
    SlowHandshake(u32),
}

/// Room for so many is kept when none waits.
pub(super) const KEPT: usize = 1024;

#[cfg(test)]
fn source(ip: &str) -> SourceNetwork {
    use crate::addr::ClientAddr;

    SourceNetwork::of(ClientAddr::Socket(
        (ip.parse::<std::net::IpAddr>().unwrap(), 1).into(),
    ))
    .unwrap()
}
