//! Listening sockets, and what a failed accept means.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::addr::{ClientAddr, ListenAddr, Zone, ZonedAddr};
use crate::net::Transport;
use crate::net::unix::{self, Access, SocketFile};
use crate::net::zone::locate;

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
    /// The interface of a link-local address, as it was asked for.
    zone: Option<Zone>,
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
        let (socket, file) = match addr {
            ListenAddr::Tcp(_) | ListenAddr::Zoned(_) | ListenAddr::DualStack(_) => {
                return BoundSocket::new(addr, false)?.listen();
            }
            ListenAddr::Unix(path) => {
                let (listener, file) = unix::listen(path, access)?;
                (Socket::Unix(tokio::net::UnixListener::from_std(listener)?), Some(file))
            }
            ListenAddr::Systemd(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { socket, inherited: false, file, zone: None })
    }

    /// A socket that somebody else has opened, and that outlives this one.
    pub(super) fn inherited(socket: socket2::Socket) -> io::Result<Self> {
        let socket = match socket.domain()? {
            Domain::UNIX => Socket::Unix(tokio::net::UnixListener::from_std(OwnedFd::from(socket).into())?),
            _ => tcp(socket.into())?,
        };
        Ok(Self { socket, inherited: true, file: None, zone: None })
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
                match (addr, interface(addr)) {
                    _ if dual => ListenAddr::DualStack(addr.port()),
                    (SocketAddr::V6(addr), Some(number)) => {
                        let zone = self.zone.clone().unwrap_or(Zone::Number(number));
                        ListenAddr::Zoned(Box::new(ZonedAddr { ip: *addr.ip(), zone, port: addr.port() }))
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

    /// What lets another socket of this process overlap with this one; nothing for sockets that cannot.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn overlap(&self) -> io::Result<Option<Overlap>> {
        match &self.socket {
            Socket::Tcp(tcp) if !self.inherited => Ok(Some(Overlap(tcp.as_fd().try_clone_to_owned()?))),
            _ => Ok(None),
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

    /// Closes the socket when everybody who is queued has been given to `serve`. One that cannot be accepted takes nobody
    /// with them, and while there are no descriptors left they wait, for ten seconds at most. Nobody is taken from a socket
    /// that somebody else has opened: who is queued stays for the next process.
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
            Socket::Tcp(tcp) => Queue::Tcp(tcp.into_std()?),
            Socket::Unix(unix) => Queue::Unix(unix.into_std()?),
        };
        drain(|| queue.next(), |(stream, addr)| serve(stream, addr)).await
    }
}

/// A listening socket that is not the runtime's any more.
enum Queue {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Queue {
    fn next(&self) -> io::Result<(Transport, ClientAddr)> {
        match self {
            Self::Tcp(tcp) => {
                let (stream, addr) = tcp.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Transport::Tcp(TcpStream::from_std(stream)?), addr.into()))
            }
            Self::Unix(unix) => {
                let (stream, _) = unix.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Transport::Unix(UnixStream::from_std(stream)?), ClientAddr::Unix))
            }
        }
    }
}

/// Hellos that do not come have been given up by then, and their descriptors are free.
const PERSISTENCE: Duration = Duration::from_secs(10);

/// Between two attempts without descriptors.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Gives all that `next` has to `serve`, until it would have to wait.
async fn drain<T>(mut next: impl FnMut() -> io::Result<T>, mut serve: impl FnMut(T)) -> io::Result<()> {
    let end = Instant::now() + PERSISTENCE;
    loop {
        match next() {
            Ok(connection) => serve(connection),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => match AcceptFailure::from(&error) {
                AcceptFailure::Connection => {}
                AcceptFailure::Resource if Instant::now() >= end => return Err(error),
                AcceptFailure::Resource => sleep(BACK_OFF).await,
            },
        }
        // Those who were served want their turn, too.
        yield_now().await;
    }
}

/// What lets another socket of this process listen where this one does. A second descriptor of it: drop it before the
/// socket is to be closed.
#[derive(Debug)]
pub struct Overlap(OwnedFd);

impl Overlap {
    /// Whether [`BoundSocket`]s may overlap with it. Those of other users may not in any case, nor those that do not ask
    /// for it; of those of the same user that do, the kernel may go on to let in some.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn allow(&self, allowed: bool) -> io::Result<()> {
        SockRef::from(&self.0).set_reuse_port(allowed)
    }
}

