//! Keeping of what was made for a configuration.
//!
//! Compiling a configuration writes nothing, so that `check` does not. The daemon that is going to
//! serve it keeps what was made.

use std::mem;
use std::sync::Arc;

use crate::config::load::Loaded;
use crate::config::model::SelfSignedState;
use crate::config::self_signed::{DIRECTORY, certificate_key, private_key_key, replaced};
use crate::storage::StorageError;

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

impl Loaded {
    /// Puts the self-signed certificates that were made for this configuration into its storage.
    /// What they replace stays beside them: clients may know it, and a clock that is wrong must not
    /// have the last word.
    ///
    /// # Errors
    ///
    /// When one cannot be written. The configuration should not be served then: at the next start
    /// it would have another certificate.
    pub fn keep(&mut self) -> Result<Vec<Made>, StorageError> {
        let mut made = Vec::new();
        let Some(config) = &mut self.config else {
            return Ok(made);
        };
        // What cannot be removed now can be the next time.
        let _ = config.storage.tidy_up(DIRECTORY);
        for (name, named) in &mut config.certificates {
            let Some(own) = &mut named.self_signed else {
                continue;
            };
            let SelfSignedState::New(new, reason) =
                mem::replace(&mut own.state, SelfSignedState::Kept)
            else {
                continue;
            };
            let (certificate, key) = (certificate_key(name), private_key_key(name));
            let storage = &config.storage;
            let set_aside = |key: &str| match storage.get(key)? {
                Some(before) => storage.put(&replaced(key), &before),
                None => Ok(()),
            };
            set_aside(&certificate)?;
            if let Some(new) = &new.key {
                set_aside(&key)?;
                storage.put(&key, new.as_bytes())?;
            }
            storage.put(&certificate, new.certificate.as_bytes())?;
            // What was written here is no change to react to.
            for path in [&named.cert_file, &named.key_file] {
                let _ = self.files.read(path);
            }
            made.push(Made {
                name: Arc::clone(name),
                fingerprint: named.certificate.fingerprint().to_owned(),
                reason,
            });
        }
        Ok(made)
    }
}
