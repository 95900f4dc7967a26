//! TLS, and the only place that knows how: certificates, whom to trust, and both sides of a
//! handshake.
//!
//! Nothing here reads a file or the configuration: bytes and options come in, values that are ready
//! to use come out. The cryptographic provider is passed explicitly everywhere; no process-wide
//! default is ever installed.

mod admission;
mod base64;
mod ca;
mod certificate;
mod chain;
mod client;
mod crl;
mod defects;
mod der;
mod dname;
mod evidence;
mod facts;
mod faults;
mod groups;
mod handshake;
mod identity;
mod issues;
mod path;
mod pem;
mod pinned;
pub mod pki;
mod refused;
mod self_signed;
mod server;
mod signatures;
mod signed;
#[cfg(test)]
mod tests;
mod trust;
mod verifier;
mod versions;
mod words;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};

pub use admission::Admission;
pub use ca::{CaCertificate, CaIssue};
pub use certificate::{CLOCK_SKEW, Certificate, CertificateError, date};
pub use client::{Connector, ConnectorOptions, PeerName, Verification, refused_certificate};
pub use crl::{Crl, Depth, Expired, NotSpoken, Revocation, Unknown};
pub use defects::Defect;
pub use evidence::Evidence;
pub use facts::SessionFacts;
pub use faults::AuthorityFault;
pub use groups::{Group, GroupError};
pub use handshake::{Accepted, HandshakeError, Refusal};
pub use issues::CertificateIssue;
pub use path::{MAX_AUTHORITIES_OF_ONE_NAME, Purpose};
pub use pem::{BundleError, CrlFileError, Foreign, Form, PemError};
pub use pinned::{Dates, Pin, Pins};
pub use refused::SessionError;
pub use self_signed::{SelfSigned, renew_at};
pub use server::{Acceptor, AcceptorError, Choice, ClientAuth, MinVersion, Options, Verify};
pub use signatures::Signatures;
pub use trust::Trust;

/// The one provider of every session: AWS-LC, whose first key exchange is the hybrid
/// X25519MLKEM768.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    &PROVIDER
}

/// Those by which every signature of a peer is verified.
fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}
