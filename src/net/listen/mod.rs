//! Listening sockets, and failures of accept(2).

mod bind;
mod failure;
mod queue;
mod tcp;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockRef};

use crate::addr::{ClientAddr, ListenAddr, Zone, ZonedAddr};
use crate::net::Transport;
use crate::net::listen::bind::defer_accept;
use crate::net::listen::queue::{AcceptQueue, drain};
use crate::net::listen::tcp::TcpAcceptor;
use crate::net::unix::{self, Access, SocketFile};

pub(super) use bind::BACKLOG;
pub use bind::{BoundSocket, SharedSocket, has_unready, listen_tcp};
pub use failure::AcceptFailure;

/// When the kernel has handed on every connection that it kept when
/// [`ListenSocket::stop_deferring`] was called.
pub const DEFERRED: Duration = Duration::from_millis(1200);

/// A listening socket of the runtime.
#[derive(Debug)]
pub struct ListenSocket {
    socket: Socket,
    /// Another process may accept from it later: what is not taken stays in it.
    inherited: bool,
    file: Option<SocketFile>,
    /// The interface of a link-local address, as it was asked for.
    zone: Option<Zone>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpAcceptor),
    Unix(tokio::net::UnixListener),
}

impl ListenSocket {
    /// Opens a socket at `addr`, in a runtime. `access` is who may connect if it is a unix socket.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and listen(2), and of what a unix socket's file takes. Sockets
    /// of systemd's cannot be opened, see [`Inherited`](crate::net::Inherited).
    pub fn open(addr: &ListenAddr, access: Access) -> io::Result<Self> {
        let (socket, file) = match addr {
            ListenAddr::Tcp(_) | ListenAddr::Zoned(_) | ListenAddr::DualStack(_) => {
                return BoundSocket::new(addr, false)?.listen();
            }
            ListenAddr::Unix(path) => {
                let (listener, file) = unix::listen(path, access)?;
                (
                    Socket::Unix(tokio::net::UnixListener::from_std(listener)?),
                    Some(file),
                )
            }
            ListenAddr::Systemd(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self {
            socket,
            inherited: false,
            file,
            zone: None,
        })
    }

    /// A socket that another process has opened, and that outlives this one.
    pub(super) fn inherited(socket: socket2::Socket) -> io::Result<Self> {
        let socket = match socket.domain()? {
            Domain::UNIX => Socket::Unix(tokio::net::UnixListener::from_std(
                OwnedFd::from(socket).into(),
            )?),
            _ => Socket::Tcp(TcpAcceptor::new(socket.into())?),
        };
        Ok(Self {
            socket,
            inherited: true,
            file: None,
            zone: None,
        })
    }

    /// The address on which it listens, with the port that the kernel chose where 0 was asked for.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn addr(&self) -> io::Result<ListenAddr> {
        Ok(match &self.socket {
            Socket::Tcp(tcp) => {
                let addr = tcp.local_addr()?;
                let dual = addr.is_ipv6()
                    && addr.ip().is_unspecified()
                    && !SockRef::from(tcp).only_v6()?;
                match (addr, interface(addr)) {
                    _ if dual => ListenAddr::DualStack(addr.port()),
                    (SocketAddr::V6(addr), Some(number)) => {
                        let zone = self.zone.clone().unwrap_or(Zone::Number(number));
                        ListenAddr::Zoned(Box::new(ZonedAddr {
                            ip: *addr.ip(),
                            zone,
                            port: addr.port(),
                        }))
                    }
                    _ => ListenAddr::Tcp(addr),
                }
            }
            Socket::Unix(unix) => {
                let addr = SockRef::from(unix).local_addr()?;
                ListenAddr::Unix(match addr.as_abstract_namespace() {
                    Some(name) => format!("@{}", String::from_utf8_lossy(name)).into(),
                    None => addr.as_pathname().map_or_else(PathBuf::new, Path::to_owned),
                })
            }
        })
    }

    /// The number of the interface that it is bound to, which is that of a link-local address.
    #[must_use]
    pub fn interface(&self) -> Option<NonZeroU32> {
        match &self.socket {
            Socket::Tcp(tcp) => tcp.local_addr().ok().and_then(interface),
            Socket::Unix(_) => None,
        }
    }

