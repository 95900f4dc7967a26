//! Starting processes on one core, in a way that none of them outlives this one.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::process::{Signal, set_parent_process_death_signal, setpriority_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

/// A command that runs on `core` and gets SIGTERM if this process dies.
pub(crate) fn pinned(core: usize, program: impl AsRef<OsStr>) -> io::Result<Command> {
    pinned_to(&[core], program)
}

/// The same, on any of these cores.
pub(crate) fn pinned_to(cores: &[usize], program: impl AsRef<OsStr>) -> io::Result<Command> {
    let cores = cores
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("exec").arg(cores).arg(program);
    Ok(command)
}

/// This program in another role, on `core`.
pub(crate) fn role(core: usize, role: &str, argument: &str) -> io::Result<Command> {
    let mut command = pinned(core, std::env::current_exe()?)?;
    command.arg(role).arg(argument);
    Ok(command)
}

/// Becomes the program that the arguments name, after its cores.
pub(crate) fn become_pinned(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let cores = arguments.next().context("cores")?;
    let program = arguments.next().context("a program")?;
    pin_to(
        &cores
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<_>, _>>()?,
    )?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    bail!(
        "{program}: {}",
        Command::new(&program).args(arguments).exec()
    )
}

/// Keeps this thread, and what it starts, on `core`.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    pin_to(&[core])
}

fn pin_to(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).with_context(|| format!("cores {cores:?} cannot be used"))
}

/// Lets every other thread of the core go first.
pub(crate) fn give_way() -> io::Result<()> {
    Ok(setpriority_process(None, 19)?)
}

pub(crate) fn single_threaded() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
