//! Waits of a relay, and what they cost.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, pause, resume, sleep};

use super::support::{acknowledged, between, narrow_pair, noise, pair, read_all, reset, slow_pair};
use crate::net::Liveness;
use crate::net::Stream;
use crate::relay::duplex::RECEIPT;
use crate::relay::watch::{LOOK_EVERY, Readiness, Watch};
use crate::relay::{Meter, Moved, OnTruncation, RelayError, RelayOptions, Side, relay};

const SHORT: Duration = Duration::from_millis(40);
const NEVER: RelayOptions = RelayOptions {
    idle: None,
    half_close: None,
    liveness: Liveness {
        keepalive: None,
        unacknowledged: None,
    },
    on_truncation: OnTruncation::Close,
};
const SHORT_IDLE: RelayOptions = RelayOptions {
    idle: Some(SHORT),
    ..NEVER
};
const SHORT_HALF_CLOSE: RelayOptions = RelayOptions {
    half_close: Some(SHORT),
    ..NEVER
};

#[tokio::test]
async fn silence_of_both_sides_ends_the_relay() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, pair().await);
    let (result, _, ()) = between((inner, outer), SHORT_IDLE, async {
        client.write_all(b"last words").await.unwrap();
        assert_eq!(read_all(&mut server).await, b"last words");
        assert_eq!(read_all(&mut client).await, b"");
    })
    .await;
    assert!(matches!(result, Err(RelayError::Idle)), "{result:?}");
}

#[tokio::test]
async fn client_that_is_cut_off_by_the_idle_timeout_does_not_see_a_clean_end() {
    let ((mut client, inner), (outer, mut server)) = (narrow_pair().await, pair().await);
    let (result, _, ()) = between((inner, outer), SHORT_IDLE, async {
        server.write_all(&[0; 96 * 1024]).await.unwrap();
        // What the relay did not even read makes this an abort too.
        server
            .read(&mut [0; 8])
            .await
            .expect_err("bytes are missing");
        let error = client
            .read_to_end(&mut Vec::new())
            .await
            .expect_err("bytes are missing");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    })
    .await;
    assert!(matches!(result, Err(RelayError::Idle)), "{result:?}");
}

#[tokio::test]
async fn silent_side_is_named_when_the_other_has_ended() {
    for silent in [Side::Client, Side::Server] {
        let ((client, inner), (outer, server)) = (pair().await, pair().await);
        let (result, _, _open) = between((inner, outer), SHORT_HALF_CLOSE, async {
            let (mut done, mut silent) = if silent == Side::Server {
                (client, server)
            } else {
                (server, client)
            };
            done.shutdown().await.unwrap();
            assert_eq!(read_all(&mut silent).await, b"");
            (done, silent)
        })
        .await;
        assert!(
            matches!(result, Err(RelayError::HalfClose(side)) if side == silent),
            "{silent}: {result:?}"
        );
    }
}

#[tokio::test]
async fn side_that_does_not_read_is_the_silent_one() {
    let ((mut client, inner), (outer, mut server)) = (narrow_pair().await, pair().await);
    let (result, _, _open) = between((inner, outer), SHORT_HALF_CLOSE, async {
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut server).await, b"");
        server.write_all(&[0; 96 * 1024]).await.unwrap();
        (client, server)
    })
    .await;
    assert!(
        matches!(result, Err(RelayError::HalfClose(Side::Client))),
        "{result:?}"
    );
}

#[tokio::test]
async fn progress_starts_the_wait_anew() {
    let (mut watch, mut timer, start) = (Watch::default(), pin!(None), Instant::now());
    let mut progress = 0;
    poll_fn(|cx| {
        // Each poll but the first is the timer's own: it sees progress six times, and then no more.
        progress = (progress + 1).min(7);
        watch.poll(
            cx,
            timer.as_mut(),
            Readiness {
                silence: Some(SHORT),
                look: false,
                first: None,
            },
            progress,
        )
    })
    .await;
    assert!(
        start.elapsed() >= SHORT / 4 * (6 + 4),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn reset_of_a_sender_is_noticed_while_its_receiver_takes_nothing() {
    let ((mut client, inner), (server, outer)) = (pair().await, narrow_pair().await);
    let (result, _, _server) = between((inner, outer), SHORT_HALF_CLOSE, async {
        client.write_all(&[0; 96 * 1024]).await.unwrap();
        acknowledged(&client).await;
        reset(client);
        server
    })
    .await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Client))),
        "{result:?}"
    );
}

