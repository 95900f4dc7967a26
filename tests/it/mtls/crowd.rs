//! More handshakes than may be under way at a time.

use std::io::Write;
use std::thread;

use super::*;
use crate::support::hello::hello;
use crate::support::socket::{connect_from, read_until_closed, wait_until_read};

const SLOW: &str = "it took too long, and others waited";

/// So many handshakes at a time.
fn start(dir: TempDir, backend: &Backend, most: usize) -> Proxy {
    let listener = format!("[listeners.edge]\nbind = \"127.0.0.1:0\"\nmax_handshakes = {most}\n");
    Proxy::start_in(dir, &format!("{}\n{listener}", config(backend, "mtls", "")))
}

/// Begins handshakes and does not go on with them. They are under way, or wait, when this returns.
fn stall(connections: impl Iterator<Item = TcpStream>) -> Vec<TcpStream> {
    let mut stalled: Vec<TcpStream> = connections.collect();
    for stream in &mut stalled {
        stream.write_all(&hello(NAME)).unwrap();
    }
    wait_until_read(&stalled);
    stalled
}

#[test]
fn everybody_has_a_turn() {
    let (site, dir) = site();
    let backend = Backend::echo();
    // As many wait as have a slot: they all have a second.
    let proxy = start(dir, &backend, 4);
    let member = site.client(Some(&site.member()), &TLS13);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ask(&member, proxy.connect()).expect("an answer")))
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), b"the question");
        }
    });
    assert_eq!(backend.accepted(), 8);
}

#[test]
fn who_begins_a_handshake_and_goes_no_further_makes_way_for_who_waits() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let mut proxy = start(dir, &backend, 1);
    // One is under way, the other waits: who comes now is the last, and nobody waits for them.
    let mut stuck = stall((0..2).map(|_| proxy.connect()));
    let answer = ask(&site.client(Some(&site.member()), &TLS13), proxy.connect()).unwrap();
    assert_eq!(answer, b"the question");
    // Its handshake timeout is ten seconds.
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"limit".into(), &"proxy".into()),
        "{line}"
    );
    assert_eq!(
        line["detail"],
        format!("max_handshakes = 1: {SLOW}"),
        "{line}"
    );
    stuck
        .iter_mut()
        .for_each(|stream| _ = read_until_closed(stream));
}

#[test]
fn whoever_stalls_handshakes_holds_up_no_other_source() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let mut proxy = start(dir, &backend, 4);
    let addr = proxy.addr();
    let stalled = stall((0..40).map(|_| connect_from([127, 0, 0, 2], addr)));
    let answer = ask(&site.client(Some(&site.member()), &TLS13), proxy.connect()).unwrap();
    assert_eq!(answer, b"the question");
    let mut gone = 0;
    loop {
        let line = proxy.next_access();
        if line["client"]
            .as_str()
            .is_some_and(|client| client.starts_with("127.0.0.1"))
        {
            assert_eq!(line["outcome"], "closed", "{line}");
            break;
        }
        assert_eq!(
            line["detail"],
            format!("max_handshakes = 4: {SLOW}"),
            "{line}"
        );
        gone += 1;
    }
    // In the order of the hellos, 36 would have come before.
    assert!(
        (1..36).contains(&gone),
        "{gone} of {} have gone",
        stalled.len()
    );
}
