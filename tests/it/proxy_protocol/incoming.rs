//! Headers that other proxies send.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;

use super::*;
use crate::support::backend::read_exact;
use crate::support::hello::{alert, hello};
use crate::support::proxy::directory;

/// Headers that name [`CLIENT`].
fn headers() -> [Vec<u8>; 2] {
    [v1(), v2()]
}

#[test]
fn the_client_is_the_one_that_the_header_names_and_the_header_goes_no_further() {
    let (_backend, mut proxy) = echo();
    let hello = hello("a.example");
    for header in headers() {
        assert_eq!(
            answer(&proxy, FRONT, [&*[header, hello.clone()].concat()]),
            hello,
            "in one segment"
        );
        let line = proxy.next_access();
        assert_line(
            &line,
            &[("client", CLIENT), ("outcome", "closed"), ("detail", "")],
        );
        assert!(
            line["peer"].as_str().unwrap().starts_with("127.0.0.9:"),
            "{line}"
        );
        assert_eq!(
            line["received"],
            hello.len(),
            "the header does not count: {line}"
        );
    }
}

#[test]
fn a_header_is_taken_however_it_is_cut() {
    let (_backend, mut proxy) = echo();
    let hello = hello("a.example");
    for header in headers() {
        let both = [header.as_slice(), &hello].concat();
        assert_eq!(
            answer(&proxy, FRONT, header.chunks(1).chain([hello.as_slice()])),
            hello,
            "byte by byte"
        );
        for at in [
            1,
            5,
            12,
            header.len() - 1,
            header.len(),
            header.len() + 1,
            both.len() - 1,
        ] {
            assert_eq!(
                answer(&proxy, FRONT, [&both[..at], &both[at..]]),
                hello,
                "cut at {at}"
            );
        }
    }
    for _ in 0..16 {
        assert_line(&proxy.next_access(), &[("client", CLIENT)]);
    }
}

#[test]
fn what_is_sent_behind_the_hello_is_sent_on() {
    let (_backend, proxy) = echo();
    let bytes = [hello("a.example"), b"and more".to_vec()].concat();
    assert_eq!(
        answer(&proxy, FRONT, [&*[v2(), bytes.clone()].concat()]),
        bytes
    );
}

/// Names `a.example` to an echo for the proxy's own range, `b.example` to one for the clients', and
/// `c.example` to one for everybody.
fn by_address(backend: &Backend, keys: &str) -> Proxy {
    let route = |name: &str, from: &str| {
        passthrough(&format!("{name}.example"), backend.addr)
            .replace("[routes.a]", &format!("[routes.{name}]"))
            + from
    };
    let routes = [
        route("a", "from = [\"127.0.0.0/8\", \"::/0\"]\n"),
        route("b", "from = \"192.0.2.0/24\"\n"),
        route("c", ""),
    ];
    Proxy::start(&format!("{LISTENER}{keys}{}", routes.concat()))
}

/// The addresses of a client at 192.0.2.1, as an IPv4 block of version 2.
const BLOCK: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0, 1, 0, 2];

#[test]
fn a_header_of_the_proxys_own_leaves_its_address() {
    let backend = Backend::echo();
    let mut proxy = by_address(&backend, "");
    let [a, b, c] = ["a.example", "b.example", "c.example"].map(hello);
    for header in [
        V2Header::local(),
        v2_with(0, 0x11, &BLOCK),
        v2_with(0, 0xff, &[7; 33]),
    ] {
        for (hello, answered) in [(&a, a.clone()), (&b, alert(112).to_vec()), (&c, c.clone())] {
            assert_eq!(
                answer(&proxy, FRONT, [&*[&header[..], hello].concat()]),
                answered,
                "{header:02x?}"
            );
            let line = proxy.next_access();
            assert!(
                line["client"].as_str().unwrap().starts_with("127.0.0.9:"),
                "{line}"
            );
            assert!(line["peer"].is_null(), "{line}");
        }
    }
}

