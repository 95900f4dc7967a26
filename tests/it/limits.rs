//! How many connections a listener takes: who is refused, who gives way, and who is never harmed.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::backend::{Backend, read_exact, read_to_end};
use crate::support::hello::{Handmade, hello, records};
use crate::support::proxy::{Proxy, directory, passthrough};
use crate::support::socket::{connect_from, read_until_closed, wait_until_read};

/// A proxy with one route, and a listener with these keys.
fn start(backend: &Backend, keys: &str) -> Proxy {
    Proxy::start(&config(backend, keys))
}

fn config(backend: &Backend, keys: &str) -> String {
    let route = passthrough("a.example", backend.addr);
    format!("{route}[timeouts]\nhello = \"1h\"\n[listeners.edge]\nbind = \"127.0.0.1:0\"\n{keys}\n")
}

/// A connection with the beginning of a hello.
struct Begun {
    stream: TcpStream,
    rest: Vec<u8>,
}

fn begin(mut stream: TcpStream) -> Begun {
    let hello = hello("a.example");
    stream.write_all(&hello[..100]).unwrap();
    Begun {
        stream,
        rest: hello,
    }
}

impl Begun {
    fn finish(mut self) -> TcpStream {
        self.stream.write_all(&self.rest[100..]).unwrap();
        assert!(
            read_exact(&mut self.stream, self.rest.len()) == self.rest,
            "other bytes came back"
        );
        self.stream
    }
}

/// Sends these bytes and reads them back.
fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert!(
        read_exact(stream, bytes.len()) == bytes,
        "other bytes came back"
    );
}

/// A connection that the server has answered.
fn served(mut stream: TcpStream) -> TcpStream {
    echo(&mut stream, &hello("a.example"));
    stream
}

/// Whether a connection is closed without an answer to its hello.
fn is_refused(mut stream: TcpStream) -> bool {
    // It may have been reset already.
    let hello = hello("a.example");
    match stream
        .write_all(&hello)
        .and_then(|()| stream.read_exact(&mut [0]))
    {
        Ok(()) => false,
        Err(error) => {
            let ends = [
                ErrorKind::ConnectionReset,
                ErrorKind::BrokenPipe,
                ErrorKind::UnexpectedEof,
            ];
            assert!(ends.contains(&error.kind()), "{error}");
            true
        }
    }
}

fn assert_limited(line: &Value, detail: &str) {
    let found = (&line["outcome"], &line["by"], &line["detail"]);
    assert_eq!(
        found,
        (&"limit".into(), &"proxy".into(), &detail.into()),
        "{line}"
    );
}

#[test]
fn at_the_limit_of_connections_a_new_one_is_closed_at_once_and_no_other_is_harmed() {
    let backend = Backend::echo();
    let mut proxy = start(&backend, "max_connections = 3");
    let mut open: Vec<TcpStream> = (0..3).map(|_| served(proxy.connect())).collect();
    for _ in 0..3 {
        assert!(is_refused(proxy.connect()));
        assert_limited(&proxy.next_access(), "max_connections = 3");
    }
    open.iter_mut()
        .for_each(|stream| echo(stream, b"still here"));
    drop(open.pop());
    assert_eq!(proxy.next_access()["outcome"], "closed");
    proxy.poll_until("another one is served", |proxy| {
        !is_refused(proxy.connect())
    });
    open.iter_mut().for_each(|stream| echo(stream, b"and here"));
}

#[test]
fn the_oldest_unfinished_hello_gives_way_to_a_new_connection() {
    let backend = Backend::echo();
    let mut proxy = start(&backend, "max_pending = 3");
    let mut established: Vec<TcpStream> = (0..5).map(|_| served(proxy.connect())).collect();
    let mut slow: Vec<Begun> = (0..3).map(|_| begin(proxy.connect())).collect();
    for at in 0..2 {
        // Whoever finishes makes no more room than it takes.
        established.push(served(proxy.connect()));
        assert_eq!(read_until_closed(&mut slow[at].stream), b"");
        assert_limited(
            &proxy.next_access(),
            "max_pending = 3: the oldest of them gave way",
        );
        slow.push(begin(proxy.connect()));
    }
    // Now there are three again, the youngest of those of before among them, which may still
    // finish.
    established.push(slow.remove(2).finish());
    established
        .iter_mut()
        .for_each(|stream| echo(stream, b"still here"));
    assert_eq!(proxy.count("connection"), 2);
}

