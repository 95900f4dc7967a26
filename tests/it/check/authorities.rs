//! CAs that nothing can be verified by, and CAs of strangers.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::*;

fn openssl(site: &Site, arguments: &str) {
    let mut openssl = Command::new("openssl");
    let output = openssl
        .args(arguments.split(' '))
        .current_dir(site.dir.path())
        .stdin(Stdio::null())
        .output();
    let output = output.expect("openssl");
    assert!(output.status.success(), "{arguments}: {}", text(&output));
}

/// A CA of this organisation.
fn of_organisation(name: &str, usages: &[KeyUsagePurpose]) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = usages.to_vec();
    params
        .distinguished_name
        .push(DnType::OrganizationName, name);
    params
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap()
        .pem()
}

#[test]
fn a_ca_whose_key_verifies_nothing_is_named_with_its_kind_and_size() {
    for (kind, words) in [
        ("rsa:1024", "an RSA key of 1024 bits"),
        ("rsa:512", "an RSA key of 512 bits"),
        ("ed448", "an Ed448 key"),
        (
            "ec -pkeyopt ec_paramgen_curve:secp256k1",
            "an EC key on secp256k1",
        ),
        ("ec -pkeyopt ec_paramgen_curve:P-224", "an EC key on P-224"),
        (
            "ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
            "an EC key on a curve that is written out in the certificate",
        ),
        (
            "rsa-pss -pkeyopt rsa_keygen_bits:2048",
            "a key that is bound to RSA-PSS",
        ),
    ] {
        for role in ["clients.pem", "inside.pem"] {
            let site = Site::new();
            openssl(
                &site,
                &format!(
                    "req -x509 -newkey {kind} -nodes -keyout ca.key -out ca.pem -subj /CN=weak -days 90"
                ),
            );
            let both = [site.read(role), site.read("ca.pem")].concat();
            site.write(role, both);
            let (_, _, said) = site.check();
            let expected =
                format!("{role}: CN=weak has {words}, by which no signature is verified");
            assert!(said.contains(&expected), "{kind}: {said}");
            let inspected = snigate(site.dir.path(), &["pki", "inspect", "ca.pem"]);
            assert!(
                !inspected.status.success() && text(&inspected).contains(words),
                "{kind}: {}",
                text(&inspected)
            );
        }
    }
    // These are as good as any.
    for kind in [
        "rsa:2048",
        "rsa:4096",
        "ed25519",
        "ec -pkeyopt ec_paramgen_curve:P-384",
        "ec -pkeyopt ec_paramgen_curve:P-521",
    ] {
        let site = Site::new();
        openssl(
            &site,
            &format!(
                "req -x509 -newkey {kind} -nodes -keyout ca.key -out inside.pem -subj /CN=good -days 90"
            ),
        );
        let (errors, warnings, said) = site.check();
        assert_eq!((errors, warnings), (0, 0), "{kind}: {said}");
    }
}

