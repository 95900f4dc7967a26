//! Starting, running short of descriptors, and stopping.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::version::TLS13;
use snigate::pki::Validity;

use crate::support::PATIENCE;
use crate::support::backend::{Backend, read_exact, read_to_end};
use crate::support::hello::{alert, hello};
use crate::support::proxy::{Proxy, directory, passthrough};
use crate::support::tls::{authority, client, session, write};

/// A connection that the server has answered.
fn open(proxy: &Proxy) -> TcpStream {
    let mut stream = proxy.connect();
    echo(&mut stream, &hello("a.example"));
    stream
}

/// Sends these bytes and reads them back.
fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert!(
        read_exact(stream, bytes.len()) == bytes,
        "other bytes came back"
    );
}

/// Ends the connection, and waits until the other side has done so too.
fn end(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
}

/// The time that the process has spent on a processor.
fn processor_time(proxy: &Proxy) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", proxy.pid().as_raw_nonzero())).unwrap();
    // proc(5): after the name, which is in parentheses, utime and stime are the 12th and 13th
    // field, in 1/100 s.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    Duration::from_millis(
        10 * fields[11..13]
            .iter()
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum::<u64>(),
    )
}

#[test]
fn out_of_descriptors_it_says_so_once_waits_without_spinning_and_serves_again_when_some_are_free() {
    let backend = Backend::echo();
    let config = format!(
        "{}[timeouts]\nhello = \"600ms\"\n",
        passthrough("a.example", backend.addr)
    );
    let proxy = Proxy::start_as(directory(), &config, |command| {
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args());
        *command = limited;
        command.stderr(Stdio::piped()).stdout(Stdio::null());
    });
    let mut earlier = open(&proxy);
    // What it watches its files with is opened after `ready`, and before it reloads.
    proxy.reload_after(|| proxy.signal(Signal::HUP));
    let before = proxy.descriptors();
    let warning = "cannot accept connections for want of a resource";
    let mut silent: Vec<TcpStream> = (0..150).map(|_| proxy.connect()).collect();
    proxy.wait_for(warning);
    let spent = processor_time(&proxy);
    // The first in line is given up after its time; meanwhile accepting has failed dozens of times.
    assert_eq!(read_to_end(&mut silent[0]), b"");
    echo(&mut earlier, b"still here");
    let spent = processor_time(&proxy) - spent;
    assert!(
        spent < Duration::from_millis(300),
        "{spent:?} of the 600 ms were spent on trying"
    );
    drop(silent);
    proxy.poll_until("a client is served again", |proxy| {
        let (mut stream, hello) = (proxy.connect(), hello("a.example"));
        let mut answer = vec![0; hello.len()];
        stream
            .write_all(&hello)
            .and_then(|()| stream.read_exact(&mut answer))
            .is_ok()
            && answer == hello
    });
    echo(&mut earlier, b"and here");
    proxy.poll_until("every descriptor is given back", |proxy| {
        proxy.descriptors() <= before
    });
    assert_eq!(proxy.count(warning), 1);
}

/// Waits until the proxy does not listen any more.
fn wait_until_refused(proxy: &Proxy) {
    let addr = proxy.addr();
    proxy.poll_until("connections are refused", |_| {
        TcpStream::connect(addr).is_err()
    });
}

