//! Reading of the files that a configuration names, with a look at who else can change or read them.

use std::ops::Range;
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::compile::access;
use crate::config::compile::report::Report;
use crate::config::files::Files;

/// Reads a file of certificates, CAs or lists, which no other user should be able to change.
pub(super) fn read(
    path: &Path,
    span: &Range<usize>,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = files
        .read(path)
        .map_err(|error| report.unreadable(path, &error, span))
        .ok()?;
    access::judge(path, span, report);
    Some(bytes)
}

/// Reads a file of a private key, which nobody else should be able to read.
pub(super) fn read_key(
    path: &Path,
    span: &Range<usize>,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = files
        .read(path)
        .map_err(|error| report.unreadable(path, &error, span))
        .ok()?;
    // A certificate that is named as a key is no secret.
    if may_hold_key(&bytes) {
        access::lint_key(path, span, report);
    }
    Some(bytes)
}

/// Whether there is a private key in a file: one in PEM says so, and what is not PEM may be one.
fn may_hold_key(bytes: &[u8]) -> bool {
    let has = |marker: &[u8]| bytes.windows(marker.len()).any(|window| window == marker);
    has(b"PRIVATE KEY-----") || !has(b"-----BEGIN ")
}
