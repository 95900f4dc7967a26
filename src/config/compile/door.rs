//! The one door by which materials come into a configuration: fresh, or as they run.

use std::path::{Path, PathBuf};

use crate::config::compile::Report;
use crate::config::files::Files;
use crate::config::material::{Item, ListFile, Pair, Reason, Taken};
use crate::tls::{CaCertificate, Pin};

/// Something that can go on as it runs.
pub(super) trait Material: Clone {
    /// What runs, where what is there counts beside it.
    fn beside(self, _fresh: Option<Self>) -> Self {
        self
    }
}

impl Material for Pair {}

impl Material for Vec<CaCertificate> {}

impl Material for Vec<Pin> {}

impl Material for ListFile {
    /// Of several lists of one issuer the newest counts, whichever this is.
    fn beside(mut self, fresh: Option<Self>) -> Self {
        if let Some(fresh) = fresh {
            let new: Vec<_> = fresh.lists.into_iter().filter(|list| !self.lists.contains(list)).collect();
            self.lists.extend(new);
            self.beside.extend(fresh.beside);
        }
        self
    }
}

/// What `item` is made of. It is read in each case, so that it is known when it changes; where it goes on as it runs, what
/// is wrong with what is there is not said, because that is why it goes on. What is wrong otherwise is its fault, and can
/// be left.
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
    match (running, reason) {
        (Some(running), Some(reason)) => {
            report.diagnostics.truncate(mark);
            paths.iter().for_each(|path| files.note_use(path, reason == Reason::Withdrawn && fresh.is_some()));
            let kept = if reason == Reason::Withdrawn { running.beside(fresh) } else { running };
            Some(Taken::Kept(kept, reason))
        }
        (running, _) => {
            paths.iter().for_each(|path| files.note_use(path, true));
            if let Some(item) = runs_in_place(item, running.is_some(), files) {
                report.blame(mark, &item);
            }
            fresh.map(Taken::Fresh)
        }
    }
}

/// What can go on where `item` cannot be used: itself, or, where a file and a directory have changed places, the other.
fn runs_in_place(item: &Item, is_running: bool, files: &Files) -> Option<Item> {
    let Item::File(path) = item else { return is_running.then(|| item.clone()) };
    if is_running || files.running.within(path).next().is_some() {
        return Some(item.clone());
    }
    let directory = Item::File(path.parent()?.to_owned());
    (files.running.is_file(path.parent()?) && !files.keep.contains_key(&directory)).then_some(directory)
}

/// Those of `entries`, and those files of the directory that are gone and go on as they run.
pub(super) fn with_kept(directory: &Path, mut entries: Vec<PathBuf>, files: &Files) -> Vec<PathBuf> {
    let is_kept = |path: &&PathBuf| files.keep.contains_key(&Item::File((*path).clone()));
    let gone: Vec<PathBuf> = files.running.within(directory).filter(is_kept).cloned().collect();
    entries.extend(gone);
    entries.sort();
    entries.dedup();
    entries
}
