//! One direction of a connection: read, write, and keep what the other side did not take.
//!
//! Nothing is read while something is kept, so a slow reader stops the sender instead of growing
//! the process.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::{SCRATCH, Stream, with_scratch};
use crate::relay::pipe::{self, BorrowedPipe};
use crate::relay::{Count, ending};
use crate::wire::FirstAlert;

/// The bytes on their way from one stream to the other.
#[derive(Debug, Default)]
pub(super) struct Flow {
    held: Unwritten,
    state: FlowState,
    pace: FlowPace,
    /// The sender is known to be gone, so that whatever ends this flow now is not a clean end.
    doomed: bool,
}

/// The two streams of a flow.
#[derive(Debug)]
pub(super) struct FlowStreams<'a> {
    pub(super) from: &'a mut Stream,
    pub(super) to: &'a mut Stream,
    /// Both streams are closed as soon as this flow is over, so that a FIN of its own would be a
    /// wasted system call.
    pub(super) last: bool,
    /// An end without `close_notify` is an abort.
    pub(super) strict: bool,
    /// Looks at the first bytes, as long as they may be an alert.
    pub(super) first: Option<&'a mut FirstAlert>,
}

/// The end of a flow that failed, and how.
#[derive(Debug)]
pub(super) enum FlowFault {
    /// Reading failed, so nothing is left to read.
    Read(io::Error),
    /// The sender is gone, as its socket says without being read.
    Gone(io::Error),
    /// The receiver takes no more.
    Write(io::Error),
    /// The sender ended without `close_notify`, where that is an abort.
    Truncated,
}

/// How the sender ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SenderEnd {
    /// With a FIN, after a `close_notify` where the stream is TLS.
    Clean,
    /// With a FIN, but without the `close_notify` that TLS asks for (RFC 8446, section 6.1).
    Truncated,
    /// With an abort.
    Cut,
}

#[derive(Clone, Copy, Debug, Default)]
enum FlowState {
    #[default]
    Open,
    Ended(SenderEnd),
    Done(SenderEnd),
}

/// Bytes that were read and are not yet written.
#[derive(Debug, Default)]
enum Unwritten {
    #[default]
    Nothing,
    Bytes(Vec<u8>, usize),
    Pipe(BorrowedPipe),
}

