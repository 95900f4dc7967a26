//! Certificates that are taken back: at the door, and while their owners are inside. The lists are
//! written by openssl, unless their dates matter.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use rustls::{ClientConnection, StreamOwned};
use snigate::pki::RevocationList;

use super::*;
use crate::support::socket::accept;

type Session = StreamOwned<ClientConnection, TcpStream>;

/// The `[tls]` table `terms`, with these keys beside the CA file, on the only route.
fn terms(backend: &Backend, keys: &str) -> String {
    config(
        backend,
        "terms",
        &format!("[tls.terms]\nclient_auth.ca_files = [\"clients.pem\"]\n{keys}\n"),
    )
}

const LIST: &str = "client_auth.crl_files = [\"clients.crl\"]";

/// Replaces `NAME.crl` in `dir` with a list by the authority of that name on which these
/// certificates are.
pub(super) fn revoke(dir: &Path, authority: &Authority, name: &str, revoked: &[&Issued]) {
    let work = tempfile::tempdir().unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&work)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    for (file, text) in [
        (
            "ca.cnf",
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n",
        ),
        ("index.txt", ""),
        ("number", "01\n"),
        ("ca.pem", authority.certificate()),
        ("ca-key.pem", &authority.key_pem()),
    ] {
        fs::write(work.path().join(file), text).unwrap();
    }
    let ca = [
        "ca",
        "-config",
        "ca.cnf",
        "-cert",
        "ca.pem",
        "-keyfile",
        "ca-key.pem",
    ];
    for issued in revoked {
        fs::write(work.path().join("revoked.pem"), &issued.certificate).unwrap();
        openssl(&[&ca[..], &["-revoke", "revoked.pem"]].concat());
    }
    openssl(&[&ca[..], &["-gencrl", "-crldays", "30", "-out", "list.pem"]].concat());
    // By rename, as whoever fetches a list should.
    fs::copy(work.path().join("list.pem"), dir.join("new.crl")).unwrap();
    fs::rename(dir.join("new.crl"), dir.join(format!("{name}.crl"))).unwrap();
}

/// Writes a list by `authority` that is dated as `validity` says, on which these certificates are.
fn sign(file: &Path, authority: &Authority, revoked: &[&Issued], validity: Validity) {
    let mut list = RevocationList::default();
    for issued in revoked {
        list.revoke(
            &authority.serial_of(issued.certificate.as_bytes()).unwrap(),
            None,
        );
    }
    fs::write(file, list.sign(authority, validity).unwrap()).unwrap();
}

/// A session that has had one answer.
fn enter(site: &Site, proxy: &Proxy, identity: &Issued) -> Session {
    let mut session = tls::session(&site.client(Some(identity), &TLS13), NAME, proxy.connect());
    echo(&mut session).unwrap();
    session
}

fn echo(session: &mut Session) -> io::Result<()> {
    session.write_all(b"ping")?;
    session.read_exact(&mut [0; 4])
}

/// Waits for the end of a session: how it ended.
fn end(session: &mut Session) -> io::ErrorKind {
    session.read_exact(&mut [0; 1]).unwrap_err().kind()
}

#[test]
fn who_is_on_the_list_is_refused_from_the_reload_on_and_told_why() {
    let (site, dir) = site();
    let [member, other] =
        ["member", "other"].map(|name| site.clients.client(name, Validity::days(20)).unwrap());
    revoke(dir.path(), &site.clients, "clients", &[]);
    let backend = Backend::echo();
    let mut proxy = Proxy::start_in(dir, &terms(&backend, LIST));
    for version in VERSIONS {
        ask(&site.client(Some(&member), version), proxy.connect()).unwrap();
        proxy.next_access();
    }
    proxy.reload_after(|| revoke(proxy.dir(), &site.clients, "clients", &[&member]));
    for version in VERSIONS {
        let error = ask(&site.client(Some(&member), version), proxy.connect()).unwrap_err();
        assert_eq!(alert(&error), Some(44), "{error}");
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"revoked_certificate".into(), &"client".into()),
            "{line}"
        );
        assert!(
            line["client_cert"].to_string().contains("CN=member"),
            "{line}"
        );
        assert_eq!(
            ask(&site.client(Some(&other), version), proxy.connect()).unwrap(),
            b"the question"
        );
        proxy.next_access();
    }
    assert_eq!(backend.accepted(), 4);
}

