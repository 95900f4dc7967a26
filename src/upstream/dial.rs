//! Dial: one attempt to reach one server.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::addr::UpstreamAddr;
use crate::name::Alpn;
use crate::net::{Resolver, Stream, TlsSession, Transport, Via, cold, connect};
use crate::tls::Connector;
use crate::upstream::error::{ConnectFailure, Unsent};
use crate::upstream::{ClientInfo, ConnectRequest};

/// A server that was reached: connected to, with a session of TLS if it speaks that. That is all it
/// takes to be well; what becomes of the connection from here on may be its client's doing.
pub(super) struct Reached<'a> {
    stream: Stream,
    /// The rest of what goes first, or why no more of it can be sent.
    rest: io::Result<Cow<'a, [u8]>>,
    deadline: Instant,
}

impl Reached<'_> {
    /// The connection, if there is nothing more to send.
    pub(super) fn ready(self) -> Result<Stream, Self> {
        match &self.rest {
            Ok(rest) if rest.is_empty() => Ok(self.stream),
            _ => Err(self),
        }
    }

    /// Sends what has yet to be sent.
    pub(super) async fn send(self) -> Result<Stream, Unsent> {
        let mut stream = self.stream;
        let rest = self.rest.map_err(Unsent::Ended)?;
        let sent = async { stream.write_all(&rest).await.and(stream.flush().await) };
        timeout_at(self.deadline, sent)
            .await
            .map_err(|_| Unsent::Late)?
            .map_err(Unsent::Ended)?;
        Ok(stream)
    }
}

/// Connects to a server, and makes a session of TLS with it if it speaks that.
pub(super) async fn dial<'a>(
    server: &UpstreamAddr,
    resolver: &Resolver,
    tls: Option<&Connector>,
    request: &ConnectRequest<'a>,
    deadline: Instant,
) -> Result<Reached<'a>, ConnectFailure> {
    match tls {
        None if request.origin.is_plain() => {
            let connected = connect(server, &resolver.into(), request.first, deadline).await;
            let (stream, rest) = connected.map_err(ConnectFailure::Connect)?.into_parts();
            Ok(Reached {
                stream,
                rest: rest.map(Cow::Borrowed),
                deadline,
            })
        }
        None => cold(dial_introduced(server, resolver, request, deadline))
            .await
            .map_err(ConnectFailure::Connect),
        Some(tls) => cold(dial_tls(tls, server, resolver, request, deadline)).await,
    }
}

/// Connects to a server, which is sent the PROXY header and `first`, in one segment if they fit
/// into it.
async fn dial_introduced<'a>(
    server: &UpstreamAddr,
    resolver: &Resolver,
    request: &ConnectRequest<'_>,
    deadline: Instant,
) -> io::Result<Reached<'a>> {
    let first = [request.origin.header, request.first].concat();
    let (stream, rest) = connect(server, &via(resolver, &request.origin)?, &first, deadline)
        .await?
        .into_parts();
    Ok(Reached {
        stream,
        rest: rest.map(|rest| Cow::Owned(rest.to_vec())),
        deadline,
    })
}

/// From where the connection is to come.
fn via<'a>(resolver: &'a Resolver, origin: &ClientInfo<'_>) -> io::Result<Via<'a>> {
    match (origin.transparent, origin.client.ip()) {
        (false, _) => Ok(resolver.into()),
        (true, source @ Some(_)) => Ok(Via {
            source,
            ..resolver.into()
        }),
        (true, None) => {
            let message = "the client has no IP address that is known: `transparent = true` has none to connect from";
            Err(io::Error::new(io::ErrorKind::Unsupported, message))
        }
    }
}

/// Connects to a server, sends it the PROXY header, and makes a session. Nothing else is sent
/// before there is one.
async fn dial_tls<'a>(
    tls: &Connector,
    server: &UpstreamAddr,
    resolver: &Resolver,
    request: &ConnectRequest<'a>,
    deadline: Instant,
) -> Result<Reached<'a>, ConnectFailure> {
    let via = via(resolver, &request.origin).map_err(ConnectFailure::Connect)?;
    let session = session(
        tls,
        server,
        &via,
        request.origin.header,
        request.agreed,
        deadline,
    )
    .await?;
    Ok(Reached {
        stream: Stream::Tls(session),
        rest: Ok(Cow::Borrowed(request.first)),
        deadline,
    })
}

/// Connects to a server and makes a session, before `deadline`. `header` is sent ahead of it.
///
/// Where another server answers at the address that the server's name has had, the name is asked
/// for again, and the server looked for at another address.
pub(super) async fn session(
    tls: &Connector,
    server: &UpstreamAddr,
    via: &Via<'_>,
    header: &[u8],
    agreed: Option<&Alpn>,
    deadline: Instant,
) -> Result<Box<dyn TlsSession>, ConnectFailure> {
    let (addr, failure) = match session_at(tls, server, via, header, agreed, deadline).await {
        Err((Some(addr), failure)) if server.is_name() && failure.is_somebody_else() => {
            (addr, failure)
        }
        made => return made.map_err(|(_, failure)| failure),
    };
    let elsewhere = Via {
        instead_of: Some(addr),
        ..*via
    };
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
) -> Result<Box<dyn TlsSession>, (Option<SocketAddr>, ConnectFailure)> {
    let connected = connect(server, via, header, deadline)
        .await
        .map_err(|error| (None, ConnectFailure::Connect(error)))?;
    let stream = connected
        .send(deadline)
        .await
        .map_err(|error| (None, ConnectFailure::Header(error)))?;
    let Stream::Tcp(tcp) = stream else {
        // The configuration knows no TLS over unix sockets.
        return Err((
            None,
            ConnectFailure::Connect(io::ErrorKind::Unsupported.into()),
        ));
    };
    let addr = tcp.peer_addr().ok();
    let session = async {
        match tls.connect(Transport::Tcp(tcp), server, agreed).await {
            Ok(session) => Ok(session as Box<dyn TlsSession>),
            Err(error) => Err(ConnectFailure::Tls(Box::new(error))),
        }
    };
    let late = |_| Err(ConnectFailure::LateHandshake(tls.advice_on_silence()));
    timeout_at(deadline, session)
        .await
        .unwrap_or_else(late)
        .map_err(|failure| (addr, failure))
}
