//! Clients that are known one by one: `client_auth.mode = "pinned"`, and what belongs to it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::authz::SpkiDigest;
use crate::config::compile::authorities::{IfEmpty, entries};
use crate::config::compile::chain::{Chain, Found};
use crate::config::compile::door;
use crate::config::compile::mode::{ModeInEffect, Reporter};
use crate::config::compile::reading::read;
use crate::config::compile::report::Report;
use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::file::{ClientAuthMode, Spanned};
use crate::config::files::Files;
use crate::config::material::Item;
use crate::config::read::beside;
use crate::tls::{Dates, Pin, Pins};

/// The pinned clients of a `[tls]` table.
#[derive(Default)]
pub(super) struct Pinned {
    pub(super) pins: Pins,
    pub(super) keys: Vec<SpkiDigest>,
    pub(super) files: Vec<PathBuf>,
    pub(super) dates: Dates,
}

/// Reads what the nearest tables say. In another mode it has no effect, and is an error beside
/// that.
pub(super) fn compile(
    chain: &Chain<'_>,
    mode: &ModeInEffect<'_>,
    files: &mut Files,
    reporter: &mut Reporter<'_>,
) -> Pinned {
    let keys = chain.nearest_of_clients(|auth| auth.spki_sha256.as_ref());
    let cert_files = chain.nearest_of_clients(|auth| auth.cert_files.as_ref());
    let dates = chain.nearest_of_clients(|auth| auth.dates.as_ref());
    if mode.effective != ClientAuthMode::Pinned {
        needs_pinned(&keys, "spki_sha256", mode, reporter);
        needs_pinned(&cert_files, "cert_files", mode, reporter);
        needs_pinned(&dates, "dates", mode, reporter);
        return Pinned::default();
    }
    let dates = dates.map_or(Dates::Verify, |dates| dates.at.value);
    let mut pinned = Pinned {
        pins: Pins::new(dates),
        dates,
        ..Pinned::default()
    };
    let mut empty = Empty::default();
    if keys.is_none() && cert_files.is_none() {
        let message = "client_auth.mode is pinned, and no client is named: nobody comes in";
        let diagnostic = Diagnostic::new(Severity::Stale, format!("{}: {message}", reporter.table));
        let diagnostic = diagnostic
            .at(mode.source, mode.span)
            .help(NAME_ONE.to_owned());
        reporter.push_lacking(&["spki_sha256", "cert_files"], diagnostic);
    }
    if let Some(keys) = keys {
        if keys.at.value.0.is_empty() {
            empty.note(
                "client_auth.spki_sha256 names no key".to_owned(),
                &keys.at.span,
                keys.source,
            );
        }
        pinned.keys = reporter
            .in_file(keys.source)
            .parse_all("client_auth.spki_sha256", &keys.at.value);
        for key in &pinned.keys {
            pinned.pins.add_key(key);
        }
    }
    if let Some(found) = cert_files {
        if found.at.value.0.is_empty() {
            empty.note(
                "client_auth.cert_files names no file".to_owned(),
                &found.at.span,
                found.source,
            );
        }
        for path in &found.at.value.0 {
            let place = (beside(&found.source.path, path), &path.span, found.source);
            pinned.read(
                place,
                files,
                &mut empty,
                &mut reporter.in_file(found.source),
            );
        }
    }
    empty.report(pinned.pins.is_empty(), reporter);
    pinned
}

