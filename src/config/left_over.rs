//! Names of files that editors and package managers leave behind.

use std::path::{Path, PathBuf};

/// Most names in one message.
const MOST: usize = 5;

/// The first names of a list, for a message.
pub(super) fn names(paths: &[PathBuf]) -> String {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().display().to_string();
    let shown = paths
        .iter()
        .take(MOST)
        .map(name)
        .collect::<Vec<_>>()
        .join(", ");
    match paths.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether a name is one that editors and package managers give to what was, or is not yet, in a
/// file.
pub(super) fn is_left_over(path: &Path) -> bool {
    const ENDINGS: [&str; 20] = [
        "bak", "backup", "old", "orig", "save", "saved", "swp", "swo", "swx", "tmp", "temp",
        "part", "rej", "disabled", "rpmsave", "rpmnew", "rpmorig", "ucf-old", "ucf-new",
        "ucf-dist",
    ];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    name.ends_with('~')
        || (name.starts_with('#') && name.ends_with('#'))
        || ending.starts_with("dpkg-")
        || ENDINGS
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_editors_and_package_managers_leave_is_known() {
        for (name, expected) in [
            ("a.toml", false),
            ("app", false),
            ("10-app.conf", false),
            ("a.toml~", true),
            ("#a.toml#", true),
            ("a.toml.bak", true),
            ("a.toml.BAK", true),
            ("a.toml.dpkg-new", true),
            ("a.toml.rpmnew", true),
            ("a.toml.swp", true),
            ("a.toml.tmp", true),
        ] {
            assert_eq!(is_left_over(Path::new(name)), expected, "{name}");
        }
    }
}
