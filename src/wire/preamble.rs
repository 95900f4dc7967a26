//! Protocols other than TLS, told by a connection's first bytes.
//!
//! For the log alone: whatever it is, it is not TLS and is closed. The words say what an operator
//! may look for.

use std::fmt;

/// The protocol of a connection whose first bytes are no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// A request of HTTP/1, by its method.
    Http(&'static str),
    /// Another protocol, in words.
    Known(&'static str),
    /// None that is known: the first few bytes, and how many there are of them.
    Unknown([u8; SHOWN], u8),
}

impl Preamble {
    /// The protocol that `first` looks like, which is as many bytes as have come.
    #[must_use]
    pub fn of(first: &[u8]) -> Self {
        if let Some(method) = METHODS.iter().find(|method| is_request(first, method)) {
            return Self::Http(method);
        }
        if let Some(words) = text(first).or_else(|| binary(first)) {
            return Self::Known(words);
        }
        let mut shown = [0; SHOWN];
        let count = first
            .iter()
            .zip(&mut shown)
            .map(|(byte, place)| *place = *byte)
            .count();
        #[expect(clippy::cast_possible_truncation, reason = "no more than are shown")]
        Self::Unknown(shown, count as u8)
    }
}

impl fmt::Display for Preamble {
    /// A clause that goes on from "the first bytes are not those of a TLS handshake". It has no
    /// byte of the client's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(method) => write!(f, "they look like plain HTTP (method {method})"),
            Self::Known(words) => write!(f, "they look like {words}"),
            Self::Unknown(bytes, count) => {
                f.write_str("they are")?;
                bytes
                    .iter()
                    .take(usize::from(*count))
                    .try_for_each(|byte| write!(f, " {byte:02x}"))?;
                f.write_str(" (hexadecimal)")
            }
        }
    }
}

/// The methods of HTTP (RFC 9110 §9, RFC 5789), and those of WebDAV that clients begin with.
const METHODS: [&str; 11] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND",
    "REPORT",
];

/// Whether these are the method, a space and a target that is one of HTTP: a path, a URL, `*` or an
/// authority, and not that of SIP or RTSP.
fn is_request(first: &[u8], method: &str) -> bool {
    let target = first
        .strip_prefix(method.as_bytes())
        .and_then(|rest| rest.strip_prefix(b" "));
    target.is_some_and(|target| {
        !OTHER_TARGETS
            .iter()
            .any(|scheme| target.starts_with(scheme))
    })
}

const OTHER_TARGETS: [&[u8]; 4] = [b"sip:", b"sips:", b"rtsp:", b"rtsps:"];

/// Protocols that begin with text.
fn text(first: &[u8]) -> Option<&'static str> {
    let begins = STARTS.iter().find(|(start, _)| {
        first
            .get(..start.len())
            .is_some_and(|b| b.eq_ignore_ascii_case(start))
    });
    if let Some((_, words)) = begins {
        return Some(words);
    }
    // A tag of the client's choice comes before the command (RFC 9051 §2.2.1).
    let line = first.get(..first.len().min(40))?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
    let tag = words
        .next()
        .filter(|tag| !tag.is_empty() && tag.iter().all(u8::is_ascii_alphanumeric))?;
    let command = words.next().filter(|_| tag.len() < 20)?;
    IMAP.iter()
        .any(|known| command.eq_ignore_ascii_case(known))
        .then_some("IMAP before STARTTLS, which is not spoken here: use the port for TLS from the first byte (993)")
}

/// The first commands of an IMAP client.
const IMAP: [&[u8]; 6] = [
    b"CAPABILITY",
    b"STARTTLS",
    b"LOGIN",
    b"AUTHENTICATE",
    b"NOOP",
    b"ID",
];

const SMTP: &str = "SMTP before STARTTLS, which is not spoken here: use the port for TLS from the first byte (465)";
const POP3: &str =
    "POP3 before STLS, which is not spoken here: use the port for TLS from the first byte (995)";
const XMPP: &str = "XMPP before STARTTLS, which is not spoken here: use direct TLS (XEP-0368)";
const RTSP: &str = "plain RTSP";
const SIP: &str = "plain SIP";

