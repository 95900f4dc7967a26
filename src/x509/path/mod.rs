//! Paths from a peer's certificate to a trusted authority (RFC 5280 §6).
//!
//! webpki builds them and checks names, dates, signatures and constraints. What it leaves out is
//! checked here, for each path that it has found: whether an intermediate may sign certificates,
//! how many there may be below a root, what the key of the peer is for, and whether a certificate
//! has been revoked. A path that fails makes way for the next one.

mod constraints;
mod diagnosis;
mod flaw;
mod signature_cache;
mod sound;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;

use rustls_pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;

use crate::x509::ca::{Anchors, CaCertificate};
use crate::x509::crl::{IssuerKey, ListAnswer, RevocationLists};
use crate::x509::identity::distinguished_name;
use crate::x509::path::signature_cache::SignatureCache;
use crate::x509::time::of_unix_time;
use crate::x509::{der, pem};

pub(crate) use flaw::{Flaw, PathLimit, PeerWords, Who};

/// How many certificates a peer may send beside its own. Every one of them may have to be tried as
/// the issuer of every other, and it is the peer who chooses them.
pub(crate) const MAX_INTERMEDIATES: usize = 16;

/// How many certificates of one subject a peer may send: that of an authority before and after each
/// of two renewals.
pub(crate) const MAX_NAMESAKES: usize = 4;

/// How many trusted authorities may have one subject. With more, the bound on signatures of one
/// handshake (100, of the verifier below) could be met by a client that has done nothing wrong.
pub const MAX_AUTHORITIES_OF_ONE_NAME: usize = 16;

/// The purpose that a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// By a client.
    Client,
    /// By a server.
    Server,
}

/// Verifies certificates of one purpose against one set of authorities.
#[derive(Debug)]
pub(crate) struct Paths {
    anchors: Arc<Anchors>,
    lists: Option<RevocationLists>,
    purpose: Purpose,
    /// Of these authorities: it goes with them.
    signatures: SignatureCache,
}

impl Paths {
    pub(crate) fn new(
        anchors: Arc<Anchors>,
        lists: Option<RevocationLists>,
        purpose: Purpose,
    ) -> Self {
        Self {
            anchors,
            lists,
            purpose,
            signatures: SignatureCache::default(),
        }
    }

