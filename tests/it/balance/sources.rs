//! `source_hash`: a client stays with its server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::{ask, pool, pool_of};
use crate::support::PATIENCE;
use crate::support::backend::Backend;
use crate::support::proxy::Proxy;

/// A connection from 127.0.1.`host`.
fn connect_from(proxy: &Proxy, host: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 1, host));
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&proxy.addr().into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// The server of each client.
fn servers(proxy: &Proxy) -> Vec<Vec<u8>> {
    (1..=24)
        .map(|host| ask(connect_from(proxy, host)))
        .collect()
}

#[test]
fn a_client_keeps_its_server_over_reloads_and_restarts_and_loses_it_only_with_the_server() {
    let backends = [b"a", b"b", b"c"].map(|name| Backend::greet(name));
    let [a, b, c] = backends.each_ref().map(|backend| backend.addr);
    let by_source = "balance = \"source_hash\"";
    let proxy = Proxy::start(&pool(&[a, b, c], by_source));
    let before = servers(&proxy);
    for name in [b"a", b"b", b"c"] {
        assert!(before.iter().any(|server| server == name), "{before:?}");
    }
    assert_eq!(servers(&proxy), before, "another connection");
    let ordered = format!("\"{c}\", {{ address = \"{a}\", max_connections = 100 }}, \"{b}\"");
    proxy.reload(&pool_of(&ordered, by_source));
    assert_eq!(servers(&proxy), before, "a reload");
    drop(proxy);
    let proxy = Proxy::start(&pool(&[b, c, a], by_source));
    assert_eq!(servers(&proxy), before, "another process");
    proxy.reload(&pool(&[a, c], by_source));
    for (now, before) in servers(&proxy).iter().zip(&before) {
        assert!(
            now == before || (before == b"b" && now != b"b"),
            "{before:?} became {now:?}"
        );
    }
}
