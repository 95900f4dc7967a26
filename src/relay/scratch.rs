//! The buffer that every connection of a thread reads into, so that a connection which waits owns none.

use std::cell::RefCell;

/// Lends the thread's scratch buffer to `work`, which must not ask for it again.
pub fn with<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}

/// One read that fills it makes four TLS records of the largest size, and it still fits a core's second-level cache.
pub(super) const SIZE: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}
