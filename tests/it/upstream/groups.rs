//! Which key exchange groups are offered, and servers that do not understand a hello of more than
//! one segment.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::{INSIDE, TRUST, config, copy, site};
use crate::support::backend::{Backend, read_to_end};
use crate::support::proxy::Proxy;
use crate::support::socket::abort;
use crate::support::tls::server;

/// What fits into one segment on an Ethernet.
const SEGMENT: usize = 1400;

/// What a server does with a hello that is larger.
#[derive(Clone, Copy, Debug)]
enum Choke {
    Resets,
    Ends,
    IsSilent,
}

/// Whether the first record, a hello, has come whole within one segment.
fn fits(stream: &TcpStream) -> bool {
    let mut head = [0; SEGMENT];
    let mut length = 0;
    // What is long comes whole, too: it is sent at once, and its first bytes say how long it is.
    while length < 5 {
        length = stream.peek(&mut head).unwrap();
    }
    5 + usize::from(u16::from_be_bytes([head[3], head[4]])) <= SEGMENT
}

#[test]
fn a_server_that_chokes_on_a_large_hello_can_be_sent_a_small_one_and_its_line_says_how() {
    let (site, dir) = site();
    for choke in [Choke::Resets, Choke::Ends, Choke::IsSilent] {
        let speaks = Arc::new(server(&site.inside()));
        let backend = Backend::serve(move |mut stream| {
            if !fits(&stream) {
                match choke {
                    Choke::Resets => abort(stream),
                    Choke::Ends => drop(stream),
                    Choke::IsSilent => _ = read_to_end(&mut stream),
                }
                return;
            }
            let mut session =
                StreamOwned::new(ServerConnection::new(Arc::clone(&speaks)).unwrap(), stream);
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut session, &mut bytes).unwrap();
            std::io::Write::write_all(&mut session, &bytes).unwrap();
            session.conn.send_close_notify();
            std::io::Write::flush(&mut session).unwrap();
        });
        let keys = |groups: &str| {
            let time = Duration::from_millis(300);
            format!(
                "connect_timeout = \"{time:?}\"\ntls = {{ server_name = \"{INSIDE}\", trust = \"corp\"{groups} }}"
            )
        };
        let mut proxy = Proxy::start_in(copy(&dir), &config(&[&backend.addr], &keys(""), TRUST));
        site.ask(&proxy, b"the question").unwrap_err();
        let line = proxy.next_access();
        let detail = line["detail"].as_str().unwrap();
        assert!(
            detail.contains("`upstreams.vault.tls.groups = [\"x25519\", \"secp256r1\"]`"),
            "{choke:?}: {line}"
        );

        let keys = keys(", groups = [\"x25519\", \"secp256r1\"]").replace("300ms", "10s");
        let proxy = Proxy::start_in(copy(&dir), &config(&[&backend.addr], &keys, TRUST));
        assert_eq!(
            site.ask(&proxy, b"the question").unwrap(),
            b"the question",
            "{choke:?}: {}",
            proxy.log()
        );
    }
}
