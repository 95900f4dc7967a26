//! Hellos that do not come to an end, from few sources, against the limits of a listener.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Client, Stream};
use crate::load::{echo_once, open_echoes};
use crate::measure::Spread;
use crate::scale::held::{NAMES, descriptors, settle};
use crate::scale::newcomers::{Newcomers, latency};
use crate::scale::proxy::{Cores, Proxy, config};
use crate::scale::{Finding, Part, Stage};

const SOURCES: usize = 50;
const LIMITS: &str = "max_pending = 2000\npending_per_source = 64\n";
/// Good clients, and for how long they come.
const PER_SECOND: u32 = 100;
const TIME: Duration = Duration::from_secs(3);
/// The flood goes on while they come: so many slow hellos a second.
const FLOOD_PER_SECOND: u32 = 1000;

/// Good clients come and go while 10,000 slow hellos are held against snigate, and new ones come
/// all the time.
pub(super) async fn flood(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    let count = descriptors().min(10_000);
    let text = config(NAMES, 1, stage.backend(Part::Flood));
    let text = text.replace(
        "bind = \"127.0.0.1:0\"\n",
        &format!("bind = \"127.0.0.1:0\"\n{LIMITS}"),
    );
    let proxy = Proxy::start(stage, Cores::One, &text).await?;
    let client = Arc::new(Client::new(proxy.addr, None, NAMES)?);
    let mut established = open_echoes(&client, 100).await?;
    let (mut quiet, mut beside, mut memory) = (Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..3 {
        quiet.push(
            latency(
                &Newcomers::during(&client, NAMES, PER_SECOND, TIME).await?,
                None,
            )
            .p99,
        );
        let before = proxy.memory_kib()?;
        let flood = Flood::start(&client, count).await?;
        settle().await;
        memory = memory.max(proxy.memory_kib()? - before);
        beside.push(
            latency(
                &Newcomers::during(&client, NAMES, PER_SECOND, TIME).await?,
                None,
            )
            .p99,
        );
        flood.stop().await?;
        settle().await;
    }
    for (number, stream) in established.iter_mut().enumerate() {
        echo_once(stream, 1)
            .await
            .with_context(|| format!("established connection {number} is harmed"))?;
    }
    let median = |values: Vec<f64>| Spread::of(values).map_or(f64::NAN, |spread| spread.median);
    let (quiet, beside) = (median(quiet), median(beside));
    Ok(vec![
        Finding::judged(
            format!(
                "p99 of good clients in a flood of {count} slow hellos from {SOURCES} sources, {FLOOD_PER_SECOND} more a second"
            ),
            format!("{beside:.0} µs; quiet {quiet:.0} µs; 100 established connections unharmed"),
            "twice the quiet one",
            beside <= 2.0 * quiet,
        ),
        Finding::plain(
            "memory that the flood takes, with max_pending = 2000",
            format!("{memory:.0} KiB"),
        ),
    ])
}

/// Slow hellos, and a task that goes on opening them.
struct Flood {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Flood {
    /// Begins with `count` of them; later ones take the places of the oldest.
    #[expect(
        clippy::disallowed_methods,
        reason = "stopped and waited for by `stop`"
    )]
    async fn start(client: &Arc<Client>, count: usize) -> anyhow::Result<Self> {
        let client = Arc::clone(client);
        let mut open: Vec<Stream> = Vec::with_capacity(count);
        for number in 0..count {
            open.push(client.open_half_from(source(number)).await?);
        }
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs(1) / FLOOD_PER_SECOND);
            for number in 0.. {
                tokio::select! {
                    _ = &mut stopped => break,
                    _ = pace.tick() => open[number % count] = client.open_half_from(source(number)).await?,
                }
            }
            Ok(())
        });
        Ok(Self { stop, task })
    }

    async fn stop(self) -> anyhow::Result<()> {
        // It has ended by itself if it failed.
        let _ = self.stop.send(());
        self.task.await?
    }
}

/// 127.0.1.1 and those that follow.
fn source(number: usize) -> IpAddr {
    let last = u8::try_from(number % SOURCES).unwrap_or_default();
    Ipv4Addr::new(127, 0, 1, last + 1).into()
}
