//! The names a route is chosen by: server names, the patterns that match them, and ALPN protocols.
//!
//! Every name is normalised when it is parsed (lower case, no trailing dot), so that two names are
//! equal exactly when `==` says so. A name that arrives in mixed case can therefore never miss the
//! route that was written for it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A host name as TLS clients send it (RFC 6066 §3), in lower case and without a trailing dot.
///
/// Labels are letters, digits, hyphens and underscores (which are common in practice although RFC
/// 952 has none), one to 63 bytes each and 253 in all. Internationalised names are in their ASCII
/// form. An IP address is not a server name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Box<str>);

/// Why a text is not a server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text is empty, or only a dot.
    #[error("a server name must not be empty")]
    Empty,
    /// More than 253 bytes (RFC 1035 §2.3.4).
    #[error("a server name has at most 253 characters")]
    TooLong,
    /// A label is empty or longer than 63 bytes.
    #[error("each label of a server name has 1 to 63 characters")]
    Label,
    /// A byte that no host name contains.
    #[error("{_0:?} cannot stand in a server name{}", ascii_form(*_0))]
    Character(char),
    /// The text is an IP address, or would be read as one.
    #[error("an IP address is not a server name: TLS clients send none for it")]
    IpAddress,
    /// A `*` that is not the whole first label.
    #[error("a wildcard is `*` alone or stands for the whole first label, as in `*.example.net`")]
    Wildcard,
}

fn ascii_form(c: char) -> &'static str {
    if c.is_ascii() {
        ""
    } else {
        "; write international names in their ASCII form (xn--...)"
    }
}

impl ServerName {
    /// The name in lower case, without a trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its first label: `example.net` for `www.example.net`, `None` for
    /// `localhost`.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, parent)| parent)
    }

    /// How many labels it has: 3 for `www.example.net`.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.0.split('.').count()
    }
}

impl std::borrow::Borrow<str> for ServerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(c) = name
            .chars()
            .find(|c| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.'))
        {
            let is_address = name.parse::<std::net::IpAddr>().is_ok();
            return Err(if is_address {
                NameError::IpAddress
            } else {
                NameError::Character(c)
            });
        }
        if name.len() > 253 {
            return Err(NameError::TooLong);
        }
        if name
            .split('.')
            .any(|label| label.is_empty() || label.len() > 63)
        {
            return Err(NameError::Label);
        }
        // Resolvers read a name whose last label is a number as an IPv4 address, in one of its
        // historical spellings.
        if name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(NameError::IpAddress);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The server names that are meant: by a certificate, or by a route, which alone can have
/// [`Self::Below`] (see [`SniPattern`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamePattern {
    /// One name.
    Exact(ServerName),
    /// `*.suffix`: exactly one label before the suffix, as in certificates (RFC 6125 §6.4.3).
    Wildcard(ServerName),
    /// `**.suffix`: one label or more before the suffix. No certificate has such a name.
    Below(ServerName),
    /// `*`: every name.
    Any,
}

/// How closely a pattern stands for a name; of two that match the greater one counts.
///
/// An exact name beats a wildcard beats `**.suffix` beats `*`. Of two suffixes the longer one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closeness(u8, usize);

impl NamePattern {
    /// Whether a client that sends `name` is meant.
    #[must_use]
    pub fn matches(&self, name: &ServerName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Wildcard(suffix) => name.parent() == Some(suffix.as_str()),
            Self::Below(suffix) => {
                let before = name.as_str().strip_suffix(suffix.as_str());
                before.is_some_and(|before| before.ends_with('.'))
            }
            Self::Any => true,
        }
    }

    /// How closely it stands for the names that it matches.
    #[must_use]
    pub fn closeness(&self) -> Closeness {
        match self {
            Self::Exact(_) => Closeness(3, 0),
            Self::Wildcard(_) => Closeness(2, 0),
            Self::Below(suffix) => Closeness(1, suffix.labels()),
            Self::Any => Closeness(0, 0),
        }
    }
}

impl FromStr for NamePattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(suffix) if suffix.contains('*') => Err(NameError::Wildcard),
            Some(suffix) => suffix.parse().map(Self::Wildcard),
            None if text.contains('*') => Err(NameError::Wildcard),
            None => text.parse().map(Self::Exact),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Below(suffix) => write!(f, "**.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// The names that a route lists in `sni`: what a certificate can have, `*`, and `**.suffix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SniPattern(pub NamePattern);

/// Why a text is no pattern of a route.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SniError {
    /// A suffix alone, or with a wildcard for each of several labels.
    #[error(
        "{0:?} is no pattern: write `**.{1}` for every name below {1}, `*.{1}` for those with one label more"
    )]
    Suffix(String, ServerName),
    /// `**` alone.
    #[error("write `*` for every name")]
    Every,
    /// A `*` somewhere else.
    #[error(
        "a wildcard is `*` alone, or stands before a suffix: `*.example.net` for one label, `**.example.net` for any number"
    )]
    Wildcard,
    /// The rest is not a server name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for SniPattern {
    type Err = SniError;

    fn from_str(text: &str) -> Result<Self, SniError> {
        if text == "**" {
            return Err(SniError::Every);
        }
        if let Some(suffix) = text
            .strip_prefix("**.")
            .filter(|suffix| !suffix.contains('*'))
        {
            return Ok(Self(NamePattern::Below(suffix.parse()?)));
        }
        // What others write for it: `.suffix`, and a wildcard for each label.
        let suffix = text
            .strip_prefix('.')
            .or_else(|| Some(text.strip_prefix("*.*.")?.trim_start_matches("*.")));
        if let Some(suffix) = suffix.and_then(|suffix| suffix.parse().ok()) {
            return Err(SniError::Suffix(text.to_owned(), suffix));
        }
        match text.parse() {
            Ok(pattern) => Ok(Self(pattern)),
            Err(NameError::Wildcard) => Err(SniError::Wildcard),
            Err(error) => Err(error.into()),
        }
    }
}

