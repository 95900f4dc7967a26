//! Verification of clients' certificates, and what became of the one that a client has shown.
//!
//! rustls has one verifier for all connections of a configuration, gives it no way to tell them
//! apart, and throws the certificate away when the verifier refuses it. But an operator wants to
//! know who was refused. Verification happens synchronously while the handshake is polled, so
//! [`observed`] gives each handshake a slot in the manner of a thread-local that is in place only
//! during its own polls; the verifier fills it.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::authz::{ClientCertificate, Identity, Policy};
use crate::tls::client_auth::ClientAuth;
use crate::tls::fault::CertificateFault;
use crate::tls::pinned::{self, Pins};
use crate::tls::provider::algorithms;
use crate::x509::ca::Anchors;
use crate::x509::crl::RevocationLists;
use crate::x509::identity::identity;
use crate::x509::path::{self, Paths, Purpose};
use crate::x509::signed::unsupported_key;
use crate::x509::{der, pem};

/// Clients are told the names of the authorities that count (RFC 8446 §4.2.4), in a list whose
/// length has 16 bits. A list near that would make every handshake larger than most, so it is left
/// out: clients then choose by themselves.
const MAX_HINTS: usize = 16 * 1024;

tokio::task_local! {
    /// The certificate that the client of the handshake that is being polled has shown.
    static SHOWN: RefCell<Option<Box<ShownCertificate>>>;
}

/// A certificate that a client has shown, and what came of it.
#[derive(Debug)]
pub(super) struct ShownCertificate {
    /// Its identity, where it can be read.
    pub(super) identity: Option<Identity>,
    /// Whether it was verified, and the policy lets it in.
    pub(super) verified: bool,
    /// The fault in it, where rustls has no words for it.
    pub(super) fault: Option<CertificateFault>,
}

impl ShownCertificate {
    /// The certificate of a client whose handshake is complete.
    pub(super) fn certificate(self) -> Option<ClientCertificate> {
        let kind = if self.verified {
            ClientCertificate::Verified
        } else {
            ClientCertificate::Unverified
        };
        self.identity.map(kind)
    }
}

/// Runs a handshake; its output, and the certificate that the client has shown in it.
pub(super) async fn observed<F: Future>(
    handshake: F,
) -> (F::Output, Option<Box<ShownCertificate>>) {
    let observed = async {
        let output = handshake.await;
        (output, SHOWN.with(RefCell::take))
    };
    SHOWN.scope(RefCell::default(), observed).await
}

/// Runs a verification outside of a handshake; its result, and what is wrong with the certificate.
pub(super) fn observed_now<R>(verify: impl FnOnce() -> R) -> (R, Option<CertificateFault>) {
    SHOWN.sync_scope(RefCell::default(), || {
        let result = verify();
        (
            result,
            SHOWN.with(RefCell::take).and_then(|shown| shown.fault),
        )
    })
}

/// Changes what is remembered of the certificate. Outside of [`observed`] nobody will ask.
fn remember(change: impl FnOnce(&mut Option<Box<ShownCertificate>>)) {
    let _ = SHOWN.try_with(|shown| change(&mut shown.borrow_mut()));
}

/// The verifier of one set of terms.
pub(super) struct ClientVerifier {
    /// Whether there is a session without a certificate.
    mandatory: bool,
    /// The trusted authorities or keys, and the policy for clients that verify. Without it every
    /// certificate is taken, and none is believed.
    belief: Option<(Belief, Policy)>,
    /// The names of those authorities, for clients, so that they can choose a certificate.
    hints: Vec<DistinguishedName>,
}

/// The certificates that are trusted.
enum Belief {
    /// Those that an authority vouches for.
    Authorities(Paths),
    /// Those that are known one by one.
    Pins(Pins),
}

