//! Both directions of one connection, and what the end of one means for the other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::net::Stream;
use crate::relay::flow::{Flow, FlowFault, FlowStreams, SenderEnd};
use crate::relay::watch::{Alarm, Readiness, Watch};
use crate::relay::{Meter, OnTruncation, RelayError, RelayOptions, Side, ending};
use crate::wire::FirstAlert;

/// The state of a relay.
pub(super) struct Duplex<'a> {
    client: &'a mut Stream,
    upstream: &'a mut Stream,
    meter: &'a Meter,
    options: &'a RelayOptions,
    /// From the client to the server.
    pub(super) up: Flow,
    /// From the server to the client.
    pub(super) down: Flow,
    /// Boxed: few relays end so, and none is to be larger for it.
    abort: Option<Box<Abort>>,
    first_end: Option<Side>,
    /// The alert that the server's first bytes may be.
    answer: FirstAlert,
    watch: Watch,
    /// The relay has lasted for a while, and the kernel has been asked to look after its sides.
    lasts: bool,
}

/// One side is gone; what is left of its bytes goes to the other, of which nothing more is wanted.
struct Abort {
    by: Side,
    error: RelayError,
    /// The bytes that had been sent to the other side when the abort was seen.
    mark: u64,
    /// Something was under way to the other side by then.
    owed: bool,
    /// The other side has been sent everything, and is only given time to take it.
    delivered: bool,
    /// The bytes that it had not acknowledged when the kernel was last asked.
    queued: u64,
    /// The bytes that it has acknowledged since it was sent everything, as far as the kernel was
    /// asked.
    acknowledged: u64,
    /// The other side has ended.
    heard: bool,
}

impl<'a> Duplex<'a> {
    pub(super) fn new(
        client: &'a mut Stream,
        upstream: &'a mut Stream,
        meter: &'a Meter,
        options: &'a RelayOptions,
    ) -> Self {
        let (up, down, watch) = (Flow::default(), Flow::default(), Watch::default());
        let lasts = options.liveness.due_after().is_none();
        let (first_end, answer) = (None, FirstAlert::default());
        Self {
            client,
            upstream,
            meter,
            options,
            up,
            down,
            abort: None,
            first_end,
            answer,
            watch,
            lasts,
        }
    }

