//! The proxies: where their programs are, how they are set up, started and stopped.
//!
//! Their settings are in `peers/`, with the reasons.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::measure::{started, tree};
use crate::paths;
use crate::settings::Settings;
use crate::setup::{Form, Setup};
use crate::spawn::pinned;

/// What stands between the clients and the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proxy {
    /// Nothing: the limit. What is measured is the backend.
    Direct,
    /// The bare loop of [`floor`](crate::floor).
    Floor,
    Snigate,
    /// Another build of snigate, to see what a change does: the program that the variable
    /// `SNIGATE_BEFORE` names.
    Before,
    /// The distribution's.
    Nginx,
    /// The program that the variable `NGINX` names.
    NginxCurrent,
    /// The distribution's. It splices where its heuristics say so.
    Haproxy,
    /// The same, and it splices whatever it can.
    HaproxySplice,
    /// The program that the variable `HAPROXY` names.
    HaproxyCurrent,
    Envoy,
    Traefik,
}

/// Where a proxy finds what it needs.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// Its own directory.
    pub(crate) dir: PathBuf,
    pub(crate) pki: PathBuf,
    pub(crate) backend: SocketAddr,
    pub(crate) core: usize,
}

/// A proxy that runs. It is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    child: Child,
    pub(crate) addr: SocketAddr,
}

impl Proxy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "bare loop",
            Self::Snigate => "snigate",
            Self::Before => "snigate before",
            Self::Nginx => "nginx",
            Self::NginxCurrent => "nginx current",
            Self::Haproxy => "HAProxy",
            Self::HaproxySplice => "HAProxy+splice",
            Self::HaproxyCurrent => "HAProxy current",
            Self::Envoy => "Envoy",
            Self::Traefik => "Traefik",
        }
    }

    /// Whether snigate is measured by it.
    pub(crate) fn is_peer(self) -> bool {
        !matches!(self, Self::Direct | Self::Floor) && !self.is_snigate()
    }

    pub(crate) fn is_snigate(self) -> bool {
        matches!(self, Self::Snigate | Self::Before)
    }

    /// Whether bytes that are only passed on may stay in the kernel.
    pub(crate) fn splices(self) -> bool {
        matches!(
            self,
            Self::Haproxy | Self::HaproxySplice | Self::HaproxyCurrent
        )
    }

    /// Whether it takes part where nobody asks for it by name. Another build of snigate never does.
    pub(crate) fn takes_part(self) -> bool {
        match self {
            Self::Before => false,
            Self::NginxCurrent | Self::HaproxyCurrent => self.program().is_some(),
            _ => true,
        }
    }

    /// The program, if it is installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let name = match self {
            Self::Direct => return None,
            Self::Floor => return std::env::current_exe().ok(),
            Self::Snigate => return paths::snigate().ok(),
            Self::Before => return std::env::var_os("SNIGATE_BEFORE").map(PathBuf::from),
            Self::NginxCurrent => return std::env::var_os("NGINX").map(PathBuf::from),
            Self::HaproxyCurrent => return std::env::var_os("HAPROXY").map(PathBuf::from),
            Self::Nginx => "nginx",
            Self::Haproxy | Self::HaproxySplice => "haproxy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|path| path.is_file())?;
        // The package's `envoy` is a script that starts the program beside it, and would count as
        // part of it.
        Some(if self == Self::Envoy {
            wrapped_envoy(&found).unwrap_or(found)
        } else {
            found
        })
    }

    fn start_command(
        self,
        around: &Surroundings,
        config: &Path,
        port: u16,
    ) -> anyhow::Result<std::process::Command> {
        let program = self
            .program()
            .with_context(|| format!("{} is not installed", self.name()))?;
        let mut command = pinned(around.core, program)?;
        match self {
            Self::Direct => {}
            Self::Floor => {
                _ = command
                    .arg("floor")
                    .arg(port.to_string())
                    .arg(around.backend.to_string())
            }
            Self::Snigate | Self::Before => _ = command.args(["run", "-c"]).arg(config),
            Self::Nginx | Self::NginxCurrent => {
                _ = command
                    .arg("-p")
                    .arg(&around.dir)
                    .arg("-e")
                    .arg("/dev/null")
                    .arg("-c")
                    .arg(config)
            }
            Self::Haproxy | Self::HaproxySplice | Self::HaproxyCurrent => {
                _ = command.arg("-db").arg("-f").arg(config)
            }
            Self::Envoy => {
                let flags = [
                    "--concurrency",
                    "1",
                    "--disable-hot-restart",
                    "-l",
                    "off",
                    "-c",
                ];
                command.args(flags).arg(config);
            }
            Self::Traefik => {
                let mut flag = std::ffi::OsString::from("--configFile=");
                flag.push(config);
                command.env("GOMAXPROCS", "1").arg(flag);
            }
        }
        Ok(command)
    }
}

impl Instance {
    /// Starts the proxy, and waits until it listens. Whether it serves is seen by asking.
    pub(crate) fn start(
        proxy: Proxy,
        setup: Setup,
        form: Form,
        around: &Surroundings,
    ) -> anyhow::Result<Self> {
        // What an earlier run left there must not be read.
        let _ = fs::remove_dir_all(&around.dir);
        fs::create_dir_all(around.dir.join("routes.d"))?;
        let port = free_port()?;
        let config = Settings {
            proxy,
            setup,
            form,
            around,
            port,
        }
        .write()?;
        let log = fs::File::create(around.dir.join("log"))?;
        let mut command = proxy.start_command(around, &config, port)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let child = child.with_context(|| format!("cannot start {}", proxy.name()))?;
        let mut instance = Self {
            child,
            addr: (Ipv4Addr::LOCALHOST, port).into(),
        };
        instance
            .wait_until_it_listens()
            .with_context(|| last_line(&around.dir.join("log")))?;
        Ok(instance)
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.addr).is_err() {
            ensure!(!self.has_ended(), "it ends at once");
            ensure!(
                Instant::now() < end,
                "it does not listen after {} seconds",
                PATIENCE.as_secs()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SIGTERM first: a master that is killed leaves its workers behind. A drain is cut short.
        let family: Vec<_> = tree(self.pid())
            .unwrap_or_default()
            .into_iter()
            .map(|pid| (pid, started(pid)))
            .collect();
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let end = Instant::now() + Duration::from_millis(500);
        while !self.has_ended() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        for (pid, start) in family.into_iter().filter(|(_, start)| start.is_some()) {
            if let Some(process) = Pid::from_raw(pid.cast_signed())
                && started(pid) == start
            {
                let _ = kill_process(process, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

fn last_line(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    log.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or_default()
        .to_owned()
}

/// A port below those that the kernel gives to clients, so that none of them takes it first.
fn free_port() -> anyhow::Result<u16> {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (21_000..30_000).find(free).context("no port is free")
}

fn wrapped_envoy(script: &Path) -> Option<PathBuf> {
    let lib = script.canonicalize().ok()?.parent()?.parent()?.join("lib");
    let python = fs::read_dir(lib).ok()?.flatten();
    python
        .map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.is_file())
}

/// For a proxy to start with 100,000 routes.
const PATIENCE: Duration = Duration::from_secs(30);
