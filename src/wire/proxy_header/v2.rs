//! Version 2: a binary header, whose length stands in it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::proxy_header::crc32c::Crc32c;
use crate::wire::proxy_header::{Endpoints, HeaderError, Progress, ProxyHeader};

/// The beginning of every header.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, the version with the command, the family with the transport, and the length of
/// what follows.
pub(super) const FIXED: usize = 16;

pub(super) const VERSION: u8 = 0x20;
pub(super) const COMMAND_PROXY: u8 = 0x1;
pub(super) const UNSPEC: u8 = 0x00;
pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;

/// The upper half of the family and the transport: IPv4, IPv6.
const INET: usize = 1;
const INET6: usize = 2;

/// The type of the TLV that has the checksum.
pub(super) const TYPE_CRC32C: u8 = 0x03;

/// The most bytes that are read after the fixed ones: what HAProxy takes, which reads a header into
/// one buffer. Most have fewer than a hundred; a client's certificate may be among them.
pub const MAX_LENGTH: u16 = 16 * 1024 - FIXED as u16;

pub(super) fn parse(bytes: &[u8]) -> Progress {
    let Some(&version) = bytes.get(12) else {
        return Ok(None);
    };
    if version & 0xf0 != VERSION {
        return Err(HeaderError::Version(version >> 4));
    }
    let is_local = match version & 0x0f {
        0 => true,
        COMMAND_PROXY => false,
        command => return Err(HeaderError::Command(command)),
    };
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., family, high, low] = *fixed;
    let length = u16::from_be_bytes([high, low]);
    if length > MAX_LENGTH {
        return Err(HeaderError::TooLong(length));
    }
    let end = FIXED + usize::from(length);
    let Some(block) = rest.get(..usize::from(length)) else {
        return Ok(None);
    };
    // Its addresses do not count, of whatever family it says they are.
    if is_local {
        return Ok(Some((ProxyHeader::Local, end)));
    }
    let (client, addresses) = addresses(family, block)?;
    check_tlvs(bytes.get(..end).unwrap_or_default(), FIXED + addresses)?;
    Ok(Some((ProxyHeader::Client(client), end)))
}

/// The ends in a block that begins with addresses of this family, and their length in bytes.
///
/// The transport does not count: a proxy that takes datagrams (QUIC) knows where its client is as
/// well as any other.
fn addresses(family: u8, block: &[u8]) -> Result<(Option<Endpoints>, usize), HeaderError> {
    const LENGTHS: [usize; 4] = [0, 2 * 4 + 4, 2 * 16 + 4, 2 * 108];
    let (address, transport) = (usize::from(family >> 4), family & 0x0f);
    let length = *LENGTHS
        .get(address)
        .filter(|_| transport <= 2)
        .ok_or(HeaderError::Family(family))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a block has at most 2^16 bytes"
    )]
    let block = block
        .get(..length)
        .ok_or(HeaderError::TooShort(block.len() as u16))?;
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let ends = match address {
        INET => {
            let ip =
                |at: usize| Ipv4Addr::new(block[at], block[at + 1], block[at + 2], block[at + 3]);
            Some(Endpoints::new(
                (ip(0), port(8)).into(),
                (ip(4), port(10)).into(),
            ))
        }
        INET6 => {
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&block[at..at + 16]);
                Ipv6Addr::from(octets)
            };
            Some(Endpoints::new(
                (ip(0), port(32)).into(),
                (ip(16), port(34)).into(),
            ))
        }
        // Of which a receiver may say that it does not support them, and must not refuse them.
        _ => None,
    };
    Ok((ends, length))
}

/// Goes through the TLVs of a whole header, which begin at `start`, and verifies the checksum if it
/// has one.
fn check_tlvs(header: &[u8], start: usize) -> Result<(), HeaderError> {
    let mut checksum = None;
    let mut at = start;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..).and_then(<[u8]>::first_chunk) else {
            return Err(HeaderError::Tlv);
        };
        at += 3;
        let value = at..at + usize::from(u16::from_be_bytes([high, low]));
        at = value.end;
        if at > header.len() {
            return Err(HeaderError::Tlv);
        }
        if kind == TYPE_CRC32C && (value.len() != 4 || checksum.replace(value).is_some()) {
            return Err(HeaderError::Checksums);
        }
    }
    let Some(value) = checksum else { return Ok(()) };
    // The checksum is that of the header with zeros in its place.
    let actual = Crc32c::new()
        .update(&header[..value.start])
        .update(&[0; 4])
        .update(&header[value.end..])
        .finish();
    if header[value] == actual.to_be_bytes() {
        Ok(())
    } else {
        Err(HeaderError::Checksum)
    }
}
