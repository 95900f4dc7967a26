//! Which certificate a terminated client is shown. The client is openssl's, which sends whatever
//! name it is told to.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::CertificateDer;
use serde_json::Value;
use snigate::pki::{Authority, Validity};

use super::*;
use crate::support::openssl::s_client;
use crate::support::proxy::directory;
use crate::support::tls::{der, write};

/// A server's certificate for these names in `NAME.pem`, with its table.
fn issue(dir: &Path, name: &str, names: &[&str]) -> (CertificateDer<'static>, String) {
    issue_for(dir, name, names, Validity::days(20))
}

fn issue_for(
    dir: &Path,
    name: &str,
    names: &[&str],
    validity: Validity,
) -> (CertificateDer<'static>, String) {
    let issued = Authority::new("ca", Validity::days(20))
        .unwrap()
        .server(names, validity)
        .unwrap();
    write(dir, name, &issued);
    let table = format!(
        "[certificates.{name}]\ncert_file = \"{name}.pem\"\nkey_file = \"{name}-key.pem\"\n"
    );
    (der(&issued.certificate), table)
}

/// A route that terminates, with these keys beside the upstream.
fn terminate(name: &str, backend: &Backend, keys: &str) -> String {
    format!(
        "[routes.{name}]\naction = \"terminate\"\nupstream = \"{}\"\n{keys}\n",
        backend.addr
    )
}

#[test]
fn a_terminated_client_gets_a_certificate_for_its_name_or_if_the_route_is_lenient_the_default_one()
{
    let dir = directory();
    let (default, default_table) = issue(dir.path(), "default", &["a.example"]);
    let (other, other_table) = issue(dir.path(), "other", &["b.example"]);
    let (strict, lenient) = (Backend::greet(b"to strict"), Backend::greet(b"to lenient"));
    let keys = "sni = [\"a.example\", \"b.example\", \"alias.example\"]\ncertificates = [\"default\", \"other\"]";
    let config = [
        "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[listeners.lenient]\nbind = \"127.0.0.1:0\"\n",
        &default_table,
        &other_table,
        &terminate("strict", &strict, &format!("listeners = \"edge\"\n{keys}")),
        &terminate(
            "lenient",
            &lenient,
            &format!("listeners = \"lenient\"\nstrict_sni = false\n{keys}"),
        ),
    ];
    let mut proxy = Proxy::start_in(dir, &config.concat());
    let refused = |outcome| Err((112, outcome));
    let (default, other) = (Ok(&default), Ok(&other));
    for (arguments, to_strict, to_lenient) in [
        (&["-servername", "a.example"][..], default, default),
        (&["-servername", "b.example"], other, other),
        (&["-servername", "B.Example"], other, other),
        (&["-servername", "b.example."], other, other),
        (
            &["-servername", "alias.example"],
            refused("name_not_covered"),
            default,
        ),
        (&["-noservername"], refused("no_route"), default),
        (&["-servername", "127.0.0.1"], refused("no_route"), default),
        (
            &["-servername", "unknown.example"],
            refused("no_route"),
            refused("no_route"),
        ),
    ] {
        for (listener, route, expected) in [
            ("edge", "strict", to_strict),
            ("lenient", "lenient", to_lenient),
        ] {
            let row = format!("{arguments:?} on the {route} route");
            let printed = s_client(proxy.addr_of(listener), arguments);
            let line = proxy.next_access();
            match expected {
                Ok(certificate) => {
                    assert_eq!(
                        printed.certificate().as_ref(),
                        Some(certificate),
                        "{row}: {}",
                        printed.0
                    );
                    assert!(
                        printed.0.contains(&format!("to {route}")),
                        "{row}: {}",
                        printed.0
                    );
                    assert_eq!(
                        (&line["outcome"], &line["route"]),
                        (&"closed".into(), &route.into()),
                        "{row}: {line}"
                    );
                }
                Err((code, outcome)) => {
                    assert_eq!(
                        (printed.alert(), printed.certificate()),
                        (Some(code), None),
                        "{row}: {}",
                        printed.0
                    );
                    assert_eq!(
                        (&line["outcome"], &line["by"]),
                        (&outcome.into(), &"proxy".into()),
                        "{row}: {line}"
                    );
                }
            }
        }
    }
}

