//! Files of the configuration: reading them, and telling later whether any of them has changed.
//!
//! What a configuration is made of is what was read to make it, missing files included: nothing
//! else is watched, and nothing that was used is forgotten. Contents are compared, not events.

mod behind;
mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::config::files::disk::{list_directory, read_file};
use crate::config::left_over::is_left_over;
use crate::config::material::{Keep, Materials};
use crate::config::unreadable::in_words;
use crate::x509::Form;
use crate::x509::identity::sha256;

pub use behind::Behind;
pub use disk::read_once;

/// A file written this shortly before it was read may change again without a new time stamp, so its
/// content is compared.
const RECENT: Duration = Duration::from_secs(2);

/// The files that were read so far.
#[derive(Clone, Debug, Default)]
pub struct Files {
    seen: BTreeMap<PathBuf, Seen>,
    texts: Texts,
    /// The texts to use in place of those in the files.
    kept: Option<Arc<Texts>>,
    /// The materials that run, of which those in `keep` go on.
    pub running: Arc<Materials>,
    /// The materials that go on as they run.
    pub keep: Keep,
    /// The materials that were made of what was read.
    pub materials: Materials,
    /// The files that were used, of those read beside the texts.
    used: BTreeSet<PathBuf>,
    /// The files that were not, because what runs goes on.
    aside: BTreeSet<PathBuf>,
}

/// The texts that a configuration was compiled from, so that it can be compiled again when the
/// files say something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    files: BTreeMap<PathBuf, Arc<str>>,
    /// The files that each pattern of an `include` matched.
    included: BTreeMap<PathBuf, Vec<PathBuf>>,
}

#[derive(Clone, Debug)]
struct Seen {
    stamp: Option<Stamp>,
    content: Content,
    /// It is nothing but a text of the configuration, or a directory of them.
    is_text: bool,
}

/// The content found: by hash, because a key must not stay in memory for the sake of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    File([u8; 32]),
    Directory([u8; 32]),
    Unreadable(io::ErrorKind),
    /// It could not be read for want of something that has nothing to do with it, such as
    /// descriptors. What is in it is not known, so it counts as changed until it has been read.
    Unknown,
}

/// The stamp that the file system has for a file that has not been touched.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Written so shortly before this was asked that it may change again without a trace in the
    /// times.
    recent: bool,
}

impl Files {
    /// Reads a whole file. It may hold a key, so the bytes are overwritten when they are dropped.
    ///
    /// # Errors
    ///
    /// Those of opening and reading it, and when it is no regular file or larger than 64 MiB.
    pub fn read(&mut self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        self.read_as(path, false)
    }

    fn read_as(&mut self, path: &Path, is_text: bool) -> io::Result<Zeroizing<Vec<u8>>> {
        let (stamp, result) = (Stamp::of(path), read_file(path));
        let content = match &result {
            Ok(bytes) => Content::File(sha256(bytes)),
            Err(error) => Content::of(error),
        };
        self.remember(
            path,
            Seen {
                stamp,
                content,
                is_text,
            },
        );
        result.map_err(|error| in_words(path, &error))
    }

    fn remember(&mut self, path: &Path, seen: Seen) {
        let is_text = seen.is_text && self.seen.get(path).is_none_or(|before| before.is_text);
        self.seen.insert(path.to_owned(), Seen { is_text, ..seen });
    }

