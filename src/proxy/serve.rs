//! One connection from its first byte to its last.
//!
//! The upstream is dialled only when the client has been routed and, where that is asked for,
//! verified.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::addr::ClientAddr;
use crate::name::ServerName;
use crate::net::{LINGER, Stream, Transport, close_in_order};
use crate::proxy::connections::Live;
use crate::proxy::counts::Admitted;
use crate::proxy::proxy_header::ClientStream;
use crate::proxy::session::Session;
use crate::proxy::{
    Action, Connections, Error, Limit, Listener, Port, Route, SourceNetwork, header, hello,
    proxy_header,
};
use crate::relay::{self, Side, relay};
use crate::route::LookupKey;
use crate::telemetry::{Ending, Outcome, Party, Proxied, Record};
use crate::tls::{Acceptor, Signatures};
use crate::upstream::{ClientInfo, ConnectRequest, Lease, Upstream};
use crate::wire::proxy_header::ProxyHeader;
use crate::wire::{ClientHello, RequestedName, reframe};

/// A client may offer thousands of protocols; what the log shows of them is kept for as long as the
/// connection.
const MAX_LOGGED_ALPN: usize = 16;

/// The only protocol that a validation by `tls-alpn-01` offers (RFC 8737 §3).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// Serves a connection in a task of its own, or refuses it where it is one too many.
pub(super) fn start(
    connections: &Arc<Connections>,
    port: &Arc<Port>,
    client: Transport,
    addr: ClientAddr,
) {
    let listener = port.listener.load();
    let is_proxy = header::is_due(&listener.proxies, addr);
    // Another proxy speaks for many clients: which one it is is not known yet.
    let source = if is_proxy {
        None
    } else {
        SourceNetwork::of(addr)
    };
    let admitted = match Admitted::new(&listener.counts, &listener.limits, source) {
        Ok(admitted) => admitted,
        Err(limit) => return turn_away(connections, &listener, addr, &limit),
    };
    // Boxed: the compiler keeps an argument twice in a future, once as it came and once as it is
    // used.
    let mut session = Box::new(Session::begin(connections, &listener, addr, admitted));
    session.is_proxy = is_proxy;
    session.wait(&listener.limits, source);
    connections.spawn(session.id(), serve(Arc::clone(port), client, session));
}

/// Records a connection that is one too many, and is closed at once. It gets no alert: to send one,
/// and to see to it that it arrives, would cost as much as serving a connection, just when there
/// are too many.
fn turn_away(connections: &Connections, listener: &Listener, addr: ClientAddr, limit: &Limit) {
    let ending = crate::proxy::error::limited(limit);
    let record = Record::new(connections.number(), Arc::clone(&listener.name), addr);
    connections.counters.refused(ending.outcome);
    if listener.access_log {
        connections.access_log.write(&record, &ending);
    }
}

#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps its arguments twice, once as they came"
)]
fn serve(
    port: Arc<Port>,
    mut client: Transport,
    mut session: Box<Session>,
) -> impl Future<Output = ()> + Send + 'static {
    async move {
        let (route, preface) = match admit(port, &mut client, &mut session).await {
            Ok(admitted) => admitted,
            Err(error) => return Box::pin(refuse(client, &error, &mut session)).await,
        };
        // A reload has removed the route since it was looked up: the session knows.
        if !session.place.tie(&route) {
            return;
        }
        match &route.action {
            Action::Reject => Box::pin(refuse(client, &Error::Rejected, &mut session)).await,
            Action::Terminate(acceptor, upstream) => {
                Box::pin(terminate(
                    &route,
                    acceptor,
                    upstream,
                    client,
                    reframe(preface),
                    session,
                ))
                .await;
            }
            Action::Passthrough(upstream) => {
                let connected = if upstream.options().hides_clients() {
                    connect(&route, upstream, &[], &preface, &mut session).await
                } else {
                    Box::pin(proxy_header(
                        &route,
                        upstream,
                        ClientStream::Passthrough(&client),
                        &preface,
                        &mut session,
                    ))
                    .await
                };
                match connected {
                    Ok((server, _lease)) => {
                        // The connection may last for days; the hello must not.
                        drop(preface);
                        move_bytes(&route, client.into(), server, &mut session).await;
                    }
                    Err(error) => Box::pin(refuse(client, &error, &mut session)).await,
                }
            }
        }
    }
}