#[test]
fn a_list_that_does_not_parse_or_is_forged_refuses_the_reload_and_the_one_before_goes_on() {
    let (site, dir) = site();
    let member = site.member();
    let other = site.clients.client("other", Validity::days(20)).unwrap();
    revoke(dir.path(), &site.clients, "clients", &[&member]);
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &terms(&backend, LIST));
    let whole = fs::read_to_string(proxy.dir().join("clients.crl")).unwrap();
    for text in [
        "",
        "garbage",
        &whole[..whole.len() / 2],
        site.clients.certificate(),
    ] {
        let refusal =
            proxy.refusal_after(|| fs::write(proxy.dir().join("clients.crl"), text).unwrap());
        assert!(
            refusal.contains("clients.crl") && refusal.contains("snigate.toml:"),
            "{refusal}"
        );
        let error = ask(&site.client(Some(&member), &TLS13), proxy.connect()).unwrap_err();
        assert_eq!(alert(&error), Some(44), "{error}");
    }
    // One that somebody else has signed would keep everybody out.
    let impostor = Authority::new("clients", Validity::days(20)).unwrap();
    let refusal = proxy.refusal_after(|| revoke(proxy.dir(), &impostor, "clients", &[]));
    assert!(
        refusal.contains("is not signed by the CA of that name"),
        "{refusal}"
    );
    ask(&site.client(Some(&other), &TLS13), proxy.connect()).unwrap();
    revoke(proxy.dir(), &site.clients, "clients", &[]);
    // One that is sound takes its place at once, and what it no longer revokes counts until it has
    // been quiet.
    proxy.poll_until("the member comes in", |proxy| {
        ask(&site.client(Some(&member), &TLS13), proxy.connect()).is_ok()
    });
}

#[test]
fn a_client_that_is_revoked_while_its_handshake_is_on_its_way_is_reset() {
    for version in VERSIONS {
        let (site, dir) = site();
        let member = site.member();
        revoke(dir.path(), &site.clients, "clients", &[]);
        let backend = Backend::echo();
        let proxy = Proxy::start_in(dir, &terms(&backend, LIST));
        let mut stream = proxy.connect();
        let mut client = ClientConnection::new(
            site.client(Some(&member), version),
            NAME.try_into().unwrap(),
        )
        .unwrap();
        client.write_tls(&mut stream).unwrap();
        // Up to where it shows its certificate.
        while client.is_handshaking() && (version.version == TLS13.version || !client.wants_write())
        {
            client.read_tls(&mut stream).unwrap();
            client.process_new_packets().unwrap();
        }
        proxy.reload_after(|| revoke(proxy.dir(), &site.clients, "clients", &[&member]));
        while client.wants_write() {
            client.write_tls(&mut stream).unwrap();
        }
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionReset,
            "{version:?}: {error}"
        );
        let event = proxy.wait_until("connection", |event| {
            event["outcome"] == "revoked_certificate"
        });
        assert_eq!(event["by"], "proxy", "{event}");
        assert!(event["server"].is_null(), "{event}");
    }
}

#[test]
fn the_newest_list_of_a_directory_counts() {
    let (site, dir) = site();
    let member = site.member();
    fs::create_dir(dir.path().join("lists")).unwrap();
    let now = SystemTime::now();
    // Lists are as old as their second.
    let before = Validity {
        not_before: now - Duration::from_secs(3600),
        not_after: now + Duration::from_secs(86400),
    };
    sign(
        &dir.path().join("lists/a.crl"),
        &site.clients,
        &[&member],
        before,
    );
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &terms(&backend, "client_auth.crl_files = [\"lists\"]"));
    assert!(ask(&site.client(Some(&member), &TLS13), proxy.connect()).is_err());
    proxy.reload_after(|| revoke(&proxy.dir().join("lists"), &site.clients, "b", &[]));
    ask(&site.client(Some(&member), &TLS13), proxy.connect()).unwrap();
}

