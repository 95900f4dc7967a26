//! Diagnosis of a certificate that the library does not verify. The library names the kind of
//! error, and not the certificate; this finds the certificate, once the peer is refused.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::authz::AltName;
use crate::x509::ca::Anchors;
use crate::x509::defects::{Defect, defects};
use crate::x509::dname::same_name;
use crate::x509::identity::{alt_names, distinguished_name};
use crate::x509::path::{Flaw, PathLimit, Purpose, Who, constraints};
use crate::x509::signed::{SignatureFault, Signed};
use crate::x509::time::system_time;
use crate::x509::{der, pem};

/// The chain that a peer has shown, and the authorities that are trusted.
pub(super) struct Presented<'a> {
    pub(super) leaf: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    pub(super) anchors: &'a Anchors,
    pub(super) purpose: Purpose,
}

/// That a server's certificate is for other names.
pub(super) fn name(leaf: &CertificateDer<'_>) -> Flaw {
    Flaw::Name(
        pem::parse(leaf)
            .map(|leaf| alt_names(&leaf))
            .unwrap_or_default(),
    )
}

/// A certificate of the chain, its place in it, and its DER.
struct ChainCertificate<'a> {
    who: Who,
    certificate: X509Certificate<'a>,
    der: &'a [u8],
}

impl Presented<'_> {
    /// The meaning of `error`, and the certificate that it is about.
    pub(super) fn diagnose(&self, error: &Error) -> Flaw {
        let ders = || std::iter::once(self.leaf).chain(self.intermediates);
        let who = |at: usize, der: &CertificateDer<'_>| match pem::parse(der) {
            Ok(certificate) if at > 0 => Who::of(&certificate),
            Err(_) if at > 0 => Who::Intermediate(format!("in place {}", at + 1)),
            _ => Who::Peer,
        };
        // What the library cannot read is the same with any error: it stops there.
        let unread = |wanted: fn(&Error) -> bool| {
            ders().enumerate().find_map(|(at, der)| {
                let error = EndEntityCert::try_from(der).err().filter(wanted)?;
                Some((who(at, der), error))
            })
        };
        let shown: Vec<ChainCertificate<'_>> = ders()
            .enumerate()
            .filter_map(|(at, der)| {
                Some(ChainCertificate {
                    who: who(at, der),
                    certificate: pem::parse(der).ok()?,
                    der,
                })
            })
            .collect();
        if shown.is_empty() {
            return Flaw::Malformed(Who::Peer);
        }
        match error {
            Error::UnsupportedCertVersion => {
                let found = unread(|error| *error == Error::UnsupportedCertVersion);
                Flaw::Version1(found.map_or(Who::Peer, |(who, _)| who))
            }
            Error::UnsupportedCriticalExtension => critical(&shown),
            Error::CertExpired { time, not_after } => dated(&shown, *time, *not_after, true),
            Error::CertNotValidYet { time, not_before } => dated(&shown, *time, *not_before, false),
            Error::InvalidCertValidity => Flaw::NoTime(first(&shown, |shown| {
                let validity = shown.certificate.validity();
                validity.not_before > validity.not_after
            })),
            Error::CaUsedAsEndEntity => Flaw::CaAsPeer,
            Error::EndEntityUsedAsCa => {
                Flaw::NotCa(first(&shown[1..], |shown| !is_ca(&shown.certificate)))
            }
            Error::PathLenConstraintViolated => path_length(&shown),
            Error::EmptyEkuExtension | Error::RequiredEkuNotFoundContext(_) => {
                Flaw::Purpose(self.purpose(&shown))
            }
            Error::UnknownIssuer => self.unknown_issuer(&shown),
            Error::InvalidSignatureForPublicKey
            | Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => self.signature(&shown),
            Error::NameConstraintViolation => self.constraint(&shown),
            Error::MalformedNameConstraint | Error::InvalidNetworkMaskConstraint => {
                let sent = shown[1..]
                    .iter()
                    .filter(|shown| constraints::constraints(&shown.certificate).is_some());
                let bound = sent
                    .map(|shown| shown.who.clone())
                    .next()
                    .or_else(|| self.bound_root(&shown));
                Flaw::ConstraintMalformed(bound.unwrap_or(Who::Peer))
            }
            Error::MalformedDnsIdentifier => self.not_comparable(&shown),
            Error::CertDistrusted => Flaw::Distrusted,
            Error::MaximumPathDepthExceeded => Flaw::TooMuch(PathLimit::Depth),
            Error::MaximumNameConstraintComparisonsExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumSignatureChecksExceeded => Flaw::TooMuch(PathLimit::Work),
            Error::BadDer
            | Error::BadDerTime
            | Error::TrailingData(_)
            | Error::MalformedExtensions
            | Error::ExtensionValueInvalid
            | Error::InvalidSerialNumber
            | Error::SignatureAlgorithmMismatch => {
                malformed(&shown, unread(|_| true).map(|(who, _)| who))
            }
            // What stands here is about lists and names, of which the library is asked elsewhere or
            // not at all.
            _ => Flaw::Other,
        }
    }

    /// The certificate that is for something else.
    fn purpose(&self, shown: &[ChainCertificate<'_>]) -> Who {
        first(shown, |shown| {
            match shown.certificate.extended_key_usage() {
                Ok(Some(usage)) => match self.purpose {
                    Purpose::Client => !usage.value.client_auth,
                    Purpose::Server => !usage.value.server_auth,
                },
                _ => false,
            }
        })
    }

    /// At which certificate the way ends.
    fn unknown_issuer(&self, shown: &[ChainCertificate<'_>]) -> Flaw {
        let mut way = vec![0];
        let issued = |at: usize| shown[at].certificate.issuer().as_raw();
        while let Some(next) = (1..shown.len()).find(|next| {
            !way.contains(next)
                && shown[*next].certificate.subject().as_raw() == issued(way[way.len() - 1])
        }) {
            way.push(next);
        }
        let last = way[way.len() - 1];
        let ChainCertificate {
            who, certificate, ..
        } = &shown[last];
        let issuer = distinguished_name(certificate.issuer());
        let (wanted, subject) = (issued(last), certificate.subject().as_raw());
        let trusted = self
            .anchors
            .authorities()
            .iter()
            .map(|authority| authority.name());
        let sent = shown[1..]
            .iter()
            .map(|shown| shown.certificate.subject().as_raw());
        // Only the end of the way has no issuer of its own bytes.
        if trusted
            .chain(sent)
            .any(|known| known != wanted && same_name(known, wanted))
            && subject != wanted
        {
            return Flaw::NameEncoding {
                who: who.clone(),
                issuer,
            };
        }
        Flaw::UnknownIssuer {
            who: who.clone(),
            issuer,
            self_signed: subject == wanted,
        }
    }

    /// The signature that does not verify with any key of its issuer's name.
    fn signature(&self, shown: &[ChainCertificate<'_>]) -> Flaw {
        for ChainCertificate {
            who,
            certificate,
            der,
        } in shown
        {
            let wanted = certificate.issuer().as_raw();
            let trusted = self
                .anchors
                .authorities()
                .iter()
                .filter(|authority| authority.name() == wanted);
            let trusted = trusted.map(|authority| (true, Some(authority.spki())));
            let sent = shown[1..]
                .iter()
                .filter(|sent| sent.certificate.subject().as_raw() == wanted && sent.der != *der);
            let sent = sent.map(|sent| {
                (
                    false,
                    der::only(sent.certificate.public_key().raw, der::SEQUENCE),
                )
            });
            let Some(signed) = Signed::parse(der) else {
                return Flaw::Malformed(who.clone());
            };
            let verify = |(by_root, spki): (bool, Option<&[u8]>)| {
                (by_root, spki.map(|spki| signed.verify(spki)))
            };
            let mut tried: Vec<_> = trusted.chain(sent).map(verify).collect();
            if tried.iter().any(|(_, result)| *result == Some(Ok(()))) {
                continue;
            }
            // A kind that is not verified says more than a key that is not the right one.
            tried.sort_by_key(|(_, result)| {
                !matches!(
                    result,
                    Some(Err(SignatureFault::Key(_) | SignatureFault::Kind(_)))
                )
            });
            if let Some((by_root, Some(Err(fault)))) = tried.into_iter().next() {
                let issuer = distinguished_name(certificate.issuer());
                return Flaw::Signature {
                    who: who.clone(),
                    issuer,
                    fault,
                    by_root,
                };
            }
        }
        Flaw::Other
    }

    /// The trusted authority above `shown` that is bound to names.
    fn bound_root(&self, shown: &[ChainCertificate<'_>]) -> Option<Who> {
        let is_above = |name: &[u8]| {
            shown
                .iter()
                .any(|shown| shown.certificate.issuer().as_raw() == name)
        };
        let roots = self.anchors.authorities().iter();
        let bound =
            roots.filter(|root| root.anchor.name_constraints.is_some() && is_above(root.name()));
        bound
            .map(|root| Who::Root(root.subject().to_owned()))
            .next()
    }

    /// The DNS name that is none, where an authority is bound to such names.
    fn not_comparable(&self, shown: &[ChainCertificate<'_>]) -> Flaw {
        let sent = shown[1..]
            .iter()
            .find(|shown| constraints::constraints(&shown.certificate).is_some());
        let bound = sent
            .map(|shown| shown.who.clone())
            .or_else(|| self.bound_root(shown));
        let names = shown.iter().flat_map(|shown| alt_names(&shown.certificate));
        let odd = names.filter_map(|name| match name {
            AltName::Dns(name) => constraints::odd(&name).map(|why| (name, why)),
            _ => None,
        });
        match (bound, odd.into_iter().next()) {
            (Some(who), Some((name, why))) => Flaw::NotComparable(who, name, why),
            _ => Flaw::Malformed(Who::Peer),
        }
    }

    /// The authority that is bound to names, and the name that is not among them.
    fn constraint(&self, shown: &[ChainCertificate<'_>]) -> Flaw {
        let (leaf, issuers) = (&shown[0].certificate, &shown[1..]);
        let sent: Vec<X509Certificate<'_>> = issuers
            .iter()
            .map(|shown| shown.certificate.clone())
            .collect();
        let roots: Vec<_> = self
            .anchors
            .authorities()
            .iter()
            .filter_map(|root| pem::parse(root.der()).ok())
            .collect();
        let is_above = |root: &X509Certificate<'_>| {
            shown
                .iter()
                .any(|shown| shown.certificate.issuer().as_raw() == root.subject().as_raw())
        };
        let root = roots.iter().filter(|root| is_above(root));
        let root = root.map(|root| (Who::Root(distinguished_name(root.subject())), root));
        let own = issuers
            .iter()
            .map(|shown| (shown.who.clone(), &shown.certificate));
        let bound: Vec<_> = own
            .chain(root)
            .filter_map(|(who, found)| Some((who, constraints::constraints(found)?)))
            .collect();
        for (who, found) in &bound {
            if let Some(kind) = constraints::not_understood(found, leaf, &sent) {
                return Flaw::ConstraintKind(who.clone(), kind);
            }
        }
        let Ok(Some(names)) = leaf.subject_alternative_name() else {
            return Flaw::Other;
        };
        for (who, found) in &bound {
            let bases: Vec<_> = constraints::bases(found).collect();
            let strays = names.value.general_names.iter().find(|name| match name {
                GeneralName::DNSName(name) => !constraints::keeps(name, &bases),
                GeneralName::IPAddress(_) => {
                    bases
                        .iter()
                        .any(|(base, _)| matches!(base, GeneralName::IPAddress(_)))
                        && bases
                            .iter()
                            .all(|(base, _)| !matches!(base, GeneralName::DNSName(_)))
                }
                _ => false,
            });
            if let Some(stray) = strays {
                let text = match stray {
                    GeneralName::DNSName(name) => format!("the DNS name {name}"),
                    _ => "an IP address of it".to_owned(),
                };
                return Flaw::Constraint(who.clone(), text);
            }
        }
        match bound.into_iter().next() {
            Some((who, _)) => Flaw::Constraint(who, "a name of it".to_owned()),
            None => Flaw::Other,
        }
    }
}

/// The first of which `wanted` is true, or else the peer's.
fn first(shown: &[ChainCertificate<'_>], wanted: impl Fn(&ChainCertificate<'_>) -> bool) -> Who {
    shown
        .iter()
        .find(|shown| wanted(shown))
        .map_or(Who::Peer, |shown| shown.who.clone())
}

/// The part that cannot be read, and in which certificate: in one that the library cannot read at
/// all (`unread`), or in another.
fn malformed(shown: &[ChainCertificate<'_>], unread: Option<Who>) -> Flaw {
    let suspects = || {
        shown
            .iter()
            .filter(|shown| unread.as_ref().is_none_or(|who| *who == shown.who))
    };
    let is_unreadable = |defect: &Defect| {
        matches!(
            defect,
            Defect::Date(_)
                | Defect::Before1970
                | Defect::Serial(_)
                | Defect::Twice { .. }
                | Defect::Extension(_)
        )
    };
    for shown in suspects() {
        if let Some(defect) = defects(&shown.certificate).into_iter().find(is_unreadable) {
            return Flaw::Defect(shown.who.clone(), defect);
        }
    }
    for shown in suspects() {
        let basic = shown
            .certificate
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "2.5.29.19");
        if basic.is_some_and(|extension| !is_basic(extension.value)) {
            return Flaw::Defect(
                shown.who.clone(),
                Defect::Extension("basicConstraints".to_owned()),
            );
        }
    }
    Flaw::Malformed(unread.unwrap_or(Who::Peer))
}

/// Whether the library can read the value of a basicConstraints: TRUE in one form, and no more than
/// 255 authorities below.
fn is_basic(value: &[u8]) -> bool {
    let Some(content) = der::only(value, der::SEQUENCE) else {
        return false;
    };
    let mut reader = der::DerReader(content);
    let ca = reader
        .optional(der::BOOLEAN)
        .is_none_or(|ca| matches!(ca.content, [0 | 0xff]));
    let length = reader
        .optional(der::INTEGER)
        .is_none_or(|length| matches!(length.content, [0..=0x7f] | [0, 0x80..=0xff]));
    ca && length && reader.is_empty()
}

fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
}

/// The certificate that has ended, or not begun.
fn dated(shown: &[ChainCertificate<'_>], time: UnixTime, limit: UnixTime, ended: bool) -> Flaw {
    let limit = crate::x509::time::of_unix_time(limit);
    let at = |shown: &ChainCertificate<'_>| -> SystemTime {
        let validity = shown.certificate.validity();
        system_time(if ended {
            validity.not_after
        } else {
            validity.not_before
        })
    };
    let who = first(shown, |shown| at(shown) == limit);
    let now = crate::x509::time::of_unix_time(time);
    let between = |early: SystemTime, late: SystemTime| -> Duration {
        late.duration_since(early).unwrap_or_default()
    };
    if ended {
        Flaw::Expired(who, between(limit, now))
    } else {
        Flaw::Early(who, between(now, limit))
    }
}

/// The certificate that has a critical extension which the library does not know.
fn critical(shown: &[ChainCertificate<'_>]) -> Flaw {
    /// keyUsage, subjectAltName, basicConstraints, nameConstraints, cRLDistributionPoints,
    /// extKeyUsage.
    const KNOWN: [&str; 6] = [
        "2.5.29.15",
        "2.5.29.17",
        "2.5.29.19",
        "2.5.29.30",
        "2.5.29.31",
        "2.5.29.37",
    ];

    let unknown = |shown: &ChainCertificate<'_>| {
        let critical = shown
            .certificate
            .extensions()
            .iter()
            .filter(|extension| extension.critical);
        let oid = critical
            .map(|extension| extension.oid.to_id_string())
            .find(|oid| !KNOWN.contains(&&**oid))?;
        Some(Flaw::Critical(shown.who.clone(), oid))
    };
    shown.iter().find_map(unknown).unwrap_or(Flaw::Other)
}

/// The authority that has more below it than it allows.
fn path_length(shown: &[ChainCertificate<'_>]) -> Flaw {
    let limited = |shown: &ChainCertificate<'_>| match shown.certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.path_len_constraint,
        _ => None,
    };
    let least = shown[1..]
        .iter()
        .filter_map(|shown| Some((limited(shown)?, &shown.who)))
        .min_by_key(|(length, _)| *length);
    Flaw::PathLength(least.map_or(Who::Peer, |(_, who)| who.clone()))
}
