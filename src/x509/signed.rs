//! Signatures of authorities, on certificates and on revocation lists: whether one is right, and in
//! words why not.

use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::x509::algorithms::ALGORITHMS;
use crate::x509::der::{self, DerReader};

/// Why a signature is not one of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignatureFault {
    /// No signature of such a key is verified. What it is: `an RSA key of 1024 bits`.
    Key(String),
    /// No signature of this kind is verified. What it is, and what its issuer can do.
    Kind(String),
    /// It was made by another kind of key.
    OtherKind,
    /// It was made by another key, or what it signs was changed.
    Wrong,
}

/// Something that was signed: the bytes, the algorithm (without its SEQUENCE) and the signature.
#[derive(Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// A certificate or a list, which are built alike (RFC 5280 §4.1, §5.1).
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut reader = DerReader(der::only(der, der::SEQUENCE)?);
        let message = reader.expect(der::SEQUENCE)?.whole;
        let (algorithm, signature) = der::algorithm_and_bits(reader.0)?;
        Some(Self {
            message,
            algorithm,
            signature,
        })
    }

    /// That the key in `spki`, a SubjectPublicKeyInfo without its SEQUENCE, has made the signature.
    pub(crate) fn verify(&self, spki: &[u8]) -> Result<(), SignatureFault> {
        if let Some(key) = unsupported_key(spki) {
            return Err(SignatureFault::Key(key));
        }
        let (key_algorithm, key) = der::algorithm_and_bits(spki).ok_or(SignatureFault::Wrong)?;
        let mut of_this_kind = ALGORITHMS
            .iter()
            .filter(|by| by.signature_alg_id().as_ref() == self.algorithm)
            .peekable();
        if of_this_kind.peek().is_none() {
            return Err(SignatureFault::Kind(kind(self.algorithm)));
        }
        let mut fitting = of_this_kind
            .filter(|by| by.public_key_alg_id().as_ref() == key_algorithm)
            .peekable();
        if fitting.peek().is_none() {
            return Err(SignatureFault::OtherKind);
        }
        let verifies = fitting.any(|by| {
            by.verify_signature(key, self.message, self.signature)
                .is_ok()
        });
        if verifies {
            Ok(())
        } else {
            Err(SignatureFault::Wrong)
        }
    }
}

/// The kind of key that `spki`, a SubjectPublicKeyInfo without its SEQUENCE, has, if no signature
/// of it is ever verified.
pub(crate) fn unsupported_key(spki: &[u8]) -> Option<String> {
    let Some((algorithm, _)) = der::algorithm_and_bits(spki) else {
        return Some("a key that cannot be read".to_owned());
    };
    let known = ALGORITHMS
        .iter()
        .any(|by| by.public_key_alg_id().as_ref() == algorithm);
    let bits = rsa_bits(spki);
    if known && bits.is_none_or(|bits| RSA_BITS.contains(&bits)) {
        return None;
    }
    let oid = DerReader(algorithm)
        .expect(der::OID)
        .map(|oid| der::dotted(oid.content))
        .unwrap_or_default();
    Some(match (bits, &*oid) {
        (Some(bits), "1.2.840.113549.1.1.1") if RSA_BITS.contains(&bits) => {
            "an RSA key without the NULL that RFC 3279 §2.3.1 asks for".to_owned()
        }
        (Some(bits), _) => format!("an RSA key of {bits} bits"),
        (None, "1.2.840.113549.1.1.1") => "an RSA key that cannot be read".to_owned(),
        (None, "1.2.840.113549.1.1.10") => "a key that is bound to RSA-PSS".to_owned(),
        (None, "1.2.840.10040.4.1") => "a DSA key".to_owned(),
        (None, "1.3.101.113") => "an Ed448 key".to_owned(),
        (None, "1.2.840.10045.2.1") => format!("an EC key on {}", curve(algorithm)),
        (None, oid) => format!("a key of the algorithm {oid}"),
    })
}

/// The sizes of RSA keys whose signatures are verified. The library's algorithms have the same
/// bounds.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

fn rsa_bits(spki: &[u8]) -> Option<usize> {
    let whole = wrap(spki);
    let (_, spki) = SubjectPublicKeyInfo::from_der(&whole).ok()?;
    match spki.parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()),
        _ => None,
    }
}

