//! Connecting to a server.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use crate::addr::UpstreamAddr;
use crate::net::eyeballs::race;
use crate::net::resolve::{Addresses, Host, ResolveError, Resolver, in_order};
use crate::net::{Stream, transparent};

/// How a server is found, and from where it is connected to.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// What finds servers that are known by name.
    pub resolver: &'a Resolver,
    /// The address that the server is to see, which may be one that this machine does not have: its answers must be routed
    /// back here, and the process needs the capability `CAP_NET_ADMIN`. The kernel chooses it unless given, and the port.
    pub source: Option<IpAddr>,
}

impl<'a> From<&'a Resolver> for Via<'a> {
    /// From an address of this machine.
    fn from(resolver: &'a Resolver) -> Self {
        Self { resolver, source: None }
    }
}

/// Connects to `addr` and sends it `first`, both before `deadline`.
///
/// Of a host's addresses the one that answers first is taken (RFC 8305), and only to that one is anything sent. Of the
/// targets of a service each that is tried gets an equal share of the time that is left, so that one which does not answer
/// leaves time for the next.
///
/// # Errors
///
/// `TimedOut` when the deadline has passed; `Unsupported` where there is a source and the server has no address of its
/// family; otherwise the error of the last address.
pub async fn connect(addr: &UpstreamAddr, via: &Via<'_>, first: &[u8], deadline: Instant) -> io::Result<Stream> {
    match addr {
        UpstreamAddr::Socket(addr) => tcp(*addr, via.source, first, deadline).await.map(Stream::Tcp),
        // Boxed, like the other ways that most connections do not take: their state must not be in every connection.
        UpstreamAddr::Unix(path) if via.source.is_none() => Box::pin(unix(path, first, deadline)).await,
        // The configuration has refused it.
        UpstreamAddr::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        UpstreamAddr::Host(name, port) => {
            let host = via.resolver.host(name.as_str());
            Box::pin(host_of(host, name.as_str(), *port, via.source, first, deadline)).await.map(Stream::Tcp)
        }
        UpstreamAddr::FullHost(name, port) => {
            let host = via.resolver.full_name(name.as_str());
            Box::pin(host_of(host, name.as_str(), *port, via.source, first, deadline)).await.map(Stream::Tcp)
        }
        UpstreamAddr::Srv(name) => Box::pin(service(name.as_str(), via, first, deadline)).await.map(Stream::Tcp),
    }
}

async fn unix(path: &Path, first: &[u8], deadline: Instant) -> io::Result<Stream> {
    let connect = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(first).await?;
        Ok(Stream::Unix(stream))
    };
    timeout_at(deadline, connect).await.unwrap_or_else(|_| Err(too_late()))
}

/// Waits for the addresses of a host, and connects to one of them.
async fn host_of(
    host: impl Future<Output = Result<Host, ResolveError>>,
    name: &str,
    port: u16,
    source: Option<IpAddr>,
    first: &[u8],
    deadline: Instant,
) -> io::Result<TcpStream> {
    let Host { addresses, late, turn } = resolved(host, name, deadline).await?;
    let in_turn = |addresses: Addresses| addresses.interleaved(turn).map(|ip| SocketAddr::new(ip, port)).collect();
    let list: VecDeque<SocketAddr> = in_turn(addresses);
    // Most names have one address, and it need not wait for anybody else.
    if let (None, [addr]) = (&late, list.as_slices().0) {
        return tcp(*addr, source, first, deadline).await.map_err(|error| at(addr.to_string(), error));
    }
    let late = late.map(|late| async { in_turn(late.await) });
    let connect = async {
        let mut stream = race(list, late, source, deadline).await?;
        stream.write_all(first).await?;
        Ok(stream)
    };
    timeout_at(deadline, connect).await.unwrap_or_else(|_| Err(too_late()))
}

