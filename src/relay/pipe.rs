//! Pipes that carry bytes from one TCP socket to another inside the kernel, and the pool that keeps
//! the empty ones.
//!
//! A pipe that still holds bytes never goes back to the pool: the next connection would receive
//! them.

use std::cell::RefCell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use rustix::process::{Resource, getrlimit};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A pipe and the number of bytes inside.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    /// Whether the receiver of what is inside had ended its own stream when it was last looked at.
    receiver_ended: bool,
}

impl Pipe {
    /// Opens a pipe, or none where the process has enough of them or the kernel gives no pipe worth
    /// having.
    pub(super) fn open() -> Option<Self> {
        let room = OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < limit()).then_some(open + 1)
        });
        room.ok()?;
        let Ok((read, write)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        let pipe = Self {
            read,
            write,
            held: 0,
            receiver_ended: false,
        };
        // An unprivileged user may have as many pages in pipes as pipe(7) allows: past that this
        // fails and the pipe keeps its first size, which is the usual 64 KiB or, further past, two
        // pages.
        let _ = fcntl_setpipe_size(&pipe.write, CAPACITY);
        fcntl_getpipe_size(&pipe.write)
            .is_ok_and(|size| size >= LEAST)
            .then_some(pipe)
    }

    /// Moves what `from` has received into this empty pipe: the number of bytes. 0 means that
    /// reading has to tell what is the matter: the stream has ended, or it stands at an urgent
    /// byte, which splice(2) cannot pass.
    ///
    /// Only an empty pipe is filled, because splice(2) says EAGAIN for a full pipe as well as for a
    /// drained socket, and taking the first for the second would clear a readiness that the kernel
    /// never reports again.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0, "a pipe is filled only when it is empty");
        loop {
            ready!(from.poll_read_ready(cx))?;
            let fill = || match pass(from, &self.write, CAPACITY) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && has_input(from) => Ok(0),
                filled => filled,
            };
            match from.try_io(Interest::READABLE, fill) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                filled => {
                    let filled = filled?;
                    self.held = filled;
                    self.receiver_ended = false;
                    return Poll::Ready(Ok(filled));
                }
            }
        }
    }

    /// Moves what the pipe holds into `to`: the number of bytes, which may be fewer than it holds.
    ///
    /// The error is `BrokenPipe` where `to` has ended its own stream before it was aborted, as for
    /// write(2).
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            self.look(to)?;
            match to.try_io(Interest::WRITABLE, || pass(&self.read, to, self.held)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                drained => {
                    let drained = drained?;
                    self.held -= drained;
                    return Poll::Ready(Ok(drained));
                }
            }
        }
    }

    /// Looks how `to` stands, before each splice(2) into it: that hands 16 buffers at a time to the
    /// socket, and of an error which it meets behind the first 16 it says nothing, and takes it off
    /// the socket (`splice_to_socket` in fs/splice.c). What is left to say is EPIPE, as if there
    /// had been an end before.
    ///
    /// An end and an abort that both arrive within one call are taken for an abort.
    fn look(&mut self, to: &TcpStream) -> io::Result<()> {
        let mut polled = [PollFd::new(to, PollFlags::RDHUP)];
        retry_on_intr(|| poll(&mut polled, Some(&Timespec::default())))?;
        let stands = !polled[0].revents().contains(PollFlags::HUP);
        if stands {
            self.receiver_ended = polled[0].revents().contains(PollFlags::RDHUP);
            return Ok(());
        }
        Err(match to.take_error()? {
            Some(error) => error,
            None if self.receiver_ended => io::ErrorKind::BrokenPipe.into(),
            None => io::ErrorKind::ConnectionReset.into(),
        })
    }

    /// Takes everything back out, for a socket that cannot be spliced into.
    pub(super) fn take_back(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.held);
        while self.held > 0 {
            let read = retry_on_intr(|| {
                rustix::io::read(&self.read, rustix::buffer::spare_capacity(&mut bytes))
            })?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.held -= read;
        }
        Ok(bytes)
    }

    /// How many bytes are inside.
    pub(super) fn held(&self) -> usize {
        self.held
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A pipe on loan from the thread's pool; dropped, it goes back there if it is empty and is closed
/// if it is not.
#[derive(Debug)]
pub(super) struct BorrowedPipe(Option<Pipe>);

impl BorrowedPipe {
    /// Takes a pooled pipe or a new one, if there is any to be had.
    pub(super) fn take() -> Option<Self> {
        let pooled = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
        Some(Self(Some(pooled.or_else(Pipe::open)?)))
    }
}

impl Deref for BorrowedPipe {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        self.0
            .as_ref()
            .expect("a lease has its pipe until it is dropped")
    }
}

impl DerefMut for BorrowedPipe {
    fn deref_mut(&mut self) -> &mut Pipe {
        self.0
            .as_mut()
            .expect("a lease has its pipe until it is dropped")
    }
}

impl Drop for BorrowedPipe {
    fn drop(&mut self) {
        let Some(pipe) = self.0.take().filter(|pipe| pipe.held == 0) else {
            return;
        };
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED {
                pool.push(pipe);
            }
        });
    }
}

