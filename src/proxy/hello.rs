//! The ClientHello of a connection, read before its deadline.

use tokio::time::Instant;

use crate::net::Transport;
use crate::proxy::Error;
use crate::proxy::read::{self, Parser};
use crate::wire::proxy_header::is_recognisable;
use crate::wire::{ClientHello, HelloError, HelloParser, Preamble};

/// The first bytes of a hello that is not whole do not count: as many connections as may wait may
/// have these.
const FREE: usize = 4096;

impl Parser for HelloParser {
    type Output = ClientHello;

    fn feed(&mut self, bytes: &[u8]) -> Result<Option<ClientHello>, Error> {
        Self::feed(self, bytes).map_err(Error::Hello)
    }

    fn is_empty(&self) -> bool {
        self.length() == 0
    }

    fn incomplete(&self) -> Error {
        Error::IncompleteHello
    }
}

/// Reads until there is a whole hello: it, and every byte that was read. `behind` are bytes that
/// came behind a PROXY header. `received` counts them all the way, and `hold` is told of the memory
/// that they take meanwhile, as far as it counts.
pub(super) async fn read(
    behind: &[u8],
    stream: &mut Transport,
    deadline: Instant,
    received: &mut u64,
    hold: impl Fn(usize),
) -> Result<(ClientHello, Vec<u8>), Error> {
    let mut parser = HelloParser::new();
    let mut held = 0;
    let mut more = |parser: &HelloParser| {
        if parser.size() > FREE && parser.size() != held {
            held = parser.size();
            hold(held);
        }
    };
    let fed = if behind.is_empty() {
        Ok(None)
    } else {
        Parser::feed(&mut parser, behind)
    };
    if let Ok(None) = fed {
        more(&parser);
    }
    let hello = match fed {
        Ok(None) => read::read(&mut parser, stream, deadline, more).await,
        Ok(Some(hello)) => Ok(hello),
        Err(error) => Err(error),
    };
    *received = parser.length() as u64;
    match hello {
        Ok(hello) => Ok((hello, parser.into_bytes())),
        Err(Error::Hello(HelloError::NotTls)) if is_recognisable(parser.received()) => {
            Err(Error::UnexpectedProxyHeader)
        }
        Err(Error::Hello(HelloError::NotTls)) => {
            Err(Error::OtherProtocol(Preamble::of(parser.received())))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_has_arrived_with_its_connection_is_read_without_a_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let mut stream = Transport::Tcp(tokio::net::TcpStream::from_std(accepted).unwrap());
        let (mut received, deadline) = (0, Instant::now() + Duration::from_secs(5));
        // Polled once, the runtime has not heard of any bytes.
        let polled = {
            let read = pin!(read(&[], &mut stream, deadline, &mut received, |_| {}));
            read.poll(&mut Context::from_waker(Waker::noop()))
        };
        assert!(
            matches!(polled, Poll::Ready(Err(Error::OtherProtocol(_)))),
            "{polled:?}"
        );
        assert_eq!(received, 16);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_behind_a_proxy_header_is_held_like_what_comes_later() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let mut stream = Transport::Tcp(tokio::net::TcpStream::from_std(accepted).unwrap());
        // The first 9000 bytes of a hello of 16 KiB.
        let mut behind = vec![0; 9000];
        behind[..9].copy_from_slice(&[22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb]);
        behind[9..11].copy_from_slice(&[3, 3]);
        let (mut received, deadline) = (0, Instant::now() + Duration::from_secs(5));
        let held = std::sync::atomic::AtomicUsize::new(0);
        let hold = |bytes| held.store(bytes, std::sync::atomic::Ordering::Relaxed);
        let result = read(&behind, &mut stream, deadline, &mut received, hold).await;
        assert!(matches!(result, Err(Error::HelloTimeout)), "{result:?}");
        assert!(held.into_inner() >= 9000);
    }
}