/// Reads the hello and looks up the route in the table of that moment: a reload counts for
/// everybody whose hello it comes before, however long ago they connected.
///
/// No connection holds a listener while it waits, and so none keeps a whole table in memory.
async fn admit(
    port: Arc<Port>,
    client: &mut Transport,
    session: &mut Session,
) -> Result<(Arc<Route>, Vec<u8>), Error> {
    let deadline = session.record.accepted + port.listener.load().hello_timeout;
    let peer = session.record.client;
    let (hello, preface) = if session.is_proxy {
        // Boxed, because few connections come through another proxy.
        Box::pin(read_proxied(&port, client, deadline, session)).await?
    } else {
        let mut received = 0;
        let hold = |bytes| session.hold(bytes, &port.listener.load().limits);
        let read = hello::read(client, deadline, &mut received, hold).await;
        session.record.received = received;
        read?
    };
    let listener = port.listener.load();
    if header::is_due(&listener.proxies, peer) != session.is_proxy {
        // A reload has changed whom headers are believed of since this one was, or was not, asked
        // for one.
        return Err(if session.is_proxy {
            Error::UnexpectedProxyHeader
        } else {
            Error::NoProxyHeader
        });
    }
    session.record.hello = Some(session.record.accepted.elapsed());
    debug!(id = format_args!("{:016x}", session.id()), versions = ?hello.versions, groups = ?hello.groups, ech = hello.ech, "hello");
    let alpn = listener.routes.relevant(&hello.alpn);
    let key = LookupKey {
        name: hello.server_name.name(),
        client: session.record.client.ip(),
        alpn: &alpn,
    };
    // A name that is none (with a port in it, say) must not pass for no name: nobody configured a
    // route for it.
    let routable = !matches!(hello.server_name, RequestedName::Unusable(_));
    let route = if routable {
        listener.routes.lookup(&key).cloned()
    } else {
        None
    };
    let mut unspoken = None;
    if let Some(Action::Terminate(acceptor, _)) = route.as_ref().map(|route| &route.action) {
        session.signatures = Signatures::of(&hello);
        unspoken = acceptor.judge_versions(&hello);
    }
    let is_validation = hello.alpn.is_only(ACME_TLS);
    remember(hello, session);
    let Some(route) = route else {
        let name = || session.record.server_name.name().cloned();
        return Err(if is_validation {
            Error::NoValidationRoute(name())
        } else {
            Error::NoRoute
        });
    };
    session.matched(&route).map_err(Error::Limit)?;
    if let Some(why) = unspoken {
        return Err(Error::Version(why));
    }
    if let Action::Terminate(..) = route.action {
        session
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
    session: &mut Session,
) -> Result<(ClientHello, Vec<u8>), Error> {
    let (header, behind) = header::read(client, deadline).await?;
    match header {
        ProxyHeader::Local => {}
        ProxyHeader::Client(ends) => {
            let destination = ends.map(|ends| ends.destination());
            session.record.proxied = Some(Box::new(Proxied {
                peer: session.record.client,
                destination,
            }));
            session.record.client = ends.map_or(ClientAddr::Unknown, |ends| ends.source().into());
            session
                .speaks_for(&port.listener.load().limits)
                .map_err(Error::Limit)?;
        }
    }
    let mut received = 0;
    let hold = |bytes| session.hold(bytes, &port.listener.load().limits);
    let read = hello::read_behind(&behind, client, deadline, &mut received, hold).await;
    session.record.received = received;
    read
}

fn remember(hello: ClientHello, session: &mut Session) {
    session.record.server_name = hello.server_name;
    session.record.alpn = hello.alpn.first(MAX_LOGGED_ALPN);
}

/// Tells the client why, where that can be told before TLS has begun, and closes.
async fn refuse(mut client: Transport, error: &Error, session: &mut Session) {
    if let Error::Silent = error {
        return session.end_silently();
    }
    session.end(error.ending());
    if let Some(alert) = error.alert() {
        // Seven bytes always fit into the buffer of a socket that has sent nothing else.
        session.record.sent += client.write_now(&alert.record()).unwrap_or(0) as u64;
        close_in_order(&mut client, Instant::now() + LINGER).await;
    }
}

/// Connects to a server that is told of the client, and sends it `first`.
async fn proxy_header<'a>(
    route: &Route,
    upstream: &'a Upstream,
    client: ClientStream<'_>,
    first: &[u8],
    session: &mut Session,
) -> Result<(Stream, Lease<'a>), Error> {
    let header = proxy_header::header(upstream, &client, session)?;
    connect(route, upstream, &header, first, session).await
}

