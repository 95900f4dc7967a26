//! Where trust comes from, and what happens when it changes.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustls::HandshakeKind::{Full, Resumed};

use super::*;
use crate::support::backend::read_exact;

/// The variables, and nothing of what the tests themselves run with.
fn with_store<'a>(
    command: &'a mut Command,
    file: Option<&Path>,
    dirs: Option<&str>,
) -> &'a mut Command {
    command
        .env_remove("SSL_CERT_FILE")
        .env_remove("SSL_CERT_DIR");
    if let Some(file) = file {
        command.env("SSL_CERT_FILE", file);
    }
    if let Some(dirs) = dirs {
        command.env("SSL_CERT_DIR", dirs);
    }
    command
}

fn named() -> String {
    format!("tls.server_name = \"{INSIDE}\"")
}

#[test]
fn the_systems_store_is_what_the_variables_of_openssl_name() {
    let (site, dir) = site();
    let backend = tls_echo(server(&site.inside()));
    let store = directory();
    fs::write(store.path().join("corp.crt"), site.corp.certificate()).unwrap();
    fs::write(store.path().join("README"), "certificates of ours").unwrap();
    std::os::unix::fs::symlink("corp.crt", store.path().join("0a1b2c3d.0")).unwrap();
    let (corp, edge) = (dir.path().join("corp.pem"), dir.path().join("edge.pem"));
    let dirs = format!("/nonexistent:{}", store.path().display());
    let text = config(&[&backend.addr], &named(), "");
    for (file, dirs, from, believed) in [
        (Some(&*corp), None, "corp.pem (1)", true),
        (None, Some(&*dirs), "corp.crt (1)", true),
        (Some(&*edge), Some(&*dirs), "corp.crt (1)", true),
        (Some(&*edge), None, "edge.pem (1)", false),
    ] {
        let mut proxy = Proxy::start_as(copy(&dir), &text, |command| {
            _ = with_store(command, file, dirs)
        });
        let event = proxy.wait_for("trust");
        assert_eq!(event["trust"], "(system)", "{event}");
        assert!(event["from"].as_str().unwrap().contains(from), "{event}");
        assert_eq!(
            event["certificates"],
            if file.is_some() && dirs.is_some() {
                2
            } else {
                1
            },
            "{event}"
        );
        assert_eq!(
            site.ask(&proxy, b"the question").is_ok(),
            believed,
            "{from}: {}",
            proxy.log()
        );
        let line = proxy.next_access();
        assert_eq!(
            line["outcome"],
            if believed {
                "closed"
            } else {
                "upstream_tls_failed"
            },
            "{line}"
        );
        assert!(!proxy.log().contains("README"), "{}", proxy.log());
    }
}

#[test]
fn a_bad_certificate_in_the_systems_store_is_left_out_and_one_of_ours_is_an_error() {
    let (site, dir) = site();
    let backend = tls_echo(server(&site.inside()));
    let bad = "-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n";
    let mixed = dir.path().join("mixed.pem");
    fs::write(&mixed, format!("{bad}{}", site.corp.certificate())).unwrap();
    let text = config(&[&backend.addr], &named(), "");
    let proxy = Proxy::start_as(copy(&dir), &text, |command| {
        _ = with_store(command, Some(&mixed), None)
    });
    assert_eq!(site.ask(&proxy, b"the question").unwrap(), b"the question");
    assert!(
        proxy
            .log()
            .contains("mixed.pem: certificate 1 of 1 in the file cannot be read"),
        "{}",
        proxy.log()
    );

    let own = format!(
        "{}[trust.corp]\nca_files = [\"mixed.pem\"]\n",
        config(&[&backend.addr], &corp(), "")
    );
    let said = proxy.refusal_after(|| {
        fs::copy(&mixed, proxy.dir().join("mixed.pem")).unwrap();
        proxy.write_config(&own);
    });
    assert!(
        said.contains("trust.corp: ca_files: ") && said.contains("certificate 1 of 2"),
        "{said}"
    );
    assert_eq!(
        site.ask(&proxy, b"the question").unwrap(),
        b"the question",
        "what runs goes on"
    );
}

