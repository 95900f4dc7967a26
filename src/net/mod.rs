//! Sockets: a byte stream of any kind behind one type, what is asked of the kernel to get one, and of DNS before that.

mod close;
mod connect;
mod eyeballs;
mod listen;
pub mod resolve;
mod scratch;
mod stream;

pub use close::{LINGER, close_in_order};
pub use connect::connect;
pub use listen::{AcceptFailure, DEFERRED, has_unready, listen, raise_open_files, stop_deferring};
pub use resolve::Resolver;
pub use scratch::{SCRATCH, with_scratch};
pub use stream::Stream;
