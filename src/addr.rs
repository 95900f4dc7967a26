//! Addresses: where snigate listens, whom it serves, and where it connects to.
//!
//! A client that arrives over a dual-stack socket as `::ffff:192.0.2.1` is the IPv4 client
//! `192.0.2.1`, everywhere.

mod range;
mod zone;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::addr::zone::{Literal, literal};
use crate::name::{NameError, ServerName};

pub use range::{Cidr, CidrError, Sender, SenderError};
pub use zone::{DnsServer, DnsServerError, Zone, ZonedAddr};

/// Where a client connected from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddr {
    /// An IP address and a port. An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is kept as IPv4.
    Socket(SocketAddr),
    /// A unix socket of this machine.
    Unix,
    /// Another proxy speaks for the client, and does not say where it is. No range of addresses has
    /// it.
    Unknown,
}

impl ClientAddr {
    /// The client's IP address, if it has one that is known.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Socket(addr) => Some(addr.ip()),
            Self::Unix | Self::Unknown => None,
        }
    }
}

impl From<SocketAddr> for ClientAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Socket(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddrError {
    /// No `:port` at the end.
    #[error("an address ends in a port, as in `192.0.2.1:443` or `[2001:db8::1]:443`")]
    NoPort,
    /// A URL, and what to write in its place.
    #[error("write `{0}`, not a URL")]
    Url(String),
    /// The text behind the last colon is not a port.
    #[error("{0:?} is not a port (1 to 65535)")]
    Port(String),
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets, as in `[2001:db8::1]:443`")]
    Brackets(String),
    /// A link-local address alone.
    #[error(
        "{0} is of one link alone, and cannot be reached without its interface: write it, as in `[{0}%eth0]:443`"
    )]
    NoZone(Ipv6Addr),
    /// Another address with an interface.
    #[error(
        "{0} is no link-local address (fe80::/10), and only such a one has an interface: write it without `%`"
    )]
    NoLink(IpAddr),
    /// The text behind the `%` is no interface.
    #[error("{0:?} is no network interface: write its name or number, as in `[fe80::1%eth0]:443`")]
    Interface(String),
    /// An address to listen on must be an IP address.
    #[error(
        "{0:?} is not an IP address; to listen on every address write `0.0.0.0:PORT` and `[::]:PORT`"
    )]
    NotIp(String),
    /// An IPv4 address written as IPv6. A socket for IPv6 takes no IPv4 here.
    #[error("write the IPv4 address, {0}")]
    Mapped(IpAddr),
    /// The host is neither an IP address nor a host name.
    #[error("{0:?} is not a host: {1}")]
    Host(String, NameError),
    /// A service with a port.
    #[error("a service has no port: DNS says it. Write `srv:{0}`")]
    ServicePort(String),
    /// The name of a service is not made of a service, a protocol and a domain.
    #[error("a service is written `srv:_https._tcp.app.internal`: its name, `_tcp` and the domain")]
    Service,
    /// `unix:` without an absolute path.
    #[error("a unix address is an absolute path, as in `unix:/run/app.sock`")]
    UnixPath,
    /// A path that is too long for a socket.
    #[error("the path of a unix socket has at most {MAX_SOCKET_PATH} bytes")]
    LongPath,
    /// `systemd:` without a name.
    #[error(
        "`systemd:` is followed by a name, as `FileDescriptorName=` of a socket unit gives it: `systemd:edge`"
    )]
    SocketName,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddr {
    /// An IP address and a port, for clients of its family alone. Port 0 lets the kernel choose
    /// one.
    Tcp(SocketAddr),
    /// A link-local address, on its interface.
    Zoned(Box<ZonedAddr>),
    /// Every address of both families (`[::]`) and this port, in one socket.
    DualStack(u16),
    /// The path of a unix stream socket.
    Unix(PathBuf),
    /// The sockets that systemd has opened and passed by this name (`FileDescriptorName=`).
    Systemd(String),
}

/// A name of systemd's for a socket has at most this many bytes (sd_listen_fds_with_names(3)).
const MAX_SOCKET_NAME: usize = 255;

