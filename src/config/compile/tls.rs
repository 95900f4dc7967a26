//! Certificates, and the policies that `[tls]` tables make: everything that is read from other files.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::config::compile::Report;
use crate::config::compile::authorities::{self, Usage};
use crate::config::compile::upstream_tls::is_shown_to_servers;
use crate::config::diagnostic::{Diagnostic, Severity, did_you_mean};
use crate::config::file::{self, ClientAuthMode, TlsVersion};
use crate::config::files::Files;
use crate::config::read::{In, Merged, beside};
use crate::config::{NamedCertificate, Tls};
use crate::name::Alpn;
use crate::tls::{CaCertificate, Certificate, CertificateError, CertificateIssue, ClientAuth, MinVersion, Options};

/// A certificate that ends sooner than this is worth a warning.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Clocks differ; a certificate that begins within this time has begun.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The `[tls]` table of a route that names none. It need not be defined.
pub(super) const DEFAULT_TLS: &str = "default";

/// A certificate among them that is no CA's would let its owner issue certificates that come in here, which was never meant.
const CLIENT_CAS: Usage = Usage { key: "client_auth.ca_files", not_ca: Severity::Error };

/// What routes that terminate are made of.
pub(super) struct Materials {
    pub(super) certificates: BTreeMap<Arc<str>, NamedCertificate>,
    pub(super) policies: BTreeMap<Arc<str>, Policy>,
}

/// A `[tls]` table: to read, and to use.
pub(super) struct Policy {
    pub(super) shown: Tls,
    pub(super) options: Options,
}

pub(super) fn compile(merged: &Merged, files: &mut Files, diagnostics: &mut Vec<Diagnostic>) -> Materials {
    let mut certificates = BTreeMap::new();
    for (name, table) in &merged.certificates {
        let mut report = Report { diagnostics, source: &table.source, table: format!("certificates.{name}") };
        let shown_to_servers = is_shown_to_servers(name, merged);
        if let Some(certificate) = certificate(table, shown_to_servers, files, &mut report) {
            certificates.insert(name.as_str().into(), certificate);
        }
    }
    let mut policies = BTreeMap::new();
    for (name, table) in &merged.tls {
        let mut report = Report { diagnostics, source: &table.source, table: format!("tls.{name}") };
        let Some(inherited) = inherit(name, table, merged, &mut report) else { continue };
        if let Some(policy) = policy(&inherited, name, files, diagnostics) {
            policies.insert(name.as_str().into(), policy);
        }
    }
    Materials { certificates, policies }
}

