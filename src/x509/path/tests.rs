//! Odd chains, as openssl and we judge them, and the words for each of them.

use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, DnValue, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
    date_time_ymd,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::*;
use crate::os::tests::assert_readable;
use crate::x509::crl::{Crl, Revocation};

const SIDE: PeerWords<'static> = PeerWords {
    peer: "client",
    trust: "client_auth.ca_files",
    usage: "clientAuth",
    pin: "pin it",
};

/// A root, an intermediate and a client.
type Chain = [CertificateParams; 3];

fn chain() -> Chain {
    ["root", "issuing", "client"].map(|name| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        if name != "client" {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    })
}

/// Our verdict and that of `openssl verify` on the chain that `change` makes.
fn judge(change: impl FnOnce(&mut Chain)) -> (Result<(), Flaw>, bool) {
    let mut params = chain();
    change(&mut params);
    let [root, issuing, client] = params;
    let keys = [0; 3].map(|_| KeyPair::generate().unwrap());
    let root_der = root.self_signed(&keys[0]).unwrap();
    let issuing_der = issuing
        .signed_by(&keys[1], &Issuer::from_params(&root, &keys[0]))
        .unwrap();
    let client_der = client
        .signed_by(&keys[2], &Issuer::from_params(&issuing, &keys[1]))
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, pem) in [
        ("root", root_der.pem()),
        ("issuing", issuing_der.pem()),
        ("client", client_der.pem()),
    ] {
        std::fs::write(dir.path().join(name), pem).unwrap();
    }
    let args = [
        "verify",
        "-purpose",
        "sslclient",
        "-CAfile",
        "root",
        "-untrusted",
        "issuing",
        "client",
    ];
    let openssl = Command::new("openssl")
        .args(args)
        .current_dir(&dir)
        .output()
        .unwrap()
        .status
        .success();
    let authorities = CaCertificate::parse_bundle(root_der.pem().as_bytes()).unwrap();
    let paths = Paths::new(Arc::new(Anchors::new(&authorities)), None, Purpose::Client);
    let ours = paths.verify(
        client_der.der(),
        &[issuing_der.der().clone()],
        None,
        UnixTime::now(),
    );
    (ours, openssl)
}

fn dns(name: &str) -> GeneralSubtree {
    GeneralSubtree::DnsName(name.to_owned())
}

fn permitted(tree: GeneralSubtree) -> Option<NameConstraints> {
    Some(NameConstraints {
        permitted_subtrees: vec![tree],
        excluded_subtrees: Vec::new(),
    })
}

fn named(params: &mut CertificateParams, name: &str) {
    params
        .subject_alt_names
        .push(SanType::DnsName(name.try_into().unwrap()));
}

fn common_name(params: &mut CertificateParams, name: DnValue) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

