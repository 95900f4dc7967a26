//! How large a hello may be.

use std::io::Write;
use std::net::Shutdown;

use super::{answer, echo};
use crate::support::backend::read_exact;
use crate::support::hello::{Handmade, protocols, records};
use crate::support::socket::read_until_closed;

/// The longest handshake message that is taken, its header included.
const MOST: usize = 64 * 1024;

#[test]
fn a_hello_of_any_size_up_to_64_kib_is_routed() {
    let (backend, proxy) = echo("a.example");
    let edges = [
        1459,
        1460,
        1461,
        (1 << 14) - 1,
        1 << 14,
        (1 << 14) + 1,
        1 << 15,
        MOST - 1,
        MOST,
    ];
    let sizes: Vec<usize> = (100..MOST).step_by(1999).chain(edges).collect();
    for size in &sizes {
        let bytes = Handmade::named(b"a.example").padded_to(*size).bytes();
        assert!(answer(&proxy, [bytes.as_slice()]) == bytes, "{size} bytes");
        assert!(
            answer(&proxy, bytes.chunks(1460)) == bytes,
            "{size} bytes, in segments"
        );
    }
    assert_eq!(backend.accepted(), 2 * sizes.len());
}

#[test]
fn the_largest_hello_in_the_smallest_records_is_routed() {
    let (_backend, proxy) = echo("a.example");
    let bytes = records(&Handmade::named(b"a.example").padded_to(MOST).message(), 1);
    assert!(answer(&proxy, [bytes.as_slice()]) == bytes);
}

#[test]
fn one_byte_more_is_refused_by_its_header_alone_and_without_an_alert() {
    let (backend, mut proxy) = echo("a.example");
    let bytes = Handmade::named(b"a.example").padded_to(MOST + 1).bytes();
    assert_eq!(answer(&proxy, [bytes.as_slice()]), b"");
    let mut client = proxy.connect();
    client.write_all(&bytes[..9]).unwrap();
    assert_eq!(read_until_closed(&mut client), b"");
    for _ in 0..2 {
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"hello_too_large".into(), &"client".into()),
            "{line}"
        );
        assert!(line["detail"].as_str().unwrap().contains("65537"), "{line}");
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn of_thousands_of_protocols_the_log_shows_the_first_few() {
    let (_backend, mut proxy) = echo("a.example");
    let names: Vec<String> = (0..9000).map(|at| format!("p{at:04}")).collect();
    let offered = protocols(names.iter().map(String::as_bytes));
    let bytes = Handmade::named(b"a.example")
        .extension(16, &offered)
        .bytes();
    let mut client = proxy.connect();
    client.write_all(&bytes).unwrap();
    assert!(read_exact(&mut client, bytes.len()) == bytes);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(proxy.next_access()["alpn"], names[..16].join(","));
}
