//! What an entry of a policy can be: each type says what of a certificate it is compared with, and how.
//!
//! What is compared is the certificate's real text: nothing is decoded or normalised beyond what is said here. An entry
//! that could match more than whoever wrote it meant is refused when it is parsed.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use thiserror::Error;

use crate::authz::identity::{AltName, Identity};
use crate::name::{NameError, NamePattern};

/// What an entry has to be able to do.
pub(super) trait Entry: fmt::Display {
    /// Whether the certificate is one that is meant.
    fn names(&self, identity: &Identity) -> bool;
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

impl Entry for DnsPattern {
    fn names(&self, identity: &Identity) -> bool {
        identity.names.iter().any(|name| matches!(name, AltName::Dns(name) if self.matches(name)))
    }
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

impl Entry for UriPattern {
    fn names(&self, identity: &Identity) -> bool {
        identity.names.iter().any(|name| matches!(name, AltName::Uri(uri) if self.matches(uri)))
    }
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

impl Entry for EmailAddress {
    fn names(&self, identity: &Identity) -> bool {
        identity.names.iter().any(|name| matches!(name, AltName::Email(address) if self.matches(address)))
    }
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

/// A common name in the subject, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonName(String);

/// An organizational unit in the subject, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationalUnit(String);

/// Why a text is none that is looked for in a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubjectError {
    /// There is nothing.
    #[error("the text is empty")]
    Empty,
    /// A `*`, which is no pattern here.
    #[error("there is no `*` here, the whole text is compared: for patterns use `dns` or `uri`")]
    Wildcard,
}

fn subject_text(text: &str) -> Result<String, SubjectError> {
    match text {
        "" => Err(SubjectError::Empty),
        text if text.contains('*') => Err(SubjectError::Wildcard),
        text => Ok(text.to_owned()),
    }
}

impl Entry for CommonName {
    fn names(&self, identity: &Identity) -> bool {
        identity.common_names.contains(&self.0)
    }
}

impl FromStr for CommonName {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        subject_text(text).map(Self)
    }
}

impl fmt::Display for CommonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Entry for OrganizationalUnit {
    fn names(&self, identity: &Identity) -> bool {
        identity.organizational_units.contains(&self.0)
    }
}

impl FromStr for OrganizationalUnit {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        subject_text(text).map(Self)
    }
}

impl fmt::Display for OrganizationalUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 digest of a SubjectPublicKeyInfo (RFC 7469 §2.4): 64 hexadecimal digits, perhaps with colons, or its base64,
/// perhaps after `sha256//`, as curl has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpkiDigest([u8; 32]);

/// A text is not a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a SHA-256 digest of a public key is 64 hexadecimal digits, with or without colons, or its base64; \
     `openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform der | sha256sum` prints it"
)]
pub struct SpkiError;

impl From<[u8; 32]> for SpkiDigest {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl Entry for SpkiDigest {
    fn names(&self, identity: &Identity) -> bool {
        self.0 == identity.spki_sha256
    }
}

impl FromStr for SpkiDigest {
    type Err = SpkiError;

