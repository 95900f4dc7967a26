//! Log of a configuration that is served.

use tracing::{error, info, warn};

use crate::config::Made;
use crate::config::diagnostic::{Diagnostic, Excerpt, Severity};
use crate::config::trust::Summary;

/// Logs the CAs of each store that is not as it was before, and where they were read.
pub(super) fn log_trust(before: &[Summary], now: &[Summary]) {
    for store in now.iter().filter(|store| !before.contains(store)) {
        info!(
            trust = store.name(),
            certificates = store.certificates(),
            from = store.origins(),
            "trust"
        );
    }
}

/// Logs the self-signed certificates that were made for it.
pub(super) fn report_made(made: &[Made]) {
    for Made {
        name,
        fingerprint: sha256,
        reason,
    } in made
    {
        match reason {
            None => info!(certificate = %name, sha256, "self-signed certificate made"),
            Some(reason) => {
                warn!(certificate = %name, sha256, reason, "self-signed certificate made anew")
            }
        }
    }
}

/// Logs what a configuration that runs was found to have: warnings, and what clients will refuse.
pub(super) fn report(diagnostics: &[Diagnostic]) {
    let excerpt = Excerpt::of(diagnostics);
    for diagnostic in &excerpt.shown {
        match diagnostic.severity {
            Severity::Warning => warn!(%diagnostic, "configuration"),
            _ => error!(%diagnostic, "configuration"),
        }
    }
    if let Some(shown) = excerpt.left_out() {
        warn!(
            shown,
            "not every diagnostic is logged, `snigate check` counts them"
        );
    }
}
