//! The message itself: what a ClientHello asks for, strictly read.

use std::fmt;
use std::net::IpAddr;

use super::Malformed;
use super::extensions::{number, server_name, short_vector, vector, whole};
use super::kinds::Kinds;
use super::numbers::Numbers;
use crate::name::{AlpnList, ServerName};

/// The ClientHello: what a client asks for before anything is encrypted (RFC 8446 §4.1.2, RFC 5246
/// §7.4.1.2).
///
/// Only what a route is chosen by or a log shows. The lists keep the client's order; that of an
/// absent extension is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server that the client wants.
    pub server_name: RequestedName,
    /// The application protocols offered (RFC 7301). GREASE, which looks like any protocol here, is
    /// kept.
    pub alpn: AlpnList,
    /// The versions offered, such as 0x0304 for TLS 1.3: `supported_versions`, or else only the
    /// legacy version, of which one above TLS 1.2 stands for TLS 1.2 (RFC 8446 §4.2.1).
    pub versions: Numbers,
    /// The cipher suites offered (RFC 8446 §B.4), such as 0x1301 for TLS_AES_128_GCM_SHA256. In TLS
    /// 1.2 they also say which kinds of keys a server may have (RFC 5246 §7.4.2).
    pub cipher_suites: Numbers,
    /// The groups offered for the key exchange (RFC 8446 §4.2.7), such as 0x11ec for
    /// X25519MLKEM768.
    pub groups: Numbers,
    /// The signature schemes accepted (RFC 8446 §4.2.3).
    pub signature_schemes: Numbers,
    /// Whether an encrypted hello is inside (RFC 9849). Browsers pretend so always, and only the
    /// server with the key can tell; [`server_name`](Self::server_name) is that of the outer hello.
    pub ech: bool,
}

/// The name of the server that a client wants, as its `server_name` extension tells (RFC 6066 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestedName {
    /// No extension.
    Absent,
    /// An IP address in textual form. The RFC forbids it and some clients send it; it counts as no
    /// name.
    Ip(IpAddr),
    /// A host name.
    Name(ServerName),
    /// At most 255 bytes of printable ASCII that are no host name, such as `localhost:8443`. No
    /// route matches it.
    Unusable(Box<str>),
}

impl RequestedName {
    /// The host name, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<&ServerName> {
        if let Self::Name(name) = self {
            Some(name)
        } else {
            None
        }
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
        let Fixed {
            version,
            suites,
            compression,
            extensions,
        } = Fixed::read(body)?;
        let mut hello = Self {
            server_name: RequestedName::Absent,
            alpn: AlpnList::default(),
            versions: Numbers::from(&[version.min(TLS12)][..]),
            cipher_suites: Numbers::read(suites).ok_or(Malformed::NoCipherSuite)?,
            groups: Numbers::default(),
            signature_schemes: Numbers::default(),
            ech: false,
        };
        hello.read_extensions(extensions)?;
        // RFC 5246 §7.4.1.2 wants `null` among them, RFC 8446 §4.1.2 nothing else.
        if !compression.contains(&NULL) || (hello.versions.contains(TLS13) && compression != [NULL])
        {
            return Err(Malformed::Compression);
        }
        Ok(hello)
    }

    fn read_extensions(&mut self, mut extensions: &[u8]) -> Result<(), Malformed> {
        let mut kinds = Kinds::default();
        // A hello has room for 16,384 of them: what most of them take is kept short.
        while let Some((&[kind, number, high, low], behind)) = extensions.split_first_chunk() {
            let (kind, length) = (
                u16::from_be_bytes([kind, number]),
                u16::from_be_bytes([high, low]),
            );
            let (content, rest) = behind
                .split_at_checked(length.into())
                .ok_or(Malformed::ExtensionsTruncated)?;
            if !kinds.insert(kind) {
                return Err(Malformed::DuplicateExtension(kind));
            }
            if kind <= SUPPORTED_VERSIONS || kind == ENCRYPTED_CLIENT_HELLO {
                // RFC 8446 §4.2.11: what a server must check before anything else that it reads
                // there.
                if kind == PRE_SHARED_KEY && !rest.is_empty() {
                    return Err(Malformed::PreSharedKey);
                }
                self.read_extension(kind, content)?;
            }
            extensions = rest;
        }
        if extensions.is_empty() {
            Ok(())
        } else {
            Err(Malformed::ExtensionsTruncated)
        }
    }

    #[inline(never)]
    fn read_extension(&mut self, kind: u16, content: &[u8]) -> Result<(), Malformed> {
        match kind {
            SERVER_NAME => self.server_name = server_name(content)?,
            ALPN => {
                self.alpn = whole(vector(content))
                    .and_then(|list| AlpnList::new(list).ok())
                    .ok_or(Malformed::Alpn)?;
            }
            SUPPORTED_VERSIONS => {
                self.versions = whole(short_vector(content))
                    .and_then(Numbers::read)
                    .ok_or(Malformed::SupportedVersions)?;
            }
            SUPPORTED_GROUPS => {
                self.groups = whole(vector(content))
                    .and_then(Numbers::read)
                    .ok_or(Malformed::SupportedGroups)?;
            }
            SIGNATURE_ALGORITHMS => {
                self.signature_schemes = whole(vector(content))
                    .and_then(Numbers::read)
                    .ok_or(Malformed::SignatureAlgorithms)?;
            }
            ENCRYPTED_CLIENT_HELLO => self.ech = true,
            _ => {}
        }
        Ok(())
    }
}