/// The clock stands still, and leaps when everybody waits: the alarm that notices the reset comes
/// before anybody reads.
#[tokio::test(start_paused = true)]
async fn what_a_sender_that_resets_had_sent_is_delivered_though_the_reset_was_noticed_first() {
    for sender in [Side::Client, Side::Server] {
        let ((from, inner), (to, outer)) = (pair().await, narrow_pair().await);
        let sides = if sender == Side::Client {
            (inner, outer)
        } else {
            (outer, inner)
        };
        let sent = noise(96 * 1024, 3);
        let (result, _, received) = between(sides, NEVER, async {
            let (mut from, mut to) = (from, to);
            from.write_all(&sent).await.unwrap();
            acknowledged(&from).await;
            reset(from);
            sleep(LOOK_EVERY * 2).await;
            // From here on the kernel's timers count, which know nothing of the clock of the test.
            resume();
            let received = read_all(&mut to).await;
            pause();
            received
        })
        .await;
        assert!(
            matches!(result, Err(RelayError::Reset(by)) if by == sender),
            "{sender}: {result:?}"
        );
        assert!(
            received == sent,
            "{sender}: {} of {} bytes",
            received.len(),
            sent.len()
        );
    }
}

/// As above. Each read is one for the kernel, and each sleep one for the relay.
#[tokio::test(start_paused = true)]
async fn receiver_that_still_sends_has_as_long_as_it_takes_something_of_the_rest() {
    let ((from, inner), (to, outer)) = (pair().await, slow_pair().await);
    let sent = noise(96 * 1024, 3);
    let (result, _, received) = between((inner, outer), NEVER, async {
        let (mut from, mut to) = (from, to);
        from.write_all(&sent).await.unwrap();
        acknowledged(&from).await;
        reset(from);
        let mut received = vec![0; sent.len()];
        for part in received.chunks_mut(16 * 1024) {
            sleep(RECEIPT / 2).await;
            resume();
            to.read_exact(part).await.unwrap();
            to.write_all(b"more").await.unwrap();
            pause();
        }
        received
    })
    .await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Client))),
        "{result:?}"
    );
    assert!(received == sent);
}

#[tokio::test]
async fn reset_after_a_clean_end_is_noticed_while_the_other_side_is_silent() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, pair().await);
    let options = NEVER;
    let (result, _, _) = between((inner, outer), options, async {
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut server).await, b"");
        reset(client);
        server
    })
    .await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Client))),
        "{result:?}"
    );
}

#[tokio::test]
async fn meter_is_right_when_the_relay_is_dropped_midway() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, pair().await);
    let (mut inner, mut outer) = (Stream::Tcp(inner), Stream::Tcp(outer));
    let (meter, options) = (Meter::default(), RelayOptions::default());
    tokio::select! {
        biased;
        _ = relay(&mut inner, &mut outer, &meter, &options) => unreachable!("neither side has ended"),
        () = async {
            client.write_all(b"question").await.unwrap();
            server.read_exact(&mut [0; 8]).await.unwrap();
        } => {}
    }
    assert_eq!(
        meter.read(),
        Moved {
            received: 8,
            ..Moved::default()
        }
    );
}

/// Every connection that waits is one of these: with 100,000 of them, each 100 bytes are 10 MB.
#[tokio::test]
async fn future_is_small() {
    let ((_client, inner), (outer, _server)) = (pair().await, pair().await);
    let (meter, options) = (Meter::default(), RelayOptions::default());
    let (mut inner, mut outer) = (Stream::Tcp(inner), Stream::Tcp(outer));
    let size = size_of_val(&relay(&mut inner, &mut outer, &meter, &options));
    assert!(size <= 384, "{size} bytes");
}
