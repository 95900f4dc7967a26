//! Authorities and intermediates of one name: the key decides, in whatever order they stand.

use rustls::pki_types::UnixTime;

use super::*;

/// Terms with these authorities and lists.
fn verify(authorities: &[&Authority], lists: &[&str], depth: Depth) -> ClientAuth {
    let ClientAuth::RequireAndVerify(mut verify) = require(authorities) else {
        unreachable!()
    };
    let read = |list: &&str| Crl::parse_bundle(list.as_bytes()).unwrap();
    verify.revocation.lists = lists.iter().flat_map(read).collect();
    verify.revocation.depth = depth;
    ClientAuth::RequireAndVerify(verify)
}

/// Whether a client with `certificate` would be let in by `terms`.
fn judge(own: &Authority, terms: &ClientAuth, certificate: &Issued) -> Result<(), Refusal> {
    let options = AcceptorOptions {
        client_auth: terms.clone(),
        recallable: true,
        ..AcceptorOptions::default()
    };
    let acceptor = Acceptor::new(vec![server_certificate(own)], &options, true).unwrap();
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    acceptor.admits(&Admission {
        chain,
        at: UnixTime::now(),
    })
}

fn verdict(result: &Result<(), Refusal>) -> &'static str {
    match result {
        Ok(()) => "in",
        Err(Refusal::Revoked(_)) => "revoked",
        Err(Refusal::Untrusted(_)) => "untrusted",
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn of_two_authorities_of_one_name_each_asks_the_list_that_its_key_has_signed() {
    let [old, new] = ["ca"; 2].map(authority);
    let [[old_good, old_bad], [new_good, new_bad]] = [&old, &new]
        .map(|ca| ["good", "bad"].map(|name| ca.client(name, Validity::days(1)).unwrap()));
    let (old_list, new_list) = (revoke(&old, &[&old_bad]), revoke(&new, &[&new_bad]));
    for cas in [[&old, &new], [&new, &old]] {
        for lists in [[&*old_list, &*new_list], [&*new_list, &*old_list]] {
            let terms = verify(&cas, &lists, Depth::Leaf);
            for (certificate, expected) in [
                (&old_good, "in"),
                (&new_good, "in"),
                (&old_bad, "revoked"),
                (&new_bad, "revoked"),
            ] {
                assert_eq!(verdict(&judge(&old, &terms, certificate)), expected);
            }
        }
        // A list of one says nothing of the other's.
        let terms = verify(&cas, &[&new_list], Depth::Leaf);
        let refused = judge(&old, &terms, &old_good);
        assert_eq!(verdict(&refused), "untrusted");
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("were signed by other keys")
        );
        assert_eq!(verdict(&judge(&old, &terms, &new_good)), "in");
    }
}

#[test]
fn of_two_intermediates_of_one_name_each_asks_the_list_that_its_key_has_signed() {
    let root = authority("root");
    let [old, new] = ["issuing"; 2].map(|name| root.intermediate(name, Validity::days(1)).unwrap());
    let [old_good, new_bad] = [&old, &new].map(|ca| ca.client("web", Validity::days(1)).unwrap());
    let own = |ca: &Authority| Issued {
        certificate: ca.certificate().to_owned(),
        key: String::new(),
    };
    let lists = |gone: &[&Issued]| {
        [
            revoke(&old, &[]),
            revoke(&new, &[&new_bad]),
            revoke(&root, gone),
        ]
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        for (gone, expected) in [(vec![], "in"), (vec![&own(&old)], "revoked")] {
            let lists = lists(&gone);
            let terms = verify(&[&root], &order.map(|at: usize| &*lists[at]), Depth::Chain);
            assert_eq!(
                verdict(&judge(&root, &terms, &old_good)),
                expected,
                "{order:?}"
            );
            assert_eq!(
                verdict(&judge(&root, &terms, &new_bad)),
                "revoked",
                "{order:?}"
            );
        }
    }
}

