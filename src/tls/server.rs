//! The server's side of TLS: which certificate a client is shown, and on what terms.
//!
//! rustls resumes a session for any client that asks for the same name, and checks neither the
//! certificate it once saw nor whom it would believe today. So sessions are kept per [`Acceptor`],
//! never beyond it, and not at all where clients have to identify themselves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::SingleCertAndKey;
use rustls::{ProtocolVersion, ServerConfig, SupportedProtocolVersion};
use thiserror::Error;

use crate::name::{Alpn, ServerName};
use crate::tls::certificate::Certificate;
use crate::tls::client_auth::ClientAuth;
use crate::tls::provider::provider;
use crate::tls::signatures::Signatures;
use crate::tls::verifier::ClientVerifier;
use crate::tls::versions;
use crate::wire::ClientHello;

/// The terms of a handshake.
#[derive(Clone, Debug, Default)]
pub struct AcceptorOptions {
    /// The oldest version of TLS that is spoken.
    pub min_version: MinVersion,
    /// Whether no newer version than TLS 1.2 is spoken.
    pub only_tls12: bool,
    /// The protocols that are offered, the preferred one first. If there are any, a client that
    /// offers others only is refused (RFC 7301 §3.2); if there are none, the extension is not
    /// answered.
    pub alpn: Vec<Alpn>,
    /// The authentication of clients.
    pub client_auth: ClientAuth,
    /// Whether it is remembered by what a client came in, so that [`Acceptor::admits`] can be asked
    /// later.
    pub recallable: bool,
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

/// Why there is no acceptor.
#[derive(Debug, Error)]
pub enum AcceptorError {
    /// A server without a certificate cannot answer a client.
    #[error("no certificate")]
    NoCertificate,
    /// The TLS library does not take the options.
    #[error("these TLS options cannot be used: {0}")]
    AcceptorOptions(#[from] rustls::Error),
}

/// The server's side of TLS for one route: its certificates, in order, under one set of options.
#[derive(Debug)]
pub struct Acceptor {
    choices: Vec<Choice>,
    strict: bool,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    recallable: bool,
    versions: &'static [&'static SupportedProtocolVersion],
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
    /// When there is no certificate, or no authority to verify clients against although they are to
    /// be verified.
    pub fn new(
        certificates: Vec<Arc<Certificate>>,
        options: &AcceptorOptions,
        strict: bool,
    ) -> Result<Self, AcceptorError> {
        if certificates.is_empty() {
            return Err(AcceptorError::NoCertificate);
        }
        let terms = SharedTerms::new(options)?;
        let choose = |certificate: Arc<Certificate>| {
            let config = Arc::new(terms.config(&certificate)?);
            Ok(Choice {
                certificate,
                config,
            })
        };
        let choices = certificates
            .into_iter()
            .map(choose)
            .collect::<Result<_, AcceptorError>>()?;
        let SharedTerms {
            verifier, versions, ..
        } = terms;
        Ok(Self {
            choices,
            strict,
            verifier,
            recallable: options.recallable,
            versions,
        })
    }

