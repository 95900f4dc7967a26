//! Snigate beside its peers: the same work through each of them, one after the other, round after
//! round.
//!
//! `benches/compare/run` starts this. The program plays every part but the proxies': it starts
//! itself again as the backend and as the load generator (on one core), and each proxy in turn (on
//! the other), and compares what the same work cost them.

mod backend;
mod cases;
mod chart;
mod client;
mod driver;
mod floor;
mod load;
mod machine;
mod measure;
mod paths;
mod peers;
mod pki;
mod protocol;
mod report;
mod results;
mod scale;
mod settings;
mod setup;
mod spawn;

use anyhow::Context;
use clap::Parser;

use crate::cases::Case;
use crate::driver::Options;
use crate::peers::Proxy;

/// Compares snigate with its peers.
#[derive(Debug, Parser)]
#[command(name = "benches/compare/run")]
struct Cli {
    /// Under five minutes: three short rounds. The result is printed and left in the target
    /// directory.
    #[arg(long, required_unless_present = "full")]
    quick: bool,
    /// Every case, five rounds or more, about an hour. Without --case and --proxy it writes
    /// RESULTS.md.
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Only these cases.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<Case>,
    /// Only these proxies.
    #[arg(long = "proxy", value_name = "PROXY")]
    proxies: Vec<Proxy>,
    /// How often each proxy has its turn.
    #[arg(long)]
    rounds: Option<usize>,
    /// The core of the proxies.
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// The core of the load generator and the backend.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("backend") => backend::run(arguments.next().context("how many?")?.parse()?),
        Some("load") => load::run(&arguments.next().context("a job")?),
        Some("floor") => floor::run(
            arguments.next().context("a port")?.parse()?,
            arguments.next().context("a server")?.parse()?,
        ),
        Some("exec") => spawn::become_pinned(arguments),
        Some("scale") => scale::run(&scale::Cli::parse_from(std::env::args().skip(1))),
        _ => driver::run(&Cli::parse().into()),
    }
}

impl From<Cli> for Options {
    fn from(cli: Cli) -> Self {
        Self {
            quick: cli.quick,
            cases: cli.cases,
            proxies: cli.proxies,
            rounds: cli.rounds,
            proxy_core: cli.proxy_core,
            load_core: cli.load_core,
        }
    }
}
