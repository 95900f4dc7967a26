//! The same verdict as rustls and OpenSSL on every malformed hello, or a reason why not.
//!
//! The hellos are made from one of a real client, with one fault each. rustls runs in this process,
//! OpenSSL's `s_server` in one of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use snigate::proxy::Error;
use snigate::wire::{AlertDescription, HelloParser};

/// What becomes of a client that sends nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is routed, or gets a ServerHello.
    Goes,
    Alert(u8),
    /// It is told nothing.
    Closed,
}

use Verdict::{Alert, Closed, Goes};

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goes => f.write_str("goes on"),
            Self::Alert(code) => write!(f, "{}", AlertDescription(*code)),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl Verdict {
    /// What these bytes of an answer mean.
    fn of(answer: &[u8]) -> Self {
        match *answer {
            [] => Self::Closed,
            [22, ..] => Self::Goes,
            [21, 3, _, 0, 2, _, code, ..] => Self::Alert(code),
            _ => panic!("no answer of TLS: {}", answer.escape_ascii()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Rustls,
    OpenSsl,
}

/// Where another implementation decides otherwise: for the cases that begin so, who, how, and why
/// snigate does not.
const DIFFERENCES: &[(&str, Who, Verdict, &str)] = &[
    (
        "record: empty",
        Who::OpenSsl,
        Goes,
        "OpenSSL passes over some empty records; RFC 8446 §5.1 forbids them",
    ),
    (
        "record: of SSL 2 between",
        Who::Rustls,
        Alert(50),
        "to rustls every wrong header is an error of decoding",
    ),
    (
        "record: type 20 between",
        Who::Rustls,
        Closed,
        "rustls says nothing; RFC 8446 §5.1 forbids records between",
    ),
    (
        "record: type 21 between",
        Who::Rustls,
        Closed,
        "rustls says nothing; RFC 8446 §5.1 forbids records between",
    ),
    (
        "record: type 23 between",
        Who::Rustls,
        Closed,
        "rustls says nothing; RFC 8446 §5.1 forbids records between",
    ),
    (
        "record: type 24",
        Who::Rustls,
        Alert(50),
        "rustls does not know heartbeats; RFC 8446 §5: an unexpected type",
    ),
    (
        "record: type 24 between",
        Who::Rustls,
        Closed,
        "rustls says nothing; RFC 8446 §5.1 forbids records between",
    ),
    (
        "record: type 21 first",
        Who::OpenSsl,
        Alert(10),
        "an alert is not answered with another (RFC 8446 §6.2)",
    ),
    (
        "record: 0x4001",
        Who::Rustls,
        Alert(10),
        "rustls allows for encryption, and reads on; in plaintext 2^14 is the limit",
    ),
    (
        "record: 0x4800",
        Who::Rustls,
        Alert(50),
        "to rustls every wrong header is an error of decoding",
    ),
    (
        "record: 0x4801",
        Who::Rustls,
        Alert(50),
        "to rustls every wrong header is an error of decoding",
    ),
    (
        "record: 0xffff",
        Who::Rustls,
        Alert(50),
        "to rustls every wrong header is an error of decoding",
    ),
    (
        "message: type",
        Who::Rustls,
        Alert(50),
        "rustls reads what is in a message before it asks whether it is due",
    ),
    (
        "fixed: no suite",
        Who::OpenSsl,
        Alert(47),
        "a list shorter than it may be is an error of decoding (RFC 8446 §6.2)",
    ),
    (
        "fixed: without null",
        Who::OpenSsl,
        Alert(50),
        "RFC 8446 §4.1.2: illegal_parameter",
    ),
    (
        "version:",
        Who::Rustls,
        Alert(70),
        "whoever answers the client decides about versions; on a terminating route, rustls",
    ),
    (
        "version:",
        Who::OpenSsl,
        Alert(80),
        "whoever answers the client decides about versions",
    ),
    (
        "version:",
        Who::OpenSsl,
        Alert(40),
        "whoever answers the client decides about versions",
    ),
    (
        "name: another type",
        Who::OpenSsl,
        Alert(50),
        "it can be decoded, and must not be there",
    ),
    (
        "name: another type behind",
        Who::Rustls,
        Goes,
        "a server behind might take the other name",
    ),
    (
        "name: an empty name",
        Who::OpenSsl,
        Goes,
        "RFC 6066 §3: a name has at least one byte",
    ),
    (
        "name: NUL",
        Who::OpenSsl,
        Alert(112),
        "no route is looked for: this is no name",
    ),
    (
        "name: a line break",
        Who::OpenSsl,
        Goes,
        "OpenSSL leaves names to the application",
    ),
    (
        "name: not ASCII",
        Who::OpenSsl,
        Goes,
        "OpenSSL leaves names to the application",
    ),
    (
        "name: 256 bytes",
        Who::OpenSsl,
        Alert(112),
        "no route is looked for: this is no name",
    ),
    (
        "name: a port",
        Who::Rustls,
        Alert(47),
        "it is logged, no route takes it, and the client gets unrecognized_name",
    ),
    (
        "twice: 4660",
        Who::OpenSsl,
        Goes,
        "OpenSSL does not look at types that it does not know; RFC 8446 §4.2",
    ),
    (
        "twice: GREASE",
        Who::OpenSsl,
        Goes,
        "OpenSSL does not look at types that it does not know; RFC 8446 §4.2",
    ),
    (
        "content: nothing in 43",
        Who::OpenSsl,
        Alert(70),
        "to OpenSSL a list that it cannot read has no version that it knows",
    ),
    (
        "content: an empty list in 43",
        Who::OpenSsl,
        Alert(70),
        "to OpenSSL a list that it cannot read has no version that it knows",
    ),
    (
        "content: one byte less in 43",
        Who::OpenSsl,
        Alert(70),
        "to OpenSSL a list that it cannot read has no version that it knows",
    ),
    (
        "content: one byte more in 43",
        Who::OpenSsl,
        Alert(70),
        "to OpenSSL a list that it cannot read has no version that it knows",
    ),
    (
        "content: half a version",
        Who::OpenSsl,
        Alert(70),
        "to OpenSSL a list that it cannot read has no version that it knows",
    ),
];

#[test]
fn a_malformed_hello_gets_the_alert_that_rustls_and_openssl_send_or_there_is_a_reason() {
    let (config, openssl) = (config(), OpenSsl::start());
    let (mut used, mut unexplained) = (vec![false; DIFFERENCES.len()], Vec::new());
    let cases = cases();
    assert!(cases.len() > 100, "{} cases", cases.len());
    for (what, bytes) in &cases {
        let ours = ours(bytes);
        let mut theirs = vec![(Who::Rustls, rustls(&config, bytes))];
        theirs.extend(
            openssl
                .as_ref()
                .map(|openssl| (Who::OpenSsl, openssl.verdict(bytes))),
        );
        for (who, verdict) in theirs {
            if verdict == ours {
                continue;
            }
            let explained = |(start, by, how, _): &(&str, Who, Verdict, &str)| {
                what.starts_with(start) && *by == who && *how == verdict
            };
            match DIFFERENCES.iter().position(explained) {
                Some(at) => used[at] = true,
                None => unexplained.push(format!("{what}: snigate {ours:?}, {who:?} {verdict:?}")),
            }
        }
    }
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    for (difference, used) in DIFFERENCES.iter().zip(used) {
        assert!(
            used || (difference.1 == Who::OpenSsl && openssl.is_none()),
            "there is no such difference: {difference:?}"
        );
    }
}

fn ours(bytes: &[u8]) -> Verdict {
    match HelloParser::new().feed(bytes) {
        Ok(Some(_)) => Goes,
        Ok(None) => Closed,
        Err(error) => Error::Hello(error)
            .alert()
            .map_or(Closed, |alert| Alert(alert.code())),
    }
}

fn rustls(config: &Arc<ServerConfig>, mut bytes: &[u8]) -> Verdict {
    let mut session = ServerConnection::new(Arc::clone(config)).unwrap();
    while !bytes.is_empty() && session.read_tls(&mut bytes).is_ok_and(|taken| taken > 0) {
        if session.process_new_packets().is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut answer).unwrap();
    }
    Verdict::of(&answer)
}

fn issued() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["vault.example.net".to_owned()]).unwrap()
}

