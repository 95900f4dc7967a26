//! Reads from the disk: whole files, and the names in a directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::config::unreadable::in_words;

/// No file that a configuration names has a reason to be larger, and a wrong path may name a disk.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Read at once. A kernel that is not preempted while it copies would keep connections waiting for
/// all of a large file.
const PIECE: usize = 128 * 1024;

/// Reads a whole file for a command that reads it once, so that it may also be the output of
/// another one.
///
/// # Errors
///
/// Those of opening and reading it, in words.
pub fn read_once(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let read = || read_to_end(File::open(path)?, 0);
    read().map_err(|error| in_words(path, &error))
}

/// Reads a whole file of a configuration.
pub(super) fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening a FIFO would otherwise wait for a writer.
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    if metadata.len() > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 64 MiB",
        ));
    }
    let bytes = read_to_end(file, usize::try_from(metadata.len()).unwrap_or_default())?;
    // A file that has grown meanwhile is refused: half of a list of CAs must not be taken for the
    // whole.
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 64 MiB",
        ));
    }
    Ok(bytes)
}

/// Reads what is there, at most one byte more than [`MAX_FILE`]. A `Vec` that grows leaves what it
/// held behind, so this one does not.
fn read_to_end(mut file: File, expected: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let limit = usize::try_from(MAX_FILE)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    // One byte more than there should be, to see the end.
    let mut bytes = Zeroizing::new(vec![0; expected.saturating_add(1).min(limit)]);
    let mut filled = 0;
    loop {
        if filled == limit {
            return Ok(bytes);
        }
        if filled == bytes.len() {
            let mut larger =
                Zeroizing::new(vec![0; bytes.len().saturating_mul(2).max(4096).min(limit)]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
        let end = bytes.len().min(filled.saturating_add(PIECE));
        match file.read(&mut bytes[filled..end]) {
            Ok(0) => {
                bytes.truncate(filled);
                return Ok(bytes);
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The names in a directory, sorted, without those that begin with a dot.
pub(super) fn list_directory(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    let mut names: Vec<_> = entries
        .iter()
        .filter(|entry| !is_hidden(entry))
        .map(fs::DirEntry::path)
        .collect();
    names.sort();
    Ok(names)
}

fn is_hidden(entry: &fs::DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}
