//! Chains that a server sends of a file, and what is said of them before a client finds out.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};

use super::*;
use crate::x509::CertificateIssue as Issue;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A change to the parameters of a certificate; the rest is as CAs have it.
type Change<'a> = &'a dyn Fn(&mut CertificateParams);

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn dates(params: &mut CertificateParams, from: SystemTime, to: SystemTime) {
    (params.not_before, params.not_after) = (from.into(), to.into());
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name);
    params.use_authority_key_identifier_extension = true;
    let now = SystemTime::now();
    dates(&mut params, now - DAY, now + 90 * DAY);
    params
}

/// An authority with one key, whose certificates can be made again.
struct Ca {
    name: &'static str,
    key: KeyPair,
}

impl Ca {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            key: KeyPair::generate().unwrap(),
        }
    }

    fn params(&self, change: Change) -> CertificateParams {
        let mut params = params(self.name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        params
    }

    fn root(&self) -> String {
        self.params(&|_| {}).self_signed(&self.key).unwrap().pem()
    }

    fn by(&self, issuer: &Self, change: Change) -> String {
        self.params(change)
            .signed_by(&self.key, &issuer.issuer())
            .unwrap()
            .pem()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::new(self.params(&|_| {}), &self.key)
    }

    fn leaf(&self, key: &KeyPair, change: Change) -> String {
        let mut params = params("leaf");
        params.subject_alt_names = vec![SanType::DnsName(NAME.try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        params.signed_by(key, &self.issuer()).unwrap().pem()
    }
}

fn load_all(text: &str, key: &KeyPair, now: SystemTime) -> Vec<Certificate> {
    Certificate::load_all(text.as_bytes(), key.serialize_pem().as_bytes(), now).unwrap()
}

/// The positions in `blocks` of what is sent.
fn sent(certificate: &Certificate, blocks: &[&String]) -> Vec<usize> {
    let position = |der: &CertificateDer<'_>| {
        blocks
            .iter()
            .position(|block| &CertificateDer::from_pem_slice(block.as_bytes()).unwrap() == der)
            .unwrap()
    };
    certificate.certified().cert.iter().map(position).collect()
}

fn concat(blocks: &[&String]) -> String {
    blocks.iter().map(|block| block.as_str()).collect()
}

/// Every order of a file: what is chosen from it does not depend on it.
fn orders<'a>(blocks: &[&'a String]) -> Vec<Vec<&'a String>> {
    if blocks.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for at in 0..blocks.len() {
        let mut rest = blocks.to_vec();
        let first = rest.remove(at);
        orders.extend(
            self::orders(&rest)
                .into_iter()
                .map(|rest| [vec![first], rest].concat()),
        );
    }
    orders
}

#[test]
fn of_several_certificates_of_the_key_the_valid_one_is_sent_and_the_others_are_named() {
    let now = SystemTime::now();
    let (root, key) = (Ca::new("root"), KeyPair::generate().unwrap());
    let leaf =
        |from: SystemTime, to: SystemTime| root.leaf(&key, &|params| dates(params, from, to));
    let expired = leaf(now - 9 * DAY, now - DAY);
    let old = leaf(now - 9 * DAY, now + DAY);
    let new = leaf(now - DAY, now + 30 * DAY);
    let next = leaf(now + DAY, now + 60 * DAY);
    let mut own = params("leaf");
    own.subject_alt_names = vec![SanType::DnsName(NAME.try_into().unwrap())];
    dates(&mut own, now - DAY, now + 900 * DAY);
    let own = own.self_signed(&key).unwrap().pem();
    for (blocks, best, words) in [
        (vec![&expired, &new], &new, "it has expired on "),
        (vec![&expired, &old, &new], &new, "which is valid until "),
        (vec![&next, &new], &new, "it is not valid before "),
        (vec![&own, &new], &new, "it is self-signed; "),
        (vec![&expired, &next], &next, "it has expired on "),
        (vec![&own, &expired], &own, "it has expired on "),
    ] {
        for order in orders(&blocks) {
            let found = load_all(&concat(&order), &key, now);
            let place = order.iter().position(|block| *block == best).unwrap();
            assert_eq!(sent(&found[0], &order), [place], "{words}");
            let unused: Vec<_> = found[0]
                .issues()
                .iter()
                .filter(|issue| matches!(issue, Issue::NotUsed { .. }))
                .collect();
            assert_eq!(unused.len(), order.len() - 1, "{:?}", found[0].issues());
            assert!(
                unused.iter().any(|issue| issue.to_string().contains(words)),
                "{words}: {unused:?}"
            );
            assert_eq!(
                unused.len(),
                found[0].issues().len(),
                "nothing else is wrong: {:?}",
                found[0].issues()
            );
        }
    }
}

