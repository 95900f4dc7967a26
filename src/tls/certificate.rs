//! A server's certificate: its chain in the right order, its private key, and the names it is good
//! for.
//!
//! A pair that does not belong together is common for a moment, while both files are being
//! replaced. So a mismatch is an error of its own, which the caller may answer by reading again.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::sign::{CertifiedKey, SigningKey};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;

use crate::authz::AltName;
use crate::name::{NamePattern, ServerName};
use crate::tls::signatures::Signatures;
use crate::x509::algorithms::ALGORITHMS;
use crate::x509::ca::CaCertificate;
use crate::x509::chain::Given;
use crate::x509::der;
use crate::x509::identity::{alt_names, fingerprint};
use crate::x509::issues::{CertificateIssue, issues};
use crate::x509::pem::{self, BundleError, Foreign, PemError, Section};
use crate::x509::signed::unsupported_key;
use crate::x509::time::{CLOCK_SKEW, system_time};

/// A certificate that a server can show, with its key. `Debug` shows the names and the fingerprint,
/// never the key.
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    signatures: Signatures,
    names: Vec<AltName>,
    patterns: Vec<NamePattern>,
    not_before: SystemTime,
    not_after: SystemTime,
    /// When all of the chain has begun.
    chain_not_before: SystemTime,
    /// When the first of the chain ends.
    chain_not_after: SystemTime,
    fingerprint: String,
    issues: Vec<CertificateIssue>,
}

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
    /// The key is protected by a passphrase, which a daemon cannot type in.
    #[error("the private key is encrypted; decrypt it with `openssl pkey -in KEY -out PLAIN-KEY`")]
    EncryptedKey,
    /// The key is damaged, or of a kind that TLS servers do not use.
    #[error(
        "the private key {0}; it must be ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 to 8192 bits)"
    )]
    UnsupportedKey(String),
    /// The key's certificate has it as a key of another kind: on a curve that is written out, or
    /// bound to RSA-PSS.
    #[error(
        "the certificate of the private key has {0}, which clients refuse; make an EC key on a named curve or a plain RSA \
         key, and request a certificate for it"
    )]
    KeyAsOther(String),
    /// The key belongs to none of the certificates. If the files are just being replaced, reading
    /// again helps.
    #[error("the private key belongs to no certificate of the file")]
    Mismatch,
}

impl Certificate {
    /// Reads a certificate, its chain, and its private key, each from PEM or DER. Both may be the
    /// same PEM file.
    ///
    /// The leaf may stand anywhere: it is the certificate that has the key's public half. Of
    /// several the valid one counts, then one that a CA has issued, then the one that ends last.
    ///
    /// # Errors
    ///
    /// When anything in either file cannot be read, is missing, or does not belong together.
    pub fn load(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        Self::load_all(certificate, key, SystemTime::now()).map(|mut all| all.swap_remove(0))
    }

