//! Servers that answer a hello with an alert: the access line says which.

use std::io::Write;
use std::process::Command;

use crate::support::backend::{Backend, read_exact, read_to_end};
use crate::support::hello::{alert, hello};
use crate::support::openssl::SServer;
use crate::support::proxy::{Proxy, directory, passthrough};

#[test]
fn the_alert_that_a_server_answers_is_in_the_access_line_however_it_is_cut() {
    let (backend, connections) = Backend::manual();
    let mut proxy = Proxy::start(&passthrough("a.example", backend.addr));
    let (fatal, warning) = (alert(80), [21, 3, 1, 0, 2, 1, 112]);
    let (server_hello, page) = (
        b"\x16\x03\x03\0\x01\x02",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    );
    for (answer, expected) in [
        (
            &fatal[..],
            Some("the server answered alert internal_error (80)"),
        ),
        (
            &[&fatal[..], &alert(0)].concat(),
            Some("the server answered alert internal_error (80)"),
        ),
        (&alert(199), Some("the server answered alert 199")),
        (
            &warning,
            Some("the server answered alert unrecognized_name (112)"),
        ),
        (&[&warning[..], server_hello].concat(), None),
        (&[server_hello, &fatal[..]].concat(), None),
        (&fatal[..6], None),
        (page, None),
        (b"", None),
    ] {
        for size in [1, 4, 7, 100] {
            let mut client = proxy.connect();
            let question = hello("a.example");
            client.write_all(&question).unwrap();
            let mut server = connections.next();
            assert!(read_exact(&mut server, question.len()) == question);
            for piece in answer.chunks(size) {
                server.write_all(piece).unwrap();
                // The next piece comes when this one has gone through.
                assert_eq!(read_exact(&mut client, piece.len()), piece);
            }
            drop(server);
            read_to_end(&mut client);
            drop(client);
            let line = proxy.next_access();
            assert_eq!(
                line["detail"].as_str(),
                expected,
                "{answer:?} in pieces of {size}: {line}"
            );
        }
    }
}

#[test]
fn openssl_that_knows_no_cipher_of_the_client_is_heard() {
    let server = SServer::start(
        directory(),
        &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
    );
    let mut proxy = Proxy::start(&passthrough("a.example", server.addr));
    let mut client = proxy.connect();
    client.write_all(&hello("a.example")).unwrap();
    assert_eq!(read_exact(&mut client, 7)[6], 40);
    drop(client);
    let line = proxy.next_access();
    assert_eq!(
        line["detail"], "the server answered alert handshake_failure (40)",
        "{line}"
    );
}

#[test]
fn what_a_server_behind_terminated_tls_sends_is_data_and_no_alert() {
    let dir = directory();
    let issued = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    std::fs::write(dir.path().join("a.pem"), issued.cert.pem()).unwrap();
    std::fs::write(
        dir.path().join("a-key.pem"),
        issued.signing_key.serialize_pem(),
    )
    .unwrap();
    let backend = Backend::greet(&[21, 3, 3, 0, 2, 2, 80]);
    let config = format!(
        "[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"{}\"\n\
         [certificates.a]\ncert_file = \"a.pem\"\nkey_file = \"a-key.pem\"\n",
        backend.addr
    );
    let mut proxy = Proxy::start_in(dir, &config);
    let mut client = Command::new("timeout");
    client.args([
        "30",
        "openssl",
        "s_client",
        "-quiet",
        "-servername",
        "a.example",
        "-connect",
    ]);
    let output = client
        .arg(proxy.addr().to_string())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.stdout.starts_with(&[21, 3, 3]), "{output:?}");
    let line = proxy.next_access();
    assert!(line["detail"].is_null(), "{line}");
}
