//! The PROXY protocol: what another proxy says of its clients, and what snigate says of them to
//! servers.

mod incoming;
mod outgoing;
mod peers;

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};

use serde_json::Value;
use snigate::wire::proxy_header::{Endpoints, V2Header, v1_line};
use socket2::{Domain, Socket, Type};

use crate::support::PATIENCE;
use crate::support::backend::Backend;
use crate::support::proxy::{Proxy, passthrough};
use crate::support::socket::read_until_closed;

/// The client of the headers in these tests, and what it connected to.
const CLIENT: &str = "192.0.2.1:56324";
const TARGET: &str = "198.51.100.7:443";

/// Where the proxy in front of snigate is.
const FRONT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A listener that takes headers from [`FRONT`] alone.
const LISTENER: &str = "[listeners.edge]\nbind = \"127.0.0.1:0\"\nproxy_protocol = { from = [\"127.0.0.9\", \"10.0.0.0/8\"] }\n";

fn endpoints(source: &str, destination: &str) -> Endpoints {
    Endpoints::new(source.parse().unwrap(), destination.parse().unwrap())
}

fn v1() -> Vec<u8> {
    v1_line(Some(endpoints(CLIENT, TARGET)))
}

fn v2() -> Vec<u8> {
    V2Header::new(Some(endpoints(CLIENT, TARGET)))
        .finish(true)
        .unwrap()
}

/// A header of version 2 with whatever command, family and addresses.
fn v2_with(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n",
        &[0x20 | command, family][..],
        &length,
        block,
    ]
    .concat()
}

/// A connection to `addr` from another address of this machine.
fn connect_from(from: Ipv4Addr, addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&addr.into()).expect("the proxy accepts");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.into()
}

/// What somebody at `from` reads who sends these pieces, each with a system call of its own, and
/// ends.
fn answer<'a>(
    proxy: &Proxy,
    from: Ipv4Addr,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut client = connect_from(from, proxy.addr());
    for piece in pieces {
        // The proxy may have closed already, which reading tells.
        let _ = client.write_all(piece);
    }
    let _ = client.shutdown(Shutdown::Write);
    read_until_closed(&mut client)
}

/// A server that sends everything back, behind a route for `a.example` on [`LISTENER`].
fn echo() -> (Backend, Proxy) {
    let backend = Backend::echo();
    let proxy = Proxy::start(&format!(
        "{LISTENER}{}",
        passthrough("a.example", backend.addr)
    ));
    (backend, proxy)
}

/// An access line as a whole, with the words that it must have.
fn assert_line(line: &Value, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(
            line[key].as_str().unwrap_or_default(),
            *value,
            "{key} of {line}"
        );
    }
}
