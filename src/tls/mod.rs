//! TLS sessions: both sides of a handshake, with what each requires of the other.
//!
//! Nothing here reads a file or the configuration: bytes and options come in, values that are ready
//! to use come out. The cryptographic provider is passed explicitly everywhere; no process-wide
//! default is ever installed.

mod admission;
mod alerts;
mod certificate;
mod client;
mod evidence;
mod facts;
mod groups;
mod handshake;
mod pinned;
mod refused;
mod self_signed;
mod server;
mod session;
mod signatures;
#[cfg(test)]
mod tests;
mod trust;
mod verifier;
mod versions;
mod words;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};

pub use admission::Admission;
pub use certificate::{Certificate, CertificateError};
pub use client::{Connector, ConnectorOptions, PeerName, Verification, refused_certificate};
pub use evidence::Evidence;
pub use facts::SessionFacts;
pub use groups::{KeyExchangeGroup, KeyExchangeGroupError};
pub use handshake::{Accepted, HandshakeError, Refusal};
pub use pinned::{Dates, Pin, Pins};
pub use refused::SessionError;
pub use self_signed::{SelfSigned, renew_at};
pub use server::{
    Acceptor, AcceptorError, AcceptorOptions, Choice, ClientAuth, MinVersion, Verify,
};
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
