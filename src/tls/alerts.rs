//! Alerts for flaws of a peer's certificate.

use std::sync::Arc;

use rustls::CertificateError;

use crate::x509::path::Flaw;
use crate::x509::signed::SignatureFault;

/// The error that tells rustls of a flaw, which answers the peer with the alert that belongs to it
/// (RFC 8446 §6.2).
pub(super) fn error(flaw: &Flaw) -> CertificateError {
    use CertificateError as E;
    match flaw {
        // bad_certificate
        Flaw::Malformed(_) | Flaw::Defect(..) | Flaw::Critical(..) | Flaw::Name(_) => {
            E::BadEncoding
        }
        // certificate_expired
        Flaw::Expired(..) | Flaw::Early(..) | Flaw::NoTime(_) => E::Expired,
        // certificate_revoked
        Flaw::Revoked(_) => E::Revoked,
        // unknown_ca
        Flaw::UnknownIssuer { .. }
        | Flaw::NameEncoding { .. }
        | Flaw::NotCa(_)
        | Flaw::NoCertSign(_)
        | Flaw::PathLength(_)
        | Flaw::NoList { .. }
        | Flaw::ListOfOtherKey { .. }
        | Flaw::OutOfScope { .. }
        | Flaw::ListExpired { .. }
        | Flaw::ListEarly { .. }
        | Flaw::NoListSign(_) => E::UnknownIssuer,
        // decrypt_error
        Flaw::Signature {
            fault: SignatureFault::Wrong | SignatureFault::OtherKind,
            ..
        } => E::BadSignature,
        // unsupported_certificate
        Flaw::Signature {
            fault: SignatureFault::Key(_) | SignatureFault::Kind(_),
            ..
        }
        | Flaw::KeyUsage
        | Flaw::NetscapeType
        | Flaw::Purpose(_) => E::InvalidPurpose,
        // certificate_unknown
        Flaw::Version1(_)
        | Flaw::CaAsPeer
        | Flaw::ConstraintKind(..)
        | Flaw::Constraint(..)
        | Flaw::NotComparable(..)
        | Flaw::ConstraintMalformed(_)
        | Flaw::Distrusted
        | Flaw::TooMuch(_)
        | Flaw::Other => E::Other(rustls::OtherError(Arc::new(OtherFlaw))),
    }
}

/// The error for flaws that rustls has no word for. The words go another way.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the certificate cannot be used")]
struct OtherFlaw;
