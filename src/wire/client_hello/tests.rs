//! The parser on whole connections' first bytes: cut everywhere, wrong everywhere, and as real
//! clients send them.

use std::iter;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::builder::{HelloBuilder, in_records, record};
use super::*;

type Verdict = Result<Option<ClientHello>, HelloError>;

/// The parser's verdict in the end about bytes that come in these pieces.
fn verdict<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut parser = HelloParser::new();
    let verdicts = pieces.into_iter().map(|piece| parser.feed(piece));
    verdicts
        .into_iter()
        .find(|verdict| !matches!(verdict, Ok(None)))
        .unwrap_or(Ok(None))
}

fn requested(verdict: &Verdict) -> Option<&RequestedName> {
    verdict
        .as_ref()
        .ok()?
        .as_ref()
        .map(|hello| &hello.server_name)
}

fn malformed(fault: Malformed) -> Verdict {
    Err(HelloError::Malformed(fault))
}

/// The hello of a client that is built on rustls, in records of at most `fragment` bytes with their
/// headers.
fn rustls_hello(name: &str, fragment: Option<usize>) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.max_fragment_size = fragment;
    let mut client =
        ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).unwrap();
    }
    hello
}

/// Hellos of real clients: what each is called, its bytes, and the name in it.
fn real_hellos() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let vault = Some("vault.example.net");
    vec![
        (
            "openssl",
            include_bytes!("../../../tests/hellos/openssl-3.0.bin").to_vec(),
            vault,
        ),
        (
            "openssl, TLS 1.2",
            include_bytes!("../../../tests/hellos/openssl-3.0-tls12.bin").to_vec(),
            vault,
        ),
        (
            "openssl, address",
            include_bytes!("../../../tests/hellos/openssl-3.0-ip.bin").to_vec(),
            Some("127.0.0.1"),
        ),
        (
            "curl",
            include_bytes!("../../../tests/hellos/curl-7.88.bin").to_vec(),
            vault,
        ),
        (
            "python",
            include_bytes!("../../../tests/hellos/python-3.11.bin").to_vec(),
            None,
        ),
        (
            "node",
            include_bytes!("../../../tests/hellos/node-20.bin").to_vec(),
            vault,
        ),
        (
            "java",
            include_bytes!("../../../tests/hellos/java-17.bin").to_vec(),
            vault,
        ),
        ("rustls", rustls_hello("vault.example.net", None), vault),
        (
            "rustls in small records",
            rustls_hello("vault.example.net", Some(64)),
            vault,
        ),
    ]
}

#[test]
fn the_name_of_every_real_client_is_found() {
    for (client, bytes, name) in real_hellos() {
        let expected = match name {
            None => RequestedName::Absent,
            Some(text) => text.parse::<IpAddr>().map_or_else(
                |_| RequestedName::Name(text.parse().unwrap()),
                RequestedName::Ip,
            ),
        };
        assert_eq!(
            requested(&verdict([bytes.as_slice()])),
            Some(&expected),
            "{client}"
        );
    }
}

#[test]
fn a_post_quantum_hello_shows_its_groups_and_protocols() {
    let hello = verdict([rustls_hello("vault.example.net", None).as_slice()])
        .unwrap()
        .unwrap();
    assert_eq!(hello.groups.iter().next(), Some(0x11ec), "{hello:?}");
    assert_eq!(
        *hello.alpn.first(9),
        ["h2", "http/1.1"].map(|protocol| protocol.parse().unwrap())
    );
    assert_eq!(hello.versions.iter().collect::<Vec<_>>(), [0x0304, 0x0303]);
    assert!(
        hello.signature_schemes.contains(0x0403) && !hello.ech,
        "{hello:?}"
    );
}

#[test]
fn every_prefix_of_a_hello_is_incomplete() {
    for (client, bytes, _) in real_hellos() {
        for length in 0..bytes.len() {
            assert_eq!(
                verdict([&bytes[..length]]),
                Ok(None),
                "{client}: {length} bytes"
            );
        }
    }
}

#[test]
fn a_hello_may_be_cut_anywhere() {
    for (client, bytes, _) in real_hellos() {
        let whole = verdict([bytes.as_slice()]);
        assert!(matches!(whole, Ok(Some(_))), "{client}: {whole:?}");
        assert_eq!(verdict(bytes.chunks(1)), whole, "{client}: byte by byte");
        for cut in 0..=bytes.len() {
            assert_eq!(
                verdict([&bytes[..cut], &bytes[cut..]]),
                whole,
                "{client}: cut at {cut}"
            );
        }
    }
}

