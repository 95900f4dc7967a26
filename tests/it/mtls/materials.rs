//! Certificates, CAs and lists by themselves: what one of them has lost, or who is still writing
//! it, holds up no other.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use rustls::{ClientConnection, StreamOwned};
use snigate::pki::RevocationList;

use super::*;
use crate::support::Over;
use crate::support::left_out::lacks;

const WAITS: &str = "the reload waits until its files have been unchanged for 2s";
const IN_PART: &str = "reloaded in part; of the rest what runs goes on";
const HELD: &str = "reload held, a protection would go; the configuration that runs goes on";

/// Two CAs, the lists of both in a file each, and these further keys.
fn terms(backend: &Backend, lists: &str, keys: &str) -> String {
    let table = format!(
        "client_auth.ca_files = [\"clients.pem\", \"second.pem\"]\nclient_auth.crl_files = {lists}\n{keys}"
    );
    config(backend, "terms", &format!("[tls.terms]\n{table}\n"))
}

const LISTS: &str = "[\"clients.crl\", \"second.crl\"]";

fn list(authority: &Authority, revoked: &[&Issued]) -> Vec<u8> {
    let mut list = RevocationList::default();
    for issued in revoked {
        list.revoke(
            &authority.serial_of(issued.certificate.as_bytes()).unwrap(),
            None,
        );
    }
    list.sign(authority, Validity::days(20))
        .unwrap()
        .as_bytes()
        .to_vec()
}

fn rename_into(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path.with_file_name(".new"), content).unwrap();
    fs::rename(path.with_file_name(".new"), path).unwrap();
}

/// The process sees all that `change` does at once.
fn at_once(proxy: &Proxy, change: impl FnOnce()) {
    proxy.signal(Signal::STOP);
    change();
    proxy.signal(Signal::CONT);
}

impl Site {
    /// The alert that a client with this certificate gets, if it does not come in.
    fn refusal(&self, proxy: &Proxy, identity: &Issued) -> Option<u8> {
        ask(&self.client(Some(identity), &TLS13), proxy.connect())
            .err()
            .map(|error| alert(&error).unwrap())
    }
}

#[test]
fn a_revocation_beside_a_broken_certificate_acts_and_all_others_meet_the_certificate_of_before() {
    let (site, dir) = site();
    let second = authority(dir.path(), "second");
    let [member, other] =
        ["member", "other"].map(|name| site.clients.client(name, Validity::days(20)).unwrap());
    fs::write(dir.path().join("clients.crl"), list(&site.clients, &[])).unwrap();
    fs::write(dir.path().join("second.crl"), list(&second, &[])).unwrap();
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &terms(&backend, LISTS, ""));
    let shown = || s_client(proxy.addr(), &["-servername", NAME]).certificate();
    let before = shown();
    for (file, text) in [
        ("site-key.pem", "half"),
        ("site.pem", "-----BEGIN CERTIFICATE-----\nMIIB"),
    ] {
        let revoked = if file == "site.pem" { &other } else { &member };
        let (reloads, times) = (proxy.count("reloaded"), proxy.count(IN_PART));
        at_once(&proxy, || {
            fs::write(proxy.dir().join(file), text).unwrap();
            rename_into(
                &proxy.dir().join("clients.crl"),
                list(&site.clients, &[&member, revoked]),
            );
        });
        proxy.wait_nth("reloaded", reloads, |_| true);
        let said = proxy.wait_nth(IN_PART, times, |_| true);
        assert!(
            said["diagnostics"].as_str().unwrap().contains(file),
            "{file}: {said}"
        );
        assert_eq!(
            site.refusal(&proxy, revoked),
            Some(44),
            "{file}\n{}",
            proxy.log()
        );
        assert!(
            before.is_some() && shown() == before,
            "{file}\n{}",
            proxy.log()
        );
    }
    assert_eq!(
        site.refusal(&proxy, &second.client("guest", Validity::days(20)).unwrap()),
        None
    );
}

