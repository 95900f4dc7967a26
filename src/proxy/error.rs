//! Errors of connections: what the client is told, and what the access log says.

use std::io;

use thiserror::Error;

use crate::name::ServerName;
use crate::os::words;
use crate::proxy::Limit;
use crate::relay::{self, Side};
use crate::telemetry::{Ending, Outcome, Party};
use crate::tls::{Refusal, refused_certificate};
use crate::upstream::{ConnectError, Unsent};
use crate::wire::proxy_header::HeaderError;
use crate::wire::{Alert, HelloError, Preamble};

/// Why a connection failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The client closed, or waited, without having sent a byte.
    #[error("the client sent nothing")]
    Silent,
    /// The client closed in the middle of its ClientHello.
    #[error("the client closed before its hello was complete")]
    IncompleteHello,
    /// The client's ClientHello was not complete by the deadline.
    #[error("the hello was not complete in time")]
    HelloTimeout,
    /// Reading the ClientHello failed.
    #[error("reading the hello failed")]
    HelloRead(#[source] io::Error),
    /// A PROXY header was required.
    #[error("no PROXY header, which `proxy_protocol` of the listener requires from this address")]
    NoProxyHeader,
    /// The connection was closed in the middle of a PROXY header.
    #[error("the connection was closed in the middle of the PROXY header")]
    IncompleteProxyHeader,
    /// A PROXY header breaks the rules.
    #[error("the PROXY header is not sound: {0}")]
    ProxyHeader(HeaderError),
    /// There is a PROXY header where the hello should begin.
    #[error(
        "a PROXY header where the hello should begin: `proxy_protocol.from` of the listener says from which addresses \
         a connection begins with one, and with no second one"
    )]
    UnexpectedProxyHeader,
    /// The client speaks another protocol.
    #[error("the first bytes are not those of a TLS handshake: {0}")]
    OtherProtocol(Preamble),
    /// The client's first bytes are not an acceptable ClientHello.
    #[error(transparent)]
    Hello(HelloError),
    /// There are too many connections.
    #[error(transparent)]
    Limit(Limit),
    /// No route takes the client.
    #[error("no route takes this client")]
    NoRoute,
    /// No route takes a client that validates a name by `tls-alpn-01` (RFC 8737).
    #[error(
        "a validation by tls-alpn-01, which offers acme-tls/1 only, and no route takes it; a route that does: \
         [routes.validation] sni = \"{}\" alpn = \"acme-tls/1\" action = \"passthrough\" \
         upstream = \"HOST:PORT of the ACME client\"",
        validated(_0)
    )]
    NoValidationRoute(Option<ServerName>),
    /// The route rejects its clients.
    #[error("the route rejects its clients")]
    Rejected,
    /// The route is strict and none of its certificates covers the name.
    #[error("no certificate of the route covers {0}")]
    NameNotCovered(ServerName),
    /// The client offers no version of TLS that the route takes.
    #[error("{0}")]
    Version(Box<str>),
    /// The TLS handshake was not complete by the deadline.
    #[error("the handshake was not complete in time")]
    HandshakeTimeout,
    /// No server could be reached. Boxed: the room for it would be in the task of every connection.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// The handshake led to nothing. Boxed for the same reason.
    #[error(transparent)]
    Handshake(Box<Refusal>),
    /// The client would not be let in any more.
    #[error("no longer let in: {0}")]
    Withdrawn(Box<Refusal>),
    /// An operator has closed the connection.
    #[error("an operator has closed the connection")]
    Killed,
    /// The connection was as old as the route allows.
    #[error("the connection was as old as it may become")]
    MaxLifetime,
    /// The relay ended before both sides had.
    #[error(transparent)]
    Relay(relay::RelayError),
}

impl Error {
    /// The alert for the client, where snigate speaks in its own name: before TLS has begun.
    #[must_use]
    pub fn alert(&self) -> Option<Alert> {
        match self {
            Self::Hello(HelloError::Malformed(fault)) => Some(fault.alert()),
            Self::NoRoute | Self::NoValidationRoute(_) | Self::NameNotCovered(_) => {
                Some(Alert::UnrecognizedName)
            }
            Self::Rejected => Some(Alert::AccessDenied),
            Self::Version(_) => Some(Alert::ProtocolVersion),
            Self::Connect(_) => Some(Alert::InternalError),
            _ => None,
        }
    }

