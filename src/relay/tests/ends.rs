//! Half-close and abort: how the end of one side reaches the other.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::support::{
    acknowledged, between, narrow_pair, noise, pair, read_all, read_until_closed, reset, run,
    within,
};
use crate::net::Stream;
use crate::relay::{Meter, Moved, RelayError, RelayOptions, Side};

#[tokio::test]
async fn half_closed_client_still_receives_the_answer() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, pair().await);
    let (result, meter, ()) = between((inner, outer), RelayOptions::default(), async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut server).await, b"question");
        server.write_all(b"the answer").await.unwrap();
        drop(server);
        assert_eq!(read_all(&mut client).await, b"the answer");
    })
    .await;
    result.unwrap();
    assert_eq!(
        meter,
        Moved {
            sent: 10,
            received: 8,
            ..Moved::default()
        }
    );
}

#[tokio::test]
async fn half_closed_server_still_receives_the_rest() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, pair().await);
    let (result, meter, ()) = between((inner, outer), RelayOptions::default(), async {
        server.write_all(b"go away").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, b"go away");
        client.write_all(b"farewell").await.unwrap();
        drop(client);
        assert_eq!(read_all(&mut server).await, b"farewell");
    })
    .await;
    result.unwrap();
    assert_eq!(
        meter,
        Moved {
            sent: 7,
            received: 8,
            ..Moved::default()
        }
    );
}

#[tokio::test]
async fn half_close_works_over_a_unix_socket() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, UnixStream::pair().unwrap());
    let meter = Meter::default();
    let relay = run(
        Stream::Tcp(inner),
        Stream::Unix(outer),
        &meter,
        RelayOptions::default(),
    );
    let peers = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut server).await, b"question");
        server.write_all(b"the answer").await.unwrap();
        drop(server);
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
async fn reset_of_one_side_resets_the_other() {
    for side in [Side::Client, Side::Server] {
        let ((client, inner), (outer, server)) = (pair().await, pair().await);
        let (result, _, ()) = between((inner, outer), RelayOptions::default(), async {
            let (gone, mut other) = if side == Side::Client {
                (client, server)
            } else {
                (server, client)
            };
            reset(gone);
            let error = other
                .read(&mut [0; 8])
                .await
                .expect_err("an abort must not look like a clean end");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{side} was reset");
        })
        .await;
        assert!(
            matches!(result, Err(RelayError::Reset(by)) if by == side),
            "{side}: {result:?}"
        );
    }
}

/// The server's last words are partly in the relay and partly in kernels when the server is gone.
#[tokio::test]
async fn queued_bytes_are_delivered_before_a_reset_ends_the_stream() {
    for spliced in [0, 1 << 20] {
        let ((mut client, inner), (outer, mut server)) = (narrow_pair().await, pair().await);
        let (first, rest) = (noise(spliced, 1), noise(96 * 1024, 2));
        let (result, meter, ()) = between((inner, outer), RelayOptions::default(), async {
            let mut received = vec![0; spliced];
            let (sent, read) =
                tokio::join!(server.write_all(&first), client.read_exact(&mut received));
            sent.and(read).unwrap();
            assert!(received == first);
            server.write_all(&rest).await.unwrap();
            acknowledged(&server).await;
            reset(server);
            // A reset follows where the client's kernel had everything when the relay heard of the
            // server's, and an end where something was still under way.
            let received = read_until_closed(&mut client).await;
            assert!(received == rest, "{} bytes after {spliced}", received.len());
            drop(client);
        })
        .await;
        assert!(
            matches!(result, Err(RelayError::Reset(Side::Server))),
            "{result:?}"
        );
        assert_eq!(meter.sent, (spliced + rest.len()) as u64);
    }
}

/// A server that answers early and closes aborts the rest of an upload; the answer must survive
/// that.
#[tokio::test]
async fn answer_of_a_server_that_stops_reading_survives_the_upload() {
    let ((mut client, inner), (outer, mut server)) = (narrow_pair().await, pair().await);
    let (upload, answer) = (noise(8 << 20, 3), noise(96 * 1024, 4));
    let (result, _, ()) = between((inner, outer), RelayOptions::default(), async {
        let client = async {
            client.write_all(&upload).await.unwrap();
            client.shutdown().await.unwrap();
            assert!(read_all(&mut client).await == answer);
        };
        let server = async {
            server.read_exact(&mut [0; 1024]).await.unwrap();
            server.write_all(&answer).await.unwrap();
            acknowledged(&server).await;
            drop(server);
        };
        tokio::join!(client, server);
    })
    .await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Server))),
        "{result:?}"
    );
}

/// The kernel tells of an abort once: to a write, and then reading sees no more than an end.
#[tokio::test]
async fn reset_that_a_write_meets_first_is_still_a_reset() {
    let ((mut client, inner), (outer, server)) = (pair().await, pair().await);
    client.write_all(b"question").await.unwrap();
    reset(server);
    inner.readable().await.unwrap();
    outer.readable().await.unwrap();
    let (result, _, ()) = between((inner, outer), RelayOptions::default(), async {
        acknowledged(&client).await;
        let error = client
            .read(&mut [0; 8])
            .await
            .expect_err("an abort must not look like a clean end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    })
    .await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Server))),
        "{result:?}"
    );
}

#[tokio::test]
async fn reset_after_a_clean_end_stays_a_clean_end_for_the_other_side() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, pair().await);
    let (result, _, server) = between((inner, outer), RelayOptions::default(), async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut server).await, b"question");
        reset(client);
        server.write_all(b"the answer").await.unwrap();
        server
    })
    .await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Client))),
        "{result:?}"
    );
    assert!(server.take_error().unwrap().is_none());
}

#[tokio::test]
async fn unix_server_that_vanishes_resets_the_client() {
    let ((mut client, inner), (outer, server)) = (pair().await, UnixStream::pair().unwrap());
    let meter = Meter::default();
    let relay = run(
        Stream::Tcp(inner),
        Stream::Unix(outer),
        &meter,
        RelayOptions::default(),
    );
    let peers = async {
        client.write_all(b"question").await.unwrap();
        server.readable().await.unwrap();
        // A unix socket that is closed with bytes unread tells its peer so.
        drop(server);
        let error = client
            .read(&mut [0; 8])
            .await
            .expect_err("an abort must not look like a clean end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    };
    let (result, ()) = within(async { tokio::join!(relay, peers) }).await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Server))),
        "{result:?}"
    );
}

/// Writing to it says EPIPE, as after a clean end; only reading says that it was none.
#[tokio::test]
async fn unix_server_whose_end_a_write_meets_first_resets_the_client() {
    let ((mut client, inner), (mut outer, server)) = (pair().await, UnixStream::pair().unwrap());
    client.write_all(b"question").await.unwrap();
    outer.write_all(b"never read").await.unwrap();
    drop(server);
    inner.readable().await.unwrap();
    let meter = Meter::default();
    let relay = run(
        Stream::Tcp(inner),
        Stream::Unix(outer),
        &meter,
        RelayOptions::default(),
    );
    let mut answer = [0; 8];
    let (result, read) = within(async { tokio::join!(relay, client.read(&mut answer)) }).await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Server))),
        "{result:?}"
    );
    assert_eq!(
        read.expect_err("an abort must not look like a clean end")
            .kind(),
        ErrorKind::ConnectionReset
    );
}