fn config() -> Arc<ServerConfig> {
    let issued = issued();
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

/// A running `openssl s_server`.
struct OpenSsl {
    process: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl OpenSsl {
    /// Nothing where there is no OpenSSL of the version that the differences are of.
    fn start() -> Option<Self> {
        let version = Command::new("openssl").arg("version").output();
        let version = version.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8(output.stdout).unwrap(),
        );
        if !version.starts_with("OpenSSL 3.0.") {
            let _ = writeln!(
                io::stderr(),
                "LEFT OUT: the verdicts of OpenSSL 3.0: there is {}",
                version.trim()
            );
            return None;
        }
        let (dir, issued) = (tempfile::tempdir().unwrap(), issued());
        std::fs::write(dir.path().join("cert.pem"), issued.cert.pem()).unwrap();
        std::fs::write(
            dir.path().join("key.pem"),
            issued.signing_key.serialize_pem(),
        )
        .unwrap();
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-www",
            "-accept",
            "127.0.0.1:0",
            "-cert",
            "cert.pem",
            "-key",
            "key.pem",
        ]);
        command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let addr = lines
            .find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned))
            .expect("where it listens");
        // It must not wait for somebody who reads what it prints.
        std::thread::spawn(move || lines.count());
        Some(Self {
            process,
            addr: addr.parse().unwrap(),
            _dir: dir,
        })
    }

    fn verdict(&self, bytes: &[u8]) -> Verdict {
        let mut client = TcpStream::connect(self.addr).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // It may have closed already.
        let _ = client.write_all(bytes);
        let _ = client.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match client.read_to_end(&mut answer) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                panic!("no end: {error}")
            }
            _ => Verdict::of(&answer),
        }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a hello consists of.
