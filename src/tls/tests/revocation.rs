//! Revoked certificates, at the door and afterwards.

use rustls::pki_types::UnixTime;

use super::*;

fn verify(
    authorities: &[&Authority],
    lists: &[&str],
    change: impl FnOnce(&mut Revocation),
) -> ClientAuth {
    let ClientAuth::RequireAndVerify(mut verify) = require(authorities) else {
        unreachable!()
    };
    let read = |list: &&str| Crl::parse_bundle(list.as_bytes()).unwrap();
    verify.revocation.lists = lists.iter().flat_map(read).collect();
    change(&mut verify.revocation);
    ClientAuth::RequireAndVerify(verify)
}

/// The alert that a client with `certificate` gets in both versions of TLS; `None` if it comes in.
async fn alert(own: &Authority, terms: ClientAuth, certificate: &Issued) -> Option<u8> {
    let acceptor = acceptor(&server_certificate(own), terms);
    let mut alerts = Vec::new();
    for version in VERSIONS {
        let (result, seen) = meet(&acceptor, &client(own, version, Some(certificate))).await;
        alerts.push(match seen {
            Seen::Alert(alert) => Some(alert),
            Seen::Session(_) => None,
            Seen::End(error) => panic!("{error}"),
        });
        if let Some(Some(44)) = alerts.last() {
            assert!(matches!(result, Err(Refusal::Revoked(_))), "{result:?}");
        }
    }
    assert_eq!(alerts[0], alerts[1], "TLS 1.2 and 1.3");
    alerts[0]
}

#[tokio::test]
async fn who_is_on_the_list_is_told_so_and_the_others_come_in() {
    let own = authority("own");
    let [good, bad] = ["good", "bad"].map(|name| own.client(name, Validity::days(1)).unwrap());
    let list = revoke(&own, &[&bad]);
    for (certificate, expected) in [(&bad, Some(44)), (&good, None)] {
        assert_eq!(
            alert(&own, verify(&[&own], &[&list], |_| ()), certificate).await,
            expected
        );
    }
}

/// Clocks differ by minutes; what is ahead by more says of nobody that they are good, and revokes
/// all the same.
#[tokio::test]
async fn a_list_from_the_future_revokes_at_once_and_is_good_for_nobody_before_its_time() {
    let own = authority("own");
    let [good, bad] = ["good", "bad"].map(|name| own.client(name, Validity::days(1)).unwrap());
    let from = |minutes: u64| {
        let begin = SystemTime::now() + Duration::from_secs(minutes * 60);
        revocation_list(
            &own,
            &[&bad],
            Validity {
                not_before: begin,
                ..Validity::days(1)
            },
        )
    };
    let today = revoke(&own, &[]);
    for (lists, expected) in [
        (vec![from(4)], None),
        (vec![from(6)], Some(48)),
        (vec![from(6), today.clone()], None),
        (vec![today, from(6)], None),
    ] {
        let lists: Vec<&str> = lists.iter().map(String::as_str).collect();
        assert_eq!(
            alert(&own, verify(&[&own], &lists, |_| ()), &good).await,
            expected,
            "{} lists",
            lists.len()
        );
        assert_eq!(
            alert(&own, verify(&[&own], &lists, |_| ()), &bad).await,
            Some(44),
            "{} lists",
            lists.len()
        );
    }
}

#[tokio::test]
async fn of_two_lists_the_newer_one_counts_in_whatever_order_they_stand() {
    let own = authority("own");
    let bad = own.client("bad", Validity::days(1)).unwrap();
    let now = SystemTime::now();
    let old = Validity {
        not_before: now - Duration::from_secs(7200),
        not_after: now + Duration::from_secs(3600),
    };
    let (old, new) = (revocation_list(&own, &[], old), revoke(&own, &[&bad]));
    for lists in [[&*old, &*new], [&*new, &*old]] {
        assert_eq!(
            alert(&own, verify(&[&own], &lists, |_| ()), &bad).await,
            Some(44)
        );
    }
    // The other way round: what is no longer on the newest list has been reinstated
    // (certificateHold).
    let (with, without) = (
        revocation_list(
            &own,
            &[&bad],
            Validity {
                not_before: now - Duration::from_secs(7200),
                ..Validity::days(1)
            },
        ),
        revoke(&own, &[]),
    );
    assert_eq!(
        alert(&own, verify(&[&own], &[&with, &without], |_| ()), &bad).await,
        None
    );
}

