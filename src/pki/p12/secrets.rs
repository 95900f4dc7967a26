//! Encryption and integrity of a store's parts, by its password (RFC 7292 §5.1 and appendix B, RFC
//! 8018).

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_256, AES_256_KEY_LEN, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use yasna::{DERWriter, construct_der};
use zeroize::{Zeroize, Zeroizing};

use crate::pki::PkiError;
use crate::pki::p12::{Protection, oid};

/// A password, and what is made of it.
pub(super) struct Secrets<'a> {
    pub(super) password: &'a str,
    pub(super) protection: Protection,
}

impl Secrets<'_> {
    /// The AlgorithmIdentifier, and what it gives of `plain` under a key of its own.
    pub(super) fn encrypt(&self, plain: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PkiError> {
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
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            self.password.as_bytes(),
            &mut *key,
        );
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
        let iv: [u8; DES_CBC_IV_LEN] = self
            .derive(IV, &salt, DES_CBC_IV_LEN)
            .as_slice()
            .try_into()
            .expect("it has the length asked for");
        let key = UnboundCipherKey::new(&DES_EDE3_FOR_LEGACY_USE_ONLY, &key)
            .map_err(|_| PkiError::Cipher)?;
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
    pub(super) fn mac(&self, contents: &[u8]) -> Result<Vec<u8>, PkiError> {
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
        kdf(
            self.digest(),
            purpose,
            &password,
            salt,
            self.iterations(),
            length,
        )
    }

    fn digest(&self) -> &'static digest::Algorithm {
        match self.protection {
            Protection::Modern => &digest::SHA256,
            Protection::Legacy => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    /// A guess at the password costs this many rounds, by the MAC as well as by the key. Old
    /// importers are used to 2048.
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
    bytes
        .iter()
        .copied()
        .cycle()
        .take(bytes.len().next_multiple_of(block))
        .collect()
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

/// RFC 7292 §B.3
const KEY: u8 = 1;
const IV: u8 = 2;
const MAC: u8 = 3;

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