/// Each with what openssl says, what we say (nothing, or words), and where we differ, why.
#[test]
fn we_are_never_laxer_than_openssl_where_no_reason_is_given() {
    type Change = fn(&mut Chain);
    const SAME: &str = "";
    let rows: &[(&str, Change, bool, &str, &str)] = &[
        ("plain", |_| (), true, "", SAME),
        (
            "issuing signs by usage",
            |c| c[1].key_usages = vec![KeyUsagePurpose::KeyCertSign],
            true,
            "",
            SAME,
        ),
        (
            "issuing must not sign",
            |c| c[1].key_usages = vec![KeyUsagePurpose::DigitalSignature],
            false,
            "the intermediate CN=issuing must not sign certificates: its keyUsage lacks keyCertSign",
            SAME,
        ),
        (
            "issuing signs lists only",
            |c| c[1].key_usages = vec![KeyUsagePurpose::CrlSign],
            false,
            "lacks keyCertSign",
            SAME,
        ),
        (
            "issuing is no CA",
            |c| c[1].is_ca = IsCa::ExplicitNoCa,
            false,
            "no CA:TRUE",
            SAME,
        ),
        (
            "issuing says nothing of a CA",
            |c| c[1].is_ca = IsCa::NoCa,
            false,
            "no CA:TRUE",
            SAME,
        ),
        (
            "no CA below the root",
            |c| c[0].is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            false,
            "the trusted CA CN=root allows fewer CAs",
            SAME,
        ),
        (
            "one CA below the root",
            |c| c[0].is_ca = IsCa::Ca(BasicConstraints::Constrained(1)),
            true,
            "",
            SAME,
        ),
        (
            "one with a new key of the root does not count",
            |c| {
                c[0].is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
                common_name(&mut c[1], DnValue::Utf8String("root".to_owned()));
                c[1].use_authority_key_identifier_extension = true;
                c[2].use_authority_key_identifier_extension = true;
            },
            true,
            "",
            SAME,
        ),
        (
            "no CA below issuing",
            |c| c[1].is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            true,
            "",
            SAME,
        ),
        (
            "the client enciphers only",
            |c| c[2].key_usages = vec![KeyUsagePurpose::KeyEncipherment],
            false,
            "its keyUsage lacks digitalSignature",
            SAME,
        ),
        (
            "the client agrees on keys only",
            |c| c[2].key_usages = vec![KeyUsagePurpose::KeyAgreement],
            true,
            "its keyUsage lacks digitalSignature",
            "RFC 8446 §4.4.2.2",
        ),
        (
            "the client signs",
            |c| c[2].key_usages = vec![KeyUsagePurpose::DigitalSignature],
            true,
            "",
            SAME,
        ),
        (
            "the client is a server",
            |c| c[2].extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            false,
            "its extended key usage does not include clientAuth",
            SAME,
        ),
        (
            "the client is anything",
            |c| c[2].extended_key_usages = vec![ExtendedKeyUsagePurpose::Any],
            false,
            "does not include clientAuth",
            SAME,
        ),
        (
            "issuing is for servers",
            |c| c[1].extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            false,
            "the intermediate CN=issuing's extended key usage",
            SAME,
        ),
        (
            "the client is a CA",
            |c| c[2].is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            true,
            "a CA's own certificate",
            "whoever is a client is no CA",
        ),
        (
            "the client has expired",
            |c| c[2].not_after = date_time_ymd(2020, 1, 1),
            false,
            "it has expired",
            SAME,
        ),
        (
            "issuing has expired",
            |c| c[1].not_after = date_time_ymd(2020, 1, 1),
            false,
            "the intermediate CN=issuing has expired",
            SAME,
        ),
        (
            "issuing is early",
            |c| c[1].not_before = date_time_ymd(2090, 1, 1),
            false,
            "the intermediate CN=issuing is not valid before",
            SAME,
        ),
        (
            "the root has expired",
            |c| c[0].not_after = date_time_ymd(2020, 1, 1),
            false,
            "",
            "a trusted CA's dates do not count",
        ),
        (
            "the root must not sign",
            |c| c[0].key_usages = vec![KeyUsagePurpose::CrlSign],
            false,
            "",
            "a trusted CA's key usage does not count",
        ),
        (
            "names within",
            |c| {
                c[1].name_constraints = permitted(dns("example.net"));
                named(&mut c[2], "a.example.net");
            },
            true,
            "",
            SAME,
        ),
        (
            "names without",
            |c| {
                c[1].name_constraints = permitted(dns("example.net"));
                named(&mut c[2], "a.example.com");
            },
            false,
            "the intermediate CN=issuing has name constraints, and the DNS name a.example.com",
            SAME,
        ),
        (
            "a common name without",
            |c| {
                c[1].name_constraints = permitted(dns("example.net"));
                common_name(&mut c[2], DnValue::Utf8String("a.example.com".to_owned()));
            },
            false,
            "a.example.com does not keep to them",
            SAME,
        ),
        (
            "a common name without the root's",
            |c| {
                c[0].name_constraints = permitted(dns("example.net"));
                common_name(&mut c[2], DnValue::Utf8String("a.example.com".to_owned()));
            },
            false,
            "the trusted CA CN=root has name constraints",
            SAME,
        ),
        (
            "directory names",
            |c| {
                let mut base = rcgen::DistinguishedName::new();
                base.push(DnType::CommonName, "client");
                c[1].name_constraints = permitted(GeneralSubtree::DirectoryName(base));
            },
            true,
            "name constraints on directory names, which are not understood",
            "not understood",
        ),
        (
            "mail addresses",
            |c| {
                c[1].name_constraints =
                    permitted(GeneralSubtree::Rfc822Name("example.net".to_owned()));
                c[2].subject_alt_names
                    .push(SanType::Rfc822Name("a@example.net".try_into().unwrap()));
            },
            true,
            "name constraints on mail addresses, which are not understood",
            "not understood",
        ),
        (
            "a critical extension",
            |c| {
                let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                extension.set_criticality(true);
                c[2].custom_extensions.push(extension);
            },
            false,
            "it has a critical extension that is not understood, 1.2.3.4",
            SAME,
        ),
    ];
    for (name, change, openssl, words, why) in rows {
        let (ours, theirs) = judge(change);
        assert_eq!(theirs, *openssl, "{name}: openssl");
        match &ours {
            Ok(()) => assert_eq!(*words, "", "{name}: let in"),
            Err(flaw) => {
                let said = flaw.words(&SIDE);
                assert!(!words.is_empty() && said.contains(words), "{name}: {said}");
                assert_readable(&said);
            }
        }
        assert_eq!(
            ours.is_ok() != theirs,
            !why.is_empty(),
            "{name}: a difference needs a reason"
        );
    }
}

