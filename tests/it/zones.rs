//! Link-local addresses: with the interface by name or by number, for listeners, servers and DNS
//! servers.

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::process::Command;

use rustix::process::Signal;

use crate::cli::{snigate, text, with_config};
use crate::support::backend::{Backend, read_to_end};
use crate::support::dns::Dns;
use crate::support::hello::{alert, hello};
use crate::support::left_out::left_out;
use crate::support::proxy::{Proxy, passthrough};

/// Two ends of a cable, one of them with an address.
const CABLE: &str = "ip link add name sni0 type veth peer name sni1 && ip link set sni0 up && ip link set sni1 up && \
                     ip addr add fe80::a/64 dev sni0 nodad";

const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);

/// Set in the process that runs the test in a network namespace of its own.
const INSIDE: &str = "SNIGATE_TEST_IN_NAMESPACE";

/// Runs a test of this file once more, in a network namespace with a cable.
fn run_in_a_namespace(test: &str) {
    let prepare =
        format!("ip link set lo up && {CABLE} || exit 99; exec \"$0\" --exact \"$1\" --nocapture");
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user", "sh", "-c", &prepare]);
    command
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1");
    let output = command.output().expect("unshare(1)");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if !said.contains("running 1 test") {
        left_out(&format!(
            "this machine has no network namespaces with interfaces: {said}"
        ));
        return;
    }
    assert!(output.status.success(), "{said}");
}

fn shell(script: &str) {
    assert!(
        Command::new("sh")
            .args(["-c", script])
            .status()
            .unwrap()
            .success(),
        "{script}"
    );
}

fn number() -> u32 {
    let output = Command::new("ip")
        .args(["-o", "link", "show", "dev", "sni0"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn there(port: u16) -> SocketAddrV6 {
    SocketAddrV6::new(ADDRESS, port, 0, number())
}

fn listen(bind: &str) -> String {
    format!("[listeners.edge]\nbind = \"{bind}\"\n")
}

/// What a client is answered that connects over the cable.
fn ask(proxy: &Proxy, nth: usize) -> Vec<u8> {
    let event = proxy.wait_nth("listening", nth, |_| true);
    let port = event["addr"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let mut client = TcpStream::connect(there(port)).unwrap();
    client.write_all(&hello("a.example")).unwrap();
    read_to_end(&mut client)
}

#[test]
fn an_interface_goes_with_a_link_local_address_by_name_and_by_number() {
    if std::env::var_os(INSIDE).is_none() {
        return run_in_a_namespace(
            "zones::an_interface_goes_with_a_link_local_address_by_name_and_by_number",
        );
    }
    let server = Backend::greet_on(TcpListener::bind(there(0)).unwrap(), b"one");
    let port = server.addr.port();
    let dns = Dns::start_at(there(0).into());
    dns.set("app.internal.example", 60, &["127.0.0.1"]);
    let named = Backend::greet(b"two");
    for zone in ["sni0".to_owned(), number().to_string()] {
        let listener = listen(&format!("[fe80::a%{zone}]:0"));
        let to = format!("[fe80::a%{zone}]:{port}");
        let mut proxy = Proxy::start(&format!("{listener}{}", passthrough("a.example", &to)));
        let said = proxy.wait_for("listening")["addr"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(said.starts_with(&format!("[fe80::a%{zone}]:")), "{said}");
        assert_eq!(ask(&proxy, 0), b"one");
        assert_eq!(proxy.next_access()["server"], to);
        let to = format!("app.internal.example:{}", named.addr.port());
        let resolver = format!(
            "[resolver]\nservers = \"[fe80::a%{zone}]:{}\"\n",
            dns.addr.port()
        );
        let proxy = Proxy::start(&format!(
            "{listener}{}{resolver}",
            passthrough("a.example", to)
        ));
        assert_eq!(ask(&proxy, 0), b"two", "{}", proxy.log());
    }
}

#[test]
fn an_interface_that_is_made_again_is_found_by_its_name() {
    if std::env::var_os(INSIDE).is_none() {
        return run_in_a_namespace("zones::an_interface_that_is_made_again_is_found_by_its_name");
    }
    let free = TcpListener::bind(there(0)).unwrap();
    let [port, other] = [
        free.local_addr().unwrap().port(),
        TcpListener::bind(there(0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port(),
    ];
    drop(free);
    let route = passthrough("a.example", format_args!("[fe80::a%sni0]:{port}"));
    let mut proxy = Proxy::start(&format!(
        "{}{route}",
        listen(&format!("[fe80::a%sni0]:{other}"))
    ));
    let before = number();
    shell(&format!("ip link del sni0 && {CABLE}"));
    assert_ne!(number(), before);
    proxy.reload_after(|| proxy.signal(Signal::HUP));
    let _server = Backend::greet_on(TcpListener::bind(there(port)).unwrap(), b"one");
    assert_eq!(ask(&proxy, 1), b"one");
    proxy.next_access();
    shell("ip link del sni0");
    proxy.signal(Signal::HUP);
    let refusal = proxy.wait_for("reload refused, the configuration that runs goes on");
    let why = refusal["diagnostics"].as_str().unwrap();
    assert!(why.contains("there is no network interface sni0"), "{why}");
    shell(CABLE);
    proxy.wait_nth("reloaded", 1, |_| true);
    let _server = Backend::greet_on(TcpListener::bind(there(port)).unwrap(), b"two");
    assert_eq!(ask(&proxy, 2), b"two");
}

#[test]
fn a_server_on_an_interface_that_is_not_there_cannot_be_reached_and_the_line_says_so() {
    let mut proxy = Proxy::start(&passthrough("a.example", "[fe80::1%gone0]:443"));
    let mut client = proxy.connect();
    client.write_all(&hello("a.example")).unwrap();
    assert_eq!(read_to_end(&mut client), alert(80));
    let line = proxy.next_access();
    assert!(
        line["detail"]
            .as_str()
            .unwrap()
            .contains("there is no network interface gone0"),
        "{line}"
    );
}

#[test]
fn what_has_an_interface_too_few_or_too_many_is_refused() {
    let plain = listen("127.0.0.1:8443");
    let route = passthrough("a.example", "127.0.0.1:1");
    for (config, expected) in [
        (
            format!("{}{route}", listen("[fe80::1]:8443")),
            "bind: fe80::1 is of one link alone",
        ),
        (
            format!("{plain}{}", passthrough("a.example", "[fe80::1]:443")),
            "upstream: fe80::1 is of one link alone",
        ),
        (
            format!("{}{route}", listen("[2001:db8::1%eth0]:8443")),
            "bind: 2001:db8::1 is no link-local address",
        ),
        (
            format!("{plain}{route}from = [\"fe80::1%eth0\"]\n"),
            "from: a range of addresses is the same on every interface",
        ),
        (
            format!("{plain}{route}[resolver]\nservers = \"fe80::1\"\n"),
            "servers: fe80::1 is of one link alone",
        ),
        (
            format!(
                "[listeners.edge]\nbind = [\"[fe80::1%eth0]:1\", \"[fe80::1%eth0]:1\"]\n{route}"
            ),
            "is on [fe80::1%eth0]:1 already",
        ),
    ] {
        let dir = with_config(&config);
        let output = snigate(dir.path(), &["check"]);
        let text = text(&output);
        assert!(
            !output.status.success() && text.contains(expected),
            "{expected:?} is not in:\n{text}\nof\n{config}"
        );
    }
}
