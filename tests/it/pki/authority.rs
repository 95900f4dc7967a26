//! CAs, certificates and requests.

use std::fs;

use super::{done, foreign, has, openssl, refused, with_ca};

#[test]
fn a_ca_and_what_it_issues_are_as_openssl_wants_them() {
    for rsa in ["", " --rsa"] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        done(dir, &format!("init --dir ca --name test-CA{rsa}"));
        let ca = openssl(dir, "x509 -in ca/ca.crt -noout -text");
        has(
            &ca,
            &[
                "CN = test-CA",
                "CA:TRUE, pathlen:0",
                "Certificate Sign, CRL Sign",
                "X509v3 Basic Constraints: critical",
            ],
        );

        done(
            dir,
            &format!(
                "issue --dir ca --name gpu.local *.gpu.local --ip 192.0.2.1 2001:db8::1 --out server{rsa}"
            ),
        );
        let strict = "verify -x509_strict -CAfile ca/ca.crt";
        openssl(
            dir,
            &format!("{strict} -purpose sslserver -verify_hostname a.gpu.local ca/server.pem"),
        );
        openssl(
            dir,
            &format!("{strict} -verify_ip 2001:db8::1 ca/server.pem"),
        );
        let leaf = openssl(dir, "x509 -in ca/server.pem -noout -text");
        has(
            &leaf,
            &[
                "CN = gpu.local",
                "DNS:gpu.local, DNS:*.gpu.local, IP Address:192.0.2.1",
                "CA:FALSE",
            ],
        );
        has(
            &leaf,
            &[
                "TLS Web Server Authentication",
                "Subject Key Identifier",
                "Authority Key Identifier",
            ],
        );
        assert!(!leaf.contains("Client Authentication"), "{leaf}");
        let (key, size) = if rsa.is_empty() {
            ("P-256", "(256 bit)")
        } else {
            ("Key Encipherment", "(3072 bit)")
        };
        has(&leaf, &[key, size]);
        let of_key = openssl(dir, "pkey -in ca/server-key.pem -pubout");
        assert_eq!(
            of_key,
            openssl(dir, "x509 -in ca/server.pem -noout -pubkey")
        );
        // 128 bits, and a leading zero byte is never needed.
        assert_eq!(
            openssl(dir, "x509 -in ca/server.pem -noout -serial")
                .trim()
                .len(),
            "serial=".len() + 32
        );
    }
}

#[test]
fn a_clients_certificate_has_the_names_and_the_usage_of_a_client() {
    let dir = with_ca();
    let dir = dir.path();
    done(
        dir,
        "issue --client --name Ada_Lovelace! --email ada@example.net --uri spiffe://example.net/ada --out ada",
    );
    let text = openssl(dir, "x509 -in ada.pem -noout -text");
    has(
        &text,
        &[
            "CN = Ada_Lovelace!",
            "email:ada@example.net, URI:spiffe://example.net/ada",
            "TLS Web Client",
        ],
    );
    openssl(dir, "verify -CAfile ca.crt -purpose sslclient ada.pem");
    let (accepted, _) = foreign(
        dir,
        "openssl",
        &[
            "verify",
            "-CAfile",
            "ca.crt",
            "-purpose",
            "sslserver",
            "ada.pem",
        ],
    );
    assert!(!accepted, "a client's certificate serves");
    done(dir, "issue --client --server --name both.example");
    openssl(
        dir,
        "verify -CAfile ca.crt -purpose sslclient both.example.pem",
    );
    openssl(
        dir,
        "verify -CAfile ca.crt -purpose sslserver both.example.pem",
    );
}

#[test]
fn a_certificate_begins_before_now_and_never_ends_after_its_ca() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    done(dir, "init --days 30");
    let end = |file: &str| openssl(dir, &format!("x509 -in {file} -noout -enddate"));
    done(dir, "issue --name short.example --days 5");
    openssl(dir, "x509 -in short.example.pem -noout -checkend 428400");
    let (beyond, _) = foreign(
        dir,
        "openssl",
        &["x509", "-in", "short.example.pem", "-checkend", "435600"],
    );
    assert!(!beyond, "{}", end("short.example.pem"));
    // Without --days it is cut to what is left, and a number that is too large is an error.
    done(dir, "issue --name long.example");
    assert_eq!(end("long.example.pem"), end("ca.crt"));
    has(
        &refused(dir, "issue --name longer.example --days 31"),
        &["would outlive the CA, which expires in 29 days"],
    );
    assert!(!dir.join("longer.example-key.pem").exists());
}

