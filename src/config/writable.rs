//! Files that every user of the machine can change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::files::here;

/// Everybody may write.
const OTHERS_WRITE: u32 = 0o002;
/// In a directory with it, files are replaced by their owners alone.
const STICKY: u32 = 0o1000;

/// The message about a file that every user can change, and what to do.
pub(super) fn writable(path: &Path) -> Option<(String, String)> {
    let mode = |path: &Path| {
        fs::metadata(path)
            .map(|metadata| metadata.mode() & 0o7777)
            .unwrap_or_default()
    };
    let own = mode(path);
    if own & OTHERS_WRITE != 0 {
        let message = format!(
            "everybody on this machine can change {} (mode {own:04o})",
            path.display()
        );
        return Some((message, format!("write `chmod o-w {}`", path.display())));
    }
    let directory = here(path.parent()?);
    let above = mode(directory);
    (above & OTHERS_WRITE != 0 && above & STICKY == 0).then(|| {
        let message = format!(
            "everybody on this machine can replace {}: its directory is writable (mode {above:04o})",
            path.display()
        );
        (message, format!("write `chmod o-w {}`", directory.display()))
    })
}
