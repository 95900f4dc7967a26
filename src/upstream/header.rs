//! The PROXY header to servers, before a client's first byte.

use std::net::SocketAddr;

use crate::addr::ClientAddr;
use crate::authz::ClientCertificate;
use crate::name::{Alpn, ServerName};
use crate::tls::SessionFacts;
use crate::wire::proxy_header::{ClientFlags, Endpoints, HeaderTooLong, SslTlv, V2Header, v1_line};

/// The PROXY header that servers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// A line of text with the addresses.
    V1,
    /// A binary header with the addresses and these TLVs.
    V2(Tlvs),
}

/// The contents of a header of version 2 beyond the addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is one word of a list")]
pub struct Tlvs {
    /// The server name that the client asked for.
    pub authority: bool,
    /// The protocol that was agreed on with the client.
    pub alpn: bool,
    /// The session with the client: its version and cipher suite, whether its certificate is
    /// verified, and whose it is.
    pub ssl: bool,
    /// The client's certificate, if it was verified. It is a part of `ssl`.
    pub client_certificate: bool,
    /// The number of the connection in the log.
    pub unique_id: bool,
    /// A checksum.
    pub crc32c: bool,
}

impl Tlvs {
    /// The words of the configuration.
    pub const WORDS: [&'static str; 6] = [
        "authority",
        "alpn",
        "ssl",
        "client_certificate",
        "unique_id",
        "crc32c",
    ];

    /// Those words that were chosen.
    #[must_use]
    pub fn words(mut self) -> Vec<&'static str> {
        Self::WORDS
            .into_iter()
            .filter(|word| self.word_mut(word).is_some_and(|chosen| *chosen))
            .collect()
    }

    /// Whether the word was chosen; nothing if there is no such word.
    pub fn word_mut(&mut self, word: &str) -> Option<&mut bool> {
        Some(match word {
            "authority" => &mut self.authority,
            "alpn" => &mut self.alpn,
            "ssl" => &mut self.ssl,
            "client_certificate" => &mut self.client_certificate,
            "unique_id" => &mut self.unique_id,
            "crc32c" => &mut self.crc32c,
            _ => return None,
        })
    }
}

/// The facts of a client, for a server that is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its address.
    pub client: ClientAddr,
    /// The address that the client connected to.
    pub destination: Option<SocketAddr>,
    /// The number of the connection.
    pub id: u64,
    /// The server name that it asked for.
    pub server_name: Option<&'a ServerName>,
    /// The session with it, where TLS was terminated.
    pub session: Option<TerminatedSession<'a>>,
}

/// A session with a client.
#[derive(Clone, Copy, Debug)]
pub struct TerminatedSession<'a> {
    /// `1.2` or `1.3`.
    pub version: &'a str,
    /// The protocol that was agreed on.
    pub alpn: Option<&'a Alpn>,
    /// The certificate that the client has shown.
    pub certificate: Option<&'a ClientCertificate>,
    /// The facts of the session itself.
    pub facts: Option<&'a SessionFacts>,
}

impl ProxyProtocol {
    /// Whether the header has what [`SessionFacts`] have.
    #[must_use]
    pub fn tells_session_facts(self) -> bool {
        matches!(self, Self::V2(tlvs) if tlvs.ssl)
    }

    /// The header for a connection of snigate's own, such as a health check.
    #[must_use]
    pub fn own_header(self) -> Vec<u8> {
        match self {
            Self::V1 => v1_line(None),
            Self::V2(_) => V2Header::local(),
        }
    }

    /// The header for a connection.
    ///
    /// A client without an IP address is `UNKNOWN` in version 1 and of the family `UNSPEC` in
    /// version 2. What is not known is left out. A certificate that was not verified is never
    /// passed on, nor anything that it says.
    ///
    /// # Errors
    ///
    /// When the client's certificate leaves no room. A server that looks for it must not be reached
    /// without it.
    pub fn header(self, facts: &Facts<'_>) -> Result<Vec<u8>, HeaderTooLong> {
        let endpoints = match (facts.client, facts.destination) {
            (ClientAddr::Socket(client), Some(destination)) => {
                Some(Endpoints::new(client, destination))
            }
            _ => None,
        };
        let tlvs = match self {
            Self::V1 => return Ok(v1_line(endpoints)),
            Self::V2(tlvs) => tlvs,
        };
        let mut header = V2Header::new(endpoints);
        if let Some(name) = facts.server_name.filter(|_| tlvs.authority) {
            header = header.authority(name.as_str());
        }
        if let Some(alpn) = facts
            .session
            .and_then(|session| session.alpn)
            .filter(|_| tlvs.alpn)
        {
            header = header.alpn(alpn.as_bytes());
        }
        if tlvs.unique_id {
            header = header.unique_id(&format!("{:016x}", facts.id));
        }
        if let Some(session) = facts.session.filter(|_| tlvs.ssl) {
            header = header.ssl(&session.tlv(tlvs.client_certificate));
        }
        header.finish(tlvs.crc32c)
    }
}

