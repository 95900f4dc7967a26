//! How sessions end when there is TLS on both sides.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, channel};

use rustls::{ClientConfig, ClientConnection};

use super::*;
use crate::support::backend::{read_exact, read_to_end};
use crate::support::socket::{abort, refusing};

/// A server that hands each of its sessions to the test.
fn manual(config: ServerConfig) -> (Backend, Receiver<Session>) {
    let (sender, receiver) = channel();
    let config = Arc::new(config);
    let backend = Backend::serve(move |stream| {
        let mut session =
            StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        while session.conn.is_handshaking() && session.conn.complete_io(&mut session.sock).is_ok() {
        }
        let _ = sender.send(session);
    });
    (backend, receiver)
}

/// A proxy before such a server, and who its clients are.
struct Stage {
    proxy: Proxy,
    config: Arc<ClientConfig>,
    sessions: Receiver<Session>,
    _backend: Backend,
}

impl Stage {
    fn new() -> Self {
        let (site, dir) = site();
        let (backend, sessions) = manual(server(&site.inside()));
        let proxy = Proxy::start_in(dir, &config(&[&backend.addr], &corp(), TRUST));
        Self {
            proxy,
            config: client(&site.edge, None, rustls::ALL_VERSIONS),
            sessions,
            _backend: backend,
        }
    }

    /// A client's session, which begins with the first read or write.
    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        tls::session(&self.config, NAME, self.proxy.connect())
    }

    /// The server's end of the next session of the proxy with it.
    fn inside(&self) -> Session {
        self.sessions
            .recv_timeout(crate::support::PATIENCE)
            .expect("a session with the proxy")
    }

    /// The client's session and the server's, on which the client has said this and the server has
    /// read it.
    fn open(&self, said: &[u8]) -> (StreamOwned<ClientConnection, TcpStream>, Session) {
        let mut session = self.connect();
        session.write_all(said).unwrap();
        let mut inside = self.inside();
        assert_eq!(read_exact(&mut inside, said.len()), said);
        (session, inside)
    }
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
    let mut stage = Stage::new();
    let mut session = stage.connect();
    session.write_all(b"the question").unwrap();
    finish(&mut session.conn, &mut session.sock);
    let mut inside = stage.inside();
    assert_eq!(read_to_end(&mut inside), b"the question");
    for part in [&b"the "[..], b"long ", b"answer"] {
        inside.write_all(part).unwrap();
        assert_eq!(read_exact(&mut session, part.len()), part);
    }
    finish(&mut inside.conn, &mut inside.sock);
    assert_eq!(read_to_end(&mut session), b"");
    let line = stage.proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"closed".into(), &"client".into()),
        "{line}"
    );
    assert_eq!(line["truncated"], Value::Null, "{line}");

    let (mut session, mut inside) = stage.open(b"hello");
    inside.write_all(b"that is all").unwrap();
    finish(&mut inside.conn, &mut inside.sock);
    assert_eq!(read_to_end(&mut session), b"that is all");
    session.write_all(b"not for me").unwrap();
    finish(&mut session.conn, &mut session.sock);
    assert_eq!(read_to_end(&mut inside), b"not for me");
    let line = stage.proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"closed".into(), &"server".into()),
        "{line}"
    );
}

#[test]
fn a_server_that_ends_without_a_close_notify_is_not_passed_on_as_a_clean_end() {
    let mut stage = Stage::new();
    let (mut session, mut inside) = stage.open(b"the question");
    inside.write_all(b"half of the ans").unwrap();
    inside.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_exact(&mut session, 15), b"half of the ans");
    assert_eq!(
        session.read(&mut [0; 16]).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    drop((session, inside));
    assert_eq!(stage.proxy.next_access()["truncated"], true);
}

