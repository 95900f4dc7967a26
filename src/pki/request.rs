//! Certificate requests (PKCS#10, RFC 2986): made for other authorities, and read from others.

use std::net::IpAddr;

use rcgen::KeyUsagePurpose;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::name::NamePattern;
use crate::pki::object::{self, Object};
use crate::pki::{CertificateUse, Key, PkiError, PublicKey, Subject, fits_common_name, key};

/// A request to an authority, signed with the key that it is about.
#[derive(Debug)]
pub struct SigningRequest {
    der: Vec<u8>,
}

impl SigningRequest {
    /// A request as PEM for a certificate of `subject` and `key`.
    ///
    /// # Errors
    ///
    /// When a name cannot stand in a request.
    pub fn make(subject: &Subject, purpose: CertificateUse, key: &Key) -> Result<String, PkiError> {
        let mut params = subject.params()?;
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages = purpose.extended_key_usages();
        Ok(params.serialize_request(key)?.pem()?)
    }

    /// The request of a file, PEM or DER, signed by the key that is in it.
    ///
    /// # Errors
    ///
    /// When there is not exactly one, when its signature is wrong, or when it asks to become an
    /// authority.
    pub fn load(bytes: &[u8]) -> Result<Self, PkiError> {
        let mut found = None;
        for object in object::read(bytes)? {
            match object {
                Object::SigningRequest(_) if found.is_some() => {
                    return Err(PkiError::SigningRequest("there are several in the file"));
                }
                Object::SigningRequest(request) => found = Some(request),
                _ => {
                    return Err(PkiError::SigningRequest(
                        "there is something else in the file",
                    ));
                }
            }
        }
        let der = found
            .ok_or(PkiError::SigningRequest("there is none in the file"))?
            .der;
        let request = Self { der };
        let parsed = request.parsed();
        parsed
            .verify_signature()
            .map_err(|_| PkiError::SigningRequest("its signature is not that of its key"))?;
        let wants_ca = |extension: &ParsedExtension<'_>| matches!(extension, ParsedExtension::BasicConstraints(limits) if limits.ca);
        if extensions(&parsed).any(wants_ca) {
            return Err(PkiError::SigningRequest(
                "it asks for the certificate of a CA",
            ));
        }
        Ok(request)
    }

    /// The key that the certificate is asked for.
    ///
    /// # Errors
    ///
    /// When it is of a kind that is not used here.
    pub fn public_key(&self) -> Result<PublicKey, PkiError> {
        PublicKey::from_der(self.parsed().certification_request_info.subject_pki.raw)
    }

    /// Its names: those of subjectAltName, or else the common name, if that is one of a host. What
    /// else stands in the subject is not taken over, and neither is what the key is to be used for.
    ///
    /// # Errors
    ///
    /// When there is a name of another kind than certificates are issued for here.
    pub fn subject(&self) -> Result<Subject, PkiError> {
        let parsed = self.parsed();
        let mut subject = Subject::default();
        for extension in extensions(&parsed) {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                names
                    .general_names
                    .iter()
                    .try_for_each(|name| add(&mut subject, name))?;
            }
        }
        let common_name = common_name(&parsed.certification_request_info.subject);
        if subject == Subject::default() {
            if let Ok(ip) = common_name.parse() {
                subject.ips.push(ip);
            } else if let Ok(name) = common_name.parse::<NamePattern>() {
                subject.dns.push(name);
            }
        }
        subject.common_name = common_name;
        if subject.common_name.is_empty() {
            let first = subject.dns.first().map(ToString::to_string);
            subject.common_name = first
                .filter(|name| fits_common_name(name))
                .unwrap_or_default();
        }
        Ok(subject)
    }

    fn parsed(&self) -> X509CertificationRequest<'_> {
        X509CertificationRequest::from_der(&self.der)
            .expect("it was parsed when the file was read")
            .1
    }
}

impl PublicKey {
    /// The key that a SubjectPublicKeyInfo holds.
    fn from_der(spki: &[u8]) -> Result<Self, PkiError> {
        key::public_key(spki).map(Self)
    }
}

fn extensions<'a>(
    request: &'a X509CertificationRequest<'_>,
) -> impl Iterator<Item = &'a ParsedExtension<'a>> {
    request.requested_extensions().into_iter().flatten()
}

/// Adds a name of a request.
pub(super) fn add(subject: &mut Subject, name: &GeneralName<'_>) -> Result<(), PkiError> {
    match name {
        GeneralName::DNSName(name) => {
            subject.dns.push(
                name.parse()
                    .map_err(|error| PkiError::Name((*name).to_owned(), error))?,
            );
        }
        GeneralName::RFC822Name(address) => subject.emails.push((*address).to_owned()),
        GeneralName::URI(uri) => subject.uris.push((*uri).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            subject
                .ips
                .push(ip.map_err(|_| PkiError::SigningRequest("one of its addresses is none"))?);
        }
        _ => {
            return Err(PkiError::SigningRequest(
                "it has a name that is no host name, IP or mail address, or URI",
            ));
        }
    }
    Ok(())
}

fn common_name(name: &X509Name<'_>) -> String {
    name.iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default()
        .to_owned()
}
