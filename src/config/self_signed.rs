//! Self-signed certificates that snigate makes: which a configuration has, and where they are kept.

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::model::{Config, NamedCertificate};
use crate::tls::renew_at;

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

/// Where they are in the storage.
pub(super) const DIRECTORY: &str = "self-signed";

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
    use crate::config::load::load_in;
    use crate::config::model::Circumstances;

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
