//! The alerts of TLS: those that refuse a client before TLS has begun, and the words for all of
//! them.

use std::fmt;

/// A fatal TLS alert (RFC 8446 §6.2) that snigate sends in its own name, outside any TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alert {
    /// A record, or a handshake message, of another type than the one that is due.
    UnexpectedMessage,
    /// A record is longer than records may be.
    RecordOverflow,
    /// A field of the ClientHello has a value that it must not have.
    IllegalParameter,
    /// The client may not come in here (a route that rejects).
    AccessDenied,
    /// A length in the ClientHello is wrong.
    DecodeError,
    /// A record is of no version of TLS, or the ClientHello offers none that is spoken.
    ProtocolVersion,
    /// No server could be reached.
    InternalError,
    /// No route, or no certificate, for the name that the client asked for (RFC 6066 §3).
    UnrecognizedName,
}

impl Alert {
    /// Every alert there is.
    pub const ALL: &'static [Self] = &[
        Self::UnexpectedMessage,
        Self::RecordOverflow,
        Self::IllegalParameter,
        Self::AccessDenied,
        Self::DecodeError,
        Self::ProtocolVersion,
        Self::InternalError,
        Self::UnrecognizedName,
    ];

    /// The alert's number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::UnexpectedMessage => 10,
            Self::RecordOverflow => 22,
            Self::IllegalParameter => 47,
            Self::AccessDenied => 49,
            Self::DecodeError => 50,
            Self::ProtocolVersion => 70,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        }
    }

    /// The whole record: type alert, version TLS 1.2 (as RFC 8446 §5.1 has it for every version),
    /// length 2, fatal.
    #[must_use]
    pub const fn record(self) -> [u8; 7] {
        [21, 3, 3, 0, 2, 2, self.code()]
    }
}

/// The description of an alert, whichever side sent it: the name in the RFCs and the number, such
/// as `internal_error (80)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlertDescription(pub u8);

impl AlertDescription {
    /// The name that the registry of IANA has for it.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            52 => "too_many_cids_requested",
            60 => "export_restriction",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            111 => "certificate_unobtainable",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            114 => "bad_certificate_hash_value",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            117 => "general_error",
            120 => "no_application_protocol",
            121 => "ech_required",
            _ => return None,
        })
    }
}

impl From<Alert> for AlertDescription {
    fn from(alert: Alert) -> Self {
        Self(alert.code())
    }
}

impl fmt::Display for AlertDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The first bytes of a stream, for as long as they may be nothing but a TLS alert that is not
/// encrypted: what a server answers that refuses a hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstAlert {
    /// How many bytes were like those of an alert. [`OVER`](Self::OVER) if one was not.
    seen: u8,
    description: u8,
    /// Bytes behind it make no difference to a fatal alert; after a warning the handshake goes on.
    fatal: bool,
}

impl FirstAlert {
    const LENGTH: u8 = 7;
    const OVER: u8 = u8::MAX;

    /// Takes the next bytes of the stream.
    pub fn see(&mut self, bytes: &[u8]) {
        if self.is_decided() {
            return;
        }
        for &byte in bytes {
            let fits = match self.seen {
                0 => byte == 21,
                1 => byte == 3,
                // RFC 8446 §5.1: the rest of the version means nothing.
                2 => true,
                3 => byte == 0,
                4 => byte == 2,
                5 => matches!(byte, 1 | 2),
                6 => true,
                _ => self.is_fatal(),
            };
            match self.seen {
                5 => self.fatal = byte == 2,
                6 => self.description = byte,
                _ => {}
            }
            self.seen = if fits {
                Self::LENGTH.min(self.seen + 1)
            } else {
                Self::OVER
            };
            if self.is_decided() {
                return;
            }
        }
    }

    /// Whether more bytes can change nothing.
    #[must_use]
    pub fn is_decided(self) -> bool {
        self.seen == Self::OVER || self.is_fatal()
    }

    /// The alert, if the stream has begun with a fatal one, or was nothing but a warning.
    #[must_use]
    pub fn alert(self) -> Option<AlertDescription> {
        (self.seen == Self::LENGTH).then_some(AlertDescription(self.description))
    }

    fn is_fatal(self) -> bool {
        self.seen == Self::LENGTH && self.fatal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_one_plaintext_record() {
        assert_eq!(
            Alert::UnrecognizedName.record(),
            [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70]
        );
    }

    #[test]
    fn every_alert_that_is_sent_has_a_name() {
        for alert in Alert::ALL {
            let name = AlertDescription::from(*alert).name().unwrap();
            assert_eq!(
                name.replace('_', ""),
                format!("{alert:?}").to_ascii_lowercase()
            );
        }
        assert_eq!(AlertDescription(80).to_string(), "internal_error (80)");
        assert_eq!(AlertDescription(200).to_string(), "200");
    }

    #[test]
    fn a_first_alert_is_told_from_everything_else_however_it_is_cut() {
        let fatal = [21, 3, 3, 0, 2, 2, 80];
        let warning = [21, 3, 1, 0, 2, 1, 112];
        let cases: &[(&[u8], &[u8], Option<u8>)] = &[
            (&fatal, b"", Some(80)),
            (&fatal, b"anything behind it", Some(80)),
            (&warning, b"", Some(112)),
            (&warning, &[22, 3, 3, 0, 1, 2], None),
            (&[21, 3, 0, 0, 2, 2, 40], b"", Some(40)),
            (&[22, 3, 3, 0, 2, 2, 80], b"", None),
            (&[21, 2, 3, 0, 2, 2, 80], b"", None),
            (&[21, 3, 3, 0, 3, 2, 80], b"x", None),
            (&[21, 3, 3, 1, 2, 2, 80], b"", None),
            (&[21, 3, 3, 0, 2, 3, 80], b"", None),
            (&[21, 3, 3, 0, 26, 9, 9], b"encrypted", None),
            (b"HTTP/1.", b"1 400 Bad Request", None),
            (b"", b"", None),
        ];
        for (first, behind, expected) in cases {
            let bytes = [*first, *behind].concat();
            for size in 1..=bytes.len().max(1) {
                let mut seen = FirstAlert::default();
                for piece in bytes.chunks(size) {
                    seen.see(piece);
                }
                assert_eq!(
                    seen.alert().map(|alert| alert.0),
                    *expected,
                    "{bytes:?} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn a_part_of_an_alert_is_none() {
        let mut seen = FirstAlert::default();
        for byte in [21, 3, 3, 0, 2, 2] {
            seen.see(&[byte]);
            assert_eq!((seen.alert(), seen.is_decided()), (None, false));
        }
        seen.see(&[80]);
        assert_eq!(
            (seen.alert(), seen.is_decided()),
            (Some(AlertDescription(80)), true)
        );
    }
}
