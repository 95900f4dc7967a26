//! `snigate show`

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use crate::cli::{ConfigPath, load, print};
use crate::config::trust::Trusts;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigPath,
    /// Print the CAs that servers are verified against instead, and which file each was read from.
    #[arg(long)]
    trust: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (_, config) = load(&options.config)?;
    if options.trust {
        print(&trust(&config.trusts))?;
    } else {
        print(&toml::to_string(&config.to_file()).context("cannot write the configuration")?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn trust(trusts: &Trusts) -> String {
    let mut text = String::new();
    for (name, trust) in trusts.all() {
        let title = name.map_or_else(|| "the system's store".to_owned(), |name| format!("trust.{name}"));
        let _ = writeln!(text, "{title}");
        for source in &trust.sources {
            let count = source.authorities.len();
            let plural = if count == 1 { "" } else { "s" };
            let _ = writeln!(text, "  {}: {count} certificate{plural}", source.origin);
            for ca in &source.authorities {
                let until =
                    Timestamp::try_from(ca.not_after()).map_or_else(|_| "?".to_owned(), |time| time.to_string());
                let _ = writeln!(text, "    {} until {until}", ca.subject());
            }
        }
    }
    if text.is_empty() {
        text.push_str("no server is verified, and there is no `[trust]` table\n");
    }
    text
}
