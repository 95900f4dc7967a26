//! `[listeners]` and `[routes]`: which clients go where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::{At, Binds, List, RouteTimeouts};

/// `[listeners.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// IP addresses with ports, such as `0.0.0.0:443` and `[::]:443` (which takes IPv6 only), unix sockets, `unix:/path`,
    /// and sockets that systemd passes, `systemd:NAME`. An entry can be a table, `{ address = "...", ... }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<Binds>,
    /// From which addresses connections come through another proxy, which says in a PROXY header whom it speaks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<At<AcceptProxy>>,
}

/// `proxy_protocol` of a `[listeners]` table.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AcceptProxy {
    /// Ranges of addresses, `10.0.0.0/8` or `192.0.2.1`. A connection from here must begin with a PROXY header, of version
    /// 1 or 2, and one from elsewhere must not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<List>,
}

/// `[routes.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Server names: `a.example`, `*.example` (one label) or `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<List>,
    /// Only clients that offer one of these protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<List>,
    /// Only clients from these ranges of addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<List>,
    /// Only on these listeners; on all of them otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<List>,
    /// Whether the client must send a name that the route lists, and a certificate must cover it. True unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_sni: Option<bool>,
    /// `passthrough`, `terminate` or `reject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<At<Action>>,
    /// An address, a list of addresses (tried in order), or the name of an upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<List>,
    /// The `[tls]` table of a route that terminates; `default` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<At<String>>,
    /// The certificates of a route that terminates, the default one first; all of them otherwise, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<List>,
    /// Time limits of this route, where they differ from the global ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RouteTimeouts>,
}

/// What happens to the clients of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The bytes go to the upstream as they are.
    Passthrough,
    /// TLS ends here; the plaintext goes to the upstream.
    Terminate,
    /// The client is refused with the alert `access_denied`.
    Reject,
}
