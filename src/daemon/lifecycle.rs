//! The life of the process: start, reload as often as anything changes, drain, stop.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, interval, timeout, timeout_at};
use tracing::{debug, error, info, warn};

use crate::config::Loaded;
use crate::config::diagnostic::Diagnostic;
use crate::control::{
    self, Answer, Command, ConnectionCountsStatus, Handle, Order, Orders, State, Status,
};
use crate::daemon::adopt::{Found, adopt, close};
use crate::daemon::loader::Loader;
use crate::daemon::notify::Notify;
use crate::daemon::reload::{Load, Reloads, load};
use crate::daemon::{BindError, Daemon};
use crate::net::{Inherited, raise_open_files};
use crate::os::words;
use crate::proxy::Connections;
use crate::storage::StorageError;
use crate::telemetry::{AccessLog, Counts, Log};

/// After connections were closed, this long for their tasks to write their last lines.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why snigate did not start.
#[derive(Debug, Error)]
pub enum RunError {
    /// The configuration is not valid.
    #[error("the configuration is not valid")]
    Invalid(Vec<Diagnostic>),
    /// The files made for the configuration cannot be kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Addresses that could not be bound.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Bind(Vec<BindError>),
    /// The kernel refused something that every process needs.
    #[error("cannot start: {}", words(.0))]
    System(#[from] io::Error),
}

/// How it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every connection had ended by itself.
    Drained,
    /// So many connections had to be closed.
    Closed(usize),
}

/// Serves the configuration at `path` until SIGTERM or SIGINT, and every newer one that is valid.
/// `inherited` are the sockets that the process was started with.
///
/// # Errors
///
/// When it could not start. Later nothing ends it but a signal.
pub async fn run(path: PathBuf, inherited: Inherited) -> Result<Stopped, RunError> {
    // Before anything that takes time: a signal that is not handled ends the process.
    let mut signals = Signals::new()?;
    let loader = Loader::start()?;
    let loading = loader.run(load(path.clone()));
    let first = tokio::select! {
        loaded = loading => loaded.map_err(io::Error::other)?,
        // No client is served yet, and the files may be on a file system that hangs.
        () = signals.stop.recv() => return Ok(Stopped::Drained),
    };
    let (running, _handle) = Running::start(path, inherited, loader, first)?;
    Ok(running.until_stopped(async || signals.next().await).await)
}

/// A panic ends one connection. It is an event like any other, not lines in between that no log
/// reader understands.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let payload = panic.payload();
        let reason = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(payload.downcast_ref::<&str>().copied());
        error!(
            location,
            reason, "panic: a fault in snigate; please report it"
        );
    }));
}

struct Signals {
    reload: Signal,
    stop: Stop,
}

/// SIGTERM and SIGINT, which mean the same.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let stop = Stop {
            terminate,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            stop,
        })
    }

    /// The command of the next signal.
    async fn next(&mut self) -> Command {
        tokio::select! {
            () = self.stop.recv() => Command::Drain,
            _ = self.reload.recv() => Command::Reload,
        }
    }
}

impl Stop {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A process that serves.
struct Running {
    server: Daemon,
    reloads: Reloads,
    notify: Notify,
    orders: Orders,
    config: PathBuf,
    started: Instant,
}

impl Running {
    /// Serves what was loaded first. The handle is for whoever may ask for something.
    fn start(
        path: PathBuf,
        inherited: Inherited,
        loader: Loader,
        (loaded, made, parts): Load,
    ) -> Result<(Self, Handle), RunError> {
        let Loaded {
            config,
            diagnostics,
            files,
            variables: _,
            unfit: _,
        } = loaded;
        let (Some(config), Some((parts, outline))) = (config, parts) else {
            return Err(RunError::Invalid(diagnostics));
        };
        let made = made?;
        // It was needed at once; the next one is not.
        loader.give_way();
        let log = Log::install(config.log);
        // A test tells of its own panics.
        if !cfg!(test) {
            log_panics();
        }
        match raise_open_files() {
            Ok(limit) => debug!(limit, "open files"),
            Err(error) => warn!(error = %words(&error), "cannot raise the limit of open files"),
        }
        let mut server = Daemon::new(inherited);
        let explained =
            |errors: Vec<BindError>| errors.into_iter().map(BindError::explained).collect();
        let found = Found {
            diagnostics: &diagnostics,
            made: &made,
        };
        adopt(&mut server, parts, &config, &found, &[])
            .map_err(|errors| RunError::Bind(explained(errors)))?;
        for (name, named) in config.self_signed() {
            let (sha256, cert_file) = (named.certificate.fingerprint(), named.cert_file.display());
            info!(certificate = %name, sha256, %cert_file, "self-signed certificate");
        }
        let (routes, listeners) = (config.routes.len(), config.listeners.len());
        info!(config = %path.display(), routes, listeners, "ready");
        let (handle, orders) = control::channel(server.connections());
        let mut running = Self {
            reloads: Reloads::new(path.clone(), loader, log, (config, outline), files),
            notify: Notify::from_environment(),
            server,
            orders,
            config: path,
            started: Instant::now(),
        };
        running
            .reloads
            .announce(&running.server, &mut running.notify);
        Ok((running, handle))
    }

