//! Outcome of a connection, in one word, and which side caused it.

use std::borrow::Cow;
use std::fmt;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// How a connection ended. The word stands in the access line as `outcome`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Outcome {
            $($(#[$doc])* $variant,)*
        }

        impl Outcome {
            /// Every outcome there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in the access line.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

outcomes! {
    /// Both directions ended in order.
    Closed = "closed",
    /// One side aborted the connection.
    Reset = "reset",
    /// One side broke the rules of TLS, or its socket failed.
    Broken = "broken",
    /// No byte either way for too long.
    IdleTimeout = "idle_timeout",
    /// One side had finished and the other was silent for too long.
    HalfCloseTimeout = "half_close_timeout",
    /// The connection lasted for as long as connections may.
    MaxLifetime = "max_lifetime",
    /// An operator closed the connection.
    Killed = "killed",
    /// A reload removed the route.
    RouteRemoved = "route_removed",
    /// The ClientHello was not complete in time.
    HelloTimeout = "hello_timeout",
    /// The client closed before its ClientHello was complete.
    IncompleteHello = "incomplete_hello",
    /// A connection on which a PROXY header is required has none, or not a sound one.
    BadProxyHeader = "bad_proxy_header",
    /// The first bytes were not TLS.
    NotTls = "not_tls",
    /// The ClientHello breaks the rules of TLS.
    MalformedHello = "malformed_hello",
    /// The ClientHello is larger than 64 KiB.
    HelloTooLarge = "hello_too_large",
    /// No route takes the client.
    NoRoute = "no_route",
    /// The route rejects its clients.
    Rejected = "rejected",
    /// No certificate of a strict route covers the name.
    NameNotCovered = "name_not_covered",
    /// The client showed no certificate where one is required.
    NoCertificate = "no_certificate",
    /// The client's certificate does not verify.
    UntrustedCertificate = "untrusted_certificate",
    /// The client's certificate has been revoked, or a reload withdrew what it came in by.
    RevokedCertificate = "revoked_certificate",
    /// The client's certificate verifies, and the policy refuses its owner.
    NotAllowed = "not_allowed",
    /// The TLS handshake failed for another reason.
    HandshakeFailed = "handshake_failed",
    /// The TLS handshake was not complete in time.
    HandshakeTimeout = "handshake_timeout",
    /// No server could be reached.
    ConnectFailed = "connect_failed",
    /// No server answered in time.
    ConnectTimeout = "connect_timeout",
    /// A server was reached, and there is no session of TLS with it, or it did not accept the
    /// certificate it was shown.
    UpstreamTlsFailed = "upstream_tls_failed",
    /// A limit was reached: see the detail.
    Limit = "limit",
    /// snigate stopped before the connection had ended.
    Drained = "drained",
    /// A fault in snigate itself.
    InternalError = "internal_error",
}

impl Outcome {
    /// Whether a routed connection that ended so by its client's doing had not let anything in: no
    /// server was looked for, and no session of TLS begun.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        match self {
            Self::HelloTimeout
            | Self::IncompleteHello
            | Self::BadProxyHeader
            | Self::NotTls
            | Self::MalformedHello
            | Self::HelloTooLarge
            | Self::NoRoute
            | Self::Rejected
            | Self::NameNotCovered
            | Self::NoCertificate
            | Self::UntrustedCertificate
            | Self::NotAllowed
            | Self::RevokedCertificate
            | Self::HandshakeFailed
            | Self::HandshakeTimeout
            | Self::Limit => true,
            Self::Closed
            | Self::Reset
            | Self::Broken
            | Self::IdleTimeout
            | Self::HalfCloseTimeout
            | Self::MaxLifetime
            | Self::Killed
            | Self::RouteRemoved
            | Self::ConnectFailed
            | Self::UpstreamTlsFailed
            | Self::ConnectTimeout
            | Self::Drained
            | Self::InternalError => false,
        }
    }
}

/// The side that caused an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// The side that connected to snigate.
    Client,
    /// The side that snigate connected to.
    Server,
    /// snigate.
    Proxy,
}

impl Party {
    /// The word in the access line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Proxy => "proxy",
        }
    }
}

/// An outcome, who caused it, and what else there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The outcome.
    pub outcome: Outcome,
    /// By whom.
    pub by: Party,
    /// The particulars, for a person.
    pub detail: Option<Cow<'static, str>>,
}

impl Ending {
    /// Whether the connection ended before anything was let in. A client that was in and is not let
    /// in any more is no such case: that is snigate's doing.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let withdrawn = self.by == Party::Proxy
            && matches!(
                self.outcome,
                Outcome::NoCertificate | Outcome::NotAllowed | Outcome::RevokedCertificate
            );
        self.outcome.is_refusal() && !withdrawn
    }

    /// An ending that needs no explanation.
    #[must_use]
    pub const fn new(outcome: Outcome, by: Party) -> Self {
        Self {
            outcome,
            by,
            detail: None,
        }
    }

    /// An ending with its particulars.
    #[must_use]
    pub fn because(outcome: Outcome, by: Party, detail: impl fmt::Display) -> Self {
        Self {
            outcome,
            by,
            detail: Some(detail.to_string().into()),
        }
    }
}
