//! One lazy timer for all that a relay may wait for too long, and for what no event tells.
//!
//! Activity costs nothing: the timer looks at a counter when it fires, a few times in each period.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// The state of the timer.
#[derive(Debug, Default)]
pub(super) struct Watch {
    period: Option<Duration>,
    /// The period that the timer is set to, or more where it was set before this period began.
    tick: Option<Duration>,
    /// The progress when the timer was set, if that was in this period.
    seen: Option<u64>,
    quiet: Duration,
    /// The time that the timer has measured since there was any.
    age: Duration,
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

/// The events that are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readiness {
    /// A period without progress.
    pub(super) silence: Option<Duration>,
    /// An alarm every few seconds.
    pub(super) look: bool,
    /// One alarm after so long, or earlier if another one is due anyway. Nothing once it has come.
    pub(super) first: Option<Duration>,
}

impl Watch {
    /// Waits for a period without `progress`, which begins anew when the period is another. While
    /// `look` is set, which may change at any time, an alarm comes every few seconds.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Option<Sleep>>,
        waits: Readiness,
        progress: u64,
    ) -> Poll<Alarm> {
        let Readiness {
            silence: period,
            look,
            first,
        } = waits;
        let tick = waits.tick(self.age);
        // A flow that is held up now and then must not set the timer each time: only a shorter wait
        // is set at once.
        if self.period != period || (look && self.tick > tick) || self.tick.is_none() {
            if self.period != period {
                *self = Self {
                    period,
                    age: self.age,
                    ..Self::default()
                };
            }
            let due = tick.map(|tick| Instant::now() + tick);
            match (timer.as_mut().as_pin_mut(), due) {
                // Setting it again is a call to the kernel where no other timer is due before it.
                (Some(running), Some(due)) if running.deadline() <= due => {
                    self.tick = self.tick.or(tick)
                }
                (Some(_), _) => self.set(timer.as_mut(), tick, progress),
                // The relay may be half closed in no time, and is to find the timer that it needs
                // then.
                (None, _) => self.set(
                    timer.as_mut(),
                    tick.map(|tick| tick.min(LOOK_EVERY)),
                    progress,
                ),
            }
        }
        loop {
            let Some(running) = timer.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            ready!(running.poll(cx));
            let passed = self.tick.unwrap_or_default();
            self.age += passed;
            self.quiet = if self.seen == Some(progress) {
                self.quiet + passed
            } else {
                Duration::ZERO
            };
            let is_first = first.is_some_and(|first| look || self.age >= first);
            let tick = waits.tick(self.age);
            (self.tick, self.seen) = (tick, Some(progress));
            match (tick, timer.as_mut().as_pin_mut()) {
                (Some(tick), Some(running)) => running.reset(Instant::now() + tick),
                _ => timer.set(None),
            }
            if period.is_some_and(|period| self.quiet >= period) {
                return Poll::Ready(Alarm::Silence);
            }
            if is_first {
                return Poll::Ready(Alarm::First);
            }
            if look {
                return Poll::Ready(Alarm::Look);
            }
        }
    }

    fn set(&mut self, mut timer: Pin<&mut Option<Sleep>>, tick: Option<Duration>, progress: u64) {
        (self.tick, self.seen) = (tick, Some(progress));
        timer.set(tick.map(sleep));
    }
}

impl Readiness {
    /// How soon the timer has to look again, after it has looked for `age`.
    fn tick(self, age: Duration) -> Option<Duration> {
        let look = self.look.then_some(LOOK_EVERY);
        let first = self.first.map(|first| first.saturating_sub(age));
        self.silence
            .map(|period| period / TICKS)
            .into_iter()
            .chain(look)
            .chain(first)
            .min()
    }
}

/// How often the counter is looked at in each period.
const TICKS: u32 = 4;

/// How soon it is noticed that a side is gone from which nothing is read, because the other takes
/// nothing.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    const IDLE: Readiness = Readiness {
        silence: Some(Duration::from_secs(3600)),
        look: false,
        first: Some(Duration::from_secs(10)),
    };
    const HALF_CLOSED: Readiness = Readiness {
        silence: Some(Duration::from_secs(60)),
        look: true,
        ..IDLE
    };

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_is_soon_half_closed_keeps_the_timer_that_it_has() {
        let (mut watch, mut timer) = (Watch::default(), pin!(None::<Sleep>));
        let mut due = |waits| {
            let polled = watch.poll(
                &mut Context::from_waker(Waker::noop()),
                timer.as_mut(),
                waits,
                0,
            );
            assert!(polled.is_pending());
            timer.as_mut().as_pin_mut().map(|timer| timer.deadline())
        };
        let first = due(IDLE);
        tokio::time::advance(Duration::from_millis(5)).await;
        assert_eq!(due(HALF_CLOSED), first);
    }

    #[tokio::test(start_paused = true)]
    async fn no_silence_is_shorter_than_its_period_nor_much_longer_when_the_period_changes() {
        for after in [0, 5, 1999, 2001, 9999, 10_001, 700_000].map(Duration::from_millis) {
            let (mut watch, mut timer) = (Watch::default(), pin!(None::<Sleep>));
            let mut waits = IDLE;
            let change = tokio::time::sleep(after);
            tokio::pin!(change);
            loop {
                let alarm = poll_fn(|cx| watch.poll(cx, timer.as_mut(), waits, 0));
                tokio::select! {
                    biased;
                    () = &mut change => break,
                    alarm = alarm => {
                        assert_eq!(alarm, Alarm::First);
                        waits.first = None;
                    }
                }
            }
            let begun = Instant::now();
            waits = Readiness {
                first: waits.first,
                ..HALF_CLOSED
            };
            while let alarm = poll_fn(|cx| watch.poll(cx, timer.as_mut(), waits, 0)).await
                && alarm != Alarm::Silence
            {
                waits.first = waits.first.filter(|_| alarm != Alarm::First);
            }
            let silence = begun.elapsed();
            assert!(
                (60.0..=62.1).contains(&silence.as_secs_f64()),
                "{silence:?} after {after:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_once_comes_no_earlier_though_the_timer_does() {
        let (mut watch, mut timer) = (Watch::default(), pin!(None::<Sleep>));
        let begun = Instant::now();
        assert_eq!(
            poll_fn(|cx| watch.poll(cx, timer.as_mut(), IDLE, 0)).await,
            Alarm::First
        );
        let passed = begun.elapsed().as_secs_f64();
        assert!((10.0..10.1).contains(&passed), "{passed} s");
    }
}
