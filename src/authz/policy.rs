//! Which of the clients whose certificate verifies come in.
//!
//! What is compared is the certificate's real text, as it is: nothing is decoded or normalised beyond what each type
//! here says. An entry that could match more than whoever wrote it meant is refused when it is parsed.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::authz::identity::{AltName, Identity, printable};
use crate::name::{NameError, NamePattern};

/// Who comes in of those who are who they say they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Where there is such a list, only clients that one of its entries names.
    pub allow: Option<Rules>,
    /// No client that one of these names, allowed or not.
    pub deny: Rules,
}

/// Entries of which each names clients. Several texts of one kind in a certificate are as good as one: an entry names a
/// certificate if it matches any of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// DNS names among the subjectAltNames.
    pub dns: Vec<DnsPattern>,
    /// URIs among the subjectAltNames.
    pub uri: Vec<UriPattern>,
    /// Mail addresses among the subjectAltNames.
    pub email: Vec<EmailAddress>,
    /// Common names of the subject.
    pub cn: Vec<SubjectText>,
    /// Organizational units of the subject.
    pub ou: Vec<SubjectText>,
    /// Public keys.
    pub spki_sha256: Vec<SpkiDigest>,
    /// Serial numbers. Two authorities may use the same one.
    pub serial: Vec<Serial>,
}

/// Why a client whose certificate verifies does not come in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// An entry of the deny list names it.
    #[error("client_auth.deny.{key} names it: {entry}")]
    Listed {
        /// The list that the entry stands in.
        key: &'static str,
        /// The entry, fit for a log.
        entry: String,
    },
    /// There is an allow list, and none of its entries names it.
    #[error("nothing in client_auth.allow names it")]
    NotAllowed,
}

impl Policy {
    /// Whether a client comes in whose certificate has been verified.
    ///
    /// # Errors
    ///
    /// When it does not, with the reason.
    pub fn check(&self, identity: &Identity) -> Result<(), Denied> {
        if let Some((key, entry)) = self.deny.find(identity) {
            return Err(Denied::Listed { key, entry: printable(&entry.to_string()) });
        }
        match &self.allow {
            Some(allow) if allow.find(identity).is_none() => Err(Denied::NotAllowed),
            _ => Ok(()),
        }
    }
}

impl Rules {
    /// The lists that are not empty, each with its key and its entries as they would be written.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, Vec<String>)> {
        fn texts<T: fmt::Display>(entries: &[T]) -> Vec<String> {
            entries.iter().map(|entry| printable(&entry.to_string())).collect()
        }
        let Self { dns, uri, email, cn, ou, spki_sha256, serial } = self;
        let all = [
            ("dns", texts(dns)),
            ("uri", texts(uri)),
            ("email", texts(email)),
            ("cn", texts(cn)),
            ("ou", texts(ou)),
            ("spki_sha256", texts(spki_sha256)),
            ("serial", texts(serial)),
        ];
        all.into_iter().filter(|(_, entries)| !entries.is_empty()).collect()
    }

    /// Whether there is no entry, so that nobody is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The first entry that names `identity`, and the list that it stands in.
    fn find(&self, identity: &Identity) -> Option<(&'static str, &dyn fmt::Display)> {
        let Self { dns, uri, email, cn, ou, spki_sha256, serial } = self;
        let names = &identity.names;
        first("dns", dns, |entry| names.iter().any(|name| matches!(name, AltName::Dns(name) if entry.matches(name))))
            .or_else(|| {
                first("uri", uri, |entry| {
                    names.iter().any(|name| matches!(name, AltName::Uri(uri) if entry.matches(uri)))
                })
            })
            .or_else(|| {
                first("email", email, |entry| {
                    names.iter().any(|name| matches!(name, AltName::Email(address) if entry.matches(address)))
                })
            })
            .or_else(|| first("cn", cn, |entry| identity.common_names.contains(&entry.0)))
            .or_else(|| first("ou", ou, |entry| identity.organizational_units.contains(&entry.0)))
            .or_else(|| first("spki_sha256", spki_sha256, |entry| entry.0 == identity.spki_sha256))
            .or_else(|| first("serial", serial, |entry| entry.0 == without_zeros(&identity.serial)))
    }
}

/// The first of `entries` that matches, under the name of their list.
fn first<'a, T: fmt::Display>(
    key: &'static str,
    entries: &'a [T],
    matches: impl Fn(&T) -> bool,
) -> Option<(&'static str, &'a dyn fmt::Display)> {
    entries.iter().find(|entry| matches(entry)).map(|entry| (key, entry as &dyn fmt::Display))
}

/// A DNS name, or `*.suffix` for exactly one label before the suffix. Case and one trailing dot do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsPattern(NamePattern);

/// Why a text is no pattern of DNS names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DnsError {
    /// `*` alone, which would match a name whatever it is.
    #[error("`*` matches every name; write `*.suffix`")]
    Any,
    /// The text is neither a name nor `*.suffix`.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl DnsPattern {
    /// Whether the name in a certificate is meant. A wildcard in the certificate is a text like any other: it is the
    /// same wildcard or it does not match.
    fn matches(&self, name: &str) -> bool {
        match name.parse::<NamePattern>() {
            Ok(NamePattern::Exact(name)) => self.0.matches(&name),
            Ok(wildcard) => self.0 == wildcard,
            Err(_) => false,
        }
    }
}

impl FromStr for DnsPattern {
    type Err = DnsError;

    fn from_str(text: &str) -> Result<Self, DnsError> {
        match text.parse()? {
            NamePattern::Any => Err(DnsError::Any),
            pattern => Ok(Self(pattern)),
        }
    }
}

