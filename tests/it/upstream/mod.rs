//! TLS to the servers: which of them are believed, and how sessions with them end.

mod commands;
mod endings;
mod foreign;
mod groups;
mod moved;
mod store;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use snigate::pki::{Authority, Issued, Validity};
use tempfile::TempDir;

use crate::support::backend::{Backend, pattern};
use crate::support::proxy::{Proxy, directory};
use crate::support::socket::unanswering;
use crate::support::tls::{self, authority, client, der, is_abrupt, server, sha256, write};

/// What clients ask snigate for, and what servers have certificates for.
const NAME: &str = "app.example";
const INSIDE: &str = "vault.internal";

/// The authority of snigate's own certificate, and the one of the servers.
struct Site {
    edge: Authority,
    corp: Authority,
}

fn site() -> (Site, TempDir) {
    let dir = directory();
    let [edge, corp] = ["edge", "corp"].map(|name| authority(dir.path(), name));
    write(
        dir.path(),
        "site",
        &edge.server(&[NAME], Validity::days(20)).unwrap(),
    );
    (Site { edge, corp }, dir)
}

/// One route, which terminates, to these servers. `tls` are keys of its upstream's table, and
/// `more` is other tables.
fn config(servers: &[&dyn ToString], tls: &str, more: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|server| server.to_string()).collect();
    format!(
        r#"
        [certificates.site]
        cert_file = "site.pem"
        key_file = "site-key.pem"
        [routes.app]
        sni = "{NAME}"
        action = "terminate"
        upstream = "vault"
        certificates = ["site"]
        [upstreams.vault]
        servers = {servers:?}
        balance = "first"
        {tls}
        {more}
        "#
    )
}

/// Trust in `corp.pem`.
const TRUST: &str = "[trust.corp]\nca_files = [\"corp.pem\"]\n";

/// The usual keys: a name, and whom to believe.
fn corp() -> String {
    format!("tls = {{ server_name = \"{INSIDE}\", trust = \"corp\" }}")
}

impl Site {
    /// A certificate for [`INSIDE`].
    fn inside(&self) -> Issued {
        self.corp.server(&[INSIDE], Validity::days(20)).unwrap()
    }

    /// A client's question, and the answer to it.
    fn ask(&self, proxy: &Proxy, question: &[u8]) -> io::Result<Vec<u8>> {
        tls::exchange(
            &client(&self.edge, None, rustls::ALL_VERSIONS),
            NAME,
            proxy.connect(),
            question,
        )
    }
}

type Session = StreamOwned<ServerConnection, TcpStream>;

/// A server that speaks TLS, each session in a thread of its own.
fn tls_backend(
    config: ServerConfig,
    serve: impl Fn(&mut Session) + Send + Sync + 'static,
) -> Backend {
    let config = Arc::new(config);
    Backend::serve(move |stream| {
        serve(&mut StreamOwned::new(
            ServerConnection::new(Arc::clone(&config)).unwrap(),
            stream,
        ));
    })
}

/// Sends back everything when the client has ended, and ends.
fn tls_echo(config: ServerConfig) -> Backend {
    tls_backend(config, |session| {
        let mut bytes = Vec::new();
        if session.read_to_end(&mut bytes).is_ok() && session.write_all(&bytes).is_ok() {
            session.conn.send_close_notify();
            let _ = session.flush();
        }
    })
}

/// A certificate for [`INSIDE`] that was valid until an hour ago.
fn expired(authority: &Authority) -> Issued {
    let hours = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    authority
        .server(
            &[INSIDE],
            Validity {
                not_before: hours(48),
                not_after: hours(1),
            },
        )
        .unwrap()
}

/// The pin of a certificate's key.
fn pin(issued: &Issued) -> String {
    let der = der(&issued.certificate);
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    sha256(certificate.public_key().raw)
}

/// The access line of a client that could not be served, because there was no session with a
/// server.
fn assert_no_session(proxy: &mut Proxy, words: &str) -> Value {
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"upstream_tls_failed".into(), &"server".into()),
        "{words}: {line}"
    );
    assert!(
        line["detail"].as_str().unwrap_or_default().contains(words),
        "{words:?} is not in {line}"
    );
    line
}

#[test]
fn a_verified_server_gets_the_bytes_of_a_client_and_answers_over_tls() {
    let (site, dir) = site();
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let issued = site.inside();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let speaks = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap();
        let (chain, key) = tls::parts(&issued);
        let backend = tls_echo(
            speaks
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap(),
        );
        let dir = copy(&dir);
        let mut proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
        let bytes = pattern(5_000_000, 1);
        assert!(site.ask(&proxy, &bytes).unwrap() == bytes);
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["server"]),
            (&"closed".into(), &backend.addr.to_string().into()),
            "{line}"
        );
        assert_eq!(
            (&line["sent"], &line["received"]),
            (&5_000_000.into(), &5_000_000.into()),
            "{line}"
        );
    }
}

