//! Certificates that snigate makes itself: what of them is not in the storage yet, and putting it
//! there.
//!
//! Compiling a configuration writes nothing, so that `check` does not. The daemon that is going to
//! serve it keeps what was made.

use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{Config, Loaded, NamedCertificate};
use crate::storage::StorageError;
use crate::tls::{SelfSigned, renew_at};

/// The facts of a self-signed certificate beside itself.
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
    /// Nowhere yet. It takes the place of another one for this reason, if there is one. Without a
    /// key of its own it has that of the other one.
    New(SelfSigned, Option<String>),
}

impl SelfSignedCertificate {
    /// The names that it is for, sorted.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl NamedCertificate {
    /// Whether it is a self-signed one that is in the storage only when the daemon that serves it
    /// has [kept](Loaded::keep) it. Until then it is another one each time the configuration is
    /// loaded.
    #[must_use]
    pub fn is_to_be_made(&self) -> bool {
        self.self_signed
            .as_ref()
            .is_some_and(|own| matches!(own.state, State::New(..)))
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
        self.certificates
            .iter()
            .filter(|(_, named)| named.self_signed.is_some())
    }

    /// When to load the configuration again because a self-signed certificate nears its end, if
    /// there is one.
    #[must_use]
    pub fn renew_at(&self) -> Option<SystemTime> {
        self.self_signed()
            .map(|(_, named)| renew_at(&named.certificate))
            .min()
    }
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
            let State::New(new, reason) = mem::replace(&mut own.state, State::Kept) else {
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

/// Where they are in the storage.
const DIRECTORY: &str = "self-signed";

/// Where the certificate of this table is in the storage.
pub(super) fn certificate_key(name: &str) -> String {
    format!("{DIRECTORY}/{name}.pem")
}

/// Where its private key is.
pub(super) fn private_key_key(name: &str) -> String {
    format!("{DIRECTORY}/{name}.key")
}

/// Where the one is that had this key before. No table can have a certificate or a key of that
/// name.
pub(super) fn replaced(key: &str) -> String {
    format!("{key}.old")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::{Circumstances, load_in};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// The result of a start at this time, after it has kept what it made: the fingerprint, the
    /// key, and the warnings.
    fn start(dir: &Path, sni: &str, now: SystemTime) -> (String, Vec<u8>, String) {
        let text = format!(
            "[listeners.a]\nbind = \"127.0.0.1:0\"\n[storage]\ndir = \"state\"\n[certificates.lab]\nself_signed = true\n\
             [routes.a]\nsni = [{sni}]\naction = \"terminate\"\nupstream = \"127.0.0.1:1\"\n"
        );
        fs::write(dir.join("snigate.toml"), text).unwrap();
        let mut loaded = load_in(&dir.join("snigate.toml"), &Circumstances::at(now));
        loaded.keep().unwrap();
        let named = &loaded.config.as_ref().expect("it is sound").certificates["lab"];
        let key = fs::read(&named.key_file).unwrap();
        let diagnostics: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        (
            named.certificate.fingerprint().to_owned(),
            key,
            diagnostics.join("\n"),
        )
    }

    fn certificate(dir: &Path, name: &str) -> String {
        let path = dir.join("state/self-signed").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn a_clock_that_is_wrong_takes_away_no_certificate_that_clients_know() {
        let (dir, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let (first, key, said) = start(dir.path(), "\"a.example\"", now);
        assert_eq!(said, "");
        for (clock, when) in [
            (SystemTime::UNIX_EPOCH, "1970"),
            (now, "right"),
            (now - 400 * DAY, "a year ago"),
            (now + 70 * 365 * DAY, "in 70 years"),
            (now + 70 * 365 * DAY, "in 70 years, a second time"),
            (now, "right after that"),
            (now + DAY, "right the day after that"),
        ] {
            let (served, same_key, said) = start(dir.path(), "\"a.example\"", clock);
            assert_eq!(same_key, key, "the key goes on: {when}");
            let is_early = clock > now + 1000 * DAY;
            // A client whose clock is as wrong could not use the first one.
            assert_eq!(served != first, is_early, "{when}: {said}");
            let quiet = ["right", "in 70 years, a second time"].contains(&when);
            assert_eq!(said.is_empty(), quiet, "{when}: {said}");
        }
    }

    #[test]
    fn what_the_end_or_other_names_replace_stays_beside_it_and_the_key_goes_on() {
        let (dir, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let (_, key, _) = start(dir.path(), "\"a.example\"", now);
        let mut before = certificate(dir.path(), "lab.pem");
        for (sni, later, reason) in [
            ("\"a.example\"", 800, "it is valid until"),
            (
                "\"a.example\", \"b.example\"",
                801,
                "it is for a.example, and not for",
            ),
            ("\"a.example\", \"b.example\"", 1601, "it is valid until"),
        ] {
            let (_, same_key, said) = start(dir.path(), sni, now + later * DAY);
            assert!(said.contains(reason) && same_key == key, "{said}");
            assert_eq!(certificate(dir.path(), "lab.pem.old"), before, "{later}");
            before = certificate(dir.path(), "lab.pem");
        }
        // Without a key that can go on both are kept.
        fs::write(dir.path().join("state/self-signed/lab.key"), "no key").unwrap();
        let (_, other, _) = start(dir.path(), "\"a.example\"", now + 1602 * DAY);
        assert_ne!(other, key);
        assert_eq!(
            (
                certificate(dir.path(), "lab.pem.old"),
                certificate(dir.path(), "lab.key.old")
            ),
            (before, "no key".into())
        );
    }

    #[test]
    fn a_key_that_a_crash_left_half_written_is_removed_at_the_start() {
        let (dir, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let (first, _, _) = start(dir.path(), "\"a.example\"", now);
        let left = dir.path().join("state/self-signed/.0123456789abcdef.new");
        fs::write(&left, "half of a key").unwrap();
        assert_eq!(start(dir.path(), "\"a.example\"", now).0, first);
        assert!(!left.exists());
    }
}
