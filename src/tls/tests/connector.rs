//! Servers that are trusted, and what is said of the others.

use rustls::ServerConfig;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::addr::UpstreamAddr;
use crate::name::Alpn;

/// A server that shows this certificate and speaks one version. It asks clients for a certificate
/// of `clients`.
fn server(
    issued: &Issued,
    version: &'static SupportedProtocolVersion,
    clients: Option<&Authority>,
    alpn: &[&str],
) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let verifier = match clients {
        None => Arc::new(NoClientAuth),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap())
                .unwrap();
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider()))
                .build()
                .unwrap()
        }
    };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    TlsAcceptor::from(Arc::new(config))
}

fn trust(authorities: &[&Authority]) -> Verification {
    let read = |authority: &&Authority| {
        CaCertificate::parse_bundle(authority.certificate().as_bytes()).unwrap()
    };
    let all: Vec<_> = authorities.iter().flat_map(read).collect();
    Verification::Trust(Some("corp".into()), Trust::new(&all).unwrap())
}

fn options(verification: Verification) -> ConnectorOptions {
    ConnectorOptions {
        upstream: "vault".into(),
        server_name: Some(NAME.parse().unwrap()),
        verification,
        pins: Vec::new(),
        certificate: None,
        min_version: MinVersion::Tls12,
        groups: Vec::new(),
        alpn: Vec::new(),
    }
}

/// The result of one connection: what the server read of it and the name it was asked for, and what
/// the connector says.
struct Meeting {
    asked_for: Option<String>,
    alpn: Option<Vec<u8>>,
    kind: Option<HandshakeKind>,
    alert: Option<u8>,
    identity: bool,
    result: Result<(), SessionError>,
}

async fn meet_server(
    connector: &Connector,
    server: &TlsAcceptor,
    agreed: Option<&Alpn>,
) -> Meeting {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        match server.accept(stream).await {
            Ok(mut session) => {
                let (_, state) = session.get_ref();
                let seen = (
                    state.server_name().map(str::to_owned),
                    state.alpn_protocol().map(<[u8]>::to_vec),
                );
                let (kind, identity) =
                    (state.handshake_kind(), state.peer_certificates().is_some());
                session.write_all(b"welcome").await.unwrap();
                session.shutdown().await.unwrap();
                Ok((seen, kind, identity))
            }
            Err(error) => match error.downcast::<rustls::Error>() {
                Ok(rustls::Error::AlertReceived(alert)) => Err(Some(u8::from(alert))),
                _ => Err(None),
            },
        }
    };
    let connect = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut session = connector
            .connect(stream.into(), &UpstreamAddr::Socket(address), agreed)
            .await?;
        let mut greeting = Vec::new();
        session.read_to_end(&mut greeting).await.unwrap();
        assert_eq!(greeting, b"welcome");
        Ok(())
    };
    let (served, result) = within(async { tokio::join!(serve, connect) }).await;
    let ((asked_for, alpn), kind, identity, alert) = match served {
        Ok((seen, kind, identity)) => (seen, kind, identity, None),
        Err(alert) => ((None, None), None, false, alert),
    };
    Meeting {
        asked_for,
        alpn,
        kind,
        alert,
        identity,
        result,
    }
}