/// A list that names `revoked`, with this number and scope, from `year` on.
fn scoped(
    authority: &Authority,
    revoked: &[&Issued],
    (year, number): (i32, &[u8]),
    scope: Option<rcgen::CrlScope>,
    key_identifier_method: rcgen::KeyIdMethod,
) -> String {
    let revoked_certs = revoked.iter().map(|issued| rcgen::RevokedCertParams {
        serial_number: serial(issued).into(),
        revocation_time: rcgen::date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(year, 1, 1),
        next_update: rcgen::date_time_ymd(2999, 1, 1),
        crl_number: number.to_vec().into(),
        issuing_distribution_point: scope.map(|scope| rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec![POINT.to_owned()],
            },
            scope: Some(scope),
        }),
        revoked_certs: revoked_certs.collect(),
        key_identifier_method,
    };
    let key = rcgen::KeyPair::from_pem(&authority.key_pem()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(authority.certificate(), key).unwrap();
    list.signed_by(&issuer).unwrap().pem().unwrap()
}

/// A list about the certificates of one distribution point.
pub(super) fn partition(authority: &Authority, revoked: &[&Issued]) -> String {
    of_point(authority, revoked, rcgen::CrlScope::UserCertsOnly)
}

/// The name of that distribution point.
pub(super) const POINT: &str = "http://own.example/crl";

/// The same, for users or for authorities.
pub(super) fn of_point(
    authority: &Authority,
    revoked: &[&Issued],
    scope: rcgen::CrlScope,
) -> String {
    scoped(
        authority,
        revoked,
        (2020, &[1]),
        Some(scope),
        rcgen::KeyIdMethod::Sha256,
    )
}

#[tokio::test]
async fn the_newest_list_counts_whatever_it_says_of_its_scope() {
    let own = authority("own");
    let bad = own.client("bad", Validity::days(1)).unwrap();
    let new = revoke(&own, &[&bad]);
    for (key, scope) in [
        (rcgen::KeyIdMethod::PreSpecified(vec![1]), None),
        (
            rcgen::KeyIdMethod::Sha256,
            Some(rcgen::CrlScope::UserCertsOnly),
        ),
    ] {
        let old = scoped(&own, &[], (2020, &[1]), scope, key);
        for lists in [[&*old, &*new], [&*new, &*old]] {
            assert_eq!(
                alert(&own, verify(&[&own], &lists, |_| ()), &bad).await,
                Some(44)
            );
        }
    }
}

