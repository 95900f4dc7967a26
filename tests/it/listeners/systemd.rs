//! Sockets that were opened by whoever started snigate.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{connect, echo};
use crate::support::PATIENCE;
use crate::support::backend::{Backend, read_exact, read_to_end};
use crate::support::hello::hello;
use crate::support::left_out::lacks;
use crate::support::proxy::{Proxy, directory, passthrough};

/// Changes a command so that it is run with these two sockets, as systemd does it. The shell has
/// the number that the program will have.
fn pass(command: &mut Command, names: &str, sockets: [OwnedFd; 2]) {
    let script =
        "export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
    let mut started = Command::new("sh");
    started
        .args(["-c", script])
        .arg(command.get_program())
        .args(command.get_args())
        .env("LISTEN_FDNAMES", names);
    let [first, second] = sockets.map(Stdio::from);
    started.stdin(first).stdout(second).stderr(Stdio::piped());
    *command = started;
}

fn start(dir: TempDir, config: &str, names: &str, sockets: [OwnedFd; 2]) -> Proxy {
    Proxy::start_as(dir, config, |command| pass(command, names, sockets))
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn copy(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().unwrap().into()
}

/// A client of this socket that has sent its hello.
fn client(listener: &TcpListener) -> TcpStream {
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&hello("a.example")).unwrap();
    stream
}

const EDGE: &str = "[listeners.edge]\nbind = \"systemd:edge\"\n";

#[test]
fn every_socket_of_the_name_is_served_and_one_that_no_listener_is_on_is_reported() {
    let (backend, dir) = (Backend::greet(b"welcome"), directory());
    let tcp = listener();
    let path = dir.path().join("edge.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let config = EDGE.to_owned() + &passthrough("a.example", backend.addr);
    let proxy = start(directory(), &config, "edge:edge", [copy(&tcp), unix.into()]);
    assert_eq!(read_to_end(&mut client(&tcp)), b"welcome");
    let mut stream = connect(&path);
    stream.write_all(&hello("a.example")).unwrap();
    assert_eq!(read_to_end(&mut stream), b"welcome");
    for addr in [
        tcp.local_addr().unwrap().to_string(),
        format!("unix:{}", path.display()),
    ] {
        proxy.wait_until("listening", |event| event["addr"] == addr);
    }
    drop(proxy);
    assert!(path.exists(), "the file is systemd's");

    let proxy = start(dir, &config, "edge:web", [copy(&tcp), listener().into()]);
    let warning = "systemd has passed a socket that no listener is on, so its clients wait in vain";
    assert_eq!(proxy.wait_for(warning)["name"], "web");
    assert_eq!(proxy.count(warning), 1);
}

#[test]
fn a_restart_loses_nobody() {
    let (backend, tcp) = (Backend::greet(b"welcome"), listener());
    let config = EDGE.to_owned() + &passthrough("a.example", backend.addr);
    let run = || {
        start(
            directory(),
            &config,
            "edge:spare",
            [copy(&tcp), listener().into()],
        )
    };
    let proxy = run();
    assert_eq!(read_to_end(&mut client(&tcp)), b"welcome");
    proxy.signal(Signal::STOP);
    let ask = || {
        let mut client = client(&tcp);
        thread::spawn(move || read_to_end(&mut client))
    };
    let mut queued: Vec<_> = (0..20).map(|_| ask()).collect();
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::CONT);
    // Whom it does not take any more the next one finds in the socket.
    let (status, log) = proxy.wait_for_exit();
    assert!(status.success(), "{log}");
    queued.push(ask());
    let _proxy = run();
    for answer in queued {
        assert_eq!(answer.join().unwrap(), b"welcome");
    }
}

#[test]
fn a_listener_that_a_reload_removes_finds_its_clients_when_it_comes_back() {
    let (backend, tcp) = (Backend::echo(), listener());
    let route = passthrough("a.example", backend.addr);
    let other = "[listeners.other]\nbind = \"127.0.0.1:0\"\n";
    let with = format!("{EDGE}{other}{route}");
    let proxy = start(
        directory(),
        &with,
        "edge:edge",
        [copy(&tcp), listener().into()],
    );
    let mut open = client(&tcp);
    let length = hello("a.example").len();
    read_exact(&mut open, length);
    proxy.reload(&format!("{other}{route}"));
    proxy.wait_nth("no longer listening", 1, |_| true);
    let mut waiting = client(&tcp);
    proxy.reload(&with);
    read_exact(&mut waiting, length);
    for stream in [&mut open, &mut waiting] {
        echo(stream, b"still here");
    }
    assert_eq!(proxy.count("listening"), 5);
}

/// What is said by a process that does not start.
fn refusal(config: &str, names: &str, sockets: [OwnedFd; 2]) -> String {
    let dir = directory();
    fs::write(dir.path().join("snigate.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
    command
        .args(["run", "-c"])
        .arg(dir.path().join("snigate.toml"));
    pass(&mut command, names, sockets);
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[test]
fn a_name_that_was_not_passed_is_told_those_that_were() {
    let text = refusal(EDGE, "egde:web", [listener().into(), listener().into()]);
    assert!(
        text.contains("listeners.edge: cannot listen on systemd:edge"),
        "{text}"
    );
    assert!(text.contains("but egde, web"), "{text}");
}

#[test]
fn what_cannot_be_accepted_from_is_refused() {
    let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let connected = || OwnedFd::from(TcpStream::connect(listener().local_addr().unwrap()).unwrap());
    let file = || OwnedFd::from(File::open("/dev/null").unwrap());
    for (socket, words) in [
        (udp(), "no stream socket"),
        (connected(), "a socket that does not listen"),
        (file(), "no socket"),
    ] {
        let text = refusal(EDGE, "edge:web", [socket, listener().into()]);
        assert!(
            text.contains(&format!("is {words}")),
            "no {words:?} in: {text}"
        );
    }
}

#[test]
fn without_systemd_the_error_says_what_to_do() {
    let dir = directory();
    fs::write(dir.path().join("snigate.toml"), EDGE).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
    // Passed on by a parent that they were meant for.
    command
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "edge");
    let output = command
        .args(["run", "-c"])
        .arg(dir.path().join("snigate.toml"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("nor any other: start snigate by a socket unit, or write an address"),
        "{text}"
    );
}

#[test]
fn the_program_of_systemd_starts_it_with_the_first_client() {
    if lacks(&["systemd-socket-activate"]) {
        return;
    }
    let backend = Backend::greet(b"welcome");
    let dir = directory();
    let path = dir.path().join("activated.sock");
    let config = EDGE.to_owned() + &passthrough("a.example", backend.addr);
    fs::write(dir.path().join("snigate.toml"), config).unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(&path).args([
        "--fdname=edge",
        env!("CARGO_BIN_EXE_snigate"),
        "run",
        "-c",
    ]);
    let started = command
        .arg(dir.path().join("snigate.toml"))
        .stderr(Stdio::null())
        .spawn();
    let mut started = started.unwrap();
    let limit = std::time::Instant::now() + PATIENCE;
    // The file is there before anybody listens on it.
    while std::os::unix::net::UnixStream::connect(&path).is_err() {
        assert!(std::time::Instant::now() < limit, "it does not listen");
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
    let mut stream = connect(&path);
    stream.write_all(&hello("a.example")).unwrap();
    assert_eq!(read_to_end(&mut stream), b"welcome");
    drop(stream);
    rustix::process::kill_process(rustix::process::Pid::from_child(&started), Signal::TERM)
        .unwrap();
    assert!(started.wait().unwrap().success());
}
