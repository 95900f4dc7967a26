//! Servers that are known by name: how they are found, and what happens when nobody can say where
//! they are.

use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::PATIENCE;
use crate::support::backend::{Backend, read_to_end};
use crate::support::dns::{A, AAAA, Dns, Mood, SRV};
use crate::support::hello::{alert, hello};
use crate::support::left_out::{lacks, left_out};
use crate::support::proxy::{Proxy, directory, passthrough};
use crate::support::socket::refusing;

const NAME: &str = "app.internal.example";

/// What the server behind the proxy says to a client.
fn ask(proxy: &Proxy, sni: &str) -> Vec<u8> {
    say(proxy, &hello(sni))
}

fn say(proxy: &Proxy, hello: &[u8]) -> Vec<u8> {
    let mut client = proxy.connect();
    client.write_all(hello).unwrap();
    read_to_end(&mut client)
}

/// A configuration with one route to this upstream, whose name is looked up by `dns`.
fn config(upstream: impl Display, dns: &Dns, more: &str) -> String {
    format!(
        "{}{}{more}",
        passthrough("a.example", upstream),
        dns.table()
    )
}

/// Two servers with the same port: `one` at 127.0.0.1 and `two` at 127.0.0.2.
fn two_servers() -> (Backend, Backend, u16) {
    loop {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = one.local_addr().unwrap().port();
        if let Ok(two) = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)) {
            return (
                Backend::greet_on(one, b"one"),
                Backend::greet_on(two, b"two"),
                port,
            );
        }
    }
}

/// Asks again and again until the answer is this.
fn ask_until(proxy: &Proxy, expected: &[u8]) {
    let limit = Instant::now() + PATIENCE;
    while ask(proxy, "a.example") != expected {
        assert!(
            Instant::now() < limit,
            "never {expected:?}; the log:\n{}",
            proxy.log()
        );
    }
}

#[test]
fn a_server_is_found_by_name_and_followed_when_its_time_to_live_is_over() {
    let (_one, _two, port) = two_servers();
    let dns = Dns::start();
    dns.set(NAME, 0, &["127.0.0.1"]);
    let proxy = Proxy::start(&config(
        format_args!("{NAME}:{port}"),
        &dns,
        "min_ttl = \"10ms\"\n",
    ));
    assert_eq!(ask(&proxy, "a.example"), b"one");
    dns.set(NAME, 3600, &["127.0.0.2"]);
    ask_until(&proxy, b"two");
    // This answer holds.
    let asked = dns.asked(NAME);
    dns.set(NAME, 3600, &["127.0.0.1"]);
    for _ in 0..10 {
        assert_eq!(ask(&proxy, "a.example"), b"two");
    }
    assert_eq!(dns.asked(NAME), asked);
}

#[test]
fn each_address_of_a_name_gets_its_share() {
    let (one, two, port) = two_servers();
    let dns = Dns::start();
    dns.set(NAME, 60, &["127.0.0.1", "127.0.0.2"]);
    let proxy = Proxy::start(&config(format_args!("{NAME}:{port}"), &dns, ""));
    for _ in 0..60 {
        ask(&proxy, "a.example");
    }
    // It is decided by chance: less than this is the lot of one run in a hundred million.
    assert!(
        one.accepted() >= 8 && two.accepted() >= 8,
        "{} and {}",
        one.accepted(),
        two.accepted()
    );
}

#[test]
fn while_dns_is_down_the_last_answer_is_used_and_without_one_the_client_is_told() {
    let (_one, _two, port) = two_servers();
    for mood in [Mood::Silent, Mood::Fails] {
        let dns = Dns::start();
        dns.set(NAME, 0, &["127.0.0.1"]);
        let more = "min_ttl = \"1ms\"\ntimeout = \"500ms\"\n";
        let mut proxy = Proxy::start(&config(format_args!("{NAME}:{port}"), &dns, more));
        assert_eq!(ask(&proxy, "a.example"), b"one");
        proxy.next_access();
        dns.be(mood);
        for _ in 0..3 {
            assert_eq!(ask(&proxy, "a.example"), b"one", "{mood:?}");
            let line = proxy.next_access();
            assert!(
                line["connect_ms"].as_f64().unwrap() < 400.0,
                "{mood:?}: {line}"
            );
        }
        proxy.wait_until("a name is not resolved", |event| {
            event["last_known_answer"] == true
        });
        proxy.reload(&config(format_args!("other.example:{port}"), &dns, more));
        assert_eq!(ask(&proxy, "a.example"), alert(80), "{mood:?}");
        let line = proxy.next_access();
        let detail = line["detail"].as_str().unwrap();
        assert!(
            line["outcome"] == "connect_failed" && detail.contains("cannot resolve other.example"),
            "{line}"
        );
    }
}

