//! Reloads: when to look at the files, what to load, and what to do with what was loaded.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot::{self, error::RecvError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use crate::config::diagnostic::{Diagnostic, Excerpt, Severity};
use crate::config::files::Files;
use crate::config::trust::Summary;
use crate::config::{self, Config, Loaded, Made, Notice, Timeouts};
use crate::proxy::Connections;
use crate::server::files::Watch;
use crate::server::lifecycle::RunError;
use crate::server::loader::Loader;
use crate::server::notify::Notify;
use crate::server::report::{log_trust, report, report_made};
use crate::server::{BindError, Inheritance, Parts, Server};
use crate::storage::StorageError;
use crate::telemetry::{self, Log};

/// Whoever renews a certificate writes two files. For this long it is no news that they do not fit.
const GRACE: Duration = Duration::from_secs(30);

/// How long the clock of the machine is believed to go on as it goes.
const CLOCK_CHECK: Duration = Duration::from_secs(600);

/// What was loaded, what was made for it and put into the storage, and its parts if it is sound.
pub(super) type Load = (Loaded, Result<Vec<Made>, StorageError>, Option<Parts>);

/// Loads the configuration at `path` in order to serve it. `before` is what is in use.
pub(super) fn load(path: PathBuf, before: Inheritance) -> impl FnOnce() -> Load {
    move || {
        let mut loaded = config::load(&path);
        loaded.require_privileges();
        let made = loaded.keep();
        let parts = loaded.config.as_ref().map(|config| Parts::build(config, &before));
        (loaded, made, parts)
    }
}

/// The reloads of one process: what is served is what was last taken.
pub(super) struct Reloads {
    path: PathBuf,
    loader: Loader,
    watch: Watch,
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
    /// It is time to look whether a file has changed.
    due: bool,
    /// Somebody wants everything loaded, changed or not.
    requested: bool,
    /// One at a time, beside the loop that waits for it: a file system that hangs keeps nobody from stopping the process.
    looking: Option<oneshot::Receiver<Look>>,
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

/// What came of looking, for [`Reloads::take`]; an error if the look panicked.
pub(super) struct Looked(Result<Look, RecvError>);

impl Reloads {
    /// Of the configuration at `path`, which is served as `config`, made of `files`.
    pub(super) fn new(path: PathBuf, loader: Loader, log: Log, config: Config, files: Files) -> Self {
        let mut watch = Watch::new();
        watch.follow(files.paths());
        let reloads = Self {
            path,
            watch,
            log,
            log_options: config.log,
            timeouts: config.timeouts,
            notices: config.notices.clone(),
            renew_at: config.renew_at(),
            trust: config.trusts.summaries(),
            files,
            retry: None,
            routes: config.routes.len(),
            is_refused: false,
            due: false,
            requested: false,
            looking: None,
            loader,
        };
        reloads.loader.free(config);
        reloads
    }

    /// The time limits in force.
    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// What is logged, and where.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Has everything loaded, changed or not.
    pub(super) fn request(&mut self) {
        self.requested = true;
    }

    /// The state in one line, for people.
    pub(super) fn status(&self, server: &Server) -> String {
        let (routes, sockets, open) = (self.routes, server.sockets(), server.connections().open());
        format!("{routes} routes, {sockets} listening sockets, {open} open connections")
    }

    /// Tells the service manager that this configuration is served.
    pub(super) fn announce(&self, server: &Server, notify: &mut Notify) {
        let mut status = self.status(server);
        if self.is_refused {
            status.push_str("; the last reload was refused, the log says why");
        }
        notify.ready(status);
    }

    /// Looks at the files when it is time to, and returns what came of it. Cancel safe: a look that has begun goes on.
    pub(super) async fn next(&mut self, server: &Server) -> Looked {
        loop {
            if self.looking.is_none() && (self.due || self.requested) {
                let requested = std::mem::take(&mut self.requested);
                self.due = false;
                self.looking = Some(self.look(requested, server));
            }
            tokio::select! {
                () = self.watch.wait(), if !self.due => self.due = true,
                () = due(&mut self.notices) => {}
                look = done(&mut self.looking) => {
                    self.looking = None;
                    return Looked(look);
                }
            }
        }
    }

