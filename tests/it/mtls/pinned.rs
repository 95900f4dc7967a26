//! Clients that are known one by one: `client_auth.mode = "pinned"`.

use std::fs;
use std::io::{Read, Write};
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::support::tls::parts;

/// A certificate, the chain that its owner sends, and its key.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The `[tls]` table `pinned` with these keys, on the only route.
fn pinned(backend: &Backend, keys: &str) -> String {
    config(
        backend,
        "pinned",
        &format!("[tls.pinned]\nclient_auth.mode = \"pinned\"\n{keys}\n"),
    )
}

/// What `openssl req -x509` makes: CA:TRUE, or whatever `arguments` add.
fn by_openssl(arguments: &[&str]) -> Shown {
    let dir = directory();
    let make = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=lone",
    ];
    let mut openssl = Command::new("openssl");
    openssl
        .args(make)
        .args(["-days", "20", "-keyout", "key.pem", "-out", "cert.pem"])
        .args(arguments);
    let output = openssl.current_dir(dir.path()).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let key = PrivateKeyDer::from_pem_file(dir.path().join("key.pem")).unwrap();
    (
        vec![CertificateDer::from_pem_file(dir.path().join("cert.pem")).unwrap()],
        key,
    )
}

/// The `spki_sha256` of a certificate, as openssl has it.
fn pin(certificate: &CertificateDer<'_>) -> String {
    let dir = directory();
    fs::write(dir.path().join("cert.der"), certificate).unwrap();
    let pipe = "openssl x509 -in cert.der -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r";
    let output = Command::new("sh")
        .args(["-c", pipe])
        .current_dir(dir.path())
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

/// The alert that a client gets, or none if it has its answer; and its line.
fn meet(
    site: &Site,
    proxy: &mut Proxy,
    shown: &Shown,
    version: &'static SupportedProtocolVersion,
) -> (u8, Value) {
    let client = client_with(
        &site.servers,
        Some((shown.0.clone(), shown.1.clone_key())),
        &[version],
    );
    let alert = match ask(&client, proxy.connect()) {
        Ok(answer) => {
            assert_eq!(answer, b"the question");
            0
        }
        Err(error) => alert(&error).unwrap_or_else(|| panic!("{error}")),
    };
    (alert, proxy.next_access())
}

#[test]
fn whoever_is_pinned_comes_in_whatever_else_the_certificate_says_and_nobody_beside() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let kinds = [
        (
            "self-signed, CA:FALSE",
            by_openssl(&["-addext", "basicConstraints=critical,CA:FALSE"]),
        ),
        ("self-signed, CA:TRUE", by_openssl(&[])),
        ("X.509 v1", version_1(&site.clients)),
        ("of a CA", parts(&site.member())),
    ];
    let stranger = by_openssl(&[]);
    let vouched_for = parts(&site.clients.client("other", Validity::days(20)).unwrap());
    fs::create_dir(dir.path().join("pins")).unwrap();
    for (at, (_, shown)) in kinds.iter().enumerate() {
        fs::write(dir.path().join(format!("pins/{at}.der")), &shown.0[0]).unwrap();
    }
    let keys: Vec<String> = kinds.iter().map(|(_, shown)| pin(&shown.0[0])).collect();
    let tables = [
        "client_auth.cert_files = \"pins\"".to_owned(),
        format!("client_auth.spki_sha256 = {keys:?}"),
    ];
    let mut proxy = Proxy::start_in(dir, &pinned(&backend, &tables[0]));
    for table in &tables {
        proxy.reload(&pinned(&backend, table));
        for version in VERSIONS {
            for (kind, shown) in &kinds {
                let row = format!("{kind}, {table}, {:?}", version.version);
                let (alert, line) = meet(&site, &mut proxy, shown, version);
                assert_eq!(
                    (alert, &line["outcome"]),
                    (0, &"closed".into()),
                    "{row}: {line}"
                );
                assert_eq!(line["client_cert_verified"], true, "{row}: {line}");
                // Whoever has copied the certificate has not its key.
                let (alert, line) = meet(
                    &site,
                    &mut proxy,
                    &(shown.0.clone(), stranger.1.clone_key()),
                    version,
                );
                assert_eq!(
                    (alert, &line["client_cert_verified"]),
                    (51, &false.into()),
                    "{row}: {line}"
                );
                let detail = line["detail"].as_str().unwrap();
                assert!(
                    detail.contains("has not proved that it has the certificate's key"),
                    "{row}: {line}"
                );
            }
            for (kind, shown) in [
                ("the same subject", &stranger),
                ("the same CA", &vouched_for),
            ] {
                let row = format!("{kind}, {table}, {:?}", version.version);
                let (alert, line) = meet(&site, &mut proxy, shown, version);
                assert_eq!(
                    (alert, &line["outcome"]),
                    (48, &"untrusted_certificate".into()),
                    "{row}: {line}"
                );
                // What to add is there to be copied.
                assert!(
                    line["detail"]
                        .as_str()
                        .unwrap()
                        .ends_with(&pin(&shown.0[0])),
                    "{row}: {line}"
                );
            }
        }
    }
    assert_eq!(
        backend.accepted(),
        tables.len() * VERSIONS.len() * kinds.len()
    );
}