/// Connects to a server and sends it the PROXY header, if there is one, and `first`: every byte
/// that the client has sent so far.
///
/// A server that speaks TLS is asked for the protocol that was agreed on with the client, if one
/// was. The lease is the connection's place at the server, for as long as the connection lasts.
async fn connect<'a>(
    route: &Route,
    upstream: &'a Upstream,
    header: &[u8],
    first: &[u8],
    session: &mut Session,
) -> Result<(Stream, Lease<'a>), Error> {
    session.record.upstream = Some((Arc::clone(&upstream.options().name), None));
    // What a client offers counts for nothing before there is a session with it.
    let agreed = session.record.tls_version.and(session.record.alpn.first());
    let start = Instant::now();
    let origin = ClientInfo {
        client: session.record.client,
        header,
        transparent: upstream.options().transparent,
    };
    let request = ConnectRequest {
        first,
        agreed,
        origin,
        timeout: route.settings.connect_timeout,
    };
    let connected = upstream.connect(&request, &mut session.record.failed).await;
    session.record.connect = Some(start.elapsed());
    let (server, lease) = connected.map_err(|error| Error::Connect(Box::new(error)))?;
    session.record.upstream = Some((
        Arc::clone(&upstream.options().name),
        Some(lease.addr().clone()),
    ));
    if lease.addr().is_name() {
        session.record.reached = server
            .tcp()
            .and_then(|tcp| tcp.peer_addr().ok())
            .map(Box::new);
    }
    Ok((server, lease))
}

async fn terminate(
    route: &Arc<Route>,
    acceptor: &Arc<Acceptor>,
    upstream: &Upstream,
    client: Transport,
    preface: Vec<u8>,
    mut session: Box<Session>,
) {
    // Boxed, like the way to the server: the connection may last for days, and the handshakes'
    // state must not.
    let Some(client) = Box::pin(handshake(route, acceptor, client, &preface, &mut session)).await
    else {
        return;
    };
    drop(preface);
    // From here on the counts are those of the plaintext.
    session.record.received = 0;
    match Box::pin(proxy_header(
        route,
        upstream,
        ClientStream::Terminated(&client),
        &[],
        &mut session,
    ))
    .await
    {
        Ok((server, _lease)) => move_bytes(route, client, server, &mut session).await,
        Err(error) => {
            session.end(error.ending());
            Box::pin(turn_out(client)).await;
        }
    }
}

/// Ends a session with a client for whom there is no server, without `close_notify`: a client must
/// not take this for the end of an empty answer. What the client has sent is read, or it would meet
/// a reset or an end by the luck of its timing.
async fn turn_out(client: Stream) {
    if let Some(mut socket) = client.into_transport_below_tls() {
        close_in_order(&mut socket, Instant::now() + LINGER).await;
    }
}

/// A session with a client that may come in; otherwise the client has been told why not, and is
/// gone.
async fn handshake(
    route: &Arc<Route>,
    acceptor: &Arc<Acceptor>,
    client: Transport,
    preface: &[u8],
    session: &mut Session,
) -> Option<Stream> {
    let name: Option<ServerName> = session.record.server_name.name().cloned();
    let proxied = session.record.proxied.as_deref();
    let local_ip = || match proxied.and_then(|proxied| proxied.destination) {
        Some(destination) => Some(destination.ip().to_canonical()),
        None => client.local_ip(),
    };
    let Some(choice) = acceptor.select_for(session.signatures, name.as_ref(), local_ip) else {
        // Strict routes take no client without a name, so there is one.
        let error = name.map_or(Error::NoRoute, Error::NameNotCovered);
        refuse(client, &error, session).await;
        return None;
    };
    let start = Instant::now();
    let deadline = start + route.settings.handshake_timeout;
    let handshakes = &session.counts().handshakes;
    let limit =
        |limit: fn(u32) -> Limit| limit(u32::try_from(handshakes.most()).unwrap_or(u32::MAX));
    let slow = |id| {
        session.place.connections().cut(
            id,
            crate::proxy::error::limited(&limit(Limit::SlowHandshake)),
        )
    };
    let source = SourceNetwork::of(session.record.client);
    let Some(underway) = handshakes.begin(session.id(), source, deadline, slow).await else {
        let limit = limit(Limit::MaxHandshakes);
        session.end(Error::Limit(limit).ending());
        return None;
    };
    let accepted = timeout_at(deadline, choice.accept(client, preface, name.as_ref())).await;
    drop(underway);
    session.record.handshake = Some(start.elapsed());
    match accepted {
        Ok(Ok(accepted)) => {
            // False where a reload took the permission back while the handshake was on its way.
            let stays = session.place.admit(route, acceptor, &accepted);
            session.record.tls_version = Some(accepted.version);
            session.record.alpn = accepted.alpn.into_iter().collect();
            session.record.certificate = accepted.certificate.map(Box::new);
            let client = Stream::Tls(accepted.stream);
            if !stays {
                // An alert would come too late: the handshake is over.
                relay::abort(&client);
                return None;
            }
            Some(client)
        }
        Ok(Err(mut error)) => {
            session.record.certificate = error.shown.take();
            session.end(crate::proxy::error::handshake(&error));
            close_in_order(&mut error.stream, Instant::now() + LINGER).await;
            None
        }
        Err(_) => {
            session.end(Error::HandshakeTimeout.ending());
            None
        }
    }
}

