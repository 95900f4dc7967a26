//! One attempt to reach one server.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::addr::UpstreamAddr;
use crate::net::{Resolver, Stream, Via, connect};
use crate::tls::Connector;
use crate::upstream::error::Failure;
use crate::upstream::{Origin, Request};

/// Connects to a server and sends it what it is to be sent first, into a session of TLS if it speaks it.
pub(super) async fn dial(
    server: &UpstreamAddr,
    resolver: &Resolver,
    tls: Option<&Connector>,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<Stream, Failure> {
    match tls {
        None if request.origin.is_plain() => {
            connect(server, &resolver.into(), request.first, deadline).await.map_err(Failure::Connect)
        }
        // Boxed, because a connection that is not told of must not carry what telling takes.
        None => Box::pin(dial_introduced(server, resolver, request, deadline)).await.map_err(Failure::Connect),
        // Boxed, because a connection in passthrough must not carry the state of a handshake.
        Some(tls) => Box::pin(dial_tls(tls, server, resolver, request, deadline)).await,
    }
}

/// Connects to a server and sends it the PROXY header and `first`, in one segment if they fit into it.
async fn dial_introduced(
    server: &UpstreamAddr,
    resolver: &Resolver,
    request: &Request<'_>,
    deadline: Instant,
) -> io::Result<Stream> {
    let first = [request.origin.header, request.first].concat();
    connect(server, &via(resolver, &request.origin)?, &first, deadline).await
}

/// From where the connection is to come.
fn via<'a>(resolver: &'a Resolver, origin: &Origin<'_>) -> io::Result<Via<'a>> {
    match (origin.transparent, origin.client.ip()) {
        (false, _) => Ok(resolver.into()),
        (true, source @ Some(_)) => Ok(Via { resolver, source }),
        (true, None) => {
            let message = "the client came over a unix socket: `transparent = true` has no address to connect from";
            Err(io::Error::new(io::ErrorKind::Unsupported, message))
        }
    }
}

/// Connects to a server, makes a session, and sends `first` into it. Nothing but the PROXY header is sent before there is
/// one.
async fn dial_tls(
    tls: &Connector,
    server: &UpstreamAddr,
    resolver: &Resolver,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<Stream, Failure> {
    let origin = &request.origin;
    let via = via(resolver, origin).map_err(Failure::Connect)?;
    let stream = connect(server, &via, origin.header, deadline).await.map_err(Failure::Connect)?;
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
