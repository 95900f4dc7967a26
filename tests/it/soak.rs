//! Everything at once, for as long as `SNIGATE_SOAK_SECONDS` says: nothing is left behind, and the
//! log agrees with the clients on what happened to every one of them.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use snigate::pki::Validity;

use crate::support::backend::{Backend, pattern, read_exact, read_to_end};
use crate::support::hello::{alert, hello};
use crate::support::proxy::{Proxy, directory};
use crate::support::socket::{abort, wait_until_acknowledged};
use crate::support::tls;
use crate::support::{Over, PATIENCE};

/// Enough for every kind of connection many times; a soak that shows something takes minutes.
const SECONDS: u64 = 6;

/// Between two connections of one client. Refusals are logged one by one only while there are few
/// of them.
const PAUSE: Duration = Duration::from_millis(15);

/// By route (empty before there is one) and outcome how many connections there were.
type Tally = BTreeMap<(String, String), u64>;

/// What the clients share.
struct Load {
    addr: SocketAddr,
    over: AtomicBool,
    opened: AtomicU64,
    silent: AtomicU64,
    tally: Mutex<Tally>,
    tls: Vec<[Arc<ClientConfig>; 2]>,
}

impl Load {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).expect("the proxy accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        self.opened.fetch_add(1, Ordering::SeqCst);
        stream
    }

    fn count(&self, route: &str, outcome: &str) {
        *self
            .tally
            .lock()
            .unwrap()
            .entry((route.to_owned(), outcome.to_owned()))
            .or_default() += 1;
    }

    /// Repeats what a client does until the time is over.
    fn repeat(&self, act: impl Fn(&Self, u64)) {
        let mut round = 0;
        while !self.over.load(Ordering::SeqCst) {
            act(self, round);
            round += 1;
            // The rate of the load, which no event gives.
            thread::park_timeout(PAUSE);
        }
    }
}

fn exchange(stream: &mut (impl Read + Write), bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert!(
        read_exact(stream, bytes.len()) == bytes,
        "other bytes came back"
    );
}

fn short(load: &Load, round: u64) {
    let mut stream = load.connect();
    exchange(
        &mut stream,
        &[hello("echo.example"), pattern(200, round)].concat(),
    );
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    load.count("echo", "closed");
}

fn bulk(load: &Load, round: u64) {
    let mut stream = load.connect();
    exchange(&mut stream, &hello("echo.example"));
    let bytes = pattern(2_000_000, round);
    let mut reader = stream.try_clone().unwrap();
    let length = bytes.len();
    let back = thread::scope(|scope| {
        let back = scope.spawn(move || read_exact(&mut reader, length));
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        back.join().unwrap()
    });
    assert!(back == bytes, "other bytes came back");
    assert_eq!(read_to_end(&mut stream), b"");
    load.count("echo", "closed");
}

/// A client that resets, in the middle of a transfer or between two words.
fn resets(load: &Load, round: u64) {
    let mut stream = load.connect();
    exchange(&mut stream, &hello("echo.example"));
    if round.is_multiple_of(2) {
        stream.write_all(&pattern(300_000, round)).unwrap();
    } else {
        wait_until_acknowledged(&stream);
    }
    abort(stream);
    load.count("echo", "reset");
}

/// A server that resets as soon as it has read the hello.
fn is_reset(load: &Load, _: u64) {
    let mut stream = load.connect();
    stream.write_all(&hello("reset.example")).unwrap();
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    load.count("reset", "reset");
}

/// A server that comes and goes.
fn restarted(load: &Load, round: u64) {
    let mut stream = load.connect();
    let words = [hello("restarted.example"), pattern(100, round)].concat();
    let answered = stream.write_all(&words).and_then(|()| {
        let mut back = vec![0; words.len()];
        stream.read_exact(&mut back)?;
        assert!(back == words, "other bytes came back");
        stream.shutdown(Shutdown::Write)?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map(|_| assert_eq!(rest, b""))
    });
    load.count(
        "restarted",
        if answered.is_ok() { "closed" } else { "failed" },
    );
}

