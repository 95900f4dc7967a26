//! One attempt to reach one server.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::addr::{ClientAddr, UpstreamAddr};
use crate::net::{Stream, connect, connect_from};
use crate::tls::Connector;
use crate::upstream::error::Failure;
use crate::upstream::{Origin, Request};

/// Connects to a server and sends it what it is to be sent first, into a session of TLS if it speaks it.
pub(super) async fn dial(
    server: &UpstreamAddr,
    tls: Option<&Connector>,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<Stream, Failure> {
    match tls {
        None if request.origin.is_plain() => connect(server, request.first, deadline).await.map_err(Failure::Connect),
        // Boxed, because a connection that is not told of must not carry what telling takes.
        None => Box::pin(dial_introduced(server, request, deadline)).await.map_err(Failure::Connect),
        // Boxed, because a connection in passthrough must not carry the state of a handshake.
        Some(tls) => Box::pin(dial_tls(tls, server, request, deadline)).await,
    }
}

/// Connects to a server and sends it the PROXY header and `first`, in one segment if they fit into it.
async fn dial_introduced(server: &UpstreamAddr, request: &Request<'_>, deadline: Instant) -> io::Result<Stream> {
    let first = [request.origin.header, request.first].concat();
    reach(server, &request.origin, &first, deadline).await
}

/// Connects from where the connection is to come from.
async fn reach(server: &UpstreamAddr, origin: &Origin<'_>, first: &[u8], deadline: Instant) -> io::Result<Stream> {
    if !origin.transparent {
        return connect(server, first, deadline).await;
    }
    let ClientAddr::Socket(client) = origin.client else {
        let message = "the client came over a unix socket: `transparent = true` has no address to connect from";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    };
    connect_from(SocketAddr::new(client.ip(), 0), server, first, deadline).await
}

/// Connects to a server, makes a session, and sends `first` into it. Nothing but the PROXY header is sent before there is
/// one.
async fn dial_tls(
    tls: &Connector,
    server: &UpstreamAddr,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<Stream, Failure> {
    let origin = &request.origin;
    let stream = reach(server, origin, origin.header, deadline).await.map_err(Failure::Connect)?;
    let Stream::Tcp(tcp) = stream else {
        // The configuration knows no TLS over unix sockets.
        return Err(Failure::Connect(io::ErrorKind::Unsupported.into()));
    };
    let session = async {
        let mut session =
            tls.connect(tcp, server, request.agreed).await.map_err(|error| Failure::Tls(Box::new(error)))?;
        if !request.first.is_empty() {
            let sent = async { session.write_all(request.first).await.and(session.flush().await) };
            sent.await.map_err(Failure::Connect)?;
        }
        Ok(Stream::TlsUpstream(session))
    };
    timeout_at(deadline, session).await.unwrap_or(Err(Failure::LateHandshake))
}
