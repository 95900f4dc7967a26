//! Key identifiers, by which a certificate names its own key and that of its issuer.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

/// That of the issuer's key (RFC 5280 §4.2.1.1).
pub(crate) fn authority_key_identifier<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Option<&'a [u8]> {
    certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                identifier.key_identifier.as_ref().map(|id| id.0)
            }
            _ => None,
        })
}

/// That of the certificate's own key (RFC 5280 §4.2.1.2).
pub(crate) fn subject_key_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
            _ => None,
        })
}
