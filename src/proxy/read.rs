//! Reads of the first bytes of a connection, before a deadline.
//!
//! The bytes are taken off the socket and kept, not peeked at: what is incomplete then cannot wake
//! the task again, and every byte that came with it is there to be sent on.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::net::{Transport, with_scratch};
use crate::proxy::Error;

/// A parser of a connection's first bytes.
pub(super) trait Parser {
    /// The result of parsing.
    type Output;

    /// Takes more bytes: the output, once they are enough.
    fn feed(&mut self, bytes: &[u8]) -> Result<Option<Self::Output>, Error>;

    /// Whether no byte has come.
    fn is_empty(&self) -> bool;

    /// The error of a client that ends too early.
    fn incomplete(&self) -> Error;
}

/// Reads until `parser` has enough. `more` is told of the parser whenever it has got bytes and
/// needs more.
///
/// # Errors
///
/// The parser's; [`Error::Silent`] where nothing came before the end or the deadline,
/// [`Error::HelloTimeout`] where not enough did.
pub(super) async fn read<P: Parser>(
    parser: &mut P,
    stream: &mut Transport,
    deadline: Instant,
    mut more: impl FnMut(&P),
) -> Result<P::Output, Error> {
    if let Some(output) = arrived(parser, stream, &mut more)? {
        return Ok(output);
    }
    let rest = poll_fn(|cx| poll_rest(parser, stream, &mut more, cx));
    match timeout_at(deadline, rest).await {
        Ok(output) => output,
        Err(_) if parser.is_empty() => Err(Error::Silent),
        Err(_) => Err(Error::HelloTimeout),
    }
}

/// The output, if the bytes that are there already are enough. Most hellos have arrived when their
/// connection is accepted, and then neither a timer nor another wait is needed.
fn arrived<P: Parser>(
    parser: &mut P,
    stream: &Transport,
    more: &mut impl FnMut(&P),
) -> Result<Option<P::Output>, Error> {
    with_scratch(|scratch| match stream.read_now(scratch) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        read => feed(parser, read.map(|read| &scratch[..read]), more),
    })
}

fn poll_rest<P: Parser>(
    parser: &mut P,
    stream: &mut Transport,
    more: &mut impl FnMut(&P),
    cx: &mut Context<'_>,
) -> Poll<Result<P::Output, Error>> {
    loop {
        let fed = ready!(with_scratch(|scratch| {
            let mut scratch = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut scratch));
            Poll::Ready(feed(parser, read.map(|()| scratch.filled()), more))
        }));
        if let Some(output) = fed.transpose() {
            return Poll::Ready(output);
        }
    }
}

/// Gives the parser what was read: no bytes are the end.
fn feed<P: Parser>(
    parser: &mut P,
    read: io::Result<&[u8]>,
    more: &mut impl FnMut(&P),
) -> Result<Option<P::Output>, Error> {
    let fed = match read {
        Err(_) | Ok([]) if parser.is_empty() => Err(Error::Silent),
        Err(error) => Err(Error::HelloRead(error)),
        Ok([]) => Err(parser.incomplete()),
        Ok(bytes) => parser.feed(bytes),
    }?;
    if fed.is_none() {
        more(parser);
    }
    Ok(fed)
}
