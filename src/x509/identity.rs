//! Identity in a certificate: from its DER to the texts that people and policies read.

use std::net::IpAddr;

use aws_lc_rs::digest;
use x509_parser::asn1_rs::{Oid, Tag, ToDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::authz::{AltName, Identity, push_printable};
use crate::x509::der;

/// The identity that the certificate `der` states. A certificate that cannot be read in whole
/// identifies no client: what was not understood might be the very name that a policy denies. The
/// error is the reason.
pub(crate) fn identity(der: &[u8]) -> Result<Identity, String> {
    let certificate = super::pem::parse(der)?;
    let unreadable = || "its subjectAltName cannot be read".to_owned();
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| unreadable())?;
    if names
        .as_ref()
        .is_some_and(|names| names.value.general_names.iter().any(is_unreadable))
    {
        return Err(unreadable());
    }
    // The library stops at the end of the sequence; what stands behind it would not be seen.
    let san = certificate
        .extensions()
        .iter()
        .find(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME);
    if san.is_some_and(|extension| der::only(extension.value, der::SEQUENCE).is_none()) {
        return Err(unreadable());
    }
    let subject = certificate.subject();
    let serial = certificate.raw_serial();
    let leading_zeros = serial
        .iter()
        .take(serial.len().saturating_sub(1))
        .take_while(|&&byte| byte == 0)
        .count();
    Ok(Identity {
        subject: distinguished_name(subject),
        issuer: distinguished_name(certificate.issuer()),
        common_names: texts(subject.iter_common_name())?,
        organizational_units: texts(subject.iter_organizational_unit())?,
        organizations: texts(subject.iter_organization())?,
        subject_emails: texts(subject.iter_email())?,
        names: names.map_or_else(Vec::new, |names| known_names(&names.value.general_names)),
        serial: hex(&serial[leading_zeros..]),
        fingerprint: fingerprint(der),
        spki_sha256: sha256(certificate.public_key().raw),
    })
}

/// The subjectAltNames that have a place in [`AltName`]. An extension that does not parse, or
/// stands twice, has none.
pub(crate) fn alt_names(certificate: &X509Certificate<'_>) -> Vec<AltName> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    known_names(&extension.value.general_names)
}

fn known_names(names: &[GeneralName<'_>]) -> Vec<AltName> {
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(AltName::Dns((*name).to_owned())),
        GeneralName::URI(uri) => Some(AltName::Uri((*uri).to_owned())),
        GeneralName::RFC822Name(address) => Some(AltName::Email((*address).to_owned())),
        GeneralName::IPAddress(bytes) => ip_address(bytes).map(AltName::Ip),
        GeneralName::OtherName(oid, value) if is_principal(oid) => {
            principal(value).map(AltName::Principal)
        }
        _ => None,
    };
    names.iter().filter_map(name).collect()
}

/// A name of a kind that policies speak of, in an encoding that none of them has: a mail address in
/// ISO 8859-1, say.
fn is_unreadable(name: &GeneralName<'_>) -> bool {
    const EMAIL_DNS_URI: [Tag; 3] = [Tag(1), Tag(2), Tag(6)];
    match name {
        GeneralName::Invalid(tag, _) => EMAIL_DNS_URI.contains(tag),
        GeneralName::IPAddress(bytes) => ip_address(bytes).is_none(),
        GeneralName::OtherName(oid, value) => is_principal(oid) && principal(value).is_none(),
        _ => false,
    }
}

/// szOID_NT_PRINCIPAL_NAME.
fn is_principal(oid: &Oid<'_>) -> bool {
    oid.to_id_string() == "1.3.6.1.4.1.311.20.2.3"
}

/// The text of a principal name: a UTF8String in `[0] EXPLICIT`.
fn principal(value: &[u8]) -> Option<String> {
    const UTF8_STRING: u8 = 0x0c;

    let value = der::only(value, 0xa0).unwrap_or(value);
    String::from_utf8(der::only(value, UTF8_STRING)?.to_vec()).ok()
}

