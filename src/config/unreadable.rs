//! Files that cannot be read: what is there in their place, and what to write.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use crate::os;

/// The error of a system call on `path`, in words for the operator. Its kind stays.
pub(super) fn in_words(path: &Path, error: &io::Error) -> io::Error {
    let kind = error.kind();
    let words = match kind {
        ErrorKind::NotFound => missing(path),
        ErrorKind::PermissionDenied => Some(denied(path)),
        ErrorKind::NotADirectory => ancestors(path)
            .find(|above| above.exists() && !above.is_dir())
            .map(|above| {
                format!(
                    "{} is no directory; write the path of a file",
                    above.display()
                )
            }),
        ErrorKind::InvalidFilename => {
            Some("its name is too long; write the path of a file".to_owned())
        }
        _ => fs::metadata(path).ok().as_ref().and_then(instead),
    };
    io::Error::new(kind, words.unwrap_or_else(|| os::words(error).to_string()))
}

/// Those above `path`, the topmost first.
fn ancestors(path: &Path) -> impl Iterator<Item = &Path> {
    let above: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .filter(|above| !above.as_os_str().is_empty())
        .collect();
    above.into_iter().rev()
}

/// The kind of thing that is there, if it is no file.
fn instead(metadata: &Metadata) -> Option<String> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Some("it is a directory; write the path of a file in it".to_owned());
    }
    let kind = match kind {
        kind if kind.is_fifo() => "a FIFO or the output of a command",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => return None,
    };
    Some(format!(
        "it is {kind}, which cannot be read again at a reload; write its content into a file, and name that"
    ))
}

fn missing(path: &Path) -> Option<String> {
    if path.exists() {
        return None;
    }
    if let Some(above) = ancestors(path).find(|above| !above.exists()) {
        let link = target(above)
            .map(|target| format!(", a symbolic link to {target}, which does not exist"));
        return Some(format!(
            "there is no directory {}{}",
            above.display(),
            link.unwrap_or_default()
        ));
    }
    Some(match target(path) {
        Some(target) => format!("it is a symbolic link to {target}, which does not exist"),
        None => "there is no such file".to_owned(),
    })
}

fn target(link: &Path) -> Option<String> {
    fs::read_link(link)
        .ok()
        .map(|target| target.display().to_string())
}

fn denied(path: &Path) -> String {
    let user = geteuid().as_raw();
    match ancestors(path).find(|above| access(*above, Access::EXEC_OK).is_err()) {
        Some(above) => format!(
            "the user with the ID {user} may not enter the directory {0}; allow it, as `setfacl -m u:{user}:x {0}` does",
            above.display()
        ),
        None => format!(
            "the user with the ID {user} may not read it; allow it, as `setfacl -m u:{user}:r {}` does",
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn who_may_not_read_is_told_what_to_allow() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.pem");
        fs::write(&file, "").unwrap();
        let error = in_words(&file, &ErrorKind::PermissionDenied.into());
        let words = format!(
            "may not read it; allow it, as `setfacl -m u:{}:r {}",
            geteuid().as_raw(),
            file.display()
        );
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn no_number_of_an_error_is_told() {
        let error = in_words(Path::new("/"), &io::Error::from_raw_os_error(24));
        assert_eq!(
            error.to_string(),
            "it is a directory; write the path of a file in it"
        );
        let error = in_words(Path::new("Cargo.toml"), &io::Error::from_raw_os_error(24));
        assert_eq!(
            error.to_string(),
            os::words(&Errno::MFILE.into()).to_string()
        );
    }
}
