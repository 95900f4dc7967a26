//! What is asked of clients' certificates, and what became of the one that a client has shown.
//!
//! rustls has one verifier for all connections of a configuration, gives it no way to tell them apart, and throws the
//! certificate away when the verifier refuses it. But an operator wants to know who was refused. Verification happens
//! synchronously while the handshake is polled, so [`observed`] gives each handshake a slot in the manner of a
//! thread-local that is in place only during its own polls; the verifier fills it.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::authz::{ClientCertificate, Denied, Identity, Policy};
use crate::tls::ca::root_store;
use crate::tls::crl::{Depth, Expired, Revocation, Unknown};
use crate::tls::identity::identity;
use crate::tls::server::{AcceptorError, ClientAuth, Verify};
use crate::tls::{algorithms, provider};

/// Clients are told the names of the authorities that count (RFC 8446 §4.2.4), in a list whose length has 16 bits. A list
/// near that would make every handshake larger than most, so it is left out: clients then choose by themselves.
const MAX_HINTS: usize = 16 * 1024;

tokio::task_local! {
    /// What the client of the handshake that is being polled has shown.
    static SHOWN: RefCell<Option<Box<Shown>>>;
}

/// A certificate that a client has shown, and what came of it.
#[derive(Debug)]
pub(super) struct Shown {
    /// What it says, where it can be read.
    pub(super) identity: Option<Identity>,
    /// Whether it was verified, and the policy lets it in.
    pub(super) verified: bool,
    /// What is wrong with it, where rustls has no words for it.
    pub(super) fault: Option<Fault>,
}

impl Shown {
    /// The certificate of a client whose handshake is complete.
    pub(super) fn certificate(self) -> Option<ClientCertificate> {
        let kind = if self.verified { ClientCertificate::Verified } else { ClientCertificate::Unverified };
        self.identity.map(kind)
    }
}

/// What is wrong with a certificate beyond what rustls reports.
#[derive(Debug)]
pub(super) enum Fault {
    /// It verifies, and the policy refuses its owner.
    Denied(Denied),
    /// It verifies, and what it says cannot be read.
    Unreadable(String),
    /// The client did not prove that it has the key (RFC 8446 §4.4.3, RFC 5246 §7.4.8): it may be somebody else's.
    Unproven,
}

/// Runs a handshake; its output, and the certificate that the client has shown in it.
pub(super) async fn observed<F: Future>(handshake: F) -> (F::Output, Option<Box<Shown>>) {
    let observed = async {
        let output = handshake.await;
        (output, SHOWN.with(RefCell::take))
    };
    SHOWN.scope(RefCell::default(), observed).await
}

/// Runs a verification outside of a handshake; its result, and what is wrong with the certificate.
pub(super) fn observed_now<R>(verify: impl FnOnce() -> R) -> (R, Option<Fault>) {
    SHOWN.sync_scope(RefCell::default(), || {
        let result = verify();
        (result, SHOWN.with(RefCell::take).and_then(|shown| shown.fault))
    })
}

/// Changes what is remembered of the certificate. Outside of [`observed`] nobody will ask.
fn remember(change: impl FnOnce(&mut Option<Box<Shown>>)) {
    let _ = SHOWN.try_with(|shown| change(&mut shown.borrow_mut()));
}

/// The verifier of one set of terms.
pub(super) struct Verifier {
    /// Whether there is a session without a certificate.
    mandatory: bool,
    /// What verifies chains, and who comes in of those that it verifies. Without it every certificate is taken, and
    /// none is believed.
    chain: Option<(Arc<dyn ClientCertVerifier>, Policy)>,
}

impl Verifier {
    /// The verifier for clients of this kind; nothing where they are not asked for a certificate.
    pub(super) fn new(client_auth: &ClientAuth) -> Result<Option<Self>, AcceptorError> {
        let (mandatory, verify) = match client_auth {
            ClientAuth::None => return Ok(None),
            ClientAuth::Request => (false, None),
            ClientAuth::RequireAny => (true, None),
            // Who shows no certificate is on no list.
            ClientAuth::VerifyIfGiven(verify) => (verify.policy.allow.is_some(), Some(verify)),
            ClientAuth::RequireAndVerify(verify) => (true, Some(verify)),
        };
        let chain = verify.map(chain_verifier).transpose()?.zip(verify.map(|verify| verify.policy.clone()));
        Ok(Some(Self { mandatory, chain }))
    }

    /// Lets a client in whose chain has been verified, or not.
    fn admit(policy: &Policy, identity: &Result<Identity, String>) -> Result<(), (Fault, CertificateError)> {
        let identity =
            identity.as_ref().map_err(|reason| (Fault::Unreadable(reason.clone()), CertificateError::BadEncoding))?;
        // Inside of the verifier, because rustls answers this error with `access_denied`, and could not any more once
        // the handshake is complete.
        let refuse = |denied| (Fault::Denied(denied), CertificateError::ApplicationVerificationFailure);
        policy.check(identity).map_err(refuse)
    }
}

fn chain_verifier(verify: &Verify) -> Result<Arc<dyn ClientCertVerifier>, AcceptorError> {
    let roots = Arc::new(root_store(&verify.authorities));
    let hints: usize = roots.subjects().iter().map(|name| name.as_ref().len() + 2).sum();
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()));
    if hints > MAX_HINTS {
        builder = builder.clear_root_hint_subjects();
    }
    let Revocation { depth, unknown, expired, .. } = &verify.revocation;
    builder = builder.with_crls(verify.revocation.ders());
    if *depth == Depth::Leaf {
        builder = builder.only_check_end_entity_revocation();
    }
    if *unknown == Unknown::Allow {
        builder = builder.allow_unknown_revocation_status();
    }
    if *expired == Expired::Deny {
        builder = builder.enforce_revocation_expiration();
    }
    builder.build().map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(error) => AcceptorError::RevocationList(error),
        _ => AcceptorError::NoAuthority,
    })
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |(chain, _)| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let identity = identity(end_entity);
        let mut fault = None;
        let result = match &self.chain {
            None => Ok(ClientCertVerified::assertion()),
            Some((chain, policy)) => chain.verify_client_cert(end_entity, intermediates, now).and_then(|verified| {
                Self::admit(policy, &identity).map_err(|(found, error)| {
                    fault = Some(found);
                    error
                })?;
                Ok(verified)
            }),
        };
        let verified = self.chain.is_some() && result.is_ok();
        remember(|shown| *shown = Some(Box::new(Shown { identity: identity.ok(), verified, fault })));
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        proven(verify_tls12_signature(message, certificate, signature, algorithms()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        proven(verify_tls13_signature(message, certificate, signature, algorithms()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// The proof that the client has the key. In every mode there is no session without it.
fn proven(proof: Result<HandshakeSignatureValid, rustls::Error>) -> Result<HandshakeSignatureValid, rustls::Error> {
    if let Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature)) = proof {
        remember(|shown| {
            if let Some(shown) = shown {
                (shown.verified, shown.fault) = (false, Some(Fault::Unproven));
            }
        });
    }
    proof
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verifies = self.chain.is_some();
        f.debug_struct("Verifier").field("mandatory", &self.mandatory).field("verifies", &verifies).finish()
    }
}
