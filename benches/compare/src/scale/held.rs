//! Many connections at a time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, getrlimit};

use crate::client::{Client, Stream};
use crate::load::{echo_once, open_echoes};
use crate::measure::Spread;
use crate::scale::newcomers::{Newcomers, latency};
use crate::scale::proxy::{Cores, Proxy, config};
use crate::scale::{Finding, Part, Stage};

/// Connections that are open at a time.
pub(super) async fn connections(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    // Each takes two descriptors of snigate.
    let count = WANTED.min(descriptors() / 2);
    let proxy = Proxy::start(
        stage,
        Cores::One,
        &config(NAMES, 1, stage.backend(Part::Held)),
    )
    .await?;
    let client = Client::new(proxy.addr, None, NAMES)?;
    let warm = open_echoes(&client, 10).await?;
    settle().await;
    let before = proxy.memory_kib()?;
    let mut streams = open_echoes(&client, count).await?;
    settle().await;
    let memory = (proxy.memory_kib()? - before) / count as f64;
    for (number, stream) in streams.iter_mut().enumerate() {
        echo_once(stream, 1)
            .await
            .with_context(|| format!("connection {number} is lost"))?;
    }
    drop(warm);
    let limit = if count < WANTED {
        ", all that the limit of open files allows"
    } else {
        ""
    };
    let held = Finding {
        what: "connections held at a time".to_owned(),
        value: format!("{count}{limit}; every one answers"),
        target: "15,000, none lost".to_owned(),
        // Where the machine does not let it be tried, it is not known.
        reached: (count == WANTED).then_some(true),
    };
    Ok(vec![
        held,
        Finding::plain("memory of each", format!("{memory:.2} KiB")),
    ])
}

/// Clients connect beside those that do not finish their hellos.
pub(super) async fn unfinished(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    const PER_SECOND: u32 = 300;
    const TIME: Duration = Duration::from_secs(2);
    let count = descriptors().min(10_000);
    let proxy = Proxy::start(
        stage,
        Cores::One,
        &config(NAMES, 1, stage.backend(Part::Unfinished)),
    )
    .await?;
    let client = Arc::new(Client::new(proxy.addr, None, NAMES)?);
    let (mut quiet, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        quiet.push(
            latency(
                &Newcomers::during(&client, NAMES, PER_SECOND, TIME).await?,
                None,
            )
            .p99,
        );
        let mut open: Vec<Stream> = Vec::with_capacity(count);
        for _ in 0..count {
            open.push(client.open_half().await?);
        }
        settle().await;
        beside.push(
            latency(
                &Newcomers::during(&client, NAMES, PER_SECOND, TIME).await?,
                None,
            )
            .p99,
        );
        drop(open);
        settle().await;
    }
    let median = |values: Vec<f64>| Spread::of(values).map_or(f64::NAN, |spread| spread.median);
    let (quiet, beside) = (median(quiet), median(beside));
    Ok(vec![Finding::judged(
        format!("p99 of new connections beside {count} unfinished hellos"),
        format!("{beside:.0} µs; quiet {quiet:.0} µs"),
        "twice the quiet one",
        beside <= 2.0 * quiet,
    )])
}

/// How many there may be in one process, but for those that it needs itself.
pub(super) fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_sub(200)
}

pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(700)).await;
}

const WANTED: usize = 15_000;
pub(super) const NAMES: u32 = 2;