/// The beginning of every hello (RFC 8446 §4.1.2), without the random bytes and the session's
/// identifier.
struct Fixed<'a> {
    version: u16,
    suites: &'a [u8],
    compression: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> Fixed<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let (version, rest) = number(body).ok_or(Malformed::Truncated)?;
        let (_random, rest) = rest.split_at_checked(32).ok_or(Malformed::Truncated)?;
        if rest.first().is_some_and(|length| *length > 32) {
            return Err(Malformed::SessionId);
        }
        let (_session, rest) = short_vector(rest).ok_or(Malformed::Truncated)?;
        let (length, behind) = number(rest).ok_or(Malformed::Truncated)?;
        if length % 2 != 0 {
            return Err(Malformed::ListLength);
        }
        let (suites, rest) = behind
            .split_at_checked(length.into())
            .ok_or(Malformed::ListLength)?;
        let (&length, behind) = rest.split_first().ok_or(Malformed::Truncated)?;
        let (compression, rest) = behind
            .split_at_checked(length.into())
            .ok_or(Malformed::ListLength)?;
        if compression.is_empty() {
            return Err(Malformed::NoCompression);
        }
        let (extensions, rest) = match rest {
            [] => (rest, rest),
            _ => vector(rest).ok_or(Malformed::ExtensionsTruncated)?,
        };
        if rest.is_empty() {
            Ok(Self {
                version,
                suites,
                compression,
                extensions,
            })
        } else {
            Err(Malformed::TrailingBytes)
        }
    }
}

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

/// The only compression method there is (RFC 5246 §6.1).
const NULL: u8 = 0;

// The types of the extensions that are read, in order (RFC 8446 §4.2, RFC 9849 for the last).
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

#[cfg(test)]
mod tests {
    use super::super::builder::{HelloBuilder, server_name, short_vector, vector};
    use super::*;
    use crate::name::Alpn;