/// Whether `error` means that these descriptors cannot be spliced at all, rather than that a peer
/// is in trouble.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::PERM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// One splice(2). Never with `SPLICE_F_MORE`, which would hold back the last segment of a burst.
fn pass(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, len: usize) -> io::Result<usize> {
    Ok(retry_on_intr(|| {
        splice(&from, None, &to, None, len, SpliceFlags::NONBLOCK)
    })?)
}

/// Whether there is something to read.
fn has_input(socket: &TcpStream) -> bool {
    recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|(read, _)| read > 0)
}

/// How many pipes the process may have open: they are two descriptors each, and must not starve the
/// connections.
fn limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        usize::try_from(descriptors / DESCRIPTORS_PER_PIPE)
            .unwrap_or(MOST)
            .min(MOST)
    })
}

/// The size that a pipe is grown to, and the most that one call moves, so that a reader that stops
/// leaves no more than this behind.
const CAPACITY: usize = 256 * 1024;

/// A pipe below the kernel's usual size has few slots, and every segment takes one: copying is
/// cheaper then.
const LEAST: usize = 64 * 1024;

/// Empty pipes that a thread keeps: it fills and drains one at a time, the others come from readers
/// that were slow.
const POOLED: usize = 8;

/// Slow readers of bulk flows hold a full pipe each, so this bounds the kernel's memory: 256 MiB.
const MOST: usize = 1024;

/// One eighth of the descriptors may belong to pipes.
const DESCRIPTORS_PER_PIPE: u64 = 16;

/// The pipes that are open, pooled or in use.
static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::ErrorKind;
    use std::os::fd::AsRawFd;

    use tokio::io::{AsyncWriteExt, Interest};
    use tokio::net::{TcpListener, TcpStream};

    use super::{BorrowedPipe, POOL, POOLED, Pipe};

    fn pooled() -> usize {
        POOL.with_borrow(Vec::len)
    }

    async fn receiver_of(bytes: &[u8]) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        sender.write_all(bytes).await.unwrap();
        listener.accept().await.unwrap().0
    }

    #[tokio::test]
    async fn empty_pipe_is_pooled_and_taken_again() {
        let lease = BorrowedPipe::take().unwrap();
        let descriptor = lease.read.as_raw_fd();
        drop(lease);
        assert_eq!(pooled(), 1);
        assert_eq!(BorrowedPipe::take().unwrap().read.as_raw_fd(), descriptor);
    }

    #[tokio::test]
    async fn pipe_with_bytes_inside_is_never_pooled() {
        let receiver = receiver_of(b"of another connection").await;
        let mut lease = BorrowedPipe::take().unwrap();
        assert_eq!(
            poll_fn(|cx| lease.poll_fill(cx, &receiver)).await.unwrap(),
            21
        );
        drop(lease);
        assert_eq!(pooled(), 0);
    }

    #[test]
    fn pool_is_bounded() {
        drop(Vec::from_iter(
            (0..POOLED + 3).map(|_| BorrowedPipe::take().unwrap()),
        ));
        assert_eq!(pooled(), POOLED);
    }

    /// A pipe that holds something, the socket that is to take it, and that socket's peer.
    async fn pipe_and_its_receiver() -> (Pipe, TcpStream, TcpStream) {
        let sender = receiver_of(b"question").await;
        let mut pipe = Pipe::open().unwrap();
        poll_fn(|cx| pipe.poll_fill(cx, &sender)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (pipe, listener.accept().await.unwrap().0, peer)
    }

    fn abort(stream: TcpStream) {
        stream.set_zero_linger().unwrap();
        drop(stream);
    }

    #[tokio::test]
    async fn an_abort_that_a_call_took_off_the_socket_is_no_end() {
        for (ends, left) in [(false, false), (true, false), (false, true), (true, true)] {
            let (mut pipe, to, mut peer) = pipe_and_its_receiver().await;
            if ends {
                peer.shutdown().await.unwrap();
                to.ready(Interest::READABLE).await.unwrap();
            }
            pipe.look(&to).unwrap();
            abort(peer);
            to.ready(Interest::ERROR).await.unwrap();
            if !left {
                // What splice(2) does with an error behind the first buffers.
                to.take_error().unwrap().unwrap();
            }
            let refused = poll_fn(|cx| pipe.poll_drain(cx, &to))
                .await
                .unwrap_err()
                .kind();
            let expected = if ends {
                ErrorKind::BrokenPipe
            } else {
                ErrorKind::ConnectionReset
            };
            assert_eq!(refused, expected, "ends: {ends}, left: {left}");
        }
    }

    #[tokio::test]
    async fn an_end_that_is_first_seen_with_the_abort_is_still_one_where_the_socket_says_so() {
        let (mut pipe, to, mut peer) = pipe_and_its_receiver().await;
        peer.shutdown().await.unwrap();
        abort(peer);
        to.ready(Interest::ERROR).await.unwrap();
        let refused = poll_fn(|cx| pipe.poll_drain(cx, &to)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn bytes_can_be_taken_back_out() {
        let receiver = receiver_of(b"question").await;
        let mut pipe = Pipe::open().unwrap();
        poll_fn(|cx| pipe.poll_fill(cx, &receiver)).await.unwrap();
        assert_eq!(pipe.take_back().unwrap(), b"question");
        assert_eq!(pipe.held(), 0);
    }
}