#[test]
fn of_several_certificates_the_first_that_has_the_name_or_the_address_is_shown() {
    let dir = directory();
    let issued = [
        issue(dir.path(), "zero", &["default.example"]),
        issue(dir.path(), "exact", &["a.wild.example", "lan.example"]),
        issue(dir.path(), "wild", &["*.wild.example"]),
        issue(dir.path(), "lan", &["127.0.0.2", "lan.example"]),
    ];
    let backend = Backend::greet(b"welcome");
    let tables: String = issued.iter().map(|(_, table)| table.as_str()).collect();
    let route = |keys: &str| {
        let names =
            "sni = [\"default.example\", \"*.wild.example\", \"lan.example\"]\nstrict_sni = false";
        let listeners =
            "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[listeners.lan]\nbind = \"127.0.0.2:0\"\n";
        [
            listeners,
            &tables,
            &terminate("app", &backend, &format!("{names}\n{keys}")),
        ]
        .concat()
    };
    let [zero, exact, wild, lan] = issued.each_ref().map(|(certificate, _)| certificate);
    let proxy = Proxy::start_in(
        dir,
        &route("certificates = [\"zero\", \"exact\", \"wild\", \"lan\"]"),
    );
    for (listener, arguments, expected) in [
        ("edge", &["-servername", "default.example"][..], zero),
        ("edge", &["-servername", "a.wild.example"], exact),
        ("edge", &["-servername", "b.wild.example"], wild),
        ("edge", &["-servername", "A.WILD.example"], exact),
        ("edge", &["-servername", "lan.example"], exact),
        ("edge", &["-noservername"], zero),
        ("lan", &["-noservername"], lan),
        ("lan", &["-servername", "127.0.0.2"], lan),
        ("lan", &["-servername", "b.wild.example"], wild),
    ] {
        let printed = s_client(proxy.addr_of(listener), arguments);
        assert_eq!(
            printed.certificate().as_ref(),
            Some(expected),
            "{listener} {arguments:?}: {}",
            printed.0
        );
    }
    // The order in the route decides, unless a name stands against a wildcard; without one, that of
    // the tables' names does.
    proxy.reload(&route("certificates = [\"lan\", \"wild\", \"exact\"]"));
    for (name, expected) in [
        ("a.wild.example", exact),
        ("default.example", lan),
        ("lan.example", lan),
    ] {
        assert_eq!(
            s_client(proxy.addr(), &["-servername", name])
                .certificate()
                .as_ref(),
            Some(expected),
            "{name}"
        );
    }
    proxy.reload(&route(""));
    assert_eq!(
        s_client(proxy.addr(), &["-noservername"])
            .certificate()
            .as_ref(),
        Some(exact)
    );
}

/// A certificate for `a.example` with an RSA key, in `rsa.pem`, with its table.
fn issue_rsa(dir: &Path) -> (CertificateDer<'static>, String) {
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "rsa-key.pem",
            "-out",
            "rsa.pem",
        ])
        .args([
            "-days",
            "20",
            "-subj",
            "/CN=rsa",
            "-addext",
            "subjectAltName=DNS:a.example",
        ])
        .current_dir(dir)
        .output()
        .expect("openssl");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let table =
        "[certificates.rsa]\ncert_file = \"rsa.pem\"\nkey_file = \"rsa-key.pem\"\n".to_owned();
    (
        der(&fs::read_to_string(dir.join("rsa.pem")).unwrap()),
        table,
    )
}

#[test]
fn a_client_that_cannot_verify_ecdsa_gets_the_rsa_certificate() {
    let dir = directory();
    let (rsa, rsa_table) = issue_rsa(dir.path());
    let (ecdsa, ecdsa_table) = issue(dir.path(), "ecdsa", &["a.example"]);
    let backend = Backend::greet(b"welcome");
    let route = |order: &str| {
        let keys = format!("sni = \"a.example\"\ncertificates = [{order}]");
        [&rsa_table, &ecdsa_table, &*terminate("a", &backend, &keys)].concat()
    };
    let proxy = Proxy::start_in(dir, &route("\"rsa\", \"ecdsa\""));
    let rows = [
        (&["-tls1_3"][..], &ecdsa),
        (&["-tls1_2"], &ecdsa),
        (&["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"], &rsa),
        (&["-tls1_2", "-sigalgs", "RSA+SHA256"], &rsa),
        (
            &["-tls1_3", "-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256"],
            &ecdsa,
        ),
        (
            &["-tls1_3", "-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA384"],
            &rsa,
        ),
        // In TLS 1.2 the suites decide as well.
        (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], &rsa),
        (
            &[
                "-tls1_2",
                "-cipher",
                "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256",
            ],
            &ecdsa,
        ),
    ];
    for (round, order) in ["\"rsa\", \"ecdsa\"", "\"ecdsa\", \"rsa\""]
        .into_iter()
        .enumerate()
    {
        if round > 0 {
            proxy.reload(&route(order));
        }
        for (arguments, expected) in &rows {
            let printed = s_client(
                proxy.addr(),
                &[&["-servername", "a.example"], *arguments].concat(),
            );
            let row = format!("{order} {arguments:?}: {}", printed.0);
            assert_eq!(printed.certificate().as_ref(), Some(*expected), "{row}");
            assert!(printed.0.contains("welcome"), "{row}");
        }
    }
}

