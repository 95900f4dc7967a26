//! One look at the files: what there is to load, and what of it may be served. It runs in the
//! loader's thread and knows nothing of what is served but what it is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use tracing::debug;

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::diff::{Outline, diff};
use crate::config::files::{Behind, Files, Texts};
use crate::config::material::{Item, Keep, Materials, Reason};
use crate::config::weakening::{Findings, Standing, Weakening, compare, without};
use crate::config::{self, Circumstances, Config, Loaded, Made};
use crate::daemon::files::Directories;
use crate::daemon::loader::apart;
use crate::daemon::reload::calm::{Calm, WaitingItem, WaitingItems};
use crate::daemon::{CarriedOver, Parts};
use crate::storage::StorageError;

/// What was loaded, and what was made for it and put into the storage; its parts if it is sound,
/// with what is remembered of it.
pub(in crate::daemon) type Load = (
    Loaded,
    Result<Vec<Made>, StorageError>,
    Option<(Parts, Outline)>,
);

/// Loads the configuration at `path` in order to serve it first: whatever is valid is served.
pub(in crate::daemon) fn load(path: PathBuf) -> impl FnOnce() -> Load {
    move || {
        let mut loaded = config::load(&path);
        loaded.require_privileges();
        let made = loaded.keep();
        let parts = loaded
            .config
            .as_ref()
            .map(|config| Parts::build(config, &CarriedOver::default()));
        let outline = loaded.outline(&path, None);
        let parts = parts.zip(outline);
        (loaded, made, parts)
    }
}

/// The files that have been read and are watched.
#[derive(Default)]
pub(super) struct Eyes {
    pub(super) directories: Directories,
    /// The files of the last attempts to load, whether they succeeded or not.
    pub(super) last: Files,
    /// The files of the configuration that is served, its own texts aside, and what was not used of
    /// it.
    pub(super) materials: Files,
}

/// The state that is served, as far as a reload has to know it.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) standing: Arc<Standing>,
    pub(super) outline: Arc<Outline>,
    pub(super) texts: Arc<Texts>,
    pub(super) materials: Arc<Materials>,
}

/// The material of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReloadKind {
    /// The files as they are.
    Files,
    /// The texts that are served, and the certificates, keys, CAs and lists as they are: a mistake
    /// in a text, or a text that is still being written, keeps no revocation from acting.
    Materials,
}

/// The task of a look.
pub(super) struct Order {
    pub(super) path: PathBuf,
    pub(super) served: Served,
    pub(super) before: CarriedOver,
    /// Whatever is valid was asked for.
    pub(super) requested: bool,
    /// Load, changed or not.
    pub(super) must_load: bool,
    /// Serve what was loaded, changed or not: a certificate of snigate's own is due.
    pub(super) renew: bool,
    /// The files as they are cannot be served at the moment.
    pub(super) only_materials: bool,
    /// The configuration that an operator has asked for: the content of every file at that time,
    /// since what was lost after it was not meant.
    pub(super) confirmed: Option<[u8; 32]>,
    /// Items that wait.
    pub(super) calm: Calm,
    pub(super) now: Instant,
    /// The time by the clock of the machine, which may be wrong.
    pub(super) clock: SystemTime,
}

/// The result of a look.
#[derive(Default)]
pub(super) struct Look {
    /// Nothing where no file has changed.
    pub(super) files: Option<ReloadVerdict>,
    /// Nothing where the files are served as they are, or nothing but texts has changed.
    pub(super) materials: Option<ReloadVerdict>,
    /// The configuration that an operator has asked for, served or not.
    pub(super) confirmed: Option<[u8; 32]>,
}

/// The fate of a configuration that was loaded.
pub(super) enum ReloadVerdict {
    /// It is served, but for what pends of it.
    Serve(Box<Proposed>, Pending),
    /// Nothing changes: all that is new of it pends.
    Stays(Pending),
    /// The files made for it could not be kept.
    NotKept(StorageError),
}

impl ReloadVerdict {
    pub(super) fn pending(&self) -> Option<&Pending> {
        match self {
            Self::Serve(_, pending) | Self::Stays(pending) => Some(pending),
            Self::NotKept(_) => None,
        }
    }

    fn refusal(&self) -> Option<&RefusedReload> {
        self.pending()?.refusal.as_ref()
    }

