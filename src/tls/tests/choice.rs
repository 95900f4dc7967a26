//! Choice between several certificates that are good for a name.

use rustls::SignatureScheme;

use super::*;
use crate::name::ServerName;
use crate::tls::Signatures;

/// A certificate for `name` with a key of the kind that openssl calls so, signed by itself.
fn made(name: &str, kind: &str) -> Arc<Certificate> {
    let dir = write_files(&[]);
    let names = format!("subjectAltName=DNS:{name}");
    let mut arguments = vec![
        "req", "-x509", "-nodes", "-keyout", "key", "-out", "pem", "-subj", "/CN=x", "-addext",
    ];
    arguments.extend([names.as_str(), "-newkey"]);
    arguments.extend(kind.split(' '));
    let printed = openssl(&dir, &arguments);
    let read = |file: &str| std::fs::read(dir.path().join(file)).expect(&printed);
    Arc::new(Certificate::load(&read("pem"), &read("key")).unwrap())
}

fn issued(names: &[&str], validity: Validity) -> Arc<Certificate> {
    let issued = authority("own").server(names, validity).unwrap();
    Arc::new(Certificate::load(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap())
}

fn in_order(certificates: &[&Arc<Certificate>], strict: bool) -> Acceptor {
    Acceptor::new(
        certificates.iter().map(|one| Arc::clone(one)).collect(),
        &AcceptorOptions::default(),
        strict,
    )
    .unwrap()
}

/// The position of the choice in `certificates`.
fn position(certificates: &[&Arc<Certificate>], choice: Option<&Choice>) -> Option<usize> {
    certificates
        .iter()
        .position(|one| choice.is_some_and(|choice| Arc::ptr_eq(one, choice.certificate())))
}

const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const P384: &str = "ec -pkeyopt ec_paramgen_curve:P-384";

#[test]
fn of_several_certificates_the_client_gets_one_that_it_can_verify_and_rather_not_rsa() {
    use SignatureScheme as S;
    let [rsa, p256, p384, edwards] = [
        made(NAME, "rsa:2048"),
        made(NAME, P256),
        made(NAME, P384),
        made(NAME, "ed25519"),
    ];
    let wild = [made("*.example", "rsa:2048"), made("*.example", P256)];
    let set = |schemes: &[SignatureScheme]| schemes.iter().copied().collect::<Signatures>();
    let every = Signatures::all();
    let old = set(&[S::RSA_PKCS1_SHA256, S::RSA_PSS_SHA256]);
    let modern = set(&[S::ECDSA_NISTP256_SHA256, S::RSA_PSS_SHA256]);
    let odd = set(&[S::ED25519]);
    for (what, certificates, expected) in [
        (
            "RSA first",
            &[&rsa, &p256][..],
            [(every, 1), (old, 0), (modern, 1), (odd, 1)],
        ),
        (
            "RSA last",
            &[&p256, &rsa],
            [(every, 0), (old, 1), (modern, 0), (odd, 0)],
        ),
        (
            "curves",
            &[&p384, &p256, &rsa],
            [(every, 0), (old, 2), (modern, 1), (odd, 0)],
        ),
        (
            "every kind",
            &[&rsa, &edwards, &p256],
            [(every, 1), (old, 0), (modern, 2), (odd, 1)],
        ),
        (
            "RSA alone",
            &[&rsa],
            [(every, 0), (old, 0), (modern, 0), (odd, 0)],
        ),
        // A certificate made for this name alone was meant for it, if the client can use it.
        (
            "a wildcard of each",
            &[&wild[0], &wild[1], &rsa],
            [(every, 2), (old, 2), (modern, 2), (odd, 2)],
        ),
        (
            "a wildcard for the rest",
            &[&wild[0], &p256],
            [(every, 1), (old, 0), (modern, 1), (odd, 1)],
        ),
    ] {
        let acceptor = in_order(certificates, true);
        for (signatures, expected) in expected {
            let choice = acceptor.select_for(signatures, Some(&NAME.parse().unwrap()), || None);
            assert_eq!(
                position(certificates, choice),
                Some(expected),
                "{what}: {signatures:?}"
            );
        }
    }
    // The default one stays the first, as long as the client can make anything of it.
    let certificates = [&p256, &rsa, &edwards];
    let acceptor = in_order(&certificates, false);
    let other: ServerName = "other.example".parse().unwrap();
    for (signatures, expected) in [(every, 0), (old, 1), (modern, 0), (odd, 2)] {
        for name in [None, Some(&other)] {
            let choice = acceptor.select_for(signatures, name, || None);
            assert_eq!(
                position(&certificates, choice),
                Some(expected),
                "{name:?}: {signatures:?}"
            );
        }
    }
}

#[test]
fn a_certificate_is_used_from_the_moment_at_which_it_is_valid_and_stands_back_when_it_has_ended() {
    let start = SystemTime::now();
    let at = |seconds: i64| {
        let span = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            start - span
        } else {
            start + span
        }
    };
    let validity = |from, to| Validity {
        not_before: at(from),
        not_after: at(to),
    };
    let day = 24 * 3600;
    let coming = issued(&[NAME], validity(day, 10 * day));
    let running = issued(&["*.example"], validity(-day, 2 * day));
    let certificates = [&coming, &running];
    let acceptor = in_order(&certificates, true);
    let name = NAME.parse().unwrap();
    for (moment, expected) in [
        (0, 1),
        (day - 301, 1),
        (day - 299, 0),
        (3 * day, 0),
        (11 * day, 0),
    ] {
        let choice = acceptor.select_at(at(moment), Signatures::all(), Some(&name), || None);
        assert_eq!(
            position(&certificates, choice),
            Some(expected),
            "{moment} seconds from now"
        );
    }
    // With nothing else to show, it is shown: the clock may be wrong, and clients have clocks of
    // their own.
    let alone = in_order(&[&coming], true);
    assert!(alone.select(Some(&name), || None).is_some());
    // The same for clients without a name, and for the default one.
    let [late, early] = [day, -day].map(|from| issued(&["192.0.2.1"], validity(from, 2 * day)));
    let lenient = in_order(&[&late, &early], false);
    let address = || Some("192.0.2.1".parse().unwrap());
    assert_eq!(
        position(&[&late, &early], lenient.select(None, address)),
        Some(1)
    );
    assert_eq!(
        position(&[&late, &early], lenient.select(None, || None)),
        Some(1)
    );
}