    #[test]
    fn a_hello_tells_what_the_client_offers_without_its_grease() {
        let suites = vec![0x3a, 0x3a, 0x13, 0x01, 0xc0, 0x2b];
        let hello = HelloBuilder {
            suites,
            ..HelloBuilder::named("Vault.Example.NET.")
        }
        .extension(0x0a0a, &[])
        .extension(16, &vector(b"\x02h2\x08http/1.1\x02\x1a\x1a"))
        .extension(43, &short_vector(&[0x2a, 0x2a, 3, 4, 3, 3]))
        .extension(10, &vector(&[0xfa, 0xfa, 0x11, 0xec, 0, 29]))
        .extension(13, &vector(&[4, 3, 8, 4]))
        .extension(0xfe0d, &[0, 1, 2, 3])
        .extension(0xfafa, &[0]);
        let hello = ClientHello::parse(&hello.body()).unwrap();
        assert_eq!(
            hello.server_name,
            RequestedName::Name("vault.example.net".parse().unwrap())
        );
        assert_eq!(
            *hello.alpn.first(9),
            [&b"h2"[..], b"http/1.1", b"\x1a\x1a"].map(|protocol| Alpn::new(protocol).unwrap())
        );
        let numbers = |numbers: &Numbers| numbers.iter().collect::<Vec<_>>();
        assert_eq!(numbers(&hello.versions), [0x0304, 0x0303]);
        assert_eq!(numbers(&hello.cipher_suites), [0x1301, 0xc02b]);
        assert_eq!(numbers(&hello.groups), [0x11ec, 29]);
        assert_eq!(numbers(&hello.signature_schemes), [0x0403, 0x0804]);
        assert!(hello.ech);
    }

    #[test]
    fn a_hello_without_extensions_names_nothing_and_offers_its_legacy_version() {
        let empty_block = HelloBuilder {
            extensions: Some(Vec::new()),
            ..HelloBuilder::new()
        };
        for hello in [HelloBuilder::new(), empty_block] {
            let expected = ClientHello {
                server_name: RequestedName::Absent,
                alpn: AlpnList::default(),
                versions: Numbers::from(&[0x0303][..]),
                cipher_suites: Numbers::from(&[0x1301][..]),
                groups: Numbers::default(),
                signature_schemes: Numbers::default(),
                ech: false,
            };
            assert_eq!(
                ClientHello::parse(&hello.body()),
                Ok(expected),
                "{:?}",
                hello.extensions
            );
        }
    }

    #[test]
    fn a_fixed_part_that_is_wrong_is_refused() {
        let hello = HelloBuilder::new();
        let zero_length = [hello.body(), vec![0]].concat();
        let trailing = [HelloBuilder::named("a.example").body(), vec![0]].concat();
        let cut = HelloBuilder::named("a.example").body();
        let lying_suites = HelloBuilder {
            session_id: vec![],
            suites: vec![0xff; 6],
            ..hello.clone()
        }
        .body();
        let lying_suites = [&lying_suites[..35], &[0x7f, 0xfe], &lying_suites[37..]].concat();
        for (what, body, expected) in [
            ("nothing", vec![], Malformed::Truncated),
            (
                "half a random",
                hello.body()[..20].to_vec(),
                Malformed::Truncated,
            ),
            (
                "no compression",
                hello.body()[..71].to_vec(),
                Malformed::Truncated,
            ),
            (
                "session id",
                HelloBuilder {
                    session_id: vec![0; 33],
                    ..hello.clone()
                }
                .body(),
                Malformed::SessionId,
            ),
            (
                "no suite",
                HelloBuilder {
                    suites: vec![],
                    ..hello.clone()
                }
                .body(),
                Malformed::NoCipherSuite,
            ),
            (
                "odd suites",
                HelloBuilder {
                    suites: vec![0; 3],
                    ..hello.clone()
                }
                .body(),
                Malformed::ListLength,
            ),
            ("lying suites", lying_suites, Malformed::ListLength),
            (
                "empty compression",
                HelloBuilder {
                    compression: vec![],
                    ..hello
                }
                .body(),
                Malformed::NoCompression,
            ),
            ("half a length", zero_length, Malformed::ExtensionsTruncated),
            ("after extensions", trailing, Malformed::TrailingBytes),
            (
                "cut extensions",
                cut[..cut.len() - 1].to_vec(),
                Malformed::ExtensionsTruncated,
            ),
        ] {
            assert_eq!(ClientHello::parse(&body), Err(expected), "{what}");
        }
    }

