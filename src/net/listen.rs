//! Listening sockets, and what a failed accept means.

use std::io;
use std::net::TcpListener;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::addr::ListenAddr;

/// Connections that the kernel completes while nobody accepts. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Opens a listening socket, ready for the runtime (non-blocking).
///
/// Accepted connections inherit `TCP_NODELAY` (tcp(7)), which saves a system call for each. An IPv6 socket takes IPv6
/// only, so that `0.0.0.0:443` and `[::]:443` can stand side by side.
///
/// # Errors
///
/// Those of socket(2), bind(2) and listen(2).
pub fn listen(addr: ListenAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr.0), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if addr.0.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Otherwise connections in TIME_WAIT would keep a restarted process from its own port.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.0.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

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
    use super::*;

    #[test]
    fn ipv4_and_ipv6_listen_on_the_same_port() {
        let v6 = match listen(ListenAddr("[::]:0".parse().unwrap())) {
            Ok(v6) => v6,
            Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => return,
            Err(error) => panic!("{error}"),
        };
        let port = v6.local_addr().unwrap().port();
        listen(ListenAddr(([0, 0, 0, 0], port).into())).unwrap();
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