impl ListenAddr {
    /// The port, of what has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(addr) => Some(addr.port()),
            Self::Zoned(addr) => Some(addr.port),
            Self::DualStack(port) => Some(*port),
            Self::Unix(_) | Self::Systemd(_) => None,
        }
    }

    /// The IP addresses that a socket for this takes connections to, one of each family; 0.0.0.0
    /// and :: are all of theirs. What is not known before it runs, and a unix socket, has none.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        let (own, other): (Option<IpAddr>, Option<IpAddr>) = match self {
            Self::Tcp(addr) => (Some(addr.ip()), None),
            Self::Zoned(addr) => (Some(addr.ip.into()), None),
            Self::DualStack(_) => (
                Some(Ipv6Addr::UNSPECIFIED.into()),
                Some(Ipv4Addr::UNSPECIFIED.into()),
            ),
            Self::Unix(_) | Self::Systemd(_) => (None, None),
        };
        own.into_iter().chain(other)
    }

    /// Whether a socket for this takes every connection that one for `other` takes.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        let is_in = |ip: IpAddr| {
            self.ips()
                .any(|own| own == ip || (own.is_unspecified() && own.is_ipv4() == ip.is_ipv4()))
        };
        let port = self.port().filter(|port| *port != 0);
        port.is_some() && port == other.port() && other.ips().all(is_in)
    }
}

impl FromStr for ListenAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            let is_name = !name.is_empty()
                && name.len() <= MAX_SOCKET_NAME
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b':');
            return if is_name {
                Ok(Self::Systemd(name.to_owned()))
            } else {
                Err(AddrError::SocketName)
            };
        }
        match literal(text)? {
            Some(Literal::Plain(addr)) => {
                let canonical = addr.ip().to_canonical();
                return if canonical == addr.ip() {
                    Ok(Self::Tcp(addr))
                } else {
                    Err(AddrError::Mapped(canonical))
                };
            }
            Some(Literal::Zoned(addr)) => return Ok(Self::Zoned(addr.into())),
            None => {}
        }
        let (host, _) = split_port(text)?;
        Err(AddrError::NotIp(host.to_owned()))
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Zoned(addr) => addr.fmt(f),
            Self::DualStack(port) => write!(f, "[::]:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// A path that can be bound and connected to: `sockaddr_un` has room for 107 bytes (unix(7)).
fn socket_path(path: &str) -> Result<PathBuf, AddrError> {
    // One that ends in a slash is a directory, and the kernel reads up to a NUL.
    let is_file = !path.ends_with('/') && !path.contains('\0');
    let path = Path::new(path);
    if !path.is_absolute() || path.file_name().is_none() || !is_file {
        return Err(AddrError::UnixPath);
    }
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        Err(AddrError::LongPath)
    } else {
        Ok(path.to_owned())
    }
}

const MAX_SOCKET_PATH: usize = 107;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpstreamAddr {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A link-local address, on its interface.
    Zoned(Box<ZonedAddr>),
    /// A host name and a port.
    Host(ServerName, u16),
    /// A host name with a dot at its end, which is not short for another, and a port.
    FullHost(ServerName, u16),
    /// The path of a unix stream socket.
    Unix(PathBuf),
    /// The name of a service whose hosts and ports DNS knows (RFC 2782), such as
    /// `_https._tcp.app.internal`.
    Srv(ServerName),
}

impl UpstreamAddr {
    /// Whether it has to be looked up, so that it says not yet where a connection goes.
    #[must_use]
    pub fn is_name(&self) -> bool {
        matches!(self, Self::Host(..) | Self::FullHost(..) | Self::Srv(_))
    }
}

