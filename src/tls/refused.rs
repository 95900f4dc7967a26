//! Failures of sessions with servers, in words that say what to change.

use std::io;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use thiserror::Error;

use crate::authz::{AltName, printable};
use crate::os::words;
use crate::tls::options::{ConnectorOptions, NotPinned, PeerName, Verification};
use crate::tls::words;
use crate::x509::identity::distinguished_name;
use crate::x509::issues::unusable;
use crate::x509::path::{Flaw, PeerWords};
use crate::x509::pem;

/// Why there is no session with a server. The texts name the keys of the upstream's table that are
/// concerned.
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
    #[error("the connection ended during the TLS handshake: {}", words(.0))]
    Io(#[source] io::Error),
    /// The connection ended or broke before the server had shown a certificate.
    #[error(
        "the connection ended during the TLS handshake, before the server had shown a certificate: {}{}",
        words(error),
        advice.as_ref().map_or_else(String::new, |advice| format!("; {advice}"))
    )]
    Hello {
        /// How it ended.
        #[source]
        error: io::Error,
        /// A remedy to try.
        advice: Option<String>,
    },
    /// The server's answer is not TLS.
    #[error("the server does not speak TLS; remove `upstreams.{0}.tls`, or name another port")]
    NotTls(String),
    /// The two sides have nothing in common, or one of them broke the protocol.
    #[error("the TLS handshake failed: {0}")]
    Protocol(String),
    /// The server has no name that its certificate could be for.
    #[error("there is no name to verify the server by")]
    NoName,
}

/// Findings of a handshake before it failed.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// The issuer of the last certificate that the server sent, which is the one that would have to
    /// be trusted.
    issuer: Option<String>,
    /// The server has sent one certificate, which has issued itself.
    self_signed: bool,
    /// The server has asked for a certificate.
    pub(super) asked: bool,
    /// The flaw of the server's certificate.
    pub(super) flaw: Option<Flaw>,
    /// The server has shown a certificate.
    has_shown: bool,
}

impl Met {
    /// The server has shown these.
    pub(super) fn shown(
        &mut self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) {
        self.has_shown = true;
        let last = intermediates.last().unwrap_or(leaf);
        if let Ok(last) = pem::parse(last) {
            self.issuer = Some(distinguished_name(last.issuer()));
            self.self_signed = intermediates.is_empty() && last.issuer() == last.subject();
        }
    }
}

/// The error of tokio-rustls, for people. It wraps those of rustls into I/O errors. It wraps what
/// rustls says into an I/O error.
pub(super) fn explain(
    error: io::Error,
    met: &Met,
    name: &PeerName,
    options: &ConnectorOptions,
) -> SessionError {
    let error = match error.downcast::<rustls::Error>() {
        Ok(error) => error,
        Err(error) if met.has_shown => return SessionError::Io(error),
        Err(error) => {
            return SessionError::Hello {
                error,
                advice: large_hello(options),
            };
        }
    };
    match error {
        rustls::Error::InvalidCertificate(error) => {
            SessionError::Certificate(certificate(&error, met, name, options))
        }
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
        error => SessionError::Protocol(words::protocol(&error, "server")),
    }
}

/// The fault to suspect where a server does not answer a hello of two segments, and what to write.
pub(super) fn large_hello(options: &ConnectorOptions) -> Option<String> {
    options.has_large_hello().then(|| {
        format!(
            "if it does not answer a ClientHello of more than one segment, `upstreams.{}.tls.groups = [\"x25519\", \
             \"secp256r1\"]` leaves the post-quantum key share out",
            options.upstream
        )
    })
}

fn certificate(
    error: &CertificateError,
    met: &Met,
    name: &PeerName,
    options: &ConnectorOptions,
) -> String {
    let key = |key: &str| format!("`upstreams.{}.tls.{key}`", options.upstream);
    if let CertificateError::Other(other) = error
        && let Some(NotPinned(pin)) = other.0.downcast_ref::<NotPinned>()
    {
        return format!("its key has the pin {pin}, which is not in {}", key("pin"));
    }
    match &met.flaw {
        Some(Flaw::UnknownIssuer { .. }) => unknown_issuer(met, options),
        Some(Flaw::Name(names)) => other_names(names, name, &key),
        Some(flaw) => {
            let pin = format!("name its key in {} beside `insecure = true`", key("pin"));
            let trust = trusted(options);
            flaw.words(&PeerWords {
                peer: "server",
                trust: &trust,
                usage: "serverAuth",
                pin: &pin,
            })
        }
        None => words::certificate(error).to_owned(),
    }
}

