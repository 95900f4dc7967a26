//! Socket state at the end of a connection: queues, errors, aborts.

use std::ffi::c_int;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::ioctl::{Getter, Opcode, ioctl};
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};

use crate::net::{Stream, with_scratch};

/// Makes the close of `stream` an abort that its peer cannot take for a clean end. Unix sockets
/// know no abort.
pub fn abort(stream: &Stream) {
    if let Some(tcp) = stream.tcp() {
        // It fails only on a socket that the peer has aborted already.
        let _ = tcp.set_zero_linger();
    }
}

/// Sends a FIN, and no `close_notify` before it.
pub(super) fn finish(stream: &Stream) {
    // It fails only on a socket that the peer has aborted already.
    let _ = match stream {
        Stream::Tcp(tcp) => SockRef::from(tcp).shutdown(Shutdown::Write),
        Stream::Unix(unix) => SockRef::from(unix).shutdown(Shutdown::Write),
        Stream::Tls(tls) => SockRef::from(tls.transport()).shutdown(Shutdown::Write),
    };
}

/// The error that is pending on the socket below `stream`: nothing while the connection stands or
/// has ended in order.
pub(super) fn failure(stream: &Stream) -> Option<io::Error> {
    let pending = match stream {
        Stream::Tcp(tcp) => tcp.take_error(),
        Stream::Unix(unix) => unix.take_error(),
        Stream::Tls(tls) => tls.transport().take_error(),
    };
    pending.ok().flatten()
}

/// Whether bytes were written to `stream` that its peer has not acknowledged, or that did not even
/// leave.
pub(super) fn is_queued(stream: &Stream) -> bool {
    let keeps_records = match stream {
        Stream::Tcp(_) | Stream::Unix(_) => false,
        Stream::Tls(tls) => tls.has_unsent_records(),
    };
    keeps_records || queued(stream) > 0
}

/// How many bytes in the socket below `stream` its peer has not acknowledged.
pub(super) fn queued(stream: &Stream) -> u64 {
    let queued = match stream {
        Stream::Tcp(tcp) => unacknowledged(tcp),
        Stream::Unix(unix) => unacknowledged(unix),
        Stream::Tls(tls) => unacknowledged(tls.transport()),
    };
    u64::try_from(queued).unwrap_or_default()
}

/// Reads and drops what still arrives until the peer ends too. A close before that would be an
/// abort, and an abort takes with it what the peer has not yet received.
pub(super) fn poll_discard(cx: &mut Context<'_>, stream: &mut Stream) -> Poll<()> {
    with_scratch(|scratch| {
        for _ in 0..ROUNDS {
            let mut buffer = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// The length of a socket's send queue.
#[expect(
    unsafe_code,
    reason = "no safe call asks for the length of a send queue"
)]
pub(super) fn unacknowledged(socket: impl AsFd) -> c_int {
    // SAFETY: SIOCOUTQ writes one int (tcp(7), unix(7)), and `Getter` gives it room for one.
    unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }.unwrap_or(0)
}

/// From `linux/sockios.h`, where it is another name of TIOCOUTQ.
const SIOCOUTQ: Opcode = 0x5411;

/// Reads before other tasks have their turn.
const ROUNDS: usize = 16;
