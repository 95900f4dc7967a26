//! The PROXY protocol: what a proxy says, before anything else, of the client that it speaks for.
//!
//! Both versions follow HAProxy's `proxy-protocol.txt`. The parser is given everything that has
//! come so far and keeps nothing, so a header that arrives byte by byte is judged like one that
//! arrives at once.

mod crc32c;
mod encode;
mod v1;
mod v2;

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use thiserror::Error;

pub use encode::{ClientFlags, HeaderTooLong, SslTlv, V2Header, v1_line};
pub use v2::MAX_LENGTH;

/// A PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The sender connects on its own behalf, as for a health check (`LOCAL`). It speaks for no
    /// client.
    Local,
    /// The sender stands for a client, which is not the sender, wherever it may be.
    Client(Option<Endpoints>),
}

/// The two ends of a client's connection, of one family. There are none where the sender does not
/// know them, or they are no IP addresses: `UNKNOWN`, `UNSPEC`, a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// Over IPv4.
    V4 {
        /// The client.
        source: SocketAddrV4,
        /// The address that the client connected to.
        destination: SocketAddrV4,
    },
    /// Over IPv6.
    V6 {
        /// The client.
        source: SocketAddrV6,
        /// The address that the client connected to.
        destination: SocketAddrV6,
    },
}

impl Endpoints {
    /// The ends of a connection. Both are IPv4 where both can be written so, IPv4-mapped addresses
    /// included; otherwise an IPv4 address is written as IPv6 (RFC 4291 §2.5.5.2), because a header
    /// has room for one family only.
    #[must_use]
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        match (canonical(source), canonical(destination)) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => Self::V4 {
                source,
                destination,
            },
            (source, destination) => Self::V6 {
                source: v6(source),
                destination: v6(destination),
            },
        }
    }

    /// The client.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        match *self {
            Self::V4 { source, .. } => source.into(),
            Self::V6 { source, .. } => source.into(),
        }
    }

    /// The address that the client connected to.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        match *self {
            Self::V4 { destination, .. } => destination.into(),
            Self::V6 { destination, .. } => destination.into(),
        }
    }
}

fn v6(addr: SocketAddr) -> SocketAddrV6 {
    let ip: Ipv6Addr = match addr {
        SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped(),
        SocketAddr::V6(v6) => *v6.ip(),
    };
    SocketAddrV6::new(ip, addr.port(), 0, 0)
}

/// The result of parsing a connection's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header, or nothing yet.
    Incomplete,
    /// A header.
    Complete {
        /// The header.
        header: ProxyHeader,
        /// Its length in bytes. What follows is not part of it.
        consumed: usize,
    },
    /// Not a header of either version.
    NotProxy,
    /// A header that breaks the rules.
    Malformed(HeaderError),
}

/// How a header breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Version 1: no end of line where there must be one.
    #[error("the line of version 1 does not end in CR LF within 107 bytes")]
    Line,
    /// Version 1: another protocol than `TCP4`, `TCP6` and `UNKNOWN`.
    #[error("the line of version 1 names none of TCP4, TCP6 and UNKNOWN")]
    Protocol,
    /// Version 1: not two addresses of the family and two ports, with one space between each.
    #[error("the line of version 1 has no two addresses of its family and two ports after them")]
    Addresses,
    /// Version 2: a version that there is not.
    #[error("it says that it is of version {0}")]
    Version(u8),
    /// Version 2: neither `LOCAL` nor `PROXY`.
    #[error("it has the command {0:#x}, which is neither LOCAL nor PROXY")]
    Command(u8),
    /// Version 2: a family or a transport that there is not.
    #[error("it has {0:#04x} for the family and the transport, which do not exist")]
    Family(u8),
    /// Version 2: longer than any header needs.
    #[error("it announces {0} bytes, and {limit} are read at most", limit = MAX_LENGTH)]
    TooLong(u16),
    /// Version 2: too short for the addresses of its family.
    #[error("it announces {0} bytes, too few for the addresses of its family")]
    TooShort(u16),
    /// Version 2: a TLV that is longer than what is left of the header.
    #[error("one of its TLVs does not end where the header does")]
    Tlv,
    /// Version 2: a checksum that is not one of four bytes, or more than one.
    #[error("it does not have one CRC32C checksum of four bytes")]
    Checksums,
    /// Version 2: the checksum is another one.
    #[error("its CRC32C checksum does not match: it was damaged on its way")]
    Checksum,
}

/// Reads the header at the beginning of `bytes`, which are all that have come so far.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let parsed = if begins(bytes, v1::START) {
        v1::parse(bytes)
    } else if begins(bytes, v2::SIGNATURE) {
        v2::parse(bytes)
    } else {
        return Parsed::NotProxy;
    };
    match parsed {
        Ok(Some((header, consumed))) => Parsed::Complete { header, consumed },
        Ok(None) => Parsed::Incomplete,
        Err(error) => Parsed::Malformed(error),
    }
}

/// Whether these bytes begin like a header, whatever becomes of it; false while they are too few to
/// tell.
#[must_use]
pub fn is_recognisable(bytes: &[u8]) -> bool {
    bytes.starts_with(v1::START) || bytes.starts_with(v2::SIGNATURE)
}

/// Whether one is the beginning of the other.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes
        .iter()
        .zip(start)
        .all(|(byte, expected)| byte == expected)
}

/// A header with its length once it is whole.
type Progress = Result<Option<(ProxyHeader, usize)>, HeaderError>;

#[cfg(test)]
mod tests;
