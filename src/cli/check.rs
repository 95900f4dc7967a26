//! `snigate check`

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use crate::cli::{ConfigPath, print, print_diagnostics};
use crate::config;
use crate::config::diagnostic::Severity;

pub(super) fn run(config: &ConfigPath) -> anyhow::Result<ExitCode> {
    let path = config.find()?;
    let mut loaded = config::load(&path);
    loaded.mention_privileges();
    print_diagnostics(&mut io::stdout(), io::stdout().is_terminal(), &loaded.diagnostics);
    let is_warning = |severity: Severity| severity == Severity::Warning;
    let warnings = loaded.diagnostics.iter().filter(|diagnostic| is_warning(diagnostic.severity)).count();
    let errors = loaded.diagnostics.len() - warnings;
    let verdict = if errors == 0 { "valid" } else { "not valid" };
    print(&format!("{}: {verdict}: {}, {}\n", path.display(), count(errors, "error"), count(warnings, "warning")))?;
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
