//! Bytes to values and back, without input or output.

mod alert;
mod client_hello;
pub mod proxy_header;

pub use alert::Alert;
pub use client_hello::{ClientHello, HelloError, HelloParser, Malformed, RequestedName, reframe};
