//! Loopback peers around a relay.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::net::Stream;
use crate::relay::{Meter, Moved, RelayError, RelayOptions, Side, ending, relay};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Relays, and closes both streams as a caller must.
pub(super) async fn run(
    mut client: Stream,
    mut upstream: Stream,
    meter: &Meter,
    options: RelayOptions,
) -> Result<Side, RelayError> {
    relay(&mut client, &mut upstream, meter, &options).await
}

/// Relays between two TCP sockets while the peers do their part, and fails where that takes
/// forever.
pub(super) async fn between<T>(
    (client, upstream): (TcpStream, TcpStream),
    options: RelayOptions,
    peers: impl Future<Output = T>,
) -> (Result<Side, RelayError>, Moved, T) {
    let meter = Meter::default();
    let relay = run(Stream::Tcp(client), Stream::Tcp(upstream), &meter, options);
    let (result, peers) = within(async { tokio::join!(relay, peers) }).await;
    (result, meter.read(), peers)
}

/// Bounds a test that would otherwise hang.
pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("the relay hangs")
}

/// The two ends of a TCP connection.
pub(super) async fn pair() -> (TcpStream, TcpStream) {
    connect(TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap()).await
}

/// The same, with so little room in the kernel that bytes stay with the one who sends to the first
/// end.
pub(super) async fn narrow_pair() -> (TcpStream, TcpStream) {
    let (near, listener) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
    near.set_recv_buffer_size(2048).unwrap();
    listener.set_send_buffer_size(2048).unwrap();
    connect(near, listener).await
}

/// The same, with little room for the first end alone: its peer's kernel keeps the rest.
pub(super) async fn slow_pair() -> (TcpStream, TcpStream) {
    let near = TcpSocket::new_v4().unwrap();
    near.set_recv_buffer_size(2048).unwrap();
    connect(near, TcpSocket::new_v4().unwrap()).await
}

async fn connect(near: TcpSocket, listener: TcpSocket) -> (TcpStream, TcpStream) {
    listener
        .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .unwrap();
    let listener = listener.listen(1).unwrap();
    let (near, far) = tokio::join!(
        near.connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (near.unwrap(), far.unwrap().0)
}

/// Closes with an abort.
pub(super) fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

/// Waits until the other end's kernel has everything, by the clock of the machine: that of a test
/// may stand still.
pub(super) async fn acknowledged(stream: &TcpStream) {
    let limit = Instant::now() + PATIENCE;
    while ending::unacknowledged(stream) > 0 {
        assert!(
            Instant::now() < limit,
            "the other end's kernel does not take what was sent"
        );
        tokio::task::yield_now().await;
    }
}

/// Reads up to a clean end.
pub(super) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Reads up to an end, be it clean or a reset.
pub(super) async fn read_until_closed(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes).await {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            panic!("neither an end nor a reset: {error}")
        }
        _ => bytes,
    }
}

/// Sends 2,000,003 bytes each way between two peers, checks every one of them, and ends both
/// directions.
pub(super) async fn both_ways(
    client: impl AsyncRead + AsyncWrite,
    server: impl AsyncRead + AsyncWrite,
) {
    let (up, down) = (noise(2_000_003, 1), noise(2_000_003, 2));
    let (mut client_in, mut client_out) = tokio::io::split(client);
    let (mut server_in, mut server_out) = tokio::io::split(server);
    let (mut at_client, mut at_server) = (vec![0; down.len()], vec![0; up.len()]);
    let done = tokio::join!(
        async {
            client_out
                .write_all(&up)
                .await
                .and(client_out.flush().await)
        },
        async {
            server_out
                .write_all(&down)
                .await
                .and(server_out.flush().await)
        },
        client_in.read_exact(&mut at_client),
        server_in.read_exact(&mut at_server),
    );
    done.0
        .and(done.1)
        .and(done.2.map(drop))
        .and(done.3.map(drop))
        .unwrap();
    assert!(at_client == down && at_server == up);
    // Neither side has ended: whatever the relay had not flushed by now would never be.
    client_out.shutdown().await.unwrap();
    server_out.shutdown().await.unwrap();
}

/// Bytes that are nowhere the same.
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
