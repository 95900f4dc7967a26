//! Materials: certificates with their keys, CAs, revocation lists and pinned certificates, each by what it was read from.
//!
//! A reload takes or leaves each of them by itself: one that is broken is no reason to leave a revocation beside it unserved.
//! What it leaves goes on as it runs, which is never weaker than what has been served so far.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::tls::{CaCertificate, Certificate, Crl, Pin};

/// What a reload takes, or leaves, by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A certificate with its key, by its table.
    Certificate(Arc<str>),
    /// A file of CAs, revocation lists or pinned certificates, or a directory of them.
    File(PathBuf),
}

/// Why an item goes on as it runs, and what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What is there cannot be used: what runs counts in its place.
    Broken,
    /// A revocation list is lost, or replaced by an older one: what runs counts beside what is there.
    Withdrawn,
    /// What is there allows more, or ends where a copy of it may still be going on: what runs counts in its place until
    /// the file has been unchanged for a while.
    Unsettled,
    /// Both of it, of several lists in one file: it is unsettled first, and withdrawn once that is over.
    WithdrawnUnsettled,
}

/// The items that go on as they run.
pub type Keep = BTreeMap<Item, Reason>;

/// What an item is made of: what is there, or what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// What is there.
    Fresh(T),
    /// What runs.
    Kept(T, Reason),
}

/// The materials of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Materials {
    /// By table.
    pub(crate) certificates: BTreeMap<Arc<str>, Pair>,
    /// By file.
    pub(crate) authorities: BTreeMap<PathBuf, Vec<CaCertificate>>,
    /// By file.
    pub(crate) lists: BTreeMap<PathBuf, ListFile>,
    /// By file.
    pub(crate) pins: BTreeMap<PathBuf, Vec<Pin>>,
    /// The files and directories that are named, by table: `tls.default`.
    pub(crate) asked: BTreeMap<Arc<str>, BTreeSet<PathBuf>>,
}

/// A certificate with its key, and those that take its place when its time is over.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) later: Vec<Arc<Certificate>>,
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

/// What a file of revocation lists holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListFile {
    pub(crate) lists: Vec<Crl>,
    /// Certificates of intermediates, which tell whose the lists are.
    pub(crate) beside: Vec<CaCertificate>,
}

impl<T> Taken<T> {
    /// What counts, wherever it is from.
    pub fn get(&self) -> &T {
        match self {
            Self::Fresh(taken) | Self::Kept(taken, _) => taken,
        }
    }

    /// Whether it goes on as it runs.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(..))
    }
}

impl Materials {
    /// Whether something of `item` runs, so that it can go on.
    #[must_use]
    pub fn has(&self, item: &Item) -> bool {
        match item {
            Item::Certificate(table) => self.certificates.contains_key(table),
            Item::File(path) => self.is_file(path) || self.within(path).next().is_some(),
        }
    }

    /// Whether something was read from a file at `path`.
    pub(crate) fn is_file(&self, path: &Path) -> bool {
        self.authorities.contains_key(path) || self.lists.contains_key(path) || self.pins.contains_key(path)
    }

    /// The files of the directory at `path`.
    pub(crate) fn within<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
        let files = self.authorities.keys().chain(self.lists.keys()).chain(self.pins.keys());
        files.filter(move |file| file.parent() == Some(path))
    }

    /// The certificate of `table`, if it is of these files.
    pub(crate) fn pair(&self, table: &str, cert_file: &Path, key_file: &Path) -> Option<&Pair> {
        self.certificates.get(table).filter(|pair| pair.cert_file == cert_file && pair.key_file == key_file)
    }

    /// What the table asks for.
    fn of(&self, table: &str) -> Asked<'_> {
        Asked { materials: self, paths: self.asked.get(table) }
    }

    /// The files whose content would let somebody in who is kept out by `running`, or could be half of a copy. Each table
    /// is judged by itself: what another one knows, or still has, says nothing of its clients.
    #[must_use]
    pub fn weaker(&self, running: &Self) -> Keep {
        let mut keep = Keep::new();
        for table in self.asked.keys() {
            for (path, reason) in self.of(table).weaker(&running.of(table)) {
                let known = keep.entry(Item::File(path)).or_insert(reason);
                *known = known.and(reason);
            }
        }
        keep
    }
}

