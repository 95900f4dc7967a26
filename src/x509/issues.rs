//! Issues of a server's certificate or its chain, although it is used as it is.

use std::net::IpAddr;
use std::time::SystemTime;

use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Version;

use crate::authz::{AltName, printable};
use crate::name::NamePattern;
use crate::x509::chain::{
    self, Given, is_self_issued, lacks_cert_sign, names_its_issuers_address, same_authority,
    says_ca, unsupported_key, weak_signature,
};
use crate::x509::defects::{Defect, defects};
use crate::x509::identity::{alt_names, distinguished_name};
use crate::x509::{time::date, time::system_time};

/// The most intermediates that clients which verify with webpki follow, as rustls does.
const LONGEST_CHAIN: usize = 6;

/// Something about a certificate that its owner should know, although it is used as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateIssue {
    /// The certificates stood in another order than they are sent in (RFC 8446 §4.4.2: the leaf,
    /// then its issuers).
    #[error(
        "the file does not begin with the server's certificate and go on with its issuers; the order was put right"
    )]
    Reordered,
    /// Certificates that do not belong to the chain are not sent.
    #[error("{0} of the file's certificates do not belong to the server's chain and are not sent")]
    Unrelated(usize),
    /// A certificate that is sent stands in the file again.
    #[error("{0} of the file's certificates stand there more than once; remove the copies")]
    Copies(usize),
    /// Another certificate of the same key is sent in its place.
    #[error("certificate {number} of the file is not used: {reason}")]
    NotUsed {
        /// The certificate's place in the file, counted from 1.
        number: usize,
        /// Why another one is better.
        reason: String,
    },
    /// The leaf stands alone and says where its issuer's certificate can be fetched, as those of
    /// public CAs do, whose issuers are no roots; or there are certificates above a gap.
    #[error(
        "the chain is incomplete: the certificate of {0} is not in the file, and clients may not know it"
    )]
    Incomplete(String),
    /// The file has a certificate of the issuer's name, and another key has signed.
    #[error(
        "the certificate of {subject} in the file has another key than the one that signed the certificate before it, and \
         is not sent; add the one that did"
    )]
    OtherSigner {
        /// The name that both have.
        subject: String,
        /// Whether clients may have the right one by themselves.
        root: bool,
    },
    /// The root at the end of the chain: clients that trust it have it, and others do not take it
    /// from a server.
    #[error(
        "the root {0} at the end of the chain is sent to every client for nothing; remove it from the file"
    )]
    Root(String),
    /// An intermediate's time is over, or has not come.
    #[error(
        "the chain does not verify: the certificate of {subject} {when}; put the CA's present one into the file"
    )]
    IntermediateDates {
        /// The certificate's subject.
        subject: String,
        /// When it ended or begins.
        when: String,
    },
    /// An intermediate may not issue certificates (RFC 5280 §4.2.1.3, §4.2.1.9).
    #[error("the chain does not verify: {subject} {reason}, so that it may issue no certificate")]
    NotAnIssuer {
        /// The certificate's subject.
        subject: String,
        /// The reason, as what it lacks.
        reason: &'static str,
    },
    /// RFC 5280 §4.2.1.9: too many intermediates below one.
    #[error("the chain does not verify: {subject} allows at most {limit} CAs below it")]
    PathLength {
        /// The subject of the authority that limits it.
        subject: String,
        /// How many it allows.
        limit: u32,
    },
    /// RFC 5280 §4.2.1.10.
    #[error(
        "the chain does not verify: the certificate has a name that one of its issuers may not issue for"
    )]
    NameConstraints,
    /// A digest or an algorithm that is given up.
    #[error(
        "the certificate of {0} is signed by {1}, which clients of our days refuse; issue it anew with SHA-256"
    )]
    WeakSignature(String, String),
    /// A key by which clients verify nothing.
    #[error(
        "{0} has {1}, which clients of our days refuse; it must be RSA (2048 to 8192 bits), P-256, P-384, P-521 or Ed25519"
    )]
    WeakKey(String, String),
    /// An RSA key with an exponent that attacks have been made on.
    #[error(
        "the RSA key has the exponent {0}, which some clients refuse; make another key (the usual exponent is 65537)"
    )]
    WeakExponent(u64),
    /// Clients of our days look at no other name (RFC 9110 §4.3.4), so they will refuse the
    /// certificate.
    #[error("the certificate has no subjectAltName, so it is good for no name{}", common_name(.0.as_deref()))]
    NoNames(Option<String>),
    /// It has names, and none that clients of TLS ask for.
    #[error(
        "the certificate has no DNS name and no address, so it is good for no name; it has {0}"
    )]
    OtherNames(String),
    /// An extension that cannot be read, or that stands twice.
    #[error(
        "the subjectAltName of the certificate cannot be read, so that clients refuse it; issue it anew"
    )]
    UnreadableNames,
    /// `DNS:192.0.2.1`.
    #[error(
        "the address {0} stands among the DNS names of the certificate, where it counts for nobody; issue it as an \
         address (`IP:{0}`)"
    )]
    AddressAmongNames(IpAddr),
    /// A DNS name that no client asks for.
    #[error("the DNS name {0:?} of the certificate is none that a client asks for{1}")]
    UnusableName(String, &'static str),
    /// RFC 5280 §4.2.1.12.
    #[error(
        "the extended key usage of the certificate does not include serverAuth, so that clients refuse it"
    )]
    NotForServers,
    /// The same, with `anyExtendedKeyUsage`.
    #[error(
        "the extended key usage of the certificate does not include serverAuth but anyExtendedKeyUsage, which many \
         clients refuse"
    )]
    ForAnything,
    /// RFC 8446 §4.4.2.2: the key must be allowed to sign.
    #[error(
        "the key usage of the certificate does not include digitalSignature, so that many clients refuse it"
    )]
    MayNotSign,
    /// The leaf says CA:TRUE, as `openssl req -x509` has it.
    #[error(
        "the certificate says that it is one of a CA (CA:TRUE), so that many clients refuse it as a server's; issue one \
         with CA:FALSE"
    )]
    IsCa,
    /// X.509 before version 3 has no extensions.
    #[error(
        "the certificate is of X.509 version {0}, which clients of our days refuse; issue it with extensions"
    )]
    Version(u32),
    /// Clients refuse the certificate, or one of its chain, for what is in it.
    #[error("{who} {defect}")]
    Defect {
        /// `the certificate`, or which one of the chain.
        who: String,
        /// The defect.
        defect: Defect,
    },
    /// More certificates in between than some clients follow.
    #[error(
        "the chain has {0} certificates of CAs, and clients that use rustls follow no more than 6; use a shorter one"
    )]
    Long(usize),
    /// Its end is before its beginning.
    #[error("the certificate ends before it begins, so that it is never valid")]
    NeverValid,
}

