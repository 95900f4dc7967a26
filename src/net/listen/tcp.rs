//! Listening TCP sockets that are asked for the length of their queue, so that no accept has to
//! find out that it is empty.

use std::ffi::c_int;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;

/// A listening socket of the runtime.
///
/// An accept that finds no connection costs as much as one that finds one, since the kernel makes
/// the new socket first. The length of the queue costs a sixth of that.
#[derive(Debug)]
pub(super) struct TcpAcceptor {
    socket: AsyncFd<TcpListener>,
    /// How many are queued for certain, or more: who was asked for, and is not accepted yet.
    queued: AtomicU32,
}

impl TcpAcceptor {
    /// Registers a non-blocking socket with the runtime.
    #[expect(
        unsafe_code,
        reason = "no safe call registers a socket from which this may accept by itself"
    )]
    pub(super) fn new(socket: TcpListener) -> io::Result<Self> {
        // SAFETY: the descriptor is the listener's own, and it is neither closed nor another before
        // the listener is dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self {
            socket,
            queued: AtomicU32::new(0),
        })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    pub(super) fn into_std(self) -> TcpListener {
        self.socket.into_inner()
    }

    /// Waits for a connection. Cancel safe: none is lost.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            // However many are queued, others have their turn.
            consume_budget().await;
            let queued = self.queued.load(Ordering::Relaxed);
            if queued == 0 {
                let mut ready = self.socket.readable().await?;
                self.queued
                    .store(self.look().unwrap_or(UNKNOWN), Ordering::Relaxed);
                // A connection that came after the look is another event, which this does not
                // clear.
                ready.clear_ready();
                continue;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match retry_on_intr(|| acceptfrom_with(&self.socket, flags)) {
                Ok((socket, addr)) => {
                    self.queued.store(queued - 1, Ordering::Relaxed);
                    let addr = addr.ok_or(Errno::AFNOSUPPORT)?.try_into()?;
                    return Ok((TcpStream::from_std(socket.into())?, addr));
                }
                Err(Errno::AGAIN) => self.queued.store(0, Ordering::Relaxed),
                // They are still queued, and no event tells of them again.
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How many are queued; nothing where the kernel does not tell. To a kernel that only looks
    /// like Linux, nobody may be a way not to tell.
    #[expect(unsafe_code, reason = "no safe call asks for the length of the queue")]
    fn look(&self) -> Option<u32> {
        let mut info = [0_u32; UNACKED + 1];
        let mut length = size_of_val(&info) as libc::socklen_t;
        // SAFETY: TCP_INFO writes at most `length` bytes (tcp(7)), and is given a pointer to as
        // many.
        let got: c_int = unsafe {
            let (info, length) = ((&raw mut info).cast(), &raw mut length);
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info,
                length,
            )
        };
        (got == 0 && info[UNACKED] > 0).then_some(info[UNACKED])
    }
}

impl AsFd for TcpAcceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpAcceptor {
    fn as_raw_fd(&self) -> c_int {
        self.socket.as_raw_fd()
    }
}

/// The place of `tcpi_unacked` in `struct tcp_info` (`linux/tcp.h`), in units of 32 bits. Of a
/// socket that listens it is the length of the queue.
const UNACKED: usize = 6;

/// As many as there may be: all are accepted until there is none.
const UNKNOWN: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Client;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::net::listen_tcp;

    fn listener() -> (TcpAcceptor, SocketAddr) {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), true).unwrap();
        super::super::bind::defer_accept(&listener, 0).unwrap();
        let addr = listener.local_addr().unwrap();
        (TcpAcceptor::new(listener).unwrap(), addr)
    }

    async fn accept(tcp: &TcpAcceptor) -> SocketAddr {
        timeout(Duration::from_secs(10), tcp.accept())
            .await
            .expect("somebody is queued")
            .unwrap()
            .1
    }

    #[tokio::test]
    async fn the_kernel_tells_how_many_are_queued() {
        let (tcp, addr) = listener();
        assert_eq!(tcp.look(), None, "nobody is");
        let _clients: Vec<_> = (0..3).map(|_| Client::connect(addr).unwrap()).collect();
        assert_eq!(tcp.look(), Some(3));
    }

    #[tokio::test]
    async fn everybody_is_accepted_whenever_they_come() {
        let (tcp, addr) = listener();
        let connect = || Client::connect(addr).unwrap();
        for round in 0..20 {
            let clients: Vec<_> = (0..=round % 4).map(|_| connect()).collect();
            assert_eq!(accept(&tcp).await, clients[0].local_addr().unwrap());
            // One who comes while the others are known to be queued.
            let late = connect();
            for client in clients[1..].iter().chain([&late]) {
                assert_eq!(accept(&tcp).await, client.local_addr().unwrap());
            }
        }
        assert!(
            timeout(Duration::from_millis(20), tcp.accept())
                .await
                .is_err(),
            "nobody is left"
        );
    }

    #[tokio::test]
    async fn somebody_who_is_told_of_and_has_gone_is_waited_for_no_longer() {
        let (tcp, addr) = listener();
        tcp.queued.store(UNKNOWN, Ordering::Relaxed);
        assert!(
            timeout(Duration::from_millis(20), tcp.accept())
                .await
                .is_err(),
            "nobody is queued"
        );
        let client = Client::connect(addr).unwrap();
        assert_eq!(accept(&tcp).await, client.local_addr().unwrap());
    }
}
