//! Connections to a server, with a deadline.

use std::collections::VecDeque;
use std::future::{Future, ready};
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
use crate::net::eyeballs::{ASK_AGAIN_AFTER, Contest, Dial, race};
use crate::net::resolve::{
    Addresses, Host, HostName, ResolveError, Resolver, ServiceTarget, in_order,
};
use crate::net::{Stream, cold, locate, transparent};
use crate::os::words;

/// How a server is found, and from where it is connected to.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The resolver of servers that are known by name.
    pub resolver: &'a Resolver,
    /// The address that the server is to see, which may be one that this machine does not have: its
    /// answers must be routed back here, and the process needs the capability `CAP_NET_RAW`.
    /// Default: the kernel chooses it, and the port.
    pub source: Option<IpAddr>,
    /// An address at which another server than the one meant was met. A server that is known by
    /// name is asked for again, and is not looked for there.
    pub instead_of: Option<SocketAddr>,
}

impl<'a> From<&'a Resolver> for Via<'a> {
    /// From an address of this machine.
    fn from(resolver: &'a Resolver) -> Self {
        Self {
            resolver,
            source: None,
            instead_of: None,
        }
    }
}

/// A server that has answered. Of the bytes that go first some may have been sent by then, so
/// whatever fails from here on is no reason to send them to another server (RFC 8446 §8).
#[derive(Debug)]
pub struct Connected<'a> {
    stream: Stream,
    /// The bytes that have yet to be sent, or why no more can be.
    rest: io::Result<&'a [u8]>,
}

impl<'a> Connected<'a> {
    fn tcp(stream: TcpStream, rest: io::Result<&'a [u8]>) -> Self {
        Self {
            stream: Stream::Tcp(stream),
            rest,
        }
    }

    /// The connection, and what has yet to be sent over it, or why no more can be.
    ///
    /// # Errors
    ///
    /// The inner one: when the server has ended the connection already.
    pub fn into_parts(self) -> (Stream, io::Result<&'a [u8]>) {
        (self.stream, self.rest)
    }

    /// Sends the rest, before `deadline`.
    ///
    /// # Errors
    ///
    /// When the server has ended the connection, or does not take the rest in time (`TimedOut`).
    pub async fn send(self, deadline: Instant) -> io::Result<Stream> {
        let (mut stream, rest) = self.into_parts();
        let rest = rest?;
        if !rest.is_empty() {
            timeout_at(deadline, stream.write_all(rest))
                .await
                .unwrap_or_else(|_| Err(too_late()))?;
        }
        Ok(stream)
    }
}

/// Connects to `addr` before `deadline`, and begins to send it `first`.
///
/// Of a host's addresses the one that answers first is taken (RFC 8305), and only to that one is
/// anything sent. Of the targets of a service each that is tried gets an equal share of the time
/// that is left, so that one which does not answer leaves time for the next.
///
/// A host none of whose addresses answers is asked for again (no more often than once a second, for
/// all connections together), and where it has moved meanwhile the new addresses are tried in the
/// time that is left. So is a service.
///
/// # Errors
///
/// `TimedOut` when the deadline has passed; `Unsupported` where there is a source and the server
/// has no address of its family; otherwise the error of the last address.
pub async fn connect<'a>(
    addr: &UpstreamAddr,
    via: &Via<'_>,
    first: &'a [u8],
    deadline: Instant,
) -> io::Result<Connected<'a>> {
    match addr {
        UpstreamAddr::Socket(addr) => tcp(*addr, via.source, first, deadline).await,
        UpstreamAddr::Zoned(addr) => {
            let connect = async { tcp(locate(addr)?, via.source, first, deadline).await };
            cold(connect).await
        }
        UpstreamAddr::Unix(path) if via.source.is_none() => cold(unix(path, first, deadline)).await,
        // The configuration has refused it.
        UpstreamAddr::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        UpstreamAddr::Host(name, port) => {
            cold(host(
                HostName::Short(name.as_str()),
                *port,
                via,
                first,
                deadline,
            ))
            .await
        }
        UpstreamAddr::FullHost(name, port) => {
            cold(host(
                HostName::Full(name.as_str()),
                *port,
                via,
                first,
                deadline,
            ))
            .await
        }
        UpstreamAddr::Srv(name) => cold(service(name.as_str(), via, first, deadline)).await,
    }
}

async fn unix<'a>(path: &Path, first: &'a [u8], deadline: Instant) -> io::Result<Connected<'a>> {
    let stream = timeout_at(deadline, UnixStream::connect(path))
        .await
        .unwrap_or_else(|_| Err(too_late()))?;
    Ok(Connected {
        stream: Stream::Unix(stream),
        rest: Ok(first),
    })
}

