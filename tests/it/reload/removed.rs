//! What becomes of the open connections of a route that is gone.

use std::io::ErrorKind;
use std::time::Instant;

use super::*;

fn with(route: String, on_remove: &str) -> String {
    format!("{route}on_remove = \"{on_remove}\"\n")
}

/// A client that the route for `name` has taken.
fn open(proxy: &Proxy, name: &str) -> TcpStream {
    let mut stream = proxy.connect();
    echo(&mut stream, &hello(name));
    stream
}

/// Waits until a connection is cut off, which nobody can take for its end.
fn assert_cut(stream: &mut TcpStream) {
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

fn assert_removed(proxy: &mut Proxy) {
    let line = proxy.next_access();
    let found = (&line["outcome"], &line["by"], &line["route"]);
    assert_eq!(
        found,
        (&"route_removed".into(), &"proxy".into(), &"b".into()),
        "{line}"
    );
}

#[test]
fn they_are_closed_if_the_route_said_so_and_no_others_are() {
    let (backend, servers) = Backend::manual();
    let a = with(route("a", "a.example", Backend::echo().addr), "close");
    let b = with(route("b", "b.example", backend.addr), "close");
    // Time to end by themselves would be longer than anybody waits here.
    let frame = format!("{FRAME}[timeouts]\ndrain = \"1h\"\n");
    let both = format!("{frame}{a}{b}");
    for gone in [
        format!("{frame}{a}"),
        format!("{frame}{a}{}", b.replace("[routes.b]", "[routes.c]")),
        format!("{frame}{a}[routes.b]\nsni = \"b.example\"\naction = \"reject\"\n"),
    ] {
        let mut proxy = Proxy::start(&both);
        let mut other = open(&proxy, "a.example");
        let mut client = proxy.connect();
        let hello = hello("b.example");
        client.write_all(&hello).unwrap();
        let mut server = servers.next();
        assert!(read_exact(&mut server, hello.len()) == hello);
        // Whatever else changes about the route.
        proxy.reload(&both.replace("\"b.example\"", "[\"b.example\", \"c.example\"]"));
        server.write_all(b"still here").unwrap();
        assert_eq!(read_exact(&mut client, 10), b"still here");
        proxy.reload(&gone);
        assert_cut(&mut client);
        assert_cut(&mut server);
        assert_removed(&mut proxy);
        echo(&mut other, b"still here");
    }
}

#[test]
fn the_route_that_took_the_connection_decides_whatever_came_after_it() {
    let backend = Backend::echo();
    let a = route("a", "a.example", backend.addr);
    let b = |on_remove| {
        format!(
            "{FRAME}{a}{}",
            with(route("b", "b.example", backend.addr), on_remove)
        )
    };
    let mut proxy = Proxy::start(&b("close"));
    let mut first = open(&proxy, "b.example");
    proxy.reload(&b("keep"));
    let mut second = open(&proxy, "b.example");
    proxy.reload(&(b("keep") + "[timeouts]\nidle = \"2h\"\n"));
    echo(&mut first, b"still here");
    proxy.reload(&format!("{FRAME}{a}"));
    assert_cut(&mut first);
    assert_removed(&mut proxy);
    echo(&mut second, b"still here");
}

#[test]
fn they_have_the_time_of_drain_to_end_by_themselves() {
    let backend = Backend::echo();
    let timeouts = "[timeouts]\ndrain = \"700ms\"\n";
    let a = format!("{FRAME}{timeouts}{}", route("a", "a.example", backend.addr));
    let both = format!(
        "{a}{}",
        with(route("b", "b.example", backend.addr), "drain")
    );
    let mut proxy = Proxy::start(&both);
    let (mut ends, mut stays) = (open(&proxy, "b.example"), open(&proxy, "b.example"));
    let mut other = open(&proxy, "a.example");
    let start = Instant::now();
    proxy.reload(&a);
    echo(&mut ends, b"still here");
    ends.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut ends), b"");
    assert_eq!(proxy.next_access()["outcome"], "closed");
    assert_cut(&mut stays);
    assert!(start.elapsed().as_millis() >= 700, "{:?}", start.elapsed());
    assert_removed(&mut proxy);
    echo(&mut other, b"still here");
    assert_eq!(
        proxy.wait_for("closed connections that the configuration no longer lets go on")["closed"],
        1
    );
}

#[test]
fn a_route_that_comes_back_in_time_keeps_its_connections() {
    let backend = Backend::echo();
    let config = |drain: &str, routes: &[&str]| {
        format!(
            "{FRAME}[timeouts]\ndrain = \"{drain}\"\n{}",
            routes.concat()
        )
    };
    let a = route("a", "a.example", backend.addr);
    let (b, c) = (
        with(route("b", "b.example", backend.addr), "drain"),
        with(route("c", "c.example", backend.addr), "drain"),
    );
    let mut proxy = Proxy::start(&config("1h", &[&a, &b, &c]));
    let (mut back, mut gone) = (open(&proxy, "c.example"), open(&proxy, "b.example"));
    proxy.reload(&config("1h", &[&a]));
    proxy.reload(&config("1h", &[&a, &b, &c]));
    // The hour of before does not count, and a shorter time does.
    proxy.reload(&config("300ms", &[&a, &c]));
    assert_cut(&mut gone);
    assert_removed(&mut proxy);
    echo(&mut back, b"still here");
}
