//! What passthrough does with bytes and with the ends of connections.

use std::io::Write;
use std::net::Shutdown;

use crate::support::backend::{Backend, read_exact, read_to_end};
use crate::support::hello::hello;
use crate::support::proxy::Proxy;

/// One passthrough route for `a.example`.
fn passthrough(backend: &Backend) -> Proxy {
    Proxy::start(&format!(
        "[routes.a]\nsni = \"a.example\"\naction = \"passthrough\"\nupstream = \"{}\"\n",
        backend.addr
    ))
}

#[test]
fn half_closed_client_still_receives_the_answer() {
    let (backend, connections) = Backend::manual();
    let mut proxy = passthrough(&backend);
    let hello = hello("a.example");
    let mut client = proxy.connect();
    client.write_all(&hello).unwrap();
    let mut server = connections.next();
    assert_eq!(read_exact(&mut server, hello.len()), hello);
    client.write_all(b"the question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut server), b"the question");
    server.write_all(b"the answer").unwrap();
    drop(server);
    assert_eq!(read_to_end(&mut client), b"the answer");
    let line = proxy.next_access();
    assert_eq!(line["outcome"], "closed");
    assert_eq!(line["sent"], 10);
    assert_eq!(line["received"], hello.len() + 12);
}
