//! What snigate bears: a hundred thousand routes and a million, a reload at any moment, and every
//! connection that the limit of open files allows; each with a target.
//!
//! `benches/scale` starts this. Backend and clients run on one core; snigate, as it is shipped, runs
//! on the other, or on all where that says more.

mod flood;
mod held;
mod million;
mod newcomers;
mod proxy;
mod reload;
mod routes;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};

use crate::backend::Backend;
use crate::{paths, spawn};

/// Measures what snigate bears, and says which targets it misses.
#[derive(Debug, Parser)]
#[command(name = "benches/scale")]
pub(crate) struct Cli {
    /// Only these parts. Default: all but `million`, which takes minutes.
    #[arg(value_name = "PART")]
    parts: Vec<Part>,
    /// The program, in place of the one that was built with this.
    #[arg(long, value_name = "FILE")]
    snigate: Option<PathBuf>,
    /// The core of snigate where it has one only.
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// The core of the clients and the backend.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// 100,000 routes: the time of `check`, and memory.
    Routes,
    /// 100,000 routes are replaced while clients connect.
    Reload,
    /// 10,000 routes are replaced: how soon, and whether anybody waits.
    Switch,
    /// 1,000 reloads under 500 connections and constantly new ones.
    Reloads,
    /// 15,000 connections at a time.
    Held,
    /// Clients connect beside 10,000 that do not finish their hellos.
    Unfinished,
    /// The same, from 50 sources that connect anew as soon as they are closed, against limits.
    Flood,
    /// 1,000,000 routes are replaced ten times: memory. Two minutes or more, and 2 GiB; only if it
    /// is named.
    Million,
}

/// A figure with its target.
struct Finding {
    what: String,
    value: String,
    target: String,
    /// Nothing, where there is no target.
    reached: Option<bool>,
}

impl Finding {
    fn judged(
        what: impl Into<String>,
        value: String,
        target: impl Into<String>,
        reached: bool,
    ) -> Self {
        Self {
            what: what.into(),
            value,
            target: target.into(),
            reached: Some(reached),
        }
    }

    fn plain(what: impl Into<String>, value: String) -> Self {
        Self {
            what: what.into(),
            value,
            target: String::new(),
            reached: None,
        }
    }
}

/// Measures, and prints a table.
///
/// # Errors
///
/// When a target is missed, or something fails.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<()> {
    snigate::net::raise_open_files()?;
    let by_default = || {
        Part::value_variants()
            .iter()
            .copied()
            .filter(|part| *part != Part::Million)
    };
    let parts = if cli.parts.is_empty() {
        by_default().collect()
    } else {
        cli.parts.clone()
    };
    let stage = Stage::new(cli)?;
    let runtime = spawn::single_threaded()?;
    let mut missed = 0;
    writeln!(
        io::stdout(),
        "| what | measured | target | |\n| --- | --- | --- | --- |"
    )?;
    for part in parts {
        let findings = match part {
            Part::Routes => runtime.block_on(routes::measure(&stage)),
            Part::Reload => runtime.block_on(reload::many_routes(&stage)),
            Part::Switch => runtime.block_on(reload::switch(&stage)),
            Part::Reloads => runtime.block_on(reload::many_times(&stage)),
            Part::Held => runtime.block_on(held::connections(&stage)),
            Part::Unfinished => runtime.block_on(held::unfinished(&stage)),
            Part::Flood => runtime.block_on(flood::flood(&stage)),
            Part::Million => runtime.block_on(million::measure(&stage)),
        };
        let findings = findings.with_context(|| format!("{part:?}"))?;
        missed += findings
            .iter()
            .filter(|finding| finding.reached == Some(false))
            .count();
        for Finding {
            what,
            value,
            target,
            reached,
        } in findings
        {
            let verdict = reached.map_or("", |reached| if reached { "reached" } else { "MISSED" });
            writeln!(io::stdout(), "| {what} | {value} | {target} | {verdict} |")?;
        }
    }
    if missed > 0 {
        bail!("{missed} of the targets are missed");
    }
    Ok(())
}

/// What every part needs: the program, a directory, and a backend.
struct Stage {
    snigate: PathBuf,
    dir: PathBuf,
    proxy_core: usize,
    load_core: usize,
    /// It has a port for each part: a part must not meet the ports that another one has left in
    /// TIME_WAIT.
    backend: Backend,
}

impl Stage {
    fn new(cli: &Cli) -> anyhow::Result<Self> {
        let dir = paths::scratch("scale")?;
        fs::create_dir_all(&dir)?;
        spawn::pin(cli.load_core)?;
        let backend = Backend::start(cli.load_core, Part::value_variants().len(), &dir)?;
        let (proxy_core, load_core) = (cli.proxy_core, cli.load_core);
        Ok(Self {
            snigate: cli.snigate.clone().map_or_else(paths::snigate, Ok)?,
            dir,
            proxy_core,
            load_core,
            backend,
        })
    }

    fn backend(&self, part: Part) -> SocketAddr {
        self.backend.addr(part as usize)
    }
}
