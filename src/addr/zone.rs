//! Link-local addresses, which are of one link alone (RFC 4007): with them goes the interface whose
//! link it is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;

use thiserror::Error;

use super::AddrError;

/// A name of an interface has at most this many bytes (netdevice(7)).
const MAX_INTERFACE: usize = 15;

/// The port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Zone {
    /// By its name, whatever its number is at that time.
    Name(Box<str>),
    /// By the number that the kernel has given it.
    Number(NonZeroU32),
}

/// A link-local address and a port, and the interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZonedAddr {
    /// An address of fe80::/10.
    pub ip: Ipv6Addr,
    /// The interface whose link it is on.
    pub zone: Zone,
    /// The port.
    pub port: u16,
}

impl FromStr for Zone {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let wrong = || AddrError::Interface(text.to_owned());
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Number).map_err(|_| wrong());
        }
        let is_plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%' | b'[' | b']');
        let is_name = text.len() <= MAX_INTERFACE
            && text != "."
            && text != ".."
            && text.bytes().all(is_plain);
        if is_name {
            Ok(Self::Name(text.into()))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for ZonedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ip, zone, port } = self;
        write!(f, "[{ip}%{zone}]:{port}")
    }
}

/// An IP address and a port as they are written, with the interface where it is link-local.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Literal {
    Plain(SocketAddr),
    Zoned(ZonedAddr),
}

/// Nothing where the text is no IP address with a port, and may be something else.
pub(super) fn literal(text: &str) -> Result<Option<Literal>, AddrError> {
    let Some((ip, rest)) = text.split_once('%') else {
        return match text.parse::<SocketAddr>() {
            Ok(addr) => without_zone(addr.ip()).map(|_| Some(Literal::Plain(addr))),
            Err(_) => Ok(None),
        };
    };
    let Some(ip) = ip.strip_prefix('[') else {
        return match ip.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => Err(AddrError::Brackets(text.to_owned())),
            Ok(ip) => Err(AddrError::NoLink(ip)),
            Err(_) => Ok(None),
        };
    };
    let Ok(ip) = ip.parse::<Ipv6Addr>() else {
        return Ok(None);
    };
    let (zone, port) = rest
        .split_once(']')
        .ok_or_else(|| AddrError::Interface(rest.to_owned()))?;
    let port = port.strip_prefix(':').ok_or(AddrError::NoPort)?;
    let port = port.parse().map_err(|_| AddrError::Port(port.to_owned()))?;
    let (ip, zone) = with_zone(ip, zone)?;
    Ok(Some(Literal::Zoned(ZonedAddr { ip, zone, port })))
}

fn with_zone(ip: Ipv6Addr, zone: &str) -> Result<(Ipv6Addr, Zone), AddrError> {
    if ip.is_unicast_link_local() {
        Ok((ip, zone.parse()?))
    } else {
        Err(AddrError::NoLink(ip.into()))
    }
}

fn without_zone(ip: IpAddr) -> Result<IpAddr, AddrError> {
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Err(AddrError::NoZone(ip)),
        ip => Ok(ip),
    }
}

/// Where a DNS server is. Its port is 53 where none is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsServer {
    /// Its address.
    pub addr: SocketAddr,
    /// The interface, if the address is link-local.
    pub zone: Option<Zone>,
}

/// Why a text is not the address of a DNS server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DnsServerError {
    /// It is no address.
    #[error(
        "{0:?} is not the address of a DNS server: write `10.0.0.53`, `10.0.0.53:5353`, `[2001:db8::53]:53` or `fe80::53%eth0`"
    )]
    NoAddress(String),
    /// It is a link-local one without an interface, or another one with one.
    #[error(transparent)]
    Zone(AddrError),
}

impl From<SocketAddr> for DnsServer {
    fn from(addr: SocketAddr) -> Self {
        Self { addr, zone: None }
    }
}

impl FromStr for DnsServer {
    type Err = DnsServerError;

    fn from_str(text: &str) -> Result<Self, DnsServerError> {
        let no_address = || DnsServerError::NoAddress(text.to_owned());
        let (ip, zone) = text
            .split_once('%')
            .map_or((text, None), |(ip, zone)| (ip, Some(zone)));
        if let Ok(ip) = ip.parse::<IpAddr>() {
            let (ip, zone) = match (ip, zone) {
                (IpAddr::V6(ip), Some(zone)) => with_zone(ip, zone)
                    .map(|(ip, zone)| (IpAddr::V6(ip), Some(zone)))
                    .map_err(DnsServerError::Zone)?,
                (ip, Some(_)) => return Err(DnsServerError::Zone(AddrError::NoLink(ip))),
                (ip, None) => (without_zone(ip).map_err(DnsServerError::Zone)?, None),
            };
            return Ok(Self {
                addr: SocketAddr::new(ip, DNS_PORT),
                zone,
            });
        }
        let server = match literal(text) {
            Ok(Some(Literal::Plain(addr))) => addr.into(),
            Ok(Some(Literal::Zoned(ZonedAddr { ip, zone, port }))) => Self {
                addr: SocketAddr::new(ip.into(), port),
                zone: Some(zone),
            },
            Err(
                error @ (AddrError::NoZone(_) | AddrError::NoLink(_) | AddrError::Interface(_)),
            ) => {
                return Err(DnsServerError::Zone(error));
            }
            Ok(None) | Err(_) => return Err(no_address()),
        };
        if server.addr.port() == 0 {
            Err(no_address())
        } else {
            Ok(server)
        }
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "[{}%{zone}]:{}", self.addr.ip(), self.addr.port()),
            None => self.addr.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::addr::{ListenAddr, UpstreamAddr};

