//! Why there is no session with a server, in words that say what to change.

use std::io;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use thiserror::Error;

use crate::tls::client::{ConnectorOptions, NotPinned, PeerName, Verification};
use crate::tls::identity::distinguished_name;
use crate::tls::pem;

/// Why there is no session with a server. The texts name the keys of the upstream's table that are concerned.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The server's certificate is not believed.
    #[error("the server's certificate is not accepted: {0}")]
    Certificate(String),
    /// The server refused the handshake, by an alert.
    #[error("the server refused the TLS handshake: {0}")]
    Refused(String),
    /// The server refused it, because it speaks none of the protocols that were offered.
    #[error("the server refused the TLS handshake: {0}")]
    NoProtocol(String),
    /// The connection ended or broke.
    #[error("the connection ended during the TLS handshake: {0}")]
    Io(#[source] io::Error),
    /// What the server sent is not TLS.
    #[error("the server does not speak TLS; remove `upstreams.{0}.tls`, or name another port")]
    NotTls(String),
    /// The two sides have nothing in common, or one of them broke the protocol.
    #[error("the TLS handshake failed: {0}")]
    Protocol(#[source] rustls::Error),
    /// The server has no name that its certificate could be for.
    #[error("there is no name to verify the server by")]
    NoName,
}

/// What a handshake has met before it failed.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// The issuer of the last certificate that the server sent, which is the one that would have to be trusted.
    issuer: Option<String>,
    /// The server has sent one certificate, which was issued by nobody else.
    self_signed: bool,
    /// The server has asked for a certificate.
    pub(super) asked: bool,
}

impl Met {
    /// The server has shown these.
    pub(super) fn shown(&mut self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) {
        let last = intermediates.last().unwrap_or(leaf);
        if let Ok(last) = pem::parse(last) {
            self.issuer = Some(distinguished_name(last.issuer()));
            self.self_signed = intermediates.is_empty() && last.issuer() == last.subject();
        }
    }
}

/// What tokio-rustls says, for people. It wraps what rustls says into an I/O error.
pub(super) fn explain(error: io::Error, met: &Met, name: &PeerName, options: &ConnectorOptions) -> SessionError {
    let error = match error.downcast::<rustls::Error>() {
        Ok(error) => error,
        Err(error) => return SessionError::Io(error),
    };
    match error {
        rustls::Error::InvalidCertificate(error) => SessionError::Certificate(certificate(&error, met, name, options)),
        rustls::Error::AlertReceived(alert) => {
            let refused = match alert {
                AlertDescription::NoApplicationProtocol => SessionError::NoProtocol,
                _ => SessionError::Refused,
            };
            refused(refusal(alert, met, name, options))
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            SessionError::NotTls(options.upstream.to_string())
        }
        error => SessionError::Protocol(error),
    }
}

fn certificate(error: &CertificateError, met: &Met, name: &PeerName, options: &ConnectorOptions) -> String {
    use CertificateError as E;
    let key = |key: &str| format!("`upstreams.{}.tls.{key}`", options.upstream);
    match error {
        E::UnknownIssuer => unknown_issuer(met, options),
        E::BadSignature => format!(
            "a signature in it does not verify with the key of the trusted CA of that name, {}; if two CAs have the same \
             subject, both must be in {}",
            met.issuer.as_deref().unwrap_or("?"),
            trusted(options)
        ),
        E::NotValidForName => format!("it is not for {name}; set {} to a name that it has", key("server_name")),
        E::NotValidForNameContext { presented, .. } => {
            let names = if presented.is_empty() { "no name at all".to_owned() } else { names(presented) };
            format!("it is for {names}, and not for {name}; set {} to a name that it has", key("server_name"))
        }
        E::Expired => "it has expired".to_owned(),
        E::ExpiredContext { time, not_after } => {
            let ago = crate::tls::handshake::span(time.as_secs().saturating_sub(not_after.as_secs()));
            format!("it, or one that it depends on, has expired {ago} ago")
        }
        E::NotValidYetContext { time, not_before } => {
            let wait = crate::tls::handshake::span(not_before.as_secs().saturating_sub(time.as_secs()));
            format!("it is not valid before {wait} from now; compare the clocks")
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "its extended key usage does not include serverAuth".to_owned()
        }
        E::BadEncoding => "it is not a well-formed certificate".to_owned(),
        E::Other(other) => {
            if let Some(NotPinned(pin)) = other.0.downcast_ref::<NotPinned>() {
                return format!("its key has the pin {pin}, which is not in {}", key("pin"));
            }
            match other.0.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::UnsupportedCertVersion) => {
                    "it is an X.509 v1 certificate: issue it with extensions (v3)".to_owned()
                }
                Some(webpki::Error::CaUsedAsEndEntity) => format!(
                    "it is a CA's own certificate (CA:TRUE), which is for no server: issue one with CA:FALSE, or name its \
                     key in {} beside `insecure = true`",
                    key("pin")
                ),
                _ => error.to_string(),
            }
        }
        _ => error.to_string(),
    }
}