#[test]
fn an_intermediate_answers_by_a_list_only_if_it_may_sign_lists() {
    use KeyUsagePurpose::{CrlSign, KeyCertSign};

    for (usages, may) in [
        (vec![], true),
        (vec![KeyCertSign, CrlSign], true),
        (vec![KeyCertSign], false),
    ] {
        let [root, mut issuing, client] = chain();
        let keys = [0; 3].map(|_| KeyPair::generate().unwrap());
        issuing.key_usages.clone_from(&usages);
        let authorities =
            CaCertificate::parse_bundle(root.self_signed(&keys[0]).unwrap().pem().as_bytes())
                .unwrap();
        let issuing_der = issuing
            .signed_by(&keys[1], &Issuer::from_params(&root, &keys[0]))
            .unwrap();
        let client_der = client
            .signed_by(&keys[2], &Issuer::from_params(&issuing, &keys[1]))
            .unwrap();
        // The library that makes lists asks for this usage, too.
        issuing.key_usages = vec![CrlSign];
        let list = rcgen::CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2999, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = list
            .signed_by(&Issuer::from_params(&issuing, &keys[1]))
            .unwrap()
            .pem()
            .unwrap();
        let lists = Crl::parse_bundle(list.as_bytes()).unwrap();
        let lists = RevocationLists::new(
            &Revocation {
                lists,
                ..Revocation::default()
            },
            &authorities,
        );
        let paths = Paths::new(
            Arc::new(Anchors::new(&authorities)),
            Some(lists),
            Purpose::Client,
        );
        let judged = paths.verify(
            client_der.der(),
            &[issuing_der.der().clone()],
            None,
            UnixTime::now(),
        );
        let expected = Flaw::NoListSign(Who::Intermediate("CN=issuing".to_owned()));
        assert_eq!(
            judged,
            if may { Ok(()) } else { Err(expected) },
            "{usages:?}"
        );
    }
}

