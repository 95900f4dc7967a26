//! Interface numbers, by name. An interface that is made again has another number under its name,
//! so the number is asked for each time that it is used.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};

use rustix::fd::AsFd;
use rustix::net::netdevice::{index_to_name, name_to_index};
use socket2::{Domain, Socket, Type};

use crate::addr::{Zone, ZonedAddr};

/// The socket address at this moment, with the number of the interface.
///
/// # Errors
///
/// `NotFound` when there is no such interface, with its name.
pub fn locate(ZonedAddr { ip, zone, port }: &ZonedAddr) -> io::Result<SocketAddr> {
    let number = match zone {
        Zone::Number(number) => number.get(),
        Zone::Name(name) => {
            name_to_index(any_socket()?.as_fd(), name).map_err(|_| no_interface(zone))?
        }
    };
    Ok(SocketAddrV6::new(*ip, *port, 0, number).into())
}

/// The name that an interface has at this moment.
///
/// # Errors
///
/// `NotFound` when there is no such interface.
pub(super) fn name_of(zone: &Zone) -> io::Result<String> {
    match zone {
        Zone::Name(name) => Ok(name.to_string()),
        Zone::Number(number) => {
            index_to_name(any_socket()?.as_fd(), number.get()).map_err(|_| no_interface(zone))
        }
    }
}

/// The kernel answers for any of them.
fn any_socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV6, Type::DGRAM, None)
}

fn no_interface(zone: &Zone) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("there is no network interface {zone}"),
    )
}
