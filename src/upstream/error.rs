//! Errors of an upstream: why no server was reached.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

use crate::addr::UpstreamAddr;
use crate::os::words;
use crate::tls::SessionError;
use crate::upstream::ConnectRequest;
use crate::wire::proxy_header::HeaderTooLong;

/// No server could be reached.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The last server that was tried refused, or could not be resolved.
    #[error("{server}: {}{}", words(error), others(*.tried))]
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
    #[error("{server}: {}{}{}", if *.connected { "the TLS handshake was not complete in time" } else { "no answer in time" }, others(*.tried), after(.advice.as_deref()))]
    TimedOut {
        /// The server.
        server: UpstreamAddr,
        /// Whether it was reached, and only the handshake took too long.
        connected: bool,
        /// A remedy to try.
        advice: Option<String>,
        /// How many servers were tried.
        tried: usize,
    },
    /// A server was connected to, and did not take what the client had sent.
    #[error("{server}: {error}")]
    Unsent {
        /// The server.
        server: UpstreamAddr,
        /// The reason why it was not all sent.
        #[source]
        error: Unsent,
    },
    /// The facts of the client that the server was to be told do not fit into a PROXY header.
    #[error("{0}: the client's certificate is too large to be passed on")]
    Header(#[source] HeaderTooLong),
    /// Every server that could be tried has as many connections as it may have, and none of them
    /// ended in time.
    #[error("the servers that it may go to have as many connections as they may have, and none ended within {} ms", waited.as_millis())]
    Full {
        /// How long the connection waited.
        waited: Duration,
    },
    /// Every server that could be tried has as many connections as it may have, and enough clients
    /// wait already.
    #[error(
        "the servers that it may go to have as many connections as they may have, and {waiting} clients wait already"
    )]
    Crowded {
        /// How many.
        waiting: usize,
    },
    /// The upstream has no servers.
    #[error("the upstream has no servers")]
    Empty,
}

impl ConnectError {
    /// Whether it was this machine that lacked something (descriptors, ports, memory) rather than
    /// the server.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Failed { error, .. } => is_local(error),
            Self::Header(_) => true,
            _ => false,
        }
    }
}

fn is_local(error: &io::Error) -> bool {
    // There is no way from this client's address to this server's, whatever the server does.
    if error.kind() == io::ErrorKind::Unsupported {
        return true;
    }
    // Around that of a server that is known by name is where it was met.
    let mut all = std::iter::successors(Some(error), |error| (**error).source()?.downcast_ref());
    let errno = all
        .find_map(io::Error::raw_os_error)
        .map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL)
    )
}

fn others(tried: usize) -> String {
    if tried > 1 {
        format!(" (the last of {tried} servers tried)")
    } else {
        String::new()
    }
}

fn after(advice: Option<&str>) -> String {
    advice.map_or_else(String::new, |advice| format!("; {advice}"))
}

/// The failure of a connection to a server before the server had all that it was to be sent first.
/// No other server is sent it, because this one may have read it (RFC 8446 §8), and it is nobody's
/// failure: a client chooses what it sends.
#[derive(Debug, Error)]
pub enum Unsent {
    /// The server ended it.
    #[error("it was connected to, and hung up: {}", words(.0))]
    Ended(#[source] io::Error),
    /// The server did not take it in time.
    #[error("it was connected to, and did not take in time what it was sent")]
    Late,
}

/// Why one server was not reached. Nothing that a client has sent has been sent to it.
#[derive(Debug, Error)]
pub(super) enum ConnectFailure {
    #[error("{}", words(.0))]
    Connect(io::Error),
    /// It did not take the PROXY header that goes before the handshake.
    #[error("{}", words(.0))]
    Header(io::Error),
    #[error("{0}")]
    Tls(Box<SessionError>),
    #[error("the TLS handshake was not complete in time{}", after(.0.as_deref()))]
    LateHandshake(Option<String>),
}

impl ConnectFailure {
    /// Whether it was this machine that lacked something.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Connect(error) if is_local(error))
    }

    /// Whether neither the client nor this machine may have caused it.
    pub(super) fn is_the_servers(&self, request: &ConnectRequest<'_>) -> bool {
        !self.may_be_the_clients(request) && !self.is_local()
    }

    /// Whether the peer that answered is not the server that was meant: its certificate is for
    /// another one, or it speaks no TLS.
    pub(super) fn is_somebody_else(&self) -> bool {
        matches!(self, Self::Tls(error) if matches!(**error, SessionError::Certificate(_) | SessionError::NotTls(_)))
    }

    /// Whether it may be what the server was told of the client, or the client's choice, that it
    /// did not like.
    pub(super) fn may_be_the_clients(&self, request: &ConnectRequest<'_>) -> bool {
        match self {
            // The server may have been told not to talk to this address, or have no route to it.
            // Checks come from another.
            Self::Connect(_) => request.origin.transparent,
            Self::Header(_) => true,
            Self::LateHandshake(_) => request.agreed.is_some() || !request.origin.is_plain(),
            Self::Tls(error) => match **error {
                // The client has chosen from what its route lists. The server need not know all of
                // that, and may say so by another alert than the one for it, or by none.
                SessionError::NoProtocol(_) => request.agreed.is_some(),
                SessionError::Refused(_) | SessionError::Io(_) | SessionError::Hello { .. } => {
                    request.agreed.is_some() || !request.origin.is_plain()
                }
                _ => false,
            },
        }
    }

    pub(super) fn of(self, server: UpstreamAddr, tried: usize) -> ConnectError {
        match self {
            Self::LateHandshake(advice) => ConnectError::TimedOut {
                server,
                connected: true,
                advice,
                tried,
            },
            Self::Connect(error) if error.kind() == io::ErrorKind::TimedOut => {
                ConnectError::TimedOut {
                    server,
                    connected: false,
                    advice: None,
                    tried,
                }
            }
            Self::Header(error) if error.kind() == io::ErrorKind::TimedOut => {
                ConnectError::Unsent {
                    server,
                    error: Unsent::Late,
                }
            }
            Self::Connect(error) | Self::Header(error) => ConnectError::Failed {
                server,
                error,
                tried,
            },
            Self::Tls(error) => ConnectError::Tls {
                server,
                error,
                tried,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_no_failure_of_a_server_however_that_is_known() {
        let none_left = || io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        assert!(is_local(&none_left()));
        let wrapped = io::Error::new(none_left().kind(), Placed(none_left()));
        assert!(is_local(&io::Error::other(Placed(wrapped))));
        assert!(!is_local(&io::Error::other(Placed(
            io::ErrorKind::ConnectionRefused.into()
        ))));
    }

    #[derive(Debug, Error)]
    #[error("192.0.2.1:443: {0}")]
    struct Placed(#[source] io::Error);
}
