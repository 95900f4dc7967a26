//! Clients that are known one by one: `client_auth.mode = "pinned"`, and what belongs to it.

use std::path::PathBuf;

use crate::authz::SpkiDigest;
use crate::config::compile::authorities::entries;
use crate::config::compile::chain::{Chain, Found};
use crate::config::compile::client_auth::{Mode, Reporter};
use crate::config::compile::tls::read;
use crate::config::compile::{Report, door};
use crate::config::diagnostic::Severity;
use crate::config::file::{self, At, ClientAuthMode};
use crate::config::files::Files;
use crate::config::material::Item;
use crate::config::read::beside;
use crate::tls::{Dates, Pin, Pins};

/// What a `[tls]` table says about pinned clients.
#[derive(Default)]
pub(super) struct Pinned {
    pub(super) pins: Pins,
    pub(super) keys: Vec<SpkiDigest>,
    pub(super) files: Vec<PathBuf>,
    pub(super) dates: Dates,
}

/// Reads what the nearest tables say. In another mode it has no meaning, and is an error beside that.
pub(super) fn compile(chain: &Chain<'_>, mode: &Mode<'_>, files: &mut Files, reporter: &mut Reporter<'_>) -> Pinned {
    let keys = chain.nearest_of_clients(|auth| auth.spki_sha256.as_ref());
    let cert_files = chain.nearest_of_clients(|auth| auth.cert_files.as_ref());
    let dates = chain.nearest_of_clients(|auth| auth.dates.as_ref());
    if mode.effective != ClientAuthMode::Pinned {
        needs_pinned(&keys, "spki_sha256", mode, reporter);
        needs_pinned(&cert_files, "cert_files", mode, reporter);
        needs_pinned(&dates, "dates", mode, reporter);
        return Pinned::default();
    }
    let dates = match dates.map(|dates| dates.at.value) {
        Some(file::Dates::Ignore) => Dates::Ignore,
        Some(file::Dates::Verify) | None => Dates::Verify,
    };
    let mut pinned = Pinned { pins: Pins::new(dates), dates, ..Pinned::default() };
    if keys.is_none() && cert_files.is_none() {
        let message = "client_auth.mode is pinned, and no client is named: nobody could come in";
        let help =
            "add `client_auth.cert_files = [\"client.pem\"]`, or `client_auth.spki_sha256` with the digest of its key";
        reporter.lacking(&["spki_sha256", "cert_files"], (mode.source, mode.span), message, help.to_owned());
    }
    if let Some(keys) = keys {
        let mut report = reporter.in_file(keys.source);
        if keys.at.value.0.is_empty() {
            report.error(&keys.at.span, "client_auth.spki_sha256 names no key", "name one, or remove it".to_owned());
        }
        pinned.keys = report.parse_all("client_auth.spki_sha256", &keys.at.value);
        for key in &pinned.keys {
            pinned.pins.add_key(key);
        }
    }
    let Some(found) = cert_files else { return pinned };
    let mut report = reporter.in_file(found.source);
    if found.at.value.0.is_empty() {
        report.error(&found.at.span, "client_auth.cert_files names no file", "name one, or remove it".to_owned());
    }
    for path in &found.at.value.0 {
        let (path, span) = (beside(&found.source.path, path), &path.span);
        for file in entries("client_auth.cert_files", &path, span, files, &mut report).unwrap_or_default() {
            let running = files.running.pins.get(&file).cloned();
            let parse = |files: &mut Files, report: &mut Report<'_>| {
                let bytes = read(&file, span, files, report)?;
                let message = |error| format!("client_auth.cert_files: {}: {error}", file.display());
                Pin::parse_bundle(&bytes).map_err(|error| report.error(span, message(error), None)).ok()
            };
            let item = Item::File(file.clone());
            let Some(taken) = door::take(&item, &[&file], running, (&mut *files, &mut report), parse) else { continue };
            for pin in taken.get() {
                let Some(kind) = pin.unsupported_key() else { continue };
                let message = format!(
                    "client_auth.cert_files: {}: {} has {kind}, by which no client proves anything here, so that its owner \
                     does not come in; the key of a client is RSA (2048 to 8192 bits), P-256, P-384, P-521 or Ed25519",
                    file.display(),
                    pin.subject()
                );
                report.push(Severity::Stale, span, message, None);
            }
            pinned.pins.add_certificates(taken.get());
            files.materials.pins.insert(file, taken.get().clone());
        }
        pinned.files.push(path);
    }
    pinned
}

/// Reports what has a meaning in this mode only, unless it is inherited from further away than the mode.
fn needs_pinned<T>(found: &Option<Found<'_, At<T>>>, key: &str, mode: &Mode<'_>, reporter: &mut Reporter<'_>) {
    let Some(found) = found.as_ref().filter(|found| found.depth <= mode.depth) else { return };
    let message =
        format!("client_auth.{key} needs `client_auth.mode = \"pinned\"`, and the mode is {}", mode.effective.word());
    let help = "write that mode, or remove it; for those whom a CA vouches for there is `client_auth.allow`".to_owned();
    reporter.lacking(&["mode"], (found.source, &found.at.span), message, help);
}

/// Reports what has no meaning in this mode, unless it is inherited from further away than the mode.
pub(super) fn judge_beside<T>(
    found: &Option<Found<'_, At<T>>>,
    key: &str,
    mode: &Mode<'_>,
    reporter: &mut Reporter<'_>,
) {
    let Some(found) = found.as_ref().filter(|found| found.depth <= mode.depth) else { return };
    let message = format!("client_auth.{key} stands beside client_auth.mode pinned, in which no CA counts");
    let help = "remove it, or write `mode = \"require_and_verify\"`, in which no pin counts".to_owned();
    reporter.in_file(found.source).error(&found.at.span, message, help);
}
