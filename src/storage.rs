//! Storage across restarts: files in one directory, each written whole or not at all, readable by
//! the process's user alone.

mod draft;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::os::words;

pub use draft::{Draft, make_directory};

/// A directory of files that belong to snigate. It is made when something is first put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    dir: PathBuf,
}

/// The storage cannot be used.
#[derive(Debug, Error)]
#[error("storage: cannot {action} {}: {}", .path.display(), words(error))]
pub struct StorageError {
    /// `read`, `write`, `list` or `tidy up`.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub error: io::Error,
}

impl Storage {
    /// A storage in `dir`. Nothing is read or written.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file for `key`: names that [are names](is_name) with slashes between them.
    #[must_use]
    pub fn path(&self, key: &str) -> PathBuf {
        self.dir.join(key)
    }

    /// The bytes that were put under `key`, if any. The bytes are overwritten when they are
    /// dropped.
    ///
    /// # Errors
    ///
    /// When there is something, and it cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StorageError> {
        match fs::read(self.checked("read", key)?) {
            Ok(content) => Ok(Some(Zeroizing::new(content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error("read", key, error)),
        }
    }

    /// Keeps `content` under `key`, in place of what was there, as [`Draft`] does. The file has the
    /// mode 0600 from its first byte on, and new directories have 0700.
    ///
    /// # Errors
    ///
    /// When it cannot be written; nothing has changed then.
    pub fn put(&self, key: &str, content: &[u8]) -> Result<(), StorageError> {
        let path = self.checked("write", key)?;
        let put = || {
            let directory = path.parent().unwrap_or(Path::new("."));
            make_directory(directory)?;
            let _writing = draft::announce_writing(directory)?;
            Draft::new(&path, content, 0o600, |_| Ok(()))?.publish()
        };
        put().map_err(|error| self.error("write", key, error))
    }

    /// Removes what a crash has left half-written in `prefix`, a directory, and returns how many
    /// files that were. A file that is being written at this moment stays.
    ///
    /// # Errors
    ///
    /// When the directory is there and cannot be read, or a file in it cannot be removed.
    pub fn tidy_up(&self, prefix: &str) -> Result<usize, StorageError> {
        draft::remove_left_over(&self.checked("tidy up", prefix)?)
            .map_err(|error| self.error("tidy up", prefix, error))
    }

    /// The keys below `prefix`, a directory, sorted: only those directly in it.
    ///
    /// # Errors
    ///
    /// When the directory is there and cannot be read.
    pub fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let entries = match fs::read_dir(self.checked("list", prefix)?) {
            Ok(entries) => entries
                .collect::<io::Result<Vec<_>>>()
                .map_err(|error| self.error("list", prefix, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(self.error("list", prefix, error)),
        };
        let names = entries
            .iter()
            .filter_map(|entry| entry.file_name().into_string().ok());
        // What begins with a dot has not been written to its end.
        let mut keys: Vec<_> = names
            .filter(|name| is_name(name))
            .map(|name| format!("{prefix}/{name}"))
            .collect();
        keys.sort();
        Ok(keys)
    }

    fn checked(&self, action: &'static str, key: &str) -> Result<PathBuf, StorageError> {
        if key.split('/').all(is_name) {
            return Ok(self.path(key));
        }
        Err(self.error(
            action,
            key,
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a name of the storage",
            ),
        ))
    }

    fn error(&self, action: &'static str, key: &str, error: io::Error) -> StorageError {
        StorageError {
            action,
            path: self.path(key),
            error,
        }
    }
}

/// Whether `text` can be a file's name here: ASCII letters, digits, `_`, `-` and `.`, which does
/// not come first.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && text.len() <= 128 && !text.starts_with('.') && text.chars().all(is_usual)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn storage() -> (tempfile::TempDir, Storage) {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::new(dir.path().join("state/snigate"));
        (dir, storage)
    }

    #[test]
    fn what_was_put_is_got_and_listed_and_nobody_else_can_read_it() {
        let (_dir, storage) = storage();
        assert_eq!(storage.get("a/b.pem").unwrap(), None);
        assert_eq!(storage.list("a").unwrap(), [""; 0]);
        for content in [&b"one"[..], b"", b"something longer"] {
            storage.put("a/b.pem", content).unwrap();
            assert_eq!(
                storage
                    .get("a/b.pem")
                    .unwrap()
                    .as_deref()
                    .map(Vec::as_slice),
                Some(content)
            );
            assert_eq!(mode(&storage.path("a/b.pem")), 0o600);
        }
        storage.put("a/a", b"").unwrap();
        fs::write(storage.path("a/.half"), "").unwrap();
        assert_eq!(storage.list("a").unwrap(), ["a/a", "a/b.pem"]);
        for directory in [storage.dir(), &storage.path("a")] {
            assert_eq!(mode(directory), 0o700, "{}", directory.display());
        }
        assert_eq!(
            fs::read_dir(storage.path("a")).unwrap().count(),
            3,
            "nothing is left of the writing"
        );
    }

    #[test]
    fn a_link_is_replaced_and_not_written_through_and_an_open_mode_is_not_kept() {
        let (dir, storage) = storage();
        storage.put("a", b"old").unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "precious").unwrap();
        fs::remove_file(storage.path("a")).unwrap();
        symlink(&target, storage.path("a")).unwrap();
        storage.put("a", b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        fs::set_permissions(storage.path("a"), fs::Permissions::from_mode(0o644)).unwrap();
        storage.put("a", b"newer").unwrap();
        assert_eq!(mode(&storage.path("a")), 0o600);
    }

    #[test]
    fn what_cannot_be_written_is_named_and_leaves_nothing_behind() {
        let (dir, storage) = storage();
        fs::create_dir_all(storage.path("a")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for (storage, key) in [
            (&storage, "a"),
            (&Storage::new(dir.path().join("file")), "a/b"),
        ] {
            let error = storage.put(key, b"x").unwrap_err().to_string();
            let path = storage.path(key);
            assert!(
                error.starts_with(&format!("storage: cannot write {}: ", path.display())),
                "{error}"
            );
            assert!(!error.contains("os error"), "{error}");
        }
        assert_eq!(fs::read_dir(storage.dir()).unwrap().count(), 1);
        assert!(storage.get("a").is_err());
    }

    #[test]
    fn what_a_crash_left_half_written_is_removed_and_nothing_else() {
        let (_dir, storage) = storage();
        assert_eq!(storage.tidy_up("a").unwrap(), 0, "there is no directory");
        storage.put("a/b.key", b"key").unwrap();
        let names = [
            ".0123456789abcdef.new",
            ".0123.new",
            ".0123456789abcdeg.new",
            ".0123456789abcdef",
            "0123456789abcdef.new",
        ];
        for name in names {
            fs::write(storage.path("a").join(name), "half of a key").unwrap();
        }
        assert_eq!(storage.tidy_up("a").unwrap(), 1);
        let kept = names.map(|name| storage.path("a").join(name).exists());
        assert_eq!(
            kept,
            [false, true, true, true, true],
            "only what has a name that this module gives"
        );
        assert_eq!(
            storage
                .get("a/b.key")
                .unwrap()
                .as_deref()
                .map(Vec::as_slice),
            Some(&b"key"[..])
        );
    }

    #[test]
    fn a_key_leads_nowhere_else() {
        let (_dir, storage) = storage();
        for key in [
            "", "/a", "a/", "a//b", "../a", "a/..", ".a", "a b", "a\0", "ä", "a\n",
        ] {
            assert!(
                storage.put(key, b"").is_err()
                    && storage.get(key).is_err()
                    && storage.list(key).is_err(),
                "{key}"
            );
        }
        assert!(!storage.dir().exists());
    }
}