/// Waits for the addresses of a host, and connects to one of them.
async fn host<'a>(
    name: HostName<'_>,
    port: u16,
    via: &Via<'_>,
    first: &'a [u8],
    deadline: Instant,
) -> io::Result<Connected<'a>> {
    let found = async {
        match via.instead_of {
            None => via.resolver.host(name).await,
            Some(_) => via.resolver.host_again(name, Instant::now()).await,
        }
    };
    let Host {
        addresses,
        late,
        turn,
    } = resolved(found, name.as_str(), deadline).await?;
    let in_turn = |addresses: Addresses| {
        let all = addresses
            .interleaved(turn)
            .map(|ip| SocketAddr::new(ip, port));
        all.filter(|addr| via.instead_of != Some(*addr)).collect()
    };
    let mut addresses: VecDeque<SocketAddr> = in_turn(addresses);
    let mut begun: Option<(SocketAddr, Dial)> = None;
    // Most names have one address, and it need not wait for any other.
    if let (None, [addr]) = (&late, addresses.as_slices().0) {
        match single(*addr, via.source, first, deadline).await {
            Ok(connected) => return Ok(connected),
            Err(attempt) => begun = Some((*addr, attempt)),
        }
        addresses.clear();
    }
    let late = late.map(|late| async { in_turn(late.await) });
    let again = async {
        match via.resolver.host_again(name, Instant::now()).await {
            Ok(Host { addresses, .. }) => in_turn(addresses),
            // That it is not there says less than why its addresses could not be reached.
            Err(_) => VecDeque::new(),
        }
    };
    let race = race(
        Contest {
            addresses,
            begun,
            late,
            again,
        },
        via.source,
        deadline,
    );
    let stream = timeout_at(deadline, race)
        .await
        .unwrap_or_else(|_| Err(too_late()))?;
    Ok(Connected::tcp(stream, Ok(first)))
}

/// Connects to the one address of a host, like [`tcp`]; but waits no longer for an answer than
/// until the host is to be asked for again. An error is an attempt that has failed or goes on: the
/// host may have moved.
async fn single(
    addr: SocketAddr,
    source: Option<IpAddr>,
    first: &[u8],
    deadline: Instant,
) -> Result<Connected<'_>, Dial> {
    let failed = |error| -> Dial { Box::pin(ready(Err(at(addr.to_string(), error)))) };
    let (mut stream, rest) = start(addr, source, first).map_err(failed)?;
    if let Some(rest) = rest {
        return Ok(Connected::tcp(
            stream,
            rest.map_err(|error| at(addr.to_string(), error)),
        ));
    }
    let now = Instant::now();
    let ask_at = now + ASK_AGAIN_AFTER.min(deadline.saturating_duration_since(now) / 2);
    let Ok(answered) = timeout_at(ask_at, stream.writable()).await else {
        return Err(Box::pin(async move {
            settle(&mut stream)
                .await
                .map_err(|error| at(addr.to_string(), error))?;
            Ok(stream)
        }));
    };
    match answered.and_then(|()| stream.take_error()) {
        Ok(None) => Ok(Connected::tcp(stream, Ok(first))),
        Ok(Some(error)) | Err(error) => Err(failed(error)),
    }
}

/// Connects to one of the servers of a service. Those whose priority is lower are tried when the
/// others cannot be reached, and those that the service has got meanwhile when none can.
async fn service<'a>(
    name: &str,
    via: &Via<'_>,
    first: &'a [u8],
    deadline: Instant,
) -> io::Result<Connected<'a>> {
    let found = async {
        match via.instead_of {
            None => via.resolver.services(name).await,
            Some(_) => via.resolver.services_again(name, Instant::now()).await,
        }
    };
    let mut targets = in_order(&resolved(found, name, deadline).await?);
    let mut tried = Vec::new();
    let mut last = io::ErrorKind::NotFound.into();
    let mut is_last_round = false;
    while !targets.is_empty() {
        for (index, target) in targets.iter().enumerate() {
            // Where there is a round to come, that is one more who needs time.
            let left = targets.len() - index + usize::from(!is_last_round);
            let name = HostName::Full(&target.host);
            match host(name, target.port, via, first, share(deadline, left)).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = at(format!("{}:{}", target.host, target.port), error),
            }
        }
        if is_last_round {
            break;
        }
        is_last_round = true;
        tried.append(&mut targets);
        let again = resolved(
            via.resolver.services_again(name, Instant::now()),
            name,
            deadline,
        )
        .await;
        let is_new = |target: &ServiceTarget| {
            !tried
                .iter()
                .any(|old| (&old.host, old.port) == (&target.host, target.port))
        };
        targets = again.map_or_else(
            |_| Vec::new(),
            |again| in_order(&again).into_iter().filter(is_new).collect(),
        );
    }
    Err(last)
}

