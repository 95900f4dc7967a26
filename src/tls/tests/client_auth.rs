//! Client authentication: who comes in, and what the others are told.

use rustls::server::danger::ClientCertVerifier;

use super::*;
use crate::tls::verifier::ClientVerifier;

/// The verdict in the operator's log, in short.
fn verdict(result: &Result<Accepted, Refusal>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(Refusal::NoCertificate) => "no certificate",
        Err(Refusal::Untrusted(_)) => "untrusted",
        Err(Refusal::Expired(_)) => "expired",
        Err(Refusal::Revoked(_)) => "revoked",
        Err(Refusal::NotAllowed(_)) => "not allowed",
        Err(Refusal::Client(_)) => "refused by the client",
        Err(Refusal::Io(_)) => "broken",
        Err(Refusal::NameMismatch { .. }) => "other name",
        Err(Refusal::Version(_)) => "too old",
        Err(Refusal::Protocol(_)) => "protocol",
    }
}

#[tokio::test]
async fn only_a_client_with_a_valid_certificate_comes_in_and_the_others_are_told_why() {
    let (own, other) = (authority("own"), authority("other"));
    let mutual = acceptor(&server_certificate(&own), require(&[&own]));
    let right = own.client("web", Validity::days(1)).unwrap();
    let expired = own.client("late", past()).unwrap();
    let stranger = other.client("web", Validity::days(1)).unwrap();
    let server = own.server(&[NAME], Validity::days(1)).unwrap();
    for (who, certificate, expected, alert) in [
        ("nobody", None, "no certificate", Some(116)),
        ("a stranger", Some(&stranger), "untrusted", Some(48)),
        ("late", Some(&expired), "expired", Some(45)),
        ("a server", Some(&server), "untrusted", Some(43)),
        ("right", Some(&right), "accepted", None),
    ] {
        for version in VERSIONS {
            let row = format!("{who}, {:?}", version.version);
            let (result, seen) = meet(&mutual, &client(&own, version, certificate)).await;
            assert_eq!(verdict(&result), expected, "{row}: {result:?}");
            assert_eq!(
                seen,
                alert.map_or(Seen::Session(HandshakeKind::Full), Seen::Alert),
                "{row}"
            );
            if let Ok(accepted) = result {
                assert_eq!(
                    accepted.certificate.unwrap().verified().unwrap().subject,
                    "CN=web",
                    "{row}"
                );
                let expected = if version == &rustls::version::TLS13 {
                    "1.3"
                } else {
                    "1.2"
                };
                assert_eq!(accepted.version, expected, "{row}");
            }
        }
    }
}

#[tokio::test]
async fn a_foreign_client_reads_the_alert_in_both_versions() {
    let (own, other) = (authority("own"), authority("other"));
    let mutual = acceptor(&server_certificate(&own), require(&[&own]));
    let right = own.client("web", Validity::days(1)).unwrap();
    let expired = own.client("late", past()).unwrap();
    let stranger = other.client("web", Validity::days(1)).unwrap();
    for (who, certificate, expected, told) in [
        ("nobody", None, "no certificate", "SSL alert number 116"),
        (
            "a stranger",
            Some(&stranger),
            "untrusted",
            "SSL alert number 48",
        ),
        ("late", Some(&expired), "expired", "SSL alert number 45"),
        ("right", Some(&right), "accepted", "welcome"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let (result, output) = meet_openssl(&mutual, &own, version, certificate).await;
            assert_eq!(verdict(&result), expected, "{who}, {version}: {result:?}");
            assert!(output.contains(told), "{who}, {version}: {output}");
        }
    }
}