    /// The same, with what takes its place at a later moment: another certificate of the key that
    /// is in the file and not valid yet, or another of an issuer. The one that counts at `now` is
    /// the first.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn load_all(
        certificate: &[u8],
        key: &[u8],
        now: SystemTime,
    ) -> Result<Vec<Self>, CertificateError> {
        let ders = pem::certificates(certificate)?;
        let parsed: Vec<X509Certificate<'_>> = ders
            .iter()
            .map(|der| pem::parse(der).expect("it was parsed when the file was read"))
            .collect();
        let (mut pair, mut other) = (None, None);
        for key in private_keys(key)? {
            // The provider's own function takes the key, and frees it as it is.
            let signing = any_supported_type(&key)
                .map_err(|_| CertificateError::UnsupportedKey(kind_of(&key)))?;
            let leaves = leaves_of(&parsed, &*signing);
            if leaves.is_empty() {
                other = other.or_else(|| key_as_other(&parsed, &*signing));
            }
            if pair.is_none() && !leaves.is_empty() {
                pair = Some((leaves, signing));
            }
        }
        let other = || other.map_or(CertificateError::Mismatch, CertificateError::KeyAsOther);
        let (leaves, key) = pair.ok_or_else(other)?;
        let given = Given {
            ders: &ders,
            parsed: &parsed,
        };
        let signatures = Signatures::of_key(&*key);
        let build = |chain: Vec<usize>| {
            let leaf = &parsed[chain[0]];
            let names = alt_names(leaf);
            let sent = chain.iter().map(|&at| ders[at].clone()).collect();
            let validity = |at: &usize| parsed[*at].validity();
            let begins = chain
                .iter()
                .map(|at| system_time(validity(at).not_before))
                .max();
            let ends = chain
                .iter()
                .map(|at| system_time(validity(at).not_after))
                .min();
            Self {
                issues: issues(&chain, &leaves, given, now),
                signatures,
                certified: Arc::new(CertifiedKey::new(sent, Arc::clone(&key))),
                patterns: names.iter().filter_map(pattern).collect(),
                names,
                not_before: system_time(leaf.validity().not_before),
                not_after: system_time(leaf.validity().not_after),
                chain_not_before: begins.unwrap_or(UNIX_EPOCH),
                chain_not_after: ends.unwrap_or(UNIX_EPOCH),
                fingerprint: fingerprint(&ders[chain[0]]),
            }
        };
        Ok(given.chains(&leaves, now).into_iter().map(build).collect())
    }

    /// The names that [`covers`](Self::covers) goes by.
    #[must_use]
    pub fn patterns(&self) -> &[NamePattern] {
        &self.patterns
    }

    /// Whether a client that trusts `authorities`, and only them, accepts the chain now (RFC 5280
    /// §6).
    #[must_use]
    pub fn verifies_against(&self, authorities: &[CaCertificate]) -> bool {
        let Some((leaf, intermediates)) = self.certified.cert.split_first() else {
            return false;
        };
        let anchors: Vec<_> = authorities
            .iter()
            .map(|authority| authority.anchor.clone())
            .collect();
        let leaf = webpki::EndEntityCert::try_from(leaf);
        leaf.is_ok_and(|leaf| {
            let usage = webpki::KeyUsage::server_auth();
            leaf.verify_for_usage(
                ALGORITHMS,
                &anchors,
                intermediates,
                UnixTime::now(),
                usage,
                None,
                None,
            )
            .is_ok()
        })
    }

    /// Whether a client that asked for `name` will accept the certificate: one of its DNS names is
    /// equal, or is a wildcard for the first label (RFC 9525 §6.3). The subject's common name does
    /// not count.
    #[must_use]
    pub fn covers(&self, name: &ServerName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether `name` itself is one of the certificate's names, not only a wildcard for it.
    #[must_use]
    pub fn covers_exactly(&self, name: &ServerName) -> bool {
        self.patterns
            .iter()
            .any(|pattern| matches!(pattern, NamePattern::Exact(exact) if exact == name))
    }

    /// Whether `ip` is one of the certificate's addresses.
    #[must_use]
    pub fn covers_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.names
            .iter()
            .any(|name| matches!(name, AltName::Ip(own) if own.to_canonical() == ip))
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

    /// Whether the certificate has begun by `now`, as clocks that differ from this one by less than
    /// [`CLOCK_SKEW`] see it.
    #[must_use]
    pub fn has_begun(&self, now: SystemTime) -> bool {
        self.not_before <= now + CLOCK_SKEW
    }

    /// Whether the certificate and all of its chain have begun and not ended.
    #[must_use]
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.chain_not_before <= now + CLOCK_SKEW && now <= self.chain_not_after
    }

    /// The signatures that its key can make.
    #[must_use]
    pub fn signatures(&self) -> Signatures {
        self.signatures
    }

    /// Whether its key is an RSA one: larger and slower than any other, and verified by every
    /// client.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }

    /// The SHA-256 digest of the leaf in lower-case hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Issues that its operator should know.
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
fn private_keys(bytes: &[u8]) -> Result<Vec<pem::SecretKey>, CertificateError> {
    let mut keys = Vec::new();
    let mut instead = CertificateError::NoKey;
    for section in pem::sections(bytes).map_err(CertificateError::KeyPem)? {
        match section {
            Section::Key(key) => keys.push(key),
            Section::EncryptedKey => return Err(CertificateError::EncryptedKey),
            Section::Foreign(foreign) => instead = CertificateError::InsteadOfKey(foreign),
            Section::Certificate(_) => {
                instead = CertificateError::InsteadOfKey(Foreign::Certificate)
            }
            Section::RevocationList(_) | Section::Beside => {}
        }
    }
    if keys.is_empty() {
        Err(instead)
    } else {
        Ok(keys)
    }
}

/// The certificates that have the public half of `key`, each of them once.
fn leaves_of(certificates: &[X509Certificate<'_>], key: &dyn SigningKey) -> Vec<usize> {
    let Some(public_key) = key.public_key() else {
        return Vec::new();
    };
    let of_key = |certificate: &X509Certificate<'_>| is_same_key(certificate, public_key.as_ref());
    let mut leaves: Vec<usize> = Vec::new();
    for (at, certificate) in certificates
        .iter()
        .enumerate()
        .filter(|(_, certificate)| of_key(certificate))
    {
        if !leaves
            .iter()
            .any(|leaf| certificates[*leaf].as_raw() == certificate.as_raw())
        {
            leaves.push(at);
        }
    }
    leaves
}

/// Whether the key of `certificate` is the one of `spki`; the point of an EC key may be compressed
/// (RFC 5480 §2.2).
fn is_same_key(certificate: &X509Certificate<'_>, spki: &[u8]) -> bool {
    let own = certificate.public_key().raw;
    own == spki
        || match (algorithm_and_key(own), algorithm_and_key(spki)) {
            (Some((one, [sign @ (2 | 3), x @ ..])), Some((other, [4, point @ .., y]))) => {
                // The first byte says whether the other half is odd (SEC 1 §2.3.3).
                one == other
                    && point.len() + 1 == 2 * x.len()
                    && point.starts_with(x)
                    && *sign == 2 + y % 2
            }
            _ => false,
        }
}

fn algorithm_and_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    der::only(spki, der::SEQUENCE).and_then(der::algorithm_and_bits)
}

