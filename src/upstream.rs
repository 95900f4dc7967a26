//! Servers behind a route: which one a connection goes to, and the next one when that cannot be reached.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;
use tokio::time::Instant;

use crate::addr::UpstreamAddr;
use crate::net::{Stream, connect};

/// What an upstream is made of. Two upstreams with equal options are the same upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// The name that the log uses.
    pub name: Arc<str>,
    /// At least one server.
    pub servers: Vec<UpstreamAddr>,
    /// Which server a connection tries first.
    pub balance: Balance,
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
    /// The last server that was tried did not answer in time.
    #[error("{server}: no answer in time{}", others(*.tried))]
    TimedOut {
        /// The server.
        server: UpstreamAddr,
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

    /// Connects to a server and sends it `first`, waiting `timeout` for each before the next is tried.
    ///
    /// # Errors
    ///
    /// That of the last server, when none could be reached.
    pub async fn connect(&self, first: &[u8], timeout: Duration) -> Result<(Stream, &UpstreamAddr), ConnectError> {
        let servers = &self.options.servers;
        let turn = match self.options.balance {
            Balance::First => 0,
            Balance::RoundRobin if servers.len() < 2 => 0,
            Balance::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed) % servers.len(),
        };
        let mut last = ConnectError::Empty;
        for (tried, server) in (1..).zip(servers[turn..].iter().chain(&servers[..turn])) {
            match connect(server, first, Instant::now() + timeout).await {
                Ok(stream) => return Ok((stream, server)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    last = ConnectError::TimedOut { server: server.clone(), tried };
                }
                Err(error) => {
                    // A server that was reached and then hung up may have read what it was sent. Sending that to another
                    // one as well could do twice what was asked for once (RFC 8446 §8).
                    let reached = matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
                    last = ConnectError::Failed { server: server.clone(), error, tried };
                    if reached {
                        break;
                    }
                }
            }
        }
        Err(last)
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
            picks.push(upstream.connect(b"", Duration::from_secs(5)).await.unwrap().1.clone());
        }
        picks
    }

    #[tokio::test]
    async fn round_robin_gives_each_server_its_turn() {
        let ((_a, a), (_b, b)) = (server().await, server().await);
        let servers = vec![a.clone(), b.clone()];
        let upstream = Upstream::new(Options { name: "u".into(), servers, balance: Balance::RoundRobin });
        assert_eq!(picks(&upstream, 3).await, [a.clone(), b, a]);
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_passed_over() {
        let ((_a, a), (_b, b)) = (closed(), server().await);
        for balance in [Balance::First, Balance::RoundRobin] {
            let servers = vec![a.clone(), b.clone()];
            let upstream = Upstream::new(Options { name: "u".into(), servers, balance });
            assert_eq!(picks(&upstream, 2).await, [b.clone(), b.clone()]);
        }
    }

    #[tokio::test]
    async fn when_all_refuse_the_error_names_the_last_and_counts_them() {
        let ((_a, a), (_b, b)) = (closed(), closed());
        let servers = vec![a, b.clone()];
        let upstream = Upstream::new(Options { name: "u".into(), servers, balance: Balance::First });
        let error = upstream.connect(b"", Duration::from_secs(5)).await.unwrap_err().to_string();
        assert!(error.starts_with(&b.to_string()) && error.ends_with("(the last of 2 servers tried)"), "{error}");
    }
}
