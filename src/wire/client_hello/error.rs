//! Errors of a hello: why a client's bytes are not a ClientHello that can be routed.

use thiserror::Error;

use super::MAX_HELLO;
use crate::wire::Alert;

/// Why a client's first bytes cannot be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HelloError {
    /// The client speaks something else (HTTP, SSH, a PROXY header, the SSLv2 format), or its first
    /// word is an alert.
    #[error("the first bytes are not those of a TLS handshake")]
    NotTls,
    /// The handshake header announces more than 64 KiB.
    #[error("a ClientHello of {announced} bytes is announced, and at most {MAX_HELLO} are taken")]
    TooLarge {
        /// The length of the message in bytes, its header included.
        announced: usize,
    },
    /// TLS, but not as the RFCs have it.
    #[error("malformed ClientHello: {0}")]
    Malformed(#[from] Malformed),
}

/// A fault of a ClientHello, or of the records that carry it.
///
/// A hello that two parsers could read differently is always refused: the server behind might find
/// another name in it than the one it was routed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The first record is one of TLS, and of another content type than a handshake (RFC 8446 §5).
    #[error("a record of type {0} comes before it")]
    Preceded(u8),
    /// The version of a record behind the first is none of TLS: its first byte is not 3. What the
    /// second one says means nothing (RFC 8446 §5.1, RFC 5246 appendix E.1).
    #[error("a record has the version {0:#06x}")]
    RecordVersion(u16),
    /// A handshake record without content (RFC 8446 §5.1).
    #[error("a record is empty")]
    EmptyRecord,
    /// A record announces more than 2^14 bytes (RFC 8446 §5.1).
    #[error("a record announces {0} bytes, more than 16384")]
    RecordTooLong(u16),
    /// A record of another content type stands between those of the hello (RFC 8446 §5.1).
    #[error("a record of type {0} interrupts it")]
    Interrupted(u8),
    /// The first handshake message is of another type.
    #[error("the handshake begins with a message of type {0}")]
    NotClientHello(u8),
    /// The hello's last record goes on after the hello (RFC 8446 §5.1).
    #[error("more handshake bytes follow it in its last record")]
    Followed,
    /// The message ends before its compression methods do.
    #[error("it ends before its compression methods")]
    Truncated,
    /// The session identifier is longer than 32 bytes (RFC 8446 §4.1.2).
    #[error("its session identifier is longer than 32 bytes")]
    SessionId,
    /// The length of the cipher suites is odd, or that of a list goes beyond the message.
    #[error("the length of its cipher suites or compression methods is impossible")]
    ListLength,
    /// No cipher suite is offered.
    #[error("it offers no cipher suite")]
    NoCipherSuite,
    /// No compression method is offered, not even `null`.
    #[error("it offers no compression method")]
    NoCompression,
    /// `null` is not among the compression methods, or another one is in a hello of TLS 1.3 (RFC
    /// 8446 §4.1.2).
    #[error("its compression methods are not `null` alone")]
    Compression,
    /// The extensions' length goes beyond the message, or an extension's length beyond the
    /// extensions.
    #[error("its extensions are cut short")]
    ExtensionsTruncated,
    /// Bytes follow the extensions.
    #[error("bytes follow its extensions")]
    TrailingBytes,
    /// Two extensions of this type (RFC 8446 §4.2).
    #[error("it has two extensions of type {0}")]
    DuplicateExtension(u16),
    /// Another extension follows `pre_shared_key` (RFC 8446 §4.2.11).
    #[error("pre_shared_key is not its last extension")]
    PreSharedKey,
    /// The lengths in `server_name` contradict each other.
    #[error("the lengths in server_name do not agree")]
    ServerNameLength,
    /// `server_name` lists nothing, or an empty name.
    #[error("server_name is empty")]
    ServerNameEmpty,
    /// `server_name` lists a name that is no host name; the only known type is 0 (RFC 6066 §3).
    #[error("server_name has a name of type {0}")]
    ServerNameType(u8),
    /// `server_name` lists several names, and servers differ in which one they take.
    #[error("server_name has more than one name")]
    ServerNameSeveral,
    /// The server name has more than 255 bytes, which no domain name has (RFC 1035 §2.3.4).
    #[error("its server name has {0} bytes, more than 255")]
    ServerNameTooLong(usize),
    /// A byte of the server name is not printable ASCII.
    #[error("its server name has the byte {0:#04x}")]
    ServerNameByte(u8),
    /// The ALPN list is empty, has an empty protocol, or its lengths contradict each other (RFC
    /// 7301 §3.1).
    #[error("its application_layer_protocol_negotiation is not a list of protocols")]
    Alpn,
    /// `supported_versions` is not a list of versions (RFC 8446 §4.2.1).
    #[error("its supported_versions is not a list of versions")]
    SupportedVersions,
    /// `supported_groups` is not a list of groups (RFC 8446 §4.2.7).
    #[error("its supported_groups is not a list of groups")]
    SupportedGroups,
    /// `signature_algorithms` is not a list of schemes (RFC 8446 §4.2.3).
    #[error("its signature_algorithms is not a list of schemes")]
    SignatureAlgorithms,
}

impl Malformed {
    /// The alert for the client (RFC 8446 §6.2).
    ///
    /// A length that is wrong, or a list with fewer entries than it must have, is an error of
    /// decoding. What can be decoded, and must not be, is an illegal parameter.
    #[must_use]
    pub const fn alert(self) -> Alert {
        match self {
            Self::Preceded(_) | Self::Interrupted(_) | Self::NotClientHello(_) | Self::Followed => {
                Alert::UnexpectedMessage
            }
            Self::RecordVersion(_) => Alert::ProtocolVersion,
            Self::RecordTooLong(_) => Alert::RecordOverflow,
            Self::Compression
            | Self::DuplicateExtension(_)
            | Self::PreSharedKey
            | Self::ServerNameType(_)
            | Self::ServerNameTooLong(_)
            | Self::ServerNameByte(_) => Alert::IllegalParameter,
            Self::EmptyRecord
            | Self::Truncated
            | Self::SessionId
            | Self::ListLength
            | Self::NoCipherSuite
            | Self::NoCompression
            | Self::ExtensionsTruncated
            | Self::TrailingBytes
            | Self::ServerNameLength
            | Self::ServerNameEmpty
            | Self::ServerNameSeveral
            | Self::Alpn
            | Self::SupportedVersions
            | Self::SupportedGroups
            | Self::SignatureAlgorithms => Alert::DecodeError,
        }
    }
}