/// That a certificate is for `presented`, and not for the name that the server must prove to be.
fn other_names(presented: &[AltName], name: &PeerName, key: &dyn Fn(&str) -> String) -> String {
    let listed = |name: &AltName| match name {
        AltName::Dns(text)
        | AltName::Uri(text)
        | AltName::Email(text)
        | AltName::Principal(text) => printable(text),
        AltName::Ip(ip) => ip.to_string(),
    };
    let wanted = name.to_string();
    let address: Option<IpAddr> = wanted.parse().ok();
    // An address among the DNS names is a common slip; no client takes such a certificate for the
    // address.
    if address.is_some() && presented.iter().any(|name| among_names(name) == address) {
        return format!(
            "{wanted} stands among its DNS names, where an address does not count; issue it with that as an IP address \
             (subjectAltName=IP:{wanted})"
        );
    }
    let all = names(&presented.iter().map(listed).collect::<Vec<_>>());
    if presented.is_empty() {
        return format!(
            "it is for no name at all, and not for {name} (the subject does not count); issue it with a subjectAltName, or \
             name its key in {} beside `insecure = true`",
            key("pin")
        );
    }
    if !presented.iter().any(is_usable) {
        if let Some(slip) = presented.iter().find_map(slip) {
            return format!(
                "it is for {all}, and not for {name}: {slip}; issue it anew, or name its key in {} beside `insecure = true`",
                key("pin")
            );
        }
        return format!(
            "it is for {all}, and not for {name}: servers are verified by DNS names and IP addresses only; issue it with \
             one, or name its key in {} beside `insecure = true`",
            key("pin")
        );
    }
    format!(
        "it is for {all}, and not for {name}; set {} to a name that it has",
        key("server_name")
    )
}

/// The address that stands among DNS names.
fn among_names(name: &AltName) -> Option<IpAddr> {
    match name {
        AltName::Dns(text) => text.parse().ok(),
        _ => None,
    }
}

/// Whether a server can be verified by the name.
fn is_usable(name: &AltName) -> bool {
    match name {
        AltName::Dns(text) => among_names(name).is_none() && unusable(text).is_none(),
        AltName::Ip(_) => true,
        _ => false,
    }
}

/// Why a DNS name stands for none.
fn slip(name: &AltName) -> Option<String> {
    let AltName::Dns(text) = name else {
        return None;
    };
    if let Some(address) = among_names(name) {
        return Some(format!(
            "{address} stands among its DNS names, where an address does not count"
        ));
    }
    unusable(text).map(|hint| format!("the DNS name \"{}\" is none{hint}", printable(text)))
}

