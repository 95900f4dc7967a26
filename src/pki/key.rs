//! Private keys: made, read, and written as PKCS#8. Their bytes are overwritten when they are no
//! longer needed.

use std::fmt;

use rcgen::{
    KeyPair, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SignatureAlgorithm, SigningKey,
    SubjectPublicKeyInfo,
};
use zeroize::{Zeroize, Zeroizing};

use crate::pki::PkiError;
use crate::x509::base64;
use crate::x509::pem::{self, Section};

/// Kinds of keys that can be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on the curve P-256, which everything understands and which is quick.
    #[default]
    P256,
    /// RSA with 3072 bits, for peers that know nothing else.
    Rsa3072,
}

/// A private key. `Debug` shows nothing of it, and its encoding is overwritten when it is dropped.
pub struct Key(KeyPair);

impl Key {
    /// A new one.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn generate(kind: KeyKind) -> Result<Self, PkiError> {
        Ok(Self(match kind {
            KeyKind::P256 => KeyPair::generate()?,
            KeyKind::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072)?,
        }))
    }

    /// The one private key of a file, PEM or DER: PKCS#8, or the older forms of RSA and EC keys.
    ///
    /// # Errors
    ///
    /// When there is none, more than one, or one that cannot be used.
    pub fn load(bytes: &[u8]) -> Result<Self, PkiError> {
        let der = key_of(bytes)?;
        KeyPair::try_from(&*der)
            .map(Self)
            .map_err(|_| PkiError::UnsupportedKey)
    }

    /// PKCS#8 as PEM. Only for keys that were generated here: one that was loaded is written as it
    /// was read.
    #[must_use]
    pub fn pem(&self) -> Zeroizing<String> {
        base64::pem("PRIVATE KEY", self.0.serialized_der())
    }

    /// The public half, a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&self.0)
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

pub(super) fn is_rsa(algorithm: &SignatureAlgorithm) -> bool {
    *algorithm == PKCS_RSA_SHA256
}

/// The public key of another owner, as its SubjectPublicKeyInfo has it.
pub(super) fn public_key(spki: &[u8]) -> Result<SubjectPublicKeyInfo, PkiError> {
    SubjectPublicKeyInfo::from_der(spki).map_err(|_| PkiError::UnsupportedKey)
}

/// The one private key of a file.
pub(super) fn key_of(bytes: &[u8]) -> Result<pem::SecretKey, PkiError> {
    let mut found = None;
    for section in pem::sections(bytes).map_err(PkiError::KeyFile)? {
        match section {
            Section::Key(_) if found.is_some() => return Err(PkiError::SeveralKeys),
            Section::Key(key) => found = Some(key),
            Section::EncryptedKey => return Err(PkiError::EncryptedKey),
            _ => {}
        }
    }
    found.ok_or(PkiError::NoKey)
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn a_key_reads_what_it_has_written_and_shows_nothing_of_itself() {
        for kind in [KeyKind::P256, KeyKind::Rsa3072] {
            let key = Key::generate(kind).unwrap();
            let pem = key.pem();
            assert_eq!(
                Key::load(pem.as_bytes()).unwrap().public_key(),
                key.public_key()
            );
            assert!(
                pem.lines().all(|line| line.len() <= 64)
                    && pem.ends_with("-----END PRIVATE KEY-----\n")
            );
            let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
            assert_eq!(der.secret_der(), key.0.serialized_der());
            assert_eq!(
                Key::load(der.secret_der()).unwrap().public_key(),
                key.public_key()
            );
            assert_eq!(format!("{key:?}"), "Key { .. }");
            assert_eq!(
                is_rsa(PublicKeyData::algorithm(&key)),
                kind == KeyKind::Rsa3072
            );
        }
    }

    #[test]
    fn a_file_without_exactly_one_key_is_refused() {
        let key = Key::generate(KeyKind::P256).unwrap().pem();
        let twice = format!("{}{}", key.as_str(), key.as_str());
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for (text, expected) in [
            ("", "the file is empty"),
            ("# none", "there is no private key"),
            (&*twice, "more than one private key"),
            (&*encrypted, "is encrypted"),
            (
                "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
                "cannot be used",
            ),
        ] {
            let error = Key::load(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
