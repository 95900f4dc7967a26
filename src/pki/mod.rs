//! A certificate authority: what `snigate pki` does, and what demonstrations and tests get their
//! certificates from.
//!
//! Nothing here touches a file: PEM or DER comes in, PEM goes out. What is issued is verified
//! against the authority before it leaves, because an authority that was made elsewhere may have a
//! name or a key that cannot be written the way its own certificate has it, and no peer would
//! accept what it issues.

mod authority;
mod error;
mod inspect;
mod key;
mod kind;
mod object;
mod p12;
mod request;
mod revocation;
mod subject;

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use rcgen::ExtendedKeyUsagePurpose;

use crate::pki::authority::{is_issued_by, may_issue, parse_all};
use crate::x509::base64;

pub use authority::{Authority, Issued};
pub use error::PkiError;
pub use inspect::{Inspection, InspectionReport, PROBLEM, Part, moment};
pub use key::{Key, KeyKind};
pub use kind::FileKind;
pub use p12::{Protection, pkcs12};
pub use request::SigningRequest;
pub use revocation::{REASONS, RevocationList, RevocationReason, parse_serial};
pub use subject::{Subject, fits_common_name};

/// When a certificate is valid. Times before 1970 are taken as 1970.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// `days` days from now; it begins an hour ago, for clocks that are late.
    #[must_use]
    pub fn days(days: u64) -> Self {
        let now = SystemTime::now();
        Self {
            not_before: now - Duration::from_secs(3600),
            not_after: now + Duration::from_secs(days * 86400),
        }
    }
}

/// The use of a certificate (RFC 5280 §4.2.1.12), and its key usage with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUse {
    /// serverAuth.
    Server,
    /// clientAuth.
    Client,
    /// Both, for those that are the one and the other.
    Both,
}

impl CertificateUse {
    fn extended_key_usages(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Self::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        }
    }
}

/// A public key that a certificate can be issued for.
#[derive(Clone, Debug)]
pub struct PublicKey(rcgen::SubjectPublicKeyInfo);

impl PublicKey {
    /// The public half of `key`.
    ///
    /// # Errors
    ///
    /// When it is of a kind that is not used here.
    pub fn of(key: &Key) -> Result<Self, PkiError> {
        key::public_key(&key.public_key()).map(Self)
    }
}

/// Eight random hexadecimal digits, for names that should differ.
///
/// # Errors
///
/// When the system gives no random bytes.
pub fn random_hex() -> Result<String, PkiError> {
    let mut bytes = [0; 4];
    rand::fill(&mut bytes).map_err(|_| PkiError::NoRandom)?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

fn certificate_pem(der: &[u8]) -> String {
    pem_block("CERTIFICATE", der)
}

fn pem_block(label: &str, der: &[u8]) -> String {
    base64::pem(label, der).to_string()
}
