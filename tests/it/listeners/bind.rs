//! Addresses of both families in one socket, what `check` says of addresses, and why a socket
//! cannot be had.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::support::PATIENCE;
use crate::support::backend::{Backend, read_to_end};
use crate::support::hello::hello;
use crate::support::proxy::{Proxy, directory, passthrough};

fn snigate(arguments: &[&str], config: &str) -> (Option<i32>, String) {
    let dir = directory();
    let path = dir.path().join("snigate.toml");
    fs::write(&path, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
        .args(arguments)
        .arg("-c")
        .arg(path)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn one_socket_takes_both_families_and_an_ipv4_client_is_one() {
    let backend = Backend::greet(b"welcome");
    let listener = "[listeners.edge]\nbind = [{ address = \"[::]:0\", v6only = false }]\n";
    let route = format!(
        "[routes.a]\nsni = \"a.example\"\nfrom = \"127.0.0.0/8\"\naction = \"passthrough\"\nupstream = \"{}\"\n",
        backend.addr
    );
    let mut proxy = Proxy::start(&format!(
        "{listener}{route}{}",
        passthrough("b.example", backend.addr).replace("a]", "b]")
    ));
    let port = proxy.addr().port();
    for (to, name) in [("127.0.0.1", "a.example"), ("::1", "b.example")] {
        let mut client = TcpStream::connect(SocketAddr::new(to.parse().unwrap(), port)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&hello(name)).unwrap();
        assert_eq!(read_to_end(&mut client), b"welcome", "{to}");
        drop(client);
        let line = proxy.next_access();
        let from = line["client"].as_str().unwrap();
        assert_eq!(from.parse::<SocketAddr>().unwrap().ip().to_string(), to);
    }
}

#[test]
fn addresses_that_cannot_be_are_errors_that_say_what_to_write() {
    for (bind, words) in [
        (
            "[\"0.0.0.0:443\", { address = \"[::]:443\", v6only = false }]",
            "takes IPv4, too",
        ),
        (
            "[\"127.0.0.1:443\", { address = \"[::]:443\", v6only = false }]",
            "takes IPv4, too",
        ),
        (
            "[\"unix:/run/a.sock\", \"unix:/run//a.sock\"]",
            "is on unix:/run/a.sock already",
        ),
        ("[\"systemd:a\", \"systemd:a\"]", "is on systemd:a already"),
        (
            "{ address = \"[::1]:443\", v6only = false }",
            "v6only has no effect on [::1]:443",
        ),
        (
            "{ address = \"0.0.0.0:443\", v6only = true }",
            "v6only has no effect on 0.0.0.0:443",
        ),
        (
            "{ address = \"0.0.0.0:443\", mode = \"0660\" }",
            "mode has no effect on 0.0.0.0:443",
        ),
        (
            "{ address = \"systemd:edge\", mode = \"0660\" }",
            "SocketMode=",
        ),
        (
            "{ address = \"unix:/run/a.sock\", mode = \"rw\" }",
            "write it in octal",
        ),
        (
            "{ address = \"unix:/run/a.sock\", mode = \"01777\" }",
            "write it in octal",
        ),
        (
            "{ address = \"unix:/run/a.sock\", owner = \"nobody-of-this-name\" }",
            "there is no user \"nobody-of-this-name\"",
        ),
        (
            "{ address = \"unix:/run/a.sock\", owner = \":nobody-of-this-name\" }",
            "there is no group",
        ),
        (
            "{ address = \"unix:/run/a.sock\", owner = \"root:\" }",
            "write `USER`, `USER:GROUP` or `:GROUP`",
        ),
        ("{ mode = \"0660\" }", "address is missing"),
        ("{ addres = \"0.0.0.0:443\" }", "addres"),
        ("\"unix:a.sock\"", "absolute path"),
        ("\"systemd:\"", "FileDescriptorName="),
        (
            "443",
            "an address, a table with an address, or a list of those",
        ),
    ] {
        let config = format!(
            "[listeners.edge]\nbind = {bind}\n[routes.a]\nsni = \"a.example\"\naction = \"reject\"\n"
        );
        let (code, text) = snigate(&["check"], &config);
        assert_eq!(code, Some(1), "{bind}: {text}");
        assert!(text.contains(words), "no {words:?} for {bind} in:\n{text}");
    }
}

#[test]
fn what_a_socket_is_told_stands_in_the_effective_configuration_and_means_the_same() {
    let config = "[listeners.edge]\nbind = [\"127.0.0.1:443\", { address = \"[::]:8443\", v6only = false }, \
        { address = \"unix:/run/a.sock\", mode = \"0660\", owner = \"root:7\" }, \"systemd:edge\"]\n\
        [routes.a]\nsni = \"a.example\"\naction = \"reject\"\n";
    let (code, shown) = snigate(&["show"], config);
    assert_eq!(code, Some(0), "{shown}");
    for words in [
        "owner = \"0:7\"",
        "mode = \"0660\"",
        "v6only = false",
        "\"systemd:edge\"",
    ] {
        assert!(shown.contains(words), "no {words:?} in:\n{shown}");
    }
    assert_eq!(snigate(&["show"], &shown).1, shown);
    let (_, explained) = snigate(&["explain", "--sni", "a.example"], config);
    assert!(
        explained.contains("edge (127.0.0.1:443, [::]:8443, unix:/run/a.sock, systemd:edge)"),
        "{explained}"
    );
}

#[test]
fn a_server_that_is_the_listener_itself_is_an_error_on_a_unix_socket_too() {
    let config = "[listeners.edge]\nbind = \"unix:/run/a.sock\"\n".to_owned()
        + &passthrough("a.example", "unix:/run/a.sock");
    let (code, text) = snigate(&["check"], &config);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("upstream unix:/run/a.sock is listeners.edge, where the client came from"),
        "{text}"
    );
}

#[test]
fn an_address_that_is_in_use_is_said_by_whom() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let (code, text) = snigate(&["run"], &format!("[listeners.edge]\nbind = \"{addr}\"\n"));
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("another program listens there: it-"),
        "{text}"
    );
    assert!(
        text.contains(&format!("(pid {})", std::process::id())),
        "{text}"
    );
}

