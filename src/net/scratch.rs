//! The buffer that every connection of a thread reads into, so that a connection which waits owns
//! none.

use std::cell::RefCell;

/// Twice what is read from a socket at once, and it still fits a core's second-level cache: what
/// comes in TLS records of 16 KiB is gathered here, so that it takes fewer writes.
pub const SCRATCH: usize = 2 * (64 * 1024 - 512);

/// Lends the thread's scratch buffer, of [`SCRATCH`] bytes, to `work`, which must not ask for it
/// again.
pub fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    BUFFER.with_borrow_mut(|scratch| work(scratch.lend()))
}

/// A buffer that begins [`OFFSET`] bytes into a page.
#[derive(Debug)]
struct Scratch {
    memory: Box<[u8]>,
    begin: usize,
}

impl Scratch {
    fn new() -> Self {
        let memory = vec![0; PAGE + SCRATCH].into_boxed_slice();
        let begin = (PAGE + OFFSET - memory.as_ptr().addr() % PAGE) % PAGE;
        Self { memory, begin }
    }

    fn lend(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + SCRATCH]
    }
}

const PAGE: usize = 4096;

/// Where in its page the buffer begins. What leaves through TLS is copied from here to 5 bytes into
/// a block of memory, behind the header of a record, and large blocks are aligned to pages.
/// Processors that copy by microcode (`rep movsb`, which libc uses from some KiB on) may stall at
/// every step on the way to an address that lies a few bytes behind the source, modulo 4096: AMD
/// Zen 4 is up to 30 times slower then. From 64 bytes into a page no such pair meets.
/// `cargo bench --bench micro copy` shows every kind of offset on the processor at hand.
const OFFSET: usize = 64;

thread_local! {
    static BUFFER: RefCell<Scratch> = RefCell::new(Scratch::new());
}

#[cfg(test)]
mod tests {
    use super::{OFFSET, PAGE, SCRATCH, with_scratch};

    #[test]
    fn the_buffer_begins_where_no_copy_stalls() {
        with_scratch(|scratch| {
            assert_eq!(scratch.len(), SCRATCH);
            assert_eq!(scratch.as_ptr().addr() % PAGE, OFFSET);
        });
    }
}
