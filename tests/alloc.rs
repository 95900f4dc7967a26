//! What the two steps before every connection take from the allocator: nothing for a look-up, and a
//! few pieces of memory for a hello.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::net::IpAddr;

use snigate::name::{Alpn, ServerName};
use snigate::route::{LookupKey, Rule, Table};
use snigate::wire::HelloParser;

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "there is no other way to see what is allocated")]
// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller keeps what `alloc` demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps what `dealloc` demands, and the piece came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller keeps what `realloc` demands, and the piece came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// How often this thread asks for memory in `work`, or for more of it.
fn asked<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = ASKED.get();
    let result = work();
    (ASKED.get() - before, result)
}

fn rule(names: &[&str], from: &[&str], alpn: &[&str], strict_sni: bool, target: u32) -> Rule<u32> {
    Rule {
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        from: from.iter().map(|range| range.parse().unwrap()).collect(),
        alpn: alpn
            .iter()
            .map(|protocol| protocol.parse().unwrap())
            .collect(),
        strict_sni,
        target,
    }
}

#[test]
fn a_look_up_allocates_nothing() {
    let many = (100..1100).map(|number| {
        rule(
            &[&format!("host-{number}.example.net")],
            &[],
            &[],
            true,
            number,
        )
    });
    let rules = [
        rule(&["exact.example"], &[], &[], true, 1),
        rule(&["*.wild.example"], &[], &[], true, 2),
        rule(
            &["from.example"],
            &["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"],
            &[],
            true,
            3,
        ),
        rule(&["from.example"], &[], &[], true, 4),
        rule(&["alpn.example"], &[], &["h2", "acme-tls/1"], true, 5),
        rule(&["nameless.example"], &[], &[], false, 6),
    ];
    let (table, overlaps) = Table::build(rules.into_iter().chain(many));
    assert_eq!(overlaps, []);
    for (name, client, alpn, expected) in [
        (Some("exact.example"), "192.0.2.1", &[][..], Some(1)),
        (Some("host-777.example.net"), "192.0.2.1", &[], Some(777)),
        (Some("any.wild.example"), "192.0.2.1", &[], Some(2)),
        (Some("other.example"), "192.0.2.1", &["h2"], None),
        (Some("a-name-without-a-dot"), "::1", &[], None),
        (Some("from.example"), "10.1.2.3", &[], Some(3)),
        (Some("from.example"), "2001:db8::1", &[], Some(3)),
        (Some("from.example"), "192.0.2.1", &[], Some(4)),
        (
            Some("alpn.example"),
            "192.0.2.1",
            &["http/1.1", "h2"],
            Some(5),
        ),
        (Some("alpn.example"), "192.0.2.1", &["http/1.1"], None),
        (None, "192.0.2.1", &["h2"], Some(6)),
    ] {
        let alpn: Vec<Alpn> = alpn
            .iter()
            .map(|protocol| protocol.parse().unwrap())
            .collect();
        let parsed: Option<ServerName> = name.map(|name| name.parse().unwrap());
        let key = LookupKey {
            name: parsed.as_ref(),
            client: Some(client.parse::<IpAddr>().unwrap()),
            alpn: &alpn,
        };
        let (count, found) = asked(|| table.lookup(black_box(&key)).copied());
        assert_eq!((count, found), (0, expected), "{name:?} {client} {alpn:?}");
    }
}

/// The bytes as they came, the name, and eight lists: the suites (as they came, and without
/// GREASE), the compressions, the kinds of the extensions, the versions (first the one of the fixed
/// part), the groups, the signature schemes, the protocols. The last has a piece for each, too.
const PIECES: usize = 11;

#[test]
fn a_hello_takes_a_few_pieces_of_memory_and_one_for_each_protocol() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hellos")).unwrap();
    let paths = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "bin"));
    let mut seen = 0;
    for path in paths {
        let hello = std::fs::read(&path).unwrap();
        let (count, parsed) = asked(|| HelloParser::new().feed(black_box(&hello)).unwrap());
        let protocols = parsed.expect("it is whole").alpn.iter().count();
        assert!(
            count <= PIECES + protocols,
            "{}: {count} pieces, {protocols} protocols",
            path.display()
        );
        seen += 1;
    }
    assert!(seen > 5, "only {seen} hellos were found");
}
