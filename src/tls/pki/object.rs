//! What a file holds: certificates, keys, requests and revocation lists, in the file's order, PEM or DER.
//!
//! A server's files are read by `tls::pem`, which refuses what does not belong there. Here everything is of interest,
//! and nothing is used.

use rustls::pki_types::PrivateKeyDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use crate::tls::base64;
use crate::tls::pem::{self, PemError};
use crate::tls::pki::{Key, PkiError};

/// One thing of a file. What has DER in it has been parsed once without an error.
pub(super) enum Object {
    Certificate(Der),
    Key(Key),
    Request(Der),
    RevocationList(Der),
    /// Something that is known by its label, and is not looked into.
    Other(String),
    /// Something that cannot be read: what it is said to be, and why.
    Broken(String, String),
}

pub(super) struct Der {
    pub(super) der: Vec<u8>,
}

/// Everything in a file.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Object>, PkiError> {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("-----BEG") {
        return Ok(of_der(bytes).into_iter().collect());
    }
    let mut objects = Vec::new();
    let mut rest = &*text;
    let mut number = 0;
    while let Some((between, block)) = rest.split_once("-----BEGIN ") {
        pem::whole(between, number).map_err(PkiError::Pem)?;
        number += 1;
        let (label, body, after) = pem::split_block(block).ok_or(PkiError::Pem(PemError::Unfinished(number)))?;
        objects.push(of_block(number, label, body)?);
        rest = after;
    }
    pem::whole(rest, number).map_err(PkiError::Pem)?;
    Ok(objects)
}

fn of_block(number: usize, label: &str, body: &str) -> Result<Object, PkiError> {
    if body.contains("Proc-Type: 4,ENCRYPTED") {
        return Ok(Object::Other("encrypted private key".to_owned()));
    }
    // It may be a key.
    let decode = || base64::decode(body.as_bytes()).map(Zeroizing::new).ok_or(PkiError::Pem(PemError::Base64(number)));
    Ok(match label {
        "CERTIFICATE" => certificate(&decode()?),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => request(&decode()?),
        "X509 CRL" => revocation_list(&decode()?),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => key(&decode()?),
        _ => Object::Other(label.to_lowercase()),
    })
}

fn of_der(bytes: &[u8]) -> Option<Object> {
    if bytes.first() != Some(&0x30) {
        return None;
    }
    let kinds: [fn(&[u8]) -> Object; 3] = [certificate, request, revocation_list];
    if let Some(object) = kinds.iter().map(|kind| kind(bytes)).find(|object| !matches!(object, Object::Broken(..))) {
        return Some(object);
    }
    if PrivateKeyDer::try_from(bytes).is_ok() {
        return Some(key(bytes));
    }
    Some(Object::Broken("DER".to_owned(), "it is neither a certificate, a request, a CRL nor a key".to_owned()))
}

fn certificate(der: &[u8]) -> Object {
    match pem::parse(der) {
        Ok(_) => Object::Certificate(Der { der: der.to_vec() }),
        Err(error) => Object::Broken("certificate".to_owned(), error),
    }
}

fn request(der: &[u8]) -> Object {
    match X509CertificationRequest::from_der(der) {
        Ok(([], _)) => Object::Request(Der { der: der.to_vec() }),
        Ok((rest, _)) => Object::Broken("request".to_owned(), format!("{} bytes follow it", rest.len())),
        Err(error) => Object::Broken("request".to_owned(), error.to_string()),
    }
}

fn revocation_list(der: &[u8]) -> Object {
    match CertificateRevocationList::from_der(der) {
        Ok(([], _)) => Object::RevocationList(Der { der: der.to_vec() }),
        Ok((rest, _)) => Object::Broken("CRL".to_owned(), format!("{} bytes follow it", rest.len())),
        Err(error) => Object::Broken("CRL".to_owned(), error.to_string()),
    }
}

fn key(der: &[u8]) -> Object {
    match Key::load(der) {
        Ok(key) => Object::Key(key),
        Err(error) => Object::Broken("private key".to_owned(), error.to_string()),
    }
}
