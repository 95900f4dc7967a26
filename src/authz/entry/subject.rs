//! Texts of the subject (RFC 5280 §4.1.2.6), which have no structure that a pattern could go by: each is compared in full.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::authz::entry::Entry;
use crate::authz::identity::Identity;

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
            assert_eq!(text.parse::<CommonName>().unwrap().names(&identity), cn, "{text:?}");
            assert_eq!(text.parse::<OrganizationalUnit>().unwrap().names(&identity), ou, "{text:?}");
        }
        assert_eq!("".parse::<CommonName>(), Err(SubjectError::Empty));
        assert_eq!("a*".parse::<OrganizationalUnit>(), Err(SubjectError::Wildcard));
    }
}
