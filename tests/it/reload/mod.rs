//! What a new configuration may not disturb, what it must change, and what is refused.

mod races;
mod refused;
mod removed;
mod starved;
mod watched;
mod weaker;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::support::Over;
use crate::support::backend::{Backend, pattern, read_exact, read_to_end};
use crate::support::hello::{alert, hello};
use crate::support::proxy::Proxy;

/// The listener and the log that every configuration below has, so that it can be written as it is.
const FRAME: &str = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";

/// A passthrough route.
fn route(name: &str, sni: &str, upstream: SocketAddr) -> String {
    format!(
        "[routes.{name}]\nsni = \"{sni}\"\naction = \"passthrough\"\nupstream = \"{upstream}\"\n"
    )
}

/// What the other side says to a client that asks for `name`, before it ends.
fn answer(mut stream: TcpStream, name: &str) -> Vec<u8> {
    stream.write_all(&hello(name)).unwrap();
    read_to_end(&mut stream)
}

/// Sends these bytes and reads them back.
fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert!(
        read_exact(stream, bytes.len()) == bytes,
        "other bytes came back"
    );
}

#[test]
fn two_hundred_connections_and_constantly_new_ones_survive_a_hundred_reloads() {
    let backends = [Backend::echo(), Backend::echo()];
    let config = |version: usize| {
        let own = route("a", "a.example", backends[version % 2].addr);
        let other = route(
            &format!("r{version}"),
            &format!("r{version}.example"),
            backends[0].addr,
        );
        format!("{FRAME}access = false\n{own}{other}")
    };
    let proxy = Proxy::start(&config(0));
    let hello = hello("a.example");
    let mut live: Vec<TcpStream> = (0..200).map(|_| proxy.connect()).collect();
    live.iter_mut().for_each(|stream| echo(stream, &hello));
    let (over, newcomers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _over = Over(&over);
        let exchanges = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::SeqCst) {
                for (number, stream) in live.iter_mut().enumerate() {
                    echo(stream, &pattern(300, rounds * 1000 + number as u64));
                }
                rounds += 1;
            }
            rounds
        });
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let mut stream = proxy.connect();
                echo(&mut stream, &hello);
                // Each leaves a port behind that is not used again for a minute, and there are not
                // that many.
                (0..20).for_each(|round| echo(&mut stream, &pattern(300, round)));
                stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(read_to_end(&mut stream), b"");
                newcomers.fetch_add(1, Ordering::SeqCst);
            }
        });
        let few = || newcomers.load(Ordering::SeqCst) <= 100;
        for version in (1..).take_while(|version| *version <= 100 || few()) {
            proxy.reload(&config(version));
        }
        over.store(true, Ordering::SeqCst);
        assert!(exchanges.join().unwrap() > 0);
    });
    assert_eq!(proxy.count("listening"), 1);
    for mut stream in live {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut stream), b"");
    }
}

/// The inodes of the sockets on which the proxy listens at this port.
fn listening_sockets(proxy: &Proxy, port: u16) -> Vec<String> {
    let pid = proxy.pid().as_raw_nonzero();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let listening = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A")
            .then(|| fields[9].to_owned())
    });
    let open: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_str()?.to_owned()))
        .collect();
    listening
        .filter(|inode| open.contains(&format!("socket:[{inode}]")))
        .collect()
}

#[test]
fn a_listening_socket_stays_the_same_when_its_routes_change() {
    let [one, two] = [b"one", b"two"].map(|greeting| Backend::greet(greeting));
    let proxy = Proxy::start(&route("a", "a.example", one.addr));
    let before = listening_sockets(&proxy, proxy.addr().port());
    assert_eq!(before.len(), 1);
    assert_eq!(answer(proxy.connect(), "a.example"), b"one");
    proxy.reload(&route("a", "a.example", two.addr));
    assert_eq!(answer(proxy.connect(), "a.example"), b"two");
    assert_eq!(listening_sockets(&proxy, proxy.addr().port()), before);
}

#[test]
fn a_removed_route_takes_no_new_client_and_keeps_those_it_has() {
    let backend = Backend::echo();
    let both = [
        route("a", "a.example", backend.addr),
        route("b", "b.example", backend.addr),
    ];
    let proxy = Proxy::start(&both.concat());
    let mut removed = proxy.connect();
    echo(&mut removed, &hello("b.example"));
    proxy.reload(&both[0]);
    assert_eq!(answer(proxy.connect(), "b.example"), alert(112));
    echo(&mut removed, b"still here");
    echo(&mut proxy.connect(), &hello("a.example"));
}

