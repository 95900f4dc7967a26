//! Subjects of certificates, and what can stand in one.

use std::net::IpAddr;

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};

use crate::name::NamePattern;
use crate::pki::PkiError;

/// The subject of a certificate: the names in its subjectAltName, and its distinguished name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The subject's only part. Clients of servers do not look at it; empty, it is left out.
    pub common_name: String,
    /// Host names and wildcards, the first label of which is a `*`.
    pub dns: Vec<NamePattern>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// Identifiers such as `spiffe://example.net/web`.
    pub uris: Vec<String>,
}

impl Subject {
    /// A subject with a common name alone.
    #[must_use]
    pub fn common_name(name: &str) -> Self {
        Self {
            common_name: name.to_owned(),
            ..Self::default()
        }
    }

    /// A server that is known by `names`, host names, wildcards and addresses. The first is its
    /// common name, too, if it is short enough for one.
    ///
    /// # Errors
    ///
    /// When one of them is no such name.
    pub fn server(names: &[&str]) -> Result<Self, PkiError> {
        let mut subject = Self::default();
        for &name in names {
            match name.parse() {
                Ok(ip) => subject.ips.push(ip),
                Err(_) => {
                    subject.dns.push(
                        name.parse()
                            .map_err(|error| PkiError::Name(name.to_owned(), error))?,
                    );
                }
            }
        }
        subject.common_name = names
            .first()
            .filter(|name| fits_common_name(name))
            .map_or("", |name| name)
            .to_owned();
        Ok(subject)
    }

    fn alt_names(&self) -> Result<Vec<SanType>, PkiError> {
        let ascii = |text: &str| Ia5String::try_from(text.to_owned());
        let mut names = Vec::new();
        for name in &self.dns {
            if *name == NamePattern::Any {
                return Err(PkiError::AnyName);
            }
            names.push(SanType::DnsName(ascii(&name.to_string())?));
        }
        names.extend(self.ips.iter().map(|&ip| SanType::IpAddress(ip)));
        for email in &self.emails {
            names.push(SanType::Rfc822Name(ascii(email)?));
        }
        for uri in &self.uris {
            names.push(SanType::URI(ascii(uri)?));
        }
        Ok(names)
    }

    pub(super) fn params(&self) -> Result<CertificateParams, PkiError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = self.alt_names()?;
        if params.subject_alt_names.is_empty() && self.common_name.is_empty() {
            return Err(PkiError::NoName);
        }
        params.distinguished_name = distinguished_name(&self.common_name)?;
        Ok(params)
    }
}

/// RFC 5280 §A.1: ub-common-name. Browsers and openssl refuse a longer one.
#[must_use]
pub fn fits_common_name(name: &str) -> bool {
    (1..=64).contains(&name.chars().count())
}

pub(super) fn distinguished_name(common_name: &str) -> Result<DistinguishedName, PkiError> {
    let mut name = DistinguishedName::new();
    if !common_name.is_empty() {
        if !fits_common_name(common_name) || common_name.chars().any(char::is_control) {
            return Err(PkiError::CommonName(common_name.to_owned()));
        }
        name.push(DnType::CommonName, common_name);
    }
    Ok(name)
}