#[test]
fn what_a_file_holds_for_later_is_chosen_by_the_clock_and_not_only_by_a_reload() {
    let now = SystemTime::now();
    let (root, sub, key) = (
        Ca::new("root"),
        Ca::new("sub"),
        KeyPair::generate().unwrap(),
    );
    let old = root.leaf(&key, &|params| dates(params, now - 9 * DAY, now + DAY));
    let next = root.leaf(&key, &|params| dates(params, now + DAY / 2, now + 60 * DAY));
    let leaf = sub.leaf(&key, &|_| {});
    let sub_old = sub.by(&root, &|params| dates(params, now - 9 * DAY, now + DAY));
    let sub_next = sub.by(&root, &|params| {
        dates(params, now + DAY / 2, now + 60 * DAY)
    });
    for (blocks, today, later) in [
        (vec![&next, &old], vec![1], vec![0]),
        (vec![&leaf, &sub_next, &sub_old], vec![0, 2], vec![0, 1]),
    ] {
        let all: Vec<_> = load_all(&concat(&blocks), &key, now)
            .into_iter()
            .map(Arc::new)
            .collect();
        let acceptor = Acceptor::new(all, &AcceptorOptions::default(), true).unwrap();
        let name = NAME.parse().unwrap();
        let shown = |at| {
            let choice = acceptor
                .select_at(at, Signatures::all(), Some(&name), || None)
                .unwrap();
            sent(choice.certificate(), &blocks)
        };
        assert_eq!(shown(now), today);
        assert_eq!(shown(now + 2 * DAY), later);
        assert_eq!(
            shown(now + 100 * DAY).len(),
            today.len(),
            "what is over is shown where there is nothing else"
        );
    }
}

#[test]
fn an_issuer_is_chosen_by_its_signature_and_dates_in_every_order_of_the_file() {
    let now = SystemTime::now();
    let (root, key) = (Ca::new("root"), KeyPair::generate().unwrap());
    let [sub, other] = [Ca::new("sub"), Ca::new("sub")];
    let expired = |params: &mut CertificateParams| dates(params, now - 9 * DAY, now - DAY);
    let leaf = sub.leaf(&key, &|params| {
        params.use_authority_key_identifier_extension = false
    });
    let (present, past, foreign) = (
        sub.by(&root, &|_| {}),
        sub.by(&root, &expired),
        other.by(&root, &|_| {}),
    );
    for (blocks, expected) in [
        (vec![&leaf, &present], vec![&leaf, &present]),
        (vec![&leaf, &past, &present], vec![&leaf, &present]),
        (vec![&leaf, &foreign, &present], vec![&leaf, &present]),
        (
            vec![&leaf, &foreign, &past, &present],
            vec![&leaf, &present],
        ),
        (vec![&leaf, &past, &foreign], vec![&leaf, &past]),
        (vec![&leaf, &foreign], vec![&leaf]),
    ] {
        for order in orders(&blocks) {
            let found = load_all(&concat(&order), &key, now);
            let places: Vec<usize> = expected
                .iter()
                .map(|block| order.iter().position(|other| other == block).unwrap())
                .collect();
            assert_eq!(sent(&found[0], &order), places);
            let is_fatal = found[0].issues().iter().any(Issue::is_fatal);
            assert_eq!(
                is_fatal,
                !expected.contains(&&present),
                "{:?}",
                found[0].issues()
            );
        }
    }
}

