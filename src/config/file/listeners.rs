//! `[listeners]`: where clients connect, and the limits there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::{Binds, List, ListenerTimeouts, RatePerSource, Spanned};

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