impl ClientVerifier {
    /// The verifier for clients of this kind; nothing where they are not asked for a certificate.
    pub(super) fn new(client_auth: &ClientAuth) -> Option<Self> {
        let (mandatory, verify) = match client_auth {
            ClientAuth::None => return None,
            ClientAuth::Request => (false, None),
            ClientAuth::RequireAny => (true, None),
            // Who shows no certificate is on no list.
            ClientAuth::VerifyIfGiven(verify) => (verify.policy.allow.is_some(), Some(verify)),
            ClientAuth::RequireAndVerify(verify) => (true, Some(verify)),
            ClientAuth::Pinned(pins, policy) => {
                let belief = Some((Belief::Pins(pins.clone()), policy.clone()));
                return Some(Self {
                    mandatory: true,
                    belief,
                    hints: Vec::new(),
                });
            }
        };
        let Some(verify) = verify else {
            return Some(Self {
                mandatory,
                belief: None,
                hints: Vec::new(),
            });
        };
        let anchors = Anchors::new(&verify.authorities);
        let hints = hints(&anchors);
        let lists = RevocationLists::new(&verify.revocation, anchors.authorities());
        let paths = Paths::new(Arc::new(anchors), Some(lists), Purpose::Client);
        Some(Self {
            mandatory,
            belief: Some((Belief::Authorities(paths), verify.policy.clone())),
            hints,
        })
    }

    fn is_pinned(&self) -> bool {
        matches!(self.belief, Some((Belief::Pins(_), _)))
    }

    /// Lets a client in who is believed, or not.
    fn admit(policy: &Policy, identity: &Result<Identity, String>) -> Result<(), CertificateFault> {
        let identity = identity
            .as_ref()
            .map_err(|reason| CertificateFault::Unreadable(reason.clone()))?;
        policy.check(identity).map_err(CertificateFault::Denied)
    }
}

/// The names of the authorities, each of them once, if they are not too many.
fn hints(anchors: &Anchors) -> Vec<DistinguishedName> {
    let mut hints: Vec<DistinguishedName> = Vec::new();
    for root in anchors.roots() {
        let name = DistinguishedName::in_sequence(&root.subject);
        if hints.iter().all(|known| known.as_ref() != name.as_ref()) {
            hints.push(name);
        }
    }
    let size: usize = hints.iter().map(|name| name.as_ref().len() + 2).sum();
    if size > MAX_HINTS { Vec::new() } else { hints }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let identity = identity(end_entity);
        let result = self.belief.as_ref().map_or(Ok(()), |(belief, policy)| {
            match belief {
                Belief::Authorities(paths) => {
                    paths
                        .verify(end_entity, intermediates, None, now)
                        .map_err(CertificateFault::Flawed)?;
                }
                Belief::Pins(pins) => pins.verify(end_entity, now)?,
            }
            Self::admit(policy, &identity)
        });
        let verified = self.belief.is_some() && result.is_ok();
        let error = result.as_ref().err().map(CertificateFault::error);
        remember(|shown| {
            *shown = Some(Box::new(ShownCertificate {
                identity: identity.ok(),
                verified,
                fault: result.err(),
            }))
        });
        error.map_or_else(
            || Ok(ClientCertVerified::assertion()),
            |error| Err(error.into()),
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let proof = if self.is_pinned() {
            pinned::verify_tls12_signature(message, certificate, signature)
        } else {
            verify_tls12_signature(message, certificate, signature, algorithms())
        };
        proven(certificate, proof)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let proof = if self.is_pinned() {
            pinned::verify_tls13_signature(message, certificate, signature)
        } else {
            verify_tls13_signature(message, certificate, signature, algorithms())
        };
        proven(certificate, proof)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// The proof that the client has the key. In every mode there is no session without it.
fn proven(
    certificate: &CertificateDer<'_>,
    proof: Result<HandshakeSignatureValid, rustls::Error>,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let Err(rustls::Error::InvalidCertificate(_)) = proof else {
        return proof;
    };
    let parsed = pem::parse(certificate).ok();
    let key = parsed
        .as_ref()
        .and_then(|leaf| unsupported_key(der::only(leaf.public_key().raw, der::SEQUENCE)?));
    let fault = match (key, &proof) {
        (Some(key), _) => CertificateFault::Key(key),
        (None, Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature))) => {
            CertificateFault::Unproven
        }
        _ => match path::unreadable(certificate) {
            Some(flaw) => CertificateFault::Flawed(flaw),
            None => return proof,
        },
    };
    let error = fault.error();
    remember(|shown| {
        if let Some(shown) = shown {
            (shown.verified, shown.fault) = (false, Some(fault));
        }
    });
    Err(error.into())
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verifies = self.belief.is_some();
        f.debug_struct("Verifier")
            .field("mandatory", &self.mandatory)
            .field("verifies", &verifies)
            .finish()
    }
}