/// Each row is one mistake: what is said of it, and whether every client refuses it.
#[test]
fn what_is_wrong_with_a_chain_is_said_in_one_sentence() {
    let now = SystemTime::now();
    let [root, middle, sub] = ["root", "middle", "sub"].map(Ca::new);
    let key = KeyPair::generate().unwrap();
    let chain = |leaf: Change, sub_change: Change, middle_change: Change| {
        sub.leaf(&key, leaf) + &sub.by(&middle, sub_change) + &middle.by(&root, middle_change)
    };
    let as_is: Change = &|_| {};
    let expire: Change = &|params| dates(params, now - 9 * DAY, now - DAY);
    let early: Change = &|params| dates(params, now + DAY, now + 9 * DAY);
    let no_ca: Change = &|params| params.is_ca = IsCa::NoCa;
    let no_sign: Change = &|params| params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let no_room: Change = &|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let elsewhere: Change = &|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    };
    let dns = |text: &'static str| {
        move |params: &mut CertificateParams| {
            params
                .subject_alt_names
                .push(SanType::DnsName(text.try_into().unwrap()))
        }
    };
    let only = |san: SanType| {
        move |params: &mut CertificateParams| params.subject_alt_names = vec![san.clone()]
    };
    let usage = |usages: &'static [ExtendedKeyUsagePurpose]| {
        move |params: &mut CertificateParams| params.extended_key_usages = usages.to_vec()
    };
    let ca_leaf: Change = &|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let no_names: Change = &|params| params.subject_alt_names.clear();
    let encipher: Change = &|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    let client_only = usage(&[ExtendedKeyUsagePurpose::ClientAuth]);
    let any = usage(&[ExtendedKeyUsagePurpose::Any]);
    let uri = only(SanType::URI("spiffe://example.net/a".try_into().unwrap()));
    let broken: Change = &|params| {
        params.subject_alt_names.clear();
        let content = vec![0x30, 0x03, 0x82, 0x09, b'a'];
        params
            .custom_extensions
            .push(rcgen::CustomExtension::from_oid_content(
                &[2, 5, 29, 17],
                content,
            ));
    };
    let backwards: Change = &|params| dates(params, now + DAY, now - DAY);
    let (v4, v6) = (dns("192.0.2.10"), dns("2001:db8::1"));
    let (url, port, star, part, space) = (
        dns("https://a.example/"),
        dns("a.example:443"),
        dns("*"),
        dns("w*.example"),
        dns("a b"),
    );
    for (what, text, expected, is_fatal) in [
        ("sound", chain(as_is, as_is, as_is), None, false),
        (
            "an expired intermediate",
            chain(as_is, expire, as_is),
            Some("CN=sub has expired on"),
            true,
        ),
        (
            "an expired one above",
            chain(as_is, as_is, expire),
            Some("CN=middle has expired on"),
            true,
        ),
        (
            "an early intermediate",
            chain(as_is, early, as_is),
            Some("CN=sub is not valid before"),
            true,
        ),
        (
            "an intermediate that is no CA",
            chain(as_is, no_ca, as_is),
            Some("CN=sub does not say CA:TRUE"),
            true,
        ),
        (
            "without keyCertSign",
            chain(as_is, no_sign, as_is),
            Some("CN=sub has a key usage without keyCertSign"),
            true,
        ),
        (
            "above, too",
            chain(as_is, as_is, no_sign),
            Some("CN=middle has a key usage without"),
            true,
        ),
        (
            "path length",
            chain(as_is, as_is, no_room),
            Some("CN=middle allows at most 0 CAs below it"),
            true,
        ),
        (
            "a name that its CA may not have",
            chain(as_is, as_is, elsewhere),
            Some("may not issue for"),
            true,
        ),
        (
            "a client's",
            chain(&client_only, as_is, as_is),
            Some("does not include serverAuth, so that"),
            true,
        ),
        (
            "any usage",
            chain(&any, as_is, as_is),
            Some("anyExtendedKeyUsage"),
            false,
        ),
        (
            "a CA's",
            chain(ca_leaf, as_is, as_is),
            Some("CA:TRUE"),
            false,
        ),
        (
            "no names",
            chain(no_names, as_is, as_is),
            Some("no subjectAltName, so it is good for no name; the common name leaf"),
            false,
        ),
        (
            "a URI alone",
            chain(&uri, as_is, as_is),
            Some("uri:spiffe://example.net/a"),
            false,
        ),
        (
            "names that cannot be read",
            chain(broken, as_is, as_is),
            Some("cannot be read"),
            true,
        ),
        (
            "never valid",
            chain(backwards, as_is, as_is),
            Some("ends before it begins"),
            true,
        ),
        (
            "key usage",
            chain(encipher, as_is, as_is),
            Some("digitalSignature"),
            false,
        ),
        (
            "an address",
            chain(&v4, as_is, as_is),
            Some("(`IP:192.0.2.10`)"),
            false,
        ),
        (
            "an IPv6 address",
            chain(&v6, as_is, as_is),
            Some("(`IP:2001:db8::1`)"),
            false,
        ),
        (
            "a URL",
            chain(&url, as_is, as_is),
            Some("without a scheme"),
            false,
        ),
        (
            "a port",
            chain(&port, as_is, as_is),
            Some("without a port"),
            false,
        ),
        (
            "every name",
            chain(&star, as_is, as_is),
            Some("a wildcard stands for one label"),
            false,
        ),
        (
            "part of a label",
            chain(&part, as_is, as_is),
            Some("a wildcard is the whole first label"),
            false,
        ),
        (
            "a blank",
            chain(&space, as_is, as_is),
            Some("\"a b\""),
            false,
        ),
        (
            "its root",
            chain(as_is, as_is, as_is) + &root.root(),
            Some("the root CN=root"),
            false,
        ),
        (
            "a name that an issuer may not have",
            sub.leaf(&key, as_is) + &sub.by(&middle, elsewhere) + &middle.by(&root, as_is),
            Some("a name that one of its issuers may not issue for"),
            true,
        ),
    ] {
        let found = load_all(&text, &key, now);
        let said: Vec<String> = found[0].issues().iter().map(ToString::to_string).collect();
        assert_eq!(
            said.len(),
            usize::from(expected.is_some()),
            "{what}: {said:?}"
        );
        assert!(
            expected.is_none_or(|expected| said[0].contains(expected)),
            "{what}: {said:?}"
        );
        assert_eq!(
            found[0].issues().iter().any(Issue::is_fatal),
            is_fatal,
            "{what}: {said:?}"
        );
        let mut inspection = pki::Inspection::default();
        inspection.read("file", text.as_bytes(), now).unwrap();
        let report = inspection.finish(now);
        let lines: Vec<_> = report.parts.iter().flat_map(|part| &part.lines).collect();
        let agrees = said
            .iter()
            .all(|said| lines.iter().any(|(_, line)| line == said));
        // Who has no key beside it takes a leaf that says that it is a CA for one, and a client's
        // for a client's.
        if !["a CA's", "a client's"].contains(&what) {
            assert!(agrees, "{what}: {lines:?}");
            assert_eq!(report.problems > 0, is_fatal, "{what}: {lines:?}");
        }
    }
}