/// A protocol identifier of application-layer protocol negotiation (RFC 7301 §3.1): 1 to 255 bytes,
/// compared as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alpn(Box<[u8]>);

/// An ALPN identifier has 1 to 255 bytes (RFC 7301 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an ALPN protocol has 1 to 255 bytes, such as `h2` or `http/1.1`")]
pub struct AlpnError;

impl Alpn {
    /// The identifier `protocol`.
    ///
    /// # Errors
    ///
    /// When it is empty or longer than 255 bytes.
    pub fn new(protocol: &[u8]) -> Result<Self, AlpnError> {
        if protocol.is_empty() || protocol.len() > 255 {
            Err(AlpnError)
        } else {
            Ok(Self(protocol.into()))
        }
    }

    /// The bytes that stand on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Alpn {
    type Err = AlpnError;

    fn from_str(text: &str) -> Result<Self, AlpnError> {
        Self::new(text.as_bytes())
    }
}

impl std::borrow::Borrow<[u8]> for Alpn {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Alpn {
    /// Bytes that are not printable ASCII are escaped: a client chose them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// The protocols that a client offers, in its order, as they stand in its hello (RFC 7301 §3.1): a
/// list of tens of thousands costs no more than a copy of its bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AlpnList {
    list: Box<[u8]>,
    lengths: u32,
}

impl AlpnList {
    /// The protocols in `list`, each of which begins with its length in one byte.
    ///
    /// # Errors
    ///
    /// When there is none, one is empty, or one is cut short.
    pub fn new(list: &[u8]) -> Result<Self, AlpnError> {
        let (mut at, mut lengths) = (0, 0);
        // A list may have tens of thousands: what each takes is kept short.
        while let Some(&length) = list.get(at) {
            let length = usize::from(length);
            if length == 0 {
                return Err(AlpnError);
            }
            lengths |= 1 << (length % 32);
            at += 1 + length;
        }
        if list.is_empty() || at > list.len() {
            Err(AlpnError)
        } else {
            Ok(Self {
                list: list.into(),
                lengths,
            })
        }
    }

    /// The protocols, each of which begins with its length in one byte.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.list
    }

    /// The bits that [`length_bit`](Self::length_bit) has for each protocol, together.
    pub(crate) fn lengths(&self) -> u32 {
        self.lengths
    }

    /// A bit for a length: protocols that differ in it differ.
    pub(crate) fn length_bit(length: u8) -> u32 {
        1 << (length % 32)
    }

    /// Each protocol, as its bytes.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.list;
        std::iter::from_fn(move || {
            let (&length, behind) = rest.split_first()?;
            let (protocol, others) = behind.split_at_checked(length.into())?;
            rest = others;
            Some(protocol)
        })
    }

    /// The first `most` of them.
    #[must_use]
    pub fn first(&self, most: usize) -> Box<[Alpn]> {
        // Counted first, so that the list is allocated once and has no room to spare.
        let mut first = Vec::with_capacity(self.iter().take(most).count());
        let few = self.iter().take(most);
        first.extend(few.map(|protocol| Alpn(protocol.into())));
        first.into()
    }

    /// Whether `protocol` is offered, and nothing else is.
    #[must_use]
    pub fn is_only(&self, protocol: &[u8]) -> bool {
        self.iter().eq([protocol])
    }
}

