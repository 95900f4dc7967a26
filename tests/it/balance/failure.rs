//! Servers that die, that never answer, and that come back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{NAME, ask, pool, pool_of};
use crate::support::PATIENCE;
use crate::support::backend::{Backend, read_to_end};
use crate::support::hello::{alert, hello};
use crate::support::proxy::Proxy;
use crate::support::socket::{accept, refusing, unanswering};

/// What the servers below answer, and what snigate does when it reaches none.
const SERVED: u8 = 49;
const UNREACHED: u8 = 80;

/// A server in a process of its own, which answers every hello with an alert.
fn server(addr: &str) -> (Proxy, SocketAddr) {
    let config = format!(
        "[listeners.edge]\nbind = \"{addr}\"\n[routes.a]\nsni = \"*\"\naction = \"reject\"\n"
    );
    let server = Proxy::start(&config);
    let addr = server.addr();
    (server, addr)
}

fn kill(server: Proxy) {
    server.signal(Signal::KILL);
    server.wait_for_exit();
}

/// Clients that come one after the other, two hundred in a second.
struct Crowd<'a> {
    hello: Vec<u8>,
    proxy: &'a Proxy,
    over: &'a AtomicBool,
    come: &'a AtomicUsize,
}

impl Crowd<'_> {
    /// Those that were not served, by when they came.
    fn run(&self) -> Vec<(Instant, Vec<u8>)> {
        let mut unserved = Vec::new();
        while !self.over.load(Ordering::SeqCst) {
            let began = Instant::now();
            let mut stream = self.proxy.connect();
            // Cut off, or told something else.
            let mut answer = Vec::new();
            let _ = stream
                .write_all(&self.hello)
                .and_then(|()| stream.read_to_end(&mut answer));
            if answer != alert(SERVED) {
                unserved.push((began, answer));
            }
            self.come.fetch_add(1, Ordering::SeqCst);
            // Four of these are two hundred in a second.
            thread::park_timeout(
                (began + Duration::from_millis(20)).saturating_duration_since(Instant::now()),
            );
        }
        unserved
    }

    /// Waits until so many more have come.
    fn wait_for(&self, more: usize) {
        let wanted = self.come.load(Ordering::SeqCst) + more;
        let limit = Instant::now() + PATIENCE;
        while self.come.load(Ordering::SeqCst) < wanted {
            assert!(Instant::now() < limit, "no more clients come");
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Tells the clients that it is over, also when the test failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn kill_one_and_bring_it_back(keys: &str, [out, back]: [&str; 2]) {
    let ((stays, a), (dies, b)) = (server("127.77.0.1:0"), server("127.77.0.2:0"));
    let proxy = Proxy::start(&pool(&[a, b], keys));
    let (over, come) = (AtomicBool::new(false), AtomicUsize::new(0));
    let crowd = Crowd {
        hello: hello(NAME),
        proxy: &proxy,
        over: &over,
        come: &come,
    };
    let (unserved, dead) = thread::scope(|scope| {
        let ended = Over(&over);
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| crowd.run())).collect();
        crowd.wait_for(100);
        kill(dies);
        let dead = Instant::now();
        proxy.wait_for(out);
        crowd.wait_for(300);
        let (_back, _) = server(&b.to_string());
        proxy.wait_for(back);
        let is_there = |line: &serde_json::Value| line["server"] == b.to_string();
        let before = proxy.log().matches(&format!("\"server\":\"{b}\"")).count();
        proxy.wait_nth("connection", before + 20, is_there);
        drop(ended);
        (
            clients
                .into_iter()
                .flat_map(|client| client.join().unwrap())
                .collect::<Vec<_>>(),
            dead,
        )
    });
    // Whoever was with the server when it died had reached it. Nobody else may notice.
    let failed: Vec<_> = unserved.iter().filter(|(began, _)| *began > dead).collect();
    assert!(failed.is_empty(), "{failed:?}\n{}", proxy.log());
    assert!(unserved.len() <= 4, "{unserved:?}");
    drop(stays);
}

