//! First bytes that lead nowhere: what the client is told, what the log says, and that no server
//! hears of it.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use snigate::wire::{HelloError, HelloParser};

use super::{answer, echo};
use crate::support::backend::{Backend, read_to_end};
use crate::support::hello::{Handmade, alert, hello, hello_with, record, records, server_names};
use crate::support::proxy::{Proxy, passthrough};
use crate::support::socket::{abort, read_until_closed, wait_until_read};

#[test]
fn a_hello_that_ends_too_early_is_incomplete_wherever_it_ends() {
    let (backend, mut proxy) = echo("a.example");
    let hello = hello("a.example");
    for length in 1..hello.len() {
        let mut client = proxy.connect();
        client.write_all(&hello[..length]).unwrap();
        // Some clients only stop sending, others are gone.
        if length % 2 == 0 {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_until_closed(&mut client), b"", "{length} bytes");
        }
    }
    let mut received = Vec::new();
    for _ in 1..hello.len() {
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"incomplete_hello".into(), &"client".into()),
            "{line}"
        );
        received.push(line["received"].as_u64().unwrap());
    }
    received.sort_unstable();
    assert_eq!(received, Vec::from_iter(1..hello.len() as u64));
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn a_hello_with_one_wrong_byte_reaches_the_server_only_if_its_name_is_right() {
    let curl = include_bytes!("../../hellos/curl-7.88.bin").to_vec();
    let java = include_bytes!("../../hellos/java-17.bin").to_vec();
    let (backend, proxy) = echo("vault.example.net");
    let mut dialled = 0;
    for (hello, wrong) in [
        (&curl, 0x01),
        (&curl, 0x80),
        (&java, 0x20),
        (&java, 0xff),
        (&hello("vault.example.net"), 1),
    ] {
        for at in 0..hello.len() {
            let mut bytes = hello.clone();
            bytes[at] ^= wrong;
            let expected = match HelloParser::new().feed(&bytes) {
                Ok(Some(hello)) if hello.server_name.to_string() == "vault.example.net" => {
                    bytes.clone()
                }
                Ok(Some(_)) => alert(112).to_vec(),
                Err(HelloError::Malformed(fault)) => alert(fault.alert().code()).to_vec(),
                Ok(None) | Err(_) => Vec::new(),
            };
            assert_eq!(
                answer(&proxy, [bytes.as_slice()]),
                expected,
                "byte {at} of {}",
                hello.escape_ascii()
            );
            if expected == bytes {
                dialled += 1;
                assert!(
                    bytes
                        .to_ascii_lowercase()
                        .windows(17)
                        .any(|name| name == b"vault.example.net"),
                    "byte {at}"
                );
            }
        }
    }
    assert_eq!(backend.accepted(), dialled);
    assert!(
        dialled > 1000,
        "most bytes are nobody's business but the server's, and {dialled} of these were"
    );
}

#[test]
fn a_hello_without_a_version_that_the_route_takes_is_told_so_and_the_log_names_its_versions() {
    let good = Handmade::named(b"a.example");
    let supported = |versions: &[u8]| {
        good.clone()
            .extension(43, &[&[versions.len() as u8], versions].concat())
    };
    // The legacy version stands behind the headers of the record and of the message.
    let legacy = |number: u8| {
        let mut bytes = good.bytes();
        bytes[10] = number;
        bytes
    };
    for (key, offered, bytes) in [
        ("", "only TLS 1.1", legacy(2)),
        ("", "only TLS 1.0", legacy(1)),
        ("", "only SSL 3.0", legacy(0)),
        (
            "",
            "only TLS 1.1 and TLS 1.0",
            supported(&[3, 2, 3, 1]).bytes(),
        ),
        (
            "",
            "no version of TLS that is known",
            supported(&[0x7f, 0x1c]).bytes(),
        ),
        ("min_version = \"1.3\"", "only TLS 1.1", legacy(2)),
        ("min_version = \"1.3\"", "only TLS 1.2", legacy(3)),
        ("min_version = \"1.3\"", "only TLS 1.2", legacy(4)),
        (
            "min_version = \"1.3\"",
            "only TLS 1.2 and TLS 1.1",
            supported(&[3, 3, 3, 2]).bytes(),
        ),
        (
            "max_version = \"1.2\"",
            "only TLS 1.3",
            supported(&[3, 4]).bytes(),
        ),
        ("max_version = \"1.2\"", "only TLS 1.1", legacy(2)),
    ] {
        let backend = Backend::echo();
        let config = format!(
            "{}action = \"terminate\"\n[certificates.a]\nself_signed = true\n[storage]\ndir = \"state\"\n\
             [tls.default]\n{key}\nclient_auth.mode = \"none\"\n",
            passthrough("a.example", backend.addr).replace("action = \"passthrough\"\n", "")
        );
        let mut proxy = Proxy::start(&config);
        assert_eq!(
            answer(&proxy, [bytes.as_slice()]),
            alert(70),
            "{key} {offered}"
        );
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"handshake_failed".into(), &"client".into()),
            "{line}"
        );
        assert!(
            line["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains(offered)),
            "{offered}: {line}"
        );
        assert_eq!(
            (&line["sni"], &line["route"]),
            (&"a.example".into(), &"a".into()),
            "{line}"
        );
        assert_eq!(backend.accepted(), 0);
    }
}