/// Connects to such a server in both versions, and asserts what came of it: what the connector
/// says, and the alert that the server got.
async fn assert_meets(
    options: &ConnectorOptions,
    issued: &Issued,
    expected: Result<(), (&str, u8)>,
) {
    for version in VERSIONS {
        let row = format!("{expected:?}, {:?}", version.version);
        let connector = Connector::new(options.clone()).unwrap();
        let meeting = meet_server(&connector, &server(issued, version, None, &[]), None).await;
        match (meeting.result, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err((words, alert))) => {
                assert!(error.to_string().contains(words), "{row}: {error}");
                assert_eq!(meeting.alert, Some(alert), "{row}");
            }
            (result, _) => panic!("{row}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_is_believed_when_a_trusted_authority_vouches_for_its_name_now() {
    let (own, other) = (authority("own"), authority("other"));
    let issue = |names: &[&str], validity| own.server(names, validity).unwrap();
    let right = issue(&[NAME], Validity::days(1));
    let corp = options(trust(&[&own]));
    assert_meets(&corp, &right, Ok(())).await;
    assert_meets(&options(trust(&[&other, &own])), &right, Ok(())).await;

    let stranger = "it was issued by CN=own, which is not in trust.corp; add that to trust.corp, which \
                    `upstreams.vault.tls.trust` names";
    assert_meets(&options(trust(&[&other])), &right, Err((stranger, 48))).await;
    let elsewhere = issue(
        &["a.example", "*.b.example", "192.0.2.1"],
        Validity::days(1),
    );
    let wrong = "it is for a.example, *.b.example, 192.0.2.1, and not for app.example; set \
                 `upstreams.vault.tls.server_name` to a name that it has";
    assert_meets(&corp, &elsewhere, Err((wrong, 42))).await;
    assert_meets(
        &corp,
        &issue(&[NAME], past()),
        Err(("it has expired, ", 45)),
    )
    .await;
    let tomorrow = SystemTime::now() + Duration::from_secs(7200 + 50);
    let early = Validity {
        not_before: tomorrow,
        not_after: tomorrow + Duration::from_secs(60),
    };
    assert_meets(
        &corp,
        &issue(&[NAME], early),
        Err(("it is not valid before 2 hours from now", 45)),
    )
    .await;
    let client = own.client(NAME, Validity::days(1)).unwrap();
    assert_meets(&corp, &client, Err(("does not include serverAuth", 43))).await;
    let itself = Issued {
        certificate: own.certificate().to_owned(),
        key: own.key_pem(),
    };
    assert_meets(
        &corp,
        &itself,
        Err(("it is a CA's own certificate (CA:TRUE)", 46)),
    )
    .await;
}

#[tokio::test]
async fn the_ca_that_is_missing_is_the_issuer_of_the_last_certificate_that_the_server_sent() {
    let (own, other) = (authority("own"), authority("other"));
    let department = own.intermediate("department", Validity::days(1)).unwrap();
    let mut issued = department.server(&[NAME], Validity::days(1)).unwrap();
    assert_meets(&options(trust(&[&own])), &issued, Ok(())).await;
    assert_meets(
        &options(trust(&[&other])),
        &issued,
        Err(("issued by CN=own, which is not in trust.corp", 48)),
    )
    .await;
    issued.certificate = issued
        .certificate
        .split_inclusive("-----END CERTIFICATE-----\n")
        .next()
        .unwrap()
        .to_owned();
    assert_meets(
        &options(trust(&[&own])),
        &issued,
        Err(("issued by CN=department, which is not in trust.corp", 48)),
    )
    .await;
    let mut system = options(trust(&[&other]));
    let Verification::Trust(name, _) = &mut system.verification else {
        unreachable!()
    };
    *name = None;
    let words = "which is not in the system's store; name a `[trust]` table that has it in `upstreams.vault.tls.trust`";
    assert_meets(&system, &issued, Err((words, 48))).await;

    let lone = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let lone = Issued {
        certificate: lone.cert.pem(),
        key: lone.signing_key.serialize_pem(),
    };
    assert_meets(
        &options(trust(&[&own])),
        &lone,
        Err(("it is self-signed by CN=rcgen self signed cert", 48)),
    )
    .await;
    let itself = CaCertificate::parse_bundle(lone.certificate.as_bytes()).unwrap();
    let itself = Verification::Trust(Some("corp".into()), Trust::new(&itself).unwrap());
    assert_meets(&options(itself), &lone, Ok(())).await;
}

/// As `openssl` finds it.
fn pin_of(issued: &Issued) -> crate::authz::SpkiDigest {
    let dir = write_files(&[("cert.pem", &issued.certificate)]);
    let command =
        "openssl x509 -pubkey -noout -in cert.pem | openssl pkey -pubin -outform der | sha256sum";
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(dir.path())
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_pin_counts_beside_the_verification_and_alone_where_there_is_none() {
    let (own, other) = (authority("own"), authority("other"));
    let [right, wrong] = [NAME, NAME].map(|name| own.server(&[name], Validity::days(1)).unwrap());
    let elsewhere = own.server(&["a.example"], past()).unwrap();
    let pins = vec![
        pin_of(&other.server(&[NAME], Validity::days(1)).unwrap()),
        pin_of(&right),
        pin_of(&elsewhere),
    ];
    let complaint = format!(
        "its key has the pin {}, which is not in `upstreams.vault.tls.pin`",
        pin_of(&wrong)
    );
    let pinned = ConnectorOptions {
        pins: pins.clone(),
        ..options(trust(&[&own]))
    };
    assert_meets(&pinned, &right, Ok(())).await;
    assert_meets(&pinned, &wrong, Err((&complaint, 46))).await;
    assert_meets(&pinned, &elsewhere, Err(("expired", 45))).await;
    assert_meets(
        &ConnectorOptions {
            pins: pins.clone(),
            ..options(trust(&[&other]))
        },
        &right,
        Err(("trust.corp", 48)),
    )
    .await;
    let alone = ConnectorOptions {
        pins,
        ..options(Verification::Insecure)
    };
    assert_meets(&alone, &right, Ok(())).await;
    assert_meets(&alone, &elsewhere, Ok(())).await;
    assert_meets(&alone, &wrong, Err((&complaint, 46))).await;
    assert_meets(&options(Verification::Insecure), &elsewhere, Ok(())).await;
}

/// A certificate is public: without the signature anybody could show a copy of it.
#[tokio::test]
async fn a_copy_of_the_pinned_certificate_without_its_key_is_not_enough() {
    let own = authority("own");
    let [right, thief] = [NAME, NAME].map(|name| own.server(&[name], Validity::days(1)).unwrap());
    for (version, flag) in VERSIONS.into_iter().zip(["-tls1_2", "-tls1_3"]) {
        let chain = CertificateDer::pem_slice_iter(right.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(thief.key.as_bytes()).unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
                chain, key,
            ))));
        let connector = Connector::new(ConnectorOptions {
            pins: vec![pin_of(&right)],
            ..options(Verification::Insecure)
        })
        .unwrap();
        let meeting = meet_server(&connector, &TlsAcceptor::from(Arc::new(config)), None).await;
        assert_eq!(meeting.alert, Some(51), "{flag}: {:?}", meeting.result);
    }
}

