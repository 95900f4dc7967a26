//! `max_connections`: who waits, who is refused, and who is served when a place becomes free.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::{NAME, ask, pool_of};
use crate::support::backend::{Backend, read_exact};
use crate::support::hello::{alert, hello};
use crate::support::proxy::Proxy;
use crate::support::socket::abort;

/// A client that has been served and stays.
fn stay(proxy: &Proxy) -> TcpStream {
    let mut client = proxy.connect();
    client.write_all(&hello(NAME)).unwrap();
    read_exact(&mut client, hello(NAME).len());
    client
}

/// A pool of this server with one connection at a time.
fn narrow(backend: &Backend, more: &str) -> String {
    pool_of(
        &format!("{{ address = \"{}\", max_connections = 1 }}", backend.addr),
        more,
    )
}

#[test]
fn a_client_for_whom_there_is_no_place_waits_and_is_refused_in_time() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&narrow(&backend, "connect_timeout = \"300ms\""));
    let _first = stay(&proxy);
    assert_eq!(ask(proxy.connect()), alert(80));
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"limit".into(), &"proxy".into()),
        "{line}"
    );
    assert!(
        line["detail"]
            .as_str()
            .unwrap()
            .contains("as many connections as they may have"),
        "{line}"
    );
    assert!(
        (300.0..1500.0).contains(&line["connect_ms"].as_f64().unwrap()),
        "{line}"
    );
    assert_eq!(backend.accepted(), 1);
}

#[test]
fn clients_that_wait_are_served_when_places_become_free_however_that_comes() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&narrow(&backend, "connect_timeout = \"20s\""));
    let first = stay(&proxy);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| ask(proxy.connect())))
            .collect();
        // One more has given up before its turn.
        let mut gone = proxy.connect();
        gone.write_all(&hello(NAME)).unwrap();
        abort(gone);
        abort(first);
        for client in waiting {
            assert_eq!(client.join().unwrap().len(), hello(NAME).len());
        }
    });
    let last = stay(&proxy);
    last.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        ask(proxy.connect()).len(),
        hello(NAME).len(),
        "every place was given back"
    );
}

#[test]
fn a_reload_keeps_the_count_and_applies_a_new_limit_also_to_who_waits() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&narrow(&backend, "connect_timeout = \"20s\""));
    let first = stay(&proxy);
    proxy.reload(&narrow(
        &backend,
        "connect_timeout = \"200ms\"\nbalance = \"least_connections\"",
    ));
    assert_eq!(
        ask(proxy.connect()),
        alert(80),
        "the connection of before counts"
    );
    assert_eq!(proxy.next_access()["outcome"], "limit");
    proxy.reload(&narrow(&backend, "connect_timeout = \"20s\""));
    let waiting = {
        let mut client = proxy.connect();
        client.write_all(&hello(NAME)).unwrap();
        client
    };
    let wider = format!("{{ address = \"{}\", max_connections = 2 }}", backend.addr);
    proxy.reload(&pool_of(&wider, "connect_timeout = \"20s\""));
    let mut waiting = waiting;
    read_exact(&mut waiting, hello(NAME).len());
    drop(first);
}
