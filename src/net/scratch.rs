//! The buffer that every connection of a thread reads into, so that a connection which waits owns none.

use std::cell::RefCell;

/// Twice what is read from a socket at once, and it still fits a core's second-level cache: what comes in TLS records of
/// 16 KiB is gathered here, so that it takes fewer writes.
pub const SCRATCH: usize = 2 * (64 * 1024 - 512);

/// Lends the thread's scratch buffer, of [`SCRATCH`] bytes, to `work`, which must not ask for it again.
pub fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    BUFFER.with_borrow_mut(|scratch| work(scratch))
}

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}