impl fmt::Display for DnsPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A URI, or the beginning of one with `*` after it. Compared byte by byte (RFC 3986 §6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UriPattern {
    /// One URI.
    Exact(String),
    /// Every URI that begins with this, which includes the whole authority and the `/` after it.
    Prefix(String),
}

/// Why a text is no pattern of URIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UriError {
    /// It has no scheme (RFC 3986 §3.1).
    #[error("a URI begins with a scheme, as in `spiffe://example.net/web`")]
    Scheme,
    /// A `*` that is not the last character.
    #[error("a `*` can stand only at the end of a URI")]
    Wildcard,
    /// A `*` before the authority has ended.
    #[error(
        "a `*` needs the scheme, the whole host and a `/` before it, as in `spiffe://example.net/*`: \
         `spiffe://example.net*` would match `spiffe://example.net.evil/`, too"
    )]
    Authority,
}

impl UriPattern {
    fn matches(&self, uri: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == uri,
            Self::Prefix(prefix) => uri.starts_with(prefix),
        }
    }
}

impl FromStr for UriPattern {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (uri, is_prefix) = text.strip_suffix('*').map_or((text, false), |prefix| (prefix, true));
        if uri.contains('*') {
            return Err(UriError::Wildcard);
        }
        let (scheme, rest) =
            uri.split_once(':').ok_or(if is_prefix { UriError::Authority } else { UriError::Scheme })?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if !is_scheme || rest.is_empty() {
            return Err(UriError::Scheme);
        }
        if !is_prefix {
            return Ok(Self::Exact(uri.to_owned()));
        }
        // The authority ends at the first of these (RFC 3986 §3.2).
        let authority = rest.strip_prefix("//").and_then(|rest| Some(rest.split_at(rest.find(['/', '?', '#'])?)));
        match authority {
            Some((authority, path)) if !authority.is_empty() && path.starts_with('/') => {
                Ok(Self::Prefix(uri.to_owned()))
            }
            _ => Err(UriError::Authority),
        }
    }
}

impl fmt::Display for UriPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(uri) => f.write_str(uri),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// A mail address. The case of what follows the `@` does not count, that of what precedes it does (RFC 5280 §7.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailAddress {
    local: String,
    domain: String,
}

/// Why a text is no mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EmailError {
    /// There is no `@`, or nothing on one side of it.
    #[error("a mail address is written `name@example.net`")]
    Form,
    /// A `*`, which is no pattern here.
    #[error("mail addresses have no `*`: write each of them in full")]
    Wildcard,
}

impl EmailAddress {
    fn matches(&self, address: &str) -> bool {
        let parts = address.rsplit_once('@');
        parts.is_some_and(|(local, domain)| local == self.local && domain.eq_ignore_ascii_case(&self.domain))
    }
}

impl FromStr for EmailAddress {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        if text.contains('*') {
            return Err(EmailError::Wildcard);
        }
        match text.rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => {
                Ok(Self { local: local.to_owned(), domain: domain.to_owned() })
            }
            _ => Err(EmailError::Form),
        }
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// A text in a certificate's subject, compared as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectText(String);

/// Why a text is none that a subject could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EmptyText {
    /// There is nothing.
    #[error("the text is empty")]
    Empty,
    /// A `*`, which is no pattern here.
    #[error("there is no `*` here: the whole text is compared; for patterns use `dns` or `uri`")]
    Wildcard,
}

impl FromStr for SubjectText {
    type Err = EmptyText;

    fn from_str(text: &str) -> Result<Self, EmptyText> {
        match text {
            "" => Err(EmptyText::Empty),
            text if text.contains('*') => Err(EmptyText::Wildcard),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for SubjectText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 digest of a SubjectPublicKeyInfo: 64 hexadecimal digits, perhaps with colons, or its base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpkiDigest([u8; 32]);

/// A text is not a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a SHA-256 digest of a public key is 64 hexadecimal digits, with or without colons, or its base64; \
     `openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform der | sha256sum` prints it"
)]
pub struct SpkiError;

impl FromStr for SpkiDigest {
    type Err = SpkiError;

    fn from_str(text: &str) -> Result<Self, SpkiError> {
        let digest = hexadecimal(text).filter(|digits| digits.len() == 64).map(|digits| {
            let mut digest = [0; 32];
            for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
                *byte = pair.iter().fold(0, |value, &digit| value << 4 | hex_value(digit));
            }
            digest
        });
        digest.or_else(|| base64(text)).map(Self).ok_or(SpkiError)
    }
}

impl fmt::Display for SpkiDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A serial number (RFC 5280 §4.1.2.2) in hexadecimal. Case, colons and leading zeros do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial(String);

/// A text is not a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a serial number is written in hexadecimal, as `openssl x509 -noout -serial` prints it: `4a:0f` or `4A0F`")]
pub struct SerialError;

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        hexadecimal(text).map(|digits| Self(without_zeros(&digits).to_owned())).ok_or(SerialError)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "0" } else { &self.0 })
    }
}

fn without_zeros(digits: &str) -> &str {
    digits.trim_start_matches('0')
}

/// The digits of `text` in lower case: digits only, or bytes of two digits with a colon between any two.
fn hexadecimal(text: &str) -> Option<String> {
    let sound = !text.contains(':') || text.split(':').all(|byte| byte.len() == 2);
    let digits = text.replace(':', "").to_ascii_lowercase();
    (sound && !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(digits)
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    }
}

/// 32 bytes from base64 (RFC 4648 §4), with or without its padding.
fn base64(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_suffix('=').unwrap_or(text);
    if text.len() != 43 {
        return None;
    }
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(32), 0_u32, 0);
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    // The last digit has two bits more than there are bytes. Two spellings of one digest are one too many.
    if held == 0 { bytes.try_into().ok() } else { None }
}