    /// Moves bytes until both sides have ended or one has failed. `timer` must stay the same from
    /// poll to poll.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Option<Sleep>>,
    ) -> Poll<Result<Side, RelayError>> {
        loop {
            if let Poll::Ready(result) = self.poll_ends(cx) {
                return Poll::Ready(result);
            }
            let acknowledged = self.abort.as_ref().map_or(0, |abort| abort.acknowledged);
            let progress = self.meter.sent.get() + self.meter.received.get() + acknowledged;
            let first = if self.lasts {
                None
            } else {
                self.options.liveness.due_after()
            };
            let waits = Readiness {
                silence: self.patience(),
                look: self.is_deaf(),
                first,
            };
            match ready!(self.watch.poll(cx, timer.as_mut(), waits, progress)) {
                Alarm::Silence if self.is_taking_the_rest() => {}
                Alarm::Silence => return Poll::Ready(Err(self.expire())),
                Alarm::Look => self.look(),
                Alarm::First => {
                    self.lasts = true;
                    self.options.liveness.ask(self.client);
                    self.options.liveness.ask(self.upstream);
                }
            }
        }
    }

    /// Whether there is a side from which nothing is read, so that its abort would go unnoticed:
    /// what it has sent is not taken by the other, or it has ended.
    fn is_deaf(&self) -> bool {
        self.abort.is_none()
            && [&self.up, &self.down]
                .iter()
                .any(|flow| flow.is_holding() || flow.end().is_some())
    }

    /// Asks the kernel whether a side is gone. The runtime tells it only to who reads or writes.
    fn look(&mut self) {
        for side in [Side::Client, Side::Server] {
            if let Some(error) = ending::failure(self.stream(side)) {
                let abort = self.begin_abort(side, FlowFault::Gone(error));
                self.abort = Some(abort);
                return;
            }
        }
    }

    /// Whether the peer of an aborted side has acknowledged anything since this was last asked. To
    /// close now would be a reset if it still sends, and would take from it what it has not
    /// received.
    fn is_taking_the_rest(&mut self) -> bool {
        let Some(mut abort) = self.abort.take_if(|abort| abort.delivered) else {
            return false;
        };
        let queued = ending::queued(self.stream(abort.by.other()));
        let taken = abort.queued.saturating_sub(queued);
        abort.queued = queued;
        abort.acknowledged += taken;
        self.abort = Some(abort);
        taken > 0
    }

    fn poll_ends(&mut self, cx: &mut Context<'_>) -> Poll<Result<Side, RelayError>> {
        let mut abort = match self.abort.take() {
            Some(abort) => abort,
            None => match ready!(self.poll_both(cx)) {
                Ok(()) => return Poll::Ready(Ok(self.first_end.unwrap_or(Side::Client))),
                Err((from, fault)) => self.begin_abort(from, fault),
            },
        };
        if self.poll_abort(cx, &mut abort).is_ready() {
            return Poll::Ready(Err(abort.error));
        }
        self.abort = Some(abort);
        Poll::Pending
    }

    /// Polls both directions, so that each has its waker in place whatever the other does.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), (Side, FlowFault)>> {
        let up = self
            .poll_flow(cx, Side::Client)
            .map_err(|fault| (Side::Client, fault))?;
        let down = self
            .poll_flow(cx, Side::Server)
            .map_err(|fault| (Side::Server, fault))?;
        if up.is_ready() && down.is_ready() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Polls the flow that comes from this side.
    fn poll_flow(&mut self, cx: &mut Context<'_>, from: Side) -> Poll<Result<(), FlowFault>> {
        let (side, strict) = (from, self.is_strict(from));
        let Self {
            client,
            upstream,
            meter,
            up,
            down,
            first_end,
            answer,
            ..
        } = self;
        // Where snigate ends TLS, what looks like an alert is the server's data.
        let mut first =
            (side == Side::Server && !answer.is_decided() && !client.is_tls()).then_some(answer);
        let (flow, back, from, to, moved) = match side {
            Side::Client => (up, down, client, upstream, &meter.received),
            Side::Server => (down, up, upstream, client, &meter.sent),
        };
        let last = back.is_finished();
        let polled = flow.poll(
            cx,
            &mut FlowStreams {
                from,
                to,
                last,
                strict,
                first: first.as_deref_mut(),
            },
            moved,
        );
        if let Some(answer) = first {
            meter.set_alert(answer.alert());
        }
        match (flow.end(), side) {
            (Some(SenderEnd::Truncated), Side::Client) => meter.client_is_truncated(),
            (Some(SenderEnd::Truncated), Side::Server) => meter.server_is_truncated(),
            _ => {}
        }
        if flow.end().is_some() {
            first_end.get_or_insert(side);
        }
        polled
    }

    /// Whether what comes from this side is whole only if it says so at its end: anything else is
    /// an abort. The end of a stream to a server that speaks TLS lacks its close_notify, too.
    fn is_strict(&self, from: Side) -> bool {
        from == Side::Client
            && self.options.on_truncation == OnTruncation::Reset
            && !self.upstream.is_tls()
    }

    /// Finds out who is gone, and what is under way to the one who is not.
    fn begin_abort(&mut self, from: Side, fault: FlowFault) -> Box<Abort> {
        // What is left of a stream that was cut off must not arrive like the end of a whole one.
        let is_truncated = matches!(fault, FlowFault::Truncated);
        let (by, error) = match fault {
            FlowFault::Truncated => {
                self.flow(from).cut();
                (from, io::ErrorKind::ConnectionAborted.into())
            }
            FlowFault::Read(error) => {
                self.flow(from).cut();
                (from, error)
            }
            // What it had sent before is still in its socket. The error is not: reading ends there
            // as if in order.
            FlowFault::Gone(error) => {
                self.flow(from).doom();
                (from, error)
            }
            FlowFault::Write(error) => {
                let by = from.other();
                // The kernel says EPIPE, rather than ECONNRESET, where a FIN came before the abort:
                // then what is left to read from this side has a clean end.
                if error.kind() != io::ErrorKind::BrokenPipe {
                    self.flow(by).doom();
                }
                (by, error)
            }
        };
        let other = by.other();
        let heard = self.flow(other).end().is_some();
        self.flow(other).abandon();
        let owed =
            !is_truncated && (self.flow(by).is_holding() || ending::is_queued(self.stream(other)));
        let (mark, error) = (self.moved(by), RelayError::new(by, error));
        Box::new(Abort {
            by,
            error,
            mark,
            owed,
            delivered: false,
            queued: 0,
            acknowledged: 0,
            heard,
        })
    }

    /// Delivers what is left of the side that is gone, and then ends the other side in the way it
    /// deserves.
    ///
    /// What the other side still sends is dropped meanwhile: it may be one that reads only when it
    /// has sent everything, and a close with bytes unread would be an abort, which takes with it
    /// what the peer has not yet received.
    fn poll_abort(&mut self, cx: &mut Context<'_>, abort: &mut Abort) -> Poll<()> {
        let other = abort.by.other();
        abort.heard = abort.heard || ending::poll_discard(cx, self.stream(other)).is_ready();
        if !abort.delivered {
            while let Err(fault) = ready!(self.poll_flow(cx, abort.by)) {
                match fault {
                    FlowFault::Read(_) | FlowFault::Truncated => self.flow(abort.by).cut(),
                    FlowFault::Gone(_) | FlowFault::Write(_) => return Poll::Ready(()),
                }
            }
            abort.delivered = true;
            abort.queued = ending::queued(self.stream(other));
            let is_finished = self.flow(abort.by).is_finished();
            let owed = abort.owed || self.moved(abort.by) != abort.mark;
            // A FIN would say that it was whole.
            let owed = owed && (is_finished || !self.is_strict(abort.by));
            if !is_finished {
                let end = if owed { ending::finish } else { ending::abort };
                end(self.stream(other));
            }
            if !owed {
                return Poll::Ready(());
            }
        }
        if abort.heard {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// How long the present silence may last.
    fn patience(&self) -> Option<Duration> {
        let RelayOptions {
            idle, half_close, ..
        } = *self.options;
        match &self.abort {
            Some(abort) if abort.delivered => Some(RECEIPT),
            None if self.silent().is_none() => idle,
            // Where everything may last for ever, a side that takes nothing after an abort still
            // may not.
            Some(_) => Some(
                idle.into_iter()
                    .chain(half_close)
                    .min()
                    .unwrap_or(AFTER_ABORT),
            ),
            None => idle.into_iter().chain(half_close).min(),
        }
    }

    /// Gives up after a silence. Who has not been sent everything must not take that for a clean
    /// end.
    fn expire(&mut self) -> RelayError {
        if self.up.is_holding() || (self.is_strict(Side::Client) && !self.up.is_finished()) {
            ending::abort(self.upstream);
        }
        if self.down.is_holding() {
            ending::abort(self.client);
        }
        if let Some(abort) = self.abort.take() {
            return abort.error;
        }
        match self.silent() {
            Some(side) if self.patience() == self.options.half_close => RelayError::HalfClose(side),
            _ => RelayError::Idle,
        }
    }

    /// The side that a half-closed relay waits for: the one that has not ended, unless the other
    /// does not take its bytes.
    fn silent(&self) -> Option<Side> {
        match (self.up.is_finished(), self.down.is_finished()) {
            (true, false) if self.down.is_holding() => Some(Side::Client),
            (true, false) => Some(Side::Server),
            (false, true) if self.up.is_holding() => Some(Side::Server),
            (false, true) => Some(Side::Client),
            _ => None,
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

    /// The bytes that came from this side and were taken by the other.
    fn moved(&self, from: Side) -> u64 {
        match from {
            Side::Client => self.meter.received.get(),
            Side::Server => self.meter.sent.get(),
        }
    }
}

/// How long a peer may acknowledge nothing of the rest after the other side's abort. Most end by
/// themselves much earlier; it bounds what a peer that never stops sending can hold.
pub(super) const RECEIPT: Duration = Duration::from_secs(5);

/// How long a peer may leave the rest untouched after the other side's abort, where no time limit
/// is set.
const AFTER_ABORT: Duration = Duration::from_secs(60);