/// From so many seconds on, for twenty days.
fn from_now(seconds: u64) -> Validity {
    let not_before = SystemTime::now() + Duration::from_secs(seconds);
    Validity {
        not_before,
        not_after: not_before + Duration::from_secs(20 * 86400),
    }
}

#[test]
fn a_certificate_whose_time_has_not_come_stands_back_until_it_has() {
    let dir = directory();
    let (old, old_table) = issue(dir.path(), "old", &["*.example"]);
    let backend = Backend::greet(b"welcome");
    let route = terminate("a", &backend, "sni = \"a.example\"");
    let proxy = Proxy::start_in(dir, &[&*old_table, &route].concat());
    let shown = || s_client(proxy.addr(), &["-servername", "a.example"]).certificate();
    // A machine that takes longer to serve a certificate than the certificate takes to begin has
    // more time for the next one.
    for ahead in [5, 20] {
        let (reloads, begun) = (proxy.count("reloaded"), Instant::now());
        // Clocks may differ by five minutes, so this one begins soon.
        let name = format!("new-{ahead}");
        let (new, new_table) = issue_for(proxy.dir(), &name, &["a.example"], from_now(300 + ahead));
        proxy.reload_after(|| proxy.write_config(&[&*old_table, &new_table, &route].concat()));
        let at_first = shown();
        // A certificate cannot say the fractions of its second.
        if begun.elapsed() >= Duration::from_secs(ahead - 1) {
            continue;
        }
        assert_eq!(at_first.as_ref(), Some(&old));
        let is_meant = |event: &Value| {
            event["diagnostic"]
                .as_str()
                .is_some_and(|text| text.contains(&name))
        };
        let warning = proxy.wait_until("configuration", is_meant);
        let text = warning["diagnostic"].as_str().unwrap();
        assert!(
            warning["level"] == "warn" && text.contains("until then it stands back"),
            "{warning}"
        );
        proxy.poll_until("the new one is shown", |_| shown().as_ref() == Some(&new));
        assert_eq!(
            proxy.count("reloaded"),
            reloads + 1,
            "it took no reload: {}",
            proxy.log()
        );
        return;
    }
    panic!("no certificate was served in time:\n{}", proxy.log());
}

#[test]
fn a_certificate_whose_time_has_not_come_replaces_none_that_serves_but_does_not_stop_a_start() {
    let dir = directory();
    let (old, table) = issue(dir.path(), "a", &["a.example"]);
    let backend = Backend::greet(b"welcome");
    let config = [&*table, &terminate("a", &backend, "sni = \"a.example\"")].concat();
    let proxy = Proxy::start_in(dir, &config);
    let shown = |proxy: &Proxy| s_client(proxy.addr(), &["-servername", "a.example"]).certificate();
    let waiting = "not reloaded yet, the configuration that runs goes on";
    let (late, _) = issue_for(proxy.dir(), "a", &["a.example"], from_now(86400));
    let reason = proxy.wait_for(waiting);
    let text = reason["reason"].as_str().unwrap();
    assert!(
        text.contains("no other certificate of routes.a covers dns:a.example"),
        "{text}"
    );
    assert_eq!(shown(&proxy), Some(old));

    let fresh = directory();
    for file in ["a.pem", "a-key.pem"] {
        fs::copy(proxy.dir().join(file), fresh.path().join(file)).unwrap();
    }
    let other = Proxy::start_in(fresh, &config);
    assert_eq!(shown(&other), Some(late));
    let error = other.wait_until("configuration", |event| event["level"] == "error");
    assert!(
        error["diagnostic"]
            .as_str()
            .unwrap()
            .contains("is not valid before"),
        "{error}"
    );

    // One that has begun takes its place.
    let soon = proxy.count("reloaded");
    let (new, _) = issue_for(proxy.dir(), "a", &["a.example"], from_now(300 + 2));
    proxy.wait_nth("reloaded", soon, |_| true);
    assert_eq!(shown(&proxy), Some(new));
}
