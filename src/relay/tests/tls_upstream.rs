//! TLS between the relay and the server, and on both sides.

use std::io::ErrorKind;
use std::net::Shutdown;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::support::{
    acknowledged, both_ways, narrow_pair, noise, pair, read_all, reset, run, within,
};
use super::tls::{handshake, sessions};
use crate::net::{Stream, Transport};
use crate::relay::{Meter, Moved, RelayError, RelayOptions, Side};

/// The stream that the relay has of a TLS server, and the server.
async fn server(pair: (TcpStream, TcpStream)) -> (Stream, TlsStream<TcpStream>) {
    let (near, far) = sessions((Transport::from(pair.0), pair.1)).await;
    (Stream::Tls(Box::new(near)), far)
}

#[tokio::test]
async fn half_closed_client_still_receives_the_answer_of_a_tls_server() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, server(pair().await).await);
    let meter = Meter::default();
    let relay = run(Stream::Tcp(inner), outer, &meter, RelayOptions::default());
    let peers = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        // An error here would say that the relay's close_notify is missing.
        assert_eq!(read_all(&mut server).await, b"question");
        server.write_all(b"the answer").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, b"the answer");
    };
    within(async { tokio::join!(relay, peers) })
        .await
        .0
        .unwrap();
    assert_eq!(
        meter.read(),
        Moved {
            sent: 10,
            received: 8,
            ..Moved::default()
        }
    );
}

#[tokio::test]
async fn half_closed_tls_server_still_receives_the_rest_of_a_tls_client() {
    let ((mut client, inner), (outer, mut server)) =
        (handshake(pair().await).await, server(pair().await).await);
    let meter = Meter::default();
    let relay = run(inner, outer, &meter, RelayOptions::default());
    let peers = async {
        server.write_all(b"go away").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, b"go away");
        client.write_all(b"farewell").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut server).await, b"farewell");
    };
    within(async { tokio::join!(relay, peers) })
        .await
        .0
        .unwrap();
    assert_eq!(
        meter.read(),
        Moved {
            sent: 7,
            received: 8,
            ..Moved::default()
        }
    );
}

/// Whoever can cut a connection could otherwise make half of an answer look like a whole one.
#[tokio::test]
async fn tls_server_that_ends_without_close_notify_is_no_clean_end_for_a_tls_client() {
    let ((mut client, inner), (outer, mut server)) =
        (handshake(pair().await).await, server(pair().await).await);
    let meter = Meter::default();
    let relay = run(inner, outer, &meter, RelayOptions::default());
    let peers = async {
        server.write_all(b"half of the ans").await.unwrap();
        SockRef::from(server.get_ref().0)
            .shutdown(Shutdown::Write)
            .unwrap();
        let mut received = Vec::new();
        let error = client
            .read_to_end(&mut received)
            .await
            .expect_err("it may be incomplete");
        assert_eq!(
            (error.kind(), received.as_slice()),
            (ErrorKind::UnexpectedEof, &b"half of the ans"[..])
        );
        // The other direction goes on.
        client.write_all(b"farewell").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut server).await, b"farewell");
    };
    within(async { tokio::join!(relay, peers) })
        .await
        .0
        .unwrap();
    assert_eq!(
        meter.read(),
        Moved {
            sent: 15,
            received: 8,
            server_truncated: true,
            ..Moved::default()
        }
    );
}

#[tokio::test]
async fn bytes_are_exact_both_ways_between_two_sessions_and_the_last_of_them_are_flushed() {
    let ((client, inner), (outer, server)) = (
        handshake(narrow_pair().await).await,
        server(narrow_pair().await).await,
    );
    let meter = Meter::default();
    let relay = run(inner, outer, &meter, RelayOptions::default());
    within(async { tokio::join!(relay, both_ways(client, server)) })
        .await
        .0
        .unwrap();
    assert_eq!(
        (meter.read().sent, meter.read().received),
        (2_000_003, 2_000_003)
    );
}

#[tokio::test]
async fn reset_of_one_session_resets_the_other() {
    for side in [Side::Client, Side::Server] {
        let ((client, inner), (outer, server)) =
            (handshake(pair().await).await, server(pair().await).await);
        let meter = Meter::default();
        let relay = run(inner, outer, &meter, RelayOptions::default());
        let peers = async {
            let error = if side == Side::Client {
                reset(client.into_inner().0);
                let mut server = server;
                server.read(&mut [0; 8]).await
            } else {
                reset(server.into_inner().0);
                let mut client = client;
                client.read(&mut [0; 8]).await
            };
            error
                .expect_err("an abort must not look like a clean end")
                .kind()
        };
        let (result, kind) = within(Box::pin(async { tokio::join!(relay, peers) })).await;
        assert!(
            matches!(result, Err(RelayError::Reset(by)) if by == side),
            "{side}: {result:?}"
        );
        // Where the last of the handshake is not acknowledged yet, it is delivered first.
        assert!(
            matches!(kind, ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
            "{side}: {kind:?}"
        );
    }
}

#[tokio::test]
async fn client_receives_what_a_tls_server_had_sent_but_no_close_notify_after_its_reset() {
    let ((mut client, inner), (outer, mut server)) = (
        handshake(narrow_pair().await).await,
        server(pair().await).await,
    );
    let answer = noise(96 * 1024, 3);
    let meter = Meter::default();
    let relay = run(inner, outer, &meter, RelayOptions::default());
    let peers = async {
        server.write_all(&answer).await.unwrap();
        server.flush().await.unwrap();
        acknowledged(server.get_ref().0).await;
        reset(server.into_inner().0);
        let mut received = Vec::new();
        let error = client
            .read_to_end(&mut received)
            .await
            .expect_err("the answer may be incomplete");
        assert!(answer.starts_with(&received));
        drop(client);
        error
    };
    let (result, error) = within(async { tokio::join!(relay, peers) }).await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Server))),
        "{result:?}"
    );
    assert!(
        matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
        ),
        "{error:?}"
    );
}