    /// Begins to look, and to load everything if anything has changed or if it was `requested`. Reading and compiling
    /// take as long as they take; connections are served meanwhile.
    fn look(&mut self, requested: bool, server: &Server) -> oneshot::Receiver<Look> {
        let renew = self.renew_at.take_if(|at| *at <= SystemTime::now()).is_some();
        let must_load = requested || renew || self.retry.is_some();
        let mut files = std::mem::take(&mut self.files);
        let load = load(self.path.clone(), server.inheritance());
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
    pub(super) fn take(&mut self, looked: Looked, server: &mut Server, notify: &mut Notify) {
        self.apply(looked, server, notify);
        self.loader.free(server.take_unused());
        self.watch.follow(self.files.paths());
        // Unless the reload that was asked for is still to come.
        if notify.is_reloading() && !self.requested {
            self.announce(server, notify);
        }
    }

    fn apply(&mut self, Looked(look): Looked, server: &mut Server, notify: &mut Notify) {
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
        let Loaded { config, diagnostics, files, variables: _ } = loaded;
        self.files = files;
        let (Some(config), Some(parts)) = (config, parts) else { return self.refused(&diagnostics) };
        if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Premature) {
            self.loader.free((config, parts));
            return self.refused(&diagnostics);
        }
        if !notify.is_reloading() {
            notify.reloading();
        }
        if let Err(errors) = server.apply(parts) {
            self.loader.free(config);
            return self.not_bound(errors);
        }
        // Before anything is said: whoever may not go on is not to wait for the log.
        close(server.connections(), Connections::close_withdrawn);
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
        server.report_unused();
        info!(routes = config.routes.len(), listeners = config.listeners.len(), "reloaded");
        self.notices.clone_from(&config.notices);
        self.loader.free(config);
    }

    /// Tried again and again, and reported once: with who has the address, which is asked where nobody waits for it.
    fn not_bound(&mut self, errors: Vec<BindError>) {
        self.is_refused = true;
        let retry = self.retry.get_or_insert_with(|| Retry { since: Instant::now(), reported: false });
        if std::mem::replace(&mut retry.reported, true) {
            return;
        }
        drop(spawn_blocking(move || {
            let errors = errors.into_iter().map(BindError::explained).collect();
            let text = RunError::Bind(errors).to_string();
            error!(diagnostics = text, "reload refused, the configuration that runs goes on");
        }));
    }

    fn refused(&mut self, diagnostics: &[Diagnostic]) {
        self.is_refused = true;
        let refusing: Vec<Diagnostic> =
            diagnostics.iter().filter(|found| found.severity >= Severity::Premature).cloned().collect();
        let text = Excerpt::of(&refusing).on_one_line();
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
}

/// Closes connections that the configuration no longer lets go on. Not by the thread that loads: its turn may be late
/// where the processor is busy, and this is not to wait.
pub(super) fn close(connections: &Arc<Connections>, close: impl FnOnce(&Connections) -> usize + Send + 'static) {
    let connections = Arc::clone(connections);
    drop(spawn_blocking(move || {
        let closed = close(&connections);
        if closed > 0 {
            info!(closed, "closed connections that the configuration no longer lets go on");
        }
    }));
}

/// What the loader is at, when it is done; waits for ever if that is nothing.
async fn done<T>(looking: &mut Option<oneshot::Receiver<T>>) -> Result<T, RecvError> {
    match looking {
        Some(look) => look.await,
        None => std::future::pending().await,
    }
}

/// Waits until one of `notices` is due, says it and removes it.
async fn due(notices: &mut Vec<Notice>) {
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