#[test]
fn an_address_that_no_interface_has_is_explained() {
    let (code, text) = snigate(&["run"], "[listeners.edge]\nbind = \"192.0.2.77:4433\"\n");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("net.ipv4.ip_nonlocal_bind"), "{text}");
}

/// Connects until it is told to stop; each time the answer must come.
fn hammer(addr: SocketAddr, stop: &AtomicBool) -> usize {
    let hello = hello("a.example");
    let mut served = 0;
    while served == 0 || !stop.load(Ordering::Relaxed) {
        let mut client =
            TcpStream::connect(addr).unwrap_or_else(|error| panic!("after {served}: {error}"));
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&hello).unwrap();
        assert_eq!(read_to_end(&mut client), b"welcome", "after {served}");
        served += 1;
    }
    served
}

/// Also where the test fails: otherwise the clients would go on for ever.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_listener_goes_from_every_address_to_one_and_back_and_nobody_is_refused() {
    let backend = Backend::greet(b"welcome");
    let config = |bind: &str| {
        format!(
            "[listeners.edge]\nbind = {bind}\n{}",
            passthrough("a.example", backend.addr)
        )
    };
    let proxy = Proxy::start(&config("\"127.0.0.1:0\""));
    let addr = proxy.addr();
    let port = addr.port();
    let (v4, v6) = (format!("\"0.0.0.0:{port}\""), format!("\"[::]:{port}\""));
    let dual = format!("{{ address = \"[::]:{port}\", v6only = false }}");
    let one = format!("\"127.0.0.1:{port}\"");
    let both = format!("[{v4}, {v6}]");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| hammer(addr, &stop)))
            .collect();
        let _end = StopAtEnd(&stop);
        for (number, bind) in [&v4, &one, &dual, &both, &dual, &v4, &one]
            .into_iter()
            .enumerate()
        {
            proxy.write_config(&config(bind));
            proxy.signal(Signal::HUP);
            // Others than the clients that go on meet the new address, and no other. One that
            // overlaps with what the reload before has just left may be refused, and comes up a
            // little later.
            let reaches = |host| TcpStream::connect((host, port)).is_ok();
            let is_there = || {
                reaches("127.0.0.2") == (bind != &one)
                    && reaches("::1") == [&dual, &both].contains(&bind)
            };
            proxy.poll_until(bind, |_| is_there());
            assert!(
                number > 1 || !proxy.log().contains("reload refused"),
                "{}",
                proxy.log()
            );
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.join().unwrap() > 0);
        }
    });
}

#[test]
fn an_address_that_another_program_has_refuses_the_move_and_the_old_one_goes_on() {
    let backend = Backend::greet(b"welcome");
    let config = |bind: &str| {
        format!(
            "[listeners.edge]\nbind = \"{bind}\"\n{}",
            passthrough("a.example", backend.addr)
        )
    };
    let proxy = Proxy::start(&config("127.0.0.1:0"));
    let port = proxy.addr().port();
    let taken = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let refused = proxy.reload_refused(&config(&format!("0.0.0.0:{port}")));
    assert!(
        refused.contains(&format!("cannot listen on 0.0.0.0:{port}")),
        "{refused}"
    );
    let mut client = proxy.connect();
    client.write_all(&hello("a.example")).unwrap();
    assert_eq!(read_to_end(&mut client), b"welcome");
    drop(taken);
    proxy.wait_for("reloaded");
    TcpStream::connect(("127.0.0.3", port)).expect("it listens there");
}
