//! Starting processes on one core, in a way that none of them outlives this one.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::process::{Signal, set_parent_process_death_signal, setpriority_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

/// A command that runs on `core` and gets SIGTERM if this process dies.
pub(crate) fn pinned(core: usize, program: impl AsRef<std::ffi::OsStr>) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("exec").arg(core.to_string()).arg(program);
    Ok(command)
}

/// This program in another role, on `core`.
pub(crate) fn role(core: usize, role: &str, argument: &str) -> io::Result<Command> {
    let mut command = pinned(core, std::env::current_exe()?)?;
    command.arg(role).arg(argument);
    Ok(command)
}

/// Becomes the program that the arguments name, after a core.
pub(crate) fn become_pinned(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let core: usize = arguments.next().context("a core")?.parse()?;
    let program = arguments.next().context("a program")?;
    pin(core)?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    bail!("{program}: {}", Command::new(&program).args(arguments).exec())
}

/// Keeps this thread, and what it starts, on `core`.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("core {core} cannot be used"))
}

/// Lets every other thread of the core go first.
pub(crate) fn give_way() -> io::Result<()> {
    Ok(setpriority_process(None, 19)?)
}

pub(crate) fn single_threaded() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