    /// That a path leads from `leaf`, which `intermediates` came with, to an authority, and, of a
    /// server, that the certificate is for `name`.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Flaw> {
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(Flaw::TooMuch(PathLimit::Certificates));
        }
        let found = RefCell::new(None);
        let judge = |path: &VerifiedPath<'_>| {
            self.judge(leaf, path, now).map_err(|flaw| {
                let mut found = found.borrow_mut();
                // Revoked is what its owner has to know, whichever path says so.
                if found.is_none() || matches!(flaw, Flaw::Revoked(_)) {
                    *found = Some(flaw);
                }
                // Not fatal: there may be another path.
                webpki::Error::CertRevoked
            })
        };
        let verified = namesakes(intermediates).and_then(|()| {
            let certificate = EndEntityCert::try_from(leaf).map_err(PathFailure::Pki)?;
            let usage = match self.purpose {
                Purpose::Client => KeyUsage::client_auth(),
                Purpose::Server => KeyUsage::server_auth(),
            };
            let roots = self.anchors.roots();
            let cached: Vec<_> = self.signatures.algorithms().collect();
            let all: Vec<&dyn SignatureVerificationAlgorithm> =
                cached.iter().map(|one| one as _).collect();
            certificate
                .verify_for_usage(&all, roots, intermediates, now, usage, None, Some(&judge))
                .map_err(PathFailure::Pki)?;
            name.map_or(Ok(()), |name| {
                certificate.verify_is_valid_for_subject_name(name)
            })
            .map_err(|_| PathFailure::Name)
        });
        match verified {
            Ok(()) => Ok(()),
            Err(PathFailure::PathLimit(limit)) => Err(Flaw::TooMuch(limit)),
            Err(PathFailure::Name) => Err(diagnosis::name(leaf)),
            Err(PathFailure::Pki(error)) => {
                let given = diagnosis::Presented {
                    leaf,
                    intermediates,
                    anchors: &self.anchors,
                    purpose: self.purpose,
                };
                Err(found.into_inner().unwrap_or_else(|| given.diagnose(&error)))
            }
        }
    }

    /// Judges what the library does not look at.
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        path: &VerifiedPath<'_>,
        now: UnixTime,
    ) -> Result<(), Flaw> {
        let ders: Vec<_> = path
            .intermediate_certificates()
            .map(|certificate| certificate.der())
            .collect();
        let parse = |der| pem::parse(der).map_err(|_| Flaw::Malformed(Who::Peer));
        let chain: Vec<X509Certificate<'_>> = std::iter::once(leaf)
            .chain(&ders)
            .map(|der| parse(der))
            .collect::<Result<_, _>>()?;
        let (leaf, issuers) = chain.split_first().ok_or(Flaw::Malformed(Who::Peer))?;
        sound::readable(leaf, || Who::Peer)?;
        issuers
            .iter()
            .try_for_each(|issuer| sound::readable(issuer, || Who::of(issuer)))?;
        self.usage(leaf)?;
        sound::netscape_type(leaf, self.purpose)?;
        issuers.iter().try_for_each(may_sign)?;
        // RFC 5280 §6.1.4 (l): those that have issued themselves do not count.
        let counted = issuers
            .iter()
            .filter(|issuer| issuer.subject().as_raw() != issuer.issuer().as_raw())
            .count();
        let root = self.root(path.anchor(), counted)?;
        constraints::of_subject(leaf, issuers, root)?;
        self.lists
            .as_ref()
            .map_or(Ok(()), |lists| unrevoked(lists, &chain, root, now))
    }

    /// A certificate of the trusted authority that allows peers of this kind and so many
    /// authorities below it, or what the first one has against it.
    fn root<'a>(
        &'a self,
        anchor: &'a TrustAnchor<'_>,
        below: usize,
    ) -> Result<&'a CaCertificate, Flaw> {
        let allows = |root: &'a CaCertificate| {
            root.vouches(self.purpose)?;
            if root
                .path_len()
                .is_some_and(|length| below > length as usize)
            {
                return Err(Flaw::PathLength(Who::Root(root.subject().to_owned())));
            }
            Ok(root)
        };
        let mut judged = self.anchors.of_root(anchor).map(allows);
        let first = judged.next().unwrap_or(Err(Flaw::Other));
        first.or_else(|flaw| judged.find_map(Result::ok).ok_or(flaw))
    }

    /// RFC 5280 §4.2.1.3: what the peer's key is for. Where the extension is missing, it is for
    /// everything.
    fn usage(&self, leaf: &X509Certificate<'_>) -> Result<(), Flaw> {
        let Some(usage) = leaf.key_usage().map_err(|_| Flaw::Malformed(Who::Peer))? else {
            return Ok(());
        };
        let usage = usage.value;
        let fits = match self.purpose {
            Purpose::Client => usage.digital_signature(),
            // As OpenSSL has it: many a server's certificate says only what TLS 1.0 asked of it.
            Purpose::Server => {
                usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()
            }
        };
        if fits { Ok(()) } else { Err(Flaw::KeyUsage) }
    }
}

/// Why the library cannot read a peer's certificate, if it cannot.
pub(crate) fn unreadable(leaf: &CertificateDer<'_>) -> Option<Flaw> {
    let error = EndEntityCert::try_from(leaf).err()?;
    let anchors = Anchors::new([]);
    Some(
        diagnosis::Presented {
            leaf,
            intermediates: &[],
            anchors: &anchors,
            purpose: Purpose::Client,
        }
        .diagnose(&error),
    )
}

/// Why the library has not verified a certificate, and we not even asked it.
enum PathFailure {
    Pki(webpki::Error),
    Name,
    PathLimit(PathLimit),
}

