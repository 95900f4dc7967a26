//! What the two steps before every connection cost by themselves: to read the hello, and to look its name up.

mod inputs;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion, Throughput};
use snigate::name::ServerName;
use snigate::route::Key;
use snigate::wire::HelloParser;

use crate::inputs::{Kind, ROUTES, hellos, table};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    hello(&mut criterion);
    route(&mut criterion);
    criterion.final_summary();
}

fn hello(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hello");
    for hello in &hellos() {
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
    for routes in ROUTES {
        let table = table(routes);
        for kind in Kind::ALL {
            let names: Vec<ServerName> = (0..NAMES).map(|at| kind.name(at, routes)).collect();
            let mut names = names.iter().cycle();
            group.bench_function(BenchmarkId::new(kind.label(), routes), |bencher| {
                bencher.iter(|| {
                    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    table.lookup(black_box(&Key { name: names.next(), client: Some(client), alpn: &[] })).is_some()
                });
            });
        }
    }
}

/// Names that are looked up in turn.
const NAMES: u32 = 4096;
