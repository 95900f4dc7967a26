//! Bytes stay exact, by whatever way they go, and a slow reader holds back the sender.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use aws_lc_rs::digest::{Context, Digest, SHA256};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::support::{acknowledged, between, noise, pair, run, within};
use crate::net::Stream;
use crate::relay::duplex::Duplex;
use crate::relay::flow::{Flow, FlowStreams};
use crate::relay::{Count, Meter, Moved, RelayOptions};

/// Sends this many bytes and a clean end; the digest of all.
async fn send(mut to: impl AsyncWrite + Unpin, len: usize, seed: u64) -> Digest {
    // A prime, so that no boundary in the relay falls on the same place of the pattern twice.
    let block = noise(999_983, seed);
    let (mut digest, mut left) = (Context::new(&SHA256), len);
    while left > 0 {
        let part = &block[..left.min(block.len())];
        to.write_all(part).await.unwrap();
        digest.update(part);
        left -= part.len();
    }
    to.shutdown().await.unwrap();
    digest.finish()
}

/// Reads up to the end; how much it was and the digest of all.
async fn receive(mut from: impl AsyncRead + Unpin) -> (usize, Digest) {
    let (mut digest, mut len, mut buffer) = (Context::new(&SHA256), 0, vec![0; 256 * 1024]);
    loop {
        match from.read(&mut buffer).await.unwrap() {
            0 => return (len, digest.finish()),
            read => {
                digest.update(&buffer[..read]);
                len += read;
            }
        }
    }
}

#[tokio::test]
async fn spliced_bytes_are_exact_both_ways_at_once() {
    const LEN: usize = 64 << 20;
    let ((mut client, inner), (outer, mut server)) = (pair().await, pair().await);
    let (result, meter, ()) = between((inner, outer), RelayOptions::default(), async {
        let ((client_in, client_out), (server_in, server_out)) = (client.split(), server.split());
        let (up, down, at_server, at_client) = tokio::join!(
            send(client_out, LEN, 1),
            send(server_out, LEN, 2),
            receive(server_in),
            receive(client_in)
        );
        assert_eq!((at_server.0, at_server.1.as_ref()), (LEN, up.as_ref()));
        assert_eq!((at_client.0, at_client.1.as_ref()), (LEN, down.as_ref()));
    })
    .await;
    result.unwrap();
    assert_eq!(
        meter,
        Moved {
            sent: LEN as u64,
            received: LEN as u64,
            ..Moved::default()
        }
    );
}

#[tokio::test]
async fn copied_bytes_are_exact_both_ways_at_once() {
    const LEN: usize = 16 << 20;
    let ((mut client, inner), (outer, mut server)) = (pair().await, UnixStream::pair().unwrap());
    let meter = Meter::default();
    let relay = run(
        Stream::Tcp(inner),
        Stream::Unix(outer),
        &meter,
        RelayOptions::default(),
    );
    let peers = async {
        let ((client_in, client_out), (server_in, server_out)) = (client.split(), server.split());
        let (up, down, at_server, at_client) = tokio::join!(
            send(client_out, LEN, 3),
            send(server_out, LEN, 4),
            receive(server_in),
            receive(client_in)
        );
        assert_eq!((at_server.0, at_server.1.as_ref()), (LEN, up.as_ref()));
        assert_eq!((at_client.0, at_client.1.as_ref()), (LEN, down.as_ref()));
    };
    within(async { tokio::join!(relay, peers) })
        .await
        .0
        .unwrap();
    assert_eq!(
        meter.read(),
        Moved {
            sent: LEN as u64,
            received: LEN as u64,
            ..Moved::default()
        }
    );
}

/// Waits for each message before the next, so that the relay meets every size on its own.
async fn exchange(
    client: &mut TcpStream,
    server: &mut TcpStream,
    sizes: impl IntoIterator<Item = usize>,
) {
    for (seed, size) in sizes.into_iter().enumerate() {
        let message = noise(size, seed as u64);
        let mut received = vec![0; size];
        let (sent, read) =
            tokio::join!(client.write_all(&message), server.read_exact(&mut received));
        sent.and(read.map(drop)).unwrap();
        assert!(received == message, "message {seed} of {size} bytes");
    }
}

