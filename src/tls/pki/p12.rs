//! PKCS#12 stores (RFC 7292), in which browsers take a certificate and its key.
//!
//! The encoding is small and is written here; the cryptography is that of AWS-LC. Only what is written is supported:
//! nothing reads a store.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_256, AES_256_KEY_LEN, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::asn1_rs::ToDer;
use x509_parser::certificate::X509Certificate;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag, construct_der};
use zeroize::{Zeroize, Zeroizing};

use crate::tls::pem;
use crate::tls::pki::{Key, PkiError, key, parse_all};

/// How a store is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// AES-256-CBC with PBKDF2 (RFC 8018), a MAC with SHA-256: everything since about 2018.
    #[default]
    Modern,
    /// Triple DES and SHA-1, for the key stores of older Windows and macOS, which know nothing else.
    Legacy,
}

/// A store with a key, its certificate, and whatever else there is in `certificates` and `authorities`.
///
/// # Errors
///
/// When a file cannot be read, when the key belongs to none of `certificates`, or when the password is empty.
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
    let own = parse_all(&ders).iter().position(|certificate| certificate.public_key().raw == public_key);
    let own = own.ok_or(PkiError::Mismatch)?;
    ders.swap(0, own);
    for der in authorities.map(pem::certificates).transpose()?.unwrap_or_default() {
        if !ders.contains(&der) {
            ders.push(der);
        }
    }
    let parsed = pem::parse(&ders[0]).map_err(|_| PkiError::Mismatch)?;
    store(&ders, &pkcs8(&private_key, &parsed), &friendly_name(&parsed), &Secrets { password, protection })
}

struct Secrets<'a> {
    password: &'a str,
    protection: Protection,
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
                            certificate.next().write_tagged(Tag::context(0), |writer| writer.write_bytes(der));
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
                            encrypted.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(bytes));
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