#[test]
fn a_client_that_a_header_does_not_name_has_no_address_and_least_of_all_the_proxys() {
    let backend = Backend::echo();
    let limits =
        "pending_per_source = 1\nrate_per_source = { connections = 1, per = \"1h\", burst = 1 }\n";
    let mut proxy = by_address(&backend, limits);
    let [a, b, c] = ["a.example", "b.example", "c.example"].map(hello);
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 127.0.0.1 198.51.100.7 1 2\r\n".to_vec(),
        v2_with(1, 0x00, &[]),
        v2_with(1, 0x01, &[]),
        // TLVs alone.
        v2_with(1, 0x00, &[4, 0, 2, 7, 7]),
        v2_with(1, 0x31, &[b'/'; 216]),
        v2_with(1, 0x32, &[b'/'; 216]),
    ] {
        for (hello, answered) in [
            (&a, alert(112).to_vec()),
            (&b, alert(112).to_vec()),
            (&c, c.clone()),
        ] {
            assert_eq!(
                answer(&proxy, FRONT, [&*[&header[..], hello].concat()]),
                answered,
                "{header:02x?}"
            );
            let line = proxy.next_access();
            assert_eq!(line["client"], "unknown", "{line}");
            assert!(
                line["peer"].as_str().unwrap().starts_with("127.0.0.9:"),
                "{line}"
            );
        }
    }
}

#[test]
fn a_client_is_where_the_header_says_whatever_the_transport_is() {
    let backend = Backend::echo();
    let mut proxy = by_address(&backend, "");
    let [a, b] = ["a.example", "b.example"].map(hello);
    for transport in [0x10, 0x11, 0x12] {
        for (hello, answered) in [(&a, alert(112).to_vec()), (&b, b.clone())] {
            let header = v2_with(1, transport, &BLOCK);
            assert_eq!(
                answer(&proxy, FRONT, [&*[&header[..], hello].concat()]),
                answered,
                "{transport:#x}"
            );
            assert_line(&proxy.next_access(), &[("client", "192.0.2.1:1")]);
        }
    }
}

