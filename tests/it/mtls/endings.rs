//! How a session ends, and how one that never begins does.

use std::io::{Read, Write};
use std::net::Shutdown;

use super::*;
use crate::support::backend::{read_exact, read_to_end};
use crate::support::hello::hello;
use crate::support::socket::{abort, refusing};
use crate::support::tls::is_abrupt;

#[test]
fn a_client_that_ends_without_a_close_notify_still_gets_the_answer_and_the_log_says_so() {
    let (site, dir) = site();
    let (backend, connections) = Backend::manual();
    let mut proxy = Proxy::start_in(dir, &config(&backend, "mtls", ""));
    let member = site.member();
    for version in VERSIONS {
        for polite in [true, false] {
            let row = format!("{:?}, close_notify {polite}", version.version);
            let mut session =
                tls::session(&site.client(Some(&member), version), NAME, proxy.connect());
            session.write_all(b"the question").unwrap();
            if polite {
                session.conn.send_close_notify();
                session.flush().unwrap();
            }
            session.sock.shutdown(Shutdown::Write).unwrap();
            let mut server = connections.next();
            assert_eq!(read_to_end(&mut server), b"the question", "{row}");
            server.write_all(b"the answer").unwrap();
            drop(server);
            // rustls reports an end without close_notify as an error, so this also shows that there
            // was one.
            assert_eq!(read_to_end(&mut session), b"the answer", "{row}");
            let line = proxy.next_access();
            assert_eq!(line["outcome"], "closed", "{row}: {line}");
            assert_eq!(
                line["truncated"].as_bool(),
                (!polite).then_some(true),
                "{row}: {line}"
            );
            assert_eq!(
                (&line["received"], &line["sent"]),
                (&12.into(), &10.into()),
                "{row}: {line}"
            );
        }
    }
}

#[test]
fn a_server_that_aborts_is_not_taken_for_one_that_has_finished() {
    let (site, dir) = site();
    let (backend, connections) = Backend::manual();
    let mut proxy = Proxy::start_in(dir, &config(&backend, "mtls", ""));
    for version in VERSIONS {
        let mut session = tls::session(
            &site.client(Some(&site.member()), version),
            NAME,
            proxy.connect(),
        );
        session.write_all(b"the question").unwrap();
        let mut server = connections.next();
        read_exact(&mut server, 12);
        server.write_all(b"half of the ans").unwrap();
        assert_eq!(read_exact(&mut session, 15), b"half of the ans");
        abort(server);
        let error = session.read(&mut [0; 16]).unwrap_err();
        assert!(is_abrupt(&error), "{error:?}");
        // Until the client ends too, it is given time to receive what the server had sent.
        drop(session);
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"reset".into(), &"server".into()),
            "{line}"
        );
    }
}

#[test]
fn a_session_without_a_server_ends_without_a_close_notify() {
    let (site, dir) = site();
    let (_socket, nowhere) = refusing();
    let text = config(&Backend::echo(), "mtls", "");
    let upstream = text
        .lines()
        .find(|line| line.contains("upstream = "))
        .unwrap();
    let mut proxy = Proxy::start_in(
        dir,
        &text.replace(upstream, &format!("upstream = \"{nowhere}\"")),
    );
    for version in VERSIONS {
        let error = ask(&site.client(Some(&site.member()), version), proxy.connect()).unwrap_err();
        assert!(is_abrupt(&error), "{error:?}");
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"connect_failed".into(), &"server".into()),
            "{line}"
        );
        assert_eq!(line["client_cert"], "CN=member", "{line}");
        assert!(
            line["detail"]
                .as_str()
                .unwrap()
                .contains(&nowhere.to_string()),
            "{line}"
        );
    }
}

#[test]
fn a_client_that_says_hello_and_then_nothing_meets_the_handshake_deadline_and_not_that_of_the_hello()
 {
    let backend = Backend::echo();
    for (timeouts, outcome, length) in [
        (
            "hello = \"1h\"\nhandshake = \"300ms\"",
            "handshake_timeout",
            usize::MAX,
        ),
        (
            "hello = \"300ms\"\nhandshake = \"1h\"",
            "hello_timeout",
            100,
        ),
    ] {
        let (_, dir) = site();
        let mut proxy = Proxy::start_in(
            dir,
            &config(&backend, "mtls", &format!("[timeouts]\n{timeouts}\n")),
        );
        let hello = hello(NAME);
        let mut client = proxy.connect();
        client.write_all(&hello[..length.min(hello.len())]).unwrap();
        let _ = client.read_to_end(&mut Vec::new());
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&outcome.into(), &"client".into()),
            "{line}"
        );
        let waited = line["duration_ms"].as_f64().unwrap();
        assert!(waited >= 300.0, "{line}");
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn a_client_that_breaks_its_session_is_told_so_although_it_sends_on() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let mut proxy = Proxy::start_in(dir, &config(&backend, "open", ""));
    let mut session = tls::session(&site.client(None, &TLS13), NAME, proxy.connect());
    session.write_all(b"the question").unwrap();
    let mut answer = [0; 12];
    session.read_exact(&mut answer).unwrap();
    let garbage = [&[23, 3, 3, 0, 32][..], &[0x55; 32]].concat();
    session
        .sock
        .write_all(&[garbage, vec![0; 100_000]].concat())
        .unwrap();
    assert_eq!(
        alert(&session.read(&mut answer).unwrap_err()),
        Some(20),
        "bad_record_mac"
    );
    // A reset in place of the end would have taken the alert with it, had it been faster.
    assert_eq!(read_to_end(&mut session.sock), b"");
    drop(session);
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"broken".into(), &"client".into()),
        "{line}"
    );
}