/// The same files in a directory of their own.
fn copy(dir: &TempDir) -> TempDir {
    let copy = directory();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn a_server_that_cannot_prove_who_it_is_gets_nothing_of_the_client() {
    let (site, dir) = site();
    let strangers = Authority::new("strangers", Validity::days(20)).unwrap();
    let wrong_pin = format!(
        "tls = {{ server_name = \"{INSIDE}\", trust = \"corp\", pin = \"{}\" }}",
        "ab".repeat(32)
    );
    let inside = site.inside();
    for (issued, tls, words) in [
        (
            strangers.server(&[INSIDE], Validity::days(20)).unwrap(),
            corp(),
            "issued by CN=strangers, which is not in trust.corp; add that to trust.corp, which `upstreams.vault.tls.trust`",
        ),
        (
            site.corp
                .server(&["other.internal"], Validity::days(20))
                .unwrap(),
            corp(),
            "it is for other.internal, and not for vault.internal; set `upstreams.vault.tls.server_name`",
        ),
        (
            site.inside(),
            "tls.trust = \"corp\"".to_owned(),
            "it is for vault.internal, and not for 127.0.0.1",
        ),
        (
            expired(&site.corp),
            corp(),
            "has expired, 60 minutes ago; renew it",
        ),
        (site.inside(), wrong_pin, "its key has the pin "),
        (
            site.inside(),
            "tls = true".to_owned(),
            "issued by CN=corp, which is not in the system's store",
        ),
    ] {
        let backend = tls_echo(server(&issued));
        let mut proxy = Proxy::start_in(copy(&dir), &config(&[&backend.addr], &tls, TRUST));
        let error = site.ask(&proxy, b"the question").unwrap_err();
        // No close_notify: this is not the end of an empty answer.
        assert!(is_abrupt(&error), "{words}: {error:?}");
        let line = assert_no_session(&mut proxy, words);
        assert!(
            line["detail"]
                .as_str()
                .unwrap()
                .starts_with(&backend.addr.to_string()),
            "{line}"
        );
        assert_eq!(backend.accepted(), 1, "{words}");
    }
    let pinned = format!("tls = {{ insecure = true, pin = [\"{}\"] }}", pin(&inside));
    for (issued, tls) in [
        (&inside, pinned.as_str()),
        (&expired(&strangers), "tls.insecure = true"),
    ] {
        let backend = tls_echo(server(issued));
        let proxy = Proxy::start_in(copy(&dir), &config(&[&backend.addr], tls, ""));
        assert_eq!(
            site.ask(&proxy, b"the question").unwrap(),
            b"the question",
            "{tls}"
        );
        let warned = proxy
            .log()
            .contains("whoever answers at the address of a server is believed");
        assert_eq!(warned, tls == "tls.insecure = true", "{}", proxy.log());
    }
}

#[test]
fn the_next_server_is_tried_when_one_is_not_who_it_should_be_or_never_says() {
    let (site, dir) = site();
    let strangers = Authority::new("strangers", Validity::days(20)).unwrap();
    let wrong = tls_echo(server(
        &strangers.server(&[INSIDE], Validity::days(20)).unwrap(),
    ));
    let right = tls_echo(server(&site.inside()));
    let (silent, connections) = Backend::manual();
    let (_socket, _queue, unanswering) = unanswering();
    let keys = format!("{}\nconnect_timeout = \"400ms\"", corp());
    let servers: [&dyn ToString; 4] = [&wrong.addr, &silent.addr, &unanswering, &right.addr];
    let mut proxy = Proxy::start_in(copy(&dir), &config(&servers, &keys, TRUST));
    assert_eq!(site.ask(&proxy, b"the question").unwrap(), b"the question");
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["server"]),
        (&"closed".into(), &right.addr.to_string().into()),
        "{line}"
    );
    drop(connections.next());

    let mut proxy = Proxy::start_in(dir, &config(&[&wrong.addr, &silent.addr], &keys, TRUST));
    site.ask(&proxy, b"the question").unwrap_err();
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"connect_timeout".into(), &"server".into()),
        "{line}"
    );
    let detail = line["detail"].as_str().unwrap();
    assert!(
        detail.contains("the TLS handshake was not complete in time (the last of 2 servers tried)"),
        "{line}"
    );
    let waited = line["connect_ms"].as_f64().unwrap();
    assert!(
        (400.0..1200.0).contains(&waited),
        "one time limit for connection and handshake together: {line}"
    );
    // A hello, and not a byte of the client's.
    let mut seen = Vec::new();
    connections.next().read_to_end(&mut seen).unwrap();
    assert_eq!(seen[0], 22, "a record of the handshake");
    assert!(!seen.windows(12).any(|window| window == b"the question"));
}

#[test]
fn a_server_that_speaks_no_tls_is_not_sent_plaintext() {
    let (site, dir) = site();
    let backend = Backend::greet(b"220 mail.example ESMTP\r\n");
    let mut proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
    site.ask(&proxy, b"the question").unwrap_err();
    assert_no_session(
        &mut proxy,
        "the server does not speak TLS; remove `upstreams.vault.tls`",
    );
}