    fn from_str(text: &str) -> Result<Self, SpkiError> {
        let text = text.strip_prefix("sha256//").unwrap_or(text);
        let digest = hexadecimal(text).filter(|digits| digits.len() == 64).and_then(|digits| {
            let mut digest = [0; 32];
            for (at, byte) in digest.iter_mut().enumerate() {
                *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
            }
            Some(digest)
        });
        // Two spellings of one digest are one too many: bits after the last byte have to be zero.
        digest.or_else(|| STANDARD_PAD_INDIFFERENT.decode(text).ok()?.try_into().ok()).map(Self).ok_or(SpkiError)
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

impl Entry for Serial {
    fn names(&self, identity: &Identity) -> bool {
        self.0 == without_zeros(&identity.serial)
    }
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(names: &[AltName]) -> Identity {
        Identity { names: names.to_vec(), ..Identity::default() }
    }

    #[test]
    fn dns_names_are_compared_as_names_and_wildcards_as_texts() {
        for (entry, name, expected) in [
            ("a.example", "a.example", true),
            ("A.example.", "a.EXAMPLE", true),
            ("a.example", "a.example.", true),
            ("a.example", "b.a.example", false),
            ("*.example", "a.example", true),
            ("*.example", "b.a.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("*.example", "a.example.evil", false),
            ("*.example", "*.Example", true),
            ("*.example", "*.a.example", false),
            ("a.example", "*.example", false),
            ("a.example", "*", false),
            ("*.example", "*", false),
            ("a.example", "a.example\0.evil", false),
            ("a.example", "", false),
        ] {
            let pattern: DnsPattern = entry.parse().unwrap();
            assert_eq!(pattern.names(&named(&[AltName::Dns(name.to_owned())])), expected, "{entry} {name:?}");
            assert!(!pattern.names(&named(&[AltName::Uri(name.to_owned()), AltName::Email(name.to_owned())])));
        }
        assert_eq!("*".parse::<DnsPattern>(), Err(DnsError::Any));
        assert_eq!("a.*.b".parse::<DnsPattern>(), Err(DnsError::Name(NameError::Wildcard)));
        assert!("".parse::<DnsPattern>().is_err());
    }

    #[test]
    fn uris_are_compared_byte_by_byte() {
        for (entry, uri, expected) in [
            ("spiffe://example.net/web", "spiffe://example.net/web", true),
            ("spiffe://example.net/web", "spiffe://example.net/web/", false),
            ("spiffe://example.net/web", "spiffe://example.net/web2", false),
            ("spiffe://example.net/web", "SPIFFE://example.net/web", false),
            ("spiffe://example.net/web", "spiffe://example.net/%77eb", false),
            ("spiffe://example.net/web/*", "spiffe://example.net/web/1", true),
            ("spiffe://example.net/web/*", "spiffe://example.net/web", false),
            ("spiffe://example.net/*", "spiffe://example.net/", true),
            ("spiffe://example.net/*", "spiffe://example.net.evil/", false),
            ("spiffe://example.net/*", "spiffe://user@example.net/", false),
            ("urn:example:a", "urn:example:a", true),
        ] {
            let pattern: UriPattern = entry.parse().unwrap();
            assert_eq!(pattern.names(&named(&[AltName::Uri(uri.to_owned())])), expected, "{entry} {uri}");
            assert_eq!(pattern.to_string(), entry);
        }
    }

    #[test]
    fn a_pattern_that_leaves_the_authority_open_is_refused() {
        for (text, expected) in [
            ("spiffe://example.net*", UriError::Authority),
            ("spiffe://*", UriError::Authority),
            ("spiffe:*", UriError::Scheme),
            ("spiffe:///*", UriError::Authority),
            ("spiffe:/example.net/*", UriError::Authority),
            ("spiffe://example.net?/*", UriError::Authority),
            ("spiffe://example.net#/*", UriError::Authority),
            ("urn:example:*", UriError::Authority),
            ("*", UriError::Authority),
            ("spiffe://example.net/*/web", UriError::Wildcard),
            ("spiffe://example.net/**", UriError::Wildcard),
            ("spiffe://*.example.net/*", UriError::Wildcard),
            ("example.net/web", UriError::Scheme),
            ("", UriError::Scheme),
            (":x", UriError::Scheme),
            ("7:x", UriError::Scheme),
            ("x:", UriError::Scheme),
        ] {
            assert_eq!(text.parse::<UriPattern>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn the_case_of_a_mail_address_counts_before_the_at_sign_only() {
        let entry: EmailAddress = "Ann@Example.net".parse().unwrap();
        for (address, expected) in [
            ("Ann@example.NET", true),
            ("ann@example.net", false),
            ("Ann@example.net.evil", false),
            ("Ann@example.net@evil", false),
            ("x@Ann@example.net", false),
            ("Ann", false),
        ] {
            assert_eq!(entry.names(&named(&[AltName::Email(address.to_owned())])), expected, "{address}");
        }
        for text in ["", "ann", "@example.net", "ann@"] {
            assert_eq!(text.parse::<EmailAddress>(), Err(EmailError::Form), "{text}");
        }
        assert_eq!("*@example.net".parse::<EmailAddress>(), Err(EmailError::Wildcard));
    }

    #[test]
    fn texts_of_the_subject_are_compared_whole_and_apart() {
        let identity = Identity {
            common_names: vec!["first".to_owned(), "web\nserver".to_owned()],
            organizational_units: vec!["shop".to_owned()],
            ..Identity::default()
        };
        for (text, cn, ou) in [
            ("first", true, false),
            ("web\nserver", true, false),
            (r"web\0aserver", false, false),
            ("web", false, false),
            ("First", false, false),
            ("shop", false, true),
        ] {
            assert_eq!(text.parse::<CommonName>().unwrap().names(&identity), cn, "{text:?}");
            assert_eq!(text.parse::<OrganizationalUnit>().unwrap().names(&identity), ou, "{text:?}");
        }
        assert_eq!("".parse::<CommonName>(), Err(SubjectError::Empty));
        assert_eq!("a*".parse::<OrganizationalUnit>(), Err(SubjectError::Wildcard));
    }

    #[test]
    fn what_is_no_digest_and_what_is_no_serial_number_is_refused() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let base64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(hex.parse::<SpkiDigest>(), base64.parse::<SpkiDigest>());
        assert_eq!(hex.parse::<SpkiDigest>(), format!("sha256//{base64}").parse::<SpkiDigest>());
        assert_eq!(base64.parse::<SpkiDigest>().unwrap().to_string(), hex);
        // The last of them has bits set that stand for nothing.
        for text in ["", "e3b0", &hex[1..], &base64[1..], &format!("{hex}00"), &base64.replace("FU=", "FV=")] {
            assert_eq!(text.parse::<SpkiDigest>(), Err(SpkiError), "{text}");
        }
        for text in ["", ":", "0x1f", "1f:", ":1f", "1:f0", "1f::f0", "12 34", "g0"] {
            assert_eq!(text.parse::<Serial>(), Err(SerialError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_never_leaves_its_authority(
            host in "[a-z.]{1,4}",
            path in "[a-z/]{0,2}",
            rest in "[a-z./:@?#\\\\%]{0,6}",
        ) {
            let entry: UriPattern = format!("spiffe://{host}/{path}*").parse().unwrap();
            for uri in [format!("spiffe://{host}{rest}"), format!("spiffe://{host}/{path}{rest}"), format!("spiffe://{rest}")] {
                let authority = uri["spiffe://".len()..].split(['/', '?', '#']).next();
                prop_assert!(!entry.matches(&uri) || authority == Some(&host), "{}", uri);
                prop_assert_eq!(entry.matches(&uri), uri.starts_with(&format!("spiffe://{host}/{path}")));
            }
        }

        #[test]
        fn a_serial_number_is_found_however_it_is_written(bytes in prop::collection::vec(any::<u8>(), 1..20), zeros in 0..3_usize, upper: bool) {
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let leading = bytes.iter().take(bytes.len() - 1).take_while(|&&byte| byte == 0).count();
            let identity = Identity { serial: digits[leading..].concat(), ..Identity::default() };
            let bytes = [vec!["00".to_owned(); zeros], digits].concat();
            for text in [bytes.concat(), bytes.join(":")] {
                let text = if upper { text.to_uppercase() } else { text };
                let entry: Serial = text.parse().unwrap();
                prop_assert!(entry.names(&identity), "{}", text);
                prop_assert_eq!(entry.to_string().parse::<Serial>(), Ok(entry));
                let other = Identity { serial: format!("{}01", identity.serial), ..Identity::default() };
                prop_assert!(!text.parse::<Serial>().unwrap().names(&other));
            }
        }

        #[test]
        fn a_digest_is_the_same_in_every_spelling(digest: [u8; 32]) {
            let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
            let identity = Identity { spki_sha256: digest, ..Identity::default() };
            let base64 = encode(&digest);
            for text in [pairs.concat(), pairs.join(":"), format!("{base64}="), base64] {
                prop_assert!(text.parse::<SpkiDigest>().unwrap().names(&identity), "{}", text);
            }
            prop_assert!(!SpkiDigest([0x5a; 32]).names(&identity) || digest == [0x5a; 32]);
        }
    }

    /// Base64 without padding, the slow way.
    fn encode(bytes: &[u8]) -> String {
        let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digit = |bits: &[u8]| {
            let value = bits.iter().fold(0, |value, bit| value << 1 | usize::from(bit - b'0'));
            char::from(alphabet[value << (6 - bits.len())])
        };
        bits.as_bytes().chunks(6).map(digit).collect()
    }
}