#[tokio::test]
async fn names_are_sent_and_addresses_are_not() {
    let own = authority("own");
    let issued = own.server(&[NAME, "127.0.0.1"], Validity::days(1)).unwrap();
    for (server_name, asked_for) in [
        (Some(NAME), Some(NAME)),
        (Some("127.0.0.1"), None),
        (None, None),
    ] {
        let server_name = server_name.map(|name| name.parse().unwrap());
        let connector = Connector::new(ConnectorOptions {
            server_name,
            ..options(trust(&[&own]))
        })
        .unwrap();
        let meeting = meet_server(
            &connector,
            &server(&issued, &rustls::version::TLS13, None, &[]),
            None,
        )
        .await;
        meeting.result.unwrap();
        assert_eq!(meeting.asked_for.as_deref(), asked_for);
    }
    let connector = Connector::new(ConnectorOptions {
        server_name: None,
        ..options(trust(&[&own]))
    })
    .unwrap();
    for (addr, name) in [
        ("vault.internal:443", Some("vault.internal")),
        ("192.0.2.1:1", Some("192.0.2.1")),
        ("[2001:db8::1]:1", Some("2001:db8::1")),
        ("unix:/run/s", None),
        ("-a-.example:1", None),
    ] {
        let named = connector
            .name_of(&addr.parse().unwrap())
            .map(|name| name.to_string());
        assert_eq!(named.as_deref(), name, "{addr}");
    }
}

