//! Odd but real certificates and keys: each works with OpenSSL on either side of a handshake, or
//! `check` says what is wrong with it and what to do.

use std::process::{Command, Stdio};

use rcgen::{KeyPair, PublicKeyData, SigningKey};

use super::*;
use crate::support::backend::Backend;
use crate::support::openssl::s_client;
use crate::support::proxy::Proxy;
use crate::support::tls::write_key;

/// A DER value.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    value(0x30, &parts.concat())
}

/// An identifier below 2.5.29 (RFC 5280 §4.2.1), or another one by its content.
fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let oid = if let [last] = oid {
        vec![0x55, 0x1d, *last]
    } else {
        oid.to_vec()
    };
    let critical = if critical {
        value(1, &[0xff])
    } else {
        Vec::new()
    };
    sequence(&[value(6, &oid), critical, value(4, content)])
}

/// A subjectAltName of DNS names.
fn names(names: &[&[u8]]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = names.iter().map(|name| value(0x82, name)).collect();
    extension(&[17], false, &sequence(&names))
}

/// A subject with a common name in this kind of string.
fn subject(tag: u8, text: &[u8]) -> Vec<u8> {
    sequence(&[value(
        0x31,
        &sequence(&[value(6, &[0x55, 4, 3]), value(tag, text)]),
    )])
}

/// The parts of a certificate, each in DER.
struct Parts {
    serial: Vec<u8>,
    dates: [Vec<u8>; 2],
    subject: Vec<u8>,
    spki: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

/// A CA, and a key for what it issues.
struct Issuer {
    ca: KeyPair,
    key: KeyPair,
}

const UTC: u8 = 0x17;
const GENERALIZED: u8 = 0x18;

impl Issuer {
    /// A certificate in which nothing is odd.
    fn parts(&self, name: &str) -> Parts {
        Parts {
            serial: value(2, &[1]),
            dates: [
                value(UTC, b"200101000000Z"),
                value(GENERALIZED, b"99991231235959Z"),
            ],
            subject: subject(12, b"x"),
            spki: self.key.subject_public_key_info(),
            extensions: vec![names(&[format!("{name}.example").as_bytes()])],
        }
    }

