//! How sessions end when there is TLS on both sides.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::support::backend::{read_exact, read_to_end};
use crate::support::socket::abort;

/// A server that hands each of its sessions to the test.
fn manual(config: ServerConfig) -> (Backend, Receiver<Session>) {
    let (sender, receiver) = channel();
    let config = Arc::new(config);
    let backend = Backend::serve(move |stream| {
        let mut session = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        while session.conn.is_handshaking() && session.conn.complete_io(&mut session.sock).is_ok() {}
        let _ = sender.send(session);
    });
    (backend, receiver)
}

fn next(sessions: &Receiver<Session>) -> Session {
    sessions.recv_timeout(crate::support::PATIENCE).expect("a session with the proxy")
}

/// Ends the sending direction in order.
fn finish<D>(connection: &mut rustls::ConnectionCommon<D>, socket: &mut TcpStream) {
    connection.send_close_notify();
    while connection.wants_write() {
        connection.write_tls(socket).unwrap();
    }
    socket.shutdown(Shutdown::Write).unwrap();
}

#[test]
fn either_side_may_end_first_and_still_gets_the_rest() {
    let (site, dir) = site();
    let (backend, sessions) = manual(server(&site.inside()));
    let mut proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
    let config = client(&site.edge, None, rustls::ALL_VERSIONS);

    let mut session = tls::session(&config, NAME, proxy.connect());
    session.write_all(b"the question").unwrap();
    finish(&mut session.conn, &mut session.sock);
    let mut inside = next(&sessions);
    assert_eq!(read_to_end(&mut inside), b"the question");
    for part in [&b"the "[..], b"long ", b"answer"] {
        inside.write_all(part).unwrap();
        assert_eq!(read_exact(&mut session, part.len()), part);
    }
    finish(&mut inside.conn, &mut inside.sock);
    assert_eq!(read_to_end(&mut session), b"");
    let line = proxy.next_access();
    assert_eq!((&line["outcome"], &line["by"]), (&"closed".into(), &"client".into()), "{line}");
    assert_eq!(line["truncated"], Value::Null, "{line}");

    let mut session = tls::session(&config, NAME, proxy.connect());
    session.write_all(b"hello").unwrap();
    let mut inside = next(&sessions);
    assert_eq!(read_exact(&mut inside, 5), b"hello");
    inside.write_all(b"that is all").unwrap();
    finish(&mut inside.conn, &mut inside.sock);
    assert_eq!(read_to_end(&mut session), b"that is all");
    session.write_all(b"not for me").unwrap();
    finish(&mut session.conn, &mut session.sock);
    assert_eq!(read_to_end(&mut inside), b"not for me");
    let line = proxy.next_access();
    assert_eq!((&line["outcome"], &line["by"]), (&"closed".into(), &"server".into()), "{line}");
}

#[test]
fn a_server_that_ends_without_a_close_notify_is_not_passed_on_as_a_clean_end() {
    let (site, dir) = site();
    let (backend, sessions) = manual(server(&site.inside()));
    let mut proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
    let mut session = tls::session(&client(&site.edge, None, rustls::ALL_VERSIONS), NAME, proxy.connect());
    session.write_all(b"the question").unwrap();
    let mut inside = next(&sessions);
    read_exact(&mut inside, 12);
    inside.write_all(b"half of the ans").unwrap();
    inside.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_exact(&mut session, 15), b"half of the ans");
    assert_eq!(session.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    drop((session, inside));
    assert_eq!(proxy.next_access()["truncated"], true);
}

#[test]
fn a_server_that_aborts_is_not_taken_for_one_that_has_finished() {
    let (site, dir) = site();
    let (backend, sessions) = manual(server(&site.inside()));
    let mut proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
    let mut session = tls::session(&client(&site.edge, None, rustls::ALL_VERSIONS), NAME, proxy.connect());
    session.write_all(b"the question").unwrap();
    let mut inside = next(&sessions);
    read_exact(&mut inside, 12);
    inside.write_all(b"half of the ans").unwrap();
    assert_eq!(read_exact(&mut session, 15), b"half of the ans");
    abort(inside.sock);
    let error = session.read(&mut [0; 16]).unwrap_err();
    assert!(is_abrupt(&error), "{error:?}");
    drop(session);
    let line = proxy.next_access();
    assert_eq!((&line["outcome"], &line["by"]), (&"reset".into(), &"server".into()), "{line}");
}

#[test]
fn a_server_sees_that_a_client_was_cut_off() {
    let (site, dir) = site();
    let (backend, sessions) = manual(server(&site.inside()));
    let proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
    let config = client(&site.edge, None, rustls::ALL_VERSIONS);
    for aborted in [false, true] {
        let mut session = tls::session(&config, NAME, proxy.connect());
        session.write_all(b"half of the ques").unwrap();
        let mut inside = next(&sessions);
        assert_eq!(read_exact(&mut inside, 16), b"half of the ques");
        if aborted {
            abort(session.sock);
        } else {
            session.sock.shutdown(Shutdown::Write).unwrap();
        }
        let error = inside.read(&mut [0; 16]).unwrap_err();
        assert!(is_abrupt(&error), "{aborted}: {error:?}");
    }
}

#[test]
fn both_directions_are_exact_at_the_same_time() {
    let (site, dir) = site();
    let (up, down) = (pattern(3_000_001, 1), pattern(3_000_001, 2));
    let (backend, sessions) = manual(server(&site.inside()));
    let mut proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
    let mut session = tls::session(&client(&site.edge, None, rustls::ALL_VERSIONS), NAME, proxy.connect());
    session.write_all(b"hello").unwrap();
    let mut inside = next(&sessions);
    read_exact(&mut inside, 5);
    // A piece at a time from both sides at once, so that neither waits for the other's socket to drain.
    for (up, down) in up.chunks(40_000).zip(down.chunks(40_000)) {
        session.write_all(up).unwrap();
        inside.write_all(down).unwrap();
        assert!(read_exact(&mut inside, up.len()) == up);
        assert!(read_exact(&mut session, down.len()) == down);
    }
    finish(&mut session.conn, &mut session.sock);
    finish(&mut inside.conn, &mut inside.sock);
    assert_eq!((read_to_end(&mut session).len(), read_to_end(&mut inside).len()), (0, 0));
    let line = proxy.next_access();
    assert_eq!((&line["sent"], &line["received"]), (&3_000_001.into(), &3_000_006.into()), "{line}");
}

#[test]
fn a_server_that_breaks_its_session_is_told_so_although_it_sends_on() {
    let (site, dir) = site();
    let (backend, sessions) = manual(server(&site.inside()));
    let mut proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
    let mut session = tls::session(&client(&site.edge, None, rustls::ALL_VERSIONS), NAME, proxy.connect());
    session.write_all(b"the question").unwrap();
    let mut inside = next(&sessions);
    read_exact(&mut inside, 12);
    let garbage = [&[23, 3, 3, 0, 32][..], &[0x55; 32]].concat();
    inside.sock.write_all(&[garbage, vec![0; 100_000]].concat()).unwrap();
    assert_eq!(tls::alert(&inside.read(&mut [0; 16]).unwrap_err()), Some(20), "bad_record_mac");
    assert_eq!(read_to_end(&mut inside.sock), b"");
    drop(inside);
    let error = session.read(&mut [0; 16]).unwrap_err();
    assert!(is_abrupt(&error), "{error:?}");
    // Until the client ends too, it is given time to receive what the server had sent.
    drop(session);
    let line = proxy.next_access();
    assert_eq!((&line["outcome"], &line["by"]), (&"broken".into(), &"server".into()), "{line}");
}
