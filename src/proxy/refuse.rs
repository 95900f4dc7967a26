//! Refusal of a client, before its TLS session and behind it.

use tokio::time::Instant;

use crate::net::{LINGER, Stream, Transport, close_in_order};
use crate::proxy::Error;
use crate::proxy::connection::Connection;

/// Tells the client why, where that can be told before TLS has begun, and closes.
pub(super) async fn refuse(mut client: Transport, error: &Error, connection: &mut Connection) {
    if let Error::Silent = error {
        return connection.end_silently();
    }
    connection.end(error.ending());
    if let Some(alert) = error.alert() {
        // Seven bytes always fit into the buffer of a socket that has sent nothing else.
        let sent = client.write_now(&alert.record()).unwrap_or(0);
        connection.place.live.aside.sent.add(sent as u64);
        close_in_order(&mut client, Instant::now() + LINGER).await;
    }
}

/// Ends a session with a client for whom there is no server, without `close_notify`: a client must
/// not take this for the end of an empty answer. What the client has sent is read, or it would meet
/// a reset or an end by the luck of its timing.
pub(super) async fn turn_out(client: Stream) {
    if let Some(mut socket) = client.into_transport_below_tls() {
        close_in_order(&mut socket, Instant::now() + LINGER).await;
    }
}
