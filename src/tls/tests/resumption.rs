//! Session resumption: which clients may go on where they left off. A resumed session shows no
//! certificate and is not verified again.

use super::*;

const FULL: Seen = Seen::Session(HandshakeKind::Full);
const RESUMED: Seen = Seen::Session(HandshakeKind::Resumed);

#[tokio::test]
async fn a_client_that_has_to_identify_itself_never_resumes() {
    let own = authority("own");
    let mutual = acceptor(&server_certificate(&own), require(&[&own]));
    let web = own.client("web", Validity::days(1)).unwrap();
    for version in VERSIONS {
        let config = client(&own, version, Some(&web));
        for attempt in 1..=3 {
            let (result, seen) = meet(&mutual, &config).await;
            assert_eq!(
                result
                    .unwrap()
                    .certificate
                    .unwrap()
                    .verified()
                    .unwrap()
                    .subject,
                "CN=web",
                "{:?}, {attempt}",
                version.version
            );
            assert_eq!(seen, FULL, "{:?}, {attempt}", version.version);
        }
    }
}

#[tokio::test]
async fn a_session_from_an_open_acceptor_opens_no_other_one() {
    let own = authority("own");
    let certificate = server_certificate(&own);
    for version in VERSIONS {
        let open = acceptor(&certificate, ClientAuth::None);
        let also_open = acceptor(&certificate, ClientAuth::None);
        let mutual = acceptor(&certificate, require(&[&own]));
        let config = client(&own, version, None);
        // The client has a session that is good where it comes from.
        assert_eq!(meet(&open, &config).await.1, FULL, "{:?}", version.version);
        assert_eq!(
            meet(&open, &config).await.1,
            RESUMED,
            "{:?}",
            version.version
        );
        // It is offered elsewhere and gets a full handshake, or none.
        let (result, seen) = meet(&mutual, &config).await;
        assert!(
            matches!(result, Err(Refusal::NoCertificate)),
            "{:?}: {result:?}",
            version.version
        );
        assert_eq!(seen, Seen::Alert(116), "{:?}", version.version);
        assert_eq!(
            meet(&open, &config).await.1,
            RESUMED,
            "{:?}",
            version.version
        );
        assert_eq!(
            meet(&also_open, &config).await.1,
            FULL,
            "{:?}",
            version.version
        );
    }
}

#[tokio::test]
async fn a_session_ends_with_the_acceptor_whatever_the_next_one_has_changed() {
    let own = authority("own");
    let certificate = server_certificate(&own);
    let options = AcceptorOptions::default;
    let alpn = vec!["h2".parse().unwrap()];
    for version in VERSIONS {
        for (what, certificate, options) in [
            ("nothing", &certificate, options()),
            ("the certificate", &server_certificate(&own), options()),
            (
                "the protocols",
                &certificate,
                AcceptorOptions {
                    alpn: alpn.clone(),
                    ..options()
                },
            ),
            (
                "client certificates",
                &certificate,
                AcceptorOptions {
                    client_auth: require(&[&own]),
                    ..options()
                },
            ),
        ] {
            let row = format!("{what}, {:?}", version.version);
            let web = own.client("web", Validity::days(1)).unwrap();
            let before = acceptor(certificate, ClientAuth::None);
            let after = Acceptor::new(vec![Arc::clone(certificate)], &options, true).unwrap();
            let config = client(&own, version, Some(&web));
            assert_eq!(meet(&before, &config).await.1, FULL, "{row}");
            assert_eq!(meet(&before, &config).await.1, RESUMED, "{row}");
            let (result, seen) = meet(&after, &config).await;
            assert_eq!(seen, FULL, "{row}: {result:?}");
            // What is remembered is remembered anew, or where clients identify themselves not at
            // all.
            let again = if what == "client certificates" {
                FULL
            } else {
                RESUMED
            };
            assert_eq!(meet(&after, &config).await.1, again, "{row}");
        }
    }
}

#[tokio::test]
async fn a_session_of_tls_1_2_opens_nothing_where_only_tls_1_3_is_spoken() {
    let own = authority("own");
    let certificate = server_certificate(&own);
    let before = acceptor(&certificate, ClientAuth::None);
    let strict = AcceptorOptions {
        min_version: MinVersion::Tls13,
        ..AcceptorOptions::default()
    };
    let after = Acceptor::new(vec![certificate], &strict, true).unwrap();
    let config = client(&own, &rustls::version::TLS12, None);
    assert_eq!(meet(&before, &config).await.1, FULL);
    assert_eq!(meet(&before, &config).await.1, RESUMED);
    // Alert protocol_version.
    assert_eq!(meet(&after, &config).await.1, Seen::Alert(70));
}

#[tokio::test]
async fn a_session_is_good_for_every_certificate_of_its_own_acceptor() {
    let own = authority("own");
    let certificates = vec![server_certificate(&own), server_certificate(&own)];
    let pair = Acceptor::new(certificates, &AcceptorOptions::default(), true).unwrap();
    let config = client(&own, &rustls::version::TLS13, None);
    assert_eq!(meet(&pair, &config).await.1, FULL);
    assert_eq!(meet(&pair, &config).await.1, RESUMED);
}

#[test]
fn no_acceptor_takes_early_data_and_a_verifying_one_has_nothing_to_resume_with() {
    let own = authority("own");
    let certificate = server_certificate(&own);
    let name = NAME.parse().unwrap();
    for (client_auth, remembers) in [(ClientAuth::None, true), (require(&[&own]), false)] {
        let acceptor = acceptor(&certificate, client_auth);
        let config = &acceptor.select(Some(&name), || None).unwrap().config;
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.ticketer.enabled());
        assert_eq!(config.session_storage.can_cache(), remembers);
        assert_eq!(config.send_tls13_tickets > 0, remembers);
        assert_eq!(config.max_tls13_tickets, 0);
    }
}
