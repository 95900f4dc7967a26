//! Bytes to values and back, without input or output.

mod alert;
mod client_hello;
mod preamble;
pub mod proxy_header;

pub use alert::{Alert, AlertDescription, FirstAlert};
pub use client_hello::{
    ClientHello, HelloError, HelloParser, Malformed, Numbers, RequestedName, reframe,
};
pub use preamble::Preamble;