fn assert_stopped((status, log): (ExitStatus, String), closed: usize) {
    assert_eq!(
        status.code(),
        Some(if closed == 0 { 0 } else { 3 }),
        "{status}: {log}"
    );
    let line = log
        .lines()
        .find(|line| line.contains(r#""message":"stopped""#))
        .expect("the last event");
    assert!(line.contains(&format!(r#""closed":{closed}"#)), "{log}");
}

#[test]
fn a_signal_to_stop_lets_connections_end_by_themselves_and_takes_no_new_ones() {
    for signal in [Signal::TERM, Signal::INT] {
        let backend = Backend::echo();
        let mut proxy = Proxy::start(
            &(passthrough("a.example", backend.addr) + "[timeouts]\ndrain = \"1h\"\n"),
        );
        let (mut one, mut two) = (open(&proxy), open(&proxy));
        proxy.signal(signal);
        assert_eq!(proxy.wait_for("draining")["open"], 2);
        wait_until_refused(&proxy);
        echo(&mut one, b"still here");
        end(one);
        echo(&mut two, b"and here");
        end(two);
        for _ in 0..2 {
            assert_eq!(proxy.next_access()["outcome"], "closed");
        }
        assert_stopped(proxy.wait_for_exit(), 0);
    }
}

#[test]
fn clients_that_wait_to_be_accepted_when_the_signal_comes_are_served() {
    let backend = Backend::greet(b"welcome");
    let proxy = Proxy::start(&passthrough("a.example", backend.addr));
    let hello = hello("a.example");
    // The kernel goes on completing connections for a process that is stopped.
    proxy.signal(Signal::STOP);
    let waiting: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = proxy.connect();
            stream.write_all(&hello).unwrap();
            stream
        })
        .collect();
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::CONT);
    for mut stream in waiting {
        assert_eq!(read_to_end(&mut stream), b"welcome");
    }
    assert_stopped(proxy.wait_for_exit(), 0);
}

#[test]
fn clients_that_have_connected_and_sent_nothing_when_the_signal_comes_are_served() {
    let backend = Backend::greet(b"welcome");
    let proxy = Proxy::start(&passthrough("a.example", backend.addr));
    let hello = hello("a.example");
    let mut connected: Vec<TcpStream> = (0..100).map(|_| proxy.connect()).collect();
    let silent = connected.split_off(95);
    proxy.signal(Signal::TERM);
    proxy.wait_for("draining");
    let serve = |mut stream: TcpStream| {
        stream.write_all(&hello).unwrap();
        assert_eq!(read_to_end(&mut stream), b"welcome");
    };
    connected.into_iter().for_each(serve);
    wait_until_refused(&proxy);
    silent.into_iter().for_each(serve);
    assert_stopped(proxy.wait_for_exit(), 0);
}

#[test]
fn what_has_not_ended_by_the_drain_deadline_is_closed() {
    let dir = directory();
    let servers = authority(dir.path(), "servers");
    write(
        dir.path(),
        "site",
        &servers.server(&["t.example"], Validity::days(20)).unwrap(),
    );
    let backend = Backend::echo();
    let terminate = "[certificates.site]\ncert_file = \"site.pem\"\nkey_file = \"site-key.pem\"\n\
        [routes.t]\nsni = \"t.example\"\naction = \"terminate\"\n";
    let config = |drain: &str| {
        format!(
            "[timeouts]\ndrain = \"{drain}\"\n{terminate}upstream = \"{}\"\n{}",
            backend.addr,
            passthrough("a.example", backend.addr)
        )
    };
    let mut proxy = Proxy::start_in(dir, &config("1h"));
    let mut passed = open(&proxy);
    let mut terminated = session(
        &client(&servers, None, &[&TLS13]),
        "t.example",
        proxy.connect(),
    );
    terminated.write_all(b"question").unwrap();
    assert_eq!(read_exact(&mut terminated, 8), b"question");
    // The deadline of the configuration that runs counts, not that of the one it started with.
    proxy.reload(&config("300ms"));
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    let draining = proxy.wait_for("draining");
    assert_eq!(
        (&draining["open"], &draining["timeout_s"]),
        (&2.into(), &0.3.into()),
        "{draining}"
    );
    let _ = passed.read(&mut [0]);
    assert!(
        terminated.read(&mut [0; 8]).is_err(),
        "a close_notify would say that the server has finished"
    );
    // It began after the signal, so this holds however busy the machine is.
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "not before the deadline"
    );
    for _ in 0..2 {
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"drained".into(), &"proxy".into()),
            "{line}"
        );
    }
    assert_stopped(proxy.wait_for_exit(), 2);
}

