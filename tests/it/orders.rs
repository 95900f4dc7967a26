//! Every order in which the two sides of a connection can end it, in passthrough and terminated.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use snigate::pki::Validity;

use crate::support::backend::{Backend, Connections, read_exact};
use crate::support::hello::hello;
use crate::support::proxy::{Proxy, directory, passthrough};
use crate::support::socket::{abort, wait_until_acknowledged};
use crate::support::tls;

const NAME: &str = "a.example";

/// One side of a connection through the proxy.
enum End {
    Plain(TcpStream),
    Session(Box<StreamOwned<ClientConnection, TcpStream>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Ends the sending direction in order.
    Finish,
    /// The same, without a close_notify.
    Cut,
    /// Closes with a reset.
    Abort,
}

impl End {
    /// The end, unless it is gone after that.
    fn act(mut self, act: Act) -> Option<Self> {
        match (act, &mut self) {
            (Act::Abort, _) => {
                abort(self.into_tcp());
                return None;
            }
            (Act::Finish, Self::Session(session)) => {
                session.conn.send_close_notify();
                session.flush().unwrap();
            }
            (Act::Finish | Act::Cut, _) => {}
        }
        self.tcp().shutdown(Shutdown::Write).unwrap();
        Some(self)
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Session(session) => &session.sock,
        }
    }

    fn into_tcp(self) -> TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Session(session) => session.sock,
        }
    }

    fn stream(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Session(session) => &mut **session,
        }
    }

    /// Whether the other side has ended in order; false if the connection was cut off.
    fn sees_an_end(&mut self) -> bool {
        match self.stream().read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => panic!("a byte that nobody sent"),
            Err(error) if is_abrupt(&error) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Writes until that fails because the other side is not there any more.
    fn is_refused(&mut self) -> bool {
        loop {
            if let Err(error) = self.stream().write_all(&[0; 65536]) {
                return is_abrupt(&error);
            }
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn is_abrupt(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

fn tell(from: &mut End, to: &mut End, words: &[u8]) {
    from.stream().write_all(words).unwrap();
    from.stream().flush().unwrap();
    assert_eq!(read_exact(&mut to.stream(), words.len()), words);
    // An abort does not overtake what is still under way.
    wait_until_acknowledged(to.tcp());
}

/// A proxy in front of one server, and its clients: sessions if there is a configuration for them.
struct Route {
    proxy: Proxy,
    connections: Connections,
    client: Option<Arc<ClientConfig>>,
}

impl Route {
    fn passthrough() -> Self {
        let (backend, connections) = Backend::manual();
        Self {
            proxy: Proxy::start(&passthrough(NAME, backend.addr)),
            connections,
            client: None,
        }
    }

    fn terminate(version: &'static rustls::SupportedProtocolVersion) -> Self {
        let (backend, connections) = Backend::manual();
        let dir = directory();
        let authority = tls::authority(dir.path(), "servers");
        tls::write(
            dir.path(),
            "site",
            &authority.server(&[NAME], Validity::days(20)).unwrap(),
        );
        let config = format!(
            r#"
            [certificates.site]
            cert_file = "site.pem"
            key_file = "site-key.pem"
            [routes.app]
            sni = "{NAME}"
            action = "terminate"
            upstream = "{}"
            "#,
            backend.addr
        );
        let client = Some(tls::client(&authority, None, &[version]));
        Self {
            proxy: Proxy::start_in(dir, &config),
            connections,
            client,
        }
    }

    /// Both sides, of which each has heard from the other.
    fn meet(&self) -> (End, End) {
        let mut client = self.proxy.connect();
        let (mut client, mut server) = match &self.client {
            None => {
                let hello = hello(NAME);
                client.write_all(&hello).unwrap();
                let mut server = self.connections.next();
                assert_eq!(read_exact(&mut server, hello.len()), hello);
                (End::Plain(client), End::Plain(server))
            }
            Some(config) => {
                let mut session = tls::session(config, NAME, client);
                session.flush().unwrap();
                (
                    End::Session(Box::new(session)),
                    End::Plain(self.connections.next()),
                )
            }
        };
        tell(&mut client, &mut server, b"question");
        tell(&mut server, &mut client, b"answer");
        (client, server)
    }

    /// Ends one connection and checks what everybody sees. `client_first`: whether the client is
    /// the one that acts first.
    fn end(&mut self, client_first: bool, first: Act, then: Option<(bool, Act)>) {
        let row = format!(
            "{}, client first: {client_first}, {first:?}, {then:?}",
            self.client.is_some()
        );
        let (client, server) = self.meet();
        let (one, mut other) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        let one = one.act(first);
        assert_eq!(other.sees_an_end(), first != Act::Abort, "{row}");
        let by_first = match (one, then) {
            (None, _) => true,
            (Some(mut one), Some((true, Act::Abort))) => {
                tell(&mut other, &mut one, b"one more answer");
                assert!(one.act(Act::Abort).is_none());
                assert!(other.is_refused(), "{row}");
                true
            }
            (Some(mut one), Some((_, act))) => {
                tell(&mut other, &mut one, b"one more answer");
                let _still_open = other.act(act);
                assert_eq!(one.sees_an_end(), act != Act::Abort, "{row}");
                act != Act::Abort
            }
            (Some(_), None) => panic!("{row}: nobody ends it"),
        };
        let line = self.proxy.next_access();
        let reset = [Some(first), then.map(|(_, act)| act)].contains(&Some(Act::Abort));
        assert_eq!(
            line["outcome"],
            if reset { "reset" } else { "closed" },
            "{row}: {line}"
        );
        assert_eq!(
            line["by"],
            if client_first == by_first {
                "client"
            } else {
                "server"
            },
            "{row}: {line}"
        );
        let cut = [Some(first), then.map(|(_, act)| act)].contains(&Some(Act::Cut));
        assert_eq!(
            line["truncated"].as_bool(),
            cut.then_some(true),
            "{row}: {line}"
        );
    }
}

#[test]
fn however_a_connection_ends_both_sides_and_the_log_see_what_happened() {
    for mut route in [
        Route::passthrough(),
        Route::terminate(&TLS12),
        Route::terminate(&TLS13),
    ] {
        let sockets = route.proxy.descriptors_of("socket");
        // Only a session can be cut, and only its own side is one.
        let ways_of = |client: bool, route: &Route| match route.client.is_some() && client {
            true => vec![Act::Finish, Act::Cut],
            false => vec![Act::Finish],
        };
        for client_first in [true, false] {
            route.end(client_first, Act::Abort, None);
            for first in ways_of(client_first, &route) {
                route.end(client_first, first, Some((true, Act::Abort)));
                route.end(client_first, first, Some((false, Act::Abort)));
                for then in ways_of(!client_first, &route) {
                    route.end(client_first, first, Some((false, then)));
                }
            }
        }
        route.proxy.poll_until("all sockets closed", |proxy| {
            proxy.descriptors_of("socket") == sockets
        });
    }
}
