//! `[trust]` tables, and the system's store of CAs.
//!
//! Every file of them is read here, rather than by a library, because what was read is what is
//! watched.

use std::env;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::config::compile::authorities::{self, Usage};
use crate::config::compile::left_out;
use crate::config::compile::report::Report;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::file;
use crate::config::files::Files;
use crate::config::read::{Merged, Sourced, beside};
use crate::config::trust::{Origin, Trust, TrustSource, Trusts};
use crate::tls;
use crate::x509::{BundleError, CaCertificate, Purpose};

/// The certificate of a server that no CA issued is often given in place of a CA. Its owner could
/// pretend to be the other servers that it vouches for, which are few.
const SERVER_CAS: Usage = Usage {
    key: "ca_files",
    not_ca: Severity::Warning,
    purpose: Purpose::Server,
};

/// The variables that name another store than the system's, as OpenSSL has them.
const CERT_FILE: &str = "SSL_CERT_FILE";
const CERT_DIR: &str = "SSL_CERT_DIR";

pub(super) fn compile(
    merged: &Merged,
    files: &mut Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> Trusts {
    let mut trusts = Trusts::default();
    let mut system = SystemStore(None);
    for (name, table) in &merged.trust {
        let mut report = Report {
            diagnostics,
            source: &table.source,
            table: format!("trust.{name}"),
        };
        if let Some(trust) = trust(table, &mut system, files, &mut report) {
            trusts.named.insert(name.as_str().into(), trust);
        }
    }
    // Read only where it is asked for: it is large, and not every machine has one.
    let asks =
        |(_, upstream): &(&String, &Sourced<file::Upstream>)| uses_system_store(&upstream.value);
    if let Some((name, table)) = merged.upstreams.iter().find(asks) {
        let mut report = Report {
            diagnostics,
            source: &table.source,
            table: format!("upstreams.{name}"),
        };
        let sources = system.sources(files, &table.span, &mut report).to_vec();
        lint_store(&sources, &table.span, &mut report);
        trusts.system =
            build(sources, &mut report, &table.span, system_help()).map(|(sources, trust)| Trust {
                trust,
                sources,
                system: true,
                ca_files: Vec::new(),
                pem: None,
            });
    }
    trusts
}

/// Whether servers are verified, and no table is named for it.
fn uses_system_store(upstream: &file::Upstream) -> bool {
    match upstream.tls.as_ref().map(|tls| &tls.value) {
        None => false,
        Some(file::UpstreamTls::Switch(on)) => *on,
        Some(file::UpstreamTls::Table(table)) => {
            table.trust.is_none()
                && table
                    .insecure
                    .as_ref()
                    .is_none_or(|insecure| !insecure.value)
        }
    }
}

fn trust(
    table: &Sourced<file::Trust>,
    system: &mut SystemStore,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<Trust> {
    let file::Trust {
        system: with_system,
        ca_files,
        pem,
    } = &table.value;
    let mut sources = Vec::new();
    let mut paths = Vec::new();
    let mut sound = true;
    for text in ca_files.iter().flat_map(|list| &list.0) {
        let path = beside(&table.source.path, text);
        match authorities::read(&path, &text.span, SERVER_CAS, files, report) {
            Some(found) => sources.extend(found.into_iter().map(|from| TrustSource {
                origin: Origin::File(from.path),
                authorities: from.authorities,
            })),
            None => sound = false,
        }
        paths.push(path);
    }
    if let Some(pem) = pem {
        match CaCertificate::parse_bundle(pem.value.as_bytes()) {
            Ok(authorities) => {
                authorities::judge(&authorities, "pem", &pem.span, SERVER_CAS, report);
                sources.push(TrustSource {
                    origin: Origin::Inline,
                    authorities,
                });
            }
            Err(error) => {
                report.error(&pem.span, format_args!("pem: {error}"), None);
                sound = false;
            }
        }
    }
    let with_system = with_system.unwrap_or(false);
    let is_crowded = authorities::lint_namesakes(
        authorities_of(&sources),
        ("ca_files", &table.span),
        Severity::Error,
        report,
    );
    if with_system {
        sources.extend(system.sources(files, &table.span, report).iter().cloned());
    }
    if !sound || is_crowded {
        return None;
    }
    if with_system {
        lint_store(&sources, &table.span, report);
    }
    let help = if with_system {
        system_help()
    } else {
        "add `ca_files = [\"ca.crt\"]`, or `system = true`".to_owned()
    };
    let (sources, trust) = build(sources, report, &table.span, help)?;
    Some(Trust {
        trust,
        sources,
        system: with_system,
        ca_files: paths,
        pem: pem.as_ref().map(|pem| pem.value.clone()),
    })
}

/// Points out names that too many CAs have, the system's among them: it is not for this
/// configuration to say who is one.
fn lint_store(sources: &[TrustSource], span: &Range<usize>, report: &mut Report<'_>) {
    let place = ("the system's store", span);
    authorities::lint_namesakes(authorities_of(sources), place, Severity::Warning, report);
}

fn authorities_of(sources: &[TrustSource]) -> impl Iterator<Item = &CaCertificate> {
    sources.iter().flat_map(|source| &source.authorities)
}

fn system_help() -> String {
    format!(
        "install the system's certificates (`ca-certificates`), set {CERT_FILE}, or name `ca_files` in a `[trust]` table"
    )
}

fn build(
    sources: Vec<TrustSource>,
    report: &mut Report<'_>,
    span: &Range<usize>,
    help: String,
) -> Option<(Vec<TrustSource>, tls::Trust)> {
    let all: Vec<CaCertificate> = authorities_of(&sources).cloned().collect();
    let trust = tls::Trust::new(&all);
    if trust.is_none() {
        let message = "there is no CA to verify servers against, so that none would be believed";
        report.missing(report.table.clone(), span, message, help);
    }
    Some((sources, trust?))
}

/// The CAs that the machine trusts; read once, and what is wrong with them reported once.
struct SystemStore(Option<Vec<TrustSource>>);

impl SystemStore {
    fn sources(
        &mut self,
        files: &mut Files,
        span: &Range<usize>,
        report: &mut Report<'_>,
    ) -> &[TrustSource] {
        self.0.get_or_insert_with(|| {
            let (bundles, directories) = places();
            let mut reader = StoreReader {
                files,
                span,
                report,
                found: Vec::new(),
            };
            for bundle in bundles {
                reader.file(&bundle, false);
            }
            for directory in directories {
                reader.directory(&directory);
            }
            reader.found
        })
    }
}

/// Where the system's CAs are: files and directories.
fn places() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    let (file, directories) = (variable(CERT_FILE), variable(CERT_DIR));
    if file.is_some() || directories.is_some() {
        let directories = directories
            .iter()
            .flat_map(env::split_paths)
            .filter(|path| !path.as_os_str().is_empty());
        return (
            file.into_iter().map(PathBuf::from).collect(),
            directories.collect(),
        );
    }
    let openssl_probe::ProbeResult {
        cert_file,
        cert_dir,
    } = openssl_probe::probe();
    // Where there is a file of all of them, the directories have the same once more.
    match cert_file {
        Some(file) => (vec![file], Vec::new()),
        None => (Vec::new(), cert_dir),
    }
}

/// Reads a store that others keep: what is wrong with it is pointed out, and the rest counts.
struct StoreReader<'a, 'b> {
    files: &'a mut Files,
    span: &'a Range<usize>,
    report: &'a mut Report<'b>,
    found: Vec<TrustSource>,
}

impl StoreReader<'_, '_> {
    fn directory(&mut self, path: &Path) {
        match self.files.list(path) {
            Ok(entries) => {
                for entry in entries
                    .iter()
                    .filter(|entry| left_out::counts(entry) && !is_alias(entry) && !entry.is_dir())
                {
                    self.file(entry, true);
                }
            }
            Err(error) => self.warn(path, &error),
        }
    }

    fn file(&mut self, path: &Path, one_of_many: bool) {
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) => return self.warn(path, &error),
        };
        let (authorities, errors) = CaCertificate::parse_store(&bytes);
        for error in errors {
            // Other files may well lie beside certificates.
            if !(one_of_many
                && matches!(error, BundleError::NoCertificate | BundleError::Instead(_)))
            {
                self.warn(path, &error);
            }
        }
        if !authorities.is_empty() {
            self.found.push(TrustSource {
                origin: Origin::File(path.to_owned()),
                authorities,
            });
        }
    }

    fn warn(&mut self, path: &Path, error: &dyn std::fmt::Display) {
        let message = format!(
            "the system's store: {}: {error}; it is left out",
            path.display()
        );
        self.report.warning(self.span, message, None);
    }
}

/// A link to another name in the same directory: OpenSSL finds certificates by links with the
/// hashes of their subjects.
fn is_alias(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target.parent() == Some(Path::new("")))
}
