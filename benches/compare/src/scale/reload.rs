//! Reloads while clients connect and talk.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::sync::oneshot;

use crate::client::{Client, Stream, finish};
use crate::load::{echo_once, open_echoes};
use crate::measure::Spread;
use crate::scale::newcomers::{Newcomers, latency};
use crate::scale::proxy::{Cores, Proxy, config, route};
use crate::scale::routes::{ROUTES, UPSTREAMS};
use crate::scale::{Finding, Part, Stage};

/// 100,000 routes are replaced while clients connect.
pub(super) async fn many_routes(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    let server = stage.backend(Part::Reload);
    let text = config(ROUTES, UPSTREAMS, server);
    let mut findings = Vec::new();
    for (cores, label) in [
        (Cores::One, "one processor"),
        (Cores::Both, "two, shared with the clients"),
    ] {
        let mut proxy = Proxy::start(stage, cores, &text).await?;
        let client = Arc::new(Client::new(proxy.addr, None, ROUTES)?);
        finish(client.open_soon(Duration::from_secs(5)).await?).await?;
        let (mut quiet, mut busy, mut took) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..5 {
            quiet.push(
                latency(
                    &Newcomers::during(&client, ROUTES, PER_SECOND, QUIET).await?,
                    None,
                )
                .p99,
            );
            let newcomers = Newcomers::start(&client, ROUTES, PER_SECOND);
            let mut reloads = Vec::new();
            for version in 0..2 {
                let changed = format!("{text}{}", route(ROUTES + turn * 2 + version, 0));
                // Written in a moment in which nobody is measured.
                let start = proxy.replace_config(&changed)?;
                // A new route would otherwise wait until the file is quiet.
                proxy.hang_up()?;
                let end = proxy.reloaded().await?;
                took.push((end - start).as_secs_f64());
                tokio::time::sleep(AFTERWARDS).await;
                reloads.push(start..=Instant::now());
            }
            busy.push(latency(&newcomers.stop().await?, Some(&reloads)).p99);
        }
        let median = |values: Vec<f64>| Spread::of(values).map_or(f64::NAN, |spread| spread.median);
        let (quiet, busy, took) = (median(quiet), median(busy), median(took));
        findings.push(Finding::plain(
            format!("a reload of 100,000 routes, {label}"),
            format!("{:.0} ms with the debounce", took * 1e3),
        ));
        findings.push(Finding::judged(
            format!("p99 of new connections meanwhile, {label}"),
            format!("{busy:.0} µs; quiet {quiet:.0} µs"),
            "twice the quiet one",
            busy <= 2.0 * quiet,
        ));
    }
    Ok(findings)
}

/// How soon new routes count, and whether those who are connected wait for it.
pub(super) async fn switch(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    const ROUTES: u32 = 10_000;
    let server = stage.backend(Part::Switch);
    let text = config(ROUTES, ROUTES / 10, server);
    let mut findings = Vec::new();
    for (cores, label) in [
        (Cores::One, "one processor"),
        (Cores::Both, "two, shared with the clients"),
    ] {
        let mut proxy = Proxy::start(stage, cores, &text).await?;
        let client = Arc::new(Client::new(proxy.addr, None, ROUTES)?);
        let traffic = Traffic::start(open_echoes(&client, 8).await?);
        tokio::time::sleep(QUIET).await;
        let (mut soon, mut reloads) = (Vec::new(), Vec::new());
        for version in 0..5 {
            let number = ROUTES + version;
            ensure!(
                client.open(number).await.is_err(),
                "a name that no route has is answered"
            );
            let start = proxy.replace_config(&format!("{text}{}", route(number, 0)))?;
            // A new route would otherwise wait until the file is quiet.
            proxy.hang_up()?;
            finish(open_at_last(&client, number).await?).await?;
            soon.push(start.elapsed().as_secs_f64() * 1e3);
            proxy.reloaded().await?;
            tokio::time::sleep(AFTERWARDS).await;
            reloads.push(start..=Instant::now());
        }
        let trips = traffic.stop().await?;
        let longest = |counts: &dyn Fn(Instant) -> bool| {
            let counting = trips.iter().filter(|(at, _)| counts(*at));
            counting
                .map(|(_, waited)| *waited)
                .max()
                .unwrap_or_default()
                .as_secs_f64()
                * 1e3
        };
        let meanwhile = |at: Instant| {
            reloads
                .iter()
                .any(|reload: &RangeInclusive<Instant>| reload.contains(&at))
        };
        let (gap, quiet) = (longest(&meanwhile), longest(&|at| !meanwhile(at)));
        let soon = Spread::of(soon).context("there were reloads")?;
        findings.push(Finding::judged(
            format!("10,000 routes: from the change and SIGHUP to the first new client, {label}"),
            format!("{:.0} ms ({:.0}..{:.0})", soon.median, soon.min, soon.max),
            "250 ms",
            soon.max <= 250.0,
        ));
        findings.push(Finding::judged(
            format!("the longest round trip meanwhile, {label}"),
            format!("{gap:.1} ms; quiet {quiet:.1} ms"),
            "10 ms",
            gap <= 10.0,
        ));
    }
    Ok(findings)
}

