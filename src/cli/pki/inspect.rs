//! `snigate pki inspect`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use clap::Args;

use crate::cli::pki::read_bytes;
use crate::cli::print;
use crate::pki::{Inspection, InspectionReport};

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// Files of certificates, keys, requests and revocation lists, PEM or DER.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now();
    let mut inspection = Inspection::default();
    for file in &options.files {
        let bytes = read_bytes(file)?;
        inspection
            .read(&file.display().to_string(), &bytes, now)
            .with_context(|| format!("{} cannot be read", file.display()))?;
    }
    let report = inspection.finish(now);
    print(&render(&report))?;
    Ok(if report.problems == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn render(report: &InspectionReport) -> String {
    let mut text = String::new();
    for part in &report.parts {
        let _ = writeln!(text, "{}", part.title);
        for (label, value) in &part.lines {
            let _ = writeln!(text, "  {label:<12} {value}");
        }
        text.push('\n');
    }
    let problems = match report.problems {
        0 => "nothing is wrong".to_owned(),
        1 => "1 problem, marked with !".to_owned(),
        problems => format!("{problems} problems, marked with !"),
    };
    let _ = writeln!(text, "{problems}");
    text
}
