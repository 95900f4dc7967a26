//! A session that was resumed would carry an old verdict into a place where it was never given.

use std::io::{Read, Write};

use rustls::HandshakeKind::{self, Full, Resumed};

use super::*;

/// A whole session: how it was established, and how many tickets the client was given.
fn visit(config: &Arc<ClientConfig>, stream: TcpStream) -> io::Result<(HandshakeKind, u32)> {
    let mut session = tls::session(config, NAME, stream);
    session.write_all(b"x")?;
    session.conn.send_close_notify();
    session.read_to_end(&mut Vec::new())?;
    Ok((
        session.conn.handshake_kind().expect("a session"),
        session.conn.tls13_tickets_received(),
    ))
}

fn kind(config: &Arc<ClientConfig>, stream: TcpStream) -> HandshakeKind {
    visit(config, stream).expect("a session").0
}

#[test]
fn a_client_that_must_identify_itself_does_so_each_time() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let member = site.member();
    write(dir.path(), "member", &member);
    let pinned =
        "[tls.pinned]\nclient_auth.mode = \"pinned\"\nclient_auth.cert_files = \"member.pem\"\n";
    let proxy = Proxy::start_in(dir, &config(&backend, "open", pinned));
    for table in ["mtls", "pinned"] {
        proxy.reload(&config(&backend, table, pinned));
        for version in VERSIONS {
            let client = site.client(Some(&member), version);
            for _ in 0..3 {
                let row = format!("{table}, {:?}", version.version);
                assert_eq!(visit(&client, proxy.connect()).unwrap(), (Full, 0), "{row}");
            }
        }
    }
}

#[test]
fn a_session_of_a_route_without_client_certificates_is_worth_nothing_on_the_route_that_requires_them()
 {
    let (site, dir) = site();
    let backend = Backend::echo();
    let open = format!(
        r#"
        listeners = ["edge"]
        [listeners.edge]
        bind = "127.0.0.1:0"
        [listeners.other]
        bind = "127.0.0.1:0"
        [routes.members]
        sni = "{NAME}"
        action = "terminate"
        tls = "mtls"
        upstream = "{}"
        listeners = ["other"]
        "#,
        backend.addr
    );
    let proxy = Proxy::start_in(dir, &config(&backend, "open", &open));
    let member = site.member();
    for version in VERSIONS {
        let row = format!("{:?}", version.version);
        let nobody = site.client(None, version);
        assert_eq!(kind(&nobody, proxy.connect()), Full, "{row}");
        assert_eq!(
            kind(&nobody, proxy.connect()),
            Resumed,
            "a session is kept where nobody identifies himself; {row}"
        );
        let error = visit(&nobody, proxy.connect_to("other")).unwrap_err();
        assert_eq!(alert(&error), Some(116), "{row}: {error}");

        let member = site.client(Some(&member), version);
        assert_eq!(kind(&member, proxy.connect()), Full, "{row}");
        assert_eq!(kind(&member, proxy.connect()), Resumed, "{row}");
        assert_eq!(kind(&member, proxy.connect_to("other")), Full, "{row}");
    }
}

#[test]
fn sessions_from_before_a_route_required_certificates_end_with_the_reload() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &config(&backend, "open", ""));
    let member = site.member();
    let clients: Vec<_> = VERSIONS
        .into_iter()
        .map(|version| {
            (
                site.client(None, version),
                site.client(Some(&member), version),
            )
        })
        .collect();
    for client in clients.iter().flat_map(|(nobody, member)| [nobody, member]) {
        assert_eq!(kind(client, proxy.connect()), Full);
        assert_eq!(kind(client, proxy.connect()), Resumed);
    }
    proxy.reload(&config(&backend, "mtls", ""));
    for (nobody, member) in &clients {
        assert_eq!(
            alert(&visit(nobody, proxy.connect()).unwrap_err()),
            Some(116)
        );
        assert_eq!(kind(member, proxy.connect()), Full);
    }
    // And back: what is remembered afterwards is remembered anew.
    proxy.reload(&config(&backend, "open", ""));
    for (nobody, _) in &clients {
        assert_eq!(kind(nobody, proxy.connect()), Full);
        assert_eq!(kind(nobody, proxy.connect()), Resumed);
    }
}

#[test]
fn a_member_of_an_authority_that_was_replaced_is_refused_at_the_next_connection() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &config(&backend, "mtls", ""));
    let member = site.member();
    let clients = VERSIONS.map(|version| site.client(Some(&member), version));
    for client in &clients {
        assert_eq!(kind(client, proxy.connect()), Full);
    }
    let successor = authority(proxy.dir(), "clients");
    proxy.wait_for("reloaded");
    for client in &clients {
        let error = visit(client, proxy.connect()).unwrap_err();
        // The new authority has the old one's name, so it is the signature that does not fit.
        assert_eq!(alert(&error), Some(51), "{error}");
    }
    let member = successor.client("member", Validity::days(20)).unwrap();
    assert_eq!(
        kind(&site.client(Some(&member), &TLS13), proxy.connect()),
        Full
    );
}

#[test]
fn a_session_is_worth_nothing_on_another_route_whatever_name_the_client_offers_it_under() {
    let (site, dir) = site();
    write(
        dir.path(),
        "all",
        &site
            .servers
            .server(&["*.example"], Validity::days(20))
            .unwrap(),
    );
    let backend = Backend::greet(b"welcome inside");
    let open = |name: &str| {
        format!(
            "[routes.{name}]\nsni = \"{name}.example\"\naction = \"terminate\"\ntls = \"open\"\nupstream = \"{}\"\n\
             certificates = \"all\"\n",
            backend.addr
        )
    };
    let tables = "[certificates.all]\ncert_file = \"all.pem\"\nkey_file = \"all-key.pem\"\n";
    let keys = [
        "certificates = \"site\"\n",
        tables,
        &open("open"),
        &open("other"),
    ]
    .concat();
    let proxy = Proxy::start_in(dir, &config(&backend, "mtls", &keys));
    let file = proxy.dir().join("session");
    let file = file.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        for (name, reused, welcome) in [
            ("open.example", true, true),
            ("other.example", false, true),
            (NAME, false, false),
        ] {
            let row = format!("to {name}, {version}");
            let first = s_client(
                proxy.addr(),
                &["-servername", "open.example", version, "-sess_out", file],
            );
            assert!(first.0.contains("welcome inside"), "{row}: {}", first.0);
            let second = s_client(
                proxy.addr(),
                &["-servername", name, version, "-sess_in", file],
            );
            assert_eq!(second.0.contains("Reused, "), reused, "{row}: {}", second.0);
            assert_eq!(
                second.0.contains("welcome inside"),
                welcome,
                "{row}: {}",
                second.0
            );
            assert_eq!(
                second.alert(),
                (!welcome).then_some(116),
                "{row}: {}",
                second.0
            );
        }
    }
}
