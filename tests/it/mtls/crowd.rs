//! More handshakes than may be under way at a time.

use std::io::Write;
use std::thread;

use super::*;
use crate::support::hello::hello;
use crate::support::socket::{read_until_closed, wait_until_read};

/// One handshake at a time.
fn start(dir: TempDir, backend: &Backend) -> Proxy {
    let listener = "[listeners.edge]\nbind = \"127.0.0.1:0\"\nmax_handshakes = 1\n";
    Proxy::start_in(dir, &format!("{}\n{listener}", config(backend, "mtls", "")))
}

#[test]
fn everybody_has_a_turn() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let proxy = start(dir, &backend);
    let member = site.client(Some(&site.member()), &TLS13);
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..20).map(|_| scope.spawn(|| ask(&member, proxy.connect()).expect("an answer"))).collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), b"the question");
        }
    });
    assert_eq!(backend.accepted(), 20);
}

#[test]
fn who_begins_a_handshake_and_goes_no_further_makes_way_for_who_waits() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let mut proxy = start(dir, &backend);
    let mut stuck: Vec<TcpStream> = (0..2).map(|_| proxy.connect()).collect();
    for stream in &mut stuck {
        stream.write_all(&hello(NAME)).unwrap();
    }
    // One is under way, the other waits: who comes now is the last, and nobody waits for them.
    wait_until_read(&stuck);
    let answer = ask(&site.client(Some(&site.member()), &TLS13), proxy.connect()).unwrap();
    assert_eq!(answer, b"the question");
    // Its handshake timeout is ten seconds.
    let line = proxy.next_access();
    assert_eq!((&line["outcome"], &line["by"]), (&"limit".into(), &"proxy".into()), "{line}");
    let detail = "max_handshakes = 1: it took longer than a second, and others waited";
    assert_eq!(line["detail"], detail, "{line}");
    stuck.iter_mut().for_each(|stream| _ = read_until_closed(stream));
}
