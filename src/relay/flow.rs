//! One direction of a connection: read, write, and keep what the other side did not take.
//!
//! Nothing is read while something is kept, so a slow reader stops the sender instead of growing the process.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::Stream;
use crate::relay::pipe::{self, Lease};
use crate::relay::{ending, scratch};

/// The bytes on their way from one stream to the other.
#[derive(Debug, Default)]
pub(super) struct Flow {
    held: Held,
    state: State,
    pace: Pace,
    /// The sender is known to be gone, so that whatever ends this flow now is not a clean end.
    doomed: bool,
}

/// The two streams of a flow.
#[derive(Debug)]
pub(super) struct Ends<'a> {
    pub(super) from: &'a mut Stream,
    pub(super) to: &'a mut Stream,
    /// Both streams are closed as soon as this flow is over, so that a FIN of its own would be a wasted system call.
    pub(super) last: bool,
}

/// Which end of a flow failed, and how.
#[derive(Debug)]
pub(super) enum Fault {
    Read(io::Error),
    Write(io::Error),
}

/// How the sender ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a FIN, after a `close_notify` where the stream is TLS.
    Clean,
    /// With a FIN, but without the `close_notify` that TLS asks for (RFC 8446, section 6.1).
    Truncated,
    /// With an abort.
    Cut,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Open,
    Ended(End),
    Done(End),
}

/// What was read and is not yet written.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Bytes(Vec<u8>, usize),
    Pipe(Lease),
}

impl Flow {
    /// Moves bytes until the sender has ended and the receiver knows; adds to `moved` what the receiver took.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        ends: &mut Ends<'_>,
        moved: &mut u64,
    ) -> Poll<Result<(), Fault>> {
        let mut budget = super::t(5);
        loop {
            ready!(self.poll_drain(cx, ends.to, moved)).map_err(Fault::Write)?;
            match self.state {
                State::Done(_) => return Poll::Ready(Ok(())),
                State::Ended(end) => {
                    ready!(poll_finish(cx, ends, end)).map_err(Fault::Write)?;
                    self.state = State::Done(end);
                }
                State::Open if budget == 0 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Open => budget = budget.saturating_sub(ready!(self.poll_fill(cx, ends, moved))?),
            }
        }
    }

    /// Notes that the sender is gone and that nothing of it can be read any more.
    pub(super) fn cut(&mut self) {
        self.state = State::Ended(End::Cut);
    }

    /// Notes that the sender is gone, though something of it may be left to read.
    pub(super) fn doom(&mut self) {
        self.doomed = true;
    }

    /// Gives up on this flow, because its receiver is gone.
    pub(super) fn abandon(&mut self) {
        *self = Self { state: State::Done(End::Cut), ..Self::default() };
    }

    /// How the sender ended, if it has.
    pub(super) fn end(&self) -> Option<End> {
        match self.state {
            State::Open => None,
            State::Ended(end) | State::Done(end) => Some(end),
        }
    }

    /// Whether the sender has ended and the receiver was told.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Whether something was read that the receiver has not taken.
    pub(super) fn is_holding(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    /// Reads once, by the way that suits the pace: the number of bytes, 0 at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>, ends: &mut Ends<'_>, moved: &mut u64) -> Poll<Result<usize, Fault>> {
        if self.pace.is_bulk()
            && let (Stream::Tcp(from), Stream::Tcp(_)) = (&*ends.from, &*ends.to)
        {
            ready!(from.poll_read_ready(cx)).map_err(Fault::Read)?;
            if let Some(filled) = self.poll_splice(cx, from, Lease::take()) {
                return filled.map_err(Fault::Read);
            }
        }
        self.poll_copy(cx, ends, moved)
    }

    /// Fills `pipe` from the socket; `None` where that is not possible and the bytes must be copied.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        pipe: Option<Lease>,
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
            Poll::Ready(Ok(0)) => {
                self.ended(End::Clean);
                Poll::Ready(Ok(0))
            }
            Poll::Ready(Ok(filled)) => {
                self.pace.spliced(filled);
                self.held = Held::Pipe(pipe);
                Poll::Ready(Ok(filled))
            }
            failed_or_pending => failed_or_pending,
        })
    }

    /// Reads into the thread's scratch buffer, writes at once, and keeps only what is left.
    fn poll_copy(&mut self, cx: &mut Context<'_>, ends: &mut Ends<'_>, moved: &mut u64) -> Poll<Result<usize, Fault>> {
        scratch::with(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut *ends.from).poll_read(cx, &mut buffer) {
                Poll::Pending => return poll_settle(cx, ends.to),
                Poll::Ready(Err(error)) if is_truncation(ends.from, &error) => {
                    self.ended(End::Truncated);
                    return Poll::Ready(Ok(0));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Read(error))),
                Poll::Ready(Ok(())) => {}
            }
            let full = buffer.remaining() == 0;
            let read = buffer.filled();
            if read.is_empty() {
                self.ended(End::Clean);
                return Poll::Ready(Ok(0));
            }
            self.pace.copied(full);
            let written = write(cx, ends.to, read, moved).map_err(Fault::Write)?;
            if written < read.len() {
                self.held = Held::Bytes(read[written..].to_vec(), 0);
            }
            Poll::Ready(Ok(read.len()))
        })
    }

    /// Writes what is held.
    fn poll_drain(&mut self, cx: &mut Context<'_>, to: &mut Stream, moved: &mut u64) -> Poll<io::Result<()>> {
        loop {
            match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Bytes(bytes, start) => {
                    *start += write(cx, to, &bytes[*start..], moved)?;
                    if *start < bytes.len() {
                        return Poll::Pending;
                    }
                    self.held = Held::Nothing;
                }
                Held::Pipe(pipe) if pipe.is_empty() => self.held = Held::Nothing,
                Held::Pipe(pipe) => {
                    let Stream::Tcp(to) = &*to else { unreachable!("only TCP sockets are spliced into") };
                    match ready!(pipe.poll_drain(cx, to)) {
                        Ok(drained) => *moved += drained as u64,
                        Err(error) if pipe::is_unsupported(&error) => {
                            self.pace.refused();
                            self.held = Held::Bytes(pipe.take_back()?, 0);
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            }
        }
    }

    fn ended(&mut self, end: End) {
        self.state = State::Ended(if self.doomed { End::Cut } else { end });
    }
}

/// Tells the receiver that the sender has ended, and how.
fn poll_finish(cx: &mut Context<'_>, ends: &mut Ends<'_>, end: End) -> Poll<io::Result<()>> {
    let to = &mut *ends.to;
    match end {
        End::Clean if ends.last && !matches!(to, Stream::Tls(_)) => Poll::Ready(Ok(())),
        End::Clean => match ready!(Pin::new(to).poll_shutdown(cx)) {
            // The receiver was aborted: reading from it says so.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            finished => Poll::Ready(finished),
        },
        End::Truncated => {
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            ending::finish(to);
            Poll::Ready(Ok(()))
        }
        End::Cut => Pin::new(to).poll_flush(cx),
    }
}

/// Before waiting for more: a TLS session may still keep records that the socket did not take.
fn poll_settle<T>(cx: &mut Context<'_>, to: &mut Stream) -> Poll<Result<T, Fault>> {
    if matches!(to, Stream::Tls(_))
        && let Poll::Ready(Err(error)) = Pin::new(to).poll_flush(cx)
    {
        return Poll::Ready(Err(Fault::Write(error)));
    }
    Poll::Pending
}

/// Writes until `to` takes no more: the number of bytes it took. Fewer than all means that the task is woken for the rest.
fn write(cx: &mut Context<'_>, to: &mut Stream, bytes: &[u8], moved: &mut u64) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match Pin::new(&mut *to).poll_write(cx, &bytes[written..])? {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(taken) => {
                written += taken;
                *moved += taken as u64;
            }
            Poll::Pending => break,
        }
    }
    Ok(written)
}

