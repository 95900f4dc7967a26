//! Connecting to a server.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use crate::addr::UpstreamAddr;
use crate::net::{Stream, transparent};

/// Look-ups at a time. Each occupies a thread while the resolver is silent, and the runtime has 512 of them for everything.
const MAX_LOOKUPS: usize = 64;
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// Connects to `addr` and sends it `first`, both before `deadline`.
///
/// A host name is resolved as the system does it (getaddrinfo(3): `/etc/hosts`, then DNS) and every address is tried in
/// the order of the answer. Each gets an equal share of the time that is left, so that one which does not answer leaves
/// time for the next.
///
/// # Errors
///
/// `TimedOut` when the deadline has passed, otherwise the error of the last address.
pub async fn connect(addr: &UpstreamAddr, first: &[u8], deadline: Instant) -> io::Result<Stream> {
    match addr {
        UpstreamAddr::Socket(addr) => tcp(*addr, None, first, deadline).await,
        // Boxed, like the other way that most connections do not take: their state must not be in every connection.
        UpstreamAddr::Unix(path) => Box::pin(unix(path, first, deadline)).await,
        UpstreamAddr::Host(host, port) => Box::pin(by_name(host.as_str(), *port, None, first, deadline)).await,
    }
}

/// The same, from the address `source`, which may be one that this machine does not have. Its answers must be routed back
/// here, and the process needs the capability `CAP_NET_ADMIN`. The kernel chooses the port.
///
/// # Errors
///
/// `Unsupported` where the server is a unix socket, or has no address of the family of `source`.
pub async fn connect_from(
    source: SocketAddr,
    addr: &UpstreamAddr,
    first: &[u8],
    deadline: Instant,
) -> io::Result<Stream> {
    match addr {
        UpstreamAddr::Socket(addr) => tcp(*addr, Some(&source), first, deadline).await,
        UpstreamAddr::Host(host, port) => by_name(host.as_str(), *port, Some(&source), first, deadline).await,
        // The configuration has refused it.
        UpstreamAddr::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
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

async fn by_name(
    host: &str,
    port: u16,
    source: Option<&SocketAddr>,
    first: &[u8],
    deadline: Instant,
) -> io::Result<Stream> {
    let resolve = async {
        let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        // The thread has the permit: it goes on after everybody has stopped waiting for it.
        let look_up = spawn_blocking(move || {
            let _permit = permit;
            (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)
        });
        look_up.await.map_err(io::Error::other)?
    };
    let addresses = match timeout_at(deadline, resolve).await {
        Ok(addresses) => {
            addresses.map_err(|error| io::Error::new(error.kind(), format!("cannot resolve {host}: {error}")))?
        }
        Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, format!("resolving {host} took too long"))),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for (index, addr) in addresses.iter().enumerate() {
        match tcp(*addr, source, first, share(deadline, addresses.len() - index)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = io::Error::new(error.kind(), format!("{addr}: {error}")),
        }
    }
    Err(last)
}

fn share(deadline: Instant, attempts: usize) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    Instant::now() + left / u32::try_from(attempts).unwrap_or(u32::MAX).max(1)
}

/// A server nearby has answered by the time that connect(2) returns, so sending is tried at once: it succeeds, or tells
/// that the server has not answered yet. That saves a wait and asking for the outcome.
async fn tcp(addr: SocketAddr, source: Option<&SocketAddr>, first: &[u8], deadline: Instant) -> io::Result<Stream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Small messages must not wait for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        transparent::bind(&socket, *source, addr)?;
    }
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
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
    Ok(Stream::Tcp(stream))
}

/// Waits until the server has answered and has been sent the rest.
async fn settle(stream: &mut TcpStream, rest: &[u8]) -> io::Result<()> {
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => stream.write_all(rest).await,
    }
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn every_address_of_a_host_is_tried() {
        // `localhost` resolves to ::1 and 127.0.0.1 where /etc/hosts says so; the server is on one of them only.
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let addr = UpstreamAddr::Host("localhost".parse().unwrap(), port);
        let stream = connect(&addr, b"", Instant::now() + Duration::from_secs(5)).await.unwrap();
        assert!(matches!(stream, Stream::Tcp(_)));
    }

    #[tokio::test]
    async fn a_unix_socket_is_connected_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let server = tokio::net::UnixListener::bind(&path).unwrap();
        let stream =
            connect(&UpstreamAddr::Unix(path), b"hello", Instant::now() + Duration::from_secs(5)).await.unwrap();
        assert!(matches!(stream, Stream::Unix(_)));
        let mut first = [0; 5];
        server.accept().await.unwrap().0.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"hello");
    }
}
