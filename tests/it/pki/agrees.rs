//! `pki inspect` and `check` say the same of a CA and of a list.

use std::fs;
use std::path::Path;

use super::{openssl, text};
use crate::check::Site;
use crate::cli::snigate;
use crate::support::tls::{element, tagged};

const AUTHORITY: &str = "authorityKeyIdentifier = keyid:always\n";

/// A CA in `NAME.pem`, whose key is in `NAME.key`.
fn ca(dir: &Path, name: &str, kind: &str) {
    openssl(
        dir,
        &format!(
            "req -x509 -newkey {kind} -nodes -keyout {name}.key -out {name}.pem -subj /CN={name} -days 90"
        ),
    );
}

/// A list by the CA `name` with these extensions, in `list.crl`.
fn list(dir: &Path, name: &str, extensions: &str) {
    let text = format!(
        "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\ncrlnumber = number\ndefault_md = default\ndefault_crl_days = 30\n\
         crl_extensions = e\n[e]\n{extensions}\n"
    );
    for (file, text) in [
        ("ca.cnf", text.as_str()),
        ("index.txt", ""),
        ("number", "01\n"),
    ] {
        fs::write(dir.join(file), text).unwrap();
    }
    openssl(
        dir,
        &format!("ca -config ca.cnf -gencrl -cert {name}.pem -keyfile {name}.key -out list.crl"),
    );
}

/// The same, with only these of its fields (RFC 5280 §5.1.2), signed again.
fn reduced(dir: &Path, name: &str, fields: &[usize]) {
    list(dir, name, AUTHORITY);
    openssl(dir, "crl -in list.crl -outform DER -out list.der");
    let der = fs::read(dir.join("list.der")).unwrap();
    let (_, content, _) = element(&der);
    let (_, mut rest, signed) = element(content);
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (field, _, more) = element(rest);
        all.push(field);
        rest = more;
    }
    let chosen: Vec<u8> = fields.iter().flat_map(|at| all[*at]).copied().collect();
    let (algorithm, ..) = element(signed);
    let tbs = tagged(0x30, &chosen);
    fs::write(dir.join("tbs"), &tbs).unwrap();
    openssl(
        dir,
        &format!("dgst -sha256 -sign {name}.key -out signature tbs"),
    );
    let signature = [&[0], &*fs::read(dir.join("signature")).unwrap()].concat();
    let whole = tagged(0x30, &[&tbs, algorithm, &tagged(3, &signature)].concat());
    fs::write(dir.join("list.crl"), whole).unwrap();
}

/// How a CA or a list is made in a directory.
type Make = fn(&Path);

/// What it is, the CA and the list, and the words that refuse one of them, if any do.
type Row<'a> = (&'a str, Make, &'a dyn Fn(&Path), &'a str);

#[test]
fn inspect_says_of_a_ca_and_its_list_what_check_says() {
    const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
    const VERSION: usize = 0;
    const NEXT_UPDATE: usize = 4;
    const EXTENSIONS: usize = 5;
    let without =
        |dropped: &[usize]| -> Vec<usize> { (0..6).filter(|at| !dropped.contains(at)).collect() };
    let of_clients: Make = |dir| ca(dir, "clients", P256);
    let rows: [Row<'_>; 12] = [
        (
            "a list",
            of_clients,
            &|dir| list(dir, "clients", AUTHORITY),
            "",
        ),
        (
            "of version 1",
            of_clients,
            &|dir| reduced(dir, "clients", &without(&[VERSION, EXTENSIONS])),
            "it is a list of version 1",
        ),
        (
            "no extensions",
            of_clients,
            &|dir| reduced(dir, "clients", &without(&[EXTENSIONS])),
            "it has no extensions",
        ),
        (
            "no nextUpdate",
            of_clients,
            &|dir| reduced(dir, "clients", &without(&[NEXT_UPDATE])),
            "it does not say when the next one is due",
        ),
        (
            "a delta list",
            of_clients,
            &|dir| list(dir, "clients", "2.5.29.27 = critical,ASN1:INTEGER:1"),
            "it is a delta list",
        ),
        (
            "indirect",
            of_clients,
            &|dir| {
                list(
                    dir,
                    "clients",
                    "issuingDistributionPoint = critical,@p\n[p]\nindirectCRL = TRUE",
                )
            },
            "it is an indirect list",
        ),
        (
            "for some reasons",
            of_clients,
            &|dir| {
                list(
                    dir,
                    "clients",
                    "issuingDistributionPoint = critical,@p\n[p]\nonlysomereasons = keyCompromise",
                )
            },
            "it is about some reasons only",
        ),
        (
            "a part",
            of_clients,
            &|dir| {
                list(
                    dir,
                    "clients",
                    "issuingDistributionPoint = critical,@p\n[p]\nfullname = URI:http://a.example/1",
                )
            },
            "",
        ),
        (
            "of another CA",
            of_clients,
            &|dir| {
                ca(dir, "other", P256);
                list(dir, "other", AUTHORITY);
            },
            "CN=other",
        ),
        (
            "of another key",
            |dir| {
                ca(dir, "clients", P256);
                list(dir, "clients", AUTHORITY);
                ca(dir, "clients", P256);
            },
            &|_| {},
            "not signed by",
        ),
        (
            "a CA with a short key",
            |dir| ca(dir, "clients", "rsa:1024"),
            &|dir| list(dir, "clients", AUTHORITY),
            "an RSA key of 1024 bits",
        ),
        (
            "a CA of Ed448",
            |dir| ca(dir, "clients", "ed448"),
            &|dir| list(dir, "clients", AUTHORITY),
            "an Ed448 key",
        ),
    ];
    for (what, make_ca, make_list, words) in rows {
        let site = Site::new();
        let dir = site.dir.path();
        make_ca(dir);
        make_list(dir);
        fs::copy(dir.join("list.crl"), dir.join("clients.crl")).unwrap();
        for arguments in [
            &["check"][..],
            &["pki", "inspect", "clients.pem", "clients.crl"],
        ] {
            let output = snigate(dir, arguments);
            let said = text(&output);
            assert_eq!(
                output.status.success(),
                words.is_empty(),
                "{what}, {arguments:?}: {said}"
            );
            assert!(said.contains(words), "{what}, {arguments:?}: {said}");
        }
    }
}
