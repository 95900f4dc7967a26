//! The work that a hello makes is that of its length, whatever it is full of.
//!
//! Work is counted in instructions, by valgrind's callgrind, in which this program runs again.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

#[path = "it/support/left_out.rs"]
mod left_out;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::Acceptor;
use snigate::wire::reframe;
use snigate_optimised::{Judged, KINDS};

use crate::left_out::lacks;

/// A hello of the one size, and one four times as long. Of those that come in segments also the
/// short one is long enough for tiny records to be packed.
fn short_and_long(kind: &str) -> [usize; 2] {
    if most_of_cutting(kind).is_some() {
        [16_000, 64_000]
    } else {
        [4_000, 16_000]
    }
}

/// Four times the length may make as much more than four times the work, in percent, as buffers
/// that grow by doubling do.
const MOST_GROWTH: u64 = 480;

/// The longest, about: the worst hello of a kind shows there how much worse than padding it is.
const LONGEST: usize = 64_000;

/// A hello that comes at once may make as much more work than one of its size that is only padding,
/// in percent.
const MOST_OF_PADDING: u64 = 300;

/// What a hello that comes in segments may cost beside the same one at once: the other one, and the
/// instructions for each byte on the wire. A segment is read by a call of its own, so this is no
/// multiple of a hello that takes one call; what the kernel does in that call is much more, and not
/// counted here.
fn most_of_cutting(kind: &str) -> Option<(&'static str, u64)> {
    match kind {
        // A byte is appended, and it is seen that the record is not whole.
        "segments of one byte" => Some(("padding", 60)),
        // Each byte is also one of a header, or ends a record.
        "records and segments of one byte" => Some(("records of one byte", 165)),
        // Whole records are packed and unpacked, which six bytes on the wire share.
        "records of one byte in segments" => Some(("records of one byte", 20)),
        _ => None,
    }
}

/// What tells this program, when it runs in valgrind, to do the work.
const COUNTED: &str = "SNIGATE_WORK_IS_COUNTED";

#[test]
fn the_work_for_a_hello_is_that_of_its_length_whatever_it_is_full_of() {
    if std::env::var_os(COUNTED).is_some() {
        return do_all();
    }
    if lacks(&["valgrind"]) {
        return;
    }
    let mut counts = count_all().into_iter();
    let mut next = || counts.next().expect("each is counted");
    let (mut longest, mut too_much) = (HashMap::new(), Vec::new());
    for &kind in KINDS {
        let [short, long] = short_and_long(kind).map(|_| [next(), next()]);
        for (what, short, long) in [
            ("before its route", short[0], long[0]),
            ("in rustls", short[1], long[1]),
        ] {
            if long > short * MOST_GROWTH / 100 {
                too_much.push(format!(
                    "{kind}, {what}: {short} and {long} for four times the length"
                ));
            }
        }
        let count = next();
        longest.insert(kind, count);
        let padding = longest["padding"];
        println!(
            "{kind}: {count} instructions, {} % of padding",
            count * 100 / padding
        );
        let most = match most_of_cutting(kind) {
            None => padding * MOST_OF_PADDING / 100,
            Some((whole, each)) => longest[&whole] + each * LONGEST as u64,
        };
        if count > most {
            too_much.push(format!(
                "{kind}: {count}, more than {most}, and for padding {padding}"
            ));
        }
    }
    assert_eq!(counts.next(), None, "nothing else is counted");
    assert!(too_much.is_empty(), "instructions: {too_much:#?}");
}

/// What this program does in valgrind. What rustls does is not optimised here: it is compared with
/// itself alone.
fn do_all() {
    let config = config();
    // What is made once, such as the provider of cryptography.
    Judged::new(KINDS[0], LONGEST).judge();
    for kind in KINDS {
        for size in short_and_long(kind) {
            let judged = Judged::new(kind, size);
            measured(&mut || judged.judge());
            let hello = reframe(judged.bytes().to_vec());
            measured(&mut || handshake(&hello, &config));
        }
        let judged = Judged::new(kind, LONGEST);
        measured(&mut || judged.judge());
    }
}

/// The instructions of each call of [`measured`], in order.
fn count_all() -> Vec<u64> {
    let dir = tempfile::tempdir().unwrap();
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--tool=callgrind",
        "--collect-atstart=no",
        "--toggle-collect=work::measured",
    ]);
    valgrind.args(["--dump-after=work::measured", "--callgrind-out-file=counts"]);
    let program = valgrind
        .arg(std::env::current_exe().unwrap())
        .arg("--test-threads=1");
    let output = program
        .env(COUNTED, "")
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (1..)
        .map_while(|number| total(&dir.path().join(format!("counts.{number}"))))
        .collect()
}

/// The instructions in a file of callgrind, if it was written after a call.
fn total(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .expect("a total");
    text.contains("dump-after")
        .then(|| total.trim().parse().unwrap())
        .filter(|total| *total > 0)
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
    let builder = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    Arc::new(
        builder
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap(),
    )
}

/// What is counted. Its name is how valgrind knows it.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Without anything behind it, the call would be a jump, and this function would not be seen to
    // end.
    std::hint::black_box(());
}
