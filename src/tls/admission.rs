//! Admission of a client: what it came in by, for as long as it may have to be taken back.

use rustls::pki_types::{CertificateDer, UnixTime};

use crate::authz::ClientCertificate;
use crate::tls::handshake::{Accepted, Refusal, refusal};
use crate::tls::server::Acceptor;
use crate::tls::verifier::observed_now;

/// The certificates by which a client was let in, and when. There are none of one that did not have
/// to show any.
#[derive(Debug)]
pub struct Admission {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) at: UnixTime,
}

impl Admission {
    /// Everything that a client has just shown.
    #[must_use]
    pub fn of(accepted: &Accepted) -> Self {
        let shown = accepted
            .stream
            .get_ref()
            .1
            .peer_certificates()
            .unwrap_or_default();
        Self {
            chain: shown
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
            at: UnixTime::now(),
        }
    }

    /// A client without a certificate that was verified, whatever it has shown.
    fn without_certificate() -> Self {
        Self {
            chain: Vec::new(),
            at: UnixTime::now(),
        }
    }
}

impl Acceptor {
    /// The admission to be remembered of a client that this acceptor has let in.
    ///
    /// Where nothing can be taken back that is nothing of a client whose certificate was verified.
    /// One that came in without can be asked for it later, on other terms: it costs no certificate
    /// to remember that there was none.
    pub(crate) fn remembers(&self, accepted: &Accepted) -> Option<Admission> {
        let verified = accepted
            .certificate
            .as_ref()
            .and_then(ClientCertificate::verified);
        match verified {
            _ if self.is_recallable() => Some(Admission::of(accepted)),
            Some(_) => None,
            None => Some(Admission::without_certificate()),
        }
    }

    /// Whether a client that another acceptor has just let in would be let in by this one, which
    /// has taken its place during the handshake.
    ///
    /// # Errors
    ///
    /// Why it would not.
    pub(crate) fn admits_in_place(&self, accepted: &Accepted) -> Result<(), Refusal> {
        if !self.speaks(accepted.version) {
            return Err(Refusal::Version(accepted.version));
        }
        self.admits(&Admission::of(accepted))
    }

    /// Whether a client that came in by `admission` would be let in now.
    ///
    /// The time is that of its admission: a certificate that has run out since is no news, for no
    /// connection is ended on its account. What may be news are the authorities, the revocation
    /// lists and the rules.
    ///
    /// # Errors
    ///
    /// Why it would not. A client of whom no certificate is verified any more is let in.
    pub fn admits(&self, admission: &Admission) -> Result<(), Refusal> {
        let Some(verifier) = self.verifier() else {
            return Ok(());
        };
        let Some((leaf, others)) = admission.chain.split_first() else {
            return if verifier.client_auth_mandatory() {
                Err(Refusal::NoCertificate)
            } else {
                Ok(())
            };
        };
        let (verified, fault) =
            observed_now(|| verifier.verify_client_cert(leaf, others, admission.at));
        verified
            .map(drop)
            .map_err(|error| refusal(error).with(fault))
    }
}