#[test]
fn a_malformed_hello_gets_the_alert_for_its_fault() {
    let (backend, mut proxy) = echo("*");
    let good = Handmade::named(b"a.example");
    let half = record(22, &good.message()[..30]);
    let named = |content: &[u8]| Handmade::default().extension(0, content).bytes();
    for (code, what, bytes) in [
        (10, "a change of ciphers first", record(20, &[1])),
        (10, "data first", record(23, b"data")),
        (
            47,
            "an extension behind the pre-shared key",
            good.clone().extension(41, &[0]).extension(21, &[]).bytes(),
        ),
        (
            50,
            "two server names",
            named(&server_names(&[b"a.example", b"b.example"])),
        ),
        (
            50,
            "twice the same server name",
            named(&server_names(&[b"a.example", b"a.example"])),
        ),
        (
            47,
            "two server_name extensions",
            good.clone()
                .extension(0, &server_names(&[b"b.example"]))
                .bytes(),
        ),
        (50, "an empty server_name", named(b"")),
        (50, "an empty name", named(&server_names(&[b""]))),
        (
            47,
            "a name of another type",
            named(b"\0\x0c\x01\0\x09a.example"),
        ),
        (
            50,
            "a list longer than its extension",
            named(b"\0\x0d\0\0\x09a.example"),
        ),
        (
            50,
            "a name longer than its list",
            named(b"\0\x0c\0\0\x0aa.example"),
        ),
        (
            47,
            "NUL in the name",
            Handmade::named(b"a.example\0.evil").bytes(),
        ),
        (
            47,
            "a line break in the name",
            Handmade::named(b"a.example\r\nx: y").bytes(),
        ),
        (
            47,
            "an escape in the name",
            Handmade::named(b"\x1b[31ma.example").bytes(),
        ),
        (
            47,
            "a name that is not ASCII",
            Handmade::named("bücher.example".as_bytes()).bytes(),
        ),
        (
            47,
            "a name of 256 bytes",
            Handmade::named(&[b'a'; 256]).bytes(),
        ),
        (
            50,
            "an empty list of protocols",
            good.clone().extension(16, &[0, 0]).bytes(),
        ),
        (
            47,
            "the same extension twice",
            good.clone().extension(23, &[]).extension(23, &[]).bytes(),
        ),
        (50, "an empty record first", vec![22, 3, 1, 0, 0]),
        (
            50,
            "an empty record between",
            [half.clone(), record(22, &[])].concat(),
        ),
        (
            10,
            "an alert between",
            [half.clone(), record(21, &[1, 0])].concat(),
        ),
        (
            10,
            "data between",
            [half.clone(), record(23, b"data")].concat(),
        ),
        (
            70,
            "a record of SSL 2 between",
            [&half[..], &[22, 2, 0, 0, 9]].concat(),
        ),
        (
            22,
            "a record that announces too much",
            vec![22, 3, 1, 0x40, 1],
        ),
        (
            10,
            "another message in the same record",
            record(22, &[good.message(), vec![1]].concat()),
        ),
        (10, "another message first", record(22, &[2, 0, 0, 0])),
        (50, "an empty message", record(22, &[1, 0, 0, 0])),
        (50, "bytes behind the extensions", {
            let mut message = [good.message(), vec![0]].concat();
            message[3] += 1;
            records(&message, 1 << 14)
        }),
    ] {
        assert_eq!(answer(&proxy, [bytes.as_slice()]), alert(code), "{what}");
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"malformed_hello".into(), &"client".into()),
            "{what}: {line}"
        );
        assert!(
            line["detail"]
                .as_str()
                .is_some_and(|detail| detail.starts_with("malformed")),
            "{what}: {line}"
        );
    }
    assert_eq!(backend.accepted(), 0);
    let log = proxy.log();
    assert!(
        log.chars().all(|c| c == '\n' || !c.is_control()),
        "{}",
        log.escape_debug()
    );
}

#[test]
fn the_alert_reaches_a_client_that_has_more_to_say() {
    let (_backend, proxy) = echo("a.example");
    let mut client = proxy.connect();
    client.write_all(&hello("b.example")).unwrap();
    client.write_all(&[0; 100_000]).unwrap();
    assert_eq!(read_to_end(&mut client), alert(112));
}

