//! The one door by which materials come into a configuration: fresh, or as they run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::compile::report::Report;
use crate::config::files::Files;
use crate::config::material::{Item, ListFile, Materials, Pair, Reason, Taken};
use crate::tls::Pin;
use crate::x509::{CaCertificate, Crl};

/// Something that can go on as it runs.
pub(super) trait Material: Clone {
    /// The contents of a file that is not there, where that is something.
    fn none() -> Option<Self> {
        None
    }

    /// The value that counts of what runs and of what is there, where something of what is there
    /// does.
    fn beside(&self, _fresh: Self, _reason: Reason, _around: Around<'_>) -> Option<Self> {
        None
    }
}

/// A file, and all that runs.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    path: &'a Path,
    running: &'a Materials,
}

impl Material for Pair {}

impl Material for Vec<CaCertificate> {
    fn none() -> Option<Self> {
        Some(Self::new())
    }

    fn beside(&self, fresh: Self, reason: Reason, _: Around<'_>) -> Option<Self> {
        let stays = |ca: &&CaCertificate| fresh.iter().any(|fresh| fresh.is_of_same_authority(ca));
        reason
            .has(Reason::RESTLESS)
            .then(|| self.iter().filter(stays).cloned().collect())
    }
}

impl Material for Vec<Pin> {
    fn none() -> Option<Self> {
        Some(Self::new())
    }

    fn beside(&self, fresh: Self, reason: Reason, _: Around<'_>) -> Option<Self> {
        reason.has(Reason::RESTLESS).then(|| {
            self.iter()
                .filter(|pin| fresh.contains(pin))
                .cloned()
                .collect()
        })
    }
}

impl Material for ListFile {
    fn none() -> Option<Self> {
        Some(Self::default())
    }

    /// What a list revokes acts at once; what it no longer revokes waits until it has settled. A
    /// list goes on in whose place there is none that counts already.
    fn beside(
        &self,
        fresh: Self,
        reason: Reason,
        Around { path, running }: Around<'_>,
    ) -> Option<Self> {
        if reason.has(Reason::BROKEN) {
            return None;
        }
        let now = SystemTime::now();
        let known = running.lists_around(path, now);
        let waits = reason.has(Reason::UNSETTLED);
        // Whether one key has signed both is not known, so that it is not known what is revoked by
        // which.
        let is_doubtful = |new: &Crl| {
            known
                .iter()
                .any(|old| new.is_edition_of(old) && old.is_older_than(new) && !new.succeeds(old))
        };
        if waits && !reason.has(Reason::RESTLESS) && fresh.lists.iter().any(is_doubtful) {
            return None;
        }
        let goes_on = |old: &&Crl| {
            let counts = |new: &Crl| !new.is_early(now) || old.is_early(now);
            !fresh
                .lists
                .iter()
                .any(|new| new == *old || new.succeeds(old) && counts(new))
        };
        let is_settled = |new: &&Crl| {
            !reason.has(Reason::FIRST) || known.iter().any(|old| new.is_edition_of(old))
        };
        if !fresh.lists.iter().any(|new| is_settled(&new)) {
            return None;
        }
        let with_known = |new: &Crl| {
            new.with_those_of(
                known
                    .iter()
                    .copied()
                    .filter(|old| waits && new.succeeds(old)),
            )
        };
        let lists = self
            .lists
            .iter()
            .filter(goes_on)
            .cloned()
            .chain(fresh.lists.iter().filter(is_settled).map(with_known))
            .collect();
        let mut beside = self.beside.clone();
        beside.extend(
            fresh
                .beside
                .into_iter()
                .filter(|own| !self.beside.contains(own)),
        );
        Some(Self { lists, beside })
    }
}

/// The value of `item`. It is read in each case, so that it is known when it changes; where it goes
/// on as it runs, what is wrong with what is there is not said, because that is why it goes on.
/// What is wrong otherwise is its fault, and can be left.
pub(super) fn take<M: Material>(
    item: &Item,
    paths: &[&Path],
    running: Option<M>,
    (files, report): (&mut Files, &mut Report<'_>),
    read: impl FnOnce(&mut Files, &mut Report<'_>) -> Option<M>,
) -> Option<Taken<M>> {
    let reason = files.keep.get(item).copied();
    let mark = report.mark();
    let fresh = read(files, report);
    let reason =
        reason.or_else(|| directory(item, files).filter(|_| fresh.is_none() && running.is_some()));
    // What is new waits as if it were not there yet.
    let is_awaited = fresh.is_some() && reason.is_some_and(|reason| reason.has(Reason::UNSETTLED));
    let kept = running.clone().or_else(|| M::none().filter(|_| is_awaited));
    match (kept, reason) {
        (Some(kept), Some(reason)) => {
            report.diagnostics.truncate(mark);
            let all = Arc::clone(&files.running);
            let around = paths.first().map(|path| Around {
                path,
                running: &all,
            });
            let both = fresh
                .zip(around)
                .and_then(|(fresh, around)| kept.beside(fresh, reason, around));
            paths
                .iter()
                .for_each(|path| files.note_use(path, both.is_some()));
            Some(Taken::Kept(both.unwrap_or(kept), reason))
        }
        _ => {
            paths.iter().for_each(|path| files.note_use(path, true));
            if let Some(item) = runs_in_place(item, running.is_some(), files) {
                report.blame(mark, &item);
            }
            fresh.map(Taken::Fresh)
        }
    }
}

/// Why the directory of `item` goes on as it runs. Where it is lost so are its files, which is one
/// fault: that of the directory.
fn directory(item: &Item, files: &Files) -> Option<Reason> {
    let Item::File(path) = item else { return None };
    files
        .keep
        .get(&Item::File(path.parent()?.to_owned()))
        .copied()
}

/// The items that can be left where `item` cannot be used: itself, also where it is new in a
/// directory of which something runs, or, where a file and a directory have changed places, the
/// other.
pub(super) fn runs_in_place(item: &Item, is_running: bool, files: &Files) -> Option<Item> {
    let Item::File(path) = item else {
        return is_running.then(|| item.clone());
    };
    if is_running || files.running.within(path).next().is_some() {
        return Some(item.clone());
    }
    let directory = path.parent()?;
    let is_named = files
        .materials
        .asked
        .values()
        .any(|paths| paths.contains(directory));
    if is_named && files.running.within(directory).next().is_some() {
        return Some(item.clone());
    }
    let directory = Item::File(directory.to_owned());
    (files.running.is_file(path.parent()?) && !files.keep.contains_key(&directory))
        .then_some(directory)
}

/// Those of `entries`, and those files of the directory that are gone and go on as they run. A file
/// that is new in it and broken is left, and watched.
pub(super) fn with_kept(
    directory: &Path,
    mut entries: Vec<PathBuf>,
    files: &mut Files,
) -> Vec<PathBuf> {
    let reason = |path: &PathBuf| files.keep.get(&Item::File(path.clone())).copied();
    let gone: Vec<PathBuf> = files
        .running
        .within(directory)
        .filter(|path| reason(path).is_some())
        .cloned()
        .collect();
    let is_broken = |path: &PathBuf| reason(path).is_some_and(|reason| reason.has(Reason::BROKEN));
    let is_left = |path: &mut PathBuf| is_broken(path) && !files.running.is_file(path);
    let left: Vec<PathBuf> = entries.extract_if(.., is_left).collect();
    for path in left {
        let _ = files.read(&path);
        files.note_use(&path, false);
    }
    entries.extend(gone);
    entries.sort();
    entries.dedup();
    entries
}
