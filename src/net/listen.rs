//! Listening sockets, and what a failed accept means.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::{TcpStream, UnixStream};

use crate::addr::{ClientAddr, ListenAddr};
use crate::net::Transport;
use crate::net::unix::{self, Access, SocketFile};

/// Connections that the kernel completes while nobody accepts. The kernel cuts it to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// How long the kernel keeps a connection to itself on which nothing has been sent, in seconds: the shortest time there is.
const DEFER: c_int = 1;

/// When the kernel has handed on every connection that it kept when [`ListenSocket::stop_deferring`] was called.
pub const DEFERRED: Duration = Duration::from_millis(1200);

/// A listening socket of the runtime.
#[derive(Debug)]
pub struct ListenSocket {
    socket: Socket,
    /// Another process may accept from it later: what nobody takes stays in it.
    inherited: bool,
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl ListenSocket {
    /// Opens a socket at `addr`, in a runtime. `access` is who may connect if it is a unix socket.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and listen(2), and of what a unix socket's file takes. Sockets of systemd's cannot be
    /// opened, see [`Inherited`](crate::net::Inherited).
    pub fn open(addr: &ListenAddr, access: Access) -> io::Result<Self> {
        let every = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let (socket, file) = match addr {
            ListenAddr::Tcp(addr) => (tcp(listen_tcp(*addr, true)?)?, None),
            ListenAddr::DualStack(port) => (tcp(listen_tcp(every(*port), false)?)?, None),
            ListenAddr::Unix(path) => {
                let (listener, file) = unix::listen(path, access)?;
                (Socket::Unix(tokio::net::UnixListener::from_std(listener)?), Some(file))
            }
            ListenAddr::Systemd(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { socket, inherited: false, file })
    }

    /// A socket that somebody else has opened, and that outlives this one.
    pub(super) fn inherited(socket: socket2::Socket) -> io::Result<Self> {
        let socket = match socket.domain()? {
            Domain::UNIX => Socket::Unix(tokio::net::UnixListener::from_std(OwnedFd::from(socket).into())?),
            _ => tcp(socket.into())?,
        };
        Ok(Self { socket, inherited: true, file: None })
    }

    /// Where it listens, with the port that the kernel chose where 0 was asked for.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn addr(&self) -> io::Result<ListenAddr> {
        Ok(match &self.socket {
            Socket::Tcp(tcp) => {
                let addr = tcp.local_addr()?;
                let dual = addr.is_ipv6() && addr.ip().is_unspecified() && !SockRef::from(tcp).only_v6()?;
                if dual { ListenAddr::DualStack(addr.port()) } else { ListenAddr::Tcp(addr) }
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

    /// The port of a socket whose connections the kernel keeps to itself until they have sent something.
    #[must_use]
    pub fn deferring_port(&self) -> Option<u16> {
        match &self.socket {
            Socket::Tcp(tcp) if !self.inherited => tcp.local_addr().ok().map(|addr| addr.port()),
            _ => None,
        }
    }

    /// From now on connections arrive as soon as they are made. Those that the kernel keeps already arrive with their
    /// first bytes, or when their second is over.
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

    /// Closes the socket when everybody who is queued has been given to `serve`.
    ///
    /// # Errors
    ///
    /// When one of them cannot be given to it.
    pub fn close(self, mut serve: impl FnMut(Transport, ClientAddr)) -> io::Result<()> {
        match self.socket {
            Socket::Tcp(tcp) => {
                let tcp = tcp.into_std()?;
                while let Ok((stream, addr)) = tcp.accept() {
                    stream.set_nonblocking(true)?;
                    serve(Transport::Tcp(TcpStream::from_std(stream)?), addr.into());
                }
            }
            Socket::Unix(unix) => {
                let unix = unix.into_std()?;
                while let Ok((stream, _)) = unix.accept() {
                    stream.set_nonblocking(true)?;
                    serve(Transport::Unix(UnixStream::from_std(stream)?), ClientAddr::Unix);
                }
            }
        }
        Ok(())
    }
}

fn tcp(listener: TcpListener) -> io::Result<Socket> {
    tokio::net::TcpListener::from_std(listener).map(Socket::Tcp)
}

/// Opens a listening socket for TCP, ready for the runtime (non-blocking).
///
/// Accepted connections inherit `TCP_NODELAY` (tcp(7)), which saves a system call for each. Clients of TLS speak first,
/// so most connections arrive with their first bytes, which saves a wait for each; one on which nothing is sent arrives
/// after a second. An IPv6 socket that is `only_v6` takes IPv6 only, so that `0.0.0.0:443` and `[::]:443` can stand side
/// by side.
///
/// # Errors
///
/// Those of socket(2), bind(2) and listen(2).
pub fn listen_tcp(addr: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Otherwise connections in TIME_WAIT would keep a restarted process from its own port.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    defer_accept(&socket, DEFER)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[expect(unsafe_code, reason = "no safe call sets this option")]
fn defer_accept(socket: &impl AsRawFd, seconds: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: TCP_DEFER_ACCEPT reads one int (tcp(7)), and is given a pointer to one and its length.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            length,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel keeps connections to this port which are not ready to be accepted: their handshake is not complete,
/// or nothing has been sent on them. Reads `/proc/net`; where that is not to be had there are none.
#[must_use]
pub fn has_unready(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|path| {
        let Ok(table) = fs::read_to_string(path) else { return false };
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = fields.next().and_then(|local| local.rsplit_once(':'));
            let is_ours = local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port));
            is_ours && fields.nth(1) == Some(SYN_RECV)
        })
    })
}

/// In the table of the kernel (`include/net/tcp_states.h`).
const SYN_RECV: &str = "03";

/// What a failed accept(2) is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFailure {
    /// The one connection that was to be accepted. The next may be fine at once.
    Connection,
    /// The process or the machine: no descriptors, no memory. It passes when connections end, so wait a little.
    Resource,
}

impl From<&io::Error> for AcceptFailure {
    fn from(error: &io::Error) -> Self {
        // accept(2) reports errors that are already pending on the new connection.
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::PERM,
            ) => Self::Connection,
            _ => Self::Resource,
        }
    }
}

