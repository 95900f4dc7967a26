//! The chain that a server sends: which of a file's certificates, in which order, and what clients
//! will say to it.
//!
//! An issuer is chosen by its signature. A name alone is not enough: a CA that was given a new key,
//! or whose certificate was renewed, has several certificates of one name.

use std::cmp::Reverse;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use crate::x509::algorithms::ALGORITHMS;
use crate::x509::der;
use crate::x509::dname::same_name;
use crate::x509::signed::{self, SignatureFault, Signed};
use crate::x509::{
    key_identifier::authority_key_identifier, key_identifier::subject_key_identifier,
    time::CLOCK_SKEW, time::system_time,
};

/// A clock that passes more moments than this at which a file has something else to send finds the
/// last of them sent.
const MAX_CHOICES: usize = 8;

/// The certificates of a file, as one that they are chosen from.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) ders: &'a [CertificateDer<'static>],
    pub(crate) parsed: &'a [X509Certificate<'a>],
}

/// Whether a certificate has the signature of another one's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    /// It has.
    Right,
    /// Not known: the key or the signature is of a kind that is not verified.
    Unknown,
    /// Another key has signed it.
    Wrong,
}

impl<'a> Given<'a> {
    pub(crate) fn at(&self, position: usize) -> &'a X509Certificate<'a> {
        &self.parsed[position]
    }

    /// Whether two places hold the same certificate.
    pub(crate) fn is_copy(&self, one: usize, other: usize) -> bool {
        self.ders[one] == self.ders[other]
    }

    /// The chain to be sent now, and those from later moments on, as positions. `leaves` are those
    /// of the key, at least one.
    pub(crate) fn chains(&self, leaves: &[usize], now: SystemTime) -> Vec<Vec<usize>> {
        let begin =
            |certificate: &X509Certificate<'_>| system_time(certificate.validity().not_before);
        let mut moments: Vec<SystemTime> = self
            .parsed
            .iter()
            .map(begin)
            .filter(|begin| *begin > now)
            .collect();
        moments.push(now);
        moments.sort_unstable();
        moments.dedup();
        let mut chains: Vec<Vec<usize>> = Vec::new();
        for moment in moments {
            let best = leaves
                .iter()
                .copied()
                .min_by_key(|at| self.leaf_rank(*at, moment));
            let Some(chain) = best.map(|leaf| self.chain(leaf, moment)) else {
                continue;
            };
            if !chains.contains(&chain) && chains.len() < MAX_CHOICES {
                chains.push(chain);
            }
        }
        chains
    }

    /// The valid one, then one that a CA has issued, then the one that ends last.
    fn leaf_rank(&self, at: usize, now: SystemTime) -> impl Ord + use<> {
        let certificate = self.at(at);
        let is_over = system_time(certificate.validity().not_after) < now;
        (
            !is_valid(certificate, now),
            is_over,
            is_self_issued(certificate),
            Reverse(end(certificate)),
            at,
        )
    }

    /// The leaf and, one after the other, the certificates of its issuers.
    fn chain(&self, leaf: usize, now: SystemTime) -> Vec<usize> {
        let mut chain = vec![leaf];
        while let Some(issuer) = self.issuer(&chain, now) {
            chain.push(issuer);
        }
        chain
    }

    fn issuer(&self, chain: &[usize], now: SystemTime) -> Option<usize> {
        let last = self.at(*chain.last()?);
        if is_self_issued(last) {
            return None;
        }
        let is_used = |candidate: &X509Certificate<'_>| {
            chain
                .iter()
                .any(|at| same_authority(self.at(*at), candidate))
        };
        let wanted = authority_key_identifier(last);
        let rank = |at: usize| {
            let candidate = self.at(at);
            let other_key = wanted.is_some()
                && subject_key_identifier(candidate).is_some_and(|id| Some(id) != wanted);
            let signature = signature(last, candidate);
            // Where a signature cannot be verified, the identifier of the key has to do.
            let unknown = signature == Signature::Unknown;
            let rank = (
                unknown,
                !may_issue(candidate),
                !is_valid(candidate, now),
                other_key,
                Reverse(end(candidate)),
                at,
            );
            (signature != Signature::Wrong && !(unknown && other_key)).then_some((rank, at))
        };
        let named = (0..self.parsed.len()).filter(|at| {
            let candidate = self.at(*at);
            is_named(candidate, last) && !is_used(candidate)
        });
        named.filter_map(rank).min().map(|(_, at)| at)
    }

    /// A certificate of the name that has issued the last of `chain`, and of another key.
    pub(crate) fn impostor(&self, chain: &[usize]) -> Option<usize> {
        let last = self.at(*chain.last()?);
        if is_self_issued(last) {
            return None;
        }
        (0..self.parsed.len()).find(|at| {
            let candidate = self.at(*at);
            !chain.contains(at) && is_named(candidate, last)
        })
    }

    /// Whether the names of the leaf are among those that its issuers may issue for (RFC 5280
    /// §4.2.1.10), as far as `chain` says.
    pub(crate) fn names_are_allowed(&self, chain: &[usize], now: SystemTime) -> bool {
        let [leaf, issuers @ .., root] = chain else {
            return true;
        };
        let (Ok(leaf), Ok(anchor)) = (
            webpki::EndEntityCert::try_from(&self.ders[*leaf]),
            webpki::anchor_from_trusted_cert(&self.ders[*root]),
        ) else {
            return true;
        };
        let intermediates: Vec<CertificateDer<'_>> =
            issuers.iter().map(|at| self.ders[*at].clone()).collect();
        let time = UnixTime::since_unix_epoch(
            now.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        );
        let (usage, anchors) = (webpki::KeyUsage::server_auth(), [anchor]);
        let result = leaf.verify_for_usage(
            ALGORITHMS,
            &anchors,
            &intermediates,
            time,
            usage,
            None,
            None,
        );
        !matches!(result, Err(webpki::Error::NameConstraintViolation))
    }
}

