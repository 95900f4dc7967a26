//! Files of a directory that do not count: what editors and package managers leave beside a file
//! has its content, and not its meaning.

use std::path::{Path, PathBuf};

use crate::config::compile::report::Report;
use crate::config::left_over::names;

/// The ends of names of certificates, keys and lists.
const ENDINGS: [&str; 5] = ["pem", "crt", "cer", "der", "crl"];

/// How the rule is told.
pub(super) const RULE: &str = "files count whose names end in .pem, .crt, .cer, .der or .crl, or are hashes as `openssl rehash` makes them";

/// Whether a file of a directory of certificates or lists counts.
pub(super) fn counts(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let Some((stem, ending)) = name.rsplit_once('.') else {
        return false;
    };
    ENDINGS
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
        || is_hash(stem, ending)
}

/// `0a1b2c3d.0` for a certificate, `0a1b2c3d.r0` for a list (openssl-rehash(1)).
fn is_hash(stem: &str, ending: &str) -> bool {
    let number = ending.strip_prefix('r').unwrap_or(ending);
    let is_hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    stem.len() == 8
        && stem.bytes().all(is_hexadecimal)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Those of `entries` that count. The others are named, all in one warning; where none counts, in
/// the error.
pub(super) fn of_directory(
    key: &str,
    directory: &Path,
    entries: Vec<PathBuf>,
    span: &std::ops::Range<usize>,
    report: &mut Report<'_>,
) -> Option<Vec<PathBuf>> {
    let (counted, left_out): (Vec<PathBuf>, Vec<PathBuf>) =
        entries.into_iter().partition(|entry| counts(entry));
    let directory = directory.display();
    match (counted.is_empty(), left_out.is_empty()) {
        (true, true) => {
            report.error(
                span,
                format_args!("{key}: there is no file in {directory}"),
                RULE.to_owned(),
            );
            return None;
        }
        (true, false) => {
            let message = format!(
                "{key}: no file in {directory} counts; there is {}",
                names(&left_out)
            );
            report.error(
                span,
                message,
                format!("{RULE}; rename those that are to count"),
            );
            return None;
        }
        (false, false) => {
            let message = format!(
                "{key}: in {directory} there is what does not count: {}",
                names(&left_out)
            );
            report.warning(
                span,
                message,
                format!("{RULE}; rename it if it is to count, or remove it"),
            );
        }
        (false, true) => {}
    }
    Some(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_by_its_end_or_as_a_hash_and_no_copy_does() {
        for (name, expected) in [
            ("ca.pem", true),
            ("CA.CRT", true),
            ("ca.cer", true),
            ("ca.der", true),
            ("ca.crl", true),
            ("our ca.pem", true),
            ("0a1b2c3d.0", true),
            ("0a1b2c3d.12", true),
            ("0a1b2c3d.r0", true),
            ("0a1b2c3d.r", false),
            ("0A1b2c3d.0", false),
            ("0a1b2c3.0", false),
            ("ca.0", false),
            ("ca.pem~", false),
            ("ca.pem.bak", false),
            ("ca.pem.dpkg-old", false),
            ("ca.pem.rpmsave", false),
            ("ca.pem.swp", false),
            ("#ca.pem#", false),
            ("ca.pem.orig", false),
            ("ca.pem.old", false),
            ("ca.pem.1", false),
            ("ca", false),
            ("pem", false),
            ("README", false),
        ] {
            assert_eq!(counts(Path::new(name)), expected, "{name}");
        }
    }
}