    fn sign(&self, parts: Parts) -> String {
        // ecdsa-with-SHA256
        let algorithm = sequence(&[value(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])]);
        let signed = sequence(&[
            value(0xa0, &value(2, &[2])),
            parts.serial,
            algorithm.clone(),
            subject(12, b"odd"),
            sequence(&parts.dates),
            parts.subject,
            parts.spki,
            value(0xa3, &sequence(&parts.extensions)),
        ]);
        let signature = [vec![0], self.ca.sign(&signed).unwrap()].concat();
        pem(
            "CERTIFICATE",
            &sequence(&[signed, algorithm, value(3, &signature)]),
        )
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = String::from_utf8(openssl(&["base64"], der)).unwrap();
    format!("-----BEGIN {label}-----\n{text}-----END {label}-----\n")
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut command = Command::new("openssl");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().expect("openssl");
    process.stdin.take().unwrap().write_all(input).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A change to a certificate, and what `check` says of it; nothing where it works.
type Odd = (&'static str, fn(&mut Parts), &'static str);

const NONE_OF_5280: &str = "which is none (RFC 5280 §4.1.2.5";

const CERTIFICATES: &[Odd] = &[
    ("plain", |_| {}, ""),
    // Dates.
    (
        "utc",
        |parts| parts.dates[1] = value(UTC, b"491231235959Z"),
        "",
    ),
    (
        "in-1950",
        |parts| parts.dates[0] = value(UTC, b"500101000000Z"),
        "has a date before 1970",
    ),
    (
        "in-1900",
        |parts| parts.dates[0] = value(GENERALIZED, b"19000101000000Z"),
        "has a date before 1970",
    ),
    (
        "no-seconds",
        |parts| parts.dates[1] = value(UTC, b"4902010000Z"),
        NONE_OF_5280,
    ),
    (
        "offset",
        |parts| parts.dates[1] = value(UTC, b"490201000000+0100"),
        NONE_OF_5280,
    ),
    (
        "fraction",
        |parts| parts.dates[1] = value(GENERALIZED, b"20490201000000.5Z"),
        NONE_OF_5280,
    ),
    (
        "no-zone",
        |parts| parts.dates[1] = value(GENERALIZED, b"20490201000000"),
        NONE_OF_5280,
    ),
    (
        "no-day",
        |parts| parts.dates[1] = value(UTC, b"490230000000Z"),
        NONE_OF_5280,
    ),
    // Serial numbers.
    ("serial-0", |parts| parts.serial = value(2, &[0]), ""),
    (
        "serial-20",
        |parts| parts.serial = value(2, &[0x7f; 20]),
        "",
    ),
    (
        "serial-22",
        |parts| parts.serial = value(2, &[0x7f; 22]),
        "a serial number that is longer than 20 bytes",
    ),
    (
        "negative",
        |parts| parts.serial = value(2, &[0xfe]),
        "a serial number that is negative",
    ),
    (
        "padded",
        |parts| parts.serial = value(2, &[0, 0, 1]),
        "a serial number that is none in DER (000001)",
    ),
    // Names.
    ("bmp", |parts| parts.subject = subject(30, b"\0x"), ""),
    ("t61", |parts| parts.subject = subject(20, b"M\xfcller"), ""),
    (
        "no-utf8",
        |parts| parts.subject = subject(12, b"\xff"),
        "a name that is not in the encoding that it claims",
    ),
    (
        "no-subject",
        |parts| {
            parts.subject = sequence(&[]);
            parts.extensions = vec![extension(
                &[17],
                true,
                &sequence(&[value(0x82, b"no-subject.example")]),
            )];
        },
        "",
    ),
    (
        "thousand",
        |parts| {
            let all: Vec<String> = (0..999).map(|n| format!("h{n}.example")).collect();
            let all: Vec<&[u8]> = [&b"thousand.example"[..]]
                .into_iter()
                .chain(all.iter().map(|n| n.as_bytes()))
                .collect();
            parts.extensions = vec![names(&all)];
        },
        "",
    ),
    (
        "upper",
        |parts| parts.extensions = vec![names(&[b"UPPER.EXAMPLE"])],
        "",
    ),
    (
        "wild",
        |parts| {
            parts.extensions = vec![names(&[b"wild.example", b"*.wild.example", b"a_b.example"])]
        },
        "",
    ),
    (
        "two-lists",
        |parts| parts.extensions.push(names(&[])),
        "the subjectAltName of the certificate cannot be read",
    ),
    (
        "dot",
        |parts| parts.extensions = vec![names(&[b"dot.example."])],
        "without the dot at its end",
    ),
    (
        "idn",
        |parts| parts.extensions = vec![names(&[b"idn.example", "\u{fc}.example".as_bytes()])],
        "as `xn--...`",
    ),
    // Keys.
    (
        "compressed",
        |parts| {
            parts.spki = openssl(
                &[
                    "ec",
                    "-pubin",
                    "-inform",
                    "DER",
                    "-outform",
                    "DER",
                    "-conv_form",
                    "compressed",
                ],
                &parts.spki,
            )
        },
        "in the compressed form",
    ),
    (
        "explicit",
        |parts| {
            parts.spki = openssl(
                &[
                    "ec",
                    "-pubin",
                    "-inform",
                    "DER",
                    "-outform",
                    "DER",
                    "-param_enc",
                    "explicit",
                ],
                &parts.spki,
            )
        },
        "a curve that is written out in the certificate, which clients refuse",
    ),
    // Extensions.
    (
        "unknown",
        |parts| {
            parts
                .extensions
                .push(extension(&[0x2a, 3, 4], false, &[5, 0]))
        },
        "",
    ),
    (
        "critical",
        |parts| {
            parts
                .extensions
                .push(extension(&[0x2a, 3, 4], true, &[5, 0]))
        },
        "has the critical extension 1.2.3.4, which clients do not understand",
    ),
    (
        "policy",
        |parts| {
            parts
                .extensions
                .push(extension(&[36], true, &sequence(&[value(0x80, &[0])])))
        },
        "has the critical extension policyConstraints, which clients that use rustls",
    ),
    (
        "policy-seen",
        |parts| {
            parts
                .extensions
                .push(extension(&[36], false, &sequence(&[value(0x80, &[0])])))
        },
        "",
    ),
    (
        "poison",
        |parts| {
            parts.extensions.push(extension(
                &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3],
                true,
                &[5, 0],
            ))
        },
        "is a precertificate",
    ),
    (
        "two-usages",
        |parts| {
            parts
                .extensions
                .extend(vec![extension(&[15], true, &[3, 2, 7, 0x80]); 2])
        },
        "has the extension keyUsage twice",
    ),
    (
        "no-usage",
        |parts| parts.extensions.push(extension(&[15], true, &[3, 2, 7, 0])),
        "a key usage that allows nothing",
    ),
    (
        "garbage",
        |parts| parts.extensions.push(extension(&[19], true, &[4, 0])),
        "has the extension basicConstraints, which cannot be read",
    ),
    (
        "end-entity",
        |parts| {
            parts
                .extensions
                .push(extension(&[19], true, &sequence(&[])))
        },
        "",
    ),
];

/// Kinds of keys, as `openssl genpkey` is asked for them, and what is said of one.
const KEYS: [(&str, &str, &str); 10] = [
    ("p384", "EC -pkeyopt ec_paramgen_curve:P-384", ""),
    ("p521", "EC -pkeyopt ec_paramgen_curve:P-521", ""),
    ("ed25519", "ED25519", ""),
    ("rsa2048", "RSA -pkeyopt rsa_keygen_bits:2048", ""),
    (
        "rsa1024",
        "RSA -pkeyopt rsa_keygen_bits:1024",
        "is an RSA key of 1024 bits; it must be",
    ),
    (
        "rsa3",
        "RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3",
        "has the exponent 3",
    ),
    ("ed448", "ED448", "is an Ed448 key; it must be"),
    (
        "p224",
        "EC -pkeyopt ec_paramgen_curve:P-224",
        "is an ECDSA key on P-224; it must be",
    ),
    (
        "pss",
        "RSA-PSS -pkeyopt rsa_keygen_bits:2048",
        "is bound to RSA-PSS",
    ),
    (
        "secp256k1",
        "EC -pkeyopt ec_paramgen_curve:secp256k1",
        "is an ECDSA key on secp256k1; it must be",
    ),
];

/// The tables of a configuration for these certificates, one route each.
fn tables(names: &[&str], upstream: &str) -> String {
    let one = |name: &&str| {
        format!(
            "[certificates.{name}]\ncert_file = \"{name}.pem\"\nkey_file = \"{name}.key\"\n[routes.{name}]\n\
             sni = \"{name}.example\"\naction = \"terminate\"\nupstream = \"u\"\ntls = \"t-{name}\"\n\
             [tls.t-{name}]\nclient_auth.ca_files = \"ca.crt\"\n"
        )
    };
    let upstream = format!("[upstreams.u]\nservers = [\"{upstream}\"]\n");
    names.iter().map(one).chain([upstream]).collect()
}

/// What the file `name` is said to be wrong with.
fn said_of<'a>(said: &'a str, name: &str) -> Vec<&'a str> {
    said.lines()
        .filter(|line| line.contains(&format!("certificates.{name}: ")))
        .collect()
}

