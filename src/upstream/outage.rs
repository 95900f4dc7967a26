//! Outages of an upstream: reported when its last server cannot be reached any more, and when one
//! is back.

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::time::Instant;
use tracing::{info, warn};

use crate::upstream::health::ServerHealth;

/// An outage is told no more often than this, in seconds: a server that takes every other
/// connection would fill the log.
const TOLD_EVERY: u32 = 10;

/// The last bit says whether the outage was told and has not ended; the others, in which second it
/// was told, counted from 1.
#[derive(Debug, Default)]
pub(super) struct Outage(AtomicU32);

const OUT: u32 = 1;

impl Outage {
    /// No server was reached.
    pub(super) fn begin(&self, upstream: &str, reason: &impl Display) {
        self.begin_in(second(), upstream, reason);
    }

    /// Whether that is told.
    fn begin_in(&self, second: u32, upstream: &str, reason: &impl Display) -> bool {
        let is_due =
            |state: u32| state & OUT == 0 && (state == 0 || second >= (state >> 1) + TOLD_EVERY);
        let begin = |state| is_due(state).then_some(second << 1 | OUT);
        let begins = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, begin)
            .is_ok();
        if begins {
            warn!(upstream, %reason, "no server of the upstream can be reached");
        }
        begins
    }

    /// A server was reached. Where there was no outage that costs nothing.
    pub(super) fn end(&self, upstream: &str) -> bool {
        let ends = self.0.load(Ordering::Relaxed) & OUT != 0
            && self.0.fetch_and(!OUT, Ordering::Relaxed) & OUT != 0;
        if ends {
            info!(upstream, "a server of the upstream can be reached again");
        }
        ends
    }
}

/// The second of this process, from 1.
fn second() -> u32 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u32::try_from(START.elapsed().as_secs())
        .unwrap_or(u32::MAX >> 2)
        .min(u32::MAX >> 2)
        + 1
}

/// The state that the servers of a named upstream share, for longer than the upstream is there.
#[derive(Debug, Default)]
pub(super) struct ServerGroup {
    pub(super) outage: Outage,
    servers: Mutex<Vec<Arc<ServerHealth>>>,
}

impl ServerGroup {
    /// From now on these are the servers.
    pub(super) fn set(&self, servers: Vec<Arc<ServerHealth>>) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// Whether none of them is known to be well.
    pub(super) fn are_failing(&self) -> bool {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.iter().all(|health| health.is_failing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let outage = Outage::default();
        assert!(!outage.end("u"), "there was none");
        assert!(outage.begin_in(1, "u", &"refused"));
        assert!(!outage.begin_in(1, "u", &"refused") && !outage.begin_in(100, "u", &"refused"));
        assert!(outage.end("u"));
        assert!(!outage.end("u"));
    }

    #[test]
    fn one_that_comes_and_goes_is_told_now_and_then() {
        let outage = Outage::default();
        let told = (1..=100).filter(|second| {
            let told = outage.begin_in(*second, "u", &"refused");
            assert_eq!(outage.end("u"), told);
            told
        });
        assert_eq!(told.count(), 10);
    }
}