fn unknown_issuer(met: &Met, options: &ConnectorOptions) -> String {
    let setting = format!("`upstreams.{}.tls.trust`", options.upstream);
    let issuer = met
        .issuer
        .as_deref()
        .unwrap_or("a CA that it does not name");
    let remedy = match &options.verification {
        Verification::Trust(Some(_), _) => {
            format!("add that to {}, which {setting} names", trusted(options))
        }
        _ => format!("name a `[trust]` table that has it in {setting}"),
    };
    if met.self_signed {
        return format!(
            "it is self-signed by {issuer}, which is not in {}; {remedy}",
            trusted(options)
        );
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

/// Some certificates have hundreds.
fn names(presented: &[String]) -> String {
    const MOST: usize = 8;

    let more = if presented.len() > MOST { ", ..." } else { "" };
    presented
        .iter()
        .take(MOST)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
        + more
}

fn refusal(
    alert: AlertDescription,
    met: &Met,
    name: &PeerName,
    options: &ConnectorOptions,
) -> String {
    let key = |key: &str| format!("`upstreams.{}.tls.{key}`", options.upstream);
    let shown = options.certificate.is_some();
    match alert {
        AlertDescription::UnrecognisedName => {
            format!(
                "it has nothing for {name} (unrecognized_name); set {}",
                key("server_name")
            )
        }
        AlertDescription::NoApplicationProtocol => {
            format!(
                "it speaks none of the protocols that were offered (no_application_protocol); set {}",
                key("alpn")
            )
        }
        AlertDescription::ProtocolVersion => {
            format!(
                "it speaks no version of TLS that is allowed (protocol_version); see {}",
                key("min_version")
            )
        }
        // TLS 1.2 has no alert for this, and servers send what they like.
        AlertDescription::HandshakeFailure | AlertDescription::CertificateRequired
            if met.asked && !shown =>
        {
            format!(
                "it asked for a client certificate, and there is none ({}); name one in {}",
                words::alert(alert),
                key("certificate")
            )
        }
        alert => certificate_alert(alert).unwrap_or_else(|| words::alert(alert)),
    }
}

/// The meaning of a server's alert about the certificate that it was shown.
pub(super) fn certificate_alert(alert: AlertDescription) -> Option<String> {
    use AlertDescription as A;
    let because = match alert {
        A::CertificateRequired => {
            return Some(
                "it requires a client certificate (certificate_required); name one in `tls.certificate` of the upstream"
                    .to_owned(),
            );
        }
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateUnknown
        | A::AccessDenied
        | A::DecryptError => "",
        A::CertificateRevoked => ": it was revoked",
        A::CertificateExpired => ": it has expired",
        A::UnknownCA => ": the server does not know the CA that issued it",
        _ => return None,
    };
    Some(format!(
        "it does not accept the certificate of `tls.certificate` of the upstream ({}){because}",
        words::alert(alert)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_for_none_is_told_with_what_to_do() {
        let dns = |text: &str| AltName::Dns(text.to_owned());
        let uri = AltName::Uri("spiffe://a/b".to_owned());
        let among = "stands among its DNS names, where an address does not count";
        for (names, wanted, expected) in [
            (vec![dns("127.0.0.1")], "127.0.0.1", format!("127.0.0.1 {among}; issue it with that as an IP address")),
            (vec![dns("0:0:0:0:0:0:0:1")], "::1", format!("::1 {among}; issue it with that as an IP address")),
            (vec![dns("127.0.0.1"), dns("a.example")], "127.0.0.1", format!("127.0.0.1 {among}")),
            (
                vec![dns("::1")],
                "127.0.0.1",
                format!("it is for ::1, and not for 127.0.0.1: ::1 {among}; issue it anew"),
            ),
            (vec![uri.clone(), dns("127.0.0.1")], "a.example", format!("not for a.example: 127.0.0.1 {among}")),
            (
                vec![dns("a.example:443")],
                "a.example",
                "the DNS name \"a.example:443\" is none; it is written without a port; issue it anew".to_owned(),
            ),
            (vec![dns("https://a.example")], "a.example", "is none; it is written without a scheme".to_owned()),
            (vec![dns("a.example.")], "a.example", "is none; it is written without the dot at its end".to_owned()),
            (vec![dns("127.0.0.01")], "127.0.0.1", "the DNS name \"127.0.0.01\" is none".to_owned()),
            (vec![dns("*")], "a.example", "is none; a wildcard stands for one label".to_owned()),
            (vec![uri.clone()], "a.example", "verified by DNS names and IP addresses only".to_owned()),
            (
                vec![uri, dns("a.example:1"), dns("b.example")],
                "a.example",
                "set `server_name` to a name that it has".to_owned(),
            ),
        ] {
            let said = other_names(&names, &wanted.parse().unwrap(), &|key| format!("`{key}`"));
            assert!(said.contains(&expected), "{expected}: {said}");
            let has_usable = names.contains(&dns("b.example")) || said.starts_with(wanted);
            assert_eq!(!said.contains("name its key in `pin`"), has_usable, "{said}");
        }
    }
}
