//! Faults of a client's certificate, with the alert for each.

use rustls::CertificateError;

use crate::authz::{Denied, SpkiDigest};
use crate::tls::alerts;
use crate::x509::path::Flaw;

/// What is wrong with a certificate beyond what rustls reports.
#[derive(Debug)]
pub(super) enum CertificateFault {
    /// It verifies, and the policy refuses its owner.
    Denied(Denied),
    /// It verifies, and what it says cannot be read.
    Unreadable(String),
    /// The client did not prove that it has the key (RFC 8446 §4.4.3, RFC 5246 §7.4.8): it may be
    /// somebody else's.
    Unproven,
    /// Its key is of a kind or size by which nobody is known: which.
    Key(String),
    /// It does not verify.
    Flawed(Flaw),
    /// It is none of those that are pinned. The pin of its key.
    NotPinned(SpkiDigest),
}

impl CertificateFault {
    /// What rustls is told, which answers with an alert. Here, because once the handshake is
    /// complete it could not.
    pub(super) fn error(&self) -> CertificateError {
        match self {
            Self::Denied(_) => CertificateError::ApplicationVerificationFailure,
            Self::Unreadable(_) => CertificateError::BadEncoding,
            Self::Unproven => CertificateError::BadSignature,
            Self::Key(_) => CertificateError::InvalidPurpose,
            Self::NotPinned(_) => CertificateError::UnknownIssuer,
            Self::Flawed(flaw) => alerts::error(flaw),
        }
    }
}