fn refused(load: &Load, round: u64) {
    let mut stream = load.connect();
    match round % 4 {
        0 => {
            stream.write_all(&hello("nowhere.example")).unwrap();
            assert_eq!(read_to_end(&mut stream), alert(112));
            load.count("", "no_route");
        }
        1 => {
            stream.write_all(&hello("rejected.example")).unwrap();
            assert_eq!(read_to_end(&mut stream), alert(49));
            load.count("rejected", "rejected");
        }
        2 => {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
            load.count("", "not_tls");
        }
        _ => {
            let hello = hello("echo.example");
            stream.write_all(&hello[..hello.len() / 2]).unwrap();
            drop(stream);
            load.count("", "incomplete_hello");
        }
    }
}

fn silent(load: &Load, _: u64) {
    drop(load.connect());
    load.silent.fetch_add(1, Ordering::SeqCst);
}

/// Mutual TLS, with and without a certificate.
fn terminated(load: &Load, round: u64) {
    let [member, nobody] = &load.tls[usize::try_from(round).unwrap() % load.tls.len()];
    let words = pattern(20_000, round);
    if round.is_multiple_of(3) {
        let refused: io::Result<Vec<u8>> =
            tls::exchange(nobody, "mtls.example", load.connect(), &words);
        refused.unwrap_err();
        load.count("mtls", "no_certificate");
    } else {
        let back = tls::exchange(member, "mtls.example", load.connect(), &words).unwrap();
        assert!(back == words, "other bytes came back");
        load.count("mtls", "closed");
    }
}

/// A server that is there half of the time, at an address that stays: it resets whom it has not
/// served when it goes.
fn comes_and_goes(addr: SocketAddr, first: TcpListener, over: &AtomicBool) {
    let mut listener = Some(first);
    while !over.load(Ordering::SeqCst) {
        let socket = listener.take().unwrap_or_else(|| bind(addr));
        socket.set_nonblocking(true).unwrap();
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            match socket.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    let mut reader = stream.try_clone().unwrap();
                    thread::spawn(move || io::copy(&mut reader, &mut stream));
                }
                Err(_) => thread::park_timeout(Duration::from_millis(2)),
            }
        }
        drop(socket);
        thread::park_timeout(Duration::from_millis(200));
    }
}

fn bind(addr: SocketAddr) -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&addr.into()).unwrap();
    socket.listen(128).unwrap();
    socket.into()
}

