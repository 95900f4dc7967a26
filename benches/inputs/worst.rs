//! The hellos that take the most work for their size, one of every kind, beside one that is only
//! padding.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use snigate::route::{LookupKey, Rule, Table};
use snigate::tls::Signatures;
use snigate::wire::{HelloParser, reframe};

/// What a hello can be full of. The first is nothing that means anything.
pub(crate) const KINDS: [&str; 20] = [
    "padding",
    "suites and schemes",
    "suites",
    "schemes",
    "GREASE",
    "groups",
    "key shares",
    "pre-shared keys",
    "extensions",
    "extensions, the last twice",
    "protocols of one byte",
    "protocols of a route",
    "protocols that nearly are",
    "versions",
    "labels",
    "records of one byte",
    "records of two bytes",
    "records of one byte in segments",
    "segments of one byte",
    "records and segments of one byte",
];

/// A hello as it comes: its bytes, and how many of them come at a time.
pub(crate) struct Worst {
    pub(crate) bytes: Vec<u8>,
    pub(crate) segment: usize,
}

/// The hello of a kind that has about `size` bytes on the wire. Its message has 64 KiB at most.
pub(crate) fn worst_hello(kind: &str, size: usize) -> Worst {
    let record = match kind {
        "records of one byte"
        | "records of one byte in segments"
        | "records and segments of one byte" => 1,
        "records of two bytes" => 2,
        _ => 1 << 14,
    };
    // What every hello has beside its filling, and what every record has before its content.
    let room = size * record / (record + 5) - 200;
    let (name, tls13) = (name(b"www.example.net"), extension(43, &[2, 3, 4]));
    let with = |suites: &[u8], extensions: &[&[u8]]| {
        message(suites, &[&[&name[..]], extensions].concat().concat())
    };
    let plain = |extensions: &[&[u8]]| with(&[0x13, 0x01, 0xc0, 0x2b], extensions);
    let padding = |room: usize| extension(21, &vec![0; room]);
    let empty = || {
        (100..u16::MAX)
            .take(room / 4)
            .flat_map(|kind| extension(kind, &[]))
            .collect::<Vec<u8>>()
    };
    let protocols = |entry: &[u8]| plain(&[&list(16, &entry.repeat(room / entry.len()))]);
    let message = match kind {
        "padding" => plain(&[&padding(room)]),
        cut if cut.starts_with("records") || cut.starts_with("segments") => {
            plain(&[&padding(room)])
        }
        "suites and schemes" => with(
            &numbers(0xd000, room / 2),
            &[&list(13, &numbers(0x1001, room / 2))],
        ),
        "suites" => with(&numbers(0xd000, room), &[]),
        "schemes" => plain(&[&tls13, &list(13, &numbers(0x1001, room))]),
        "GREASE" => with(
            &[0x0a, 0x0a].repeat(room / 4),
            &[&list(10, &[0xfa, 0xfa].repeat(room / 4))],
        ),
        "groups" => plain(&[&list(10, &numbers(0x3000, room))]),
        "key shares" => plain(&[&tls13, &list(51, &[0x7f, 0xff, 0, 1, 9].repeat(room / 5))]),
        "pre-shared keys" => {
            let (tickets, binders) = (
                [0, 1, 7, 0, 0, 0, 0].repeat(room / 9),
                [1, 7].repeat(room / 9),
            );
            plain(&[
                &tls13,
                &extension(41, &[vector(&tickets), vector(&binders)].concat()),
            ])
        }
        "extensions" => plain(&[&empty()]),
        "extensions, the last twice" => plain(&[&empty(), &extension(100, &[])]),
        "protocols of one byte" => protocols(b"\x01x"),
        "protocols of a route" => protocols(b"\x02h2"),
        "protocols that nearly are" => protocols(b"\x02h3"),
        "versions" => plain(&[
            &extension(43, &[&[254][..], &numbers(0x0400, 254)].concat()),
            &padding(room - 300),
        ]),
        "labels" => message(
            &[0x13, 0x01],
            &[self::name(&b"a.".repeat(127)[..253]), padding(room - 300)].concat(),
        ),
        kind => panic!("there is no such kind: {kind}"),
    };
    let segment = match kind {
        "segments of one byte" | "records and segments of one byte" => 1,
        "records of one byte in segments" => 1460,
        _ => usize::MAX,
    };
    Worst {
        bytes: records(&message, record),
        segment,
    }
}