#[test]
fn a_source_with_too_many_unfinished_hellos_makes_room_for_itself() {
    let backend = Backend::echo();
    let mut proxy = start(&backend, "pending_per_source = 2");
    let addr = proxy.addr();
    let other = begin(connect_from([127, 0, 0, 3], addr));
    let mut slow: Vec<Begun> = (0..2)
        .map(|_| begin(connect_from([127, 0, 0, 2], addr)))
        .collect();
    let detail = "pending_per_source = 2: the oldest of 127.0.0.2 gave way";
    slow.push(begin(connect_from([127, 0, 0, 2], addr)));
    assert_eq!(read_until_closed(&mut slow[0].stream), b"");
    assert_limited(&proxy.next_access(), detail);
    // Those who share the address still come through.
    let mut good = served(connect_from([127, 0, 0, 2], addr));
    assert_eq!(read_until_closed(&mut slow[1].stream), b"");
    assert_limited(&proxy.next_access(), detail);
    echo(&mut other.finish(), b"and others anyway");
    echo(&mut good, b"still here");
}

#[test]
fn a_source_that_connects_too_often_is_closed_at_once_and_others_are_not() {
    let backend = Backend::echo();
    let mut proxy = start(
        &backend,
        "rate_per_source = { connections = 1, per = \"1h\", burst = 3 }",
    );
    let addr = proxy.addr();
    let mut open: Vec<TcpStream> = (0..3)
        .map(|_| served(connect_from([127, 0, 0, 2], addr)))
        .collect();
    for _ in 0..2 {
        assert!(is_refused(connect_from([127, 0, 0, 2], addr)));
        assert_limited(
            &proxy.next_access(),
            "rate_per_source: 127.0.0.2 connects too often",
        );
    }
    open.push(served(connect_from([127, 0, 0, 3], addr)));
    open.iter_mut()
        .for_each(|stream| echo(stream, b"still here"));
    // What has been counted is not forgotten by a reload, and what it says counts from then on.
    let config = |keys| config(&backend, keys);
    proxy.reload(&config(
        "rate_per_source = { connections = 1, per = \"1h\", burst = 2 }",
    ));
    assert!(is_refused(connect_from([127, 0, 0, 2], addr)));
    proxy.reload(&config(""));
    served(connect_from([127, 0, 0, 2], addr));
}

#[test]
fn a_rate_that_a_reload_loosens_or_removes_frees_at_once_whom_it_held_back() {
    let backend = Backend::echo();
    let proxy = start(
        &backend,
        "rate_per_source = { connections = 1, per = \"1h\", burst = 5 }",
    );
    let config = |keys| config(&backend, keys);
    (0..5).for_each(|_| drop(served(proxy.connect())));
    assert!(is_refused(proxy.connect()));
    proxy.reload(&config(
        "rate_per_source = { connections = 1, per = \"1h\", burst = 4 }",
    ));
    assert!(is_refused(proxy.connect()), "it was tightened");
    proxy.reload(&config(
        "rate_per_source = { connections = 1000, per = \"1s\" }",
    ));
    (0..10).for_each(|_| drop(served(proxy.connect())));
}

#[test]
fn a_source_with_too_many_open_connections_gets_no_more_until_one_ends_and_others_do() {
    let backend = Backend::echo();
    let mut proxy = start(&backend, "connections_per_source = 2");
    let addr = proxy.addr();
    let mut open: Vec<TcpStream> = (0..2)
        .map(|_| served(connect_from([127, 0, 0, 2], addr)))
        .collect();
    for _ in 0..2 {
        assert!(is_refused(connect_from([127, 0, 0, 2], addr)));
        assert_limited(
            &proxy.next_access(),
            "connections_per_source = 2: 127.0.0.2 has as many",
        );
    }
    open.push(served(connect_from([127, 0, 0, 3], addr)));
    open.iter_mut()
        .for_each(|stream| echo(stream, b"still here"));
    drop(open.remove(0));
    assert_eq!(proxy.next_access()["outcome"], "closed");
    proxy.poll_until("there is room", |_| {
        !is_refused(connect_from([127, 0, 0, 2], addr))
    });
}

