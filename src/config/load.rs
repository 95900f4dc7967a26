//! Loading of a configuration: from the text of its files to a model, or to every diagnostic.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::files::{Files, Texts};
use crate::config::material::Reason;
use crate::config::model::{Circumstances, Config};
use crate::config::read::Variables;
use crate::config::{compile, diagnostic, read};

/// The result of reading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, unless anything refuses it.
    pub config: Option<Config>,
    /// Everything there is to say about it.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file that it was made of.
    pub files: Files,
    /// The variables of the environment that it uses.
    pub variables: Variables,
    /// Diagnostics about materials in whose place those that run go on.
    pub unfit: Vec<Diagnostic>,
}

/// Reads the configuration at `path`, the files that it includes, and every certificate, key and CA
/// that it names.
#[must_use]
pub fn load(path: &Path) -> Loaded {
    load_in(path, &Circumstances::at(SystemTime::now()))
}

/// The same in circumstances of the caller's.
#[must_use]
pub fn load_in(path: &Path, circumstances: &Circumstances) -> Loaded {
    load_from(path, None, circumstances)
}

/// The same as [`load_in`], from the `texts` of a configuration that was loaded before, with the
/// certificates, keys and CAs that are there now.
#[must_use]
pub fn load_again(path: &Path, texts: Arc<Texts>, circumstances: &Circumstances) -> Loaded {
    load_from(path, Some(texts), circumstances)
}

/// Where these routes stand, of the configuration at `path`.
#[must_use]
pub fn places(path: &Path, routes: &BTreeSet<Arc<str>>) -> BTreeMap<Arc<str>, Place> {
    let Some(merged) = read::read(path, &mut Files::default(), &mut Vec::new()).merged else {
        return BTreeMap::new();
    };
    let place = |name: &Arc<str>| {
        let read::Sourced { source, span, .. } = merged.routes.get(&**name)?;
        Some((
            Arc::clone(name),
            Place {
                source: Arc::clone(source),
                span: span.clone(),
            },
        ))
    };
    routes.iter().filter_map(place).collect()
}

/// A material that cannot be used goes on as it runs, if it does; everything else counts. Where it
/// is not known which one is to blame, all of them go on but the revocation lists. Without that one
/// it is refused, for all that is wrong.
fn load_from(path: &Path, texts: Option<Arc<Texts>>, circumstances: &Circumstances) -> Loaded {
    let mut keep = circumstances.keep.clone();
    let (mut first, mut unfit) = (None, Vec::new());
    loop {
        let files = Files::new(
            texts.clone(),
            Arc::clone(&circumstances.running),
            keep.clone(),
        );
        let loaded = attempt(path, files, circumstances);
        let is_faulty = |found: &&Diagnostic| found.severity.refuses() || found.fault_of.is_some();
        let faults: Vec<Diagnostic> = loaded
            .diagnostics
            .iter()
            .filter(is_faulty)
            .cloned()
            .collect();
        if faults.is_empty() {
            return Loaded { unfit, ..loaded };
        }
        let known = keep.clone();
        let faulty = faults
            .iter()
            .map(|fault| fault.fault_of.clone())
            .collect::<Option<Vec<_>>>();
        match faulty {
            Some(faulty) => keep.extend(faulty.into_iter().map(|item| (item, Reason::BROKEN))),
            // Whatever it is a fault of, what is revoked beside it has to act.
            None => keep.extend(
                circumstances
                    .running
                    .all_but_lists()
                    .map(|item| (item, Reason::BROKEN)),
            ),
        }
        if keep == known {
            return first.unwrap_or(loaded);
        }
        unfit.extend(faults);
        first.get_or_insert(loaded);
    }
}

fn attempt(path: &Path, mut files: Files, circumstances: &Circumstances) -> Loaded {
    let mut diagnostics = Vec::new();
    let mut read = read::read(path, &mut files, &mut diagnostics);
    let compile = |merged| compile::compile(merged, &mut files, circumstances, &mut diagnostics);
    let mut config = read.merged.take().map(compile);
    diagnostics.retain(|diagnostic| !read.explains(diagnostic));
    let variables = read.variables;
    hide(&variables, &mut diagnostics);
    for notice in config.iter_mut().flat_map(|config| &mut config.notices) {
        notice.message = variables.hide(&notice.message);
    }
    let refused = diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity.refuses());
    diagnostic::sort(&mut diagnostics);
    Loaded {
        config: config.filter(|_| !refused),
        diagnostics,
        files,
        variables,
        unfit: Vec::new(),
    }
}

/// Takes the values of variables out of what is to be said.
fn hide(variables: &Variables, diagnostics: &mut [Diagnostic]) {
    if variables.is_empty() {
        return;
    }
    for diagnostic in diagnostics {
        diagnostic.message = variables.hide(&diagnostic.message);
        diagnostic.help = diagnostic.help.as_deref().map(|help| variables.hide(help));
    }
}