/// The SHA-256 digest of a certificate in lower-case hexadecimal.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    hex(&sha256(der))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    digest
}

/// The texts of attributes, whatever string type (RFC 5280 §4.1.2.4) each of them has.
fn texts<'a>(
    attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> Result<Vec<String>, String> {
    let text = |attribute| {
        text(attribute).ok_or_else(|| "a name in its subject is of no known type".to_owned())
    };
    attributes.map(text).collect()
}

/// The text of an attribute, if it has a type of string that is known.
pub(crate) fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    if let Ok(text) = attribute.as_str() {
        return Some(text.to_owned());
    }
    let bytes = attribute.attr_value().data;
    match attribute.attr_value().tag() {
        Tag::BmpString if bytes.len() % 2 == 0 => {
            let units = bytes
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        Tag::UniversalString if bytes.len() % 4 == 0 => bytes
            .chunks_exact(4)
            .map(|four| char::from_u32(u32::from_be_bytes([four[0], four[1], four[2], four[3]])))
            .collect(),
        // Everybody who issues these means ISO 8859-1.
        Tag::TeletexString => Some(bytes.iter().copied().map(char::from).collect()),
        _ => None,
    }
}

/// A name as RFC 4514 writes it, the last part first, with unprintable characters escaped.
pub(crate) fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    let kind = oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
    match attribute.as_str() {
        Ok(text) => format!("{kind}={}", attribute_text(text)),
        // A string type that is not read as text is written as RFC 4514 §2.4 has it.
        Err(_) => format!(
            "{kind}=#{}",
            hex(&attribute.attr_value().to_der_vec().unwrap_or_default())
        ),
    }
}