fn certificate(
    table: &In<file::Certificate>,
    shown_to_servers: bool,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<NamedCertificate> {
    let file::Certificate { cert_file, key_file, dir } = &table.value;
    let base = &table.source.path;
    let mut key_span = None;
    let (cert_file, key_file, span) = match (cert_file, key_file, dir) {
        (Some(cert), key, None) => {
            let cert_file = beside(base, cert);
            let key_file = key.as_ref().map_or_else(|| cert_file.clone(), |key| beside(base, key));
            key_span = key.as_ref().map(|key| key.span.clone());
            (cert_file, key_file, cert.span.clone())
        }
        (None, None, Some(dir)) => {
            let path = beside(base, dir);
            (path.join("server.pem"), path.join("server-key.pem"), dir.span.clone())
        }
        (None, Some(_), None) => {
            report.error(&table.span, "key_file without cert_file", "add `cert_file = \"...\"`".to_owned());
            return None;
        }
        (None, None, None) => {
            let help = "add `cert_file` and `key_file`, or `dir` with server.pem and server-key.pem";
            report.error(&table.span, "no certificate is named", help.to_owned());
            return None;
        }
        (_, _, Some(dir)) => {
            report.error(&dir.span, "dir stands beside cert_file or key_file", "give one or the other".to_owned());
            return None;
        }
    };
    let key_span = key_span.unwrap_or_else(|| span.clone());
    let (cert, key) = (read(&cert_file, &span, files, report), read(&key_file, &key_span, files, report));
    let certificate = match Certificate::load(&cert?, &key?) {
        Ok(certificate) => certificate,
        Err(error) => {
            let pair = if cert_file == key_file {
                cert_file.display().to_string()
            } else {
                format!("{} with {}", cert_file.display(), key_file.display())
            };
            let unsettled = error == CertificateError::Mismatch;
            let severity = if unsettled { Severity::Unsettled } else { Severity::Error };
            let is_key = !matches!(error, CertificateError::Certificates(_));
            let help = (key_file == cert_file && is_key)
                .then(|| "add `key_file = \"...\"`: without it the key is looked for in cert_file".to_owned());
            report.push(severity, if is_key { &key_span } else { &span }, format_args!("{pair}: {error}"), help);
            return None;
        }
    };
    for issue in certificate.issues() {
        // Servers know a client by any part of its certificate.
        if shown_to_servers && *issue == CertificateIssue::NoNames {
            continue;
        }
        report.warning(&span, format_args!("{}: {issue}", cert_file.display()), None);
    }
    judge_dates(&certificate, &cert_file, &span, report);
    if let Some(dir) = dir {
        judge_issuer(&beside(base, dir).join("ca.crt"), &certificate, &span, files, report);
    }
    Some(NamedCertificate { certificate: Arc::new(certificate), cert_file, key_file })
}

fn judge_dates(certificate: &Certificate, path: &Path, span: &Range<usize>, report: &mut Report<'_>) {
    let now = SystemTime::now();
    let path = path.display();
    if certificate.not_before() > now + CLOCK_SKEW {
        let message = format!("{path}: the certificate is not valid before {}", date(certificate.not_before()));
        report.push(Severity::Premature, span, message, "compare the clocks".to_owned());
    }
    if certificate.not_after() < now {
        let message = format!("{path}: the certificate has expired on {}", date(certificate.not_after()));
        report.push(Severity::Stale, span, message, "renew it; clients refuse it".to_owned());
    } else if certificate.not_after() < now + ENDS_SOON {
        report.warning(
            span,
            format_args!("{path}: the certificate expires on {}", date(certificate.not_after())),
            None,
        );
    }
}

fn date(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "a day beyond reckoning".to_owned(), |time| time.to_string())
}

/// A directory may hold the CA that issued the certificate. It is not used, so what is wrong with it is a warning.
fn judge_issuer(
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
            let message = format!("{}: server.pem does not verify against the CAs in it", path.display());
            report.warning(span, message, "clients that trust only this CA will refuse the certificate".to_owned());
        }
        Ok(_) => {}
    }
}

pub(super) fn read(path: &Path, span: &Range<usize>, files: &mut Files, report: &mut Report<'_>) -> Option<Vec<u8>> {
    files
        .read(path)
        .map_err(|error| report.error(span, format_args!("cannot read {}: {error}", path.display()), None))
        .ok()
}

/// The tables that a `[tls]` table is made of: itself, what it extends, and so on.
fn inherit<'a>(
    name: &'a str,
    table: &'a In<file::Tls>,
    merged: &'a Merged,
    report: &mut Report<'_>,
) -> Option<Vec<&'a In<file::Tls>>> {
    let mut chain = vec![table];
    let mut names = BTreeSet::from([name]);
    let mut last = table;
    while let Some(parent) = &last.value.extends {
        let Some((parent_name, next)) = merged.tls.get_key_value(&parent.value) else {
            // Every route may use `default` without there being such a table.
            if parent.value == DEFAULT_TLS {
                break;
            }
            // Reported once, for the table that says so.
            if chain.len() == 1 {
                let help = did_you_mean(parent, merged.tls.keys().map(String::as_str));
                report.error(&parent.span, format_args!("extends: tls {:?} is not defined", parent.value), help);
            }
            return None;
        };
        if !names.insert(parent_name) {
            let message = format!("extends: {} extends itself", names.into_iter().collect::<Vec<_>>().join(", "));
            report.push(Severity::Error, &table.span, message, "remove one `extends`".to_owned());
            return None;
        }
        chain.push(next);
        last = next;
    }
    Some(chain)
}