#[test]
fn a_hello_may_come_in_records_of_any_size() {
    let hello = HelloBuilder::named("vault.example.net").padded_to(700);
    let whole = verdict([hello.records().as_slice()]);
    assert!(matches!(whole, Ok(Some(_))), "{whole:?}");
    for size in 1..=700 {
        let bytes = in_records(&hello.message(), size);
        assert_eq!(
            verdict([bytes.as_slice()]),
            whole,
            "records of {size} bytes"
        );
        assert_eq!(
            verdict(bytes.chunks(1)),
            whole,
            "records of {size} bytes, byte by byte"
        );
        assert_eq!(
            verdict([&bytes[..bytes.len() - 1]]),
            Ok(None),
            "records of {size} bytes, without the last byte"
        );
    }
}

// With a cost that is quadratic in the pieces or in the records, this takes minutes.
#[test]
fn the_longest_hello_in_one_byte_records_and_one_byte_segments_is_read_in_linear_time() {
    let hello = HelloBuilder::named("vault.example.net").padded_to(MAX_HELLO);
    let bytes = in_records(&hello.message(), 1);
    let whole = verdict([bytes.as_slice()]);
    assert!(requested(&whole).is_some(), "{whole:?}");
    assert_eq!(verdict(bytes.chunks(1)), whole);
}

#[test]
fn every_size_up_to_the_limit_is_read() {
    let hello = HelloBuilder::named("vault.example.net");
    for length in
        (128..MAX_HELLO)
            .step_by(509)
            .chain([1 << 14, (1 << 14) + 1, MAX_HELLO - 1, MAX_HELLO])
    {
        let bytes = hello.clone().padded_to(length).records();
        for pieces in [bytes.len(), 1460, bytes.len() - 1] {
            let verdict = verdict(bytes.chunks(pieces));
            assert!(
                requested(&verdict).is_some(),
                "{length} bytes in pieces of {pieces}: {verdict:?}"
            );
        }
    }
}

#[test]
fn one_byte_more_than_the_limit_is_refused_by_its_header_alone() {
    let hello = HelloBuilder::named("vault.example.net").padded_to(MAX_HELLO + 1);
    let expected = Err(HelloError::TooLarge {
        announced: MAX_HELLO + 1,
    });
    for size in [1, 2, 3, 4, 1000, 1 << 14] {
        let bytes = in_records(&hello.message(), size);
        assert_eq!(
            verdict([bytes.as_slice()]),
            expected,
            "records of {size} bytes"
        );
        assert_eq!(
            verdict(bytes.chunks(1)),
            expected,
            "records of {size} bytes, byte by byte"
        );
    }
    assert_eq!(verdict([&hello.records()[..8]]), Ok(None));
    assert_eq!(verdict([&hello.records()[..9]]), expected);
}