impl Reason {
    /// Whether time makes something of it right.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::Unsettled | Self::WithdrawnUnsettled)
    }

    /// Whether something is lost that no time makes right.
    #[must_use]
    pub fn withdraws(self) -> bool {
        matches!(self, Self::Withdrawn | Self::WithdrawnUnsettled)
    }

    /// What is left of it once the file has been unchanged for a while.
    #[must_use]
    pub fn once_quiet(self) -> Option<Self> {
        match self {
            Self::Unsettled => None,
            Self::WithdrawnUnsettled => Some(Self::Withdrawn),
            Self::Broken | Self::Withdrawn => Some(self),
        }
    }

    /// What is left of it where nothing is lost after all.
    #[must_use]
    pub fn without_loss(self) -> Option<Self> {
        match self {
            Self::Withdrawn => None,
            Self::WithdrawnUnsettled => Some(Self::Unsettled),
            Self::Broken | Self::Unsettled => Some(self),
        }
    }

    /// What holds where both do.
    fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::WithdrawnUnsettled }
    }
}

/// The materials of one table.
#[derive(Clone, Copy)]
struct Asked<'a> {
    materials: &'a Materials,
    /// Nothing where there is no such table, or it names no file.
    paths: Option<&'a BTreeSet<PathBuf>>,
}

impl<'a> Asked<'a> {
    fn asks(&self, path: &Path) -> bool {
        let is_asked = |path: &Path| self.paths.is_some_and(|paths| paths.contains(path));
        is_asked(path) || path.parent().is_some_and(is_asked)
    }

    /// Those of `files` that the table asks for.
    fn files<T>(self, files: &'a BTreeMap<PathBuf, T>) -> impl Iterator<Item = (&'a PathBuf, &'a T)> {
        files.iter().filter(move |(path, _)| self.asks(path))
    }

    fn authorities(self) -> impl Iterator<Item = &'a CaCertificate> {
        self.files(&self.materials.authorities).flat_map(|(_, authorities)| authorities)
    }

    fn lists(self) -> impl Iterator<Item = (&'a PathBuf, &'a Crl)> {
        self.files(&self.materials.lists).flat_map(|(path, file)| file.lists.iter().map(move |list| (path, list)))
    }

    /// The files of which what is there takes a protection away, or has to wait; each as often as there is a reason.
    fn weaker(self, running: &Self) -> Vec<(PathBuf, Reason)> {
        let (now, before) = (self.materials, running.materials);
        let cas = self.unsettled(&now.authorities, (running, &before.authorities));
        let pins = self.unsettled(&now.pins, (running, &before.pins));
        let own: Vec<&Crl> = self.lists().map(|(_, list)| list).collect();
        let lost = running.lists().filter(|(path, _)| self.asks(path));
        let lost = lost.filter_map(|(path, list)| Some((path, self.lack(list, &own, running)?)));
        let unsettled = cas.chain(pins).map(|path| (path.clone(), Reason::Unsettled));
        unsettled.chain(lost.map(|(path, reason)| (path.clone(), reason))).collect()
    }

    fn unsettled<'b, T: PartialEq>(
        self,
        now: &'a BTreeMap<PathBuf, Vec<T>>,
        (running, before): (&Asked<'b>, &'b BTreeMap<PathBuf, Vec<T>>),
    ) -> impl Iterator<Item = &'a PathBuf> + use<'a, 'b, T> {
        let before: BTreeMap<&PathBuf, &Vec<T>> = running.files(before).collect();
        let known: Vec<&T> = before.values().copied().flatten().collect();
        let is_weaker = move |(path, now): &(&'a PathBuf, &'a Vec<T>)| {
            before.get(path).is_some_and(|before| is_unsettled(now, before, &known))
        };
        self.files(now).filter(is_weaker).map(|(path, _)| path)
    }

    /// What `own`, the lists of this table, lack of `list`, which runs.
    fn lack(self, list: &Crl, own: &[&Crl], running: &Self) -> Option<Reason> {
        let signed_by = |table: &Self| table.authorities().any(|ca| list.speaks_for(std::slice::from_ref(ca)).is_ok());
        if own.contains(&list) {
            return None;
        }
        let own: Vec<&Crl> = own.iter().copied().filter(|own| own.is_edition_of(list)).collect();
        if own.iter().all(|own| own.is_older_than(list)) {
            // The list of a CA that nobody believes any more says nothing.
            return (signed_by(&self) || !signed_by(running)).then_some(Reason::Withdrawn);
        }
        (!list.is_within(&own)).then_some(Reason::Unsettled)
    }
}

/// Whether `now` has what nobody knows, or is what a copy of `before` is until its end is there.
fn is_unsettled<T: PartialEq>(now: &[T], before: &[T], known: &[&T]) -> bool {
    let is_begun = now.len() < before.len() && before.starts_with(now);
    is_begun || now.iter().any(|own| !known.contains(&own))
}
