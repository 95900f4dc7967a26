//! The units in `packaging/` start the program that there is.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed, also in a function that it calls")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const INSTALLED: &str = "/usr/local/bin/snigate";

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

fn unit(name: &str) -> String {
    fs::read_to_string(packaging().join(name)).unwrap()
}

/// The values of a directive, in order.
fn values<'a>(unit: &'a str, directive: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix('=')).collect()
}

#[test]
fn every_command_of_the_service_is_one_of_the_program() {
    let unit = unit("snigate.service");
    let commands = [values(&unit, "ExecStartPre"), values(&unit, "ExecStart")].concat();
    assert_eq!(commands.len(), 2);
    for command in commands {
        let arguments = command.strip_prefix(INSTALLED).unwrap_or_else(|| panic!("another program: {command}"));
        // Help is given where everything before it has been understood.
        let mut program = Command::new(env!("CARGO_BIN_EXE_snigate"));
        let output = program.args(arguments.split_whitespace()).arg("--help").output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(values(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
}

#[test]
fn the_service_has_more_time_to_stop_than_open_connections_have_unless_told_otherwise() {
    let unit = unit("snigate.service");
    let seconds: u64 = values(&unit, "TimeoutStopSec")[0].parse().unwrap();
    assert!(seconds > snigate::config::Timeouts::default().drain.as_secs() + 5, "{seconds}");
}

#[test]
fn the_sockets_have_the_name_that_the_unit_tells_to_write() {
    let unit = unit("snigate.socket");
    let [name] = values(&unit, "FileDescriptorName")[..] else { panic!("one name") };
    assert!(unit.contains(&format!("bind = \"systemd:{name}\"")), "{unit}");
}

#[test]
fn systemd_understands_every_line() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["snigate.service", "snigate.socket"] {
        // It looks whether the program is there.
        let text = unit(name).replace(INSTALLED, env!("CARGO_BIN_EXE_snigate"));
        fs::write(dir.path().join(name), text).unwrap();
    }
    let mut analyze = Command::new("systemd-analyze");
    let verify = analyze.args(["verify", "--man=no", "snigate.service", "snigate.socket"]).current_dir(dir.path());
    let Ok(output) = verify.output() else {
        eprintln!("left out: systemd-analyze is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    // Before version 253, where the line above it counts.
    let wrong: Vec<&str> =
        text.lines().filter(|line| !line.ends_with("service type, ignoring: notify-reload")).collect();
    assert!(output.status.success() && wrong.is_empty(), "{text}");
}
