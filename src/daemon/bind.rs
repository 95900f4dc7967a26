//! Failures to open a listening socket, and what to do about each.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use thiserror::Error;

use crate::addr::ListenAddr;
use crate::net::{InheritedError, listens_on};
use crate::os::words;

/// A listening socket could not be opened.
#[derive(Debug, Error)]
#[error(
    "listeners.{listener}: cannot listen on {addr}: {}{advice}",
    words(error)
)]
pub struct BindError {
    /// The listener.
    pub listener: Arc<str>,
    /// The address.
    pub addr: ListenAddr,
    /// Why.
    #[source]
    pub error: io::Error,
    /// A remedy.
    advice: String,
    /// Whether it helps to name the process that has the address.
    is_taken: bool,
}

impl BindError {
    /// `own` says that snigate itself listens on this port, on another address.
    pub(super) fn new(listener: &Arc<str>, addr: &ListenAddr, error: io::Error, own: bool) -> Self {
        let is_taken = error.kind() == io::ErrorKind::AddrInUse && !own;
        let advice = advice(addr, &error, own);
        Self {
            listener: Arc::clone(listener),
            addr: addr.clone(),
            error,
            advice,
            is_taken,
        }
    }

    /// The same, with the process that has the address. It looks at every process of the machine,
    /// so no connection should wait for it.
    pub(super) fn explained(self) -> Self {
        let advice = if self.is_taken {
            in_use(&self.addr)
        } else {
            self.advice
        };
        Self { advice, ..self }
    }

    pub(super) fn inherited(listener: &Arc<str>, addr: &ListenAddr, error: InheritedError) -> Self {
        let error = match error {
            InheritedError::System(error) => error,
            error => io::Error::new(io::ErrorKind::NotFound, error),
        };
        Self {
            listener: Arc::clone(listener),
            addr: addr.clone(),
            error,
            advice: String::new(),
            is_taken: false,
        }
    }
}

/// The lowest port that needs no privilege where the sysctl is as it comes.
const UNPRIVILEGED: u16 = 1024;

fn advice(addr: &ListenAddr, error: &io::Error, own: bool) -> String {
    match (error.kind(), addr) {
        (io::ErrorKind::AddrInUse, _) if own => {
            "; snigate itself still listens on this port: remove that address first, or restart".to_owned()
        }
        (io::ErrorKind::AddrInUse, _) => "; another program listens there".to_owned(),
        (io::ErrorKind::PermissionDenied, _) if addr.port().is_some_and(|port| port < UNPRIVILEGED) => {
            "; below port 1024 a program needs a permission: AmbientCapabilities=CAP_NET_BIND_SERVICE in its systemd unit \
             (or `setcap cap_net_bind_service=+ep` on its file), or a lower sysctl net.ipv4.ip_unprivileged_port_start, \
             or a socket unit that opens the port for it (bind = \"systemd:NAME\")"
                .to_owned()
        }
        (io::ErrorKind::AddrNotAvailable, _) => {
            let family = if addr.ips().any(|ip| ip.is_ipv6()) { "ipv6" } else { "ipv4" };
            format!(
                "; no network interface has this address. If one gets it later, sysctl net.{family}.ip_nonlocal_bind=1 \
                 lets programs listen on it before"
            )
        }
        (io::ErrorKind::PermissionDenied, ListenAddr::Unix(_)) => {
            "; the user of the process must be able to write to the directory, and to give the file away only root or a \
             member of the group can"
                .to_owned()
        }
        (io::ErrorKind::NotFound, ListenAddr::Unix(_)) => {
            "; the directory must be there: RuntimeDirectory= in a systemd unit makes one below /run".to_owned()
        }
        (io::ErrorKind::AlreadyExists, ListenAddr::Unix(_)) => "; remove it, or choose another path".to_owned(),
        _ if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
            "; this machine, or the unit's RestrictAddressFamilies=, has no such sockets".to_owned()
        }
        _ => String::new(),
    }
}

fn in_use(addr: &ListenAddr) -> String {
    let Some(who) = listens_on(addr) else {
        let filter = addr.port().map_or_else(
            || "-lxp".to_owned(),
            |port| format!("-ltnp 'sport = :{port}'"),
        );
        return format!(
            "; another program listens there, and `ss {filter}`, as root, says which one"
        );
    };
    if who.ends_with(&format!("(pid {})", std::process::id())) {
        return "; that is snigate itself, which closes what a reload has removed within two seconds, and tries again"
            .to_owned();
    }
    format!("; another program listens there: {who}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(addr: &str, errno: Errno) -> String {
        BindError::new(&"edge".into(), &addr.parse().unwrap(), errno.into(), false)
            .explained()
            .to_string()
    }

    #[test]
    fn a_socket_that_snigate_has_not_closed_yet_is_no_other_programs() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let message = message(&taken.local_addr().unwrap().to_string(), Errno::ADDRINUSE);
        assert!(message.contains("; that is snigate itself"), "{message}");
    }

    #[test]
    fn an_error_says_what_to_do() {
        for (addr, errno, expected) in [
            (
                "0.0.0.0:443",
                Errno::ACCESS,
                &[
                    "CAP_NET_BIND_SERVICE",
                    "ip_unprivileged_port_start",
                    "systemd:NAME",
                ][..],
            ),
            (
                "192.0.2.1:443",
                Errno::ADDRNOTAVAIL,
                &["net.ipv4.ip_nonlocal_bind"],
            ),
            (
                "[2001:db8::1]:443",
                Errno::ADDRNOTAVAIL,
                &["net.ipv6.ip_nonlocal_bind"],
            ),
            (
                "127.0.0.1:1",
                Errno::ADDRINUSE,
                &["the address is in use", "ss -ltnp 'sport = :1'"],
            ),
            ("unix:/nowhere/s", Errno::NOENT, &["RuntimeDirectory="]),
            ("unix:/nowhere/s", Errno::ACCESS, &["directory"]),
            (
                "[::]:443",
                Errno::AFNOSUPPORT,
                &["RestrictAddressFamilies="],
            ),
        ] {
            let message = message(addr, errno);
            assert!(
                message.starts_with(&format!("listeners.edge: cannot listen on {addr}: ")),
                "{message}"
            );
            assert!(!message.contains("os error"), "{message}");
            for words in expected {
                assert!(message.contains(words), "no {words:?} in: {message}");
            }
        }
        assert!(!message("0.0.0.0:8443", Errno::ACCESS).contains("1024"));
    }
}
