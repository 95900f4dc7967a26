//! `snigate run`

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use crate::cli::{ConfigPath, print_diagnostics, runtime};
use crate::server::{self, RunError};

pub(super) fn run(config: &ConfigPath) -> anyhow::Result<ExitCode> {
    let path = config.find()?;
    match runtime()?.block_on(server::run(path)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(RunError::Invalid(diagnostics)) => {
            print_diagnostics(&mut io::stderr(), io::stderr().is_terminal(), &diagnostics);
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}
