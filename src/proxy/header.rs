//! The PROXY header of a connection, read before the hello and before the hello's deadline.

use tokio::time::Instant;

use crate::addr::{ClientAddr, Sender};
use crate::net::Transport;
use crate::proxy::Error;
use crate::proxy::read::{self, Parser};
use crate::wire::proxy_header::{Parsed, ProxyHeader, parse};

/// The bytes of a header so far, and in the end those that came behind it.
#[derive(Default)]
struct HeaderParser(Vec<u8>);

impl Parser for HeaderParser {
    type Output = ProxyHeader;

    fn feed(&mut self, bytes: &[u8]) -> Result<Option<ProxyHeader>, Error> {
        self.0.extend_from_slice(bytes);
        match parse(&self.0) {
            Parsed::Incomplete => Ok(None),
            Parsed::Complete { header, consumed } => {
                self.0.drain(..consumed);
                Ok(Some(header))
            }
            Parsed::NotProxy => Err(Error::NoProxyHeader),
            Parsed::Malformed(error) => Err(Error::ProxyHeader(error)),
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn incomplete(&self) -> Error {
        Error::IncompleteProxyHeader
    }
}

/// Whether a connection from this address must begin with a header.
pub(super) fn is_due(proxies: &[Sender], peer: ClientAddr) -> bool {
    proxies.iter().any(|sender| sender.is(peer))
}

/// Reads until there is a whole header: it, and the bytes that came behind it.
pub(super) async fn read(
    stream: &mut Transport,
    deadline: Instant,
) -> Result<(ProxyHeader, Vec<u8>), Error> {
    let mut parser = HeaderParser::default();
    let header = read::read(&mut parser, stream, deadline, |_| {}).await?;
    Ok((header, parser.0))
}