#[test]
fn a_ca_that_is_for_others_or_is_not_understood_is_named_with_what_it_lacks() {
    use rcgen::{CustomExtension, ExtendedKeyUsagePurpose as Purpose};
    let ca = |purposes: &[Purpose], critical: Option<bool>| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "narrow");
        params.extended_key_usages = purposes.to_vec();
        params.custom_extensions.extend(critical.map(|critical| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4, 5], vec![5, 0]);
            extension.set_criticality(critical);
            extension
        }));
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    };
    let (clients, servers) = ([Purpose::ClientAuth], [Purpose::ServerAuth]);
    let without = |usage: &str| {
        format!("CN=narrow has an extended key usage without {usage}, so that nothing it has")
    };
    let critical = "CN=narrow has a critical extension that is not understood, 1.2.3.4.5, so that nothing it has issued";
    let (no_clients, no_servers) = (without("clientAuth"), without("serverAuth"));
    for (role, authority, expected, inspected) in [
        ("clients.pem", ca(&servers, None), Some(&*no_clients), true),
        ("inside.pem", ca(&clients, None), Some(&*no_servers), true),
        (
            "clients.pem",
            ca(&[Purpose::Any], None),
            Some(&*no_clients),
            true,
        ),
        (
            "inside.pem",
            ca(&[Purpose::Any], None),
            Some(&*no_servers),
            true,
        ),
        ("clients.pem", ca(&clients, None), None, true),
        ("inside.pem", ca(&servers, None), None, true),
        ("clients.pem", ca(&[], Some(true)), Some(critical), false),
        ("inside.pem", ca(&[], Some(true)), Some(critical), false),
        ("clients.pem", ca(&[], Some(false)), None, true),
    ] {
        let site = Site::new();
        site.write("ca.pem", &authority);
        site.write(role, [site.read(role), authority.into_bytes()].concat());
        let (errors, _, said) = site.check();
        assert_eq!(errors, 0, "{role}: {said}");
        assert_eq!(
            said.contains(" 1 urgent"),
            expected.is_some(),
            "{role}, {expected:?}: {said}"
        );
        assert!(
            expected.is_none_or(|words| said.contains(&format!("{role}: {words}"))),
            "{expected:?}: {said}"
        );
        // By itself a CA may be for whoever it likes.
        let output = snigate(site.dir.path(), &["pki", "inspect", "ca.pem"]);
        assert_eq!(
            output.status.success(),
            inspected,
            "{role}, {expected:?}: {}",
            text(&output)
        );
        assert!(
            inspected || text(&output).contains(critical),
            "{}",
            text(&output)
        );
    }
}

/// Clocks differ: what is ahead by less than five minutes is of today.
#[test]
fn a_list_from_the_future_is_told_with_what_it_does_until_then() {
    let site = Site::new();
    let clients = authority(site.dir.path(), "clients");
    for (minutes, is_early) in [(4, false), (6, true)] {
        let begin = SystemTime::now() + Duration::from_secs(minutes * 60);
        let validity = Validity {
            not_before: begin,
            not_after: begin + Duration::from_secs(30 * 86400),
        };
        site.write(
            "clients.crl",
            RevocationList::default().sign(&clients, validity).unwrap(),
        );
        let (errors, warnings, said) = site.check();
        assert_eq!(
            (errors, warnings),
            (0, usize::from(is_early)),
            "{minutes}: {said}"
        );
        assert_eq!(
            said.contains("the revocation list of CN=clients is from the future, it begins on 2"),
            is_early,
            "{said}"
        );
        let help = "until then whom it names is refused, and of the others the list before it must say that they are good";
        assert_eq!(said.contains(help), is_early, "{said}");
    }
}

#[test]
fn a_ca_that_is_damaged_may_not_issue_or_is_everybodys_is_pointed_out() {
    let site = Site::new();
    let sign = [KeyUsagePurpose::KeyCertSign];
    site.write(
        "inside.pem",
        of_organisation("Shop", &[KeyUsagePurpose::CrlSign]),
    );
    let (errors, warnings, said) = site.check();
    assert_eq!((errors, warnings), (0, 1), "{said}");
    assert!(
        said.contains("has a key usage without keyCertSign"),
        "{said}"
    );

    // A few bits of what is signed.
    openssl(
        &site,
        "req -x509 -newkey ed25519 -nodes -keyout ca.key -out ca.pem -subj /CN=inside -days 90",
    );
    openssl(&site, "x509 -in ca.pem -outform DER -out inside.pem");
    let mut der = site.read("inside.pem");
    let places: Vec<usize> = (0..der.len())
        .filter(|at| der[*at..].starts_with(b"inside"))
        .collect();
    places.iter().for_each(|at| der[*at] = b'I');
    site.write("inside.pem", der);
    let (_, _, said) = site.check();
    assert!(
        said.contains("is damaged: its own signature does not verify"),
        "{said}"
    );
    site.write("inside.pem", of_organisation("Shop", &sign));

    // Of public CAs every customer comes in, unless a list says who.
    let own = site.read("clients.pem");
    let public: String = ["DigiCert Inc", "Let's Encrypt"]
        .map(|name| of_organisation(name, &sign))
        .concat();
    let config = String::from_utf8(site.read("snigate.toml")).unwrap();
    let without_lists = config.replace("client_auth.crl_files = \"clients.crl\"\n", "");
    site.write("clients.pem", [&own, public.as_bytes()].concat());
    site.write("snigate.toml", &without_lists);
    let (errors, warnings, said) = site.check();
    assert_eq!((errors, warnings), (0, 1), "{said}");
    assert!(
        said.contains("2 of the 3 CAs are public ones (DigiCert Inc; Let's Encrypt)"),
        "{said}"
    );
    site.write(
        "snigate.toml",
        without_lists.replace(
            "[upstreams",
            "client_auth.allow.dns = \"a.example\"\n[upstreams",
        ),
    );
    let (errors, warnings, said) = site.check();
    assert_eq!((errors, warnings), (0, 0), "{said}");

    // A number is one of a single CA.
    for key in ["allow", "deny"] {
        let rules = format!(
            "client_auth.allow.dns = \"a.example\"\nclient_auth.{key}.serial = \"4a\"\n[upstreams"
        );
        site.write("snigate.toml", without_lists.replace("[upstreams", &rules));
        let (errors, warnings, said) = site.check();
        assert_eq!((errors, warnings), (0, 1), "{said}");
        assert!(
            said.contains(&format!(
                "client_auth.{key}.serial: a serial number is one of a single CA"
            )),
            "{said}"
        );
    }
    site.write("clients.pem", own);
    let (errors, warnings, said) = site.check();
    assert_eq!((errors, warnings), (0, 0), "{said}");
}

