//! Clients that a `[tls]` table admits although its author may not have meant to.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::config::compile::report::Report;
use crate::config::file::ClientRules;
use crate::x509::CaCertificate;

/// Warns of CAs that issue certificates to everybody, where no list says who comes in.
pub(super) fn lint_public(
    authorities: &[CaCertificate],
    span: &Range<usize>,
    report: &mut Report<'_>,
) {
    let public: Vec<&str> = authorities
        .iter()
        .filter_map(CaCertificate::public_organisation)
        .collect();
    if public.is_empty() {
        return;
    }
    let names: BTreeSet<&str> = public.iter().copied().collect();
    let shown = names.iter().take(3).copied().collect::<Vec<_>>().join("; ");
    let more = if names.len() > 3 {
        format!(" and {} more", names.len() - 3)
    } else {
        String::new()
    };
    let message = format!(
        "client_auth.ca_files: {} of the {} CAs are public ones ({shown}{more}): every customer of theirs who has a \
         certificate for clients comes in",
        public.len(),
        authorities.len()
    );
    report.warning(
        span,
        message,
        "name your own CA alone, or say in `client_auth.allow` who comes in".to_owned(),
    );
}

/// Warns of serial numbers where there are several CAs: each of them counts for itself (RFC 5280
/// §4.1.2.2).
pub(super) fn lint_serials(
    key: &str,
    rules: &ClientRules,
    authorities: &[CaCertificate],
    report: &mut Report<'_>,
) {
    let Some(first) = rules.serial.as_ref().and_then(|list| list.0.first()) else {
        return;
    };
    let issuers: BTreeSet<&str> = authorities.iter().map(CaCertificate::subject).collect();
    if issuers.len() < 2 {
        return;
    }
    let fate = if key == "allow" { "lets in" } else { "refuses" };
    let message = format!(
        "client_auth.{key}.serial: a serial number is one of a single CA, and ca_files has {}: it {fate} the certificate of \
         this number of each of them",
        issuers.len()
    );
    report.warning(
        &first.span,
        message,
        "name the key by `spki_sha256` instead".to_owned(),
    );
}
