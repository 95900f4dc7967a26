//! What is told of the work: one access line per connection, events, and a few counters.

mod access;
mod log;
mod outcome;
mod record;

use std::sync::atomic::{AtomicU64, Ordering};

pub use access::AccessLog;
pub use log::{Format, Log, Options};
pub use outcome::{Ending, Outcome, Party};
pub use record::{Proxied, Record};

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    silent: AtomicU64,
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

    /// Connections accepted, and those of them that ended without having sent a byte.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.accepted.load(Ordering::Relaxed), self.silent.load(Ordering::Relaxed))
    }
}
