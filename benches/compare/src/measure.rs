//! What a proxy cost: processor time and memory of its processes, from /proc.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

/// Processor time of a process and its descendants.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// User and system time, to the nanosecond.
    pub(crate) used: Duration,
    /// Time in which it could have run, but something else did.
    pub(crate) waited: Duration,
}

impl Cpu {
    /// The time so far, of all threads that still live.
    pub(crate) fn of(root: u32) -> anyhow::Result<Self> {
        let mut cpu = Self::default();
        for pid in tree(root)? {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                // A thread may end while the others are read.
                let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
                    continue;
                };
                let mut fields = text
                    .split_whitespace()
                    .map(|field| field.parse().map(Duration::from_nanos));
                cpu.used += fields.next().context("schedstat is empty")??;
                cpu.waited += fields.next().context("schedstat has one field")??;
            }
        }
        Ok(cpu)
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            used: self.used.saturating_sub(before.used),
            waited: self.waited.saturating_sub(before.waited),
        }
    }
}

/// The memory of a process and its descendants in KiB. What several processes share is divided
/// among them (PSS).
pub(crate) fn memory_kib(root: u32) -> anyhow::Result<f64> {
    let mut kib = 0.0;
    for pid in tree(root)? {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .context("no Pss in smaps_rollup")?;
        kib += line.trim().trim_end_matches(" kB").parse::<f64>()?;
    }
    Ok(kib)
}

/// The process and its descendants.
pub(crate) fn tree(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else {
            continue;
        };
        let Some(parent) = parent(pid) else { continue };
        children.entry(parent).or_default().push(pid);
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    parent(root).ok_or_else(|| anyhow!("process {root} has ended"))?;
    Ok(found)
}

/// When the process was started, in ticks: with its number it tells it from any other.
pub(crate) fn started(pid: u32) -> Option<u64> {
    stat(pid, 19)?.parse().ok()
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid, 1)?.parse().ok()
}

/// A field of /proc/PID/stat, counted from behind the name, which is in parentheses and may contain
/// anything.
fn stat(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(field)
        .map(ToOwned::to_owned)
}

/// How long one thing took, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Latency {
    pub(crate) fn of(samples: &[Duration]) -> Self {
        let mut micros: Vec<f64> = samples
            .iter()
            .map(|sample| sample.as_secs_f64() * 1e6)
            .collect();
        micros.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (micros.len() as f64 * share) as usize;
            micros
                .get(place.min(micros.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        }
    }
}

/// The middle of several measurements, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Nothing, if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }
}
