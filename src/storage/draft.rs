//! Files that stand under their names whole or not at all, also after a crash.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A file that is whole and on the disk under a name of its own. [`publish`](Self::publish) gives
/// it the name that it is for, in place of what has that name; dropped before, it is removed. A
/// reader meanwhile, or after a crash, finds the old file or the new one.
#[derive(Debug)]
pub struct Draft<'a> {
    path: &'a Path,
    /// Empty once the file has its name.
    own: PathBuf,
    directory: File,
}

impl<'a> Draft<'a> {
    /// Writes `content` beside `path`, to a file of this `mode`, less the umask of the process.
    /// `prepare` is given the file while it is empty.
    ///
    /// # Errors
    ///
    /// When it cannot be written; nothing is left of it then.
    pub fn new(
        path: &'a Path,
        content: &[u8],
        mode: u32,
        prepare: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<Self> {
        let parent = parent(path);
        let directory = File::open(parent)?;
        let mut random = [0; 8];
        rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
        let own = parent.join(format!(".{:016x}.new", u64::from_ne_bytes(random)));
        // With `create_new` it is neither a link nor a file that another process has open.
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&own)?;
        let draft = Self {
            path,
            own,
            directory,
        };
        prepare(&file)?;
        file.write_all(content)?;
        file.sync_all()?;
        Ok(draft)
    }

    /// Gives it its name, on the disk as well.
    ///
    /// # Errors
    ///
    /// When that fails. The file may have its name then, and lose it in a crash.
    pub fn publish(mut self) -> io::Result<()> {
        fs::rename(&self.own, self.path)?;
        self.own = PathBuf::new();
        sync(&self.directory)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.own.as_os_str().is_empty() {
            // The error that is on its way says more.
            let _ = fs::remove_file(&self.own);
        }
    }
}

/// Makes a directory and those above it where they are missing, for their owner alone, and their
/// names are on the disk when this returns.
///
/// # Errors
///
/// Those of mkdir(2) and fsync(2).
pub fn make_directory(path: &Path) -> io::Result<()> {
    make_with(path, &mut |directory| sync(&File::open(directory)?))
}

/// `sync` is given each directory in which another one was made.
fn make_with(path: &Path, sync: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    make_with(parent, sync)?;
    match DirBuilder::new().mode(0o700).create(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    sync(parent)
}

/// Keeps the drafts in a directory from being taken for left-over ones, until what is returned is
/// dropped. Only for directories that no other user can open: one that can might never give the
/// lock back.
pub(super) fn announce_writing(directory: &Path) -> io::Result<File> {
    let lock = File::open(directory)?;
    // On a file system without locks nothing that was left over is removed, either.
    let _ = flock(&lock, FlockOperation::LockShared);
    Ok(lock)
}

/// Removes the drafts in a directory, unless a process is writing there, and returns how many there
/// were.
pub(super) fn remove_left_over(directory: &Path) -> io::Result<usize> {
    let lock = match File::open(directory) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    // A process is writing, or the file system cannot tell.
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(0);
    }
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_draft) {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a draft has such a name.
fn is_draft(name: &str) -> bool {
    let number = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(".new"));
    number.is_some_and(|number| {
        number.len() == 16 && number.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// The names in a directory are on the disk only when the directory is.
fn sync(directory: &File) -> io::Result<()> {
    match directory.sync_all() {
        // The file system has nothing to synchronise (fsync(2)).
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_in_which_one_is_made_is_synchronised_from_above() {
        let dir = tempfile::tempdir().unwrap();
        let made = |path: &str| {
            let mut synced = Vec::new();
            let sync = &mut |directory: &Path| {
                synced.push(
                    directory
                        .strip_prefix(dir.path())
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                );
                Ok(())
            };
            make_with(&dir.path().join(path), sync).unwrap();
            assert!(dir.path().join(path).is_dir());
            synced
        };
        assert_eq!(made("a/b/c"), ["", "a", "a/b"]);
        assert_eq!(made("a/b/c"), [""; 0], "nothing was made");
        assert_eq!(made("a/b/d/e"), ["a/b", "a/b/d"]);
        make_directory(Path::new("")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(make_directory(&dir.path().join("file/a")).is_err());
        assert!(make_directory(&dir.path().join("file")).is_err());
    }

    #[test]
    fn a_draft_that_is_being_written_is_not_taken_for_one_that_was_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let left = dir.path().join(".0123456789abcdef.new");
        fs::write(&left, "half").unwrap();
        let writing = announce_writing(dir.path()).unwrap();
        let draft = Draft::new(&path, b"whole", 0o600, |_| Ok(())).unwrap();
        assert_eq!(remove_left_over(dir.path()).unwrap(), 0);
        draft.publish().unwrap();
        drop(writing);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(remove_left_over(dir.path()).unwrap(), 1);
        assert!(!left.exists() && path.exists());
    }

    #[test]
    fn a_draft_that_is_not_published_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "old").unwrap();
        drop(Draft::new(&path, b"new", 0o600, |_| Ok(())).unwrap());
        Draft::new(&path, b"new", 0o600, |_| Err(io::Error::other("refused"))).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
