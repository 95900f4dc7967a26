//! The client's side of TLS: sessions with servers, and why there is none.
//!
//! A server is believed because an authority vouches for its certificate, or because its key is
//! known, or, where the operator says so, without a reason. Which of them it is stands in the
//! [`ConnectorOptions`] and nowhere else: no error, and nothing that a server sends, leads from one
//! to another.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName as PkiName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::ExtendedKeyUsage;

use crate::addr::UpstreamAddr;
use crate::authz::SpkiDigest;
use crate::name::Alpn;
use crate::net::Transport;
use crate::tls::alerts;
use crate::tls::certificate::Certificate;
use crate::tls::groups::limited_to;
use crate::tls::options::{ConnectorOptions, NotPinned, PeerName, Verification};
use crate::tls::provider::{algorithms, provider};
use crate::tls::refused::{Met, SessionError, explain, large_hello};
use crate::tls::server::since;
use crate::x509::identity::sha256;
use crate::x509::path::{Paths, Purpose};
use crate::x509::pem;

/// Makes sessions with the servers of one upstream. Two connectors are equal if they were made of
/// the same: contents, not files.
pub struct Connector {
    options: ConnectorOptions,
    config: Arc<ClientConfig>,
}

impl Connector {
    /// A connector with no sessions to resume yet. None is ever resumed by another connector.
    ///
    /// # Errors
    ///
    /// When the TLS library does not take the options.
    pub fn new(options: ConnectorOptions) -> Result<Self, rustls::Error> {
        let verifier = ServerVerifier {
            trust: match &options.verification {
                Verification::Insecure => None,
                Verification::Trust(_, trust) => Some(Paths::new(
                    Arc::clone(&trust.anchors),
                    None,
                    Purpose::Server,
                )),
            },
            pins: options.pins.clone(),
        };
        let own = options
            .certificate
            .as_ref()
            .map(|(_, certificate)| Arc::clone(certificate.certified()));
        let provider = if options.groups.is_empty() {
            Arc::clone(provider())
        } else {
            Arc::new(limited_to(&options.groups))
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(since(options.min_version))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(OwnCertificate(own)));
        Ok(Self {
            options,
            config: Arc::new(config),
        })
    }

    /// The options that it was made of.
    #[must_use]
    pub fn options(&self) -> &ConnectorOptions {
        &self.options
    }

    /// The remedy to try where a server does not answer a hello, or ends the connection; `None`
    /// where the hello is a small one.
    #[must_use]
    pub fn advice_on_silence(&self) -> Option<String> {
        large_hello(&self.options)
    }

    /// The name that the server at `addr` must prove to have; `None` where that has to be
    /// configured.
    #[must_use]
    pub fn name_of(&self, addr: &UpstreamAddr) -> Option<PeerName> {
        self.options
            .server_name
            .clone()
            .or_else(|| PeerName::of(addr))
    }

    /// Makes a session over `stream`, which leads to the server at `addr`. `agreed` is the protocol
    /// that the client and snigate have agreed on: the bytes of one side go to the other as they
    /// are.
    ///
    /// There is no time limit: bound it from outside. Cancellation closes the connection.
    ///
    /// # Errors
    ///
    /// When there is no session: why, and what to change. The server has been sent an alert, and
    /// the connection is closed.
    pub async fn connect(
        &self,
        stream: Transport,
        addr: &UpstreamAddr,
        agreed: Option<&Alpn>,
    ) -> Result<Box<TlsStream<Transport>>, SessionError> {
        let name = self.name_of(addr).ok_or(SessionError::NoName)?;
        let offered = if self.options.alpn.is_empty() {
            agreed.map_or(&[][..], std::slice::from_ref)
        } else {
            &self.options.alpn
        };
        let offered = offered
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let handshake = connector.with_alpn(offered).connect(name.0.clone(), stream);
        let handshake = async {
            handshake
                .await
                .map(Box::new)
                .map_err(|error| (error, MET.with(RefCell::take)))
        };
        let connected = MET.scope(RefCell::default(), handshake).await;
        connected.map_err(|(error, met)| explain(error, &met, &name, &self.options))
    }

    /// All that makes a difference between two connectors.
    fn identity(&self) -> impl Eq + Hash + '_ {
        let ConnectorOptions {
            upstream,
            server_name,
            verification,
            pins,
            certificate,
            min_version,
            alpn,
            groups,
        } = &self.options;
        let certificate = certificate
            .as_ref()
            .map(|(name, certificate)| (name, &certificate.certified().cert));
        (
            upstream,
            server_name,
            verification,
            pins,
            certificate,
            min_version,
            alpn,
            groups,
        )
    }
}

impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Connector {}

impl Hash for Connector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

tokio::task_local! {
    /// The findings of the handshake that is being made in this task.
    static MET: RefCell<Met>;
}

/// Judges servers' certificates.
#[derive(Debug)]
struct ServerVerifier {
    /// Nothing where any certificate will do.
    trust: Option<Paths>,
    pins: Vec<SpkiDigest>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &PkiName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // There is none where no handshake waits for an explanation.
        let _ = MET.try_with(|met| met.borrow_mut().shown(leaf, intermediates));
        if let Some(trust) = &self.trust {
            trust
                .verify(leaf, intermediates, Some(name), now)
                .map_err(|flaw| {
                    let error = alerts::error(&flaw);
                    let _ = MET.try_with(|met| met.borrow_mut().flaw = Some(flaw));
                    error
                })?;
        }
        if !self.pins.is_empty() {
            let leaf = pem::parse(leaf).map_err(|_| CertificateError::BadEncoding)?;
            let pin = SpkiDigest::from(sha256(leaf.public_key().raw));
            if !self.pins.contains(&pin) {
                return Err(CertificateError::Other(OtherError(Arc::new(NotPinned(pin)))).into());
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Shows the one certificate that was named for it, or none. No other certificate is ever shown to
/// a server: one of a public CA is not for clients any more, and what it says of its owner is no
/// server's business.
#[derive(Debug)]
struct OwnCertificate(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let _ = MET.try_with(|met| met.borrow_mut().asked = true);
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl Certificate {
    /// Whether servers may take it from a client: its extended key usage says so, or there is none
    /// (RFC 5280 §4.2.1.12).
    #[must_use]
    pub fn is_for_clients(&self) -> bool {
        self.is_for(|usage| usage.client_auth)
    }

    /// Whether clients may take it from a server.
    #[must_use]
    pub fn is_for_servers(&self) -> bool {
        self.is_for(|usage| usage.server_auth)
    }

    fn is_for(&self, purpose: fn(&ExtendedKeyUsage<'_>) -> bool) -> bool {
        let leaf = self
            .certified()
            .cert
            .first()
            .and_then(|leaf| pem::parse(leaf).ok());
        // What cannot be read was refused when it was loaded.
        leaf.is_none_or(|leaf| match leaf.extended_key_usage() {
            Ok(Some(usage)) => purpose(usage.value),
            _ => true,
        })
    }
}

/// Why a relay with a server ended, if the server did not accept the certificate that it was shown:
/// with TLS 1.3 it says so only when snigate is done with the handshake.
#[must_use]
pub fn refused_certificate(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => crate::tls::refused::certificate_alert(*alert),
        _ => None,
    }
}
