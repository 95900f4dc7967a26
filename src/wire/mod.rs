//! Bytes to values and back, without input or output.

mod alert;
mod client_hello;

pub use alert::Alert;
