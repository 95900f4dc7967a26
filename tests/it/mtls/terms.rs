//! What the two sides agree on, and what ends the handshake where they do not.

use std::io::{Read, Write};

use super::*;
use crate::support::hello::in_records;

/// The `[tls]` table of the route in [`terminate`], with these keys.
fn terminate(backend: &Backend, keys: &str) -> String {
    config(backend, "terms", &format!("[tls.terms]\n{keys}\n"))
}

/// A client that offers these protocols.
fn offering(
    site: &Site,
    protocols: &[&str],
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut config = (*site.client(None, version)).clone();
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    Arc::new(config)
}

/// A handshake as far as it goes.
fn shake(
    config: &Arc<ClientConfig>,
    mut stream: TcpStream,
) -> io::Result<rustls::ClientConnection> {
    let mut session = tls::session(config, NAME, stream.try_clone()?).conn;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(session)
}

#[test]
fn the_key_exchange_is_post_quantum_where_the_client_can() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &config(&backend, "mtls", ""));
    let session = shake(&site.client(Some(&site.member()), &TLS13), proxy.connect()).unwrap();
    let group = session
        .negotiated_key_exchange_group()
        .expect("a session")
        .name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    let session = shake(&site.client(Some(&site.member()), &TLS12), proxy.connect()).unwrap();
    assert_eq!(
        session.negotiated_key_exchange_group().unwrap().name(),
        rustls::NamedGroup::X25519
    );
}

#[test]
fn a_protocol_is_agreed_on_only_where_the_configuration_lists_it() {
    let (site, dir) = site();
    let backend = Backend::greet(b"welcome");
    let mut proxy = Proxy::start_in(dir, &terminate(&backend, ""));
    let agreed = Ok::<_, u8>;
    for (keys, rows) in [
        (
            "",
            vec![
                (vec!["h2", "http/1.1"], agreed(None)),
                (vec![], agreed(None)),
            ],
        ),
        (
            "alpn = [\"http/1.1\", \"h2\"]",
            vec![
                (vec!["h2", "http/1.1"], agreed(Some("http/1.1"))),
                (vec!["x", "h2"], agreed(Some("h2"))),
                (vec![], agreed(None)),
                (vec!["x"], Err(120)),
            ],
        ),
    ] {
        if !keys.is_empty() {
            proxy.reload(&terminate(&backend, keys));
        }
        for version in VERSIONS {
            for (offered, expected) in &rows {
                let row = format!("{keys:?}, {offered:?}, {:?}", version.version);
                let session = shake(&offering(&site, offered, version), proxy.connect());
                let seen = session.as_ref().map(|session| session.alpn_protocol());
                let wanted = expected.map(|protocol| protocol.map(str::as_bytes));
                assert_eq!(
                    seen.map_err(|error| alert(error).expect("an alert")),
                    wanted,
                    "{row}"
                );
                drop(session);
                let line = proxy.next_access();
                match expected {
                    Ok(protocol) => assert_eq!(line["alpn"].as_str(), *protocol, "{row}: {line}"),
                    Err(_) => assert_eq!(line["outcome"], "handshake_failed", "{row}: {line}"),
                }
            }
        }
    }
}

#[test]
fn a_client_of_an_older_version_than_the_oldest_allowed_is_told_so() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let mut proxy = Proxy::start_in(dir, &terminate(&backend, "min_version = \"1.3\""));
    let error = ask(&site.client(None, &TLS12), proxy.connect()).unwrap_err();
    assert_eq!(alert(&error), Some(70), "{error}");
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"handshake_failed".into(), &"client".into()),
        "{line}"
    );
    assert_eq!(
        s_client(proxy.addr(), &["-servername", NAME, "-tls1_2"]).alert(),
        Some(70)
    );
    assert_eq!(backend.accepted(), 0);
    assert_eq!(
        ask(&site.client(None, &TLS13), proxy.connect()).unwrap(),
        b"the question"
    );
}

#[test]
fn more_authorities_than_a_handshake_has_room_to_name_let_their_clients_in_all_the_same() {
    let (site, dir) = site();
    let many: Vec<Authority> = (0..1000)
        .map(|number| {
            Authority::new(
                &format!("{number:03} {}", "of many authorities ".repeat(3)),
                Validity::days(20),
            )
            .unwrap()
        })
        .collect();
    let bundle: String = many
        .iter()
        .map(|authority| authority.certificate())
        .collect();
    std::fs::write(dir.path().join("clients.pem"), bundle).unwrap();
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &config(&backend, "mtls", ""));
    let member = many
        .last()
        .unwrap()
        .client("member", Validity::days(20))
        .unwrap();
    for version in VERSIONS {
        let answer = ask(&site.client(Some(&member), version), proxy.connect());
        assert_eq!(answer.unwrap(), b"the question");
    }
}

#[test]
fn a_hello_in_one_byte_records_ends_in_a_session() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &config(&backend, "open", ""));
    // Enough protocols to make the records of a byte each more than rustls would buffer.
    let protocols: Vec<String> = (0..3000).map(|number| format!("{number:03}")).collect();
    let protocols: Vec<&str> = protocols.iter().map(String::as_str).collect();
    let mut session = tls::session(&offering(&site, &protocols, &TLS13), NAME, proxy.connect());
    let mut hello = Vec::new();
    session.conn.write_tls(&mut hello).unwrap();
    session.sock.write_all(&in_records(&hello, 1)).unwrap();
    session.write_all(b"the question").unwrap();
    let mut answer = [0; 12];
    session.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"the question");
}
