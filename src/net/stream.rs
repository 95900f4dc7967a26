//! Byte streams to clients and servers: one type, so that no signature is generic over a transport.
//!
//! The relay looks inside: two TCP sockets can be spliced, a TLS session cannot.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::net::Transport;

/// An open byte stream to a client or to a server.
#[derive(Debug)]
pub enum Stream {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
    /// A TLS session, with a client or with a server. Boxed: it is a kilobyte that connections in
    /// passthrough must not carry.
    Tls(Box<dyn TlsSession>),
}

/// An established TLS session over a socket, as far as others than `tls` have to do with it.
///
/// Its end of sending is a `close_notify` and a FIN.
pub trait TlsSession: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {
    /// The socket below it.
    fn transport(&self) -> &Transport;

    /// Whether it has records that the socket has yet to take.
    fn has_unsent_records(&self) -> bool;

    /// Gives up the session: the socket below it. Nothing more is written, and what the session
    /// has yet to send is lost.
    fn into_transport(self: Box<Self>) -> Transport;
}

impl Stream {
    /// Whether the bytes go through a session of TLS, which keeps some of them and has an end of
    /// its own.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The TCP connection, below TLS if there is any; nothing where that is a unix socket.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Tls(tls) => match tls.transport() {
                Transport::Tcp(tcp) => Some(tcp),
                Transport::Unix(_) => None,
            },
            Self::Unix(_) => None,
        }
    }

    /// Gives up the session of TLS: the socket below it. Nothing for a stream without TLS.
    #[must_use]
    pub fn into_transport_below_tls(self) -> Option<Transport> {
        match self {
            Self::Tls(tls) => Some(tls.into_transport()),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }
}

impl From<Transport> for Stream {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp(tcp) => Self::Tcp(tcp),
            Transport::Unix(unix) => Self::Unix(unix),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Ends the sending direction: FIN, after a `close_notify` where the stream is TLS.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
