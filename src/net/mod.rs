//! Sockets: a byte stream of any kind behind one type, and what is asked of the kernel to get one.

mod stream;

pub use stream::Stream;
