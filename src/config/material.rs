//! Materials: certificates with their keys, CAs, revocation lists and pinned certificates, each by
//! what it was read from.
//!
//! A reload takes or leaves each of them by itself: one that is broken is no reason to leave a
//! revocation beside it unserved. What it leaves goes on as it runs, which is never weaker than
//! what has been served so far.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::time::SystemTime;

use crate::tls::{Certificate, Pin};
use crate::x509::{CaCertificate, Crl};

/// An item that a reload takes, or leaves, by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A certificate with its key, by its table.
    Certificate(Arc<str>),
    /// A file of CAs, revocation lists or pinned certificates, or a directory of them.
    File(PathBuf),
}

/// Why an item goes on as it runs, as a whole or in part. Several reasons may hold of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(u8);

/// The items that go on as they run.
pub type Keep = BTreeMap<Item, Reason>;

/// The value of an item: what is there, or what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// The value that is there.
    Fresh(T),
    /// The value that runs.
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
    /// The tables that refuse whom no list speaks of.
    pub(crate) denying: BTreeSet<Arc<str>>,
}

/// A certificate with its key, and those that take its place when its time is over.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) later: Vec<Arc<Certificate>>,
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

/// The contents of a file of revocation lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListFile {
    pub(crate) lists: Vec<Crl>,
    /// Certificates of intermediates, which tell whose the lists are.
    pub(crate) beside: Vec<CaCertificate>,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(table) => write!(f, "certificates.{table}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl<T> Taken<T> {
    /// The value that counts, wherever it is from.
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
        self.authorities.contains_key(path)
            || self.lists.contains_key(path)
            || self.pins.contains_key(path)
    }

    /// The files of the directory at `path`.
    pub(crate) fn within<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
        let files = self
            .authorities
            .keys()
            .chain(self.lists.keys())
            .chain(self.pins.keys());
        files.filter(move |file| file.parent() == Some(path))
    }

    /// Everything that can go on, revocation lists aside: the certificates, and each file and
    /// directory of CAs and pins.
    pub(crate) fn all_but_lists(&self) -> impl Iterator<Item = Item> {
        let certificates = self.certificates.keys().cloned().map(Item::Certificate);
        let files = || {
            self.authorities
                .keys()
                .chain(self.pins.keys())
                .map(PathBuf::as_path)
        };
        let is_named = |path: &Path| self.asked.values().any(|paths| paths.contains(path));
        let directories = files()
            .filter_map(Path::parent)
            .filter(move |path| is_named(path));
        // One file may hold CAs and their lists.
        let has_lists = |path: &Path| {
            self.lists
                .keys()
                .any(|list| list == path || list.parent() == Some(path))
        };
        let without_lists = files()
            .chain(directories)
            .filter(move |path| !has_lists(path));
        certificates.chain(without_lists.map(|path| Item::File(path.to_owned())))
    }

    /// The certificate of `table`, if it is of these files.
    pub(crate) fn pair(&self, table: &str, cert_file: &Path, key_file: &Path) -> Option<&Pair> {
        self.certificates
            .get(table)
            .filter(|pair| pair.cert_file == cert_file && pair.key_file == key_file)
    }

    /// The lists that count by `now` of those tables that ask for the file at `path`.
    pub(crate) fn lists_around(&self, path: &Path, now: SystemTime) -> Vec<&Crl> {
        let tables = self
            .asked
            .keys()
            .map(|table| self.of(table))
            .filter(|table| table.asks(path));
        tables
            .flat_map(|table| table.counting(now))
            .map(|(_, list)| list)
            .collect()
    }

    /// The files that the table asks for.
    fn of(&self, table: &str) -> Asked<'_> {
        Asked {
            materials: self,
            paths: self.asked.get(table),
        }
    }

    /// The files that the table asks for, or, if it has another name here, those of one that asks
    /// for some of `paths`.
    fn like<'a>(&'a self, table: &str, paths: &BTreeSet<PathBuf>) -> Asked<'a> {
        let of_paths = || self.asked.values().find(|known| !known.is_disjoint(paths));
        Asked {
            materials: self,
            paths: self.asked.get(table).or_else(of_paths),
        }
    }

    /// The files whose content would let somebody in who is kept out by `running`, or could be half
    /// of a copy. Each table is judged by itself: what another one knows, or still has, has no
    /// effect on its clients.
    #[must_use]
    pub fn weaker(&self, running: &Self, now: SystemTime) -> Keep {
        let mut keep = Keep::new();
        for (table, paths) in &self.asked {
            for (path, reason) in self.of(table).weaker(&running.like(table, paths), now) {
                let known = keep.entry(Item::File(path)).or_insert(reason);
                *known = known.and(reason);
            }
        }
        for path in self.first_lists(running) {
            let known = keep
                .entry(Item::File(path.clone()))
                .or_insert(Reason::FIRST);
            *known = known.and(Reason::FIRST).and(Reason::UNSETTLED);
        }
        keep
    }

    /// The files with the first list of a CA, where every table that asks for it refuses whom no
    /// list speaks of. Where one does not, a client whom it names comes in without it.
    fn first_lists<'a>(&'a self, running: &'a Self) -> impl Iterator<Item = &'a PathBuf> {
        let asking = move |path: &'a PathBuf| {
            self.asked
                .keys()
                .filter(move |table| self.of(table).asks(path))
        };
        let is_first = move |path: &PathBuf, table: &Arc<str>| {
            let before = running.of(table);
            let is_new = |list: &Crl| !before.lists().any(|(_, known)| list.is_edition_of(known));
            let is_known = |list: &Crl| {
                before
                    .authorities()
                    .any(|ca| list.speaks_for(slice::from_ref(ca)).is_ok())
            };
            self.lists[path]
                .lists
                .iter()
                .any(|list| is_new(list) && is_known(list))
        };
        // Without any list no client is refused for that.
        let denied = move |table: &Arc<str>| {
            running.denying.contains(table) && running.of(table).lists().next().is_some()
        };
        let denies = move |table: &Arc<str>| self.denying.contains(table) && denied(table);
        self.lists.keys().filter(move |path| {
            asking(path).all(denies) && asking(path).any(|table| is_first(path, table))
        })
    }
}