/// 1,000 reloads under 500 connections and constantly new ones.
pub(super) async fn many_times(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    const CONNECTIONS: usize = 500;
    const ROUTES: u32 = 100;
    let text = config(ROUTES, 10, stage.backend(Part::Reloads));
    let mut proxy = Proxy::start(stage, Cores::One, &text).await?;
    let client = Arc::new(Client::new(proxy.addr, None, ROUTES)?);
    let traffic = Traffic::start(open_echoes(&client, CONNECTIONS).await?);
    let newcomers = Newcomers::start(&client, ROUTES, PER_SECOND);
    let mut early = 0.0;
    for version in 1..=1000 {
        // A file that differs each time, and its upstreams too.
        let other = format!("[upstreams.v{version}]\nservers = \"127.0.0.1:9\"\n");
        // The route stays: one that goes would tighten, and be held where a look comes before the
        // signal.
        let route = route(ROUTES, 0).replace("\"u0\"", &format!("\"v{version}\""));
        proxy.replace_config(&format!("{text}{other}{route}"))?;
        proxy.hang_up()?;
        proxy.reloaded().await?;
        // The clients have their turn between two reloads.
        tokio::time::sleep(Duration::from_millis(15)).await;
        if version == 100 {
            early = proxy.memory_kib()?;
        }
    }
    let late = proxy.memory_kib()?;
    let arrivals = newcomers.stop().await?.len();
    let trips = traffic.stop().await?.len();
    Ok(vec![
        Finding::judged(
            format!("1,000 reloads under {CONNECTIONS} connections"),
            format!("{trips} round trips and {arrivals} new connections, none lost"),
            "none lost",
            true,
        ),
        Finding::judged(
            "memory after 100 and after 1,000",
            format!("{:.1} and {:.1} MiB", early / 1024.0, late / 1024.0),
            "flat: at most 10 % more",
            late <= early * 1.1,
        ),
    ])
}

/// Connects until there is a route for the name.
async fn open_at_last(client: &Client, number: u32) -> anyhow::Result<Stream> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match client.open(number).await {
            Ok(stream) => return Ok(stream),
            Err(error) => ensure!(Instant::now() < end, "still {error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Messages on open connections, one connection after the other.
struct Traffic {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<anyhow::Result<Vec<(Instant, Duration)>>>,
}

impl Traffic {
    #[expect(
        clippy::disallowed_methods,
        reason = "stopped and waited for by `stop`"
    )]
    fn start(mut streams: Vec<Stream>) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut trips = Vec::new();
            while stopped.try_recv().is_err() {
                for stream in &mut streams {
                    let start = Instant::now();
                    echo_once(stream, trips.len() as u64)
                        .await
                        .context("a connection is lost")?;
                    trips.push((start, start.elapsed()));
                }
                // Not more work than leaves the others of this core their share.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for stream in streams {
                finish(stream)
                    .await
                    .context("a connection does not end in order")?;
            }
            Ok(trips)
        });
        Self { stop, task }
    }

    /// Every round trip: when it began and how long it took. An error if any connection was lost.
    async fn stop(self) -> anyhow::Result<Vec<(Instant, Duration)>> {
        // It has ended by itself if it failed.
        let _ = self.stop.send(());
        self.task.await?
    }
}

const PER_SECOND: u32 = 300;
const QUIET: Duration = Duration::from_millis(1500);

/// After a reload, for what is freed then.
const AFTERWARDS: Duration = Duration::from_millis(100);
