//! Authorities: made, read, and what they issue.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyUsagePurpose, PublicKeyData,
    SerialNumber, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use crate::pki::subject::distinguished_name;
use crate::pki::{
    CertificateUse, Key, KeyKind, PkiError, PublicKey, Subject, Validity, certificate_pem, key,
};
use crate::x509::pem;
use crate::x509::time::system_time;

/// A certificate authority and its key.
pub struct Authority {
    pub(super) issuer: Issuer<'static, Key>,
    pub(super) der: CertificateDer<'static>,
    validity: Validity,
    certificate: String,
    /// The certificates between this authority and its root, as PEM.
    chain: String,
}

/// A certificate and its key, for those that need no care: demonstrations and tests.
pub struct Issued {
    /// PEM: the certificate, then those of the intermediate authorities, if any.
    pub certificate: String,
    /// PEM: the private key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// A root with a P-256 key.
    ///
    /// # Errors
    ///
    /// When `common_name` cannot stand in a certificate.
    pub fn new(common_name: &str, validity: Validity) -> Result<Self, PkiError> {
        Self::root(
            common_name,
            validity,
            BasicConstraints::Unconstrained,
            Key::generate(KeyKind::P256)?,
        )
    }

    /// A root that issues certificates to servers and clients, and to no other authority (a path
    /// length of 0).
    ///
    /// # Errors
    ///
    /// When `common_name` cannot stand in a certificate.
    pub fn for_leaves(common_name: &str, validity: Validity, key: Key) -> Result<Self, PkiError> {
        Self::root(common_name, validity, BasicConstraints::Constrained(0), key)
    }

    fn root(
        name: &str,
        validity: Validity,
        limit: BasicConstraints,
        key: Key,
    ) -> Result<Self, PkiError> {
        let der = authority(name, validity, limit)?.self_signed(&key)?.into();
        Self::of(der, key, String::new())
    }

    /// An authority that this one vouches for.
    ///
    /// # Errors
    ///
    /// When `common_name` cannot stand in a certificate.
    pub fn intermediate(&self, common_name: &str, validity: Validity) -> Result<Self, PkiError> {
        let key = Key::generate(KeyKind::P256)?;
        let mut params = authority(common_name, validity, BasicConstraints::Unconstrained)?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = format!("{}{}", certificate.pem(), self.chain);
        Self::of(certificate.into(), key, chain)
    }

    /// The authority whose certificate, perhaps with those of its own issuers, and whose key are in
    /// these files.
    ///
    /// # Errors
    ///
    /// When either cannot be read, when they do not belong together, or when the certificate is not
    /// one of an authority.
    pub fn load(certificates: &[u8], key: &[u8]) -> Result<Self, PkiError> {
        let ders = pem::certificates(certificates)?;
        let key = Key::load(key)?;
        let parsed = parse_all(&ders);
        let public_key = key.public_key();
        let own = parsed
            .iter()
            .position(|certificate| certificate.public_key().raw == public_key);
        let own = own.ok_or(PkiError::Mismatch)?;
        if !may_issue(&parsed[own]) {
            return Err(PkiError::NotAnAuthority(
                crate::x509::identity::distinguished_name(parsed[own].subject()),
            ));
        }
        Self::of(ders[own].clone(), key, chain(own, &parsed, &ders))
    }

