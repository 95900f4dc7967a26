//! The configuration file as it is written: every key, still unchecked.
//!
//! Values that a diagnostic may have to point at are [`Spanned`]: the value and where it stands.

mod bind;
mod client_auth;
mod limits;
mod listeners;
mod resolver;
mod routes;
mod servers;
mod settings;
mod tls;
mod upstreams;
mod value;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bind::{Bind, BindTable, Binds};
pub use client_auth::{ClientAuth, ClientAuthMode, ClientRules, Crl, Verdict};
pub use limits::{ListenerTimeouts, RatePerSource};
pub use listeners::{AcceptProxy, Listener};
pub use resolver::{Resolver, ResolverMode, ResolverTable};
pub use routes::{Action, Route};
pub use servers::{
    Ejection, EjectionTable, Health, HealthTable, Server, ServerTable, Servers, Short,
};
pub use settings::{Level, Log, RouteTimeouts, Storage, Timeouts};
pub use tls::{Certificate, OnRevoke, Tls, TlsVersion, Trust};
pub use upstreams::{ProxyProtocol, Upstream, UpstreamTls, UpstreamTlsTable};
pub use value::{List, Listed, OneOrMany, Spanned};

/// Tables by name.
pub type Tables<T> = BTreeMap<Spanned<String>, T>;

/// A configuration file.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Other files to merge, relative to this one; `*` may stand in the last part of a path. A name
    /// that two files define is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<List>,
    /// Where to listen for TLS clients.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: Tables<Listener>,
    /// Routes: which clients go where. The order of routes never matters: the most specific one
    /// takes the client.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: Tables<Route>,
    /// Servers, by the name that routes use: load balancing, ejection, health checks, TLS to them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: Tables<Upstream>,
    /// How the names of servers are looked up: a table, or its mode alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Spanned<Resolver>>,
    /// How TLS is terminated. A route that names none uses `default`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tls: Tables<Tls>,
    /// Server certificates with their keys.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: Tables<Certificate>,
    /// Where snigate keeps what must outlive a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Spanned<Storage>>,
    /// Trust stores: the CAs that servers are verified against.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub trust: Tables<Trust>,
    /// Time limits of every listener and route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Spanned<Timeouts>>,
    /// The log, on standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Spanned<Log>>,
}
