//! New files, of which some are secret. Nobody else can read those for a moment, nothing is replaced unless that was
//! asked for, and nothing is ever half-written under its own name.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Its owner alone: mode 0600.
    Owner,
    /// Whoever the umask lets: mode 0644.
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
/// Without `replace` the names are taken first, with empty files. Every content is on disk under another name before
/// the first of them gets its own.
pub(super) fn write(files: &[NewFile<'_>], replace: bool) -> anyhow::Result<()> {
    let mut undo = Undo(Vec::new());
    if !replace {
        for file in files {
            reserve(file)?;
            undo.0.push(file.path.to_owned());
        }
    }
    let mut ready = Vec::new();
    for file in files {
        let path = beside(file.path)?;
        let written = write_new(&path, file).with_context(|| format!("cannot write {}", file.path.display()));
        undo.0.push(path.clone());
        written?;
        ready.push((path, file.path));
    }
    for (from, to) in ready {
        fs::rename(&from, to).with_context(|| format!("cannot write {}", to.display()))?;
        undo.0.retain(|path| *path != from && path != to);
    }
    Ok(())
}

/// Makes a directory and those above it, for its owner alone, where they are missing.
pub(super) fn make_dir(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the directory {}", path.display()))
}

/// What is removed when not everything could be done.
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
    let opened = OpenOptions::new().write(true).create_new(true).mode(file.readers.mode()).open(file.path);
    match opened {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists already; --force replaces it, and nothing was written", file.path.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot write {}", file.path.display())),
    }
}

/// A name in the same directory that nobody has.
fn beside(path: &Path) -> anyhow::Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let process = std::process::id();
    Ok(path.with_file_name(format!(".{}.{process}.tmp", name.to_string_lossy())))
}

fn write_new(path: &Path, file: &NewFile<'_>) -> io::Result<()> {
    let mode = file.readers.mode();
    let mut new = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    keep_owner(&new, file)?;
    new.write_all(file.content)?;
    new.sync_all()
}

/// A service whose key is renewed by root must be able to read the new one, too: the owner of what is replaced becomes
/// that of the new file, and a group that could read the old one still can. Others never can. In a directory where
/// everybody can put files, such as /tmp, that would be giving the key away.
fn keep_owner(new: &File, file: &NewFile<'_>) -> io::Result<()> {
    // The mode of a link says nothing of who could read what it leads to.
    let Some(old) = fs::symlink_metadata(file.path).ok().filter(Metadata::is_file) else { return Ok(()) };
    let directory = file.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if fs::metadata(directory)?.mode() & 0o002 != 0 {
        return Ok(());
    }
    let own = new.metadata()?;
    if (old.uid(), old.gid()) == (own.uid(), own.gid()) || fchown(new, Some(old.uid()), Some(old.gid())).is_ok() {
        new.set_permissions(Permissions::from_mode(own.mode() & 0o777 | old.mode() & 0o040))?;
    }
    Ok(())
}
