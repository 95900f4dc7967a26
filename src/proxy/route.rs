//! Routes, as connections meet them.

use std::sync::Arc;
use std::time::Duration;

use crate::relay;
use crate::tls::Acceptor;
use crate::upstream::Upstream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to a client that was routed.
#[derive(Debug)]
pub struct Route {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What it does.
    pub action: Action,
    /// The rest.
    pub settings: Arc<Settings>,
}

/// What routes wait for and for how long, and when they end. Most routes have the same settings,
/// and share them: a configuration may have a million.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
    /// For each server that is tried.
    pub connect_timeout: Duration,
    /// From accept to the end of the connection, or none.
    pub max_lifetime: Option<Duration>,
    /// What becomes of its connections when a reload removes it.
    pub on_remove: OnRemove,
    /// How long the relay waits.
    pub relay: relay::RelayOptions,
}

/// The fate of the open connections of a route that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRemove {
    /// They go on.
    Keep,
    /// They have the time of `timeouts.drain` to end by themselves, and are closed then.
    Drain,
    /// They are closed at once.
    Close,
}

/// What a route does with its clients.
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