#[test]
fn a_name_in_another_type_of_string_is_told_as_such() {
    let [root, mut other, client] = chain();
    common_name(
        &mut other,
        DnValue::PrintableString("root".try_into().unwrap()),
    );
    let key = KeyPair::generate().unwrap();
    let root =
        CaCertificate::parse_bundle(root.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
    let leaf = client
        .signed_by(
            &KeyPair::generate().unwrap(),
            &Issuer::from_params(&other, &key),
        )
        .unwrap();
    let paths = Paths::new(Arc::new(Anchors::new(&root)), None, Purpose::Client);
    let flaw = paths
        .verify(leaf.der(), &[], None, UnixTime::now())
        .unwrap_err();
    assert!(matches!(flaw, Flaw::NameEncoding { .. }), "{flaw:?}");
    assert!(flaw.words(&SIDE).contains("CN=root, in another encoding"));
}

#[test]
fn a_peer_cannot_make_us_try_more_than_is_bounded() {
    let [root, issuing, client] = chain();
    let key = KeyPair::generate().unwrap();
    let authorities =
        CaCertificate::parse_bundle(root.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
    let paths = Paths::new(Arc::new(Anchors::new(&authorities)), None, Purpose::Client);
    let leaf = client
        .signed_by(&key, &Issuer::from_params(&issuing, &key))
        .unwrap();
    let sent = |number: usize, name: fn(usize) -> String| -> Vec<CertificateDer<'static>> {
        let one = |at| {
            let mut params = issuing.clone();
            common_name(&mut params, DnValue::Utf8String(name(at)));
            params
                .self_signed(&KeyPair::generate().unwrap())
                .unwrap()
                .der()
                .clone()
        };
        (0..number).map(one).collect()
    };
    let different: fn(usize) -> String = |at| format!("ca {at}");
    let same: fn(usize) -> String = |_| "issuing".to_owned();
    for (number, name, expected) in [
        (MAX_INTERMEDIATES, different, None),
        (
            MAX_INTERMEDIATES + 1,
            different,
            Some(PathLimit::Certificates),
        ),
        (MAX_NAMESAKES, same, None),
        (MAX_NAMESAKES + 1, same, Some(PathLimit::Namesakes)),
    ] {
        let flaw = paths
            .verify(leaf.der(), &sent(number, name), None, UnixTime::now())
            .unwrap_err();
        let limit = if let Flaw::TooMuch(limit) = flaw {
            Some(limit)
        } else {
            None
        };
        assert_eq!(limit, expected, "{number}: {flaw:?}");
        assert_readable(&flaw.words(&SIDE));
    }
}

/// Whatever the library says, an operator reads a sentence.
#[test]
#[allow(deprecated)]
fn every_error_of_the_library_becomes_a_sentence() {
    use webpki::Error as E;

    let key = KeyPair::generate().unwrap();
    let [_, _, client] = chain();
    let leaf = client.self_signed(&key).unwrap();
    let anchors = Anchors::new([]);
    let time = UnixTime::now();
    for error in [
        E::BadDer,
        E::BadDerTime,
        E::CaUsedAsEndEntity,
        E::CertDistrusted,
        E::CertExpired {
            time,
            not_after: time,
        },
        E::CertNotValidYet {
            time,
            not_before: time,
        },
        E::CertRevoked,
        E::CrlExpired {
            time,
            next_update: time,
        },
        E::EmptyEkuExtension,
        E::EndEntityUsedAsCa,
        E::ExtensionValueInvalid,
        E::InvalidCertValidity,
        E::InvalidCrlNumber,
        E::InvalidNetworkMaskConstraint,
        E::InvalidSerialNumber,
        E::InvalidCrlSignatureForPublicKey,
        E::InvalidSignatureForPublicKey,
        E::IssuerNotCrlSigner,
        E::MalformedDnsIdentifier,
        E::MalformedExtensions,
        E::MalformedNameConstraint,
        E::MaximumNameConstraintComparisonsExceeded,
        E::MaximumPathBuildCallsExceeded,
        E::MaximumPathDepthExceeded,
        E::MaximumSignatureChecksExceeded,
        E::NameConstraintViolation,
        E::PathLenConstraintViolated,
        E::RequiredEkuNotFound,
        E::SignatureAlgorithmMismatch,
        E::UnknownIssuer,
        E::UnknownRevocationStatus,
        E::UnsupportedCertVersion,
        E::UnsupportedCriticalExtension,
        E::UnsupportedNameType,
        E::UnsupportedSignatureAlgorithm,
        E::UnsupportedSignatureAlgorithmForPublicKey,
    ] {
        let given = diagnosis::Presented {
            leaf: leaf.der(),
            intermediates: &[],
            anchors: &anchors,
            purpose: Purpose::Client,
        };
        assert_readable(&given.diagnose(&error).words(&SIDE));
    }
}

#[test]
fn a_root_that_the_peer_sends_itself_is_called_one() {
    let [root, _, client] = chain();
    let keys = [0; 3].map(|_| KeyPair::generate().unwrap());
    let sent = root.self_signed(&keys[0]).unwrap();
    let leaf = client
        .signed_by(&keys[1], &Issuer::from_params(&root, &keys[0]))
        .unwrap();
    let mut other = CertificateParams::default();
    other.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    common_name(&mut other, DnValue::Utf8String("other".to_owned()));
    let trusted =
        CaCertificate::parse_bundle(other.self_signed(&keys[2]).unwrap().pem().as_bytes()).unwrap();
    let paths = Paths::new(Arc::new(Anchors::new(&trusted)), None, Purpose::Client);
    let flaw = paths
        .verify(leaf.der(), &[sent.der().clone()], None, UnixTime::now())
        .unwrap_err();
    let said = flaw.words(&SIDE);
    assert!(
        said.contains("ends at CN=root, a root that the client sends itself"),
        "{said}"
    );
    assert!(said.contains("add it to client_auth.ca_files"), "{said}");
}
