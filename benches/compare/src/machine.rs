//! What the figures were measured on.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::paths;
use crate::peers::Proxy;

/// The machine, and the versions of what ran on it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    /// Before the first case: what else the machine was doing.
    pub(crate) load_average: String,
    pub(crate) versions: Vec<(Proxy, String)>,
}

impl Machine {
    pub(crate) fn describe(proxies: &[Proxy]) -> Self {
        let date = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
        let memory = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.trim_end_matches(" kB").parse().ok());
        Self {
            date,
            kernel: read("/proc/sys/kernel/osrelease"),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory.unwrap_or(0.0) / f64::from(1 << 20),
            load_average: read("/proc/loadavg")
                .split(' ')
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
            versions: proxies
                .iter()
                .filter_map(|proxy| Some((*proxy, version(*proxy)?)))
                .collect(),
        }
    }
}

/// As the program itself says it.
fn version(proxy: Proxy) -> Option<String> {
    let flag = match proxy {
        Proxy::Direct | Proxy::Floor | Proxy::HaproxySplice => return None,
        Proxy::Snigate | Proxy::Before | Proxy::Envoy => "--version",
        Proxy::Nginx | Proxy::NginxCurrent | Proxy::Haproxy | Proxy::HaproxyCurrent => "-v",
        Proxy::Traefik => "version",
    };
    let output = Command::new(proxy.program()?).arg(flag).output().ok()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let number = text
        .split(|c: char| c.is_whitespace() || c == '/')
        .find(|word| {
            word.split('.')
                .filter(|part| part.starts_with(|c: char| c.is_ascii_digit()))
                .count()
                > 1
        })?;
    let mut version = number.to_owned();
    if proxy == Proxy::Snigate
        && let Some(commit) = commit()
    {
        version = format!("{version} ({commit})");
    }
    Some(version)
}

/// The commit that is checked out, marked if the tree has changes beside the results themselves.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(paths::root())
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changes = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        "src",
        "Cargo.toml",
        "Cargo.lock",
    ])?;
    Some(if changes.is_empty() {
        commit
    } else {
        format!("{commit}, changed")
    })
}

fn field(path: &str, key: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
