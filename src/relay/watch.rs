//! One lazy timer for all that a relay may wait for too long.
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
    seen: u64,
    quiet: u32,
}

impl Watch {
    /// Ready once `progress` has stayed the same for `period`, or up to a quarter longer. Begins anew when the period is another.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Option<Sleep>>,
        period: Option<Duration>,
        progress: u64,
    ) -> Poll<()> {
        if self.period != period {
            *self = Self { period, seen: progress, quiet: 0 };
            timer.set(period.map(|period| sleep(period / TICKS)));
        }
        let (Some(mut timer), Some(period)) = (timer.as_pin_mut(), period) else { return Poll::Pending };
        loop {
            ready!(timer.as_mut().poll(cx));
            self.quiet = if self.seen == progress { self.quiet + 1 } else { 0 };
            self.seen = progress;
            if self.quiet >= TICKS {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + period / TICKS);
        }
    }
}

/// How often the counter is looked at in each period.
const TICKS: u32 = 4;
