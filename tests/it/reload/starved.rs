//! Reloads in want of descriptors, and beside a file system that hangs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};

use super::*;
use crate::support::left_out::lacks;
use crate::support::proxy::{directory, passthrough};

/// A configuration with a name that is taken, and the same without.
fn configs(backend: &Backend) -> [String; 2] {
    let a = passthrough("a.example", backend.addr);
    [route("b", "b.example", backend.addr) + &a, a]
}

#[test]
fn what_could_not_be_read_for_want_of_descriptors_is_read_as_soon_as_it_can_be() {
    let backend = Backend::greet(b"welcome");
    let [both, one] =
        configs(&backend).map(|config| config + "[log]\nformat = \"json\"\nlevel = \"debug\"\n");
    let proxy = Proxy::start(&both);
    assert_eq!(answer(proxy.connect(), "b.example"), b"welcome");
    let scarce = Rlimit {
        current: Some(3),
        ..getrlimit(Resource::Nofile)
    };
    let usual = prlimit(Some(proxy.pid()), Resource::Nofile, scarce).unwrap();
    let refused = proxy.refusal_after(|| proxy.write_config(&one));
    assert!(refused.contains("has no file descriptor left"), "{refused}");
    // Nobody touches the file again. It is tried at each look, when its time stamps have grown old,
    // too.
    proxy.wait_nth("loading", proxy.count("loading") + 1, |_| true);
    proxy.reload_after(|| _ = prlimit(Some(proxy.pid()), Resource::Nofile, usual).unwrap());
    assert_eq!(answer(proxy.connect(), "b.example"), alert(112));
    assert_eq!(
        proxy.count("reload refused, the configuration that runs goes on"),
        1,
        "it is said once"
    );
}

#[test]
fn connections_that_have_taken_every_descriptor_keep_no_reload_from_acting() {
    let backend = Backend::greet(b"welcome");
    let [both, one] = configs(&backend);
    let proxy = Proxy::start_as(directory(), &both, |command| {
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args());
        *command = limited;
        command.stderr(Stdio::piped()).stdout(Stdio::null());
    });
    let warning = "cannot accept connections for want of a resource";
    let taken: Vec<TcpStream> = (0..150).map(|_| proxy.connect()).collect();
    proxy.wait_for(warning);
    proxy.reload_after(|| proxy.write_config(&one));
    assert_eq!(
        proxy.count("reload refused, the configuration that runs goes on"),
        0,
        "{}",
        proxy.log()
    );
    drop(taken);
    proxy.poll_until("somebody is answered", |proxy| {
        let mut stream = proxy.connect();
        let hello = hello("b.example");
        let mut read = vec![0; alert(112).len()];
        stream
            .write_all(&hello)
            .and_then(|()| stream.read_exact(&mut read))
            .is_ok()
            && read == alert(112)
    });
}

#[test]
fn a_directory_that_cannot_be_watched_for_minutes_keeps_nobody_from_stopping_the_process() {
    if lacks(&["strace"]) {
        return;
    }
    let backend = Backend::echo();
    let proxy = Proxy::start(&passthrough("a.example", backend.addr));
    let pid = proxy.pid().as_raw_nonzero().to_string();
    let mut command = Command::new("strace");
    command.args(["-f", "-p", &pid, "-e", "trace=inotify_add_watch"]);
    command.args(["-e", "inject=inotify_add_watch:delay_enter=600000000"]);
    let mut strace = Tracer(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(strace.0.stderr.take().unwrap()).lines();
    assert!(
        said.any(|line| line.unwrap().contains("attached")),
        "strace is not allowed to attach"
    );
    proxy.signal(Signal::HUP);
    proxy.poll_until("a thread waits to watch a directory", |_| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut states =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
        states.any(|stat| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('t'))
        })
    });
    proxy.signal(Signal::TERM);
    proxy.wait_for("stopped");
    // It holds a thread of the process, which is not gone before.
    drop(strace);
    let (status, log) = proxy.wait_for_exit();
    assert!(status.success(), "{status}: {log}");
}

/// Killed when dropped.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
