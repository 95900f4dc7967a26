//! One look at the files: what there is to load, and what of it may be served. It runs in the loader's thread and knows
//! nothing of what is served but what it is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use tracing::debug;

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::diff::{Change, Findings, Standing, compare};
use crate::config::files::{Files, Texts};
use crate::config::{self, Circumstances, Config, Loaded, Made};
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
    /// What somebody has asked for: the content of every file at that time, since what was lost after it was not meant.
    pub(super) confirmed: Option<[u8; 32]>,
    /// What is waited for, of each kind.
    pub(super) quiet: [Option<Quiet>; 2],
    pub(super) now: Instant,
    /// The time by the clock of the machine, which may be wrong.
    pub(super) clock: SystemTime,
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
    /// What it was made of, in short.
    pub(super) digest: [u8; 32],
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
        let circumstances = Circumstances { now: self.clock, serving: Arc::clone(self.served.standing.serving()) };
        if !self.only_materials {
            let mut loaded = config::load_in(&self.path, &circumstances);
            let texts = loaded.files.take_texts();
            let are_served = texts == *self.served.texts;
            look.confirmed = self.requested.then(|| loaded.files.digest());
            let (verdict, files) = self.judge(Kind::Files, loaded, texts);
            *last = files;
            let is_served = matches!(verdict, Verdict::Serve(_));
            look.files = Some(verdict);
            if is_served || are_served {
                return look;
            }
        }
        if materials.changed().is_some() {
            let mut again = config::load_again(&self.path, Arc::clone(&self.served.texts), &circumstances);
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
        let is_confirmed = kind == Kind::Files && (self.requested || self.confirmed == Some(digest));
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
            _ => Verdict::Refused(Refusal { diagnostics, is_incomplete: files.is_incomplete(), digest }),
        };
        (verdict, files)
    }

    /// What would get weaker; an error if it cannot be served at all.
    fn compare(&self, kind: Kind, loaded: &Loaded, texts: Texts) -> Result<(Served, Change), Refusal> {
        let is_premature = |found: &Diagnostic| found.severity == Severity::Premature;
        let sound = loaded.config.as_ref().filter(|_| !loaded.diagnostics.iter().any(is_premature));
        let Some(config) = sound else {
            let diagnostics = loaded.diagnostics.clone();
            return Err(Refusal {
                diagnostics,
                is_incomplete: loaded.files.is_incomplete(),
                digest: loaded.files.digest(),
            });
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::tls::pki::{Authority, Issued, Key, KeyKind, PublicKey, Purpose, RevocationList, Subject, Validity};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    const CONFIG: &str = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[certificates.site]\ncert_file = \"site.pem\"\n\
        key_file = \"site-key.pem\"\n[tls.default]\nclient_auth.ca_files = [\"clients.pem\"]\n\
        client_auth.crl_files = [\"clients.crl\"]\n[routes.app]\nsni = \"app.example\"\naction = \"terminate\"\n\
        upstream = \"127.0.0.1:1\"\n";

    fn write(dir: &Path, name: &str, issued: &Issued) {
        fs::write(dir.join(format!("{name}.pem")), &issued.certificate).unwrap();
        fs::write(dir.join(format!("{name}-key.pem")), &issued.key).unwrap();
    }

    /// What runs, and the next look at its files, a year before the time.
    fn a_year_ago(path: &Path) -> (Order, Eyes) {
        let mut loaded = config::load(path);
        let texts = loaded.files.take_texts();
        let standing = Standing::of(loaded.config.as_ref().unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)));
        let order = Order {
            path: path.to_owned(),
            served: Served { standing: Arc::new(standing), texts: Arc::new(texts) },
            before: Inheritance::default(),
            requested: false,
            must_load: false,
            only_materials: false,
            confirmed: None,
            quiet: [None; 2],
            now: Instant::now(),
            clock: SystemTime::now() - 365 * DAY,
        };
        let eyes = Eyes { materials: loaded.files.materials(), last: loaded.files, ..Eyes::default() };
        (order, eyes)
    }

    /// What serves afterwards, or what it is refused for.
    fn look(order: Order, mut eyes: Eyes) -> Result<Box<Candidate>, String> {
        match order.look(&mut eyes).files {
            Some(Verdict::Serve(candidate)) => Ok(candidate),
            Some(Verdict::Refused(refusal)) => Err(format!("{:?}", refusal.diagnostics)),
            _ => Err("neither".to_owned()),
        }
    }

    #[tokio::test]
    async fn while_the_clock_is_behind_a_revocation_acts_and_a_certificate_of_the_future_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, validity) = (dir.path(), Validity::days(20));
        let [servers, clients] = ["servers", "clients"].map(|name| Authority::new(name, validity).unwrap());
        let issue = || servers.server(&["app.example"], validity).unwrap();
        write(dir, "site", &issue());
        fs::write(dir.join("clients.pem"), clients.certificate()).unwrap();
        let member = clients.client("member", validity).unwrap();
        let mut list = RevocationList::default();
        let mut publish = |revoked: Option<&Issued>| {
            if let Some(revoked) = revoked {
                list.revoke(&clients.serial_of(revoked.certificate.as_bytes()).unwrap(), None);
            }
            fs::write(dir.join("clients.crl"), list.sign(&clients, validity).unwrap()).unwrap();
        };
        publish(None);
        let path = dir.join("snigate.toml");
        fs::write(&path, CONFIG).unwrap();

        let (order, eyes) = a_year_ago(&path);
        publish(Some(&member));
        let candidate = look(order, eyes).unwrap_or_else(|refused| panic!("{refused}"));
        let is_urgent =
            |found: &Diagnostic| found.severity == Severity::Stale && found.message.contains("not valid before");
        assert!(candidate.diagnostics.iter().any(is_urgent), "{:?}", candidate.diagnostics);

        // Of two of one key in the file it takes another one when neither has begun.
        let key = Key::generate(KeyKind::P256).unwrap();
        let public = PublicKey::of(&key).unwrap();
        let next = Validity { not_before: SystemTime::now() + DAY, not_after: SystemTime::now() + 40 * DAY };
        let subject = Subject::server(&["app.example"]).unwrap();
        let both = [validity, next].map(|when| servers.issue(&subject, Purpose::Server, when, &public).unwrap());
        write(dir, "site", &Issued { certificate: both.concat(), key: key.pem().to_string() });
        let (order, eyes) = a_year_ago(&path);
        publish(Some(&clients.client("other", validity).unwrap()));
        look(order, eyes).unwrap_or_else(|refused| panic!("{refused}"));

        let (order, eyes) = a_year_ago(&path);
        write(dir, "site", &issue());
        let refused = look(order, eyes).err().expect("another certificate of the same table");
        assert!(refused.contains("no other certificate of routes.app covers"), "{refused}");
    }

    #[tokio::test]
    async fn somebody_who_asks_confirms_what_the_files_say_at_that_time_and_nothing_that_goes_later() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, validity) = (dir.path(), Validity::days(20));
        let [servers, clients] = ["servers", "clients"].map(|name| Authority::new(name, validity).unwrap());
        let site = servers.server(&["app.example"], validity).unwrap();
        write(dir, "site", &site);
        fs::write(dir.join("clients.pem"), clients.certificate()).unwrap();
        fs::write(dir.join("clients.crl"), RevocationList::default().sign(&clients, validity).unwrap()).unwrap();
        let path = dir.join("snigate.toml");
        fs::write(&path, CONFIG).unwrap();
        let now = |(order, eyes): (Order, Eyes)| (Order { clock: SystemTime::now(), ..order }, eyes);
        let without = CONFIG.replace("client_auth.crl_files = [\"clients.crl\"]\n", "");
        for (what, then, is_held) in [("the list goes later", CONFIG, true), ("it had gone", &*without, false)] {
            fs::write(&path, CONFIG).unwrap();
            write(dir, "site", &site);
            let (order, mut eyes) = now(a_year_ago(&path));
            fs::write(&path, then).unwrap();
            fs::write(dir.join("site-key.pem"), "half").unwrap();
            let asked = Order { requested: true, served: order.served.clone(), path: path.clone(), ..order };
            let look = asked.look(&mut eyes);
            assert!(matches!(look.files, Some(Verdict::Refused(_))), "{what}");
            let order = Order { requested: false, confirmed: look.confirmed, must_load: true, ..asked };
            if !is_held {
                assert!(matches!(order.look(&mut eyes).files, Some(Verdict::Refused(_))), "{what}: as it was");
            }
            write(dir, "site", &site);
            fs::write(&path, &without).unwrap();
            assert!(matches!(order.look(&mut eyes).files, Some(Verdict::Held(..))), "{what}");
        }
    }

    #[tokio::test]
    async fn a_certificate_that_stands_back_does_not_serve_yet() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, validity) = (dir.path(), Validity::days(20));
        let servers = Authority::new("servers", validity).unwrap();
        write(dir, "site", &servers.server(&["app.example"], validity).unwrap());
        let later = Validity { not_before: SystemTime::now() + DAY, ..validity };
        write(dir, "next", &servers.server(&["app.example"], later).unwrap());
        let frame = |table: &str| {
            format!(
                "[listeners.edge]\nbind = \"127.0.0.1:0\"\n{table}[certificates.next]\ncert_file = \"next.pem\"\n\
                 key_file = \"next-key.pem\"\n[routes.app]\nsni = \"app.example\"\naction = \"terminate\"\n\
                 upstream = \"127.0.0.1:1\"\n"
            )
        };
        let path = dir.join("snigate.toml");
        let both = frame("[certificates.site]\ncert_file = \"site.pem\"\nkey_file = \"site-key.pem\"\n");
        fs::write(&path, both).unwrap();
        let (order, eyes) = a_year_ago(&path);
        fs::write(&path, frame("")).unwrap();
        let refused = look(Order { clock: SystemTime::now(), ..order }, eyes).err().expect("nothing would serve");
        assert!(refused.contains("no other certificate of routes.app covers"), "{refused}");
    }
}
