//! The load generator: does one job, and says how much of it and how fast.
//!
//! It speaks with the driver in lines. It says `ready` when it is warm, and waits; then it works,
//! and prints a [`Done`] as JSON; then it waits again, with its connections still open, until it is
//! told to end.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::client::{Client, Stream, finish};
use crate::measure::Latency;
use crate::pki::Identity;
use crate::protocol::{self, Command, pattern, wrong};
use crate::spawn::{give_way, single_threaded};

/// What to do, and to whom.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) to: SocketAddr,
    /// The directory of certificates, and which client it is, where TLS ends at the proxy.
    pub(crate) tls: Option<(PathBuf, Identity)>,
    /// How many names the clients ask for, at random.
    pub(crate) names: u32,
    pub(crate) work: Work,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Connect, be answered, end; this many at a time, until the time is over or there were enough.
    Connect {
        in_flight: usize,
        seconds: f64,
        at_most: usize,
    },
    /// Messages of 64 bytes that come back, one at a time on each connection.
    PingPong { connections: usize, seconds: f64 },
    /// This many bytes in all, over this many connections at a time.
    Bulk { way: Way, flows: usize, bytes: u64 },
    /// Connections that were answered and have sent one message, and then nothing.
    Idle { connections: usize },
    /// Connections that have sent half of a hello.
    HalfHello { connections: usize },
    /// Ping-pong, each connection at most once in this many milliseconds, beside connections that
    /// download without end.
    Beside {
        connections: usize,
        every_ms: u64,
        flows: usize,
        seconds: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    ToClient,
    ToBackend,
}

/// What was done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Connections, round trips, or bytes.
    pub(crate) units: f64,
    pub(crate) seconds: f64,
    pub(crate) latency: Option<Latency>,
    /// Bytes that flowed beside it.
    pub(crate) beside: Option<f64>,
}

/// The last line: what was done, or what went wrong.
pub(crate) type Report = Result<Done, String>;

/// Does the job that `job` describes in JSON.
pub(crate) fn run(job: &str) -> anyhow::Result<()> {
    snigate::net::raise_open_files()?;
    let job: Job = serde_json::from_str(job)?;
    let tls = job
        .tls
        .as_ref()
        .map(|(dir, identity)| (dir.as_path(), *identity));
    let client = Arc::new(Client::new(job.to, tls, job.names)?);
    let resumes = matches!(tls, Some((_, Identity::Resuming)));
    let limit = Duration::from_secs(90);
    single_threaded()?.block_on(async {
        let work = tokio::time::timeout(limit, work(&client, job.names, job.work));
        let mut result = work
            .await
            .unwrap_or_else(|_| bail!("it takes more than {} seconds", limit.as_secs()));
        let full = client.full_handshakes();
        if resumes && full > 0 && result.is_ok() {
            result = Err(anyhow!("{full} handshakes resumed nothing"));
        }
        let (done, open) = match result {
            Ok((done, open)) => (Ok(done), open),
            Err(error) => (Err(format!("{error:#}")), Vec::new()),
        };
        say(&serde_json::to_string::<Report>(&done)?)?;
        wait_for_line()?;
        drop(open);
        Ok(())
    })
}

/// Does the work, and hands over the connections that are to stay open.
async fn work(client: &Arc<Client>, names: u32, work: Work) -> anyhow::Result<(Done, Vec<Stream>)> {
    finish(client.open_soon(Duration::from_secs(20)).await?)
        .await
        .context("the first connection's end")?;
    match work {
        Work::Connect {
            in_flight,
            seconds,
            at_most,
        } => {
            connect(client, names, in_flight, seconds / 10.0, at_most / 10).await?;
            client.full_handshakes();
            ready()?;
            Ok((
                connect(client, names, in_flight, seconds, at_most).await?,
                Vec::new(),
            ))
        }
        Work::PingPong {
            connections,
            seconds,
        } => ping_pong(client, connections, seconds).await,
        Work::Bulk { way, flows, bytes } => bulk(client, way, flows, bytes).await,
        Work::Idle { connections } => {
            ready()?;
            let start = Instant::now();
            let open = open_echoes(client, connections).await?;
            Ok((Done::new(connections, start), open))
        }
        Work::HalfHello { connections } => {
            ready()?;
            let start = Instant::now();
            let mut open = Vec::new();
            for _ in 0..connections {
                open.push(client.open_half().await?);
            }
            Ok((Done::new(connections, start), open))
        }
        Work::Beside {
            connections,
            every_ms,
            flows,
            seconds,
        } => {
            let pace = Duration::from_millis(every_ms);
            beside(
                client,
                open_echoes(client, connections).await?,
                pace,
                flows,
                seconds,
            )
            .await
        }
    }
}

