//! Certificates whose time has not come.
//!
//! Where another certificate serves until then, there is nothing to do: the choice between them is
//! made anew for each client. Where nothing else covers a name, the certificate that runs is better
//! than the new one. If it is the one that runs, the clock is wrong, and whatever else is new
//! counts.

use std::sync::Arc;
use std::time::SystemTime;

use crate::authz::AltName;
use crate::config::compile::materials::RouteMaterials;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::files::Files;
use crate::config::material::Item;
use crate::config::model::{Action, Circumstances, Route};
use crate::config::read::Merged;
use crate::name::{NamePattern, ServerName};
use crate::tls::Certificate;
use crate::x509::date;

/// Reports each certificate that is not valid yet.
pub(super) fn judge(
    routes: &[Route],
    merged: &Merged,
    (materials, files): (&mut RouteMaterials, &Files),
    circumstances: &Circumstances,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let now = circumstances.now;
    let mut standing_back = Vec::new();
    for (name, named) in &materials.certificates {
        let certificate = &named.certificate;
        if certificate.has_begun(now) {
            continue;
        }
        let missed = routes
            .iter()
            .find_map(|route| missed(route, name, certificate, materials, now));
        let (severity, meanwhile) = match missed {
            // There is no older one that a reload could go on with, and no other program makes a
            // newer one.
            Some(_) if named.self_signed.is_some() => {
                (Severity::Warning, "and is served all the same".to_owned())
            }
            None => {
                standing_back.push(Arc::clone(name));
                (Severity::Warning, "until then it stands back".to_owned())
            }
            Some((route, missed)) => {
                let serving = circumstances
                    .serving
                    .get(name)
                    .map_or(&[][..], Vec::as_slice);
                let serves = serving
                    .iter()
                    .any(|sha256| **sha256 == *certificate.fingerprint());
                // Nothing would be gained by a refusal: it serves already, and what is beside it
                // may be a revocation.
                let severity = if serves {
                    Severity::Stale
                } else {
                    Severity::Premature
                };
                (
                    severity,
                    format!("and no other certificate of routes.{route} covers {missed}"),
                )
            }
        };
        let (path, begin, now) = (
            named.cert_file.display(),
            date(certificate.not_before()),
            date(now),
        );
        let message = format!(
            "certificates.{name}: {path}: the certificate is not valid before {begin}, {meanwhile}"
        );
        let place = &merged.certificates[&**name];
        let diagnostic = Diagnostic::new(severity, message).at(&place.source, &place.span);
        let runs = files
            .running
            .pair(name, &named.cert_file, &named.key_file)
            .is_some();
        let fault_of =
            (severity == Severity::Premature && runs).then(|| Item::Certificate(Arc::clone(name)));
        let diagnostic = diagnostic.help(format!("compare the clocks: it is {now} here"));
        diagnostics.push(Diagnostic {
            fault_of,
            ..diagnostic
        });
    }
    for name in standing_back {
        materials
            .certificates
            .entry(name)
            .and_modify(|named| named.stands_back = true);
    }
}

/// The route, if it uses the certificate, and a name for which it has no other one that is valid
/// now.
fn missed<'a>(
    route: &'a Route,
    name: &Arc<str>,
    certificate: &Certificate,
    materials: &RouteMaterials,
    now: SystemTime,
) -> Option<(&'a str, String)> {
    let Action::Terminate { certificates, .. } = &route.action else {
        return None;
    };
    if !certificates.contains(name) {
        return None;
    }
    let others = certificates
        .iter()
        .filter(|other| *other != name)
        .filter_map(|other| materials.certificates.get(other));
    let valid: Vec<&Certificate> = others
        .map(|other| &*other.certificate)
        .filter(|certificate| certificate.is_valid(now))
        .collect();
    let is_missed = |name: &&AltName| match name {
        AltName::Dns(text) => probe(text).is_some_and(|probe| {
            let taken = route
                .rule
                .names
                .iter()
                .any(|pattern| pattern.matches(&probe));
            taken && !valid.iter().any(|certificate| certificate.covers(&probe))
        }),
        AltName::Ip(ip) => {
            !route.rule.strict_sni && !valid.iter().any(|certificate| certificate.covers_ip(*ip))
        }
        _ => false,
    };
    let missed = certificate
        .names()
        .iter()
        .find(is_missed)
        .map(ToString::to_string);
    // A route that is not strict shows its first certificate to whom no certificate is for.
    let default =
        (!route.rule.strict_sni && valid.is_empty()).then(|| "clients without a name".to_owned());
    Some((&route.name, missed.or(default)?))
}

/// A name that only this name of a certificate, or the same one of another certificate, is for.
pub(super) fn probe(name: &str) -> Option<ServerName> {
    match name.parse().ok()? {
        NamePattern::Exact(name) => Some(name),
        NamePattern::Wildcard(suffix) => format!("any-name-at-all.{suffix}").parse().ok(),
        NamePattern::Below(_) | NamePattern::Any => None,
    }
}
