//! Objects in a file: certificates, keys, requests and revocation lists, in the file's order, PEM
//! or DER.
//!
//! A server's files are read by `x509::pem`, which refuses what does not belong there. Here
//! everything is of interest, and nothing is used.

use rustls_pki_types::PrivateKeyDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use crate::pki::{Key, PkiError};
use crate::x509::Crl;
use crate::x509::pem::{self, Block, Form, PemError};

/// One thing of a file. What has DER in it has been parsed once without an error.
pub(super) enum Object {
    Certificate(Der),
    Key(Key),
    SigningRequest(Der),
    RevocationList(Der),
    /// Something that is known by its label, and is not looked into.
    Other(String),
    /// Something that cannot be read: what it is said to be, and why.
    Broken(String, String),
}

pub(super) struct Der {
    pub(super) der: Vec<u8>,
}

/// A parser of DER knows at which byte it gave up, and not why.
const DAMAGED: &str = "it is damaged, or something else";

/// Everything in a file.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Object>, PkiError> {
    if let Some(form) = Form::of(bytes) {
        return Err(PkiError::Pem(PemError::Form(form)));
    }
    if pem::is_der(bytes) {
        return Ok(vec![of_der(bytes)]);
    }
    let text = pem::text(bytes);
    let blocks = pem::blocks(pem::as_str(&text)).map_err(PkiError::Pem)?;
    blocks.iter().map(of_block).collect()
}

fn of_block(block: &Block<'_>) -> Result<Object, PkiError> {
    if block.body.contains("Proc-Type: 4,ENCRYPTED") {
        return Ok(Object::Other("encrypted private key".to_owned()));
    }
    // It may be a key.
    let decode = || {
        pem::decode(block)
            .map(Zeroizing::new)
            .map_err(PkiError::Pem)
    };
    Ok(match block.label {
        "CERTIFICATE" => certificate(&decode()?),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => request(&decode()?),
        "X509 CRL" => revocation_list(&decode()?),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => key(&decode()?),
        label => Object::Other(label.to_lowercase()),
    })
}

fn of_der(bytes: &[u8]) -> Object {
    let kinds: [fn(&[u8]) -> Object; 3] = [certificate, request, revocation_list];
    if let Some(object) = kinds
        .iter()
        .map(|kind| kind(bytes))
        .find(|object| !matches!(object, Object::Broken(..)))
    {
        return object;
    }
    if PrivateKeyDer::try_from(bytes).is_ok() {
        return key(bytes);
    }
    if let Some(foreign) = pem::foreign_der(bytes) {
        return Object::Broken("DER".to_owned(), format!("it is {foreign}"));
    }
    Object::Broken(
        "DER".to_owned(),
        "it is neither a certificate, a request, a CRL nor a key, or damaged".to_owned(),
    )
}

fn certificate(der: &[u8]) -> Object {
    match pem::parse(der) {
        Ok(_) => Object::Certificate(Der { der: der.to_vec() }),
        Err(error) => Object::Broken("certificate".to_owned(), error),
    }
}

fn request(der: &[u8]) -> Object {
    match X509CertificationRequest::from_der(der) {
        Ok(([], _)) => Object::SigningRequest(Der { der: der.to_vec() }),
        Ok((rest, _)) => Object::Broken("request".to_owned(), pem::after(rest)),
        Err(_) => Object::Broken("request".to_owned(), DAMAGED.to_owned()),
    }
}

fn revocation_list(der: &[u8]) -> Object {
    match CertificateRevocationList::from_der(der) {
        Ok(([], _)) => Object::RevocationList(Der { der: der.to_vec() }),
        Ok((rest, _)) => Object::Broken("CRL".to_owned(), pem::after(rest)),
        Err(_) => {
            let reason = Crl::read(der.to_vec().into()).err();
            Object::Broken(
                "CRL".to_owned(),
                reason.unwrap_or_else(|| DAMAGED.to_owned()),
            )
        }
    }
}

fn key(der: &[u8]) -> Object {
    match Key::load(der) {
        Ok(key) => Object::Key(key),
        Err(error) => Object::Broken("private key".to_owned(), error.to_string()),
    }
}
