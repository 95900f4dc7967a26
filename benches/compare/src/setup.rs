//! What a case asks of every proxy, and the forms in which snigate takes part beside its plain one.

use serde::{Deserialize, Serialize};

/// What the proxies do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Setup {
    /// They read the hello and send everything on.
    Passthrough,
    /// They end TLS 1.3 and require a certificate of the client.
    Mtls,
    /// The same, and look the client up in a revocation list of [`REVOKED`](crate::pki::REVOKED)
    /// entries.
    MtlsList,
    /// The same without a list, and the key exchange is X25519MLKEM768.
    MtlsHybrid,
    /// Both sides have certificates with RSA keys of 2048 bits.
    MtlsRsa,
    /// Both sides have certificates of an intermediate CA.
    MtlsChain,
    /// They end TLS 1.3 for everybody, and resume sessions.
    Tls,
}

/// Which certificates there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Keys {
    P256,
    Rsa2048,
    /// P-256, and an intermediate CA between the root and the others.
    Chain,
}

impl Keys {
    pub(crate) const ALL: [Self; 3] = [Self::P256, Self::Rsa2048, Self::Chain];

    /// The name of their directory.
    pub(crate) fn dir(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::Rsa2048 => "rsa2048",
            Self::Chain => "chain",
        }
    }
}

impl Setup {
    pub(crate) fn keys(self) -> Keys {
        match self {
            Self::MtlsRsa => Keys::Rsa2048,
            Self::MtlsChain => Keys::Chain,
            Self::Passthrough | Self::Mtls | Self::MtlsList | Self::MtlsHybrid | Self::Tls => {
                Keys::P256
            }
        }
    }

    pub(crate) fn is_tls(self) -> bool {
        self != Self::Passthrough
    }
}

/// A form of a proxy: plain, or with one thing more, whose cost is seen beside the plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    Plain,
    /// One of [`MANY_ROUTES`](crate::cases::MANY_ROUTES) routes.
    ManyRoutes,
    /// With the revocation list of [`Setup::MtlsList`].
    List,
    /// A line in a file for each connection.
    Log,
    /// The same line as JSON.
    JsonLog,
    /// A PROXY header of version 2 to the server.
    ProxyHeader,
    /// `least_connections` among two servers, both under health checks.
    LeastConnections,
    /// Every limit of a listener.
    Limits,
    /// 64 certificates on the route.
    Certificates,
    /// 100 entries in `allow`, the last of which is the client's.
    Allow,
}

impl Form {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::ManyRoutes => ", 100,000 routes",
            Self::List => ", revocation list",
            Self::Log => ", access log",
            Self::JsonLog => ", access log as JSON",
            Self::ProxyHeader => ", PROXY v2 to the server",
            Self::LeastConnections => ", least_connections and health checks",
            Self::Limits => ", every limit of a listener",
            Self::Certificates => ", 64 certificates",
            Self::Allow => ", 100 allow entries",
        }
    }
}
