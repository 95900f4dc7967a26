//! The low-water mark of a sender that is faster than its receiver (`SO_RCVLOWAT`, socket(7)).
//!
//! In bulk the sender's bytes arrive while the receiver takes nothing, and each segment would wake the process, which can
//! do nothing with it. With the mark raised the kernel tells of no bytes before the socket is full, and of an end or an
//! abort as ever.

use std::ffi::c_int;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::net::sockopt;

/// Where the mark stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum LowWater {
    /// Every byte wakes.
    #[default]
    Low,
    /// Bytes do not wake before the socket is full.
    Raised,
}

impl LowWater {
    /// The receiver takes nothing, so that nothing is read from `from` for now.
    pub(super) fn raise(&mut self, from: &TcpStream) {
        if let Self::Low = self {
            // With more the kernel would enlarge the buffer (tcp_set_rcvlowat in net/ipv4/tcp.c).
            let half = SockRef::from(from).recv_buffer_size().unwrap_or_default() / 2;
            if set(from, half) {
                *self = Self::Raised;
            }
        }
    }

    /// Bytes from `from` are waited for, each of which counts. The kernel tells of those that are there.
    pub(super) fn lower(&mut self, from: &TcpStream) {
        if let Self::Raised = self {
            // The kernel takes every number.
            set(from, 1);
            *self = Self::Low;
        }
    }
}

fn set(socket: &TcpStream, bytes: usize) -> bool {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    sockopt::set(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes).is_ok()
}
