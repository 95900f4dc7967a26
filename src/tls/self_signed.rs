//! Self-signed certificates: clients know them by their fingerprint.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    date_time_ymd,
};
use zeroize::Zeroizing;

use crate::pki::{Key, KeyKind, PkiError};
use crate::tls::certificate::Certificate;

/// The longest life that clients of Apple accept of any server's certificate.
const LIFE: Duration = Duration::from_secs(825 * DAY);

/// An operator has this long to tell clients a new fingerprint before the old certificate ends.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * DAY);

const DAY: u64 = 24 * 3600;

/// A certificate that was just made. `Debug` shows it, never the key.
pub struct SelfSigned {
    /// PEM.
    pub certificate: String,
    /// PEM: the private key, PKCS#8, if it is new. It is overwritten when it is dropped.
    pub key: Option<Zeroizing<String>>,
}

impl SelfSigned {
    /// A certificate for `names` (host names, wildcards and IP addresses) with a new ECDSA key on
    /// P-256. It has begun an hour before `now`, for clocks that are late, and is good for 825 days
    /// from then.
    ///
    /// # Errors
    ///
    /// When one of the names cannot stand in a certificate.
    pub fn new(names: &[String], now: SystemTime) -> Result<Self, PkiError> {
        let key = Key::generate(KeyKind::P256)?;
        Ok(Self {
            certificate: certificate(names, &key, now)?,
            key: Some(key.pem()),
        })
    }

    /// The same with the one key of a file, which goes on: a client that knows the certificate by
    /// its key sees no change.
    ///
    /// # Errors
    ///
    /// Also when the file has no such key, or one that cannot be used.
    pub fn renew(names: &[String], key: &[u8], now: SystemTime) -> Result<Self, PkiError> {
        Ok(Self {
            certificate: certificate(names, &Key::load(key)?, now)?,
            key: None,
        })
    }
}

fn certificate(names: &[String], key: &Key, now: SystemTime) -> Result<String, PkiError> {
    let date = |time: SystemTime| {
        date_time_ymd(1970, 1, 1)
            + time
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
    };
    let mut params = CertificateParams::new(names)?;
    params.not_before = date(now - Duration::from_secs(3600));
    params.not_after = date(now + LIFE);
    params.distinguished_name = DistinguishedName::new();
    // RFC 5280 §A.1: a common name has at most 64 characters.
    let subject = names
        .first()
        .filter(|name| name.len() <= 64)
        .map_or("snigate", String::as_str);
    params.distinguished_name.push(DnType::CommonName, subject);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    params
        .extended_key_usages
        .push(ExtendedKeyUsagePurpose::ServerAuth);
    Ok(params.self_signed(key)?.pem())
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfSigned")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// When a self-signed certificate is replaced by a new one: thirty days before it ends.
#[must_use]
pub fn renew_at(certificate: &Certificate) -> SystemTime {
    certificate
        .not_after()
        .checked_sub(RENEW_BEFORE)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_certificate_is_for_its_names_now_and_until_long_after_it_is_replaced() {
        let names = ["a.example", "*.b.example", "192.0.2.1", "2001:db8::1"].map(str::to_owned);
        let now = SystemTime::now();
        let made = SelfSigned::new(&names, now).unwrap();
        let key = made.key.as_ref().unwrap();
        let certificate = Certificate::load(made.certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(certificate.issues(), []);
        assert!(certificate.covers(&"x.b.example".parse().unwrap()) && !certificate.is_rsa());
        assert!(certificate.covers_ip("2001:db8::1".parse().unwrap()));
        assert!(certificate.is_valid(now) && certificate.is_valid(now - Duration::from_secs(1800)));
        let renewed = renew_at(&certificate);
        assert!(
            now + Duration::from_secs(794 * DAY) < renewed
                && renewed < now + Duration::from_secs(796 * DAY)
        );
        assert_eq!(
            certificate.not_after(),
            renewed + Duration::from_secs(30 * DAY)
        );

        let [one, two] = [(); 2].map(|()| SelfSigned::new(&names, now).unwrap());
        assert!(one.key != two.key && one.certificate != two.certificate);
        assert!(SelfSigned::new(&["ä".to_owned()], now).is_err());
        let long = format!("{}.example", ["a".repeat(30).as_str(); 3].join("."));
        assert!(SelfSigned::new(&[long], now).is_ok());

        let later = now + Duration::from_secs(800 * DAY);
        let renewed = SelfSigned::renew(&names, key.as_bytes(), later).unwrap();
        assert!(renewed.key.is_none(), "the key goes on");
        let renewed = Certificate::load(renewed.certificate.as_bytes(), key.as_bytes()).unwrap();
        assert!(renewed.is_valid(later) && !renewed.has_begun(now));
        assert!(SelfSigned::renew(&names, b"", later).is_err());
    }

    #[test]
    fn openssl_reads_both_and_verifies_the_certificate_against_itself() {
        let made = SelfSigned::new(&["a.example".to_owned()], SystemTime::now()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.pem"), &made.certificate).unwrap();
        std::fs::write(dir.path().join("a.key"), made.key.unwrap().as_bytes()).unwrap();
        for (arguments, expected) in [
            (
                "verify -x509_strict -purpose sslserver -verify_hostname a.example -CAfile a.pem a.pem",
                "a.pem: OK",
            ),
            ("pkey -in a.key -noout -check", "Key is valid"),
        ] {
            let mut openssl = std::process::Command::new("openssl");
            let output = openssl
                .args(arguments.split(' '))
                .current_dir(dir.path())
                .output()
                .expect("openssl");
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(text.contains(expected), "{arguments}: {text}");
        }
    }
}
