//! The message itself: what a ClientHello asks for, strictly read.

use std::fmt;
use std::net::IpAddr;

use tls_parser::nom::error::ErrorKind;
use tls_parser::{Err as NomError, TlsExtensionType, parse_tls_handshake_client_hello};

use super::Malformed;
use super::extensions::{number, numbers, protocols, server_name, short_vector, vector, whole, without_grease};
use crate::name::{Alpn, ServerName};

/// What a client asks for before anything is encrypted (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2).
///
/// Only what a route is chosen by or a log shows. The lists keep the client's order, and lack the reserved values that
/// clients strew in to keep servers tolerant (GREASE, RFC 8701); the list of an absent extension is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server that the client wants.
    pub server_name: RequestedName,
    /// The application protocols offered (RFC 7301). GREASE, which looks like any protocol here, is kept.
    pub alpn: Vec<Alpn>,
    /// The versions offered, such as 0x0304 for TLS 1.3: `supported_versions`, or else only the legacy version.
    pub versions: Vec<u16>,
    /// The cipher suites offered (RFC 8446 §B.4), such as 0x1301 for TLS_AES_128_GCM_SHA256. In TLS 1.2 they also say
    /// which kinds of keys a server may have (RFC 5246 §7.4.2).
    pub cipher_suites: Vec<u16>,
    /// The groups offered for the key exchange (RFC 8446 §4.2.7), such as 0x11ec for X25519MLKEM768.
    pub groups: Vec<u16>,
    /// The signature schemes accepted (RFC 8446 §4.2.3).
    pub signature_schemes: Vec<u16>,
    /// Whether an encrypted hello is inside (RFC 9849). Browsers pretend so always, and nobody but the server with the
    /// key can tell; [`server_name`](Self::server_name) is that of the outer hello.
    pub ech: bool,
}

/// The name of the server that a client wants, as its `server_name` extension tells (RFC 6066 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestedName {
    /// No extension.
    Absent,
    /// An IP address in textual form. The RFC forbids it and some clients send it; it counts as no name.
    Ip(IpAddr),
    /// A host name.
    Name(ServerName),
    /// At most 255 bytes of printable ASCII that are no host name, such as `localhost:8443`. No route matches it.
    Unusable(Box<str>),
}

impl RequestedName {
    /// The host name, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<&ServerName> {
        if let Self::Name(name) = self { Some(name) } else { None }
    }
}

impl fmt::Display for RequestedName {
    /// The text that the client sent, normalised; empty for none. It has no control characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => Ok(()),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::Unusable(text) => f.write_str(text),
        }
    }
}

impl ClientHello {
    /// Reads the message's `body`, which follows its four-byte header.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let (rest, fixed) = parse_tls_handshake_client_hello(body).map_err(|error| match error {
            NomError::Incomplete(_) => Malformed::Truncated,
            NomError::Error(error) | NomError::Failure(error) => match error.code {
                ErrorKind::Verify => Malformed::SessionId,
                _ => Malformed::ListLength,
            },
        })?;
        if fixed.ciphers.is_empty() {
            return Err(Malformed::NoCipherSuite);
        }
        if fixed.comp.is_empty() {
            return Err(Malformed::NoCompression);
        }
        if !rest.is_empty() {
            return Err(if fixed.ext.is_some() { Malformed::TrailingBytes } else { Malformed::ExtensionsTruncated });
        }

        let mut hello = Self {
            server_name: RequestedName::Absent,
            alpn: Vec::new(),
            versions: vec![fixed.version.0],
            cipher_suites: without_grease(fixed.ciphers.len(), fixed.ciphers.iter().map(|suite| suite.0)),
            groups: Vec::new(),
            signature_schemes: Vec::new(),
            ech: false,
        };
        hello.read_extensions(fixed.ext.unwrap_or_default())?;
        Ok(hello)
    }

    // tls-parser's own loop over the extensions ends in silence at the first whose content it dislikes, which would hide
    // a server_name behind it.
    fn read_extensions(&mut self, mut extensions: &[u8]) -> Result<(), Malformed> {
        let mut kinds = Vec::with_capacity(USUAL_EXTENSIONS);
        while !extensions.is_empty() {
            let (kind, rest) = number(extensions).ok_or(Malformed::ExtensionsTruncated)?;
            let (content, rest) = vector(rest).ok_or(Malformed::ExtensionsTruncated)?;
            self.read_extension(kind, content)?;
            kinds.push(kind);
            extensions = rest;
        }
        // Sorted, because a hello has room for 16384 extensions, too many to compare each with each.
        kinds.sort_unstable();
        match kinds.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Malformed::DuplicateExtension(pair[0])),
            None => Ok(()),
        }
    }

    fn read_extension(&mut self, kind: u16, content: &[u8]) -> Result<(), Malformed> {
        match TlsExtensionType(kind) {
            TlsExtensionType::ServerName => self.server_name = server_name(content)?,
            TlsExtensionType::ApplicationLayerProtocolNegotiation => {
                self.alpn = whole(vector(content)).and_then(protocols).ok_or(Malformed::Alpn)?;
            }
            TlsExtensionType::SupportedVersions => {
                self.versions = whole(short_vector(content)).and_then(numbers).ok_or(Malformed::SupportedVersions)?;
            }
            TlsExtensionType::SupportedGroups => {
                self.groups = whole(vector(content)).and_then(numbers).ok_or(Malformed::SupportedGroups)?;
            }
            TlsExtensionType::SignatureAlgorithms => {
                self.signature_schemes =
                    whole(vector(content)).and_then(numbers).ok_or(Malformed::SignatureAlgorithms)?;
            }
            ENCRYPTED_CLIENT_HELLO => self.ech = true,
            _ => {}
        }
        Ok(())
    }
}

