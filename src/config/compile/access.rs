//! Access by other users of this machine to private keys, and to the files that trust comes from.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::compile::report::Report;
use crate::config::diagnostic::Severity;
use crate::config::writable::writable;

/// Everybody may read.
const OTHERS_READ: u32 = 0o004;
/// Reports a private key that everybody can read, or replace. A group may: distributions give keys
/// to one (`ssl-cert`).
pub(super) fn lint_key(path: &Path, span: &Range<usize>, report: &mut Report<'_>) {
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_READ != 0 {
        let message = format!(
            "everybody on this machine can read the private key in {} (mode {mode:04o})",
            path.display()
        );
        let help = format!(
            "write `chmod o= {}`, and make a new key if others have been here",
            path.display()
        );
        report.push(Severity::Warning, span, message, help);
    }
}

/// Reports a file that everybody can replace, or write to.
pub(super) fn judge(path: &Path, span: &Range<usize>, report: &mut Report<'_>) {
    if let Some((message, help)) = writable(path) {
        report.push(Severity::Warning, span, message, help);
    }
}