#[derive(Clone)]
struct Parts {
    version: u16,
    session: Vec<u8>,
    suites: Vec<u8>,
    compression: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Parts {
    /// The hello of a real client, which is in one record.
    fn real() -> Self {
        let record = include_bytes!("hellos/curl-7.88.bin");
        let mut rest = &record[9 + 2 + 32..];
        let session = take(&mut rest, 1).to_vec();
        let suites = take(&mut rest, 2).to_vec();
        let compression = take(&mut rest, 1).to_vec();
        let mut block = take(&mut rest, 2);
        let mut extensions = Vec::new();
        while let Some((kind, content)) = block.split_first_chunk() {
            block = content;
            extensions.push((u16::from_be_bytes(*kind), take(&mut block, 2).to_vec()));
        }
        Self {
            version: 0x0303,
            session,
            suites,
            compression,
            extensions,
        }
    }

    /// The same, of a client that knows TLS 1.2 only.
    fn of_tls_1_2() -> Self {
        Self::real().without(43)
    }

    fn without(mut self, kind: u16) -> Self {
        self.extensions.retain(|(known, _)| *known != kind);
        self
    }

    /// With this content for an extension, in its place if there is such a one.
    fn with(mut self, kind: u16, content: &[u8]) -> Self {
        match self.extensions.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, old)) => *old = content.to_vec(),
            None => self.extensions.push((kind, content.to_vec())),
        }
        self
    }

    fn and(mut self, kind: u16, content: &[u8]) -> Self {
        self.extensions.push((kind, content.to_vec()));
        self
    }

    fn fixed(&self) -> Vec<u8> {
        let version = self.version.to_be_bytes();
        [
            &version[..],
            &[0x55; 32],
            &short(&self.session),
            &long(&self.suites),
            &short(&self.compression),
        ]
        .concat()
    }

    fn block(&self) -> Vec<u8> {
        self.extensions
            .iter()
            .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &long(content)].concat())
            .collect()
    }

    fn message(&self) -> Vec<u8> {
        message(1, &[self.fixed(), long(&self.block())].concat())
    }

    fn bytes(&self) -> Vec<u8> {
        record(22, &self.message())
    }
}

/// The vector at the start of `rest`, whose length is in this many bytes.
fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (length, behind) = rest.split_at(bytes);
    let length = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (content, others) = behind.split_at(length);
    *rest = others;
    content
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    message[0] = kind;
    message.extend(body);
    message
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], &long(content)[..]].concat()
}

fn long(content: &[u8]) -> Vec<u8> {
    [
        &u16::try_from(content.len()).unwrap().to_be_bytes(),
        content,
    ]
    .concat()
}

fn short(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap()], content].concat()
}

/// Every case: what is wrong, and the bytes.
fn cases() -> Vec<(String, Vec<u8>)> {
    let mut cases = records();
    cases.extend(fixed_parts());
    cases.extend(server_names());
    cases.extend(extensions());
    cases
}