/// How clients of text protocols begin, in either case of letters.
const STARTS: [(&[u8], &str); 25] = [
    (b"PRI * HTTP/2.0", "HTTP/2 without TLS (h2c)"),
    (b"HTTP/1.", "an answer of HTTP"),
    (b"SSH-", "SSH"),
    (b"PROXY ", "a PROXY header"),
    (b"\r\n\r\n\0\r\nQUIT\n", "a PROXY header"),
    (b"EHLO ", SMTP),
    (b"HELO ", SMTP),
    (b"LHLO ", SMTP),
    (
        b"STARTTLS",
        "STARTTLS of a mail protocol, which is not spoken here: use a port for TLS from the first byte",
    ),
    (b"CAPA\r", POP3),
    (b"STLS", POP3),
    (
        b"AUTH TLS",
        "FTP before TLS, which is not spoken here: use implicit TLS (990)",
    ),
    (b"USER ", "the login of FTP or POP3 without TLS"),
    (b"<?xml", XMPP),
    (b"<stream:", XMPP),
    (b"OPTIONS sip", SIP),
    (b"REGISTER sip", SIP),
    (b"INVITE sip", SIP),
    (b"OPTIONS rtsp", RTSP),
    (b"DESCRIBE rtsp", RTSP),
    (b"AMQP", "AMQP without TLS"),
    (b"CONNECT {", "NATS without TLS"),
    (b"GIOP", "CORBA (GIOP) without TLS"),
    (b"JRMI", "Java RMI without TLS"),
    (b"\x13BitTorrent protocol", "BitTorrent"),
];

const LDAP: &str = "LDAP without TLS: use ldaps:// (636)";
const LDAP_STARTTLS: &str = "LDAP's StartTLS, which is not spoken here: use ldaps:// (636)";
const SSL2: &str = "a ClientHello in the format of SSL 2, which no current client sends";
const MONGO: &str = "MongoDB without TLS";

/// Protocols that begin with numbers.
fn binary(first: &[u8]) -> Option<&'static str> {
    Some(match *first {
        // PostgreSQL's protocol, "Message Formats": a length, and a code in place of the version.
        [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f, ..] => {
            "PostgreSQL's request for TLS (SSLRequest) before the hello, which is not spoken here: \
             clients from version 17 on connect with sslnegotiation=direct"
        }
        [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30, ..] => {
            "PostgreSQL's request for GSSAPI (GSSENCRequest): clients connect with gssencmode=disable sslnegotiation=direct"
        }
        [0, 0, _, _, 4, 0xd2, 0x16, 0x2e, ..] => {
            "PostgreSQL's request to cancel a query, without TLS"
        }
        [0, 0, _, _, 0, 3, 0 | 2, _, ..] => "PostgreSQL without TLS",
        [0, _, 0x38, ..] => "OpenVPN over TCP",
        [0, _, 0, 0, 1, 0, ..] => "Oracle's TNS without TLS",
        [0, _, _, _, 0xfe | 0xff, b'S', b'M', b'B', ..] => "SMB",
        // RFC 1006: version 3, a zero, a length; an X.224 connection request.
        [3, 0, _, _, _, 0xe0, ..] => {
            "RDP (a connection request in TPKT), which asks for TLS inside its own protocol"
        }
        // The version, a time, four zeros.
        [3, _, _, _, _, 0, 0, 0, 0, _, ..] => "RTMP without TLS",
        [3, 0, _, _, ..] => "TPKT (ISO transport over TCP, such as RDP)",
        [4, 1 | 2, _, _, _, _, _, _, ..] => "SOCKS 4",
        [5, methods @ 1..=9, ref rest @ ..] if rest.len() == usize::from(methods) => "SOCKS 5",
        [0x10, _, 0, 4, b'M', b'Q', b'T', b'T', ..]
        | [0x10, _, _, 0, 4, b'M', b'Q', b'T', b'T', ..] => "MQTT without TLS: use mqtts:// (8883)",
        [0x12, 0 | 1, _, _, 0, 0, ..] => {
            "SQL Server's TDS, which asks for TLS inside its own protocol: clients connect with Encrypt=Strict"
        }
        [21, 3, ..] => "a TLS alert in place of a hello",
        [20..=25, 0xfe, 0xfd | 0xff, ..] => "DTLS, which is TLS over UDP, on a TCP connection",
        // RFC 4511 §4.1.1: a sequence, its message ID, and an operation by its tag.
        [0x30, _, 2, 1, _, 0x77, ..] | [0x30, 0x84, _, _, _, _, 2, 1, _, 0x77, ..] => LDAP_STARTTLS,
        [0x30, _, 2, 1, _, 0x60..=0x78, ..]
        | [0x30, 0x84, _, _, _, _, 2, 1, _, 0x60..=0x78, ..] => LDAP,
        [b'*', b'1'..=b'9', b'\r', b'\n', b'$', ..] => "Redis without TLS",
        // RFC 6101 appendix E: a length of two bytes with the top bit set, type 1, and a version.
        [0x80..=0xff, _, 1, 0, 2, ..] | [0x80..=0xff, _, 1, 3, 0..=4, ..] => SSL2,
        [0xff, 0xfb..=0xfe, ..] => "Telnet",
        // A length, two identifiers, and the operation OP_MSG or OP_QUERY, with the lowest byte
        // first.
        [_, _, 0, 0, _, _, _, _, 0, 0, 0, 0, 0xdd, 7, 0, 0, ..]
        | [_, _, 0, 0, _, _, _, _, 0, 0, 0, 0, 0xd4, 7, 0, 0, ..] => MONGO,
        _ => return None,
    })
}