impl Materials {
    /// The files with CAs that are new in a table of which a revocation list is `broken`: it may be
    /// about their clients.
    pub(crate) fn new_beside_broken_lists(
        &self,
        running: &Self,
        broken: &[Item],
    ) -> BTreeSet<PathBuf> {
        let is_list = |path: &Path| {
            running.lists.contains_key(path)
                || running
                    .lists
                    .keys()
                    .any(|list| list.parent() == path.parent())
        };
        let broken = || {
            broken
                .iter()
                .filter_map(Item::as_file)
                .filter(|path| is_list(path))
        };
        let is_incomplete = |table: &Asked<'_>| broken().any(|path| table.asks(path));
        let of_table = |table: &Arc<str>| {
            let known: Vec<&CaCertificate> = running.of(table).authorities().collect();
            let is_new = move |ca: &CaCertificate| !known.contains(&ca);
            let new = move |(path, cas): (&PathBuf, &Vec<CaCertificate>)| {
                cas.iter().any(&is_new).then(|| path.clone())
            };
            self.of(table)
                .files(&self.authorities)
                .filter_map(new)
                .collect::<Vec<_>>()
        };
        self.asked
            .keys()
            .filter(|table| is_incomplete(&self.of(table)))
            .flat_map(of_table)
            .collect()
    }
}

impl Item {
    fn as_file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Certificate(_) => None,
        }
    }
}

impl Reason {
    /// The value that is there cannot be used: the one that runs counts in its place.
    pub const BROKEN: Self = Self(1);
    /// A revocation list is lost, or replaced by an older one: what runs counts beside what is
    /// there.
    pub const WITHDRAWN: Self = Self(1 << 1);
    /// The value that is there allows more, or ends where a copy of it may still be going on. Until
    /// the file has been unchanged for a while what runs counts in its place; of lists what both of
    /// them revoke is revoked.
    pub const UNSETTLED: Self = Self(1 << 2);
    /// A revocation list has taken the place of another one before its time: until then both of
    /// them count.
    pub const EARLY: Self = Self(1 << 3);
    /// It has been unsettled for too long, since it is written again and again: what it takes away
    /// is gone, and what it adds waits.
    pub const RESTLESS: Self = Self(1 << 4);
    /// A revocation list is the first one of a CA whose clients are refused without one: it lets in
    /// the clients that it does not name, and does not count until it has settled.
    pub const FIRST: Self = Self(1 << 5);

    /// Whether all of `other` holds.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The reasons without `other`, if any are left.
    #[must_use]
    pub fn without(self, other: Self) -> Option<Self> {
        Some(Self(self.0 & !other.0)).filter(|left| left.0 != 0)
    }

    /// The reasons where both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
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
    fn files<T>(
        self,
        files: &'a BTreeMap<PathBuf, T>,
    ) -> impl Iterator<Item = (&'a PathBuf, &'a T)> {
        files.iter().filter(move |(path, _)| self.asks(path))
    }

