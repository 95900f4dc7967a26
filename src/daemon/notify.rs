//! State of the process, as told to systemd (sd_notify(3)).
//!
//! A datagram to the socket that the environment names, which costs a system call; without such a
//! name nothing is done. It is never waited for: a message that there is no room for is lost, and
//! the next one says what is true then.

use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::{debug, warn};

use crate::os::words;

/// While connections are waited for, systemd is asked this often for more time.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// The time that is asked for. A process that hangs meanwhile is ended when it is over.
const EXTEND_BY: Duration = Duration::from_secs(30);

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Interval>,
    extend: Interval,
    /// A reload was announced, and its end was not.
    reloading: bool,
    /// Nothing but the end is to come: a reload is no news any more.
    stopping: bool,
    status: String,
}

impl Notify {
    /// As the environment says it (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub(super) fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| match open(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!(socket = %name.display(), error = %words(&error), "cannot notify the service manager");
                None
            }
        });
        let number = |name| {
            env::var(name)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
        };
        // It is inherited by the children of whom it is meant for.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog =
            number("WATCHDOG_USEC").filter(|usec| *usec > 0 && is_ours && socket.is_some());
        Self {
            socket,
            watchdog: watchdog.map(|usec| every(Duration::from_micros(usec) / 2)),
            extend: every(EXTEND_EVERY),
            reloading: false,
            stopping: false,
            status: String::new(),
        }
    }

    /// Connections are served, as `status` says.
    pub(super) fn ready(&mut self, status: String) {
        self.reloading = false;
        if self.stopping {
            return;
        }
        self.send(&format!("READY=1\nSTATUS={status}"));
        self.status = status;
    }

    /// A reload was asked for; [`ready`](Self::ready) ends it.
    pub(super) fn reloading(&mut self) {
        if self.stopping {
            return;
        }
        self.reloading = true;
        // It tells systemd that this is the answer to its signal (Type=notify-reload), and not one
        // to an earlier one.
        let now = clock_gettime(ClockId::Monotonic);
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            now.tv_sec * 1_000_000 + now.tv_nsec / 1000
        ));
    }

    /// Whether a reload was announced whose end was not.
    pub(super) fn is_reloading(&self) -> bool {
        self.reloading
    }

    /// The status to report meanwhile. Sent if it is news.
    pub(super) fn status(&mut self, status: impl FnOnce() -> String) {
        if self.socket.is_none() {
            return;
        }
        let status = status();
        if status != self.status {
            self.send(&format!("STATUS={status}"));
            self.status = status;
        }
    }

    /// Open connections are waited for, for this long at most.
    pub(super) fn stopping(&mut self, status: &str, at_most: Duration) {
        self.stopping = true;
        self.send(&format!(
            "STOPPING=1\nSTATUS={status}\n{}",
            extension(at_most)
        ));
        self.extend = every(EXTEND_EVERY);
    }

    /// Asks for more time to stop, every few seconds: `end` is when the waiting is over.
    pub(super) async fn keep_stopping(&mut self, end: Instant) {
        loop {
            tokio::select! {
                _ = self.extend.tick() => self.send(&extension(end.saturating_duration_since(Instant::now()))),
                () = tick(&mut self.watchdog) => self.send("WATCHDOG=1"),
            }
        }
    }

    /// Shows that the loop which waits for this is alive, as often as systemd wants it. Never
    /// returns where it does not want it; cancel safe.
    pub(super) async fn watchdog(&mut self) {
        tick(&mut self.watchdog).await;
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, addr)) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), addr) {
            debug!(%error, message, "cannot notify the service manager");
        }
    }
}

fn open(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let addr = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, addr))
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(
        Instant::now() + period,
        period.max(Duration::from_millis(1)),
    );
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => _ = interval.tick().await,
        None => std::future::pending().await,
    }
}

/// More than is left, for the last lines of those who are cut off.
fn extension(left: Duration) -> String {
    let extension = (left + EXTEND_EVERY / 2).min(EXTEND_BY);
    format!("EXTEND_TIMEOUT_USEC={}", extension.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_time_is_asked_for_than_passes_until_the_next_time_and_less_than_a_long_drain() {
        assert_eq!(
            extension(Duration::from_secs(3600)),
            "EXTEND_TIMEOUT_USEC=30000000"
        );
        assert_eq!(
            extension(Duration::from_secs(1)),
            "EXTEND_TIMEOUT_USEC=6000000"
        );
        assert!(EXTEND_BY > EXTEND_EVERY);
    }
}