fn policy(
    chain: &[&In<file::Tls>],
    name: &str,
    files: &mut Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Policy> {
    let mistakes = diagnostics.len();
    let table = format!("tls.{name}");
    let min_version = chain.iter().find_map(|tls| tls.value.min_version).unwrap_or(TlsVersion::Tls12);
    let alpn = chain.iter().find_map(|tls| tls.value.alpn.as_ref().map(|alpn| (alpn, &tls.source)));
    let alpn: Vec<Alpn> = alpn.map_or_else(Vec::new, |(alpn, source)| {
        Report { diagnostics, source, table: table.clone() }.parse_all("alpn", alpn)
    });
    let auth = |tls: &&'_ In<file::Tls>| tls.value.client_auth.is_some();
    let mode = chain.iter().filter(|tls| auth(tls)).find_map(|tls| {
        tls.value
            .client_auth
            .as_ref()
            .and_then(|auth| auth.mode.as_ref())
            .map(|mode| (mode.value, mode.span.clone(), &tls.source))
    });
    let ca_files = chain.iter().filter(|tls| auth(tls)).find_map(|tls| {
        tls.value.client_auth.as_ref().and_then(|auth| auth.ca_files.as_ref()).map(|files| (files, &tls.source))
    });
    // CA files mean that clients are verified, unless a table that is as near says otherwise: a mode that is inherited
    // from further away was not written with these files in mind.
    let depth = |has: fn(&file::ClientAuth) -> bool| {
        chain.iter().position(|tls| tls.value.client_auth.as_ref().is_some_and(has)).unwrap_or(usize::MAX)
    };
    let (mode_depth, files_depth) = (depth(|auth| auth.mode.is_some()), depth(|auth| auth.ca_files.is_some()));
    let mode = mode.filter(|_| mode_depth <= files_depth);
    let client_auth = mode.as_ref().map_or_else(
        || if ca_files.is_some() { ClientAuthMode::RequireAndVerify } else { ClientAuthMode::None },
        |(mode, ..)| *mode,
    );
    let mut cas = Vec::new();
    let mut paths = Vec::new();
    if let Some((list, source)) = ca_files {
        let mut report = Report { diagnostics, source, table: table.clone() };
        for path in &list.0 {
            let path = (beside(&source.path, path), &path.span);
            let found = authorities::read(&path.0, path.1, CLIENT_CAS, files, &mut report);
            cas.extend(found.unwrap_or_default().into_iter().flat_map(|source| source.authorities));
            paths.push(path.0);
        }
    }
    if client_auth == ClientAuthMode::RequireAndVerify && paths.is_empty() {
        let (span, source) = mode.map_or((chain[0].span.clone(), &chain[0].source), |(_, span, source)| (span, source));
        let mut report = Report { diagnostics, source, table };
        let help = "add `client_auth.ca_files = [\"ca.pem\"]`: nobody could come in without";
        report.error(&span, "client_auth.mode is require_and_verify, and there are no ca_files", help.to_owned());
    } else if client_auth == ClientAuthMode::None && !paths.is_empty() && mode_depth == files_depth {
        let (span, source) = mode.map_or((chain[0].span.clone(), &chain[0].source), |(_, span, source)| (span, source));
        let mut report = Report { diagnostics, source, table };
        let help = "remove one of them; with ca_files alone clients must show a certificate".to_owned();
        report.error(&span, "client_auth.mode is none beside ca_files: is anybody to come in, or not?", help);
    }
    // Whatever went wrong, a policy must not come out of it that asks for less than was written.
    if diagnostics[mistakes..].iter().any(|diagnostic| diagnostic.severity.refuses()) {
        return None;
    }
    let shown = Tls { min_version, alpn: alpn.iter().map(Alpn::to_string).collect(), client_auth, ca_files: paths };
    let min_version = match min_version {
        TlsVersion::Tls12 => MinVersion::Tls12,
        TlsVersion::Tls13 => MinVersion::Tls13,
    };
    let client_auth = match client_auth {
        ClientAuthMode::None => ClientAuth::None,
        ClientAuthMode::RequireAndVerify => ClientAuth::RequireAndVerify(cas),
    };
    Some(Policy { shown, options: Options { min_version, alpn, client_auth } })
}