impl fmt::Debug for AlpnList {
    /// The first few, since a client may offer thousands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.first(16)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_is_lower_case_and_has_no_trailing_dot() {
        for (text, expected) in [
            ("Vault.Example.NET", "vault.example.net"),
            ("vault.example.net.", "vault.example.net"),
            ("foo_bar.example.com", "foo_bar.example.com"),
            ("localhost", "localhost"),
            ("-odd-.example.com", "-odd-.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1and1.com", "1and1.com"),
        ] {
            assert_eq!(
                text.parse::<ServerName>().map(|n| n.to_string()),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_its_reason() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}a", "a.".repeat(127));
        for (text, expected) in [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("a..b", NameError::Label),
            (".a", NameError::Label),
            ("a.b..", NameError::Label),
            (&long_label, NameError::Label),
            (&long_name, NameError::TooLong),
            ("localhost:8443", NameError::Character(':')),
            ("a\0b", NameError::Character('\0')),
            ("bücher.example", NameError::Character('ü')),
            ("[::1]", NameError::Character('[')),
            ("::1", NameError::IpAddress),
            ("192.0.2.1", NameError::IpAddress),
            ("127.1", NameError::IpAddress),
            ("192.0.2.1.", NameError::IpAddress),
        ] {
            assert_eq!(text.parse::<ServerName>(), Err(expected), "{text:?}");
        }
        let longest = format!("{}a", "a.".repeat(126));
        assert!(longest.len() == 253 && longest.parse::<ServerName>().is_ok());
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        for (pattern, name, expected) in [
            ("*.example.net", "a.example.net", true),
            ("*.Example.net", "A.EXAMPLE.NET.", true),
            ("*.example.net", "example.net", false),
            ("*.example.net", "a.b.example.net", false),
            ("*", "anything.example", true),
            ("a.example.net", "A.example.net", true),
            ("a.example.net", "b.example.net", false),
        ] {
            let (pattern, name): (NamePattern, ServerName) =
                (pattern.parse().unwrap(), name.parse().unwrap());
            assert_eq!(pattern.matches(&name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_suffix_stands_for_every_name_below_it_and_not_for_itself() {
        for (pattern, name, expected) in [
            ("**.apps.example.net", "a.apps.example.net", true),
            ("**.Apps.example.net", "mail.b.APPS.example.net.", true),
            ("**.apps.example.net", "apps.example.net", false),
            ("**.apps.example.net", "aapps.example.net", false),
            ("**.apps.example.net", "a.b.example.net", false),
            ("**.net", "a.apps.example.net", true),
        ] {
            let (SniPattern(pattern), name): (_, ServerName) =
                (pattern.parse().unwrap(), name.parse().unwrap());
            assert_eq!(pattern.matches(&name), expected, "{pattern} {name}");
            assert_eq!(pattern.to_string().parse(), Ok(SniPattern(pattern)));
        }
    }

    #[test]
    fn of_two_patterns_the_closer_one_counts() {
        let in_order = [
            "a.b.example",
            "*.b.example",
            "**.b.example",
            "**.example",
            "*",
        ];
        let closeness = in_order.map(|text| text.parse::<SniPattern>().unwrap().0.closeness());
        assert!(
            closeness.is_sorted_by(|closer, other| closer > other),
            "{closeness:?}"
        );
    }

    #[test]
    fn a_pattern_that_others_know_says_how_it_is_written_here() {
        let suffix =
            |text: &str| SniError::Suffix(text.to_owned(), "apps.example.net".parse().unwrap());
        for text in [
            ".apps.example.net",
            "*.*.apps.example.net",
            "*.*.*.apps.example.net",
        ] {
            assert_eq!(text.parse::<SniPattern>(), Err(suffix(text)));
            assert!(suffix(text).to_string().contains("`**.apps.example.net`"));
        }
        for (text, expected) in [
            ("**", SniError::Every),
            ("**.", SniError::Name(NameError::Empty)),
            ("**.*.example", SniError::Wildcard),
            ("*.**.example", SniError::Wildcard),
            ("a.**.example", SniError::Wildcard),
            ("***.example", SniError::Wildcard),
            ("**a.example", SniError::Wildcard),
            ("..example", SniError::Name(NameError::Label)),
            ("**.192.0.2.1", SniError::Name(NameError::IpAddress)),
        ] {
            assert_eq!(text.parse::<SniPattern>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_certificate_is_never_for_every_name_below_a_suffix() {
        assert_eq!(
            "**.example.net".parse::<NamePattern>(),
            Err(NameError::Wildcard)
        );
    }

    #[test]
    fn a_wildcard_elsewhere_is_refused() {
        for text in ["a.*.net", "*a.example", "*.*.example", "**"] {
            assert_eq!(
                text.parse::<NamePattern>(),
                Err(NameError::Wildcard),
                "{text}"
            );
        }
        assert_eq!("*.".parse::<NamePattern>(), Err(NameError::Empty));
    }

    #[test]
    fn a_list_of_protocols_is_taken_if_its_lengths_agree() {
        for (list, expected) in [
            (&b""[..], None),
            (b"\0", None),
            (b"\x02h2\0", None),
            (b"\x03h2", None),
            (b"\x02h2\x08http/1.", None),
            (b"\x02h2", Some(&["h2"][..])),
            (b"\x02h2\x08http/1.1\x02h2", Some(&["h2", "http/1.1", "h2"])),
        ] {
            let read = AlpnList::new(list).ok().map(|list| list.first(9));
            let expected = expected
                .map(|protocols| protocols.iter().map(|text| text.parse().unwrap()).collect());
            assert_eq!(read, expected, "{}", list.escape_ascii());
        }
        let list = AlpnList::new(b"\x02h2\x01a").unwrap();
        assert_eq!(*list.first(1), ["h2".parse().unwrap()]);
        assert!(!list.is_only(b"h2") && !AlpnList::default().is_only(b"h2"));
        assert!(AlpnList::new(b"\x02h2").unwrap().is_only(b"h2"));
    }
}