    /// Each mistake is said once: not with the files as they are what is said of the materials
    /// alone.
    fn leave_out(&mut self, said: &RefusedReload) {
        let (Self::Serve(_, pending) | Self::Stays(pending)) = self else {
            return;
        };
        let Some(refusal) = &mut pending.refusal else {
            return;
        };
        let is_said = |message: &String| {
            said.diagnostics
                .iter()
                .any(|found| found.message == *message)
        };
        refusal.diagnostics.retain(|found| !is_said(&found.message));
        if refusal
            .diagnostics
            .iter()
            .all(|found| found.severity < Severity::Premature)
        {
            pending.refusal = None;
        }
    }
}

/// The parts of a configuration that was loaded and that are not served.
#[derive(Default)]
pub(super) struct Pending {
    /// Reasons why it is not valid, or not yet.
    pub(super) refusal: Option<RefusedReload>,
    /// The protections that would be gone, and the files that do not act before they may go.
    pub(super) held: Option<(Findings, Behind)>,
    /// Everything that would be allowed.
    pub(super) loosens: Findings,
    /// Everything that clients meet meanwhile and the texts which are held or waited for would
    /// forbid.
    pub(super) without: Findings,
    /// Items that it waits for.
    pub(super) waits: WaitingItems,
    /// The file that is written so often that it has not waited for as long as it should.
    pub(super) restless: Option<Restless>,
}

/// Files that are written again and again, so that they are never quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Restless {
    /// These materials: what they take away acts, and what they add waits.
    Items(Vec<String>),
    /// The texts, or all of the files: they act as they are.
    Texts,
}

pub(super) struct RefusedReload {
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Something could not be read, which tells nothing of what is in it.
    pub(super) is_incomplete: bool,
    /// Its content, in short.
    pub(super) digest: [u8; 32],
    /// The rest is served.
    pub(super) is_partial: bool,
}

/// A configuration that may be served.
pub(super) struct Proposed {
    pub(super) config: Config,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) made: Vec<Made>,
    pub(super) parts: Parts,
    pub(super) served: Served,
    pub(super) materials: Files,
    /// What it changes of what is served, in short.
    pub(super) changed: String,
}

impl Order {
    /// Looks, and loads what has to be.
    pub(super) fn look(&self, eyes: &mut Eyes) -> Look {
        // Descriptors of its own: however many connections there are, a file can be read.
        apart(|| self.read(&mut eyes.last, &mut eyes.materials))
    }

    fn read(&self, last: &mut Files, materials: &mut Files) -> Look {
        let mut look = Look::default();
        let changed = last.changed().map(|path| path.display().to_string());
        if changed.is_none() && !self.must_load {
            return look;
        }
        debug!(changed, "loading");
        if !self.only_materials {
            let judged = self.judge(ReloadKind::Files, materials);
            look.confirmed = self.requested.then_some(judged.digest);
            *last = judged.files;
            let is_served = matches!(judged.verdict, ReloadVerdict::Serve(..));
            look.files = Some(judged.verdict);
            if is_served || judged.are_served {
                return look;
            }
        }
        if materials.has_aside() || materials.changed().is_some() {
            let again = self.judge(ReloadKind::Materials, materials);
            last.extend(again.files);
            if let (Some(files), Some(materials)) = (&mut look.files, again.verdict.refusal()) {
                files.leave_out(materials);
            }
            look.materials = Some(again.verdict);
        }
        // Whatever the texts in the files are made of, these still count.
        last.extend(materials.clone());
        look
    }

    /// Loads what is of this kind, with these of the materials as they run.
    fn load(&self, kind: ReloadKind, keep: Keep) -> Loaded {
        let circumstances = Circumstances {
            now: self.clock,
            serving: Arc::clone(self.served.standing.serving()),
            running: Arc::clone(&self.served.materials),
            keep,
        };
        match kind {
            ReloadKind::Files => config::load_in(&self.path, &circumstances),
            ReloadKind::Materials => {
                config::load_again(&self.path, Arc::clone(&self.served.texts), &circumstances)
            }
        }
    }

