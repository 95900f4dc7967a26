//! The result as Markdown, JSON and a chart.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::cases::{Base, Case, Scale, Target, Unit};
use crate::chart;
use crate::machine::Machine;
use crate::measure::Spread;
use crate::peers::Proxy;
use crate::results::{CaseResult, Row, Sample, Verdict};

/// Everything that a run found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) scale: Scale,
    pub(crate) results: Vec<CaseResult>,
}

impl Report {
    /// Writes `RESULTS.md`, `results.json` and `chart.svg`.
    pub(crate) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        for (name, text) in [
            ("RESULTS.md", self.markdown()),
            ("results.json", serde_json::to_string_pretty(self)? + "\n"),
            ("chart.svg", chart::draw(&self.results)),
        ] {
            fs::write(dir.join(name), text).with_context(|| name.to_owned())?;
        }
        Ok(())
    }

    pub(crate) fn markdown(&self) -> String {
        [
            self.head(),
            self.targets(),
            "![cost as a multiple of the best peer's](chart.svg)\n".to_owned(),
            self.table(),
        ]
        .join("\n")
            + &self.failures()
    }

    fn head(&self) -> String {
        let Machine {
            date,
            kernel,
            processor,
            cores,
            memory_gib,
            load_average,
            versions,
        } = &self.machine;
        let versions: Vec<String> = versions
            .iter()
            .map(|(proxy, version)| format!("{} {version}", proxy.name()))
            .collect();
        let Scale {
            rounds,
            memory_rounds,
            seconds,
            bytes,
            ..
        } = self.scale;
        let (bulk, bulk_tls) = (bytes as f64 / 1e9, bytes as f64 / 2e9);
        format!(
            "# Snigate beside its peers\n\n\
             Written by `benches/compare/run`; not edited.\n\n\
             * {date}, Linux {kernel}, {processor}, {cores} cores, {memory_gib:.0} GiB; load average at the start {load_average}\n\
             * {}\n\
             * Each proxy has one core and one worker, the load generator and the backend have another core; loopback. \
               The settings are in [`peers/`](peers).\n\
             * {rounds} rounds ({memory_rounds} for memory), in each of which every proxy has its turn: {seconds} s or 10,000 connections, \
               or {bulk} GB ({bulk_tls} GB through TLS). The load generator and the backend check every byte.\n\
             * {}\n\
             * Cost is the processor time of the proxy's processes (user and system, /proc/PID/task/*/schedstat), or their \
               memory (PSS); medians, with the least and the greatest. Ratios are taken within a round, to the best peer of \
               that round; then their median.\n\
             * `direct` is the load on the backend without a proxy, and its cost the backend's. `bare loop` is an epoll loop that \
               moves bytes between two sockets and looks at none. Logs are off unless a row says otherwise. `HAProxy` has \
               `splice-auto`, `HAProxy+splice` splices always; both and `nginx` are the distribution's. `current` are the programs \
               that the variables `HAPROXY` and `NGINX` name, set up as their manuals say for this work.\n\
             * TLS is 1.3 with TLS_AES_128_GCM_SHA256, X25519 and P-256 certificates on both sides, never resumed, unless a row \
               says otherwise.\n",
            versions.join(", "),
            self.disturbance(),
        )
    }

    /// How often another process was in the way, which raises costs a little and the worst
    /// latencies a lot.
    fn disturbance(&self) -> String {
        let rows = self
            .results
            .iter()
            .filter(|result| !result.case.unit().is_memory())
            .flat_map(|result| &result.rows);
        let waited: Vec<f64> = rows
            .flat_map(|row| row.samples.iter().flatten())
            .map(|sample| sample.waited)
            .collect();
        let disturbed = waited.iter().filter(|waited| **waited > 0.1).count();
        format!(
            "In {disturbed} of {} turns the proxy waited for its core for more than a tenth of the time, since other processes \
             of the machine had it.",
            waited.len()
        )
    }

    /// The targets, and whether they are reached.
    fn targets(&self) -> String {
        let mut text = String::from(
            "## Targets\n\n| work | snigate | beside | ratio | target | |\n| --- | --- | --- | --- | --- | --- |\n",
        );
        for result in &self.results {
            let targets = result.case.targets();
            for target in targets {
                for row in result.judged(*target) {
                    target_row(&mut text, result, Some(*target), row);
                }
            }
            if let (true, Some(row)) = (targets.is_empty(), result.snigate()) {
                target_row(&mut text, result, None, row);
            }
        }
        text
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "## Every measurement\n\n\
             | work | proxy | cost | to the best peer, or to plain | throughput | p50 / p99 / p999, µs |\n\
             | --- | --- | --- | --- | --- | --- |\n",
        );
        for result in &self.results {
            for row in &result.rows {
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} | {} |",
                    result.case.title(),
                    row.entry.label(),
                    cost(result.case, row),
                    if row.entry.proxy == Proxy::Direct {
                        String::new()
                    } else {
                        spread(result.ratio(base(result.case), row))
                    },
                    throughput(result.case, row),
                    latency(row),
                );
            }
        }
        text
    }

    fn failures(&self) -> String {
        let mut text = String::new();
        for result in &self.results {
            for row in result.rows.iter().filter(|row| !row.errors.is_empty()) {
                let (case, label) = (result.case.title(), row.entry.label());
                let _ = writeln!(
                    text,
                    "* {label} fails at \"{case}\": {}",
                    row.errors.join("; ")
                );
            }
        }
        if text.is_empty() {
            text
        } else {
            format!("\n## Failures\n\n{text}")
        }
    }
}

