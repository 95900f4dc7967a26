//! The life of the process: start, reload as often as anything changes, drain, stop.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Interval, interval, timeout, timeout_at};
use tracing::{debug, error, info, warn};

use crate::config::Loaded;
use crate::config::diagnostic::Diagnostic;
use crate::daemon::loader::Loader;
use crate::daemon::notify::Notify;
use crate::daemon::reload::{Reloads, close, load};
use crate::daemon::report::{log_trust, report, report_made};
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
    /// What was made for the configuration cannot be kept.
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
    // Before anything that takes time: a signal that nobody handles ends the process.
    let mut signals = Signals::new()?;
    let loader = Loader::start()?;
    let loading = loader.run(load(path.clone()));
    let (loaded, made, parts) = tokio::select! {
        loaded = loading => loaded.map_err(io::Error::other)?,
        // Nobody is served yet, and the files may be on a file system that hangs.
        () = signals.stop.recv() => return Ok(Stopped::Drained),
    };
    let Loaded {
        config,
        diagnostics,
        files,
        variables: _,
        unfit: _,
    } = loaded;
    let (Some(config), Some(parts)) = (config, parts) else {
        return Err(RunError::Invalid(diagnostics));
    };
    let made = made?;
    // It was needed at once; the next one is not.
    loader.give_way();
    let log = Log::install(config.log);
    log_panics();
    match raise_open_files() {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(error = %words(&error), "cannot raise the limit of open files"),
    }
    let mut server = Daemon::new(inherited);
    let explained = |errors: Vec<BindError>| errors.into_iter().map(BindError::explained).collect();
    server
        .apply(parts)
        .map_err(|errors| RunError::Bind(explained(errors)))?;
    server.report_unused();
    report(&diagnostics);
    report_made(&made);
    for (name, named) in config.self_signed() {
        let (sha256, cert_file) = (named.certificate.fingerprint(), named.cert_file.display());
        info!(certificate = %name, sha256, %cert_file, "self-signed certificate");
    }
    log_trust(&[], &config.trusts.summaries());
    let (routes, listeners) = (config.routes.len(), config.listeners.len());
    info!(config = %path.display(), routes, listeners, "ready");
    let notify = Notify::from_environment();
    let mut running = Running {
        server,
        reloads: Reloads::new(path, loader, log, config, files),
        notify,
    };
    running
        .reloads
        .announce(&running.server, &mut running.notify);
    Ok(running.until_signalled(signals).await)
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
}

impl Stop {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

struct Running {
    server: Daemon,
    reloads: Reloads,
    notify: Notify,
}

impl Running {
    async fn until_signalled(mut self, mut signals: Signals) -> Stopped {
        let connections = Arc::clone(self.server.connections());
        let mut reports = interval(AccessLog::REPORT_EVERY);
        loop {
            tokio::select! {
                () = signals.stop.recv() => break,
                _ = signals.reload.recv() => {
                    info!("reload requested");
                    self.server.forget_names();
                    self.notify.reloading();
                    self.reloads.request();
                }
                _ = reports.tick() => {
                    connections.access_log.report();
                    self.notify.status(|| self.reloads.status(&self.server));
                }
                () = self.notify.watchdog() => {}
                () = connections.wait_for_drained() => close(&connections, Connections::close_drained),
                looked = self.reloads.next(&self.server) => {
                    self.reloads.take(looked, &mut self.server, &mut self.notify);
                }
            }
        }
        self.drain(signals, reports).await
    }

    /// Stops listening, then waits for connections to end, until the deadline or another signal.
    /// Until then what a reload withdraws ends them as ever; nothing else of it counts any more.
    async fn drain(self, mut signals: Signals, mut reports: Interval) -> Stopped {
        let Self {
            mut server,
            mut reloads,
            mut notify,
        } = self;
        let connections = Arc::clone(server.connections());
        let limit = reloads.timeouts().drain;
        info!(
            open = connections.open(),
            timeout_s = limit.as_secs_f64(),
            "draining"
        );
        let end = Instant::now() + limit;
        let status = format!(
            "draining, {} open connections, {:?} at most",
            connections.open(),
            limit
        );
        notify.stopping(&status, limit);
        let closed = server.stop_listening();
        let drained = async {
            closed.await;
            connections.wait_until_empty().await;
        };
        let mut drained = pin!(timeout_at(end, drained));
        loop {
            tokio::select! {
                _ = &mut drained => break,
                () = signals.stop.recv() => {
                    info!("stopping at once");
                    break;
                }
                _ = signals.reload.recv() => {
                    info!("reload requested");
                    server.forget_names();
                    reloads.request();
                }
                looked = reloads.next(&server) => reloads.take(looked, &mut server, &mut notify),
                () = connections.wait_for_drained() => close(&connections, Connections::close_drained),
                _ = reports.tick() => connections.access_log.report(),
                () = notify.keep_stopping(end) => {}
            }
        }
        // Who has not been routed has nothing to lose.
        let pending = server.pending();
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
        let (open, pending, log_lines_lost) =
            (connections.open(), server.pending(), reloads.log().lost());
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
}
