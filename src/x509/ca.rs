//! The certificate authorities that are believed.
//!
//! A file of them is taken whole or not at all: a trust list that silently lost an entry locks
//! clients out, and one that silently became empty has, elsewhere, let everybody in.

use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Version;

use crate::x509::dname::same_name;
use crate::x509::extensions::unknown_critical;
use crate::x509::identity::distinguished_name;
use crate::x509::pem::{self, BundleError};
use crate::x509::signed::{Signed, unsupported_key};
use crate::x509::{key_identifier::subject_key_identifier, time::system_time};

/// The certificate of an authority (RFC 5280 §6.1.1 (d): what matters of it is its name and its
/// key).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    der: CertificateDer<'static>,
    pub(crate) anchor: TrustAnchor<'static>,
    subject: String,
    /// The subject in DER, as lists and leaves name their issuer.
    name: Vec<u8>,
    /// The identifier of its key (RFC 5280 §4.2.1.2), if it has one.
    key_id: Option<Vec<u8>>,
    /// How many authorities there may be below it (RFC 5280 §4.2.1.9).
    path_len: Option<u32>,
    not_after: SystemTime,
    is_ca: bool,
    /// Whether its extendedKeyUsage has clientAuth, and serverAuth; nothing where it has none.
    purposes: Option<(bool, bool)>,
    /// A critical extension that is not understood, by its identifier.
    critical: Option<String>,
}

/// Something about an authority's certificate that its owner should know, although it is used as it
/// is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CaIssue {
    /// The certificate does not say that it is one of an authority (RFC 5280 §4.2.1.9).
    #[error(
        "is not a CA certificate (no CA:TRUE), yet whoever holds its key can issue certificates that are believed here"
    )]
    NotCa,
    /// Its time is over. Verification does not look at the dates of a trust anchor: what it issued
    /// is still believed.
    #[error("has expired; what it issued is still believed until it is removed from the file")]
    Expired,
}

impl CaCertificate {
    /// Every certificate of a file: PEM with any number of them, or one in DER.
    ///
    /// # Errors
    ///
    /// When there is none, or when one block of the file cannot be read.
    pub fn parse_bundle(bytes: &[u8]) -> Result<Vec<Self>, BundleError> {
        let certificates = pem::certificates(bytes)?;
        let total = certificates.len();
        let read = |(position, der)| {
            Self::read(der).map_err(|reason| BundleError::Certificate {
                number: position + 1,
                total,
                reason,
            })
        };
        certificates.into_iter().enumerate().map(read).collect()
    }

    /// Every certificate of a file that can be read, and for each of the others what is wrong with
    /// it: for a store that others keep, where one bad entry must not take away all.
    #[must_use]
    pub fn parse_store(bytes: &[u8]) -> (Vec<Self>, Vec<BundleError>) {
        let text = String::from_utf8_lossy(bytes);
        let mut blocks = text
            .split("-----BEGIN ")
            .skip(1)
            .map(|block| format!("-----BEGIN {block}"))
            .peekable();
        let results: Vec<_> = if blocks.peek().is_some() {
            blocks
                .map(|block| Self::parse_bundle(block.as_bytes()))
                .collect()
        } else {
            vec![Self::parse_bundle(bytes)]
        };
        let (mut authorities, mut errors) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(found) => authorities.extend(found),
                Err(error) => errors.push(error),
            }
        }
        (authorities, errors)
    }

    /// The subject in the manner of RFC 4514, on one line and fit for a log.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether both are certificates of one authority: of one name and one key (RFC 5280 §6.1.1
    /// (d)).
    #[must_use]
    pub fn is_of_same_authority(&self, other: &Self) -> bool {
        same_name(&self.name, &other.name) && self.spki() == other.spki()
    }

    /// The subject in DER.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The SubjectPublicKeyInfo, without its SEQUENCE.
    pub(crate) fn spki(&self) -> &[u8] {
        self.anchor.subject_public_key_info.as_ref()
    }

    /// The identifier of the key, if it has one.
    pub(crate) fn key_id(&self) -> Option<&[u8]> {
        self.key_id.as_deref()
    }

    /// How many authorities there may be below it, if that is limited.
    pub(crate) fn path_len(&self) -> Option<u32> {
        self.path_len
    }

    /// Whether it may vouch for clients, and for servers, where it says so.
    pub(crate) fn purposes(&self) -> Option<(bool, bool)> {
        self.purposes
    }

    /// A critical extension that is not understood, by its identifier: no client comes in by such
    /// an authority.
    pub(crate) fn critical(&self) -> Option<&str> {
        self.critical.as_deref()
    }

    /// The kind of its key, if no signature of such a key is ever verified: `an RSA key of 1024
    /// bits`. No client comes in by such an authority.
    #[must_use]
    pub fn unsupported_key(&self) -> Option<String> {
        unsupported_key(self.spki())
    }

    /// The last moment at which the certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Issues that its operator should know, at the time `now`.
    #[must_use]
    pub fn issues(&self, now: SystemTime) -> Vec<CaIssue> {
        let not_ca = (!self.is_ca).then_some(CaIssue::NotCa);
        let expired = (self.not_after < now).then_some(CaIssue::Expired);
        not_ca.into_iter().chain(expired).collect()
    }

    /// Whether `other` has issued it, by name and signature.
    #[must_use]
    pub fn is_issued_by(&self, other: &Self) -> bool {
        let issuer = pem::parse(&self.der)
            .map(|own| own.issuer().as_raw().to_vec())
            .unwrap_or_default();
        same_name(&issuer, other.name())
            && Signed::parse(&self.der).is_some_and(|signed| signed.verify(other.spki()).is_ok())
    }

    /// The whole certificate.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    fn read(der: CertificateDer<'static>) -> Result<Self, String> {
        let certificate = pem::parse(&der)?;
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|_| NO_ANCHOR.to_owned())?;
        Ok(Self {
            anchor: anchor.to_owned(),
            subject: distinguished_name(certificate.subject()),
            name: certificate.subject().as_raw().to_vec(),
            key_id: subject_key_identifier(&certificate).map(<[u8]>::to_vec),
            path_len: match certificate.basic_constraints() {
                Ok(Some(constraints)) => constraints.value.path_len_constraint,
                _ => None,
            },
            not_after: system_time(certificate.validity().not_after),
            is_ca: is_ca(&certificate),
            purposes: match certificate.extended_key_usage() {
                Ok(found) => found.map(|usage| (usage.value.client_auth, usage.value.server_auth)),
                // What cannot be read allows nothing.
                Err(_) => Some((false, false)),
            },
            critical: unknown_critical(&certificate),
            der,
        })
    }
}