#[test]
fn what_cannot_be_issued_is_refused_and_leaves_nothing_behind() {
    let dir = with_ca();
    for (arguments, expected) in [
        ("issue", "--name, --ip, --email or --uri"),
        ("issue --name a..b", "each label"),
        ("issue --name 192.0.2.1", "--ip"),
        ("issue --ip 300.1.1.1", "invalid IP address"),
        ("issue --name *", "stands for one label"),
        ("issue --name a.example --email nobody", "user@example.net"),
        ("issue --name a.example --days 0", "0 is not in 1..=36500"),
        (
            "issue --name a.example --out no/such/directory",
            "cannot write",
        ),
        (
            "issue --name a.example --dir elsewhere",
            "there is no CA in elsewhere: make one with",
        ),
        (
            "issue --name a.example --rsa --csr x",
            "cannot be used with",
        ),
        ("init --name x --days 40000 --force", "40000 is not in"),
    ] {
        has(&refused(dir.path(), arguments), &[expected]);
    }
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_ca_of_openssl_issues_here_with_its_chain() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(
        dir.join("ext"),
        "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n",
    )
    .unwrap();
    openssl(
        dir,
        "req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /O=Example/CN=root -days 30",
    );
    openssl(
        dir,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout ca-key.pem -out sub.csr -subj /CN=sub",
    );
    openssl(
        dir,
        "x509 -req -in sub.csr -CA root.pem -CAkey root.key -CAcreateserial -days 20 -out sub.pem -extfile ext",
    );
    let both = fs::read_to_string(dir.join("root.pem")).unwrap()
        + &fs::read_to_string(dir.join("sub.pem")).unwrap();
    fs::write(dir.join("ca.crt"), both).unwrap();
    done(dir, "issue --name a.example");
    openssl(
        dir,
        "verify -CAfile root.pem -untrusted a.example.pem a.example.pem",
    );
    let chain = fs::read_to_string(dir.join("a.example.pem")).unwrap();
    assert_eq!(
        chain.matches("BEGIN CERTIFICATE").count(),
        2,
        "the leaf and the intermediate, not the root"
    );

    done(
        dir,
        "issue --ca root.pem --ca-key root.key --name b.example",
    );
    openssl(dir, "verify -CAfile root.pem b.example.pem");
    done(
        dir,
        "crl --ca root.pem --ca-key root.key --revoke b.example.pem",
    );
    openssl(dir, "crl -in ca.crl -CAfile root.pem -noout");
}

#[test]
fn a_ca_whose_name_cannot_be_written_again_does_not_issue_what_nobody_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    openssl(
        dir,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.crt -subj /DC=net/DC=example/CN=ca -days 30",
    );
    has(
        &refused(dir, "issue --name a.example"),
        &["issue with the tool that made the CA"],
    );
    assert!(!dir.join("a.example.pem").exists() && !dir.join("a.example-key.pem").exists());
}

#[test]
fn what_is_no_ca_does_not_issue() {
    let dir = with_ca();
    let dir = dir.path();
    done(dir, "issue --name a.example");
    has(
        &refused(
            dir,
            "issue --name b.example --ca a.example.pem --ca-key a.example-key.pem",
        ),
        &["CN=a.example is not a CA"],
    );
    has(
        &refused(dir, "issue --name b.example --ca-key a.example-key.pem"),
        &["belongs to none of the CA's certificates"],
    );
    openssl(
        dir,
        "ec -aes256 -passout pass:x -in ca-key.pem -out locked.pem",
    );
    has(
        &refused(dir, "issue --name b.example --ca-key locked.pem"),
        &["is encrypted; decrypt it"],
    );
}