impl CertificateIssue {
    /// Whether every client refuses the certificate for it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::IntermediateDates { .. }
            | Self::NotAnIssuer { .. }
            | Self::PathLength { .. }
            | Self::NameConstraints
            | Self::UnreadableNames
            | Self::NotForServers
            | Self::NeverValid => true,
            Self::OtherSigner { root, .. } => !root,
            Self::Defect { defect, .. } => defect.is_fatal(),
            _ => false,
        }
    }

    /// Whether it only matters to clients, and not to servers that are shown the certificate.
    #[must_use]
    pub fn is_of_servers(&self) -> bool {
        matches!(
            self,
            Self::NoNames(_)
                | Self::OtherNames(_)
                | Self::AddressAmongNames(_)
                | Self::UnusableName(..)
                | Self::NotForServers
                | Self::ForAnything
        )
    }
}

fn common_name(name: Option<&str>) -> String {
    name.map(|name| format!("; the common name {name} counts for none"))
        .unwrap_or_default()
}

/// Everything about the `chain` of a file, whose key belongs to `leaves`.
pub(crate) fn issues(
    chain: &[usize],
    leaves: &[usize],
    given: Given<'_>,
    now: SystemTime,
) -> Vec<CertificateIssue> {
    let mut issues = Vec::new();
    of_file(chain, leaves, given, now, &mut issues);
    of_chain(chain, given, now, &mut issues);
    of_leaf(given.at(chain[0]), &mut issues);
    for (position, &at) in chain.iter().enumerate() {
        let certificate = given.at(at);
        // Clients take a root from no server.
        if position > 0 && is_self_issued(certificate) {
            continue;
        }
        let who = match position {
            0 => "the certificate".to_owned(),
            _ => format!(
                "the certificate of {} in the chain",
                distinguished_name(certificate.subject())
            ),
        };
        issues.extend(
            defects(certificate)
                .into_iter()
                .map(|defect| CertificateIssue::Defect {
                    who: who.clone(),
                    defect,
                }),
        );
    }
    issues
}

