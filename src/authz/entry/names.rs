//! The names that a client has been given: entries for the texts of subjectAltName (RFC 5280
//! §4.2.1.6).
//!
//! Two kinds have patterns, whose wildcard never reaches from one owner's names into another's.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::addr::Cidr;
use crate::authz::entry::{PolicyEntry, is_alike};
use crate::authz::identity::{AltName, Identity};
use crate::name::{NameError, NamePattern};

/// A DNS name, or `*.suffix` for exactly one label before the suffix. Case and one trailing dot do
/// not count.
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

impl PolicyEntry for DnsPattern {
    fn names(&self, identity: &Identity) -> bool {
        identity
            .names
            .iter()
            .any(|name| matches!(name, AltName::Dns(name) if self.matches(name)))
    }
}

impl DnsPattern {
    /// Whether the name in a certificate is meant. A wildcard in the certificate is a text like any
    /// other: it is the same wildcard or it does not match.
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

impl PolicyEntry for UriPattern {
    fn names(&self, identity: &Identity) -> bool {
        identity
            .names
            .iter()
            .any(|name| matches!(name, AltName::Uri(uri) if self.matches(uri)))
    }

    fn may_name(&self, identity: &Identity) -> bool {
        let own = match self {
            Self::Exact(uri) => Self::Exact(with_lower_host(uri)),
            Self::Prefix(prefix) => Self::Prefix(with_lower_host(prefix)),
        };
        identity
            .names
            .iter()
            .any(|name| matches!(name, AltName::Uri(uri) if own.matches(&with_lower_host(uri))))
    }
}

/// A URI with scheme and authority in lower case, in which case does not count (RFC 3986 §6.2.2.1).
fn with_lower_host(uri: &str) -> String {
    let scheme = uri.find(':').map_or(0, |at| at + 1);
    let end = match uri[scheme..].strip_prefix("//") {
        Some(rest) => rest
            .find(['/', '?', '#'])
            .map_or(uri.len(), |at| scheme + 2 + at),
        None => scheme,
    };
    uri[..end].to_lowercase() + &uri[end..]
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
        let (uri, is_prefix) = text
            .strip_suffix('*')
            .map_or((text, false), |prefix| (prefix, true));
        if uri.contains('*') {
            return Err(UriError::Wildcard);
        }
        let (scheme, rest) = uri.split_once(':').ok_or(if is_prefix {
            UriError::Authority
        } else {
            UriError::Scheme
        })?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if !is_scheme || rest.is_empty() {
            return Err(UriError::Scheme);
        }
        if !is_prefix {
            return Ok(Self::Exact(uri.to_owned()));
        }
        // The authority ends at the first of these (RFC 3986 §3.2).
        let authority = rest
            .strip_prefix("//")
            .and_then(|rest| Some(rest.split_at(rest.find(['/', '?', '#'])?)));
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

/// A mail address. The case of what follows the `@` does not count, that of what precedes it does
/// (RFC 5280 §7.5).
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

impl PolicyEntry for EmailAddress {
    fn names(&self, identity: &Identity) -> bool {
        identity
            .names
            .iter()
            .any(|name| matches!(name, AltName::Email(address) if self.matches(address)))
    }

    /// Also by the subject, which is no place for it any more (RFC 5280 §4.1.2.6), and in any case.
    fn may_name(&self, identity: &Identity) -> bool {
        let own = self.to_string();
        let of_names = identity.names.iter().filter_map(|name| match name {
            AltName::Email(address) => Some(address),
            _ => None,
        });
        of_names
            .chain(&identity.subject_emails)
            .any(|address| is_alike(address, &own))
    }
}

impl PolicyEntry for Cidr {
    fn names(&self, identity: &Identity) -> bool {
        identity
            .names
            .iter()
            .any(|name| matches!(name, AltName::Ip(ip) if self.contains(ip.to_canonical())))
    }
}

/// A Microsoft principal name (UPN, an otherName). Case does not count, as it does not to the
/// directory that hands them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalName(String);

impl PolicyEntry for PrincipalName {
    fn names(&self, identity: &Identity) -> bool {
        identity
            .names
            .iter()
            .any(|name| matches!(name, AltName::Principal(name) if is_alike(name, &self.0)))
    }
}

impl FromStr for PrincipalName {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        // They are written as mail addresses are.
        text.parse::<EmailAddress>().map(|_| Self(text.to_owned()))
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl EmailAddress {
    fn matches(&self, address: &str) -> bool {
        let parts = address.rsplit_once('@');
        parts.is_some_and(|(local, domain)| {
            local == self.local && domain.eq_ignore_ascii_case(&self.domain)
        })
    }
}

impl FromStr for EmailAddress {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        if text.contains('*') {
            return Err(EmailError::Wildcard);
        }
        match text.rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(Self {
                local: local.to_owned(),
                domain: domain.to_owned(),
            }),
            _ => Err(EmailError::Form),
        }
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(names: &[AltName]) -> Identity {
        Identity {
            names: names.to_vec(),
            ..Identity::default()
        }
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
            assert_eq!(
                pattern.names(&named(&[AltName::Dns(name.to_owned())])),
                expected,
                "{entry} {name:?}"
            );
            assert!(!pattern.names(&named(&[
                AltName::Uri(name.to_owned()),
                AltName::Email(name.to_owned())
            ])));
        }
        assert_eq!("*".parse::<DnsPattern>(), Err(DnsError::Any));
        assert_eq!(
            "a.*.b".parse::<DnsPattern>(),
            Err(DnsError::Name(NameError::Wildcard))
        );
        assert!("".parse::<DnsPattern>().is_err());
    }

    #[test]
    fn uris_are_compared_byte_by_byte() {
        for (entry, uri, expected) in [
            ("spiffe://example.net/web", "spiffe://example.net/web", true),
            (
                "spiffe://example.net/web",
                "spiffe://example.net/web/",
                false,
            ),
            (
                "spiffe://example.net/web",
                "spiffe://example.net/web2",
                false,
            ),
            (
                "spiffe://example.net/web",
                "SPIFFE://example.net/web",
                false,
            ),
            (
                "spiffe://example.net/web",
                "spiffe://example.net/%77eb",
                false,
            ),
            (
                "spiffe://example.net/web/*",
                "spiffe://example.net/web/1",
                true,
            ),
            (
                "spiffe://example.net/web/*",
                "spiffe://example.net/web",
                false,
            ),
            ("spiffe://example.net/*", "spiffe://example.net/", true),
            (
                "spiffe://example.net/*",
                "spiffe://example.net.evil/",
                false,
            ),
            (
                "spiffe://example.net/*",
                "spiffe://user@example.net/",
                false,
            ),
            ("urn:example:a", "urn:example:a", true),
        ] {
            let pattern: UriPattern = entry.parse().unwrap();
            assert_eq!(
                pattern.names(&named(&[AltName::Uri(uri.to_owned())])),
                expected,
                "{entry} {uri}"
            );
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
            assert_eq!(
                entry.names(&named(&[AltName::Email(address.to_owned())])),
                expected,
                "{address}"
            );
        }
        // Of several the last one counts (RFC 5321 §4.1.2: what precedes it may be a quoted
        // string).
        let entry: EmailAddress = "\"A@B\"@Example.net".parse().unwrap();
        for (address, expected) in [
            ("\"A@B\"@example.NET", true),
            ("\"A@b\"@example.net", false),
        ] {
            assert_eq!(
                entry.names(&named(&[AltName::Email(address.to_owned())])),
                expected,
                "{address}"
            );
        }
        for text in ["", "ann", "@example.net", "ann@"] {
            assert_eq!(
                text.parse::<EmailAddress>(),
                Err(EmailError::Form),
                "{text}"
            );
        }
        assert_eq!(
            "*@example.net".parse::<EmailAddress>(),
            Err(EmailError::Wildcard)
        );
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
    }
}
