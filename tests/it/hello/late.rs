//! Clients that let the proxy wait.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::backend::{Backend, read_to_end};
use crate::support::hello::hello;
use crate::support::proxy::{Proxy, passthrough};
use crate::support::socket::abort;

/// A proxy that waits this long for a hello, in milliseconds.
fn patient_for(milliseconds: u64, backend: &Backend) -> Proxy {
    Proxy::start(&format!(
        "{}[timeouts]\nhello = \"{milliseconds}ms\"\n",
        passthrough("*", backend.addr)
    ))
}

#[test]
fn clients_that_send_nothing_are_counted_and_not_logged() {
    let backend = Backend::echo();
    let proxy = patient_for(300, &backend);
    drop(proxy.connect());
    // The kernel hands on only what has been sent something, or has been silent for a second: this
    // one is neither.
    abort(proxy.connect());
    // Before its time begins, so that what is measured is never too short.
    let start = Instant::now();
    let mut waiting = proxy.connect();
    assert_eq!(read_to_end(&mut waiting), b"");
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "closed after {:?}",
        start.elapsed()
    );
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    proxy.wait_for("connection");
    proxy.signal(Signal::TERM);
    let stopped = proxy.wait_for("stopped");
    assert_eq!(
        (&stopped["accepted"], &stopped["silent"]),
        (&3.into(), &2.into()),
        "{stopped}"
    );
    assert_eq!(proxy.count("connection"), 1);
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn a_hello_that_does_not_go_on_ends_at_the_deadline_without_an_alert() {
    let backend = Backend::echo();
    let mut proxy = patient_for(300, &backend);
    let hello = hello("a.example");
    for length in [1, 5, 100, hello.len() - 1] {
        let mut client = proxy.connect();
        client.write_all(&hello[..length]).unwrap();
        assert_eq!(read_to_end(&mut client), b"", "{length} bytes");
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"hello_timeout".into(), &"client".into()),
            "{line}"
        );
        assert_eq!(line["received"], length);
        assert_lasted(&line, 300.0);
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn the_deadline_does_not_move_with_every_byte() {
    let backend = Backend::echo();
    let mut proxy = patient_for(2000, &backend);
    let mut client = proxy.connect();
    client
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    for byte in hello("a.example") {
        // It may have closed since the last look.
        let _ = client.write_all(&[byte]);
        // What is read here, if anything, is the end: it is also what paces the client.
        match client.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            ended => {
                assert_eq!(ended.unwrap(), 0);
                break;
            }
        }
    }
    let line = proxy.next_access();
    assert_eq!(line["outcome"], "hello_timeout", "{line}");
    assert!(line["received"].as_u64().unwrap() > 1, "{line}");
    assert_lasted(&line, 2000.0);
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn a_hello_that_is_slow_but_in_time_is_routed() {
    let backend = Backend::echo();
    let proxy = patient_for(20_000, &backend);
    let hello = hello("a.example");
    let mut client = proxy.connect();
    client
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    for piece in hello.chunks(hello.len() / 8) {
        assert_eq!(
            client.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "answered too early"
        );
        client.write_all(piece).unwrap();
    }
    client
        .set_read_timeout(Some(crate::support::PATIENCE))
        .unwrap();
    assert!(crate::support::backend::read_exact(&mut client, hello.len()) == hello);
}

#[test]
fn a_server_that_speaks_first_is_heard_when_the_hello_is_there() {
    let backend = Backend::greet(b"220 ready\r\n");
    let proxy = patient_for(20_000, &backend);
    let mut client = proxy.connect();
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert_eq!(
        client.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "nobody knows which server it wants"
    );
    client
        .set_read_timeout(Some(crate::support::PATIENCE))
        .unwrap();
    client.write_all(&hello("a.example")).unwrap();
    assert_eq!(read_to_end(&mut client), b"220 ready\r\n");
}

/// That it did not end before its deadline, in milliseconds. How long after that it ends is the
/// machine's business.
fn assert_lasted(line: &serde_json::Value, deadline: f64) {
    assert!(line["duration_ms"].as_f64().unwrap() >= deadline, "{line}");
}