    /// The certificate for a client that asked for `name` and can verify every kind of signature.
    ///
    /// Where none covers the name, a strict acceptor has nothing to show (the caller answers
    /// `unrecognized_name`, RFC 6066 §3), and another one shows its first. A client that asked for
    /// no name gets, unless the acceptor is strict, a certificate of the address that it connected
    /// to, `local_ip`, or else the first.
    #[must_use]
    pub fn select(
        &self,
        name: Option<&ServerName>,
        local_ip: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<&Choice> {
        self.select_at(SystemTime::now(), Signatures::all(), name, local_ip)
    }

    /// The same for a client that can verify these `signatures`.
    ///
    /// Of several certificates that cover the name, one that is valid now comes before one that is
    /// not; then one whose signatures the client can verify; then one that has the name itself and
    /// not a wildcard; then one whose key is not RSA, which costs several times as much; then the
    /// first. The default is the first that is valid and that the client can verify, if there is
    /// such a one.
    #[must_use]
    pub fn select_for(
        &self,
        signatures: Signatures,
        name: Option<&ServerName>,
        local_ip: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<&Choice> {
        self.select_at(SystemTime::now(), signatures, name, local_ip)
    }

    pub(super) fn select_at(
        &self,
        now: SystemTime,
        signatures: Signatures,
        name: Option<&ServerName>,
        local_ip: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<&Choice> {
        let unfit = |certificate: &Certificate| {
            (
                !certificate.is_valid(now),
                !certificate.signatures().meet(signatures),
            )
        };
        let best = |covers: &dyn Fn(&Certificate) -> Option<bool>| {
            let covering = self
                .choices
                .iter()
                .filter_map(|choice| Some((choice, covers(&choice.certificate)?)));
            let rank = |(choice, exactly): &(&Choice, bool)| {
                (
                    unfit(&choice.certificate),
                    !exactly,
                    choice.certificate.is_rsa(),
                )
            };
            covering.min_by_key(rank).map(|(choice, _)| choice)
        };
        let covering = match name {
            Some(name) => best(&|certificate| {
                certificate
                    .covers(name)
                    .then(|| certificate.covers_exactly(name))
            }),
            None if self.strict => None,
            None => local_ip()
                .and_then(|ip| best(&|certificate| certificate.covers_ip(ip).then_some(true))),
        };
        let default = || {
            self.choices
                .iter()
                .min_by_key(|choice| unfit(&choice.certificate))
        };
        if self.strict {
            covering
        } else {
            covering.or_else(default)
        }
    }
}

impl Acceptor {
    /// Whether what its clients come in by may be taken back while they are connected.
    #[must_use]
    pub fn is_recallable(&self) -> bool {
        self.recallable
    }

    /// The fault in the versions that a client offers, for the log; `None` if one of them is
    /// spoken. Otherwise the alert is `protocol_version` (RFC 8446 §4.2.1, RFC 5246 §E.1).
    #[must_use]
    pub fn judge_versions(&self, hello: &ClientHello) -> Option<Box<str>> {
        versions::judge(hello, self.versions)
    }

    /// Whether a session of this version, `1.2` or `1.3`, may begin, as far as `min_version` goes.
    pub(super) fn speaks(&self, version: &str) -> bool {
        version != "1.2"
            || self
                .versions
                .iter()
                .any(|spoken| spoken.version == ProtocolVersion::TLSv1_2)
    }

    /// The verifier of clients, if there is one.
    pub(super) fn verifier(&self) -> Option<&Arc<dyn ClientCertVerifier>> {
        self.verifier.as_ref()
    }
}

impl Choice {
    /// The certificate that the client will be shown.
    #[must_use]
    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }
}

/// Terms that the configurations of one acceptor share, and no two acceptors do.
struct SharedTerms {
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: Vec<Vec<u8>>,
    /// Nothing where clients are asked for nothing.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl SharedTerms {
    fn new(options: &AcceptorOptions) -> Result<Self, AcceptorError> {
        let verifier = ClientVerifier::new(&options.client_auth)
            .map(|verifier| -> Arc<dyn ClientCertVerifier> { Arc::new(verifier) });
        let sessions: Arc<dyn StoresServerSessions> = match verifier {
            Some(_) => Arc::new(NoServerSessionStorage {}),
            None => ServerSessionMemoryCache::new(SESSIONS),
        };
        Ok(Self {
            versions: if options.only_tls12 {
                TLS12_ONLY
            } else {
                since(options.min_version)
            },
            alpn: options
                .alpn
                .iter()
                .map(|protocol| protocol.as_bytes().to_vec())
                .collect(),
            verifier,
            sessions,
        })
    }

    /// The configuration that shows `certificate` whatever name rustls reads in the hello: the
    /// choice is ours.
    fn config(&self, certificate: &Certificate) -> Result<ServerConfig, rustls::Error> {
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(certificate.certified())));
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(self.versions)?;
        let mut config = match &self.verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        }
        .with_cert_resolver(resolver);
        config.alpn_protocols.clone_from(&self.alpn);
        // Each cipher is AEAD with forward secrecy, so that none has to be kept from a client. The
        // client knows which of them its processor is made for; our order has AES-256 first, which
        // is slow and hard to keep secret without such help.
        config.ignore_client_order = false;
        config.session_storage = Arc::clone(&self.sessions);
        if self.verifier.is_some() {
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

/// Every version from the oldest one on.
pub(super) fn since(oldest: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        MinVersion::Tls12 => rustls::ALL_VERSIONS,
        MinVersion::Tls13 => TLS13_ONLY,
    }
}

static TLS12_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

static TLS13_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// How many sessions an acceptor remembers. A client of TLS 1.3 takes two, and a session is less
/// than a kilobyte.
const SESSIONS: usize = 1024;
