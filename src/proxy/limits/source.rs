//! Sources of connections.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::ClientAddr;

/// The source of connections that count as one client's: an IPv4 address, or the 64 leading bits of
/// an IPv6 address, which are those of one network (RFC 4291 §2.5.4), in which everybody may have
/// as many addresses as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceNetwork(pub(super) u64);

/// Above every IPv4 address that is kept in the same number. As the start of an IPv6 address it is
/// multicast, which no connection comes from.
const V4: u64 = 0xffff_ffff << 32;

impl SourceNetwork {
    /// That of a client; a unix socket has none.
    #[must_use]
    pub fn of(client: ClientAddr) -> Option<Self> {
        Some(match client.ip()? {
            IpAddr::V4(ip) => Self(V4 | u64::from(ip.to_bits())),
            IpAddr::V6(ip) => Self((ip.to_bits() >> 64) as u64),
        })
    }
}

impl fmt::Display for SourceNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & V4 == V4 {
            return Ipv4Addr::from_bits(self.0 as u32).fmt(f);
        }
        write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(self.0) << 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::limits::source;

    #[test]
    fn a_source_is_an_ipv4_address_or_a_network_of_ipv6() {
        assert_eq!(source("192.0.2.1").to_string(), "192.0.2.1");
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8:0:1::7"), source("2001:db8:0:1:ffff::8"));
        assert_ne!(source("2001:db8:0:1::7"), source("2001:db8:0:2::7"));
        assert_eq!(source("2001:db8:0:1::7").to_string(), "2001:db8:0:1::/64");
        assert_ne!(source("::"), source("0.0.0.0"));
        assert_eq!(SourceNetwork::of(ClientAddr::Unix), None);
        let mapped: std::net::SocketAddr = "[::ffff:192.0.2.1]:5".parse().unwrap();
        assert_eq!(SourceNetwork::of(mapped.into()), Some(source("192.0.2.1")));
    }
}