#[test]
fn a_list_that_nears_its_end_while_snigate_runs_is_reported_then() {
    const WEEK: Duration = Duration::from_secs(7 * 86400);
    let (site, dir) = site();
    let list = |dir: &Path, begun: SystemTime, due: SystemTime| {
        sign(
            &dir.join("next.crl"),
            &site.clients,
            &[],
            Validity {
                not_before: begun - 4 * WEEK,
                not_after: due,
            },
        );
        fs::rename(dir.join("next.crl"), dir.join("clients.crl")).unwrap();
    };
    let now = SystemTime::now();
    list(dir.path(), now, now + 4 * WEEK);
    let proxy = Proxy::start_in(dir, &terms(&Backend::echo(), LIST));
    let message = "tls.terms: the revocation list of CN=clients has to be replaced by ";
    let meaning = "; from then on every client it is asked about is refused";
    // A machine that takes longer to load a list than the list has says so at once, with what to
    // do; then the next one has more time.
    for (tried, ahead) in [5, 20, 80].into_iter().enumerate() {
        let begun = SystemTime::now();
        list(
            proxy.dir(),
            begun,
            begun + WEEK + Duration::from_secs(ahead),
        );
        let event = proxy.wait_nth_within(
            "configuration",
            tried,
            Duration::from_secs(ahead),
            |event| {
                event["diagnostic"]
                    .as_str()
                    .is_some_and(|diagnostic| diagnostic.contains(message))
            },
        );
        assert_eq!(event["level"], "warn", "{event}");
        if event["diagnostic"].as_str().unwrap().ends_with(meaning) {
            // A list cannot say the fractions of its second.
            let said = begun.elapsed().unwrap();
            assert!(
                said >= Duration::from_secs(ahead - 1),
                "too early: after {said:?}"
            );
            return;
        }
    }
    panic!("no list was loaded in time:\n{}", proxy.log());
}

#[test]
fn a_connection_ends_by_the_reload_that_takes_its_certificate_or_its_ca_back_and_no_other_does() {
    let (site, dir) = site();
    let second = authority(dir.path(), "second");
    let [gone, stays] =
        ["gone", "stays"].map(|name| site.clients.client(name, Validity::days(20)).unwrap());
    let of_second = second.client("second", Validity::days(20)).unwrap();
    revoke(dir.path(), &site.clients, "clients", &[]);
    let backend = Backend::echo();
    let keys = |cas: &str| {
        format!(
            "client_auth.ca_files = [{cas}]\n{LIST}\nclient_auth.crl = {{ unknown = \"allow\" }}\non_revoke = \"close\"\n"
        )
    };
    let table = |cas: &str| config(&backend, "terms", &format!("[tls.terms]\n{}", keys(cas)));
    let both = table("\"clients.pem\", \"second.pem\"");
    let mut proxy = Proxy::start_in(dir, &both);
    let [mut gone_session, mut stays_session] =
        [&gone, &stays].map(|identity| enter(&site, &proxy, identity));
    let mut second_session = enter(&site, &proxy, &of_second);

    proxy.reload_after(|| revoke(proxy.dir(), &site.clients, "clients", &[&gone]));
    assert_eq!(
        end(&mut gone_session),
        io::ErrorKind::ConnectionReset,
        "cut off, not ended"
    );
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"revoked_certificate".into(), &"proxy".into()),
        "{line}"
    );
    assert_eq!(line["client_cert"], "CN=gone", "{line}");
    echo(&mut stays_session).unwrap();
    echo(&mut second_session).unwrap();

    // The same for an authority.
    proxy.reload(&table("\"clients.pem\""));
    end(&mut second_session);
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["client_cert"]),
        (&"revoked_certificate".into(), &"CN=second".into()),
        "{line}"
    );
    // Nothing that has to do with it.
    proxy.reload(&format!(
        "{}\n[timeouts]\nidle = \"2h\"\n",
        table("\"clients.pem\"")
    ));
    echo(&mut stays_session).unwrap();
    drop(stays_session);
    assert_eq!(proxy.next_access()["client_cert"], "CN=stays");
}

