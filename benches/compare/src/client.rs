//! One client's connection: through passthrough with a hello that nobody answers in TLS, or through
//! mutual TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::pki::{self, Identity};
use crate::protocol::{ANSWER, Command, answer, wrong};

/// The name that every client asks for, unless there are many.
pub(crate) const NAME: &str = "app.bench.example.net";

/// One of many names. All have the same length.
pub(crate) fn numbered(number: u32) -> String {
    format!("{number:06}.routes.bench.example.net")
}

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection that was answered once.
pub(crate) type Stream = Box<dyn Duplex>;

/// Makes connections of one kind.
pub(crate) struct Client {
    to: SocketAddr,
    kind: Kind,
    /// The handshakes that resumed nothing.
    full: AtomicUsize,
}

enum Kind {
    Passthrough(Hello),
    Tls(TlsConnector, ServerName<'static>),
}

/// A hello, in which the name can be replaced.
struct Hello {
    bytes: Vec<u8>,
    /// Where the number of a numbered name stands.
    number_at: Option<usize>,
}

impl Client {
    /// A client of TLS with certificates of this directory, or one without TLS but its hello; it
    /// asks for one of `names` names.
    pub(crate) fn new(
        to: SocketAddr,
        tls: Option<(&Path, Identity)>,
        names: u32,
    ) -> anyhow::Result<Self> {
        let kind = match tls {
            Some((pki, identity)) => Kind::Tls(
                TlsConnector::from(pki::client(pki, identity)?),
                ServerName::try_from(NAME)?,
            ),
            None => Kind::Passthrough(Hello::new(names)?),
        };
        Ok(Self {
            to,
            kind,
            full: AtomicUsize::new(0),
        })
    }

    /// How many handshakes resumed nothing since this was asked last.
    pub(crate) fn full_handshakes(&self) -> usize {
        self.full.swap(0, Ordering::Relaxed)
    }

    /// Connects, and gets the backend's first answer. `number` is the number of the name.
    pub(crate) async fn open(&self, number: u32) -> io::Result<Stream> {
        let mut stream = self.connect().await?;
        match &self.kind {
            Kind::Passthrough(hello) => {
                let hello = hello.numbered(number);
                stream.write_all(&hello).await?;
                expect_answer(&mut stream, &hello).await?;
                Ok(Box::new(stream))
            }
            Kind::Tls(connector, name) => {
                // A buffer below TLS, so that it takes no more than a system call for several
                // records.
                let stream = BufReader::with_capacity(64 * 1024, stream);
                let mut stream = connector.connect(name.clone(), stream).await?;
                stream.write_all(&Command::Answer.encode()).await?;
                stream.flush().await?;
                expect_answer(&mut stream, &[]).await?;
                if stream.get_ref().1.handshake_kind() != Some(HandshakeKind::Resumed) {
                    self.full.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Box::new(stream))
            }
        }
    }

    /// Opens connections until one is answered, for at most this long: the proxy may have just been
    /// started.
    pub(crate) async fn open_soon(&self, patience: Duration) -> anyhow::Result<Stream> {
        let end = Instant::now() + patience;
        loop {
            let attempt = tokio::time::timeout(Duration::from_secs(3), self.open(0)).await;
            match attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > end => {
                    return Err(error).context("no connection is answered");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Connects and sends half of a hello.
    pub(crate) async fn open_half(&self) -> io::Result<Stream> {
        let mut stream = self.connect().await?;
        let Kind::Passthrough(hello) = &self.kind else {
            return Err(wrong("only for passthrough"));
        };
        stream
            .write_all(&hello.bytes[..hello.bytes.len() / 2])
            .await?;
        Ok(Box::new(stream))
    }

    /// Connects from this address and sends half of a hello.
    pub(crate) async fn open_half_from(&self, source: IpAddr) -> io::Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let mut stream = socket.connect(self.to).await?;
        let Kind::Passthrough(hello) = &self.kind else {
            return Err(wrong("only for passthrough"));
        };
        stream
            .write_all(&hello.bytes[..hello.bytes.len() / 2])
            .await?;
        Ok(Box::new(stream))
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Hello {
    fn new(names: u32) -> anyhow::Result<Self> {
        if names <= 1 {
            return Ok(Self {
                bytes: pki::hello(NAME)?,
                number_at: None,
            });
        }
        let name = numbered(0);
        let bytes = pki::hello(&name)?;
        let number_at = bytes
            .windows(name.len())
            .position(|window| window == name.as_bytes());
        Ok(Self {
            bytes,
            number_at: Some(number_at.context("the hello has the name")?),
        })
    }

    fn numbered(&self, number: u32) -> std::borrow::Cow<'_, [u8]> {
        let Some(at) = self.number_at else {
            return self.bytes.as_slice().into();
        };
        let mut bytes = self.bytes.clone();
        bytes[at..at + 6].copy_from_slice(format!("{number:06}").as_bytes());
        bytes.into()
    }
}

/// Ends the sending direction, and waits for the other side's end.
pub(crate) async fn finish(mut stream: Stream) -> io::Result<()> {
    stream.shutdown().await?;
    match stream.read(&mut [0; 64]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(wrong("there is more than the answer")),
        // Not every proxy ends TLS with a close_notify; nothing is missing, for everything was
        // counted.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    }
}

async fn expect_answer(stream: &mut (impl AsyncRead + Unpin), hello: &[u8]) -> io::Result<()> {
    let mut received = [0; ANSWER];
    stream.read_exact(&mut received).await?;
    if received != answer(hello) {
        return Err(wrong(
            "the answer is wrong, or the hello did not arrive as it was sent",
        ));
    }
    Ok(())
}
