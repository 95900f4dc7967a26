//! One attempt to reach one server.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::addr::UpstreamAddr;
use crate::net::{Resolver, Stream, connect};
use crate::tls::Connector;
use crate::upstream::Request;
use crate::upstream::error::Failure;

/// Connects to a server and sends it what it is to be sent first, into a session of TLS if it speaks it.
pub(super) async fn dial(
    server: &UpstreamAddr,
    resolver: &Resolver,
    tls: Option<&Connector>,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<Stream, Failure> {
    match tls {
        None => connect(server, resolver, request.first, deadline).await.map_err(Failure::Connect),
        // Boxed, because a connection in passthrough must not carry the state of a handshake.
        Some(tls) => Box::pin(dial_tls(tls, server, resolver, request, deadline)).await,
    }
}

/// Connects to a server, makes a session, and sends `first` into it. Nothing is sent before there is one.
async fn dial_tls(
    tls: &Connector,
    server: &UpstreamAddr,
    resolver: &Resolver,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<Stream, Failure> {
    let stream = connect(server, resolver, &[], deadline).await.map_err(Failure::Connect)?;
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