#[test]
fn without_stale_answers_the_last_one_is_not_used() {
    let (_one, _two, port) = two_servers();
    let dns = Dns::start();
    dns.set(NAME, 0, &["127.0.0.1"]);
    let more = "min_ttl = \"1ms\"\ntimeout = \"200ms\"\nstale = \"off\"\n";
    let proxy = Proxy::start(&config(format_args!("{NAME}:{port}"), &dns, more));
    assert_eq!(ask(&proxy, "a.example"), b"one");
    dns.be(Mood::Silent);
    ask_until(&proxy, &alert(80));
}

#[test]
fn a_name_that_nobody_answers_for_delays_no_start_no_reload_and_no_other_route() {
    let (_one, _two, port) = two_servers();
    let dns = Dns::start();
    dns.set(NAME, 60, &["127.0.0.1"]);
    for record in [A, AAAA] {
        dns.be_to("slow.example", record, Mood::Silent);
    }
    let route = |name: &str, upstream: &dyn Display| {
        format!(
            "[routes.{name}]\nsni = \"{name}.example\"\naction = \"passthrough\"\nupstream = \"{upstream}\"\n"
        )
    };
    let slow = route("slow", &format_args!("slow.example:{port}"));
    let quick = route("quick", &format_args!("{NAME}:{port}"));
    let literal = route("literal", &format_args!("127.0.0.1:{port}"));
    let config = format!("{slow}{quick}{literal}{}timeout = \"10s\"\n", dns.table());
    let proxy = Proxy::start(&config);
    dns.wait_until_asked("slow.example", A);
    let waiting: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut client = proxy.connect();
            client.write_all(&hello("slow.example")).unwrap();
            client
        })
        .collect();
    for turn in 0..5 {
        assert_eq!(ask(&proxy, "quick.example"), b"one");
        assert_eq!(ask(&proxy, "literal.example"), b"one");
        proxy.reload(&format!("# {turn}\n{config}"));
    }
    assert!(
        !proxy.log().contains("route\":\"slow"),
        "they do not wait any more:\n{}",
        proxy.log()
    );
    // Three hundred clients and all reloads, and the question was sent a few times: it was
    // repeated, not doubled.
    assert!(
        dns.asked("slow.example") < 60,
        "asked {} times",
        dns.asked("slow.example")
    );
    drop(waiting);
}

#[test]
fn a_name_that_does_not_exist_is_a_warning() {
    let dns = Dns::start();
    let proxy = Proxy::start(&config("app.example:1", &dns, ""));
    let event = proxy.wait_for("a server's name cannot be resolved now");
    assert_eq!(
        (&event["server"], &event["level"]),
        (&"app.example:1".into(), &"warn".into()),
        "{event}"
    );
    assert!(
        event["error"].as_str().unwrap().contains("no such host"),
        "{event}"
    );
}

/// A server whose backlog is full, at an address with a port that is given.
fn unanswering_at(addr: SocketAddr) -> Option<(TcpListener, Vec<TcpStream>)> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).ok()?;
    socket.bind(&addr.into()).ok()?;
    socket.listen(0).ok()?;
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
        queued.push(stream);
        assert!(queued.len() < 10, "the backlog is never full");
    }
    Some((socket.into(), queued))
}

#[test]
fn where_ipv6_leads_nowhere_the_server_is_reached_by_ipv4_a_moment_later_and_only_one_gets_the_hello()
 {
    let hello = hello("a.example");
    let length = hello.len();
    let backend = Backend::serve(move |mut stream| {
        let mut received = vec![0; length];
        stream.read_exact(&mut received).unwrap();
        stream.write_all(&received).unwrap();
    });
    let hole = unanswering_at(SocketAddr::from((Ipv6Addr::LOCALHOST, backend.addr.port())));
    let Some((listener, queued)) = hole else {
        return left_out("this machine has no IPv6");
    };
    let dns = Dns::start();
    dns.set(NAME, 60, &["::1", "127.0.0.1"]);
    let mut proxy = Proxy::start(&config(
        format_args!("{NAME}:{}", backend.addr.port()),
        &dns,
        "",
    ));
    assert!(say(&proxy, &hello) == hello);
    let line = proxy.next_access();
    assert!(
        (240.0..2000.0).contains(&line["connect_ms"].as_f64().unwrap()),
        "{line}"
    );
    // Whatever has come to the other address meanwhile, there is no hello in it.
    listener.set_nonblocking(true).unwrap();
    drop(queued);
    let mut accepted = 0;
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read_to_end(&mut stream), b"");
        accepted += 1;
    }
    assert!(accepted > 0);
}

