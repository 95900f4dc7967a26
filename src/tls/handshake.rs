//! One handshake, from a hello that was already read to a session or to a reason that an operator
//! can use.
//!
//! A refused client must be able to see why. The alert is on the socket when [`Choice::accept`]
//! returns, and the socket is given back, because what remains is to close it so that the alert is
//! not lost: a TLS 1.3 client considers itself connected, and may be sending already, when its
//! certificate is refused.

use std::io;

use rustls::{ProtocolVersion, ServerConnection};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::authz::{ClientCertificate, Denied};
use crate::name::{Alpn, NameError, ServerName};
use crate::net::{Stream, Transport};
use crate::os::words;
use crate::tls::facts::SessionFacts;
use crate::tls::fault::CertificateFault;
use crate::tls::server::Choice;
use crate::tls::verifier::{ShownCertificate, observed};
use crate::tls::words;
use crate::x509::path::{Flaw, PeerWords, Who};
use crate::x509::time::span;

/// A session with a client.
#[derive(Debug)]
pub struct Accepted {
    pub(super) stream: Box<TlsStream<Transport>>,
    /// The client's certificate, where it has shown one: verified if the acceptor verifies
    /// certificates.
    pub certificate: Option<ClientCertificate>,
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The protocol that both sides agreed on.
    pub alpn: Option<Alpn>,
}

/// A handshake that led to nothing.
#[derive(Debug, Error)]
#[error("{refusal}")]
pub struct HandshakeError {
    /// Why, and by whom.
    pub refusal: Refusal,
    /// The certificate that the client has shown, never a verified one. Boxed, since it is rarely
    /// there.
    pub shown: Option<Box<ClientCertificate>>,
    /// The connection, on which the alert has been written if there is one to write. Close it with
    /// [`close_in_order`](crate::net::close_in_order), or the alert may be lost.
    pub stream: Transport,
}

/// Why a handshake led to nothing.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The client had to show a certificate and did not (alert 116).
    #[error("the client sent no certificate")]
    NoCertificate,
    /// The client's certificate does not verify: the reason, in words for the client's operator.
    #[error("the client's certificate is not accepted: {0}")]
    Untrusted(String),
    /// The client's certificate is past its time (alert 45).
    #[error("the client's certificate has expired{0}")]
    Expired(String),
    /// The client's certificate, or one that it depends on, has been revoked by its issuer (alert
    /// 44): which.
    #[error("{0} has been revoked")]
    Revoked(String),
    /// The client's certificate verifies, and the policy refuses its owner (alert 49).
    #[error("the client's certificate is not allowed: {0}")]
    NotAllowed(Denied),
    /// The client speaks a version of TLS that is too old by now.
    #[error("a reload has raised min_version above TLS {0}, which the client speaks")]
    Version(&'static str),
    /// The client refused the handshake, by this alert.
    #[error("the client refused the handshake: {0}")]
    Client(String),
    /// The connection ended or broke.
    #[error("the connection ended during the handshake: {}", words(.0))]
    Io(#[source] io::Error),
    /// The name in the hello as TLS reads it is not the one that the route was chosen by.
    #[error("the route was chosen for {routed:?}, and the session is for {actual:?}")]
    NameMismatch {
        /// The name that the route was chosen by.
        routed: Option<ServerName>,
        /// The name in the session.
        actual: Option<String>,
    },
    /// The two sides have nothing in common, or one of them broke the protocol.
    #[error("the handshake failed: {0}")]
    Protocol(String),
}

impl Accepted {
    /// Facts of the session, for a server.
    #[must_use]
    pub fn facts(&self) -> SessionFacts {
        SessionFacts::of(self.stream.get_ref().1)
    }

    /// The plaintext side.
    #[must_use]
    pub fn into_stream(self) -> Stream {
        Stream::Tls(self.stream)
    }
}

impl Choice {
    /// Performs the handshake with a client whose first bytes, the ClientHello and whatever came
    /// with it, have been read and are in `preface`. `routed` is the server name in that hello, by
    /// which the route was chosen.
    ///
    /// There is no time limit: bound it from outside. Cancellation closes the connection.
    ///
    /// # Errors
    ///
    /// When there is no session, with the reason and the connection. The alert has been written by
    /// then.
    pub async fn accept(
        &self,
        stream: Transport,
        preface: &[u8],
        routed: Option<&ServerName>,
    ) -> Result<Accepted, HandshakeError> {
        let (established, shown) = observed(self.establish(stream, preface)).await;
        let stream = match established {
            Ok(stream) => stream,
            Err((error, stream)) => {
                return Err(HandshakeError::new(io_refusal(error), shown, stream));
            }
        };
        match facts(stream.get_ref().1, routed) {
            Ok((version, alpn)) => {
                let certificate = shown.and_then(|shown| shown.certificate());
                Ok(Accepted {
                    stream: Box::new(stream),
                    certificate,
                    version,
                    alpn,
                })
            }
            Err(refusal) => Err(HandshakeError::new(refusal, shown, stream.into_inner().0)),
        }
    }

    /// The handshake as TLS has it. Errors of rustls come as I/O errors, as tokio-rustls wraps
    /// them.
    async fn establish(
        &self,
        mut stream: Transport,
        preface: &[u8],
    ) -> Result<TlsStream<Transport>, (io::Error, Transport)> {
        let mut session = match ServerConnection::new(self.config.clone()) {
            Ok(session) => session,
            Err(error) => return Err((io::Error::other(error), stream)),
        };
        if let Err(error) = feed(&mut session, preface) {
            send_alert(&mut session, &mut stream).await;
            return Err((io::Error::other(error), stream));
        }
        // tokio-rustls makes a session of its own and lets us configure it. Ours replaces it: had
        // the preface been fed to that one, an error in it would go unseen until the client's next
        // byte, which may never come.
        let acceptor = TlsAcceptor::from(self.config.clone());
        acceptor
            .accept_with(stream, |fresh| *fresh = session)
            .into_fallible()
            .await
    }
}

impl HandshakeError {
    fn new(refusal: Refusal, shown: Option<Box<ShownCertificate>>, stream: Transport) -> Self {
        let Some(ShownCertificate {
            identity, fault, ..
        }) = shown.map(|shown| *shown)
        else {
            return Self {
                refusal,
                shown: None,
                stream,
            };
        };
        Self {
            refusal: refusal.with(fault),
            shown: identity.map(ClientCertificate::Unverified).map(Box::new),
            stream,
        }
    }
}

impl Refusal {
    /// Adds the fault, where rustls says less than is known.
    pub(super) fn with(self, fault: Option<CertificateFault>) -> Self {
        match (self, fault) {
            (Self::Untrusted(_), Some(CertificateFault::Denied(denied))) => {
                Self::NotAllowed(denied)
            }
            (Self::Untrusted(_), Some(CertificateFault::Unreadable(reason))) => {
                Self::Untrusted(reason)
            }
            (Self::Untrusted(_), Some(CertificateFault::Unproven)) => Self::Untrusted(
                "the client has not proved that it has the certificate's key".to_owned(),
            ),
            (Self::Untrusted(_), Some(CertificateFault::Flawed(flaw))) => flawed(&flaw),
            (Self::Untrusted(_), Some(CertificateFault::Key(key))) => Self::Untrusted(format!(
                "it has {key}, by which no client is known; issue it for a key of RSA (2048 to 8192 bits), P-256, P-384, \
                 P-521 or Ed25519"
            )),
            (Self::Untrusted(_), Some(CertificateFault::NotPinned(pin))) => {
                Self::Untrusted(format!(
                    "neither it nor its key is among those of client_auth (the mode is `pinned`); to let it in, add its key to \
                 `client_auth.spki_sha256`: {pin}"
                ))
            }
            (refusal, _) => refusal,
        }
    }
}

/// Lets `session` process all of `preface`.
fn feed(session: &mut ServerConnection, mut preface: &[u8]) -> Result<(), rustls::Error> {
    while !preface.is_empty() {
        match session.read_tls(&mut preface) {
            // Nothing more is taken from a client that has said good-bye.
            Ok(0) => break,
            Ok(_) => session.process_new_packets()?,
            Err(error) => return Err(rustls::Error::General(error.to_string())),
        };
    }
    Ok(())
}

/// Writes what `session` still has to say. A client that cannot be reached will not miss it.
async fn send_alert(session: &mut ServerConnection, stream: &mut Transport) {
    let mut bytes = Vec::new();
    while session.wants_write() && session.write_tls(&mut bytes).is_ok() {}
    let _ = stream.write_all(&bytes).await;
}

/// The facts of the client from a finished handshake, once it is certain that it is the client the
/// route was chosen for.
fn facts(
    session: &ServerConnection,
    routed: Option<&ServerName>,
) -> Result<(&'static str, Option<Alpn>), Refusal> {
    if !same_name(session.server_name(), routed) {
        let actual = session.server_name().map(str::to_owned);
        return Err(Refusal::NameMismatch {
            routed: routed.cloned(),
            actual,
        });
    }
    let version = if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
        "1.3"
    } else {
        "1.2"
    };
    let alpn = session
        .alpn_protocol()
        .and_then(|protocol| Alpn::new(protocol).ok());
    Ok((version, alpn))
}

