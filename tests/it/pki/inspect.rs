//! What `inspect` says, and when it is not content.

use std::fs;

use snigate::pki::{Authority, Validity};

use super::{done, has, openssl, refused, with_ca};

#[test]
fn a_certificate_is_described_as_openssl_sees_it() {
    let dir = with_ca();
    let dir = dir.path();
    done(
        dir,
        "issue --name a.example *.b.example --ip ::1 --days 12 --out a",
    );
    let said = done(dir, "inspect a.pem");
    has(
        &said,
        &[
            "a.pem: certificate",
            "CN=a.example",
            "dns:a.example, dns:*.b.example, ip:::1",
            "in 12 days",
        ],
    );
    has(
        &said,
        &[
            "ECDSA, P-256",
            "Digital Signature; serverAuth",
            "CA           no",
            "nothing is wrong",
        ],
    );
    let hex = |text: String| {
        text.trim()
            .rsplit('=')
            .next()
            .unwrap()
            .replace(':', "")
            .to_lowercase()
    };
    let fingerprint = hex(openssl(dir, "x509 -in a.pem -noout -fingerprint -sha256"));
    let serial = hex(openssl(dir, "x509 -in a.pem -noout -serial"));
    openssl(dir, "x509 -in a.pem -noout -pubkey -out public.pem");
    openssl(
        dir,
        "pkey -pubin -in public.pem -outform DER -out public.der",
    );
    let pin = openssl(dir, "dgst -sha256 -r public.der");
    let pin = pin.split_whitespace().next().unwrap();
    has(
        &said,
        &[
            &format!("sha256       {fingerprint}"),
            &format!("serial       {serial}"),
            &format!("spki_sha256  {pin}"),
        ],
    );
    has(
        &done(dir, "inspect ca.crt"),
        &[
            "yes, with at most 0 CAs below it",
            "Key Cert Sign, CRL Sign",
        ],
    );
}

#[test]
fn what_belongs_together_is_said_to_in_whatever_order_and_form_it_is_given() {
    let dir = with_ca();
    let dir = dir.path();
    done(dir, "csr --name a.example --ip 192.0.2.1 --out a");
    done(dir, "issue --csr a.csr --out a");
    done(dir, "crl --revoke 0a:0b --reason superseded");
    openssl(dir, "x509 -in a.pem -outform DER -out a.der");
    openssl(dir, "req -in a.csr -outform DER -out csr.der");
    openssl(dir, "crl -in ca.crl -outform DER -out crl.der");
    openssl(dir, "ec -in a-key.pem -outform DER -out key.der");
    for files in [
        "a.pem a-key.pem a.csr ca.crt ca.crl",
        "crl.der key.der csr.der ca.crt a.der",
    ] {
        let said = done(dir, &format!("inspect {files}"));
        has(
            &said,
            &[
                "belongs to CN=a.example (a.",
                ", the request ",
                "verifies",
                "was signed by CN=test-CA (ca.crt)",
            ],
        );
        has(
            &said,
            &[
                "dns:a.example, ip:192.0.2.1",
                "next update",
                "0a0b since 2",
                ", superseded",
                "nothing is wrong",
            ],
        );
    }
    let together: String = ["ca.crt", "a.pem", "a-key.pem"]
        .iter()
        .map(|name| fs::read_to_string(dir.join(name)).unwrap())
        .collect();
    fs::write(dir.join("all.pem"), together).unwrap();
    has(
        &done(dir, "inspect all.pem"),
        &[
            "all.pem (3): private key",
            "verifies; the file has them in another order",
        ],
    );
    // Alone, nothing is missing.
    for file in ["a.pem", "a-key.pem", "a.csr", "ca.crl"] {
        has(
            &done(dir, &format!("inspect {file}")),
            &["nothing is wrong"],
        );
    }
}