/// Connects to one of the servers of a service. Those whose priority is lower are tried when the others cannot be reached.
async fn service(name: &str, via: &Via<'_>, first: &[u8], deadline: Instant) -> io::Result<TcpStream> {
    let targets = in_order(&resolved(via.resolver.services(name), name, deadline).await?);
    let mut last = io::ErrorKind::NotFound.into();
    for (index, target) in targets.iter().enumerate() {
        let host = via.resolver.full_name(&target.host);
        match host_of(host, &target.host, target.port, via.source, first, share(deadline, targets.len() - index)).await
        {
            Ok(stream) => return Ok(stream),
            Err(error) if is_hang_up(&error) && !first.is_empty() => return Err(error),
            Err(error) => last = at(format!("{}:{}", target.host, target.port), error),
        }
    }
    Err(last)
}

async fn resolved<T>(
    look_up: impl Future<Output = Result<T, ResolveError>>,
    name: &str,
    deadline: Instant,
) -> io::Result<T> {
    match timeout_at(deadline, look_up).await {
        Ok(found) => found.map_err(|error| io::Error::other(format!("cannot resolve {name}: {error}"))),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("resolving {name} took too long"))),
    }
}

/// Whether a server that was reached ended the connection. It may have read what it was sent, which nobody else must get
/// then.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn share(deadline: Instant, attempts: usize) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    Instant::now() + left / u32::try_from(attempts).unwrap_or(u32::MAX).max(1)
}

fn at(place: impl Into<String>, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Placed { place: place.into(), error })
}

/// An error, and where it was met. The number that the system gave it is that of its source.
#[derive(Debug, Error)]
#[error("{place}: {error}")]
struct Placed {
    place: String,
    #[source]
    error: io::Error,
}

/// A server nearby has answered by the time that connect(2) returns, so sending is tried at once: it succeeds, or tells
/// that the server has not answered yet. That saves a wait and asking for the outcome.
async fn tcp(addr: SocketAddr, source: Option<IpAddr>, first: &[u8], deadline: Instant) -> io::Result<TcpStream> {
    let socket = begin(addr, source)?;
    let sent = match (&socket).write(first) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        sent => sent?,
    };
    let mut stream = TcpStream::from_std(socket.into())?;
    if first.is_empty() || sent < first.len() {
        // Boxed, so that the timer of this short wait is not part of a connection for the rest of its life.
        let settle = Box::pin(timeout_at(deadline, settle(&mut stream, &first[sent..])));
        settle.await.unwrap_or_else(|_| Err(too_late()))?;
    }
    Ok(stream)
}

/// A connection that is being made.
fn begin(addr: SocketAddr, source: Option<IpAddr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Small messages must not wait for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        transparent::bind(&socket, SocketAddr::new(source, 0), addr)?;
    }
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

/// Connects without sending anything. There is no time limit.
pub(super) async fn open(addr: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let connect = async {
        let mut stream = TcpStream::from_std(begin(addr, source)?.into())?;
        settle(&mut stream, &[]).await?;
        Ok(stream)
    };
    connect.await.map_err(|error| at(addr.to_string(), error))
}

/// Waits until the server has answered and has been sent the rest.
async fn settle(stream: &mut TcpStream, rest: &[u8]) -> io::Result<()> {
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => stream.write_all(rest).await,
    }
}

pub(super) fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn where_an_error_was_met_does_not_hide_what_it_is() {
        let error = at("192.0.2.1:443", io::Error::from_raw_os_error(Errno::MFILE.raw_os_error()));
        let source = std::error::Error::source(&error).unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        assert_eq!(error.to_string(), format!("192.0.2.1:443: {source}"));
    }

    #[tokio::test]
    async fn every_address_of_a_host_is_tried() {
        // `localhost` is ::1 and 127.0.0.1, or what /etc/hosts says; the server is on one of them only.
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let addr = UpstreamAddr::Host("localhost".parse().unwrap(), port);
        let deadline = Instant::now() + Duration::from_secs(5);
        connect(&addr, &(&Resolver::default()).into(), b"hello", deadline).await.unwrap();
        let mut first = [0; 5];
        server.accept().await.unwrap().0.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"hello");
    }

    #[tokio::test]
    async fn a_unix_socket_is_connected_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let server = tokio::net::UnixListener::bind(&path).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let stream =
            connect(&UpstreamAddr::Unix(path), &(&Resolver::default()).into(), b"hello", deadline).await.unwrap();
        assert!(matches!(stream, Stream::Unix(_)));
        let mut first = [0; 5];
        server.accept().await.unwrap().0.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"hello");
    }
}