/// The beginning of a hello of 64 KiB for `a.example`, in records of a byte each, which is 384 KiB
/// long.
fn tiny_records() -> Vec<u8> {
    let message = Handmade::named(b"a.example").padded_to(64 * 1024).message();
    records(&message[..message.len() - 1], 1)
}

#[test]
fn hellos_that_are_not_whole_have_a_budget_of_bytes_together() {
    let backend = Backend::echo();
    let mut proxy = start(&backend, "max_pending_bytes = 1000000");
    let small = begin(proxy.connect());
    let tiny = tiny_records();
    // Each takes 128 to 192 KiB.
    let mut large: Vec<TcpStream> = (0..9)
        .map(|_| {
            let mut stream = proxy.connect();
            stream.write_all(&tiny).unwrap();
            wait_until_read(&[stream.try_clone().unwrap()]);
            stream
        })
        .collect();
    assert_eq!(read_until_closed(&mut large[0]), b"");
    assert_limited(
        &proxy.next_access(),
        "max_pending_bytes = 1000000: the oldest of those that hold any gave way",
    );
    // Who holds little harms nobody, and is not harmed; the last of the others may still finish.
    small.finish();
    let mut last = large.pop().unwrap();
    let message = Handmade::named(b"a.example").padded_to(64 * 1024).message();
    let end = records(&message[message.len() - 1..], 1);
    last.write_all(&end).unwrap();
    assert!(
        read_exact(&mut last, tiny.len() + end.len()) == [tiny, end].concat(),
        "other bytes came back"
    );
}

#[test]
fn a_hello_in_tiny_records_takes_no_more_memory_than_a_few_times_the_hello() {
    let backend = Backend::echo();
    let proxy = start(&backend, "");
    served(proxy.connect());
    let tiny = tiny_records();
    let before = proxy.memory_kib("VmRSS");
    let count = 100;
    let mut streams: Vec<TcpStream> = (0..count).map(|_| proxy.connect()).collect();
    streams
        .iter_mut()
        .for_each(|stream| stream.write_all(&tiny).unwrap());
    wait_until_read(&streams);
    let each = proxy.memory_kib("VmRSS").saturating_sub(before) / count;
    // On the wire it is 384 KiB.
    assert!(each < 256, "{each} KiB for each of {count}");
}

#[test]
fn a_reload_changes_the_limit_and_goes_on_counting() {
    let backend = Backend::echo();
    let proxy = start(&backend, "max_connections = 2");
    let mut open: Vec<TcpStream> = (0..2).map(|_| served(proxy.connect())).collect();
    proxy.reload(&config(&backend, "max_connections = 3"));
    open.push(served(proxy.connect()));
    assert!(is_refused(proxy.connect()));
    proxy.reload(&config(&backend, "max_connections = 1"));
    assert!(is_refused(proxy.connect()));
    open.iter_mut()
        .for_each(|stream| echo(stream, b"still here"));
}

#[test]
fn a_lower_limit_is_reached_although_somebody_comes_all_the_time() {
    let backend = Backend::echo();
    let proxy = start(&backend, "max_pending = 4");
    let mut established = served(proxy.connect());
    let mut slow: Vec<Begun> = (0..4).map(|_| begin(proxy.connect())).collect();
    proxy.reload(&config(&backend, "max_pending = 2"));
    let last: Vec<Begun> = (0..2).map(|_| begin(proxy.connect())).collect();
    for begun in &mut slow {
        assert_eq!(read_until_closed(&mut begun.stream), b"");
    }
    last.into_iter().for_each(|begun| drop(begun.finish()));
    echo(&mut established, b"still here");
}