/// Raises the soft limit of open files to the hard one, and returns it. Nothing means unlimited.
///
/// # Errors
///
/// When the kernel refuses; the old limit stands then.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use socket2::SockAddr;

    use super::*;

    #[test]
    fn ipv4_and_ipv6_listen_on_the_same_port() {
        let v6 = match listen_tcp("[::]:0".parse().unwrap(), true) {
            Ok(v6) => v6,
            Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => return,
            Err(error) => panic!("{error}"),
        };
        let port = v6.local_addr().unwrap().port();
        listen_tcp(([0, 0, 0, 0], port).into(), true).unwrap();
    }

    #[tokio::test]
    async fn an_inherited_unix_socket_without_a_file_is_called_by_its_name() {
        let name = format!("snigate-test-{}", std::process::id());
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        socket.bind(&SockAddr::unix(format!("\0{name}")).unwrap()).unwrap();
        socket.listen(1).unwrap();
        let socket = ListenSocket::inherited(socket).unwrap();
        assert_eq!(socket.addr().unwrap().to_string(), format!("unix:@{name}"));
    }

    #[test]
    fn a_connection_arrives_with_its_first_bytes_or_after_a_moment() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"hello").unwrap();
        listener.set_nonblocking(false).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        assert_eq!(listener.accept().unwrap().1, silent.local_addr().unwrap());
    }

    #[test]
    fn running_out_of_descriptors_is_not_the_connections_fault() {
        for (errno, expected) in [
            (Errno::MFILE, AcceptFailure::Resource),
            (Errno::NFILE, AcceptFailure::Resource),
            (Errno::NOBUFS, AcceptFailure::Resource),
            (Errno::NOMEM, AcceptFailure::Resource),
            (Errno::CONNABORTED, AcceptFailure::Connection),
            (Errno::PROTO, AcceptFailure::Connection),
        ] {
            assert_eq!(AcceptFailure::from(&io::Error::from(errno)), expected, "{errno:?}");
        }
    }
}