fn unknown_issuer(met: &Met, options: &ConnectorOptions) -> String {
    let setting = format!("`upstreams.{}.tls.trust`", options.upstream);
    let issuer = met.issuer.as_deref().unwrap_or("a CA that it does not name");
    let remedy = match &options.verification {
        Verification::Trust(Some(_), _) => format!("add that to {}, which {setting} names", trusted(options)),
        _ => format!("name a `[trust]` table that has it in {setting}"),
    };
    if met.self_signed {
        return format!("it is self-signed by {issuer}, which is not in {}; {remedy}", trusted(options));
    }
    format!(
        "it was issued by {issuer}, which is not in {}; {remedy}, or let the server send the certificates in between",
        trusted(options)
    )
}

fn trusted(options: &ConnectorOptions) -> String {
    match &options.verification {
        Verification::Trust(Some(name), _) => format!("trust.{name}"),
        _ => "the system's store".to_owned(),
    }
}

/// rustls writes them as `DnsName("a.example")` and `IpAddress(192.0.2.1)`.
fn names(presented: &[String]) -> String {
    /// Some certificates have hundreds.
    const MOST: usize = 8;
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')).unwrap_or(name);
        crate::authz::printable(inner.trim_matches('"'))
    };
    let more = if presented.len() > MOST { ", ..." } else { "" };
    presented.iter().take(MOST).map(plain).collect::<Vec<_>>().join(", ") + more
}

fn refusal(alert: AlertDescription, met: &Met, name: &PeerName, options: &ConnectorOptions) -> String {
    let key = |key: &str| format!("`upstreams.{}.tls.{key}`", options.upstream);
    let shown = options.certificate.is_some();
    match alert {
        AlertDescription::UnrecognisedName => {
            format!("it has nothing for {name} (unrecognized_name); set {}", key("server_name"))
        }
        AlertDescription::NoApplicationProtocol => {
            format!("it speaks none of the protocols that were offered (no_application_protocol); set {}", key("alpn"))
        }
        AlertDescription::ProtocolVersion => {
            format!("it speaks no version of TLS that is allowed (protocol_version); see {}", key("min_version"))
        }
        // TLS 1.2 has no alert for this, and servers send what they like.
        AlertDescription::HandshakeFailure | AlertDescription::CertificateRequired if met.asked && !shown => {
            format!(
                "it asked for a client certificate, and there is none ({alert:?}); name one in {}",
                key("certificate")
            )
        }
        alert => certificate_alert(alert).unwrap_or_else(|| format!("{alert:?}")),
    }
}

/// What a server means by an alert about the certificate that it was shown.
pub(super) fn certificate_alert(alert: AlertDescription) -> Option<String> {
    use AlertDescription as A;
    let because = match alert {
        A::CertificateRequired => {
            return Some(
                "it requires a client certificate (CertificateRequired); name one in `tls.certificate` of the upstream"
                    .to_owned(),
            );
        }
        A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown | A::AccessDenied | A::DecryptError => "",
        A::CertificateRevoked => ": it was revoked",
        A::CertificateExpired => ": it has expired",
        A::UnknownCA => ": the server does not know the CA that issued it",
        _ => return None,
    };
    Some(format!("it does not accept the certificate of `tls.certificate` of the upstream ({alert:?}){because}"))
}