#[test]
fn the_dates_of_a_pinned_certificate_count_unless_told_otherwise() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let now = SystemTime::now();
    let day = Duration::from_secs(86400);
    let dated = |from, to| {
        site.clients
            .client(
                "dated",
                Validity {
                    not_before: from,
                    not_after: to,
                },
            )
            .unwrap()
    };
    let [past, future] = [
        dated(now - 3 * day, now - day),
        dated(now + day, now + 3 * day),
    ];
    let files = "client_auth.cert_files = [\"past.pem\", \"future.pem\"]\n";
    for (name, issued) in [("past", &past), ("future", &future)] {
        write(dir.path(), name, issued);
    }
    let mut proxy = Proxy::start_in(dir, &pinned(&backend, files));
    for version in VERSIONS {
        for (issued, detail) in [
            (&past, "has expired, 24 hours ago"),
            (&future, "is not valid before"),
        ] {
            let (alert, line) = meet(&site, &mut proxy, &parts(issued), version);
            assert_eq!(
                (alert, &line["outcome"]),
                (45, &"untrusted_certificate".into()),
                "{line}"
            );
            assert!(line["detail"].as_str().unwrap().contains(detail), "{line}");
        }
    }
    proxy.reload(&pinned(
        &backend,
        &format!("{files}client_auth.dates = \"ignore\""),
    ));
    for (version, issued) in VERSIONS
        .into_iter()
        .flat_map(|version| [(version, &past), (version, &future)])
    {
        let (alert, line) = meet(&site, &mut proxy, &parts(issued), version);
        assert_eq!(
            (alert, &line["client_cert_verified"]),
            (0, &true.into()),
            "{line}"
        );
    }
}

#[test]
fn a_connection_ends_when_its_pin_goes_and_no_other_does() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let [gone, stays] =
        ["gone", "stays"].map(|name| site.clients.client(name, Validity::days(20)).unwrap());
    for (name, issued) in [("gone", &gone), ("stays", &stays)] {
        write(dir.path(), name, issued);
    }
    let close = |files: &str| {
        pinned(
            &backend,
            &format!("client_auth.cert_files = [{files}]\non_revoke = \"close\""),
        )
    };
    let mut proxy = Proxy::start_in(dir, &close("\"gone.pem\", \"stays.pem\""));
    let mut sessions = [&gone, &stays].map(|issued| {
        let mut session = tls::session(&site.client(Some(issued), &TLS13), NAME, proxy.connect());
        session.write_all(b"ping").unwrap();
        session.read_exact(&mut [0; 4]).unwrap();
        session
    });
    proxy.reload(&close("\"stays.pem\""));
    let error = sessions[0].read_exact(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let line = proxy.next_access();
    assert_eq!(
        (&line["client_cert"], &line["by"]),
        (&"CN=gone".into(), &"proxy".into()),
        "{line}"
    );
    assert_eq!(line["outcome"], "revoked_certificate", "{line}");
    sessions[1].write_all(b"ping").unwrap();
    sessions[1].read_exact(&mut [0; 4]).unwrap();
}

#[test]
fn a_pinned_key_by_which_nobody_proves_anything_is_named_with_its_kind() {
    let (_, dir) = site();
    let backend = Backend::echo();
    let config = pinned(&backend, "client_auth.cert_files = \"cert.pem\"");
    fs::write(
        dir.path().join("snigate.toml"),
        format!("[listeners.edge]\nbind = \"127.0.0.1:0\"\n{config}"),
    )
    .unwrap();
    for (kind, words) in [
        ("rsa:1024", Some("an RSA key of 1024 bits")),
        ("ed448", Some("an Ed448 key")),
        ("ed25519", None),
    ] {
        let make = [
            "req", "-x509", "-nodes", "-subj", "/CN=lone", "-keyout", "key.pem", "-out",
            "cert.pem", "-newkey", kind,
        ];
        let output = Command::new("openssl")
            .args(make)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let said = crate::cli::text(&crate::cli::snigate(
            dir.path(),
            &["check", "-c", "snigate.toml"],
        ));
        assert_eq!(
            said.contains(" 1 urgent"),
            words.is_some(),
            "{kind}: {said}"
        );
        let expected = words.map(|words| {
            format!("cert.pem: CN=lone has {words}, by which no client proves anything")
        });
        assert!(
            expected.is_none_or(|expected| said.contains(&expected)),
            "{kind}: {said}"
        );
    }
}

