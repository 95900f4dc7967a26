//! One look at the files: what there is to load, and what of it may be served. It runs in the loader's thread and knows
//! nothing of what is served but what it is told.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::debug;

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::diff::{Change, Findings, Standing, compare};
use crate::config::files::{Files, Texts};
use crate::config::{self, Config, Loaded, Made};
use crate::server::files::Directories;
use crate::server::loader::apart;
use crate::server::{Inheritance, Parts};
use crate::storage::StorageError;

/// What was loaded, what was made for it and put into the storage, and its parts if it is sound.
pub(in crate::server) type Load = (Loaded, Result<Vec<Made>, StorageError>, Option<Parts>);

/// Loads the configuration at `path` in order to serve it first: whatever is valid is served.
pub(in crate::server) fn load(path: PathBuf) -> impl FnOnce() -> Load {
    move || build(config::load(&path), &Inheritance::default())
}

fn build(mut loaded: Loaded, before: &Inheritance) -> Load {
    loaded.require_privileges();
    let made = loaded.keep();
    let parts = loaded.config.as_ref().map(|config| Parts::build(config, before));
    (loaded, made, parts)
}

/// What has been read and is watched.
#[derive(Default)]
pub(super) struct Eyes {
    pub(super) directories: Directories,
    /// What the last attempts to load were made of, whether they succeeded or not.
    pub(super) last: Files,
    /// What the configuration that is served was made of, its own texts aside.
    pub(super) materials: Files,
}

/// What is served, as far as a reload has to know it.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) standing: Arc<Standing>,
    pub(super) texts: Arc<Texts>,
}

/// What a reload is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The files as they are.
    Files,
    /// The texts that are served, and the certificates, keys, CAs and lists as they are: a mistake in a text, or somebody
    /// who is still writing it, keeps no revocation from acting.
    Materials,
}

/// Content that is waited for to stay as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    pub(super) digest: [u8; 32],
    /// When it has stayed so for long enough.
    pub(super) until: Instant,
}

/// What a look is to do.
pub(super) struct Order {
    pub(super) path: PathBuf,
    pub(super) served: Served,
    pub(super) before: Inheritance,
    /// Somebody has asked for whatever is valid.
    pub(super) requested: bool,
    /// Load, changed or not.
    pub(super) must_load: bool,
    /// The files as they are cannot be served at the moment.
    pub(super) only_materials: bool,
    /// The texts that somebody has asked for.
    pub(super) confirmed: Option<[u8; 32]>,
    /// What is waited for, of each kind.
    pub(super) quiet: [Option<Quiet>; 2],
    pub(super) now: Instant,
}

/// What a look has found.
#[derive(Default)]
pub(super) struct Look {
    /// Nothing where no file has changed.
    pub(super) files: Option<Verdict>,
    /// Nothing where the files are served as they are, or nothing but texts has changed.
    pub(super) materials: Option<Verdict>,
    /// What somebody has asked for, served or not.
    pub(super) confirmed: Option<[u8; 32]>,
}

/// What becomes of a configuration that was loaded.
pub(super) enum Verdict {
    Serve(Box<Candidate>),
    /// It is not valid, or not yet.
    Refused(Refusal),
    /// What was made for it could not be kept.
    NotKept(StorageError),
    /// A protection would be gone.
    Held(Findings, [u8; 32]),
    /// Something would be allowed; until then nothing may change.
    Waits(Findings, [u8; 32]),
}

pub(super) struct Refusal {
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Something could not be read, which says nothing about what is in it.
    pub(super) is_incomplete: bool,
}

/// A configuration that may be served.
pub(super) struct Candidate {
    pub(super) config: Config,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) made: Vec<Made>,
    pub(super) parts: Parts,
    pub(super) served: Served,
    pub(super) materials: Files,
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
            let mut loaded = config::load(&self.path);
            let texts = loaded.files.take_texts();
            let are_served = texts == *self.served.texts;
            look.confirmed = self.requested.then(|| texts.digest());
            let (verdict, files) = self.judge(Kind::Files, loaded, texts);
            *last = files;
            let is_served = matches!(verdict, Verdict::Serve(_));
            look.files = Some(verdict);
            if is_served || are_served {
                return look;
            }
        }
        if materials.changed().is_some() {
            let mut again = config::load_again(&self.path, Arc::clone(&self.served.texts));
            let texts = again.files.take_texts();
            let (verdict, files) = self.judge(Kind::Materials, again, texts);
            last.extend(files);
            look.materials = Some(verdict);
        }
        // Whatever the texts in the files are made of, these still count.
        last.extend(materials.clone());
        look
    }

    /// What becomes of `loaded`, and what it was made of.
    fn judge(&self, kind: Kind, loaded: Loaded, texts: Texts) -> (Verdict, Files) {
        let in_short = texts.digest();
        let digest = loaded.files.digest();
        let is_confirmed = kind == Kind::Files && (self.requested || self.confirmed == Some(in_short));
        let served = match self.compare(kind, &loaded, texts) {
            Ok((served, change)) if is_confirmed || change.only_tightens() => served,
            Ok((_, change)) if !change.vanished.is_empty() => {
                return (Verdict::Held(change.vanished, in_short), loaded.files);
            }
            Ok((_, change)) if !self.is_quiet(kind, digest) => {
                return (Verdict::Waits(change.loosened, digest), loaded.files);
            }
            Ok((served, _)) => served,
            Err(refusal) => return (Verdict::Refused(refusal), loaded.files),
        };
        let (Loaded { config, diagnostics, files, variables: _ }, made, parts) = build(loaded, &self.before);
        let verdict = match (config, made, parts) {
            (_, Err(error), _) => Verdict::NotKept(error),
            (Some(config), Ok(made), Some(parts)) => {
                let materials = files.materials();
                Verdict::Serve(Box::new(Candidate { config, diagnostics, made, parts, served, materials }))
            }
            _ => Verdict::Refused(Refusal { diagnostics, is_incomplete: files.is_incomplete() }),
        };
        (verdict, files)
    }

    /// What would get weaker; an error if it cannot be served at all.
    fn compare(&self, kind: Kind, loaded: &Loaded, texts: Texts) -> Result<(Served, Change), Refusal> {
        let is_premature = |found: &Diagnostic| found.severity == Severity::Premature;
        let sound = loaded.config.as_ref().filter(|_| !loaded.diagnostics.iter().any(is_premature));
        let Some(config) = sound else {
            let diagnostics = loaded.diagnostics.clone();
            return Err(Refusal { diagnostics, is_incomplete: loaded.files.is_incomplete() });
        };
        let standing = Standing::of(config);
        let mut change = compare(&self.served.standing, &standing);
        if kind == Kind::Files {
            change.lose_files(texts.lost(&self.served.texts));
        }
        change.rephrase(|text| loaded.variables.hide(text));
        Ok((Served { standing: Arc::new(standing), texts: Arc::new(texts) }, change))
    }

    fn is_quiet(&self, kind: Kind, digest: [u8; 32]) -> bool {
        self.quiet[kind as usize].is_some_and(|quiet| quiet.digest == digest && quiet.until <= self.now)
    }
}
