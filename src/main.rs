//! The `snigate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    snigate::cli::run(std::env::args_os())
}
