//! What the tests are made with: a running proxy, servers behind it, and certificates.
//!
//! Nothing here sleeps in place of an event. Every wait has a limit, past which the test fails and
//! says what was missing.

pub(crate) mod backend;
pub(crate) mod dns;
pub(crate) mod hello;
pub(crate) mod left_out;
pub(crate) mod openssl;
pub(crate) mod proxy;
pub(crate) mod socket;
pub(crate) mod tls;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longer than anything takes on a busy machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the threads of a test that it is over, also when it failed.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
