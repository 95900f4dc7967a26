//! The accept loop: it hands each connection to a task of its own, and nothing that goes wrong with
//! one ends it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, warn};

use crate::addr::{ClientAddr, ListenAddr};
use crate::net::{AcceptFailure, DEFERRED, ListenSocket, Transport, has_unready};
use crate::os::words;
use crate::proxy::connection::Connection;
use crate::proxy::counts::Admitted;
use crate::proxy::story::story;
use crate::proxy::{Connections, Error, Limit, Listener, Port, SourceNetwork, header};
use crate::telemetry::{Record, Totals};

/// Long enough for a connection to end and give its descriptor back, short enough that no waiting
/// client notices.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Interval of looks at whether the kernel has handed on every connection.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// While the process stays out of descriptors, this often is often enough to say so.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Accepts until `stop` is dropped or sent to; then serves what is still queued, and closes the
/// socket.
///
/// # Errors
///
/// When connections that were still queued cannot be served, for want of descriptors.
pub async fn accept(
    socket: ListenSocket,
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
            Ok((stream, client)) => start(&connections, &port, stream, client),
            Err(error) => match AcceptFailure::from(&error) {
                AcceptFailure::Connection => debug!(%error, "accept failed"),
                AcceptFailure::Resource => {
                    failures.count(&error, &port.addr);
                    sleep(BACK_OFF).await;
                }
            },
        }
    }
    // Clients in the backlog believe that they are connected, and so do those that the kernel keeps
    // to itself because they have sent nothing yet. Closing the socket now would reset them.
    let serve = |stream, client| start(&connections, &port, stream, client);
    let end = Instant::now() + DEFERRED;
    let deferring = socket.deferring_port();
    if deferring.is_some()
        && let Err(error) = socket.stop_deferring()
    {
        debug!(%error, "the kernel goes on keeping connections that send nothing");
    }
    while let Some(number) = deferring
        && Instant::now() < end
        && unready(number).await
    {
        let look = Instant::now() + LOOK_EVERY;
        while let Ok(accepted) = timeout_at(look, socket.accept()).await {
            match accepted {
                Ok((stream, client)) => serve(stream, client),
                Err(_) => sleep_until(look).await,
            }
        }
    }
    socket.close(serve).await
}

/// Serves a connection in a task of its own, or refuses it where it is one too many.
fn start(connections: &Arc<Connections>, port: &Arc<Port>, client: Transport, addr: ClientAddr) {
    let listener = port.listener.load();
    let is_proxy = header::is_due(&listener.proxies, addr);
    // Another proxy speaks for many clients: which one it is is not known yet.
    let source = if is_proxy {
        None
    } else {
        SourceNetwork::of(addr)
    };
    let admitted = match Admitted::new(&listener.counts, &listener.limits, source) {
        Ok(admitted) => admitted,
        Err(limit) => return turn_away(connections, &listener, addr, limit),
    };
    // Boxed: the compiler keeps an argument twice in a future, once as it came and once as it is
    // used.
    let mut connection = Box::new(Connection::begin(connections, &listener, addr, admitted));
    connection.is_proxy = is_proxy;
    connection.wait(&listener.limits, source);
    connections.spawn(connection.id(), story(Arc::clone(port), client, connection));
}

/// Records a connection that is one too many, and is closed at once. It gets no alert: to send one,
/// and to see to it that it arrives, would cost as much as serving a connection, just when there
/// are too many.
fn turn_away(connections: &Connections, listener: &Listener, addr: ClientAddr, limit: Limit) {
    let ending = Error::Limit(limit).ending();
    let record = Record::new(connections.number(), Arc::clone(&listener.name), addr);
    connections.record(&record, &Totals::default(), &ending, listener.access_log);
}

/// Whether a client is connected, or about to be, that cannot be accepted yet.
async fn unready(port: u16) -> bool {
    // The table has a line for each connection of the machine.
    spawn_blocking(move || has_unready(port))
        .await
        .unwrap_or(false)
}

/// Says that accepting fails, but not each time.
#[derive(Default)]
struct Failures {
    count: u64,
    warned: Option<Instant>,
}

impl Failures {
    fn count(&mut self, error: &io::Error, addr: &ListenAddr) {
        self.count += 1;
        if self
            .warned
            .is_none_or(|warned| warned.elapsed() >= WARN_EVERY)
        {
            warn!(%addr, error = %words(error), failures = self.count, "cannot accept connections for want of a resource");
            self.warned = Some(Instant::now());
        }
    }
}
