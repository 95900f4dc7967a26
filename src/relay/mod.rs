//! Moves bytes between a client and a server until both have ended, and carries each ending over to the other side.
//!
//! An end is not a single event: either side may finish and still wait for the answer, and an abort must reach the
//! other side as an abort, but never overtake bytes that are still on their way.

mod ending;
mod flow;
mod pipe;
mod scratch;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::net::Stream;
use crate::relay::flow::{End, Ends, Fault, Flow};
use crate::relay::watch::Watch;
pub use scratch::with as with_scratch;

/// x
pub static T: [std::sync::atomic::AtomicUsize; 6] = [const { std::sync::atomic::AtomicUsize::new(0) }; 6];
fn t(i: usize) -> usize {
    T[i].load(std::sync::atomic::Ordering::Relaxed)
}
/// after,chunk,capacity,small,patience,budget
pub fn tune(s: &str) {
    let d = [3usize, 262144, 262144, 65536, 4, 1 << 20];
    for i in 0..6 {
        let v = s.split(',').nth(i).and_then(|x| x.parse().ok()).unwrap_or(d[i]);
        T[i].store(v, std::sync::atomic::Ordering::Relaxed);
    }
    pipe::clear();
}
/// Moves bytes between client and upstream until both directions have ended.
///
/// When one side ends, the other is told as soon as it has taken all bytes (a half-close), and may go on sending. When
/// one side aborts, the other is aborted too, unless the abort followed a clean end or bytes are still queued for the
/// other side: those are delivered first, and a normal end follows them.
///
/// The streams are borrowed, because a caller that gave them away would carry the space for them twice. It must drop
/// both right after this returns: the last end is told by the close itself, and so is every abort.
///
/// # Errors
///
/// Says which side aborted or failed, or which wait was too long.
///
/// # Cancellation
///
/// Dropping the future loses bytes that one side has not taken yet. `meter` is right at any time.
pub async fn relay(
    client: &mut Stream,
    upstream: &mut Stream,
    meter: &mut Meter,
    options: &Options,
) -> Result<(), Error> {
    let mut relay = Relay::new(client, upstream, meter, options);
    let mut timer = pin!(None);
    poll_fn(|cx| relay.poll(cx, timer.as_mut())).await
}

/// What has been moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Bytes that were handed to the client's socket.
    pub sent: u64,
    /// Bytes that came from the client and were handed to the server's socket.
    pub received: u64,
    /// The client ended its TLS stream without a `close_notify`, so that its end may be an attacker's.
    pub client_truncated: bool,
    /// The server ended its TLS stream without a `close_notify`.
    pub server_truncated: bool,
}

/// How long a relay waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The longest time without a byte in either direction, or none. It may be exceeded by a quarter.
    pub idle: Option<Duration>,
    /// The longest silence of one side after the other has ended, or none. It may be exceeded by a quarter.
    pub half_close: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self { idle: Some(Duration::from_secs(3600)), half_close: Some(Duration::from_secs(60)) }
    }
}

/// One of the two peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who connected to snigate.
    Client,
    /// Whom snigate connected to.
    Server,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// Why a relay stopped before both sides had ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This side aborted the connection.
    #[error("the {0} reset the connection")]
    Reset(Side),
    /// No byte came from either side for too long.
    #[error("neither side sent anything for too long")]
    Idle,
    /// The other side had ended, and this one neither sent, nor took what was sent to it, for too long.
    #[error("the {0} stayed silent after the other side had ended")]
    HalfClose(Side),
    /// Reading from or writing to this side failed otherwise, as a broken TLS record does.
    #[error("the connection to the {0} failed")]
    Io(Side, #[source] io::Error),
}

impl Error {
    fn new(by: Side, error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => Self::Reset(by),
            _ => Self::Io(by, error),
        }
    }
}

/// Both directions of one connection.
struct Relay<'a> {
    client: &'a mut Stream,
    upstream: &'a mut Stream,
    meter: &'a mut Meter,
    options: &'a Options,
    /// From the client to the server.
    up: Flow,
    /// From the server to the client.
    down: Flow,
    phase: Phase,
    watch: Watch,
}

enum Phase {
    Open,
    /// One side is gone; what is left of its bytes goes to the other.
    Aborted(Abort),
    /// The other side has been sent everything, and is given time to take it.
    Lingering(Side, Error),
}

struct Abort {
    by: Side,
    error: Error,
    /// Something was under way to the other side when the abort was seen.
    owed: bool,
    /// What the other side had been sent by then.
    mark: u64,
    /// The other side had ended before, so that there is nothing to wait for.
    heard: bool,
}

impl<'a> Relay<'a> {
    fn new(client: &'a mut Stream, upstream: &'a mut Stream, meter: &'a mut Meter, options: &'a Options) -> Self {
        let (up, down, watch) = (Flow::default(), Flow::default(), Watch::default());
        Self { client, upstream, meter, options, up, down, phase: Phase::Open, watch }
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Option<Sleep>>) -> Poll<Result<(), Error>> {
        if let Poll::Ready(result) = self.poll_phase(cx) {
            return Poll::Ready(result);
        }
        let progress = self.meter.sent + self.meter.received;
        ready!(self.watch.poll(cx, timer, self.patience(), progress));
        Poll::Ready(Err(self.expire()))
    }