#[test]
fn a_removed_listener_accepts_nobody_and_its_connections_go_on() {
    let backend = Backend::echo();
    let other = "[listeners.other]\nbind = \"127.0.0.1:0\"\n";
    let routes = route("a", "a.example", backend.addr);
    let proxy = Proxy::start(&format!("{FRAME}{other}{routes}"));
    let addr = proxy.addr_of("other");
    let mut open = proxy.connect_to("other");
    echo(&mut open, &hello("a.example"));
    proxy.reload(&format!("{FRAME}{routes}"));
    assert_eq!(
        proxy.wait_for("no longer listening")["addr"],
        addr.to_string()
    );
    proxy.poll_until("connections to the removed listener are refused", |_| {
        TcpStream::connect(addr).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    echo(&mut open, b"still here");
    echo(&mut proxy.connect(), &hello("a.example"));
    // And back: a socket of its own again.
    proxy.reload(&format!("{FRAME}{other}{routes}"));
    let again = proxy.wait_nth("listening", 1, |event| event["listener"] == "other");
    let mut stream = TcpStream::connect(again["addr"].as_str().unwrap()).unwrap();
    echo(&mut stream, &hello("a.example"));
    echo(&mut open, b"and here");
}

#[test]
fn connections_that_wait_to_be_accepted_are_served_although_their_listener_goes() {
    let backend = Backend::greet(b"welcome");
    let other = "[listeners.other]\nbind = \"127.0.0.1:0\"\n";
    let routes = route("a", "a.example", backend.addr);
    let proxy = Proxy::start(&format!("{FRAME}{other}{routes}"));
    let hello = hello("a.example");
    // The kernel goes on completing connections for a process that is stopped.
    proxy.signal(Signal::STOP);
    let waiting: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = proxy.connect_to("other");
            stream.write_all(&hello).unwrap();
            stream
        })
        .collect();
    proxy.write_config(&format!("{FRAME}{routes}"));
    proxy.signal(Signal::CONT);
    for mut stream in waiting {
        assert_eq!(read_to_end(&mut stream), b"welcome");
    }
    proxy.wait_for("no longer listening");
}

#[test]
fn an_upstream_that_did_not_change_goes_on_where_it_was() {
    let [one, two] = [b"one", b"two"].map(|greeting| Backend::greet(greeting));
    let config = |name: &str| {
        format!(
            "[upstreams.pair]\nservers = [\"{}\", \"{}\"]\n[routes.{name}]\nsni = \"a.example\"\n\
             action = \"passthrough\"\nupstream = \"pair\"\n",
            one.addr, two.addr
        )
    };
    let proxy = Proxy::start(&config("r0"));
    for version in 1..=4 {
        let expected: &[u8] = if version % 2 == 1 { b"one" } else { b"two" };
        assert_eq!(
            answer(proxy.connect(), "a.example"),
            expected,
            "connection {version}"
        );
        proxy.reload(&config(&format!("r{version}")));
    }
}

#[test]
fn sighup_reloads_although_nothing_has_changed() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&route("a", "a.example", backend.addr));
    let mut open = proxy.connect();
    echo(&mut open, &hello("a.example"));
    for times in 0..2 {
        proxy.signal(Signal::HUP);
        proxy.wait_nth("reload requested", times, |_| true);
        proxy.wait_nth("reloaded", times, |_| true);
    }
    echo(&mut open, b"still here");
    assert_eq!(
        open.set_nonblocking(true)
            .and_then(|()| open.read(&mut [0]))
            .unwrap_err()
            .kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn a_reload_says_what_it_changes_and_one_without_a_change_says_nothing() {
    let backend = Backend::echo();
    let of = |names: &[String]| -> String {
        let routes = names
            .iter()
            .map(|name| route(name, &format!("{name}.example"), backend.addr));
        format!("{FRAME}{}", routes.collect::<String>())
    };
    let [one, two] = ["one", "two"].map(str::to_owned);
    let proxy = Proxy::start(&of(&[one.clone(), two.clone()]));
    let changed = |config: &str| {
        let before = proxy.count("reloaded");
        proxy.reload(config);
        let event = proxy.wait_nth("reloaded", before, |_| true);
        event["changed"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(changed(&of(&[two, one.clone()])), "nothing");
    assert_eq!(changed(&of(std::slice::from_ref(&one))), "- route two");
    let idle = format!("{}timeouts.idle = \"1m\"\n", of(&[one]));
    assert_eq!(changed(&idle), "~ route one: timeouts.idle");
    // What was served last is what counts, and a line has an end.
    let many: Vec<String> = (10..30).map(|number| format!("r{number}")).collect();
    let said = changed(&of(&many));
    assert!(
        said.starts_with("- route one; + route r10; + route r11; ")
            && said.ends_with("+ route r16; and 13 more"),
        "{said}"
    );
}
