//! A reload that comes between two steps of one connection, and what it means for those who are in
//! already.

use std::io::{Read, Write};

use rustls::{ClientConnection, StreamOwned};

use super::*;
use crate::support::socket::wait_until_read;

type Session = StreamOwned<ClientConnection, TcpStream>;

/// The `[tls]` table `terms` of the only route, with these keys.
fn terms(backend: &Backend, keys: &str) -> String {
    config(backend, "terms", &format!("[tls.terms]\n{keys}\n"))
}

/// Certificates of `clients` are verified, with these further keys.
fn verifying(backend: &Backend, keys: &str) -> String {
    terms(
        backend,
        &format!("client_auth.ca_files = [\"clients.pem\"]\n{keys}"),
    )
}

const DENIED: &str = "client_auth.deny.cn = [\"member\"]";

/// A session of which the hello is written to `first`, and no more than the hello.
fn begun(config: &Arc<ClientConfig>, stream: TcpStream) -> (Session, Vec<u8>) {
    let mut session = tls::session(config, NAME, stream);
    let mut hello = Vec::new();
    session.conn.write_tls(&mut hello).unwrap();
    (session, hello)
}

/// A session that has had one answer.
fn enter(config: &Arc<ClientConfig>, proxy: &Proxy) -> Session {
    let mut session = tls::session(config, NAME, proxy.connect());
    echo(&mut session).unwrap();
    session
}

fn echo(session: &mut Session) -> io::Result<()> {
    session.write_all(b"ping")?;
    session.read_exact(&mut [0; 4])
}

#[test]
fn a_hello_is_judged_by_the_terms_of_its_moment_and_not_by_those_of_its_connection() {
    let backend = Backend::echo();
    for version in VERSIONS {
        let (site, dir) = site();
        let mut proxy = Proxy::start_in(dir, &verifying(&backend, ""));
        let accepted = backend.accepted();
        let (mut session, hello) =
            begun(&site.client(Some(&site.member()), version), proxy.connect());
        session.sock.write_all(&hello[..10]).unwrap();
        wait_until_read(&[session.sock.try_clone().unwrap()]);
        proxy.reload(&verifying(&backend, DENIED));
        session.sock.write_all(&hello[10..]).unwrap();
        let error = echo(&mut session).unwrap_err();
        assert_eq!(alert(&error), Some(49), "{error}");
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"not_allowed".into(), &"client".into()),
            "{line}"
        );
        assert_eq!(backend.accepted(), accepted);
    }
}

#[test]
fn who_shakes_hands_during_a_reload_is_judged_by_the_terms_that_it_brings() {
    let backend = Backend::echo();
    let required = "client_auth.mode = \"require_and_verify\"";
    let close = "on_revoke = \"close\"";
    for version in VERSIONS {
        let too_old = (*version == TLS12).then_some("handshake_failed");
        for (shows, before, after, expected) in [
            (
                true,
                verifying(&backend, ""),
                verifying(&backend, DENIED),
                Some("not_allowed"),
            ),
            (
                true,
                verifying(&backend, close),
                verifying(&backend, DENIED),
                Some("not_allowed"),
            ),
            (
                true,
                verifying(&backend, ""),
                verifying(&backend, &format!("{DENIED}\n{close}")),
                Some("not_allowed"),
            ),
            (
                false,
                terms(&backend, ""),
                verifying(&backend, required),
                Some("no_certificate"),
            ),
            (
                false,
                terms(&backend, "client_auth.mode = \"request\""),
                verifying(&backend, ""),
                Some("no_certificate"),
            ),
            // It was asked for its certificate, which nobody has verified; now somebody does.
            (
                true,
                terms(&backend, "client_auth.mode = \"request\""),
                verifying(&backend, DENIED),
                Some("not_allowed"),
            ),
            (
                true,
                terms(&backend, "client_auth.mode = \"require_any\""),
                verifying(&backend, close),
                None,
            ),
            (
                true,
                verifying(&backend, ""),
                verifying(&backend, "client_auth.deny.cn = [\"other\"]"),
                None,
            ),
            (
                false,
                terms(&backend, ""),
                terms(&backend, "min_version = \"1.3\""),
                too_old,
            ),
            (
                true,
                verifying(&backend, close),
                verifying(&backend, &format!("{close}\nmin_version = \"1.3\"")),
                too_old,
            ),
        ] {
            let (site, dir) = site();
            let mut proxy = Proxy::start_in(dir, &before);
            let accepted = backend.accepted();
            let member = site.member();
            let (mut session, hello) = begun(
                &site.client(shows.then_some(&member), version),
                proxy.connect(),
            );
            session.sock.write_all(&hello).unwrap();
            // The server's first flight.
            session.sock.peek(&mut [0; 1]).unwrap();
            proxy.reload(&after);
            let answer = echo(&mut session);
            let row = format!("{:?}\n{before}\n{after}", version.version);
            let Some(outcome) = expected else {
                answer.unwrap_or_else(|error| panic!("{error}: {row}"));
                assert_eq!(backend.accepted(), accepted + 1, "{row}");
                continue;
            };
            answer.unwrap_err();
            let line = proxy.next_access();
            assert_eq!(
                (&line["outcome"], &line["by"]),
                (&outcome.into(), &"proxy".into()),
                "{line}: {row}"
            );
            assert_eq!(backend.accepted(), accepted, "{row}");
        }
    }
}

#[test]
fn who_came_in_by_weaker_terms_goes_when_stricter_ones_say_so() {
    let backend = Backend::echo();
    let required = |keys: &str| {
        verifying(
            &backend,
            &format!("client_auth.mode = \"require_and_verify\"\n{keys}"),
        )
    };
    let close = "on_revoke = \"close\"";
    for (shows, before, after, stays) in [
        (false, terms(&backend, ""), required(close), false),
        (
            false,
            terms(&backend, "client_auth.mode = \"request\""),
            required(close),
            false,
        ),
        (
            true,
            terms(&backend, "client_auth.mode = \"request\""),
            required(close),
            false,
        ),
        (
            true,
            terms(&backend, "client_auth.mode = \"require_any\""),
            required(close),
            false,
        ),
        (
            false,
            verifying(&backend, "client_auth.mode = \"verify_if_given\""),
            required(close),
            false,
        ),
        // Everybody comes in as they are.
        (
            false,
            terms(&backend, ""),
            verifying(
                &backend,
                &format!("client_auth.mode = \"verify_if_given\"\n{close}"),
            ),
            true,
        ),
        // The new terms take nothing back.
        (false, terms(&backend, ""), required(""), true),
        // It was let in for good.
        (
            true,
            required(""),
            required(&format!("{DENIED}\n{close}")),
            true,
        ),
        (true, required(close), required(DENIED), true),
    ] {
        let (site, dir) = site();
        let mut proxy = Proxy::start_in(dir, &before);
        let member = site.member();
        let mut session = enter(&site.client(shows.then_some(&member), &TLS13), &proxy);
        proxy.reload(&format!("{before}\n[timeouts]\nidle = \"2h\"\n"));
        echo(&mut session).unwrap();
        proxy.reload(&after);
        let row = format!("{before}\n{after}");
        if stays {
            echo(&mut session).unwrap_or_else(|error| panic!("{error}: {row}"));
            continue;
        }
        assert_eq!(
            session.read_exact(&mut [0; 1]).unwrap_err().kind(),
            io::ErrorKind::ConnectionReset,
            "{row}"
        );
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"no_certificate".into(), &"proxy".into()),
            "{line}: {row}"
        );
    }
}
