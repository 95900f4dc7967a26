//! Admission of a connection to a route: the PROXY header, the hello, the table.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::debug;

use crate::addr::ClientAddr;
use crate::net::{Transport, cold};
use crate::proxy::connection::Connection;
use crate::proxy::{Action, Error, Port, Route, header, hello};
use crate::route::LookupKey;
use crate::telemetry::{Hello, Proxied};
use crate::tls::Signatures;
use crate::wire::proxy_header::ProxyHeader;
use crate::wire::{ClientHello, RequestedName};

/// A client may offer thousands of protocols; what the log shows of them is kept for as long as the
/// connection.
const MAX_LOGGED_ALPN: usize = 16;

/// The only protocol that a validation by `tls-alpn-01` offers (RFC 8737 §3).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// Reads the hello and looks up the route in the table of that moment: a reload counts for
/// everybody whose hello it comes before, however long ago they connected.
///
/// No connection holds a listener while it waits, and so none keeps a whole table in memory.
pub(super) async fn admit(
    port: Arc<Port>,
    client: &mut Transport,
    connection: &mut Connection,
) -> Result<(Arc<Route>, Vec<u8>), Error> {
    let deadline = connection.record().accepted + port.listener.load().hello_timeout;
    let peer = connection.record().peer;
    let (hello, preface) = if connection.is_proxy {
        cold(read_proxied(&port, client, deadline, connection)).await?
    } else {
        let mut received = 0;
        let hold = |bytes| connection.hold(bytes, &port.listener.load().limits);
        let read = hello::read(&[], client, deadline, &mut received, hold).await;
        connection.place.live.aside.received.set(received);
        read?
    };
    let listener = port.listener.load();
    if header::is_due(&listener.proxies, peer) != connection.is_proxy {
        // A reload has changed whom headers are believed of since this one was, or was not, asked
        // for one.
        return Err(if connection.is_proxy {
            Error::UnexpectedProxyHeader
        } else {
            Error::NoProxyHeader
        });
    }
    let record = connection.record();
    record.hello_time.set(record.accepted.elapsed());
    debug!(id = format_args!("{:016x}", connection.id()), versions = ?hello.versions, groups = ?hello.groups, ech = hello.ech, "hello");
    let alpn = listener.routes.relevant(&hello.alpn);
    let key = LookupKey {
        name: hello.server_name.name(),
        client: record.client().ip(),
        alpn: &alpn,
    };
    // A name that is none (with a port in it, say) must not pass for no name: no route is
    // configured for it.
    let routable = !matches!(hello.server_name, RequestedName::Unusable(_));
    let route = if routable {
        listener.routes.lookup(&key).cloned()
    } else {
        None
    };
    let mut unspoken = None;
    if let Some(Action::Terminate(acceptor, _)) = route.as_ref().map(|route| &route.action) {
        connection.signatures = Signatures::of(&hello);
        unspoken = acceptor.judge_versions(&hello);
    }
    let is_validation = hello.alpn.is_only(ACME_TLS);
    remember(hello, connection);
    let Some(route) = route else {
        let name = || connection.record().server_name().cloned();
        return Err(if is_validation {
            Error::NoValidationRoute(name())
        } else {
            Error::NoRoute
        });
    };
    connection.matched(&route).map_err(Error::Limit)?;
    if let Some(why) = unspoken {
        return Err(Error::Version(why));
    }
    if let Action::Terminate(..) = route.action {
        connection
            .counts()
            .handshakes
            .limit(listener.limits.max_handshakes);
    }
    Ok((route, preface))
}

/// Reads a PROXY header, from which on the connection is that of the client it names, and then the
/// hello.
async fn read_proxied(
    port: &Port,
    client: &mut Transport,
    deadline: Instant,
    connection: &mut Connection,
) -> Result<(ClientHello, Vec<u8>), Error> {
    let (header, behind) = header::read(client, deadline).await?;
    match header {
        ProxyHeader::Local => {}
        ProxyHeader::Client(ends) => {
            let destination = ends.map(|ends| ends.destination());
            let client = ends.map_or(ClientAddr::Unknown, |ends| ends.source().into());
            let proxied = Proxied {
                client,
                destination,
            };
            let _ = connection.record().proxied.set(Box::new(proxied));
            connection
                .speaks_for(&port.listener.load().limits)
                .map_err(Error::Limit)?;
        }
    }
    let mut received = 0;
    let hold = |bytes| connection.hold(bytes, &port.listener.load().limits);
    let read = hello::read(&behind, client, deadline, &mut received, hold).await;
    connection.place.live.aside.received.set(received);
    read
}

fn remember(hello: ClientHello, connection: &mut Connection) {
    let hello = Hello {
        server_name: hello.server_name,
        alpn: hello.alpn.first(MAX_LOGGED_ALPN),
    };
    let _ = connection.record().hello.set(hello);
}