#[test]
fn a_denial_beside_a_lost_list_acts_and_the_list_goes_on() {
    let [member, other] = ["member", "other"];
    for (what, said, lose) in [
        ("removed", IN_PART, None),
        ("garbage", IN_PART, Some("garbage")),
        ("empty", IN_PART, Some("")),
        ("without the list of one", HELD, Some("one")),
    ] {
        let (site, dir) = site();
        let second = authority(dir.path(), "second");
        let [member, other] =
            [member, other].map(|name| site.clients.client(name, Validity::days(20)).unwrap());
        let [gone, stays] =
            ["gone", "stays"].map(|name| second.client(name, Validity::days(20)).unwrap());
        let clients = list(&site.clients, &[]);
        fs::write(
            dir.path().join("all.crl"),
            [&clients[..], &list(&second, &[&gone])].concat(),
        )
        .unwrap();
        let backend = Backend::echo();
        let proxy = Proxy::start_in(dir, &terms(&backend, "\"all.crl\"", ""));
        assert_eq!(site.refusal(&proxy, &gone), Some(44), "{what}");
        let path = proxy.dir().join("all.crl");
        let reloads = proxy.count("reloaded");
        at_once(&proxy, || {
            match lose {
                None => fs::remove_file(&path).unwrap(),
                Some("one") => rename_into(&path, &clients),
                Some(text) => rename_into(&path, text),
            }
            proxy.write_config(&terms(
                &backend,
                "\"all.crl\"",
                "client_auth.deny.cn = [\"member\"]",
            ));
        });
        proxy.wait_nth("reloaded", reloads, |_| true);
        let event = proxy.wait_for(said);
        let named = if said == HELD {
            "the revocation list of CN=second would go"
        } else {
            "all.crl"
        };
        assert!(
            event["diagnostics"].as_str().unwrap().contains(named),
            "{what}: {event}"
        );
        assert_eq!(
            site.refusal(&proxy, &member),
            Some(49),
            "{what}\n{}",
            proxy.log()
        );
        assert_eq!(
            site.refusal(&proxy, &gone),
            Some(44),
            "{what}: its list counts\n{}",
            proxy.log()
        );
        for identity in [&other, &stays] {
            assert_eq!(
                site.refusal(&proxy, identity),
                None,
                "{what}\n{}",
                proxy.log()
            );
        }
    }
}

#[test]
fn a_bundle_of_cas_that_is_copied_slowly_ends_no_connection() {
    let (site, dir) = site();
    let second = authority(dir.path(), "second");
    let (first, last) = (
        site.clients.certificate().to_owned(),
        second.certificate().to_owned(),
    );
    let both = first.clone() + &last;
    fs::write(dir.path().join("clients.pem"), &both).unwrap();
    let guest = second.client("guest", Validity::days(20)).unwrap();
    let backend = Backend::echo();
    let with = |denied: usize| {
        let keys = format!(
            "client_auth.ca_files = \"clients.pem\"\non_revoke = \"close\"\nclient_auth.deny.cn = \"{denied}\""
        );
        config(&backend, "terms", &format!("[tls.terms]\n{keys}\n"))
    };
    let proxy = Proxy::start_in(dir, &with(0));
    let mut session = tls::session(&site.client(Some(&guest), &TLS13), NAME, proxy.connect());
    let echo = |session: &mut StreamOwned<ClientConnection, TcpStream>, when: &str| {
        let said = session
            .write_all(b"ping")
            .and_then(|()| session.read_exact(&mut [0; 4]));
        said.unwrap_or_else(|error| panic!("{when}: {error}\n{}", proxy.log()));
    };
    let path = proxy.dir().join("clients.pem");
    // In the middle of a certificate it is none at all.
    let refused =
        proxy.refusal_after(|| fs::write(&path, &both[..first.len() + last.len() / 2]).unwrap());
    assert!(refused.contains("clients.pem"), "{refused}");
    echo(&mut session, "half of a certificate");
    // Between two of them it is valid. A machine on which the copy stands still for two seconds has
    // to try again.
    for tried in 1..=5 {
        let (begun, waits) = (Instant::now(), proxy.count(WAITS));
        fs::write(&path, &first).unwrap();
        proxy.wait_nth(WAITS, waits, |_| true);
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(last.as_bytes()))
            .unwrap();
        let is_in_time = begun.elapsed() < Duration::from_secs(2);
        if is_in_time {
            echo(&mut session, "half of the bundle");
        }
        proxy.reload(&with(tried));
        if is_in_time {
            echo(&mut session, "all of the bundle");
            assert_eq!(
                proxy.count("closed connections that the configuration no longer lets go on"),
                0
            );
            return;
        }
        session = tls::session(&site.client(Some(&guest), &TLS13), NAME, proxy.connect());
    }
    panic!("no copy was made within two seconds");
}

