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
    /// The files and directories that are named.
    pub(crate) asked: BTreeSet<PathBuf>,
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
            Item::File(path) => self.holds(path) || self.within(path).next().is_some(),
        }
    }

    fn holds(&self, path: &Path) -> bool {
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

    /// The files whose content would let somebody in who is kept out by `running`, or could be half of a copy.
    #[must_use]
    pub fn weaker(&self, running: &Self) -> Keep {
        let known: Vec<&CaCertificate> = running.authorities.values().flatten().collect();
        let pinned: Vec<&Pin> = running.pins.values().flatten().collect();
        let authorities = self.authorities.iter().filter(|(path, now)| {
            running.authorities.get(*path).is_some_and(|before| is_unsettled(now, before, &known))
        });
        let pins = self
            .pins
            .iter()
            .filter(|(path, now)| running.pins.get(*path).is_some_and(|before| is_unsettled(now, before, &pinned)));
        let unsettled = authorities.map(|(path, _)| path).chain(pins.map(|(path, _)| path));
        let mut keep: Keep = unsettled.map(|path| (Item::File(path.clone()), Reason::Unsettled)).collect();
        let is_asked =
            |path: &Path| self.asked.contains(path) || path.parent().is_some_and(|dir| self.asked.contains(dir));
        for (path, before) in running.lists.iter().filter(|(path, _)| is_asked(path)) {
            let reasons = before.lists.iter().filter_map(|list| self.lack(list, running));
            // Where one is lost and another one shorter, neither is to act.
            let worst = reasons.max_by_key(|reason| *reason == Reason::Unsettled);
            keep.extend(worst.map(|reason| (Item::File(path.clone()), reason)));
        }
        keep
    }

    /// What these lists lack of `list`, which runs.
    fn lack(&self, list: &Crl, running: &Self) -> Option<Reason> {
        let signed_by = |materials: &Self| {
            let mut named = materials.authorities.values().flatten();
            named.any(|ca| list.speaks_for(std::slice::from_ref(ca)).is_ok())
        };
        let own: Vec<&Crl> = self.lists.values().flat_map(|file| &file.lists).collect();
        if own.contains(&list) {
            return None;
        }
        let own: Vec<&Crl> = own.into_iter().filter(|own| own.is_edition_of(list)).collect();
        if own.iter().all(|own| own.is_older_than(list)) {
            // The list of a CA that nobody believes any more says nothing.
            return (signed_by(self) || !signed_by(running)).then_some(Reason::Withdrawn);
        }
        (!list.is_within(&own)).then_some(Reason::Unsettled)
    }
}

/// Whether `now` has what nobody knows, or is what a copy of `before` is until its end is there.
fn is_unsettled<T: PartialEq>(now: &[T], before: &[T], known: &[&T]) -> bool {
    let is_begun = now.len() < before.len() && before.starts_with(now);
    is_begun || now.iter().any(|own| !known.contains(&own))
}