    fn authorities(self) -> impl Iterator<Item = &'a CaCertificate> {
        self.files(&self.materials.authorities)
            .flat_map(|(_, authorities)| authorities)
    }

    fn lists(self) -> impl Iterator<Item = (&'a PathBuf, &'a Crl)> {
        self.files(&self.materials.lists)
            .flat_map(|(path, file)| file.lists.iter().map(move |list| (path, list)))
    }

    /// Its lists, but those that another one has taken the place of by `now`.
    fn counting(self, now: SystemTime) -> Vec<(&'a PathBuf, &'a Crl)> {
        let all: Vec<_> = self.lists().collect();
        let begun = |list: &Crl| list.this_update() <= now;
        let is_over = |list: &Crl| {
            all.iter()
                .any(|(_, next)| begun(next) && next.succeeds(list) && list.is_older_than(next))
        };
        all.iter()
            .filter(|(_, list)| !is_over(list))
            .copied()
            .collect()
    }

    /// The files of which what is there takes a protection away, or has to wait; each as often as
    /// there is a reason.
    fn weaker(self, running: &Self, now: SystemTime) -> Vec<(PathBuf, Reason)> {
        let (fresh, before) = (self.materials, running.materials);
        let cas = self.unsettled(&fresh.authorities, (running, &before.authorities));
        let pins = self.unsettled(&fresh.pins, (running, &before.pins));
        let own: Vec<_> = self.lists().collect();
        let lost = running
            .counting(now)
            .into_iter()
            .filter(|(path, _)| self.asks(path));
        let lost = lost.flat_map(|known| self.lack(known, &own, running, now));
        let unsettled = cas
            .chain(pins)
            .map(|path| (path.clone(), Reason::UNSETTLED));
        unsettled
            .chain(lost.map(|(path, reason)| (path.clone(), reason)))
            .collect()
    }

    fn unsettled<'b, T: PartialEq>(
        self,
        now: &'a BTreeMap<PathBuf, Vec<T>>,
        (running, before): (&Asked<'b>, &'b BTreeMap<PathBuf, Vec<T>>),
    ) -> impl Iterator<Item = &'a PathBuf> + use<'a, 'b, T> {
        let running = *running;
        let before: BTreeMap<&PathBuf, &Vec<T>> = running.files(before).collect();
        let known: Vec<&T> = before.values().copied().flatten().collect();
        // A file that is new in a directory waits by itself as well.
        let is_weaker = move |(path, now): &(&'a PathBuf, &'a Vec<T>)| match before.get(path) {
            Some(before) => is_unsettled(now, before, &known),
            None => running.asks(path) && is_unsettled(now, &[], &known),
        };
        self.files(now).filter(is_weaker).map(|(path, _)| path)
    }

    /// The lists that `own`, those of this table, lack of the list `known`, which runs, and whose
    /// fault it is.
    fn lack<'b>(
        self,
        (path, list): (&'b PathBuf, &Crl),
        own: &[(&'b PathBuf, &Crl)],
        running: &Self,
        now: SystemTime,
    ) -> Vec<(&'b PathBuf, Reason)> {
        let is_there = own.iter().any(|(_, own)| *own == list);
        let counts = |own: &Crl| !own.is_early(now) || list.is_early(now);
        let editions = own.iter().filter(|(_, own)| own.is_edition_of(list));
        let (begun, early): (Vec<&(&PathBuf, &Crl)>, Vec<_>) =
            editions.partition(|(_, own)| counts(own));
        let newest = begun.iter().copied().reduce(|one, other| {
            if one.1.is_older_than(other.1) {
                other
            } else {
                one
            }
        });
        let Some((next, newest)) = newest.filter(|(_, newest)| !newest.is_older_than(list)) else {
            let signed_by = |table: &Self| {
                table
                    .authorities()
                    .any(|ca| list.speaks_for(slice::from_ref(ca)).is_ok())
            };
            // The list of a CA that is not trusted any more does not count.
            let says_nothing = !signed_by(&self) && signed_by(running);
            let is_early = early.iter().any(|(_, own)| list.is_older_than(own));
            let reason = if is_early {
                Reason::EARLY
            } else {
                Reason::WITHDRAWN
            };
            return (!is_there && !says_nothing)
                .then_some((path, reason))
                .into_iter()
                .collect();
        };
        if newest.succeeds(list) {
            let is_shorter = !list.is_within(&[newest]);
            return is_shorter
                .then_some((*next, Reason::UNSETTLED))
                .into_iter()
                .collect();
        }
        // Whether one key has signed both is not known.
        let all: Vec<&Crl> = begun.iter().map(|(_, own)| *own).collect();
        if is_there || list.is_within(&all) {
            Vec::new()
        } else {
            vec![(path, Reason::UNSETTLED), (next, Reason::UNSETTLED)]
        }
    }
}

/// Whether `now` has what nobody knows, or is what a copy of `before` is until its end is there.
fn is_unsettled<T: PartialEq>(now: &[T], before: &[T], known: &[&T]) -> bool {
    let is_begun = now.len() < before.len() && before.starts_with(now);
    is_begun || now.iter().any(|own| !known.contains(&own))
}