async fn connect(
    client: &Arc<Client>,
    names: u32,
    in_flight: usize,
    seconds: f64,
    at_most: usize,
) -> anyhow::Result<Done> {
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let mut lanes = JoinSet::new();
    for lane in 0..in_flight {
        let client = Arc::clone(client);
        lanes.spawn(async move {
            let mut numbers = Numbers(lane as u32 + 1);
            let mut latencies = Vec::new();
            while Instant::now() < end && latencies.len() < at_most / in_flight {
                let start = Instant::now();
                let stream = client.open(numbers.below(names)).await?;
                latencies.push(start.elapsed());
                finish(stream).await?;
            }
            io::Result::Ok(latencies)
        });
    }
    let latencies = all(lanes).await?.concat();
    Ok(Done {
        latency: Some(Latency::of(&latencies)),
        ..Done::new(latencies.len(), start)
    })
}

async fn ping_pong(
    client: &Client,
    connections: usize,
    seconds: f64,
) -> anyhow::Result<(Done, Vec<Stream>)> {
    let streams = open_echoes(client, connections).await?;
    let (_, streams) = bounce(streams, Duration::ZERO, seconds / 10.0).await?;
    ready()?;
    bounce(streams, Duration::ZERO, seconds).await
}

/// Sends messages back and forth on every stream at once, on each the next one when `pace` has
/// passed since the last.
async fn bounce(
    streams: Vec<Stream>,
    pace: Duration,
    seconds: f64,
) -> anyhow::Result<(Done, Vec<Stream>)> {
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let mut lanes = JoinSet::new();
    for mut stream in streams {
        lanes.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                echo_once(&mut stream, latencies.len() as u64).await?;
                latencies.push(start.elapsed());
                if !pace.is_zero() {
                    tokio::time::sleep_until((start + pace).into()).await;
                }
            }
            io::Result::Ok((latencies, stream))
        });
    }
    let (latencies, streams): (Vec<_>, Vec<_>) = all(lanes).await?.into_iter().unzip();
    let latencies = latencies.concat();
    Ok((
        Done {
            latency: Some(Latency::of(&latencies)),
            ..Done::new(latencies.len(), start)
        },
        streams,
    ))
}

/// Opens connections whose every message comes back.
pub(crate) async fn open_echoes(
    client: &Client,
    connections: usize,
) -> anyhow::Result<Vec<Stream>> {
    let mut streams = Vec::new();
    for number in 0..connections {
        let open = async {
            let mut stream = client.open(0).await?;
            stream.write_all(&Command::Echo.encode()).await?;
            echo_once(&mut stream, 0).await?;
            io::Result::Ok(stream)
        };
        streams.push(
            open.await
                .with_context(|| format!("after {number} connections"))?,
        );
    }
    Ok(streams)
}

/// Sends a message, and waits for it to come back.
pub(crate) async fn echo_once(stream: &mut Stream, number: u64) -> io::Result<()> {
    const MESSAGE: usize = 64;
    // Each differs from the one before, so that an old one is no answer.
    let message = pattern(number * 7, MESSAGE);
    stream.write_all(message).await?;
    stream.flush().await?;
    let mut received = [0; MESSAGE];
    stream.read_exact(&mut received).await?;
    if received != *message {
        return Err(wrong("another message comes back"));
    }
    Ok(())
}

async fn bulk(
    client: &Client,
    way: Way,
    flows: usize,
    bytes: u64,
) -> anyhow::Result<(Done, Vec<Stream>)> {
    let mut streams = Vec::new();
    for _ in 0..flows {
        streams.push((client.open(0).await?, vec![0; protocol::CHUNK]));
    }
    // Enough for the windows to grow.
    let streams = transfer(streams, way, bytes / 16).await?;
    ready()?;
    let start = Instant::now();
    let streams = transfer(streams, way, bytes).await?;
    let done = Done {
        units: bytes as f64,
        ..Done::new(0, start)
    };
    Ok((
        done,
        streams.into_iter().map(|(stream, _)| stream).collect(),
    ))
}

