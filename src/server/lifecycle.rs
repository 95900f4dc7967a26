//! The life of the process: start, reload as often as anything changes, drain, stop.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot::{self, error::RecvError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, interval, sleep, timeout};
use tracing::{debug, error, info, warn};

use crate::config::diagnostic::{Diagnostic, Severity, on_one_line};
use crate::config::files::Files;
use crate::config::trust::Summary;
use crate::config::{self, Loaded, Made, Notice, Timeouts};
use crate::net::{Inherited, raise_open_files};
use crate::proxy::Connections;
use crate::server::files::Watch;
use crate::server::loader::Loader;
use crate::server::notify::Notify;
use crate::server::{BindError, Inheritance, Parts, Server};
use crate::storage::StorageError;
use crate::telemetry::{self, AccessLog, Counts, Log};

/// Whoever renews a certificate writes two files. For this long it is no news that they do not fit.
const GRACE: Duration = Duration::from_secs(30);

/// After connections were closed, this long for their tasks to write their last lines.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long the clock of the machine is believed to go on as it goes.
const CLOCK_CHECK: Duration = Duration::from_secs(600);

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
    #[error("cannot start: {0}")]
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

/// Serves the configuration at `path` until SIGTERM or SIGINT, and every newer one that is valid. `inherited` are the
/// sockets that the process was started with.
///
/// # Errors
///
/// When it could not start. Later nothing ends it but a signal.
pub async fn run(path: PathBuf, inherited: Inherited) -> Result<Stopped, RunError> {
    // Before anything that takes time: a signal that nobody handles ends the process.
    let mut signals = Signals::new()?;
    let loader = Loader::start()?;
    let loading = loader.run(load(path.clone(), Inheritance::default()));
    let (loaded, made, parts) = tokio::select! {
        loaded = loading => loaded.map_err(io::Error::other)?,
        // Nobody is served yet, and the files may be on a file system that hangs.
        () = signals.stop.recv() => return Ok(Stopped::Drained),
    };
    let Loaded { config, diagnostics, files } = loaded;
    let (Some(config), Some(parts)) = (config, parts) else { return Err(RunError::Invalid(diagnostics)) };
    let made = made?;
    // It was needed at once; the next one is not.
    loader.give_way();
    let log = Log::install(config.log);
    log_panics();
    match raise_open_files() {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
    let mut server = Server::new(inherited);
    server.apply(parts).map_err(RunError::Bind)?;
    server.report_unused();
    report(&diagnostics);
    report_made(&made);
    for (name, named) in config.self_signed() {
        let (sha256, cert_file) = (named.certificate.fingerprint(), named.cert_file.display());
        info!(certificate = %name, sha256, %cert_file, "self-signed certificate");
    }
    let trust = config.trusts.summaries();
    log_trust(&[], &trust);
    let (routes, listeners) = (config.routes.len(), config.listeners.len());
    info!(config = %path.display(), routes, listeners, "ready");
    let (log_options, timeouts, notices) = (config.log, config.timeouts, config.notices.clone());
    let renew_at = config.renew_at();
    loader.free(config);
    let notify = Notify::from_environment();
    let mut running = Running {
        path,
        server,
        loader,
        log,
        log_options,
        timeouts,
        notices,
        renew_at,
        trust,
        files,
        retry: None,
        routes,
        is_refused: false,
        notify,
    };
    running.announce();
    Ok(running.until_signalled(signals).await)
}

/// What was loaded, what was made for it and put into the storage, and its parts if it is sound.
type Load = (Loaded, Result<Vec<Made>, StorageError>, Option<Parts>);

/// Loads the configuration at `path` in order to serve it. `before` is what is in use.
fn load(path: PathBuf, before: Inheritance) -> impl FnOnce() -> Load {
    move || {
        let mut loaded = config::load(&path);
        loaded.require_privileges();
        let made = loaded.keep();
        let parts = loaded.config.as_ref().map(|config| Parts::build(config, &before));
        (loaded, made, parts)
    }
}

/// What the loader is at, when it is done; waits for ever if that is nothing.
async fn done<T>(looking: &mut Option<oneshot::Receiver<T>>) -> Result<T, RecvError> {
    match looking {
        Some(look) => look.await,
        None => std::future::pending().await,
    }
}

/// A panic ends one connection. It is an event like any other, not lines in between that no log reader understands.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let reason = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        error!(location, reason, "panic: a fault in snigate; please report it");
    }));
}

