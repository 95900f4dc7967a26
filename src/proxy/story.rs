//! The story of a connection, from its first byte to its last.
//!
//! A server is dialled only when the client has been routed and, where that is asked for, verified.

use std::sync::Arc;

use crate::net::{Transport, cold};
use crate::proxy::admit::admit;
use crate::proxy::connect::{Client, connect};
use crate::proxy::connection::Connection;
use crate::proxy::refuse::refuse;
use crate::proxy::terminate::terminate;
use crate::proxy::transfer::transfer;
use crate::proxy::{Action, Error, Port};
use crate::wire::reframe;

/// Serves a connection to its end.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps its arguments twice, once as they came"
)]
pub(super) fn story(
    port: Arc<Port>,
    mut client: Transport,
    mut connection: Box<Connection>,
) -> impl Future<Output = ()> + Send + 'static {
    async move {
        let (route, preface) = match admit(port, &mut client, &mut connection).await {
            Ok(admitted) => admitted,
            Err(error) => return cold(refuse(client, &error, &mut connection)).await,
        };
        // A reload has removed the route since it was looked up.
        if !connection.place.tie(&route) {
            return;
        }
        match &route.action {
            Action::Reject => cold(refuse(client, &Error::Rejected, &mut connection)).await,
            Action::Terminate(acceptor, upstream) => {
                let preface = reframe(preface);
                let terminated = terminate(&route, acceptor, upstream, client, preface, connection);
                cold(terminated).await;
            }
            Action::Passthrough(upstream) => {
                let passed = Client::Passthrough(&client);
                match connect(&route, upstream, passed, &preface, &mut connection).await {
                    Ok((server, _lease)) => {
                        // The connection may last for days; the hello must not.
                        drop(preface);
                        transfer(&route, client.into(), server, &mut connection).await;
                    }
                    Err(error) => cold(refuse(client, &error, &mut connection)).await,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::addr::{ClientAddr, ListenAddr};
    use crate::proxy::counts::Admitted;
    use crate::proxy::{Limits, Listener};
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
        let connection = Box::new(Connection::begin(
            &Arc::default(),
            &listener,
            addr,
            admitted,
        ));
        let port = Port {
            addr: ListenAddr::DualStack(443),
            listener: ArcSwap::new(listener),
        };
        // Ten thousand idle connections are to cost less than 25 MiB, and the runtime's own part is
        // a kilobyte.
        let (own, live) = (
            size_of_val(&*connection),
            size_of_val(&*connection.place.live),
        );
        assert!(own <= 96, "{own} bytes");
        // Two counts stand before it, and the allocator has no size between 384 and 448.
        let live = live + 2 * size_of::<usize>();
        assert!(live <= 448, "{live} bytes");
        let task = size_of_val(&story(Arc::new(port), client.into(), connection));
        assert!(task <= 900, "{task} bytes");
    }
}
