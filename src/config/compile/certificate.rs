//! Certificates that `[certificates]` tables name, and their keys: which files they are, and what
//! there is to say about them before a client does.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::compile::access;
use crate::config::compile::door;
use crate::config::compile::reading::{read, read_key};
use crate::config::compile::report::Report;
use crate::config::compile::seen_by::{SeenBy, is_shown_to_servers};
use crate::config::diagnostic::Severity;
use crate::config::file;
use crate::config::files::Files;
use crate::config::material::{Item, Pair};
use crate::config::model::NamedCertificate;
use crate::config::read::{Merged, Sourced, beside};
use crate::tls::{Certificate, CertificateError};
use crate::x509::{CaCertificate, date};

/// A certificate that ends within this share of its life is worth a warning, and at the earliest
/// this long before its end: what renews certificates has done so by then.
const SHARE: u32 = 4;
const ENDS_SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// A certificate and its key from files; nothing after a mistake, which has been reported.
pub(super) fn compile(
    name: &str,
    table: &Sourced<file::Certificate>,
    merged: &Merged,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<NamedCertificate> {
    if let Some(name) = table.value.names.as_ref().and_then(|names| names.0.first()) {
        let help = "remove it, or write `self_signed = true`: the certificate in the file has its own names";
        report.error(&name.span, "names has no effect here", help.to_owned());
    }
    let paths = PairPaths::of(table, report)?;
    let PairPaths {
        cert_file,
        key_file,
        ..
    } = &paths;
    let running = files.running.pair(name, cert_file, key_file).cloned();
    let item = Item::Certificate(name.into());
    let taken = door::take(
        &item,
        &[cert_file, key_file],
        running,
        (&mut *files, report),
        |files, report| pair(&paths, (name, merged), files, report),
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

/// The files of a certificate and its key, and where they are named.
struct PairPaths<'a> {
    cert_file: PathBuf,
    key_file: PathBuf,
    /// The directory, where that is what is named.
    dir: Option<PathBuf>,
    span: &'a Range<usize>,
    key_span: &'a Range<usize>,
}

impl<'a> PairPaths<'a> {
    /// Those that `table` names. Nothing where it names none, or too many, which is reported.
    fn of(table: &'a Sourced<file::Certificate>, report: &mut Report<'_>) -> Option<Self> {
        let base = &table.source.path;
        let file::Certificate {
            cert_file,
            key_file,
            dir,
            ..
        } = &table.value;
        let (message, help) = match (cert_file, key_file, dir) {
            (Some(cert), key, None) => {
                let key = key.as_ref().unwrap_or(cert);
                return Some(Self {
                    cert_file: beside(base, cert),
                    key_file: beside(base, key),
                    dir: None,
                    span: &cert.span,
                    key_span: &key.span,
                });
            }
            (None, None, Some(dir)) => {
                let path = beside(base, dir);
                return Some(Self {
                    cert_file: path.join("server.pem"),
                    key_file: path.join("server-key.pem"),
                    dir: Some(path),
                    span: &dir.span,
                    key_span: &dir.span,
                });
            }
            (_, _, Some(dir)) => {
                report.error(
                    &dir.span,
                    "dir stands beside cert_file or key_file",
                    "give one or the other".to_owned(),
                );
                return None;
            }
            (None, Some(_), None) => ("key_file without cert_file", "add `cert_file = \"...\"`"),
            (None, None, None) => (
                "no certificate is named",
                "add `cert_file` and `key_file`, or `dir` with server.pem and server-key.pem, or `self_signed = true`",
            ),
        };
        report.missing(report.table.clone(), &table.span, message, help.to_owned());
        None
    }

    /// Whether the key has a file of its own.
    fn has_own_key(&self) -> bool {
        self.key_file != self.cert_file
    }
}

/// The certificate and the key in these files, and what there is to say about them.
fn pair(
    paths: &PairPaths<'_>,
    (name, merged): (&str, &Merged),
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<Pair> {
    let PairPaths {
        cert_file,
        key_file,
        dir,
        span,
        key_span,
    } = paths;
    let now = SystemTime::now();
    let mut certificates = load(paths, now, files, report)?.into_iter();
    if paths.has_own_key() {
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
        cert_file: cert_file.clone(),
        key_file: key_file.clone(),
    })
}

/// The certificates of the file, each of which has the key. Both files are read, whatever the first
/// is like.
fn load(
    paths: &PairPaths<'_>,
    now: SystemTime,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<Vec<Certificate>> {
    let cert = read(&paths.cert_file, paths.span, files, report);
    if cert.is_none() && !paths.has_own_key() {
        // The one file is told of once.
        return None;
    }
    let key = read_key(&paths.key_file, paths.key_span, files, report);
    let (cert, key) = (cert?, key?);
    match Certificate::load_all(&cert, &key, now) {
        Ok(certificates) => Some(certificates),
        Err(error) => {
            let is_swapped = paths.has_own_key() && Certificate::load_all(&key, &cert, now).is_ok();
            report_unusable(&error, is_swapped, paths, report);
            None
        }
    }
}

/// Reports a certificate and a key that cannot be used.
fn report_unusable(
    error: &CertificateError,
    is_swapped: bool,
    paths: &PairPaths<'_>,
    report: &mut Report<'_>,
) {
    let pair = if paths.has_own_key() {
        format!(
            "{} with {}",
            paths.cert_file.display(),
            paths.key_file.display()
        )
    } else {
        paths.cert_file.display().to_string()
    };
    let message = format_args!("{pair}: {error}");
    let is_unsettled = *error == CertificateError::Mismatch;
    let is_key = !matches!(error, CertificateError::Certificates(_));
    let lacks_key_file = is_key && !paths.has_own_key();
    let help = if is_swapped {
        Some("the two are swapped: give each the other's file")
    } else if lacks_key_file {
        Some("add `key_file = \"...\"`: without it the key is looked for in cert_file")
    } else if is_unsettled {
        Some(
            "give the key that the certificate was requested with; the two belong together if `openssl x509 -in \
             CERT -noout -pubkey` and `openssl pkey -in KEY -pubout` print the same",
        )
    } else {
        None
    };
    let help = help.map(str::to_owned);
    let span = if is_key { paths.key_span } else { paths.span };
    if is_unsettled {
        report.push(Severity::Unsettled, span, message, help);
    } else if lacks_key_file {
        report.missing(format!("{}.key_file", report.table), span, message, help);
    } else {
        report.error(span, message, help);
    }
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
