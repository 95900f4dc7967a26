//! Files as operators have them, and which certificate a client gets.

use std::net::IpAddr;

use super::*;
use crate::name::ServerName;
use crate::tls::CertificateError;
use crate::x509::{BundleError, CertificateIssue, Foreign, Form, PemError};

fn load(certificate: &str, key: &str) -> Result<Certificate, CertificateError> {
    Certificate::load(certificate.as_bytes(), key.as_bytes())
}

fn issues(certificate: &str, key: &str) -> Vec<CertificateIssue> {
    load(certificate, key).unwrap().issues().to_vec()
}

#[test]
fn the_leaf_may_stand_anywhere_and_the_chain_is_put_in_order() {
    let root = authority("root");
    let middle = root.intermediate("middle", Validity::days(1)).unwrap();
    let issuing = middle.intermediate("issuing", Validity::days(1)).unwrap();
    let issued = issuing.server(&[NAME], Validity::days(1)).unwrap();
    let blocks: Vec<&str> = issued
        .certificate
        .split_inclusive("-----END CERTIFICATE-----\n")
        .collect();
    let [leaf, first, second] = blocks[..] else {
        panic!("{}", issued.certificate)
    };
    let (top, other) = (root.certificate(), authority("other"));
    let unrelated = other.certificate();
    let in_order = load(&issued.certificate, &issued.key).unwrap();
    for (what, file, sent, expected) in [
        ("in order", [leaf, first, second].concat(), 3, vec![]),
        (
            "with its root",
            [leaf, first, second, top].concat(),
            4,
            vec![CertificateIssue::Root("CN=root".to_owned())],
        ),
        (
            "with a gap below the root",
            [leaf, first, top].concat(),
            2,
            vec![
                CertificateIssue::Unrelated(1),
                CertificateIssue::Incomplete("CN=middle".to_owned()),
            ],
        ),
        (
            "leaf last",
            [second, first, leaf].concat(),
            3,
            vec![CertificateIssue::Reordered],
        ),
        (
            "intermediates swapped",
            [leaf, second, first].concat(),
            3,
            vec![CertificateIssue::Reordered],
        ),
        (
            "leaf twice",
            [leaf, first, leaf, second].concat(),
            3,
            vec![CertificateIssue::Copies(1)],
        ),
        (
            "an unrelated one",
            [leaf, unrelated, first, second].concat(),
            3,
            vec![CertificateIssue::Unrelated(1)],
        ),
        (
            "a gap",
            [leaf, second].concat(),
            1,
            vec![
                CertificateIssue::Unrelated(1),
                CertificateIssue::Incomplete("CN=issuing".to_owned()),
            ],
        ),
        ("alone", leaf.to_owned(), 1, vec![]),
    ] {
        let certificate = load(&file, &issued.key).unwrap();
        assert_eq!(certificate.issues(), expected, "{what}");
        assert_eq!(certificate.fingerprint(), in_order.fingerprint(), "{what}");
        assert_eq!(certificate.certified().cert.len(), sent, "{what}");
        let same = certificate
            .certified()
            .cert
            .iter()
            .zip(&in_order.certified().cert)
            .all(|(a, b)| a == b);
        assert!(same, "{what}");
    }
}