#[test]
fn an_answer_for_one_family_that_does_not_come_is_not_waited_for() {
    let (_one, _two, port) = two_servers();
    let dns = Dns::start();
    dns.set(NAME, 60, &["127.0.0.1"]);
    dns.be_to(NAME, AAAA, Mood::Silent);
    let mut proxy = Proxy::start(&config(
        format_args!("{NAME}:{port}"),
        &dns,
        "timeout = \"10s\"\n",
    ));
    assert_eq!(ask(&proxy, "a.example"), b"one");
    let line = proxy.next_access();
    assert!(line["connect_ms"].as_f64().unwrap() < 2000.0, "{line}");
}

#[test]
fn the_servers_of_a_service_are_tried_by_priority() {
    let (_one, _two, port) = two_servers();
    let (_socket, refusing) = refusing();
    let dns = Dns::start();
    let service = "_https._tcp.app.internal.example";
    dns.set("down.internal.example", 60, &["127.0.0.1"]);
    dns.set("up.internal.example", 60, &["127.0.0.2"]);
    let targets = [
        (20, 0, port, "up.internal.example"),
        (10, 5, refusing.port(), "down.internal.example"),
    ];
    dns.set_services(service, &targets);
    let mut proxy = Proxy::start(&config(
        format_args!("srv:{service}"),
        &dns,
        "max_ttl = \"1s\"\n",
    ));
    assert_eq!(ask(&proxy, "a.example"), b"two");
    assert_eq!(proxy.next_access()["server"], format!("srv:{service}"));
    dns.wait_until_asked("down.internal.example", A);
    // The root as a target: there is no such service (any more).
    dns.set_services(service, &[(0, 0, 0, ".")]);
    ask_until(&proxy, &alert(80));
    proxy.wait_until("connection", |line| {
        line["detail"]
            .as_str()
            .is_some_and(|why| why.contains("there is no such service"))
    });
    assert!(dns.asked(service) > 0 && dns.asked("up.internal.example") > 0);
    dns.wait_until_asked(service, SRV);
}

#[test]
fn a_long_answer_is_fetched_over_tcp() {
    let (_one, _two, port) = two_servers();
    let dns = Dns::start();
    dns.set(NAME, 60, &["127.0.0.1"]);
    dns.be(Mood::Truncates);
    let proxy = Proxy::start(&config(format_args!("{NAME}:{port}"), &dns, ""));
    assert_eq!(ask(&proxy, "a.example"), b"one");
}

#[test]
fn the_next_dns_server_is_asked_when_the_first_is_silent() {
    let (_one, _two, port) = two_servers();
    let (silent, dns) = (Dns::start(), Dns::start());
    silent.be(Mood::Silent);
    dns.set(NAME, 60, &["127.0.0.1"]);
    let servers = format!(
        "[resolver]\nservers = [\"{}\", \"{}\"]\ntimeout = \"1s\"\n",
        silent.addr, dns.addr
    );
    let proxy = Proxy::start(&format!(
        "{}{servers}",
        passthrough("a.example", format_args!("{NAME}:{port}"))
    ));
    assert_eq!(ask(&proxy, "a.example"), b"one");
    assert!(silent.asked(NAME) > 0);
}

#[test]
fn a_name_that_the_first_dns_server_cannot_answer_for_leaves_it_the_first_for_the_others() {
    let (_one, _two, port) = two_servers();
    for mood in [Mood::Fails, Mood::Silent] {
        // The second one denies every name.
        let (knows, denies) = (Dns::start(), Dns::start());
        for record in [A, AAAA] {
            knows.be_to("broken.example", record, mood);
        }
        let servers = format!(
            "[resolver]\nservers = [\"{}\", \"{}\"]\ntimeout = \"1s\"\n",
            knows.addr, denies.addr
        );
        let config = |name| {
            format!(
                "{}{servers}",
                passthrough("a.example", format_args!("{name}:{port}"))
            )
        };
        let proxy = Proxy::start(&config("broken.example"));
        assert_eq!(ask(&proxy, "a.example"), alert(80));
        assert!(denies.asked("broken.example") > 0);
        knows.set(NAME, 60, &["127.0.0.1"]);
        proxy.reload(&config(NAME));
        assert_eq!(
            ask(&proxy, "a.example"),
            b"one",
            "{mood:?}: {}",
            proxy.log()
        );
    }
}

#[test]
fn a_reload_can_change_who_is_asked_and_otherwise_keeps_what_is_known() {
    let (_one, _two, port) = two_servers();
    let (first, second) = (Dns::start(), Dns::start());
    first.set(NAME, 3600, &["127.0.0.1"]);
    second.set(NAME, 3600, &["127.0.0.2"]);
    let upstream = format!("{NAME}:{port}");
    let proxy = Proxy::start(&config(&upstream, &first, ""));
    assert_eq!(ask(&proxy, "a.example"), b"one");
    let asked = first.asked(NAME);
    let changed = config(&upstream, &first, "[timeouts]\nidle = \"5m\"\n");
    proxy.reload_after(|| proxy.write_config(&changed));
    assert_eq!(ask(&proxy, "a.example"), b"one");
    assert_eq!(first.asked(NAME), asked, "the answer still holds");
    proxy.reload(&config(&upstream, &second, ""));
    assert_eq!(ask(&proxy, "a.example"), b"two");
}