    /// The same, with whatever fits. While a list cannot be used, its table takes no new CA: the
    /// clients of that CA could be those whom the list is about.
    fn load_sound(&self, kind: ReloadKind, mut keep: Keep) -> Loaded {
        let loaded = self.load(kind, keep.clone());
        let broken: Vec<Item> = loaded
            .unfit
            .iter()
            .filter_map(|fault| fault.fault_of.clone())
            .collect();
        let new = loaded
            .files
            .materials
            .new_beside_broken_lists(&self.served.materials, &broken);
        if new.is_empty() {
            return loaded;
        }
        let message = |path: &PathBuf| {
            format!(
                "{}: its new CAs wait until every list beside them can be used",
                path.display()
            )
        };
        // Said with what is wrong with the list: an operator who adds a CA has to know that its
        // clients are refused.
        let waiting: Vec<Diagnostic> = new
            .iter()
            .map(|path| Diagnostic::new(Severity::Error, message(path)))
            .collect();
        keep.extend(
            new.into_iter()
                .map(|path| (Item::File(path), Reason::BROKEN)),
        );
        let mut loaded = self.load(kind, keep);
        loaded.unfit.extend(waiting);
        loaded
    }

    /// The same, with whatever takes a protection away only because some of the materials go on as
    /// they run: the list of a CA that is gone, where the CA goes on. What is `weaker` has been
    /// judged.
    fn load_fitting(&self, kind: ReloadKind, mut keep: Keep, weaker: &Keep) -> Loaded {
        loop {
            let loaded = self.load_sound(kind, keep.clone());
            if loaded.config.is_none() {
                return loaded;
            }
            let mut more = loaded
                .files
                .materials
                .weaker(&self.served.materials, self.clock);
            more.retain(|item, _| !keep.contains_key(item) && !weaker.contains_key(item));
            if more.is_empty() {
                return loaded;
            }
            keep.extend(more);
        }
    }

    /// The fate of what there is of this kind; `served` are the materials that are served, as they
    /// were read.
    fn judge(&self, kind: ReloadKind, served: &Files) -> Judged {
        let mut loaded = self.load_sound(kind, Keep::new());
        let digest = loaded.files.digest();
        let is_confirmed =
            kind == ReloadKind::Files && (self.requested || self.confirmed == Some(digest));
        let (mut pending, mut may_loosen) = (Pending::default(), is_confirmed);
        if is_confirmed {
            // An operator who asks for a list whose time has not come has not asked that no client
            // comes in until then.
            let weaker = loaded
                .files
                .materials
                .weaker(&self.served.materials, self.clock);
            let early = weaker
                .into_iter()
                .filter(|(_, reason)| reason.has(Reason::EARLY));
            let early: Keep = early.map(|(item, _)| (item, Reason::EARLY)).collect();
            let both =
                (!early.is_empty() && loaded.config.is_some()).then(|| self.load(kind, early));
            loaded = both.filter(|both| both.config.is_some()).unwrap_or(loaded);
        } else if let Some(config) = &loaded.config {
            let mut weakening = compare(&self.served.standing, &Standing::of(config));
            weakening.rephrase(|text| loaded.variables.hide(text));
            let weaker = self.weaker(&loaded.files, &weakening);
            if !weaker.is_empty() {
                pending.leave(&weaker, weakening, &loaded.files);
                // Where they do not fit the rest, all of it is judged as a whole.
                let without = self.load_fitting(kind, weaker.clone(), &weaker);
                if let Some(config) = &without.config {
                    // Nothing but these materials allows anything, each of which has waited for
                    // itself.
                    may_loosen =
                        compare(&self.served.standing, &Standing::of(config)).only_tightens();
                    let keep = self.not_quiet(&weaker, &loaded.files);
                    pending.restless = Restless::of(&keep);
                    if keep == weaker {
                        loaded = without;
                    } else if !keep.is_empty() {
                        let again = self.load_fitting(kind, keep, &weaker);
                        let is_sound = again.config.is_some() || pending.restless.is_none();
                        loaded = if is_sound { again } else { without };
                    }
                }
            }
        }
        let texts = loaded.files.take_texts();
        let are_served = texts == *self.served.texts;
        let verdict = self.weigh(
            kind,
            &mut loaded,
            (texts, served),
            (is_confirmed, may_loosen),
            pending,
        );
        let _ = loaded.files.take_materials();
        Judged {
            verdict,
            files: loaded.files,
            digest,
            are_served,
        }
    }

