//! The `snigate` command.

use std::process::ExitCode;

/// Sockets and tasks are aligned to two cache lines, which the system's allocator pays for with a
/// fifth of the memory of an idle connection. Without huge pages, of which the first alone would be
/// half of the process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    snigate::cli::run(std::env::args_os())
}
