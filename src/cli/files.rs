//! New files, of which some are secret. No other user can read those for a moment, nothing is
//! replaced unless that was asked for, and nothing is ever half-written under its own name.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::storage::{Draft, make_directory};

/// The users that may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Its owner alone: mode 0600.
    Owner,
    /// Every user that the umask lets: mode 0644.
    Everybody,
}

/// A file that is to be.
pub(super) struct NewFile<'a> {
    pub(super) path: &'a Path,
    pub(super) content: &'a [u8],
    pub(super) readers: Readers,
}

/// Writes all of `files` or, as far as that can be told before the first of them stands, none.
///
/// Without `replace` the names are taken first, with empty files. Every content is on disk under
/// another name before the first of them gets its own.
pub(super) fn write(files: &[NewFile<'_>], replace: bool) -> anyhow::Result<()> {
    let cannot = |file: &NewFile<'_>| format!("cannot write {}", file.path.display());
    let mut undo = Undo(Vec::new());
    if !replace {
        for file in files {
            reserve(file)?;
            undo.0.push(file.path.to_owned());
        }
    }
    let mut drafts = Vec::new();
    for file in files {
        file.path
            .file_name()
            .with_context(|| format!("{} names no file", file.path.display()))?;
        let draft = Draft::new(file.path, file.content, file.readers.mode(), |new| {
            keep_owner(new, file)
        });
        drafts.push((file, draft.with_context(|| cannot(file))?));
    }
    for (file, draft) in drafts {
        draft.publish().with_context(|| cannot(file))?;
        undo.0.retain(|path| path != file.path);
    }
    Ok(())
}

/// Makes a directory and those above it, for its owner alone, where they are missing.
pub(super) fn make_dir(path: &Path) -> anyhow::Result<()> {
    make_directory(path).with_context(|| format!("cannot make the directory {}", path.display()))
}

/// The files to remove when not everything could be done.
struct Undo(Vec<PathBuf>);

impl Drop for Undo {
    fn drop(&mut self) {
        for path in &self.0 {
            // The error that is on its way says more.
            let _ = fs::remove_file(path);
        }
    }
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o644,
        }
    }
}

fn reserve(file: &NewFile<'_>) -> anyhow::Result<()> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(file.readers.mode())
        .open(file.path);
    match opened {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!(
                "{} exists already; --force replaces it, and nothing was written",
                file.path.display()
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot write {}", file.path.display())),
    }
}

/// A service whose key is renewed by root must be able to read the new one, too: the owner of what
/// is replaced becomes that of the new file, and a group that could read the old one still can.
/// Others never can. In a directory where everybody can put files, such as /tmp, that would be
/// giving the key away.
fn keep_owner(new: &File, file: &NewFile<'_>) -> io::Result<()> {
    // The mode of a link says nothing of who could read what it leads to.
    let Some(old) = fs::symlink_metadata(file.path)
        .ok()
        .filter(Metadata::is_file)
    else {
        return Ok(());
    };
    let directory = file
        .path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if fs::metadata(directory)?.mode() & 0o002 != 0 {
        return Ok(());
    }
    let own = new.metadata()?;
    if (old.uid(), old.gid()) == (own.uid(), own.gid())
        || fchown(new, Some(old.uid()), Some(old.gid())).is_ok()
    {
        new.set_permissions(Permissions::from_mode(
            own.mode() & 0o777 | old.mode() & 0o040,
        ))?;
    }
    Ok(())
}