    /// The materials of which what is there takes a protection away, or has to wait.
    fn weaker(&self, files: &Files, weakening: &Weakening) -> Keep {
        let weaker = files.materials.weaker(&self.served.materials, self.clock);
        let is_lost = !weakening.vanished.is_empty();
        let left = |reason: Reason| {
            if is_lost {
                Some(reason)
            } else {
                reason.without(Reason::WITHDRAWN)
            }
        };
        weaker
            .into_iter()
            .filter_map(|(item, reason)| Some((item, left(reason)?)))
            .collect()
    }

    /// Those of `weaker` that have not been as they are for long enough, and those that no time
    /// makes right.
    fn not_quiet(&self, weaker: &Keep, files: &Files) -> Keep {
        let left = |item: &Item, reason: Reason| {
            let waiting = WaitingItem::Item(item.clone());
            if self.calm.is_quiet(&waiting, content(item, files), self.now) {
                return reason.without(Reason::UNSETTLED.and(Reason::FIRST));
            }
            let is_restless =
                reason.has(Reason::UNSETTLED) && self.calm.is_restless(&waiting, self.now);
            Some(if is_restless {
                reason.and(Reason::RESTLESS)
            } else {
                reason
            })
        };
        weaker
            .iter()
            .filter_map(|(item, reason)| Some((item.clone(), left(item, *reason)?)))
            .collect()
    }

    fn weigh(
        &self,
        kind: ReloadKind,
        loaded: &mut Loaded,
        (texts, served): (Texts, &Files),
        (is_confirmed, may_loosen): (bool, bool),
        mut pending: Pending,
    ) -> ReloadVerdict {
        let are_served = texts == *self.served.texts;
        if !loaded.unfit.is_empty() {
            let (is_incomplete, digest) =
                (loaded.files.is_incomplete(), loaded.files.digest_aside());
            let diagnostics = std::mem::take(&mut loaded.unfit);
            pending.refusal = Some(RefusedReload {
                diagnostics,
                is_incomplete,
                digest,
                is_partial: false,
            });
        }
        let (standing, weakening) = match self.compare(kind, loaded, &texts) {
            Ok(compared) => compared,
            Err(refusal) => {
                return ReloadVerdict::Stays(Pending {
                    refusal: Some(refusal),
                    ..Pending::default()
                });
            }
        };
        // Of texts that are served nothing but a material can allow something.
        let whole = if are_served {
            loaded.files.digest()
        } else {
            loaded.files.digest_beside(served)
        };
        let waiting = WaitingItem::Texts(kind);
        let may_loosen = may_loosen || self.calm.is_quiet(&waiting, whole, self.now);
        let is_held = !is_confirmed && !weakening.vanished.is_empty();
        let waits = !weakening.only_tightens() && !may_loosen;
        let mut tightens = Findings::default();
        if is_held || waits {
            tightens = without(&self.served.standing, &standing);
            tightens.rephrase(|text| loaded.variables.hide(text));
        }
        // What is written again and again keeps nothing that tightens waiting without end.
        let is_overdue =
            waits && !is_held && !tightens.is_empty() && self.calm.is_restless(&waiting, self.now);
        if is_overdue {
            pending.restless = Some(Restless::Texts);
        }
        let waits = waits && !is_overdue;
        // A material that allows something and forbids something waits for two seconds, which is no
        // news.
        if is_held || waits && !are_served {
            pending.without = tightens;
        }
        if is_held {
            pending.held = Some((
                weakening.vanished,
                self.behind(&texts, &loaded.files, served),
            ));
            return ReloadVerdict::Stays(pending);
        }
        if waits {
            pending.loosens = weakening.loosened;
            pending.waits.insert(waiting, whole);
            return ReloadVerdict::Stays(pending);
        }
        if loaded.files.has_aside() && are_served && !self.renew && loaded.files.counts_same(served)
        {
            return ReloadVerdict::Stays(pending);
        }
        if let Some(refusal) = &mut pending.refusal {
            refusal.is_partial = true;
        }
        self.build(loaded, (standing, texts), pending)
    }

    /// The files that do not act while all of `read` is held. Materials that the served texts name
    /// act with those texts, unless they are what is held.
    fn behind(&self, texts: &Texts, read: &Files, served: &Files) -> Behind {
        let mut behind = Behind::of_texts(texts, &self.served.texts);
        match *texts == *self.served.texts {
            true => behind.add_changed(read, served),
            false => behind.add_new(read, served),
        }
        behind
    }