    fn poll_phase(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Phase::Open = self.phase {
            match ready!(self.poll_both(cx)) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err((from, fault)) => self.phase = Phase::Aborted(self.abort(from, fault)),
            }
        }
        if let Phase::Aborted(_) = self.phase {
            ready!(self.poll_aborted(cx));
        }
        if let Phase::Lingering(side, _) = self.phase {
            ready!(ending::poll_discard(cx, self.stream(side)));
        }
        Poll::Ready(Err(self.failure()))
    }

    /// Polls both directions, so that each has its waker in place whatever the other does.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), (Side, Fault)>> {
        let up = self.poll_flow(cx, Side::Client);
        if let Poll::Ready(Err(fault)) = up {
            return Poll::Ready(Err((Side::Client, fault)));
        }
        let down = self.poll_flow(cx, Side::Server);
        if let Poll::Ready(Err(fault)) = down {
            return Poll::Ready(Err((Side::Server, fault)));
        }
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Polls the flow that comes from this side.
    fn poll_flow(&mut self, cx: &mut Context<'_>, from: Side) -> Poll<Result<(), Fault>> {
        let open = matches!(self.phase, Phase::Open);
        let Meter { sent, received, client_truncated, server_truncated } = &mut *self.meter;
        let (flow, back, ends, moved, truncated) = match from {
            Side::Client => {
                (&mut self.up, &self.down, (&mut *self.client, &mut *self.upstream), received, client_truncated)
            }
            Side::Server => {
                (&mut self.down, &self.up, (&mut *self.upstream, &mut *self.client), sent, server_truncated)
            }
        };
        let mut ends = Ends { from: ends.0, to: ends.1, last: open && back.is_done() };
        let polled = flow.poll(cx, &mut ends, moved);
        *truncated |= flow.end() == Some(End::Truncated);
        polled
    }

    /// Finds out who is gone, and what is under way to the one who is not.
    fn abort(&mut self, from: Side, fault: Fault) -> Abort {
        let (by, error) = match fault {
            Fault::Read(error) => {
                self.flow(from).cut();
                (from, error)
            }
            Fault::Write(error) => {
                let by = from.other();
                // The kernel says EPIPE, rather than ECONNRESET, where a FIN came before the abort: then what is left
                // to read from this side has a clean end.
                if error.kind() != io::ErrorKind::BrokenPipe {
                    self.flow(by).doom();
                }
                (by, error)
            }
        };
        let other = by.other();
        let heard = self.flow(other).end().is_some();
        self.flow(other).abandon();
        let owed = self.flow(by).is_holding() || ending::is_queued(self.stream(other));
        Abort { by, error: Error::new(by, error), owed, mark: self.moved(by), heard }
    }

    /// Delivers what is left of the side that is gone, and then ends the other side in the way it deserves.
    fn poll_aborted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Phase::Aborted(Abort { by, owed, mark, heard, .. }) = self.phase else { return Poll::Ready(()) };
        if ready!(self.poll_flow(cx, by)).is_err() {
            return Poll::Ready(());
        }
        let owed = owed || self.moved(by) != mark;
        let finished = self.flow(by).end() != Some(End::Cut);
        let other = self.stream(by.other());
        match (owed, finished) {
            (false, false) => ending::abort(other),
            (true, false) => ending::finish(other),
            (_, true) => {}
        }
        if owed && !heard {
            self.phase = Phase::Lingering(by.other(), self.failure());
        }
        Poll::Ready(())
    }

    /// How long the present silence may last.
    fn patience(&self) -> Option<Duration> {
        let Options { idle, half_close } = *self.options;
        match self.phase {
            Phase::Open if !self.up.is_done() && !self.down.is_done() => idle,
            Phase::Open | Phase::Aborted(_) => idle.into_iter().chain(half_close).min(),
            Phase::Lingering(..) => Some(LINGER),
        }
    }

    /// Gives up after a silence. Who has not been sent everything must not take that for a clean end.
    fn expire(&mut self) -> Error {
        if self.up.is_holding() {
            ending::abort(self.upstream);
        }
        if self.down.is_holding() {
            ending::abort(self.client);
        }
        let open = match (self.up.is_done(), self.down.is_done()) {
            _ if !matches!(self.phase, Phase::Open) => return self.failure(),
            _ if self.patience() != self.options.half_close => return Error::Idle,
            (false, false) => return Error::Idle,
            (false, _) => Side::Client,
            (true, _) => Side::Server,
        };
        // With something held for it, the reader is the one who does nothing.
        Error::HalfClose(if self.flow(open).is_holding() { open.other() } else { open })
    }

    /// Takes out why the relay could not go on.
    fn failure(&mut self) -> Error {
        match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Open => Error::Idle,
            Phase::Aborted(Abort { error, .. }) | Phase::Lingering(_, error) => error,
        }
    }

    fn flow(&mut self, from: Side) -> &mut Flow {
        match from {
            Side::Client => &mut self.up,
            Side::Server => &mut self.down,
        }
    }

    fn stream(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Client => self.client,
            Side::Server => self.upstream,
        }
    }

    /// What came from this side and was taken by the other.
    fn moved(&self, from: Side) -> u64 {
        match from {
            Side::Client => self.meter.received,
            Side::Server => self.meter.sent,
        }
    }
}

/// How long a peer may take to receive the rest after the other side's abort. On a network that is alive it ends by
/// itself much earlier; it bounds what a peer that never stops sending can hold.
const LINGER: Duration = Duration::from_secs(5);
