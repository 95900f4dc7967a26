//! One attempt to reach one server.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::addr::UpstreamAddr;
use crate::name::Alpn;
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
        (true, source @ Some(_)) => Ok(Via { source, ..resolver.into() }),
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
    let via = via(resolver, &request.origin).map_err(Failure::Connect)?;
    let mut session = session(tls, server, &via, request.origin.header, request.agreed, deadline).await?;
    if !request.first.is_empty() {
        let sent = async { session.write_all(request.first).await.and(session.flush().await) };
        let sent = timeout_at(deadline, sent).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        sent.map_err(Failure::Connect)?;
    }
    Ok(Stream::TlsUpstream(session))
}

/// Connects to a server and makes a session, before `deadline`. `header` is sent ahead of it.
///
/// Where somebody else answers at the address that the server's name has had, the name is asked for again, and the server
/// looked for at another address.
pub(super) async fn session(
    tls: &Connector,
    server: &UpstreamAddr,
    via: &Via<'_>,
    header: &[u8],
    agreed: Option<&Alpn>,
    deadline: Instant,
) -> Result<Box<TlsStream<TcpStream>>, Failure> {
    let (addr, failure) = match session_at(tls, server, via, header, agreed, deadline).await {
        Err((Some(addr), failure)) if server.is_name() && failure.is_somebody_else() => (addr, failure),
        made => return made.map_err(|(_, failure)| failure),
    };
    let elsewhere = Via { instead_of: Some(addr), ..*via };
    match session_at(tls, server, &elsewhere, header, agreed, deadline).await {
        Ok(session) => Ok(session),
        Err((None, _)) => Err(failure),
        Err((Some(_), failure)) => Err(failure),
    }
}

/// The same without a second attempt. With a failure goes the address that was reached, if one was.
async fn session_at(
    tls: &Connector,
    server: &UpstreamAddr,
    via: &Via<'_>,
    header: &[u8],
    agreed: Option<&Alpn>,
    deadline: Instant,
) -> Result<Box<TlsStream<TcpStream>>, (Option<SocketAddr>, Failure)> {
    let stream = connect(server, via, header, deadline).await.map_err(|error| (None, Failure::Connect(error)))?;
    let Stream::Tcp(tcp) = stream else {
        // The configuration knows no TLS over unix sockets.
        return Err((None, Failure::Connect(io::ErrorKind::Unsupported.into())));
    };
    let addr = tcp.peer_addr().ok();
    let session = async { tls.connect(tcp, server, agreed).await.map_err(|error| Failure::Tls(Box::new(error))) };
    let late = |_| Err(Failure::LateHandshake(tls.advice_on_silence()));
    timeout_at(deadline, session).await.unwrap_or_else(late).map_err(|failure| (addr, failure))
}
