//! What passthrough does with bytes and with the ends of connections.

mod bulk;
mod connect;
mod ends;
mod lifetime;
mod resets;
mod timeouts;

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::backend::{Backend, Connections, pattern, read_exact};
use crate::support::hello::hello;
use crate::support::proxy::{Proxy, passthrough};

/// A proxy with one route, and the server's end of each connection that comes through. `more` is
/// added to its configuration.
fn start(more: &str) -> (Proxy, Connections) {
    let (backend, connections) = Backend::manual();
    (
        Proxy::start(&format!("{}{more}", passthrough("a.example", backend.addr))),
        connections,
    )
}

/// A client, and the server that it has reached: the server has read the hello, and nothing else
/// was sent.
fn meet(proxy: &Proxy, connections: &Connections) -> (TcpStream, TcpStream) {
    introduce(proxy.connect(), connections)
}

fn introduce(mut client: TcpStream, connections: &Connections) -> (TcpStream, TcpStream) {
    let hello = hello("a.example");
    client.write_all(&hello).unwrap();
    let mut server = connections.next();
    assert_eq!(read_exact(&mut server, hello.len()), hello);
    (client, server)
}

/// That the last connection took everything with it.
fn assert_all_closed(proxy: &Proxy, sockets_before: usize) {
    proxy.poll_until("all sockets closed", |proxy| {
        proxy.descriptors_of("socket") == sockets_before
    });
}

const BLOCK: usize = 1 << 20;

/// Writes the same block again and again, until nothing is taken for a while: how many bytes were
/// taken.
fn fill(to: &mut TcpStream) -> usize {
    to.set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let block = pattern(BLOCK, FILLING);
    let mut taken = 0;
    loop {
        match to.write(&block[taken % BLOCK..]) {
            Ok(written) => taken += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("after {taken} bytes: {error}"),
        }
    }
}

/// Whether these bytes are what `fill` writes.
fn is_filling(bytes: &[u8]) -> bool {
    let block = pattern(BLOCK, FILLING);
    bytes.chunks(BLOCK).all(|chunk| block.starts_with(chunk))
}

const FILLING: u64 = 6;
