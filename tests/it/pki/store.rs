//! PKCS#12 stores, and who can read them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{done, foreign, has, openssl, refused, text, with_ca};
use crate::support::left_out::{lacks, left_out};

const PASSWORD: &str = "pässwörd 1";

/// Clients `ec` and `rsa` with their keys, and those keys in the older forms `sec1.pem` and
/// `pkcs1.pem`.
fn with_clients() -> tempfile::TempDir {
    let dir = with_ca();
    let path = dir.path();
    done(path, "issue --client --name ec");
    done(path, "issue --client --name rsa --rsa");
    openssl(path, "ec -in ec-key.pem -out sec1.pem");
    openssl(path, "rsa -in rsa-key.pem -traditional -out pkcs1.pem");
    fs::write(path.join("password"), format!("{PASSWORD}\n")).unwrap();
    dir
}

#[test]
fn openssl_reads_a_store_of_every_kind_of_key_with_its_password_alone() {
    let dir = with_clients();
    let dir = dir.path();
    for (name, key) in [
        ("ec", "ec-key.pem"),
        ("ec", "sec1.pem"),
        ("rsa", "rsa-key.pem"),
        ("rsa", "pkcs1.pem"),
    ] {
        for legacy in ["", " --legacy"] {
            done(
                dir,
                &format!(
                    "p12 --cert {name}.pem --key {key} --ca ca.crt --out s.p12 --password-file password --force{legacy}"
                ),
            );
            let flag = legacy.replace("--", "-");
            let read = openssl(
                dir,
                &format!("pkcs12 -in s.p12 -nodes -passin file:password{flag}"),
            );
            assert_eq!(read.matches("BEGIN CERTIFICATE").count(), 2, "{read}");
            fs::write(dir.join("read.pem"), read).unwrap();
            let public = openssl(dir, "pkey -in read.pem -pubout");
            assert_eq!(
                public,
                openssl(dir, &format!("x509 -in {name}.pem -noout -pubkey")),
                "{key}{legacy}"
            );
            let info = openssl(
                dir,
                &format!("pkcs12 -in s.p12 -info -noout -passin file:password{flag}"),
            );
            match legacy {
                "" => has(&info, &["MAC: sha256", "AES-256-CBC", "hmacWithSHA256"]),
                _ => has(&info, &["MAC: sha1", "pbeWithSHA1And3-KeyTripleDES-CBC"]),
            }
            let (accepted, said) = foreign(
                dir,
                "openssl",
                &["pkcs12", "-in", "s.p12", "-noout", "-passin", "pass:wrong"],
            );
            assert!(!accepted && said.contains("invalid password"), "{said}");
        }
    }
}

#[test]
fn the_certificate_of_the_key_comes_first_and_is_the_only_one_that_is_said_to_be_its_own() {
    let dir = with_clients();
    let dir = dir.path();
    let all: String = ["ca.crt", "ec.pem"]
        .iter()
        .map(|name| fs::read_to_string(dir.join(name)).unwrap())
        .collect();
    fs::write(dir.join("all.pem"), all).unwrap();
    done(
        dir,
        "p12 --cert all.pem --key ec-key.pem --ca ca.crt --out s.p12 --password-file password",
    );
    let read = openssl(dir, "pkcs12 -in s.p12 -nodes -passin file:password");
    for (text, expected) in [
        ("BEGIN CERTIFICATE", 2),
        ("localKeyID", 2),
        ("friendlyName: ec", 2),
    ] {
        assert_eq!(read.matches(text).count(), expected, "{text}: {read}");
    }
    fs::write(
        dir.join("own.pem"),
        openssl(
            dir,
            "pkcs12 -in s.p12 -nokeys -clcerts -passin file:password",
        ),
    )
    .unwrap();
    let [own, ec] = ["own.pem", "ec.pem"]
        .map(|file| openssl(dir, &format!("x509 -in {file} -noout -fingerprint")));
    assert_eq!(own, ec);
}

#[test]
fn browsers_and_python_import_a_store() {
    let dir = with_clients();
    let dir = dir.path();
    for legacy in ["", " --legacy"] {
        done(
            dir,
            &format!(
                "p12 --cert ec.pem --key ec-key.pem --out s.p12 --password-file password --force{legacy}"
            ),
        );
        nss(dir);
        python(dir);
    }
}

/// The key store of Chromium and Firefox, where its tools are installed.
fn nss(dir: &Path) {
    if lacks(&["certutil", "pk12util"]) {
        return;
    }
    let _ = fs::remove_dir_all(dir.join("db"));
    fs::create_dir(dir.join("db")).unwrap();
    let run = |program, arguments: &[&str]| foreign(dir, program, arguments);
    assert!(run("certutil", &["-N", "-d", "sql:db", "--empty-password"]).0);
    assert!(!run("pk12util", &["-i", "s.p12", "-d", "sql:db", "-W", "wrong"]).0);
    let (success, said) = run("pk12util", &["-i", "s.p12", "-d", "sql:db", "-W", PASSWORD]);
    assert!(success, "{said}");
    let (_, keys) = run("certutil", &["-K", "-d", "sql:db"]);
    assert!(
        keys.lines()
            .any(|line| line.ends_with("ec") && line.contains("ec ")),
        "{keys}"
    );
}

/// Python's cryptography, where it is installed.
fn python(dir: &Path) {
    let script = "import sys\ntry:\n from cryptography.hazmat.primitives.serialization import pkcs12, Encoding, PublicFormat\nexcept ImportError: sys.exit(9)\n\
                  s = pkcs12.load_pkcs12(open('s.p12', 'rb').read(), sys.argv[1].encode())\n\
                  info = lambda key: key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)\n\
                  assert info(s.key.public_key()) == info(s.cert.certificate.public_key())\n\
                  assert s.cert.friendly_name == b'ec'\n";
    if lacks(&["python3"]) {
        return;
    }
    let output = Command::new("python3")
        .args(["-c", script, PASSWORD])
        .current_dir(dir)
        .output()
        .unwrap();
    if output.status.code() == Some(9) {
        return left_out("there is no module cryptography of Python");
    }
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_store_needs_a_password_and_a_key_that_fits() {
    let dir = with_clients();
    let dir = dir.path();
    fs::write(dir.join("empty"), "\nnot this line\n").unwrap();
    fs::write(dir.join("binary"), b"\xff\n").unwrap();
    let store = "p12 --cert ec.pem --key ec-key.pem --out s.p12";
    for (arguments, expected) in [
        (store.to_owned(), "--password-file"),
        (
            format!("{store} --password-file empty"),
            "the password is empty",
        ),
        (format!("{store} --password-file binary"), "is not UTF-8"),
        (
            format!("{store} --password-file nowhere"),
            "cannot read nowhere",
        ),
        (
            format!("{store} --password-env SNIGATE_TEST_UNSET"),
            "is not set",
        ),
        (
            "p12 --cert rsa.pem --key ec-key.pem --out s.p12 --password-file password".to_owned(),
            "belongs to none of the",
        ),
        (
            "p12 --cert ec-key.pem --key ec-key.pem --out s.p12 --password-file password"
                .to_owned(),
            "a private key",
        ),
        (
            "p12 --cert ec.pem --key ec.pem --out s.p12 --password-file password".to_owned(),
            "and --key takes a private key",
        ),
    ] {
        has(&refused(dir, &arguments), &[expected]);
        assert!(!dir.join("s.p12").exists());
    }
    done(dir, &format!("{store} --password-file password"));
    has(
        &refused(dir, &format!("{store} --password-file password")),
        &["exists already"],
    );
}