#[test]
fn no_client_notices_that_one_of_two_servers_dies_and_comes_back() {
    kill_one_and_bring_it_back("", ["server is left out", "server is used again"]);
}

#[test]
fn nor_where_servers_are_checked() {
    kill_one_and_bring_it_back(
        "health = { interval = \"50ms\" }",
        ["server is down", "server is up"],
    );
}

#[test]
fn checks_say_when_a_server_goes_and_comes_while_nobody_asks_for_it() {
    let (dies, addr) = server("127.77.0.3:0");
    let proxy = Proxy::start(&pool(&[addr], "health = { interval = \"20ms\" }"));
    proxy.poll_until("it is asked", |_| {
        dies.count("connection") + 1 > 0 && !dies.log().is_empty()
    });
    kill(dies);
    let down = proxy.wait_for("server is down");
    assert_eq!(
        (&down["upstream"], &down["server"]),
        (&"pool".into(), &addr.to_string().into())
    );
    assert!(
        down["reason"].as_str().unwrap().contains("refused"),
        "{down}"
    );
    let (back, _) = server(&addr.to_string());
    proxy.wait_for("server is up");
    assert_eq!(ask(proxy.connect()), alert(SERVED));
    assert_eq!(
        (proxy.count("server is down"), proxy.count("server is up")),
        (1, 1),
        "one line for each change"
    );
    assert!(
        !back.log().contains("not_tls") && !back.log().contains("incomplete"),
        "{}",
        back.log()
    );
}

#[test]
fn when_all_servers_are_dead_clients_are_told_at_once_and_the_first_to_come_back_is_used() {
    for keys in ["", "health = { interval = \"50ms\", fall = 1 }"] {
        let ((one, a), (other, b)) = (server("127.77.0.4:0"), server("127.77.0.5:0"));
        let mut proxy = Proxy::start(&pool(&[a, b], keys));
        assert_eq!(ask(proxy.connect()), alert(SERVED));
        proxy.next_access();
        kill(one);
        kill(other);
        for _ in 0..20 {
            assert_eq!(ask(proxy.connect()), alert(UNREACHED));
            let line = proxy.next_access();
            assert_eq!(line["outcome"], "connect_failed", "{line}");
            assert!(line["connect_ms"].as_f64().unwrap() < 1000.0, "{line}");
        }
        let (_back, _) = server(&b.to_string());
        assert_eq!(
            ask(proxy.connect()),
            alert(SERVED),
            "{keys}: an ejected server is better than none"
        );
    }
}

#[test]
fn a_server_that_never_answers_delays_three_clients_and_no_more() {
    let backend = Backend::greet(b"served");
    let (_listener, _queued, black_hole) = unanswering();
    let keys = "connect_timeout = \"300ms\"\nbalance = \"first\"\nejection.time = \"60s\"";
    let mut proxy = Proxy::start(&pool(&[black_hole, backend.addr], keys));
    let mut waits = Vec::new();
    for _ in 0..10 {
        assert_eq!(ask(proxy.connect()), b"served");
        waits.push(proxy.next_access()["connect_ms"].as_f64().unwrap());
    }
    let (late, soon) = waits.split_at(3);
    assert!(
        late.iter().all(|wait| (300.0..800.0).contains(wait)),
        "{waits:?}"
    );
    assert!(soon.iter().all(|wait| *wait < 250.0), "{waits:?}");
    assert_eq!(
        proxy.wait_for("server is left out")["server"],
        black_hole.to_string()
    );
}

/// Servers that refuse until they are told to listen.
fn refusing_server() -> (TcpListener, SocketAddr) {
    let (socket, addr) = refusing();
    (socket.into(), addr)
}

fn serve_from_now_on(socket: &TcpListener) {
    socket2::SockRef::from(socket).listen(16).unwrap();
}

fn is_left_alone(socket: &TcpListener) -> bool {
    socket.set_nonblocking(true).unwrap();
    socket.accept().is_err()
}