fn records() -> Vec<(String, Vec<u8>)> {
    let (whole, message) = (Parts::real().bytes(), Parts::real().message());
    let (half, rest) = message.split_at(100);
    let between = |between: &[u8]| [&record(22, half), between, &record(22, rest)].concat();
    let mut cases = vec![
        ("sound".to_owned(), whole.clone()),
        ("sound, in two records".to_owned(), between(&[])),
        (
            "record: empty, first".to_owned(),
            [&record(22, &[])[..], &whole].concat(),
        ),
        (
            "record: empty, between".to_owned(),
            between(&record(22, &[])),
        ),
        (
            "record: another hello behind it in the same".to_owned(),
            record(22, &message.repeat(2)),
        ),
        (
            "record: half a message behind it in the same".to_owned(),
            record(22, &[&message[..], &[1, 0]].concat()),
        ),
        (
            "record: of SSL 2 between".to_owned(),
            [&record(22, half)[..], &[22, 2, 0, 0, 9, 0]].concat(),
        ),
    ];
    for minor in [0, 3, 4, 5, 0x7f, 0xff] {
        let mut bytes = whole.clone();
        bytes[2] = minor;
        cases.push((format!("record: version 3.{minor}"), bytes));
    }
    for kind in [20, 23, 24] {
        cases.push((
            format!("record: type {kind} first"),
            [record(kind, &[1]), whole.clone()].concat(),
        ));
        cases.push((
            format!("record: type {kind} between"),
            between(&record(kind, &[1])),
        ));
    }
    cases.push((
        "record: type 21 first".to_owned(),
        [&record(21, &[2, 40])[..], &whole].concat(),
    ));
    cases.push((
        "record: type 21 between".to_owned(),
        between(&record(21, &[2, 40])),
    ));
    for length in [0x4001_u16, 0x4800, 0x4801, 0xffff] {
        let mut bytes = vec![22, 3, 1];
        bytes.extend(length.to_be_bytes());
        bytes.extend(&message);
        bytes.resize(5 + usize::from(length), 0);
        cases.push((format!("record: {length:#06x} bytes"), bytes));
    }
    for kind in [0, 2, 4, 8, 11, 16, 20, 99] {
        cases.push((
            format!("message: type {kind}"),
            record(22, &self::message(kind, &[0; 40])),
        ));
    }
    cases
}

fn fixed_parts() -> Vec<(String, Vec<u8>)> {
    let (new, old) = (Parts::real(), Parts::of_tls_1_2());
    let body = |body: &[u8]| record(22, &message(1, body));
    let whole = new.message()[4..].to_vec();
    let mut cases = vec![
        ("fixed: nothing".to_owned(), body(&[])),
        (
            "fixed: half of the random bytes".to_owned(),
            body(&whole[..20]),
        ),
        (
            "fixed: a session of 33 bytes".to_owned(),
            Parts {
                session: vec![1; 33],
                ..new.clone()
            }
            .bytes(),
        ),
        (
            "fixed: odd suites".to_owned(),
            Parts {
                suites: vec![0x13, 1, 2],
                ..new.clone()
            }
            .bytes(),
        ),
        (
            "fixed: no suite".to_owned(),
            Parts {
                suites: vec![],
                ..new.clone()
            }
            .bytes(),
        ),
        (
            "fixed: no compression".to_owned(),
            Parts {
                compression: vec![],
                ..new.clone()
            }
            .bytes(),
        ),
        (
            "fixed: no compression, TLS 1.2".to_owned(),
            Parts {
                compression: vec![],
                ..old.clone()
            }
            .bytes(),
        ),
        (
            "fixed: without null".to_owned(),
            Parts {
                compression: vec![1],
                ..new.clone()
            }
            .bytes(),
        ),
        (
            "fixed: without null, TLS 1.2".to_owned(),
            Parts {
                compression: vec![1],
                ..old.clone()
            }
            .bytes(),
        ),
        (
            "fixed: null and another".to_owned(),
            Parts {
                compression: vec![0, 1],
                ..new.clone()
            }
            .bytes(),
        ),
        (
            "fixed: null and another, TLS 1.2".to_owned(),
            Parts {
                compression: vec![1, 0],
                ..old.clone()
            }
            .bytes(),
        ),
        (
            "fixed: ends behind the suites".to_owned(),
            body(&new.fixed()[..new.fixed().len() - 2]),
        ),
        (
            "fixed: half of the extensions' length".to_owned(),
            body(&[new.fixed(), vec![1]].concat()),
        ),
        (
            "fixed: a byte behind the extensions".to_owned(),
            body(&[&whole[..], &[0]].concat()),
        ),
        (
            "fixed: extensions cut short".to_owned(),
            body(&whole[..whole.len() - 1]),
        ),
        (
            "fixed: half an extension".to_owned(),
            body(&[new.fixed(), long(&new.block()[..new.block().len() - 1])].concat()),
        ),
    ];
    for version in [0x0302, 0x0301, 0x0300] {
        cases.push((
            format!("version: {version:#06x} alone"),
            Parts {
                version,
                ..old.clone()
            }
            .bytes(),
        ));
    }
    cases
}

