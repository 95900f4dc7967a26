//! Many routes at rest: how long `check` takes, and what a route costs in memory.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::measure::Spread;
use crate::scale::proxy::{Cores, Proxy, config};
use crate::scale::{Finding, Part, Stage};
use crate::spawn::pinned;

pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    let server = stage.backend(Part::Routes);
    let text = config(ROUTES, UPSTREAMS, server);
    let path = stage.dir.join("check.toml");
    fs::write(&path, &text)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut command = pinned(stage.proxy_core, &stage.snigate)?;
        let status = command
            .arg("check")
            .arg("-c")
            .arg(&path)
            .stdout(Stdio::null())
            .status()?;
        times.push(start.elapsed().as_secs_f64());
        ensure!(status.success(), "check: {status}");
    }
    let time = Spread::of(times).map_or(f64::NAN, |spread| spread.median);
    let mut findings = vec![Finding::judged(
        "`check` of 100,000 routes to 10,000 upstreams",
        format!("{:.0} ms", time * 1e3),
        "600 ms",
        time <= 0.6,
    )];
    let few = settled_kib(&Proxy::start(stage, Cores::One, &config(1, 1, server)).await?).await?;
    let mut proxy = Proxy::start(stage, Cores::One, &text).await?;
    let per_route = |kib: f64| format!("{:.0} bytes", (kib - few) * 1024.0 / f64::from(ROUTES));
    findings.push(Finding::plain(
        "memory of a route",
        per_route(settled_kib(&proxy).await?),
    ));
    for _ in 0..RELOADS {
        proxy.hang_up()?;
        proxy.reloaded().await?;
    }
    let what = format!("the same after {RELOADS} reloads");
    findings.push(Finding::plain(what, per_route(settled_kib(&proxy).await?)));
    Ok(findings)
}

/// The memory of a proxy when what it no longer needs has been freed.
pub(super) async fn settled_kib(proxy: &Proxy) -> anyhow::Result<f64> {
    tokio::time::sleep(Duration::from_millis(700)).await;
    proxy.memory_kib()
}

pub(super) const ROUTES: u32 = 100_000;
pub(super) const UPSTREAMS: u32 = 10_000;
const ROUNDS: usize = 3;
const RELOADS: usize = 10;