/// Whether `error` is how a TLS stream reports a FIN without `close_notify`.
fn is_truncation(stream: &Stream, error: &io::Error) -> bool {
    matches!(stream, Stream::Tls(_)) && error.kind() == io::ErrorKind::UnexpectedEof
}

/// How a flow has been running, which decides whether splicing pays.
#[derive(Clone, Copy, Debug, Default)]
struct Pace(i16);

impl Pace {
    fn is_bulk(self) -> bool {
        self.0 >= super::t(0) as i16
    }

    fn copied(&mut self, full: bool) {
        self.0 = if (full || self.0 < 0) && self.0 < 32000 { self.0 + 1 } else { 0 };
    }

    fn spliced(&mut self, bytes: usize) {
        self.0 = if bytes >= super::t(3) { (super::t(0) + super::t(4)) as i16 } else { self.0 - 1 };
        if self.0 < super::t(0) as i16 {
            self.0 = 0;
        }
    }

    fn refused(&mut self) {
        self.0 = -RETRY_AFTER;
    }
}

/// Full reads in a row that make a flow bulk.
const SPLICE_AFTER: i16 = 3;

/// Small fills in a row after which a bulk flow is copied again.
const PATIENCE: i16 = 4;

/// Reads after which a flow that was refused a pipe asks again.
const RETRY_AFTER: i16 = 4096;

/// Bytes that one poll moves at most in each direction, a fraction of a millisecond's work, before other tasks have their turn.
const BUDGET: usize = 1024 * 1024;