/// Waits until one of `notices` is due, says it and removes it.
async fn next(notices: &mut Vec<Notice>) {
    loop {
        let Some((at, notice)) = notices.iter().enumerate().min_by_key(|(_, notice)| notice.at) else {
            return std::future::pending().await;
        };
        let Ok(wait) = notice.at.duration_since(SystemTime::now()) else {
            warn!(diagnostic = notices.swap_remove(at).message, "configuration");
            return;
        };
        // The clock may be set meanwhile.
        sleep(wait.min(CLOCK_CHECK)).await;
    }
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
        let stop = Stop { terminate, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { reload: signal(SignalKind::hangup())?, stop })
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
    path: PathBuf,
    server: Server,
    loader: Loader,
    log: Log,
    log_options: telemetry::Options,
    timeouts: Timeouts,
    /// What has to be said later.
    notices: Vec<Notice>,
    /// When to load again because a self-signed certificate nears its end. Nothing once that has been tried.
    renew_at: Option<SystemTime>,
    /// Whom servers are verified against.
    trust: Vec<Summary>,
    /// What the last attempt to load was made of, whether it succeeded or not.
    files: Files,
    /// Set while the last attempt failed for a reason that may pass without a change of any file.
    retry: Option<Retry>,
    /// How many there are.
    routes: usize,
    /// The last attempt to reload changed nothing.
    is_refused: bool,
    notify: Notify,
}

struct Retry {
    since: Instant,
    reported: bool,
}

/// What came of looking at the files.
enum Look {
    /// They are as they were.
    Unchanged(Files),
    /// They were loaded, and built into parts if they were sound.
    Loaded(Box<Loaded>, Option<Parts>),
    /// They were loaded, and what was made for them could not be kept.
    NotKept(Files, StorageError),
}

impl Running {
    async fn until_signalled(mut self, mut signals: Signals) -> Stopped {
        let mut watch = Watch::new();
        watch.follow(self.files.paths());
        // One at a time, beside this loop: a file system that hangs must not keep anybody from stopping the process.
        let mut looking: Option<oneshot::Receiver<Look>> = None;
        let (mut due, mut requested) = (false, false);
        let connections = Arc::clone(self.server.connections());
        let mut reports = interval(AccessLog::REPORT_EVERY);
        loop {
            tokio::select! {
                () = signals.stop.recv() => break,
                _ = signals.reload.recv() => {
                    info!("reload requested");
                    self.notify.reloading();
                    requested = true;
                }
                () = watch.wait(), if !due => due = true,
                _ = reports.tick() => {
                    connections.access_log.report();
                    let Self { notify, routes, server, .. } = &mut self;
                    notify.status(|| status(*routes, server));
                }
                () = self.notify.watchdog() => {}
                () = next(&mut self.notices) => {}
                () = connections.wait_for_drained() => self.close(Connections::close_drained),
                look = done(&mut looking) => {
                    looking = None;
                    self.take(look);
                    self.loader.free(self.server.take_unused());
                    watch.follow(self.files.paths());
                    // Unless the reload that was asked for is still to come.
                    if self.notify.is_reloading() && !requested {
                        self.announce();
                    }
                }
            }
            if looking.is_none() && (due || requested) {
                looking = Some(self.look(requested));
                (due, requested) = (false, false);
            }
        }
        self.drain(&mut signals.stop, reports).await
    }

    /// Tells the service manager that this configuration is served.
    fn announce(&mut self) {
        let mut status = status(self.routes, &self.server);
        if self.is_refused {
            status.push_str("; the last reload was refused, the log says why");
        }
        self.notify.ready(status);
    }

    /// Begins to look, and to load everything if anything has changed or if it was `requested`. Reading and compiling
    /// take as long as they take; connections are served meanwhile.
    fn look(&mut self, requested: bool) -> oneshot::Receiver<Look> {
        let renew = self.renew_at.take_if(|at| *at <= SystemTime::now()).is_some();
        let must_load = requested || renew || self.retry.is_some();
        let mut files = std::mem::take(&mut self.files);
        let load = load(self.path.clone(), self.server.inheritance());
        self.loader.run(move || {
            let changed = files.changed().map(|path| path.display().to_string());
            if changed.is_none() && !must_load {
                return Look::Unchanged(files);
            }
            debug!(changed, "loading");
            let (loaded, made, parts) = load();
            match made {
                Ok(made) => report_made(&made),
                Err(error) => return Look::NotKept(loaded.files, error),
            }
            Look::Loaded(Box::new(loaded), parts)
        })
    }

