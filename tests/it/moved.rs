//! Servers that move while DNS says for ten minutes more where they were: a container that is made
//! again.

use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::process::Signal;

use crate::support::backend::{Backend, read_to_end};
use crate::support::dns::{A, Dns, Mood};
use crate::support::hello::{alert, hello};
use crate::support::proxy::{Proxy, passthrough};
use crate::support::socket::{accept, listening, refusing, unanswering};

const NAME: &str = "app.internal.example";

/// For how long DNS says that its answers hold: longer than any test takes.
const LONG: u32 = 600;

/// Listeners at 127.0.0.1 and 127.0.0.2 with the same port.
fn two() -> ([TcpListener; 2], u16) {
    loop {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = one.local_addr().unwrap().port();
        if let Ok(other) = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)) {
            return ([one, other], port);
        }
    }
}

/// A server that serves one client and is gone then.
fn serve_one(listener: TcpListener) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut stream: TcpStream = accept(&listener);
        drop(listener);
        stream.write_all(b"one").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

fn config(upstream: impl Display, dns: &Dns, more: &str) -> String {
    format!(
        "{}{}{more}",
        passthrough("a.example", upstream),
        dns.table()
    )
}

fn ask(proxy: &Proxy) -> Vec<u8> {
    let mut client = proxy.connect();
    client.write_all(&hello("a.example")).unwrap();
    read_to_end(&mut client)
}

/// Asks again and again until the answer is this: what is not asked for again within a second may
/// be then.
fn ask_until(proxy: &Proxy, expected: &[u8]) {
    proxy.poll_until(&format!("{expected:?}"), |proxy| ask(proxy) == expected);
}

#[test]
fn a_server_that_has_moved_is_found_by_the_first_connection_that_misses_it() {
    for name in [NAME.to_owned(), format!("{NAME}.")] {
        let ([one, two], port) = two();
        let dns = Dns::start();
        dns.set(NAME, LONG, &["127.0.0.1"]);
        let mut proxy = Proxy::start(&config(format_args!("{name}:{port}"), &dns, ""));
        let one = serve_one(one);
        assert_eq!(ask(&proxy), b"one");
        proxy.next_access();
        one.join().unwrap();
        let _two = Backend::greet_on(two, b"two");
        dns.set(NAME, LONG, &["127.0.0.2"]);
        assert_eq!(ask(&proxy), b"two", "{}", proxy.log());
        assert_eq!(proxy.next_access()["outcome"], "closed");
        let asked = dns.asked_for(NAME, A);
        for _ in 0..10 {
            assert_eq!(ask(&proxy), b"two");
        }
        assert_eq!(dns.asked_for(NAME, A), asked, "the new answer holds");
    }
}

#[test]
fn of_many_connections_that_miss_a_server_at_once_all_find_it_and_one_asks() {
    let ([one, two], port) = two();
    let dns = Dns::start();
    dns.set(NAME, LONG, &["127.0.0.1"]);
    let proxy = Proxy::start(&config(format_args!("{NAME}:{port}"), &dns, ""));
    let one = serve_one(one);
    assert_eq!(ask(&proxy), b"one");
    one.join().unwrap();
    let _two = Backend::greet_on(two, b"two");
    let asked = dns.asked_for(NAME, A);
    dns.set(NAME, LONG, &["127.0.0.2"]);
    let clients: Vec<TcpStream> = (0..50).map(|_| proxy.connect()).collect();
    for mut client in &clients {
        client.write_all(&hello("a.example")).unwrap();
    }
    for mut client in clients {
        assert_eq!(read_to_end(&mut client), b"two");
    }
    assert_eq!(dns.asked_for(NAME, A), asked + 1, "one question");
}

#[test]
fn a_server_that_is_down_and_has_not_moved_is_asked_for_once_a_second() {
    let ([one, _two], port) = two();
    drop(one);
    let dns = Dns::start();
    dns.set(NAME, LONG, &["127.0.0.1"]);
    let proxy = Proxy::start(&config(format_args!("{NAME}:{port}"), &dns, ""));
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(ask(&proxy), alert(80));
    }
    // At first, and once for each second that has begun since.
    let most = 2 + usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!(
        (2..=most).contains(&dns.asked_for(NAME, A)),
        "{} of {most}",
        dns.asked_for(NAME, A)
    );
    let log = proxy.log();
    assert!(
        log.contains("refused") && !log.contains("cannot resolve"),
        "{log}"
    );
}

#[test]
fn two_names_are_asked_for_apart() {
    let ([one, two], port) = two();
    let dns = Dns::start();
    for name in [NAME, "other.internal.example"] {
        dns.set(name, LONG, &["127.0.0.1"]);
    }
    let servers = format!("{NAME}:{port}\", \"other.internal.example:{port}");
    let route = passthrough("a.example", "").replace("\"\"", &format!("[\"{servers}\"]"));
    let proxy = Proxy::start(&format!("{route}{}", dns.table()));
    let one = serve_one(one);
    assert_eq!(ask(&proxy), b"one");
    one.join().unwrap();
    let _two = Backend::greet_on(two, b"two");
    dns.set("other.internal.example", LONG, &["127.0.0.2"]);
    assert_eq!(
        ask(&proxy),
        b"two",
        "the one that has moved is found, the other is not: {}",
        proxy.log()
    );
}

