//! Reading a PROXY header before the hello, and before the hello's deadline.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::addr::{ClientAddr, Sender};
use crate::net::{Transport, with_scratch};
use crate::proxy::Error;
use crate::wire::proxy_header::{Parsed, ProxyHeader, parse};

/// Whether a connection from this address must begin with a header.
pub(super) fn is_due(proxies: &[Sender], peer: ClientAddr) -> bool {
    proxies.iter().any(|sender| sender.is(peer))
}

/// Reads until there is a whole header: it, and the bytes that came behind it.
pub(super) async fn read(
    stream: &mut Transport,
    deadline: Instant,
) -> Result<(ProxyHeader, Vec<u8>), Error> {
    let mut received = Vec::new();
    match timeout_at(
        deadline,
        poll_fn(|cx| poll_header(stream, &mut received, cx)),
    )
    .await
    {
        Ok(header) => Ok((header?, received)),
        Err(_) if received.is_empty() => Err(Error::Silent),
        Err(_) => Err(Error::HelloTimeout),
    }
}

/// Leaves in `received` what came behind the header.
fn poll_header(
    stream: &mut Transport,
    received: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<Result<ProxyHeader, Error>> {
    loop {
        let silent = received.is_empty();
        let read = ready!(with_scratch(|scratch| {
            let mut scratch = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut scratch));
            received.extend_from_slice(scratch.filled());
            Poll::Ready(read.map(|()| scratch.filled().is_empty()))
        }));
        match read {
            Err(_) | Ok(true) if silent => return Poll::Ready(Err(Error::Silent)),
            Err(error) => return Poll::Ready(Err(Error::HelloRead(error))),
            Ok(true) => return Poll::Ready(Err(Error::IncompleteProxyHeader)),
            Ok(false) => {}
        }
        match parse(received) {
            Parsed::Incomplete => {}
            Parsed::Complete { header, consumed } => {
                received.drain(..consumed);
                return Poll::Ready(Ok(header));
            }
            Parsed::NotProxy => return Poll::Ready(Err(Error::NoProxyHeader)),
            Parsed::Malformed(error) => return Poll::Ready(Err(Error::ProxyHeader(error))),
        }
    }
}
