//! The alert that refuses a client before TLS has begun.

/// A fatal TLS alert (RFC 8446 §6.2) that snigate sends in its own name, outside any TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alert {
    /// The client may not come in here (a route that rejects).
    AccessDenied,
    /// The ClientHello could not be parsed.
    DecodeError,
    /// No server could be reached.
    InternalError,
    /// No route, or no certificate, for the name that the client asked for (RFC 6066 §3).
    UnrecognizedName,
}

impl Alert {
    /// The alert's number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::AccessDenied => 49,
            Self::DecodeError => 50,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        }
    }

    /// The whole record: type alert, version TLS 1.2 (as RFC 8446 §5.1 has it for every version), length 2, fatal.
    #[must_use]
    pub const fn record(self) -> [u8; 7] {
        [21, 3, 3, 0, 2, 2, self.code()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_one_plaintext_record() {
        assert_eq!(Alert::UnrecognizedName.record(), [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70]);
    }
}
