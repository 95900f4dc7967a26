//! Certificates that snigate makes itself: once, for the names they are needed for, and for nobody
//! else to read the key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use serde_json::Value;
use snigate::pki::{Authority, Validity};
use snigate::tls::Certificate;
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::openssl::s_client;
use crate::support::proxy::{Proxy, directory};
use crate::support::tls::der;

/// A route for these names with a certificate of its own, which is kept in `storage`.
fn config(backend: &Backend, storage: &Path, sni: &str, keys: &str) -> String {
    format!(
        "[storage]\ndir = \"{}\"\n[certificates.lab]\nself_signed = true\n{keys}\n[routes.a]\nsni = [{sni}]\n\
         action = \"terminate\"\nupstream = \"{}\"\n",
        storage.display(),
        backend.addr
    )
}

/// The certificate and the key that are kept.
fn kept(storage: &Path) -> (String, String) {
    let read = |name: &str| fs::read_to_string(storage.join("self-signed").join(name)).unwrap();
    (read("lab.pem"), read("lab.key"))
}

/// Puts a certificate there as if an earlier process had made it.
fn keep(storage: &Path, certificate: &str, key: &str) {
    fs::create_dir_all(storage.join("self-signed")).unwrap();
    fs::write(storage.join("self-signed/lab.pem"), certificate).unwrap();
    fs::write(storage.join("self-signed/lab.key"), key).unwrap();
}

/// One for these names that has this many days left, and a second more.
fn ending(names: &[&str], days: u64) -> (String, String) {
    let now = SystemTime::now();
    let not_after = now + Duration::from_secs(days * 86400 + 3);
    let validity = Validity {
        not_before: now - Duration::from_secs(86400),
        not_after,
    };
    let issued = Authority::new("ca", validity)
        .unwrap()
        .server(names, validity)
        .unwrap();
    (issued.certificate, issued.key)
}

fn shown(proxy: &Proxy, name: &str) -> Option<CertificateDer<'static>> {
    s_client(proxy.addr(), &["-servername", name]).certificate()
}