    #[test]
    fn null_is_among_the_compression_methods_and_alone_in_tls_1_3() {
        let versions = short_vector(&[3, 4, 3, 3]);
        for (methods, in_tls_1_2, in_tls_1_3) in [
            (&[0][..], true, true),
            (&[1, 0], true, false),
            (&[0, 64], true, false),
            (&[1], false, false),
        ] {
            let hello = HelloBuilder {
                compression: methods.to_vec(),
                ..HelloBuilder::named("a.example")
            };
            let with_1_3 = hello.clone().extension(43, &versions);
            for (hello, expected) in [(hello, in_tls_1_2), (with_1_3, in_tls_1_3)] {
                let error = ClientHello::parse(&hello.body()).err();
                assert_eq!(
                    error,
                    (!expected).then_some(Malformed::Compression),
                    "{methods:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_follows_a_pre_shared_key() {
        let hello = HelloBuilder::named("a.example").extension(41, b"whatever");
        assert!(ClientHello::parse(&hello.body()).is_ok());
        let hello = hello.extension(21, &[]);
        assert_eq!(
            ClientHello::parse(&hello.body()),
            Err(Malformed::PreSharedKey)
        );
    }

    #[test]
    fn every_shorter_body_is_refused_or_has_no_extensions() {
        let body = HelloBuilder::named("a.example")
            .extension(16, b"\x00\x03\x02h2")
            .body();
        let fixed = HelloBuilder::new().body().len();
        for length in 0..body.len() {
            let parsed = ClientHello::parse(&body[..length]);
            assert_eq!(parsed.is_ok(), length == fixed, "{length}: {parsed:?}");
        }
    }

    #[test]
    fn a_block_that_ends_within_an_extension_is_refused() {
        let whole = HelloBuilder::named("a.example")
            .extension(23, &[])
            .extensions
            .unwrap();
        let ends = [18, whole.len()];
        for length in 0..=whole.len() {
            let hello = HelloBuilder {
                extensions: Some(whole[..length].to_vec()),
                ..HelloBuilder::new()
            };
            let parsed = ClientHello::parse(&hello.body());
            assert_eq!(
                parsed.is_ok(),
                length == 0 || ends.contains(&length),
                "{length}: {parsed:?}"
            );
        }
    }

    #[test]
    fn an_extension_that_others_dislike_does_not_hide_the_name_behind_it() {
        for (kind, content) in [
            (1, &b""[..]),
            (15, b""),
            (28, b""),
            (0xff01, b""),
            (0xffce, b"junk"),
            (35, b"x"),
        ] {
            let name = server_name(&[(0, b"a.example")]);
            let hello = HelloBuilder::new()
                .extension(kind, content)
                .extension(0, &name);
            let requested = ClientHello::parse(&hello.body()).map(|hello| hello.server_name);
            assert_eq!(
                requested,
                Ok(RequestedName::Name("a.example".parse().unwrap())),
                "{kind}"
            );
        }
    }

    #[test]
    fn the_same_extension_twice_is_refused() {
        for kind in [0, 16, 0x0a0a, 0xfe0d, 0x1234] {
            let content: &[u8] = if kind == 16 { b"\x00\x03\x02h2" } else { b"" };
            let mut hello = HelloBuilder::named("a.example").extension(17, &[]);
            for _ in 0..=u8::from(kind != 0) {
                hello = hello.extension(
                    kind,
                    if kind == 0 {
                        b"\0\x0c\0\0\x09b.example"
                    } else {
                        content
                    },
                );
            }
            assert_eq!(
                ClientHello::parse(&hello.body()),
                Err(Malformed::DuplicateExtension(kind)),
                "{kind}"
            );
        }
    }

    #[test]
    fn sixteen_thousand_extensions_are_judged_at_once() {
        let mut block = Vec::new();
        for kind in 100..16_400_u16 {
            block.extend([kind.to_be_bytes(), [0, 0]].concat());
        }
        let mut hello = HelloBuilder {
            extensions: Some(block),
            ..HelloBuilder::new()
        };
        assert!(ClientHello::parse(&hello.body()).is_ok());
        hello = hello.extension(100, &[]);
        assert_eq!(
            ClientHello::parse(&hello.body()),
            Err(Malformed::DuplicateExtension(100))
        );
    }
}