#[test]
fn another_protocol_is_closed_at_once_and_without_an_alert() {
    let backend = Backend::echo();
    // Whoever is closed before the test gives up is not closed by the deadline.
    let mut proxy = Proxy::start(&format!(
        "{}[timeouts]\nhello = \"1h\"\n",
        passthrough("*", backend.addr)
    ));
    for (bytes, detail) in [
        (
            &b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"[..],
            "plain HTTP (method GET)",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            "PostgreSQL's request for TLS (SSLRequest)",
        ),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "a PROXY header where the hello should begin",
        ),
        (b"\x80\x2e\x01\x00\x02", "SSL 2"),
        (b"\x15\x03\x01\x00\x02\x02\x00", "a TLS alert"),
        (b"\x16\x02\x00", "16 02 00"),
        (b"\x1b[31m", "1b 5b 33 31 6d"),
        (b"\n", "0a"),
        (b"\0", "00"),
    ] {
        // The client goes on waiting for an answer.
        let mut client = proxy.connect();
        client.write_all(bytes).unwrap();
        assert_eq!(
            read_until_closed(&mut client),
            b"",
            "{}",
            bytes.escape_ascii()
        );
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"not_tls".into(), &"client".into()),
            "{line}"
        );
        assert_eq!(line["received"], bytes.len());
        assert!(line["detail"].as_str().unwrap().contains(detail), "{line}");
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn a_validation_that_no_route_takes_is_told_which_route_would() {
    let (backend, mut proxy) = echo("a.example");
    for (name, alpn, expected) in [
        (
            "b.example",
            &["acme-tls/1"][..],
            Some(r#"sni = "b.example" alpn = "acme-tls/1""#),
        ),
        (
            "192.0.2.1",
            &["acme-tls/1"],
            Some(r#"sni = "*" alpn = "acme-tls/1""#),
        ),
        ("b.example", &["acme-tls/1", "h2"], None),
        ("b.example", &["h2"], None),
        ("b.example", &[], None),
    ] {
        assert_eq!(
            answer(&proxy, [hello_with(name, alpn).as_slice()]),
            alert(112),
            "{name} {alpn:?}"
        );
        let line = proxy.next_access();
        assert_eq!(line["outcome"], "no_route", "{line}");
        match expected {
            Some(route) => {
                let detail = line["detail"].as_str().unwrap();
                assert!(detail.contains(route) && !detail.contains('\n'), "{line}");
                // What it says is what a configuration says.
                let (_, lines) = detail.split_once(": ").unwrap();
                let lines = lines
                    .replace("] ", "]\n")
                    .replace("\" ", "\"\n")
                    .replace("HOST:PORT of the ACME client", "h:1");
                let route: toml::Table = lines
                    .parse()
                    .unwrap_or_else(|error| panic!("{lines}: {error}"));
                assert_eq!(
                    route["routes"]["validation"]["action"].as_str(),
                    Some("passthrough")
                );
            }
            None => assert!(line["detail"].is_null(), "{line}"),
        }
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn connections_that_are_refused_too_often_for_a_line_each_are_counted() {
    // Gone before it knows the answer: what the proxy does is not waited for.
    count_lines("not_tls", |streams| {
        streams
            .into_iter()
            .for_each(|mut stream| stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap());
    });
}

#[test]
fn a_reset_in_the_middle_of_a_hello_is_no_way_around_that() {
    let hello = hello("a.example");
    count_lines("reset", |mut streams| {
        streams
            .iter_mut()
            .for_each(|stream| stream.write_all(&hello[..3]).unwrap());
        wait_until_read(&streams);
        streams.into_iter().for_each(abort);
    });
}

/// Lets 7,000 connections end in this way, and looks whether as many lines are written of this
/// outcome as may be.
fn count_lines(outcome: &str, end: impl Fn(Vec<TcpStream>)) {
    let (_backend, proxy) = echo("a.example");
    let start = Instant::now();
    (0..70).for_each(|_| end((0..100).map(|_| proxy.connect()).collect()));
    proxy.signal(Signal::TERM);
    let (_, log) = proxy.wait_for_exit();
    let longest = start.elapsed().as_secs() + 1;
    let events: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |message: &str| -> Vec<&Value> {
        events
            .iter()
            .filter(|event| event["message"] == message)
            .collect()
    };
    let (lines, counted) = (of("connection"), of("connections without an access line"));
    let withheld: u64 = counted
        .iter()
        .map(|event| event["count"].as_u64().unwrap())
        .sum();
    assert_eq!(of("stopped")[0]["accepted"], 7000);
    // The kernel may have forgotten what a client that is gone had sent: that one was silent, or
    // was reset.
    let silent = of("stopped")[0]["silent"].as_u64().unwrap();
    assert_eq!(lines.len() as u64 + withheld + silent, 7000, "{log}");
    let refused = lines
        .iter()
        .filter(|line| line["outcome"] == outcome)
        .count() as u64;
    assert!(refused >= 5000, "{refused} lines");
    assert!(
        refused <= 5000 + 100 * longest,
        "{refused} lines in {longest} s"
    );
    assert!(
        withheld == 0 || counted.iter().all(|event| event["outcome"] == outcome),
        "{counted:?}"
    );
}
