//! A server whose address has gone to somebody else, while DNS says for ten minutes more that it is
//! there.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use snigate::pki::Validity;

use super::{INSIDE, TRUST, assert_no_session, config, copy, corp, site};
use crate::support::backend::Backend;
use crate::support::dns::{A, Dns};
use crate::support::proxy::Proxy;
use crate::support::tls::server;

/// Listeners at 127.0.0.1 and 127.0.0.2 with the same port.
fn two() -> [TcpListener; 2] {
    loop {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(other) = TcpListener::bind((
            Ipv4Addr::new(127, 0, 0, 2),
            one.local_addr().unwrap().port(),
        )) {
            return [one, other];
        }
    }
}

/// Answers every question with the question.
fn echo_on(listener: TcpListener, config: ServerConfig) -> Backend {
    let config = Arc::new(config);
    Backend::serve_on(listener, move |stream| {
        let mut session =
            StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        let mut bytes = Vec::new();
        if std::io::Read::read_to_end(&mut session, &mut bytes).is_ok() {
            let _ = std::io::Write::write_all(&mut session, &bytes);
            session.conn.send_close_notify();
            let _ = std::io::Write::flush(&mut session);
        }
    })
}

#[test]
fn a_server_whose_address_is_somebody_elses_now_is_found_by_the_connection_that_meets_them() {
    let (site, dir) = site();
    let stranger = site
        .corp
        .server(&["other.internal"], Validity::days(20))
        .unwrap();
    for speaks_tls in [true, false] {
        let [one, other] = two();
        let port = one.local_addr().unwrap().port();
        let somebody_else = if speaks_tls {
            echo_on(one, server(&stranger))
        } else {
            Backend::greet_on(one, b"220 ESMTP\r\n")
        };
        let right = echo_on(other, server(&site.inside()));
        let dns = Dns::start();
        dns.set(INSIDE, 600, &["127.0.0.1"]);
        let servers = format!("{INSIDE}:{port}");
        let config = config(&[&servers], &corp(), &format!("{TRUST}{}", dns.table()));
        let mut proxy = Proxy::start_in(copy(&dir), &config);
        dns.wait_until_asked(INSIDE, A);
        // The answer of that time may be on its way still; the clients of this upstream wait for
        // it.
        let before = site.ask(&proxy, b"the question");
        assert!(
            before.is_err() && somebody_else.accepted() > 0,
            "nobody has moved yet"
        );
        assert_no_session(
            &mut proxy,
            if speaks_tls {
                "it is for other.internal"
            } else {
                "does not speak TLS"
            },
        );
        // Within the second in which nobody asks again, and at the latest when that is over.
        dns.set(INSIDE, 600, &["127.0.0.2"]);
        proxy.poll_until("it is found", |proxy| {
            site.ask(proxy, b"the question")
                .is_ok_and(|answer| answer == b"the question")
        });
        let (met, asked) = (somebody_else.accepted(), dns.asked_for(INSIDE, A));
        assert_eq!(site.ask(&proxy, b"the question").unwrap(), b"the question");
        assert_eq!(
            (somebody_else.accepted(), dns.asked_for(INSIDE, A)),
            (met, asked),
            "the new answer holds"
        );
        assert!(right.accepted() >= 2);
    }
}
