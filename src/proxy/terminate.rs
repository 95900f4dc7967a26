//! Termination of a client's TLS session.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use crate::name::ServerName;
use crate::net::{LINGER, Stream, Transport, close_in_order, cold};
use crate::proxy::connect::{Client, connect};
use crate::proxy::connection::Connection;
use crate::proxy::refuse::{refuse, turn_out};
use crate::proxy::transfer::transfer;
use crate::proxy::{Error, Limit, Route, SourceNetwork};
use crate::relay;
use crate::telemetry::Established;
use crate::tls::{Accepted, Acceptor, Choice, SessionFacts};
use crate::upstream::{ProxyProtocol, Upstream};

/// A client that came in.
struct Terminated {
    stream: Stream,
    /// Where the servers are told of it.
    facts: Option<SessionFacts>,
}

/// Serves a client whose TLS session ends here, from the handshake on.
pub(super) async fn terminate(
    route: &Arc<Route>,
    acceptor: &Arc<Acceptor>,
    upstream: &Upstream,
    client: Transport,
    preface: Vec<u8>,
    mut connection: Box<Connection>,
) {
    let tells = upstream
        .options()
        .proxy_protocol
        .is_some_and(ProxyProtocol::tells_session_facts);
    // The connection may last for days, and the state of the handshake must not.
    let handshake = cold(handshake(
        route,
        acceptor,
        client,
        &preface,
        tells,
        &mut connection,
    ));
    let Some(Terminated { stream, facts }) = handshake.await else {
        return;
    };
    drop(preface);
    // From here on the counts are those of the plaintext.
    connection.place.live.aside.received.set(0);
    let client = Client::Terminated(&stream, facts.as_ref());
    let connected = cold(connect(route, upstream, client, &[], &mut connection)).await;
    // The connection may last for days, and a certificate may have kilobytes.
    drop(facts);
    match connected {
        Ok((server, _lease)) => transfer(route, stream, server, &mut connection).await,
        Err(error) => {
            connection.end(error.ending());
            cold(turn_out(stream)).await;
        }
    }
}

/// A session with a client that may come in; otherwise the client has been told why not, and is
/// gone.
async fn handshake(
    route: &Arc<Route>,
    acceptor: &Arc<Acceptor>,
    client: Transport,
    preface: &[u8],
    tells: bool,
    connection: &mut Connection,
) -> Option<Terminated> {
    let name = connection.record().server_name().cloned();
    let Some(choice) = choose(acceptor, name.as_ref(), &client, connection) else {
        // Strict routes take no client without a name, so there is one.
        let error = name.map_or(Error::NoRoute, Error::NameNotCovered);
        refuse(client, &error, connection).await;
        return None;
    };
    let start = Instant::now();
    let deadline = start + route.settings.handshake_timeout;
    let handshakes = &connection.counts().handshakes;
    let limit = |limit: fn(u32) -> Limit| {
        Error::Limit(limit(u32::try_from(handshakes.most()).unwrap_or(u32::MAX))).ending()
    };
    let slow = |id| {
        connection
            .place
            .connections()
            .cut(id, limit(Limit::SlowHandshake))
    };
    let source = SourceNetwork::of(connection.record().client());
    let Some(underway) = handshakes
        .begin(connection.id(), source, deadline, slow)
        .await
    else {
        let ending = limit(Limit::MaxHandshakes);
        connection.end(ending);
        return None;
    };
    let accepted = timeout_at(deadline, choice.accept(client, preface, name.as_ref())).await;
    drop(underway);
    connection.record().handshake_time.set(start.elapsed());
    match accepted {
        Ok(Ok(accepted)) => come_in(route, acceptor, accepted, tells, connection),
        Ok(Err(mut error)) => {
            if let Some(shown) = error.shown.take() {
                let _ = connection.record().certificate.set(shown);
            }
            connection.end(Error::Handshake(Box::new(error.refusal)).ending());
            close_in_order(&mut error.stream, Instant::now() + LINGER).await;
            None
        }
        Err(_) => {
            connection.end(Error::HandshakeTimeout.ending());
            None
        }
    }
}

/// The certificate, and with it the configuration, that the client gets.
fn choose<'a>(
    acceptor: &'a Acceptor,
    name: Option<&ServerName>,
    client: &Transport,
    connection: &Connection,
) -> Option<&'a Choice> {
    let local_ip = || match connection.record().proxied_destination() {
        Some(destination) => Some(destination.ip().to_canonical()),
        None => client.local_ip(),
    };
    acceptor.select_for(connection.signatures, name, local_ip)
}

/// Records a client whose handshake is complete. Nothing where a reload took the permission back
/// while the handshake was on its way.
fn come_in(
    route: &Arc<Route>,
    acceptor: &Arc<Acceptor>,
    mut accepted: Accepted,
    tells: bool,
    connection: &Connection,
) -> Option<Terminated> {
    let stays = connection.place.admit(route, acceptor, &accepted);
    let record = connection.record();
    let established = Established {
        version: accepted.version,
        alpn: accepted.alpn.take(),
    };
    let _ = record.session.set(Box::new(established));
    if let Some(certificate) = accepted.certificate.take() {
        let _ = record.certificate.set(Box::new(certificate));
    }
    let facts = tells.then(|| accepted.facts());
    let stream = accepted.into_stream();
    if !stays {
        // An alert would come too late: the handshake is over.
        relay::abort(&stream);
        return None;
    }
    Some(Terminated { stream, facts })
}