#[test]
fn the_systems_store_is_watched_like_every_other_file() {
    let (site, dir) = site();
    let backend = tls_echo(server(&site.inside()));
    let store = directory();
    let bundle = store.path().join("bundle.pem");
    fs::write(&bundle, site.edge.certificate()).unwrap();
    let text = config(&[&backend.addr], &named(), "");
    let proxy = Proxy::start_as(dir, &text, |command| {
        _ = with_store(command, Some(&bundle), None)
    });
    site.ask(&proxy, b"the question").unwrap_err();
    proxy.reload_after(|| fs::write(&bundle, site.corp.certificate()).unwrap());
    assert_eq!(site.ask(&proxy, b"the question").unwrap(), b"the question");
    let said = proxy.refusal_after(|| fs::write(&bundle, "").unwrap());
    assert!(
        said.contains("there is no CA to verify servers against"),
        "{said}"
    );
    assert_eq!(
        site.ask(&proxy, b"the question").unwrap(),
        b"the question",
        "what runs goes on"
    );
}

#[test]
fn a_trust_file_is_replaced_under_traffic_and_a_bad_one_changes_nothing() {
    let (site, dir) = site();
    let next = Authority::new("next", Validity::days(20)).unwrap();
    let streaming = tls_backend(server(&site.inside()), |session| {
        let mut byte = [0];
        while session.read_exact(&mut byte).is_ok() && session.write_all(&byte).is_ok() {}
    });
    let proxy = Proxy::start_in(dir, &config(&[&streaming.addr], &corp(), TRUST));
    let config = client(&site.edge, None, rustls::ALL_VERSIONS);
    let mut live = tls::session(&config, NAME, proxy.connect());
    let mut echo = |byte: u8| {
        live.write_all(&[byte]).unwrap();
        assert_eq!(read_exact(&mut live, 1), [byte]);
    };
    echo(1);
    let trust = proxy.dir().join("corp.pem");
    proxy.reload_after(|| fs::write(&trust, next.certificate()).unwrap());
    echo(2);
    // Neither a connection that is open nor a session that could be resumed lets anybody in after
    // that.
    let probe = |proxy: &Proxy| {
        let mut session = tls::session(&config, NAME, proxy.connect());
        session
            .write_all(b"x")
            .and_then(|()| session.read_exact(&mut [0]))
    };
    probe(&proxy).unwrap_err();
    let event = proxy.wait_nth("trust", 1, |event| event["trust"] == "corp");
    assert!(
        event["from"].as_str().unwrap().ends_with("corp.pem (1)"),
        "{event}"
    );

    proxy.reload_after(|| {
        fs::write(
            &trust,
            format!("{}{}", next.certificate(), site.corp.certificate()),
        )
        .unwrap()
    });
    probe(&proxy).unwrap();
    let half = &site.corp.certificate()[..200];
    for (content, words) in [
        (
            half,
            "line 1: the CERTIFICATE that begins here does not end",
        ),
        ("", "the file is empty"),
    ] {
        let said = proxy.refusal_after(|| fs::write(&trust, content).unwrap());
        assert!(said.contains(words), "{said}");
        probe(&proxy).unwrap();
    }
    echo(3);
}

#[test]
fn sessions_with_servers_are_resumed_until_something_changes() {
    let (site, dir) = site();
    let (sender, kinds) = std::sync::mpsc::channel();
    let backend = tls_backend(server(&site.inside()), move |session| {
        let mut byte = [0];
        if session.read_exact(&mut byte).is_ok() {
            let _ = sender.send(session.conn.handshake_kind().unwrap());
            let _ = session.write_all(&byte);
            session.conn.send_close_notify();
            let _ = session.flush();
        }
    });
    let proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
    let kind = || {
        site.ask(&proxy, b"x").unwrap();
        kinds.recv_timeout(crate::support::PATIENCE).unwrap()
    };
    assert_eq!((kind(), kind()), (Full, Resumed));
    // Another file, and the same CA: the upstream goes on as it is.
    let inline = format!("[trust.corp]\npem = '''\n{}'''\n", site.corp.certificate());
    proxy.reload(&config(&[&backend.addr], &corp(), &inline));
    assert_eq!(kind(), Resumed);
    let edge = proxy.dir().join("edge.pem");
    let both = format!("[trust.corp]\nca_files = [\"corp.pem\", {edge:?}]\n");
    proxy.reload(&config(&[&backend.addr], &corp(), &both));
    assert_eq!(kind(), Full);
}