impl Flow {
    /// Moves bytes until the sender has ended and the receiver knows; adds to `moved` what the
    /// receiver took.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        ends: &mut FlowStreams<'_>,
        moved: &Count,
    ) -> Poll<Result<(), FlowFault>> {
        let mut budget = BUDGET;
        loop {
            ready!(self.poll_drain(cx, ends.to, moved)).map_err(FlowFault::Write)?;
            match self.state {
                FlowState::Done(_) => return Poll::Ready(Ok(())),
                FlowState::Ended(SenderEnd::Truncated) if ends.strict => {
                    return Poll::Ready(Err(FlowFault::Truncated));
                }
                FlowState::Ended(end) => {
                    ready!(poll_finish(cx, ends, end)).map_err(FlowFault::Write)?;
                    self.state = FlowState::Done(end);
                }
                FlowState::Open if budget == 0 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                FlowState::Open => {
                    budget = budget.saturating_sub(ready!(self.poll_fill(cx, ends, moved))?)
                }
            }
        }
    }

    /// Notes that the sender is gone and that nothing of it can be read any more.
    pub(super) fn cut(&mut self) {
        self.state = FlowState::Ended(SenderEnd::Cut);
    }

    /// Notes that the sender is gone, though something of it may be left to read.
    pub(super) fn doom(&mut self) {
        self.doomed = true;
    }

    /// Gives up on this flow, because its receiver is gone.
    pub(super) fn abandon(&mut self) {
        *self = Self {
            state: FlowState::Done(SenderEnd::Cut),
            ..Self::default()
        };
    }

    /// How the sender ended, if it has.
    pub(super) fn end(&self) -> Option<SenderEnd> {
        match self.state {
            FlowState::Open => None,
            FlowState::Ended(end) | FlowState::Done(end) => Some(end),
        }
    }

    /// Whether the receiver was told of an end of the sender's own making.
    pub(super) fn is_finished(&self) -> bool {
        matches!(
            self.state,
            FlowState::Done(SenderEnd::Clean | SenderEnd::Truncated)
        )
    }

    /// Whether something was read that the receiver has not taken.
    pub(super) fn is_holding(&self) -> bool {
        !matches!(self.held, Unwritten::Nothing)
    }

    /// Reads once, by the way that suits the pace: the number of bytes, 0 at the end of the stream.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        ends: &mut FlowStreams<'_>,
        moved: &Count,
    ) -> Poll<Result<usize, FlowFault>> {
        if self.pace.is_bulk()
            && let (Stream::Tcp(from), Stream::Tcp(_)) = (&*ends.from, &*ends.to)
        {
            ready!(from.poll_read_ready(cx)).map_err(FlowFault::Read)?;
            if let Some(filled) = self.poll_splice(cx, from, BorrowedPipe::take()) {
                return filled.map_err(FlowFault::Read);
            }
        }
        self.poll_copy(cx, ends, moved)
    }

    /// Fills `pipe` from the socket; `None` where that is not possible and the bytes must be
    /// copied.
    pub(super) fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        pipe: Option<BorrowedPipe>,
    ) -> Option<Poll<io::Result<usize>>> {
        let Some(mut pipe) = pipe else {
            self.pace.refused();
            return None;
        };
        Some(match pipe.poll_fill(cx, from) {
            Poll::Ready(Err(error)) if pipe::is_unsupported(&error) => {
                self.pace.refused();
                return None;
            }
            Poll::Ready(Ok(0)) => return None,
            Poll::Ready(Ok(filled)) => {
                self.pace.spliced(filled);
                self.held = Unwritten::Pipe(pipe);
                Poll::Ready(Ok(filled))
            }
            failed_or_pending => failed_or_pending,
        })
    }

    /// Reads into the thread's scratch buffer, writes at once, and keeps only what is left.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        ends: &mut FlowStreams<'_>,
        moved: &Count,
    ) -> Poll<Result<usize, FlowFault>> {
        with_scratch(|scratch| {
            let most = if ends.from.is_tls() { SCRATCH } else { READ };
            let mut buffer = ReadBuf::new(&mut scratch[..most]);
            match Pin::new(&mut *ends.from).poll_read(cx, &mut buffer) {
                Poll::Pending => return poll_settle(cx, ends.to),
                Poll::Ready(Err(error)) if is_truncation(ends.from, &error) => {
                    self.ended(SenderEnd::Truncated);
                    return Poll::Ready(Ok(0));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(FlowFault::Read(error))),
                Poll::Ready(Ok(())) => {}
            }
            let read = buffer.filled();
            if read.is_empty() {
                self.ended(SenderEnd::Clean);
                return Poll::Ready(Ok(0));
            }
            self.pace.copied(read.len());
            if let Some(first) = &mut ends.first {
                first.see(read);
            }
            let written = write(cx, ends.to, read, moved).map_err(FlowFault::Write)?;
            if written < read.len() {
                self.held = Unwritten::Bytes(read[written..].to_vec(), 0);
            }
            Poll::Ready(Ok(read.len()))
        })
    }

    /// Writes what is held.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        moved: &Count,
    ) -> Poll<io::Result<()>> {
        loop {
            match &mut self.held {
                Unwritten::Nothing => return Poll::Ready(Ok(())),
                Unwritten::Bytes(bytes, start) => {
                    *start += write(cx, to, &bytes[*start..], moved)?;
                    if *start < bytes.len() {
                        return Poll::Pending;
                    }
                    self.held = Unwritten::Nothing;
                }
                Unwritten::Pipe(pipe) if pipe.held() == 0 => self.held = Unwritten::Nothing,
                Unwritten::Pipe(pipe) => {
                    let Stream::Tcp(to) = &*to else {
                        unreachable!("only TCP sockets are spliced into")
                    };
                    match ready!(pipe.poll_drain(cx, to)) {
                        Ok(drained) => moved.add(drained as u64),
                        Err(error) if pipe::is_unsupported(&error) => {
                            self.pace.refused();
                            self.held = Unwritten::Bytes(pipe.take_back()?, 0);
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            }
        }
    }

    fn ended(&mut self, end: SenderEnd) {
        self.state = FlowState::Ended(if self.doomed { SenderEnd::Cut } else { end });
    }
}

/// Tells the receiver that the sender has ended, and how.
fn poll_finish(
    cx: &mut Context<'_>,
    ends: &mut FlowStreams<'_>,
    end: SenderEnd,
) -> Poll<io::Result<()>> {
    let to = &mut *ends.to;
    match end {
        SenderEnd::Clean if ends.last && !to.is_tls() => Poll::Ready(Ok(())),
        SenderEnd::Clean => match ready!(Pin::new(to).poll_shutdown(cx)) {
            // The receiver was aborted: reading from it says so.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            finished => Poll::Ready(finished),
        },
        SenderEnd::Truncated => {
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            ending::finish(to);
            Poll::Ready(Ok(()))
        }
        SenderEnd::Cut => Pin::new(to).poll_flush(cx),
    }
}

/// Before waiting for more: a TLS session may still keep records that the socket did not take.
fn poll_settle<T>(cx: &mut Context<'_>, to: &mut Stream) -> Poll<Result<T, FlowFault>> {
    if to.is_tls()
        && let Poll::Ready(Err(error)) = Pin::new(to).poll_flush(cx)
    {
        return Poll::Ready(Err(FlowFault::Write(error)));
    }
    Poll::Pending
}

/// Writes until `to` takes no more: the number of bytes it took. Fewer than all means that the task
/// is woken for the rest.
fn write(cx: &mut Context<'_>, to: &mut Stream, bytes: &[u8], moved: &Count) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match Pin::new(&mut *to).poll_write(cx, &bytes[written..])? {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(taken) => {
                written += taken;
                moved.add(taken as u64);
            }
            Poll::Pending => break,
        }
    }
    Ok(written)
}