#[test]
fn what_changes_all_the_time_keeps_nothing_else_from_acting() {
    let (site, dir) = site();
    let second = authority(dir.path(), "second");
    let certificates =
        ["third", "fourth"].map(|name| Authority::new(name, Validity::days(20)).unwrap());
    let [member, other] =
        ["member", "other"].map(|name| site.clients.client(name, Validity::days(20)).unwrap());
    let guest = second.client("guest", Validity::days(20)).unwrap();
    let backend = Backend::echo();
    let with = |keys: &str| {
        let table = format!("client_auth.ca_files = [\"clients.pem\", \"second.pem\"]\n{keys}");
        config(&backend, "terms", &format!("[tls.terms]\n{table}\n"))
    };
    let proxy = Proxy::start_in(dir, &with("client_auth.allow.cn = [\"member\", \"other\"]"));
    let over = AtomicBool::new(false);
    let path = proxy.dir().join("second.pem");
    thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            for certificate in certificates.iter().map(Authority::certificate).cycle() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                rename_into(&path, format!("{}{certificate}", second.certificate()));
                thread::park_timeout(Duration::from_millis(100));
            }
        });
        proxy.wait_for(WAITS);
        proxy.reload_after(|| {
            proxy.write_config(&with(
                "client_auth.allow.cn = [\"member\", \"other\"]\nclient_auth.deny.cn = \"member\"",
            ));
        });
        assert_eq!(site.refusal(&proxy, &member), Some(49), "{}", proxy.log());
        assert_eq!(
            (site.refusal(&proxy, &other), site.refusal(&proxy, &guest)),
            (None, Some(49)),
            "{}",
            proxy.log()
        );
        // What allows something waits for itself, and for nothing else.
        proxy.reload_after(|| {
            let allows = "client_auth.allow.cn = [\"member\", \"other\", \"guest\"]\nclient_auth.deny.cn = \"member\"";
            proxy.write_config(&with(allows));
        });
        assert_eq!(site.refusal(&proxy, &guest), None, "{}", proxy.log());
        for certificate in &certificates {
            let stranger = certificate.client("other", Validity::days(20)).unwrap();
            assert_eq!(
                site.refusal(&proxy, &stranger),
                Some(48),
                "it has never been quiet\n{}",
                proxy.log()
            );
        }
    });
}

/// Such a key can make no signature that is asked for (RFC 8446 §4.3.2), so the client shows no
/// certificate at all.
#[test]
fn a_client_whose_key_is_of_a_kind_that_is_not_asked_for_shows_nothing_and_the_docs_say_so() {
    if lacks(&["openssl"]) {
        return;
    }
    let (_, dir) = site();
    let openssl = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let kinds = [
        ("ed448", "ED448"),
        ("secp256k1", "EC -pkeyopt ec_paramgen_curve:secp256k1"),
        ("ed25519", "ED25519"),
    ];
    for (name, algorithm) in kinds {
        openssl(&format!("genpkey -algorithm {algorithm} -out {name}.key"));
        openssl(&format!(
            "req -x509 -new -key {name}.key -subj /CN={name} -addext basicConstraints=CA:FALSE -out {name}.crt"
        ));
    }
    let file = |name: &str| dir.path().join(name).display().to_string();
    let own = kinds.map(|(name, _)| {
        (
            name,
            file(&format!("{name}.crt")),
            file(&format!("{name}.key")),
        )
    });
    let backend = Backend::echo();
    let (_, site_dir) = site();
    let mut proxy = Proxy::start_in(site_dir, &config(&backend, "mtls", ""));
    for (name, certificate, key) in &own {
        for version in ["-tls1_2", "-tls1_3"] {
            let printed = s_client(
                proxy.addr(),
                &[
                    "-servername",
                    NAME,
                    "-cert",
                    certificate,
                    "-key",
                    key,
                    version,
                ],
            );
            let line = proxy.next_access();
            // One of a kind that is asked for is shown, and judged. In TLS 1.2 ECDSA is one kind,
            // whatever the curve (RFC 5246).
            let is_shown = *name == "ed25519" || (*name == "secp256k1" && version == "-tls1_2");
            let expected = if is_shown {
                "untrusted_certificate"
            } else {
                "no_certificate"
            };
            assert_eq!(
                (&line["outcome"], &line["by"]),
                (&expected.into(), &"client".into()),
                "{name} {version}: {line}"
            );
            assert_eq!(
                printed.alert() == Some(116),
                expected == "no_certificate",
                "{name} {version}: {}",
                printed.0
            );
            assert_eq!(line["client_cert"].is_null(), !is_shown, "{line}");
        }
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/client-certificates.md");
    let docs = fs::read_to_string(docs).unwrap();
    let row = docs
        .lines()
        .find(|line| line.starts_with('|') && line.contains("`no_certificate`"))
        .expect("a row");
    assert!(
        ["Ed448", "secp256k1", "signature_algorithms"]
            .iter()
            .all(|word| row.contains(word)),
        "{row}"
    );
}
