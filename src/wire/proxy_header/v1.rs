//! Version 1: one line of text.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::wire::proxy_header::{Endpoints, HeaderError, Progress, ProxyHeader};

/// The beginning of every line.
pub(super) const START: &[u8] = b"PROXY ";

/// The longest line, its end included, as the specification counts it.
pub(super) const MAX_LINE: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Progress {
    let window = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if bytes.len() < MAX_LINE {
            Ok(None)
        } else {
            Err(HeaderError::Line)
        };
    };
    match window[end..] {
        [b'\r', b'\n', ..] => {}
        // The line feed may be the next byte.
        [b'\r'] if window.len() < MAX_LINE => return Ok(None),
        _ => return Err(HeaderError::Line),
    }
    let line = window.get(START.len()..end).ok_or(HeaderError::Line)?;
    Ok(Some((header(line)?, end + 2)))
}

/// The header between `PROXY ` and the end of the line.
fn header(line: &[u8]) -> Result<ProxyHeader, HeaderError> {
    let (protocol, rest) = match line.iter().position(|byte| *byte == b' ') {
        Some(space) => (&line[..space], Some(&line[space + 1..])),
        None => (line, None),
    };
    let is_v4 = match protocol {
        // Whatever follows is ignored.
        b"UNKNOWN" => return Ok(ProxyHeader::Client(None)),
        b"TCP4" => true,
        b"TCP6" => false,
        _ => return Err(HeaderError::Protocol),
    };
    let fields = rest
        .and_then(|rest| std::str::from_utf8(rest).ok())
        .ok_or(HeaderError::Addresses)?;
    let mut fields = fields.split(' ');
    let mut next = || fields.next().ok_or(HeaderError::Addresses);
    let [source, destination, source_port, destination_port] = [next()?, next()?, next()?, next()?];
    if fields.next().is_some() {
        return Err(HeaderError::Addresses);
    }
    let source = SocketAddr::new(ip(source, is_v4)?, port(source_port)?);
    let destination = SocketAddr::new(ip(destination, is_v4)?, port(destination_port)?);
    Ok(ProxyHeader::Client(Some(Endpoints::new(
        source,
        destination,
    ))))
}

fn ip(text: &str, is_v4: bool) -> Result<IpAddr, HeaderError> {
    // The standard library takes four numbers without leading zeros for IPv4, and no zone for IPv6.
    let ip = IpAddr::from_str(text).map_err(|_| HeaderError::Addresses)?;
    if ip.is_ipv4() == is_v4 {
        Ok(ip)
    } else {
        Err(HeaderError::Addresses)
    }
}

/// Decimal digits without a sign and without leading zeros.
fn port(text: &str) -> Result<u16, HeaderError> {
    let plain =
        text == "0" || (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0'));
    text.parse()
        .ok()
        .filter(|_| plain)
        .ok_or(HeaderError::Addresses)
}
