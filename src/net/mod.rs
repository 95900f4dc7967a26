//! Sockets: a byte stream of any kind behind one type, and what is asked of the kernel to get one.

mod close;
mod stream;

pub use close::{LINGER, close_in_order};
pub use stream::Stream;
