//! `[timeouts]`, `[log]` and `[storage]`: settings of the whole process.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::Spanned;
use crate::telemetry::Format;

/// `[timeouts]`: durations such as `"5s"`, or `"off"` where that is allowed.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// From accept to the whole ClientHello. Default: `5s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<Spanned<String>>,
    /// For the TLS handshake with the client. Default: `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Spanned<String>>,
    /// For each server that is tried, a TLS handshake with it included. Default: `5s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Spanned<String>>,
    /// Without a byte either way. Default: `1h`; may be `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Spanned<String>>,
    /// With one side finished and the other silent. Default: `60s`; may be `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_close: Option<Spanned<String>>,
    /// Graceful shutdown: how long open connections may last when snigate stops. Default: `30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Spanned<String>>,
    /// From accept to the end of the connection, whatever goes on. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<Spanned<String>>,
    /// After this silence the kernel asks a peer for a sign of life, four times in the same time
    /// again, and gives it up then. Of clients and servers on TCP, of connections that last for 10
    /// s. Whole seconds up to `9h`. Default: `60s`; may be `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Spanned<String>>,
    /// How long a peer may leave unacknowledged, or not take, what was sent to it
    /// (TCP_USER_TIMEOUT); also, where it is given, how long a silent one has to answer. `1s` to
    /// `500h`. Default: `off`, which is some 15 minutes for what is not acknowledged, and any time
    /// for a peer that answers and takes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<Spanned<String>>,
}

/// `[routes.NAME.timeouts]`: those of [`Timeouts`] that a route can still change when it is known.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTimeouts {
    /// In place of `timeouts.handshake`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Spanned<String>>,
    /// In place of `timeouts.connect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Spanned<String>>,
    /// In place of `timeouts.idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Spanned<String>>,
    /// In place of `timeouts.half_close`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_close: Option<Spanned<String>>,
    /// In place of `timeouts.max_lifetime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<Spanned<String>>,
    /// In place of `timeouts.keepalive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Spanned<String>>,
    /// In place of `timeouts.unacknowledged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<Spanned<String>>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least important events to log. Default: `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// How events are written. Default: `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The access log: one line per connection, when it ends. Default: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<bool>,
}

/// Importance of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something is wrong that the operator must mend.
    Error,
    /// Something may soon be.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Every step.
    Trace,
}

/// `[storage]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// A directory that belongs to snigate; it is made if need be. Default: `/var/lib/snigate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<Spanned<String>>,
}