impl Pinned {
    /// Adds the pins of a file, or of every file of a directory.
    fn read(
        &mut self,
        (path, span, source): (PathBuf, &Range<usize>, &Arc<Source>),
        files: &mut Files,
        empty: &mut Empty,
        report: &mut Report<'_>,
    ) {
        const KEY: &str = "client_auth.cert_files";
        let entries = entries((KEY, IfEmpty::Nobody), &path, span, files, report);
        if entries.as_ref().is_some_and(Vec::is_empty) {
            empty.note(
                format!("{KEY}: no file in {} counts", path.display()),
                span,
                source,
            );
        }
        for file in entries.unwrap_or_default() {
            let running = files.running.pins.get(&file).cloned();
            let parse = |files: &mut Files, report: &mut Report<'_>| {
                let bytes = read(&file, span, files, report)?;
                if bytes.trim_ascii().is_empty() {
                    return Some(Vec::new());
                }
                let message = |error| format!("{KEY}: {}: {error}", file.display());
                Pin::parse_bundle(&bytes)
                    .map_err(|error| report.error(span, message(error), None))
                    .ok()
            };
            let item = Item::File(file.clone());
            let Some(taken) = door::take(&item, &[&file], running, (&mut *files, report), parse)
            else {
                continue;
            };
            if taken.get().is_empty() {
                empty.note(format!("{KEY}: {} is empty", file.display()), span, source);
            }
            for pin in taken.get() {
                let Some(kind) = pin.unsupported_key() else {
                    continue;
                };
                let message = format!(
                    "{KEY}: {}: {} has {kind}, by which no client proves anything here, so that its owner does not come in; \
                     the key of a client is RSA (2048 to 8192 bits), P-256, P-384, P-521 or Ed25519",
                    file.display(),
                    pin.subject()
                );
                report.push(Severity::Stale, span, message, None);
            }
            self.pins.add_certificates(taken.get());
            files.materials.pins.insert(file, taken.get().clone());
        }
        self.files.push(path);
    }
}

const NAME_ONE: &str = "name a client by `client_auth.cert_files = [\"client.pem\"]`, or by `client_auth.spki_sha256` with \
    the digest of its key; or remove what names nobody";

/// Places where no client is named. They refuse no configuration: an operator who takes the last
/// pin away means that no client comes in by it any more, and what runs would let it in.
#[derive(Default)]
struct Empty(Vec<(String, Range<usize>, Arc<Source>)>);

impl Empty {
    fn note(&mut self, message: String, span: &Range<usize>, source: &Arc<Source>) {
        self.0.push((message, span.clone(), Arc::clone(source)));
    }

    fn report(self, is_nobody: bool, reporter: &mut Reporter<'_>) {
        let (severity, meaning) = if is_nobody {
            (Severity::Stale, ": nobody comes in")
        } else {
            (Severity::Warning, "")
        };
        for (message, span, source) in self.0 {
            reporter.in_file(&source).push(
                severity,
                &span,
                format!("{message}{meaning}"),
                NAME_ONE.to_owned(),
            );
        }
    }
}

/// Reports what has a meaning in this mode only, unless it is inherited from further away than the
/// mode.
fn needs_pinned<T>(
    found: &Option<Found<'_, Spanned<T>>>,
    key: &'static str,
    mode: &ModeInEffect<'_>,
    reporter: &mut Reporter<'_>,
) {
    let Some(found) = found.as_ref().filter(|found| found.depth <= mode.depth) else {
        return;
    };
    let message = format!(
        "client_auth.{key} needs `client_auth.mode = \"pinned\"`, and the mode is {}",
        mode.effective.word()
    );
    let help = "write that mode, or remove it; for those whom a CA vouches for there is `client_auth.allow`".to_owned();
    let diagnostic = reporter.error((found.source, &found.at.span), message, help);
    reporter.beside(key, &["mode"], diagnostic);
}

/// Reports the keys of CAs and of their lists, which have no effect in this mode.
pub(super) fn lint_ca_keys(
    chain: &Chain<'_>,
    mode: &ModeInEffect<'_>,
    reporter: &mut Reporter<'_>,
) {
    let ca_files = chain.nearest_of_clients(|auth| auth.ca_files.as_ref());
    lint_beside(&ca_files, "ca_files", mode, reporter);
    let crl_files = chain.nearest_of_clients(|auth| auth.crl_files.as_ref());
    lint_beside(&crl_files, "crl_files", mode, reporter);
    let crl = chain.nearest_of_clients(|auth| auth.crl.as_ref());
    lint_beside(&crl, "crl", mode, reporter);
}

/// Reports what has no effect in this mode, unless it is inherited from further away than the mode.
fn lint_beside<T>(
    found: &Option<Found<'_, Spanned<T>>>,
    key: &'static str,
    mode: &ModeInEffect<'_>,
    reporter: &mut Reporter<'_>,
) {
    let Some(found) = found.as_ref().filter(|found| found.depth <= mode.depth) else {
        return;
    };
    let message =
        format!("client_auth.{key} stands beside client_auth.mode pinned, in which no CA counts");
    let help =
        "remove it, or write `mode = \"require_and_verify\"`, in which no pin counts".to_owned();
    let diagnostic = reporter.error((found.source, &found.at.span), message, help);
    reporter.beside(key, &[], diagnostic);
}
