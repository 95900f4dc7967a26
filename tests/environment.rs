//! What systemd says of the sockets that it has passed is for this process alone. It is removed
//! while there is one thread, so this test has no harness, which would have several.

use std::env;
use std::process::Command;

use snigate::net::Inherited;

const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

fn main() {
    let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if is_ours {
        take_the_sockets()
    } else {
        pass_no_sockets()
    }
}

/// Runs this program once more, as systemd does it.
fn pass_no_sockets() {
    let script = "export LISTEN_PID=$$ LISTEN_FDS=0 LISTEN_FDNAMES=edge; exec \"$0\"";
    let program = env::current_exe().expect("this program");
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(program)
        .status()
        .expect("sh");
    assert!(status.success());
}

fn take_the_sockets() {
    assert_eq!(VARIABLES.map(|name| env::var(name).is_ok()), [true; 3]);
    Inherited::take().expect("nothing is promised");
    assert_eq!(VARIABLES.map(|name| env::var(name).is_ok()), [false; 3]);
    let output = Command::new("env").output().expect("env");
    let text = String::from_utf8(output.stdout).expect("variables");
    assert!(
        text.contains("PATH=") && !text.contains("LISTEN_"),
        "{text}"
    );
}
