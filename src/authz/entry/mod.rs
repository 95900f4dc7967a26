//! Entries of a policy: each type says which part of a certificate it is compared with, and how.
//!
//! What is compared is the certificate's real text: nothing is decoded or normalised beyond what is
//! said here. An entry that could match more than its author meant is refused when it is parsed.

mod names;
mod numbers;
mod subject;

use std::fmt;

use crate::authz::identity::Identity;

pub use names::{
    DnsError, DnsPattern, EmailAddress, EmailError, PrincipalName, UriError, UriPattern,
};
pub use numbers::{Serial, SerialError, SpkiDigest, SpkiError};
pub use subject::{
    CommonName, IssuerName, Organization, OrganizationalUnit, SubjectError, SubjectName,
};

/// An entry of a policy.
pub(super) trait PolicyEntry: fmt::Display {
    /// Whether the certificate is one that is meant.
    fn names(&self, identity: &Identity) -> bool;

    /// Whether the certificate may be one that is meant: what a deny list goes by, which errs on that
    /// side.
    fn may_name(&self, identity: &Identity) -> bool {
        self.names(identity)
    }
}

/// Whether two texts are the same but for case (RFC 5280 §7.1: caseIgnoreMatch).
fn is_alike(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}
