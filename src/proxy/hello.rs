//! Reading a ClientHello before the deadline.
//!
//! The bytes are taken off the socket and kept, not peeked at: a partial hello then cannot wake the
//! task again, and every byte that came with the hello is there to be sent on.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::net::{Transport, with_scratch};
use crate::proxy::Error;
use crate::wire::proxy_header::is_recognisable;
use crate::wire::{ClientHello, HelloError, HelloParser, Preamble};

/// The first bytes of a hello that is not whole do not count: as many connections as may wait may
/// have these.
const FREE: usize = 4096;

/// Reads until there is a whole hello: it, and every byte that was read. `received` counts them all
/// the way, and `hold` is told of the memory that they take meanwhile, as far as it counts.
pub(super) async fn read(
    stream: &mut Transport,
    deadline: Instant,
    received: &mut u64,
    hold: impl Fn(usize),
) -> Result<(ClientHello, Vec<u8>), Error> {
    let mut parser = HelloParser::new();
    let hello = match arrived(stream, &mut parser, &hold) {
        Some(hello) => Some(hello),
        None => timeout_at(
            deadline,
            poll_fn(|cx| poll_hello(stream, &mut parser, &hold, cx)),
        )
        .await
        .ok(),
    };
    take(hello, parser, received)
}

/// The same behind a PROXY header, with which the bytes `behind` came. The header is no part of
/// what was read.
pub(super) async fn read_behind(
    behind: &[u8],
    stream: &mut Transport,
    deadline: Instant,
    received: &mut u64,
    hold: impl Fn(usize),
) -> Result<(ClientHello, Vec<u8>), Error> {
    let mut parser = HelloParser::new();
    let fed = if behind.is_empty() {
        Ok(None)
    } else {
        parser.feed(behind).map_err(Error::Hello)
    };
    let hello = match fed {
        Ok(None) => timeout_at(
            deadline,
            poll_fn(|cx| poll_hello(stream, &mut parser, &hold, cx)),
        )
        .await
        .ok(),
        Ok(Some(hello)) => Some(Ok(hello)),
        Err(error) => Some(Err(error)),
    };
    take(hello, parser, received)
}

/// What came of reading; nothing if it took too long.
fn take(
    hello: Option<Result<ClientHello, Error>>,
    parser: HelloParser,
    received: &mut u64,
) -> Result<(ClientHello, Vec<u8>), Error> {
    *received = parser.length() as u64;
    match hello {
        Some(Ok(hello)) => Ok((hello, parser.into_bytes())),
        Some(Err(Error::Hello(HelloError::NotTls))) if is_recognisable(parser.received()) => {
            Err(Error::UnexpectedProxyHeader)
        }
        Some(Err(Error::Hello(HelloError::NotTls))) => {
            Err(Error::OtherProtocol(Preamble::of(parser.received())))
        }
        Some(Err(error)) => Err(error),
        None if parser.length() == 0 => Err(Error::Silent),
        None => Err(Error::HelloTimeout),
    }
}

/// What came of the bytes that are there already; nothing if more are needed. Most hellos have
/// arrived when their connection is accepted, and then neither a timer nor another wait is needed.
fn arrived(
    stream: &Transport,
    parser: &mut HelloParser,
    hold: &impl Fn(usize),
) -> Option<Result<ClientHello, Error>> {
    let held = parser.size();
    let fed = with_scratch(|scratch| match stream.read_now(scratch) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        read => feed(parser, read.map(|read| &scratch[..read])),
    });
    settle(fed, parser, held, hold)
}

fn poll_hello(
    stream: &mut Transport,
    parser: &mut HelloParser,
    hold: &impl Fn(usize),
    cx: &mut Context<'_>,
) -> Poll<Result<ClientHello, Error>> {
    loop {
        let held = parser.size();
        let fed = ready!(with_scratch(|scratch| poll_feed(
            stream, parser, scratch, cx
        )));
        if let Some(hello) = settle(fed, parser, held, hold) {
            return Poll::Ready(hello);
        }
    }
}

/// What came of reading, unless more is needed; `hold` is told what the parser has come to hold for
/// it.
fn settle(
    fed: Result<Option<ClientHello>, Error>,
    parser: &HelloParser,
    held: usize,
    hold: &impl Fn(usize),
) -> Option<Result<ClientHello, Error>> {
    let fed = fed.transpose();
    if fed.is_none() && parser.size() > FREE && parser.size() != held {
        hold(parser.size());
    }
    fed
}

fn poll_feed(
    stream: &mut Transport,
    parser: &mut HelloParser,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<Result<Option<ClientHello>, Error>> {
    let mut scratch = ReadBuf::new(scratch);
    let read: io::Result<()> = ready!(Pin::new(stream).poll_read(cx, &mut scratch));
    Poll::Ready(feed(parser, read.map(|()| scratch.filled())))
}

/// Gives the parser what was read: no bytes are the end.
fn feed(parser: &mut HelloParser, read: io::Result<&[u8]>) -> Result<Option<ClientHello>, Error> {
    match read {
        Err(_) | Ok([]) if parser.length() == 0 => Err(Error::Silent),
        Err(error) => Err(Error::HelloRead(error)),
        Ok([]) => Err(Error::IncompleteHello),
        Ok(bytes) => parser.feed(bytes).map_err(Error::Hello),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::pin::pin;
    use std::task::Waker;
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
            let read = pin!(read(&mut stream, deadline, &mut received, |_| {}));
            read.poll(&mut Context::from_waker(Waker::noop()))
        };
        assert!(
            matches!(polled, Poll::Ready(Err(Error::OtherProtocol(_)))),
            "{polled:?}"
        );
        assert_eq!(received, 16);
    }
}
