//! Telemetry: one access line per connection, events, and a few counters.

mod access;
mod log;
mod outcome;
mod record;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};

pub use access::AccessLog;
pub use log::{Format, Log, LogOptions};
pub use outcome::{Ending, Outcome, Party};
pub use record::{Elapsed, Established, FailedServers, Hello, Matched, Proxied, Record, Totals};

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    silent: AtomicU64,
    routed: AtomicU64,
    refused: AtomicU64,
    limited: AtomicU64,
}

/// The counts of [`Counters`]. When no connection is open, `accepted` is the sum of `silent`,
/// `routed` and `refused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Those of them that ended without having sent a byte.
    pub silent: u64,
    /// Those that a route took.
    pub routed: u64,
    /// Those that ended otherwise before a route took them.
    pub refused: u64,
    /// Those of the refused for which there was a limit.
    pub limited: u64,
}

impl Counters {
    /// One more connection was accepted; returns its number, from 1.
    pub fn accept(&self) -> u64 {
        self.accepted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// One more connection ended without having sent a byte. It has no access line.
    pub fn silent(&self) {
        self.silent.fetch_add(1, Ordering::Relaxed);
    }

    /// A route has taken one more connection.
    pub fn routed(&self) {
        self.routed.fetch_add(1, Ordering::Relaxed);
    }

    /// One more connection ended before a route took it.
    pub fn refused(&self, outcome: Outcome) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Limit {
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn read(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            accepted: read(&self.accepted),
            silent: read(&self.silent),
            routed: read(&self.routed),
            refused: read(&self.refused),
            limited: read(&self.limited),
        }
    }
}
