//! Faults of trusted CA certificates, and whose CA it is.

use std::time::SystemTime;

use thiserror::Error;

use crate::x509::ca::CaCertificate;
use crate::x509::chain::{
    Signature, is_self_issued, is_valid, lacks_cert_sign, says_ca, signature, unsupported_key,
};
use crate::x509::path::Purpose;
use crate::x509::pem;
use crate::x509::{
    key_identifier::authority_key_identifier, key_identifier::subject_key_identifier, time::date,
    time::system_time,
};

/// Something that is wrong with the certificate of a CA beside its dates and its kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthorityFault {
    /// Nothing is verified with its key.
    #[error(
        "has {0}, by which no signature is verified, so that nothing it has issued counts; the key of a CA is RSA (2048 to \
         8192 bits), P-256, P-384, P-521 or Ed25519"
    )]
    Key(String),
    /// It says that it has signed itself, and has not.
    #[error(
        "is damaged: its own signature does not verify with its key; fetch the certificate again"
    )]
    Damaged,
    /// RFC 5280 §4.2.1.3.
    #[error(
        "has a key usage without keyCertSign, so that other programs believe nothing that it has issued"
    )]
    NoCertSign,
    /// RFC 5280 §4.2.1.12: it is for peers of another kind.
    #[error(
        "has an extended key usage without {0}, so that nothing it has issued counts here; use its certificate with that, or \
         one without extendedKeyUsage"
    )]
    Purpose(&'static str),
    /// RFC 5280 §4.2.
    #[error(
        "has a critical extension that is not understood, {0}, so that nothing it has issued counts; use a certificate of it \
         without that, or not critical"
    )]
    Critical(String),
    /// Verification does not look at the dates of a trust anchor.
    #[error("is not valid before {0}; what it has issued is believed already")]
    Early(String),
}

impl AuthorityFault {
    /// Whether the CA cannot vouch for any peer.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Key(_) | Self::Damaged | Self::Purpose(_) | Self::Critical(_)
        )
    }
}

impl CaCertificate {
    /// Faults that its operator should know beside its [`issues`](Self::issues), at the time `now`,
    /// where it is trusted for peers of one kind or, without a `purpose`, for whatever it says.
    #[must_use]
    pub fn faults(&self, now: SystemTime, purpose: Option<Purpose>) -> Vec<AuthorityFault> {
        // It was parsed when the file was read.
        let Ok(certificate) = pem::parse(self.der()) else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        // One that is signed by an older key of its CA has the same name twice, too (RFC 4210
        // §4.4).
        let other_key = authority_key_identifier(&certificate)
            .is_some_and(|id| subject_key_identifier(&certificate).is_some_and(|own| own != id));
        if let Some(kind) = unsupported_key(&certificate) {
            faults.push(AuthorityFault::Key(kind));
        } else if is_self_issued(&certificate)
            && !other_key
            && signature(&certificate, &certificate) == Signature::Wrong
        {
            faults.push(AuthorityFault::Damaged);
        }
        // One that says not even that it is a CA has been told so.
        if says_ca(&certificate) && lacks_cert_sign(&certificate) {
            faults.push(AuthorityFault::NoCertSign);
        }
        let usage = match (purpose, self.purposes()) {
            (Some(Purpose::Client), Some((false, _))) => Some("clientAuth"),
            (Some(Purpose::Server), Some((_, false))) => Some("serverAuth"),
            _ => None,
        };
        faults.extend(usage.map(AuthorityFault::Purpose));
        faults.extend(
            self.critical()
                .map(|oid| AuthorityFault::Critical(oid.to_owned())),
        );
        let begin = system_time(certificate.validity().not_before);
        if begin > now && !is_valid(&certificate, now) {
            faults.push(AuthorityFault::Early(date(begin)));
        }
        faults
    }

    /// The organisation, if it is one that issues certificates to everybody.
    #[must_use]
    pub fn public_organisation(&self) -> Option<&'static str> {
        let subject = self.subject();
        let is_its = |name: &&&str| {
            subject.match_indices("O=").any(|(at, _)| {
                let begins = at == 0 || subject[..at].ends_with([',', '+']);
                let rest = subject[at + 2..].strip_prefix(**name);
                begins && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([',', '+']))
            })
        };
        PUBLIC.iter().find(is_its).copied()
    }
}

/// Organisations whose CAs browsers trust, as RFC 4514 writes them.
const PUBLIC: [&str; 52] = [
    "AC Camerfirma S.A.",
    "Actalis S.p.A./03358520967",
    "AffirmTrust",
    "Agence Nationale de Certification Electronique",
    "Amazon",
    "Asseco Data Systems S.A.",
    "Baltimore",
    "Buypass AS-983163327",
    "COMODO CA Limited",
    "Certainly",
    "Certplus",
    "Chunghwa Telecom Co.\\, Ltd.",
    "Cybertrust\\, Inc",
    "D-Trust GmbH",
    "Deutsche Telekom Security GmbH",
    "Dhimyotis",
    "DigiCert Inc",
    "DigiCert\\, Inc.",
    "Digital Signature Trust Co.",
    "Entrust\\, Inc.",
    "Entrust.net",
    "FNMT-RCM",
    "GeoTrust Inc.",
    "GlobalSign",
    "GlobalSign nv-sa",
    "GoDaddy.com\\, Inc.",
    "Google Trust Services",
    "Google Trust Services LLC",
    "Hellenic Academic and Research Institutions CA",
    "Hongkong Post",
    "IdenTrust",
    "Internet Security Research Group",
    "Let's Encrypt",
    "Microsec Ltd.",
    "NetLock Kft.",
    "Network Solutions L.L.C.",
    "QuoVadis Limited",
    "SECOM Trust Systems CO.\\,LTD.",
    "SSL Corporation",
    "Sectigo Limited",
    "SecureTrust Corporation",
    "Starfield Technologies\\, Inc.",
    "SwissSign AG",
    "T-Systems Enterprise Services GmbH",
    "TAIWAN-CA",
    "TeliaSonera",
    "The Go Daddy Group\\, Inc.",
    "The USERTRUST Network",
    "Trustwave Holdings\\, Inc.",
    "Unizeto Technologies S.A.",
    "VeriSign\\, Inc.",
    "ZeroSSL",
];
