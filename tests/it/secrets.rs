//! What is written for people holds no key, whatever happens: neither the log at its most
//! talkative, nor what `check` and `run` say of files that are wrong.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use snigate::pki::{Authority, CertificateUse, Issued, Key, KeyKind, Subject, Validity};

use crate::keys::assert_absent;
use crate::support::backend::Backend;
use crate::support::proxy::{Proxy, directory};
use crate::support::socket::read_until_closed;
use crate::support::tls::{authority, client, exchange, write};

/// A private key and what it is called when it is found.
struct Secret {
    what: &'static str,
    pem: String,
}

impl Secret {
    fn new(what: &'static str, pem: &str) -> Self {
        Self {
            what,
            pem: pem.to_owned(),
        }
    }

    /// Fails if `text` has a part of the key, in base64, hexadecimal or decimal.
    fn assert_absent(&self, text: &str, place: &str) {
        let der = PrivateKeyDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        let der = der.secret_der();
        // The private number of a P-256 key; the last numbers of an RSA key, of which each alone
        // gives it away.
        let secret = if der.len() < 200 {
            &der[36..68]
        } else {
            &der[der.len() - 400..]
        };
        assert_absent(secret, &self.pem, text, &format!("{place}: {}", self.what));
    }
}

fn assert_no_secret(secrets: &[Secret], text: &str, place: &str) {
    secrets
        .iter()
        .for_each(|secret| secret.assert_absent(text, place));
    for marker in ["-----BEGIN", "-----END"] {
        assert!(!text.contains(marker), "{place} shows a PEM marker: {text}");
    }
}

fn rsa(authority: &Authority, name: &str) -> Issued {
    let key = Key::generate(KeyKind::Rsa3072).unwrap();
    let subject = Subject::server(&[name]).unwrap();
    let public = snigate::pki::PublicKey::of(&key).unwrap();
    let certificate = authority
        .issue(
            &subject,
            CertificateUse::Server,
            Validity::days(20),
            &public,
        )
        .unwrap();
    Issued {
        certificate,
        key: key.pem().to_string(),
    }
}

/// Three routes: a client certificate and an EC key, no client certificate and an RSA key, and a
/// key made here.
fn config(backend: &Backend) -> String {
    let routes: String = [("ec", "mtls"), ("rsa", "open"), ("own", "open")]
        .map(|(name, tls)| {
            format!(
                "[routes.{name}]\nsni = \"{name}.example\"\naction = \"terminate\"\ntls = \"{tls}\"\n\
                 certificates = [\"{name}\"]\nupstream = \"{}\"\n",
                backend.addr
            )
        })
        .concat();
    format!(
        "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\nlevel = \"trace\"\n\
         [storage]\ndir = \"state\"\n\
         [certificates.ec]\ncert_file = \"ec.pem\"\nkey_file = \"ec-key.pem\"\n\
         [certificates.rsa]\ncert_file = \"rsa.pem\"\nkey_file = \"rsa-key.pem\"\n\
         [certificates.own]\nself_signed = true\n\
         [tls.open]\nclient_auth.mode = \"none\"\n\
         [tls.mtls]\nclient_auth.ca_files = [\"clients.pem\"]\n{routes}"
    )
}

/// The ways in which a file with this key is wrong.
fn broken(key: &str) -> Vec<(&'static str, String)> {
    let lines: Vec<&str> = key.lines().collect();
    vec![
        ("cut", key[..key.len() / 2].to_owned()),
        ("without its end", lines[..lines.len() - 1].join("\n")),
        (
            "an odd label",
            key.replace("PRIVATE KEY", "ODD PRIVATE KEY"),
        ),
        ("no base64", key.replacen("\nM", "\n!", 1)),
        (
            "a line missing",
            [&lines[..2], &lines[3..]].concat().join("\n"),
        ),
        ("base64 alone", lines[1..lines.len() - 1].join("\n")),
        (
            "said to be a certificate",
            key.replace("PRIVATE KEY", "CERTIFICATE"),
        ),
        (
            "said to be encrypted",
            key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        ),
    ]
}

