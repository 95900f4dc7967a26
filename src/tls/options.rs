//! Options of a session with a server: what it must prove, and what it is shown.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use rustls::pki_types::ServerName as PkiName;
use thiserror::Error;

use crate::addr::UpstreamAddr;
use crate::authz::SpkiDigest;
use crate::name::{Alpn, NameError, ServerName};
use crate::tls::certificate::Certificate;
use crate::tls::groups::KeyExchangeGroup;
use crate::tls::server::MinVersion;
use crate::tls::trust::Trust;

/// What a server must prove to be: a host name, or an IP address. Only a name is sent to it (RFC
/// 6066 §3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerName(pub(super) PkiName<'static>);

impl PeerName {
    /// The name that a server is known by at this address: its host name or IP address. A unix
    /// socket has none, and nor has a service: whoever can forge the answers of DNS would choose it
    /// (RFC 6125 §6.2.1).
    #[must_use]
    pub fn of(addr: &UpstreamAddr) -> Option<Self> {
        match addr {
            UpstreamAddr::Socket(addr) => Some(addr.ip().into()),
            UpstreamAddr::Zoned(addr) => Some(IpAddr::V6(addr.ip).into()),
            UpstreamAddr::Host(name, _) | UpstreamAddr::FullHost(name, _) => Self::named(name),
            UpstreamAddr::Unix(_) | UpstreamAddr::Srv(_) => None,
        }
    }

    /// Nothing where no certificate could have the name (its labels begin or end with a hyphen).
    pub(super) fn named(name: &ServerName) -> Option<Self> {
        PkiName::try_from(name.as_str().to_owned()).ok().map(Self)
    }
}

impl From<IpAddr> for PeerName {
    fn from(ip: IpAddr) -> Self {
        Self(ip.to_canonical().into())
    }
}

impl FromStr for PeerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse::<IpAddr>() {
            Ok(ip) => Ok(ip.into()),
            Err(_) => Self::named(&text.parse()?).ok_or(NameError::Character('-')),
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_str())
    }
}

/// What a session with a server is made of.
#[derive(Clone, Debug)]
pub struct ConnectorOptions {
    /// The upstream, for messages that name a key of its table.
    pub upstream: Arc<str>,
    /// What every server must prove to be. Default: what it is known by at its address.
    pub server_name: Option<PeerName>,
    /// Whose word counts.
    pub verification: Verification,
    /// If there are any, the server's key must be one of them, whoever vouches for it.
    pub pins: Vec<SpkiDigest>,
    /// What is shown to a server that asks for a certificate: its name in the configuration, and
    /// the certificate.
    pub certificate: Option<(Arc<str>, Arc<Certificate>)>,
    /// The oldest version of TLS that is spoken.
    pub min_version: MinVersion,
    /// The protocols that are offered, the preferred one first. If there are none, what was agreed
    /// on with the client is.
    pub alpn: Vec<Alpn>,
    /// The groups that are offered for the key exchange, the preferred one first; those of the TLS
    /// library if there are none.
    pub groups: Vec<KeyExchangeGroup>,
}

impl ConnectorOptions {
    /// Whether the hello has a key share that makes it longer than one segment.
    pub(super) fn has_large_hello(&self) -> bool {
        self.groups.is_empty() || self.groups.contains(&KeyExchangeGroup::X25519MlKem768)
    }
}

/// Whose word counts for a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verification {
    /// That of these authorities. The name is that of a table, or nothing for the system's own
    /// store.
    Trust(Option<Arc<str>>, Trust),
    /// Nobody's: any certificate will do, of any name and any age. The pins still count.
    Insecure,
}

/// The server's key is not one that was expected.
#[derive(Debug, Error)]
#[error("the server's key has the pin {0}")]
pub(super) struct NotPinned(pub(super) SpkiDigest);
