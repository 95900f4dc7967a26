//! What the small benchmarks are given: hellos of three sizes, tables of three sizes, and names to
//! look up in them.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::ServerName as RustlsName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use snigate::name::ServerName;
use snigate::route::{Rule, Table};

/// How many routes the tables have, each with a name and a wildcard.
pub(crate) const ROUTES: [u32; 3] = [1, 1_000, 100_000];

/// Without and with a post-quantum key share, and the largest that fits one record.
pub(crate) fn hellos() -> [Vec<u8>; 3] {
    let post_quantum = client_hello(true);
    [
        client_hello(false),
        padded_to(&post_quantum, 1800),
        padded_to(&post_quantum, 16 * 1024),
    ]
}

/// The table of this many routes.
pub(crate) fn table(routes: u32) -> Table<u32> {
    let (table, overlaps) = Table::build((0..routes).map(rule));
    assert!(overlaps.is_empty(), "no two routes are the same");
    table
}

/// What comes of a look-up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Hit,
    Wildcard,
    Miss,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Hit, Self::Wildcard, Self::Miss];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Wildcard => "wildcard",
            Self::Miss => "miss",
        }
    }

    /// The name that comes to this in the table of this many routes. Numbers that follow each other
    /// stand in no order, so that the way to the table's memory is part of the cost.
    pub(crate) fn name(self, at: u32, routes: u32) -> ServerName {
        let number = at.wrapping_mul(7919) % routes;
        let name = match self {
            Self::Hit => format!("host-{number}.example.net"),
            Self::Wildcard => format!("any.site-{number}.example.net"),
            Self::Miss => format!("host-{number}.example.org"),
        };
        name.parse().expect("a name")
    }
}

fn rule(number: u32) -> Rule<u32> {
    let names = [
        format!("host-{number}.example.net"),
        format!("*.site-{number}.example.net"),
    ];
    Rule {
        names: names
            .iter()
            .map(|name| name.parse().expect("a pattern"))
            .collect(),
        from: Vec::new(),
        alpn: Vec::new(),
        strict_sni: true,
        target: number,
    }
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
    let mut client =
        ClientConnection::new(Arc::new(config), name).expect("the configuration is whole");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory does not fail");
    hello
}

/// The same hello with a padding extension (RFC 7685) that makes its message and record `size`
/// bytes long.
fn padded_to(hello: &[u8], size: usize) -> Vec<u8> {
    let mut padded = hello.to_vec();
    // Record header, message header, version, random; session, suites, compression; then the
    // extensions' length.
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
    padded[extensions..extensions + 2]
        .copy_from_slice(&short(number(hello, extensions) + padding + 4));
    padded
}

fn number(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length)
        .expect("it fits a record")
        .to_be_bytes()
}
