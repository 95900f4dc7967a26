//! What is put together of a connection, for servers that are told of their clients.

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::net::{Stream, Transport};
use crate::proxy::Error;
use crate::proxy::session::Session;
use crate::tls::SessionFacts;
use crate::upstream::{ConnectError, Facts, TerminatedSession, Upstream};

/// Whom a server is reached for.
pub(super) enum ClientStream<'a> {
    /// Whose bytes go on as they are.
    Passthrough(&'a Transport),
    /// Whose TLS ends here.
    Terminated(&'a Stream),
}

impl ClientStream<'_> {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Passthrough(Transport::Tcp(tcp)) => Some(tcp),
            Self::Passthrough(Transport::Unix(_)) => None,
            Self::Terminated(stream) => stream.tcp(),
        }
    }

    fn tls(&self) -> Option<&TlsStream<Transport>> {
        match self {
            Self::Terminated(Stream::Tls(tls)) => Some(tls),
            _ => None,
        }
    }
}

/// The PROXY header that the servers are sent first; empty if they are sent none.
pub(super) fn header(
    upstream: &Upstream,
    client: &ClientStream<'_>,
    session: &Session,
) -> Result<Vec<u8>, Error> {
    let Some(proxy_protocol) = upstream.options().proxy_protocol else {
        return Ok(Vec::new());
    };
    let record = &session.record;
    let proxied = record
        .proxied
        .as_deref()
        .and_then(|proxied| proxied.destination);
    let facts = Facts {
        client: record.client,
        destination: proxied.or_else(|| client.tcp()?.local_addr().ok()),
        id: record.id,
        server_name: record.server_name.name(),
        session: client
            .tls()
            .zip(record.tls_version)
            .map(|(tls, version)| TerminatedSession {
                version,
                alpn: record.alpn.first(),
                certificate: record.certificate.as_deref(),
                facts: SessionFacts::of(tls),
            }),
    };
    proxy_protocol
        .header(&facts)
        .map_err(|error| Error::Connect(Box::new(ConnectError::Header(error))))
}
