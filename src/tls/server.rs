//! Which certificate a client is shown, and on what terms.
//!
//! rustls resumes a session for any client that asks for the same name, and checks neither the certificate it once saw
//! nor whom it would believe today. So sessions are kept per [`Acceptor`], never beyond it, and not at all where
//! clients have to identify themselves.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use thiserror::Error;

use crate::name::{Alpn, ServerName};
use crate::tls::ca::{CaCertificate, root_store};
use crate::tls::certificate::Certificate;
use crate::tls::provider;

/// The terms of a handshake.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The oldest version of TLS that is spoken.
    pub min_version: MinVersion,
    /// The protocols that are offered, the preferred one first. If there are any, a client that offers others only is
    /// refused (RFC 7301 §3.2); if there are none, the extension is not answered.
    pub alpn: Vec<Alpn>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246) and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446) only.
    Tls13,
}

/// How clients have to identify themselves.
#[derive(Clone, Debug, Default)]
pub enum ClientAuth {
    /// Not at all.
    #[default]
    None,
    /// With a certificate that verifies against these authorities. Without one, or with another, there is no session.
    RequireAndVerify(Vec<CaCertificate>),
}

/// Why there is no acceptor.
#[derive(Debug, Error)]
pub enum AcceptorError {
    /// A server without a certificate cannot answer anybody.
    #[error("no certificate")]
    NoCertificate,
    /// Clients would have to verify, and nobody could.
    #[error("client certificates are to be verified, and there is no CA to verify them against")]
    NoAuthority,
    /// The TLS library does not take the options.
    #[error("these TLS options cannot be used: {0}")]
    Options(#[from] rustls::Error),
}

/// The server's side of TLS for one route: its certificates, in order, under one set of options.
#[derive(Debug)]
pub struct Acceptor {
    choices: Vec<Choice>,
    strict: bool,
}

/// One certificate of an [`Acceptor`], chosen for one client.
#[derive(Debug)]
pub struct Choice {
    certificate: Arc<Certificate>,
    pub(super) config: Arc<ServerConfig>,
}

impl Acceptor {
    /// An acceptor for `certificates`, of which the first is the default one.
    ///
    /// `strict` says that a client gets a certificate for the name it asked for, or none.
    ///
    /// # Errors
    ///
    /// When there is no certificate, or nobody to verify clients against although they are to be verified.
    pub fn new(certificates: Vec<Arc<Certificate>>, options: &Options, strict: bool) -> Result<Self, AcceptorError> {
        if certificates.is_empty() {
            return Err(AcceptorError::NoCertificate);
        }
        let terms = Terms::new(options)?;
        let choose = |certificate: Arc<Certificate>| {
            let config = Arc::new(terms.config(&certificate)?);
            Ok(Choice { certificate, config })
        };
        let choices = certificates.into_iter().map(choose).collect::<Result<_, AcceptorError>>()?;
        Ok(Self { choices, strict })
    }

    /// The certificate for a client that asked for `name`: the first that covers it.
    ///
    /// Where none does, a strict acceptor has nothing to show (the caller answers `unrecognized_name`, RFC 6066 §3),
    /// and another one shows its first. A client that asked for no name gets, unless the acceptor is strict, the
    /// certificate of the address that it connected to, `local_ip`, or else the first.
    #[must_use]
    pub fn select(&self, name: Option<&ServerName>, local_ip: impl FnOnce() -> Option<IpAddr>) -> Option<&Choice> {
        let covering = match name {
            Some(name) => self.choices.iter().find(|choice| choice.certificate.covers(name)),
            None if self.strict => None,
            None => local_ip().and_then(|ip| self.choices.iter().find(|choice| choice.certificate.covers_ip(ip))),
        };
        if self.strict { covering } else { covering.or(self.choices.first()) }
    }
}

impl Choice {
    /// The certificate that the client will be shown.
    #[must_use]
    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }
}

/// Clients are told the names of the authorities that count (RFC 8446 §4.2.4), in a list whose length has 16 bits. A list
/// near that would make every handshake larger than most, so it is left out: clients then choose by themselves.
const MAX_HINTS: usize = 16 * 1024;

/// What the configurations of one acceptor share, and no two acceptors do.
struct Terms {
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: Vec<Vec<u8>>,
    /// Nothing where clients are asked for nothing.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Terms {
    fn new(options: &Options) -> Result<Self, AcceptorError> {
        let verifier = match &options.client_auth {
            ClientAuth::None => None,
            ClientAuth::RequireAndVerify(authorities) => {
                let roots = Arc::new(root_store(authorities));
                let hints: usize = roots.subjects().iter().map(|name| name.as_ref().len() + 2).sum();
                let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()));
                if hints > MAX_HINTS {
                    builder = builder.clear_root_hint_subjects();
                }
                // Without revocation lists this has one error: no trust anchor.
                Some(builder.build().map_err(|_| AcceptorError::NoAuthority)?)
            }
        };
        let sessions: Arc<dyn StoresServerSessions> = match verifier {
            Some(_) => Arc::new(NoServerSessionStorage {}),
            None => ServerSessionMemoryCache::new(SESSIONS),
        };
        Ok(Self {
            versions: versions(options.min_version),
            alpn: options.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect(),
            verifier,
            sessions,
        })
    }

    /// The configuration that shows `certificate` whatever name rustls reads in the hello: the choice is ours.
    fn config(&self, certificate: &Certificate) -> Result<ServerConfig, rustls::Error> {
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(certificate.certified())));
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(provider())).with_protocol_versions(self.versions)?;
        let mut config = match &self.verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        }
        .with_cert_resolver(resolver);
        config.alpn_protocols.clone_from(&self.alpn);
        config.session_storage = Arc::clone(&self.sessions);
        if self.verifier.is_some() {
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

/// Every version from the oldest one on.
pub(super) fn versions(oldest: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        MinVersion::Tls12 => rustls::ALL_VERSIONS,
        MinVersion::Tls13 => TLS13_ONLY,
    }
}

static TLS13_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// How many sessions an acceptor remembers. A client of TLS 1.3 takes two, and a session is less than a kilobyte.
const SESSIONS: usize = 1024;