    /// Reads a file of the configuration itself, and remembers its text.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and when it is not UTF-8.
    pub fn read_text(&mut self, path: &Path) -> io::Result<Arc<str>> {
        let text = match &self.kept {
            Some(kept) => kept
                .files
                .get(path)
                .cloned()
                .ok_or(io::ErrorKind::NotFound)?,
            None => {
                let bytes = self.read_as(path, true)?;
                // Zeros are UTF-8, so UTF-16 may well be.
                if let Some(form) = Form::of(&bytes).filter(|form| form.is_wide()) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, form));
                }
                let text = std::str::from_utf8(&bytes);
                text.map_err(|_| {
                    io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")
                })?
                .into()
            }
        };
        self.texts.files.insert(path.to_owned(), Arc::clone(&text));
        Ok(text)
    }

    /// The files in a directory whose names match a pattern, sorted.
    ///
    /// # Errors
    ///
    /// Those of [`list`](Self::list).
    pub fn matching(
        &mut self,
        directory: &Path,
        pattern: &glob::Pattern,
    ) -> io::Result<Vec<PathBuf>> {
        let place = directory.join(pattern.as_str());
        let found = match &self.kept {
            Some(kept) => kept.included.get(&place).cloned().unwrap_or_default(),
            None => {
                let is_meant = |path: &PathBuf| {
                    path.file_name()
                        .and_then(|n| n.to_str())
                        .is_some_and(|n| pattern.matches(n))
                };
                self.list_as(directory, true)?
                    .into_iter()
                    .filter(is_meant)
                    .collect()
            }
        };
        self.texts.included.insert(place, found.clone());
        Ok(found)
    }

    /// None yet. With `texts` the configuration's own are not read, but are as they were when these
    /// were made. `running` are the materials that run, and `keep` those of them that go on.
    #[must_use]
    pub fn new(texts: Option<Arc<Texts>>, running: Arc<Materials>, keep: Keep) -> Self {
        Self {
            kept: texts,
            running,
            keep,
            ..Self::default()
        }
    }

    /// The texts of the configuration.
    #[must_use]
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Gives away the texts of the configuration.
    #[must_use]
    pub fn take_texts(&mut self) -> Texts {
        std::mem::take(&mut self.texts)
    }

    /// Notes whether what is in the file at `path` counts, or what runs goes on. Where it is used
    /// for several things it counts if it does for one of them.
    pub fn note_use(&mut self, path: &Path, counts: bool) {
        if counts {
            &mut self.used
        } else {
            &mut self.aside
        }
        .insert(path.to_owned());
    }

    fn counts(&self, path: &Path) -> bool {
        self.used.contains(path) || !self.aside.contains(path)
    }

    /// The SHA-256 of what was read of the file at `path`, if it could be read and counts.
    #[must_use]
    pub fn counting(&self, path: &Path) -> Option<[u8; 32]> {
        match self.seen.get(path)?.content {
            Content::File(hash) => Some(hash).filter(|_| self.counts(path)),
            Content::Directory(_) | Content::Unreadable(_) | Content::Unknown => None,
        }
    }

    /// Whether there is a file whose content does not count.
    #[must_use]
    pub fn has_aside(&self) -> bool {
        self.aside.iter().any(|path| !self.counts(path))
    }

    /// Whether every file beside the texts whose content counts counted with the same content in
    /// `before`, and all others that counted there are set aside.
    #[must_use]
    pub fn counts_same(&self, before: &Self) -> bool {
        let counted = |files: &Self, path: &Path| {
            let seen = files
                .seen
                .get(path)
                .filter(|seen| !seen.is_text && files.counts(path))?;
            (!matches!(seen.content, Content::Directory(_))).then_some(seen.content)
        };
        let is_new = |path: &&PathBuf| {
            counted(self, path).is_some_and(|now| counted(before, path) != Some(now))
        };
        let is_gone = |path: &&PathBuf| {
            counted(before, path).is_some() && counted(self, path).is_none() && self.counts(path)
        };
        self.seen
            .keys()
            .find(is_new)
            .or_else(|| before.seen.keys().find(is_gone))
            .is_none()
    }

    /// A digest of the files whose content does not count.
    #[must_use]
    pub fn digest_aside(&self) -> [u8; 32] {
        digest_of(self.seen.iter().filter(|(path, _)| !self.counts(path)))
    }

    /// Gives away what was made of the files, and forgets what it was to be made with.
    #[must_use]
    pub fn take_materials(&mut self) -> Materials {
        (self.running, self.keep) = (Arc::default(), Keep::new());
        std::mem::take(&mut self.materials)
    }

    /// A digest of the file at `path`.
    #[must_use]
    pub fn digest_of(&self, path: &Path) -> [u8; 32] {
        digest_of(self.seen.get_key_value(path).into_iter())
    }

    /// A digest of the texts and of files that `other` has not read.
    #[must_use]
    pub fn digest_beside(&self, other: &Self) -> [u8; 32] {
        digest_of(
            self.seen
                .iter()
                .filter(|(path, seen)| seen.is_text || !other.seen.contains_key(*path)),
        )
    }

    /// The files beside the texts of the configuration.
    #[must_use]
    pub fn beside_texts(&self) -> Self {
        let beside = self.seen.iter().filter(|(_, seen)| !seen.is_text);
        let seen = beside
            .map(|(path, seen)| (path.clone(), seen.clone()))
            .collect();
        Self {
            seen,
            used: self.used.clone(),
            aside: self.aside.clone(),
            ..Self::default()
        }
    }

    /// Whether something could not be read for a reason that has nothing to do with it.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.seen
            .values()
            .any(|seen| seen.content == Content::Unknown)
    }

    /// A digest of everything: equal where every file had the same content.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest_of(self.seen.iter())
    }

    /// Remembers what `other` has read, too.
    pub fn extend(&mut self, other: Self) {
        for (path, seen) in other.seen {
            self.seen.entry(path).or_insert(seen);
        }
    }

    /// The names in a directory, sorted, without those that begin with a dot (editors and
    /// Kubernetes keep theirs there).
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn list(&mut self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.list_as(path, false)
    }

    fn list_as(&mut self, path: &Path, is_text: bool) -> io::Result<Vec<PathBuf>> {
        let result = list_directory(path);
        let content = match &result {
            Ok(names) => Content::Directory(names_hash(names)),
            Err(error) => Content::of(error),
        };
        // Without a stamp: the time of a directory does not change when a symbolic link on the way
        // to it does.
        self.remember(
            path,
            Seen {
                stamp: None,
                content,
                is_text,
            },
        );
        result.map_err(|error| in_words(path, &error))
    }

    /// Whether a path names a directory, following symbolic links.
    #[must_use]
    pub fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    /// The first path whose content is no longer what was read.
    #[must_use]
    pub fn changed(&mut self) -> Option<&Path> {
        self.seen
            .iter_mut()
            .find_map(|(path, seen)| seen.has_changed(path).then_some(path.as_path()))
    }

    /// Every path that was read or was to be read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.seen.keys().map(PathBuf::as_path)
    }
}

