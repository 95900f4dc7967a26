//! Handshakes that begin with bytes that were read before, and those that end badly.

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;

use super::*;
use crate::name::ServerName;

/// A client that has said hello, and the hello.
fn hello(config: &Arc<ClientConfig>) -> (ClientConnection, Vec<u8>) {
    let mut session = ClientConnection::new(Arc::clone(config), NAME.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut bytes).unwrap();
    }
    (session, bytes)
}

/// The same hello in records of `size` bytes (RFC 8446 §5.1).
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        [
            &[22, 3, 1],
            &u16::try_from(part.len()).unwrap().to_be_bytes()[..],
            part,
        ]
        .concat()
    };
    hello[5..].chunks(size).flat_map(record).collect()
}

/// Both ends of a connection, the server's first.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(listener.accept(), TcpStream::connect(address));
    (near.unwrap().0, far.unwrap())
}

/// A handshake in which `preface` was read before, and `session`, which has sent it, goes on.
async fn go_on(
    acceptor: &Acceptor,
    session: ClientConnection,
    preface: &[u8],
) -> (Result<Accepted, Refusal>, Seen) {
    let (near, far) = pair().await;
    let name: ServerName = NAME.parse().unwrap();
    let choice = acceptor.select(Some(&name), || None).unwrap();
    let serve = async { finish(choice.accept(near.into(), preface, Some(&name)).await).await };
    within(async { tokio::join!(serve, look(far, session)) }).await
}