/// The streams of a relay, which may be cut off from outside. Then both sides must see that it was
/// cut off: half a request is not a whole one.
struct RelayStreams<'a> {
    streams: Option<(Stream, Stream)>,
    live: &'a Live,
}

impl Drop for RelayStreams<'_> {
    fn drop(&mut self) {
        if let (Some((client, server)), Some(_)) = (&self.streams, self.live.cut()) {
            relay::abort(client);
            relay::abort(server);
        }
    }
}

async fn move_bytes(route: &Route, client: Stream, server: Stream, session: &mut Session) {
    let mut ends = RelayStreams {
        streams: Some((client, server)),
        live: &session.place.live,
    };
    let Some((client, server)) = &mut ends.streams else {
        unreachable!("the streams are taken at the end")
    };
    let relaying = relay(client, server, &mut session.meter, &route.settings.relay);
    let relayed = match route.settings.max_lifetime {
        None => Some(relaying.await),
        // Boxed: a timer of its own is for those connections alone that have an end.
        Some(lifetime) => Box::pin(timeout_at(session.record.accepted + lifetime, relaying))
            .await
            .ok(),
    };
    let Some((client, server)) = ends.streams.take() else {
        unreachable!("the streams are taken here")
    };
    drop(ends);
    let Some(relayed) = relayed else {
        // Nobody must take this for the end of what the other had to say.
        relay::abort(&client);
        relay::abort(&server);
        return session.end(Ending::new(Outcome::MaxLifetime, Party::Proxy));
    };
    let error = match relayed {
        Ok(Side::Client) => {
            return session.end(Ending::new(Outcome::Closed, Party::Client));
        }
        Ok(Side::Server) => return session.end(Ending::new(Outcome::Closed, Party::Server)),
        Err(error) => error,
    };
    let alerted = match error {
        relay::RelayError::Io(side, _) => Some(side),
        _ => None,
    };
    session.end(Error::Relay(error).ending());
    let alerted = match alerted {
        Some(Side::Client) => {
            drop(server);
            client
        }
        Some(Side::Server) => {
            drop(client);
            server
        }
        None => return,
    };
    if let Some(mut socket) = alerted.into_transport_below_tls() {
        // The session has written its alert, which a close with input unread would take back.
        Box::pin(close_in_order(&mut socket, Instant::now() + LINGER)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::addr::ListenAddr;
    use crate::proxy::Limits;
    use crate::route::Table;

    /// A connection in passthrough is this, two sockets of the runtime, and little else that is not
    /// shared.
    #[tokio::test]
    async fn a_connections_task_is_small() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(server.local_addr().unwrap())
            .await
            .unwrap();
        let addr = ClientAddr::from(client.peer_addr().unwrap());
        let listener = Arc::new(Listener {
            name: "edge".into(),
            hello_timeout: Duration::from_secs(5),
            proxies: Box::default(),
            access_log: false,
            limits: Limits::default(),
            counts: Arc::default(),
            routes: Arc::new(Table::build([]).0),
        });
        let admitted = Admitted::new(&listener.counts, &listener.limits, None).unwrap();
        let session = Box::new(Session::begin(&Arc::default(), &listener, addr, admitted));
        let port = Port {
            addr: ListenAddr::DualStack(443),
            listener: ArcSwap::new(listener),
        };
        // Ten thousand idle connections are to cost less than 25 MiB, and the runtime's own part is
        // a kilobyte.
        let record = size_of_val(&*session);
        // The allocator has no size between 384 and 448.
        assert!(record <= 448, "{record} bytes");
        let task = size_of_val(&serve(Arc::new(port), client.into(), session));
        assert!(task <= 900, "{task} bytes");
    }
}
