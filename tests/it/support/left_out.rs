//! What a test leaves out on this machine. It is said past the harness, which keeps what a test
//! that passes has printed to itself; `tests/run` collects the lines.

use std::io::{self, Write};
use std::path::Path;
use std::thread;

/// Says what the running test leaves out, and why.
pub(crate) fn left_out(why: &str) {
    let thread = thread::current();
    let _ = writeln!(
        io::stderr(),
        "LEFT OUT: {}: {why}",
        thread.name().unwrap_or("a test")
    );
}

/// Whether one of these programs, or files, is not there; if so, that is said.
pub(crate) fn lacks(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| {
        // nginx is where only root looks for programs.
        let places = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        Path::new(program).is_absolute() && Path::new(program).exists()
            || places
                .into_iter()
                .any(|directory| directory.join(program).is_file())
    };
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| !is_there(program))
        .collect();
    if !missing.is_empty() {
        left_out(&format!("there is no {}", missing.join(", ")));
    }
    !missing.is_empty()
}