/// The parts of the file that are sent, and those that are not.
fn of_file(
    chain: &[usize],
    leaves: &[usize],
    given: Given<'_>,
    now: SystemTime,
    issues: &mut Vec<CertificateIssue>,
) {
    let is_sent = |at: usize| chain.iter().any(|sent| given.is_copy(*sent, at));
    // What another certificate of the same key is sent in place of.
    let mut replaced = Vec::new();
    for at in (0..given.parsed.len()).filter(|at| !is_sent(*at)) {
        let of_leaf = leaves.contains(&at).then_some(chain[0]);
        let better = of_leaf.or_else(|| {
            chain
                .iter()
                .copied()
                .skip(1)
                .find(|sent| same_authority(given.at(*sent), given.at(at)))
        });
        if let Some(better) = better {
            replaced.push(at);
            issues.push(CertificateIssue::NotUsed {
                number: at + 1,
                reason: reason(at, better, given, now),
            });
        }
    }
    let before_leaf = (0..chain[0]).any(|at| !replaced.contains(&at));
    if !chain.is_sorted() || before_leaf {
        issues.push(CertificateIssue::Reordered);
    }
    let copies = (0..given.parsed.len())
        .filter(|at| !chain.contains(at) && is_sent(*at))
        .count();
    if copies > 0 {
        issues.push(CertificateIssue::Copies(copies));
    }
    let unrelated = given.parsed.len() - chain.len() - replaced.len() - copies;
    if unrelated > 0 {
        issues.push(CertificateIssue::Unrelated(unrelated));
    }
}

/// Why the certificate at `better` is sent in place of the one at `at`.
fn reason(at: usize, better: usize, given: Given<'_>, now: SystemTime) -> String {
    let (own, other) = (given.at(at), given.at(better));
    let (begin, end) = (
        system_time(own.validity().not_before),
        system_time(own.validity().not_after),
    );
    let instead = format!("certificate {} of the same key is sent", better + 1);
    if end < now {
        format!("it has expired on {}; {instead}", date(end))
    } else if !chain::is_valid(own, now) {
        format!(
            "it is not valid before {}; until then {instead}",
            date(begin)
        )
    } else if is_self_issued(own) && !is_self_issued(other) {
        format!("it is self-signed; {instead}, which a CA has issued")
    } else {
        format!(
            "{instead}, which is valid until {}",
            date(system_time(other.validity().not_after))
        )
    }
}

/// Whether clients can follow the chain.
fn of_chain(
    chain: &[usize],
    given: Given<'_>,
    now: SystemTime,
    issues: &mut Vec<CertificateIssue>,
) {
    for (below, &at) in chain.iter().enumerate().skip(1) {
        of_issuer(given.at(at), below - 1, now, issues);
    }
    let between = chain
        .iter()
        .skip(1)
        .filter(|at| !is_self_issued(given.at(**at)))
        .count();
    if between > LONGEST_CHAIN {
        issues.push(CertificateIssue::Long(between));
    }
    if !given.names_are_allowed(chain, now) {
        issues.push(CertificateIssue::NameConstraints);
    }
    issues.extend(of_end(chain, given));
}

/// Whether clients take `certificate` as an issuer that has `below` other CAs below it in the chain.
fn of_issuer(
    certificate: &X509Certificate<'_>,
    below: usize,
    now: SystemTime,
    issues: &mut Vec<CertificateIssue>,
) {
    let subject = || distinguished_name(certificate.subject());
    let is_root = is_self_issued(certificate);
    // No client looks at the dates of a root that it has.
    if !is_root {
        if let Some(when) = out_of_date(certificate, now) {
            let subject = subject();
            issues.push(CertificateIssue::IntermediateDates { subject, when });
        }
        if let Some(kind) = weak_signature(certificate) {
            issues.push(CertificateIssue::WeakSignature(subject(), kind));
        }
    }
    // An old root cannot say that it is one.
    let is_old_root = is_root && certificate.version() != X509Version::V3;
    let reason = if !is_old_root && !says_ca(certificate) {
        Some("does not say CA:TRUE")
    } else {
        lacks_cert_sign(certificate).then_some("has a key usage without keyCertSign")
    };
    if let Some(reason) = reason {
        let subject = subject();
        issues.push(CertificateIssue::NotAnIssuer { subject, reason });
    }
    let limit = certificate
        .basic_constraints()
        .ok()
        .flatten()
        .and_then(|limits| limits.value.path_len_constraint);
    if let Some(limit) = limit.filter(|limit| below > *limit as usize) {
        let subject = subject();
        issues.push(CertificateIssue::PathLength { subject, limit });
    }
    if let Some(kind) = unsupported_key(certificate) {
        issues.push(CertificateIssue::WeakKey(subject(), kind));
    }
}

/// Why an intermediate is not valid at `now`, if it is not.
fn out_of_date(certificate: &X509Certificate<'_>, now: SystemTime) -> Option<String> {
    let (begin, end) = (
        system_time(certificate.validity().not_before),
        system_time(certificate.validity().not_after),
    );
    if end < now {
        Some(format!("has expired on {}", date(end)))
    } else {
        (!chain::is_valid(certificate, now)).then(|| format!("is not valid before {}", date(begin)))
    }
}