    /// Gives away the file of a unix socket, which this process has made.
    pub fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }

    /// Waits for a connection. Cancel safe: none is lost.
    ///
    /// # Errors
    ///
    /// Those of accept(2), see [`AcceptFailure`].
    pub async fn accept(&self) -> io::Result<(Transport, ClientAddr)> {
        match &self.socket {
            Socket::Tcp(tcp) => {
                let (stream, addr) = tcp.accept().await?;
                Ok((Transport::Tcp(stream), addr.into()))
            }
            Socket::Unix(unix) => {
                let (stream, _) = unix.accept().await?;
                Ok((Transport::Unix(stream), ClientAddr::Unix))
            }
        }
    }

    /// A grant for another socket of this process to overlap with this one; `None` for sockets that
    /// cannot.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn overlap(&self) -> io::Result<Option<SharedSocket>> {
        match &self.socket {
            Socket::Tcp(tcp) if !self.inherited => {
                Ok(Some(SharedSocket(tcp.as_fd().try_clone_to_owned()?)))
            }
            _ => Ok(None),
        }
    }

    /// The port of a socket whose connections the kernel keeps to itself until they have sent
    /// something.
    #[must_use]
    pub fn deferring_port(&self) -> Option<u16> {
        match &self.socket {
            Socket::Tcp(tcp) if !self.inherited => tcp.local_addr().ok().map(|addr| addr.port()),
            _ => None,
        }
    }

    /// From now on connections arrive as soon as they are made. Those that the kernel keeps already
    /// arrive with their first bytes, or when their second is over.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn stop_deferring(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(tcp) => defer_accept(tcp, 0),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// Closes the socket when every queued connection has been given to `serve`. One that cannot be
    /// accepted takes no other with it, and while there are no descriptors left they wait, for ten
    /// seconds at most. Nothing is taken from a socket that another process has opened: its queue
    /// stays for the next process.
    ///
    /// # Errors
    ///
    /// When there were no descriptors for so long; the others are reset.
    pub async fn close(self, mut serve: impl FnMut(Transport, ClientAddr)) -> io::Result<()> {
        if self.inherited {
            return Ok(());
        }
        // The runtime hears of a connection later than the kernel has it, so the kernel is asked.
        let queue = match self.socket {
            Socket::Tcp(tcp) => AcceptQueue::Tcp(tcp.into_std()),
            Socket::Unix(unix) => AcceptQueue::Unix(unix.into_std()?),
        };
        drain(|| queue.next(), |(stream, addr)| serve(stream, addr)).await
    }
}

/// The number of the interface that an address has with it.
#[must_use]
pub fn interface(addr: SocketAddr) -> Option<NonZeroU32> {
    match addr {
        SocketAddr::V6(addr) => NonZeroU32::new(addr.scope_id()),
        SocketAddr::V4(_) => None,
    }
}

/// Raises the soft limit of open files to the hard one, and returns it. Nothing means unlimited.
///
/// # Errors
///
/// When the kernel refuses; the old limit stands then.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(limit.maximum)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use socket2::{SockAddr, Type};

    use super::*;

    #[tokio::test]
    async fn an_inherited_unix_socket_without_a_file_is_called_by_its_name() {
        let name = format!("snigate-test-{}", std::process::id());
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        socket
            .bind(&SockAddr::unix(format!("\0{name}")).unwrap())
            .unwrap();
        socket.listen(1).unwrap();
        let socket = ListenSocket::inherited(socket).unwrap();
        assert_eq!(socket.addr().unwrap().to_string(), format!("unix:@{name}"));
    }

    #[tokio::test]
    async fn nobody_is_taken_from_a_socket_that_somebody_else_has_opened() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"hello").unwrap();
        let socket = ListenSocket::inherited(listener.try_clone().unwrap().into()).unwrap();
        socket
            .close(|_, _| panic!("it stays queued"))
            .await
            .unwrap();
        listener.set_nonblocking(false).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }
}
