//! Sockets that are bound, with the options that connections inherit, and which of them may
//! overlap.

use std::ffi::c_int;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, Protocol, SockRef, Type};

use crate::addr::{ListenAddr, Zone};
use crate::net::listen::tcp::TcpAcceptor;
use crate::net::listen::{ListenSocket, Socket};
use crate::net::proc_tcp;
use crate::net::sockopt;
use crate::net::zone::locate;

/// Connections that the kernel completes while none is accepted. The kernel cuts it to
/// `net.core.somaxconn`.
pub(in crate::net) const BACKLOG: i32 = 4096;

/// How long the kernel keeps a connection to itself on which nothing has been sent, in seconds: the
/// shortest time there is.
const DEFER: c_int = 1;

/// A grant for another socket of this process to listen where this one does. A second descriptor of
/// it: drop it before the socket is to be closed.
#[derive(Debug)]
pub struct SharedSocket(pub(super) OwnedFd);

impl SharedSocket {
    /// Whether [`BoundSocket`]s may overlap with it. Those of other users may not in any case, nor
    /// those that do not ask for it; of those of the same user that do, the kernel may go on to let
    /// in some.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn allow(&self, allowed: bool) -> io::Result<()> {
        SockRef::from(&self.0).set_reuse_port(allowed)
    }
}

/// A TCP socket that has its address, and has no queue yet.
#[derive(Debug)]
pub struct BoundSocket {
    socket: socket2::Socket,
    /// The interface of a link-local address.
    zone: Option<Zone>,
}

impl BoundSocket {
    /// Binds a socket. With `overlaps` it may overlap with those that [allow](SharedSocket::allow)
    /// it.
    ///
    /// # Errors
    ///
    /// Those of socket(2) and bind(2), and when `addr` is none of TCP.
    pub fn new(addr: &ListenAddr, overlaps: bool) -> io::Result<Self> {
        let (addr, only_v6, zone) = match addr {
            ListenAddr::Tcp(addr) => (*addr, true, None),
            ListenAddr::Zoned(addr) => (locate(addr)?, true, Some(addr.zone.clone())),
            ListenAddr::DualStack(port) => ((Ipv6Addr::UNSPECIFIED, *port).into(), false, None),
            ListenAddr::Unix(_) | ListenAddr::Systemd(_) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        bind_tcp(addr, only_v6, overlaps).map(|socket| Self { socket, zone })
    }

    /// Listens, in a runtime. From now on no other socket may overlap with it.
    ///
    /// # Errors
    ///
    /// Those of listen(2).
    pub fn listen(self) -> io::Result<ListenSocket> {
        let Self { socket, zone } = self;
        socket.listen(BACKLOG)?;
        socket.set_reuse_port(false)?;
        Ok(ListenSocket {
            socket: Socket::Tcp(TcpAcceptor::new(socket.into())?),
            inherited: false,
            file: None,
            zone,
        })
    }
}

/// Opens a listening socket for TCP, ready for the runtime (non-blocking).
///
/// Accepted connections inherit `TCP_NODELAY` (tcp(7)), which saves a system call for each. Clients
/// of TLS speak first, so most connections arrive with their first bytes, which saves a wait for
/// each; one on which nothing is sent arrives after a second. An IPv6 socket that is `only_v6`
/// takes IPv6 only, so that `0.0.0.0:443` and `[::]:443` can stand side by side.
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
    let socket = socket2::Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
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

/// Has the kernel keep connections back on which nothing has been sent, for about so many seconds
/// (tcp(7)).
pub(super) fn defer_accept(socket: &impl AsRawFd, seconds: c_int) -> io::Result<()> {
    sockopt::set(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)
}

/// Whether the kernel keeps connections to this port which are not ready to be accepted: their
/// handshake is not complete, or nothing has been sent on them. Reads `/proc/net`; where that is
/// not to be had there are none.
#[must_use]
pub fn has_unready(port: u16) -> bool {
    !proc_tcp::inodes(port, proc_tcp::SYN_RECV).is_empty()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use rustix::io::Errno;

    use super::*;
    use crate::net::Access;

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

    #[tokio::test]
    async fn sockets_of_one_process_overlap_where_both_want_to() {
        for is_dual in [false, true] {
            let narrow =
                ListenSocket::open(&"127.0.0.1:0".parse().unwrap(), Access::default()).unwrap();
            let port = narrow.addr().unwrap().port().unwrap();
            let wide = if is_dual {
                ListenAddr::DualStack(port)
            } else {
                ListenAddr::Tcp(([0, 0, 0, 0], port).into())
            };
            let overlap = narrow.overlap().unwrap().unwrap();
            let error = |overlaps| {
                BoundSocket::new(&wide, overlaps)
                    .err()
                    .and_then(|error| error.raw_os_error())
            };
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
}
