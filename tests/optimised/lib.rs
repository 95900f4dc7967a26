//! What reads and routes a hello, compiled as for a release while all else is compiled as for
//! tests: instructions that are counted in an unoptimised build say nothing of the program.
//!
//! These are the program's own files. `Cargo.toml` of the program says how this package is
//! compiled.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "not all of what a file has is used here"
)]

extern crate self as snigate;

use src::{addr, name, route, wire};

#[path = "../../src"]
mod src {
    pub mod addr;
    pub mod name;
    pub mod route;
    pub mod wire;
}
#[path = "../../benches/inputs/worst.rs"]
mod worst;

#[path = "../../src/tls"]
mod tls {
    pub use signatures::Signatures;

    mod provider;
    mod signatures;
}

/// What a hello can be full of. The first is nothing that means anything.
pub const KINDS: &[&str] = &worst::KINDS;

/// A hello, and a table that routes it by every property it has.
pub struct Judged(worst::Worst, route::Table<u32>);

impl Judged {
    /// The hello of a kind that has about `size` bytes on the wire.
    #[must_use]
    pub fn new(kind: &str, size: usize) -> Self {
        Self(worst::worst_hello(kind, size), worst::table_by_protocol())
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// All that is done for it before a session begins.
    pub fn judge(&self) {
        worst::judge(&self.0, &self.1);
    }
}
