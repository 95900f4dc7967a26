//! Certificates that snigate makes itself: what of them is not in the storage yet, and putting it there.
//!
//! Compiling a configuration writes nothing, so that `check` does not. Whoever is going to serve it keeps what was made.

use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{Config, Loaded, NamedCertificate};
use crate::storage::StorageError;
use crate::tls::{SelfSigned, renew_at};

/// What there is to know of a self-signed certificate beside itself.
#[derive(Debug)]
pub struct SelfSignedCertificate {
    pub(super) names: Vec<String>,
    pub(super) state: State,
}

/// Where a self-signed certificate is.
#[derive(Debug)]
pub(super) enum State {
    /// In the storage.
    Kept,
    /// Nowhere yet. It takes the place of another one for this reason, if there is one.
    New(SelfSigned, Option<String>),
}

impl SelfSignedCertificate {
    /// The names that it is for, sorted.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// A self-signed certificate that was made and is in the storage now.
#[derive(Debug)]
pub struct Made {
    /// The table.
    pub name: Arc<str>,
    /// The SHA-256 digest of the certificate in lower-case hexadecimal.
    pub fingerprint: String,
    /// Why the one that was there does not serve any more, if there was one.
    pub reason: Option<String>,
}

impl Config {
    /// The self-signed certificates, by name.
    pub fn self_signed(&self) -> impl Iterator<Item = (&Arc<str>, &NamedCertificate)> {
        self.certificates.iter().filter(|(_, named)| named.self_signed.is_some())
    }

    /// When to load the configuration again because a self-signed certificate nears its end, if there is one.
    #[must_use]
    pub fn renew_at(&self) -> Option<SystemTime> {
        self.self_signed().map(|(_, named)| renew_at(&named.certificate)).min()
    }
}

impl Loaded {
    /// Puts the self-signed certificates that were made for this configuration into its storage.
    ///
    /// # Errors
    ///
    /// When one cannot be written. The configuration should not be served then: at the next start it would have another
    /// certificate.
    pub fn keep(&mut self) -> Result<Vec<Made>, StorageError> {
        let mut made = Vec::new();
        let Some(config) = &mut self.config else { return Ok(made) };
        for (name, named) in &mut config.certificates {
            let Some(own) = &mut named.self_signed else { continue };
            let State::New(new, reason) = mem::replace(&mut own.state, State::Kept) else { continue };
            let (certificate, key) = (certificate_key(name), private_key_key(name));
            config.storage.put(&key, new.key.as_bytes())?;
            config.storage.put(&certificate, new.certificate.as_bytes())?;
            // What was written here is no change to react to.
            for path in [&named.cert_file, &named.key_file] {
                let _ = self.files.read(path);
            }
            made.push(Made { name: Arc::clone(name), fingerprint: named.certificate.fingerprint().to_owned(), reason });
        }
        Ok(made)
    }
}

/// Where the certificate of this table is in the storage.
pub(super) fn certificate_key(name: &str) -> String {
    format!("self-signed/{name}.pem")
}

/// Where its private key is.
pub(super) fn private_key_key(name: &str) -> String {
    format!("self-signed/{name}.key")
}