/// That not too many certificates have one subject.
fn namesakes(intermediates: &[CertificateDer<'_>]) -> Result<(), PathFailure> {
    // The subject is read only where there can be too many.
    if intermediates.len() <= MAX_NAMESAKES {
        return Ok(());
    }
    let subjects: Vec<Vec<u8>> = intermediates
        .iter()
        .filter_map(|der| pem::parse(der).ok())
        .map(|certificate| certificate.subject().as_raw().to_vec())
        .collect();
    let most = subjects
        .iter()
        .map(|subject| subjects.iter().filter(|other| *other == subject).count())
        .max();
    if most > Some(MAX_NAMESAKES) {
        Err(PathFailure::PathLimit(PathLimit::Namesakes))
    } else {
        Ok(())
    }
}

/// RFC 5280 §4.2.1.3: an authority whose key usage does not say so signs no certificate.
fn may_sign(issuer: &X509Certificate<'_>) -> Result<(), Flaw> {
    let usage = issuer
        .key_usage()
        .map_err(|_| Flaw::Malformed(Who::of(issuer)))?;
    if usage.is_none_or(|usage| usage.value.key_cert_sign()) {
        Ok(())
    } else {
        Err(Flaw::NoCertSign(Who::of(issuer)))
    }
}

/// That no list has a certificate of `chain`, which `root` has issued the last one of.
fn unrevoked(
    lists: &RevocationLists,
    chain: &[X509Certificate<'_>],
    root: &CaCertificate,
    now: UnixTime,
) -> Result<(), Flaw> {
    for (at, certificate) in chain
        .iter()
        .enumerate()
        .filter(|(at, _)| lists.look_up(*at > 0))
    {
        let issuer = chain.get(at + 1);
        let key = match issuer {
            None => IssuerKey {
                name: root.name(),
                spki: root.spki(),
            },
            Some(issuer) => IssuerKey {
                name: issuer.subject().as_raw(),
                spki: der::only(issuer.public_key().raw, der::SEQUENCE)
                    .ok_or(Flaw::Malformed(Who::of(issuer)))?,
            },
        };
        let who = if at == 0 {
            Who::Peer
        } else {
            Who::of(certificate)
        };
        let name = || distinguished_name(certificate.issuer());
        let answer = lists.ask(certificate, at > 0, key, of_unix_time(now));
        let unknown = |flaw| {
            if lists.refuses_unknown() {
                Err(flaw)
            } else {
                Ok(())
            }
        };
        match answer {
            ListAnswer::Good => {}
            ListAnswer::Revoked => return Err(Flaw::Revoked(who)),
            ListAnswer::NoList => unknown(Flaw::NoList {
                who,
                issuer: name(),
            })?,
            ListAnswer::OtherKey => unknown(Flaw::ListOfOtherKey {
                who,
                issuer: name(),
            })?,
            ListAnswer::OutOfScope => unknown(Flaw::OutOfScope {
                who,
                issuer: name(),
            })?,
            ListAnswer::Early(begin) => {
                let wait = begin.duration_since(of_unix_time(now)).unwrap_or_default();
                unknown(Flaw::ListEarly {
                    issuer: name(),
                    wait,
                })?;
            }
            ListAnswer::Expired(due) => {
                let ago = of_unix_time(now).duration_since(due).unwrap_or_default();
                return Err(Flaw::ListExpired {
                    issuer: name(),
                    ago,
                });
            }
        }
        // RFC 5280 §4.2.1.3, of those that answer for others.
        if let Some(issuer) = issuer.filter(|_| matches!(answer, ListAnswer::Good)) {
            let usage = issuer
                .key_usage()
                .map_err(|_| Flaw::Malformed(Who::of(issuer)))?;
            if usage.is_some_and(|usage| !usage.value.crl_sign()) {
                return Err(Flaw::NoListSign(Who::of(issuer)));
            }
        }
    }
    Ok(())
}