/// A directory by a name that can be opened: that of a path without one is empty.
#[must_use]
pub fn here(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    }
}

impl Texts {
    /// The same texts with the paths that they have once those in the directory `from` are moved
    /// into `to`.
    #[must_use]
    pub fn moved(self, from: &Path, to: &Path) -> Self {
        let moved = |path: PathBuf| {
            path.strip_prefix(from)
                .map_or_else(|_| path.clone(), |rest| to.join(rest))
        };
        let included = self.included.into_iter();
        Self {
            files: self
                .files
                .into_iter()
                .map(|(path, text)| (moved(path), text))
                .collect(),
            included: included
                .map(|(place, found)| (moved(place), found.into_iter().map(moved).collect()))
                .collect(),
        }
    }

    /// The parts of `before` that are gone as a whole, whatever stands in the rest.
    pub fn lost<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = String> {
        let is_blank = |text: &str| text.trim().is_empty();
        let emptied = before.files.iter().filter(move |(path, text)| {
            !is_blank(text) && self.files.get(*path).is_some_and(|now| is_blank(now))
        });
        // Backups match a pattern and do not count.
        let count = |found: &[PathBuf]| found.iter().any(|path| !is_left_over(path));
        let unmatched = before.included.iter().filter(move |(place, found)| {
            count(found) && self.included.get(*place).is_some_and(|now| !count(now))
        });
        let emptied = emptied.map(|(path, _)| format!("{} is empty", path.display()));
        emptied.chain(
            unmatched
                .map(|(place, _)| format!("include: {} matches no file any more", place.display())),
        )
    }
}

impl Content {
    /// Of a file that cannot be read.
    fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let lasts = matches!(
            error.kind(),
            Kind::NotFound
                | Kind::PermissionDenied
                | Kind::NotADirectory
                | Kind::IsADirectory
                | Kind::InvalidInput
                | Kind::InvalidFilename
                | Kind::FileTooLarge
        );
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        // A device that is not there, a socket, links that lead to each other.
        let lasts = lasts
            || errno.is_some_and(|errno| [Errno::NXIO, Errno::NODEV, Errno::LOOP].contains(&errno));
        if lasts {
            Self::Unreadable(error.kind())
        } else {
            Self::Unknown
        }
    }
}

fn digest_of<'a>(seen: impl Iterator<Item = (&'a PathBuf, &'a Seen)>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for (path, Seen { content, .. }) in seen {
        let content = match content {
            Content::File(hash) => *hash,
            Content::Unreadable(_) | Content::Unknown => [0; 32],
            // Its files are there themselves; the names of others do not count.
            Content::Directory(_) => continue,
        };
        context.update(path.as_os_str().as_encoded_bytes());
        context.update(&[0]);
        context.update(&content);
    }
    finish(context)
}

fn finish(context: Context) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

impl Seen {
    fn has_changed(&mut self, path: &Path) -> bool {
        if self.content == Content::Unknown {
            return true;
        }
        let now = Stamp::of(path);
        if let (Some(before), Some(now)) = (&self.stamp, &now)
            && before.same(now)
            && !before.recent
        {
            return false;
        }
        let content = match &self.content {
            Content::Directory(_) => {
                list_directory(path).map(|names| Content::Directory(names_hash(&names)))
            }
            _ => read_file(path).map(|bytes| Content::File(sha256(&bytes))),
        };
        if content.unwrap_or_else(|error| Content::of(&error)) != self.content {
            return true;
        }
        // Directories have no stamp; a file need not be read again until it is written again.
        self.stamp = self.stamp.take().and(now);
        false
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata: Metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            recent: is_recent(metadata.mtime().max(metadata.ctime())),
        })
    }

    fn same(&self, other: &Self) -> bool {
        let times = |stamp: &Self| (stamp.modified, stamp.changed);
        (self.device, self.inode, self.size, times(self))
            == (other.device, other.inode, other.size, times(other))
    }
}

/// A time in the future (a clock was set back) counts as recent too.
fn is_recent(seconds: i64) -> bool {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(seconds)
        .is_ok_and(|seconds| seconds.saturating_add(RECENT.as_secs()) >= now.as_secs())
}

fn names_hash(names: &[PathBuf]) -> [u8; 32] {
    let joined: Vec<&[u8]> = names
        .iter()
        .map(|name| name.as_os_str().as_encoded_bytes())
        .collect();
    sha256(&joined.join(&0))
}

#[cfg(test)]
mod tests;
