//! Contents of extensions: a name, lists, and the vectors that they are made of.

use super::{Malformed, RequestedName};

/// The one name in a `server_name` extension (RFC 6066 §3).
pub(super) fn server_name(content: &[u8]) -> Result<RequestedName, Malformed> {
    let list = whole(vector(content)).ok_or(Malformed::ServerNameLength)?;
    let (&kind, entry) = list.split_first().ok_or(Malformed::ServerNameEmpty)?;
    if kind != HOST_NAME {
        return Err(Malformed::ServerNameType(kind));
    }
    let (name, others) = vector(entry).ok_or(Malformed::ServerNameLength)?;
    if !others.is_empty() {
        return Err(Malformed::ServerNameSeveral);
    }
    if name.is_empty() {
        return Err(Malformed::ServerNameEmpty);
    }
    if name.len() > 255 {
        return Err(Malformed::ServerNameTooLong(name.len()));
    }
    if let Some(&byte) = name.iter().find(|byte| !matches!(byte, b' '..=b'~')) {
        return Err(Malformed::ServerNameByte(byte));
    }
    Ok(requested(&String::from_utf8_lossy(name)))
}

fn requested(text: &str) -> RequestedName {
    if let Ok(address) = text.parse() {
        return RequestedName::Ip(address);
    }
    match text.parse() {
        Ok(name) => RequestedName::Name(name),
        Err(_) => RequestedName::Unusable(text.into()),
    }
}

/// The 16-bit number at the start of `bytes`, and what follows it.
pub(super) fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

/// The vector at the start of `bytes`, which begins with its length in two bytes (RFC 8446 §3.4),
/// and what follows it.
pub(super) fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(bytes)?;
    rest.split_at_checked(length.into())
}

/// The vector at the start of `bytes`, which begins with its length in one byte, and what follows
/// it.
pub(super) fn short_vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(length.into())
}

/// The vector, if nothing follows it.
pub(super) fn whole<'a>(vector: Option<(&'a [u8], &'a [u8])>) -> Option<&'a [u8]> {
    vector
        .filter(|(_, rest)| rest.is_empty())
        .map(|(content, _)| content)
}

/// The only type of name in a `server_name` extension (RFC 6066 §3).
const HOST_NAME: u8 = 0;

#[cfg(test)]
mod tests {
    use std::iter;

    use super::super::ClientHello;
    use super::super::builder::{HelloBuilder, server_name};
    use super::*;

    fn requested_in(content: &[u8]) -> Result<RequestedName, Malformed> {
        ClientHello::parse(&HelloBuilder::new().extension(0, content).body())
            .map(|hello| hello.server_name)
    }

