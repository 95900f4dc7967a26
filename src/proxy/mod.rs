//! The data plane: from an accepted connection to its access line. It knows routes, not the
//! configuration.
//!
//! # The order of files
//!
//! Each uses only those that stand before it; `tests/layers.rs` holds that.
//!
//! ```text
//! limits < error < route < terms < handshakes < counts < listener < connections < connection < read < header < hello < admit < refuse < connect < transfer < terminate < story < accept
//! ```

mod accept;
mod admit;
mod connect;
mod connection;
mod connections;
mod counts;
mod error;
mod handshakes;
mod header;
mod hello;
mod limits;
mod listener;
mod read;
mod refuse;
mod route;
mod story;
mod terminate;
mod terms;
mod transfer;

pub use accept::accept;
pub use connections::{Connections, Live};
pub use counts::ConnectionCounts;
pub use error::Error;
pub use limits::{Limit, Limits, Rate, SourceNetwork};
pub use listener::{Listener, Port};
pub use route::{Action, OnRemove, Route, Settings};
pub use terms::RouteTerms;