#[test]
fn names_of_this_machine_need_no_dns_and_the_system_can_be_asked_instead() {
    let (_one, _two, port) = two_servers();
    let dns = Dns::start();
    dns.be(Mood::Silent);
    let upstream = format!("localhost:{port}");
    let proxy = Proxy::start(&config(&upstream, &dns, ""));
    assert_eq!(ask(&proxy, "a.example"), b"one");
    assert_eq!(dns.asked("localhost"), 0);
    for system in [
        "resolver = \"system\"\n",
        "resolver.mode = \"system\"\nresolver.timeout = \"1s\"\n",
    ] {
        proxy.reload(&format!("{system}{}", passthrough("a.example", &upstream)));
        assert_eq!(ask(&proxy, "a.example"), b"one");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let route = passthrough("a.example", "app.example:1");
    let service = passthrough("a.example", "srv:_https._tcp.app.example");
    let tls = "[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"u\"\n[upstreams.u]\n\
               servers = \"srv:_https._tcp.app.example\"\ntls.insecure = true\n";
    for (config, expected) in [
        (
            format!("resolver = \"nss\"\n{route}"),
            "resolver: unknown value",
        ),
        (format!("resolver = []\n{route}"), "resolver: "),
        (
            format!("{route}[resolver]\nservers = [\"dns.example\"]"),
            "is not the address of a DNS server",
        ),
        (
            format!("{route}[resolver]\nservers = [\"10.0.0.53:0\"]"),
            "is not the address of a DNS server",
        ),
        (
            format!("{route}[resolver]\nservers = []"),
            "servers names no DNS server",
        ),
        (
            format!("{route}[resolver]\nmin_ttl = \"2h\""),
            "is longer than max_ttl",
        ),
        (
            format!("{route}[resolver]\nstale = \"0s\""),
            "not a duration above zero",
        ),
        (
            format!("{route}[resolver]\nmode = \"system\"\nservers = \"10.0.0.53\""),
            "servers: the system knows its servers",
        ),
        (
            format!("{route}[resolver]\nmode = \"system\"\nmax_ttl = \"1m\""),
            "max_ttl: the system knows its servers",
        ),
        (
            format!("resolver = \"system\"\n{service}"),
            "knows hosts, but no services",
        ),
        (
            passthrough("a.example", "srv:_https._tcp.app.example:443"),
            "a service has no port",
        ),
        (tls.to_owned(), "server_name"),
    ] {
        let dir = directory();
        let config = format!("{config}\n[listeners.edge]\nbind = \"127.0.0.1:0\"\n");
        std::fs::write(dir.path().join("snigate.toml"), &config).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_snigate"));
        let output = check.arg("check").current_dir(dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && text.contains(expected),
            "{expected:?} is not in:\n{text}\nof\n{config}"
        );
    }
}

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn dnsmasq_is_understood() {
    if lacks(&["dnsmasq"]) {
        return;
    }
    let (_one, _two, port) = two_servers();
    let dns = TcpListener::bind("127.0.0.3:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = Command::new("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
    ]);
    command.args([
        "--pid-file=",
        "--user=root",
        "--listen-address=127.0.0.3",
        "--local-ttl=60",
    ]);
    command
        .arg(format!("--port={}", dns.port()))
        .arg("--host-record=app.internal.example,127.0.0.1");
    command.args([
        "--cname=alias.internal.example,app.internal.example",
        "--local=/example/",
    ]);
    command.arg(format!(
        "--srv-host=_https._tcp.app.internal.example,app.internal.example,{port},0,5"
    ));
    let mut server = Running(command.stderr(Stdio::null()).spawn().unwrap());
    let limit = Instant::now() + PATIENCE;
    while TcpStream::connect(dns).is_err() {
        assert!(
            server.0.try_wait().unwrap().is_none() && Instant::now() < limit,
            "dnsmasq does not listen"
        );
        thread::park_timeout(Duration::from_millis(5));
    }
    for upstream in [
        format!("app.internal.example:{port}"),
        format!("alias.internal.example:{port}"),
        "srv:_https._tcp.app.internal.example".to_owned(),
    ] {
        let table = format!("[resolver]\nservers = \"{dns}\"\n");
        let proxy = Proxy::start(&format!("{}{table}", passthrough("a.example", &upstream)));
        assert_eq!(
            ask(&proxy, "a.example"),
            b"one",
            "{upstream}: {}",
            proxy.log()
        );
    }
}