/// As many different numbers as fit into this many bytes.
fn numbers(from: u16, bytes: usize) -> Vec<u8> {
    std::iter::successors(Some(from), |number| Some(number.wrapping_add(1)))
        .take(bytes / 2)
        .flat_map(u16::to_be_bytes)
        .collect()
}

fn list(kind: u16, entries: &[u8]) -> Vec<u8> {
    extension(kind, &vector(entries))
}

fn message(suites: &[u8], extensions: &[u8]) -> Vec<u8> {
    let fixed = [&[3, 3][..], &[0x55; 32], &[0]].concat();
    let body = [fixed, vector(suites), vec![1, 0], vector(extensions)].concat();
    let mut message = u32::try_from(body.len())
        .expect("a short body")
        .to_be_bytes()
        .to_vec();
    message[0] = 1;
    message.extend(body);
    message
}

fn name(name: &[u8]) -> Vec<u8> {
    extension(0, &vector(&[&[0][..], &vector(name)].concat()))
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(content)].concat()
}

fn vector(content: &[u8]) -> Vec<u8> {
    [
        &u16::try_from(content.len())
            .expect("a short vector")
            .to_be_bytes()[..],
        content,
    ]
    .concat()
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|content| [&[22, 3, 1][..], &vector(content)].concat())
        .collect()
}

/// A table in which a client's protocols are asked for at every step of a look-up.
pub(crate) fn table_by_protocol() -> Table<u32> {
    let protocols = ["h2", "http/1.1", "acme-tls/1"];
    let rule = |target: u32, name: &str, from: &[&str]| Rule {
        names: vec![name.parse().expect("a pattern")],
        from: from
            .iter()
            .map(|range| range.parse().expect("a range"))
            .collect(),
        alpn: vec![protocols[target as usize % 3].parse().expect("a protocol")],
        strict_sni: true,
        target,
    };
    let ranges = [
        "127.0.0.0/8",
        "127.0.0.0/16",
        "127.0.0.0/24",
        "127.0.0.1/32",
    ];
    let names = ["www.example.net", "*.example.net", "*"];
    let places = names
        .iter()
        .flat_map(|name| [&ranges[..], &[]].map(|from| (*name, from)));
    let rules = places.flat_map(|(name, from)| [0, 1, 2].map(|at| rule(at, name, from)));
    let (table, overlaps) = Table::build(rules.collect::<Vec<_>>());
    assert!(overlaps.is_empty(), "no two routes are the same");
    table
}

/// All that is done for a hello before a session begins: it is read, routed, and made ready for
/// rustls.
pub(crate) fn judge(worst: &Worst, table: &Table<u32>) {
    let mut parser = HelloParser::new();
    let mut verdicts = worst
        .bytes
        .chunks(worst.segment.min(worst.bytes.len()))
        .map(|piece| parser.feed(black_box(piece)));
    let verdict = verdicts
        .find(|verdict| !matches!(verdict, Ok(None)))
        .expect("it is whole");
    if let Ok(Some(hello)) = verdict {
        let alpn = table.relevant(&hello.alpn);
        let key = LookupKey {
            name: hello.server_name.name(),
            client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            alpn: &alpn,
        };
        black_box(table.lookup(&key));
        black_box(Signatures::of(&hello));
        black_box(hello.alpn.first(16));
        black_box(reframe(parser.into_bytes()));
    }
}
