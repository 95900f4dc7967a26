//! `snigate schema`

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::print;
use crate::config::file::File;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    let schema = schemars::schema_for!(File);
    print(&serde_json::to_string_pretty(&schema).context("cannot write the schema")?)?;
    print("\n")?;
    Ok(ExitCode::SUCCESS)
}