#[test]
fn an_odd_certificate_works_on_either_side_or_is_told_with_a_remedy() {
    let issuer = Issuer {
        ca: KeyPair::generate().unwrap(),
        key: KeyPair::generate().unwrap(),
    };
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, parts: Parts, key: &str| {
        fs::write(dir.path().join(format!("{name}.pem")), issuer.sign(parts)).unwrap();
        write_key(&dir.path().join(format!("{name}.key")), key);
    };
    let mut ca = issuer.parts("ca");
    ca.subject = subject(12, b"odd");
    ca.spki = issuer.ca.subject_public_key_info();
    ca.extensions = vec![extension(&[19], true, &sequence(&[value(1, &[0xff])]))];
    fs::write(dir.path().join("ca.crt"), issuer.sign(ca)).unwrap();
    let mut expected: Vec<(&str, &str)> = Vec::new();
    for (name, change, words) in CERTIFICATES {
        let mut parts = issuer.parts(name);
        change(&mut parts);
        put(name, parts, &issuer.key.serialize_pem());
        expected.push((name, words));
    }
    for (name, kind, words) in KEYS {
        let arguments: Vec<&str> = ["genpkey", "-algorithm"]
            .into_iter()
            .chain(kind.split(' '))
            .collect();
        let key = openssl(&arguments, b"");
        let spki = openssl(&["pkey", "-pubout", "-outform", "DER"], &key);
        put(
            name,
            Parts {
                spki,
                ..issuer.parts(name)
            },
            str::from_utf8(&key).unwrap(),
        );
        expected.push((name, words));
    }

    let all: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    let listener = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n";
    fs::write(
        dir.path().join("snigate.toml"),
        format!("{listener}{}", tables(&all, "127.0.0.1:1")),
    )
    .unwrap();
    let (_, _, said) = check(dir.path());
    for (name, words) in &expected {
        let of_it = said_of(&said, name);
        let is_right = if words.is_empty() {
            of_it.is_empty()
        } else {
            of_it.iter().any(|line| line.contains(words))
        };
        assert!(is_right, "{name}: {words:?} of {of_it:?}\n{said}");
    }

    let working: Vec<&str> = expected
        .iter()
        .filter(|(_, words)| words.is_empty())
        .map(|(name, _)| *name)
        .collect();
    let backend = Backend::greet(b"hello from inside");
    let proxy = Proxy::start_in(dir, &tables(&working, &backend.addr.to_string()));
    let file = |name: String| proxy.dir().join(name).display().to_string();
    for name in working {
        let (server, trust) = (format!("{name}.example"), file("ca.crt".to_owned()));
        let (own, key) = (file(format!("{name}.pem")), file(format!("{name}.key")));
        let verify = [
            "-verify_return_error",
            "-verify_hostname",
            &server,
            "-CAfile",
            &trust,
        ];
        let arguments = [
            &["-servername", &*server, "-cert", &*own, "-key", &*key][..],
            &verify,
        ]
        .concat();
        let printed = s_client(proxy.addr(), &arguments).0;
        assert!(
            printed.contains("Verification: OK") && printed.contains("hello from inside"),
            "{name}: {printed}"
        );
    }
}