    fn of(der: CertificateDer<'static>, key: Key, chain: String) -> Result<Self, PkiError> {
        let parsed = pem::parse(&der).map_err(|_| PkiError::Unverifiable)?;
        let validity = Validity {
            not_before: system_time(parsed.validity().not_before),
            not_after: system_time(parsed.validity().not_after),
        };
        let certificate = certificate_pem(&der);
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&der, key)?,
            validity,
            certificate,
            chain,
            der,
        })
    }

    /// The authority's own certificate as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// When the authority itself is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The authority's private key as PEM, PKCS#8, if it was made here.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().pem().to_string()
    }

    /// A certificate for a server that is known by `names`: host names, wildcards and IP addresses.
    ///
    /// # Errors
    ///
    /// When one of the names cannot stand in a certificate.
    pub fn server(&self, names: &[&str], validity: Validity) -> Result<Issued, PkiError> {
        self.with_new_key(&Subject::server(names)?, CertificateUse::Server, validity)
    }

    /// A certificate for a client. Its only name is the common name of its subject.
    ///
    /// # Errors
    ///
    /// When `common_name` cannot stand in a certificate.
    pub fn client(&self, common_name: &str, validity: Validity) -> Result<Issued, PkiError> {
        self.with_new_key(
            &Subject::common_name(common_name),
            CertificateUse::Client,
            validity,
        )
    }

    fn with_new_key(
        &self,
        subject: &Subject,
        purpose: CertificateUse,
        validity: Validity,
    ) -> Result<Issued, PkiError> {
        let key = Key::generate(KeyKind::P256)?;
        let certificate = self.issue(subject, purpose, validity, &PublicKey::of(&key)?)?;
        Ok(Issued {
            certificate,
            key: key.pem().to_string(),
        })
    }

    /// A certificate for the owner of the private half of `key`, as PEM, followed by those of the
    /// intermediate authorities. Its dates are taken as they are: [`within`](Self::within) keeps
    /// them inside the authority's own.
    ///
    /// # Errors
    ///
    /// When a name cannot stand in a certificate, or when what was made does not verify.
    pub fn issue(
        &self,
        subject: &Subject,
        purpose: CertificateUse,
        validity: Validity,
        key: &PublicKey,
    ) -> Result<String, PkiError> {
        let mut params = subject.params()?;
        set_validity(&mut params, validity);
        params.serial_number = Some(serial_number()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        if key::is_rsa(key.0.algorithm()) {
            // What servers of old TLS do with an RSA key.
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = purpose.extended_key_usages();
        let certificate = params.signed_by(&key.0, &self.issuer)?;
        self.verify(certificate.der())?;
        Ok(certificate.pem() + &self.chain)
    }

    /// `days` days from now, and no longer than this authority is valid: `None` asks for `default`
    /// days or as many as there are.
    ///
    /// # Errors
    ///
    /// When the authority is not valid now, or when as many days as were asked for are not left.
    pub fn within(&self, days: Option<u64>, default: u64) -> Result<Validity, PkiError> {
        let now = SystemTime::now();
        if now < self.validity.not_before {
            return Err(PkiError::NotValid("it begins later"));
        }
        let Ok(left) = self.validity.not_after.duration_since(now) else {
            return Err(PkiError::NotValid("it has expired"));
        };
        let mut validity = Validity::days(days.unwrap_or(default));
        validity.not_before = validity.not_before.max(self.validity.not_before);
        if validity.not_after > self.validity.not_after {
            if days.is_some() {
                return Err(PkiError::Outlives {
                    days: left.as_secs() / 86400,
                });
            }
            validity.not_after = self.validity.not_after;
        }
        Ok(validity)
    }

    /// That others will see `certificate` as issued by this authority.
    fn verify(&self, certificate: &[u8]) -> Result<(), PkiError> {
        let own = pem::parse(&self.der).map_err(|_| PkiError::Unverifiable)?;
        let issued = pem::parse(certificate).map_err(|_| PkiError::Unverifiable)?;
        if is_issued_by(&issued, &own) {
            Ok(())
        } else {
            Err(PkiError::Unverifiable)
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Name and signature, without regard to dates.
pub(super) fn is_issued_by(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok()
}

/// RFC 5280 §4.2.1.9 and §4.2.1.3: a key usage that is absent forbids nothing.
pub(super) fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    let is_ca =
        matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    is_ca
        && certificate
            .key_usage()
            .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

/// The authority itself, unless it is a root, and its issuers among the others, as PEM.
fn chain(
    own: usize,
    certificates: &[X509Certificate<'_>],
    ders: &[CertificateDer<'static>],
) -> String {
    let mut chain = String::new();
    let mut used = vec![own];
    while let Some(&at) = used.last() {
        let last = &certificates[at];
        if last.issuer().as_raw() == last.subject().as_raw() {
            break;
        }
        chain.push_str(&certificate_pem(&ders[at]));
        let issuer = (0..certificates.len())
            .find(|next| !used.contains(next) && is_issued_by(last, &certificates[*next]));
        let Some(issuer) = issuer else { break };
        used.push(issuer);
    }
    chain
}

pub(super) fn parse_all<'a>(ders: &'a [CertificateDer<'static>]) -> Vec<X509Certificate<'a>> {
    ders.iter()
        .map(|der| pem::parse(der).expect("it was parsed when the file was read"))
        .collect()
}

fn authority(
    name: &str,
    validity: Validity,
    limit: BasicConstraints,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(name)?;
    set_validity(&mut params, validity);
    params.serial_number = Some(serial_number()?);
    params.is_ca = IsCa::Ca(limit);
    params
        .key_usages
        .extend([KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let date = |time: SystemTime| {
        date_time_ymd(1970, 1, 1) + time.duration_since(UNIX_EPOCH).unwrap_or_default()
    };
    params.not_before = date(validity.not_before);
    params.not_after = date(validity.not_after);
}

/// RFC 5280 §4.1.2.2: positive, and never used again by this authority. 126 random bits in 16 bytes
/// see to that.
fn serial_number() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| PkiError::NoRandom)?;
    // The first bit would be a sign, and a zero byte at the front would not be written.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_serial_number_is_positive_and_has_its_full_length() {
        for _ in 0..64 {
            let serial = serial_number().unwrap();
            assert_eq!(
                (serial.as_ref().len(), serial.as_ref()[0] & 0xc0),
                (16, 0x40),
                "{serial}"
            );
        }
    }

    #[test]
    fn what_is_issued_begins_shortly_before_now_and_not_before_its_authority() {
        let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
        let since = |not_before| {
            Authority::new(
                "ca",
                Validity {
                    not_before,
                    ..Validity::days(9)
                },
            )
            .unwrap()
        };
        let young = since(ago(1));
        assert_eq!(
            young.within(None, 1).unwrap().not_before,
            young.validity().not_before
        );
        assert!(since(ago(30 * 86400)).within(None, 1).unwrap().not_before > ago(2 * 86400));
    }

    #[test]
    fn who_may_issue_is_a_ca_to_both_of_its_extensions() {
        let key = Key::generate(KeyKind::P256).unwrap();
        let ca = || IsCa::Ca(BasicConstraints::Unconstrained);
        for (is_ca, usages, expected) in [
            (ca(), vec![KeyUsagePurpose::KeyCertSign], true),
            (ca(), vec![], true),
            (ca(), vec![KeyUsagePurpose::CrlSign], false),
            (
                IsCa::ExplicitNoCa,
                vec![KeyUsagePurpose::KeyCertSign],
                false,
            ),
            (IsCa::ExplicitNoCa, vec![], false),
            (IsCa::NoCa, vec![], false),
        ] {
            let mut params = CertificateParams::default();
            (params.is_ca, params.key_usages) = (is_ca, usages.clone());
            let der: CertificateDer<'static> = params.self_signed(&key).unwrap().into();
            assert_eq!(
                may_issue(&pem::parse(&der).unwrap()),
                expected,
                "{is_ca:?} {usages:?}"
            );
        }
    }

    #[test]
    fn the_chain_of_authorities_that_have_issued_each_other_has_an_end() {
        let [a, b] = ["a", "b"].map(|name| Authority::new(name, Validity::days(1)).unwrap());
        let by = |issuer: &Authority, name: &str, own: &Authority| {
            let params =
                authority(name, Validity::days(1), BasicConstraints::Unconstrained).unwrap();
            params
                .signed_by(own.issuer.key(), &issuer.issuer)
                .unwrap()
                .pem()
        };
        let both = by(&b, "a", &a) + &by(&a, "b", &b);
        let loaded = Authority::load(both.as_bytes(), a.key_pem().as_bytes()).unwrap();
        assert_eq!(loaded.chain, both);
    }
}