impl Secrets<'_> {
    /// The AlgorithmIdentifier, and what it gives of `plain` under a key of its own.
    fn encrypt(&self, plain: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PkiError> {
        match self.protection {
            Protection::Modern => self.encrypt_aes(plain),
            Protection::Legacy => self.encrypt_des(plain),
        }
    }

    /// RFC 8018 §6.2. The password is its UTF-8, as openssl and NSS have it.
    fn encrypt_aes(&self, plain: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PkiError> {
        let (salt, iv) = (random::<16>()?, random::<16>()?);
        let mut key = Zeroizing::new([0; AES_256_KEY_LEN]);
        let iterations = NonZeroU32::new(self.iterations()).expect("it is a constant above 0");
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, self.password.as_bytes(), &mut *key);
        let key = UnboundCipherKey::new(&AES_256, &*key).map_err(|_| PkiError::Cipher)?;
        let mut bytes = with_room(plain);
        PaddedBlockEncryptingKey::cbc_pkcs7(key)
            .and_then(|key| key.less_safe_encrypt(&mut bytes, EncryptionContext::Iv128(iv.into())))
            .map_err(|_| PkiError::Cipher)?;
        let algorithm = construct_der(|writer| {
            writer.write_sequence(|algorithm| {
                algorithm.next().write_oid(&oid(PBES2));
                algorithm.next().write_sequence(|parameters| {
                    parameters.next().write_sequence(|derivation| {
                        derivation.next().write_oid(&oid(PBKDF2));
                        derivation.next().write_sequence(|parameters| {
                            parameters.next().write_bytes(&salt);
                            parameters.next().write_u32(self.iterations());
                            algorithm_identifier(parameters.next(), HMAC_WITH_SHA256);
                        });
                    });
                    parameters.next().write_sequence(|cipher| {
                        cipher.next().write_oid(&oid(AES_256_CBC));
                        cipher.next().write_bytes(&iv);
                    });
                });
            });
        });
        Ok((algorithm, bytes))
    }

    /// RFC 7292 §C: pbeWithSHAAnd3-KeyTripleDES-CBC.
    #[allow(deprecated, reason = "those who need this store know no other cipher")]
    fn encrypt_des(&self, plain: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PkiError> {
        use aws_lc_rs::cipher::{DES_CBC_IV_LEN, DES_EDE3_FOR_LEGACY_USE_ONLY, DES_EDE3_KEY_LEN};

        let salt = random::<8>()?;
        let key = self.derive(KEY, &salt, DES_EDE3_KEY_LEN);
        let iv: [u8; DES_CBC_IV_LEN] =
            self.derive(IV, &salt, DES_CBC_IV_LEN).as_slice().try_into().expect("it has the length asked for");
        let key = UnboundCipherKey::new(&DES_EDE3_FOR_LEGACY_USE_ONLY, &key).map_err(|_| PkiError::Cipher)?;
        let mut bytes = with_room(plain);
        PaddedBlockEncryptingKey::cbc_pkcs7(key)
            .and_then(|key| key.less_safe_encrypt(&mut bytes, EncryptionContext::Iv64(iv.into())))
            .map_err(|_| PkiError::Cipher)?;
        let algorithm = construct_der(|writer| {
            writer.write_sequence(|algorithm| {
                algorithm.next().write_oid(&oid(PBE_SHA_3DES));
                algorithm.next().write_sequence(|parameters| {
                    parameters.next().write_bytes(&salt);
                    parameters.next().write_u32(self.iterations());
                });
            });
        });
        Ok((algorithm, bytes))
    }

    /// RFC 7292 §5.1: MacData over the contents.
    fn mac(&self, contents: &[u8]) -> Result<Vec<u8>, PkiError> {
        let salt = random::<16>()?;
        let (algorithm, digest_id) = match self.protection {
            Protection::Modern => (hmac::HMAC_SHA256, SHA256),
            Protection::Legacy => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SHA1),
        };
        let key = self.derive(MAC, &salt, self.digest().output_len());
        let tag = hmac::sign(&hmac::Key::new(algorithm, &key), contents);
        Ok(construct_der(|writer| {
            writer.write_sequence(|mac| {
                mac.next().write_sequence(|info| {
                    algorithm_identifier(info.next(), digest_id);
                    info.next().write_bytes(tag.as_ref());
                });
                mac.next().write_bytes(&salt);
                mac.next().write_u32(self.iterations());
            });
        }))
    }

    /// RFC 7292 §B.2, for one of the purposes [`KEY`], [`IV`] and [`MAC`].
    fn derive(&self, purpose: u8, salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
        // §B.1: UTF-16, big-endian, with a zero at the end.
        let mut password = Zeroizing::new(Vec::with_capacity(2 * self.password.len() + 2));
        for unit in self.password.encode_utf16().chain([0]) {
            password.extend(unit.to_be_bytes());
        }
        kdf(self.digest(), purpose, &password, salt, self.iterations(), length)
    }

    fn digest(&self) -> &'static digest::Algorithm {
        match self.protection {
            Protection::Modern => &digest::SHA256,
            Protection::Legacy => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    /// A guess at the password costs this many rounds, by the MAC as well as by the key. Old importers are used to 2048.
    fn iterations(&self) -> u32 {
        match self.protection {
            Protection::Modern => 100_000,
            Protection::Legacy => 2048,
        }
    }
}

/// RFC 7292 §B.2, steps 1 to 7.
fn kdf(
    algorithm: &'static digest::Algorithm,
    purpose: u8,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let block = algorithm.block_len();
    let mut input = Zeroizing::new(repeated(salt, block));
    let mut of_password = repeated(password, block);
    input.extend_from_slice(&of_password);
    of_password.zeroize();

    let mut output = Zeroizing::new(Vec::with_capacity(length + algorithm.output_len()));
    while output.len() < length {
        let mut context = digest::Context::new(algorithm);
        context.update(&vec![purpose; block]);
        context.update(&input);
        let mut hash = context.finish();
        for _ in 1..iterations {
            hash = digest::digest(algorithm, hash.as_ref());
        }
        output.extend_from_slice(hash.as_ref());
        let addend = repeated(hash.as_ref(), block);
        for chunk in input.chunks_exact_mut(block) {
            add_and_one(chunk, &addend[..block]);
        }
    }
    output.truncate(length);
    output
}

/// `bytes` over and over, to the next multiple of `block`.
fn repeated(bytes: &[u8], block: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(bytes.len().next_multiple_of(block)).collect()
}

/// `number + addend + 1`, big-endian, without what overflows.
fn add_and_one(number: &mut [u8], addend: &[u8]) {
    let mut carry = 1;
    for (byte, added) in number.iter_mut().zip(addend).rev() {
        let sum = u16::from(*byte) + u16::from(*added) + carry;
        [_, *byte] = sum.to_be_bytes();
        carry = sum >> 8;
    }
}

/// RFC 5958 §2. The older forms are put into one, with the algorithm that the certificate gives the key.
fn pkcs8(key: &PrivateKeyDer<'static>, certificate: &X509Certificate<'_>) -> Zeroizing<Vec<u8>> {
    if let PrivateKeyDer::Pkcs8(key) = key {
        return Zeroizing::new(key.secret_pkcs8_der().to_vec());
    }
    let algorithm = &certificate.public_key().algorithm;
    let parts = [
        algorithm.algorithm.to_der_vec().unwrap_or_default(),
        algorithm.parameters.as_ref().and_then(|parameters| parameters.to_der_vec().ok()).unwrap_or_default(),
    ];
    Zeroizing::new(construct_der(|writer| {
        writer.write_sequence(|info| {
            info.next().write_u8(0);
            info.next().write_sequence(|algorithm| {
                parts.iter().filter(|part| !part.is_empty()).for_each(|part| algorithm.next().write_der(part));
            });
            info.next().write_bytes(key.secret_der());
        });
    }))
}

/// What importers show.
fn friendly_name(certificate: &X509Certificate<'_>) -> String {
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    name.filter(|name| !name.is_empty()).unwrap_or("certificate").to_owned()
}

/// RFC 2985 §5.5.1 and §5.5.2.
fn attributes(writer: DERWriter<'_>, name: &str, local_key_id: &[u8]) {
    writer.write_set_of(|attributes| {
        attributes.next().write_sequence(|attribute| {
            attribute.next().write_oid(&oid(FRIENDLY_NAME));
            attribute.next().write_set_of(|values| values.next().write_bmp_string(name));
        });
        attributes.next().write_sequence(|attribute| {
            attribute.next().write_oid(&oid(LOCAL_KEY_ID));
            attribute.next().write_set_of(|values| values.next().write_bytes(local_key_id));
        });
    });
}

/// A ContentInfo that is not encrypted.
fn data(writer: DERWriter<'_>, bytes: &[u8]) {
    writer.write_sequence(|content| {
        content.next().write_oid(&oid(DATA));
        content.next().write_tagged(Tag::context(0), |writer| writer.write_bytes(bytes));
    });
}

fn algorithm_identifier(writer: DERWriter<'_>, id: &[u64]) {
    writer.write_sequence(|algorithm| {
        algorithm.next().write_oid(&oid(id));
        algorithm.next().write_null();
    });
}

/// A copy with room for the padding: a plaintext that moved would leave itself behind.
fn with_room(plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(plain.len() + 16);
    bytes.extend_from_slice(plain);
    bytes
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], PkiError> {
    let mut bytes = [0; LENGTH];
    rand::fill(&mut bytes).map_err(|_| PkiError::NoRandom)?;
    Ok(bytes)
}

fn oid(id: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(id)
}

/// RFC 7292 §B.3
const KEY: u8 = 1;
const IV: u8 = 2;
const MAC: u8 = 3;

const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const ENCRYPTED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 6];
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113_549, 1, 9, 20];
const LOCAL_KEY_ID: &[u64] = &[1, 2, 840, 113_549, 1, 9, 21];
const X509_CERTIFICATE: &[u64] = &[1, 2, 840, 113_549, 1, 9, 22, 1];
const SHROUDED_KEY_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 2];
const CERT_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 3];
const PBE_SHA_3DES: &[u64] = &[1, 2, 840, 113_549, 1, 12, 1, 3];
const PBKDF2: &[u64] = &[1, 2, 840, 113_549, 1, 5, 12];
const PBES2: &[u64] = &[1, 2, 840, 113_549, 1, 5, 13];
const HMAC_WITH_SHA256: &[u64] = &[1, 2, 840, 113_549, 2, 9];
const AES_256_CBC: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 1, 42];
const SHA1: &[u64] = &[1, 3, 14, 3, 2, 26];
const SHA256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carry_runs_through_and_what_overflows_is_dropped() {
        for (number, addend, expected) in [
            ([0, 0, 0], [0, 0, 0], [0, 0, 1]),
            ([0, 0xff, 0xff], [0, 0, 0], [1, 0, 0]),
            ([0xff, 0xff, 0xff], [0xff, 0xff, 0xff], [0xff, 0xff, 0xff]),
            ([1, 2, 3], [4, 5, 6], [5, 7, 10]),
        ] {
            let mut sum = number;
            add_and_one(&mut sum, &addend);
            assert_eq!(sum, expected);
        }
    }

    #[test]
    fn salts_and_passwords_are_repeated_to_whole_blocks() {
        assert_eq!(repeated(b"abc", 4), b"abca");
        assert_eq!(repeated(b"abcde", 4), b"abcdeabc");
        assert_eq!(repeated(b"abcd", 4), b"abcd");
        assert_eq!(repeated(b"", 4), b"");
    }
}