fn target_row(text: &mut String, result: &CaseResult, target: Option<Target>, row: &Row) {
    let base = match target {
        Some(Target::Of(base, _)) => base,
        _ => Base::Peer,
    };
    let beside = match result.best(base, row) {
        Some((other, cost)) => format!("{} {}", other.entry.label(), number(cost)),
        None => "none".to_owned(),
    };
    let verdict = match target.map(|target| result.verdict(target, row)) {
        Some(Verdict::Reached) => "reached",
        Some(Verdict::Missed) => "**missed**",
        Some(Verdict::Open) | None => "",
    };
    let unit = result.case.unit().label();
    let cost = row
        .cost()
        .map_or_else(|| "fails".to_owned(), |cost| number(cost.median));
    let (title, form) = (result.case.title(), row.entry.form.label());
    let (ratio, target) = (
        spread(result.ratio(base, row)),
        target.map_or_else(String::new, |target| limit(result.case, target)),
    );
    let _ = writeln!(
        text,
        "| {title}{form} | {cost} {unit} | {beside} | {ratio} | {target} | {verdict} |"
    );
}

fn limit(case: Case, target: Target) -> String {
    match target {
        Target::Of(base, limit) => format!("≤ {limit} × {}", name(base)),
        Target::AtMostAndBest(limit) => {
            format!("≤ {limit} {}, less than every peer", case.unit().label())
        }
        Target::AtMost(limit) => format!("≤ {limit} {}", case.unit().label()),
    }
}

fn name(base: Base) -> &'static str {
    match base {
        Base::Peer => "the best peer",
        Base::Splicing => "the best HAProxy",
        Base::Copying => "the best other peer",
        Base::Floor => "the bare loop",
        Base::Plain => "without",
    }
}

/// What every row of a case is compared with.
pub(crate) fn base(case: Case) -> Base {
    if matches!(case.targets(), [Target::Of(Base::Plain, _)]) {
        Base::Plain
    } else {
        Base::Peer
    }
}

fn cost(case: Case, row: &Row) -> String {
    let failed = row.errors.len();
    let rounds = row.samples.len();
    match row.cost() {
        None => "**fails**".to_owned(),
        Some(_) if failed > 0 => format!("**fails** in {failed} of {rounds} rounds"),
        Some(cost) => format!("{} {}", spread(Some(cost)), case.unit().label()),
    }
}

fn throughput(case: Case, row: &Row) -> String {
    let per_second =
        |value: fn(&Sample) -> Option<f64>| row.spread(value).map(|spread| spread.median);
    let Some(units) = per_second(|sample| Some(sample.throughput)) else {
        return String::new();
    };
    match case.unit() {
        Unit::CpuMicros => format!("{units:.0} /s"),
        Unit::CpuMillisPerGb => format!("{:.2} GB/s", units / 1e9),
        Unit::P99Micros => {
            let beside = per_second(|sample| sample.beside).unwrap_or_default();
            format!("{units:.0} /s beside {:.2} GB/s", beside / 1e9)
        }
        Unit::MemoryKib | Unit::MemoryMib => String::new(),
    }
}

fn latency(row: &Row) -> String {
    let median =
        |value: fn(&Sample) -> Option<f64>| row.spread(value).map(|spread| number(spread.median));
    let p50 = median(|sample| Some(sample.latency?.p50));
    let p99 = median(|sample| Some(sample.latency?.p99));
    let p999 = median(|sample| Some(sample.latency?.p999));
    match (p50, p99, p999) {
        (Some(p50), Some(p99), Some(p999)) => format!("{p50} / {p99} / {p999}"),
        _ => String::new(),
    }
}

fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => String::new(),
        Some(Spread { median, min, max }) if min == max => number(median),
        Some(Spread { median, min, max }) => {
            format!("{} ({}..{})", number(median), number(min), number(max))
        }
    }
}

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
