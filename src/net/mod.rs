//! Sockets: a byte stream of any kind behind one type, and what is asked of the kernel to get one.

mod close;
mod connect;
mod listen;
mod liveness;
mod scratch;
mod stream;

pub use close::{LINGER, close_in_order};
pub use connect::connect;
pub use listen::{AcceptFailure, DEFERRED, has_unready, listen, raise_open_files, stop_deferring};
pub use liveness::Liveness;
pub use scratch::{SCRATCH, with_scratch};
pub use stream::Stream;