#[test]
fn without_descriptors_a_stop_resets_nobody_who_waits_to_be_accepted() {
    let proxy = Proxy::start_as(
        directory(),
        "[routes.a]\nsni = \"a.example\"\naction = \"reject\"\n",
        |command| {
            let mut limited = Command::new("sh");
            limited
                .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
                .arg(command.get_program())
                .args(command.get_args());
            *command = limited;
            command.stderr(Stdio::piped()).stdout(Stdio::null());
        },
    );
    proxy.signal(Signal::STOP);
    let hello = hello("a.example");
    let waiting: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = proxy.connect();
            stream.write_all(&hello).unwrap();
            stream
        })
        .collect();
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::CONT);
    for mut stream in waiting {
        assert_eq!(read_exact(&mut stream, 7), alert(49));
    }
    assert_stopped(proxy.wait_for_exit(), 0);
}

#[test]
fn who_has_not_been_routed_is_not_counted_as_closed() {
    let backend = Backend::echo();
    let config =
        passthrough("a.example", backend.addr) + "[timeouts]\ndrain = \"300ms\"\nhello = \"1h\"\n";
    for routed in [0, 1] {
        let proxy = Proxy::start(&config);
        let mut half = proxy.connect();
        half.write_all(&hello("a.example")[..20]).unwrap();
        let _open: Vec<TcpStream> = (0..routed).map(|_| open(&proxy)).collect();
        proxy.signal(Signal::TERM);
        assert_stopped(proxy.wait_for_exit(), routed);
    }
}

#[test]
fn a_reload_while_connections_end_closes_those_whose_route_is_gone_and_listens_on_nothing() {
    let backend = Backend::echo();
    let route = |name: &str, on_remove: &str| {
        let route = passthrough(&format!("{name}.example"), backend.addr)
            .replace("[routes.a]", &format!("[routes.{name}]"));
        format!("{route}on_remove = \"{on_remove}\"\n")
    };
    let times = "[timeouts]\ndrain = \"1h\"\n";
    let both = [route("a", "keep"), route("b", "close")].concat() + times;
    let mut proxy = Proxy::start(&both);
    let (addr, mut kept) = (proxy.addr(), open(&proxy));
    let mut removed = proxy.connect();
    echo(&mut removed, &hello("b.example"));
    proxy.signal(Signal::TERM);
    proxy.wait_for("draining");
    wait_until_refused(&proxy);
    proxy.reload(&(route("a", "keep") + times));
    assert_eq!(proxy.next_access()["outcome"], "route_removed");
    assert!(removed.read(&mut [0]).map_or(true, |read| read == 0));
    assert!(TcpStream::connect(addr).is_err(), "it listens again");
    proxy.reload_after(|| proxy.signal(Signal::HUP));
    assert!(TcpStream::connect(addr).is_err(), "it listens again");
    echo(&mut kept, b"still here");
    proxy.signal(Signal::TERM);
    proxy.wait_for("stopping at once");
    assert_stopped(proxy.wait_for_exit(), 1);
}

#[test]
fn a_route_that_a_reload_removes_while_connections_end_has_its_own_time_to_drain() {
    let backend = Backend::echo();
    let a = passthrough("a.example", backend.addr);
    let b = a
        .replace("[routes.a]", "[routes.b]")
        .replace("a.example", "b.example")
        + "on_remove = \"drain\"\n";
    let config = |routes: &str, drain: &str| format!("{routes}[timeouts]\ndrain = \"{drain}\"\n");
    let mut proxy = Proxy::start(&config(&format!("{a}{b}"), "1h"));
    let (mut kept, mut removed) = (open(&proxy), proxy.connect());
    echo(&mut removed, &hello("b.example"));
    proxy.signal(Signal::TERM);
    proxy.wait_for("draining");
    // The hour of the stop goes on; the route has what is left of its own time.
    proxy.reload(&config(&a, "300ms"));
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["route"]),
        (&"route_removed".into(), &"b".into()),
        "{line}"
    );
    assert!(removed.read(&mut [0]).is_err(), "it was reset");
    echo(&mut kept, b"still here");
    proxy.signal(Signal::TERM);
    assert_stopped(proxy.wait_for_exit(), 1);
}

