//! Ranges of addresses, and where connections may come from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

use crate::addr::ClientAddr;

/// A range of IP addresses in CIDR notation (RFC 4632), or one address.
///
/// Bits after the prefix are dropped: `10.1.2.3/8` is `10.0.0.0/8`. IPv4-mapped ranges are given as
/// IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr(IpNet);

/// The text is not a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CidrError {
    /// It is none.
    #[error("a range of addresses is written `192.0.2.0/24`, `2001:db8::/32`, or is one address")]
    Form,
    /// It has an interface.
    #[error(
        "a range of addresses is the same on every interface: write it without `%` and what follows"
    )]
    Zone,
}

impl Cidr {
    /// The range of `prefix_len` bits that `ip` lies in; nothing when its family has fewer bits.
    #[must_use]
    pub fn of(ip: IpAddr, prefix_len: u8) -> Option<Self> {
        IpNet::new(ip, prefix_len).ok().map(|net| Self(net.trunc()))
    }

    /// The range that `text` is, if it has bits behind the prefix, which do not count:
    /// `10.1.2.3/8`.
    #[must_use]
    pub fn behind(text: &str) -> Option<Self> {
        let net: IpNet = text.parse().ok()?;
        if net.addr() == net.network() {
            None
        } else {
            text.parse().ok()
        }
    }

    /// Whether `ip` lies in the range. Addresses of the other family do not.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip)
    }

    /// The first address of the range.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    /// The last address of the range.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.0.broadcast()
    }

    /// The number of leading bits that all addresses of the range share.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        if text.contains('%') {
            return Err(CidrError::Zone);
        }
        let net = match text.parse::<IpNet>() {
            Ok(net) => net.trunc(),
            Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| CidrError::Form)?),
        };
        let mapped = match net {
            IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
                .network()
                .to_ipv4_mapped()
                .map(|ip| (ip, v6.prefix_len() - 96)),
            _ => None,
        };
        match mapped {
            Some((ip, prefix_len)) => Self::of(ip.into(), prefix_len).ok_or(CidrError::Form),
            None => Ok(Self(net)),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where connections may come from: over a network from a range of addresses, or over a unix
/// socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// From these addresses.
    Range(Cidr),
    /// From this machine, over a unix socket.
    Unix,
}

impl Sender {
    /// Whether this client is one that is meant.
    #[must_use]
    pub fn is(&self, client: ClientAddr) -> bool {
        match self {
            Self::Range(range) => client.ip().is_some_and(|ip| range.contains(ip)),
            Self::Unix => client == ClientAddr::Unix,
        }
    }
}

/// Why a text names no senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SenderError {
    /// It is none of what can be written.
    #[error(
        "write a range of addresses, `192.0.2.0/24` or `2001:db8::/32`, one address, or `unix` for the listener's unix sockets"
    )]
    Form,
    /// It has an interface.
    #[error(transparent)]
    Range(CidrError),
}

impl FromStr for Sender {
    type Err = SenderError;

    fn from_str(text: &str) -> Result<Self, SenderError> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        text.parse().map(Self::Range).map_err(|error| match error {
            CidrError::Form => SenderError::Form,
            CidrError::Zone => SenderError::Range(error),
        })
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_behind_a_prefix_are_told_from_a_network_and_from_an_address() {
        for (text, expected) in [
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("10.0.0.1/31", Some("10.0.0.0/31")),
            ("2001:db8::1/32", Some("2001:db8::/32")),
            ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
            ("10.0.0.0/8", None),
            ("10.1.2.3/32", None),
            ("10.1.2.3", None),
            ("0.0.0.0/0", None),
            ("unix", None),
        ] {
            assert_eq!(
                Cidr::behind(text).map(|net| net.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn ranges_are_truncated_and_mapped_ranges_are_ipv4() {
        for (text, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(
                text.parse::<Cidr>().map(|c| c.to_string()),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
        for text in ["fe80::1%eth0", "fe80::/10%2"] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::Zone));
            assert_eq!(
                text.parse::<Sender>().unwrap_err().to_string(),
                CidrError::Zone.to_string()
            );
        }
        assert!("10.0.0.0/33".parse::<Cidr>().is_err());
        assert!(
            "10.0.0.0/8"
                .parse::<Cidr>()
                .unwrap()
                .contains("10.9.9.9".parse().unwrap())
        );
        assert!(
            !"::/0"
                .parse::<Cidr>()
                .unwrap()
                .contains("10.9.9.9".parse().unwrap())
        );
    }
}
