//! How long a connection may last, and how the kernel is asked to look after it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::{meet, start};
use crate::support::backend::{Backend, read_exact};
use crate::support::hello::hello;
use crate::support::proxy::{Proxy, directory, passthrough};

/// Reads until the connection is cut off, which nobody can take for its end.
fn read_until_cut(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert_eq!(
        stream.read_to_end(&mut bytes).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    bytes
}

#[test]
fn a_connection_is_cut_off_at_the_end_of_its_lifetime_whatever_goes_on() {
    let (mut proxy, connections) = start("[timeouts]\nmax_lifetime = \"500ms\"\n");
    let (mut client, mut server) = meet(&proxy, &connections);
    let speaks = std::thread::spawn(move || {
        loop {
            if let Err(error) = server.write_all(b"!") {
                return error.kind();
            }
        }
    });
    assert!(!read_until_cut(&mut client).is_empty());
    assert_eq!(speaks.join().unwrap(), ErrorKind::ConnectionReset);
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"max_lifetime".into(), &"proxy".into()),
        "{line}"
    );
    let lasted = line["duration_ms"].as_f64().unwrap();
    assert!((500.0..10_000.0).contains(&lasted), "{line}");
}

#[test]
fn a_route_may_have_a_lifetime_of_its_own() {
    let backend = Backend::echo();
    let other = passthrough("b.example", backend.addr).replace("[routes.a]", "[routes.b]");
    let config = format!(
        "[timeouts]\nmax_lifetime = \"1h\"\n{other}{}timeouts.max_lifetime = \"300ms\"\n",
        passthrough("a.example", backend.addr)
    );
    let mut proxy = Proxy::start(&config);
    let open = |name: &str| {
        let (mut stream, hello) = (proxy.connect(), hello(name));
        stream.write_all(&hello).unwrap();
        assert!(read_exact(&mut stream, hello.len()) == hello);
        stream
    };
    let (mut short, mut long) = (open("a.example"), open("b.example"));
    read_until_cut(&mut short);
    assert_eq!(proxy.next_access()["route"], "a");
    long.write_all(b"still here").unwrap();
    assert_eq!(read_exact(&mut long, 10), b"still here");
}

/// The timer that the kernel runs for the connection from one of these ports to the other (proc(5),
/// `tr`): 2 is that of keepalive.
fn timer(local: u16, remote: u16) -> Option<u8> {
    let table = fs::read_to_string("/proc/net/tcp").expect("procfs");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let port = |field: &str| u16::from_str_radix(field.split(':').nth(1)?, 16).ok();
        let wanted = port(fields[1]) == Some(local) && port(fields[2]) == Some(remote);
        wanted.then(|| fields[5].split(':').next()?.parse().ok())?
    })
}

#[test]
fn both_sides_of_a_connection_that_lasts_are_asked_for_a_sign_of_life() {
    let (proxy, connections) = start("timeouts.keepalive = \"1s\"\n");
    let (client, server) = meet(&proxy, &connections);
    let port = |addr: std::io::Result<std::net::SocketAddr>| addr.unwrap().port();
    let sides = [
        (port(client.peer_addr()), port(client.local_addr())),
        (port(server.peer_addr()), port(server.local_addr())),
    ];
    proxy.poll_until("the kernel looks after both", |_| {
        sides.iter().all(|side| timer(side.0, side.1) == Some(2))
    });
}

#[test]
fn a_peer_that_takes_nothing_for_too_long_is_given_up() {
    let (mut proxy, connections) = start("timeouts.unacknowledged = \"1s\"\n");
    let (_client, mut server) = meet(&proxy, &connections);
    let speaks = std::thread::spawn(move || while server.write_all(&[7; 4096]).is_ok() {});
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"broken".into(), &"client".into()),
        "{line}"
    );
    assert!(
        line["detail"].as_str().unwrap().contains("timed out"),
        "{line}"
    );
    let _ = speaks.join();
}

#[test]
fn what_the_kernel_cannot_do_is_refused() {
    let dir = directory();
    let path = dir.path().join("snigate.toml");
    let route = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[routes.a]\nsni = \"a.example\"\n";
    for (keys, words) in [
        (
            "timeouts.keepalive = \"10h\"",
            "timeouts.keepalive: the kernel cannot do \"10h\"",
        ),
        ("timeouts.keepalive = \"1500ms\"", "in whole seconds"),
        ("timeouts.keepalive = \"500ms\"", "write `1s` to `9h`"),
        ("timeouts.unacknowledged = \"501h\"", "write `1s` to `500h`"),
        (
            "timeouts.unacknowledged = \"0s\"",
            "timeouts.unacknowledged: \"0s\" is not a duration above zero",
        ),
        (
            "timeouts.max_lifetime = \"never\"",
            "timeouts.max_lifetime: \"never\" is not a duration",
        ),
        ("on_remove = \"reset\"", "on_remove"),
    ] {
        fs::write(&path, format!("{route}action = \"reject\"\n{keys}\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
            .arg("check")
            .arg("-c")
            .arg(&path)
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{keys}: {text}");
        assert!(text.contains(words), "{keys}: no {words:?} in:\n{text}");
    }
}