fn said(dir: &Path, command: &str) -> String {
    let output = Command::new("timeout")
        .args([
            "30",
            env!("CARGO_BIN_EXE_snigate"),
            command,
            "-c",
            "snigate.toml",
        ])
        .current_dir(dir)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn a_log_at_trace_level_holds_no_key_after_handshakes_refusals_and_reloads_good_and_bad() {
    let dir = directory();
    let [servers, clients] = ["servers", "clients"].map(|name| authority(dir.path(), name));
    let [ec, new] = [(); 2].map(|()| servers.server(&["ec.example"], Validity::days(20)).unwrap());
    let rsa = rsa(&servers, "rsa.example");
    let member = clients.client("member", Validity::days(20)).unwrap();
    let stranger = servers.client("stranger", Validity::days(20)).unwrap();
    write(dir.path(), "ec", &ec);
    write(dir.path(), "rsa", &rsa);
    let backend = Backend::echo();
    let config = config(&backend);
    let proxy = Proxy::start_in(dir, &config);
    let path = |name: &str| proxy.dir().join(name);
    let made = fs::read_to_string(path("state/self-signed/own.key")).unwrap();

    let handshakes = || {
        for version in [&TLS12, &TLS13] {
            for (name, identity, comes_in) in [
                ("ec.example", Some(&member), true),
                ("ec.example", Some(&stranger), false),
                ("ec.example", None, false),
                ("rsa.example", None, true),
                // Nobody knows its issuer.
                ("own.example", None, false),
                ("none.example", None, false),
            ] {
                let answer = exchange(
                    &client(&servers, identity, &[version]),
                    name,
                    proxy.connect(),
                    b"the question",
                );
                assert_eq!(
                    answer.is_ok(),
                    comes_in,
                    "{name}, {:?}: {answer:?}",
                    version.version
                );
            }
        }
        let mut stream = proxy.connect();
        stream.write_all(ec.key.as_bytes()).unwrap();
        read_until_closed(&mut stream);
    };
    handshakes();
    proxy.reload_after(|| proxy.signal(Signal::HUP));
    for (name, issued) in [("ec", &ec), ("rsa", &rsa)] {
        for (what, text) in broken(&issued.key) {
            let file = format!("{name}-key.pem");
            let diagnostics = proxy.refusal_after(|| fs::write(path(&file), text).unwrap());
            assert!(diagnostics.contains(&file), "{what}: {diagnostics}");
        }
        write(proxy.dir(), name, issued);
        proxy.refusal_after(|| fs::write(path(&format!("{name}.pem")), &issued.key).unwrap());
        write(proxy.dir(), name, issued);
    }
    proxy.refusal_after(|| fs::write(path("clients.pem"), &ec.key).unwrap());
    fs::write(path("clients.pem"), clients.certificate()).unwrap();
    proxy.refusal_after(|| {
        proxy.write_config(&config.replace("\"ec-key.pem\"", &format!("'''{}'''", ec.key)))
    });
    proxy.refusal_after(|| proxy.write_config(&rsa.key));
    write(proxy.dir(), "ec", &new);
    proxy.reload(&config);
    handshakes();

    proxy.signal(Signal::TERM);
    let (_, log) = proxy.wait_for_exit();
    assert!(
        log.contains(r#""level":"debug""#) && log.contains(r#""message":"hello""#),
        "talkative: {log}"
    );
    let secrets = [
        Secret::new("the EC key", &ec.key),
        Secret::new("the EC key after it", &new.key),
        Secret::new("the RSA key", &rsa.key),
        Secret::new("the key made here", &made),
        Secret::new("the key of a client", &member.key),
        Secret::new("the key of a client that was refused", &stranger.key),
    ];
    assert_no_secret(&secrets, &log, "the log");
}

#[test]
fn what_is_said_of_a_broken_key_file_or_of_a_key_in_the_wrong_file_does_not_show_it() {
    let dir = directory();
    let [servers, _] = ["servers", "clients"].map(|name| authority(dir.path(), name));
    let [ec, other] =
        [(); 2].map(|()| servers.server(&["ec.example"], Validity::days(20)).unwrap());
    let rsa = rsa(&servers, "rsa.example");
    let secrets = [
        Secret::new("the EC key", &ec.key),
        Secret::new("the other key", &other.key),
        Secret::new("the RSA key", &rsa.key),
    ];
    let config = config(&Backend::echo());
    let check = |file: &str, text: &str, what: &str| {
        for (name, issued) in [("ec", &ec), ("rsa", &rsa)] {
            write(dir.path(), name, issued);
        }
        fs::write(dir.path().join("snigate.toml"), &config).unwrap();
        fs::write(dir.path().join(file), text).unwrap();
        for command in ["check", "run"] {
            let said = said(dir.path(), command);
            assert!(said.contains(file), "{command}, {file}, {what}: {said}");
            assert_no_secret(&secrets, &said, &format!("{command}, {file}, {what}"));
        }
    };
    for (name, issued) in [("ec", &ec), ("rsa", &rsa)] {
        for (what, text) in broken(&issued.key) {
            check(&format!("{name}-key.pem"), &text, what);
        }
        check(
            &format!("{name}-key.pem"),
            &other.key,
            "the key of another certificate",
        );
        check(
            &format!("{name}.pem"),
            &issued.key,
            "in place of the certificate",
        );
        // Whoever takes a path for a text, or a key for the configuration.
        let inline = config.replace(
            &format!("\"{name}-key.pem\""),
            &format!("'''{}'''", issued.key),
        );
        check("snigate.toml", &inline, "in place of its file");
        check("snigate.toml", &issued.key, "in place of the configuration");
    }
    fs::write(dir.path().join("clients.pem"), servers.certificate()).unwrap();
    check("clients.pem", &ec.key, "in place of a CA");
    fs::write(dir.path().join("clients.pem"), servers.certificate()).unwrap();
    fs::write(dir.path().join("key.toml"), &ec.key).unwrap();
    check(
        "snigate.toml",
        &format!("include = [\"*.toml\"]\n{config}"),
        "included",
    );
}