impl FromStr for UpstreamAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        if let Some(name) = text.strip_prefix("srv:") {
            return service(name).map(Self::Srv);
        }
        let server = match literal(text)? {
            Some(Literal::Plain(addr)) => Some((addr.port(), Self::Socket(addr))),
            Some(Literal::Zoned(addr)) => Some((addr.port, Self::Zoned(addr.into()))),
            None => None,
        };
        if let Some((port, server)) = server {
            return if port == 0 {
                Err(AddrError::Port("0".to_owned()))
            } else {
                Ok(server)
            };
        }
        let (host, port) = split_port(text)?;
        if port == 0 {
            return Err(AddrError::Port("0".to_owned()));
        }
        let to = if host.ends_with('.') {
            Self::FullHost
        } else {
            Self::Host
        };
        host.parse()
            .map(|name| to(name, port))
            .map_err(|error| AddrError::Host(host.to_owned(), error))
    }
}

impl fmt::Display for UpstreamAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(addr) => addr.fmt(f),
            Self::Zoned(addr) => addr.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::FullHost(host, port) => write!(f, "{host}.:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Srv(name) => write!(f, "srv:{name}"),
        }
    }
}

/// RFC 2782: `_Service._Proto.Name`.
fn service(text: &str) -> Result<ServerName, AddrError> {
    if let Some((name, _)) = text.rsplit_once(':') {
        return Err(AddrError::ServicePort(name.to_owned()));
    }
    let name: ServerName = text
        .parse()
        .map_err(|error| AddrError::Host(text.to_owned(), error))?;
    let mut labels = name.as_str().splitn(3, '.');
    match (labels.next(), labels.next(), labels.next()) {
        (Some(service), Some("_tcp"), Some(_)) if service.starts_with('_') => Ok(name),
        _ => Err(AddrError::Service),
    }
}

fn split_port(text: &str) -> Result<(&str, u16), AddrError> {
    if let Ok(addr) = text.parse::<Ipv6Addr>() {
        return Err(AddrError::Brackets(addr.to_string()));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(AddrError::Url(without_scheme(scheme, rest)));
    }
    let (host, port) = text.rsplit_once(':').ok_or(AddrError::NoPort)?;
    let port = port.parse().map_err(|_| AddrError::Port(port.to_owned()))?;
    Ok((host, port))
}