/// A TCP socket that has its address, and on which nobody can be queued yet.
#[derive(Debug)]
pub struct BoundSocket {
    socket: socket2::Socket,
    /// The interface of a link-local address.
    zone: Option<Zone>,
}

impl BoundSocket {
    /// Binds a socket. With `overlaps` it may overlap with those that [allow](Overlap::allow) it.
    ///
    /// # Errors
    ///
    /// Those of socket(2) and bind(2), and when `addr` is none of TCP.
    pub fn new(addr: &ListenAddr, overlaps: bool) -> io::Result<Self> {
        let (addr, only_v6, zone) = match addr {
            ListenAddr::Tcp(addr) => (*addr, true, None),
            ListenAddr::Zoned(addr) => (locate(addr)?, true, Some(addr.zone.clone())),
            ListenAddr::DualStack(port) => ((Ipv6Addr::UNSPECIFIED, *port).into(), false, None),
            ListenAddr::Unix(_) | ListenAddr::Systemd(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        bind_tcp(addr, only_v6, overlaps).map(|socket| Self { socket, zone })
    }

    /// Listens, in a runtime. From now on it lets nobody overlap with it.
    ///
    /// # Errors
    ///
    /// Those of listen(2).
    pub fn listen(self) -> io::Result<ListenSocket> {
        let Self { socket, zone } = self;
        socket.listen(BACKLOG)?;
        socket.set_reuse_port(false)?;
        Ok(ListenSocket { socket: tcp(socket.into())?, inherited: false, file: None, zone })
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
    let socket = bind_tcp(addr, only_v6, false)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_tcp(addr: SocketAddr, only_v6: bool, overlaps: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Otherwise connections in TIME_WAIT would keep a restarted process from its own port.
    socket.set_reuse_address(true)?;
    if overlaps {
        socket.set_reuse_port(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    defer_accept(&socket, DEFER)?;
    socket.bind(&addr.into())?;
    Ok(socket)
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

    #[tokio::test(start_paused = true)]
    async fn one_who_cannot_be_accepted_takes_nobody_with_them() {
        let error = |errno: Errno| Err(io::Error::from(errno));
        let wait = || error(Errno::WOULDBLOCK);
        let accept = async |script: Vec<io::Result<u8>>| {
            let (mut script, mut served) = (script.into_iter(), Vec::new());
            let ended = drain(|| script.next().unwrap_or_else(|| error(Errno::MFILE)), |one| served.push(one)).await;
            (served, ended.err().and_then(|error| error.raw_os_error()))
        };
        let gone =
            [Ok(1), error(Errno::CONNABORTED), Ok(2), error(Errno::MFILE), error(Errno::NFILE), Ok(3), wait(), Ok(4)];
        assert_eq!(accept(gone.into()).await, (vec![1, 2, 3], None), "until nobody is left");
        let begun = Instant::now();
        assert_eq!(accept(vec![Ok(1)]).await, (vec![1], Some(Errno::MFILE.raw_os_error())));
        assert!(begun.elapsed() >= PERSISTENCE);
    }

    #[tokio::test]
    async fn nobody_is_taken_from_a_socket_that_somebody_else_has_opened() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"hello").unwrap();
        let socket = ListenSocket::inherited(listener.try_clone().unwrap().into()).unwrap();
        socket.close(|_, _| panic!("it stays queued")).await.unwrap();
        listener.set_nonblocking(false).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }

    #[tokio::test]
    async fn sockets_of_one_process_overlap_where_both_want_to() {
        for is_dual in [false, true] {
            let narrow = ListenSocket::open(&"127.0.0.1:0".parse().unwrap(), Access::default()).unwrap();
            let port = narrow.addr().unwrap().port().unwrap();
            let wide = if is_dual { ListenAddr::DualStack(port) } else { ListenAddr::Tcp(([0, 0, 0, 0], port).into()) };
            let overlap = narrow.overlap().unwrap().unwrap();
            let error = |overlaps| BoundSocket::new(&wide, overlaps).err().and_then(|error| error.raw_os_error());
            let in_use = Some(Errno::ADDRINUSE.raw_os_error());
            assert_eq!([error(false), error(true)], [in_use; 2], "{wide}");
            overlap.allow(true).unwrap();
            assert_eq!(error(false), in_use, "{wide}: only one of them wants to");
            let socket = BoundSocket::new(&wide, true).unwrap().listen().unwrap();
            overlap.allow(false).unwrap();
            assert_eq!(socket.addr().unwrap(), wide);
            assert_eq!(error(false), in_use, "{wide}: others never do");
        }
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