/// Whether `error` is how a TLS stream reports a FIN without `close_notify`.
fn is_truncation(stream: &Stream, error: &io::Error) -> bool {
    stream.is_tls() && error.kind() == io::ErrorKind::UnexpectedEof
}

#[cfg(test)]
impl Flow {
    /// A flow that splices from its first byte.
    pub(super) fn in_bulk() -> Self {
        Self {
            pace: FlowPace(SPLICE_AFTER + PATIENCE),
            ..Self::default()
        }
    }

    /// The memory that is held for bytes on their way, and how many bytes are in a pipe.
    pub(super) fn holding(&self) -> (usize, usize) {
        match &self.held {
            Unwritten::Nothing => (0, 0),
            Unwritten::Bytes(bytes, _) => (bytes.capacity(), 0),
            Unwritten::Pipe(pipe) => (0, pipe.held()),
        }
    }
}

/// How a flow has been running, which decides whether splicing pays: reads of bulk in a row, and
/// from `SPLICE_AFTER` on how many small ones it may still have. Below zero it has been refused a
/// pipe.
#[derive(Clone, Copy, Debug, Default)]
struct FlowPace(i16);

impl FlowPace {
    fn is_bulk(self) -> bool {
        self.0 >= SPLICE_AFTER
    }

    fn copied(&mut self, bytes: usize) {
        let counts = bytes >= BULK || self.0 < 0;
        self.0 = if counts { self.0.saturating_add(1) } else { 0 };
    }

    fn spliced(&mut self, bytes: usize) {
        self.0 = if bytes >= BULK {
            SPLICE_AFTER + PATIENCE
        } else {
            self.0 - 1
        };
        if !self.is_bulk() {
            self.0 = 0;
        }
    }

    fn refused(&mut self) {
        self.0 = -RETRY_AFTER;
    }
}

/// A read that is worth the extra system call which finds a spliced socket drained. Measured: from
/// 16 KiB on splicing costs less than copying or the same, and half of it when the sender is as
/// fast as it can be.
const BULK: usize = 16 * 1024;

/// The largest read from a socket. As four TLS records it is one segment of the largest size; with
/// 64 KiB each write ends in a segment of a hundred bytes.
const READ: usize = SCRATCH / 2;

/// Reads of bulk in a row before splicing begins, so that an answer of ordinary size does not ask
/// for a pipe.
const SPLICE_AFTER: i16 = 3;

/// Small fills in a row that a bulk flow may have before it is copied again. A fast reader leaves
/// many of them in the best of flows.
const PATIENCE: i16 = 16;

/// Reads after which a flow that was refused a pipe asks again.
const RETRY_AFTER: i16 = 4096;

/// The most bytes that one poll moves in each direction, a quarter of a millisecond's work, before
/// other tasks have their turn.
const BUDGET: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::{BULK, FlowPace, PATIENCE, RETRY_AFTER, SPLICE_AFTER};

    #[test]
    fn flow_turns_to_bulk_after_a_few_large_reads_and_back_after_many_small_ones() {
        let mut pace = FlowPace::default();
        for _ in 0..10 {
            (1..SPLICE_AFTER).for_each(|_| pace.copied(BULK));
            assert!(!pace.is_bulk());
            pace.copied(BULK - 1);
        }
        (0..SPLICE_AFTER).for_each(|_| pace.copied(BULK));
        assert!(pace.is_bulk());
        pace.spliced(BULK);
        (0..PATIENCE).for_each(|_| pace.spliced(1));
        assert!(pace.is_bulk());
        pace.spliced(1);
        assert!(!pace.is_bulk());
        pace.copied(BULK);
        assert!(!pace.is_bulk());
    }

    #[test]
    fn flow_that_was_refused_a_pipe_asks_again_much_later() {
        let mut pace = FlowPace::default();
        pace.refused();
        (0..RETRY_AFTER).for_each(|_| pace.copied(1));
        assert!(!pace.is_bulk());
        (0..SPLICE_AFTER).for_each(|_| pace.copied(BULK));
        assert!(pace.is_bulk());
    }
}
