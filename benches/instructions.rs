//! How many instructions the two steps before every connection take. Unlike time, that is the same
//! on a busy machine, and tells a change of one in a hundred.
//!
//! Counted by valgrind's callgrind, in which this program runs again for each case; where there is
//! no valgrind it says so.

mod inputs;
#[path = "inputs/worst.rs"]
mod worst;

use std::hint::black_box;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use snigate::name::ServerName;
use snigate::route::LookupKey;
use snigate::wire::HelloParser;

use crate::inputs::{Kind, ROUTES, hellos, table};
use crate::worst::{KINDS, judge, table_by_protocol, worst_hello};

/// The hash maps' keys are random, and with them the way to each name: this many names are looked
/// up, and the mean counts.
const NAMES: u32 = 64;

fn main() -> anyhow::Result<ExitCode> {
    if let Ok(case) = std::env::var(CASE) {
        run(&case)?;
    } else if Command::new("valgrind").arg("--version").output().is_err() {
        writeln!(io::stderr(), "instructions: there is no valgrind")?;
    } else {
        count_all()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What tells this program, when it runs in valgrind, what to do.
const CASE: &str = "INSTRUCTIONS_CASE";

fn count_all() -> anyhow::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "| what | instructions |\n| --- | --- |")?;
    for (at, hello) in hellos().iter().enumerate() {
        for how in ["whole", "bytes"] {
            let count = count(&format!("hello {how} {at}"))?;
            writeln!(out, "| hello of {} bytes, {how} | {count} |", hello.len())?;
        }
    }
    for (at, routes) in ROUTES.iter().enumerate() {
        for (kind_at, kind) in Kind::ALL.iter().enumerate() {
            let count = count(&format!("route {kind_at} {at}"))? / u64::from(NAMES);
            writeln!(out, "| {} in {routes} routes | {count} |", kind.label())?;
        }
    }
    let padding = count("worst - 0")?;
    for (at, kind) in KINDS.iter().enumerate() {
        let count = count(&format!("worst - {at}"))?;
        let tenths = count * 10 / padding;
        writeln!(
            out,
            "| hello of 64 KB: {kind} | {count}, {}.{} times padding |",
            tenths / 10,
            tenths % 10
        )?;
    }
    Ok(())
}

/// The instructions of one case.
fn count(case: &str) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--collect-atstart=no",
        ])
        .arg("--toggle-collect=*instructions*measured*")
        .arg(std::env::current_exe()?)
        .env(CASE, case)
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{case}: {log}");
    let collected = log
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .context("valgrind counts")?
        .1;
    let count = collected.trim().parse()?;
    ensure!(count > 0, "{case}: nothing was counted");
    Ok(count)
}

fn run(case: &str) -> anyhow::Result<()> {
    let [what, how, at] = case.split(' ').collect::<Vec<_>>()[..] else {
        anyhow::bail!("no case: {case}")
    };
    let at: usize = at.parse()?;
    if what == "hello" {
        let hello = &hellos()[at];
        let piece = if how == "whole" { hello.len() } else { 1 };
        measured(&mut || {
            let mut parser = HelloParser::new();
            let pieces = hello
                .chunks(piece)
                .map(|piece| parser.feed(black_box(piece)).expect("it is right"));
            black_box(pieces.last().flatten().expect("the last byte completes it"));
        });
    } else if what == "worst" {
        let (table, hello) = (table_by_protocol(), worst_hello(KINDS[at], 64_000));
        measured(&mut || judge(&hello, &table));
    } else {
        let (routes, kind) = (ROUTES[at], Kind::ALL[how.parse::<usize>()?]);
        let table = table(routes);
        let names: Vec<ServerName> = (0..NAMES).map(|at| kind.name(at, routes)).collect();
        measured(&mut || {
            for name in &names {
                let key = LookupKey {
                    name: Some(name),
                    client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                    alpn: &[],
                };
                black_box(table.lookup(black_box(&key)));
            }
        });
    }
    Ok(())
}

/// What is counted. Its name is how valgrind knows it.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Without anything behind it, the call would be a jump, and this function would not be seen to
    // end.
    black_box(());
}
