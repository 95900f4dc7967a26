//! What the two steps before every connection cost by themselves: to read the hello, and to look
//! its name up; and what a copy costs by where its source lies in a page.

mod inputs;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion, Throughput};
use snigate::name::ServerName;
use snigate::route::LookupKey;
use snigate::wire::HelloParser;

use crate::inputs::{Kind, ROUTES, hellos, table};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    hello(&mut criterion);
    route(&mut criterion);
    copy(&mut criterion);
    criterion.final_summary();
}

fn hello(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hello");
    for hello in &hellos() {
        group.throughput(Throughput::Bytes(hello.len() as u64));
        group.bench_with_input(
            BenchmarkId::new("whole", hello.len()),
            hello,
            |bencher, hello| {
                bencher.iter(|| {
                    HelloParser::new()
                        .feed(black_box(hello))
                        .expect("it is right")
                        .expect("it is whole")
                });
            },
        );
        group.bench_with_input(
            BenchmarkId::new("byte by byte", hello.len()),
            hello,
            |bencher, hello| {
                bencher.iter(|| {
                    let mut parser = HelloParser::new();
                    let pieces = hello
                        .chunks(1)
                        .map(|byte| parser.feed(black_box(byte)).expect("it is right"));
                    pieces.last().flatten().expect("the last byte completes it")
                });
            },
        );
    }
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for routes in ROUTES {
        let table = table(routes);
        for kind in Kind::ALL {
            let names: Vec<ServerName> = (0..NAMES).map(|at| kind.name(at, routes)).collect();
            let mut names = names.iter().cycle();
            group.bench_function(BenchmarkId::new(kind.label(), routes), |bencher| {
                bencher.iter(|| {
                    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    table
                        .lookup(black_box(&LookupKey {
                            name: names.next(),
                            client: Some(client),
                            alpn: &[],
                        }))
                        .is_some()
                });
            });
        }
    }
}

/// Copies as TLS makes them of bulk: to 5 bytes into a page, behind a record's header, from every
/// kind of place in a page. The buffer that connections read into begins at the offset that is the
/// best on every processor seen.
fn copy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("copy");
    let (mut to, from) = (Pages::new(), Pages::new());
    for length in [4 * 1024, 16 * 1024, 64 * 1024 - 512] {
        group.throughput(Throughput::Bytes(length as u64));
        for offset in [0, 1, 4, 5, 6, 16, 32, 64, 128, 1024, 2048, 4000, 4080, 4095] {
            group.bench_function(
                BenchmarkId::new(format!("{length} bytes, offset"), offset),
                |bencher| {
                    bencher.iter(|| {
                        to.at(HEADER, length)
                            .copy_from_slice(black_box(from.read(offset, length)))
                    });
                },
            );
        }
    }
}

/// Memory that begins with a page.
struct Pages {
    memory: Vec<u8>,
    begin: usize,
}

impl Pages {
    fn new() -> Self {
        let memory = vec![1; 32 * PAGE];
        let begin = (PAGE - memory.as_ptr().addr() % PAGE) % PAGE;
        Self { memory, begin }
    }

    fn at(&mut self, offset: usize, length: usize) -> &mut [u8] {
        &mut self.memory[self.begin + offset..][..length]
    }

    fn read(&self, offset: usize, length: usize) -> &[u8] {
        &self.memory[self.begin + offset..][..length]
    }
}

const PAGE: usize = 4096;

/// Of a TLS record (RFC 8446, section 5.1).
const HEADER: usize = 5;

/// Names that are looked up in turn.
const NAMES: u32 = 4096;