#[test]
fn every_connection_is_counted_once_and_nothing_is_left_at_the_end() {
    let backend = Backend::echo();
    let mut proxy = start(&backend, "max_connections = 4\nmax_pending = 2");
    let mut open = [served(proxy.connect()), served(proxy.connect())];
    let mut slow = [begin(proxy.connect()), begin(proxy.connect())];
    assert!(is_refused(proxy.connect()));
    proxy.next_access();
    for stream in &mut slow {
        stream.stream.shutdown(Shutdown::Write).unwrap();
        read_until_closed(&mut stream.stream);
        proxy.next_access();
    }
    // The first is no TLS, the second has no route, the third sends nothing. Whoever has gone may
    // count for a moment longer.
    for (bytes, outcome) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not_tls"),
        (hello("b.example"), "no_route"),
    ] {
        let is_met = (0..1000).any(|_| {
            let mut stream = proxy.connect();
            _ = stream.write_all(&bytes);
            read_until_closed(&mut stream);
            proxy.next_access()["outcome"] == outcome
        });
        assert!(is_met, "{outcome}: there is room");
    }
    let mut silent = proxy.connect();
    silent.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_until_closed(&mut silent), b"");
    open.iter_mut()
        .for_each(|stream| stream.shutdown(Shutdown::Write).unwrap());
    open.iter_mut()
        .for_each(|stream| assert_eq!(read_to_end(stream), b""));
    proxy.signal(Signal::TERM);
    let stopped = proxy.wait_for("stopped");
    let count = |key: &str| stopped[key].as_u64().unwrap();
    assert_eq!((count("routed"), count("silent")), (2, 1), "{stopped}");
    assert!(
        count("limited") >= 1 && count("refused") >= count("limited") + 4,
        "{stopped}"
    );
    assert_eq!(
        count("accepted"),
        count("routed") + count("refused") + count("silent"),
        "{stopped}"
    );
    assert_eq!(
        (count("open"), count("pending"), count("closed")),
        (0, 0, 0),
        "{stopped}"
    );
}

#[test]
fn a_listener_may_have_a_time_limit_of_its_own_for_hellos() {
    let backend = Backend::echo();
    let mut proxy = start(&backend, "timeouts.hello = \"300ms\"");
    let mut slow = begin(proxy.connect());
    assert_eq!(read_until_closed(&mut slow.stream), b"");
    assert_eq!(proxy.next_access()["outcome"], "hello_timeout");
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let dir = directory();
    let backend = Backend::echo();
    let path = dir.path().join("snigate.toml");
    for (keys, words) in [
        (
            "max_connections = 0",
            "max_connections: 0 would refuse everybody",
        ),
        ("max_pending = 0", "max_pending: 0 would refuse everybody"),
        ("pending_per_source = -1", "pending_per_source"),
        (
            "max_connections = 10\nmax_pending = 11",
            "max_pending = 11 is never reached, because max_connections is 10",
        ),
        (
            "max_pending = 10\npending_per_source = 11",
            "pending_per_source = 11 is never reached",
        ),
        (
            "max_connections = 10\npending_per_source = 6",
            "is never reached, because max_pending is 5",
        ),
        (
            "max_handshakes = 0",
            "max_handshakes: 0 would refuse everybody",
        ),
        (
            "max_pending_bytes = 0",
            "max_pending_bytes: 0 would refuse everybody",
        ),
        (
            "connections_per_source = 0",
            "connections_per_source: 0 would refuse everybody",
        ),
        (
            "max_connections = 10\nconnections_per_source = 11",
            "connections_per_source = 11 is never reached",
        ),
        (
            "max_connections = 10\nmax_handshakes = 11",
            "max_handshakes = 11 is never reached, because max_connections is 10",
        ),
        (
            "rate_per_source = { per = \"1s\" }",
            "rate_per_source.connections is missing",
        ),
        (
            "rate_per_source = { connections = 0 }",
            "rate_per_source.connections: 0 would refuse",
        ),
        (
            "rate_per_source = { connections = 5, burst = 0 }",
            "rate_per_source.burst: 0 would refuse",
        ),
        (
            "rate_per_source = { connections = 5, per = \"x\" }",
            "rate_per_source.per: \"x\" is not a duration",
        ),
        (
            "rate_per_source = { connections = 2, per = \"1ns\" }",
            "rate_per_source: the intervals between connections",
        ),
        ("rate_per_source = { conections = 5 }", "conections"),
        (
            "rate_per_source = [5, \"1s\"]",
            "listeners.edge.rate_per_source must be a table",
        ),
        (
            "timeouts.hello = \"off\"",
            "timeouts.hello: \"off\" is not a duration",
        ),
        ("timeouts.idle = \"1s\"", "idle"),
    ] {
        fs::write(&path, config(&backend, keys)).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
            .arg("check")
            .arg("-c")
            .arg(&path)
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{keys}: {text}");
        assert!(text.contains(words), "{keys}: no {words:?} in:\n{text}");
    }
}
