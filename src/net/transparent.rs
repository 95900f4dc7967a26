//! Connections to a server from an address that is not this machine's: the client's.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::net::sockopt;

/// Binds a socket that is about to be connected to `server` to the address `source`, whoever has
/// it, and to a port that the kernel chooses when the socket is connected.
///
/// # Errors
///
/// When the two are of different families, or without one of the capabilities `CAP_NET_RAW` and
/// `CAP_NET_ADMIN`.
pub(super) fn bind(socket: &Socket, source: SocketAddr, server: SocketAddr) -> io::Result<()> {
    if source.is_ipv4() != server.is_ipv4() {
        let family = |addr: SocketAddr| if addr.is_ipv4() { "IPv4" } else { "IPv6" };
        let message = format!(
            "the client's address is {} and that of the server is {}: with `transparent = true` they must be of one family",
            family(source),
            family(server)
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    set_transparent(socket, source.is_ipv4())?;
    // Otherwise bind(2) would reserve a port, of which an address has few, for all servers at once
    // (ip(7)). Sockets for IPv6 take it, too.
    sockopt::set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    socket.bind(&SocketAddr::new(source.ip(), 0).into())
}

fn set_transparent(socket: &Socket, is_v4: bool) -> io::Result<()> {
    if is_v4 {
        socket.set_ip_transparent_v4(true)
    } else {
        socket.set_ip_transparent_v6(true)
    }
}

/// Whether the kernel lets this process connect from addresses that are not its own.
///
/// # Errors
///
/// Those of setsockopt(2): `PermissionDenied` without `CAP_NET_ADMIN` or `CAP_NET_RAW`.
pub fn probe_transparent() -> io::Result<()> {
    for (domain, is_v4) in [(Domain::IPV4, true), (Domain::IPV6, false)] {
        match Socket::new(domain, Type::STREAM, Some(Protocol::TCP)) {
            Ok(socket) => set_transparent(&socket, is_v4)?,
            // A machine without IPv6 has no clients with it.
            Err(_) if !is_v4 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