#[test]
fn an_intermediate_that_was_renewed_may_stand_beside_the_one_that_has_expired() {
    let root = authority("root");
    let renewed = root.intermediate("issuing", Validity::days(1)).unwrap();
    let expired = root.intermediate("issuing", past()).unwrap();
    let mut web = renewed.client("web", Validity::days(1)).unwrap();
    let leaf = web
        .certificate
        .split_inclusive("-----END CERTIFICATE-----\n")
        .next()
        .unwrap()
        .to_owned();
    for chain in [[&expired, &renewed], [&renewed, &expired]] {
        web.certificate = leaf.clone() + chain[0].certificate() + chain[1].certificate();
        assert_eq!(verdict(&judge(&root, &require(&[&root]), &web)), "in");
    }
    web.certificate = leaf + expired.certificate();
    let refused = judge(&root, &require(&[&root]), &web)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("CN=issuing"), "{refused}");
}

#[test]
fn a_list_about_a_part_of_the_certificates_speaks_for_no_other_and_what_it_names_is_revoked() {
    let own = authority("own");
    let [good, bad] = ["good", "bad"].map(|name| own.client(name, Validity::days(1)).unwrap());
    let part = super::revocation::partition(&own, &[&bad]);
    let terms = verify(&[&own], &[&part], Depth::Leaf);
    let refused = judge(&own, &terms, &good);
    assert_eq!(verdict(&refused), "untrusted");
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("issuingDistributionPoint")
    );
    assert_eq!(verdict(&judge(&own, &terms, &bad)), "revoked");
    // Beside a list of everything, nothing is left open.
    let terms = verify(&[&own], &[&part, &revoke(&own, &[])], Depth::Leaf);
    assert_eq!(verdict(&judge(&own, &terms, &good)), "in");
}

#[test]
fn a_list_of_the_point_that_a_client_names_counts_unless_it_is_about_cas() {
    let own = authority("own");
    let key = rcgen::KeyPair::from_pem(&own.key_pem()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(own.certificate(), key).unwrap();
    for (point, scope, expected) in [
        (
            super::revocation::POINT,
            rcgen::CrlScope::UserCertsOnly,
            "in",
        ),
        (
            super::revocation::POINT,
            rcgen::CrlScope::CaCertsOnly,
            "untrusted",
        ),
        (
            "http://own.example/other",
            rcgen::CrlScope::UserCertsOnly,
            "untrusted",
        ),
    ] {
        let mut params = rcgen::CertificateParams::default();
        params
            .crl_distribution_points
            .push(rcgen::CrlDistributionPoint {
                uris: vec![point.to_owned()],
            });
        let certificate = params
            .signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer)
            .unwrap()
            .pem();
        let row = format!("{point}, {scope:?}");
        let list = super::revocation::of_point(&own, &[], scope);
        let web = Issued {
            certificate,
            key: String::new(),
        };
        assert_eq!(
            verdict(&judge(&own, &verify(&[&own], &[&list], Depth::Leaf), &web)),
            expected,
            "{row}"
        );
    }
}

#[test]
fn a_list_from_the_future_does_not_take_the_place_of_one_of_today() {
    let own = authority("own");
    let [early, late, good] =
        ["early", "late", "good"].map(|name| own.client(name, Validity::days(1)).unwrap());
    let tomorrow = SystemTime::now() + Duration::from_secs(86400);
    let future = Validity {
        not_before: tomorrow,
        not_after: tomorrow + Duration::from_secs(86400),
    };
    let (today, future) = (
        revoke(&own, &[&early]),
        revocation_list(&own, &[&late], future),
    );
    for lists in [[&*today, &*future], [&*future, &*today]] {
        let terms = verify(&[&own], &lists, Depth::Leaf);
        for (certificate, expected) in [(&early, "revoked"), (&late, "revoked"), (&good, "in")] {
            assert_eq!(verdict(&judge(&own, &terms, certificate)), expected);
        }
    }
}

