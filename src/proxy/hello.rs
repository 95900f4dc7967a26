//! Reading a ClientHello before the deadline.
//!
//! The bytes are taken off the socket and kept, not peeked at: a partial hello then cannot wake the task again, and
//! every byte that came with the hello is there to be sent on.

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

/// The first bytes of a hello that is not whole do not count: as many connections as may wait may have these.
const FREE: usize = 4096;

/// Reads until there is a whole hello: it, and every byte that was read. `received` counts them all the way, and `hold` is told
/// of the memory that they take meanwhile, as far as it counts.
pub(super) async fn read(
    stream: &mut Transport,
    deadline: Instant,
    received: &mut u64,
    hold: impl Fn(usize),
) -> Result<(ClientHello, Vec<u8>), Error> {
    let mut parser = HelloParser::new();
    let hello = timeout_at(deadline, poll_fn(|cx| poll_hello(stream, &mut parser, &hold, cx))).await;
    take(hello.ok(), parser, received)
}

/// The same behind a PROXY header, with which the bytes `behind` came. The header is no part of what was read.
pub(super) async fn read_behind(
    behind: &[u8],
    stream: &mut Transport,
    deadline: Instant,
    received: &mut u64,
    hold: impl Fn(usize),
) -> Result<(ClientHello, Vec<u8>), Error> {
    let mut parser = HelloParser::new();
    let fed = if behind.is_empty() { Ok(None) } else { parser.feed(behind).map_err(Error::Hello) };
    let hello = match fed {
        Ok(None) => timeout_at(deadline, poll_fn(|cx| poll_hello(stream, &mut parser, &hold, cx))).await.ok(),
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
        Some(Err(Error::Hello(HelloError::NotTls))) => Err(Error::OtherProtocol(Preamble::of(parser.received()))),
        Some(Err(error)) => Err(error),
        None if parser.length() == 0 => Err(Error::Silent),
        None => Err(Error::HelloTimeout),
    }
}

fn poll_hello(
    stream: &mut Transport,
    parser: &mut HelloParser,
    hold: &impl Fn(usize),
    cx: &mut Context<'_>,
) -> Poll<Result<ClientHello, Error>> {
    loop {
        let held = parser.size();
        let fed = ready!(with_scratch(|scratch| poll_feed(stream, parser, scratch, cx)));
        match fed {
            Ok(Some(hello)) => return Poll::Ready(Ok(hello)),
            Ok(None) if parser.size() > FREE && parser.size() != held => hold(parser.size()),
            Ok(None) => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

fn poll_feed(
    stream: &mut Transport,
    parser: &mut HelloParser,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<Result<Option<ClientHello>, Error>> {
    let mut scratch = ReadBuf::new(scratch);
    let read: io::Result<()> = ready!(Pin::new(stream).poll_read(cx, &mut scratch));
    Poll::Ready(match read {
        Err(_) | Ok(()) if scratch.filled().is_empty() && parser.length() == 0 => Err(Error::Silent),
        Err(error) => Err(Error::HelloRead(error)),
        Ok(()) if scratch.filled().is_empty() => Err(Error::IncompleteHello),
        Ok(()) => parser.feed(scratch.filled()).map_err(Error::Hello),
    })
}