#[tokio::test]
async fn a_certificate_is_shown_to_who_asks_and_only_the_one_that_was_named() {
    let own = authority("own");
    let issued = own.server(&[NAME], Validity::days(1)).unwrap();
    let edge = own.client("edge", Validity::days(1)).unwrap();
    let edge =
        Arc::new(Certificate::load(edge.certificate.as_bytes(), edge.key.as_bytes()).unwrap());
    let named = ConnectorOptions {
        certificate: Some(("edge".into(), edge)),
        ..options(trust(&[&own]))
    };
    for version in VERSIONS {
        let (open, mutual) = (
            server(&issued, version, None, &[]),
            server(&issued, version, Some(&own), &[]),
        );
        let meeting = meet_server(&Connector::new(named.clone()).unwrap(), &mutual, None).await;
        assert!(meeting.result.is_ok() && meeting.identity);
        let meeting = meet_server(&Connector::new(named.clone()).unwrap(), &open, None).await;
        assert!(meeting.result.is_ok() && !meeting.identity);
    }
    // With TLS 1.3 the server says so only afterwards.
    let mutual = server(&issued, &rustls::version::TLS12, Some(&own), &[]);
    let meeting = meet_server(
        &Connector::new(options(trust(&[&own]))).unwrap(),
        &mutual,
        None,
    )
    .await;
    let error = meeting.result.unwrap_err().to_string();
    assert!(
        error.contains("name one in `upstreams.vault.tls.certificate`"),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_agreed_on_with_the_client_is_asked_of_the_server_unless_told_otherwise() {
    let own = authority("own");
    let issued = own.server(&[NAME], Validity::days(1)).unwrap();
    let h2: Alpn = "h2".parse().unwrap();
    for version in VERSIONS {
        let server = server(&issued, version, None, &["http/1.1", "h2"]);
        let plain = options(trust(&[&own]));
        let told = ConnectorOptions {
            alpn: vec!["http/1.1".parse().unwrap()],
            ..plain.clone()
        };
        for (options, agreed, expected) in [
            (&plain, Some(&h2), Some(&b"h2"[..])),
            (&plain, None, None),
            (&told, Some(&h2), Some(b"http/1.1")),
        ] {
            let meeting =
                meet_server(&Connector::new(options.clone()).unwrap(), &server, agreed).await;
            meeting.result.unwrap();
            assert_eq!(meeting.alpn.as_deref(), expected);
        }
        let grpc = "grpc-exp".parse().unwrap();
        let meeting = meet_server(&Connector::new(plain).unwrap(), &server, Some(&grpc)).await;
        let error = meeting.result.unwrap_err().to_string();
        assert!(error.contains("set `upstreams.vault.tls.alpn`"), "{error}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_by_the_same_connector_and_by_no_other() {
    let own = authority("own");
    let issued = own.server(&[NAME], Validity::days(1)).unwrap();
    for version in VERSIONS {
        let server = server(&issued, version, None, &[]);
        let connector = Connector::new(options(trust(&[&own]))).unwrap();
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            assert_eq!(
                meet_server(&connector, &server, None).await.kind,
                Some(expected),
                "{:?}",
                version.version
            );
        }
        let another = Connector::new(options(trust(&[&own]))).unwrap();
        assert_eq!(
            meet_server(&another, &server, None).await.kind,
            Some(HandshakeKind::Full)
        );
    }
}

#[tokio::test]
async fn an_old_version_is_not_spoken_where_it_is_not_allowed() {
    let own = authority("own");
    let issued = own.server(&[NAME], Validity::days(1)).unwrap();
    let connector = Connector::new(ConnectorOptions {
        min_version: MinVersion::Tls13,
        ..options(trust(&[&own]))
    })
    .unwrap();
    let meeting = meet_server(
        &connector,
        &server(&issued, &rustls::version::TLS12, None, &[]),
        None,
    )
    .await;
    let error = meeting.result.unwrap_err().to_string();
    assert!(
        error.contains("see `upstreams.vault.tls.min_version`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_or_hangs_up_is_told_apart() {
    let connector = Connector::new(options(Verification::Insecure)).unwrap();
    for (said, words) in [
        (&b"220 mail.example ESMTP\r\n"[..], "does not speak TLS"),
        (b"", "connection ended"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
            stream.write_all(said).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let connect = async {
            let stream = TcpStream::connect(address).await.unwrap();
            connector
                .connect(stream.into(), &UpstreamAddr::Socket(address), None)
                .await
                .unwrap_err()
                .to_string()
        };
        let ((), error) = within(async { tokio::join!(serve, connect) }).await;
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn connectors_are_equal_when_their_contents_are() {
    let own = authority("own");
    let load = |issued: &Issued| {
        Arc::new(Certificate::load(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap())
    };
    let [one, two] = [1, 2].map(|_| own.client("edge", Validity::days(1)).unwrap());
    let with = |issued: &Issued| ConnectorOptions {
        certificate: Some(("edge".into(), load(issued))),
        ..options(trust(&[&own]))
    };
    let connector = |options| Connector::new(options).unwrap();
    assert_eq!(connector(with(&one)), connector(with(&one)));
    for other in [
        with(&two),
        ConnectorOptions {
            verification: trust(&[&authority("own")]),
            ..with(&one)
        },
        ConnectorOptions {
            verification: Verification::Insecure,
            ..with(&one)
        },
        ConnectorOptions {
            server_name: None,
            ..with(&one)
        },
        ConnectorOptions {
            min_version: MinVersion::Tls13,
            ..with(&one)
        },
        ConnectorOptions {
            pins: vec![pin_of(&one)],
            ..with(&one)
        },
        ConnectorOptions {
            alpn: vec!["h2".parse().unwrap()],
            ..with(&one)
        },
        ConnectorOptions {
            groups: vec![KeyExchangeGroup::X25519],
            ..with(&one)
        },
        ConnectorOptions {
            certificate: None,
            ..with(&one)
        },
    ] {
        assert_ne!(connector(with(&one)), connector(other.clone()), "{other:?}");
    }
}
