//! Why no server was reached.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::addr::UpstreamAddr;
use crate::tls::SessionError;
use crate::wire::proxy_header::HeaderTooLong;

/// No server could be reached.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The last server that was tried refused, or could not be resolved.
    #[error("{server}: {error}{}", others(*.tried))]
    Failed {
        /// The server.
        server: UpstreamAddr,
        /// Its error.
        #[source]
        error: io::Error,
        /// How many servers were tried.
        tried: usize,
    },
    /// There was no session of TLS with the last server that was tried.
    #[error("{server}: {error}{}", others(*.tried))]
    Tls {
        /// The server.
        server: UpstreamAddr,
        /// Why.
        #[source]
        error: Box<SessionError>,
        /// How many servers were tried.
        tried: usize,
    },
    /// The last server that was tried did not answer in time.
    #[error("{server}: {}{}", if *.connected { "the TLS handshake was not complete in time" } else { "no answer in time" }, others(*.tried))]
    TimedOut {
        /// The server.
        server: UpstreamAddr,
        /// Whether it was reached, and only the handshake took too long.
        connected: bool,
        /// How many servers were tried.
        tried: usize,
    },
    /// What the server was to be told of the client does not fit into a PROXY header.
    #[error("{0}: the client's certificate is too large to be passed on")]
    Header(#[source] HeaderTooLong),
    /// The upstream has no servers.
    #[error("the upstream has no servers")]
    Empty,
}

impl ConnectError {
    /// Whether it was this machine that lacked something (descriptors, ports, memory) rather than the server.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let error = match self {
            Self::Failed { error, .. } => error,
            Self::Header(_) => return true,
            _ => return false,
        };
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL))
    }
}

fn others(tried: usize) -> String {
    if tried > 1 { format!(" (the last of {tried} servers tried)") } else { String::new() }
}

/// Why one server was not reached.
pub(super) enum Failure {
    Connect(io::Error),
    Tls(Box<SessionError>),
    LateHandshake,
}

impl Failure {
    /// Whether the server ended the connection after it had been made.
    pub(super) fn is_hang_up(&self) -> bool {
        let Self::Connect(error) = self else { return false };
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    }

    pub(super) fn of(self, server: UpstreamAddr, tried: usize) -> ConnectError {
        match self {
            Self::LateHandshake => ConnectError::TimedOut { server, connected: true, tried },
            Self::Connect(error) if error.kind() == io::ErrorKind::TimedOut => {
                ConnectError::TimedOut { server, connected: false, tried }
            }
            Self::Connect(error) => ConnectError::Failed { server, error, tried },
            Self::Tls(error) => ConnectError::Tls { server, error, tried },
        }
    }
}