/// Browsers send about 18, other clients fewer.
const USUAL_EXTENSIONS: usize = 24;

/// The extension of encrypted hellos (RFC 9849), which tls-parser does not know yet.
const ENCRYPTED_CLIENT_HELLO: TlsExtensionType = TlsExtensionType(0xfe0d);

#[cfg(test)]
mod tests {
    use super::super::builder::{HelloBuilder, server_name, short_vector, vector};
    use super::*;

    #[test]
    fn a_hello_tells_what_the_client_offers_without_its_grease() {
        let suites = vec![0x3a, 0x3a, 0x13, 0x01, 0xc0, 0x2b];
        let hello = HelloBuilder { suites, ..HelloBuilder::named("Vault.Example.NET.") }
            .extension(0x0a0a, &[])
            .extension(16, &vector(b"\x02h2\x08http/1.1\x02\x1a\x1a"))
            .extension(43, &short_vector(&[0x2a, 0x2a, 3, 4, 3, 3]))
            .extension(10, &vector(&[0xfa, 0xfa, 0x11, 0xec, 0, 29]))
            .extension(13, &vector(&[4, 3, 8, 4]))
            .extension(0xfe0d, &[0, 1, 2, 3])
            .extension(0xfafa, &[0]);
        let expected = ClientHello {
            server_name: RequestedName::Name("vault.example.net".parse().unwrap()),
            alpn: [&b"h2"[..], b"http/1.1", b"\x1a\x1a"].map(|protocol| Alpn::new(protocol).unwrap()).to_vec(),
            versions: vec![0x0304, 0x0303],
            cipher_suites: vec![0x1301, 0xc02b],
            groups: vec![0x11ec, 29],
            signature_schemes: vec![0x0403, 0x0804],
            ech: true,
        };
        assert_eq!(ClientHello::parse(&hello.body()), Ok(expected));
    }

    #[test]
    fn a_hello_without_extensions_names_nothing_and_offers_its_legacy_version() {
        let empty_block = HelloBuilder { extensions: Some(Vec::new()), ..HelloBuilder::new() };
        for hello in [HelloBuilder::new(), empty_block] {
            let expected = ClientHello {
                server_name: RequestedName::Absent,
                alpn: Vec::new(),
                versions: vec![0x0303],
                cipher_suites: vec![0x1301],
                groups: Vec::new(),
                signature_schemes: Vec::new(),
                ech: false,
            };
            assert_eq!(ClientHello::parse(&hello.body()), Ok(expected), "{:?}", hello.extensions);
        }
    }