    /// Serves until somebody says that it is enough: a signal, of which `signalled` is the next
    /// one, or who has a handle.
    async fn until_stopped(mut self, mut signalled: impl AsyncFnMut() -> Command) -> Stopped {
        let connections = Arc::clone(self.server.connections());
        let mut reports = interval(AccessLog::REPORT_EVERY);
        loop {
            let drains = tokio::select! {
                command = signalled() => self.obey(command, State::Serving),
                Some(order) = self.orders.recv() => self.take(order, State::Serving),
                _ = reports.tick() => {
                    connections.access_log.report();
                    self.notify.status(|| self.reloads.status(&self.server));
                    false
                }
                () = self.notify.watchdog() => false,
                () = connections.wait_for_drained() => {
                    close(&connections, Connections::close_drained);
                    false
                }
                looked = self.reloads.next(&self.server) => {
                    self.reloads.take(looked, &mut self.server, &mut self.notify);
                    false
                }
            };
            if drains {
                return self.drain(signalled, reports).await;
            }
        }
    }

    /// Stops listening, then waits for connections to end, until the deadline or another signal.
    /// Until then what a reload withdraws ends them as ever; nothing else of it counts any more.
    async fn drain(
        mut self,
        mut signalled: impl AsyncFnMut() -> Command,
        mut reports: Interval,
    ) -> Stopped {
        let connections = Arc::clone(self.server.connections());
        let limit = self.reloads.timeouts().drain;
        let open = connections.open();
        info!(open, timeout_s = limit.as_secs_f64(), "draining");
        let end = Instant::now() + limit;
        let status = format!("draining, {open} open connections, {limit:?} at most");
        self.notify.stopping(&status, limit);
        let closed = self.server.stop_listening();
        let drained = async {
            closed.await;
            connections.wait_until_empty().await;
        };
        let mut drained = pin!(timeout_at(end, drained));
        loop {
            let stops = tokio::select! {
                _ = &mut drained => break,
                command = signalled() => self.obey(command, State::Draining),
                Some(order) = self.orders.recv() => self.take(order, State::Draining),
                looked = self.reloads.next(&self.server) => {
                    self.reloads.take(looked, &mut self.server, &mut self.notify);
                    false
                }
                () = connections.wait_for_drained() => {
                    close(&connections, Connections::close_drained);
                    false
                }
                _ = reports.tick() => {
                    connections.access_log.report();
                    false
                }
                () = self.notify.keep_stopping(end) => false,
            };
            if stops {
                info!("stopping at once");
                break;
            }
        }
        self.stop().await
    }

    /// Closes what is still open, and says what the process has come to.
    async fn stop(self) -> Stopped {
        let connections = self.server.connections();
        // Who has not been routed has nothing to lose.
        let pending = self.server.pending();
        let closed = connections.close_all().saturating_sub(pending);
        let _ = timeout(LAST_WORDS, connections.wait_until_empty()).await;
        connections.access_log.report();
        let Counts {
            accepted,
            silent,
            routed,
            refused,
            limited,
        } = connections.counters.read();
        let (open, pending) = (connections.open(), self.server.pending());
        let log_lines_lost = self.reloads.log().lost();
        info!(
            accepted,
            silent, routed, refused, limited, closed, open, pending, log_lines_lost, "stopped"
        );
        if closed == 0 {
            Stopped::Drained
        } else {
            Stopped::Closed(closed)
        }
    }

    /// Does what a signal says: whether to drain, or where that is under way, to stop.
    fn obey(&mut self, command: Command, state: State) -> bool {
        // Nobody waits for what comes of a signal.
        let (sender, _) = oneshot::channel();
        self.take(Order::Do(command, sender), state)
    }

    /// Does what somebody with a handle says: whether to drain, or where that is under way, to
    /// stop.
    fn take(&mut self, order: Order, state: State) -> bool {
        let (command, answer) = match order {
            Order::Do(command, answer) => (command, answer),
            Order::Tell(sender) => {
                // Nobody may be waiting for it any more, nor for the answers below.
                let _ = sender.send(self.status(state));
                return false;
            }
        };
        match command {
            Command::Reload => {
                info!("reload requested");
                self.server.forget_names();
                if state == State::Serving {
                    self.notify.reloading();
                }
                self.reloads.request();
            }
            Command::Drain => {
                let _ = answer.send(Answer::Begun);
                return true;
            }
            Command::Close(filter) => {
                let connections = Arc::clone(self.server.connections());
                drop(spawn_blocking(move || {
                    let closed = connections.close(|live| filter.matches(live));
                    info!(closed, "closed connections that an operator has chosen");
                    let _ = answer.send(Answer::Closed(closed));
                }));
                return false;
            }
        }
        let _ = answer.send(Answer::Begun);
        false
    }

