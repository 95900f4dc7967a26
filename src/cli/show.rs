//! `snigate show`

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::cli::{ConfigPath, load, print};
use crate::config::trust::Trusts;
use crate::config::{Config, Variables};
use crate::x509::date;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigPath,
    /// Print the CAs that servers are verified against instead, and which file each was read from.
    #[arg(long)]
    trust: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (config, variables) = load(&options.config)?;
    if options.trust {
        print(&variables.hide(&trust(&config.trusts)))?;
    } else {
        print(&file(&config, &variables).context("cannot write the configuration")?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration as a file, in which variables stand where they stood, and `$${` where `${` is
/// meant.
fn file(config: &Config, variables: &Variables) -> Result<String, toml::ser::Error> {
    let file = config.to_file();
    let text = toml::to_string(&file)?;
    if variables.is_empty() && !text.contains("${") {
        return Ok(text);
    }
    let mut table = toml::Value::try_from(&file)?;
    put_back(&mut table, variables);
    toml::to_string(&table)
}

fn put_back(value: &mut toml::Value, variables: &Variables) {
    match value {
        toml::Value::String(text) => *text = variables.hide(&text.replace("${", "$${")),
        toml::Value::Array(items) => items.iter_mut().for_each(|item| put_back(item, variables)),
        toml::Value::Table(table) => table
            .iter_mut()
            .for_each(|(_, item)| put_back(item, variables)),
        _ => {}
    }
}

fn trust(trusts: &Trusts) -> String {
    let mut text = String::new();
    for (name, trust) in trusts.all() {
        let title = name.map_or_else(
            || "the system's store".to_owned(),
            |name| format!("trust.{name}"),
        );
        let _ = writeln!(text, "{title}");
        for source in &trust.sources {
            let count = source.authorities.len();
            let plural = if count == 1 { "" } else { "s" };
            let _ = writeln!(text, "  {}: {count} certificate{plural}", source.origin);
            for ca in &source.authorities {
                let _ = writeln!(text, "    {} until {}", ca.subject(), date(ca.not_after()));
            }
        }
    }
    if text.is_empty() {
        text.push_str("no server is verified, and there is no `[trust]` table\n");
    }
    text
}