#[test]
fn while_dns_is_silent_the_addresses_stay_what_they_were() {
    let (one, addr) = refusing();
    let dns = Dns::start();
    dns.set(NAME, LONG, &["127.0.0.1"]);
    let upstream = format!("{NAME}:{}", addr.port());
    let mut proxy = Proxy::start(&config(upstream, &dns, "timeout = \"300ms\"\n"));
    assert_eq!(ask(&proxy), alert(80));
    proxy.next_access();
    dns.be(Mood::Silent);
    let asked = dns.asked_for(NAME, A);
    proxy.poll_until("it is asked for again", |proxy| {
        assert_eq!(ask(proxy), alert(80));
        dns.asked_for(NAME, A) > asked
    });
    let log = proxy.log();
    assert!(!log.contains("cannot resolve"), "{log}");
    dns.be(Mood::Answers);
    let _one = Backend::greet_on(listening(one), b"again");
    ask_until(&proxy, b"again");
}

#[test]
fn a_server_whose_name_is_denied_for_a_moment_is_found_when_it_is_back() {
    let ([one, two], port) = two();
    drop(one);
    let dns = Dns::start();
    dns.set(NAME, LONG, &["127.0.0.1"]);
    let proxy = Proxy::start(&config(format_args!("{NAME}:{port}"), &dns, ""));
    assert_eq!(ask(&proxy), alert(80));
    dns.remove(NAME);
    proxy.poll_until("that there is no such host is known", |proxy| {
        ask(proxy);
        proxy.log().contains("there is no such host")
    });
    let _two = Backend::greet_on(two, b"two");
    dns.set(NAME, LONG, &["127.0.0.2"]);
    ask_until(&proxy, b"two");
}

#[test]
fn a_server_that_has_moved_is_found_although_its_old_address_is_silent() {
    let (listener, queued, old, two) = loop {
        let (listener, queued, old) = unanswering();
        if let Ok(two) = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), old.port())) {
            break (listener, queued, old, two);
        }
    };
    let dns = Dns::start();
    dns.set(NAME, LONG, &["127.0.0.1"]);
    let proxy = Proxy::start(&config(format_args!("{NAME}:{}", old.port()), &dns, ""));
    dns.wait_until_asked(NAME, A);
    let mut client = proxy.connect();
    client.write_all(&hello("a.example")).unwrap();
    let _two = Backend::greet_on(two, b"two");
    dns.set(NAME, LONG, &["127.0.0.2"]);
    assert_eq!(read_to_end(&mut client), b"two", "{}", proxy.log());
    drop((listener, queued));
}

#[test]
fn a_health_check_finds_a_server_that_has_moved() {
    let ([one, two], port) = two();
    drop(one);
    let dns = Dns::start();
    dns.set(NAME, LONG, &["127.0.0.1"]);
    let upstream = format!(
        "[upstreams.u]\nservers = \"{NAME}:{port}\"\nhealth = {{ interval = \"50ms\", rise = 1 }}\n{}",
        dns.table()
    );
    let proxy = Proxy::start(&format!("{}{upstream}", passthrough("a.example", "u")));
    proxy.wait_for("server is down");
    let _two = Backend::greet_on(two, b"two");
    dns.set(NAME, LONG, &["127.0.0.2"]);
    proxy.wait_for("server is up");
    assert_eq!(ask(&proxy), b"two");
}

#[test]
fn a_service_that_has_moved_is_found_by_the_first_connection_that_misses_it() {
    let ([one, two], port) = two();
    let service = "_https._tcp.app.internal.example";
    let dns = Dns::start();
    dns.set(NAME, LONG, &["127.0.0.1"]);
    dns.set("new.internal.example", LONG, &["127.0.0.2"]);
    dns.set_services_for(service, LONG, &[(0, 0, port, NAME)]);
    let proxy = Proxy::start(&config(format_args!("srv:{service}"), &dns, ""));
    let one = serve_one(one);
    assert_eq!(ask(&proxy), b"one");
    one.join().unwrap();
    let _two = Backend::greet_on(two, b"two");
    dns.set_services_for(service, LONG, &[(0, 0, port, "new.internal.example")]);
    assert_eq!(ask(&proxy), b"two", "{}", proxy.log());
}

#[test]
fn a_reload_that_is_asked_for_forgets_answers_and_one_of_a_changed_file_does_not() {
    let ([one, two], port) = two();
    let (_one, _two) = (
        Backend::greet_on(one, b"one"),
        Backend::greet_on(two, b"two"),
    );
    let dns = Dns::start();
    dns.set(NAME, LONG, &["127.0.0.1"]);
    let config = config(format_args!("{NAME}:{port}"), &dns, "");
    let proxy = Proxy::start(&config);
    assert_eq!(ask(&proxy), b"one");
    dns.set(NAME, LONG, &["127.0.0.2"]);
    proxy.reload_after(|| proxy.write_config(&format!("{config}\n# changed\n")));
    assert_eq!(ask(&proxy), b"one");
    proxy.reload_after(|| proxy.signal(Signal::HUP));
    assert_eq!(ask(&proxy), b"two");
}