    fn build(
        &self,
        loaded: &mut Loaded,
        (standing, texts): (Standing, Texts),
        pending: Pending,
    ) -> ReloadVerdict {
        loaded.require_privileges();
        let made = loaded.keep();
        let outline = loaded.outline(&self.path, Some(&self.served.outline));
        let materials = loaded.files.beside_texts();
        let running = Arc::new(loaded.files.take_materials());
        let diagnostics = std::mem::take(&mut loaded.diagnostics);
        match (loaded.config.take().zip(outline), made) {
            (_, Err(error)) => ReloadVerdict::NotKept(error),
            (Some((config, outline)), Ok(made)) => {
                let changed = diff(&self.served.outline, &outline).in_short();
                let parts = Parts::build(&config, &self.before);
                let served = Served {
                    standing: Arc::new(standing),
                    outline: Arc::new(outline),
                    texts: Arc::new(texts),
                    materials: running,
                };
                let candidate = Proposed {
                    config,
                    diagnostics,
                    made,
                    parts,
                    served,
                    materials,
                    changed,
                };
                ReloadVerdict::Serve(Box::new(candidate), pending)
            }
            (None, Ok(_)) => {
                let (is_incomplete, digest) = (loaded.files.is_incomplete(), loaded.files.digest());
                let refusal = RefusedReload {
                    diagnostics,
                    is_incomplete,
                    digest,
                    is_partial: false,
                };
                ReloadVerdict::Stays(Pending {
                    refusal: Some(refusal),
                    ..pending
                })
            }
        }
    }

    /// The findings of what would get weaker; an error if it cannot be served at all.
    fn compare(
        &self,
        kind: ReloadKind,
        loaded: &Loaded,
        texts: &Texts,
    ) -> Result<(Standing, Weakening), RefusedReload> {
        let is_premature = |found: &Diagnostic| found.severity == Severity::Premature;
        let sound = loaded
            .config
            .as_ref()
            .filter(|_| !loaded.diagnostics.iter().any(is_premature));
        let Some(config) = sound else {
            let diagnostics = loaded.diagnostics.clone();
            let (is_incomplete, digest) = (loaded.files.is_incomplete(), loaded.files.digest());
            return Err(RefusedReload {
                diagnostics,
                is_incomplete,
                digest,
                is_partial: false,
            });
        };
        let standing = Standing::of(config);
        let mut weakening = compare(&self.served.standing, &standing);
        if kind == ReloadKind::Files {
            weakening.lose_files(texts.lost(&self.served.texts));
        }
        weakening.rephrase(|text| loaded.variables.hide(text));
        Ok((standing, weakening))
    }
}

/// The fate of what there is, and what it was made of.
struct Judged {
    verdict: ReloadVerdict,
    files: Files,
    /// Of every file, whether what is in it counts or not.
    digest: [u8; 32],
    /// The texts are those that are served.
    are_served: bool,
}

impl Pending {
    /// These go on as they run, because all of `files` would make this `weakening`.
    fn leave(&mut self, keep: &Keep, weakening: Weakening, files: &Files) {
        if keep.values().any(|reason| reason.has(Reason::WITHDRAWN)) {
            // What is there counts beside what runs, once it has settled: nothing of it is behind.
            self.held = Some((weakening.vanished, Behind::default()));
        }
        let waiting: Vec<&Item> = keep
            .iter()
            .filter(|(_, reason)| reason.has(Reason::UNSETTLED))
            .map(|(item, _)| item)
            .collect();
        if !waiting.is_empty() {
            self.loosens = weakening.loosened;
        }
        for item in waiting {
            if let (Item::File(path), true) = (item, self.loosens.is_empty()) {
                let path = path.display();
                self.loosens.note(match keep[item].has(Reason::FIRST) {
                    true => format!("{path}: clients whom no list spoke of would come in"),
                    false => format!("{path} ends earlier than it did"),
                });
            }
            self.waits
                .insert(WaitingItem::Item(item.clone()), content(item, files));
        }
    }
}

impl Restless {
    fn of(keep: &Keep) -> Option<Self> {
        let items = keep
            .iter()
            .filter(|(_, reason)| reason.has(Reason::RESTLESS));
        let items: Vec<String> = items.map(|(item, _)| item.to_string()).collect();
        (!items.is_empty()).then_some(Self::Items(items))
    }
}

fn content(item: &Item, files: &Files) -> [u8; 32] {
    match item {
        Item::File(path) => files.digest_of(path),
        Item::Certificate(_) => [0; 32],
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod unrest;
