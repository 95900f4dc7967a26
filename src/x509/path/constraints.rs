//! Name constraints (RFC 5280 §4.2.1.10): which kinds there are, whom they hit, and what the
//! library leaves out.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, NameConstraints};
use x509_parser::prelude::FromDer;

use crate::x509::ca::CaCertificate;
use crate::x509::der::{self, DerReader};
use crate::x509::identity::text;
use crate::x509::path::{Flaw, Who};

/// The names of a subject that stand for what is bound: a common name for a DNS name, where there
/// is no other, and a mail address. The library looks at the subjectAltName only; OpenSSL looks
/// here, too.
pub(super) fn of_subject(
    leaf: &X509Certificate<'_>,
    issuers: &[X509Certificate<'_>],
    root: &CaCertificate,
) -> Result<(), Flaw> {
    let root_der = root.name_constraints();
    let root_constraints = root_der
        .as_deref()
        .and_then(|der| NameConstraints::from_der(der).ok());
    let root = root_constraints
        .iter()
        .map(|(_, found)| (Who::Root(root.subject().to_owned()), found));
    let own: Vec<_> = issuers
        .iter()
        .filter_map(|issuer| Some((Who::of(issuer), constraints(issuer)?)))
        .collect();
    for (who, found) in root.chain(own.iter().map(|(who, found)| (who.clone(), *found))) {
        let bases: Vec<_> = bases(found).collect();
        for certificate in std::iter::once(leaf).chain(issuers) {
            let mail = certificate.subject().iter_email().next().is_some();
            if mail
                && bases
                    .iter()
                    .any(|(base, _)| matches!(base, GeneralName::RFC822Name(_)))
            {
                return Err(Flaw::ConstraintKind(who, MAIL));
            }
        }
        if has_dns_name(leaf) {
            continue;
        }
        for name in leaf
            .subject()
            .iter_common_name()
            .filter_map(text)
            .filter(|name| is_host(name))
        {
            if !keeps(&name, &bases) {
                return Err(Flaw::Constraint(who, name));
            }
        }
    }
    Ok(())
}

pub(super) const MAIL: &str = "mail addresses";

/// The constraints of an authority.
pub(super) fn constraints<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Option<&'a NameConstraints<'a>> {
    certificate
        .name_constraints()
        .ok()
        .flatten()
        .map(|found| found.value)
}

/// Every base, and whether it is a permitted one.
pub(super) fn bases<'a>(
    found: &'a NameConstraints<'a>,
) -> impl Iterator<Item = (&'a GeneralName<'a>, bool)> {
    let permitted = found
        .permitted_subtrees
        .iter()
        .flatten()
        .map(|tree| (&tree.base, true));
    permitted.chain(
        found
            .excluded_subtrees
            .iter()
            .flatten()
            .map(|tree| (&tree.base, false)),
    )
}

/// Whether a host name keeps to those of `bases` that are DNS names.
pub(super) fn keeps(name: &str, bases: &[(&GeneralName<'_>, bool)]) -> bool {
    let within = |base: &str| {
        let (base, name) = (base.to_ascii_lowercase(), name.to_ascii_lowercase());
        let name = name.strip_suffix('.').unwrap_or(&name);
        // With a dot in front a base does not stand for itself.
        base.is_empty()
            || name.strip_suffix(&*base).is_some_and(|front| {
                if base.starts_with('.') {
                    !front.is_empty()
                } else {
                    front.is_empty() || front.ends_with('.')
                }
            })
    };
    let of = |is_permitted: bool| {
        bases
            .iter()
            .filter_map(move |(base, permitted)| match base {
                GeneralName::DNSName(base) if *permitted == is_permitted => Some(*base),
                _ => None,
            })
    };
    let permitted = of(true).next().is_none() || of(true).any(within);
    permitted && !of(false).any(within)
}

/// Why the library compares a DNS name with none, if it does not.
pub(super) fn odd(name: &str) -> Option<&'static str> {
    let (rest, is_wildcard) = name
        .strip_prefix("*.")
        .map_or((name, false), |rest| (rest, true));
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = rest.rsplit('.').next().unwrap_or_default();
    if name.is_empty() {
        Some("it is empty")
    } else if name.ends_with('.') {
        Some("it ends in a dot")
    } else if rest.contains('*') {
        Some("a wildcard is the whole first label")
    } else if is_wildcard && !rest.contains('.') {
        Some("a wildcard needs two labels behind it")
    } else if name.len() > 253
        || !rest.split('.').all(fits)
        || last.bytes().all(|byte| byte.is_ascii_digit())
    {
        Some("it is no host name")
    } else {
        None
    }
}

fn has_dns_name(certificate: &X509Certificate<'_>) -> bool {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.is_some_and(|names| {
        names
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(_)))
    })
}

/// Whether a common name can be meant as a host name: letters, digits, hyphens and dots, and at
/// least one dot.
fn is_host(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    name.contains('.') && name.chars().all(fits)
}

/// The extension of a trust anchor, from what the library keeps of it: with its SEQUENCE.
impl CaCertificate {
    fn name_constraints(&self) -> Option<Vec<u8>> {
        let content = self.anchor.name_constraints.as_ref()?;
        Some(crate::x509::signed::wrap(content.as_ref()))
    }
}

/// The kind of the first base that is not understood and that hits one of the names in `leaf` or
/// `issuers`.
pub(super) fn not_understood(
    found: &NameConstraints<'_>,
    leaf: &X509Certificate<'_>,
    issuers: &[X509Certificate<'_>],
) -> Option<&'static str> {
    let names: Vec<u8> = std::iter::once(leaf)
        .chain(issuers)
        .flat_map(kinds)
        .collect();
    bases(found).find_map(|(base, _)| match base {
        GeneralName::DirectoryName(_) => Some("directory names"),
        GeneralName::URI(_) if names.contains(&0x86) => Some("URIs"),
        GeneralName::RFC822Name(_) if names.contains(&0x81) => Some(MAIL),
        GeneralName::OtherName(..) if names.contains(&0xa0) => Some("other names (otherName)"),
        GeneralName::RegisteredID(_) if names.contains(&0x88) => Some("registered identifiers"),
        _ => None,
    })
}

/// The tags of the subjectAltNames.
fn kinds(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let extension = certificate
        .extensions()
        .iter()
        .find(|found| found.oid.to_id_string() == "2.5.29.17");
    let Some(names) = extension.and_then(|found| der::only(found.value, der::SEQUENCE)) else {
        return Vec::new();
    };
    let mut reader = DerReader(names);
    std::iter::from_fn(|| reader.next())
        .map(|name| name.tag)
        .collect()
}