fn server_names() -> Vec<(String, Vec<u8>)> {
    let entry = |kind: u8, name: &[u8]| [&[kind][..], &long(name)].concat();
    let host = entry(0, b"vault.example.net");
    let contents = [
        ("two", long(&host.repeat(2))),
        ("another type", long(&entry(1, b"vault.example.net"))),
        (
            "another type behind it",
            long(&[host.clone(), entry(1, b"x")].concat()),
        ),
        ("an empty name", long(&entry(0, b""))),
        ("NUL", long(&entry(0, b"vault.example.net\0.evil"))),
        ("a line break", long(&entry(0, b"vault\n.example.net"))),
        ("not ASCII", long(&entry(0, "bücher.example".as_bytes()))),
        ("256 bytes", long(&entry(0, &[b'a'; 256]))),
        ("a port", long(&entry(0, b"vault.example.net:443"))),
        ("an address", long(&entry(0, b"192.0.2.1"))),
    ];
    contents
        .map(|(what, content)| {
            (
                format!("name: {what}"),
                Parts::real().with(0, &content).bytes(),
            )
        })
        .into()
}

fn extensions() -> Vec<(String, Vec<u8>)> {
    let real = Parts::real();
    // A ticket and its age, and one binder.
    let psk = [
        long(&[&long(&[7; 32])[..], &[0; 4]].concat()),
        long(&short(&[7; 32])),
    ]
    .concat();
    let mut cases = vec![
        (
            "pre-shared key not last".to_owned(),
            real.clone().and(41, &psk).and(21, &[]).bytes(),
        ),
        (
            "twice: 4660".to_owned(),
            real.clone().and(0x1234, &[]).and(0x1234, &[]).bytes(),
        ),
        (
            "twice: GREASE".to_owned(),
            real.clone().and(0x0a0a, &[]).and(0x0a0a, &[]).bytes(),
        ),
        (
            "unknown".to_owned(),
            real.clone().and(0x1234, b"anything").bytes(),
        ),
    ];
    for (kind, content) in &real.extensions {
        cases.push((
            format!("twice: {kind}"),
            real.clone().and(*kind, content).bytes(),
        ));
    }
    // Those that a route is chosen by, or that are read for other reasons.
    for kind in [0, 10, 13, 16, 43] {
        let content = &real
            .extensions
            .iter()
            .find(|(known, _)| *known == kind)
            .expect("it has one")
            .1;
        let mut emptied = content.clone();
        emptied.truncate(if kind == 43 { 1 } else { 2 });
        emptied.fill(0);
        for (how, content) in [
            ("nothing", vec![]),
            ("an empty list", emptied),
            ("one byte less", content[..content.len() - 1].to_vec()),
            ("one byte more", [&content[..], &[0]].concat()),
        ] {
            cases.push((
                format!("content: {how} in {kind}"),
                real.clone().with(kind, &content).bytes(),
            ));
        }
    }
    cases.push((
        "content: an empty protocol".to_owned(),
        real.clone().with(16, &[0, 1, 0]).bytes(),
    ));
    cases.push((
        "content: a protocol cut short".to_owned(),
        real.clone().with(16, &[0, 3, 3, b'h', b'2']).bytes(),
    ));
    cases.push((
        "content: half a group".to_owned(),
        real.clone().with(10, &[0, 3, 0, 29, 0]).bytes(),
    ));
    cases.push((
        "content: half a scheme".to_owned(),
        real.clone().with(13, &[0, 3, 4, 3, 8]).bytes(),
    ));
    cases.push((
        "content: half a version".to_owned(),
        real.with(43, &[3, 3, 4, 3]).bytes(),
    ));
    cases
}
