//! Clients that are known one by one, without an authority: each by its key or by its certificate.
//!
//! A certificate that is pinned vouches for its owner and for no other client. What it says of
//! itself counts for nothing but its dates: neither who has issued it, nor whether it calls itself
//! a CA's, nor what it is for. That its owner has the key is proved in the handshake.

use std::collections::BTreeSet;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use webpki::RawPublicKeyEntity;

use crate::authz::SpkiDigest;
use crate::tls::fault::CertificateFault;
use crate::tls::provider::algorithms;
use crate::x509::chain::unsupported_key;
use crate::x509::identity::{distinguished_name, sha256};
use crate::x509::path::{Flaw, Who};
use crate::x509::pem::{self, BundleError};
use crate::x509::time::{of_unix_time, system_time};

/// The keys and certificates that are known. Which of the two a client has is all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// SHA-256 digests of SubjectPublicKeyInfos.
    keys: BTreeSet<[u8; 32]>,
    /// SHA-256 digests of certificates.
    certificates: BTreeSet<[u8; 32]>,
    dates: Dates,
}

/// A certificate that is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    digest: [u8; 32],
    subject: String,
    unsupported_key: Option<String>,
}

impl Pin {
    /// The certificates of a file: PEM with any number of them, or one in DER, of any version of
    /// X.509.
    ///
    /// # Errors
    ///
    /// When there is none, or when one block of the file cannot be read.
    pub fn parse_bundle(bytes: &[u8]) -> Result<Vec<Self>, BundleError> {
        let pin = |der: &CertificateDer<'_>| {
            let parsed = pem::parse(der).ok();
            let subject = parsed
                .as_ref()
                .map(|parsed| distinguished_name(parsed.subject()));
            Self {
                digest: sha256(der),
                subject: subject.unwrap_or_default(),
                unsupported_key: parsed.as_ref().and_then(unsupported_key),
            }
        };
        Ok(pem::certificates(bytes)?.iter().map(pin).collect())
    }

    /// The subject of the certificate, fit for a log.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The kind of its key, if no proof of such a key is ever verified: `an Ed448 key`. Its owner
    /// does not come in.
    #[must_use]
    pub fn unsupported_key(&self) -> Option<&str> {
        self.unsupported_key.as_deref()
    }
}

/// The proof that a client has the key of `certificate`: of the key alone, since the library would
/// read the rest, and refuses versions before 3.
pub(super) fn verify_tls12_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let spki = spki(certificate)?;
    let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| CertificateError::BadEncoding)?;
    let mut of_scheme = algorithms()
        .mapping
        .iter()
        .filter(|(scheme, _)| *scheme == signature.scheme);
    let verifies = |by: &&dyn SignatureVerificationAlgorithm| {
        key.verify_signature(*by, message, signature.signature())
    };
    // Here a scheme does not say on which curve a key is (RFC 5246 §7.4.1.4.1): one of several
    // fits.
    if of_scheme.any(|(_, all)| all.iter().any(|by| verifies(by).is_ok())) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

/// The same in TLS 1.3.
pub(super) fn verify_tls13_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    verify_tls13_signature_with_raw_key(message, &spki(certificate)?, signature, algorithms())
}

fn spki(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, CertificateError> {
    let parsed = pem::parse(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(SubjectPublicKeyInfoDer::from(
        parsed.public_key().raw.to_vec(),
    ))
}

/// Whether the dates of a pinned certificate count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dates {
    /// A client is refused before and after them.
    #[default]
    Verify,
    /// They do not count.
    Ignore,
}

impl Pins {
    /// No key and no certificate yet.
    #[must_use]
    pub fn new(dates: Dates) -> Self {
        Self {
            dates,
            ..Self::default()
        }
    }

    /// Admits every client that has this key, whatever certificate it is in.
    pub fn add_key(&mut self, key: &SpkiDigest) {
        self.keys.insert(*key.as_bytes());
    }

    /// Admits every client that has the key of one of these certificates, by that certificate.
    pub fn add_certificates(&mut self, pins: &[Pin]) {
        self.certificates.extend(pins.iter().map(|pin| pin.digest));
    }

    /// Whether everybody whom these know is known to `other`, too.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.keys.is_subset(&other.keys) && self.certificates.is_subset(&other.certificates)
    }

    /// How dates count.
    pub(super) fn dates(&self) -> Dates {
        self.dates
    }

    /// Whether no client comes in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.certificates.is_empty()
    }

    /// That the owner of `leaf` is known.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateFault> {
        let certificate =
            pem::parse(leaf).map_err(|_| CertificateFault::Flawed(Flaw::Malformed(Who::Peer)))?;
        let key = sha256(certificate.public_key().raw);
        if !self.keys.contains(&key) && !self.certificates.contains(&sha256(leaf)) {
            return Err(CertificateFault::NotPinned(key.into()));
        }
        if self.dates == Dates::Ignore {
            return Ok(());
        }
        let now = of_unix_time(now);
        let validity = certificate.validity();
        let (begin, end) = (
            system_time(validity.not_before),
            system_time(validity.not_after),
        );
        if let Some(ago) = now.duration_since(end).ok().filter(|ago| !ago.is_zero()) {
            return Err(CertificateFault::Flawed(Flaw::Expired(Who::Peer, ago)));
        }
        match begin.duration_since(now) {
            // Both bounds are part of the validity (RFC 5280 §4.1.2.5).
            Ok(wait) if !wait.is_zero() => {
                Err(CertificateFault::Flawed(Flaw::Early(Who::Peer, wait)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::pki::{Authority, Validity};

    #[test]
    fn both_ends_of_the_validity_are_part_of_it() {
        let authority = Authority::new("ca", Validity::days(2)).unwrap();
        let issued = authority.client("device", Validity::days(1)).unwrap();
        let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let mut pins = Pins::new(Dates::Verify);
        pins.add_certificates(&Pin::parse_bundle(issued.certificate.as_bytes()).unwrap());
        let parsed = pem::parse(&leaf).unwrap();
        let validity = parsed.validity();
        let [begin, end] =
            [validity.not_before, validity.not_after].map(|time| time.timestamp().unsigned_abs());
        for (second, is_valid) in [
            (begin - 1, false),
            (begin, true),
            (end, true),
            (end + 1, false),
        ] {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(second));
            assert_eq!(
                pins.verify(&leaf, now).is_ok(),
                is_valid,
                "{begin} {second} {end}"
            );
        }
    }
}
