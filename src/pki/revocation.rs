//! Revocation lists (RFC 5280 §5): what was revoked stays revoked, and numbers only grow.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd,
};
use x509_parser::extensions::ParsedExtension;
use x509_parser::objects::oid2sn;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_CRL_NUMBER, OID_X509_EXT_INVALIDITY_DATE,
    OID_X509_EXT_REASON_CODE,
};
use x509_parser::prelude::{FromDer, X509Extension};
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};

use crate::pki::object::{self, Object};
use crate::pki::{Authority, PkiError, Validity, pem_block};
use crate::x509::der::significant;
use crate::x509::pem;

pub use rcgen::RevocationReason;

/// Every reason (RFC 5280 §5.3.1) that a full list can give, by the name that openssl also uses.
pub const REASONS: [(&str, RevocationReason); 9] = [
    ("unspecified", RevocationReason::Unspecified),
    ("keyCompromise", RevocationReason::KeyCompromise),
    ("CACompromise", RevocationReason::CaCompromise),
    ("affiliationChanged", RevocationReason::AffiliationChanged),
    ("superseded", RevocationReason::Superseded),
    (
        "cessationOfOperation",
        RevocationReason::CessationOfOperation,
    ),
    ("certificateHold", RevocationReason::CertificateHold),
    ("privilegeWithdrawn", RevocationReason::PrivilegeWithdrawn),
    ("AACompromise", RevocationReason::AaCompromise),
];

/// The certificates of an authority that are not to be accepted any more.
#[derive(Debug, Default)]
pub struct RevocationList {
    revoked: Vec<RevokedCertParams>,
    /// That of the list which this one continues, big-endian.
    number: Option<Vec<u8>>,
}

impl RevocationList {
    /// Loads a list of `authority`, PEM or DER.
    ///
    /// # Errors
    ///
    /// When there is not exactly one list, when the authority has not signed it, or when it has
    /// something that would be lost if it were written again.
    pub fn load(bytes: &[u8], authority: &Authority) -> Result<Self, PkiError> {
        let mut lists = Vec::new();
        for object in object::read(bytes)? {
            match object {
                Object::RevocationList(list) => lists.push(list.der),
                Object::Broken(..) => {
                    return Err(PkiError::RevocationList("it cannot be read".to_owned()));
                }
                _ => {}
            }
        }
        let [der] = lists.as_slice() else {
            return Err(PkiError::RevocationList(format!(
                "there are {} lists in the file",
                lists.len()
            )));
        };
        let (_, list) =
            CertificateRevocationList::from_der(der).expect("it was parsed when the file was read");
        let own = pem::parse(&authority.der).map_err(|_| PkiError::Unverifiable)?;
        if list.issuer().as_raw() != own.subject().as_raw()
            || list.verify_signature(own.public_key()).is_err()
        {
            return Err(PkiError::RevocationList(
                "it was not signed by this CA".to_owned(),
            ));
        }
        only(
            list.extensions(),
            &[
                OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
                OID_X509_EXT_CRL_NUMBER,
            ],
        )?;
        let revoked = list
            .iter_revoked_certificates()
            .map(entry)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            revoked,
            number: list.crl_number().map(|number| number.to_bytes_be()),
        })
    }

    /// How many certificates are revoked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    /// Revokes a certificate by its serial number, now. One that is revoked already stays so since
    /// when it was, for the reason that it was: `false`.
    pub fn revoke(&mut self, serial: &[u8], reason: Option<RevocationReason>) -> bool {
        if self
            .revoked
            .iter()
            .any(|revoked| revoked.serial_number.as_ref() == serial)
        {
            return false;
        }
        self.revoked.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date_time_ymd(1970, 1, 1) + since_1970(SystemTime::now()),
            reason_code: reason,
            invalidity_date: None,
        });
        true
    }

    /// The list as PEM, signed, to be replaced when `validity` ends.
    ///
    /// Its number is one more than that of the list it continues. The first is the time in seconds,
    /// so that a list which begins anew because the old one was lost is still newer than it.
    ///
    /// # Errors
    ///
    /// When the authority may not sign lists.
    pub fn sign(&self, authority: &Authority, validity: Validity) -> Result<String, PkiError> {
        let now = SystemTime::now();
        let date = |time: SystemTime| date_time_ymd(1970, 1, 1) + since_1970(time);
        let params = CertificateRevocationListParams {
            this_update: date(validity.not_before),
            next_update: date(validity.not_after),
            crl_number: SerialNumber::from_slice(&match &self.number {
                Some(number) => one_more(number),
                None => since_1970(now).as_secs().to_be_bytes().to_vec(),
            }),
            issuing_distribution_point: None,
            revoked_certs: self.revoked.clone(),
            key_identifier_method: match authority.key_identifier() {
                Some(identifier) => KeyIdMethod::PreSpecified(identifier),
                None => KeyIdMethod::Sha256,
            },
        };
        let list = params.signed_by(&authority.issuer)?;
        let own = pem::parse(&authority.der).map_err(|_| PkiError::Unverifiable)?;
        let sound = CertificateRevocationList::from_der(list.der()).is_ok_and(|(_, list)| {
            list.issuer().as_raw() == own.subject().as_raw()
                && list.verify_signature(own.public_key()).is_ok()
        });
        if sound {
            Ok(pem_block("X509 CRL", list.der()))
        } else {
            Err(PkiError::Unverifiable)
        }
    }
}

