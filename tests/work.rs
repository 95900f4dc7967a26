//! The work that a hello makes grows with its length and no faster, whatever it is full of: before its route, and in rustls.
//!
//! Work is counted in instructions, by valgrind's callgrind, in which this program runs again.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed, also in a function that it calls")]

#[path = "../benches/inputs/worst.rs"]
mod worst;

use std::io::{self, Write};
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::Acceptor;
use snigate::wire::reframe;

use crate::worst::{KINDS, judge, table_by_protocol, worst_hello};

/// A hello of the one size, and one four times as long.
const SIZES: [usize; 2] = [4_000, 16_000];

/// Four times the length may make as much more than four times the work, in percent, as buffers that grow by doubling do.
const MOST: u64 = 480;

/// What tells this program, when it runs in valgrind, to do the work.
const COUNTED: &str = "SNIGATE_WORK_IS_COUNTED";

#[test]
fn the_work_for_a_hello_grows_with_its_length_and_no_faster() {
    if let Ok(case) = std::env::var(COUNTED) {
        let (kind, size) = case.split_once(':').unwrap();
        return work(kind, size.parse().unwrap());
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        let _ = writeln!(io::stderr(), "LEFT OUT: the work for the worst hellos: there is no valgrind to count it");
        return;
    }
    let mut faster = Vec::new();
    for kind in KINDS {
        let [short, long] = SIZES.map(|size| count(kind, size));
        if long > short * MOST / 100 {
            faster.push(format!("{kind}: {short} and {long} instructions"));
        }
    }
    assert!(faster.is_empty(), "four times the length, and more than {MOST} % of the work: {faster:#?}");
}

/// The instructions that a hello takes.
fn count(kind: &str, size: usize) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
    valgrind.arg("--toggle-collect=*work*measured*").arg(std::env::current_exe().unwrap());
    let output = valgrind.arg("--test-threads=1").env(COUNTED, format!("{kind}:{size}")).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{kind}: {log}");
    let count = log.lines().find_map(|line| line.split_once("Collected :")).expect("valgrind counts").1;
    let count = count.trim().parse().unwrap();
    assert!(count > 0, "{kind}: nothing was counted");
    count
}

fn work(kind: &str, size: usize) {
    let (table, config, worst) = (table_by_protocol(), config(), worst_hello(kind, size));
    let hello = reframe(worst.bytes.clone());
    measured(&mut || {
        judge(&worst, &table);
        handshake(&hello, &config);
    });
}

/// What rustls does with a hello: it answers, or says why not.
fn handshake(mut hello: &[u8], config: &Arc<ServerConfig>) {
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        if acceptor.read_tls(&mut hello).is_err() {
            return;
        }
        match acceptor.accept() {
            Ok(None) if !hello.is_empty() => {}
            Ok(accepted) => break accepted.expect("it is whole"),
            Err(_) => return,
        }
    };
    let _ = accepted.into_connection(Arc::clone(config));
}

fn config() -> Arc<ServerConfig> {
    let issued = rcgen::generate_simple_self_signed(["www.example.net".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![issued.cert.der().clone()], key).unwrap())
}

/// What is counted. Its name is how valgrind knows it.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Without anything behind it, the call would be a jump, and this function would not be seen to end.
    std::hint::black_box(());
}