/// Files as openssl writes them, with the text of each certificate before it.
#[test]
fn a_chain_of_openssl_is_sent_so_that_openssl_verifies_it_whatever_its_order() {
    let dir = write_files(&[
        (
            "ca.ext",
            "basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid",
        ),
        (
            "leaf.ext",
            "subjectAltName=DNS:app.example\nauthorityKeyIdentifier=keyid,issuer",
        ),
    ]);
    let run = |args: &str| openssl(&dir, &args.split(' ').collect::<Vec<_>>());
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    run("req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=root -days 2");
    for (name, kind, issuer, ext) in [
        ("middle", "rsa:2048", "root", "ca.ext"),
        ("issuing", "rsa:2048", "middle", "ca.ext"),
        ("stray", "rsa:2048", "root", "ca.ext"),
        ("leaf", "rsa:2048", "issuing", "leaf.ext"),
    ] {
        run(&format!(
            "req -newkey {kind} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        let signed = format!(
            "x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial -days 2"
        );
        run(&format!("{signed} -extfile {ext} -text -out {name}.pem"));
    }
    let [leaf, issuing, middle, stray] =
        ["leaf", "issuing", "middle", "stray"].map(|name| read(&format!("{name}.pem")));
    assert!(leaf.starts_with("Certificate:"), "{leaf}");
    let (unrelated, copies) = (CertificateIssue::Unrelated, CertificateIssue::Copies);
    for (what, file, expected) in [
        ("in order", vec![&leaf, &issuing, &middle], vec![]),
        (
            "backwards",
            vec![&middle, &issuing, &leaf],
            vec![CertificateIssue::Reordered],
        ),
        (
            "a stray intermediate",
            vec![&leaf, &stray, &issuing, &middle],
            vec![unrelated(1)],
        ),
        (
            "leaf and issuer twice",
            vec![&leaf, &leaf, &issuing, &middle, &issuing],
            vec![copies(2)],
        ),
        (
            "all at once",
            vec![&stray, &middle, &leaf, &issuing, &leaf],
            vec![CertificateIssue::Reordered, copies(1), unrelated(1)],
        ),
    ] {
        let file: String = file.into_iter().map(String::as_str).collect();
        for key in [
            read("leaf.key"),
            file.clone() + &read("leaf.key"),
            read("leaf.key") + &file,
        ] {
            let certificate = load(&file, &key).unwrap();
            assert_eq!(certificate.issues(), expected, "{what}");
            for (at, der) in certificate.certified().cert.iter().enumerate() {
                std::fs::write(dir.path().join(format!("sent-{at}.der")), der).unwrap();
                run(&format!(
                    "x509 -inform DER -in sent-{at}.der -out sent-{at}.pem"
                ));
            }
            assert_eq!(certificate.certified().cert.len(), 3, "{what}");
            let rest = read("sent-1.pem") + &read("sent-2.pem");
            std::fs::write(dir.path().join("rest.pem"), rest).unwrap();
            let verified = run(
                "verify -CAfile root.pem -untrusted rest.pem -verify_hostname app.example sent-0.pem",
            );
            assert!(verified.contains("sent-0.pem: OK"), "{what}: {verified}");
        }
    }
    let stranger = load(&leaf, &read("stray.key")).unwrap_err();
    assert_eq!(stranger, CertificateError::Mismatch);
}

#[test]
fn every_usual_form_of_a_key_loads() {
    let dir = write_files(&[]);
    let run = |args: &str| openssl(&dir, &args.split(' ').collect::<Vec<_>>());
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    run("ecparam -name prime256v1 -genkey -out sec1.pem");
    run("genrsa -traditional -out pkcs1.pem 2048");
    run("genpkey -algorithm ed25519 -out ed25519.pem");
    run("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384 -out p384.pem");
    run("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-521 -out p521.pem");
    run("ecparam -name secp384r1 -genkey -noout -out sec1-p384.pem");
    run("genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:3072 -out rsa.pem");
    for (key, begins) in [
        ("sec1", "EC PARAMETERS"),
        ("sec1-p384", "EC PRIVATE KEY"),
        ("pkcs1", "RSA PRIVATE KEY"),
        ("rsa", "PRIVATE KEY"),
        ("ed25519", "PRIVATE KEY"),
        ("p384", "PRIVATE KEY"),
        ("p521", "PRIVATE KEY"),
    ] {
        run(&format!(
            "req -x509 -key {key}.pem -out {key}.crt -subj /CN=x -addext subjectAltName=DNS:{NAME}"
        ));
        run(&format!(
            "x509 -in {key}.crt -outform DER -out {key}.crt.der"
        ));
        run(&format!("pkey -in {key}.pem -outform DER -out {key}.der"));
        run(&format!(
            "pkcs8 -topk8 -nocrypt -in {key}.pem -outform DER -out {key}.p8"
        ));
        let (pem, certificate) = (read(&format!("{key}.pem")), read(&format!("{key}.crt")));
        assert!(
            pem.starts_with(format!("-----BEGIN {begins}-----").as_bytes()),
            "{key}"
        );
        let both = [&pem[..], &certificate].concat();
        let (key_der, certificate_der) =
            (read(&format!("{key}.der")), read(&format!("{key}.crt.der")));
        for (what, certificate, pem) in [
            ("two PEM files", &certificate, &pem),
            ("one PEM file", &both, &both),
            ("two DER files", &certificate_der, &key_der),
            ("DER certificate, PEM key", &certificate_der, &pem),
            ("PEM certificate, DER key", &certificate, &key_der),
            ("PKCS#8 in DER", &certificate, &read(&format!("{key}.p8"))),
        ] {
            let loaded = Certificate::load(certificate, pem);
            assert!(
                loaded.is_ok_and(|loaded| loaded.covers(&NAME.parse().unwrap())),
                "{key}: {what}"
            );
        }
    }
}

#[test]
fn a_leaf_without_key_usages_and_constraints_loads() {
    let own = authority("own");
    let dir = write_files(&[
        ("ca.pem", own.certificate()),
        ("ca.key", &own.key_pem()),
        ("ext", "subjectAltName=DNS:a.example"),
    ]);
    let run = |args: &str| openssl(&dir, &args.split(' ').collect::<Vec<_>>());
    run("req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=cn.example");
    run("x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -set_serial 1 -extfile ext -out leaf.pem");
    run("x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -set_serial 2 -out v1.pem");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let leaf = load(&read("leaf.pem"), &read("leaf.key")).unwrap();
    assert!(leaf.covers(&"a.example".parse().unwrap()));
    assert_eq!(leaf.issues(), []);
    // Without any extension at all it loads too, and is good for no name: a common name is none.
    let v1 = load(&read("v1.pem"), &read("leaf.key")).unwrap();
    assert_eq!(
        v1.issues(),
        [
            CertificateIssue::Version(1),
            CertificateIssue::NoNames(Some("cn.example".to_owned()))
        ]
    );
    assert!(!v1.covers(&"cn.example".parse().unwrap()));
}

#[test]
fn a_leaf_whose_issuer_can_be_fetched_should_not_stand_alone() {
    let dir = write_files(&[]);
    let run = |args: &str| openssl(&dir, &args.split(' ').collect::<Vec<_>>());
    let own = authority("own");
    std::fs::write(dir.path().join("ca.pem"), own.certificate()).unwrap();
    std::fs::write(dir.path().join("ca.key"), own.key_pem()).unwrap();
    std::fs::write(
        dir.path().join("ext"),
        "subjectAltName=DNS:a\nauthorityInfoAccess=caIssuers;URI:http://x.example/",
    )
    .unwrap();
    run("req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=a");
    run("x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -set_serial 1 -extfile ext -out leaf.pem");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let (leaf, key) = (read("leaf.pem"), read("leaf.key"));
    assert_eq!(
        issues(&leaf, &key),
        [CertificateIssue::Incomplete("CN=own".to_owned())]
    );
    let root = CertificateIssue::Root("CN=own".to_owned());
    assert_eq!(
        issues(&format!("{leaf}{}", own.certificate()), &key),
        [root]
    );
}

#[test]
fn what_is_wrong_with_the_files_is_said_in_words_that_help() {
    let own = authority("own");
    let issued = own.server(&[NAME], Validity::days(1)).unwrap();
    let stranger = own.server(&[NAME], Validity::days(1)).unwrap();
    let dir = write_files(&[("key.pem", &issued.key)]);
    let run = |args: &str| openssl(&dir, &args.split(' ').collect::<Vec<_>>());
    run("pkcs8 -topk8 -in key.pem -passout pass:x -out encrypted.pem");
    run("pkcs8 -topk8 -in key.pem -passout pass:x -outform DER -out encrypted.der");
    run("ec -in key.pem -aes128 -passout pass:x -out traditional.pem");
    run("pkey -in key.pem -pubout -out public.pem");
    run("req -new -key key.pem -subj /CN=x -out request.pem");
    run("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:secp256k1 -out odd.pem");
    run("genrsa -out small.pem 1024");
    run("genrsa -traditional -aes128 -passout pass:x -out rsa.pem 2048");
    run("pkcs12 -export -nocerts -inkey key.pem -passout pass:x -out store.p12");
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert!(
        read("traditional.pem")
            .windows(21)
            .any(|window| window == b"Proc-Type: 4,ENCRYPTE")
    );
    let certificate = issued.certificate.as_bytes();
    for (what, certificate, key, expected) in [
        (
            "mismatch",
            certificate,
            stranger.key.as_bytes().to_vec(),
            CertificateError::Mismatch,
        ),
        (
            "no key",
            certificate,
            b"# nothing".to_vec(),
            CertificateError::NoKey,
        ),
        (
            "empty key",
            certificate,
            Vec::new(),
            CertificateError::KeyPem(PemError::Form(Form::Empty)),
        ),
        (
            "swapped",
            certificate,
            certificate.to_vec(),
            CertificateError::InsteadOfKey(Foreign::Certificate),
        ),
        (
            "public key",
            certificate,
            read("public.pem"),
            CertificateError::InsteadOfKey(Foreign::PublicKey),
        ),
        (
            "request for key",
            certificate,
            read("request.pem"),
            CertificateError::InsteadOfKey(Foreign::Request),
        ),
        (
            "encrypted",
            certificate,
            read("encrypted.pem"),
            CertificateError::EncryptedKey,
        ),
        (
            "encrypted DER",
            certificate,
            read("encrypted.der"),
            CertificateError::EncryptedKey,
        ),
        (
            "encrypted, traditional",
            certificate,
            read("traditional.pem"),
            CertificateError::EncryptedKey,
        ),
        (
            "encrypted, traditional RSA",
            certificate,
            read("rsa.pem"),
            CertificateError::EncryptedKey,
        ),
        (
            "encrypted beside the certificate",
            certificate,
            [certificate, &read("encrypted.pem")].concat(),
            CertificateError::EncryptedKey,
        ),
        (
            "small RSA",
            certificate,
            read("small.pem"),
            CertificateError::UnsupportedKey("is an RSA key of 1024 bits".to_owned()),
        ),
        (
            "odd curve",
            certificate,
            read("odd.pem"),
            CertificateError::UnsupportedKey("is an ECDSA key on secp256k1".to_owned()),
        ),
        (
            "half a key",
            certificate,
            issued.key.as_bytes()[..99].to_vec(),
            CertificateError::KeyPem(PemError::Unfinished {
                line: 1,
                label: "PRIVATE KEY".to_owned(),
            }),
        ),
        (
            "no certificate",
            b"#",
            issued.key.as_bytes().to_vec(),
            BundleError::NoCertificate.into(),
        ),
        (
            "request",
            &read("request.pem"),
            issued.key.as_bytes().to_vec(),
            BundleError::Instead(Foreign::Request).into(),
        ),
        (
            "key twice",
            issued.key.as_bytes(),
            issued.key.as_bytes().to_vec(),
            BundleError::Instead(Foreign::PrivateKey).into(),
        ),
    ] {
        assert_eq!(
            Certificate::load(certificate, &key).unwrap_err(),
            expected,
            "{what}"
        );
    }
    assert!(
        CertificateError::EncryptedKey
            .to_string()
            .contains("openssl pkey -in")
    );
}

#[test]
fn of_several_keys_in_a_file_the_one_that_belongs_to_the_certificate_is_taken() {
    let own = authority("own");
    let [issued, other] = [(); 2].map(|()| own.server(&[NAME], Validity::days(1)).unwrap());
    assert!(load(&issued.certificate, &format!("{}{}", other.key, issued.key)).is_ok());
}

#[test]
fn debug_output_holds_no_key() {
    let issued = authority("own").server(&[NAME], Validity::days(1)).unwrap();
    let certificate = load(&issued.certificate, &issued.key).unwrap();
    let text = format!("{certificate:?}");
    assert_eq!(
        text,
        format!(
            "Certificate {{ names: [Dns({NAME:?})], fingerprint: {:?}, .. }}",
            certificate.fingerprint()
        )
    );
}

#[test]
fn a_certificate_covers_its_names_and_one_label_of_its_wildcards() {
    let own = authority("own");
    let issued = own
        .server(
            &["A.example", "*.B.example", "192.0.2.1", "2001:db8::1"],
            Validity::days(1),
        )
        .unwrap();
    let certificate = load(&issued.certificate, &issued.key).unwrap();
    for (name, expected) in [
        ("a.example", true),
        ("A.EXAMPLE.", true),
        ("x.a.example", false),
        ("x.b.example", true),
        ("b.example", false),
        ("x.y.b.example", false),
    ] {
        assert_eq!(
            certificate.covers(&name.parse().unwrap()),
            expected,
            "{name}"
        );
    }
    for (ip, expected) in [
        ("192.0.2.1", true),
        ("::ffff:192.0.2.1", true),
        ("2001:db8::1", true),
        ("192.0.2.2", false),
    ] {
        assert_eq!(certificate.covers_ip(ip.parse().unwrap()), expected, "{ip}");
    }
    assert!(
        certificate.not_before() < SystemTime::now() && SystemTime::now() < certificate.not_after()
    );
    assert_eq!(certificate.names().len(), 4);
    // A lone star in a certificate stands for nothing.
    let dir = write_files(&[]);
    let names = "subjectAltName=DNS:*";
    openssl(
        &dir,
        &[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "k", "-out", "c", "-subj",
            "/", "-addext", names,
        ],
    );
    let [star, key] =
        ["c", "k"].map(|file| std::fs::read_to_string(dir.path().join(file)).unwrap());
    assert!(
        !load(&star, &key)
            .unwrap()
            .covers(&"a.example".parse().unwrap())
    );
}

#[test]
fn a_client_gets_a_certificate_for_its_name_and_only_lenient_acceptors_have_a_default() {
    let own = authority("own");
    let certificates: Vec<_> = [
        &["a.example", "192.0.2.1"][..],
        &["*.example"],
        &["b.example", "192.0.2.2", "192.0.2.1"],
    ]
    .map(|names| own.server(names, Validity::days(1)).unwrap())
    .map(|issued| Arc::new(load(&issued.certificate, &issued.key).unwrap()))
    .to_vec();
    let [strict, lenient] = [true, false].map(|strict| {
        Acceptor::new(certificates.clone(), &AcceptorOptions::default(), strict).unwrap()
    });
    for (name, ip, if_strict, if_lenient) in [
        (Some("a.example"), None, Some(0), 0),
        (Some("b.example"), Some("192.0.2.1"), Some(2), 2),
        (Some("c.example"), Some("192.0.2.1"), Some(1), 1),
        (Some("x.y.example"), Some("192.0.2.2"), None, 0),
        (None, Some("192.0.2.2"), None, 2),
        (None, Some("::ffff:192.0.2.2"), None, 2),
        (None, Some("192.0.2.1"), None, 0),
        (None, Some("192.0.2.3"), None, 0),
        (None, None, None, 0),
    ] {
        let server_name: Option<ServerName> = name.map(|name| name.parse().unwrap());
        let address: Option<IpAddr> = ip.map(|ip| ip.parse().unwrap());
        let position = |acceptor: &Acceptor| {
            let choice = acceptor.select(server_name.as_ref(), || address)?;
            certificates
                .iter()
                .position(|certificate| Arc::ptr_eq(certificate, choice.certificate()))
        };
        assert_eq!(position(&strict), if_strict, "strict: {name:?} at {ip:?}");
        assert_eq!(
            position(&lenient),
            Some(if_lenient),
            "lenient: {name:?} at {ip:?}"
        );
    }
}
