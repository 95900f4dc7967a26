//! Reloads: when to look at the files, what to load, and what to do with what was loaded.
//!
//! What tightens acts at once; what loosens waits until it is written no more; and no protection
//! goes without an operator's word. What a configuration would let clients do is compared with what
//! they may do now (`config::diff`), however it came to be: files that are truncated, half copied
//! or renamed away are as valid as any other.

mod calm;
mod look;
mod said;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot::{self, error::RecvError};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::config::diff::Outline;
use crate::config::files::Files;
use crate::config::trust::Summary;
use crate::config::weakening::Standing;
use crate::config::{Config, Notice, Timeouts};
use crate::daemon::Daemon;
use crate::daemon::adopt::{Found, adopt};
use crate::daemon::files::{FileWatch, LookReason};
use crate::daemon::loader::Loader;
use crate::daemon::notify::Notify;
use crate::daemon::reload::calm::{Calm, QUIET, WaitingItem, WaitingItems};
use crate::daemon::reload::look::{
    Eyes, Look, Order, Pending, Proposed, ReloadKind, ReloadVerdict, Served,
};
use crate::daemon::reload::said::Said;
use crate::telemetry::{self, Log};

pub(super) use look::{Load, load};

/// How long the clock of the machine is believed to go on as it goes.
const CLOCK_CHECK: Duration = Duration::from_secs(600);

/// The reloads of one process: what is served is what was last taken.
pub(super) struct Reloads {
    path: PathBuf,
    loader: Loader,
    watch: FileWatch,
    log: Log,
    log_options: telemetry::LogOptions,
    timeouts: Timeouts,
    /// Notices that have to be logged later.
    notices: Vec<Notice>,
    /// When to load again because a self-signed certificate nears its end. Nothing once that has
    /// been tried.
    renew_at: Option<SystemTime>,
    /// The trust stores for servers.
    trust: Vec<Summary>,
    served: Served,
    /// How many there are.
    routes: usize,
    /// The log of attempts that failed, of each kind.
    said: [Said; 2],
    /// Items that wait.
    calm: Calm,
    /// When the files were looked at.
    looked: Instant,
    /// When what is served was loaded.
    loaded: Instant,
    /// The content of every file that an operator has asked for and that is not served yet.
    confirmed: Option<[u8; 32]>,
    /// The files as they are were to be served, and could not.
    only_materials: bool,
    /// It is time to look whether a file has changed.
    due: bool,
    /// Everything is to be loaded, changed or not.
    requested: bool,
    /// Nothing while the loader has them.
    eyes: Option<Eyes>,
    /// One at a time, beside the loop that waits for it: a file system that hangs does not keep the
    /// process from stopping.
    looking: Option<oneshot::Receiver<(Eyes, Look)>>,
    /// After it, in the same thread: the directories of the files are watched.
    following: Option<oneshot::Receiver<Eyes>>,
}

/// The result of a look, for [`Reloads::take`]; an error if the look panicked.
pub(super) struct Looked(Result<(Eyes, Look), RecvError>);

impl Reloads {
    /// Of the configuration at `path`, which is served as `config`, made of `files`.
    pub(super) fn new(
        path: PathBuf,
        loader: Loader,
        log: Log,
        (config, outline): (Config, Outline),
        mut files: Files,
    ) -> Self {
        let texts = files.take_texts();
        let (watch, directories) = FileWatch::new();
        let materials = Arc::new(files.take_materials());
        let eyes = Eyes {
            directories,
            materials: files.beside_texts(),
            last: files,
        };
        let mut reloads = Self {
            path,
            watch,
            log,
            log_options: config.log,
            timeouts: config.timeouts,
            notices: config.notices.clone(),
            renew_at: config.renew_at(),
            trust: config.trusts.summaries(),
            routes: config.routes.len(),
            served: Served {
                standing: Arc::new(Standing::of(&config)),
                outline: Arc::new(outline),
                texts: Arc::new(texts),
                materials,
            },
            said: [
                Said::new(ReloadKind::Files),
                Said::new(ReloadKind::Materials),
            ],
            calm: Calm::default(),
            looked: Instant::now(),
            loaded: Instant::now(),
            confirmed: None,
            only_materials: false,
            due: false,
            requested: false,
            eyes: Some(eyes),
            looking: None,
            following: None,
            loader,
        };
        reloads.follow();
        reloads.loader.free(config);
        reloads.loader.give_back();
        reloads
    }

    /// The time limits in force.
    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The log.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Has everything loaded, changed or not, and served if it is valid.
    pub(super) fn request(&mut self) {
        self.requested = true;
    }

    /// How many routes are served.
    pub(super) fn routes(&self) -> usize {
        self.routes
    }