    /// Applies what was loaded if it is whole, and otherwise changes nothing.
    fn take(&mut self, look: Result<Look, RecvError>) {
        let (loaded, parts) = match look {
            Ok(Look::Loaded(loaded, parts)) => (*loaded, parts),
            Ok(Look::Unchanged(files)) => {
                self.files = files;
                return;
            }
            Ok(Look::NotKept(files, error)) => {
                self.files = files;
                return self.refused_later(&error.to_string(), true);
            }
            // The list of files is lost, so everything is loaded at the next look.
            Err(_) => return self.refused_later("a fault in snigate, please report it; the log has it above", true),
        };
        let Loaded { config, diagnostics, files } = loaded;
        self.files = files;
        let (Some(config), Some(parts)) = (config, parts) else { return self.refused(&diagnostics) };
        if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Premature) {
            self.loader.free((config, parts));
            return self.refused(&diagnostics);
        }
        if !self.notify.is_reloading() {
            self.notify.reloading();
        }
        if let Err(errors) = self.server.apply(parts) {
            self.loader.free(config);
            return self.refused_later(&RunError::Bind(errors).to_string(), true);
        }
        self.retry = None;
        self.is_refused = false;
        self.timeouts = config.timeouts;
        self.routes = config.routes.len();
        self.renew_at = config.renew_at();
        if config.log != self.log_options {
            self.log.set(config.log);
            self.log_options = config.log;
        }
        report(&diagnostics);
        let trust = config.trusts.summaries();
        log_trust(&self.trust, &trust);
        self.trust = trust;
        self.server.report_unused();
        info!(routes = config.routes.len(), listeners = config.listeners.len(), "reloaded");
        self.notices.clone_from(&config.notices);
        self.loader.free(config);
        self.close(Connections::close_withdrawn);
    }

    /// Closes connections that the configuration no longer lets go on. Not by the thread that loads: its turn may be late
    /// where the processor is busy, and this is not to wait.
    fn close(&self, close: impl FnOnce(&Connections) -> usize + Send + 'static) {
        let connections = Arc::clone(self.server.connections());
        drop(spawn_blocking(move || {
            let closed = close(&connections);
            if closed > 0 {
                info!(closed, "closed connections that the configuration no longer lets go on");
            }
        }));
    }

    fn refused(&mut self, diagnostics: &[Diagnostic]) {
        self.is_refused = true;
        let refusing: Vec<Diagnostic> =
            diagnostics.iter().filter(|found| found.severity >= Severity::Premature).cloned().collect();
        let text = on_one_line(&refusing);
        if refusing.iter().all(|diagnostic| diagnostic.severity < Severity::Error) {
            return self.refused_later(&text, false);
        }
        self.retry = None;
        error!(diagnostics = text, "reload refused, the configuration that runs goes on");
    }

    /// A refusal that may pass by itself is tried again and again, and reported once: at once, or after a grace.
    fn refused_later(&mut self, text: &str, at_once: bool) {
        self.is_refused = true;
        let retry = self.retry.get_or_insert_with(|| {
            if !at_once {
                info!(reason = text, "not reloaded yet, the configuration that runs goes on");
            }
            Retry { since: Instant::now(), reported: false }
        });
        if !retry.reported && (at_once || retry.since.elapsed() >= GRACE) {
            retry.reported = true;
            error!(diagnostics = text, "reload refused, the configuration that runs goes on");
        }
    }

    /// Stops listening, then waits for connections to end, until the deadline or another signal.
    async fn drain(mut self, stop: &mut Stop, mut reports: Interval) -> Stopped {
        let connections = Arc::clone(self.server.connections());
        info!(open = connections.open(), timeout_s = self.timeouts.drain.as_secs_f64(), "draining");
        let end = Instant::now() + self.timeouts.drain;
        let status = format!("draining, {} open connections, {:?} at most", connections.open(), self.timeouts.drain);
        self.notify.stopping(&status, self.timeouts.drain);
        let drained = async {
            self.server.stop_listening().await;
            connections.wait_until_empty().await;
        };
        let reporting = async {
            loop {
                reports.tick().await;
                connections.access_log.report();
            }
        };
        tokio::select! {
            _ = timeout(self.timeouts.drain, drained) => {}
            () = stop.recv() => info!("stopping at once"),
            () = reporting => {}
            () = self.notify.keep_stopping(end) => {}
        }
        let closed = connections.open();
        connections.close_all();
        let _ = timeout(LAST_WORDS, connections.wait_until_empty()).await;
        connections.access_log.report();
        let Counts { accepted, silent, routed, refused, limited } = connections.counters.read();
        let (open, pending, log_lines_lost) = (connections.open(), self.server.pending(), self.log.lost());
        info!(accepted, silent, routed, refused, limited, closed, open, pending, log_lines_lost, "stopped");
        if closed == 0 { Stopped::Drained } else { Stopped::Closed(closed) }
    }
}

/// The state in one line, for people.
fn status(routes: usize, server: &Server) -> String {
    let (sockets, open) = (server.sockets(), server.connections().open());
    format!("{routes} routes, {sockets} listening sockets, {open} open connections")
}

/// Which CAs were read from where, of each store that is not as it was before.
fn log_trust(before: &[Summary], now: &[Summary]) {
    for store in now.iter().filter(|store| !before.contains(store)) {
        info!(trust = store.name(), certificates = store.certificates(), from = store.origins(), "trust");
    }
}

/// What a configuration that runs was found to have: warnings, and what clients will refuse.
fn report_made(made: &[Made]) {
    for Made { name, fingerprint: sha256, reason } in made {
        match reason {
            None => info!(certificate = %name, sha256, "self-signed certificate made"),
            Some(reason) => warn!(certificate = %name, sha256, reason, "self-signed certificate made anew"),
        }
    }
}

fn report(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        match diagnostic.severity {
            Severity::Warning => warn!(%diagnostic, "configuration"),
            _ => error!(%diagnostic, "configuration"),
        }
    }
}
