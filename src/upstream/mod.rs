//! Servers behind a route: which one a connection goes to, and the next one when that cannot be reached.

mod dial;
mod error;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::addr::{ClientAddr, UpstreamAddr};
use crate::name::Alpn;
use crate::net::{Resolver, Stream};
use crate::tls::Connector;
use crate::upstream::dial::dial;

pub use error::ConnectError;

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
    /// What finds the servers that are known by name.
    resolver: Arc<Resolver>,
    turn: AtomicUsize,
}

/// What a server is sent first, and on whose behalf.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Every byte that the client has sent so far, if they are for the server.
    pub first: &'a [u8],
    /// The protocol that the client and snigate have agreed on, which a server that speaks TLS is asked for.
    pub agreed: Option<&'a Alpn>,
    /// For whom the server is reached.
    pub origin: Origin,
    /// For each server that is tried.
    pub timeout: Duration,
}

/// What a server may be told of a client.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Its address.
    pub client: ClientAddr,
}

impl Upstream {
    /// An upstream whose first server has the first turn.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, resolver: Arc::default(), turn: AtomicUsize::new(0) }
    }

    /// The same, whose servers' names are looked up by `resolver`, which others use, too.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<Resolver>) -> Self {
        Self { resolver, ..self }
    }

    /// What it was made of.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Connects to a server and sends it what it is to be sent first. Where the servers speak TLS the handshake is part of
    /// that, and what is sent goes into the session.
    ///
    /// # Errors
    ///
    /// That of the last server, when none could be reached.
    pub async fn connect(&self, request: &Request<'_>) -> Result<(Stream, &UpstreamAddr), ConnectError> {
        let servers = &self.options.servers;
        let turn = match self.options.balance {
            Balance::First => 0,
            Balance::RoundRobin if servers.len() < 2 => 0,
            Balance::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed) % servers.len(),
        };
        let mut last = ConnectError::Empty;
        for (tried, server) in (1..).zip(servers[turn..].iter().chain(&servers[..turn])) {
            let deadline = Instant::now() + request.timeout;
            let connected = dial(server, &self.resolver, self.options.tls.as_deref(), request, deadline).await;
            let failure = match connected {
                Ok(stream) => return Ok((stream, server)),
                Err(failure) => failure,
            };
            // A server that was reached and then hung up may have read what it was sent. Sending that to another one as well
            // could do twice what was asked for once (RFC 8446 §8).
            let reached = !request.first.is_empty() && failure.is_hang_up();
            last = failure.of(server.clone(), tried);
            if reached {
                break;
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

    fn request() -> Request<'static> {
        let client = ClientAddr::from("192.0.2.1:1".parse::<std::net::SocketAddr>().unwrap());
        Request { first: b"", agreed: None, origin: Origin { client }, timeout: Duration::from_secs(5) }
    }

    async fn picks(upstream: &Upstream, times: usize) -> Vec<UpstreamAddr> {
        let mut picks = Vec::new();
        for _ in 0..times {
            picks.push(upstream.connect(&request()).await.unwrap().1.clone());
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
        let error = upstream.connect(&request()).await.unwrap_err().to_string();
        assert!(error.starts_with(&b.to_string()) && error.ends_with("(the last of 2 servers tried)"), "{error}");
    }
}