#[test]
fn a_request_of_openssl_is_granted_its_names_and_nothing_else() {
    let dir = with_ca();
    let dir = dir.path();
    for (name, key) in [
        ("rsa", "rsa:2048"),
        ("ec", "ec -pkeyopt ec_paramgen_curve:P-256"),
        ("ed", "ed25519"),
    ] {
        openssl(
            dir,
            &format!(
                "req -newkey {key} -nodes -keyout {name}-key.pem -out {name}.csr -subj /O=Acme/CN={name}.example \
                 -addext subjectAltName=DNS:{name}.example,DNS:*.{name}.example,IP:192.0.2.7"
            ),
        );
        done(dir, &format!("issue --csr {name}.csr --out {name}"));
        openssl(
            dir,
            &format!("verify -CAfile ca.crt -verify_hostname x.{name}.example {name}.pem"),
        );
        let text = openssl(dir, &format!("x509 -in {name}.pem -noout -text"));
        has(
            &text,
            &["IP Address:192.0.2.7", "TLS Web Server Authentication"],
        );
        assert!(!text.contains("Acme"), "{text}");
        let of_key = openssl(dir, &format!("pkey -in {name}-key.pem -pubout"));
        assert_eq!(
            of_key,
            openssl(dir, &format!("x509 -in {name}.pem -noout -pubkey"))
        );
    }
    // Names on the command line are those of the operator, and count alone. DER is read, too.
    openssl(dir, "req -in ec.csr -outform DER -out ec.der");
    done(dir, "issue --csr ec.der --name other.example");
    let text = openssl(dir, "x509 -in other.example.pem -noout -text");
    assert!(
        text.contains("DNS:other.example") && !text.contains("ec.example"),
        "{text}"
    );
    // A request of old, with a common name alone.
    openssl(
        dir,
        "req -newkey ed25519 -nodes -keyout old-key.pem -out old.csr -subj /CN=old.example",
    );
    done(dir, "issue --csr old.csr");
    has(
        &openssl(dir, "x509 -in old.example.pem -noout -text"),
        &["DNS:old.example"],
    );
}

#[test]
fn a_request_that_is_forged_or_asks_for_too_much_is_refused() {
    let dir = with_ca();
    let dir = dir.path();
    let make = "req -newkey ed25519 -nodes -keyout k.pem -subj /CN=a.example -out";
    openssl(
        dir,
        &format!("{make} ca.csr -addext basicConstraints=critical,CA:TRUE"),
    );
    has(
        &refused(dir, "issue --csr ca.csr"),
        &["asks for the certificate of a CA"],
    );
    openssl(
        dir,
        &format!("{make} dir.csr -addext subjectAltName=RID:1.2.3"),
    );
    has(
        &refused(dir, "issue --csr dir.csr"),
        &["no host name, IP or mail address, or URI"],
    );
    openssl(dir, &format!("{make} any.csr -addext subjectAltName=DNS:*"));
    has(
        &refused(dir, "issue --csr any.csr"),
        &["cannot stand in a certificate"],
    );

    openssl(dir, &format!("{make} good.csr -outform DER"));
    let mut forged = fs::read(dir.join("good.csr")).unwrap();
    let at = forged
        .windows(9)
        .position(|window| window == b"a.example")
        .unwrap();
    forged[at] = b'b';
    fs::write(dir.join("forged.csr"), forged).unwrap();
    has(
        &refused(dir, "issue --csr forged.csr"),
        &["its signature is not that of its key"],
    );
    has(
        &refused(dir, "issue --csr ca.crt"),
        &["is a certificate, and --csr takes"],
    );
    fs::write(dir.join("empty.csr"), "").unwrap();
    has(
        &refused(dir, "issue --csr empty.csr"),
        &["the file is empty"],
    );
}

#[test]
fn a_request_made_here_is_one_to_openssl_and_is_granted_here() {
    let dir = with_ca();
    let dir = dir.path();
    for rsa in ["", " --rsa"] {
        done(
            dir,
            &format!("csr --name a.example *.a.example --ip ::1 --force{rsa}"),
        );
        has(
            &openssl(dir, "req -in a.example.csr -noout -verify -text"),
            &["verify OK", "DNS:a.example", "IP Address:0"],
        );
        done(dir, "issue --csr a.example.csr --force");
        openssl(
            dir,
            "verify -CAfile ca.crt -verify_hostname x.a.example a.example.pem",
        );
        let of_key = openssl(dir, "pkey -in a.example-key.pem -pubout");
        assert_eq!(
            of_key,
            openssl(dir, "x509 -in a.example.pem -noout -pubkey")
        );
    }
}

#[test]
fn a_configuration_takes_the_directory_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    done(dir, "init --dir certs");
    done(dir, "issue --dir certs --name gpu.local --out server");
    fs::write(
        dir.join("snigate.toml"),
        "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[routes.gpu]\nsni = \"gpu.local\"\naction = \"terminate\"\n\
         upstream = \"127.0.0.1:1\"\n[certificates.lan]\ndir = \"certs\"\n",
    )
    .unwrap();
    let (success, text) = foreign(dir, env!("CARGO_BIN_EXE_snigate"), &["check"]);
    assert!(success && text.contains("0 errors, 0 warnings"), "{text}");
}