    fn ips() -> impl Strategy<Value = IpAddr> {
        let link_local =
            any::<u64>().prop_map(|low| Ipv6Addr::from((0xfe80 << 112) | u128::from(low)).into());
        prop_oneof![
            any::<Ipv6Addr>().prop_map(IpAddr::V6),
            any::<[u8; 4]>().prop_map(IpAddr::from),
            link_local
        ]
    }

    proptest! {
        #[test]
        fn what_is_read_is_shown_so_that_it_is_read_again_and_a_zone_is_with_link_local_addresses_alone(
            ip in ips(),
            zone in prop::option::of("[a-z0-9.@_-]{0,17}"),
            port in 1..=u16::MAX,
        ) {
            let zoned = zone.as_ref().map_or_else(|| ip.to_string(), |zone| format!("{ip}%{zone}"));
            let text = if ip.is_ipv6() { format!("[{zoned}]:{port}") } else { format!("{zoned}:{port}") };
            let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            let (server, listener, dns) =
                (text.parse::<UpstreamAddr>(), text.parse::<ListenAddr>(), text.parse::<DnsServer>());
            let is_zone = zone.as_ref().is_some_and(|zone| zone.parse::<Zone>().is_ok());
            let is_sound = if is_link_local { is_zone } else { zone.is_none() };
            prop_assert_eq!((server.is_ok(), dns.is_ok()), (is_sound, is_sound), "{}", text);
            if let Ok(server) = server {
                prop_assert_eq!(server.to_string().parse(), Ok(server));
            }
            if let Ok(listener) = listener {
                prop_assert!(is_sound);
                prop_assert_eq!(listener.to_string().parse(), Ok(listener));
            }
            if let Ok(dns) = dns {
                prop_assert_eq!(dns.to_string().parse(), Ok(dns));
            }
        }
    }

    #[test]
    fn a_zone_is_a_name_or_a_number() {
        let ip: Ipv6Addr = "fe80::1".parse().unwrap();
        for (text, zone) in [
            ("eth0", "eth0"),
            ("2", "2"),
            ("02", "2"),
            ("br-a.100", "br-a.100"),
            ("2a", "2a"),
        ] {
            let addr = format!("[fe80::1%{text}]:443")
                .parse::<UpstreamAddr>()
                .unwrap();
            assert_eq!(
                addr,
                UpstreamAddr::Zoned(Box::new(ZonedAddr {
                    ip,
                    zone: zone.parse().unwrap(),
                    port: 443
                }))
            );
        }
        for text in [
            "",
            "0",
            "4294967296",
            "eth0eth0eth0eth0",
            "..",
            "a b",
            "a/b",
            "a%b",
        ] {
            let error = AddrError::Interface(text.to_owned());
            assert_eq!(
                format!("[fe80::1%{text}]:443").parse::<UpstreamAddr>(),
                Err(error),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_address_with_a_zone_too_many_or_too_few_says_what_to_write() {
        let ip: Ipv6Addr = "fe80::1".parse().unwrap();
        let other: IpAddr = "2001:db8::1".parse().unwrap();
        for (text, expected) in [
            ("[fe80::1]:443", AddrError::NoZone(ip)),
            ("[2001:db8::1%eth0]:443", AddrError::NoLink(other)),
            ("[2001:db8::1%2]:443", AddrError::NoLink(other)),
            (
                "192.0.2.1%eth0:443",
                AddrError::NoLink("192.0.2.1".parse().unwrap()),
            ),
            (
                "fe80::1%eth0",
                AddrError::Brackets("fe80::1%eth0".to_owned()),
            ),
            ("[fe80::1%eth0]", AddrError::NoPort),
            ("[fe80::1%eth0]:https", AddrError::Port("https".to_owned())),
            ("[fe80::1%eth0", AddrError::Interface("eth0".to_owned())),
        ] {
            assert_eq!(
                text.parse::<UpstreamAddr>(),
                Err(expected.clone()),
                "{text}"
            );
            assert_eq!(text.parse::<ListenAddr>(), Err(expected), "{text}");
        }
        assert_eq!(
            "[fe80::1%eth0]:0".parse::<UpstreamAddr>(),
            Err(AddrError::Port("0".to_owned()))
        );
        assert!("[fe80::1%eth0]:0".parse::<ListenAddr>().is_ok());
        assert_eq!(
            "fe80::53%eth0".parse::<DnsServer>().unwrap().to_string(),
            "[fe80::53%eth0]:53"
        );
        assert_eq!(
            "fe80::1".parse::<DnsServer>(),
            Err(DnsServerError::Zone(AddrError::NoZone(ip)))
        );
    }
}
