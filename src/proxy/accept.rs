//! The accept loop: it hands each connection to a task of its own, and nothing that goes wrong with one ends it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::net::AcceptFailure;
use crate::proxy::{Connections, Listener, serve};

/// Long enough for a connection to end and give its descriptor back, short enough that nobody waiting notices.
const BACK_OFF: Duration = Duration::from_millis(20);

/// While the process stays out of descriptors, this often is often enough to say so.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A listening socket, and the listener that it serves at the moment.
#[derive(Debug)]
pub struct Port {
    /// The address, with the port that the kernel chose where the configuration says 0.
    pub addr: SocketAddr,
    /// What the next connection meets.
    pub listener: ArcSwap<Listener>,
}

/// Accepts until `stop` is dropped or sent to; then serves what is still queued, and closes the socket.
///
/// # Errors
///
/// When a connection that was still queued cannot be served.
pub async fn accept(
    socket: TcpListener,
    port: Arc<Port>,
    connections: Arc<Connections>,
    mut stop: oneshot::Receiver<()>,
) -> io::Result<()> {
    let mut failures = Failures::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => serve::start(&connections, port.listener.load_full(), stream, client),
            Err(error) => match AcceptFailure::from(&error) {
                AcceptFailure::Connection => debug!(%error, "accept failed"),
                AcceptFailure::Resource => {
                    failures.count(&error, port.addr);
                    sleep(BACK_OFF).await;
                }
            },
        }
    }
    // Clients in the backlog believe that they are connected; closing the socket now would reset them. It does reset
    // those that the kernel still keeps to itself, because they have sent nothing in their first second.
    let socket = socket.into_std()?;
    while let Ok((stream, client)) = socket.accept() {
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        serve::start(&connections, port.listener.load_full(), stream, client);
    }
    Ok(())
}

/// Says that accepting fails, but not each time.
#[derive(Default)]
struct Failures {
    count: u64,
    warned: Option<Instant>,
}

impl Failures {
    fn count(&mut self, error: &io::Error, addr: SocketAddr) {
        self.count += 1;
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            warn!(%addr, %error, failures = self.count, "cannot accept connections for want of a resource");
            self.warned = Some(Instant::now());
        }
    }
}
