//! Servers behind the proxy, on plain TCP: what stands behind passthrough is bytes to them, TLS or
//! not.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::support::PATIENCE;

/// A server that counts the connections it accepts. Its thread ends with the test process.
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Backend {
    /// Serves each connection in a thread of its own.
    pub(crate) fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::serve_on(TcpListener::bind("127.0.0.1:0").expect("a port"), serve)
    }

    /// The same, at an address of the test's choice.
    pub(crate) fn serve_on(
        listener: TcpListener,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::<AtomicUsize>::default();
        let (counter, serve) = (Arc::clone(&accepted), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::SeqCst);
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { addr, accepted }
    }

    /// Sends back what it receives, and ends when the client does.
    pub(crate) fn echo() -> Self {
        Self::serve(|mut stream| {
            let mut reader = stream.try_clone().unwrap();
            let _ = std::io::copy(&mut reader, &mut stream);
            let _ = stream.shutdown(Shutdown::Write);
        })
    }

    /// Says this to everybody, at once, and ends; then reads until the client ends.
    pub(crate) fn greet(greeting: &'static [u8]) -> Self {
        Self::greet_on(TcpListener::bind("127.0.0.1:0").expect("a port"), greeting)
    }

    /// The same, at an address of the test's choice.
    pub(crate) fn greet_on(listener: TcpListener, greeting: &'static [u8]) -> Self {
        Self::serve_on(listener, move |mut stream| {
            let _ = stream.write_all(greeting);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })
    }

    /// Hands each connection to the test.
    pub(crate) fn manual() -> (Self, Connections) {
        let (sender, receiver): (Sender<TcpStream>, _) = channel();
        let backend = Self::serve(move |stream| {
            let _ = sender.send(stream);
        });
        (backend, Connections(receiver))
    }

    /// How many connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// The connections of a manual backend.
pub(crate) struct Connections(Receiver<TcpStream>);

impl Connections {
    pub(crate) fn next(&self) -> TcpStream {
        self.0
            .recv_timeout(PATIENCE)
            .expect("a connection from the proxy")
    }
}

/// Reads exactly `length` bytes.
pub(crate) fn read_exact(stream: &mut impl Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("as many bytes");
    bytes
}

/// Reads until the other side ends in order.
pub(crate) fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an end in order");
    bytes
}

/// The bytes of a test: reproducible, and different everywhere.
pub(crate) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
