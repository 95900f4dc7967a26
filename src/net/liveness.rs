//! Keep-alive: how the kernel finds out that a peer is gone which does not say so.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::net::Stream;

/// Keep-alive and user timeout, as set in the kernel. They cost system calls, so they are set on
/// connections that last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Liveness {
    /// After this silence the peer is asked for a sign of life, four times in the same time again:
    /// whole seconds, at most [`MAX_KEEPALIVE`](Self::MAX_KEEPALIVE).
    pub keepalive: Option<Duration>,
    /// How long the peer may leave unacknowledged, or not take, what was sent to it
    /// (TCP_USER_TIMEOUT, tcp(7)): at most [`MAX_UNACKNOWLEDGED`](Self::MAX_UNACKNOWLEDGED). It
    /// also counts, in place of the four times, for a silent one.
    pub unacknowledged: Option<Duration>,
}

impl Default for Liveness {
    fn default() -> Self {
        // Without a limit the kernel gives up what is not acknowledged after some 15 minutes, and
        // lets a peer that answers take its time, as a client that pauses a download does.
        Self {
            keepalive: Some(Duration::from_secs(60)),
            unacknowledged: None,
        }
    }
}

impl Liveness {
    /// The kernel's limit, 32,767 s, in whole hours.
    pub const MAX_KEEPALIVE: Duration = Duration::from_secs(9 * 3600);

    /// The kernel counts milliseconds in 31 bits; in whole hundreds of hours.
    pub const MAX_UNACKNOWLEDGED: Duration = Duration::from_secs(500 * 3600);

    /// How long a connection must have lasted for this to be asked; nothing where there is nothing
    /// to ask.
    #[must_use]
    pub fn due_after(&self) -> Option<Duration> {
        self.keepalive
            .into_iter()
            .chain(self.unacknowledged)
            .min()
            .map(|shortest| shortest.min(LASTING))
    }

    /// Asks it for the connection below `stream`. A unix socket has no need of it.
    pub fn ask(&self, stream: &Stream) {
        let Some(tcp) = stream.tcp() else { return };
        let socket = SockRef::from(tcp);
        // These fail only on a connection that has ended.
        if let Some(idle) = self.keepalive {
            let keepalive = TcpKeepalive::new()
                .with_time(idle)
                .with_interval((idle / PROBES).max(SECOND));
            let _ = socket.set_tcp_keepalive(&keepalive.with_retries(PROBES));
        }
        if self.unacknowledged.is_some() {
            let _ = socket.set_tcp_user_timeout(self.unacknowledged);
        }
    }
}

/// Most connections have ended by then.
const LASTING: Duration = Duration::from_secs(10);

/// How often a silent peer is asked before it is given up.
const PROBES: u32 = 4;

/// The kernel counts in seconds.
const SECOND: Duration = Duration::from_secs(1);
