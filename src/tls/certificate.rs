//! A server's certificate: its chain in the right order, its private key, and the names it is good for.
//!
//! A pair that does not belong together is common for a moment, while both files are being replaced. So a mismatch is
//! an error of its own, which the caller may answer by reading again.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::UnixTime;
use rustls::sign::{CertifiedKey, SigningKey};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::time::ASN1Time;

use crate::authz::AltName;
use crate::name::{NamePattern, ServerName};
use crate::tls::algorithms;
use crate::tls::ca::CaCertificate;
use crate::tls::identity::{alt_names, distinguished_name, fingerprint};
use crate::tls::pem::{self, BundleError, Foreign, PemError, Section};
use crate::tls::signatures::Signatures;

/// A certificate that a server can show, with its key. `Debug` shows the names and the fingerprint, never the key.
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    signatures: Signatures,
    names: Vec<AltName>,
    patterns: Vec<NamePattern>,
    not_before: SystemTime,
    not_after: SystemTime,
    fingerprint: String,
    issues: Vec<CertificateIssue>,
}

/// Clocks differ: a certificate that begins within this time has begun.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Why a certificate and a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The certificate file.
    #[error(transparent)]
    Certificates(#[from] BundleError),
    /// The key file is not sound PEM.
    #[error("the key: {0}")]
    KeyPem(PemError),
    /// There is no private key in the key file.
    #[error("there is no private key in the key file")]
    NoKey,
    /// There is something else in the key file.
    #[error("the key file holds no private key but {0}")]
    InsteadOfKey(Foreign),
    /// The key is protected by a passphrase, which nobody could type in.
    #[error("the private key is encrypted; decrypt it with `openssl pkey -in KEY -out PLAIN-KEY`")]
    EncryptedKey,
    /// The key is damaged, or of a kind that TLS servers do not use.
    #[error(
        "the private key cannot be used; it must be ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 bits or more)"
    )]
    UnsupportedKey,
    /// The key belongs to none of the certificates. If the files are just being replaced, reading again helps.
    #[error("the private key belongs to no certificate of the file")]
    Mismatch,
}

/// Something about a certificate that its owner should know, although it is used as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateIssue {
    /// The certificates stood in another order than they are sent in (RFC 8446 §4.4.2: the leaf, then its issuers).
    #[error(
        "the file does not begin with the server's certificate and go on with its issuers; the order was put right"
    )]
    Reordered,
    /// Certificates that do not belong to the chain, or repeat one, are not sent.
    #[error("{0} of the file's certificates do not belong to the server's chain and are not sent")]
    Unrelated(usize),
    /// The leaf stands alone and says where its issuer's certificate can be fetched, as those of public CAs do, whose
    /// issuers are no roots.
    #[error("the chain is incomplete: the certificate of {0} is not in the file, and clients may not know it")]
    Incomplete(String),
    /// Clients of our days look at no other name (RFC 9110 §4.3.4), so they will refuse the certificate.
    #[error("the certificate has no subjectAltName, so it is good for no name")]
    NoNames,
}

impl Certificate {
    /// Reads a certificate, its chain, and its private key, each from PEM or DER. Both may be the same PEM file.
    ///
    /// The leaf may stand anywhere: it is the certificate that has the key's public half.
    ///
    /// # Errors
    ///
    /// When anything in either file cannot be read, is missing, or does not belong together.
    pub fn load(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let ders = pem::certificates(certificate)?;
        let parsed: Vec<X509Certificate<'_>> =
            ders.iter().map(|der| pem::parse(der).expect("it was parsed when the file was read")).collect();
        let mut pair = None;
        for key in private_keys(key)? {
            // The provider's own function takes the key, and frees it as it is.
            let key = any_supported_type(&key).map_err(|_| CertificateError::UnsupportedKey)?;
            pair = pair.or_else(|| leaf_of(&parsed, &*key).map(|leaf| (leaf, key)));
        }
        let (leaf, key) = pair.ok_or(CertificateError::Mismatch)?;
        let chain = chain(leaf, &parsed);
        let names = alt_names(&parsed[leaf]);
        Ok(Self {
            issues: issues(&chain, &parsed, &names),
            signatures: Signatures::of_key(&*key),
            certified: Arc::new(CertifiedKey::new(chain.iter().map(|&at| ders[at].clone()).collect(), key)),
            patterns: names.iter().filter_map(pattern).collect(),
            names,
            not_before: system_time(parsed[leaf].validity().not_before),
            not_after: system_time(parsed[leaf].validity().not_after),
            fingerprint: fingerprint(&ders[leaf]),
        })
    }

    /// The names that [`covers`](Self::covers) goes by.
    #[must_use]
    pub fn patterns(&self) -> &[NamePattern] {
        &self.patterns
    }

    /// Whether a client that trusts `authorities`, and only them, accepts the chain now (RFC 5280 §6).
    #[must_use]
    pub fn verifies_against(&self, authorities: &[CaCertificate]) -> bool {
        let Some((leaf, intermediates)) = self.certified.cert.split_first() else { return false };
        let anchors: Vec<_> = authorities.iter().map(|authority| authority.anchor.clone()).collect();
        let leaf = webpki::EndEntityCert::try_from(leaf);
        leaf.is_ok_and(|leaf| {
            let usage = webpki::KeyUsage::server_auth();
            leaf.verify_for_usage(algorithms().all, &anchors, intermediates, UnixTime::now(), usage, None, None).is_ok()
        })
    }