/// A handshake between `acceptor` and `openssl s_client`, and what that wrote.
async fn meet_openssl(
    acceptor: &Acceptor,
    authority: &Authority,
    version: &str,
    own: Option<&Issued>,
) -> (Result<Accepted, Refusal>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (certificate, key) = own.map_or(("", ""), |own| (&own.certificate, &own.key));
    let dir = write_files(&[
        ("ca.pem", authority.certificate()),
        ("cert.pem", certificate),
        ("key.pem", key),
    ]);
    let mut args = vec![
        "s_client",
        "-connect",
        &address,
        "-servername",
        NAME,
        "-CAfile",
        "ca.pem",
        version,
        "-ign_eof",
    ];
    if own.is_some() {
        args.extend(["-cert", "cert.pem", "-key", "key.pem"]);
    }
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    let run = tokio::task::spawn_blocking(move || {
        openssl(&dir, &args.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let (result, output) = within(async { tokio::join!(serve(acceptor, &listener), run) }).await;
    (result, output.unwrap())
}

#[tokio::test]
async fn what_other_servers_accept_and_this_one_does_not_is_explained() {
    let (own, namesake) = (authority("own"), authority("own"));
    let mutual = acceptor(&server_certificate(&own), require(&[&own]));
    let dir = write_files(&[("ca.pem", own.certificate()), ("ca.key", &own.key_pem())]);
    openssl(
        &dir,
        &[
            "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "v1.key", "-out", "v1.csr", "-subj",
            "/CN=v1",
        ],
    );
    openssl(
        &dir,
        &[
            "x509",
            "-req",
            "-in",
            "v1.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-set_serial",
            "1",
            "-out",
            "v1.pem",
        ],
    );
    let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let v1 = Issued {
        certificate: read("v1.pem"),
        key: read("v1.key"),
    };
    let authority_itself = Issued {
        certificate: own.certificate().to_owned(),
        key: own.key_pem(),
    };
    let namesakes = namesake.client("web", Validity::days(1)).unwrap();
    let server = own.server(&[NAME], Validity::days(1)).unwrap();
    let now = SystemTime::now() + Duration::from_secs(7000);
    let early = own
        .client(
            "early",
            Validity {
                not_before: now,
                not_after: now + Duration::from_secs(60),
            },
        )
        .unwrap();
    for (certificate, words, alert) in [
        (
            &v1,
            "X.509 v1 certificate: issue it with extensions (v3)",
            46,
        ),
        (
            &authority_itself,
            "it is a CA's own certificate (CA:TRUE)",
            46,
        ),
        (
            &namesakes,
            "if two CAs have the same subject, both must be trusted",
            51,
        ),
        (
            &server,
            "its extended key usage does not include clientAuth",
            43,
        ),
        (&early, "it is not valid before 116 minutes from now", 45),
    ] {
        let (result, seen) = meet(
            &mutual,
            &client(&own, &rustls::version::TLS13, Some(certificate)),
        )
        .await;
        let text = result.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
        assert_eq!(seen, Seen::Alert(alert), "{words}");
    }
    let both = acceptor(&server_certificate(&own), require(&[&own, &namesake]));
    let (result, _) = meet(
        &both,
        &client(&own, &rustls::version::TLS13, Some(&namesakes)),
    )
    .await;
    assert_eq!(verdict(&result), "accepted");
}

#[tokio::test]
async fn a_client_whose_issuer_is_an_intermediate_comes_in_with_its_chain() {
    let own = authority("own");
    let mutual = acceptor(&server_certificate(&own), require(&[&own]));
    let department = own.intermediate("department", Validity::days(1)).unwrap();
    let mut issued = department.client("web", Validity::days(1)).unwrap();
    let (result, _) = meet(
        &mutual,
        &client(&own, &rustls::version::TLS13, Some(&issued)),
    )
    .await;
    assert_eq!(
        result
            .unwrap()
            .certificate
            .unwrap()
            .verified()
            .unwrap()
            .subject,
        "CN=web"
    );

    issued.certificate = issued
        .certificate
        .split_inclusive("-----END CERTIFICATE-----\n")
        .next()
        .unwrap()
        .to_owned();
    let (result, seen) = meet(
        &mutual,
        &client(&own, &rustls::version::TLS13, Some(&issued)),
    )
    .await;
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("an intermediate is missing")
    );
    assert_eq!(seen, Seen::Alert(48));
}

#[tokio::test]
async fn what_an_expired_authority_issued_is_still_believed() {
    let own = authority("own");
    let old = Authority::new("old", past()).unwrap();
    let mutual = acceptor(&server_certificate(&own), require(&[&old]));
    let web = old.client("web", Validity::days(1)).unwrap();
    let (result, _) = meet(&mutual, &client(&own, &rustls::version::TLS13, Some(&web))).await;
    assert_eq!(verdict(&result), "accepted");
}

/// Clients with several certificates choose by it.
#[test]
fn clients_are_told_which_authorities_count() {
    let [one, two] = ["one", "two"].map(authority);
    let verifier = ClientVerifier::new(&require(&[&one, &two])).unwrap();
    let hints = verifier.root_hint_subjects();
    for (hint, name) in hints.iter().zip([&b"one"[..], b"two"]) {
        assert!(hint.as_ref().ends_with(name), "{hint:?}");
    }
    assert_eq!(hints.len(), 2);
}

#[tokio::test]
async fn without_an_authority_nobody_comes_in_and_without_a_certificate_there_is_no_server() {
    let own = authority("own");
    let member = own.client("member", Validity::days(1)).unwrap();
    for terms in [
        ClientAuth::RequireAndVerify(Verify::default()),
        ClientAuth::VerifyIfGiven(Verify::default()),
    ] {
        let acceptor = acceptor(&server_certificate(&own), terms);
        for version in VERSIONS {
            let (_, seen) = meet(&acceptor, &client(&own, version, Some(&member))).await;
            assert!(matches!(seen, Seen::Alert(48)), "{seen:?}");
        }
    }
    assert!(matches!(
        Acceptor::new(Vec::new(), &AcceptorOptions::default(), true),
        Err(AcceptorError::NoCertificate)
    ));
}
