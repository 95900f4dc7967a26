//! Distinguished names as issuers and subjects are compared (RFC 5280 §7.1): by their texts,
//! whatever the types of string that these are in.

use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::x509::identity::text;

/// Whether two names, each in DER with its SEQUENCE, are the same text: without regard to case, to
/// the number of spaces and to the type of string.
pub(crate) fn same_name(one: &[u8], other: &[u8]) -> bool {
    one == other || normal(one).is_some_and(|one| normal(other) == Some(one))
}

/// The parts of a name in order, each of them a set of attributes: identifier, type of value and
/// value.
type NameParts = Vec<Vec<(String, u32, Vec<u8>)>>;

fn normal(name: &[u8]) -> Option<NameParts> {
    /// No type of string has it.
    const TEXT: u32 = u32::MAX;

    let (rest, name) = X509Name::from_der(name).ok()?;
    let part = |part: &x509_parser::x509::RelativeDistinguishedName<'_>| {
        let mut attributes: Vec<_> = part
            .iter()
            .map(|attribute| {
                let oid = attribute.attr_type().to_id_string();
                match text(attribute) {
                    Some(text) => {
                        let words: Vec<String> =
                            text.split_whitespace().map(str::to_lowercase).collect();
                        (oid, TEXT, words.join(" ").into_bytes())
                    }
                    None => (
                        oid,
                        attribute.attr_value().tag().0,
                        attribute.attr_value().data.to_vec(),
                    ),
                }
            })
            .collect();
        attributes.sort();
        attributes
    };
    rest.is_empty().then(|| name.iter_rdn().map(part).collect())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn name(parts: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let parsed = crate::x509::pem::parse(certificate.der()).unwrap();
        parsed.subject().as_raw().to_vec()
    }

    #[test]
    fn names_are_the_same_if_their_texts_are_and_nothing_else_makes_them_so() {
        let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
        let cn = |value| (DnType::CommonName, value);
        let own = name(&[(DnType::OrganizationName, utf8("Shop")), cn(utf8("ca"))]);
        for (parts, expected) in [
            (
                vec![(DnType::OrganizationName, utf8("Shop")), cn(utf8("ca"))],
                true,
            ),
            (
                vec![
                    (
                        DnType::OrganizationName,
                        DnValue::PrintableString("Shop".try_into().unwrap()),
                    ),
                    cn(utf8("ca")),
                ],
                true,
            ),
            (
                vec![
                    (
                        DnType::OrganizationName,
                        DnValue::BmpString("Shop".try_into().unwrap()),
                    ),
                    cn(utf8("ca")),
                ],
                true,
            ),
            (
                vec![
                    (
                        DnType::OrganizationName,
                        DnValue::TeletexString("SHOP".try_into().unwrap()),
                    ),
                    cn(utf8(" ca ")),
                ],
                true,
            ),
            (
                vec![cn(utf8("ca")), (DnType::OrganizationName, utf8("Shop"))],
                false,
            ),
            (
                vec![
                    (DnType::OrganizationalUnitName, utf8("Shop")),
                    cn(utf8("ca")),
                ],
                false,
            ),
            (vec![(DnType::OrganizationName, utf8("Shop"))], false),
            (
                vec![(DnType::OrganizationName, utf8("Shop")), cn(utf8("c a"))],
                false,
            ),
            (vec![], false),
        ] {
            let other = name(&parts);
            assert_eq!(same_name(&own, &other), expected, "{parts:?}");
            assert_eq!(same_name(&other, &own), expected, "{parts:?}");
        }
        for cut in 0..own.len() {
            assert!(!same_name(&own, &own[..cut]) && !same_name(&own[..cut], &own));
        }
    }
}