/// The same name and the same key: one authority, whichever of its certificates.
pub(crate) fn same_authority(one: &X509Certificate<'_>, other: &X509Certificate<'_>) -> bool {
    one.subject().as_raw() == other.subject().as_raw()
        && one.public_key().raw == other.public_key().raw
}

/// Whether `issuer` has the name that `certificate` says its issuer has.
fn is_named(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    same_name(issuer.subject().as_raw(), certificate.issuer().as_raw())
}

pub(crate) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
}

/// As clocks see it that differ from this one by less than [`CLOCK_SKEW`].
pub(crate) fn is_valid(certificate: &X509Certificate<'_>, now: SystemTime) -> bool {
    system_time(certificate.validity().not_before) <= now + CLOCK_SKEW && now <= end(certificate)
}

fn end(certificate: &X509Certificate<'_>) -> SystemTime {
    system_time(certificate.validity().not_after)
}

/// RFC 5280 §4.2.1.9 and §4.2.1.3: a key usage that is absent forbids nothing.
pub(crate) fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    says_ca(certificate) && !lacks_cert_sign(certificate)
}

/// RFC 5280 §4.2.1.9.
pub(crate) fn says_ca(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
}

/// RFC 5280 §4.2.1.3.
pub(crate) fn lacks_cert_sign(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.key_usage(), Ok(Some(usage)) if !usage.value.key_cert_sign())
}

/// Whether `issuer` has signed `certificate`.
pub(crate) fn signature(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Signature {
    let signed = Signed::parse(certificate.as_raw());
    let spki = der::only(issuer.public_key().raw, der::SEQUENCE);
    match (signed, spki) {
        (Some(signed), Some(spki)) => match signed.verify(spki) {
            Ok(()) => Signature::Right,
            Err(SignatureFault::Wrong | SignatureFault::OtherKind) => Signature::Wrong,
            Err(SignatureFault::Key(_) | SignatureFault::Kind(_)) => Signature::Unknown,
        },
        _ => Signature::Unknown,
    }
}

/// The kinds of signature that are verified: RSA (PKCS #1), ECDSA and Ed25519, with SHA-256 or
/// more.
const VERIFIED: [&str; 7] = [
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    "1.2.840.10045.4.3.2",
    "1.2.840.10045.4.3.3",
    "1.2.840.10045.4.3.4",
    "1.3.101.112",
];

/// The kind of a signature that clients of our days do not take, if it is one.
pub(crate) fn weak_signature(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = match &*certificate.signature_algorithm.algorithm.to_id_string() {
        "1.2.840.113549.1.1.10" => return None,
        oid if VERIFIED.contains(&oid) => return None,
        "1.2.840.113549.1.1.4" => "RSA with MD5",
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => "RSA with SHA-1",
        "1.2.840.113549.1.1.14" => "RSA with SHA-224",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.1" => "ECDSA with SHA-224",
        "1.2.840.10040.4.3" | "2.16.840.1.101.3.4.3.2" => "DSA",
        "1.3.101.113" => "Ed448",
        oid => return Some(format!("the algorithm {oid}")),
    };
    Some(name.to_owned())
}

/// The kind of a certificate's key, if no signature of such a key is verified:
/// `an RSA key of 1024 bits`.
pub(crate) fn unsupported_key(certificate: &X509Certificate<'_>) -> Option<String> {
    der::only(certificate.public_key().raw, der::SEQUENCE).and_then(signed::unsupported_key)
}

/// RFC 5280 §4.2.2.1: where the issuer's certificate can be fetched. Public CAs say so, and few
/// private ones do.
pub(crate) fn names_its_issuers_address(certificate: &X509Certificate<'_>) -> bool {
    /// id-ad-caIssuers
    const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
    certificate
        .iter_extensions()
        .any(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => access
                .iter()
                .any(|access| access.access_method.to_id_string() == CA_ISSUERS),
            _ => false,
        })
}
