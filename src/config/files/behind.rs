//! The files that differ from those that are served: what waits with a configuration that is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::files::{Content, Files, Seen, Texts};
use crate::x509::identity::sha256;

/// Each file with the hash of its content, or nothing where it is missing or unreadable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Behind {
    /// Those files that were not as they are now in `before`.
    pub fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Path> {
        let is_new =
            |(path, content): &(&PathBuf, &Option<[u8; 32]>)| before.0.get(*path) != Some(content);
        self.0.iter().filter(is_new).map(|(path, _)| path.as_path())
    }

    /// The texts that are not as they are in `served`, missing ones included.
    #[must_use]
    pub fn of_texts(texts: &Texts, served: &Texts) -> Self {
        let differ = texts
            .files
            .iter()
            .filter(|(path, text)| served.files.get(*path) != Some(text));
        let gone = served
            .files
            .keys()
            .filter(|path| !texts.files.contains_key(*path));
        let differ = differ.map(|(path, text)| (path.clone(), Some(sha256(text.as_bytes()))));
        Self(
            differ
                .chain(gone.map(|path| (path.clone(), None)))
                .collect(),
        )
    }

    /// Adds the files of `read` beside its texts that `served` has not read.
    pub fn add_new(&mut self, read: &Files, served: &Files) {
        self.add(read, |path, _| !served.seen.contains_key(path));
    }

    /// Adds the files of `read` beside its texts that are not as they are in `served`, missing ones
    /// included.
    pub fn add_changed(&mut self, read: &Files, served: &Files) {
        self.add(read, |path, seen| {
            served
                .seen
                .get(path)
                .is_none_or(|before| before.content != seen.content)
        });
        let is_file = |seen: &Seen| !seen.is_text && matches!(seen.content, Content::File(_));
        let gone = served
            .seen
            .iter()
            .filter(|(path, seen)| is_file(seen) && !read.seen.contains_key(*path));
        self.0.extend(gone.map(|(path, _)| (path.clone(), None)));
    }

    fn add(&mut self, read: &Files, differs: impl Fn(&Path, &Seen) -> bool) {
        for (path, seen) in read
            .seen
            .iter()
            .filter(|(path, seen)| !seen.is_text && differs(path, seen))
        {
            let content = match seen.content {
                Content::File(hash) => Some(hash),
                Content::Unreadable(_) => None,
                // The files of a directory are there themselves; what could not be read is no news.
                Content::Directory(_) | Content::Unknown => continue,
            };
            self.0.insert(path.clone(), content);
        }
    }
}
