//! Revocation lists.

use std::fs;
use std::path::Path;

use super::{done, foreign, has, openssl, refused, with_ca};

/// Whether openssl accepts a certificate with the list that there is.
fn is_accepted(dir: &Path, file: &str) -> bool {
    let (accepted, text) = foreign(
        dir,
        "openssl",
        &[
            "verify",
            "-x509_strict",
            "-CAfile",
            "ca.crt",
            "-CRLfile",
            "ca.crl",
            "-crl_check",
            file,
        ],
    );
    assert!(accepted || text.contains("certificate revoked"), "{text}");
    accepted
}

fn number(dir: &Path) -> u64 {
    let text = openssl(dir, "crl -in ca.crl -noout -crlnumber");
    u64::from_str_radix(text.trim().trim_start_matches("crlNumber=0x"), 16).unwrap()
}

#[test]
fn what_was_revoked_stays_revoked_and_the_number_grows() {
    let dir = with_ca();
    let dir = dir.path();
    for name in ["a", "b", "c"] {
        done(dir, &format!("issue --name {name}.example --out {name}"));
    }
    done(dir, "crl");
    openssl(dir, "crl -in ca.crl -CAfile ca.crt -noout");
    assert!(is_accepted(dir, "a.pem"));
    let first = number(dir);

    has(
        &done(dir, "crl --revoke a.pem --reason keyCompromise"),
        &["a.pem: revoked", "1 revoked"],
    );
    assert!(!is_accepted(dir, "a.pem") && is_accepted(dir, "b.pem"));
    let serial = openssl(dir, "x509 -in b.pem -noout -serial");
    let serial = serial.trim().trim_start_matches("serial=");
    let said = done(dir, &format!("crl --revoke {serial} a.pem --days 3"));
    has(
        &said,
        &[
            "keeps no register",
            &format!("whether it has issued {serial}: compare"),
        ],
    );
    assert!(!is_accepted(dir, "a.pem") && !is_accepted(dir, "b.pem") && is_accepted(dir, "c.pem"));
    assert_eq!(number(dir), first + 2);
    let text = openssl(dir, "crl -in ca.crl -noout -text");
    assert_eq!(text.matches("Serial Number").count(), 2, "{text}");
    has(
        &text,
        &["Key Compromise", "X509v3 Authority Key Identifier"],
    );
    let said = done(dir, "crl --revoke a.pem");
    has(&said, &["was revoked already"]);
    assert!(
        !said.contains("register"),
        "the certificate says itself who has issued it: {said}"
    );
}

#[test]
fn a_list_of_openssl_is_continued() {
    let dir = with_ca();
    let dir = dir.path();
    for name in ["a", "b"] {
        done(dir, &format!("issue --name {name}.example --out {name}"));
    }
    fs::write(dir.join("index.txt"), "").unwrap();
    fs::write(dir.join("number"), "00ff\n").unwrap();
    fs::write(
        dir.join("ca.cnf"),
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\ndefault_crl_days=9\n\
         crl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n",
    )
    .unwrap();
    openssl(
        dir,
        "ca -config ca.cnf -cert ca.crt -keyfile ca-key.pem -revoke a.pem -crl_reason superseded",
    );
    openssl(
        dir,
        "ca -config ca.cnf -cert ca.crt -keyfile ca-key.pem -gencrl -out ca.crl",
    );
    assert_eq!(number(dir), 0xff);
    done(dir, "crl --revoke b.pem");
    assert_eq!(number(dir), 0x100);
    assert!(!is_accepted(dir, "a.pem") && !is_accepted(dir, "b.pem"));
    has(
        &openssl(dir, "crl -in ca.crl -noout -text"),
        &["Superseded"],
    );
}

#[test]
fn what_is_not_the_cas_is_neither_revoked_nor_continued() {
    let dir = with_ca();
    let dir = dir.path();
    done(dir, "init --dir other --name test-CA");
    done(dir, "issue --dir other --name a.example --out a");
    has(
        &refused(dir, "crl --revoke other/a.pem"),
        &[
            "other/a.pem: the first certificate",
            "not issued by this CA",
        ],
    );
    has(
        &refused(dir, "crl --revoke ca.crt"),
        &["not issued by this CA"],
    );
    has(
        &refused(dir, "crl --revoke no-such.pem"),
        &["neither a file nor a serial number"],
    );
    has(
        &refused(dir, "crl --revoke 01 --reason boredom"),
        &["keyCompromise"],
    );
    has(&refused(dir, "crl --reason superseded"), &["--revoke"]);
    assert!(!dir.join("ca.crl").exists());

    done(dir, "crl --dir other");
    fs::copy(dir.join("other/ca.crl"), dir.join("ca.crl")).unwrap();
    let before = fs::read(dir.join("ca.crl")).unwrap();
    has(
        &refused(dir, "crl --revoke 01"),
        &["it was not signed by this CA"],
    );
    assert_eq!(fs::read(dir.join("ca.crl")).unwrap(), before);
    for broken in [
        "",
        "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
        "-----BEGIN X509 CRL-----\nMA",
    ] {
        fs::write(dir.join("ca.crl"), broken).unwrap();
        refused(dir, "crl --revoke 01");
        assert_eq!(
            fs::read_to_string(dir.join("ca.crl")).unwrap(),
            broken,
            "an old list is never given up"
        );
    }
}

#[test]
fn two_runs_at_once_lose_nothing() {
    let dir = with_ca();
    let dir = dir.path();
    std::thread::scope(|scope| {
        for serial in 1..=8 {
            scope.spawn(move || done(dir, &format!("crl --revoke {serial:02x}")));
        }
    });
    let text = openssl(dir, "crl -in ca.crl -noout -text");
    assert_eq!(text.matches("Serial Number").count(), 8, "{text}");
}