    /// The ending for the access log: the one way from an error to an ending.
    #[must_use]
    pub fn ending(&self) -> Ending {
        use {Outcome as O, Party as P};
        match self {
            Self::Silent | Self::IncompleteHello => Ending::new(O::IncompleteHello, P::Client),
            Self::HelloTimeout => Ending::new(O::HelloTimeout, P::Client),
            Self::HelloRead(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Ending::new(O::Reset, P::Client)
            }
            Self::HelloRead(error) => Ending::because(O::IncompleteHello, P::Client, words(error)),
            Self::NoProxyHeader | Self::IncompleteProxyHeader | Self::ProxyHeader(_) => {
                Ending::because(O::BadProxyHeader, P::Client, self)
            }
            Self::UnexpectedProxyHeader | Self::OtherProtocol(_) => {
                Ending::because(O::NotTls, P::Client, self)
            }
            Self::Hello(HelloError::NotTls) => Ending::new(O::NotTls, P::Client),
            Self::Hello(error @ HelloError::TooLarge { .. }) => {
                Ending::because(O::HelloTooLarge, P::Client, error)
            }
            Self::Hello(error @ HelloError::Malformed(_)) => {
                Ending::because(O::MalformedHello, P::Client, error)
            }
            Self::Limit(_) => Ending::because(O::Limit, P::Proxy, self),
            Self::NoRoute => Ending::new(O::NoRoute, P::Proxy),
            Self::NoValidationRoute(_) => Ending::because(O::NoRoute, P::Proxy, self),
            Self::Rejected => Ending::new(O::Rejected, P::Proxy),
            Self::NameNotCovered(_) => Ending::because(O::NameNotCovered, P::Proxy, self),
            Self::Version(_) => Ending::because(O::HandshakeFailed, P::Client, self),
            Self::HandshakeTimeout => Ending::new(O::HandshakeTimeout, P::Client),
            Self::Connect(error) => unreached(error),
            Self::Handshake(refusal) => handshake(refusal),
            Self::Withdrawn(refusal) => Ending::because(withdrawn(refusal), P::Proxy, self),
            Self::Killed => Ending::new(O::Killed, P::Proxy),
            Self::MaxLifetime => Ending::new(O::MaxLifetime, P::Proxy),
            Self::Relay(error) => relayed(error),
        }
    }
}

/// The `sni` of a route for this name.
fn validated(name: &Option<ServerName>) -> &str {
    name.as_ref().map_or("*", ServerName::as_str)
}

fn unreached(error: &ConnectError) -> Ending {
    let (outcome, by) = match error {
        ConnectError::TimedOut { .. }
        | ConnectError::Unsent {
            error: Unsent::Late,
            ..
        } => (Outcome::ConnectTimeout, Party::Server),
        ConnectError::Tls { .. } => (Outcome::UpstreamTlsFailed, Party::Server),
        ConnectError::Full { .. } | ConnectError::Crowded { .. } => (Outcome::Limit, Party::Proxy),
        _ if error.is_local() => (Outcome::ConnectFailed, Party::Proxy),
        _ => (Outcome::ConnectFailed, Party::Server),
    };
    Ending::because(outcome, by, error)
}

/// The party that caused the end that came from this side.
pub(super) fn party(side: Side) -> Party {
    match side {
        Side::Client => Party::Client,
        Side::Server => Party::Server,
    }
}

fn relayed(error: &relay::RelayError) -> Ending {
    match error {
        relay::RelayError::Reset(side) => Ending::new(Outcome::Reset, party(*side)),
        relay::RelayError::Idle => Ending::new(Outcome::IdleTimeout, Party::Proxy),
        relay::RelayError::HalfClose(side) => Ending::new(Outcome::HalfCloseTimeout, party(*side)),
        relay::RelayError::Io(side, source) => {
            match refused_certificate(source).filter(|_| *side == Side::Server) {
                Some(why) => Ending::because(
                    Outcome::UpstreamTlsFailed,
                    Party::Server,
                    format_args!("the server: {why}"),
                ),
                None => Ending::because(Outcome::Broken, party(*side), words(source)),
            }
        }
    }
}

/// The outcome of a connection whose client would not be let in any more.
fn withdrawn(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::NotAllowed(_) => Outcome::NotAllowed,
        Refusal::NoCertificate => Outcome::NoCertificate,
        Refusal::Version(_) => Outcome::HandshakeFailed,
        // Whether the certificate is on a list or its CA is on none any more: what was given is
        // taken back.
        _ => Outcome::RevokedCertificate,
    }
}

fn handshake(refusal: &Refusal) -> Ending {
    let client = |outcome| Ending::because(outcome, Party::Client, refusal);
    match refusal {
        Refusal::NoCertificate => Ending::new(Outcome::NoCertificate, Party::Client),
        Refusal::Untrusted(_) | Refusal::Expired(_) => client(Outcome::UntrustedCertificate),
        Refusal::Revoked(_) => client(Outcome::RevokedCertificate),
        Refusal::NotAllowed(_) => client(Outcome::NotAllowed),
        Refusal::Client(_)
        | Refusal::Io(_)
        | Refusal::NameMismatch { .. }
        | Refusal::Protocol(_)
        | Refusal::Version(_) => client(Outcome::HandshakeFailed),
    }
}
