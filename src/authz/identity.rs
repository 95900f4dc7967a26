//! Identity of a client, as its certificate states it.
//!
//! A certificate's texts were chosen by the client that asked a CA for it. Policies compare the
//! real ones; a log gets them with unprintable characters escaped, and two texts that differ still
//! differ there.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// The identity of a client, as its certificate states it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The subject on one line in the manner of RFC 4514, the most specific part first:
    /// `CN=web,OU=shop,O=Example`. Fit for a log. Empty where the certificate has no subject.
    pub subject: String,
    /// The issuer's name, in the same form.
    pub issuer: String,
    /// The common names in the subject, as they are.
    pub common_names: Vec<String>,
    /// The organizational units in the subject, as they are.
    pub organizational_units: Vec<String>,
    /// The organizations in the subject, as they are.
    pub organizations: Vec<String>,
    /// The mail addresses in the subject, as they are.
    pub subject_emails: Vec<String>,
    /// The subjectAltNames (RFC 5280 §4.2.1.6), in the certificate's order. Kinds that [`AltName`]
    /// lacks are left out.
    pub names: Vec<AltName>,
    /// The serial number in lower-case hexadecimal, two digits a byte, without leading zero bytes.
    pub serial: String,
    /// The SHA-256 digest of the whole certificate in lower-case hexadecimal, 64 digits.
    pub fingerprint: String,
    /// The SHA-256 digest of the SubjectPublicKeyInfo (RFC 5280 §4.1): it stays when a certificate
    /// is renewed with its key.
    pub spki_sha256: [u8; 32],
}

/// A certificate that a client has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// The certificate was verified, the client has proved possession of the key, and the policy
    /// admits it: this is who the client is.
    Verified(Identity),
    /// It was not verified, or it was refused. It may state anything, and may be a copy of another
    /// client's.
    Unverified(Identity),
}

impl ClientCertificate {
    /// The identity, if it is verified.
    #[must_use]
    pub fn verified(&self) -> Option<&Identity> {
        match self {
            Self::Verified(identity) => Some(identity),
            Self::Unverified(_) => None,
        }
    }

    /// The identity that the certificate states, true or not: for a log that says which, and for
    /// nothing else.
    #[must_use]
    pub fn claim(&self) -> &Identity {
        match self {
            Self::Verified(identity) | Self::Unverified(identity) => identity,
        }
    }
}

/// One subjectAltName of a certificate, as it is; escaped where it is displayed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AltName {
    /// A host name, or a wildcard.
    Dns(String),
    /// A URI, such as a SPIFFE ID.
    Uri(String),
    /// A mail address.
    Email(String),
    /// An IP address.
    Ip(IpAddr),
    /// A Microsoft principal name.
    Principal(String),
}

impl fmt::Display for Identity {
    /// Everything on one line:
    /// `subject (dns:web.example, uri:spiffe://x/web) serial 0a sha256 63a9...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.subject.is_empty() {
            "(no subject)"
        } else {
            &self.subject
        })?;
        for (position, name) in self.names.iter().enumerate() {
            write!(f, "{}{name}", if position == 0 { " (" } else { ", " })?;
        }
        let close = if self.names.is_empty() { "" } else { ")" };
        write!(
            f,
            "{close} serial {} sha256 {}",
            self.serial, self.fingerprint
        )
    }
}

impl fmt::Display for AltName {
    /// The kind and the name: `dns:web.example`, `uri:spiffe://x/web`, `email:a@example.net`,
    /// `ip:192.0.2.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{}", printable(name)),
            Self::Uri(uri) => write!(f, "uri:{}", printable(uri)),
            Self::Email(address) => write!(f, "email:{}", printable(address)),
            Self::Ip(ip) => write!(f, "ip:{ip}"),
            Self::Principal(name) => write!(f, "upn:{}", printable(name)),
        }
    }
}

/// `text` with each unprintable character (controls, and what reorders or hides text) as `\xx` for
/// each of its UTF-8 bytes, and each backslash doubled, so that different texts never look alike.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_printable(&mut out, c);
    }
    out
}

/// Appends one character as [`printable`] has it.
pub fn push_printable(out: &mut String, c: char) {
    match c {
        '\\' => out.push_str(r"\\"),
        '\'' | '"' => out.push(c),
        // The standard library knows which characters can be shown; those that it would escape
        // cannot.
        c if c.escape_debug().len() == 1 => out.push(c),
        c => {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "\\{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unprintable_characters_are_escaped_and_different_texts_stay_different() {
        for (text, expected) in [
            ("web.example", "web.example"),
            ("O'Neil \"x\"", "O'Neil \"x\""),
            ("Bücher 本", "Bücher 本"),
            ("a\nb\0c\x1b[31m", r"a\0ab\00c\1b[31m"),
            ("a\u{202e}b", r"a\e2\80\aeb"),
            ("\u{85}", r"\c2\85"),
            (r"a\0ab", r"a\\0ab"),
        ] {
            assert_eq!(printable(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_identity_is_one_line() {
        let mut identity = Identity {
            subject: "CN=web,O=Example".to_owned(),
            names: vec![
                AltName::Dns("web.example".to_owned()),
                AltName::Ip("192.0.2.1".parse().unwrap()),
            ],
            serial: "0a".to_owned(),
            fingerprint: "63a9".to_owned(),
            ..Identity::default()
        };
        assert_eq!(
            identity.to_string(),
            "CN=web,O=Example (dns:web.example, ip:192.0.2.1) serial 0a sha256 63a9"
        );
        identity.subject.clear();
        identity.names.clear();
        assert_eq!(identity.to_string(), "(no subject) serial 0a sha256 63a9");
    }
}
