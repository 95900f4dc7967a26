//! Kinds of files, for commands that want one kind.

use std::fmt;

use crate::pki::object::{self, Object};

/// The kind that a file is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A certificate (RFC 5280 §4).
    Certificate,
    /// A private key.
    Key,
    /// A certificate request (PKCS#10, RFC 2986).
    SigningRequest,
    /// A revocation list (RFC 5280 §5).
    List,
}

impl FileKind {
    /// The kinds that `bytes` hold in place of this one: `None` if this kind is among them, or if
    /// they cannot be read, about which the reader of that kind has more to say.
    #[must_use]
    pub fn instead(self, bytes: &[u8]) -> Option<Vec<Self>> {
        let objects = object::read(bytes).ok()?;
        let kinds = objects.iter().map(|object| match object {
            Object::Certificate(_) => Some(Self::Certificate),
            Object::Key(_) => Some(Self::Key),
            Object::SigningRequest(_) => Some(Self::SigningRequest),
            Object::RevocationList(_) => Some(Self::List),
            Object::Other(_) | Object::Broken(..) => None,
        });
        let mut kinds = kinds.collect::<Option<Vec<_>>>()?;
        kinds.sort_unstable();
        kinds.dedup();
        (!kinds.is_empty() && !kinds.contains(&self)).then_some(kinds)
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a certificate",
            Self::Key => "a private key",
            Self::SigningRequest => "a certificate request",
            Self::List => "a revocation list",
        })
    }
}
