//! `weight = 0`: a server that is drained.

use std::net::TcpStream;

use super::*;
use crate::support::backend::{Backend, read_exact};
use crate::support::proxy::Proxy;

fn send(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"still here").unwrap();
    assert_eq!(read_exact(to, 10), b"still here");
}

#[test]
fn a_server_of_weight_0_gets_no_new_connection_keeps_the_open_ones_and_comes_back() {
    for balance in ["round_robin", "least_connections", "random", "source_hash"] {
        let ((drained, accepted), other) = (Backend::manual(), Backend::greet(b"other"));
        let config = |weights: [u32; 2]| {
            let [one, two] = weights.map(|weight| format!("weight = {weight}"));
            let servers = format!(
                "{{ address = \"{}\", {one} }}, {{ address = \"{}\", {two} }}",
                drained.addr, other.addr
            );
            pool_of(&servers, &format!("balance = \"{balance}\""))
        };
        let hello = hello(NAME);
        let connect = |proxy: &Proxy| {
            let mut client = proxy.connect();
            client.write_all(&hello).unwrap();
            let mut server = accepted.next();
            assert!(read_exact(&mut server, hello.len()) == hello);
            (client, server)
        };
        let proxy = Proxy::start(&config([1, 0]));
        let (mut client, mut server) = connect(&proxy);
        proxy.reload(&config([0, 1]));
        for _ in 0..10 {
            assert_eq!(ask(proxy.connect()), b"other", "{balance}");
        }
        assert_eq!(drained.accepted(), 1, "{balance}");
        send(&mut client, &mut server);
        send(&mut server, &mut client);
        proxy.reload(&config([1, 0]));
        let (mut back, mut again) = connect(&proxy);
        send(&mut again, &mut back);
        send(&mut client, &mut server);
        assert_eq!(other.accepted(), 10, "{balance}");
    }
}