/// The kind that a certificate says `key` is of, where it has its bits and another algorithm.
fn key_as_other(certificates: &[X509Certificate<'_>], key: &dyn SigningKey) -> Option<String> {
    let own = key.public_key()?;
    let (_, bits) = algorithm_and_key(own.as_ref())?;
    certificates.iter().find_map(|certificate| {
        let spki = certificate.public_key().raw;
        let is_its = algorithm_and_key(spki).is_some_and(|(_, its)| its == bits);
        is_its
            .then(|| der::only(spki, der::SEQUENCE).and_then(unsupported_key))
            .flatten()
    })
}

/// The kind of a key that is not taken, in words, as far as its first bytes say. Nothing of the key
/// itself is said.
fn kind_of(key: &pem::SecretKey) -> String {
    /// Identifiers in DER (RFC 4055, RFC 8410, RFC 5480, RFC 5639, RFC 3279).
    const KINDS: [(&[u8], &str); 9] = [
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
            "is bound to RSA-PSS, with which few clients can do anything",
        ),
        (&[0x2b, 0x65, 0x71], "is an Ed448 key"),
        (&[0x2b, 0x65, 0x6e], "is an X25519 key, which signs nothing"),
        (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "is a DSA key"),
        (
            &[0x2b, 0x81, 0x04, 0x00, 0x0a],
            "is an ECDSA key on secp256k1",
        ),
        (&[0x2b, 0x81, 0x04, 0x00, 0x21], "is an ECDSA key on P-224"),
        (
            &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08],
            "is an ECDSA key on a Brainpool curve",
        ),
        (
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x01, 0x01],
            "is an ECDSA key whose curve is written out and not named",
        ),
        (
            &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03],
            "is an ML-DSA or SLH-DSA key",
        ),
    ];
    /// rsaEncryption (RFC 8017 §A.1).
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

    let der = key.secret_der();
    let has = |oid: &[u8], within: usize| {
        der[..der.len().min(within)]
            .windows(oid.len() + 2)
            .any(|window| {
                window[0] == 6
                    && usize::from(window[1]) >= oid.len()
                    && window[2..].starts_with(oid)
            })
    };
    // An older form names its curve at the end, and holds nothing else that begins like an
    // identifier.
    let known = KINDS.iter().find(|(oid, _)| {
        has(oid, 64) || (matches!(**key, PrivateKeyDer::Sec1(_)) && has(oid, der.len()))
    });
    if let Some((_, kind)) = known {
        return (*kind).to_owned();
    }
    if matches!(**key, PrivateKeyDer::Pkcs1(_)) || has(RSA, 64) {
        return match modulus_bits(der) {
            Some(bits) if !(2048..=8192).contains(&bits) => format!("is an RSA key of {bits} bits"),
            Some(_) => {
                "is an RSA key that is damaged, or has an exponent of more than 33 bits".to_owned()
            }
            _ => "is an RSA key that is damaged".to_owned(),
        };
    }
    "is damaged, or of an unknown kind".to_owned()
}

/// The size of an RSA key (RFC 8017 §A.1.2), which may stand in PKCS#8 (RFC 5208 §5).
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let (_, key, _) = element(der)?;
    let (_, _, rest) = element(key)?;
    match element(rest)? {
        // An INTEGER that is positive begins with a zero where its first bit is set.
        (0x02, modulus, _) => Some((modulus.len() - modulus.len() % 2) * 8),
        (_, _, rest) => modulus_bits(element(rest)?.1),
    }
}

/// The tag of the first DER element, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let digits = if *first < 0x80 {
        0
    } else {
        usize::from(first & 0x7f)
    };
    let (digits, rest) = rest.split_at_checked(digits.min(8))?;
    let length = digits
        .iter()
        .fold(0, |length: usize, digit| length << 8 | usize::from(*digit));
    let (content, rest) = rest.split_at_checked(if *first < 0x80 {
        usize::from(*first)
    } else {
        length
    })?;
    Some((*tag, content, rest))
}

/// The server names that a DNS name of a certificate stands for; `*` alone stands for none.
fn pattern(name: &AltName) -> Option<NamePattern> {
    let AltName::Dns(name) = name else {
        return None;
    };
    name.parse()
        .ok()
        .filter(|pattern| *pattern != NamePattern::Any)
}
