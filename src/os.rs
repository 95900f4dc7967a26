//! Errors of the operating system, in words for operators: the one door by which they come into
//! messages.
//!
//! The number of an error is of no use to them, and the words of a C library depend on the library.

use std::fmt;
use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// An error of the operating system, as messages have it.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(&'a io::Error);

/// The words for `error`.
#[must_use]
pub fn words(error: &io::Error) -> Words<'_> {
    Words(error)
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An error that was made of words says by itself what there is to say.
        let is_made = self.0.get_ref().is_some();
        let errno = self.0.raw_os_error().map(Errno::from_raw_os_error);
        let ours = errno
            .or_else(|| of_kind(self.0.kind()).filter(|_| !is_made))
            .and_then(of_number);
        match ours {
            Some(words) => f.write_str(words),
            None => f.write_str(&without_numbers(&self.0.to_string())),
        }
    }
}

/// The error of the system that has been told no more than a kind.
fn of_kind(kind: ErrorKind) -> Option<Errno> {
    Some(match kind {
        ErrorKind::NotFound => Errno::NOENT,
        ErrorKind::PermissionDenied => Errno::ACCESS,
        ErrorKind::IsADirectory => Errno::ISDIR,
        ErrorKind::NotADirectory => Errno::NOTDIR,
        ErrorKind::AddrInUse => Errno::ADDRINUSE,
        ErrorKind::AddrNotAvailable => Errno::ADDRNOTAVAIL,
        ErrorKind::AlreadyExists => Errno::EXIST,
        ErrorKind::StorageFull => Errno::NOSPC,
        ErrorKind::ReadOnlyFilesystem => Errno::ROFS,
        _ => return None,
    })
}

fn of_number(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::NOENT => "there is no such file or directory",
        Errno::ACCESS | Errno::PERM => "it is not permitted to the user of this process",
        Errno::EXIST => "there is something of that name already",
        Errno::ISDIR => "it is a directory",
        Errno::NOTDIR => "what should be a directory is none",
        Errno::NOTEMPTY => "the directory is not empty",
        Errno::NAMETOOLONG => "the name is too long",
        Errno::LOOP => "its symbolic links lead to each other",
        Errno::ADDRINUSE => "the address is in use",
        Errno::ADDRNOTAVAIL => "this machine does not have the address, or no port of it is free",
        Errno::AFNOSUPPORT => "there are no sockets of this family",
        Errno::MFILE => {
            "this process has no file descriptor left; LimitNOFILE= of its systemd unit says how many it has"
        }
        Errno::NFILE => {
            "this machine has no file descriptor left; sysctl fs.file-max says how many it has"
        }
        Errno::NOMEM | Errno::NOBUFS => "this machine has no memory left for it",
        Errno::IO => {
            "the device does not read or write it (I/O error); the log of the kernel says more"
        }
        Errno::NOSPC | Errno::DQUOT => "there is no space left for it",
        Errno::ROFS => "the file system is read-only",
        Errno::XDEV => "it is on another file system",
        Errno::STALE => "its server does not know it any more (stale file handle)",
        _ => return None,
    })
}

/// A text without each `(os error 2)` in it: errors within errors have theirs, too.
fn without_numbers(text: &str) -> String {
    let mut rest = text;
    let mut left = String::new();
    while let Some((before, after)) = rest.split_once(" (os error ") {
        left.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    left + rest
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// That `text` is a sentence for people, and nothing of a library's debug output.
    pub(crate) fn assert_readable(text: &str) {
        let debug = [
            "Other(", "Context", "Error", "[6, ", "::", "{ ", "None", "Some(",
        ];
        assert!(debug.iter().all(|word| !text.contains(word)), "{text}");
        let camel = |word: &str| {
            let mut letters = word.chars().filter(|c| c.is_ascii_alphabetic());
            letters.next().is_some_and(char::is_uppercase)
                && word.chars().skip(1).any(|c| c.is_ascii_uppercase())
                && word.chars().any(|c| c.is_ascii_lowercase())
        };
        let names = [
            "RSA-PSS",
            "PrintableString",
            "UTF8String",
            "GiB",
            "KiB",
            "URIs",
            "OpenSSL",
            "CAs",
            "X25519MLKEM768",
        ];
        let alien = text
            .split(|c: char| !(c.is_alphanumeric() || c == '-'))
            .find(|word| camel(word) && !names.contains(word));
        assert_eq!(alien, None, "{text}");
        assert!(text.len() < 400, "{} bytes: {text}", text.len());
    }

    #[test]
    fn an_error_of_the_system_is_told_in_words_without_its_number() {
        for errno in 1..134 {
            let error = io::Error::from_raw_os_error(errno);
            let said = words(&error).to_string();
            assert!(
                !said.contains("os error") && !said.is_empty(),
                "{errno}: {said}"
            );
            let around = io::Error::other(format!("a: {error}; b: {error}"));
            assert!(!words(&around).to_string().contains("os error"), "{around}");
        }
        for errno in [
            Errno::NOENT,
            Errno::ACCESS,
            Errno::ISDIR,
            Errno::NOTDIR,
            Errno::LOOP,
            Errno::ADDRINUSE,
            Errno::MFILE,
            Errno::IO,
        ] {
            let theirs = without_numbers(&io::Error::from(errno).to_string());
            assert_ne!(words(&errno.into()).to_string(), theirs, "{errno:?}");
        }
    }

    #[test]
    fn an_error_that_somebody_has_worded_keeps_its_words() {
        let made = io::Error::new(
            ErrorKind::NotFound,
            "no such name: (os error 2) is what x (os error 2) said",
        );
        assert_eq!(
            words(&made).to_string(),
            "no such name: (os error 2) is what x said".replace(" (os error 2)", "")
        );
        let bare = io::Error::from(ErrorKind::NotFound);
        assert_eq!(
            words(&bare).to_string(),
            "there is no such file or directory"
        );
    }
}
