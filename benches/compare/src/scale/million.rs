//! A million routes, in files of a directory: whether they are served, and what each costs in
//! memory when reloads have replaced all of them again and again.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::client::{Client, finish};
use crate::measure::Spread;
use crate::scale::proxy::{Cores, Proxy, config, replace, route};
use crate::scale::routes::{UPSTREAMS, settled_kib};
use crate::scale::{Finding, Part, Stage};

pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    let measured = tokio::time::timeout(PATIENCE, measure_at_last(stage)).await;
    measured.unwrap_or_else(|_| bail!("not done after {PATIENCE:?}"))
}

async fn measure_at_last(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    let server = stage.backend(Part::Million);
    let few = settled_kib(&Proxy::start(stage, Cores::Both, &config(1, 1, server)).await?).await?;
    // No file of a configuration may be larger than 64 MiB.
    let dir = stage.dir.join("million");
    fs::create_dir_all(&dir)?;
    for file in 0..FILES {
        fs::write(dir.join(format!("{file}.toml")), routes(file, 0))?;
    }
    let text = format!(
        "include = \"million/*.toml\"\n{}",
        config(0, UPSTREAMS, server)
    );
    let start = Instant::now();
    let mut proxy = Proxy::start(stage, Cores::Both, &text).await?;
    let started = start.elapsed();
    let per_route = |kib: f64| (kib - few) * 1024.0 / f64::from(ROUTES);
    let at_start = per_route(settled_kib(&proxy).await?);
    let client = Client::new(proxy.addr, None, ROUTES)?;
    let mut took = Vec::new();
    for version in 1..=RELOADS {
        // Another upstream for every route of a file.
        let file = version % FILES;
        let start = replace(&dir.join(format!("{file}.toml")), &routes(file, version))?;
        proxy.hang_up()?;
        took.push((proxy.reloaded().await? - start).as_secs_f64());
        for nth in 0..CLIENTS {
            let number = (version * CLIENTS + nth).wrapping_mul(STRIDE) % ROUTES;
            let opened = client
                .open(number)
                .await
                .with_context(|| format!("the route of name {number}"))?;
            finish(opened).await?;
        }
    }
    let after = per_route(settled_kib(&proxy).await?);
    let took = Spread::of(took).map_or(f64::NAN, |spread| spread.median);
    Ok(vec![
        Finding::plain(
            "1,000,000 routes: from the start until they are served",
            format!("{:.1} s", started.as_secs_f64()),
        ),
        Finding::plain("the same: a reload", format!("{took:.1} s")),
        Finding::plain(
            "the same: memory of a route",
            format!("{at_start:.0} bytes"),
        ),
        Finding::judged(
            format!("the same after {RELOADS} reloads, each with {CLIENTS} clients behind it"),
            format!("{after:.0} bytes"),
            "800 bytes",
            after <= 800.0,
        ),
    ])
}

/// The routes of a file. Each `version` has other upstreams for them.
fn routes(file: u32, version: u32) -> String {
    let numbers = file * (ROUTES / FILES)..(file + 1) * (ROUTES / FILES);
    numbers.fold(String::new(), |mut text, number| {
        // Writing to a String does not fail.
        let _ = write!(text, "{}", route(number, (number + version) % UPSTREAMS));
        text
    })
}

const ROUTES: u32 = 1_000_000;
const FILES: u32 = 10;
const RELOADS: u32 = 10;
const CLIENTS: u32 = 20;
/// A prime, so that the names that are asked for lie everywhere.
const STRIDE: u32 = 7919;
/// It is done in one or two minutes.
const PATIENCE: Duration = Duration::from_secs(600);
