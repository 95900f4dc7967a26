//! The units in `packaging/` start the program that there is.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

#[path = "it/support/left_out.rs"]
mod left_out;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use snigate::pki::{Authority, Validity};

use left_out::lacks;

const INSTALLED: &str = "/usr/local/bin/snigate";

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

fn unit(name: &str) -> String {
    fs::read_to_string(packaging().join(name)).unwrap()
}

/// The values of a directive, in order.
fn values<'a>(unit: &'a str, directive: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(directive)?.strip_prefix('='))
        .collect()
}

#[test]
fn the_service_reloads_by_the_signal_and_dumps_no_keys() {
    let unit = unit("snigate.service");
    assert_eq!(values(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(values(&unit, "LimitCORE"), ["0"]);
}

#[test]
fn the_service_starts_with_an_expired_certificate() {
    let unit = unit("snigate.service");
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", Validity::days(20)).unwrap();
    let expired = authority.server(&["a.example"], Validity::days(0)).unwrap();
    fs::write(
        dir.path().join("a.pem"),
        format!("{}{}", expired.certificate, expired.key.as_str()),
    )
    .unwrap();
    let config = dir.path().join("snigate.toml");
    fs::write(
        &config,
        "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[certificates.a]\ncert_file = \"a.pem\"\n[routes.a]\nsni = \"a.example\"\n\
         action = \"terminate\"\nupstream = \"127.0.0.1:1\"\n",
    )
    .unwrap();
    let runnable = |command: &str| {
        let arguments = command.strip_prefix(INSTALLED).unwrap();
        assert!(arguments.contains("/etc/snigate/snigate.toml"), "{command}");
        let arguments = arguments.replace("/etc/snigate/snigate.toml", config.to_str().unwrap());
        let mut program = Command::new(env!("CARGO_BIN_EXE_snigate"));
        program.args(arguments.split_whitespace());
        program
    };
    for command in values(&unit, "ExecStartPre") {
        assert!(
            runnable(command).status().unwrap().success(),
            "systemd stops at {command}"
        );
    }
    let [command] = values(&unit, "ExecStart")[..] else {
        panic!("one command")
    };
    let mut program = runnable(command).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(program.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    // They end where the program does, or where it says that it serves.
    let mut log: Vec<String> = Vec::new();
    let serves = lines.into_iter().any(|line| {
        log.push(line);
        log.last().is_some_and(|line| line.contains("ready"))
    });
    let _ = program.kill();
    let _ = program.wait();
    assert!(serves, "{log:?}");
    assert!(
        log.iter().any(|line| line.contains("has expired")),
        "it is not said: {log:?}"
    );
}

#[test]
fn the_service_has_more_time_to_stop_than_open_connections_have_unless_told_otherwise() {
    let unit = unit("snigate.service");
    let seconds: u64 = values(&unit, "TimeoutStopSec")[0].parse().unwrap();
    assert!(
        seconds > snigate::config::Timeouts::default().drain.as_secs() + 5,
        "{seconds}"
    );
}

#[test]
fn the_sockets_have_the_name_that_the_unit_tells_to_write() {
    let unit = unit("snigate.socket");
    let [name] = values(&unit, "FileDescriptorName")[..] else {
        panic!("one name")
    };
    assert!(
        unit.contains(&format!("bind = \"systemd:{name}\"")),
        "{unit}"
    );
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
    let verify = analyze
        .args(["verify", "--man=no", "snigate.service", "snigate.socket"])
        .current_dir(dir.path());
    if lacks(&["systemd-analyze"]) {
        return;
    }
    let output = verify.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    // Before version 253, where the line above it counts.
    let wrong: Vec<&str> = text
        .lines()
        .filter(|line| !line.ends_with("service type, ignoring: notify-reload"))
        .collect();
    assert!(output.status.success() && wrong.is_empty(), "{text}");
}
