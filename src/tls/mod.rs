//! TLS sessions: both sides of a handshake, with what each requires of the other.
//!
//! Nothing here reads a file or the configuration: bytes and options come in, values that are ready
//! to use come out. The cryptographic provider is passed explicitly everywhere; no process-wide
//! default is ever installed.
//!
//! # The order of files
//!
//! Each uses only those that stand before it; `tests/layers.rs` holds that.
//!
//! ```text
//! versions < provider < signatures < alerts < words < fault < pinned < client_auth < verifier < certificate < server < facts < handshake < admission < session < groups < trust < options < refused < client < self_signed < evidence
//! ```

mod admission;
mod alerts;
mod certificate;
mod client;
mod client_auth;
mod evidence;
mod facts;
mod fault;
mod groups;
mod handshake;
mod options;
mod pinned;
mod provider;
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

pub use admission::Admission;
pub use certificate::{Certificate, CertificateError};
pub use client::{Connector, refused_certificate};
pub use client_auth::{ClientAuth, Verify};
pub use evidence::Evidence;
pub use facts::SessionFacts;
pub use groups::{KeyExchangeGroup, KeyExchangeGroupError};
pub use handshake::{Accepted, HandshakeError, Refusal};
pub use options::{ConnectorOptions, PeerName, Verification};
pub use pinned::{Dates, Pin, Pins};
pub use refused::SessionError;
pub use self_signed::{SelfSigned, renew_at};
pub use server::{Acceptor, AcceptorError, AcceptorOptions, Choice, MinVersion};
pub use signatures::Signatures;
pub use trust::Trust;
