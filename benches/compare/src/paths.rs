//! The places of a run: the tree, the program beside this one, and what is written.

use std::io;
use std::path::{Path, PathBuf};

/// The directory of the comparison, with the proxies' templates and the results of full runs.
pub(crate) fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The root of the tree.
pub(crate) fn root() -> PathBuf {
    here().join("../..")
}

/// The snigate that lies beside this program: `benches/compare/build` builds both with one profile.
pub(crate) fn snigate() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("snigate"))
}

/// A directory in the target directory for what a run writes.
pub(crate) fn scratch(name: &str) -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let profile = program
        .parent()
        .ok_or_else(|| io::Error::other("the program lies in no directory"))?;
    Ok(profile.with_file_name("tmp").join(name))
}