#[test]
fn a_server_that_is_left_out_is_still_left_out_after_a_reload() {
    let backend = Backend::greet(b"served");
    let (socket, refusing) = refusing_server();
    let keys = |more: &str| format!("balance = \"first\"\nejection.time = \"60s\"\n{more}");
    let proxy = Proxy::start(&pool(&[refusing, backend.addr], &keys("")));
    for _ in 0..3 {
        assert_eq!(ask(proxy.connect()), b"served");
    }
    proxy.wait_for("server is left out");
    serve_from_now_on(&socket);
    let other = Backend::greet(b"other");
    let weighted = format!(
        "{{ address = \"{refusing}\", max_connections = 9 }}, \"{}\", \"{}\"",
        backend.addr, other.addr
    );
    for config in [
        pool_of(&weighted, &keys("")),
        pool_of(&weighted, "balance = \"random\"\nejection.time = \"60s\""),
    ] {
        proxy.reload(&config);
        for _ in 0..10 {
            assert_ne!(ask(proxy.connect()), b"");
        }
        assert!(is_left_alone(&socket), "{config}");
    }
    proxy.reload(&pool_of(
        &weighted,
        "balance = \"first\"\nejection = \"off\"",
    ));
    // With ejection off nobody is left out any more.
    let mut client = proxy.connect();
    client.write_all(&hello(NAME)).unwrap();
    drop(accept::<TcpStream>(&socket));
}

#[test]
fn a_server_that_is_down_is_down_after_a_reload_and_its_checks_go_on() {
    let backend = Backend::greet(b"served");
    let (socket, refusing) = refusing_server();
    let keys =
        "balance = \"first\"\nejection = \"off\"\nhealth = { interval = \"30ms\", rise = 1000000 }";
    let proxy = Proxy::start(&pool(&[refusing, backend.addr], keys));
    proxy.wait_for("server is down");
    serve_from_now_on(&socket);
    let changed = format!(
        "{{ address = \"{refusing}\", weight = 7 }}, \"{}\"",
        backend.addr
    );
    proxy.reload(&pool_of(&changed, &keys.replace("first", "round_robin")));
    for _ in 0..10 {
        assert_eq!(ask(proxy.connect()), b"served");
    }
    // Checks come, and nothing else: each ends without a byte.
    for _ in 0..3 {
        assert_eq!(read_to_end(&mut accept::<TcpStream>(&socket)), b"");
    }
    assert_eq!(proxy.count("server is down"), 1);
    // Without checks nothing that they said counts.
    proxy.reload(&pool(
        &[refusing, backend.addr],
        "balance = \"first\"\nejection = \"off\"",
    ));
    let mut client = proxy.connect();
    client.write_all(&hello(NAME)).unwrap();
    // Checks may still be queued before the client, but no more of them than the backlog holds.
    assert!((0..100).any(|_| accept::<TcpStream>(&socket).read(&mut [0; 5]).unwrap() > 0));
}

#[test]
fn the_access_line_says_which_servers_were_tried_and_where_a_name_has_led() {
    let (_socket, nowhere) = refusing();
    let backend = Backend::greet(b"welcome");
    let by_name = format!("localhost:{}", backend.addr.port());
    let servers = [nowhere.to_string(), by_name.clone()];
    let mut proxy = Proxy::start(&pool(&servers, "balance = \"first\""));
    assert_eq!(ask(proxy.connect()), b"welcome");
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["server"]),
        (&"closed".into(), &by_name.into()),
        "{line}"
    );
    assert_eq!(line["server_addr"], backend.addr.to_string(), "{line}");
    let failed = line["failed"].as_str().unwrap();
    assert!(failed.starts_with(&format!("{nowhere}: ")), "{line}");

    proxy.reload(&pool(&[backend.addr], ""));
    assert_eq!(ask(proxy.connect()), b"welcome");
    let line = proxy.next_access();
    assert!(
        line["server_addr"].is_null() && line["failed"].is_null(),
        "nothing that is known already: {line}"
    );
}