/// The address that a URL means.
fn without_scheme(scheme: &str, rest: &str) -> String {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port && !host.ends_with(']') {
        return host.to_owned();
    }
    let port = match scheme {
        "https" => "443",
        "http" => "80",
        _ => "PORT",
    };
    format!("{}:{port}", if host.is_empty() { "HOST" } else { host })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_includes_those_whose_clients_it_takes() {
        let addr = |text: &str| -> ListenAddr { text.parse().unwrap() };
        let dual = ListenAddr::DualStack(443);
        for (wide, narrow, expected) in [
            (addr("0.0.0.0:443"), addr("127.0.0.1:443"), true),
            (addr("0.0.0.0:443"), addr("127.0.0.1:444"), false),
            (addr("127.0.0.1:443"), addr("0.0.0.0:443"), false),
            (addr("127.0.0.1:443"), addr("127.0.0.2:443"), false),
            (addr("127.0.0.1:443"), addr("127.0.0.1:443"), true),
            (addr("[::]:443"), addr("[::1]:443"), true),
            (addr("[::]:443"), addr("127.0.0.1:443"), false),
            (dual.clone(), addr("127.0.0.1:443"), true),
            (dual.clone(), addr("0.0.0.0:443"), true),
            (dual.clone(), addr("[::]:443"), true),
            (addr("0.0.0.0:443"), dual.clone(), false),
            (addr("[::]:443"), dual, false),
            (addr("0.0.0.0:0"), addr("127.0.0.1:0"), false),
            (addr("unix:/s"), addr("unix:/t"), false),
        ] {
            assert_eq!(wide.includes(&narrow), expected, "{wide} {narrow}");
        }
    }

    #[test]
    fn an_ipv4_client_on_a_dual_stack_socket_is_an_ipv4_client() {
        let client = ClientAddr::from("[::ffff:192.0.2.1]:4711".parse::<SocketAddr>().unwrap());
        assert_eq!(client.to_string(), "192.0.2.1:4711");
    }

    #[test]
    fn upstream_addresses_are_sockets_hosts_or_paths() {
        let hosts = [
            "192.0.2.1:443",
            "[2001:db8::1]:443",
            "ca:8443",
            "vault-b.internal:8200",
            "vault.internal.:8200",
        ];
        for text in hosts
            .into_iter()
            .chain(["unix:/run/x.sock", "srv:_https._tcp.app.internal"])
        {
            assert_eq!(
                text.parse::<UpstreamAddr>().map(|a| a.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn a_bad_address_says_what_to_write() {
        for (text, expected) in [
            ("ca", AddrError::NoPort),
            (
                "https://app.example:8443",
                AddrError::Url("app.example:8443".to_owned()),
            ),
            (
                "https://app.example/login?a=b:1",
                AddrError::Url("app.example:443".to_owned()),
            ),
            (
                "http://[2001:db8::1]",
                AddrError::Url("[2001:db8::1]:80".to_owned()),
            ),
            (
                "http://[2001:db8::1]:8080/",
                AddrError::Url("[2001:db8::1]:8080".to_owned()),
            ),
            (
                "tcp://10.0.0.5:8443",
                AddrError::Url("10.0.0.5:8443".to_owned()),
            ),
            (
                "tcp://app.example",
                AddrError::Url("app.example:PORT".to_owned()),
            ),
            (
                "https://user:1@app.example",
                AddrError::Url("app.example:443".to_owned()),
            ),
            ("://", AddrError::Url("HOST:PORT".to_owned())),
            ("ca:https", AddrError::Port("https".to_owned())),
            ("ca:0", AddrError::Port("0".to_owned())),
            ("10.0.0.1:0", AddrError::Port("0".to_owned())),
            ("::1", AddrError::Brackets("::1".to_owned())),
            (
                "a b:1",
                AddrError::Host("a b".to_owned(), NameError::Character(' ')),
            ),
            (
                "10.0.0.300:1",
                AddrError::Host("10.0.0.300".to_owned(), NameError::IpAddress),
            ),
            (":443", AddrError::Host(String::new(), NameError::Empty)),
            ("unix:run/x", AddrError::UnixPath),
            ("unix:/run/x/", AddrError::UnixPath),
            ("unix:/run/x\0", AddrError::UnixPath),
            (&format!("unix:/{}", "a".repeat(107)), AddrError::LongPath),
            (
                "srv:_https._tcp.app:443",
                AddrError::ServicePort("_https._tcp.app".to_owned()),
            ),
            ("srv:_https._udp.app", AddrError::Service),
            ("srv:https._tcp.app", AddrError::Service),
            ("srv:_https._tcp", AddrError::Service),
            ("srv:", AddrError::Host(String::new(), NameError::Empty)),
        ] {
            assert_eq!(text.parse::<UpstreamAddr>(), Err(expected), "{text}");
        }
        assert_eq!(
            "localhost:443".parse::<ListenAddr>(),
            Err(AddrError::NotIp("localhost".to_owned()))
        );
        assert_eq!("0.0.0.0".parse::<ListenAddr>(), Err(AddrError::NoPort));
        assert_eq!(
            "unix:edge.sock".parse::<ListenAddr>(),
            Err(AddrError::UnixPath)
        );
        assert_eq!("unix:/".parse::<ListenAddr>(), Err(AddrError::UnixPath));
        assert_eq!(
            "unix:/run/edge.sock/".parse::<ListenAddr>(),
            Err(AddrError::UnixPath)
        );
        assert_eq!(
            format!("unix:/{}", "a".repeat(107)).parse::<ListenAddr>(),
            Err(AddrError::LongPath)
        );
        assert_eq!("systemd:".parse::<ListenAddr>(), Err(AddrError::SocketName));
        assert_eq!(
            "systemd:a:b".parse::<ListenAddr>(),
            Err(AddrError::SocketName)
        );
    }

    #[test]
    fn a_listener_is_on_an_address_a_path_or_a_socket_of_systemds() {
        for text in [
            "192.0.2.1:443",
            "[::]:0",
            "unix:/run/edge.sock",
            "systemd:edge",
        ] {
            assert_eq!(
                text.parse::<ListenAddr>().map(|a| a.to_string()),
                Ok(text.to_owned())
            );
        }
    }
}