#[test]
fn a_server_that_aborts_is_not_taken_for_one_that_has_finished() {
    let mut stage = Stage::new();
    let (mut session, mut inside) = stage.open(b"the question");
    inside.write_all(b"half of the ans").unwrap();
    assert_eq!(read_exact(&mut session, 15), b"half of the ans");
    abort(inside.sock);
    let error = session.read(&mut [0; 16]).unwrap_err();
    assert!(is_abrupt(&error), "{error:?}");
    drop(session);
    let line = stage.proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"reset".into(), &"server".into()),
        "{line}"
    );
}

#[test]
fn a_server_sees_that_a_client_was_cut_off() {
    let stage = Stage::new();
    for aborted in [false, true] {
        let (session, mut inside) = stage.open(b"half of the ques");
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
    let (up, down) = (pattern(3_000_001, 1), pattern(3_000_001, 2));
    let mut stage = Stage::new();
    let (mut session, mut inside) = stage.open(b"hello");
    // A piece at a time from both sides at once, so that neither waits for the other's socket to
    // drain.
    for (up, down) in up.chunks(40_000).zip(down.chunks(40_000)) {
        session.write_all(up).unwrap();
        inside.write_all(down).unwrap();
        assert!(read_exact(&mut inside, up.len()) == up);
        assert!(read_exact(&mut session, down.len()) == down);
    }
    finish(&mut session.conn, &mut session.sock);
    finish(&mut inside.conn, &mut inside.sock);
    assert_eq!(
        (
            read_to_end(&mut session).len(),
            read_to_end(&mut inside).len()
        ),
        (0, 0)
    );
    let line = stage.proxy.next_access();
    assert_eq!(
        (&line["sent"], &line["received"]),
        (&3_000_001.into(), &3_000_006.into()),
        "{line}"
    );
}

#[test]
fn a_server_that_breaks_its_session_is_told_so_although_it_sends_on() {
    let mut stage = Stage::new();
    let (mut session, mut inside) = stage.open(b"the question");
    let garbage = [&[23, 3, 3, 0, 32][..], &[0x55; 32]].concat();
    inside
        .sock
        .write_all(&[garbage, vec![0; 100_000]].concat())
        .unwrap();
    assert_eq!(
        tls::alert(&inside.read(&mut [0; 16]).unwrap_err()),
        Some(20),
        "bad_record_mac"
    );
    assert_eq!(read_to_end(&mut inside.sock), b"");
    drop(inside);
    let error = session.read(&mut [0; 16]).unwrap_err();
    assert!(is_abrupt(&error), "{error:?}");
    // Until the client ends too, it is given time to receive what the server had sent.
    drop(session);
    let line = stage.proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"broken".into(), &"server".into()),
        "{line}"
    );
}

#[test]
fn a_client_for_whom_there_is_no_server_sees_one_end_whatever_it_has_sent() {
    let (_socket, refusing) = refusing();
    let (_listener, _queued, unanswering) = unanswering();
    let plain = Backend::greet(b"this is no TLS\n");
    for (addr, outcome) in [
        (refusing, "connect_failed"),
        (unanswering, "connect_timeout"),
        (plain.addr, "upstream_tls_failed"),
    ] {
        let (site, dir) = site();
        let timeouts = format!("{TRUST}\n[timeouts]\nconnect = \"200ms\"\n");
        let mut proxy = Proxy::start_in(dir, &config(&[&addr], &corp(), &timeouts));
        let config = client(&site.edge, None, rustls::ALL_VERSIONS);
        for said in [0, 10, 16_000] {
            let mut session = tls::session(&config, NAME, proxy.connect());
            while session.conn.is_handshaking() {
                session.conn.complete_io(&mut session.sock).unwrap();
            }
            session.write_all(&vec![b'x'; said]).unwrap();
            // Neither `close_notify`, which would be the end of an empty answer, nor a reset.
            let end = session.read(&mut [0; 1]).map_err(|error| error.kind());
            assert_eq!(
                end,
                Err(ErrorKind::UnexpectedEof),
                "{outcome}, after {said} bytes"
            );
            let line = proxy.next_access();
            assert_eq!(
                (&line["outcome"], &line["by"]),
                (&outcome.into(), &"server".into()),
                "{line}"
            );
        }
    }
}
