//! PKCS#12 stores (RFC 7292), in which browsers take a certificate and its key.
//!
//! The encoding is small and is written here; the cryptography is that of AWS-LC. Only what is
//! written is supported: nothing reads a store.

mod secrets;

use aws_lc_rs::digest;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::asn1_rs::ToDer;
use x509_parser::certificate::X509Certificate;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag, construct_der};
use zeroize::Zeroizing;

use crate::pki::p12::secrets::Secrets;
use crate::pki::{Key, PkiError, key, parse_all};
use crate::x509::pem;

/// How a store is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// AES-256-CBC with PBKDF2 (RFC 8018), a MAC with SHA-256: everything since about 2018.
    #[default]
    Modern,
    /// Triple DES and SHA-1, for the key stores of older Windows and macOS, which know nothing
    /// else.
    Legacy,
}

/// A store with a key, its certificate, and whatever else there is in `certificates` and
/// `authorities`.
///
/// # Errors
///
/// When a file cannot be read, when the key belongs to none of `certificates`, or when the password
/// is empty.
pub fn pkcs12(
    certificates: &[u8],
    key: &[u8],
    authorities: Option<&[u8]>,
    password: &str,
    protection: Protection,
) -> Result<Vec<u8>, PkiError> {
    if password.is_empty() {
        return Err(PkiError::NoPassword);
    }
    let mut ders = pem::certificates(certificates)?;
    let private_key = key::key_of(key)?;
    let public_key = Key::load(key)?.public_key();
    let own = parse_all(&ders)
        .iter()
        .position(|certificate| certificate.public_key().raw == public_key);
    let own = own.ok_or(PkiError::Mismatch)?;
    ders.swap(0, own);
    for der in authorities
        .map(pem::certificates)
        .transpose()?
        .unwrap_or_default()
    {
        if !ders.contains(&der) {
            ders.push(der);
        }
    }
    let parsed = pem::parse(&ders[0]).map_err(|_| PkiError::Mismatch)?;
    store(
        &ders,
        &pkcs8(&private_key, &parsed),
        &friendly_name(&parsed),
        &Secrets {
            password,
            protection,
        },
    )
}

/// RFC 7292 §4.
fn store(
    certificates: &[CertificateDer<'static>],
    key: &[u8],
    name: &str,
    secrets: &Secrets<'_>,
) -> Result<Vec<u8>, PkiError> {
    // Importers find the certificate of a key by this. It only has to be the same at both.
    let local_key_id = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &certificates[0]);
    let attributes = |writer: DERWriter<'_>| attributes(writer, name, local_key_id.as_ref());

    let certificate_bags = construct_der(|writer| {
        writer.write_sequence(|bags| {
            for (position, der) in certificates.iter().enumerate() {
                bags.next().write_sequence(|bag| {
                    bag.next().write_oid(&oid(CERT_BAG));
                    bag.next().write_tagged(Tag::context(0), |writer| {
                        writer.write_sequence(|certificate| {
                            certificate.next().write_oid(&oid(X509_CERTIFICATE));
                            certificate
                                .next()
                                .write_tagged(Tag::context(0), |writer| writer.write_bytes(der));
                        });
                    });
                    if position == 0 {
                        attributes(bag.next());
                    }
                });
            }
        });
    });
    let (certificate_algorithm, encrypted_certificates) = secrets.encrypt(&certificate_bags)?;
    let (key_algorithm, encrypted_key) = secrets.encrypt(key)?;
    let key_bags = construct_der(|writer| {
        writer.write_sequence(|bags| {
            bags.next().write_sequence(|bag| {
                bag.next().write_oid(&oid(SHROUDED_KEY_BAG));
                bag.next().write_tagged(Tag::context(0), |writer| {
                    writer.write_sequence(|key| {
                        key.next().write_der(&key_algorithm);
                        key.next().write_bytes(&encrypted_key);
                    });
                });
                attributes(bag.next());
            });
        });
    });
    let contents = construct_der(|writer| {
        writer.write_sequence(|contents| {
            contents.next().write_sequence(|content| {
                content.next().write_oid(&oid(ENCRYPTED_DATA));
                content.next().write_tagged(Tag::context(0), |writer| {
                    writer.write_sequence(|data| {
                        data.next().write_u8(0);
                        data.next().write_sequence(|encrypted| {
                            encrypted.next().write_oid(&oid(DATA));
                            encrypted.next().write_der(&certificate_algorithm);
                            let bytes = &encrypted_certificates;
                            encrypted
                                .next()
                                .write_tagged_implicit(Tag::context(0), |writer| {
                                    writer.write_bytes(bytes)
                                });
                        });
                    });
                });
            });
            data(contents.next(), &key_bags);
        });
    });
    let mac = secrets.mac(&contents)?;
    Ok(construct_der(|writer| {
        writer.write_sequence(|store| {
            store.next().write_u8(3);
            data(store.next(), &contents);
            store.next().write_der(&mac);
        });
    }))
}

/// RFC 5958 §2. The older forms are put into one, with the algorithm that the certificate gives the
/// key.
fn pkcs8(key: &PrivateKeyDer<'static>, certificate: &X509Certificate<'_>) -> Zeroizing<Vec<u8>> {
    if let PrivateKeyDer::Pkcs8(key) = key {
        return Zeroizing::new(key.secret_pkcs8_der().to_vec());
    }
    let algorithm = &certificate.public_key().algorithm;
    let parts = [
        algorithm.algorithm.to_der_vec().unwrap_or_default(),
        algorithm
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.to_der_vec().ok())
            .unwrap_or_default(),
    ];
    Zeroizing::new(construct_der(|writer| {
        writer.write_sequence(|info| {
            info.next().write_u8(0);
            info.next().write_sequence(|algorithm| {
                parts
                    .iter()
                    .filter(|part| !part.is_empty())
                    .for_each(|part| algorithm.next().write_der(part));
            });
            info.next().write_bytes(key.secret_der());
        });
    }))
}

/// The name that importers show.
fn friendly_name(certificate: &X509Certificate<'_>) -> String {
    let name = certificate
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or("certificate")
        .to_owned()
}

/// RFC 2985 §5.5.1 and §5.5.2.
fn attributes(writer: DERWriter<'_>, name: &str, local_key_id: &[u8]) {
    writer.write_set_of(|attributes| {
        attributes.next().write_sequence(|attribute| {
            attribute.next().write_oid(&oid(FRIENDLY_NAME));
            attribute
                .next()
                .write_set_of(|values| values.next().write_bmp_string(name));
        });
        attributes.next().write_sequence(|attribute| {
            attribute.next().write_oid(&oid(LOCAL_KEY_ID));
            attribute
                .next()
                .write_set_of(|values| values.next().write_bytes(local_key_id));
        });
    });
}

/// A ContentInfo that is not encrypted.
fn data(writer: DERWriter<'_>, bytes: &[u8]) {
    writer.write_sequence(|content| {
        content.next().write_oid(&oid(DATA));
        content
            .next()
            .write_tagged(Tag::context(0), |writer| writer.write_bytes(bytes));
    });
}

fn oid(id: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(id)
}

const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const ENCRYPTED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 6];
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113_549, 1, 9, 20];
const LOCAL_KEY_ID: &[u64] = &[1, 2, 840, 113_549, 1, 9, 21];
const X509_CERTIFICATE: &[u64] = &[1, 2, 840, 113_549, 1, 9, 22, 1];
const SHROUDED_KEY_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 2];
const CERT_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 3];