/// Shares `bytes` among the streams.
async fn transfer(
    streams: Vec<(Stream, Vec<u8>)>,
    way: Way,
    bytes: u64,
) -> anyhow::Result<Vec<(Stream, Vec<u8>)>> {
    let share = bytes / streams.len() as u64;
    let mut lanes = JoinSet::new();
    for (mut stream, mut buffer) in streams {
        lanes.spawn(async move {
            match way {
                Way::ToClient => {
                    stream.write_all(&Command::Get(share).encode()).await?;
                    stream.flush().await?;
                    protocol::receive(&mut stream, share, &mut buffer, |_| true).await?;
                }
                Way::ToBackend => {
                    stream.write_all(&Command::Put(share).encode()).await?;
                    protocol::send(&mut stream, share).await?;
                    if stream.read_u64().await? != share {
                        return Err(wrong("the backend counts other bytes"));
                    }
                }
            }
            io::Result::Ok((stream, buffer))
        });
    }
    Ok(all(lanes).await?)
}

/// The downloads have a thread of the lowest priority, so that what is measured is the proxy's
/// fairness, not ours.
async fn beside(
    client: &Arc<Client>,
    streams: Vec<Stream>,
    pace: Duration,
    flows: usize,
    seconds: f64,
) -> anyhow::Result<(Done, Vec<Stream>)> {
    let downloads = Arc::new(Downloads::default());
    let thread = thread::spawn({
        let (client, downloads) = (Arc::clone(client), Arc::clone(&downloads));
        move || downloads.run(&client, flows)
    });
    let (_, streams) = bounce(streams, pace, seconds / 3.0).await?;
    ready()?;
    let before = downloads.bytes.load(Ordering::Relaxed);
    let (done, streams) = bounce(streams, pace, seconds).await?;
    let bytes = downloads.bytes.load(Ordering::Relaxed) - before;
    downloads.stop.store(true, Ordering::Relaxed);
    match thread.join() {
        Ok(result) => result.context("the downloads")?,
        Err(_) => bail!("the downloads' thread panicked"),
    }
    if bytes == 0 {
        bail!("nothing was downloaded meanwhile");
    }
    Ok((
        Done {
            beside: Some(bytes as f64),
            ..done
        },
        streams,
    ))
}

#[derive(Default)]
struct Downloads {
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Downloads {
    fn run(self: &Arc<Self>, client: &Arc<Client>, flows: usize) -> anyhow::Result<()> {
        const ENDLESS: u64 = 1 << 50;
        give_way()?;
        single_threaded()?.block_on(async {
            let mut lanes = JoinSet::new();
            for _ in 0..flows {
                let (client, downloads) = (Arc::clone(client), Arc::clone(self));
                lanes.spawn(async move {
                    let mut stream = client.open(0).await?;
                    stream
                        .write_all(&Command::GetBehind(ENDLESS).encode())
                        .await?;
                    stream.flush().await?;
                    let mut buffer = vec![0; protocol::CHUNK];
                    let counted = AtomicU64::new(0);
                    let more = |received| {
                        downloads.bytes.fetch_add(
                            received - counted.swap(received, Ordering::Relaxed),
                            Ordering::Relaxed,
                        );
                        !downloads.stop.load(Ordering::Relaxed)
                    };
                    protocol::receive(&mut stream, ENDLESS, &mut buffer, more).await
                });
            }
            all(lanes).await
        })?;
        Ok(())
    }
}

/// The results of every task, or the first error.
async fn all<T: 'static>(mut tasks: JoinSet<io::Result<T>>) -> io::Result<Vec<T>> {
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        results.push(result.map_err(io::Error::other)??);
    }
    Ok(results)
}

impl Done {
    fn new(units: usize, start: Instant) -> Self {
        Self {
            units: units as f64,
            seconds: start.elapsed().as_secs_f64(),
            ..Self::default()
        }
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Numbers(pub(crate) u32);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        // xorshift32
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % limit.max(1)
    }

    /// Puts `items` into another order, each of which is as likely (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(u32::try_from(last + 1).unwrap_or(u32::MAX));
            items.swap(last, other as usize);
        }
    }
}

fn ready() -> io::Result<()> {
    say(READY)?;
    wait_for_line()
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn wait_for_line() -> io::Result<()> {
    io::stdin().lock().read_line(&mut String::new()).map(|_| ())
}

/// What is said when the work may begin.
pub(crate) const READY: &str = "ready";
