//! The plan of a run: every case, every round, every proxy in turn.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::ValueEnum;

use crate::backend::Backend;
use crate::cases::{Case, Entry, MANY_ROUTES, Scale, Unit};
use crate::client::NAME;
use crate::load::{Done, Job, Numbers, READY, Report};
use crate::machine::Machine;
use crate::measure::{Cpu, memory_kib};
use crate::peers::{Instance, Proxy, Surroundings};
use crate::results::{CaseResult, Row, Sample};
use crate::setup::{Form, Setup};
use crate::{paths, pki, report, spawn};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    /// All when empty.
    pub(crate) cases: Vec<Case>,
    /// All when empty.
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) rounds: Option<usize>,
    pub(crate) proxy_core: usize,
    pub(crate) load_core: usize,
}

/// Runs the comparison, prints it, and writes it down.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(
        options.proxy_core != options.load_core,
        "the proxies and the load need a core each"
    );
    let mut scale = if options.quick {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    if let Some(rounds) = options.rounds {
        ensure!(rounds > 0, "no rounds, no result");
        (scale.rounds, scale.memory_rounds) = (rounds, rounds);
    }
    let all = || {
        Proxy::value_variants()
            .iter()
            .copied()
            .filter(|proxy| proxy.takes_part())
            .collect()
    };
    let proxies = if options.proxies.is_empty() {
        all()
    } else {
        options.proxies.clone()
    };
    let cases = if options.cases.is_empty() {
        Case::value_variants().to_vec()
    } else {
        options.cases.clone()
    };
    let complete = !options.quick
        && options.cases.is_empty()
        && options.proxies.is_empty()
        && scale.rounds >= 5;
    let machine = Machine::describe(&proxies);
    let dir = paths::scratch("compare")?;
    let mut bench = Bench::new(options, scale, dir.clone())?;
    let results = cases
        .iter()
        .map(|case| bench.run(*case, &proxies))
        .collect::<anyhow::Result<Vec<_>>>()?;
    drop(bench);
    let output = if complete {
        paths::here().to_owned()
    } else {
        dir
    };
    let report = report::Report {
        machine,
        scale,
        results,
    };
    report.write(&output)?;
    writeln!(
        io::stdout(),
        "{}\n{}",
        report.markdown(),
        output.join("RESULTS.md").display()
    )?;
    Ok(())
}

/// The processes of a run.
struct Bench {
    scale: Scale,
    proxy_core: usize,
    load_core: usize,
    dir: PathBuf,
    running: HashMap<(Entry, Setup), Instance>,
    /// Who has which of the backend's ports.
    ports: Vec<Entry>,
    /// Outlives the proxies.
    backend: Backend,
    numbers: Numbers,
}