/// How many bytes are shown of what is not known.
const SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_protocol_is_told_by_how_its_clients_begin() {
        for (first, expected) in [
            (
                &b"\0\0\0\x08\x04\xd2\x16\x2f"[..],
                "PostgreSQL's request for TLS (SSLRequest)",
            ),
            (
                b"\0\0\0\x08\x04\xd2\x16\x30",
                "PostgreSQL's request for GSSAPI (GSSENCRequest)",
            ),
            (
                b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
                "PostgreSQL's request to cancel",
            ),
            (b"\0\0\0\x25\0\x03\0\0user\0me\0", "PostgreSQL without TLS"),
            (
                b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
                "plain HTTP (method GET)",
            ),
            (b"POST /login HTTP/1.0\r\n", "plain HTTP (method POST)"),
            (
                b"CONNECT a.example:443 HTTP/1.1\r\n",
                "plain HTTP (method CONNECT)",
            ),
            (b"OPTIONS * HTTP/1.1\r\n", "plain HTTP (method OPTIONS)"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 without TLS"),
            (b"HTTP/1.1 400 Bad Request\r\n", "an answer of HTTP"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
            (b"EHLO mail.example\r\n", "SMTP before STARTTLS"),
            (b"ehlo mail.example\r\n", "SMTP before STARTTLS"),
            (b"a001 STARTTLS\r\n", "IMAP before STARTTLS"),
            (b"1 capability\r\n", "IMAP before STARTTLS"),
            (b"STLS\r\n", "POP3"),
            (b"AUTH TLS\r\n", "FTP"),
            (b"<?xml version='1.0'?><stream:stream", "XMPP"),
            (b"REGISTER sip:example.net SIP/2.0\r\n", "plain SIP"),
            (b"OPTIONS rtsp://a.example RTSP/1.0\r\n", "plain RTSP"),
            (b"AMQP\0\0\x09\x01", "AMQP"),
            (
                b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x0b\0\0\0",
                "RDP",
            ),
            (b"\x03\x12\x34\x56\x78\0\0\0\0\x99\x98", "RTMP"),
            (b"\x03\x00\x34\x56\x78\0\0\0\0\x99\x98", "RTMP"),
            (b"\x04\x01\x01\xbb\xc0\0\x02\x01\0", "SOCKS 4"),
            (b"\x05\x01\0", "SOCKS 5"),
            (b"\x05\x02\0\x02", "SOCKS 5"),
            (b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", "MQTT"),
            (b"\x12\x01\0\x2f\0\0\x01\0", "SQL Server's TDS"),
            (
                b"\x15\x03\x01\0\x02\x02\x28",
                "a TLS alert in place of a hello",
            ),
            (b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x50", "DTLS"),
            (b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x50", "DTLS"),
            (
                b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037",
                "LDAP's StartTLS",
            ),
            (
                b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0",
                "LDAP without TLS",
            ),
            (
                b"\x30\x84\0\0\0\x10\x02\x01\x01\x60\x84\0\0\0\x07",
                "LDAP without TLS",
            ),
            (b"*1\r\n$4\r\nPING\r\n", "Redis"),
            (
                b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10",
                "a ClientHello in the format of SSL 2",
            ),
            (
                b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10",
                "a ClientHello in the format of SSL 2",
            ),
            (b"\xff\xfd\x03\xff\xfb\x18", "Telnet"),
            (b"\x00\x0e\x38\x01\x02\x03", "OpenVPN"),
            (b"\0\0\0\x90\xfeSMB@\0", "SMB"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "a PROXY header"),
            (b"\x13BitTorrent protocol", "BitTorrent"),
        ] {
            let said = Preamble::of(first).to_string();
            assert!(
                said.starts_with(&format!("they look like {expected}")),
                "{}: {said}",
                first.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_not_known_is_shown_in_hexadecimal() {
        for (first, expected) in [
            (&b"\0"[..], "they are 00 (hexadecimal)"),
            (b"\n", "they are 0a (hexadecimal)"),
            (b"\x16\x02\x00", "they are 16 02 00 (hexadecimal)"),
            (
                b"\x1b[31mhello there",
                "they are 1b 5b 33 31 6d 68 65 6c (hexadecimal)",
            ),
            (b"GETAWAY", "they are 47 45 54 41 57 41 59 (hexadecimal)"),
            (b"", "they are (hexadecimal)"),
        ] {
            assert_eq!(Preamble::of(first).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn the_words_are_printable_whatever_comes(first in prop::collection::vec(any::<u8>(), 0..60)) {
            let said = Preamble::of(&first).to_string();
            prop_assert!(said.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", said);
        }
    }
}
