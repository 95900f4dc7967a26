//! A reload between the accept of a connection and its hello.

use super::*;
use crate::support::socket::{read_until_closed, wait_until_read};

/// A connection that the proxy has accepted, and read the first bytes of the hello for `name` from:
/// the rest of it.
fn begin(proxy: &Proxy, listener: &str, first: &[u8]) -> TcpStream {
    let mut stream = proxy.connect_to(listener);
    stream.write_all(first).unwrap();
    wait_until_read(&[stream.try_clone().unwrap()]);
    stream
}

#[test]
fn the_table_of_the_moment_of_the_hello_counts() {
    let (old, new) = (Backend::greet(b"old"), Backend::greet(b"new"));
    let hello = hello("a.example");
    let reject = "[routes.b]\nsni = \"a.example\"\naction = \"reject\"\n";
    for (after, answer) in [
        (route("a", "a.example", new.addr), b"new".to_vec()),
        (route("b", "*.example", new.addr), b"new".to_vec()),
        (
            format!(
                "{}from = \"192.0.2.0/24\"\n",
                route("a", "a.example", new.addr)
            ),
            alert(112).to_vec(),
        ),
        (
            format!(
                "{}from = \"192.0.2.0/24\"\n{reject}",
                route("a", "a.example", new.addr)
            ),
            alert(49).to_vec(),
        ),
        (route("a", "other.example", new.addr), alert(112).to_vec()),
        (reject.to_owned(), alert(49).to_vec()),
    ] {
        let proxy = Proxy::start(&format!("{FRAME}{}", route("a", "a.example", old.addr)));
        let mut stream = begin(&proxy, "edge", &hello[..20]);
        proxy.reload(&format!("{FRAME}{after}"));
        stream.write_all(&hello[20..]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_until_closed(&mut stream), answer, "{after}");
    }
    assert_eq!(old.accepted(), 0);
}

#[test]
fn a_listener_that_has_moved_has_its_new_table_for_those_who_came_before() {
    let (old, new) = (Backend::greet(b"old"), Backend::greet(b"new"));
    let hello = hello("a.example");
    let proxy = Proxy::start(&format!("{FRAME}{}", route("a", "a.example", old.addr)));
    let mut stream = begin(&proxy, "edge", &hello[..20]);
    proxy.reload(&format!(
        "{}{}",
        FRAME.replace("127.0.0.1:0", "127.0.0.3:0"),
        route("a", "a.example", new.addr)
    ));
    stream.write_all(&hello[20..]).unwrap();
    assert_eq!(read_to_end(&mut stream), b"new");
}

#[test]
fn whom_headers_are_believed_of_is_asked_when_the_hello_is_whole() {
    let backend = Backend::echo();
    let hello = hello("a.example");
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\r\n";
    let listener = |keys: &str| FRAME.replace("\n[log]", &format!("\n{keys}\n[log]"));
    let table = |keys: &str| {
        format!(
            "{}{}",
            listener(keys),
            route("a", "a.example", backend.addr)
        )
    };
    let believed = table("proxy_protocol = { from = \"127.0.0.1\" }");
    for (before, after, first, outcome) in [
        (&believed, &table(""), &header[..], "not_tls"),
        (&table(""), &believed, &[][..], "bad_proxy_header"),
    ] {
        let mut proxy = Proxy::start(before);
        let mut stream = begin(&proxy, "edge", &[first, &hello[..20]].concat());
        proxy.reload(after);
        stream.write_all(&hello[20..]).unwrap();
        assert_eq!(read_until_closed(&mut stream), b"", "{outcome}");
        assert_eq!(proxy.next_access()["outcome"], outcome);
    }
    assert_eq!(backend.accepted(), 0);
}
