//! `[routes]`: which clients go where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::{List, RouteTimeouts, Spanned};
use crate::proxy::OnRemove;
use crate::relay::OnTruncation;

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
