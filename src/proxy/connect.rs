//! Connection to a server on behalf of a client, and what the server is told of the client.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::net::{Stream, Transport};
use crate::proxy::connection::Connection;
use crate::proxy::{Error, Route};
use crate::tls::SessionFacts;
use crate::upstream::{
    ClientInfo, ConnectError, ConnectRequest, Facts, Lease, TerminatedSession, Upstream,
};

/// The client that a server is reached for.
pub(super) enum Client<'a> {
    /// Its bytes go on as they are.
    Passthrough(&'a Transport),
    /// Its TLS session ends here. The facts are there where servers are told of them.
    Terminated(&'a Stream, Option<&'a SessionFacts>),
}

impl<'a> Client<'a> {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Passthrough(Transport::Tcp(tcp)) => Some(tcp),
            Self::Passthrough(Transport::Unix(_)) => None,
            Self::Terminated(stream, _) => stream.tcp(),
        }
    }

    fn facts(&self) -> Option<&'a SessionFacts> {
        match self {
            Self::Passthrough(_) => None,
            Self::Terminated(_, facts) => *facts,
        }
    }
}

/// Connects to a server, tells it of the client where it is to be told, and sends it `first`: every
/// byte that the client has sent so far, or none where TLS ends here. A server that speaks TLS is
/// asked for the protocol that was agreed on with the client, if one was.
///
/// The lease is the connection's place at the server, for as long as the connection lasts.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps its arguments twice, once as they came"
)]
pub(super) fn connect<'a>(
    route: &Route,
    upstream: &'a Upstream,
    client: Client<'_>,
    first: &[u8],
    connection: &mut Connection,
) -> impl Future<Output = Result<(Stream, Lease<'a>), Error>> + Send {
    async move {
        let header = header(upstream, &client, connection)?;
        let _ = connection
            .record()
            .upstream
            .set(Arc::clone(&upstream.options().name));
        // What a client offers counts for nothing before there is a session with it.
        let agreed = connection
            .record()
            .session
            .get()
            .and_then(|session| session.alpn.as_ref());
        let start = Instant::now();
        let origin = ClientInfo {
            client: connection.record().client(),
            header: &header,
            transparent: upstream.options().transparent,
        };
        let request = ConnectRequest {
            first,
            agreed,
            origin,
            timeout: route.settings.connect_timeout,
        };
        let record = connection.record();
        let connected = upstream.connect(&request, &record.failed).await;
        record.connect_time.set(start.elapsed());
        let (server, lease) = connected.map_err(|error| Error::Connect(Box::new(error)))?;
        let _ = record.server.set(lease.addr().clone());
        if lease.addr().is_name()
            && let Some(reached) = server.tcp().and_then(|tcp| tcp.peer_addr().ok())
        {
            let _ = record.reached.set(Box::new(reached));
        }
        Ok((server, lease))
    }
}

/// The PROXY header that the servers are sent first; empty if they are sent none.
fn header(
    upstream: &Upstream,
    client: &Client<'_>,
    connection: &Connection,
) -> Result<Vec<u8>, Error> {
    let Some(proxy_protocol) = upstream.options().proxy_protocol else {
        return Ok(Vec::new());
    };
    let record = connection.record();
    let proxied = record.proxied_destination();
    let facts = Facts {
        client: record.client(),
        destination: proxied.or_else(|| client.tcp()?.local_addr().ok()),
        id: record.id,
        server_name: record.server_name(),
        session: record.session.get().map(|session| TerminatedSession {
            version: session.version,
            alpn: session.alpn.as_ref(),
            certificate: record.certificate.get().map(AsRef::as_ref),
            facts: client.facts(),
        }),
    };
    proxy_protocol
        .header(&facts)
        .map_err(|error| Error::Connect(Box::new(ConnectError::Header(error))))
}