fn fingerprint(certificate: &str, key: &str) -> Value {
    Certificate::load(certificate.as_bytes(), key.as_bytes())
        .unwrap()
        .fingerprint()
        .into()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_is_made_at_the_first_start_and_is_the_same_ever_after() {
    let (storage, backend) = (directory(), Backend::greet(b"welcome"));
    let dir = storage.path().join("state");
    let config = config(&backend, &dir, "\"B.example\", \"*.a.example\", \"*\"", "");
    let mut proxy = Proxy::start(&config);
    let (certificate, key) = kept(&dir);
    let sha256 = fingerprint(&certificate, &key);
    let made = proxy.wait_for("self-signed certificate made");
    assert_eq!(
        (&made["certificate"], &made["sha256"], &made["level"]),
        (&"lab".into(), &sha256, &"info".into())
    );
    for (path, expected) in [
        (".", 0o700),
        ("self-signed", 0o700),
        ("self-signed/lab.pem", 0o600),
        ("self-signed/lab.key", 0o600),
    ] {
        assert_eq!(mode(&dir.join(path)), expected, "{path}");
    }
    for name in ["b.example", "x.a.example"] {
        assert_eq!(shown(&proxy, name), Some(der(&certificate)), "{name}");
    }
    let line = key.lines().nth(1).unwrap();
    for restart in 1..3 {
        assert_eq!(
            proxy.wait_for("self-signed certificate")["sha256"],
            sha256,
            "restart {restart}"
        );
        // What it has written itself is nothing new to it, and a reload makes nothing new.
        assert_eq!(proxy.count("reloaded"), 0, "{}", proxy.log());
        proxy.reload_after(|| {
            proxy.write_config(&format!("{config}[timeouts]\nidle = \"{restart}h\"\n"));
        });
        assert_eq!(proxy.count("reloaded"), 1, "{}", proxy.log());
        assert_eq!(shown(&proxy, "b.example"), Some(der(&certificate)));
        assert!(
            !proxy.log().contains(line) && !proxy.log().contains("anew"),
            "{}",
            proxy.log()
        );
        proxy = Proxy::start(&config);
        assert_eq!(proxy.count("self-signed certificate made"), 0);
    }
    assert_eq!(kept(&dir), (certificate, key));
}

#[test]
fn it_is_made_anew_for_other_names_and_the_log_says_so() {
    let (storage, backend) = (directory(), Backend::greet(b"welcome"));
    let proxy = Proxy::start(&config(&backend, storage.path(), "\"a.example\"", ""));
    let (old, _) = kept(storage.path());
    proxy.reload(&config(
        &backend,
        storage.path(),
        "\"a.example\", \"b.example\"",
        "",
    ));
    let (certificate, key) = kept(storage.path());
    assert_ne!(certificate, old);
    let event = proxy.wait_for("self-signed certificate made anew");
    assert_eq!(
        (&event["level"], &event["sha256"]),
        (&"warn".into(), &fingerprint(&certificate, &key)),
        "{event}"
    );
    assert_eq!(
        event["reason"],
        "it is for a.example, and not for a.example, b.example"
    );
    assert_eq!(shown(&proxy, "b.example"), Some(der(&certificate)));

    // Names of its own do not depend on routes, and an order of them means nothing.
    let own = |names: &str| {
        config(
            &backend,
            storage.path(),
            "\"a.example\"",
            &format!("names = [{names}]"),
        )
    };
    proxy.reload(&own("\"a.example\", \"192.0.2.1\", \"::1\""));
    let (certificate, key) = kept(storage.path());
    let loaded = Certificate::load(certificate.as_bytes(), key.as_bytes()).unwrap();
    assert!(
        loaded.covers_ip("192.0.2.1".parse().unwrap()) && loaded.covers_ip("::1".parse().unwrap())
    );
    proxy.reload(&own(
        "\"::1\", \"A.example.\", \"a.example\", \"192.0.2.1\"",
    ));
    assert_eq!(kept(storage.path()), (certificate, key));
    assert_eq!(proxy.count("self-signed certificate made anew"), 2);
}

#[test]
fn it_is_made_anew_before_it_ends_at_the_start_and_while_the_process_runs() {
    let backend = Backend::greet(b"welcome");
    for (days, running) in [(29, false), (30, true)] {
        let storage = directory();
        let (certificate, key) = ending(&["a.example"], days);
        keep(storage.path(), &certificate, &key);
        let proxy = Proxy::start(&config(&backend, storage.path(), "\"a.example\"", ""));
        if running {
            assert_eq!(
                proxy.wait_for("self-signed certificate")["sha256"],
                fingerprint(&certificate, &key)
            );
        }
        let event = proxy.wait_for("self-signed certificate made anew");
        assert!(
            event["reason"]
                .as_str()
                .unwrap()
                .starts_with("it is valid until "),
            "{event}"
        );
        if running {
            proxy.wait_for("reloaded");
        }
        let (new, _) = kept(storage.path());
        assert_ne!(new, certificate);
        assert_eq!(shown(&proxy, "a.example"), Some(der(&new)));
    }
}

#[test]
fn what_is_kept_and_does_not_serve_is_replaced() {
    let backend = Backend::greet(b"welcome");
    let ([good, other], names) = (
        [(); 2].map(|()| ending(&["a.example"], 100)),
        "\"a.example\"",
    );
    for (what, certificate, key, reason) in [
        (
            "another key",
            good.0.as_str(),
            other.1.as_str(),
            "belongs to no certificate",
        ),
        (
            "half a certificate",
            &good.0[..100],
            &good.1,
            "does not end",
        ),
        ("an empty key", &good.0, "", "the key: the file is empty"),
    ] {
        let storage = directory();
        keep(storage.path(), certificate, key);
        let proxy = Proxy::start(&config(&backend, storage.path(), names, ""));
        let event = proxy.wait_for("self-signed certificate made anew");
        assert!(
            event["reason"].as_str().unwrap().contains(reason),
            "{what}: {event}"
        );
        assert_eq!(
            shown(&proxy, "a.example"),
            Some(der(&kept(storage.path()).0)),
            "{what}"
        );
    }
    let storage = directory();
    keep(storage.path(), &good.0, &good.1);
    let proxy = Proxy::start(&config(&backend, storage.path(), names, ""));
    assert_eq!(shown(&proxy, "a.example"), Some(der(&good.0)));
    // Whoever wants a new one removes the old one.
    proxy.reload_after(|| fs::remove_file(storage.path().join("self-signed/lab.key")).unwrap());
    assert_ne!(shown(&proxy, "a.example"), Some(der(&good.0)));
}

fn snigate(dir: &TempDir, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
    let output = command
        .args(arguments)
        .current_dir(dir.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn a_storage_that_cannot_be_written_is_named_and_nothing_is_served_that_would_be_lost() {
    let (dir, backend) = (directory(), Backend::greet(b"welcome"));
    // There no directory can be made, not even by root.
    let nowhere = Path::new("/proc/snigate");
    let broken = config(&backend, nowhere, "\"a.example\"", "");
    fs::write(
        dir.path().join("snigate.toml"),
        format!("[listeners.edge]\nbind = \"127.0.0.1:0\"\n{broken}"),
    )
    .unwrap();
    let (served, text) = snigate(&dir, &["run"]);
    assert!(
        !served && text.contains("storage: cannot write /proc/snigate/self-signed/lab.key: "),
        "{text}"
    );

    let storage = directory();
    let proxy = Proxy::start(&config(&backend, storage.path(), "\"a.example\"", ""));
    let refused = proxy.reload_refused(&broken);
    assert!(
        refused.contains("storage: cannot write /proc/snigate/self-signed/lab.key: "),
        "{refused}"
    );
    assert_eq!(
        shown(&proxy, "a.example"),
        Some(der(&kept(storage.path()).0))
    );

    // Nor is anything made anew because what is there cannot be read.
    fs::write(dir.path().join("file"), "").unwrap();
    let refused = proxy.reload_refused(&config(
        &backend,
        &dir.path().join("file"),
        "\"a.example\"",
        "",
    ));
    assert!(
        refused.contains("cannot read") && refused.contains("file/self-signed/lab.pem"),
        "{refused}"
    );
}

#[test]
fn commands_that_only_look_write_nothing() {
    let (dir, backend) = (directory(), Backend::greet(b"welcome"));
    let storage = dir.path().join("state");
    let text = config(&backend, Path::new("state"), "\"a.example\"", "");
    fs::write(
        dir.path().join("snigate.toml"),
        format!("[listeners.edge]\nbind = \"127.0.0.1:1\"\n{text}"),
    )
    .unwrap();
    for arguments in [
        &["check"][..],
        &["show"],
        &["explain", "--sni", "a.example"],
    ] {
        let (sound, text) = snigate(&dir, arguments);
        assert!(sound && !text.contains("PRIVATE"), "{arguments:?}: {text}");
        assert!(!storage.exists(), "{arguments:?}");
    }
    assert!(snigate(&dir, &["check"]).1.contains("0 errors, 0 warnings"));
    let shown = snigate(&dir, &["show"]).1;
    let dir_line = format!("dir = \"{}\"", storage.display());
    for line in [&*dir_line, "self_signed = true", "names = [\"a.example\"]"] {
        assert!(shown.contains(line), "{line} is not in:\n{shown}");
    }
    // One that is not there yet has no fingerprint to compare with what clients will see, and one
    // that is has.
    let explained = || snigate(&dir, &["explain", "--sni", "a.example"]).1;
    let said = explained();
    assert!(
        said.contains("lab: dns:a.example, self-signed") && said.contains("not made yet"),
        "{said}"
    );
    assert!(
        !said.contains("SHA-256 ") || !said.contains(" until "),
        "{said}"
    );
    let (certificate, key) = ending(&["a.example"], 800);
    keep(&storage, &certificate, &key);
    let said = explained();
    let own = fingerprint(&certificate, &key);
    assert!(
        said.contains(own.as_str().unwrap()) && !said.contains("not made yet"),
        "{said}"
    );
    let (certificate, key) = ending(&["b.example"], 100);
    keep(&storage, &certificate, &key);
    assert!(explained().contains("not made yet"));
    let said = snigate(&dir, &["check"]).1;
    assert!(
        said.contains("replaced by a new one: it is for b.example") && said.contains("1 warning"),
        "{said}"
    );
    assert_eq!(kept(&storage), (certificate, key));
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_write() {
    let (dir, backend) = (directory(), Backend::greet(b"welcome"));
    let sound = config(
        &backend,
        &dir.path().join("state"),
        "\"a.example\"",
        "names = \"a.example\"",
    );
    let sound = format!("[listeners.edge]\nbind = \"127.0.0.1:1\"\n{sound}");
    for (from, to, expected) in [
        (
            "self_signed = true",
            "self_signed = true\ncert_file = \"a.pem\"",
            "cert_file stands beside self_signed",
        ),
        (
            "self_signed = true",
            "self_signed = true\ndir = \"certs\"",
            "dir stands beside self_signed",
        ),
        (
            "self_signed = true",
            "self_signed = false",
            "names has no effect here",
        ),
        ("self_signed = true", "", "or `self_signed = true`"),
        ("names = \"a.example\"", "names = []", "names is empty"),
        ("names = \"a.example\"", "names = [\"a b\"]", "names: "),
        (
            "names = \"a.example\"",
            "names = \"*\"",
            "cannot be for every name",
        ),
        (
            "names = \"a.example\"\n",
            "",
            "list no name that it could be for",
        ),
        (
            "[certificates.lab]",
            "[certificates.\"../lab\"]",
            "kept in a file of its name",
        ),
    ] {
        let text = sound
            .replacen(from, to, 1)
            .replacen("sni = [\"a.example\"]", "sni = \"*\"", 1);
        fs::write(dir.path().join("snigate.toml"), &text).unwrap();
        let (valid, said) = snigate(&dir, &["check"]);
        assert!(
            !valid && said.contains(expected),
            "{expected:?} is not in what is said of\n{text}\n{said}"
        );
    }
    fs::write(dir.path().join("snigate.toml"), &sound).unwrap();
    assert!(snigate(&dir, &["check"]).0);
}
