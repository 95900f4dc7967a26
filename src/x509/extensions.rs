//! Critical extensions of CAs.

use x509_parser::certificate::X509Certificate;

/// Netscape's certificate type, of before extendedKeyUsage.
pub(crate) const NETSCAPE_TYPE: &str = "2.16.840.1.113730.1.1";

/// Extensions of a CA that is trusted which are understood where they are critical, by OpenSSL,
/// too.
const UNDERSTOOD: [&str; 11] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.32",
    "2.5.29.33",
    "2.5.29.36",
    "2.5.29.37",
    "2.5.29.54",
    NETSCAPE_TYPE,
];

/// The first critical extension that is not understood of a CA that is trusted.
pub(crate) fn unknown_critical(certificate: &X509Certificate<'_>) -> Option<String> {
    let critical = certificate
        .extensions()
        .iter()
        .filter(|extension| extension.critical);
    critical
        .map(|extension| extension.oid.to_id_string())
        .find(|oid| !UNDERSTOOD.contains(&&**oid))
}
