//! Connecting to a server.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::addr::UpstreamAddr;
use crate::net::Stream;

/// Look-ups at a time. Each occupies a thread while the resolver is silent, and the runtime has 512 of them for everything.
const MAX_LOOKUPS: usize = 64;
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// Connects to `addr` before `deadline`.
///
/// A host name is resolved as the system does it (getaddrinfo(3): `/etc/hosts`, then DNS) and every address is tried in
/// the order of the answer. Each gets an equal share of the time that is left, so that one which does not answer leaves
/// time for the next.
///
/// # Errors
///
/// `TimedOut` when the deadline has passed, otherwise the error of the last address.
pub async fn connect(addr: &UpstreamAddr, deadline: Instant) -> io::Result<Stream> {
    match addr {
        UpstreamAddr::Socket(addr) => tcp(*addr, deadline).await,
        UpstreamAddr::Unix(path) => match timeout_at(deadline, UnixStream::connect(path)).await {
            Ok(stream) => stream.map(Stream::Unix),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        },
        // Boxed: resolving takes a kilobyte of state, which a connection to an address must not carry.
        UpstreamAddr::Host(host, port) => Box::pin(by_name(host.as_str(), *port, deadline)).await,
    }
}

async fn by_name(host: &str, port: u16, deadline: Instant) -> io::Result<Stream> {
    let resolve = async {
        let _permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
        lookup_host((host, port)).await.map(Vec::from_iter)
    };
    let addresses = match timeout_at(deadline, resolve).await {
        Ok(addresses) => {
            addresses.map_err(|error| io::Error::new(error.kind(), format!("cannot resolve {host}: {error}")))?
        }
        Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, format!("resolving {host} took too long"))),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for (index, addr) in addresses.iter().enumerate() {
        match tcp(*addr, share(deadline, addresses.len() - index)).await {
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

async fn tcp(addr: SocketAddr, deadline: Instant) -> io::Result<Stream> {
    match timeout_at(deadline, TcpStream::connect(addr)).await {
        Ok(stream) => {
            let stream = stream?;
            // Small messages must not wait for the acknowledgement of the one before.
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn every_address_of_a_host_is_tried() {
        // `localhost` resolves to ::1 and 127.0.0.1 where /etc/hosts says so; the server is on one of them only.
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let addr = UpstreamAddr::Host("localhost".parse().unwrap(), port);
        let stream = connect(&addr, Instant::now() + Duration::from_secs(5)).await.unwrap();
        assert!(matches!(stream, Stream::Tcp(_)));
    }

    #[tokio::test]
    async fn a_unix_socket_is_connected_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _server = tokio::net::UnixListener::bind(&path).unwrap();
        let stream = connect(&UpstreamAddr::Unix(path), Instant::now() + Duration::from_secs(5)).await.unwrap();
        assert!(matches!(stream, Stream::Unix(_)));
    }
}