#[test]
fn whoever_is_pinned_comes_in_and_vouches_for_nobody() {
    let own = authority("own");
    let lone = |name: &str| {
        rcgen::generate_simple_self_signed(vec![name.to_owned()])
            .unwrap()
            .cert
            .pem()
    };
    let issued = |pem: &str| Issued {
        certificate: pem.to_owned(),
        key: String::new(),
    };
    let (known, stranger) = (issued(&lone("known")), issued(&lone("stranger")));
    let ca = issued(own.certificate());
    let of_ca = own.client("web", Validity::days(1)).unwrap();
    let expired = own.client("late", past()).unwrap();
    let pinned = |certificates: &[&Issued], dates| {
        let mut pins = Pins::new(dates);
        for certificate in certificates {
            pins.add_certificates(&Pin::parse_bundle(certificate.certificate.as_bytes()).unwrap());
        }
        ClientAuth::Pinned(pins, crate::authz::Policy::default())
    };
    let terms = pinned(&[&known, &ca, &expired], Dates::Verify);
    for (certificate, expected) in [
        (&known, "in"),
        (&ca, "in"),
        (&stranger, "untrusted"),
        (&of_ca, "untrusted"),
    ] {
        assert_eq!(verdict(&judge(&own, &terms, certificate)), expected);
    }
    assert!(matches!(
        judge(&own, &terms, &expired),
        Err(Refusal::Expired(_))
    ));
    judge(&own, &pinned(&[&expired], Dates::Ignore), &expired).unwrap();
    // By its key the certificate may be another one.
    let mut pins = Pins::new(Dates::Verify);
    let der = CertificateDer::from_pem_slice(of_ca.certificate.as_bytes()).unwrap();
    pins.add_key(&identity::sha256(pem::parse(&der).unwrap().public_key().raw).into());
    judge(
        &own,
        &ClientAuth::Pinned(pins, crate::authz::Policy::default()),
        &of_ca,
    )
    .unwrap();
    let nobody = ClientAuth::Pinned(Pins::default(), crate::authz::Policy::default());
    assert_eq!(verdict(&judge(&own, &nobody, &known)), "untrusted");
}

#[tokio::test]
async fn a_pin_is_worth_nothing_without_its_key() {
    let own = authority("own");
    let [right, wrong] = ["web", "other"].map(|name| own.client(name, Validity::days(1)).unwrap());
    let mut pins = Pins::new(Dates::Verify);
    pins.add_certificates(&Pin::parse_bundle(right.certificate.as_bytes()).unwrap());
    let terms = || ClientAuth::Pinned(pins.clone(), crate::authz::Policy::default());
    let pinned = acceptor(&server_certificate(&own), terms());
    let stolen = Issued {
        certificate: right.certificate.clone(),
        key: wrong.key,
    };
    for version in VERSIONS {
        let (result, _) = meet(&pinned, &client(&own, version, Some(&right))).await;
        assert!(result.unwrap().certificate.unwrap().verified().is_some());
        let (result, seen) = meet(&pinned, &client(&own, version, Some(&stolen))).await;
        assert!(
            result
                .unwrap_err()
                .to_string()
                .contains("has not proved that it has the certificate's key")
        );
        assert_eq!(seen, Seen::Alert(51));
    }
}

/// Authorities are verified as peers are.
#[test]
fn authorities_are_verified_by_the_algorithms_of_handshakes() {
    let ids = |all: &[&dyn rustls::pki_types::SignatureVerificationAlgorithm]| -> Vec<_> {
        all.iter()
            .map(|by| (by.public_key_alg_id(), by.signature_alg_id()))
            .collect()
    };
    assert_eq!(
        ids(crate::x509::algorithms::ALGORITHMS),
        ids(algorithms().all)
    );
}