impl Bench {
    fn new(options: &Options, scale: Scale, dir: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&dir)?;
        pki::write(&dir.join("pki"), NAME)?;
        // Reading /proc is work, too; not on the proxies' core.
        spawn::pin(options.load_core)?;
        let backend = Backend::start(options.load_core, PORTS, &dir)?;
        let (proxy_core, load_core) = (options.proxy_core, options.load_core);
        let (running, ports, numbers) = (HashMap::new(), Vec::new(), Numbers(SEED));
        Ok(Self {
            scale,
            proxy_core,
            load_core,
            dir,
            running,
            ports,
            backend,
            numbers,
        })
    }

    fn run(&mut self, case: Case, proxies: &[Proxy]) -> anyhow::Result<CaseResult> {
        let mut rows: Vec<Row> = case.entries(proxies).into_iter().map(Row::new).collect();
        // Only what the case needs, so that nothing else wakes up on the core or shares memory with
        // what is measured.
        self.running.retain(|(entry, setup), _| {
            !case.unit().is_memory()
                && *setup == case.setup()
                && rows.iter().any(|row| row.entry == *entry)
        });
        let mut order = Vec::from_iter(0..rows.len());
        for round in 0..case.rounds(&self.scale) {
            // Another order each time: what one leaves behind must not always be met by the same
            // next one.
            self.numbers.shuffle(&mut order);
            for &at in &order {
                let row = &mut rows[at];
                // Twice is enough: what hangs would take minutes of every round.
                if row.errors.len() >= 2 {
                    row.samples.push(None);
                    continue;
                }
                let sample = self.turn(case, row.entry);
                progress(case, round, row.entry, &sample)?;
                match sample {
                    Ok(sample) => row.samples.push(Some(sample)),
                    Err(error) => {
                        row.samples.push(None);
                        row.errors.push(format!("{error:#}"));
                    }
                }
            }
        }
        Ok(CaseResult { case, rows })
    }

    fn turn(&mut self, case: Case, entry: Entry) -> anyhow::Result<Sample> {
        let key = (entry, case.setup());
        let result = self
            .instance(key)
            .and_then(|(addr, pid)| self.measure(case, entry, addr, pid));
        if case.unit().is_memory() || result.is_err() {
            // Memory that was used and given back is not measured again; and what failed begins
            // anew.
            self.running.remove(&key);
        }
        result
    }

    /// The proxy's address and process. It is started if it does not run.
    fn instance(&mut self, key: (Entry, Setup)) -> anyhow::Result<(SocketAddr, u32)> {
        let (entry, setup) = key;
        let number = self
            .ports
            .iter()
            .position(|other| *other == entry)
            .unwrap_or_else(|| {
                self.ports.push(entry);
                self.ports.len() - 1
            });
        ensure!(number < PORTS, "the backend has no port left");
        let backend = self.backend.addr(number);
        if entry.proxy == Proxy::Direct {
            return Ok((backend, self.backend.pid()));
        }
        if !self.running.contains_key(&key) {
            let name = format!("{}-{setup:?}-{:?}", entry.proxy.name(), entry.form)
                .to_lowercase()
                .replace(' ', "-");
            let pki = self.dir.join("pki").join(setup.keys().dir());
            let around = Surroundings {
                dir: self.dir.join(name),
                pki,
                backend,
                core: self.proxy_core,
            };
            let instance = Instance::start(entry.proxy, setup, entry.form, &around)?;
            self.running.insert(key, instance);
        }
        let instance = &self.running[&key];
        Ok((instance.addr, instance.pid()))
    }

    fn measure(
        &self,
        case: Case,
        entry: Entry,
        addr: SocketAddr,
        pid: u32,
    ) -> anyhow::Result<Sample> {
        let tls = case
            .identity()
            .map(|identity| (self.dir.join("pki"), identity));
        let names = if entry.form == Form::ManyRoutes {
            MANY_ROUTES
        } else {
            1
        };
        let job = Job {
            to: addr,
            tls,
            names,
            work: case.work(&self.scale),
        };
        let mut load = Load::start(self.load_core, &job, &self.dir)?;
        let line = load.line()?;
        if line != READY {
            let report: Report = serde_json::from_str(&line).context("the load generator")?;
            return Err(anyhow!(report.err().unwrap_or_default()));
        }
        let before = (Cpu::of(pid)?, memory_kib(pid)?);
        load.go_on()?;
        let report: Report = serde_json::from_str(&load.line()?).context("the load generator")?;
        let done = report.map_err(|error| anyhow!(error))?;
        // The last connections are still ending; and what a proxy frees or sweeps up later is its
        // own gain.
        std::thread::sleep(if case.unit().is_memory() {
            SETTLED
        } else {
            ENDED
        });
        let cpu = Cpu::of(pid)?.since(before.0);
        let memory = memory_kib(pid)?;
        load.go_on()?;
        let cost = match case.unit() {
            Unit::CpuMicros => cpu.used.as_secs_f64() * 1e6 / done.units,
            Unit::CpuMillisPerGb => cpu.used.as_secs_f64() * 1e12 / done.units,
            Unit::MemoryKib => (memory - before.1) / done.units,
            Unit::MemoryMib => memory / 1024.0,
            Unit::P99Micros => done.latency.context("a latency")?.p99,
        };
        Ok(sample(cost, &done, cpu))
    }
}

fn sample(cost: f64, done: &Done, cpu: Cpu) -> Sample {
    Sample {
        cost,
        throughput: done.units / done.seconds,
        latency: done.latency,
        busy: cpu.used.as_secs_f64() / done.seconds,
        waited: cpu.waited.as_secs_f64() / done.seconds,
        beside: done.beside.map(|bytes| bytes / done.seconds),
    }
}

/// A load generator at work.
struct Load {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Load {
    fn start(core: usize, job: &Job, dir: &Path) -> anyhow::Result<Self> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("load.log"))?;
        let mut child = spawn::role(core, "load", &serde_json::to_string(job)?)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdin = child.stdin.take().context("it is piped")?;
        let stdout = BufReader::new(child.stdout.take().context("it is piped")?);
        Ok(Self {
            child,
            stdin,
            stdout,
        })
    }

    /// What it says. It limits its own time.
    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line)?;
        ensure!(read > 0, "the load generator ends; see load.log");
        Ok(line.trim().to_owned())
    }

    fn go_on(&mut self) -> io::Result<()> {
        writeln!(self.stdin)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It has said all it had to, or has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn progress(
    case: Case,
    round: usize,
    entry: Entry,
    sample: &anyhow::Result<Sample>,
) -> io::Result<()> {
    let (case_name, label) = (case.name(), entry.label());
    match sample {
        Ok(sample) => {
            let Sample { cost, busy, .. } = sample;
            let unit = case.unit().label();
            writeln!(
                io::stderr(),
                "{case_name} {} {label}: {cost:.2} {unit}, {:.0} % busy",
                round + 1,
                busy * 100.0
            )
        }
        Err(error) => writeln!(
            io::stderr(),
            "{case_name} {} {label}: FAILS: {error:#}",
            round + 1
        ),
    }
}

/// The backend's ports: each form of each proxy has its own.
const PORTS: usize = 64;

/// Of the orders in which the proxies have their turns; any number but 0.
const SEED: u32 = 7;

/// After the last answer, for connections to end.
const ENDED: Duration = Duration::from_millis(40);

/// After the last message, for memory to be given back.
const SETTLED: Duration = Duration::from_millis(700);
