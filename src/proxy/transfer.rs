//! Transfer between a client and a server: the relay, and how its end is told to both.

use tokio::time::{Instant, timeout_at};

use crate::net::{LINGER, Stream, close_in_order, cold};
use crate::proxy::connection::Connection;
use crate::proxy::connections::Live;
use crate::proxy::error::party;
use crate::proxy::{Error, Route};
use crate::relay::{self, Side, relay};
use crate::telemetry::{Ending, Outcome};

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

/// Moves bytes between the client and the server until both have ended.
pub(super) async fn transfer(
    route: &Route,
    client: Stream,
    server: Stream,
    connection: &mut Connection,
) {
    let mut ends = RelayStreams {
        streams: Some((client, server)),
        live: &connection.place.live,
    };
    let Some((client, server)) = &mut ends.streams else {
        unreachable!("the streams are taken at the end")
    };
    let relaying = relay(
        client,
        server,
        &connection.place.live.meter,
        &route.settings.relay,
    );
    let relayed = match route.settings.max_lifetime {
        None => Some(relaying.await),
        Some(lifetime) => cold(timeout_at(
            connection.record().accepted + lifetime,
            relaying,
        ))
        .await
        .ok(),
    };
    let Some((client, server)) = ends.streams.take() else {
        unreachable!("the streams are taken here")
    };
    drop(ends);
    let Some(relayed) = relayed else {
        // The client must not take this for the end of what the server had to say.
        relay::abort(&client);
        relay::abort(&server);
        return connection.end(Error::MaxLifetime.ending());
    };
    let error = match relayed {
        Ok(side) => return connection.end(Ending::new(Outcome::Closed, party(side))),
        Err(error) => error,
    };
    let alerted = match error {
        relay::RelayError::Io(side, _) => Some(side),
        _ => None,
    };
    connection.end(Error::Relay(error).ending());
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
        cold(close_in_order(&mut socket, Instant::now() + LINGER)).await;
    }
}