#[test]
fn a_second_signal_stops_at_once() {
    for [first, second] in [
        [Signal::TERM; 2],
        [Signal::INT; 2],
        [Signal::TERM, Signal::INT],
    ] {
        let backend = Backend::echo();
        let mut proxy = Proxy::start(
            &(passthrough("a.example", backend.addr) + "[timeouts]\ndrain = \"1h\"\n"),
        );
        let mut open = open(&proxy);
        proxy.signal(first);
        proxy.wait_for("draining");
        echo(&mut open, b"still here");
        proxy.signal(second);
        proxy.wait_for("stopping at once");
        assert_eq!(proxy.next_access()["outcome"], "drained");
        assert_stopped(proxy.wait_for_exit(), 1);
    }
}

/// Runs the binary with this configuration, which does not start: its exit code and what it says.
fn fail_to_start(dir: &Path, config: &str) -> (Option<i32>, String) {
    let path = dir.join("snigate.toml");
    fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
    let output = command
        .arg("run")
        .arg("-c")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_first_configuration_with_mistakes_is_refused_with_all_of_them() {
    let dir = directory();
    let config = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n\n[routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\n\
        upstream = \"ap\"\n\n[routes.b]\nsnj = \"b.example\"\naction = \"reject\"\n\n[upstreams.app]\n\
        servers = [\"127.0.0.1:1\"]\n";
    let (code, text) = fail_to_start(dir.path(), config);
    assert_eq!(code, Some(1), "{text}");
    for words in [
        "error: routes.a: upstream \"ap\" is not defined",
        "snigate.toml:7:12",
        "upstream = \"ap\"",
        "help: did you mean \"app\"?",
        "unknown key `snj`",
        "snigate.toml:10:1",
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
}

#[test]
fn an_address_that_is_taken_is_named_and_nothing_starts() {
    let dir = directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let config =
        format!("[listeners.free]\nbind = \"127.0.0.1:0\"\n[listeners.other]\nbind = \"{addr}\"\n");
    let (code, text) = fail_to_start(dir.path(), &config);
    assert_eq!(code, Some(1), "{text}");
    for words in [
        "listeners.other",
        &addr.to_string(),
        "another program listens there",
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
    assert!(!text.contains("listening"), "{text}");
}

#[test]
fn a_signal_to_stop_is_obeyed_while_the_first_configuration_is_read() {
    let dir = directory();
    let mut config = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n".to_owned();
    for number in 0..20_000 {
        config +=
            &format!("[routes.r{number}]\nsni = \"n{number}.example\"\naction = \"reject\"\n");
    }
    fs::write(dir.path().join("snigate.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
    let mut child = command
        .arg("run")
        .current_dir(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (status, limit) = (
        format!("/proc/{}/status", child.id()),
        Instant::now() + PATIENCE,
    );
    // proc(5): a mask of the signals that the process handles, in which SIGTERM is the 15th from
    // the right.
    let handles = |line: &str| {
        let mask = line
            .strip_prefix("SigCgt:")
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 1 << 14 != 0)
    };
    while !fs::read_to_string(&status).unwrap().lines().any(handles) {
        assert!(Instant::now() < limit, "it handles no signal");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), said.as_str()),
        (Some(0), ""),
        "it has not even begun to listen"
    );
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let dir = directory();
    let backend = Backend::echo();
    let config = format!(
        "{}[listeners.edge]\nbind = \"127.0.0.1:0\"\n",
        passthrough("a.example", backend.addr)
    );
    fs::write(dir.path().join("snigate.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
    let mut child = command
        .arg("run")
        .current_dir(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "no address");
    }
    let addr = line.split("addr=").nth(1).unwrap().trim().to_owned();
    // A pipe holds 64 KiB, and each of these is a line of hundreds of bytes.
    for _ in 0..1000 {
        let mut client = TcpStream::connect(&addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&hello("nobody.example")).unwrap();
        assert_eq!(read_exact(&mut client, 7), alert(112));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    drop(log);
}
