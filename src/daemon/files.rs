//! Watch over the files of the configuration: a look when the kernel reports that something
//! happened beside one of them, and every few seconds anyway.
//!
//! Directories are watched, not files: a file that is replaced by renaming is another file, and so
//! is the target of a link that is swapped. Network file systems and bind mounts send no events,
//! hence the poll.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::{debug, warn};

use crate::config::files::here;
use crate::os::words;

/// The safety net.
const POLL_EVERY: Duration = Duration::from_secs(3);

/// Certificate and key are two files, and editors write in several steps: this long nothing must
/// happen.
const QUIET: Duration = Duration::from_millis(50);

/// Where something happens all the time, look anyway.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// When it is time to look.
pub(super) struct FileWatch {
    /// A directory was not watched when its files were read: what happened there in between made no
    /// event.
    unseen: bool,
    events: mpsc::Receiver<()>,
    /// Something happened; until when to wait, at the latest, for it to be over.
    settling: Option<Instant>,
    poll: tokio::time::Interval,
}

/// Why it is time to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookReason {
    /// The kernel says that something happened.
    Event,
    /// Something may have happened before a directory was watched.
    Unwatched,
    /// It is looked every few seconds.
    Poll,
}

/// The directories of some files, whose events a [`FileWatch`] waits for. All that asks the file system
/// is here: it may hang, and only the thread that reads files may wait for it.
#[derive(Default)]
pub(super) struct Directories {
    watcher: Option<RecommendedWatcher>,
    followed: BTreeSet<PathBuf>,
    /// The last call has begun to watch one.
    is_new: bool,
}

impl Directories {
    /// Watches the directories of these files, and no others.
    pub(super) fn follow<'a>(&mut self, files: impl Iterator<Item = &'a Path>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted: BTreeSet<PathBuf> = files.flat_map(directories).collect();
        for gone in self.followed.difference(&wanted) {
            // It fails where the directory is gone as well.
            let _ = watcher.unwatch(gone);
        }
        let mut followed = BTreeSet::new();
        for directory in wanted {
            // Watched already or not: a directory that was replaced needs a new watch.
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => _ = followed.insert(directory),
                Err(error) => {
                    debug!(directory = %directory.display(), %error, "cannot watch; it is polled")
                }
            }
        }
        self.is_new = !followed.is_subset(&self.followed);
        self.followed = followed;
    }
}

impl FileWatch {
    /// A watch, and what it watches: nothing yet.
    pub(super) fn new() -> (Self, Directories) {
        // One slot: two events that were not looked at are as good as one.
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, |event| is_change(event.kind)) {
                let _ = sender.try_send(());
            }
        });
        let said = |error: notify::Error| match error.kind {
            notify::ErrorKind::Io(error) => words(&error).to_string(),
            _ => error.to_string(),
        };
        let watcher = watcher
            .map_err(|error| warn!(error = said(error), "cannot watch files; they are polled"))
            .ok();
        let mut poll = interval_at(Instant::now() + POLL_EVERY, POLL_EVERY);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let directories = Directories {
            watcher,
            ..Directories::default()
        };
        (
            Self {
                unseen: false,
                events,
                settling: None,
                poll,
            },
            directories,
        )
    }

    /// Sees to it that nothing is overlooked which happened before `directories` were watched.
    pub(super) fn see(&mut self, directories: &Directories) {
        self.unseen |= directories.is_new;
    }

    /// Returns when it is time to look, and why. Cancel safe: an event that was heard of is not
    /// forgotten.
    pub(super) async fn wait(&mut self) -> LookReason {
        if std::mem::take(&mut self.unseen) {
            return LookReason::Unwatched;
        }
        loop {
            match self.settling {
                None => tokio::select! {
                    _ = self.poll.tick() => return LookReason::Poll,
                    Some(()) = self.events.recv() => self.settling = Some(Instant::now() + MAX_WAIT),
                },
                // Another event starts the quiet time anew, up to a limit.
                Some(latest) => tokio::select! {
                    () = sleep_until(latest.min(Instant::now() + QUIET)) => {
                        self.settling = None;
                        return LookReason::Event;
                    }
                    Some(()) = self.events.recv() => {}
                },
            }
        }
    }
}

/// The directory that a file is in, and the directory itself if it is one.
fn directories(path: &Path) -> impl Iterator<Item = PathBuf> {
    let own = path.is_dir().then_some(path);
    path.parent()
        .map(here)
        .into_iter()
        .chain(own)
        .map(Path::to_owned)
}

/// Reading is no change, and this program reads the files itself.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;

    /// Waits for this, whatever else there is to look for.
    async fn wait_for(watch: &mut FileWatch, wanted: LookReason) {
        let seen = async { while watch.wait().await != wanted {} };
        timeout(Duration::from_secs(60), seen)
            .await
            .unwrap_or_else(|_| panic!("never: {wanted:?}"));
    }

    #[tokio::test]
    async fn a_directory_that_begins_to_be_watched_is_looked_at_and_what_happens_there_is_an_event()
    {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one/a.toml"), dir.path().join("two/b.toml"));
        let (mut watch, mut directories) = FileWatch::new();
        for files in [&[&one][..], &[&one, &two]] {
            let new = files.last().unwrap();
            fs::create_dir(new.parent().unwrap()).unwrap();
            directories.follow(files.iter().map(|file| file.as_path()));
            watch.see(&directories);
            wait_for(&mut watch, LookReason::Unwatched).await;
            for file in files {
                fs::write(file, "").unwrap();
                wait_for(&mut watch, LookReason::Event).await;
            }
        }
        directories.follow([&*one].into_iter());
        watch.see(&directories);
        assert!(!watch.unseen, "nothing is new");
    }
}