/// Each of them has to be tried for a certificate that names it; the same one in two files is one.
#[test]
fn more_cas_of_one_subject_than_can_be_tried_are_told_for_clients_servers_and_the_systems_store() {
    let namesakes: Vec<String> = (0..17)
        .map(|_| of_organisation("Shop", &[KeyUsagePurpose::KeyCertSign]))
        .collect();
    let config = String::from_utf8(Site::new().read("snigate.toml")).unwrap();
    let both = ["clients.pem", "inside.pem"];
    let with_system = config.replace("[trust.inside]\n", "[trust.inside]\nsystem = true\n");
    let system_alone = config.replace("tls.trust = \"inside\"\n", "");
    let crowd = "17 CAs have the subject ";
    for (config, files, store, place) in [
        (
            &config,
            &both[..1],
            0,
            "tls.members: client_auth.ca_files: ",
        ),
        (&config, &both[1..], 0, "trust.inside: ca_files: "),
        (&with_system, &[], 17, "trust.inside: the system's store: "),
        (&with_system, &both[1..], 1, "trust.inside: ca_files: "),
        (
            &system_alone,
            &[],
            17,
            "upstreams.inside: the system's store: ",
        ),
    ] {
        let site = Site::new();
        let check = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
            command
                .args(["check", "-c", "snigate.toml"])
                .current_dir(site.dir.path());
            text(
                &command
                    .env_remove("SSL_CERT_DIR")
                    .env("SSL_CERT_FILE", "store.pem")
                    .output()
                    .unwrap(),
            )
        };
        let own: Vec<Vec<u8>> = files.iter().map(|file| site.read(file)).collect();
        let fill = |count: usize| {
            let all = |count: usize| {
                [&namesakes[..count], &namesakes[..count]]
                    .concat()
                    .concat()
                    .into_bytes()
            };
            site.write("store.pem", all(count.min(store.max(1))));
            for (file, own) in files.iter().zip(&own) {
                site.write(file, [&own[..], &all(count)].concat());
            }
        };
        site.write("snigate.toml", config);
        fill(16);
        let said = check();
        assert!(
            !said.contains("have the subject") && said.contains(": valid: 0 errors"),
            "{place}{said}"
        );
        fill(17);
        let said = check();
        let verdict = if files.is_empty() {
            ": valid: 0 errors"
        } else {
            ": not valid: 1 error"
        };
        assert_eq!(said.matches(crowd).count(), 1, "{place}{said}");
        assert!(
            said.contains(&format!("{place}{crowd}")) && said.contains("16 may have one"),
            "{place}{said}"
        );
        assert!(said.contains(verdict), "{place}{said}");
    }
}
