//! The data plane: from an accepted connection to its access line. It knows routes, not the
//! configuration.

mod accept;
mod admit;
mod connect;
mod connections;
mod counts;
mod error;
mod handshakes;
mod header;
mod hello;
mod limits;
mod read;
mod refuse;
mod session;
mod story;
mod terminate;
mod terms;
mod transfer;

use std::sync::Arc;
use std::time::Duration;

use crate::addr::Sender;
use crate::relay;
use crate::route::Table;
use crate::tls::Acceptor;
use crate::upstream::Upstream;

pub use accept::{Port, accept};
pub use connections::{Connections, Live};
pub use counts::ConnectionCounts;
pub use error::Error;
pub use limits::{Limit, Limits, Rate, SourceNetwork};
pub use terms::RouteTerms;

/// The settings of one listener, for its connections. Immutable: a reload makes a new one.
#[derive(Debug)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// From accept to the whole ClientHello.
    pub hello_timeout: Duration,
    /// From these addresses a connection must begin with a PROXY header, and from no others.
    pub proxies: Box<[Sender]>,
    /// Whether each connection is logged when it ends.
    pub access_log: bool,
    /// How many connections it takes.
    pub limits: Limits,
    /// The counts that the limits are held against.
    pub counts: Arc<ConnectionCounts>,
    /// The routing table.
    pub routes: Arc<Table<Arc<Route>>>,
}

/// A route, as a client meets it.
#[derive(Debug)]
pub struct Route {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The action.
    pub action: Action,
    /// The rest.
    pub settings: Arc<Settings>,
}

/// Timeouts of a route, and the end of its connections. Most routes have the same settings, and
/// share them: a configuration may have a million.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
    /// For each server that is tried.
    pub connect_timeout: Duration,
    /// From accept to the end of the connection, or none.
    pub max_lifetime: Option<Duration>,
    /// The fate of its connections when a reload removes it.
    pub on_remove: OnRemove,
    /// How long the relay waits.
    pub relay: relay::RelayOptions,
}

/// The fate of the open connections of a route that a reload removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnRemove {
    /// They go on.
    Keep,
    /// They have some time to end by themselves, and are closed then.
    Drain,
    /// They are closed.
    Close,
}

/// The action of a route.
#[derive(Debug)]
pub enum Action {
    /// Their bytes go to the upstream as they are.
    Passthrough(Arc<Upstream>),
    /// TLS ends here, and the plaintext goes to the upstream.
    Terminate(Arc<Acceptor>, Arc<Upstream>),
    /// They are refused.
    Reject,
}

impl Action {
    /// The word in the configuration and in the log.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passthrough(_) => "passthrough",
            Self::Terminate(..) => "terminate",
            Self::Reject => "reject",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_takes_as_much_as_a_line_of_the_processors_cache() {
        let counts = 2 * size_of::<usize>();
        assert_eq!(counts + size_of::<Route>(), 64);
    }
}