#[test]
fn what_does_not_match_or_has_expired_is_marked_and_makes_it_fail() {
    let dir = with_ca();
    let path = dir.path();
    done(path, "issue --name a.example --out a");
    done(path, "issue --name b.example --out b");
    done(path, "init --dir other --name test-CA");
    done(path, "crl --revoke b.pem");
    let now = std::time::SystemTime::now();
    let minute = std::time::Duration::from_secs(60);
    let past = Validity {
        not_before: now - 9 * minute,
        not_after: now - minute,
    };
    let future = Validity {
        not_before: now + minute,
        not_after: now + 9 * minute,
    };
    let ca = Authority::new("old", Validity::days(1)).unwrap();
    fs::write(
        path.join("expired.pem"),
        ca.client("x", past).unwrap().certificate,
    )
    .unwrap();
    fs::write(
        path.join("early.pem"),
        ca.client("x", future).unwrap().certificate,
    )
    .unwrap();
    fs::write(path.join("empty"), "\n").unwrap();
    fs::write(path.join("comment"), "# none\n").unwrap();
    fs::write(
        path.join("broken"),
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    fs::write(path.join("cut"), "-----BEGIN CERTIFICATE-----\nMAA=\n").unwrap();
    done(path, "csr --name d.example --out d");
    for (kind, from, label) in [
        ("req", "d.csr", "CERTIFICATE REQUEST"),
        ("crl", "ca.crl", "X509 CRL"),
    ] {
        openssl(path, &format!("{kind} -in {from} -outform DER -out der"));
        let mut der = fs::read(path.join("der")).unwrap();
        der.push(0);
        fs::write(path.join("der"), der).unwrap();
        let base64 = openssl(path, "base64 -in der");
        let text = format!("-----BEGIN {label}-----\n{base64}-----END {label}-----\n");
        fs::write(path.join(format!("long-{kind}")), text).unwrap();
    }
    for (files, expected) in [
        ("long-req", "1 bytes follow it"),
        ("long-crl", "1 bytes follow it"),
        ("a.pem b-key.pem", "the key b-key.pem belongs to none"),
        (
            "a.pem other/ca.crt",
            "was issued by none of the given certificates",
        ),
        ("b.pem ca.crt ca.crl", "is revoked: ca.crl lists it"),
        (
            "other/ca.crt ca.crl",
            "ca.crl was not signed by CN=test-CA (other/ca.crt), although it says so",
        ),
        ("expired.pem", "it has expired"),
        ("early.pem", "it is not valid yet"),
        ("empty", "the file is empty"),
        (
            "comment",
            "there is no certificate, key, request or CRL in it",
        ),
        ("broken", "broken: certificate"),
        ("cut", "does not end"),
        ("nowhere.pem", "cannot read nowhere.pem"),
    ] {
        has(&refused(path, &format!("inspect {files}")), &[expected]);
    }
    done(path, "inspect a.pem ca.crt ca.crl");
    // Another authority may have given the same number to somebody else.
    done(path, "init --dir third --name third-CA");
    done(path, "issue --dir third --name c.example --out c");
    let serial = openssl(path, "x509 -in third/c.pem -noout -serial");
    done(
        path,
        &format!(
            "crl --revoke {}",
            serial.trim().trim_start_matches("serial=")
        ),
    );
    done(path, "inspect third/c.pem third/ca.crt ca.crt ca.crl");
}

#[test]
fn a_chain_that_a_client_would_refuse_does_not_verify() {
    let dir = with_ca();
    let dir = dir.path();
    // The path length of the CA allows no CA below it.
    fs::write(
        dir.join("ext"),
        "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n",
    )
    .unwrap();
    openssl(
        dir,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout sub.key -out sub.csr -subj /CN=sub",
    );
    openssl(
        dir,
        "x509 -req -in sub.csr -CA ca.crt -CAkey ca-key.pem -CAcreateserial -days 20 -out sub.pem -extfile ext",
    );
    done(
        dir,
        "issue --ca sub.pem --ca-key sub.key --name a.example --out a",
    );
    has(
        &refused(dir, "inspect a.pem ca.crt"),
        &["does not verify: CN=test-CA (ca.crt) allows at most 0 CAs below it"],
    );
    has(
        &done(dir, "inspect a.pem"),
        &["<- CN=test-CA, which is not here"],
    );
}

#[test]
fn what_a_file_says_cannot_disturb_the_terminal() {
    let dir = with_ca();
    let ca = Authority::new("e\u{202e}vil", Validity::days(1)).unwrap();
    fs::write(
        dir.path().join("a.pem"),
        ca.client("x", Validity::days(1)).unwrap().certificate,
    )
    .unwrap();
    fs::write(
        dir.path().join("b.pem"),
        "-----BEGIN \x1b[31mX-----\nMAA=\n-----END \x1b[31mX-----\n",
    )
    .unwrap();
    for said in [
        done(dir.path(), "inspect a.pem"),
        refused(dir.path(), "inspect b.pem"),
    ] {
        assert!(
            !said.contains('\x1b') && !said.contains('\u{202e}'),
            "{said:?}"
        );
    }
}
