//! Options of an upstream.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::UpstreamAddr;
use crate::tls::Connector;
use crate::upstream::header::ProxyProtocol;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of an upstream. Two upstreams with equal options are the same upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamOptions {
    /// The name that the log uses.
    pub name: Arc<str>,
    /// At least one server, and each address once.
    pub servers: Vec<ServerOptions>,
    /// The load balancing: which server a connection tries first.
    pub balance: Balance,
    /// The TLS client for sessions with the servers, if they speak TLS. Its contents count, so that
    /// an upstream whose trust or certificate was replaced is another one.
    pub tls: Option<Arc<Connector>>,
    /// When a server that fails is left out for a while. Boxed, like the next one: of 100,000
    /// upstreams hardly any has it.
    pub ejection: Option<Box<Ejection>>,
    /// How servers are asked whether they are there, if they are.
    pub health: Option<Box<HealthCheck>>,
    /// The header that servers are sent before anything else.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whether servers see the client's address as that which the connection comes from.
    pub transparent: bool,
}

impl UpstreamOptions {
    /// An upstream whose servers are used in the order of the list, without anything that has to be
    /// asked for.
    #[must_use]
    pub fn new(
        name: impl Into<Arc<str>>,
        servers: impl IntoIterator<Item: Into<ServerOptions>>,
    ) -> Self {
        let servers: Vec<ServerOptions> = servers.into_iter().map(Into::into).collect();
        let ejection =
            Some(Ejection::default()).filter(|ejection| ejection.at_once(servers.len()) > 0);
        Self {
            name: name.into(),
            servers,
            balance: Balance::First,
            tls: None,
            ejection: ejection.map(Box::new),
            health: None,
            proxy_protocol: None,
            transparent: false,
        }
    }

    /// Whether servers are told nothing of their clients.
    #[must_use]
    pub fn hides_clients(&self) -> bool {
        self.proxy_protocol.is_none() && !self.transparent
    }

    /// Whether it is nothing but addresses, which the name then spells out.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.name.contains(':')
    }
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerOptions {
    /// The address on which it listens.
    pub addr: UpstreamAddr,
    /// Its share of the connections, beside those of the others. With 0 it takes no new ones.
    pub weight: u32,
    /// How many connections it has at a time. Default: any number.
    pub max_connections: Option<NonZeroU32>,
    /// Whether it is used only when no other can be.
    pub backup: bool,
}

impl From<UpstreamAddr> for ServerOptions {
    fn from(addr: UpstreamAddr) -> Self {
        Self {
            addr,
            weight: 1,
            max_connections: None,
            backup: false,
        }
    }
}

/// Load balancing: which server a connection tries first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each in turn, as often as its weight says.
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// Of two at random, the one with fewer connections for its weight.
    Random,
    /// Sticky by client address: for each IP address the same one, as often as its weight says. A
    /// client without one gets each in turn.
    SourceHash,
    /// Always the first.
    First,
}

/// When a server that fails is left out for a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ejection {
    /// How many attempts in a row must fail.
    pub failures: u32,
    /// For how long it is left out the first time. Each time without a success in between doubles
    /// it.
    pub time: Duration,
    /// The longest that it is left out.
    pub max_time: Duration,
    /// How much of the servers, in percent and rounded down, may be left out at the same time.
    pub max_percent: u8,
}

impl Default for Ejection {
    /// One failure may be chance, and even two: a server that is restarted refuses for a moment.
    /// Three in a row, with no success between them, are none, and have cost three clients a second
    /// attempt. It comes back after a second, since it takes one connection to see whether it is
    /// well, and is asked more and more rarely if it is not.
    fn default() -> Self {
        Self {
            failures: 3,
            time: Duration::from_secs(1),
            max_time: Duration::from_secs(60),
            max_percent: 50,
        }
    }
}

impl Ejection {
    /// For how long a server is ejected after so many times before it, without a success in
    /// between.
    pub(super) fn nth_time(&self, before: u32) -> Duration {
        self.time
            .saturating_mul(2_u32.saturating_pow(before))
            .min(self.max_time)
    }

    /// How many of so many servers may be left out at the same time: of one, none.
    #[must_use]
    pub fn at_once(&self, servers: usize) -> usize {
        servers.saturating_mul(usize::from(self.max_percent)) / 100
    }
}

/// How servers are asked whether they are there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// The kind of probe.
    pub kind: HealthCheckKind,
    /// From the end of one check to the next, give or take a tenth.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// How many checks in a row must succeed before a server that is down is up.
    pub rise: u32,
    /// How many must fail before one that is up is down.
    pub fall: u32,
}

impl HealthCheck {
    /// Every five seconds; three that fail and two that succeed, so that one which is lost changes
    /// nothing.
    #[must_use]
    pub fn of(kind: HealthCheckKind) -> Self {
        Self {
            kind,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
        }
    }
}

/// The kind of probe that a check makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheckKind {
    /// To accept a connection.
    Tcp,
    /// A handshake as `tls` of the upstream says, certificates and all.
    Tls,
}