    /// How long ago what is served was loaded.
    pub(super) fn since_loaded(&self) -> Duration {
        self.loaded.elapsed()
    }

    /// Why not everything that the files say is served, in words.
    pub(super) fn problem(&self) -> Option<String> {
        self.said
            .iter()
            .find_map(Said::status)
            .map(ToOwned::to_owned)
    }

    /// The state in one line, for people.
    pub(super) fn status(&self, server: &Daemon) -> String {
        let (routes, sockets, open) = (self.routes, server.sockets(), server.connections().open());
        let problem = self.problem().map(|problem| format!("; {problem}"));
        let problem = problem.unwrap_or_default();
        format!("{routes} routes, {sockets} listening sockets, {open} open connections{problem}")
    }

    /// Tells the service manager that this configuration is served.
    pub(super) fn announce(&self, server: &Daemon, notify: &mut Notify) {
        notify.ready(self.status(server));
    }

    /// Looks at the files when it is time to, and returns what came of it. Cancel safe: a look that
    /// has begun goes on.
    pub(super) async fn next(&mut self, server: &Daemon) -> Looked {
        loop {
            let is_busy = self.looking.is_some() || self.following.is_some();
            if !is_busy && (self.due || self.requested) {
                let requested = std::mem::take(&mut self.requested);
                self.due = false;
                self.looking = Some(self.look(requested, server));
            }
            let quiet = self.calm.next(self.looked);
            tokio::select! {
                seen = self.watch.wait(), if !self.due => {
                    self.due = true;
                    if seen != LookReason::Poll {
                        debug!(?seen, "looking at the files");
                    }
                }
                () = at(quiet), if !is_busy && !self.due => self.due = true,
                () = at(said::remind_at(&self.said)) => said::remind(&mut self.said),
                () = due(&mut self.notices) => {}
                look = done(&mut self.looking) => {
                    self.looking = None;
                    return Looked(look);
                }
                eyes = done(&mut self.following) => {
                    self.following = None;
                    self.eyes = eyes.ok();
                    if let Some(eyes) = &self.eyes {
                        self.watch.see(&eyes.directories);
                    }
                }
            }
        }
    }

    /// Begins to look, and to load everything if anything has changed or if it was `requested`.
    /// Reading and compiling take as long as they take; connections are served meanwhile.
    fn look(&mut self, requested: bool, server: &Daemon) -> oneshot::Receiver<(Eyes, Look)> {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let renew = self.renew_at.take_if(|at| *at <= clock).is_some();
        let is_quiet = self
            .calm
            .has_come(std::mem::replace(&mut self.looked, now), now);
        let is_tried_again = self.said.iter().any(Said::may_pass);
        let eyes = self.eyes.take();
        let order = Order {
            path: self.path.clone(),
            served: self.served.clone(),
            before: server.carried_over(),
            requested,
            // What a look that panicked had in its hands is lost.
            must_load: requested || renew || is_quiet || is_tried_again || eyes.is_none(),
            renew,
            only_materials: std::mem::take(&mut self.only_materials) && !requested,
            confirmed: self.confirmed,
            calm: self.calm.clone(),
            now,
            clock,
        };
        let mut eyes = eyes.unwrap_or_else(|| {
            let (watch, directories) = FileWatch::new();
            self.watch = watch;
            Eyes {
                directories,
                ..Eyes::default()
            }
        });
        self.loader.run(move || {
            let look = order.look(&mut eyes);
            (eyes, look)
        })
    }

    /// Serves what was loaded if it may be served, and otherwise changes nothing.
    pub(super) fn take(
        &mut self,
        Looked(looked): Looked,
        server: &mut Daemon,
        notify: &mut Notify,
    ) {
        let has_loaded = looked
            .as_ref()
            .is_ok_and(|(_, look)| look.files.is_some() || look.materials.is_some());
        match looked {
            Ok((eyes, look)) => {
                self.eyes = Some(eyes);
                let is_requested = look.confirmed.is_some();
                if is_requested {
                    // An operator who asks is told, though it was said before.
                    self.said.iter_mut().for_each(Said::nothing);
                }
                self.confirmed = look.confirmed.or(self.confirmed);
                self.wait(&look);
                if matches!(look.files, Some(ReloadVerdict::Stays(_))) && look.materials.is_none() {
                    // All that there is was judged with the files.
                    self.said[ReloadKind::Materials as usize].nothing();
                }
                for (kind, verdict) in [
                    (ReloadKind::Files, look.files),
                    (ReloadKind::Materials, look.materials),
                ] {
                    match verdict {
                        Some(ReloadVerdict::Serve(candidate, pending)) => {
                            self.serve(kind, (*candidate, pending), is_requested, (server, notify));
                        }
                        Some(ReloadVerdict::Stays(pending)) => {
                            self.said[kind as usize].pends(pending)
                        }
                        Some(ReloadVerdict::NotKept(error)) => {
                            self.said[kind as usize].failed(&error.to_string())
                        }
                        None => {}
                    }
                }
            }
            // The list of files is lost, so everything is loaded at the next look.
            Err(_) => {
                self.said[0].failed("a fault in snigate, please report it; the log has it above")
            }
        }
        let unused = server.take_unused();
        let has_freed = has_loaded || !unused.is_empty();
        self.loader.free(unused);
        if has_freed {
            self.loader.give_back();
        }
        self.follow();
        // Unless the reload that was asked for is still to come.
        if notify.is_reloading() && !self.requested {
            self.announce(server, notify);
        }
    }

