//! Termination with client certificates: who comes in, and what the others see.

mod endings;
mod resumption;
mod revocation;
mod terms;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use serde_json::Value;
use snigate::tls::pki::{Authority, Issued, Validity};
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::openssl::s_client;
use crate::support::proxy::{Proxy, directory};
use crate::support::tls::{self, alert, authority, client, client_with, der, version_1, write};

const NAME: &str = "app.example";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// The authority that issued the server's certificate, and the one whose clients come in.
struct Site {
    servers: Authority,
    clients: Authority,
}

/// A site, and a directory with everything that [`config`] names.
fn site() -> (Site, TempDir) {
    let dir = directory();
    let [servers, clients] = ["servers", "clients"].map(|name| authority(dir.path(), name));
    write(dir.path(), "site", &servers.server(&[NAME], Validity::days(20)).unwrap());
    (Site { servers, clients }, dir)
}

/// One route for [`NAME`] with this `[tls]` table, which may be `open` or `mtls`, and other keys.
fn config(backend: &Backend, tls: &str, keys: &str) -> String {
    format!(
        r#"
        [certificates.site]
        cert_file = "site.pem"
        key_file = "site-key.pem"
        [tls.open]
        client_auth.mode = "none"
        [tls.mtls]
        client_auth.mode = "require_and_verify"
        client_auth.ca_files = ["clients.pem"]
        [routes.app]
        sni = "{NAME}"
        action = "terminate"
        tls = "{tls}"
        upstream = "{}"
        {keys}
        "#,
        backend.addr
    )
}

impl Site {
    /// A client that knows the site, and shows this certificate.
    fn client(&self, identity: Option<&Issued>, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        client(&self.servers, identity, &[version])
    }

    /// A certificate that comes in.
    fn member(&self) -> Issued {
        self.clients.client("member", Validity::days(20)).unwrap()
    }
}

/// A whole session with one question, and the answer to it.
fn ask(config: &Arc<ClientConfig>, stream: TcpStream) -> io::Result<Vec<u8>> {
    tls::exchange(config, NAME, stream, b"the question")
}

/// A certificate that was valid until an hour ago.
fn expired(authority: &Authority) -> Issued {
    let hours = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    authority.client("late", Validity { not_before: hours(48), not_after: hours(1) }).unwrap()
}

/// How a row of the tables below ends: the alert that the client sees, and the outcome.
type Verdict = (Option<u8>, &'static str);

/// Every kind of client, the one who may come in last.
fn everybody(site: &Site) -> Vec<(Option<Issued>, Verdict)> {
    let strangers = Authority::new("strangers", Validity::days(20)).unwrap();
    vec![
        (None, (Some(116), "no_certificate")),
        (Some(strangers.client("stranger", Validity::days(20)).unwrap()), (Some(48), "untrusted_certificate")),
        (Some(expired(&site.clients)), (Some(45), "untrusted_certificate")),
        (Some(site.member()), (None, "closed")),
    ]
}

/// The access line of a client that was refused for its certificate, or let in with it.
fn assert_line(line: &Value, outcome: &str, identity: Option<&Issued>, row: &str) {
    assert_eq!(line["outcome"], outcome, "{row}: {line}");
    assert_eq!((&line["route"], &line["action"]), (&"app".into(), &"terminate".into()), "{row}: {line}");
    match identity.filter(|_| outcome == "closed") {
        None => {
            assert_eq!(line["by"], "client", "{row}: {line}");
            assert_eq!(line["client_cert"], Value::Null, "only who is verified is named; {row}: {line}");
            assert_eq!(line["server"], Value::Null, "{row}: {line}");
        }
        Some(issued) => {
            assert_eq!(line["client_cert"], "CN=member", "{row}: {line}");
            let fingerprint = digest(&SHA256, &der(&issued.certificate));
            let hex: String = fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(line["client_cert_sha256"], hex, "{row}: {line}");
            assert!(line["client_cert_serial"].is_string(), "{row}: {line}");
        }
    }
}

#[test]
fn only_a_valid_certificate_of_the_right_authority_comes_in_and_the_others_never_reach_the_server() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let mut proxy = Proxy::start_in(dir, &config(&backend, "mtls", ""));
    for (identity, (expected, outcome)) in &everybody(&site) {
        for (version, word) in VERSIONS.into_iter().zip(["1.2", "1.3"]) {
            let row = format!("{outcome}, alert {expected:?}, TLS {word}");
            let answer = ask(&site.client(identity.as_ref(), version), proxy.connect());
            let line = proxy.next_access();
            match answer {
                Ok(answer) => {
                    assert_eq!((answer.as_slice(), None), (&b"the question"[..], *expected), "{row}");
                    assert_eq!(line["tls_version"], word, "{row}");
                }
                Err(error) => assert_eq!(alert(&error), *expected, "{row}: {error}"),
            }
            assert_line(&line, outcome, identity.as_ref(), &row);
        }
    }
    // Connections reach it in order: one made for a client that was refused would have been counted before these.
    assert_eq!(backend.accepted(), VERSIONS.len());
}

#[test]
fn a_foreign_client_meets_the_same_verdicts() {
    let (site, dir) = site();
    let backend = Backend::greet(b"welcome inside");
    let mut proxy = Proxy::start_in(dir, &config(&backend, "mtls", ""));
    for (identity, (expected, outcome)) in &everybody(&site) {
        for version in ["-tls1_2", "-tls1_3"] {
            let row = format!("{outcome}, alert {expected:?}, {version}");
            let mut arguments = vec!["-servername", NAME, version];
            let shown = identity.as_ref().map(|issued| {
                write(proxy.dir(), "shown", issued);
                ["shown.pem", "shown-key.pem"].map(|file| proxy.dir().join(file).to_str().unwrap().to_owned())
            });
            if let Some([certificate, key]) = &shown {
                arguments.extend(["-cert", certificate, "-key", key]);
            }
            let printed = s_client(proxy.addr(), &arguments);
            assert_eq!(printed.alert(), *expected, "{row}: {}", printed.0);
            assert_eq!(printed.0.contains("welcome inside"), expected.is_none(), "{row}: {}", printed.0);
            assert_line(&proxy.next_access(), outcome, identity.as_ref(), &row);
        }
    }
    assert_eq!(backend.accepted(), 2);
}

#[test]
fn what_other_servers_take_for_a_client_certificate_is_refused_and_the_log_says_why() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let mut proxy = Proxy::start_in(dir, &config(&backend, "mtls", ""));
    let member = site.member();
    let authority = Issued { certificate: site.clients.certificate().to_owned(), key: site.clients.key_pem() };
    for version in VERSIONS {
        for (config, detail) in [
            (
                client_with(&site.servers, Some(version_1(&site.clients)), &[version]),
                "X.509 v1 certificate: issue it with extensions (v3)",
            ),
            (site.client(Some(&authority), version), "a CA's own certificate (CA:TRUE)"),
        ] {
            let error = ask(&config, proxy.connect()).unwrap_err();
            assert_eq!(alert(&error), Some(46), "{detail}: {error}");
            let line = proxy.next_access();
            assert_line(&line, "untrusted_certificate", None, detail);
            assert!(line["detail"].as_str().unwrap_or_default().contains(detail), "{line}");
        }
        assert!(ask(&site.client(Some(&member), version), proxy.connect()).is_ok());
        proxy.next_access();
    }
    assert_eq!(backend.accepted(), VERSIONS.len());
}
