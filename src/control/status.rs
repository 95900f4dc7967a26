//! State of a running process, as it is told.

use serde::Serialize;

use crate::telemetry::Counts;
use crate::upstream::{HealthState, ServerSnapshot, Upstream};

/// The state of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version of snigate.
    pub version: &'static str,
    /// Its state.
    pub state: State,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// The file of the configuration.
    pub config: String,
    /// Seconds since what is served was loaded.
    pub loaded_s: u64,
    /// Why the last reload changed nothing, or not everything, in words; nothing while all is
    /// served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How many routes there are.
    pub routes: usize,
    /// The sockets that are listened on.
    pub listeners: Vec<ListenerStatus>,
    /// The upstreams of routes.
    pub upstreams: Vec<UpstreamStatus>,
    /// The connections, in numbers.
    pub connections: ConnectionCountsStatus,
}

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It serves.
    Serving,
    /// It stops when the open connections have ended.
    Draining,
}

/// A socket that is listened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerStatus {
    /// The name of the listener.
    pub name: String,
    /// The address, with the port that the kernel chose where the configuration says 0.
    pub addr: String,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamStatus {
    /// Its name, or the address where it has none.
    pub name: String,
    /// Its servers, in the order of the configuration.
    pub servers: Vec<ServerStatus>,
    /// Connections that wait for capacity.
    pub waiting: usize,
}

/// A server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// Its address.
    pub addr: String,
    /// `healthy`, `probing`, `ejected` or `down`.
    pub health: &'static str,
    /// Its weight for load balancing.
    pub weight: u32,
    /// Whether it is used only where no other server can be.
    pub backup: bool,
    /// The connections that it has, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// How many it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Seconds until an ejected server is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected_for_s: Option<u64>,
}

/// Connections in numbers, those of [`Counts`] since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionCountsStatus {
    /// Open now.
    pub open: usize,
    /// Open now, and not routed yet.
    pub pending: usize,
    /// Accepted.
    pub accepted: u64,
    /// Ended without having sent a byte.
    pub silent: u64,
    /// Taken by a route.
    pub routed: u64,
    /// Ended otherwise before a route took them.
    pub refused: u64,
    /// Those of the refused for which there was a limit.
    pub limited: u64,
}

impl ConnectionCountsStatus {
    /// Of what is open, and what was counted.
    #[must_use]
    pub fn new(open: usize, pending: usize, counts: Counts) -> Self {
        let Counts {
            accepted,
            silent,
            routed,
            refused,
            limited,
        } = counts;
        Self {
            open,
            pending,
            accepted,
            silent,
            routed,
            refused,
            limited,
        }
    }
}

impl UpstreamStatus {
    /// That of an upstream.
    #[must_use]
    pub fn of(upstream: &Upstream) -> Self {
        Self {
            name: upstream.options().name.to_string(),
            servers: upstream.snapshot().iter().map(ServerStatus::of).collect(),
            waiting: upstream.waiting(),
        }
    }
}

impl ServerStatus {
    fn of(server: &ServerSnapshot) -> Self {
        Self {
            addr: server.addr.to_string(),
            health: match server.health {
                HealthState::Healthy => "healthy",
                HealthState::Probing => "probing",
                HealthState::Ejected => "ejected",
                HealthState::Down => "down",
            },
            weight: server.weight,
            backup: server.backup,
            connections: server.connections,
            max_connections: server.max_connections.map(Into::into),
            ejected_for_s: server.ejected_for.map(|time| time.as_secs()),
        }
    }
}
