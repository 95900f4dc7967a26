//! The keys of a table as `show` prints it, and what of their values is compared.

use std::hash::{BuildHasher, Hash, RandomState};
use std::path::{Path, PathBuf, absolute};
use std::sync::LazyLock;

use serde::Serialize;
use serde_json::Value as Json;

/// Nobody outside the process knows what it hashes with, so that nobody makes two values with one
/// hash.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Lists in which the order says nothing; those of `allow` and `deny` are others.
const UNORDERED: &[&str] = &[
    "bind",
    "ca_files",
    "client_auth.ca_files",
    "client_auth.cert_files",
    "client_auth.crl_files",
    "client_auth.spki_sha256",
    "names",
    "proxy_protocol.from",
    "proxy_protocol_tlvs",
    "tls.pin",
];

/// What stands in for a value.
pub(super) fn hash(value: impl Hash) -> u64 {
    HASHES.hash_one(value)
}

/// The same for a list in which the order says nothing.
pub(super) fn hash_all(values: impl Iterator<Item = impl Hash>) -> u64 {
    values.fold(0, |all, value| all.wrapping_add(hash(value)))
}

/// The directory of a configuration. What lies below it is the same wherever the directory is.
pub(super) struct Base(PathBuf);

impl Base {
    /// That of the configuration at `path`.
    pub(super) fn of(path: &Path) -> Self {
        let directory = path.parent().unwrap_or(Path::new(""));
        Self(full(directory.join(".").as_path()))
    }

    /// The path of a file, from this directory if it lies below it.
    pub(super) fn path(&self, path: &Path) -> String {
        let full = full(path);
        let path = full.strip_prefix(&self.0).unwrap_or(&full);
        path.display().to_string()
    }

    fn text<'a>(&self, text: &'a str) -> &'a str {
        let below = Path::new(text).strip_prefix(&self.0).ok();
        below.and_then(Path::to_str).unwrap_or(text)
    }

    /// Gives each key of `table` to `put`, by its path and with the hash of its value.
    pub(super) fn keys(&self, table: &impl Serialize, mut put: impl FnMut(&str, u64)) {
        // A table is made of texts, numbers and lists of them, which JSON always has a form for.
        if let Ok(table) = serde_json::to_value(table) {
            self.walk(&table, &mut String::new(), &mut put);
        }
    }

    fn walk(&self, value: &Json, path: &mut String, put: &mut impl FnMut(&str, u64)) {
        let Json::Object(table) = value else {
            return put(path, self.value(value, is_ordered(path)));
        };
        let length = path.len();
        for (key, value) in table {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
            self.walk(value, path, put);
            path.truncate(length);
        }
    }

    fn value(&self, value: &Json, is_ordered: bool) -> u64 {
        match value {
            Json::String(text) => hash(self.text(text)),
            Json::Array(items) => {
                let items = items.iter().map(|item| self.value(item, true));
                if is_ordered {
                    hash(items.collect::<Vec<_>>())
                } else {
                    hash_all(items)
                }
            }
            Json::Object(table) => {
                let pair = |(key, value)| (key, self.value(value, true));
                hash(table.iter().map(pair).collect::<Vec<_>>())
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => hash(value.to_string()),
        }
    }
}

fn is_ordered(path: &str) -> bool {
    let is_rule = ["client_auth.allow.", "client_auth.deny."]
        .iter()
        .any(|table| path.starts_with(table));
    !is_rule && !UNORDERED.contains(&path)
}

fn full(path: &Path) -> PathBuf {
    absolute(path).unwrap_or_else(|_| path.to_owned())
}
