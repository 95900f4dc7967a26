//! Certificates, and the policies that `[tls]` tables make: everything that is read from other
//! files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::compile::certificate;
use crate::config::compile::chain::{Chain, Found};
use crate::config::compile::client_auth;
use crate::config::compile::materials::{RouteMaterials, TlsTable};
use crate::config::compile::report::Report;
use crate::config::compile::self_signed;
use crate::config::diagnostic::Diagnostic;
use crate::config::file::{self, TlsVersion};
use crate::config::files::Files;
use crate::config::model::Tls;
use crate::config::read::Merged;
use crate::name::Alpn;
use crate::storage::Storage;
use crate::tls::{AcceptorOptions, MinVersion};

pub(super) fn compile(
    merged: &Merged,
    storage: &Storage,
    files: &mut Files,
    now: SystemTime,
    diagnostics: &mut Vec<Diagnostic>,
) -> RouteMaterials {
    let mut certificates = BTreeMap::new();
    for (name, table) in &merged.certificates {
        let mut report = Report {
            diagnostics,
            source: &table.source,
            table: format!("certificates.{name}"),
        };
        let certificate = if table
            .value
            .self_signed
            .as_ref()
            .is_some_and(|own| own.value)
        {
            self_signed::compile(name, table, (merged, storage), files, now, &mut report)
        } else {
            certificate::compile(name, table, merged, files, &mut report)
        };
        if let Some(certificate) = certificate {
            certificates.insert(name.as_str().into(), certificate);
        }
    }
    let mut policies = BTreeMap::new();
    for (name, table) in &merged.tls {
        let mut report = Report {
            diagnostics,
            source: &table.source,
            table: format!("tls.{name}"),
        };
        let Some(chain) = Chain::of(name, table, merged, &mut report) else {
            continue;
        };
        if let Some(policy) = policy(&chain, name, files, diagnostics) {
            policies.insert(name.as_str().into(), policy);
        }
    }
    RouteMaterials {
        certificates,
        policies,
    }
}

fn policy(
    chain: &Chain<'_>,
    name: &str,
    files: &mut Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<TlsTable> {
    let mistakes = diagnostics.len();
    let (min_version, max_version) = versions(chain, name, diagnostics);
    let alpn = chain.nearest(|tls| tls.alpn.as_ref());
    let alpn: Vec<Alpn> = alpn.map_or_else(Vec::new, |Found { at, source, .. }| {
        Report {
            diagnostics,
            source,
            table: format!("tls.{name}"),
        }
        .parse_all("alpn", at)
    });
    let client_auth = client_auth::compile(chain, name, files, diagnostics);
    // Whatever went wrong, a policy must not come out of it that asks for less than was written.
    if diagnostics[mistakes..]
        .iter()
        .any(|diagnostic| diagnostic.severity.refuses())
    {
        return None;
    }
    let client_auth::Compiled {
        mode,
        ca_files,
        pins,
        crl_files,
        revocation,
        notices,
        on_revoke,
        policy,
        evidence,
        client_auth,
    } = client_auth;
    let alpn_shown = alpn.iter().map(Alpn::to_string).collect();
    let shown = Tls {
        min_version,
        max_version,
        spki_sha256: pins.keys,
        cert_files: pins.files,
        dates: pins.dates,
        alpn: alpn_shown,
        client_auth: mode,
        ca_files,
        crl_files,
        crl_depth: revocation.depth,
        crl_unknown: revocation.unknown,
        crl_expired: revocation.expired,
        on_revoke,
        policy,
        evidence: Arc::new(evidence),
    };
    let recallable = on_revoke == file::OnRevoke::Close;
    let min_version = match min_version {
        TlsVersion::Tls12 => MinVersion::Tls12,
        TlsVersion::Tls13 => MinVersion::Tls13,
    };
    Some(TlsTable {
        shown,
        options: AcceptorOptions {
            min_version,
            only_tls12: max_version == TlsVersion::Tls12,
            alpn,
            client_auth,
            recallable,
        },
        notices,
    })
}

/// The oldest and the newest version of TLS. The newest is reported where it is a mistake, or a
/// weakening that this table names.
fn versions(
    chain: &Chain<'_>,
    name: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> (TlsVersion, TlsVersion) {
    let min_version = chain
        .nearest(|tls| tls.min_version.as_ref())
        .map_or(TlsVersion::Tls12, |oldest| *oldest.at);
    let newest = chain.nearest(|tls| tls.max_version.as_ref());
    if let Some(Found { at, source, .. }) = newest
        .as_ref()
        .filter(|newest| newest.at.value == TlsVersion::Tls12)
    {
        let mut report = Report {
            diagnostics,
            source,
            table: format!("tls.{name}"),
        };
        if min_version == TlsVersion::Tls13 {
            let help = "remove one of them".to_owned();
            report.error(
                &at.span,
                "max_version is 1.2 and min_version 1.3: there is no version between them",
                help,
            );
        } else if chain.own().value.max_version.is_some() {
            let help = "that is a weakening for every client of the table: name it by those routes only whose clients need \
                it (RSA keys in smartcards and TPMs that cannot sign with RSA-PSS), or remove it";
            report.warning(
                &at.span,
                "max_version keeps clients from TLS 1.3",
                help.to_owned(),
            );
        }
    }
    let max_version = newest.map_or(TlsVersion::Tls13, |newest| newest.at.value);
    (min_version, max_version)
}
