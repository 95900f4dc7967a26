//! A certificate authority in memory, for demonstrations and tests: P-256 keys, everything as PEM.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// The certificate could not be made: a name is not one that a certificate can hold.
#[derive(Debug, thiserror::Error)]
#[error("cannot issue the certificate: {0}")]
pub struct PkiError(#[from] rcgen::Error);

/// When a certificate is valid. Times before 1970 are taken as 1970.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// `days` days from now; it begins an hour ago, for clocks that are late.
    #[must_use]
    pub fn days(days: u64) -> Self {
        let now = SystemTime::now();
        Self { not_before: now - Duration::from_secs(3600), not_after: now + Duration::from_secs(days * 86400) }
    }
}

/// A certificate authority and its key.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    certificate: String,
    /// The certificates between this authority and its root, as PEM.
    chain: String,
}

/// A certificate and its key.
pub struct Issued {
    /// PEM: the certificate, then those of the intermediate authorities, if any.
    pub certificate: String,
    /// PEM: the private key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// A root.
    ///
    /// # Errors
    ///
    /// When `common_name` cannot stand in a certificate.
    pub fn new(common_name: &str, validity: Validity) -> Result<Self, PkiError> {
        let issuer = CertifiedIssuer::self_signed(authority(common_name, validity), KeyPair::generate()?)?;
        Ok(Self { certificate: issuer.pem(), issuer, chain: String::new() })
    }

    /// An authority that this one vouches for.
    ///
    /// # Errors
    ///
    /// When `common_name` cannot stand in a certificate.
    pub fn intermediate(&self, common_name: &str, validity: Validity) -> Result<Self, PkiError> {
        let issuer = CertifiedIssuer::signed_by(authority(common_name, validity), KeyPair::generate()?, &self.issuer)?;
        let certificate = issuer.pem();
        Ok(Self { chain: format!("{certificate}{}", self.chain), certificate, issuer })
    }

    /// A list of the certificates of these serial numbers, as PEM, which has to be replaced when `validity` ends.
    ///
    /// # Errors
    ///
    /// When the list cannot be signed.
    pub fn revocation_list(&self, serials: &[Vec<u8>], validity: Validity) -> Result<String, PkiError> {
        let date = |time: SystemTime| date_time_ymd(1970, 1, 1) + time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let revoked = serials.iter().map(|serial| rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(serial),
            revocation_time: date(validity.not_before),
            reason_code: None,
            invalidity_date: None,
        });
        let params = rcgen::CertificateRevocationListParams {
            this_update: date(validity.not_before),
            next_update: date(validity.not_after),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    /// The authority's own certificate as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority's private key as PEM, PKCS#8.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for a server that is known by `names`: host names, wildcards and IP addresses.
    ///
    /// # Errors
    ///
    /// When one of the names cannot stand in a certificate.
    pub fn server(&self, names: &[&str], validity: Validity) -> Result<Issued, PkiError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone())?;
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        self.issue(params, names.first().map_or("", |name| name), validity)
    }

    /// A certificate for a client. Its only name is the common name of its subject.
    ///
    /// # Errors
    ///
    /// When `common_name` cannot stand in a certificate.
    pub fn client(&self, common_name: &str, validity: Validity) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.issue(params, common_name, validity)
    }

    fn issue(&self, mut params: CertificateParams, subject: &str, validity: Validity) -> Result<Issued, PkiError> {
        name(&mut params, subject, validity);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem() + &self.chain;
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

fn authority(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    name(&mut params, common_name, validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.extend([KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
    params
}

fn name(params: &mut CertificateParams, common_name: &str, validity: Validity) {
    let date = |time: SystemTime| date_time_ymd(1970, 1, 1) + time.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = date(validity.not_before);
    params.not_after = date(validity.not_after);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
}
