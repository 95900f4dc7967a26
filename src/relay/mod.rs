//! Relay of bytes between a client and a server until both have ended. It carries each ending over
//! to the other side.
//!
//! An end is not a single event: either side may finish and still wait for the answer, and an abort
//! must reach the other side as an abort, but never overtake bytes that are still on their way.

mod duplex;
mod ending;
mod flow;
mod meter;
mod pipe;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::Duration;

use crate::net::{Liveness, Stream};
use crate::relay::duplex::Duplex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use ending::abort;
pub use meter::{Count, Meter, Moved};

/// Moves bytes between client and upstream until both directions have ended: the side that ended
/// first.
///
/// When one side ends, the other is told as soon as it has taken all bytes (a half-close), and may
/// go on sending. When one side aborts, the other is aborted too, unless the abort followed a clean
/// end or bytes are still queued for the other side: those are delivered first, and a normal end
/// follows them.
///
/// The streams are borrowed, because a caller that gave them away would carry the space for them
/// twice. It must drop both right after this returns: the last end is told by the close itself, and
/// so is every abort.
///
/// # Errors
///
/// Says which side aborted or failed, or which wait was too long.
///
/// # Cancellation
///
/// Dropping the future loses bytes that one side has not taken yet. `meter` is right at any time.
pub async fn relay(
    client: &mut Stream,
    upstream: &mut Stream,
    meter: &Meter,
    options: &RelayOptions,
) -> Result<Side, RelayError> {
    let mut duplex = Duplex::new(client, upstream, meter, options);
    let mut timer = pin!(None);
    poll_fn(|cx| duplex.poll(cx, timer.as_mut())).await
}

/// How long a relay waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayOptions {
    /// The longest time without a byte in either direction, or none. It may be exceeded by a
    /// quarter.
    pub idle: Option<Duration>,
    /// The longest silence of one side after the other has ended, or none. It may be exceeded by a
    /// quarter.
    pub half_close: Option<Duration>,
    /// How the kernel finds out that a side is gone, of a relay that lasts.
    pub liveness: Liveness,
    /// The end that a server without TLS gets when its client's TLS ended without `close_notify`.
    pub on_truncation: OnTruncation,
}

/// What a server without TLS learns of a client whose TLS ends without `close_notify`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTruncation {
    /// The end, as if it were whole.
    #[default]
    Close,
    /// A reset.
    Reset,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            idle: Some(Duration::from_secs(3600)),
            half_close: Some(Duration::from_secs(60)),
            liveness: Liveness::default(),
            on_truncation: OnTruncation::default(),
        }
    }
}

/// One of the two peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The side that connected to snigate.
    Client,
    /// The side that snigate connected to.
    Server,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// Why a relay stopped before both sides had ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// This side aborted the connection.
    #[error("the {0} reset the connection")]
    Reset(Side),
    /// No byte came from either side for too long.
    #[error("neither side sent anything for too long")]
    Idle,
    /// The other side had ended, and this one neither sent, nor took what was sent to it, for too
    /// long.
    #[error("the {0} stayed silent after the other side had ended")]
    HalfClose(Side),
    /// Reading from or writing to this side failed otherwise, as a broken TLS record does.
    #[error("the connection to the {0} failed")]
    Io(Side, #[source] io::Error),
}

impl RelayError {
    fn new(by: Side, error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => Self::Reset(by),
            _ => Self::Io(by, error),
        }
    }
}