/// Whether the name that rustls read is the one that the route was chosen by. An address is no name
/// (RFC 6066 §3).
fn same_name(actual: Option<&str>, routed: Option<&ServerName>) -> bool {
    match actual.map(str::parse::<ServerName>) {
        None | Some(Err(NameError::IpAddress)) => routed.is_none(),
        Some(Ok(name)) => routed == Some(&name),
        Some(Err(_)) => false,
    }
}

/// tokio-rustls wraps what rustls says into an I/O error.
fn io_refusal(error: io::Error) -> Refusal {
    match error.downcast::<rustls::Error>() {
        Ok(error) => refusal(error),
        Err(error) => Refusal::Io(error),
    }
}

pub(super) fn refusal(error: rustls::Error) -> Refusal {
    match error {
        rustls::Error::NoCertificatesPresented => Refusal::NoCertificate,
        rustls::Error::AlertReceived(alert) => Refusal::Client(words::alert(alert)),
        // What is known of the certificate comes by `with`.
        rustls::Error::InvalidCertificate(error) => {
            Refusal::Untrusted(words::certificate(&error).to_owned())
        }
        error => Refusal::Protocol(words::protocol(&error, "client")),
    }
}

/// How clients' certificates are spoken of.
const CLIENTS: PeerWords<'static> = PeerWords {
    peer: "client",
    trust: "client_auth.ca_files",
    usage: "clientAuth",
    pin: "list its key in `client_auth.spki_sha256` with `client_auth.mode = \"pinned\"`",
};

fn flawed(flaw: &Flaw) -> Refusal {
    match flaw {
        Flaw::Revoked(Who::Peer) => Refusal::Revoked("the client's certificate".to_owned()),
        Flaw::Revoked(Who::Intermediate(name) | Who::Root(name)) => Refusal::Revoked(format!(
            "the intermediate {name}, which the client's certificate depends on,"
        )),
        Flaw::Expired(Who::Peer, ago) => Refusal::Expired(format!(", {} ago", span(ago.as_secs()))),
        flaw => Refusal::Untrusted(flaw.words(&CLIENTS)),
    }
}
