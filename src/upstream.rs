//! Servers behind a route: which one a connection goes to, and the next one when that cannot be reached.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::addr::UpstreamAddr;
use crate::name::Alpn;
use crate::net::{Stream, connect};
use crate::tls::{Connector, SessionError};

/// What an upstream is made of. Two upstreams with equal options are the same upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// The name that the log uses.
    pub name: Arc<str>,
    /// At least one server.
    pub servers: Vec<UpstreamAddr>,
    /// Which server a connection tries first.
    pub balance: Balance,
    /// What makes sessions of TLS with the servers, if they speak it. Its contents count, so that an upstream whose trust or
    /// certificate was replaced is another one.
    pub tls: Option<Arc<Connector>>,
}

/// Which server a connection tries first; the others follow in the order of the list, which is a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// Always the first.
    First,
}

/// Servers, and whose turn it is.
#[derive(Debug)]
pub struct Upstream {
    options: Options,
    turn: AtomicUsize,
}

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
    /// The upstream has no servers.
    #[error("the upstream has no servers")]
    Empty,
}

impl ConnectError {
    /// Whether it was this machine that lacked something (descriptors, ports, memory) rather than the server.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let Self::Failed { error, .. } = self else { return false };
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL))
    }
}

fn others(tried: usize) -> String {
    if tried > 1 { format!(" (the last of {tried} servers tried)") } else { String::new() }
}

impl Upstream {
    /// An upstream whose first server has the first turn.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, turn: AtomicUsize::new(0) }
    }

    /// What it was made of.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Connects to a server and sends it `first`, waiting `timeout` for each before the next is tried. Where the servers
    /// speak TLS the handshake is part of that, and `first` goes into the session; `agreed` is the protocol that the client
    /// and snigate have agreed on.
    ///
    /// # Errors
    ///
    /// That of the last server, when none could be reached.
    pub async fn connect(
        &self,
        first: &[u8],
        agreed: Option<&Alpn>,
        timeout: Duration,
    ) -> Result<(Stream, &UpstreamAddr), ConnectError> {
        let servers = &self.options.servers;
        let turn = match self.options.balance {
            Balance::First => 0,
            Balance::RoundRobin if servers.len() < 2 => 0,
            Balance::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed) % servers.len(),
        };
        let mut last = ConnectError::Empty;
        for (tried, server) in (1..).zip(servers[turn..].iter().chain(&servers[..turn])) {
            let deadline = Instant::now() + timeout;
            let connected = match &self.options.tls {
                None => connect(server, first, deadline).await.map_err(Failure::Connect),
                // Boxed, because a connection in passthrough must not carry the state of a handshake.
                Some(tls) => Box::pin(connect_tls(tls, server, first, agreed, deadline)).await,
            };
            let failure = match connected {
                Ok(stream) => return Ok((stream, server)),
                Err(failure) => failure,
            };
            // A server that was reached and then hung up may have read what it was sent. Sending that to another one as well
            // could do twice what was asked for once (RFC 8446 §8).
            let reached = !first.is_empty() && failure.is_hang_up();
            last = failure.of(server.clone(), tried);
            if reached {
                break;
            }
        }
        Err(last)
    }
}

/// Connects to a server, makes a session, and sends `first` into it. Nothing is sent before there is one.
async fn connect_tls(
    tls: &Connector,
    server: &UpstreamAddr,
    first: &[u8],
    agreed: Option<&Alpn>,
    deadline: Instant,
) -> Result<Stream, Failure> {
    let stream = connect(server, &[], deadline).await.map_err(Failure::Connect)?;
    let Stream::Tcp(tcp) = stream else {
        // The configuration knows no TLS over unix sockets.
        return Err(Failure::Connect(io::ErrorKind::Unsupported.into()));
    };
    let session = async {
        let mut session = tls.connect(tcp, server, agreed).await.map_err(|error| Failure::Tls(Box::new(error)))?;
        if !first.is_empty() {
            let sent = async { session.write_all(first).await.and(session.flush().await) };
            sent.await.map_err(Failure::Connect)?;
        }
        Ok(Stream::TlsUpstream(session))
    };
    timeout_at(deadline, session).await.unwrap_or(Err(Failure::LateHandshake))
}

/// Why one server was not reached.
enum Failure {
    Connect(io::Error),
    Tls(Box<SessionError>),
    LateHandshake,
}

impl Failure {
    /// Whether the server ended the connection after it had been made.
    fn is_hang_up(&self) -> bool {
        let Self::Connect(error) = self else { return false };
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    }

    fn of(self, server: UpstreamAddr, tried: usize) -> ConnectError {
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn server() -> (TcpListener, UpstreamAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = UpstreamAddr::Socket(listener.local_addr().unwrap());
        (listener, addr)
    }

    /// An address at which nobody listens: the socket is bound, so that nobody else gets the port.
    fn closed() -> (socket2::Socket, UpstreamAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, UpstreamAddr::Socket(addr))
    }

    async fn picks(upstream: &Upstream, times: usize) -> Vec<UpstreamAddr> {
        let mut picks = Vec::new();
        for _ in 0..times {
            picks.push(upstream.connect(b"", None, Duration::from_secs(5)).await.unwrap().1.clone());
        }
        picks
    }

    #[tokio::test]
    async fn round_robin_gives_each_server_its_turn() {
        let ((_a, a), (_b, b)) = (server().await, server().await);
        let servers = vec![a.clone(), b.clone()];
        let upstream = Upstream::new(Options { name: "u".into(), servers, balance: Balance::RoundRobin, tls: None });
        assert_eq!(picks(&upstream, 3).await, [a.clone(), b, a]);
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_passed_over() {
        let ((_a, a), (_b, b)) = (closed(), server().await);
        for balance in [Balance::First, Balance::RoundRobin] {
            let servers = vec![a.clone(), b.clone()];
            let upstream = Upstream::new(Options { name: "u".into(), servers, balance, tls: None });
            assert_eq!(picks(&upstream, 2).await, [b.clone(), b.clone()]);
        }
    }

    #[tokio::test]
    async fn when_all_refuse_the_error_names_the_last_and_counts_them() {
        let ((_a, a), (_b, b)) = (closed(), closed());
        let servers = vec![a, b.clone()];
        let upstream = Upstream::new(Options { name: "u".into(), servers, balance: Balance::First, tls: None });
        let error = upstream.connect(b"", None, Duration::from_secs(5)).await.unwrap_err().to_string();
        assert!(error.starts_with(&b.to_string()) && error.ends_with("(the last of 2 servers tried)"), "{error}");
    }
}