    #[test]
    fn a_requested_name_is_a_host_name_an_address_or_unusable() {
        let name = |text: &str| RequestedName::Name(text.parse().unwrap());
        let unusable = |text: &str| RequestedName::Unusable(text.into());
        let longest = iter::repeat_n("a", 127).collect::<Vec<_>>().join(".");
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{longest}.a");
        for (text, expected) in [
            ("a.example.net", name("a.example.net")),
            ("A.Example.Net.", name("a.example.net")),
            ("foo_bar.example.com", name("foo_bar.example.com")),
            (&longest, name(&longest)),
            ("192.0.2.1", RequestedName::Ip([192, 0, 2, 1].into())),
            (
                "2001:db8::1",
                RequestedName::Ip([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
            ),
            ("192.0.2.1.", unusable("192.0.2.1.")),
            ("[2001:db8::1]", unusable("[2001:db8::1]")),
            ("localhost:39233", unusable("localhost:39233")),
            ("a b", unusable("a b")),
            ("*.example.net", unusable("*.example.net")),
            (".", unusable(".")),
            (&long_label, unusable(&long_label)),
            (&long_name, unusable(&long_name)),
        ] {
            assert_eq!(
                requested_in(&server_name(&[(0, text.as_bytes())])),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn a_server_name_that_could_be_read_in_two_ways_is_refused() {
        let long = [b'a'; 256];
        for (content, expected) in [
            (vec![], Malformed::ServerNameLength),
            (vec![0], Malformed::ServerNameLength),
            (vec![0, 0], Malformed::ServerNameEmpty),
            (vec![0, 4, 0, 0, 2, b'a'], Malformed::ServerNameLength),
            (vec![0, 4, 0, 0, 1, b'a', 0], Malformed::ServerNameLength),
            (vec![0, 5, 0, 0, 1, b'a'], Malformed::ServerNameLength),
            (vec![0, 2, 0, 0], Malformed::ServerNameLength),
            (vec![0, 5, 0, 0, 1, b'a', 0], Malformed::ServerNameSeveral),
            (server_name(&[(0, b"")]), Malformed::ServerNameEmpty),
            (
                server_name(&[(1, b"a.example")]),
                Malformed::ServerNameType(1),
            ),
            (
                server_name(&[(0, b"a.example"), (0, b"b.example")]),
                Malformed::ServerNameSeveral,
            ),
            (
                server_name(&[(0, b"a.example"), (1, b"b.example")]),
                Malformed::ServerNameSeveral,
            ),
            (
                server_name(&[(0, b"a.example\0.evil")]),
                Malformed::ServerNameByte(0),
            ),
            (
                server_name(&[(0, b"a\n")]),
                Malformed::ServerNameByte(b'\n'),
            ),
            (
                server_name(&[(0, b"a\x7f")]),
                Malformed::ServerNameByte(0x7f),
            ),
            (
                server_name(&[(0, "bücher.example".as_bytes())]),
                Malformed::ServerNameByte(0xc3),
            ),
            (
                server_name(&[(0, &long)]),
                Malformed::ServerNameTooLong(256),
            ),
        ] {
            assert_eq!(
                requested_in(&content),
                Err(expected),
                "{}",
                content.escape_ascii()
            );
        }
    }

    #[test]
    fn a_list_whose_lengths_do_not_agree_is_refused() {
        for (kind, content, expected) in [
            (16, &b""[..], Malformed::Alpn),
            (16, b"\x00\x00", Malformed::Alpn),
            (16, b"\x00\x01\x00", Malformed::Alpn),
            (16, b"\x00\x04\x02h2\x00", Malformed::Alpn),
            (16, b"\x00\x03\x03h2", Malformed::Alpn),
            (16, b"\x00\x04\x02h2", Malformed::Alpn),
            (16, b"\x00\x03\x02h2\x00", Malformed::Alpn),
            (43, b"", Malformed::SupportedVersions),
            (43, b"\x00", Malformed::SupportedVersions),
            (43, b"\x01\x03", Malformed::SupportedVersions),
            (43, b"\x03\x03\x04\x03", Malformed::SupportedVersions),
            (43, b"\x02\x03\x04\x03", Malformed::SupportedVersions),
            (43, b"\x04\x03\x04", Malformed::SupportedVersions),
            (10, b"", Malformed::SupportedGroups),
            (10, b"\x00\x00", Malformed::SupportedGroups),
            (10, b"\x00\x01\x00", Malformed::SupportedGroups),
            (10, b"\x00\x02\x00\x1d\x00", Malformed::SupportedGroups),
            (10, b"\x00\x04\x00\x1d", Malformed::SupportedGroups),
            (13, b"", Malformed::SignatureAlgorithms),
            (13, b"\x00\x00", Malformed::SignatureAlgorithms),
            (13, b"\x00\x03\x04\x03\x08", Malformed::SignatureAlgorithms),
            (13, b"\x00\x02\x04\x03\x08", Malformed::SignatureAlgorithms),
        ] {
            let hello = HelloBuilder::named("a.example").extension(kind, content);
            assert_eq!(
                ClientHello::parse(&hello.body()),
                Err(expected),
                "{kind} {}",
                content.escape_ascii()
            );
        }
    }
}