/// The library reads less of a certificate than [`pem::parse`], and that more strictly.
const NO_ANCHOR: &str = "no CA can be made of it: its name, key or constraints are not as RFC 5280 has them; issue it anew";

/// Authorities whose word counts, each of them once.
#[derive(Debug)]
pub(crate) struct Anchors {
    authorities: Vec<CaCertificate>,
    /// Those of `authorities`, each name and key once.
    roots: Vec<TrustAnchor<'static>>,
}

impl Anchors {
    pub(crate) fn new<'a>(authorities: impl IntoIterator<Item = &'a CaCertificate>) -> Self {
        let mut anchors = Self {
            authorities: Vec::new(),
            roots: Vec::new(),
        };
        for authority in authorities {
            if !anchors.authorities.contains(authority) {
                anchors.authorities.push(authority.clone());
            }
            if !anchors.roots.contains(&authority.anchor) {
                anchors.roots.push(authority.anchor.clone());
            }
        }
        anchors
    }

    pub(crate) fn authorities(&self) -> &[CaCertificate] {
        &self.authorities
    }

    /// As the verifier takes them.
    pub(crate) fn roots(&self) -> &[TrustAnchor<'static>] {
        &self.roots
    }

    /// The certificates of one of [`roots`](Self::roots). What one of them allows counts, as if it
    /// stood alone.
    pub(crate) fn of_root<'a>(
        &'a self,
        root: &'a TrustAnchor<'_>,
    ) -> impl Iterator<Item = &'a CaCertificate> {
        self.authorities
            .iter()
            .filter(move |authority| authority.anchor == *root)
    }
}

/// RFC 5280 §4.2.1.9; versions before v3 have no way to say it, and are old roots.
fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    let says_so =
        matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    says_so || certificate.version() != X509Version::V3
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::pki::{Authority, Validity};

    #[test]
    fn several_bundles_make_one_store_without_repetition() {
        let [one, two] =
            ["one", "two"].map(|name| Authority::new(name, Validity::days(1)).unwrap());
        let first = CaCertificate::parse_bundle(
            format!("{}{}", one.certificate(), two.certificate()).as_bytes(),
        );
        let second = CaCertificate::parse_bundle(two.certificate().as_bytes());
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(
            first.iter().map(CaCertificate::subject).collect::<Vec<_>>(),
            ["CN=one", "CN=two"]
        );
        assert_eq!(Anchors::new(first.iter().chain(&second)).roots().len(), 2);
    }

    #[test]
    fn of_a_store_the_sound_entries_are_taken_and_each_other_is_reported() {
        let [one, two] =
            ["one", "two"].map(|name| Authority::new(name, Validity::days(1)).unwrap());
        let (one, two) = (one.certificate(), two.certificate());
        let cut = &one[..one.len() / 2];
        let no_certificate = "-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n";
        let text = format!("# roots\n{one}{cut}\n{no_certificate}# two\n{two}");
        let (found, errors) = CaCertificate::parse_store(text.as_bytes());
        assert_eq!(
            found.iter().map(CaCertificate::subject).collect::<Vec<_>>(),
            ["CN=one", "CN=two"]
        );
        assert_eq!(errors.len(), 2, "{errors:?}");
        let (found, errors) = CaCertificate::parse_store(b"nothing");
        assert!(found.is_empty() && errors == [BundleError::NoCertificate]);
    }

    #[test]
    fn two_authorities_of_one_name_are_both_kept() {
        let [one, two] = ["same"; 2].map(|name| Authority::new(name, Validity::days(1)).unwrap());
        let both = CaCertificate::parse_bundle(
            format!("{}{}", one.certificate(), two.certificate()).as_bytes(),
        );
        assert_eq!(Anchors::new(&both.unwrap()).roots().len(), 2);
    }

    #[test]
    fn a_leaf_among_the_authorities_and_an_expired_authority_are_pointed_out() {
        let now = SystemTime::now();
        let past = Validity {
            not_before: UNIX_EPOCH,
            not_after: now - Duration::from_secs(60),
        };
        let expired = Authority::new("old", past).unwrap();
        let leaf = expired.client("web", past).unwrap();
        let text = format!("{}{}", expired.certificate(), leaf.certificate);
        let found = CaCertificate::parse_bundle(text.as_bytes()).unwrap();
        assert_eq!(found[0].issues(now), [CaIssue::Expired]);
        assert_eq!(found[1].issues(now), [CaIssue::NotCa, CaIssue::Expired]);
        assert_eq!(found[1].issues(past.not_before), [CaIssue::NotCa]);
    }
}
