//! `snigate show`

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::{ConfigPath, load, print};

pub(super) fn run(config: &ConfigPath) -> anyhow::Result<ExitCode> {
    let (_, config) = load(config)?;
    print(&toml::to_string(&config.to_file()).context("cannot write the configuration")?)?;
    Ok(ExitCode::SUCCESS)
}