#[test]
fn what_has_no_meaning_beside_pins_or_without_them_is_an_error() {
    let (site, dir) = site();
    write(dir.path(), "member", &site.member());
    fs::write(dir.path().join("clients.crl"), "").unwrap();
    let backend = Backend::echo();
    let files = "client_auth.cert_files = [\"member.pem\"]";
    let digest = "11".repeat(32);
    for (keys, expected) in [
        (
            format!("{files}\nclient_auth.ca_files = [\"clients.pem\"]"),
            "ca_files stands beside client_auth.mode pinned",
        ),
        (
            format!("{files}\nclient_auth.crl_files = [\"clients.crl\"]"),
            "in which no CA counts",
        ),
        (
            "client_auth.spki_sha256 = [\"11\"]".to_owned(),
            "client_auth.spki_sha256",
        ),
        (
            "client_auth.cert_files = [\"member-key.pem\"]".to_owned(),
            "member-key.pem",
        ),
        (
            "client_auth.cert_files = [\"none.pem\"]".to_owned(),
            "none.pem",
        ),
        (
            format!("{files}\nclient_auth.spki_sha256 = [\"{digest}\"]"),
            "",
        ),
    ] {
        let listener = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n";
        fs::write(
            dir.path().join("snigate.toml"),
            format!("{listener}{}", pinned(&backend, &keys)),
        )
        .unwrap();
        let output = crate::cli::snigate(dir.path(), &["check"]);
        let said = crate::cli::text(&output);
        assert_eq!(
            output.status.success(),
            expected.is_empty(),
            "{keys}: {said}"
        );
        assert!(said.contains(expected), "{keys}: {said}");
        assert!(
            expected.is_empty() || said.contains(" 1 error"),
            "{keys}: {said}"
        );
    }
}

#[test]
fn a_client_whose_pin_was_the_last_one_is_refused_from_the_reload_on() {
    let by_file = |_: &Issued| "client_auth.cert_files = [\"gone.pem\"]".to_owned();
    let by_directory = |_: &Issued| "client_auth.cert_files = [\"pins\"]".to_owned();
    type Keys = fn(&Issued) -> String;
    type Take = fn(&Proxy) -> Option<&'static str>;
    let cases: [(&str, Keys, Take); 6] = [
        (
            "no key is left",
            |gone| format!("client_auth.spki_sha256 = [{:?}]", pin(&parts(gone).0[0])),
            |_| Some("client_auth.spki_sha256 = []"),
        ),
        ("no file is left", by_file, |_| {
            Some("client_auth.cert_files = []")
        }),
        ("nothing is left", by_file, |_| Some("")),
        ("the file is empty", by_file, |proxy| {
            fs::write(proxy.dir().join("gone.pem"), "\n").unwrap();
            None
        }),
        ("the directory is empty", by_directory, |proxy| {
            fs::remove_file(proxy.dir().join("pins/gone.pem")).unwrap();
            None
        }),
        (
            "nothing that counts is in the directory",
            by_directory,
            |proxy| {
                fs::rename(
                    proxy.dir().join("pins/gone.pem"),
                    proxy.dir().join("pins/gone.old"),
                )
                .unwrap();
                None
            },
        ),
    ];
    for (what, keys, take) in cases {
        let (site, dir) = site();
        let backend = Backend::echo();
        let gone = site.clients.client("gone", Validity::days(20)).unwrap();
        write(dir.path(), "gone", &gone);
        fs::create_dir(dir.path().join("pins")).unwrap();
        fs::write(dir.path().join("pins/gone.pem"), &gone.certificate).unwrap();
        let with = |keys: &str| pinned(&backend, &format!("{keys}\non_revoke = \"close\""));
        let proxy = Proxy::start_in(dir, &with(&keys(&gone)));
        let mut session = tls::session(&site.client(Some(&gone), &TLS13), NAME, proxy.connect());
        session.write_all(b"ping").unwrap();
        session.read_exact(&mut [0; 4]).unwrap();
        proxy.reload_after(|| {
            if let Some(keys) = take(&proxy) {
                proxy.write_config(&with(keys));
            }
        });
        let error = session.read_exact(&mut [0; 1]).unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionReset,
            "{what}\n{}",
            proxy.log()
        );
        let error = ask(&site.client(Some(&gone), &TLS13), proxy.connect()).unwrap_err();
        assert_eq!(alert(&error), Some(48), "{what}\n{}", proxy.log());
        let said = proxy.wait_until("configuration", |event| event["level"] == "error");
        assert!(
            said["diagnostic"]
                .as_str()
                .unwrap()
                .contains(": nobody comes in"),
            "{what}: {said}"
        );
    }
}

#[test]
fn a_pin_that_is_lost_or_damaged_goes_on_as_it_runs() {
    type Lose = fn(&std::path::Path);
    let cases: [(&str, Lose); 2] = [
        ("its file is gone", |path| fs::remove_file(path).unwrap()),
        ("its file is damaged", |path| {
            fs::write(path, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap()
        }),
    ];
    for (what, lose) in cases {
        let (site, dir) = site();
        let backend = Backend::echo();
        let stays = site.clients.client("stays", Validity::days(20)).unwrap();
        write(dir.path(), "stays", &stays);
        let proxy = Proxy::start_in(
            dir,
            &pinned(&backend, "client_auth.cert_files = [\"stays.pem\"]"),
        );
        let said = proxy.refusal_after(|| lose(&proxy.dir().join("stays.pem")));
        assert!(said.contains("stays.pem"), "{what}: {said}");
        ask(&site.client(Some(&stays), &TLS13), proxy.connect())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}
