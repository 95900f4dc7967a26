//! Clients that connect at a steady pace, however long each takes.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{Client, finish};
use crate::load::Numbers;
use crate::measure::Latency;

/// Clients that come until they are stopped.
pub(super) struct Newcomers {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<Vec<Arrival>>>,
}

/// When a client began to connect, and how long it waited for its answer.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) waited: Duration,
}

impl Newcomers {
    /// So many a second, each asking for one of `names` names.
    #[expect(
        clippy::disallowed_methods,
        reason = "stopped and waited for by `stop`"
    )]
    pub(super) fn start(client: &Arc<Client>, names: u32, per_second: u32) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(arrive(Arc::clone(client), names, per_second, stopped));
        Self { stop, task }
    }

    /// Every arrival; an error if any of them was not answered.
    pub(super) async fn stop(self) -> anyhow::Result<Vec<Arrival>> {
        // It has ended by itself if it failed.
        let _ = self.stop.send(());
        self.task.await?
    }

    /// All who come in this time.
    pub(super) async fn during(
        client: &Arc<Client>,
        names: u32,
        per_second: u32,
        time: Duration,
    ) -> anyhow::Result<Vec<Arrival>> {
        let newcomers = Self::start(client, names, per_second);
        tokio::time::sleep(time).await;
        newcomers.stop().await
    }
}

async fn arrive(
    client: Arc<Client>,
    names: u32,
    per_second: u32,
    mut stopped: oneshot::Receiver<()>,
) -> anyhow::Result<Vec<Arrival>> {
    let (mut numbers, mut arrivals, mut tasks) = (Numbers(1), Vec::new(), JoinSet::new());
    let mut pace = interval(Duration::from_secs(1) / per_second);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            _ = pace.tick() => {
                let (client, number) = (Arc::clone(&client), numbers.below(names));
                tasks.spawn(async move { arrive_once(&client, number).await });
            }
            Some(arrival) = tasks.join_next() => arrivals.push(arrival??),
        }
    }
    while let Some(arrival) = tasks.join_next().await {
        arrivals.push(arrival??);
    }
    Ok(arrivals)
}

async fn arrive_once(client: &Client, number: u32) -> anyhow::Result<Arrival> {
    let at = Instant::now();
    let stream = client
        .open(number)
        .await
        .context("a new connection is not answered")?;
    let waited = at.elapsed();
    finish(stream)
        .await
        .context("a new connection does not end in order")?;
    Ok(Arrival { at, waited })
}

/// How long they waited, of those who came in one of these times, or of all.
pub(super) fn latency(arrivals: &[Arrival], times: Option<&[RangeInclusive<Instant>]>) -> Latency {
    let counts = |arrival: &&Arrival| {
        times.is_none_or(|times| times.iter().any(|time| time.contains(&arrival.at)))
    };
    Latency::of(
        &arrivals
            .iter()
            .filter(counts)
            .map(|arrival| arrival.waited)
            .collect::<Vec<_>>(),
    )
}
