//! What the two steps before every connection cost by themselves: to read the hello, and to look its name up.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::ServerName as RustlsName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use snigate::name::ServerName;
use snigate::route::{Key, Rule, Table};
use snigate::wire::HelloParser;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    hello(&mut criterion);
    route(&mut criterion);
    criterion.final_summary();
}

fn hello(criterion: &mut Criterion) {
    let post_quantum = client_hello(true);
    // The last is the largest that fits one record.
    let hellos = [client_hello(false), padded_to(&post_quantum, 1800), padded_to(&post_quantum, 16 * 1024)];
    let mut group = criterion.benchmark_group("hello");
    for hello in &hellos {
        group.throughput(Throughput::Bytes(hello.len() as u64));
        group.bench_with_input(BenchmarkId::new("whole", hello.len()), hello, |bencher, hello| {
            bencher.iter(|| HelloParser::new().feed(black_box(hello)).expect("it is right").expect("it is whole"));
        });
        group.bench_with_input(BenchmarkId::new("byte by byte", hello.len()), hello, |bencher, hello| {
            bencher.iter(|| {
                let mut parser = HelloParser::new();
                let pieces = hello.chunks(1).map(|byte| parser.feed(black_box(byte)).expect("it is right"));
                pieces.last().flatten().expect("the last byte completes it")
            });
        });
    }
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for routes in [1, 1_000, 100_000] {
        let (table, overlaps) = Table::build((0..routes).map(rule));
        assert!(overlaps.is_empty(), "no two routes are the same");
        for (kind, name) in [
            ("hit", (|number| format!("host-{number}.example.net")) as fn(u32) -> String),
            ("wildcard", |number| format!("any.site-{number}.example.net")),
            ("miss", |number| format!("host-{number}.example.org")),
        ] {
            // Many names in no order, so that the way to the table's memory is part of the cost.
            let names: Vec<ServerName> = (0..NAMES).map(|at| parse(&name(at.wrapping_mul(7919) % routes))).collect();
            let mut names = names.iter().cycle();
            group.bench_function(BenchmarkId::new(kind, routes), |bencher| {
                bencher.iter(|| {
                    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    table.lookup(black_box(&Key { name: names.next(), client, alpn: &[] })).is_some()
                });
            });
        }
    }
}

fn rule(number: u32) -> Rule<u32> {
    let names = [format!("host-{number}.example.net"), format!("*.site-{number}.example.net")];
    Rule {
        names: names.iter().map(|name| name.parse().expect("a pattern")).collect(),
        from: Vec::new(),
        alpn: Vec::new(),
        strict_sni: true,
        target: number,
    }
}

fn parse(name: &str) -> ServerName {
    name.parse().expect("a name")
}

/// The first bytes of a rustls client.
fn client_hello(post_quantum: bool) -> Vec<u8> {
    let mut provider = aws_lc_rs::default_provider();
    if !post_quantum {
        provider.kx_groups = vec![kx_group::X25519];
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for them")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = RustlsName::try_from("www.example.net").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("the configuration is whole");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory does not fail");
    hello
}

/// The same hello with a padding extension (RFC 7685) that makes its message and record `size` bytes long.
fn padded_to(hello: &[u8], size: usize) -> Vec<u8> {
    let mut padded = hello.to_vec();
    // Record header, message header, version, random; session, suites, compression; then the extensions' length.
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(hello[session]);
    let compression = suites + 2 + number(hello, suites);
    let extensions = compression + 1 + usize::from(hello[compression]);
    let padding = size - hello.len() - 4;
    padded.extend([0, 21]);
    padded.extend(short(padding));
    padded.resize(size, 0);
    padded[3..5].copy_from_slice(&short(size - 5));
    padded[7..9].copy_from_slice(&short(size - 9));
    padded[extensions..extensions + 2].copy_from_slice(&short(number(hello, extensions) + padding + 4));
    padded
}

fn number(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("it fits a record").to_be_bytes()
}

/// Names that are looked up in turn.
const NAMES: u32 = 4096;