impl Authority {
    /// The serial number of the first certificate of a file, PEM or DER, if this authority has
    /// issued it.
    ///
    /// # Errors
    ///
    /// When there is no certificate in the file, or it is not one of this authority's.
    pub fn serial_of(&self, bytes: &[u8]) -> Result<Vec<u8>, PkiError> {
        let certificates = pem::certificates(bytes)?;
        let certificate = pem::parse(&certificates[0]).map_err(|_| PkiError::NotIssuedHere)?;
        let own = pem::parse(&self.der).map_err(|_| PkiError::Unverifiable)?;
        if !super::is_issued_by(&certificate, &own) || certificates[0] == self.der {
            return Err(PkiError::NotIssuedHere);
        }
        Ok(significant(certificate.raw_serial()).to_vec())
    }

    /// RFC 5280 §4.2.1.2.
    fn key_identifier(&self) -> Option<Vec<u8>> {
        let own = pem::parse(&self.der).ok()?;
        own.iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
                _ => None,
            })
    }
}

/// A serial number as `openssl x509 -serial` and `pki inspect` write it: hexadecimal, perhaps with
/// colons. None is longer than 20 bytes (RFC 5280 §4.1.2.2).
#[must_use]
pub fn parse_serial(text: &str) -> Option<Vec<u8>> {
    let digits: String = text
        .strip_prefix("0x")
        .unwrap_or(text)
        .chars()
        .filter(|&c| c != ':')
        .collect();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let even = if digits.len().is_multiple_of(2) {
        digits
    } else {
        format!("0{digits}")
    };
    let bytes: Option<Vec<u8>> = (0..even.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&even[at..at + 2], 16).ok())
        .collect();
    let bytes = significant(&bytes?).to_vec();
    (bytes.len() <= 20).then_some(bytes)
}

fn entry(revoked: &RevokedCertificate<'_>) -> Result<RevokedCertParams, PkiError> {
    only(
        revoked.extensions(),
        &[OID_X509_EXT_REASON_CODE, OID_X509_EXT_INVALIDITY_DATE],
    )?;
    let reason = revoked.reason_code().map(|(_, code)| code.0);
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(significant(revoked.raw_serial())),
        revocation_time: revoked.revocation_date.to_datetime(),
        reason_code: REASONS
            .iter()
            .map(|(_, known)| *known)
            .find(|known| Some(*known as u8) == reason),
        invalidity_date: revoked
            .invalidity_date()
            .map(|(_, date)| date.to_datetime()),
    })
}