#[tokio::test]
async fn of_two_lists_of_one_second_the_one_with_the_higher_number_counts() {
    let own = authority("own");
    let bad = own.client("bad", Validity::days(1)).unwrap();
    let key = || rcgen::KeyIdMethod::Sha256;
    for (lower, higher) in [(&[1][..], &[2][..]), (&[0x7f], &[1, 0])] {
        let old = scoped(&own, &[], (2020, lower), None, key());
        let new = scoped(&own, &[&bad], (2020, higher), None, key());
        for lists in [[&*old, &*new], [&*new, &*old]] {
            assert_eq!(
                alert(&own, verify(&[&own], &lists, |_| ()), &bad).await,
                Some(44),
                "{lower:?} {higher:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_newer_list_about_other_certificates_does_not_take_the_place_of_one_about_these() {
    let own = authority("own");
    let bad = own.client("bad", Validity::days(1)).unwrap();
    let key = || rcgen::KeyIdMethod::Sha256;
    let users = scoped(
        &own,
        &[&bad],
        (2020, &[1]),
        Some(rcgen::CrlScope::UserCertsOnly),
        key(),
    );
    let authorities = scoped(
        &own,
        &[],
        (2021, &[2]),
        Some(rcgen::CrlScope::CaCertsOnly),
        key(),
    );
    for lists in [[&*users, &*authorities], [&*authorities, &*users]] {
        assert_eq!(
            alert(&own, verify(&[&own], &lists, |_| ()), &bad).await,
            Some(44)
        );
    }
}

#[tokio::test]
async fn without_a_list_of_the_issuer_or_with_an_old_one_nobody_comes_in_unless_allowed() {
    let (own, other) = (authority("own"), authority("other"));
    let good = own.client("good", Validity::days(1)).unwrap();
    let foreign = revoke(&other, &[]);
    let both = &[&own, &other];
    assert_eq!(
        alert(&own, verify(both, &[&foreign], |_| ()), &good).await,
        Some(48)
    );
    assert_eq!(
        alert(
            &own,
            verify(both, &[&foreign], |r| r.unknown = Unknown::Allow),
            &good
        )
        .await,
        None
    );
    let late = revocation_list(&own, &[], past());
    assert_eq!(
        alert(&own, verify(&[&own], &[&late], |_| ()), &good).await,
        Some(48)
    );
    assert_eq!(
        alert(
            &own,
            verify(&[&own], &[&late], |r| r.expired = Expired::Allow),
            &good
        )
        .await,
        None
    );
    // What an old list knows it still knows.
    let late = revocation_list(&own, &[&good], past());
    assert_eq!(
        alert(
            &own,
            verify(&[&own], &[&late], |r| r.expired = Expired::Allow),
            &good
        )
        .await,
        Some(44)
    );
}

#[tokio::test]
async fn a_list_that_its_issuer_did_not_sign_is_none() {
    let [own, impostor] = ["own"; 2].map(authority);
    let good = own.client("good", Validity::days(1)).unwrap();
    let forged = revoke(&impostor, &[]);
    assert_eq!(
        alert(&own, verify(&[&own], &[&forged], |_| ()), &good).await,
        Some(48)
    );
}

#[tokio::test]
async fn intermediates_are_looked_up_where_the_whole_chain_is() {
    let root = authority("root");
    let issuing = root.intermediate("issuing", Validity::days(1)).unwrap();
    let good = issuing.client("good", Validity::days(1)).unwrap();
    let serial = |pem: &str| Issued {
        certificate: pem.to_owned(),
        key: String::new(),
    };
    let leaf_list = revoke(&issuing, &[]);
    let revoked = revoke(&root, &[&serial(issuing.certificate())]);
    let whole = |r: &mut Revocation| r.depth = Depth::Chain;
    assert_eq!(
        alert(&root, verify(&[&root], &[&leaf_list], |_| ()), &good).await,
        None
    );
    assert_eq!(
        alert(&root, verify(&[&root], &[&leaf_list], whole), &good).await,
        Some(48)
    );
    assert_eq!(
        alert(
            &root,
            verify(&[&root], &[&leaf_list, &revoked], whole),
            &good
        )
        .await,
        Some(44)
    );
    assert_eq!(
        alert(
            &root,
            verify(&[&root], &[&leaf_list, &revoke(&root, &[])], whole),
            &good
        )
        .await,
        None
    );
}

#[tokio::test]
async fn what_a_client_came_in_by_is_judged_again_by_other_terms_and_not_by_the_clock() {
    let (own, other) = (authority("own"), authority("other"));
    let certificate = server_certificate(&own);
    let recallable = |client_auth| {
        let options = AcceptorOptions {
            client_auth,
            recallable: true,
            ..AcceptorOptions::default()
        };
        Acceptor::new(vec![Arc::clone(&certificate)], &options, true).unwrap()
    };
    let before = recallable(require(&[&own]));
    let start = UnixTime::now();
    let lasting = own.client("web", Validity::days(1)).unwrap();
    let (accepted, _) = meet(&before, &client(&own, VERSIONS[1], Some(&lasting))).await;
    let admission = Admission::of(&accepted.unwrap());
    assert_eq!(
        admission.chain,
        [CertificateDer::from_pem_slice(lasting.certificate.as_bytes()).unwrap()]
    );
    assert!(
        (start..=UnixTime::now()).contains(&admission.at),
        "{admission:?}"
    );

    // One whose certificate has ended since.
    let ended = own.client("web", past()).unwrap();
    let admission = Admission {
        chain: vec![CertificateDer::from_pem_slice(ended.certificate.as_bytes()).unwrap()],
        at: UnixTime::since_unix_epoch(
            past().not_after.duration_since(UNIX_EPOCH).unwrap() - Duration::from_secs(60),
        ),
    };
    assert!(!matches!(
        meet(&before, &client(&own, VERSIONS[1], Some(&ended)))
            .await
            .1,
        Seen::Session(_)
    ));
    before.admits(&admission).unwrap();
    recallable(require(&[&other, &own]))
        .admits(&admission)
        .unwrap();
    recallable(ClientAuth::None).admits(&admission).unwrap();
    recallable(ClientAuth::RequireAny)
        .admits(&admission)
        .unwrap();
    assert!(matches!(
        recallable(require(&[&other])).admits(&admission),
        Err(Refusal::Untrusted(_))
    ));
    let list = revoke(&own, &[&ended]);
    assert!(matches!(
        recallable(verify(&[&own], &[&list], |_| ())).admits(&admission),
        Err(Refusal::Revoked(_))
    ));
}

#[test]
fn a_list_that_cannot_be_used_refuses_the_whole_file() {
    let own = authority("own");
    let list = revoke(&own, &[]);
    let parse = |text: &str| {
        Crl::parse_bundle(text.as_bytes())
            .map(|found| found.len())
            .map_err(|e| e.to_string())
    };
    assert_eq!(parse(&format!("{list}{list}")), Ok(2));
    let der =
        rustls::pki_types::CertificateRevocationListDer::from_pem_slice(list.as_bytes()).unwrap();
    assert_eq!(
        Crl::parse_bundle(&der).map(|found| found[0].issuer().to_owned()),
        Ok("CN=own".to_owned())
    );
    let next = list.lines().count() + 1;
    for (text, expected) in [
        (String::new(), "the file is empty"),
        (
            "# none".to_owned(),
            "there is no certificate revocation list in the file",
        ),
        (
            own.certificate().to_owned(),
            "the file holds no certificate revocation list but a certificate",
        ),
        (
            format!("{list}{}", list.replace("X509 CRL", "X509 CRLS")),
            &*format!("line {next}: a \"X509 CRLS\" begins here"),
        ),
        (
            format!("{list}{}", &list[..list.len() / 2]),
            &*format!("line {next}: the X509 CRL that begins here does not end"),
        ),
        (
            format!("{list}-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"),
            "revocation list 2 of 2 in the file",
        ),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(Crl::parse_bundle(&der[..der.len() - 1]).is_err());
    assert!(Crl::parse_bundle(&[&der[..], b"\0"].concat()).is_err());
}

#[test]
fn lists_that_openssl_writes_are_read() {
    let dir = write_files(&[
        (
            "openssl.cnf",
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n",
        ),
        ("index.txt", ""),
        ("number", "01\n"),
    ]);
    openssl(
        &dir,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "k",
            "-out",
            "c",
            "-subj",
            "/O=Shop/CN=ca",
        ],
    );
    openssl(
        &dir,
        &[
            "ca",
            "-gencrl",
            "-config",
            "openssl.cnf",
            "-keyfile",
            "k",
            "-cert",
            "c",
            "-crldays",
            "30",
            "-out",
            "crl",
        ],
    );
    let list = Crl::parse_bundle(&std::fs::read(dir.path().join("crl")).unwrap())
        .unwrap()
        .remove(0);
    assert_eq!((list.issuer(), list.revoked()), ("CN=ca,O=Shop", 0));
    let days = list
        .next_update()
        .duration_since(list.this_update())
        .unwrap()
        .as_secs()
        / 86400;
    assert_eq!(days, 30);
}