#[test]
fn what_comes_after_the_hello_is_kept_and_neither_read_nor_counted() {
    let hello = HelloBuilder::named("vault.example.net")
        .padded_to(MAX_HELLO)
        .records();
    for rest in [
        record(23, &[0; 99]),
        record(21, &[2, 0]),
        b"anything".to_vec(),
        vec![22, 9, 9, 0, 0],
        vec![0; MAX_HELLO],
    ] {
        let bytes = [hello.as_slice(), &rest].concat();
        for cut in [
            1,
            hello.len() - 1,
            hello.len(),
            hello.len() + 1,
            bytes.len(),
        ] {
            let mut parser = HelloParser::new();
            let verdicts = [
                parser.feed(&bytes[..cut]),
                parser.feed(&bytes[cut..]),
                parser.feed(b"later"),
            ];
            let hellos = verdicts
                .iter()
                .filter(|verdict| requested(verdict).is_some())
                .count();
            assert_eq!(hellos, 1, "cut at {cut}: {verdicts:?}");
            assert!(
                verdicts.iter().all(Result::is_ok),
                "cut at {cut}: {verdicts:?}"
            );
            assert_eq!(
                parser.into_bytes(),
                [bytes.as_slice(), b"later"].concat(),
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn an_error_is_final_and_what_led_to_it_is_kept() {
    let mut parser = HelloParser::new();
    let expected = malformed(Malformed::EmptyRecord);
    assert_eq!(parser.feed(&[22, 3, 1]), Ok(None));
    assert_eq!(parser.feed(&[0, 0, 99]), expected);
    assert_eq!(parser.feed(&HelloBuilder::new().records()), expected);
    assert_eq!(parser.feed(&[]), expected);
    assert_eq!(parser.received(), [22, 3, 1, 0, 0, 99]);
}

#[test]
fn another_protocol_is_told_by_its_first_bytes() {
    for (bytes, needed) in [
        (&b"GET / HTTP/1.1\r\n"[..], 1),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 1),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 1),
        (b"\r\n\r\n\0\r\nQUIT\n", 1),
        (b"\x80\x2e\x01\x00\x02", 1),
        (b"\x15\x03\x01\x00\x02\x02\x00", 1),
        (b"\x17\x02\x03\x00\x01\x00", 2),
        (b"\x14\xfe\xff", 2),
        (b"\x00", 1),
        (b"\x16\x02\x00", 2),
        (b"\x16\xfe\xff\x00", 2),
    ] {
        assert_eq!(
            verdict([bytes]),
            Err(HelloError::NotTls),
            "{}",
            bytes.escape_ascii()
        );
        for length in 0..bytes.len() {
            let expected = if length < needed {
                Ok(None)
            } else {
                Err(HelloError::NotTls)
            };
            assert_eq!(
                verdict([&bytes[..length]]),
                expected,
                "{}",
                bytes[..length].escape_ascii()
            );
        }
    }
}

#[test]
fn the_version_of_a_record_means_nothing_if_it_is_one_of_tls() {
    let whole = in_records(&HelloBuilder::named("a.example").message(), 40);
    for at in [2, 47] {
        for minor in 0..=255 {
            let mut bytes = whole.clone();
            bytes[at] = minor;
            assert!(
                matches!(verdict([bytes.as_slice()]), Ok(Some(_))),
                "{minor}"
            );
        }
    }
}

#[test]
fn wrong_records_are_refused_when_the_wrong_byte_comes() {
    let hello = HelloBuilder::named("a.example").padded_to(200);
    let first = record(22, &hello.message()[..100]);
    let followed = [hello.message().as_slice(), &[1]].concat();
    let length = u32::try_from(hello.message().len() - 4)
        .unwrap()
        .to_be_bytes();
    for (what, bytes, needed, expected) in [
        (
            "empty record",
            vec![22, 3, 1, 0, 0],
            5,
            Malformed::EmptyRecord,
        ),
        (
            "empty second record",
            [&first[..], &[22, 3, 1, 0, 0]].concat(),
            110,
            Malformed::EmptyRecord,
        ),
        (
            "long record",
            vec![22, 3, 1, 0x40, 1],
            5,
            Malformed::RecordTooLong(0x4001),
        ),
        (
            "longest record",
            vec![22, 3, 1, 0xff, 0xff],
            5,
            Malformed::RecordTooLong(0xffff),
        ),
        (
            "alert between",
            [&first[..], &[21]].concat(),
            106,
            Malformed::Interrupted(21),
        ),
        (
            "data between",
            [&first[..], &[23]].concat(),
            106,
            Malformed::Interrupted(23),
        ),
        (
            "HTTP between",
            [&first[..], b"GET"].concat(),
            106,
            Malformed::Interrupted(b'G'),
        ),
        (
            "another version",
            [&first[..], &[22, 2, 0]].concat(),
            108,
            Malformed::RecordVersion(0x0200),
        ),
        (
            "a change of ciphers first",
            vec![20, 3, 3, 0, 1, 1],
            2,
            Malformed::Preceded(20),
        ),
        (
            "data first",
            vec![23, 3, 1, 0, 1, 0],
            2,
            Malformed::Preceded(23),
        ),
        (
            "a heartbeat first",
            vec![24, 3, 0, 0, 1, 0],
            2,
            Malformed::Preceded(24),
        ),
        (
            "server hello",
            record(22, &[2, 0, 0, 9]),
            6,
            Malformed::NotClientHello(2),
        ),
        (
            "hello request",
            record(22, &[0, 0, 0, 0]),
            6,
            Malformed::NotClientHello(0),
        ),
        (
            "empty message",
            record(22, &[1, 0, 0, 0]),
            9,
            Malformed::Truncated,
        ),
        ("followed", record(22, &followed), 9, Malformed::Followed),
        (
            "followed in a later record",
            in_records(&followed, 150),
            160,
            Malformed::Followed,
        ),
        (
            "followed, header in pieces",
            [
                in_records(&[1, 0], 1),
                record(22, &[&length[2..], &followed[4..]].concat()),
            ]
            .concat(),
            19,
            Malformed::Followed,
        ),
    ] {
        assert_eq!(verdict([bytes.as_slice()]), malformed(expected), "{what}");
        assert_eq!(
            verdict([&bytes[..needed]]),
            malformed(expected),
            "{what}, {needed} bytes"
        );
        assert_eq!(
            verdict(bytes[..needed].chunks(1)),
            malformed(expected),
            "{what}, byte by byte"
        );
        assert_eq!(
            verdict([&bytes[..needed - 1]]),
            Ok(None),
            "{what}, one byte less than {needed}"
        );
    }
}

#[test]
fn memory_is_taken_for_what_came_only() {
    let hello = HelloBuilder::named("a.example")
        .padded_to(MAX_HELLO)
        .records();
    let mut parser = HelloParser::new();
    assert_eq!(parser.feed(&hello[..1000]), Ok(None));
    assert_eq!(parser.received.capacity(), 1000);
    let mut parser = HelloParser::new();
    assert!(matches!(parser.feed(&hello), Ok(Some(_))));
    assert_eq!(parser.received.capacity(), hello.len());
    let one = rustls_hello("a.example", None);
    assert!(matches!(
        join(&one, one.len() - TlsRecord::HEADER),
        Some((Cow::Borrowed(_), []))
    ));
}

/// Each hello with one byte changed: how, where, and the bytes.
fn corrupted(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let changes: [fn(u8) -> u8; 6] = [
        |b| b ^ 1,
        |b| b ^ 0x80,
        |b| !b,
        |b| b.wrapping_add(1),
        |b| b.wrapping_sub(1),
        |b| b & 0x0f,
    ];
    let positions = (0..bytes.len()).flat_map(move |at| changes.map(|change| (at, change)));
    positions.map(|(at, change)| {
        let mut bytes = bytes.to_vec();
        bytes[at] = change(bytes[at]);
        (at, bytes)
    })
}

#[test]
fn a_corrupted_hello_has_one_verdict_however_it_is_cut() {
    for (client, bytes, _) in real_hellos() {
        for (at, bytes) in corrupted(&bytes) {
            let whole = verdict([bytes.as_slice()]);
            let cut = verdict([&bytes[..at], &bytes[at..=at], &bytes[at + 1..]]);
            assert_eq!(cut, whole, "{client}: {at} is {}", bytes[at]);
            if at % 64 == 0 || at < 16 {
                assert_eq!(
                    verdict(bytes.chunks(1)),
                    whole,
                    "{client}: {at} is {}, byte by byte",
                    bytes[at]
                );
            }
        }
    }
}

#[test]
fn rustls_never_sees_another_name_in_a_hello_that_is_taken_here() {
    let mut compared = 0;
    for (client, bytes, _) in real_hellos() {
        for (at, bytes) in iter::once((0, bytes.clone())).chain(corrupted(&bytes)) {
            let mut acceptor = Acceptor::default();
            acceptor.read_tls(&mut bytes.as_slice()).unwrap();
            let Ok(Some(accepted)) = acceptor.accept() else {
                continue;
            };
            let seen = accepted
                .client_hello()
                .server_name()
                .map(|name| name.parse().unwrap());
            let routed = match verdict([bytes.as_slice()]) {
                Ok(Some(ClientHello {
                    server_name: RequestedName::Name(name),
                    ..
                })) => Some(name),
                Ok(Some(ClientHello {
                    server_name: RequestedName::Absent | RequestedName::Ip(_),
                    ..
                })) => None,
                Err(_) | Ok(Some(_)) => continue,
                Ok(None) => panic!("{client}: {at} is {}: rustls has enough", bytes[at]),
            };
            assert_eq!(routed, seen, "{client}: {at} is {}", bytes[at]);
            compared += 1;
        }
    }
    assert!(compared > 5_000, "only {compared} hellos were read by both");
}

fn pieces<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    iter::from_fn(|| {
        let size = (*sizes.next()?).min(rest.len());
        let (piece, others) = rest.split_at(size);
        rest = others;
        (!piece.is_empty()).then_some(piece)
    })
    .collect()
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_cut_matters(
        start in prop::sample::select(vec![0, 1, 3, 5, 9, 47]),
        noise in prop::collection::vec(any::<u8>(), 0..300),
        sizes in prop::collection::vec(1..40_usize, 1..8),
    ) {
        let hello = HelloBuilder::named("a.example").padded_to(250).records();
        let bytes = [&hello[..start], &noise].concat();
        prop_assert_eq!(verdict(pieces(&bytes, &sizes)), verdict([bytes.as_slice()]));
    }

    #[test]
    fn no_change_of_a_hello_in_several_records_panics_and_no_cut_matters(
        record in 1..300_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        sizes in prop::collection::vec(1..40_usize, 1..8),
    ) {
        let hello = HelloBuilder::named("a.example").extension(16, b"\x00\x03\x02h2").padded_to(250);
        let mut bytes = in_records(&hello.message(), record);
        for (at, value) in changes {
            *at.get_mut(&mut bytes) = value;
        }
        let mut parser = HelloParser::new();
        let whole = parser.feed(&bytes);
        prop_assert_eq!(verdict(pieces(&bytes, &sizes)), whole);
        prop_assert_eq!(parser.into_bytes(), bytes);
    }

    #[test]
    fn a_body_of_any_bytes_has_a_verdict(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = ClientHello::parse(&body);
        let behind_the_fixed_part = HelloBuilder { extensions: Some(body), ..HelloBuilder::new() };
        let _ = ClientHello::parse(&behind_the_fixed_part.body());
    }
}

#[test]
fn a_hello_in_many_records_is_reframed_and_what_follows_it_stays() {
    let message = HelloBuilder::named("vault.example.net")
        .padded_to(40_000)
        .message();
    let (few, rest) = (in_records(&message, 1 << 14), b"\x17\x03\x03\x00\x01x");
    for size in [1, 7, 1 << 14] {
        let cut = [in_records(&message, size).as_slice(), rest].concat();
        assert_eq!(
            reframe(cut),
            [few.as_slice(), rest].concat(),
            "records of {size} bytes"
        );
    }
    let whole = rustls_hello("vault.example.net", None);
    assert_eq!(reframe(whole.clone()), whole);
    assert_eq!(reframe(b"GET / HTTP/1.1".to_vec()), b"GET / HTTP/1.1");
}

#[test]
fn a_hello_takes_no_more_memory_than_three_times_what_there_is_of_it_however_it_is_cut() {
    let message = HelloBuilder::named("a.example")
        .extension(21, &[0; 60_000])
        .message();
    let by_turns = |at: usize| if at.is_multiple_of(2) { 1 } else { 3 };
    for (size, version) in [
        (1, by_turns as fn(usize) -> u8),
        (1, |_| 3),
        (2, by_turns),
        (4, by_turns),
        (9, |_| 1),
    ] {
        let record = |(at, content): (usize, &[u8])| {
            [
                &[22, 3, version(at), 0, u8::try_from(content.len()).unwrap()],
                content,
            ]
            .concat()
        };
        let wire: Vec<u8> = message.chunks(size).enumerate().flat_map(record).collect();
        for piece in [1000, 40_000] {
            let mut parser = HelloParser::new();
            let mut fed = 0;
            let (last, pieces) = {
                let mut all: Vec<&[u8]> = wire.chunks(piece).collect();
                (all.pop().unwrap(), all)
            };
            for bytes in pieces {
                assert_eq!(parser.feed(bytes), Ok(None));
                fed += bytes.len();
                let most = 3 * (fed * size / (size + 5)) + 8192;
                assert!(
                    parser.size() <= most,
                    "{} of {fed} bytes by {size} take {}",
                    most,
                    parser.size()
                );
                assert_eq!(parser.length(), fed);
            }
            assert!(parser.feed(last).unwrap().is_some(), "by {size}");
            assert!(
                parser.into_bytes() == wire,
                "by {size} in pieces of {piece}"
            );
        }
    }
}

#[test]
fn what_breaks_the_rules_behind_thousands_of_records_is_what_it_is_anywhere() {
    let message = HelloBuilder::named("a.example")
        .extension(21, &[0; 20_000])
        .message();
    for (wrong, expected) in [
        (&[23][..], Malformed::Interrupted(23)),
        (b"GET", Malformed::Interrupted(b'G')),
        (&[22, 2, 0], Malformed::RecordVersion(0x0200)),
        (&[22, 3, 1, 0, 0], Malformed::EmptyRecord),
    ] {
        let mut parser = HelloParser::new();
        assert_eq!(parser.feed(&in_records(&message[..10_000], 1)), Ok(None));
        assert_eq!(parser.feed(wrong), Err(expected.into()), "{wrong:?}");
    }
}