/// Whether the chain ends where clients go on from.
fn of_end(chain: &[usize], given: Given<'_>) -> Option<CertificateIssue> {
    let name = |at: usize| distinguished_name(given.at(at).subject());
    let last = chain[chain.len() - 1];
    if is_self_issued(given.at(last)) {
        return (chain.len() > 1).then(|| CertificateIssue::Root(name(last)));
    }
    if let Some(other) = given.impostor(chain) {
        return Some(CertificateIssue::OtherSigner {
            subject: name(other),
            root: is_self_issued(given.at(other)),
        });
    }
    // Only of a leaf alone: intermediates name an address too, and what it leads to is the root. Or
    // where what stands above the gap is there: any CA, or a root behind the rest.
    let alone = chain.len() == 1;
    let above = (0..given.parsed.len()).any(|at| {
        let other = given.at(at);
        let is_sent = chain
            .iter()
            .any(|sent| same_authority(given.at(*sent), other));
        !is_sent
            && says_ca(other)
            && (alone || (is_self_issued(other) && chain.iter().all(|sent| *sent < at)))
    });
    let gap = above || (alone && names_its_issuers_address(given.at(last)));
    gap.then(|| CertificateIssue::Incomplete(distinguished_name(given.at(last).issuer())))
}

/// Whether clients can take the certificate itself.
fn of_leaf(leaf: &X509Certificate<'_>, issues: &mut Vec<CertificateIssue>) {
    if leaf.validity().not_after < leaf.validity().not_before {
        issues.push(CertificateIssue::NeverValid);
    }
    if leaf.version() != X509Version::V3 {
        issues.push(CertificateIssue::Version(leaf.version().0 + 1));
    }
    if says_ca(leaf) {
        issues.push(CertificateIssue::IsCa);
    }
    if let Some(kind) = weak_signature(leaf).filter(|_| !is_self_issued(leaf)) {
        issues.push(CertificateIssue::WeakSignature(
            distinguished_name(leaf.subject()),
            kind,
        ));
    }
    if let Some(kind) = unsupported_key(leaf) {
        issues.push(CertificateIssue::WeakKey(
            distinguished_name(leaf.subject()),
            kind,
        ));
    }
    if let Ok(PublicKey::RSA(key)) = leaf.public_key().parsed()
        && let Ok(exponent) = key.try_exponent()
        && exponent < 65537
    {
        issues.push(CertificateIssue::WeakExponent(exponent));
    }
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !usage.value.server_auth
    {
        issues.push(if usage.value.any {
            CertificateIssue::ForAnything
        } else {
            CertificateIssue::NotForServers
        });
    }
    if matches!(leaf.key_usage(), Ok(Some(usage)) if usage.value.flags != 0 && !usage.value.digital_signature())
    {
        issues.push(CertificateIssue::MayNotSign);
    }
    of_names(leaf, issues);
}

fn of_names(leaf: &X509Certificate<'_>, issues: &mut Vec<CertificateIssue>) {
    if leaf.subject_alternative_name().is_err() {
        return issues.push(CertificateIssue::UnreadableNames);
    }
    let names = alt_names(leaf);
    if names.is_empty() {
        let common = leaf
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .map(printable);
        return issues.push(CertificateIssue::NoNames(common));
    }
    if !names
        .iter()
        .any(|name| matches!(name, AltName::Dns(_) | AltName::Ip(_)))
    {
        let names = names
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        return issues.push(CertificateIssue::OtherNames(names));
    }
    for name in &names {
        let AltName::Dns(name) = name else { continue };
        if let Ok(ip) = name.trim_matches(['[', ']']).parse() {
            issues.push(CertificateIssue::AddressAmongNames(ip));
        } else if let Some(hint) = unusable(name) {
            issues.push(CertificateIssue::UnusableName(printable(name), hint));
        }
    }
}

/// The remedy for a DNS name that stands for no name; `None` if it stands for one.
pub(crate) fn unusable(name: &str) -> Option<&'static str> {
    if name.ends_with('.') {
        return Some("; it is written without the dot at its end");
    }
    match name.parse::<NamePattern>() {
        Ok(NamePattern::Any) => Some("; a wildcard stands for one label, as in `*.example.net`"),
        Ok(_) => None,
        Err(_) if name.contains("://") || name.contains('/') => {
            Some("; it is written without a scheme and a path")
        }
        Err(_) if name.contains(':') => Some("; it is written without a port"),
        Err(_) if name.contains('*') => {
            Some("; a wildcard is the whole first label, as in `*.example.net`")
        }
        Err(_) if !name.is_ascii() => {
            Some("; it is written in ASCII, each label beyond that as `xn--...`")
        }
        Err(_) => Some("; issue it without that"),
    }
}
