//! Soundness of a certificate, where OpenSSL looks and the library does not: what cannot be read in
//! it, what stands in it twice, and what a CA of `ca_files` may vouch for.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{NSCertType, ParsedExtension};

use crate::x509::ca::CaCertificate;
use crate::x509::defects::{self, Defect};
use crate::x509::extensions::NETSCAPE_TYPE;
use crate::x509::path::{Flaw, Purpose, Who};

/// That every field of a certificate can be read, and stands there once (RFC 5280 §4.1.2.2, §4.2).
pub(super) fn readable(
    certificate: &X509Certificate<'_>,
    who: impl Fn() -> Who,
) -> Result<(), Flaw> {
    if let Some(defect @ Defect::Serial(_)) = defects::serial(certificate.raw_serial()) {
        return Err(Flaw::Defect(who(), defect));
    }
    let extensions = certificate.extensions();
    for (at, extension) in extensions.iter().enumerate() {
        let name = || defects::name(&extension.oid.to_id_string());
        if extensions[..at]
            .iter()
            .any(|other| other.oid == extension.oid)
        {
            return Err(Flaw::Defect(
                who(),
                Defect::Twice {
                    name: name(),
                    all: true,
                },
            ));
        }
        if matches!(
            extension.parsed_extension(),
            ParsedExtension::ParseError { .. }
        ) && is_read(extension)
        {
            return Err(Flaw::Defect(who(), Defect::Extension(name())));
        }
    }
    Ok(())
}

/// Whether OpenSSL reads the extension before it believes anything of a certificate: identifiers of
/// keys, and the type.
fn is_read(extension: &x509_parser::extensions::X509Extension<'_>) -> bool {
    ["2.5.29.14", "2.5.29.35", NETSCAPE_TYPE].contains(&&*extension.oid.to_id_string())
}

/// Netscape's certificate type of the peer's own.
pub(super) fn netscape_type(leaf: &X509Certificate<'_>, purpose: Purpose) -> Result<(), Flaw> {
    let kind = leaf
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::NSCertType(kind) => Some(*kind),
            _ => None,
        });
    let fits = |kind: NSCertType| match purpose {
        Purpose::Client => kind.ssl_client(),
        Purpose::Server => kind.ssl_server(),
    };
    if kind.is_none_or(fits) {
        Ok(())
    } else {
        Err(Flaw::NetscapeType)
    }
}

impl CaCertificate {
    /// That it may vouch for peers of this kind: RFC 5280 leaves that to the peer that trusts it,
    /// OpenSSL and Go ask it.
    pub(crate) fn vouches(&self, purpose: Purpose) -> Result<(), Flaw> {
        let who = || Who::Root(self.subject().to_owned());
        if let Some(oid) = self.critical() {
            return Err(Flaw::Critical(who(), oid.to_owned()));
        }
        let fits = self
            .purposes()
            .is_none_or(|(client, server)| match purpose {
                Purpose::Client => client,
                Purpose::Server => server,
            });
        if fits {
            Ok(())
        } else {
            Err(Flaw::Purpose(who()))
        }
    }
}