/// Keys and signatures of other programs: what a key is called that is not taken, and what is said
/// of old digests.
#[test]
fn keys_and_signatures_that_clients_refuse_are_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("ext"),
        "subjectAltName=DNS:app.example\nextendedKeyUsage=serverAuth\n",
    )
    .unwrap();
    let run = |args: &str| openssl(&dir, &args.split(' ').collect::<Vec<_>>());
    let read = |name: &str| {
        fs::read(dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 9");
    run(
        "req -x509 -newkey rsa:1024 -nodes -keyout small.key -out small.pem -subj /CN=small -days 9",
    );
    let make = |name: &str, kind: &str| run(&format!("genpkey {kind} -out {name}.key"));
    for (name, kind, words) in [
        (
            "pss",
            "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            "is bound to RSA-PSS",
        ),
        (
            "rsa512",
            "-algorithm RSA -pkeyopt rsa_keygen_bits:512",
            "is an RSA key of 512 bits",
        ),
        (
            "rsa1024",
            "-algorithm RSA -pkeyopt rsa_keygen_bits:1024",
            "is an RSA key of 1024 bits",
        ),
        ("ed448", "-algorithm ED448", "is an Ed448 key"),
        ("x25519", "-algorithm X25519", "is an X25519 key"),
        (
            "k1",
            "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
            "on secp256k1",
        ),
        (
            "p224",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-224",
            "on P-224",
        ),
        (
            "brainpool",
            "-algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1",
            "Brainpool",
        ),
    ] {
        make(name, kind);
        let error = Certificate::load(&read("ca.pem"), &read(&format!("{name}.key")))
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
    run("ecparam -name secp256k1 -genkey -noout -out sec1.key");
    run("genrsa -traditional -out pkcs1.key 1024");
    for (name, words) in [
        ("sec1", "on secp256k1"),
        ("pkcs1", "is an RSA key of 1024 bits"),
    ] {
        let error = Certificate::load(&read("ca.pem"), &read(&format!("{name}.key")))
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
    run("req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf");
    for (name, sign, issuer, words) in [
        ("sha1", "-sha1", "ca", &["signed by RSA with SHA-1"][..]),
        ("md5", "-md5", "ca", &["signed by RSA with MD5"]),
        ("sha224", "-sha224", "ca", &["signed by RSA with SHA-224"]),
        ("sha256", "-sha256", "ca", &[]),
        (
            "pss",
            "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest",
            "ca",
            &[],
        ),
        (
            "salt",
            "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:222",
            "ca",
            &[],
        ),
        (
            "weak",
            "-sha256",
            "small",
            &["CN=small has an RSA key of 1024 bits"],
        ),
    ] {
        run(&format!(
            "x509 -req -in leaf.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial -days 9 -extfile ext {sign} -out {name}.pem"
        ));
        let text = [read(&format!("{name}.pem")), read(&format!("{issuer}.pem"))].concat();
        let found = Certificate::load(&text, &read("leaf.key")).unwrap();
        assert_eq!(
            found.certified().cert.len(),
            2,
            "{name}: the issuer is found, whatever the signature"
        );
        let mut said: Vec<String> = found.issues().iter().map(ToString::to_string).collect();
        said.retain(|said| !said.contains("the root"));
        assert_eq!(said.len(), words.len(), "{name}: {said:?}");
        assert!(
            words
                .iter()
                .zip(&said)
                .all(|(words, said)| said.contains(words)),
            "{name}: {said:?}"
        );
    }
    run(
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out three.key",
    );
    run("req -new -key three.key -subj /CN=x -out three.csr");
    run(
        "x509 -req -in three.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -extfile ext -out three.pem",
    );
    let three = Certificate::load(&read("three.pem"), &read("three.key")).unwrap();
    assert_eq!(three.issues(), [Issue::WeakExponent(3)]);
}
