//! `[listeners]` and `[routes]`: which clients go where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::{Binds, List, ListenerTimeouts, RatePerSource, RouteTimeouts, Spanned};
use crate::proxy::OnRemove;
use crate::relay::OnTruncation;

/// `[listeners.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// IP addresses with ports, such as `0.0.0.0:443` and `[::]:443` (which takes IPv6 only), unix
    /// sockets, `unix:/path`, and sockets that systemd passes, `systemd:NAME`. An entry can be a
    /// table, `{ address = "...", ... }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<Binds>,
    /// The proxies in front, which say in a PROXY header who the client is. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<Spanned<AcceptProxy>>,
    /// How many connections may be open. At this many a new one is closed at once, and no other is
    /// harmed. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<Spanned<u32>>,
    /// How many connections may wait to be routed, which is from accept to the whole ClientHello.
    /// At this many the oldest of them gives way to a new one. Default: `10000`, or half of
    /// `max_connections` if that is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending: Option<Spanned<u32>>,
    /// How many connections of one source, an IPv4 address or a /64 of IPv6, may wait to be routed.
    /// At this many the oldest of the same source gives way to a new one. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_per_source: Option<Spanned<u32>>,
    /// How many bytes those connections may hold together whose hello is not whole and takes more
    /// than 4096. At this many the oldest of them gives way. Default: `67108864` (64 MiB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_bytes: Option<Spanned<u32>>,
    /// How many connections may be open that come from one source, an IPv4 address or a /64 of
    /// IPv6. At this many a new one of it is closed at once. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_source: Option<Spanned<u32>>,
    /// How many TLS handshakes may be under way. At this many a new one waits for its turn, within
    /// `timeouts.handshake`: sources with fewest slots come first. One that takes longer than a
    /// second gives way, and sooner one of the source with most slots. Default: `1024` for each
    /// processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_handshakes: Option<Spanned<u32>>,
    /// How often one source, an IPv4 address or a /64 of IPv6, may connect. What exceeds it is
    /// closed at once. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_source: Option<Spanned<RatePerSource>>,
    /// Time limits of this listener, where they differ from the global ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ListenerTimeouts>,
}

/// `proxy_protocol` of a `[listeners]` table.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as `{ from = [\"10.0.0.0/8\"] }`"
)]
pub struct AcceptProxy {
    /// Ranges of addresses, `10.0.0.0/8` or `192.0.2.1`, or `unix` for every unix socket of the
    /// listener. A connection from here must begin with a PROXY header, of version 1 or 2, and one
    /// from elsewhere must not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<List>,
}

/// `[routes.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Server names: `a.example`, `*.example` (one label), `**.example` (every name below it; not
    /// with `terminate`) or `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<List>,
    /// Only clients that offer one of these protocols. Default: all clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<List>,
    /// Only clients from these ranges of addresses. Default: all clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<List>,
    /// Only on these listeners. Default: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<List>,
    /// Whether the client must send a name that the route lists, and a certificate must cover it.
    /// Default: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_sni: Option<bool>,
    /// `passthrough`, `terminate` or `reject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Spanned<Action>>,
    /// An address, a list of addresses (tried in order), or the name of an upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<List>,
    /// The `[tls]` table of a route that terminates. Default: `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Spanned<String>>,
    /// The certificates of a route that terminates; the first is the default one. Default: all of
    /// them, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<List>,
    /// What becomes of open connections when a reload removes the route, renames it or changes its
    /// action. Default: `keep`; `close` where the `[tls]` table has `on_revoke = "close"`, because
    /// nothing lets their clients in any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<Spanned<OnRemove>>,
    /// What a server without TLS learns of a client whose TLS ends with a FIN and without
    /// `close_notify`. Default: `close`, because many clients end so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_truncation: Option<Spanned<OnTruncation>>,
    /// Time limits of this route, where they differ from the global ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RouteTimeouts>,
}

/// The action of a route.
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