async fn resolved<T>(
    look_up: impl Future<Output = Result<T, ResolveError>>,
    name: &str,
    deadline: Instant,
) -> io::Result<T> {
    match timeout_at(deadline, look_up).await {
        Ok(found) => {
            found.map_err(|error| io::Error::other(format!("cannot resolve {name}: {error}")))
        }
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("resolving {name} took too long"),
        )),
    }
}

/// Whether a server ended a connection that had been made: one that refuses is `ConnectionRefused`.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn share(deadline: Instant, attempts: usize) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    Instant::now() + left / u32::try_from(attempts).unwrap_or(u32::MAX).max(1)
}

fn at(place: impl Into<String>, error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        Located {
            place: place.into(),
            error,
        },
    )
}

/// An error, and where it was met. The number that the system gave it is that of its source.
#[derive(Debug, Error)]
#[error("{place}: {}", words(error))]
struct Located {
    place: String,
    #[source]
    error: io::Error,
}

/// A server nearby has answered by the time that connect(2) returns, so sending is tried at once:
/// it succeeds, or tells that the server has not answered yet. That saves a wait and asking for the
/// outcome.
async fn tcp(
    addr: SocketAddr,
    source: Option<IpAddr>,
    first: &[u8],
    deadline: Instant,
) -> io::Result<Connected<'_>> {
    let (mut stream, rest) = start(addr, source, first)?;
    if let Some(rest) = rest {
        return Ok(Connected::tcp(stream, rest));
    }
    // The timer of this short wait must not be part of a connection for the rest of its life.
    let settle = cold(timeout_at(deadline, settle(&mut stream)));
    settle.await.unwrap_or_else(|_| Err(too_late()))?;
    Ok(Connected::tcp(stream, Ok(first)))
}

/// A connection that is being made, and what has yet to be sent over it, or why no more can be;
/// nothing where the server has not answered yet.
fn start(
    addr: SocketAddr,
    source: Option<IpAddr>,
    first: &[u8],
) -> io::Result<(TcpStream, Option<io::Result<&[u8]>>)> {
    let socket = begin(addr, source)?;
    let rest = match (&socket).write(first) {
        Ok(0) => None,
        Ok(sent) => Some(Ok(&first[sent..])),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) if is_hang_up(&error) && !first.is_empty() => Some(Err(error)),
        Err(error) => return Err(error),
    };
    Ok((TcpStream::from_std(socket.into())?, rest))
}

/// A connection that is being made.
fn begin(addr: SocketAddr, source: Option<IpAddr>) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
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
        settle(&mut stream).await?;
        Ok(stream)
    };
    connect.await.map_err(|error| at(addr.to_string(), error))
}

/// Waits until the server has answered.
async fn settle(stream: &mut TcpStream) -> io::Result<()> {
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(()), Err)
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
        let error = at(
            "192.0.2.1:443",
            io::Error::from_raw_os_error(Errno::MFILE.raw_os_error()),
        );
        let source = std::error::Error::source(&error)
            .unwrap()
            .downcast_ref::<io::Error>()
            .unwrap();
        assert_eq!(source.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        assert_eq!(
            error.to_string(),
            format!("192.0.2.1:443: {}", words(source))
        );
    }

    #[tokio::test]
    async fn every_address_of_a_host_is_tried() {
        // `localhost` is ::1 and 127.0.0.1, or what /etc/hosts says; the server is on one of them
        // only.
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let addr = UpstreamAddr::Host("localhost".parse().unwrap(), port);
        let deadline = Instant::now() + Duration::from_secs(5);
        let connected = connect(&addr, &(&Resolver::default()).into(), b"hello", deadline)
            .await
            .unwrap();
        let _stream = connected.send(deadline).await.unwrap();
        let mut first = [0; 5];
        let read = async { server.accept().await?.0.read_exact(&mut first).await };
        timeout_at(deadline, read)
            .await
            .expect("the hello is sent")
            .unwrap();
        assert_eq!(&first, b"hello");
    }

    #[tokio::test]
    async fn a_unix_socket_is_connected_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let server = tokio::net::UnixListener::bind(&path).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let connected = connect(
            &UpstreamAddr::Unix(path),
            &(&Resolver::default()).into(),
            b"hello",
            deadline,
        )
        .await
        .unwrap();
        let stream = connected.send(deadline).await.unwrap();
        assert!(matches!(stream, Stream::Unix(_)));
        let mut first = [0; 5];
        let read = async { server.accept().await?.0.read_exact(&mut first).await };
        timeout_at(deadline, read)
            .await
            .expect("the hello is sent")
            .unwrap();
        assert_eq!(&first, b"hello");
    }
}