#[tokio::test]
async fn bytes_stay_exact_when_a_flow_turns_to_bulk_and_back() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, pair().await);
    let (result, _, ()) = between((inner, outer), RelayOptions::default(), async {
        exchange(&mut client, &mut server, (0..60).map(|n| n * 31)).await;
        exchange(
            &mut client,
            &mut server,
            [1 << 20, 1, 3 << 20, 65_536, 65_537, 262_144, 262_145],
        )
        .await;
        exchange(&mut client, &mut server, (0..60).map(|n| n * 17)).await;
        exchange(&mut server, &mut client, [5 << 20, 10, 2 << 20]).await;
        drop((client, server));
    })
    .await;
    result.unwrap();
}

/// Many segments of a few bytes take all slots of a pipe long before its bytes, which EAGAIN does
/// not tell.
#[tokio::test]
async fn pipe_that_runs_out_of_slots_loses_nothing() {
    let ((mut client, inner), (outer, mut server)) = (pair().await, pair().await);
    client.set_nodelay(true).unwrap();
    // More segments than slots, and yet all of them find room before any is read, however the
    // kernel keeps them.
    SockRef::from(&inner).set_recv_buffer_size(1 << 20).unwrap();
    let bytes = noise(15_000, 5);
    for part in bytes.chunks(50) {
        client.write_all(part).await.unwrap();
    }
    acknowledged(&client).await;
    let (mut inner, mut outer) = (Stream::Tcp(inner), Stream::Tcp(outer));
    let (meter, options) = (Meter::default(), RelayOptions::default());
    let mut duplex = Duplex::new(&mut inner, &mut outer, &meter, &options);
    duplex.up = Flow::in_bulk();
    let mut received = vec![0; bytes.len()];
    tokio::select! {
        _ = drive(&mut duplex) => unreachable!("neither side has ended"),
        read = within(server.read_exact(&mut received)) => drop(read.unwrap()),
    }
    assert!(received == bytes);
}

async fn drive(duplex: &mut Duplex<'_>) {
    let mut timer = pin!(None);
    let _ = poll_fn(|cx| duplex.poll(cx, timer.as_mut())).await;
}

/// Writes until nothing has been taken for a while; how much was.
async fn stuff(server: &mut (impl AsyncWrite + Unpin)) -> usize {
    let mut taken = 0;
    let block = noise(256 * 1024, 6);
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(200), server.write(&block)).await
    {
        taken += written.unwrap();
    }
    taken
}

#[tokio::test]
async fn slow_reader_holds_back_the_sender() {
    for spliced in [false, true] {
        let (client, inner) = pair().await;
        let (mut inner, meter, options) = (
            Stream::Tcp(inner),
            Meter::default(),
            RelayOptions::default(),
        );
        let (outer, mut server): (_, Box<dyn AsyncWrite + Unpin>) = if spliced {
            let (outer, server) = pair().await;
            (Stream::Tcp(outer), Box::new(server))
        } else {
            let (outer, server) = UnixStream::pair().unwrap();
            (Stream::Unix(outer), Box::new(server))
        };
        let mut outer = outer;
        let mut duplex = Duplex::new(&mut inner, &mut outer, &meter, &options);
        tokio::select! {
            () = drive(&mut duplex) => unreachable!("neither side has ended"),
            taken = stuff(&mut server) => assert!(taken > 0),
        }
        let (in_memory, in_pipe) = duplex.down.holding();
        if spliced {
            assert!(
                in_memory == 0 && (1..=256 * 1024).contains(&in_pipe),
                "{in_memory} {in_pipe}"
            );
        } else {
            assert!(
                (1..=64 * 1024).contains(&in_memory) && in_pipe == 0,
                "{in_memory} {in_pipe}"
            );
        }
        drop(client);
    }
}

#[tokio::test]
async fn flow_without_a_pipe_is_copied() {
    let (mut client, inner) = pair().await;
    client.write_all(b"question").await.unwrap();
    inner.readable().await.unwrap();
    let mut flow = Flow::in_bulk();
    let spliced = poll_fn(|cx| Poll::Ready(flow.poll_splice(cx, &inner, None).is_some())).await;
    assert!(!spliced);

    let (outer, mut server) = pair().await;
    let (mut from, mut to, moved) = (Stream::Tcp(inner), Stream::Tcp(outer), Count::default());
    poll_fn(|cx| {
        let mut ends = FlowStreams {
            from: &mut from,
            to: &mut to,
            last: false,
            strict: false,
            first: None,
        };
        assert!(flow.poll(cx, &mut ends, &moved).is_pending());
        if moved.get() == 8 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let mut received = [0; 8];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"question");
}