#[tokio::test]
async fn a_hello_is_taken_in_whatever_records_it_came() {
    let own = authority("own");
    let open = acceptor(&server_certificate(&own), ClientAuth::None);
    for version in VERSIONS {
        for size in [1, 7, 100, 16_000] {
            let (session, hello) = hello(&client(&own, version, None));
            let (result, seen) = go_on(&open, session, &in_records(&hello, size)).await;
            assert!(
                result.is_ok(),
                "{:?} in records of {size}: {result:?}",
                version.version
            );
            assert_eq!(seen, Seen::Session(HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn bytes_that_came_after_the_hello_belong_to_the_handshake() {
    let own = authority("own");
    let open = acceptor(&server_certificate(&own), ClientAuth::None);
    let config = client(&own, &rustls::version::TLS13, None);

    // A change_cipher_spec that RFC 8446 §D.4 lets middleboxes expect.
    let (session, mut preface) = hello(&config);
    preface.extend([20, 3, 3, 0, 1, 1]);
    let (result, _) = go_on(&open, session, &preface).await;
    assert!(result.is_ok(), "{result:?}");

    // A record that cannot follow: its alert is sent behind what was already due, and no side waits
    // for more.
    let (session, mut preface) = hello(&config);
    preface.extend([22, 3, 3, 0, 0]);
    let (result, seen) = go_on(&open, session, &preface).await;
    assert!(matches!(result, Err(Refusal::Protocol(_))), "{result:?}");
    assert!(matches!(seen, Seen::Alert(_)), "{seen:?}");

    // A client that says good-bye at once.
    let (session, mut preface) = hello(&config);
    preface.extend([21, 3, 3, 0, 2, 1, 0].repeat(2));
    let (result, _) = go_on(&open, session, &preface).await;
    assert!(
        matches!(&result, Err(Refusal::Client(alert)) if alert == "close_notify (0)"),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_hello_that_fits_nothing_is_answered_at_once_with_its_alert() {
    let own = authority("own");
    let modern = AcceptorOptions {
        min_version: MinVersion::Tls13,
        ..AcceptorOptions::default()
    };
    let http2 = AcceptorOptions {
        alpn: vec!["h2".parse().unwrap()],
        ..AcceptorOptions::default()
    };
    let mut http1 = (*client(&own, &rustls::version::TLS13, None)).clone();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    for (options, config, alert) in [
        (modern, client(&own, &rustls::version::TLS12, None), 70),
        (http2, Arc::new(http1), 120),
    ] {
        let acceptor = Acceptor::new(vec![server_certificate(&own)], &options, true).unwrap();
        let (session, hello) = hello(&config);
        // The client says no more, so an answer can come from the hello alone.
        let (result, seen) = go_on(&acceptor, session, &hello).await;
        assert!(matches!(result, Err(Refusal::Protocol(_))), "{result:?}");
        assert_eq!(seen, Seen::Alert(alert));
    }
}

#[tokio::test]
async fn both_sides_agree_on_the_protocol_that_the_server_prefers() {
    let own = authority("own");
    let alpn = ["h2", "http/1.1"]
        .map(|protocol| protocol.parse().unwrap())
        .to_vec();
    let acceptor = Acceptor::new(
        vec![server_certificate(&own)],
        &AcceptorOptions {
            alpn,
            ..AcceptorOptions::default()
        },
        true,
    )
    .unwrap();
    for (offered, expected) in [
        (vec!["http/1.1", "h2"], Some("h2")),
        (vec!["http/1.1"], Some("http/1.1")),
        (vec![], None),
    ] {
        let mut config = (*client(&own, &rustls::version::TLS13, None)).clone();
        config.alpn_protocols = offered
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let (result, _) = meet(&acceptor, &Arc::new(config)).await;
        assert_eq!(
            result.unwrap().alpn.map(|alpn| alpn.to_string()).as_deref(),
            expected,
            "{offered:?}"
        );
    }
}

#[tokio::test]
async fn the_key_exchange_resists_quantum_computers() {
    let own = authority("own");
    let open = acceptor(&server_certificate(&own), ClientAuth::None);
    let (result, _) = meet(&open, &client(&own, &rustls::version::TLS13, None)).await;
    let accepted = result.unwrap();
    let group = accepted
        .stream
        .get_ref()
        .1
        .negotiated_key_exchange_group()
        .unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn a_session_for_another_name_than_the_routed_one_is_ended() {
    let own = authority("own");
    let open = acceptor(&server_certificate(&own), ClientAuth::None);
    let name: ServerName = NAME.parse().unwrap();
    let choice = open.select(Some(&name), || None).unwrap();
    for routed in [None, Some("other.example".parse::<ServerName>().unwrap())] {
        let (near, far) = pair().await;
        let (session, hello) = hello(&client(&own, &rustls::version::TLS13, None));
        let serve =
            async { finish(choice.accept(near.into(), &hello, routed.as_ref()).await).await };
        let (result, seen) = within(async { tokio::join!(serve, look(far, session)) }).await;
        let Err(Refusal::NameMismatch { actual, .. }) = result else {
            panic!("{routed:?}: {result:?}")
        };
        assert_eq!(actual.as_deref(), Some(NAME));
        assert_eq!(
            seen,
            Seen::End(io::ErrorKind::UnexpectedEof),
            "no close_notify: nothing was concluded"
        );
    }
}

#[tokio::test]
async fn a_client_that_asks_for_an_address_asked_for_no_name() {
    let own = authority("own");
    let issued = own.server(&["127.0.0.1"], Validity::days(1)).unwrap();
    let certificate =
        Certificate::load(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap();
    let open = Acceptor::new(
        vec![Arc::new(certificate)],
        &AcceptorOptions::default(),
        false,
    )
    .unwrap();
    let (mut near, far) = pair().await;
    let config = client(&own, &rustls::version::TLS13, None);
    let session = ClientConnection::new(config, "127.0.0.1".try_into().unwrap()).unwrap();
    let serve = async {
        let mut preface = Vec::new();
        near.read_buf(&mut preface).await.unwrap();
        let ip = near.local_addr().unwrap().ip();
        finish(
            open.select(None, || Some(ip))
                .unwrap()
                .accept(near.into(), &preface, None)
                .await,
        )
        .await
    };
    let (result, seen) = within(async { tokio::join!(serve, look(far, session)) }).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(seen, Seen::Session(HandshakeKind::Full));
}

#[tokio::test]
async fn a_client_that_does_not_believe_the_server_or_hangs_up_is_told_apart() {
    let own = authority("own");
    let open = acceptor(&server_certificate(&own), ClientAuth::None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name: ServerName = NAME.parse().unwrap();
    let distrust = async {
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let config = client(&authority("other"), &rustls::version::TLS13, None);
        TlsConnector::from(config)
            .connect(NAME.try_into().unwrap(), stream)
            .await
            .unwrap_err();
    };
    let (result, ()) = within(async { tokio::join!(serve(&open, &listener), distrust) }).await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, Refusal::Client(alert) if alert == "unknown_ca (48)"),
        "{error}"
    );

    let (near, far) = pair().await;
    drop(far);
    let (_, hello) = hello(&client(&own, &rustls::version::TLS13, None));
    let error = open
        .select(Some(&name), || None)
        .unwrap()
        .accept(near.into(), &hello, Some(&name))
        .await
        .unwrap_err();
    assert!(matches!(error.refusal, Refusal::Io(_)), "{error}");
}

#[tokio::test]
async fn of_the_ciphers_the_client_gets_the_one_that_it_prefers() {
    let own = authority("own");
    let open = acceptor(&server_certificate(&own), ClientAuth::None);
    let is_ecdsa = |suite: &SupportedCipherSuite| !format!("{:?}", suite.suite()).contains("_RSA_");
    for preferred in provider()
        .cipher_suites
        .iter()
        .filter(|suite| is_ecdsa(suite))
    {
        let mut ordered = CryptoProvider::clone(provider());
        ordered
            .cipher_suites
            .sort_by_key(|suite| suite != preferred);
        let config = ClientConfig::builder_with_provider(Arc::new(ordered))
            .with_protocol_versions(&[preferred.version()])
            .unwrap()
            .with_root_certificates(roots(&own))
            .with_no_client_auth();
        let (accepted, _) = meet(&open, &Arc::new(config)).await;
        assert_eq!(
            accepted
                .unwrap()
                .stream
                .get_ref()
                .1
                .negotiated_cipher_suite(),
            Some(*preferred)
        );
    }
}
