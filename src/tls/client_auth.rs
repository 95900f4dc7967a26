//! Client authentication: what clients have to show.

use crate::authz::Policy;
use crate::tls::pinned::Pins;
use crate::x509::ca::CaCertificate;
use crate::x509::crl::Revocation;

/// How clients have to identify themselves. These are the modes of Go's `crypto/tls`. In each of
/// them a client that shows a certificate must prove that it has the key.
#[derive(Clone, Debug, Default)]
pub enum ClientAuth {
    /// Not at all.
    #[default]
    None,
    /// They may show any certificate, or none. It is not verified, and says nothing of who they
    /// are.
    Request,
    /// They must show any certificate. It is not verified, and says nothing of who they are.
    RequireAny,
    /// They may show none; one that they show must verify. Where the policy has an allow list they
    /// must show one.
    VerifyIfGiven(Verify),
    /// They must show one, and it must verify.
    RequireAndVerify(Verify),
    /// They must show one that is known, whoever has issued it. The policy refuses some of them
    /// nevertheless.
    Pinned(Pins, Policy),
}

/// What a certificate is verified against.
#[derive(Clone, Debug, Default)]
pub struct Verify {
    /// The authorities that are believed. Without any nobody comes in with a certificate.
    pub authorities: Vec<CaCertificate>,
    /// How it is looked up whether a certificate has been revoked.
    pub revocation: Revocation,
    /// Who comes in of those whose certificate verifies.
    pub policy: Policy,
}
