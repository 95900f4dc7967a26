//! Texts of the subject (RFC 5280 §4.1.2.6), which have no structure that a pattern could go by:
//! each is compared in full.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::authz::entry::{PolicyEntry, is_alike};
use crate::authz::identity::Identity;

/// A common name in the subject, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonName(String);

/// An organizational unit in the subject, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationalUnit(String);

/// An organization in the subject, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization(String);

/// A whole subject in the manner of RFC 4514, as [`Identity::subject`] has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectName(String);

/// An issuer's whole name in the same form. It is a name only: several authorities may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerName(String);

/// Why a text is none that is looked for in a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubjectError {
    /// There is nothing.
    #[error("the text is empty")]
    Empty,
    /// A `*`, which is no pattern here.
    #[error("there is no `*` here, the whole text is compared: for patterns use `dns` or `uri`")]
    Wildcard,
    /// It is to be a whole name, and is none.
    #[error(
        "a whole name is written as the access line has it (`client_cert`, `client_cert_issuer`), the most specific part \
         first: `CN=web,OU=shop,O=Example`"
    )]
    Form,
}

fn subject_text(text: &str) -> Result<String, SubjectError> {
    match text {
        "" => Err(SubjectError::Empty),
        text if text.contains('*') => Err(SubjectError::Wildcard),
        text => Ok(text.to_owned()),
    }
}

/// A whole name begins with the kind of its first part.
fn whole_name(text: &str) -> Result<String, SubjectError> {
    let text = subject_text(text)?;
    let kind = text.split_once('=').map(|(kind, _)| kind);
    let is_kind = |kind: &str| {
        !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
    };
    if kind.is_some_and(is_kind) {
        Ok(text)
    } else {
        Err(SubjectError::Form)
    }
}

impl PolicyEntry for Organization {
    fn names(&self, identity: &Identity) -> bool {
        identity.organizations.contains(&self.0)
    }

    fn may_name(&self, identity: &Identity) -> bool {
        identity
            .organizations
            .iter()
            .any(|own| is_alike(own, &self.0))
    }
}

impl PolicyEntry for SubjectName {
    fn names(&self, identity: &Identity) -> bool {
        identity.subject == self.0
    }

    fn may_name(&self, identity: &Identity) -> bool {
        is_alike(&identity.subject, &self.0)
    }
}

impl PolicyEntry for IssuerName {
    fn names(&self, identity: &Identity) -> bool {
        identity.issuer == self.0
    }

    fn may_name(&self, identity: &Identity) -> bool {
        is_alike(&identity.issuer, &self.0)
    }
}

impl FromStr for Organization {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        subject_text(text).map(Self)
    }
}

impl FromStr for SubjectName {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        whole_name(text).map(Self)
    }
}

impl FromStr for IssuerName {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        whole_name(text).map(Self)
    }
}

impl fmt::Display for Organization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for IssuerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PolicyEntry for CommonName {
    fn names(&self, identity: &Identity) -> bool {
        identity.common_names.contains(&self.0)
    }

    fn may_name(&self, identity: &Identity) -> bool {
        identity
            .common_names
            .iter()
            .any(|own| is_alike(own, &self.0))
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

impl PolicyEntry for OrganizationalUnit {
    fn names(&self, identity: &Identity) -> bool {
        identity.organizational_units.contains(&self.0)
    }

    fn may_name(&self, identity: &Identity) -> bool {
        identity
            .organizational_units
            .iter()
            .any(|own| is_alike(own, &self.0))
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

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(
                text.parse::<CommonName>().unwrap().names(&identity),
                cn,
                "{text:?}"
            );
            assert_eq!(
                text.parse::<OrganizationalUnit>().unwrap().names(&identity),
                ou,
                "{text:?}"
            );
        }
        for (text, subject, issuer) in [
            ("CN=web,O=Shop", true, false),
            ("CN=ca", false, true),
            ("O=Shop", false, false),
            ("CN=WEB,O=Shop", false, false),
        ] {
            let identity = Identity {
                subject: "CN=web,O=Shop".to_owned(),
                issuer: "CN=ca".to_owned(),
                ..identity.clone()
            };
            assert_eq!(
                text.parse::<SubjectName>().unwrap().names(&identity),
                subject,
                "{text:?}"
            );
            assert_eq!(
                text.parse::<IssuerName>().unwrap().names(&identity),
                issuer,
                "{text:?}"
            );
        }
        for text in ["web", "=web", "C N=web", "/CN=web"] {
            assert_eq!(
                text.parse::<SubjectName>(),
                Err(SubjectError::Form),
                "{text}"
            );
        }
        assert_eq!("".parse::<CommonName>(), Err(SubjectError::Empty));
        assert_eq!(
            "a*".parse::<OrganizationalUnit>(),
            Err(SubjectError::Wildcard)
        );
    }
}