    fn status(&self, state: State) -> Status {
        let connections = self.server.connections();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            state,
            uptime_s: self.started.elapsed().as_secs(),
            config: self.config.display().to_string(),
            loaded_s: self.reloads.since_loaded().as_secs(),
            problem: self.reloads.problem(),
            routes: self.reloads.routes(),
            listeners: self.server.listeners(),
            upstreams: self.server.upstreams(),
            connections: ConnectionCountsStatus::new(
                connections.open(),
                self.server.pending(),
                connections.counters.read(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::control::{ConnectionStatus, Filter};

    /// A ClientHello for `a.example` that offers TLS 1.3 and little else.
    fn hello() -> Vec<u8> {
        let name = b"a.example";
        let length = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
        let entry = [&[0][..], &length(name.len()), name].concat();
        let list = [&length(entry.len())[..], &entry].concat();
        let sni = [&[0, 0][..], &length(list.len()), &list].concat();
        let versions = [0, 43, 0, 3, 2, 3, 4];
        let extensions = [&sni[..], &versions].concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[0],
            &[0, 2, 0x13, 1],
            &[1, 0],
            &length(extensions.len()),
            &extensions,
        ]
        .concat();
        let message = [&[1, 0][..], &length(body.len()), &body].concat();
        [&[22, 3, 1][..], &length(message.len()), &message].concat()
    }

    async fn start(path: &Path) -> (Running, Handle) {
        let loader = Loader::start().unwrap();
        let first = loader.run(load(path.to_owned())).await.unwrap();
        Running::start(path.to_owned(), Inherited::default(), loader, first).unwrap()
    }

    #[tokio::test]
    async fn whoever_has_a_handle_sees_the_connections_closes_some_reloads_and_stops() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = server.local_addr().unwrap().to_string();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snigate.toml");
        let text = format!(
            "[log]\nlevel = \"error\"\n[listeners.edge]\nbind = \"127.0.0.1:0\"\n\
             [routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\nupstream = \"{upstream}\"\n"
        );
        std::fs::write(&path, &text).unwrap();
        let (running, handle) = start(&path).await;
        let stopped = running.until_stopped(async || pending().await);
        let asking = async {
            let status = handle.status().await.unwrap();
            assert_eq!((status.state, status.routes), (State::Serving, 1));
            assert_eq!(status.listeners.len(), 1);
            assert_eq!(status.upstreams[0].servers[0].addr, upstream);
            let edge = &status.listeners[0].addr;
            let mut clients = Vec::new();
            for _ in 0..2 {
                let mut client = TcpStream::connect(edge).await.unwrap();
                client.write_all(&hello()).await.unwrap();
                let (mut accepted, _) = server.accept().await.unwrap();
                accepted.read_exact(&mut [0; 5]).await.unwrap();
                accepted.write_all(b"answer").await.unwrap();
                client.read_exact(&mut [0; 6]).await.unwrap();
                clients.push((client, accepted));
            }
            let seen = handle.list(&Filter::default());
            let [first, second] = <[ConnectionStatus; 2]>::try_from(seen).unwrap();
            assert_eq!(first.client, clients[0].0.local_addr().unwrap().to_string());
            assert_eq!(first.sni.as_deref(), Some("a.example"));
            assert_eq!(
                (first.route.as_deref(), first.action),
                (Some("a"), Some("passthrough"))
            );
            assert_eq!(first.server.as_deref(), Some(&*upstream));
            assert_eq!((first.sent, first.received), (6, hello().len() as u64));
            let id = u64::from_str_radix(&second.id, 16).unwrap();
            assert_eq!(handle.get(id), Some(second));

            // The second alone: it and its server see a reset.
            let only = |id| Filter {
                id: Some(id),
                ..Filter::default()
            };
            let close = Command::Close(Box::new(only(id)));
            assert_eq!(handle.run(close).await, Ok(Answer::Closed(1)));
            let (mut client, mut accepted) = clients.pop().unwrap();
            assert!(client.read(&mut [0]).await.is_err());
            assert!(
                accepted
                    .read_exact(&mut vec![0; hello().len() - 4])
                    .await
                    .is_err()
            );
            let none = Filter {
                route: Some("b".to_owned()),
                ..Filter::default()
            };
            assert_eq!(
                handle.run(Command::Close(Box::new(none))).await,
                Ok(Answer::Closed(0))
            );

            let more = text.clone() + "[routes.b]\nsni = \"b.example\"\naction = \"reject\"\n";
            std::fs::write(&path, more).unwrap();
            assert_eq!(handle.run(Command::Reload).await, Ok(Answer::Begun));
            while handle.status().await.unwrap().routes != 2 {
                tokio::task::yield_now().await;
            }

            assert_eq!(handle.run(Command::Drain).await, Ok(Answer::Begun));
            let status = handle.status().await.unwrap();
            assert_eq!(status.state, State::Draining);
            assert_eq!((status.listeners.len(), status.connections.open), (0, 1));
            assert_eq!(handle.run(Command::Drain).await, Ok(Answer::Begun));
            assert!(!matches!(clients[0].0.read(&mut [0]).await, Ok(1)));
        };
        let (stopped, ()) = tokio::join!(stopped, asking);
        assert_eq!(stopped, Stopped::Closed(1));
        assert!(handle.status().await.is_err(), "it has stopped");
    }
}
