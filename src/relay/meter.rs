//! Meter of a relay: what it has moved so far, for any thread to read.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use crate::wire::AlertDescription;

/// The counts of a relay so far. The relay's own task writes them, without a lock and without a
/// wait; a reader meanwhile sees each of the values as it was a moment ago.
#[derive(Debug, Default)]
pub struct Meter {
    pub(super) sent: Count,
    pub(super) received: Count,
    client_truncated: AtomicBool,
    server_truncated: AtomicBool,
    /// One more than the number of the alert; nothing yet where zero.
    alert: AtomicU16,
}

/// The values of a [`Meter`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that were handed to the client's socket.
    pub sent: u64,
    /// Bytes that came from the client and were handed to the server's socket.
    pub received: u64,
    /// The client ended its TLS stream without a `close_notify`, so that its end may be an
    /// attacker's.
    pub client_truncated: bool,
    /// The server ended its TLS stream without a `close_notify`.
    pub server_truncated: bool,
    /// The alert that the server's answer began with, where the relay carries TLS that is not
    /// snigate's.
    pub alert: Option<AlertDescription>,
}

/// A number that one task counts and any thread may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts `number` more. For the one task that counts: two at a time would lose some.
    pub fn add(&self, number: u64) {
        self.set(self.get() + number);
    }

    /// Begins anew at `number`.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// The number of now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Meter {
    /// The values of now.
    #[must_use]
    pub fn read(&self) -> Moved {
        let alert = self.alert.load(Ordering::Relaxed).checked_sub(1);
        Moved {
            sent: self.sent.get(),
            received: self.received.get(),
            client_truncated: self.client_truncated.load(Ordering::Relaxed),
            server_truncated: self.server_truncated.load(Ordering::Relaxed),
            alert: alert
                .and_then(|alert| u8::try_from(alert).ok())
                .map(AlertDescription),
        }
    }

    pub(super) fn client_is_truncated(&self) {
        self.client_truncated.store(true, Ordering::Relaxed);
    }

    pub(super) fn server_is_truncated(&self) {
        self.server_truncated.store(true, Ordering::Relaxed);
    }

    /// Sets the alert that the server's answer is by now: more bytes may show that it is none.
    pub(super) fn set_alert(&self, alert: Option<AlertDescription>) {
        let alert = alert.map_or(0, |alert| u16::from(alert.0) + 1);
        self.alert.store(alert, Ordering::Relaxed);
    }
}