    /// Whether a client that asked for `name` will accept the certificate: one of its DNS names is equal, or is a
    /// wildcard for the first label (RFC 9525 §6.3). The subject's common name does not count.
    #[must_use]
    pub fn covers(&self, name: &ServerName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether `name` itself is one of the certificate's names, not only a wildcard for it.
    #[must_use]
    pub fn covers_exactly(&self, name: &ServerName) -> bool {
        self.patterns.iter().any(|pattern| matches!(pattern, NamePattern::Exact(exact) if exact == name))
    }

    /// Whether `ip` is one of the certificate's addresses.
    #[must_use]
    pub fn covers_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.names.iter().any(|name| matches!(name, AltName::Ip(own) if own.to_canonical() == ip))
    }

    /// The subjectAltNames.
    #[must_use]
    pub fn names(&self) -> &[AltName] {
        &self.names
    }

    /// The first moment at which the certificate is valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The last moment at which the certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether the certificate has begun by `now`, as clocks that differ from this one by less than [`CLOCK_SKEW`] see it.
    #[must_use]
    pub fn has_begun(&self, now: SystemTime) -> bool {
        self.not_before <= now + CLOCK_SKEW
    }

    /// Whether the certificate has begun and not ended.
    #[must_use]
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.has_begun(now) && now <= self.not_after
    }

    /// The signatures that its key can make.
    #[must_use]
    pub fn signatures(&self) -> Signatures {
        self.signatures
    }

    /// Whether its key is an RSA one: larger and slower than any other, and verified by every client.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }

    /// The SHA-256 digest of the leaf in lower-case hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What its owner should know.
    #[must_use]
    pub fn issues(&self) -> &[CertificateIssue] {
        &self.issues
    }

    /// The chain and the key as rustls wants them.
    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Every private key of a file, at least one.
fn private_keys(bytes: &[u8]) -> Result<Vec<pem::Key>, CertificateError> {
    let mut keys = Vec::new();
    let mut instead = CertificateError::NoKey;
    for section in pem::sections(bytes).map_err(CertificateError::KeyPem)? {
        match section {
            Section::Key(key) => keys.push(key),
            Section::EncryptedKey => return Err(CertificateError::EncryptedKey),
            Section::Foreign(foreign) => instead = CertificateError::InsteadOfKey(foreign),
            Section::Certificate(_) => instead = CertificateError::InsteadOfKey(Foreign::Certificate),
            Section::RevocationList(_) | Section::Beside => {}
        }
    }
    if keys.is_empty() { Err(instead) } else { Ok(keys) }
}

/// Which certificate has the public half of `key`.
fn leaf_of(certificates: &[X509Certificate<'_>], key: &dyn SigningKey) -> Option<usize> {
    let public_key = key.public_key()?;
    certificates.iter().position(|certificate| certificate.public_key().raw == public_key.as_ref())
}

/// The leaf and, one after the other, the certificates of its issuers, as positions in `certificates`.
fn chain(leaf: usize, certificates: &[X509Certificate<'_>]) -> Vec<usize> {
    let mut chain = vec![leaf];
    while let Some(issuer) = issuer_of(&chain, certificates) {
        chain.push(issuer);
    }
    chain
}

/// The next link. Of several certificates of the issuer's name the one whose key identifier is asked for is taken.
fn issuer_of(chain: &[usize], certificates: &[X509Certificate<'_>]) -> Option<usize> {
    let last = &certificates[*chain.last()?];
    let used = |subject: &[u8], key: &[u8]| {
        let same =
            |&at: &usize| certificates[at].subject().as_raw() == subject && certificates[at].public_key().raw == key;
        chain.iter().any(same)
    };
    let is_candidate = |candidate: &X509Certificate<'_>| {
        let subject = candidate.subject().as_raw();
        subject == last.issuer().as_raw() && !used(subject, candidate.public_key().raw)
    };
    let mut candidates = (0..certificates.len()).filter(|&at| is_candidate(&certificates[at]));
    let first = candidates.next()?;
    let wanted = authority_key_identifier(last);
    let is_wanted = |&at: &usize| wanted.is_some() && subject_key_identifier(&certificates[at]) == wanted;
    Some(if is_wanted(&first) { first } else { candidates.find(is_wanted).unwrap_or(first) })
}

/// RFC 5280 §4.2.1.1.
fn authority_key_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })
}

/// RFC 5280 §4.2.1.2.
pub(super) fn subject_key_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
        _ => None,
    })
}

fn issues(chain: &[usize], certificates: &[X509Certificate<'_>], names: &[AltName]) -> Vec<CertificateIssue> {
    let mut issues = Vec::new();
    if !chain.is_sorted() || chain[0] != 0 {
        issues.push(CertificateIssue::Reordered);
    }
    if chain.len() < certificates.len() {
        issues.push(CertificateIssue::Unrelated(certificates.len() - chain.len()));
    }
    // Only of a leaf alone: intermediates name an address too, and what it leads to is the root.
    let leaf = &certificates[chain[0]];
    if chain.len() == 1 && leaf.issuer() != leaf.subject() && names_its_issuers_address(leaf) {
        issues.push(CertificateIssue::Incomplete(distinguished_name(leaf.issuer())));
    }
    if names.is_empty() {
        issues.push(CertificateIssue::NoNames);
    }
    issues
}

/// RFC 5280 §4.2.2.1: where the issuer's certificate can be fetched. Public CAs say so, and few private ones do.
fn names_its_issuers_address(certificate: &X509Certificate<'_>) -> bool {
    /// id-ad-caIssuers
    const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
    certificate.iter_extensions().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => {
            access.iter().any(|access| access.access_method.to_id_string() == CA_ISSUERS)
        }
        _ => false,
    })
}

/// The server names that a DNS name of a certificate stands for; `*` alone stands for none.
fn pattern(name: &AltName) -> Option<NamePattern> {
    let AltName::Dns(name) = name else { return None };
    name.parse().ok().filter(|pattern| *pattern != NamePattern::Any)
}

/// Times before 1970 are taken as 1970.
pub(super) fn system_time(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}