/// `content` as a SEQUENCE.
pub(crate) fn wrap(content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut whole = vec![der::SEQUENCE];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => whole.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let digits: Vec<u8> = bytes
                .iter()
                .copied()
                .skip_while(|byte| *byte == 0)
                .collect();
            // No more than eight digits.
            whole.push(0x80 | digits.len() as u8);
            whole.extend(digits);
        }
    }
    whole.extend_from_slice(content);
    whole
}

fn curve(algorithm: &[u8]) -> String {
    let mut reader = DerReader(algorithm);
    reader.next();
    match reader
        .expect(der::OID)
        .map(|oid| der::dotted(oid.content))
        .as_deref()
    {
        Some("1.3.132.0.10") => "secp256k1".to_owned(),
        Some("1.2.840.10045.3.1.1") => "P-192".to_owned(),
        Some("1.3.132.0.33") => "P-224".to_owned(),
        Some("1.3.36.3.3.2.8.1.1.7") => "brainpoolP256r1".to_owned(),
        Some(oid) => format!("the curve {oid}"),
        None => "a curve that is written out in the certificate".to_owned(),
    }
}

/// A kind of signature that is not verified, in words, with what its issuer can do where that is
/// one option.
fn kind(algorithm: &[u8]) -> String {
    let mut reader = DerReader(algorithm);
    let oid = reader
        .expect(der::OID)
        .map(|oid| der::dotted(oid.content))
        .unwrap_or_default();
    let name = match &*oid {
        "1.2.840.113549.1.1.10" => {
            return pss(reader.next().map_or(&[], |parameters| parameters.content));
        }
        "1.2.840.113549.1.1.4" => "RSA with MD5",
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => "RSA with SHA-1",
        "1.2.840.113549.1.1.14" => "RSA with SHA-224",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.1" => "ECDSA with SHA-224",
        "1.2.840.10040.4.3" => "DSA with SHA-1",
        "2.16.840.1.101.3.4.3.2" => "DSA with SHA-256",
        "1.3.101.113" => "Ed448",
        oid => {
            return format!(
                "of the kind {oid}; the CA must sign with RSA, ECDSA or Ed25519, and SHA-256 or more"
            );
        }
    };
    format!("{name}; the CA must sign with RSA, ECDSA or Ed25519, and SHA-256 or more")
}

/// RSASSA-PSS-params (RFC 4055 §3.1). What is left out there is SHA-1, with a salt of 20 bytes.
fn pss(parameters: &[u8]) -> String {
    let mut reader = DerReader(parameters);
    let mut hash = "SHA-1";
    let mut salt = 20_usize;
    while let Some(value) = reader.next() {
        match value.tag {
            0xa0 => {
                let oid = DerReader(value.content)
                    .expect(der::SEQUENCE)
                    .and_then(|id| DerReader(id.content).expect(der::OID));
                hash = match oid.map(|oid| der::dotted(oid.content)).as_deref() {
                    Some("2.16.840.1.101.3.4.2.1") => "SHA-256",
                    Some("2.16.840.1.101.3.4.2.2") => "SHA-384",
                    Some("2.16.840.1.101.3.4.2.3") => "SHA-512",
                    Some("2.16.840.1.101.3.4.2.4") => "SHA-224",
                    Some("1.3.14.3.2.26") => "SHA-1",
                    _ => "another digest",
                };
            }
            0xa2 => {
                let length = DerReader(value.content).expect(der::INTEGER);
                salt = length.map_or(0, |length| {
                    length
                        .content
                        .iter()
                        .fold(0, |n, byte| n << 8 | usize::from(*byte))
                });
            }
            _ => {}
        }
    }
    let remedy = match hash {
        "SHA-256" | "SHA-384" | "SHA-512" => {
            "the salt must be as long as the digest, and the mask by the same digest: let the CA sign with \
             `-sigopt rsa_pss_saltlen:digest`"
        }
        _ => "let the CA sign with `-sha256 -sigopt rsa_pss_saltlen:digest`",
    };
    format!("RSA-PSS by {hash} with a salt of {salt} bytes; {remedy}")
}