/// That a list, or an entry, has no extension but these, because others would be lost.
fn only(
    extensions: &[X509Extension<'_>],
    known: &[x509_parser::der_parser::Oid<'_>],
) -> Result<(), PkiError> {
    match extensions
        .iter()
        .find(|extension| !known.contains(&extension.oid))
    {
        None => Ok(()),
        Some(other) => {
            let name = oid2sn(&other.oid, x509_parser::objects::oid_registry())
                .map_or_else(|_| other.oid.to_id_string(), str::to_owned);
            Err(PkiError::RevocationList(format!(
                "it has an extension that would be lost: {name}"
            )))
        }
    }
}

fn since_1970(time: SystemTime) -> Duration {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // DER has no fractions of a second (RFC 5280 §4.1.2.5).
    Duration::from_secs(since.as_secs())
}

fn one_more(number: &[u8]) -> Vec<u8> {
    let mut next = number.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return next;
        }
    }
    next.insert(0, 1);
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Validity;

    #[test]
    fn a_serial_number_is_read_in_every_spelling() {
        for (text, expected) in [
            ("4A0F", Some(vec![0x4a, 0x0f])),
            ("4a:0f", Some(vec![0x4a, 0x0f])),
            ("0x4a0f", Some(vec![0x4a, 0x0f])),
            ("a0f", Some(vec![0x0a, 0x0f])),
            ("00004a", Some(vec![0x4a])),
            ("0", Some(vec![0])),
            ("", None),
            (":", None),
            ("4g", None),
            ("+4", None),
            ("web.pem", None),
            ("ä", None),
            (&"f".repeat(40), Some(vec![0xff; 20])),
            (&"f".repeat(42), None),
        ] {
            assert_eq!(parse_serial(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_number_grows_past_every_border() {
        for (number, next) in [
            (&[0][..], &[1][..]),
            (&[0xff], &[1, 0]),
            (&[1, 0xff, 0xff], &[2, 0, 0]),
            (&[], &[1]),
        ] {
            assert_eq!(one_more(number), next);
        }
    }

    #[test]
    fn a_list_keeps_what_the_one_before_it_says() {
        let authority = Authority::new("ca", Validity::days(1)).unwrap();
        let mut first = RevocationList::default();
        assert!(first.revoke(&[0x8a, 1], Some(RevocationReason::KeyCompromise)));
        assert!(!first.revoke(&[0x8a, 1], None));
        first.revoked[0].revocation_time = date_time_ymd(2026, 1, 2);
        first.revoked[0].invalidity_date = Some(date_time_ymd(2026, 1, 1));
        let first = first.sign(&authority, Validity::days(1)).unwrap();

        let mut second = RevocationList::load(first.as_bytes(), &authority).unwrap();
        assert!(!second.revoke(&[0x8a, 1], None) && second.revoke(&[2], None));
        let number = second.number.clone().unwrap();
        let second = RevocationList::load(
            second
                .sign(&authority, Validity::days(1))
                .unwrap()
                .as_bytes(),
            &authority,
        )
        .unwrap();
        assert_eq!(second.number, Some(one_more(&number)));
        let kept = &second.revoked[0];
        assert_eq!(kept.serial_number.as_ref(), [0x8a, 1]);
        assert_eq!(kept.reason_code, Some(RevocationReason::KeyCompromise));
        assert_eq!(kept.revocation_time, date_time_ymd(2026, 1, 2));
        assert_eq!(kept.invalidity_date, Some(date_time_ymd(2026, 1, 1)));
        assert_eq!(second.len(), 2);
    }

    #[test]
    fn a_list_of_another_authority_is_not_continued_even_if_it_has_the_same_name() {
        let [one, two] = ["ca"; 2].map(|name| Authority::new(name, Validity::days(1)).unwrap());
        let list = RevocationList::default()
            .sign(&one, Validity::days(1))
            .unwrap();
        assert!(
            RevocationList::load(list.as_bytes(), &one)
                .unwrap()
                .is_empty()
        );
        let error = RevocationList::load(list.as_bytes(), &two)
            .unwrap_err()
            .to_string();
        assert!(error.contains("not signed by this CA"), "{error}");
    }

    #[test]
    fn only_what_the_authority_has_issued_can_be_revoked_by_its_file() {
        let [one, two] = ["ca"; 2].map(|name| Authority::new(name, Validity::days(1)).unwrap());
        let issued = one.client("web", Validity::days(1)).unwrap().certificate;
        assert_eq!(one.serial_of(issued.as_bytes()).unwrap().len(), 16);
        assert!(matches!(
            two.serial_of(issued.as_bytes()),
            Err(PkiError::NotIssuedHere)
        ));
        assert!(matches!(
            one.serial_of(one.certificate().as_bytes()),
            Err(PkiError::NotIssuedHere)
        ));
    }
}
