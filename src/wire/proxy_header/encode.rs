//! Headers as snigate sends them.

use thiserror::Error;

use crate::wire::proxy_header::Endpoints;
use crate::wire::proxy_header::crc32c::Crc32c;
use crate::wire::proxy_header::v2::{
    COMMAND_PROXY, FIXED, SIGNATURE, TCP4, TCP6, TYPE_CRC32C, UNSPEC, VERSION,
};

/// The header has no room for everything that was to be in it: its length has 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the PROXY header would have more than 65,535 bytes")]
pub struct HeaderTooLong;

/// A header of version 1; without endpoints the client is `UNKNOWN`.
#[must_use]
pub fn v1_line(endpoints: Option<Endpoints>) -> Vec<u8> {
    let Some(endpoints) = endpoints else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let protocol = match endpoints {
        Endpoints::V4 { .. } => "TCP4",
        Endpoints::V6 { .. } => "TCP6",
    };
    let (source, destination) = (endpoints.source(), endpoints.destination());
    let (from, to) = (source.ip(), destination.ip());
    format!(
        "PROXY {protocol} {from} {to} {} {}\r\n",
        source.port(),
        destination.port()
    )
    .into_bytes()
}

/// A header of version 2 in the making.
#[derive(Clone, Debug)]
pub struct V2Header {
    bytes: Vec<u8>,
    too_long: bool,
}

/// The certificate that a client has shown, as the TLV `PP2_TYPE_SSL` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFlags {
    /// None.
    NoCertificate,
    /// One that was not verified.
    Unverified,
    /// One that was verified.
    Verified,
}

/// The TLV `PP2_TYPE_SSL`: a session of TLS with a client.
#[derive(Clone, Copy, Debug)]
pub struct SslTlv<'a> {
    /// The certificate of the client.
    pub client: ClientFlags,
    /// Such as `TLSv1.3`.
    pub version: &'a str,
    /// The name that OpenSSL has for the cipher suite.
    pub cipher: Option<&'a str>,
    /// The common name of a verified certificate.
    pub common_name: Option<&'a str>,
    /// A verified certificate as DER.
    pub certificate: Option<&'a [u8]>,
}

impl V2Header {
    /// The command `PROXY`; without endpoints the family is `UNSPEC`.
    #[must_use]
    pub fn new(endpoints: Option<Endpoints>) -> Self {
        let mut bytes = SIGNATURE.to_vec();
        bytes.push(VERSION | COMMAND_PROXY);
        match endpoints {
            None => bytes.extend([UNSPEC, 0, 0]),
            Some(Endpoints::V4 {
                source,
                destination,
            }) => {
                bytes.extend([TCP4, 0, 0]);
                bytes.extend(source.ip().octets());
                bytes.extend(destination.ip().octets());
            }
            Some(Endpoints::V6 {
                source,
                destination,
            }) => {
                bytes.extend([TCP6, 0, 0]);
                bytes.extend(source.ip().octets());
                bytes.extend(destination.ip().octets());
            }
        }
        if let Some(endpoints) = endpoints {
            bytes.extend(endpoints.source().port().to_be_bytes());
            bytes.extend(endpoints.destination().port().to_be_bytes());
        }
        Self {
            bytes,
            too_long: false,
        }
    }

    /// The whole header with the command `LOCAL`, for a connection on behalf of no client.
    #[must_use]
    pub fn local() -> Vec<u8> {
        [SIGNATURE, &[VERSION, UNSPEC, 0, 0]].concat()
    }

    /// The host name that the client asked for, `PP2_TYPE_AUTHORITY`.
    #[must_use]
    pub fn authority(self, name: &str) -> Self {
        self.tlv(0x02, name.as_bytes())
    }

    /// The protocol that was agreed on, `PP2_TYPE_ALPN`.
    #[must_use]
    pub fn alpn(self, protocol: &[u8]) -> Self {
        self.tlv(0x01, protocol)
    }

    /// An identifier of the connection, `PP2_TYPE_UNIQUE_ID`.
    #[must_use]
    pub fn unique_id(self, id: &str) -> Self {
        self.tlv(0x05, id.as_bytes())
    }

    /// The session with the client, `PP2_TYPE_SSL`. The certificate goes into
    /// `PP2_SUBTYPE_SSL_CLIENT_CERT`.
    #[must_use]
    pub fn ssl(mut self, ssl: &SslTlv<'_>) -> Self {
        // PP2_CLIENT_SSL; with a certificate PP2_CLIENT_CERT_CONN and PP2_CLIENT_CERT_SESS:
        // sessions in which a client has shown one are never resumed. The result is 0 for nothing
        // but a certificate that was verified, and 1 is X509_V_ERR_UNSPECIFIED.
        let (flags, verify): (u8, u32) = match ssl.client {
            ClientFlags::NoCertificate => (0x01, 1),
            ClientFlags::Unverified => (0x07, 1),
            ClientFlags::Verified => (0x07, 0),
        };
        let mut value = vec![flags];
        value.extend(verify.to_be_bytes());
        let parts = [
            (0x21, Some(ssl.version.as_bytes())),
            (0x22, ssl.common_name.map(str::as_bytes)),
            (0x23, ssl.cipher.map(str::as_bytes)),
            (0x28, ssl.certificate),
        ];
        for (kind, part) in parts {
            self.too_long |= part.is_some_and(|part| !push_tlv(&mut value, kind, part));
        }
        self.tlv(0x20, &value)
    }

    fn tlv(mut self, kind: u8, value: &[u8]) -> Self {
        self.too_long |= !push_tlv(&mut self.bytes, kind, value);
        self
    }

    /// The bytes of the header; with a checksum if that is wanted.
    ///
    /// # Errors
    ///
    /// When it has become too long.
    pub fn finish(mut self, crc32c: bool) -> Result<Vec<u8>, HeaderTooLong> {
        if crc32c {
            push_tlv(&mut self.bytes, TYPE_CRC32C, &[0; 4]);
        }
        let length = u16::try_from(self.bytes.len() - FIXED)
            .ok()
            .filter(|_| !self.too_long)
            .ok_or(HeaderTooLong)?;
        self.bytes[FIXED - 2..FIXED].copy_from_slice(&length.to_be_bytes());
        if crc32c {
            let checksum = Crc32c::new().update(&self.bytes).finish();
            let at = self.bytes.len() - 4;
            self.bytes[at..].copy_from_slice(&checksum.to_be_bytes());
        }
        Ok(self.bytes)
    }
}

/// False, and nothing pushed, where the value is too long for its length to be written.
fn push_tlv(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) -> bool {
    let Ok(length) = u16::try_from(value.len()) else {
        return false;
    };
    bytes.push(kind);
    bytes.extend(length.to_be_bytes());
    bytes.extend(value);
    true
}
