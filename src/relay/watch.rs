//! One lazy timer for all that a relay may wait for too long, and for what no event tells.
//!
//! Activity costs nothing: the timer looks at a counter when it fires, a few times in each period.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// What the timer has seen so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    period: Option<Duration>,
    /// What the timer is set to.
    tick: Option<Duration>,
    seen: u64,
    quiet: Duration,
}

/// Why the timer asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// There was no progress for the whole period, or up to a quarter longer.
    Silence,
    /// It is time to look after a side from which nothing is read at present.
    Look,
    /// The relay has lasted for as long as was asked for.
    First,
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// A period without progress.
    pub(super) silence: Option<Duration>,
    /// An alarm every few seconds.
    pub(super) look: bool,
    /// One alarm after so long, or earlier if another one is due anyway. Nothing once it has come.
    pub(super) first: Option<Duration>,
}

impl Watch {
    /// Waits for a period without `progress`, which begins anew when the period is another. While `look` is set, which
    /// may change at any time, an alarm comes every few seconds.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Option<Sleep>>,
        waits: Waits,
        progress: u64,
    ) -> Poll<Alarm> {
        let Waits { silence: period, look, first } = waits;
        let tick = waits.tick();
        // A flow that is held up now and then must not set the timer each time: only a shorter wait is set at once.
        if self.period != period || (look && self.tick > tick) || self.tick.is_none() {
            if self.period != period {
                *self = Self { period, seen: progress, ..Self::default() };
            }
            self.tick = tick;
            timer.set(tick.map(sleep));
        }
        loop {
            let Some(running) = timer.as_mut().as_pin_mut() else { return Poll::Pending };
            ready!(running.poll(cx));
            let passed = self.tick.unwrap_or_default();
            self.quiet = if self.seen == progress { self.quiet + passed } else { Duration::ZERO };
            self.seen = progress;
            self.tick = tick;
            match (tick, timer.as_mut().as_pin_mut()) {
                (Some(tick), Some(running)) => running.reset(Instant::now() + tick),
                _ => timer.set(None),
            }
            if period.is_some_and(|period| self.quiet >= period) {
                return Poll::Ready(Alarm::Silence);
            }
            if first.is_some() {
                return Poll::Ready(Alarm::First);
            }
            if look {
                return Poll::Ready(Alarm::Look);
            }
        }
    }
}

impl Waits {
    fn tick(self) -> Option<Duration> {
        let look = self.look.then_some(LOOK_EVERY);
        self.silence.map(|period| period / TICKS).into_iter().chain(look).chain(self.first).min()
    }
}

/// How often the counter is looked at in each period.
const TICKS: u32 = 4;

/// How soon it is noticed that a side is gone from which nothing is read, because the other takes nothing.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