    #[test]
    fn a_fixed_part_that_is_wrong_is_refused() {
        let hello = HelloBuilder::new();
        let zero_length = [hello.body(), vec![0]].concat();
        let trailing = [HelloBuilder::named("a.example").body(), vec![0]].concat();
        let cut = HelloBuilder::named("a.example").body();
        let lying_suites = HelloBuilder { session_id: vec![], suites: vec![0xff; 6], ..hello.clone() }.body();
        let lying_suites = [&lying_suites[..35], &[0x7f, 0xfe], &lying_suites[37..]].concat();
        for (what, body, expected) in [
            ("nothing", vec![], Malformed::Truncated),
            ("half a random", hello.body()[..20].to_vec(), Malformed::Truncated),
            ("no compression", hello.body()[..71].to_vec(), Malformed::Truncated),
            ("session id", HelloBuilder { session_id: vec![0; 33], ..hello.clone() }.body(), Malformed::SessionId),
            ("no suite", HelloBuilder { suites: vec![], ..hello.clone() }.body(), Malformed::NoCipherSuite),
            ("odd suites", HelloBuilder { suites: vec![0; 3], ..hello.clone() }.body(), Malformed::ListLength),
            ("lying suites", lying_suites, Malformed::ListLength),
            ("empty compression", HelloBuilder { compression: vec![], ..hello }.body(), Malformed::NoCompression),
            ("half a length", zero_length, Malformed::ExtensionsTruncated),
            ("after extensions", trailing, Malformed::TrailingBytes),
            ("cut extensions", cut[..cut.len() - 1].to_vec(), Malformed::ExtensionsTruncated),
        ] {
            assert_eq!(ClientHello::parse(&body), Err(expected), "{what}");
        }
    }

    #[test]
    fn every_shorter_body_is_refused_or_has_no_extensions() {
        let body = HelloBuilder::named("a.example").extension(16, b"\x00\x03\x02h2").body();
        let fixed = HelloBuilder::new().body().len();
        for length in 0..body.len() {
            let parsed = ClientHello::parse(&body[..length]);
            assert_eq!(parsed.is_ok(), length == fixed, "{length}: {parsed:?}");
        }
    }

    #[test]
    fn a_block_that_ends_within_an_extension_is_refused() {
        let whole = HelloBuilder::named("a.example").extension(23, &[]).extensions.unwrap();
        let ends = [18, whole.len()];
        for length in 0..=whole.len() {
            let hello = HelloBuilder { extensions: Some(whole[..length].to_vec()), ..HelloBuilder::new() };
            let parsed = ClientHello::parse(&hello.body());
            assert_eq!(parsed.is_ok(), length == 0 || ends.contains(&length), "{length}: {parsed:?}");
        }
    }

    #[test]
    fn an_extension_that_others_dislike_does_not_hide_the_name_behind_it() {
        for (kind, content) in [(1, &b""[..]), (15, b""), (28, b""), (0xff01, b""), (0xffce, b"junk"), (35, b"x")] {
            let name = server_name(&[(0, b"a.example")]);
            let hello = HelloBuilder::new().extension(kind, content).extension(0, &name);
            let requested = ClientHello::parse(&hello.body()).map(|hello| hello.server_name);
            assert_eq!(requested, Ok(RequestedName::Name("a.example".parse().unwrap())), "{kind}");
        }
    }

    #[test]
    fn the_same_extension_twice_is_refused() {
        for kind in [0, 16, 0x0a0a, 0xfe0d, 0x1234] {
            let content: &[u8] = if kind == 16 { b"\x00\x03\x02h2" } else { b"" };
            let mut hello = HelloBuilder::named("a.example").extension(17, &[]);
            for _ in 0..=u8::from(kind != 0) {
                hello = hello.extension(kind, if kind == 0 { b"\0\x0c\0\0\x09b.example" } else { content });
            }
            assert_eq!(ClientHello::parse(&hello.body()), Err(Malformed::DuplicateExtension(kind)), "{kind}");
        }
    }

    #[test]
    fn sixteen_thousand_extensions_are_judged_at_once() {
        let mut block = Vec::new();
        for kind in 100..16_400_u16 {
            block.extend([kind.to_be_bytes(), [0, 0]].concat());
        }
        let mut hello = HelloBuilder { extensions: Some(block), ..HelloBuilder::new() };
        assert!(ClientHello::parse(&hello.body()).is_ok());
        hello = hello.extension(100, &[]);
        assert_eq!(ClientHello::parse(&hello.body()), Err(Malformed::DuplicateExtension(100)));
    }
}
