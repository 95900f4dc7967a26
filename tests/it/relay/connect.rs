//! Reaching a server, or none.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use super::assert_all_closed;
use crate::support::backend::{Backend, pattern, read_to_end};
use crate::support::hello::{alert, hello};
use crate::support::proxy::{Proxy, directory, passthrough};
use crate::support::socket::{accept, refusing, unanswering};

/// A client's whole exchange with what is behind the proxy.
fn ask(proxy: &Proxy, question: &[u8]) -> Vec<u8> {
    let mut client = proxy.connect();
    client.write_all(question).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut client)
}

/// A route whose servers are tried in this order.
fn in_order(servers: &[SocketAddr], more: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|addr| format!("\"{addr}\"")).collect();
    let servers = servers.join(", ");
    format!(
        "[routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\nupstream = [{servers}]\n{more}"
    )
}

#[test]
fn a_client_whose_server_refuses_gets_an_internal_error() {
    let (_socket, addr) = refusing();
    let mut proxy = Proxy::start(&passthrough("a.example", addr));
    let sockets = proxy.descriptors_of("socket");
    let hello = hello("a.example");
    assert_eq!(ask(&proxy, &hello), alert(80));
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"connect_failed".into(), &"server".into()),
        "{line}"
    );
    assert_eq!(
        (&line["route"], &line["upstream"]),
        (&"a".into(), &addr.to_string().into()),
        "{line}"
    );
    assert_eq!(line["received"], hello.len(), "{line}");
    assert!(
        line["server"].is_null() && line["detail"].as_str().unwrap().contains("refused"),
        "{line}"
    );
    assert_all_closed(&proxy, sockets);
}

#[test]
fn a_client_whose_server_does_not_answer_gets_an_internal_error_in_time() {
    let (_listener, _queued, addr) = unanswering();
    let mut proxy = Proxy::start(&in_order(&[addr], "[timeouts]\nconnect = \"300ms\"\n"));
    let sockets = proxy.descriptors_of("socket");
    assert_eq!(ask(&proxy, &hello("a.example")), alert(80));
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"connect_timeout".into(), &"server".into()),
        "{line}"
    );
    assert!(
        (300.0..2300.0).contains(&line["connect_ms"].as_f64().unwrap()),
        "{line}"
    );
    assert_all_closed(&proxy, sockets);
}

#[test]
fn the_next_server_takes_over_from_one_that_refuses_or_does_not_answer() {
    let backend = Backend::echo();
    let (_socket, refusing) = refusing();
    let (_listener, _queued, unanswering) = unanswering();
    let servers = [refusing, unanswering, backend.addr];
    let mut proxy = Proxy::start(&in_order(&servers, "[timeouts]\nconnect = \"200ms\"\n"));
    let hello = hello("a.example");
    assert_eq!(ask(&proxy, &hello), hello);
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["server"]),
        (&"closed".into(), &backend.addr.to_string().into()),
        "{line}"
    );
}

#[test]
fn the_error_of_several_servers_is_that_of_the_last() {
    let (_socket, refusing) = refusing();
    let (_listener, _queued, unanswering) = unanswering();
    for (servers, outcome) in [
        ([refusing, unanswering], "connect_timeout"),
        ([unanswering, refusing], "connect_failed"),
    ] {
        let mut proxy = Proxy::start(&in_order(&servers, "[timeouts]\nconnect = \"100ms\"\n"));
        assert_eq!(ask(&proxy, &hello("a.example")), alert(80));
        let line = proxy.next_access();
        assert_eq!(line["outcome"], outcome, "{line}");
        let detail = line["detail"].as_str().unwrap();
        assert!(
            detail.contains(&servers[1].to_string()) && detail.contains("2 servers"),
            "{line}"
        );
    }
}

#[test]
fn servers_take_turns_and_one_that_is_down_loses_its_turn() {
    let backends = [Backend::echo(), Backend::echo()];
    let (_socket, refusing) = refusing();
    let servers = [backends[0].addr, refusing, backends[1].addr]
        .map(|addr| format!("\"{addr}\""))
        .join(", ");
    let pool = format!("[upstreams.pool]\nservers = [{servers}]\nejection = \"off\"\n");
    let proxy = Proxy::start(&format!("{}{pool}", passthrough("a.example", "pool")));
    let hello = hello("a.example");
    for _ in 0..9 {
        assert_eq!(ask(&proxy, &hello), hello);
    }
    let [first, last] = backends.map(|backend| backend.accepted());
    assert_eq!(first + last, 9);
    assert!((3..=6).contains(&first), "{first} and {last}");
}

#[test]
fn a_server_on_a_unix_socket_is_served_like_any_other() {
    let dir = directory();
    let path = dir.path().join("server");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let mut stream: UnixStream = accept(&listener);
        let question = read_to_end(&mut stream);
        stream.write_all(&question).unwrap();
        stream.write_all(b"the end").unwrap();
    });
    let mut proxy = Proxy::start_in(
        dir,
        &passthrough("a.example", format!("unix:{}", path.display())),
    );
    let sockets = proxy.descriptors_of("socket");
    let question = [hello("a.example"), pattern(1_000_000, 5)].concat();
    assert!(ask(&proxy, &question) == [&question[..], b"the end"].concat());
    server.join().unwrap();
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["server"]),
        (&"closed".into(), &line["upstream"]),
        "{line}"
    );
    assert_eq!(
        (&line["sent"], &line["received"]),
        (&(question.len() + 7).into(), &question.len().into()),
        "{line}"
    );
    assert_all_closed(&proxy, sockets);
}

#[test]
fn a_unix_socket_that_is_not_there_is_a_server_that_refuses() {
    let mut proxy = Proxy::start(&passthrough("a.example", "unix:/nonexistent/socket"));
    assert_eq!(ask(&proxy, &hello("a.example")), alert(80));
    assert_eq!(proxy.next_access()["outcome"], "connect_failed");
}