/// RFC 4514 §2.4: what a reader could take for structure has a backslash before it.
fn attribute_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (position, c) in text.chars().enumerate() {
        let at_an_end = c == ' ' && (position == 0 || position == last);
        if at_an_end
            || (c == '#' && position == 0)
            || matches!(c, '"' | '+' | ',' | ';' | '<' | '>')
        {
            out.push('\\');
        }
        push_printable(&mut out, c);
    }
    out
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// In lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, KeyPair, SanType,
    };

    use super::*;

    #[test]
    fn an_identity_holds_every_kind_of_name_and_escapes_what_a_log_cannot_take() {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Smith, Sons + Co");
        params
            .distinguished_name
            .push(DnType::OrganizationalUnitName, " #1\nwarn: forged");
        params
            .distinguished_name
            .push(DnType::CommonName, "#wéb\u{202e} ");
        params.distinguished_name.push(
            DnType::CountryName,
            DnValue::BmpString("DE".try_into().unwrap()),
        );
        params
            .distinguished_name
            .push(DnType::CustomDnType(vec![2, 5, 4, 65]), "nym");
        params.subject_alt_names = vec![
            SanType::DnsName("web\n.example".try_into().unwrap()),
            SanType::URI("spiffe://example.net/web".try_into().unwrap()),
            SanType::Rfc822Name("a@example.net".try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::OtherName((
                vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3],
                "Bob@example.net".into(),
            )),
            // Of another kind, which no policy speaks of.
            SanType::OtherName((vec![1, 2, 3, 4], "mallory@example.net".into())),
        ];
        params.serial_number = Some(vec![0x00, 0x8a, 0x0b].into());
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();

        let identity = identity(certificate.der()).unwrap();
        let subject = r"2.5.4.65=nym,C=#1e0400440045,CN=\#wéb\e2\80\ae\ ,OU=\ #1\0awarn: forged,O=Smith\, Sons \+ Co";
        assert_eq!(identity.subject, subject);
        let names: Vec<String> = identity.names.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                r"dns:web\0a.example",
                "uri:spiffe://example.net/web",
                "email:a@example.net",
                "ip:192.0.2.1",
                "ip:2001:db8::1",
                "upn:Bob@example.net"
            ]
        );
        assert_eq!(identity.issuer, subject);
        assert_eq!(
            identity.common_names,
            ["#wéb\u{202e} "],
            "policies compare what is there"
        );
        assert_eq!(identity.organizational_units, [" #1\nwarn: forged"]);
        assert_eq!(identity.names[0], AltName::Dns("web\n.example".to_owned()));
        assert_eq!(identity.serial, "8a0b");
        assert_eq!(identity.fingerprint, fingerprint(certificate.der()));
        assert_eq!(identity.fingerprint.len(), 64);
    }

    #[test]
    fn a_principal_name_that_is_no_text_identifies_nobody() {
        let oid = [&[6, 10, 43, 6, 1, 4, 1, 130, 55, 20, 2, 3][..], &[0xa0, 3]].concat();
        for (value, readable) in [
            (&[12, 1, b'a'], true),
            (&[12, 1, 0xff], false),
            (&[2, 1, 1], false),
        ] {
            let name = [&oid[..], value].concat();
            let names = [&[0x30, 19, 0xa0, 17][..], &name].concat();
            let mut params = CertificateParams::default();
            params
                .custom_extensions
                .push(rcgen::CustomExtension::from_oid_content(
                    &[2, 5, 29, 17],
                    names,
                ));
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(identity(certificate.der()).is_ok(), readable, "{value:?}");
        }
    }

    #[test]
    fn a_common_name_is_read_in_every_type_of_string_that_issuers_use() {
        for value in [
            DnValue::Utf8String("böse".to_owned()),
            DnValue::BmpString("böse".try_into().unwrap()),
            DnValue::TeletexString("bose".try_into().unwrap()),
            DnValue::UniversalString("böse".try_into().unwrap()),
            DnValue::PrintableString("bose".try_into().unwrap()),
        ] {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::CommonName, value.clone());
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let identity = identity(certificate.der()).unwrap();
            assert_eq!(
                identity.common_names[0].replace('ö', "o"),
                "bose",
                "{value:?}"
            );
        }
    }

    #[test]
    fn the_digest_of_a_key_is_that_of_its_public_half_as_it_stands_in_the_certificate() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let expected = sha256(&rcgen::PublicKeyData::subject_public_key_info(&key));
        assert_eq!(identity(certificate.der()).unwrap().spki_sha256, expected);
    }

    #[test]
    fn a_certificate_whose_names_cannot_be_read_identifies_nobody() {
        for (content, twice) in [
            (&[0x30, 0x03, 0x82, 0x09, b'a'][..], false),
            (&[0x30, 0x03, 0x82, 0x01, b'a'], true),
            (&[0x30, 0x03, 0x81, 0x01, 0xfc], false),
            (&[0x30, 0x06, 0x82, 0x01, b'a', 0x82, 0x01, 0xfc], false),
            (&[0x30, 0x03, 0x86, 0x01, 0xfc], false),
            // An address of five bytes, and a name behind the sequence.
            (&[0x30, 0x07, 0x87, 0x05, 1, 2, 3, 4, 5], false),
            (&[0x30, 0x03, 0x82, 0x01, b'a', 0x82, 0x01, b'b'], false),
        ] {
            let mut params = CertificateParams::default();
            let names = || CustomExtension::from_oid_content(&[2, 5, 29, 17], content.to_vec());
            params.custom_extensions.push(names());
            if twice {
                params.custom_extensions.push(names());
            }
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert!(identity(certificate.der()).is_err(), "{content:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_identifies_nobody() {
        assert!(identity(b"").is_err());
        assert!(identity(b"\x30\x03\x02\x01\x00").is_err());
    }

    #[test]
    fn a_digest_is_lower_case_hexadecimal() {
        assert_eq!(
            fingerprint(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
