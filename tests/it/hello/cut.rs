//! Hellos in pieces: segments, records, and whatever follows in the same segment.

use std::io::Write;
use std::net::Shutdown;

use rustls::version::TLS13;
use rustls::{NamedGroup, ServerConnection, StreamOwned};

use super::{answer, echo};
use crate::support::backend::{Backend, pattern, read_exact, read_to_end};
use crate::support::hello::{hello, in_records};
use crate::support::proxy::{Proxy, directory, passthrough};
use crate::support::socket::{abort, wait_until_read};
use crate::support::tls;

#[test]
fn a_hello_in_one_byte_segments_is_routed() {
    let (_backend, proxy) = echo("a.example");
    let hello = hello("a.example");
    assert_eq!(answer(&proxy, hello.chunks(1)), hello);
}

#[test]
fn a_hello_in_records_of_any_size_is_routed_as_it_came() {
    let (backend, mut proxy) = echo("a.example");
    let hello = hello("a.example");
    for size in [1, 2, 3, 5, 64, 100, hello.len() - 6] {
        let bytes = in_records(&hello, size);
        assert!(
            answer(&proxy, [bytes.as_slice()]) == bytes,
            "records of {size} bytes"
        );
        assert!(
            answer(&proxy, bytes.chunks(1)) == bytes,
            "records of {size} bytes, byte by byte"
        );
        for _ in 0..2 {
            let line = proxy.next_access();
            assert_eq!(
                (&line["sni"], &line["outcome"]),
                (&"a.example".into(), &"closed".into()),
                "{line}"
            );
        }
    }
    assert_eq!(backend.accepted(), 14);
}

#[test]
fn a_hello_cut_anywhere_is_routed_once_it_is_whole() {
    let backend = Backend::echo();
    let config = passthrough("a.example", backend.addr);
    let proxy = Proxy::start(&format!("{config}[timeouts]\nhello = \"60s\"\n"));
    let hello = hello("a.example");
    let cuts: Vec<usize> = (1..hello.len()).collect();
    // As many at a time as open files allow, of which this process needs three for each.
    for cuts in cuts.chunks(200) {
        let before = backend.accepted();
        let mut clients: Vec<_> = cuts.iter().map(|_| proxy.connect()).collect();
        for (client, cut) in clients.iter_mut().zip(cuts) {
            client.write_all(&hello[..*cut]).unwrap();
        }
        wait_until_read(&clients);
        assert_eq!(
            backend.accepted(),
            before,
            "dialled by half a hello, cut between {cuts:?}"
        );
        for (client, cut) in clients.iter_mut().zip(cuts) {
            client.write_all(&hello[*cut..]).unwrap();
        }
        for (client, cut) in clients.iter_mut().zip(cuts) {
            assert!(read_exact(client, hello.len()) == hello, "cut at {cut}");
        }
        clients.into_iter().for_each(abort);
    }
    assert_eq!(backend.accepted(), cuts.len());
}

#[test]
fn a_hello_with_data_and_the_end_in_the_same_segment_arrives_whole() {
    let (backend, connections) = Backend::manual();
    let mut proxy = Proxy::start(&passthrough("a.example", backend.addr));
    for length in [0, 1, 100, 60_000, 64_000, 200_000] {
        let message = [hello("a.example"), pattern(length, 7)].concat();
        let mut client = proxy.connect();
        client.write_all(&message).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut server = connections.next();
        assert!(read_to_end(&mut server) == message, "with {length} bytes");
        server.write_all(b"the answer").unwrap();
        drop(server);
        assert_eq!(
            read_to_end(&mut client),
            b"the answer",
            "with {length} bytes"
        );
        let line = proxy.next_access();
        assert_eq!(
            (&line["received"], &line["sent"]),
            (&message.len().into(), &10.into()),
            "{line}"
        );
    }
}

#[test]
fn a_post_quantum_handshake_passes_through() {
    let dir = directory();
    let authority = tls::authority(dir.path(), "ca");
    let issued = authority
        .server(&["a.example"], snigate::pki::Validity::days(1))
        .unwrap();
    let config = std::sync::Arc::new(tls::server(&issued));
    let backend = Backend::serve(move |stream| {
        let mut session = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        let question = read_exact(&mut session, 12);
        session.write_all(&question).unwrap();
        session.conn.send_close_notify();
        session.flush().unwrap();
    });
    let proxy = Proxy::start_in(dir, &passthrough("a.example", backend.addr));
    let mut session = tls::session(
        &tls::client(&authority, None, &[&TLS13]),
        "a.example",
        proxy.connect(),
    );
    session.write_all(b"the question").unwrap();
    assert_eq!(read_to_end(&mut session), b"the question");
    let group = session.conn.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
}