#[test]
fn a_mixed_load_leaves_nothing_behind_and_every_connection_is_accounted_for() {
    let seconds = env::var("SNIGATE_SOAK_SECONDS")
        .map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    let dir = directory();
    let [servers, clients] = ["servers", "clients"].map(|name| tls::authority(dir.path(), name));
    tls::write(
        dir.path(),
        "site",
        &servers
            .server(&["mtls.example"], Validity::days(20))
            .unwrap(),
    );
    let member = clients.client("member", Validity::days(20)).unwrap();
    let [echo, other] = [Backend::echo(), Backend::echo()];
    let resetting = Backend::serve(|mut stream| {
        read_exact(&mut stream, hello("reset.example").len());
        abort(stream);
    });
    let restarting = bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let restarted_addr = restarting.local_addr().unwrap();
    let config = |version: u64| {
        let more = if version.is_multiple_of(2) { 0 } else { 50 };
        let others = (0..more).map(|number| {
            format!(
                "[routes.other-{number}]\nsni = \"o{number}.example\"\naction = \"passthrough\"\nupstream = \"{}\"\n",
                echo.addr
            )
        });
        format!(
            r#"
            [routes.echo]
            sni = "echo.example"
            action = "passthrough"
            upstream = "echo"
            [upstreams.echo]
            servers = ["{echo}", {{ address = "{}", weight = 2, max_connections = 50 }}]
            balance = "least_connections"
            health = {{ interval = "100ms" }}
            [routes.reset]
            sni = "reset.example"
            action = "passthrough"
            upstream = "{}"
            [routes.restarted]
            sni = "restarted.example"
            action = "passthrough"
            upstream = "{restarted_addr}"
            [routes.rejected]
            sni = "rejected.example"
            action = "reject"
            [routes.mtls]
            sni = "mtls.example"
            action = "terminate"
            tls = "mtls"
            upstream = "{echo}"
            [tls.mtls]
            client_auth.ca_files = ["clients.pem"]
            [certificates.site]
            cert_file = "site.pem"
            key_file = "site-key.pem"
            {}
            "#,
            other.addr,
            resetting.addr,
            others.collect::<String>(),
            echo = echo.addr,
        )
    };
    let proxy = Proxy::start_in(dir, &config(0));
    let sockets = proxy.descriptors_of("socket");
    let load = Load {
        addr: proxy.addr(),
        over: AtomicBool::new(false),
        opened: AtomicU64::new(0),
        silent: AtomicU64::new(0),
        tally: Mutex::default(),
        tls: [&TLS12, &TLS13]
            .map(|version| {
                [Some(&member), None].map(|identity| tls::client(&servers, identity, &[version]))
            })
            .into(),
    };
    let clients = [
        short, bulk, resets, is_reset, restarted, refused, silent, terminated,
    ];
    let (mut settled, mut reloads) = (0, 0);
    thread::scope(|scope| {
        let over = Over(&load.over);
        let load = &load;
        let workers: Vec<_> = clients
            .iter()
            .map(|client| scope.spawn(move || load.repeat(client)))
            .collect();
        scope.spawn(|| comes_and_goes(restarted_addr, restarting, &load.over));
        let (start, length) = (Instant::now(), Duration::from_secs(seconds));
        while start.elapsed() < length && !workers.iter().any(thread::ScopedJoinHandle::is_finished)
        {
            reloads += 1;
            proxy.reload(&config(reloads));
            if start.elapsed() < length / 3 {
                settled = proxy.memory_kib("VmRSS");
            }
        }
        drop(over);
    });
    proxy.poll_until("all sockets closed", |proxy| {
        proxy.descriptors_of("socket") == sockets
    });
    let memory = proxy.memory_kib("VmRSS");
    let pipes = proxy.descriptors_of("pipe");
    println!(
        "{} connections, {reloads} reloads, {settled} and then {memory} KiB, {pipes} ends of pipes",
        load.opened.load(Ordering::SeqCst)
    );
    assert!(
        memory < settled + settled / 4 + 4096,
        "memory grew from {settled} to {memory} KiB"
    );
    assert!(pipes <= 64, "{pipes} ends of pipes");

    proxy.signal(Signal::TERM);
    let (status, log) = proxy.wait_for_exit();
    assert!(status.success(), "{status}");
    let events: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let stopped = events
        .iter()
        .find(|event| event["message"] == "stopped")
        .expect("the last line");
    assert_eq!(
        stopped["accepted"],
        load.opened.load(Ordering::SeqCst),
        "{stopped}"
    );
    assert_eq!(
        stopped["silent"],
        load.silent.load(Ordering::SeqCst),
        "{stopped}"
    );
    let [accepted, silent, routed, refused] = ["accepted", "silent", "routed", "refused"]
        .map(|key| stopped[key].as_u64().expect("a number"));
    assert_eq!(accepted, silent + routed + refused, "{stopped}");
    assert_eq!(
        (&stopped["open"], &stopped["pending"]),
        (&0.into(), &0.into()),
        "{stopped}"
    );
    assert_eq!(
        (&stopped["closed"], &stopped["log_lines_lost"]),
        (&0.into(), &0.into()),
        "{stopped}"
    );
    let mut logged = Tally::new();
    for line in events
        .iter()
        .filter(|event| event["message"] == "connection")
    {
        let (route, outcome) = (
            line["route"].as_str().unwrap_or_default(),
            line["outcome"].as_str().unwrap(),
        );
        // Which way a server that goes away is missed depends on when it goes.
        let outcome = if route == "restarted" && outcome != "closed" {
            "failed"
        } else {
            outcome
        };
        *logged
            .entry((route.to_owned(), outcome.to_owned()))
            .or_default() += 1;
    }
    assert_eq!(logged, *load.tally.lock().unwrap());
}