#[test]
fn who_came_in_without_a_certificate_goes_when_there_has_to_be_one() {
    let backend = Backend::echo();
    let table = |keys: &str| terms(&backend, &format!("on_revoke = \"close\"\n{keys}"));
    let optional = table("client_auth.mode = \"verify_if_given\"");
    for strict in [
        table("client_auth.mode = \"require_and_verify\""),
        table("client_auth.mode = \"verify_if_given\"\nclient_auth.allow.cn = [\"member\"]"),
    ] {
        let (site, dir) = site();
        let member = site.member();
        let mut proxy = Proxy::start_in(dir, &optional);
        let mut anonymous = tls::session(&site.client(None, &TLS13), NAME, proxy.connect());
        echo(&mut anonymous).unwrap();
        let mut with_one = enter(&site, &proxy, &member);
        proxy.reload(&format!("{optional}\n[timeouts]\nidle = \"2h\"\n"));
        echo(&mut anonymous).unwrap();
        proxy.reload(&strict);
        assert_eq!(end(&mut anonymous), io::ErrorKind::ConnectionReset);
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"no_certificate".into(), &"proxy".into()),
            "{line}"
        );
        echo(&mut with_one).unwrap();
    }
}

#[test]
fn a_server_sees_that_a_connection_was_cut_off() {
    let (site, dir) = site();
    let member = site.member();
    revoke(dir.path(), &site.clients, "clients", &[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = Backend::echo();
    let text = terms(&backend, &format!("{LIST}\non_revoke = \"close\"\n")).replace(
        &backend.addr.to_string(),
        &listener.local_addr().unwrap().to_string(),
    );
    let proxy = Proxy::start_in(dir, &text);
    let mut session = tls::session(&site.client(Some(&member), &TLS13), NAME, proxy.connect());
    session.write_all(b"half a request").unwrap();
    session.flush().unwrap();
    let mut server: TcpStream = accept(&listener);
    server.read_exact(&mut [0; 14]).unwrap();
    proxy.reload_after(|| revoke(proxy.dir(), &site.clients, "clients", &[&member]));
    assert_eq!(
        server.read(&mut [0; 1]).unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[test]
fn connections_are_kept_where_that_is_not_asked_for() {
    let (site, dir) = site();
    let member = site.member();
    revoke(dir.path(), &site.clients, "clients", &[]);
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &terms(&backend, LIST));
    let mut session = enter(&site, &proxy, &member);
    proxy.reload_after(|| revoke(proxy.dir(), &site.clients, "clients", &[&member]));
    assert!(ask(&site.client(Some(&member), &TLS13), proxy.connect()).is_err());
    echo(&mut session).unwrap();
}

#[test]
fn what_is_wrong_with_lists_is_said_before_a_client_finds_out() {
    let (_, dir) = site();
    let stranger = Authority::new("strangers", Validity::days(20)).unwrap();
    revoke(dir.path(), &stranger, "clients", &[]);
    let backend = Backend::echo();
    fs::write(dir.path().join("snigate.toml"), terms(&backend, LIST)).unwrap();
    let check = |text: &str| {
        fs::write(
            dir.path().join("snigate.toml"),
            format!("[listeners.edge]\nbind = \"127.0.0.1:0\"\n{text}"),
        )
        .unwrap();
        let path = dir.path().join("snigate.toml");
        let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
            .arg("check")
            .arg("-c")
            .arg(path)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    for (keys, sound, expected) in [
        (
            LIST,
            false,
            "the list of CN=strangers speaks for none of ca_files",
        ),
        (
            &format!("{LIST}\nclient_auth.crl = {{ unknown = \"allow\" }}"),
            false,
            "CN=strangers speaks for none",
        ),
        (
            "client_auth.crl = { depth = \"chain\" }",
            false,
            "there are no crl_files",
        ),
        ("client_auth.crl_files = []", false, "names no file"),
        ("client_auth.crl_files = [\"none.crl\"]", false, "none.crl"),
        (
            "client_auth.crl_files = [\"clients.pem\"]",
            false,
            "holds no certificate revocation list but a certificate",
        ),
        (
            "client_auth.crl_files = [\"clients.crl\", \"none.crl\"]",
            false,
            "none.crl",
        ),
        (
            &format!("{LIST}\nclient_auth.crl = {{ depht = \"leaf\" }}"),
            false,
            "depht",
        ),
        (&format!("{LIST}\non_revoke = \"closed\""), false, "closed"),
    ] {
        let (passed, said) = check(&terms(&backend, keys));
        assert_eq!(passed, sound, "{keys}: {said}");
        assert!(said.contains(expected), "{keys}: {said}");
        assert!(
            expected != "none.crl" || !said.contains("there is no list of"),
            "it is not known: {keys}: {said}"
        );
    }
    // The list of one CA says nothing of another one.
    fs::write(dir.path().join("strangers.pem"), stranger.certificate()).unwrap();
    let two = |keys: &str| {
        terms(&backend, keys).replace(
            "[\"clients.pem\"]\nclient",
            "[\"clients.pem\", \"strangers.pem\"]\nclient",
        )
    };
    let (passed, said) = check(&two(LIST));
    assert!(
        passed
            && said.contains("there is no list of CN=clients")
            && !said.contains("speaks for none"),
        "{said}"
    );
    let (passed, said) = check(&two(&format!(
        "{LIST}\nclient_auth.crl = {{ unknown = \"allow\" }}"
    )));
    assert!(
        passed && !said.contains("there is no list of") && !said.contains("speaks for none"),
        "{said}"
    );
    let namesake = Authority::new("clients", Validity::days(20)).unwrap();
    revoke(dir.path(), &namesake, "namesake", &[]);
    fs::write(dir.path().join("strangers.pem"), namesake.certificate()).unwrap();
    let (passed, said) = check(&two("client_auth.crl_files = [\"namesake.crl\"]"));
    assert!(
        passed && said.contains("there is no list of CN=clients that its key has signed"),
        "{said}"
    );
    let open =
        config(&backend, "open", "").replace("[tls.open]\n", "[tls.open]\non_revoke = \"close\"\n");
    let (passed, said) = check(&open);
    assert!(
        !passed && said.contains("on_revoke is close, and client_auth.mode is none"),
        "{said}"
    );
    let listed =
        config(&backend, "open", "").replace("[tls.open]\n", &format!("[tls.open]\n{LIST}\n"));
    let (passed, said) = check(&listed);
    assert!(
        !passed && said.contains("crl_files needs a mode that verifies"),
        "{said}"
    );
}

#[test]
fn who_can_be_recalled_does_not_outlive_the_route_that_let_them_in() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let text = terms(&backend, "on_revoke = \"close\"");
    let mut proxy = Proxy::start_in(dir, &text);
    for gone in [
        text.replace("[routes.app]", "[routes.other]"),
        text.replace("action = \"terminate\"\n", "action = \"passthrough\"\n")
            .replace("tls = \"terms\"\n", ""),
    ] {
        let mut session = enter(&site, &proxy, &site.member());
        proxy.reload(&gone);
        assert_eq!(end(&mut session), io::ErrorKind::ConnectionReset);
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"route_removed".into(), &"proxy".into()),
            "{line}"
        );
        proxy.reload(&text);
    }
    // Unless it says so.
    let keep = text.replace(
        "action = \"terminate\"\n",
        "action = \"terminate\"\non_remove = \"keep\"\n",
    );
    proxy.reload(&keep);
    let mut session = enter(&site, &proxy, &site.member());
    proxy.reload(&keep.replace("[routes.app]", "[routes.other]"));
    echo(&mut session).unwrap();
}

#[test]
fn who_is_denied_while_connections_end_is_cut_off_as_ever() {
    let (site, dir) = site();
    let [member, other] =
        ["member", "other"].map(|name| site.clients.client(name, Validity::days(20)).unwrap());
    let backend = Backend::echo();
    let with = |keys: &str| {
        terms(&backend, &format!("on_revoke = \"close\"\n{keys}")) + "[timeouts]\ndrain = \"1h\"\n"
    };
    let mut proxy = Proxy::start_in(dir, &with(""));
    let [mut denied, mut kept] = [&member, &other].map(|identity| enter(&site, &proxy, identity));
    proxy.signal(Signal::TERM);
    proxy.wait_for("draining");
    echo(&mut denied).unwrap();
    proxy.reload(&with("client_auth.deny.cn = [\"member\"]\n"));
    end(&mut denied);
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"not_allowed".into(), &"proxy".into()),
        "{line}"
    );
    echo(&mut kept).unwrap();
    drop(kept);
    let (status, log) = proxy.wait_for_exit();
    assert_eq!(
        status.code(),
        Some(0),
        "nobody was cut off by the stop: {log}"
    );
}
