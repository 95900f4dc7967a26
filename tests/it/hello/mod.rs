//! How a client's first bytes are taken, whatever way they come.

mod answered;
mod cut;
mod late;
mod refused;
mod size;
mod unusual;

use std::io::Write;
use std::net::Shutdown;

use crate::support::backend::Backend;
use crate::support::proxy::{Proxy, passthrough};
use crate::support::socket::read_until_closed;

/// A server that sends everything back, and a proxy with one route to it, for these names.
fn echo(sni: &str) -> (Backend, Proxy) {
    let backend = Backend::echo();
    let proxy = Proxy::start(&passthrough(sni, backend.addr));
    (backend, proxy)
}

/// What a client reads that sends these pieces, each with a system call of its own, and ends.
fn answer<'a>(proxy: &Proxy, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut client = proxy.connect();
    for piece in pieces {
        // The proxy may have closed already, which reading tells.
        let _ = client.write_all(piece);
    }
    let _ = client.shutdown(Shutdown::Write);
    read_until_closed(&mut client)
}
