//! A snigate that runs, and what it says.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::client::numbered;
use crate::measure::memory_kib;
use crate::scale::Stage;
use crate::spawn::{pinned, pinned_to};

/// The processors that a snigate may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cores {
    One,
    /// Also that of the clients.
    Both,
}

/// A running snigate. Killed when dropped.
pub(super) struct Proxy {
    child: Child,
    config: PathBuf,
    pub(super) addr: SocketAddr,
    events: UnboundedReceiver<(Instant, Value)>,
}

/// A configuration of `routes` routes to `upstreams` upstreams, all of which are the same server.
pub(super) fn config(routes: u32, upstreams: u32, server: SocketAddr) -> String {
    let mut text = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[timeouts]\nhello = \"60s\"\n\
                    [log]\nformat = \"json\"\naccess = false\n"
        .to_owned();
    // Writing to a String does not fail.
    for number in 0..upstreams {
        let _ = writeln!(text, "[upstreams.u{number}]\nservers = \"{server}\"");
    }
    for number in 0..routes {
        text.push_str(&route(number, number % upstreams));
    }
    text
}

/// The route of the name with this number.
pub(super) fn route(number: u32, upstream: u32) -> String {
    let name = numbered(number);
    format!(
        "[routes.r{number}]\nsni = \"{name}\"\naction = \"passthrough\"\nupstream = \"u{upstream}\"\n"
    )
}

impl Proxy {
    /// Starts it with this configuration, and waits until it is ready.
    pub(super) async fn start(stage: &Stage, cores: Cores, config: &str) -> anyhow::Result<Self> {
        let path = stage.dir.join("snigate.toml");
        replace(&path, config)?;
        let mut command = match cores {
            Cores::One => pinned(stage.proxy_core, &stage.snigate)?,
            Cores::Both => pinned_to(&[stage.proxy_core, stage.load_core], &stage.snigate)?,
        };
        let child = command
            .args(["run", "-c"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.context("cannot start snigate")?;
        let stderr = child.stderr.take().context("it is piped")?;
        let (sender, events) = unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send((Instant::now(), event)).is_err() {
                    return;
                }
            }
        });
        let mut proxy = Self {
            child,
            config: path,
            addr: ([127, 0, 0, 1], 0).into(),
            events,
        };
        let (_, event) = proxy.wait_for("listening").await?;
        proxy.addr = event["addr"].as_str().context("an address")?.parse()?;
        proxy.wait_for("ready").await?;
        Ok(proxy)
    }

    pub(super) fn memory_kib(&self) -> anyhow::Result<f64> {
        memory_kib(self.child.id())
    }

    /// Replaces the configuration by renaming a new file over it, and returns when that was. Does
    /// not wait.
    pub(super) fn replace_config(&self, config: &str) -> anyhow::Result<Instant> {
        replace(&self.config, config)
    }

    /// Tells it to reload now.
    pub(super) fn hang_up(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::HUP)?)
    }

    /// Waits until it has reloaded: when that was.
    pub(super) async fn reloaded(&mut self) -> anyhow::Result<Instant> {
        Ok(self.wait_for("reloaded").await?.0)
    }

    async fn wait_for(&mut self, message: &str) -> anyhow::Result<(Instant, Value)> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let next = next.with_context(|| format!("snigate does not say {message:?}"))?;
            let (at, event) = next.context("snigate has ended")?;
            if event["message"] == message {
                return Ok((at, event));
            }
            ensure!(event["level"] == "info", "snigate says: {event}");
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replaces a file by renaming a new one over it: when that was.
pub(super) fn replace(path: &Path, text: &str) -> anyhow::Result<Instant> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    let at = Instant::now();
    fs::rename(new, path)?;
    Ok(at)
}

/// A million routes take ten seconds where nobody else wants a processor.
const PATIENCE: Duration = Duration::from_secs(120);