#[test]
fn who_has_to_send_a_header_is_not_served_without_one() {
    let (backend, mut proxy) = echo();
    let hello = hello("a.example");
    let mut damaged = v2();
    damaged[16] ^= 1;
    // The beginning of the hello is taken for a TLV.
    let mut longer = v2_with(1, 0x11, &[0; 12]);
    longer[15] += 7;
    for (bytes, detail) in [
        (
            hello.clone(),
            "no PROXY header, which `proxy_protocol` of the listener requires",
        ),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "no PROXY header"),
        (
            v1()[..20].to_vec(),
            "closed in the middle of the PROXY header",
        ),
        (
            v2()[..20].to_vec(),
            "closed in the middle of the PROXY header",
        ),
        (b"PROXY TCP4 192.0.2.1\n".to_vec(), "does not end in CR LF"),
        (v2_with(1, 0x11, &[0; 11]), "it announces 11 bytes, too few"),
        ([damaged, hello.clone()].concat(), "checksum does not match"),
        (
            [longer, hello].concat(),
            "TLVs does not end where the header does",
        ),
    ] {
        assert_eq!(answer(&proxy, FRONT, [&*bytes]), b"", "{detail}");
        let line = proxy.next_access();
        assert_line(&line, &[("outcome", "bad_proxy_header"), ("by", "client")]);
        assert!(
            line["detail"].as_str().unwrap().contains(detail),
            "{detail:?} is not in {line}"
        );
        assert!(line["peer"].is_null() && line["received"] == 0, "{line}");
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn a_header_from_elsewhere_is_no_hello_and_says_which_setting_it_wants() {
    let (backend, mut proxy) = echo();
    let hello = hello("a.example");
    let elsewhere = Ipv4Addr::new(127, 0, 0, 8);
    for header in headers() {
        assert_eq!(
            answer(&proxy, elsewhere, [&*[header, hello.clone()].concat()]),
            b""
        );
        let line = proxy.next_access();
        assert_line(&line, &[("outcome", "not_tls"), ("by", "client")]);
        assert!(
            line["detail"]
                .as_str()
                .unwrap()
                .contains("`proxy_protocol.from`"),
            "{line}"
        );
        assert!(
            line["client"].as_str().unwrap().starts_with("127.0.0.8:"),
            "{line}"
        );
    }
    assert_eq!(backend.accepted(), 0);
    assert_eq!(
        answer(&proxy, elsewhere, [&*hello]),
        hello,
        "it needs no header"
    );
    assert!(proxy.next_access()["peer"].is_null());
}

#[test]
fn a_second_header_is_no_hello() {
    let (backend, mut proxy) = echo();
    for (first, second) in [(v1(), v2()), (v2(), v1()), (V2Header::local(), v2())] {
        assert_eq!(
            answer(
                &proxy,
                FRONT,
                [&*[first, second, hello("a.example")].concat()]
            ),
            b""
        );
        let line = proxy.next_access();
        assert_line(&line, &[("outcome", "not_tls")]);
        assert!(
            line["detail"].as_str().unwrap().contains("no second one"),
            "{line}"
        );
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn a_connection_that_ends_behind_its_header_counts_as_silent() {
    let (_backend, proxy) = echo();
    for header in [V2Header::local(), v2(), b"PROXY UNKNOWN\r\n".to_vec()] {
        assert_eq!(answer(&proxy, FRONT, [&*header]), b"");
    }
    proxy.signal(Signal::TERM);
    let (_, log) = proxy.wait_for_exit();
    assert!(log.contains("\"silent\":3"), "{log}");
    assert!(
        !log.contains("\"connection\"") && !log.contains("\"ERROR\""),
        "{log}"
    );
}

#[test]
fn the_header_has_to_come_before_the_deadline_of_the_hello() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&format!(
        "{LISTENER}{}[timeouts]\nhello = \"300ms\"\n",
        passthrough("a.example", backend.addr)
    ));
    let hello = hello("a.example");
    for bytes in [v2()[..20].to_vec(), [v2(), hello[..20].to_vec()].concat()] {
        let mut client = connect_from(FRONT, proxy.addr());
        client.write_all(&bytes).unwrap();
        assert_eq!(read_until_closed(&mut client), b"");
        let line = proxy.next_access();
        assert_line(&line, &[("outcome", "hello_timeout")]);
        assert!(line["duration_ms"].as_f64().unwrap() < 5000.0, "{line}");
    }
}

#[test]
fn routes_look_at_the_client_of_the_header_and_alerts_reach_it() {
    let backend = Backend::echo();
    let other = Backend::greet(b"elsewhere");
    let config = |range: &str| {
        format!(
            "{LISTENER}{}from = \"{range}\"\n[routes.b]\nsni = \"b.example\"\naction = \"passthrough\"\n\
             upstream = \"{}\"\nfrom = \"127.0.0.0/8\"\n",
            passthrough("a.example", backend.addr),
            other.addr
        )
    };
    let mut proxy = Proxy::start(&config("192.0.2.0/24"));
    let hello = hello("a.example");
    assert_eq!(
        answer(&proxy, FRONT, [&*[v2(), hello.clone()].concat()]),
        hello
    );
    proxy.next_access();
    let b = crate::support::hello::hello("b.example");
    assert_eq!(
        answer(&proxy, FRONT, [&*[v2(), b].concat()]),
        alert(112),
        "the proxy is not the client"
    );
    assert_line(
        &proxy.next_access(),
        &[("outcome", "no_route"), ("client", CLIENT)],
    );

    let v6 = V2Header::new(Some(endpoints("[2001:db8::5]:4711", "[2001:db8::1]:443")))
        .finish(false)
        .unwrap();
    proxy.reload(&config("2001:db8::/64"));
    assert_eq!(
        answer(&proxy, FRONT, [&*[v6, hello.clone()].concat()]),
        hello
    );
    assert_line(&proxy.next_access(), &[("client", "[2001:db8::5]:4711")]);
    assert!(
        !proxy.log().contains("it can never match"),
        "{}",
        proxy.log()
    );
}

#[test]
fn a_reload_changes_who_sends_headers_without_a_new_socket() {
    let (backend, proxy) = echo();
    let hello = hello("a.example");
    let (before, mut open) = (proxy.addr(), connect_from(FRONT, proxy.addr()));
    open.write_all(&[v2(), hello.clone()].concat()).unwrap();
    read_exact(&mut open, hello.len());
    let listener = LISTENER.replace("127.0.0.9", "127.0.0.7");
    proxy.reload(&format!(
        "{listener}{}",
        passthrough("a.example", backend.addr)
    ));
    assert_eq!(proxy.addr(), before);
    assert_eq!(answer(&proxy, FRONT, [&*hello]), hello);
    assert_eq!(
        answer(
            &proxy,
            Ipv4Addr::new(127, 0, 0, 7),
            [&*[v1(), hello.clone()].concat()]
        ),
        hello
    );
    open.write_all(b"still here").unwrap();
    assert_eq!(read_exact(&mut open, 10), b"still here");
}

#[test]
fn what_a_listener_cannot_mean_is_refused() {
    for (value, expected) in [
        ("{}", "listeners.edge: proxy_protocol.from is missing"),
        (
            "{ from = [] }",
            "listeners.edge: proxy_protocol.from names no address",
        ),
        (
            "{ from = \"10.0.0.0/40\" }",
            "proxy_protocol.from: write a range of addresses",
        ),
        ("{ form = \"10.0.0.0/8\" }", "did you mean \"from\"?"),
        ("true", "listeners.edge.proxy_protocol"),
        (
            "[\"10.0.0.1\", \"10.0.0.2\"]",
            "listeners.edge.proxy_protocol must be a table",
        ),
        ("{ from = \"0.0.0.0/0\" }", "warning"),
        (
            "{ from = \"fd00::/8\" }",
            "is never met, since `bind` has no IPv6 address",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config =
            format!("[listeners.edge]\nbind = \"127.0.0.1:0\"\nproxy_protocol = {value}\n");
        let config = format!("{config}{}", passthrough("a.example", "127.0.0.1:1"));
        std::fs::write(dir.path().join("snigate.toml"), config).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
            .arg("check")
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
}

#[test]
fn a_proxy_on_this_machine_may_speak_for_clients_over_a_unix_socket() {
    let dir = directory();
    let path = dir.path().join("edge.sock");
    let backend = Backend::echo();
    let listener = format!(
        "[listeners.edge]\nbind = \"unix:{}\"\nproxy_protocol = {{ from = \"unix\" }}\n",
        path.display()
    );
    let mut proxy = Proxy::start_in(
        dir,
        &format!("{listener}{}", passthrough("a.example", backend.addr)),
    );
    let hello = hello("a.example");
    for header in headers() {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&[header, hello.clone()].concat()).unwrap();
        assert_eq!(read_exact(&mut client, hello.len()), hello);
        drop(client);
        assert_line(
            &proxy.next_access(),
            &[("client", CLIENT), ("peer", "unix"), ("outcome", "closed")],
        );
    }
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(&hello).unwrap();
    let _ = client.read_to_end(&mut Vec::new());
    assert_line(
        &proxy.next_access(),
        &[("client", "unix"), ("outcome", "bad_proxy_header")],
    );
}

#[test]
fn limits_count_the_client_that_a_header_names_and_not_the_proxy_that_sends_it() {
    let backend = Backend::echo();
    let listener = format!(
        "{LISTENER}pending_per_source = 1\nrate_per_source = {{ connections = 1, per = \"1h\", burst = 2 }}\n"
    );
    let mut proxy = Proxy::start(&format!(
        "{listener}{}",
        passthrough("a.example", backend.addr)
    ));
    let hello = hello("a.example");
    let from = |client: &str| v1_line(Some(endpoints(client, TARGET)));
    // The proxy has as many connections as its clients together.
    for number in 1..=5 {
        let header = from(&format!("192.0.2.{number}:1000"));
        assert_eq!(
            answer(&proxy, FRONT, [&*[header, hello.clone()].concat()]),
            hello
        );
        assert_line(&proxy.next_access(), &[("outcome", "closed")]);
    }
    // The first of two that wait gives way to the second, and the third is one too many.
    let mut first = connect_from(FRONT, proxy.addr());
    first.write_all(&from("192.0.2.9:1")).unwrap();
    let mut second = connect_from(FRONT, proxy.addr());
    second.write_all(&from("192.0.2.9:2")).unwrap();
    let line = proxy.next_access();
    assert_line(&line, &[("outcome", "limit")]);
    assert!(
        line["client"].as_str().unwrap().starts_with("192.0.2.9:"),
        "{line}"
    );
    assert_eq!(
        answer(&proxy, FRONT, [&*[from("192.0.2.9:3"), hello].concat()]),
        b""
    );
    let line = proxy.next_access();
    assert_line(&line, &[("client", "192.0.2.9:3"), ("outcome", "limit")]);
    assert!(
        line["detail"].as_str().unwrap().contains("rate_per_source"),
        "{line}"
    );
}
