//! The proxies: where their programs are, how they are set up, started and stopped.
//!
//! Their settings are in `peers/`, one template for each proxy and setup, with the reasons.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::client::{NAME, numbered};
use crate::measure::{started, tree};
use crate::spawn::pinned;

/// What stands between the clients and the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proxy {
    /// Nothing: the limit. What is measured is the backend.
    Direct,
    Snigate,
    /// Snigate, and a line in a file for each connection.
    SnigateLog,
    /// Another build of snigate, to see what a change does: the program that the variable `SNIGATE_BEFORE` names.
    Before,
    Nginx,
    /// It splices where its heuristics say so.
    Haproxy,
    /// It splices whatever it can.
    HaproxySplice,
    Envoy,
    Traefik,
}

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Setup {
    /// Reads the hello and sends everything on.
    Passthrough,
    /// Ends TLS 1.3 and requires a certificate of the client.
    Mtls,
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
    pub(crate) const ALL: [Self; 9] = [
        Self::Direct,
        Self::Snigate,
        Self::SnigateLog,
        Self::Before,
        Self::Nginx,
        Self::Haproxy,
        Self::HaproxySplice,
        Self::Envoy,
        Self::Traefik,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Snigate => "snigate",
            Self::SnigateLog => "snigate+log",
            Self::Before => "snigate before",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::HaproxySplice => "HAProxy+splice",
            Self::Envoy => "Envoy",
            Self::Traefik => "Traefik",
        }
    }

    /// Whether snigate is measured by it.
    pub(crate) fn is_peer(self) -> bool {
        !matches!(self, Self::Direct) && !self.is_snigate()
    }

    fn is_snigate(self) -> bool {
        matches!(self, Self::Snigate | Self::SnigateLog | Self::Before)
    }

    /// The program, if it is installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let name = match self {
            Self::Direct => return None,
            Self::Snigate | Self::SnigateLog => return Some(env!("CARGO_BIN_EXE_snigate").into()),
            Self::Before => return std::env::var_os("SNIGATE_BEFORE").map(PathBuf::from),
            Self::Nginx => "nginx",
            Self::Haproxy | Self::HaproxySplice => "haproxy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())?;
        // The package's `envoy` is a script that starts the program beside it, and would count as part of it.
        Some(if self == Self::Envoy { wrapped_envoy(&found).unwrap_or(found) } else { found })
    }

    fn start_command(self, around: &Surroundings, config: &Path) -> anyhow::Result<std::process::Command> {
        let program = self.program().with_context(|| format!("{} is not installed", self.name()))?;
        let mut command = pinned(around.core, program)?;
        match self {
            Self::Direct => {}
            Self::Snigate | Self::SnigateLog | Self::Before => _ = command.args(["run", "-c"]).arg(config),
            Self::Nginx => _ = command.arg("-p").arg(&around.dir).arg("-e").arg("/dev/null").arg("-c").arg(config),
            Self::Haproxy | Self::HaproxySplice => _ = command.arg("-db").arg("-f").arg(config),
            Self::Envoy => {
                let flags = ["--concurrency", "1", "--disable-hot-restart", "-l", "off", "-c"];
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

    /// Writes its settings, and returns the file that it is started with.
    fn configure(self, setup: Setup, routes: u32, around: &Surroundings, port: u16) -> anyhow::Result<PathBuf> {
        let write = |name: &str, template: &str| {
            let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/peers").join(template);
            let text = fs::read_to_string(&template).with_context(|| template.display().to_string())?;
            let path = around.dir.join(name);
            fs::write(&path, self.fill(&text, routes, around, port))?;
            anyhow::Ok(path)
        };
        if routes > 1 {
            self.write_routes(routes, around)?;
        }
        let kind = match setup {
            Setup::Passthrough => "passthrough",
            Setup::Mtls => "mtls",
        };
        match self {
            Self::Direct => Ok(PathBuf::new()),
            Self::Snigate | Self::SnigateLog | Self::Before => write("snigate.toml", &format!("snigate-{kind}.toml")),
            Self::Nginx => write("nginx.conf", &format!("nginx-{kind}.conf")),
            Self::Haproxy | Self::HaproxySplice => write("haproxy.cfg", &format!("haproxy-{kind}.cfg")),
            Self::Envoy => write("envoy.yaml", &format!("envoy-{kind}.yaml")),
            Self::Traefik => {
                write("dynamic.yaml", &format!("traefik-{kind}.yaml"))?;
                write("traefik.yaml", "traefik.yaml")
            }
        }
    }

    fn fill(self, template: &str, routes: u32, around: &Surroundings, port: u16) -> String {
        // Where the module is a file of its own it must be loaded, and where it is built in there is none.
        let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
        let module = if module.exists() { format!("load_module {};", module.display()) } else { String::new() };
        let dir = around.dir.display().to_string();
        let many = match (self, routes) {
            (Self::Haproxy, 2..) => format!("use_backend %[req.ssl_sni,lower,map({dir}/routes.map)]"),
            _ => String::new(),
        };
        [
            ("@NAME@", NAME),
            ("@PORT@", &port.to_string()),
            ("@BACKEND@", &around.backend.port().to_string()),
            ("@DIR@", &dir),
            ("@PKI@", &around.pki.display().to_string()),
            ("@ACCESS@", if self == Self::SnigateLog { "true" } else { "false" }),
            ("@MODULE@", &module),
            ("@ROUTES@", &many),
            ("@SPLICE@", self.splice()),
        ]
        .iter()
        .fold(template.to_owned(), |text, (key, value)| text.replace(key, value))
    }

    /// Its heuristics rarely choose to splice here, even in bulk. To splice always is the cheapest for bulk, and costs a little
    /// more for small messages. So HAProxy takes part in both ways.
    fn splice(self) -> &'static str {
        match self {
            Self::HaproxySplice => "option splice-request\n    option splice-response",
            _ => "option splice-auto",
        }
    }

    /// A route for each numbered name.
    fn write_routes(self, routes: u32, around: &Surroundings) -> anyhow::Result<()> {
        let backend = around.backend;
        let path = match self {
            _ if self.is_snigate() => around.dir.join("routes.d/routes.toml"),
            _ => around.dir.join("routes.map"),
        };
        let mut out = std::io::BufWriter::new(fs::File::create(path)?);
        for number in 0..routes {
            let name = numbered(number);
            match self {
                _ if self.is_snigate() => writeln!(
                    out,
                    "[routes.r{number}]\nsni = \"{name}\"\naction = \"passthrough\"\nupstream = \"{backend}\""
                )?,
                Self::Haproxy => writeln!(out, "{name} app")?,
                _ => writeln!(out, "{name} {backend};")?,
            }
        }
        Ok(out.flush()?)
    }
}

impl Instance {
    /// Starts the proxy, and waits until it listens. Whether it serves is seen by asking.
    pub(crate) fn start(proxy: Proxy, setup: Setup, routes: u32, around: &Surroundings) -> anyhow::Result<Self> {
        // What an earlier run left there must not be read.
        let _ = fs::remove_dir_all(&around.dir);
        fs::create_dir_all(around.dir.join("routes.d"))?;
        let port = free_port()?;
        let config = proxy.configure(setup, routes, around, port)?;
        let log = fs::File::create(around.dir.join("log"))?;
        let mut command = proxy.start_command(around, &config)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot start {}", proxy.name()))?;
        let mut instance = Self { child, addr: (Ipv4Addr::LOCALHOST, port).into() };
        instance.wait_until_it_listens().with_context(|| last_line(&around.dir.join("log")))?;
        Ok(instance)
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.addr).is_err() {
            ensure!(!self.has_ended(), "it ends at once");
            ensure!(Instant::now() < end, "it does not listen after {} seconds", PATIENCE.as_secs());
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
        let family: Vec<_> = tree(self.pid()).unwrap_or_default().into_iter().map(|pid| (pid, started(pid))).collect();
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
    log.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// A port below those that the kernel gives to clients, so that none of them takes it first.
fn free_port() -> anyhow::Result<u16> {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (21_000..30_000).find(free).context("no port is free")
}

fn wrapped_envoy(script: &Path) -> Option<PathBuf> {
    let lib = script.canonicalize().ok()?.parent()?.parent()?.join("lib");
    let python = fs::read_dir(lib).ok()?.flatten();
    python.map(|entry| entry.path().join("site-packages/envoy/_bin/envoy")).find(|path| path.is_file())
}

/// For a proxy to start with 100,000 routes.
const PATIENCE: Duration = Duration::from_secs(30);