    /// Has the directories of what was read watched.
    fn follow(&mut self) {
        let Some(mut eyes) = self.eyes.take() else {
            return;
        };
        self.following = Some(self.loader.run(move || {
            eyes.directories.follow(eyes.last.paths());
            eyes
        }));
    }

    /// Waits for what waits to stay as it is.
    fn wait(&mut self, look: &Look) {
        if look.files.is_none() && look.materials.is_none() {
            return;
        }
        let (mut waits, mut loosens) = (WaitingItems::new(), Vec::new());
        for verdict in [&look.files, &look.materials].into_iter().flatten() {
            let Some(pending) = verdict.pending() else {
                continue;
            };
            waits.extend(pending.waits.clone());
            loosens
                .extend(Some(pending.loosens.on_one_line()).filter(|loosens| !loosens.is_empty()));
        }
        let not_looked_at = look.files.is_none();
        let is_new = self.calm.wait(waits, Instant::now(), |waiting| {
            not_looked_at && *waiting == WaitingItem::Texts(ReloadKind::Files)
        });
        if is_new {
            let loosens = loosens.join("; ");
            info!(
                loosens,
                "the reload waits until its files have been unchanged for {QUIET:?}"
            );
        }
    }

    fn serve(
        &mut self,
        kind: ReloadKind,
        (candidate, pending): (Proposed, Pending),
        requested: bool,
        (server, notify): (&mut Daemon, &mut Notify),
    ) {
        let Proposed {
            config,
            diagnostics,
            made,
            parts,
            served,
            materials,
            changed,
        } = candidate;
        if !notify.is_reloading() {
            notify.reloading();
        }
        let found = Found {
            diagnostics: &diagnostics,
            made: &made,
        };
        if let Err(errors) = adopt(server, parts, &config, &found, &self.trust) {
            self.loader.free(config);
            // What was revoked beside it does not wait for a port.
            (self.only_materials, self.due) =
                (kind == ReloadKind::Files, kind == ReloadKind::Files);
            return self.said[kind as usize].not_bound(errors);
        }
        self.loaded = Instant::now();
        if kind == ReloadKind::Files {
            self.confirmed = None;
            self.said[ReloadKind::Materials as usize].nothing();
        }
        self.said[kind as usize].pends(pending);
        self.loader
            .free(std::mem::replace(&mut self.served, served));
        if let Some(eyes) = &mut self.eyes {
            eyes.materials = materials;
        }
        self.timeouts = config.timeouts;
        self.routes = config.routes.len();
        self.renew_at = config.renew_at();
        if config.log != self.log_options {
            self.log.set(config.log);
            self.log_options = config.log;
        }
        self.trust = config.trusts.summaries();
        let (routes, listeners) = (config.routes.len(), config.listeners.len());
        let texts = (kind == ReloadKind::Materials).then_some("as before");
        info!(routes, listeners, texts, requested, changed, "reloaded");
        self.notices.clone_from(&config.notices);
        self.loader.free(config);
    }
}

/// Waits for that moment, and for ever if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The result of the loader, when it is done; waits for ever if it does nothing.
async fn done<T>(looking: &mut Option<oneshot::Receiver<T>>) -> Result<T, RecvError> {
    match looking {
        Some(look) => look.await,
        None => std::future::pending().await,
    }
}

/// Waits until one of `notices` is due, says it and removes it.
async fn due(notices: &mut Vec<Notice>) {
    loop {
        let Some((at, notice)) = notices
            .iter()
            .enumerate()
            .min_by_key(|(_, notice)| notice.at)
        else {
            return std::future::pending().await;
        };
        let Ok(wait) = notice.at.duration_since(SystemTime::now()) else {
            warn!(
                diagnostic = notices.swap_remove(at).message,
                "configuration"
            );
            return;
        };
        // The clock may be set meanwhile.
        sleep(wait.min(CLOCK_CHECK)).await;
    }
}