impl<'a> TerminatedSession<'a> {
    fn tlv(&self, with_certificate: bool) -> SslTlv<'a> {
        let verified = self.certificate.and_then(ClientCertificate::verified);
        let client = match (self.certificate, verified) {
            (None, _) => ClientFlags::NoCertificate,
            (Some(_), None) => ClientFlags::Unverified,
            (Some(_), Some(_)) => ClientFlags::Verified,
        };
        // Of several names a server would take one, and not know that there are others. A name with
        // a control character may end there for a server.
        let common_name = verified.and_then(|identity| match identity.common_names.as_slice() {
            [name] if !name.chars().any(char::is_control) => Some(name.as_str()),
            _ => None,
        });
        SslTlv {
            client,
            version: if self.version == "1.3" {
                "TLSv1.3"
            } else {
                "TLSv1.2"
            },
            cipher: self.facts.and_then(|facts| facts.cipher),
            common_name,
            certificate: self
                .facts
                .and_then(|facts| facts.certificate.as_deref())
                .filter(|_| with_certificate && verified.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::Identity;

    const ALL: Tlvs = Tlvs {
        authority: true,
        alpn: true,
        ssl: true,
        client_certificate: true,
        unique_id: true,
        crc32c: true,
    };

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    fn ssl(certificate: &ClientCertificate, der: &[u8]) -> Result<Vec<u8>, HeaderTooLong> {
        let facts = SessionFacts {
            cipher: Some("TLS_AES_128_GCM_SHA256"),
            certificate: Some(der.to_vec()),
        };
        let session = TerminatedSession {
            version: "1.3",
            alpn: None,
            certificate: Some(certificate),
            facts: Some(&facts),
        };
        let client = ClientAddr::Unix;
        ProxyProtocol::V2(ALL).header(&Facts {
            client,
            destination: None,
            id: 7,
            server_name: None,
            session: Some(session),
        })
    }

    fn named(names: &[&str]) -> Identity {
        Identity {
            common_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Identity::default()
        }
    }

    #[test]
    fn nothing_of_a_certificate_that_was_not_verified_is_passed_on() {
        let header = ssl(&ClientCertificate::Verified(named(&["ada"])), b"DER").unwrap();
        assert!(contains(&header, b"\x22\0\x03ada") && contains(&header, b"\x28\0\x03DER"));
        assert!(contains(&header, &[0x07, 0, 0, 0, 0, 0x21]));
        let header = ssl(&ClientCertificate::Unverified(named(&["ada"])), b"DER").unwrap();
        assert!(!contains(&header, b"ada") && !contains(&header, b"DER"));
        assert!(
            contains(&header, &[0x07, 0, 0, 0, 1, 0x21]),
            "it looks verified: {header:02x?}"
        );
    }

    #[test]
    fn a_common_name_that_can_be_misread_is_left_out() {
        for names in [&["ada", "eve"][..], &["ada\0.example"], &[]] {
            let header = ssl(&ClientCertificate::Verified(named(names)), b"DER").unwrap();
            assert!(!contains(&header, b"ada"), "{names:?}");
        }
    }

    #[test]
    fn a_certificate_that_does_not_fit_makes_no_header_without_it() {
        let ada = ClientCertificate::Verified(named(&["ada"]));
        assert!(ssl(&ada, &[0; 65_000]).is_ok());
        assert_eq!(ssl(&ada, &[0; 65_600]), Err(HeaderTooLong));
    }

    #[test]
    fn a_client_without_an_address_is_unknown() {
        let facts = Facts {
            client: ClientAddr::Unix,
            destination: None,
            id: 1,
            server_name: None,
            session: None,
        };
        assert_eq!(
            ProxyProtocol::V1.header(&facts).unwrap(),
            b"PROXY UNKNOWN\r\n"
        );
        let v2 = ProxyProtocol::V2(Tlvs::default()).header(&facts).unwrap();
        assert_eq!(v2[12..], [0x21, 0, 0, 0]);
    }
}
