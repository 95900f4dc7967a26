//! Sockets: a byte stream of any kind behind one type, and what is asked of the kernel to get one.

mod connect;
mod listen;
mod stream;

pub use connect::{connect, deadline_in};
pub use listen::{AcceptFailure, listen, raise_open_files};
pub use stream::Stream;
