//! Old and new in one file.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair, SanType};
use snigate::pki::Authority;

use super::*;
use crate::support::openssl::s_client;
use crate::support::proxy::{Proxy, directory};
use crate::support::tls::{der, write_key};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate of `authority`, which is called `ca`, for a.example with this key.
fn leaf(authority: &Authority, key: &KeyPair, from: SystemTime, to: SystemTime) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())];
    (params.not_before, params.not_after) = (from.into(), to.into());
    let mut own = CertificateParams::default();
    own.distinguished_name = DistinguishedName::new();
    own.distinguished_name.push(DnType::CommonName, "ca");
    params
        .signed_by(
            key,
            &Issuer::new(own, KeyPair::from_pem(&authority.key_pem()).unwrap()),
        )
        .unwrap()
        .pem()
}

#[test]
fn the_certificate_that_is_valid_is_served_wherever_it_stands_and_check_says_which_is_not_used() {
    let now = SystemTime::now();
    let dir = directory();
    let ca = authority(dir.path(), "ca");
    let key = KeyPair::generate().unwrap();
    let old = leaf(&ca, &key, now - 90 * DAY, now - DAY);
    let new = leaf(&ca, &key, now - DAY, now + 90 * DAY);
    write_key(&dir.path().join("key.pem"), &key.serialize_pem());
    fs::write(dir.path().join("both.pem"), format!("{old}{new}")).unwrap();
    let config = "[certificates.a]\ncert_file = \"both.pem\"\nkey_file = \"key.pem\"\n\
        [routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"127.0.0.1:1\"\n";
    let proxy = Proxy::start_in(dir, config);
    let shown = || s_client(proxy.addr(), &["-servername", "a.example"]).certificate();
    assert_eq!(shown(), Some(der(&new)));
    let (errors, warnings, said) = check(proxy.dir());
    assert_eq!((errors, warnings), (0, 1), "{said}");
    assert!(
        said.contains("certificate 1 of the file is not used: it has expired on "),
        "{said}"
    );

    // Appended to, as renewals are: the one that ends last is served.
    let next = leaf(&ca, &key, now - DAY, now + 180 * DAY);
    proxy.reload_after(|| {
        fs::write(proxy.dir().join("both.pem"), format!("{old}{new}{next}")).unwrap()
    });
    assert_eq!(shown(), Some(der(&next)));
}
