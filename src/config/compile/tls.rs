//! Certificates, and the policies that `[tls]` tables make: everything that is read from other
//! files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::compile::access;
use crate::config::compile::chain::{Chain, Found};
use crate::config::compile::client_auth;
use crate::config::compile::door;
use crate::config::compile::materials::{RouteMaterials, TlsTable};
use crate::config::compile::reading::{read, read_key};
use crate::config::compile::report::Report;
use crate::config::compile::seen_by::{SeenBy, is_shown_to_servers};
use crate::config::compile::self_signed;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::file::{self, TlsVersion};
use crate::config::files::Files;
use crate::config::material::{Item, Pair};
use crate::config::model::{NamedCertificate, Tls};
use crate::config::read::{Merged, Sourced, beside};
use crate::name::Alpn;
use crate::storage::Storage;
use crate::tls::{AcceptorOptions, Certificate, CertificateError, MinVersion};
use crate::x509::{CaCertificate, date};

/// A certificate that ends within this share of its life is worth a warning, and at the earliest
/// this long before its end: what renews certificates has done so by then.
const SHARE: u32 = 4;
const ENDS_SOON: Duration = Duration::from_secs(30 * 24 * 3600);

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
            certificate(name, table, merged, files, &mut report)
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

fn certificate(
    name: &str,
    table: &Sourced<file::Certificate>,
    merged: &Merged,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<NamedCertificate> {
    let file::Certificate {
        cert_file,
        key_file,
        dir,
        self_signed: _,
        names,
    } = &table.value;
    if let Some(name) = names.as_ref().and_then(|names| names.0.first()) {
        let help = "remove it, or write `self_signed = true`: the certificate in the file has its own names";
        report.error(&name.span, "names has no effect here", help.to_owned());
    }
    let base = &table.source.path;
    let mut key_span = None;
    let (cert_file, key_file, span) = match (cert_file, key_file, dir) {
        (Some(cert), key, None) => {
            let cert_file = beside(base, cert);
            let key_file = key
                .as_ref()
                .map_or_else(|| cert_file.clone(), |key| beside(base, key));
            key_span = key.as_ref().map(|key| key.span.clone());
            (cert_file, key_file, cert.span.clone())
        }
        (None, None, Some(dir)) => {
            let path = beside(base, dir);
            (
                path.join("server.pem"),
                path.join("server-key.pem"),
                dir.span.clone(),
            )
        }
        (None, Some(_), None) => {
            let help = "add `cert_file = \"...\"`".to_owned();
            report.missing(
                report.table.clone(),
                &table.span,
                "key_file without cert_file",
                help,
            );
            return None;
        }
        (None, None, None) => {
            let help = "add `cert_file` and `key_file`, or `dir` with server.pem and server-key.pem, or `self_signed = true`";
            report.missing(
                report.table.clone(),
                &table.span,
                "no certificate is named",
                help.to_owned(),
            );
            return None;
        }
        (_, _, Some(dir)) => {
            report.error(
                &dir.span,
                "dir stands beside cert_file or key_file",
                "give one or the other".to_owned(),
            );
            return None;
        }
    };
    let spans = (span.clone(), key_span.unwrap_or(span));
    let running = files.running.pair(name, &cert_file, &key_file).cloned();
    let item = Item::Certificate(name.into());
    let taken = door::take(
        &item,
        &[&cert_file, &key_file],
        running,
        (&mut *files, report),
        |files, report| {
            let dir = dir.as_ref().map(|dir| beside(base, dir));
            pair(
                (&cert_file, &key_file, dir.as_deref()),
                &spans,
                (name, merged),
                files,
                report,
            )
        },
    );
    let taken = taken?.get().clone();
    files
        .materials
        .certificates
        .insert(name.into(), taken.clone());
    let Pair {
        certificate,
        later,
        cert_file,
        key_file,
    } = taken;
    Some(NamedCertificate {
        certificate,
        later,
        cert_file,
        key_file,
        self_signed: None,
        stands_back: false,
    })
}

/// The certificate and the key in these files, the directory of which is named or not.
fn pair(
    (cert_file, key_file, dir): (&Path, &Path, Option<&Path>),
    (span, key_span): &(Range<usize>, Range<usize>),
    (name, merged): (&str, &Merged),
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<Pair> {
    let own_key = key_file != cert_file;
    let (cert, key) = (
        read(cert_file, span, files, report),
        read_key(key_file, key_span, files, report),
    );
    let now = SystemTime::now();
    let mut certificates = match Certificate::load_all(cert.as_ref()?, key.as_ref()?, now) {
        Ok(certificates) => certificates.into_iter(),
        Err(error) => {
            let pair = if cert_file == key_file {
                cert_file.display().to_string()
            } else {
                format!("{} with {}", cert_file.display(), key_file.display())
            };
            let unsettled = error == CertificateError::Mismatch;
            let severity = if unsettled {
                Severity::Unsettled
            } else {
                Severity::Error
            };
            let is_key = !matches!(error, CertificateError::Certificates(_));
            let help = if key_file == cert_file && is_key {
                Some(
                    "add `key_file = \"...\"`: without it the key is looked for in cert_file"
                        .to_owned(),
                )
            } else {
                unsettled.then(|| {
                    "give the key that the certificate was requested with; the two belong together if `openssl x509 -in \
                     CERT -noout -pubkey` and `openssl pkey -in KEY -pubout` print the same"
                        .to_owned()
                })
            };
            let is_swapped = own_key && Certificate::load_all(&key?, &cert?, now).is_ok();
            let help = if is_swapped {
                Some("the two are swapped: give each the other's file".to_owned())
            } else {
                help
            };
            let message = format_args!("{pair}: {error}");
            if key_file == cert_file && is_key && !unsettled {
                report.missing(
                    format!("{}.key_file", report.table),
                    key_span,
                    message,
                    help,
                );
            } else {
                report.push(
                    severity,
                    if is_key { key_span } else { span },
                    message,
                    help,
                );
            }
            return None;
        }
    };
    if own_key {
        access::judge(key_file, key_span, report);
    }
    let certificate = certificates.next()?;
    let seen_by = SeenBy::of(name, merged, &certificate);
    // Servers know a client by any part of its certificate.
    let shown_to_servers = is_shown_to_servers(name, merged);
    for issue in certificate
        .issues()
        .iter()
        .filter(|issue| !(shown_to_servers && issue.is_of_servers()))
    {
        let severity = if issue.is_fatal() {
            seen_by.refused()
        } else {
            Severity::Warning
        };
        report.push(
            severity,
            span,
            format_args!("{}: {issue}", cert_file.display()),
            None,
        );
    }
    lint_dates(&certificate, seen_by, now, (cert_file, span), report);
    if let Some(dir) = dir {
        lint_issuer(&dir.join("ca.crt"), &certificate, span, files, report);
    }
    let (certificate, later) = (Arc::new(certificate), certificates.map(Arc::new).collect());
    Some(Pair {
        certificate,
        later,
        cert_file: cert_file.to_owned(),
        key_file: key_file.to_owned(),
    })
}

fn lint_dates(
    certificate: &Certificate,
    seen_by: SeenBy,
    now: SystemTime,
    (path, span): (&Path, &Range<usize>),
    report: &mut Report<'_>,
) {
    let path = path.display();
    if certificate.not_after() < now {
        let message = format!(
            "{path}: the certificate has expired on {}",
            date(certificate.not_after())
        );
        report.push(
            seen_by.refused(),
            span,
            message,
            seen_by.renewal().to_owned(),
        );
    } else if certificate.has_begun(now) && certificate.not_after() < now + margin(certificate) {
        report.warning(
            span,
            format_args!(
                "{path}: the certificate expires on {}",
                date(certificate.not_after())
            ),
            None,
        );
    }
}

/// How long before its end a certificate is worth a warning: the last quarter of its life, and at
/// most thirty days.
fn margin(certificate: &Certificate) -> Duration {
    let life = certificate
        .not_after()
        .duration_since(certificate.not_before())
        .unwrap_or_default();
    ENDS_SOON.min(life / SHARE)
}

/// A directory may hold the CA that issued the certificate. It is not used, so what is wrong with
/// it is a warning.
fn lint_issuer(
    path: &Path,
    certificate: &Certificate,
    span: &Range<usize>,
    files: &mut Files,
    report: &mut Report<'_>,
) {
    let Ok(bytes) = files.read(path) else { return };
    match CaCertificate::parse_bundle(&bytes) {
        Err(error) => report.warning(span, format_args!("{}: {error}", path.display()), None),
        Ok(cas) if !certificate.verifies_against(&cas) => {
            let message = format!(
                "{}: server.pem does not verify against the CAs in it",
                path.display()
            );
            report.warning(
                span,
                message,
                "clients that trust only this CA will refuse the certificate".to_owned(),
            );
        }
        Ok(_) => {}
    }
}

fn policy(
    chain: &Chain<'_>,
    name: &str,
    files: &mut Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<TlsTable> {
    let mistakes = diagnostics.len();
    let table = format!("tls.{name}");
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
            table: table.clone(),
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
    let alpn = chain.nearest(|tls| tls.alpn.as_ref());
    let alpn: Vec<Alpn> = alpn.map_or_else(Vec::new, |Found { at, source, .. }| {
        Report {
            diagnostics,
            source,
            table,
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
