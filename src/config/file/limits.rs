//! `rate_per_source` and `timeouts` of a listener.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::Spanned;

/// `rate_per_source` of a listener.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as `{ connections = 100, per = \"1s\" }`"
)]
pub struct RatePerSource {
    /// How many connections, in the long run, in the time of `per`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<Spanned<u32>>,
    /// The time that `connections` counts for. Default: `1s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<Spanned<String>>,
    /// How many may come at once after a pause. Default: as many as `connections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<Spanned<u32>>,
}

/// `[listeners.NAME.timeouts]`: the one of [`Timeouts`](super::Timeouts) that counts before the
/// route is known.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTimeouts {
    /// In place of `timeouts.hello`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<Spanned<String>>,
}
