//! Lease: a connection's share of a server's capacity.

use crate::addr::UpstreamAddr;
use crate::upstream::Server;
use crate::upstream::health::HealthState;

/// A connection's share of a server's capacity, from before the server is tried until the
/// connection has ended. Given back when dropped.
///
/// It is part of every connection, and no larger than it must be.
#[derive(Debug)]
pub struct Lease<'a>(&'a Server);

/// A lease on a server that is being tried.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    lease: Lease<'a>,
    /// Whether the server is ejected and this is who tries it.
    on_trial: bool,
}

impl<'a> Lease<'a> {
    /// The server's address.
    #[must_use]
    pub fn addr(&self) -> &'a UpstreamAddr {
        &self.0.addr
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(known) = &self.0.known {
            known.wait_queue.give_back(&known.capacity);
        }
    }
}

impl<'a> Attempt<'a> {
    /// For capacity that has been taken.
    pub(super) fn at(server: &'a Server) -> Self {
        Self {
            lease: Lease(server),
            on_trial: false,
        }
    }

    /// The server is ejected, and this attempt is its trial.
    pub(super) fn try_out(&mut self) {
        self.on_trial = true;
    }

    pub(super) fn server(&self) -> &'a Server {
        self.lease.0
    }

    /// Whether there is any hope.
    pub(super) fn is_hopeful(&self) -> bool {
        self.on_trial
            || self
                .server()
                .known
                .as_ref()
                .is_none_or(|known| known.health.state() == HealthState::Healthy)
    }

    /// The trial has come to its end, if it was one.
    pub(super) fn end_trial(&mut self) -> bool {
        std::mem::take(&mut self.on_trial)
    }

    /// The server was reached: from now on this is a connection.
    pub(super) fn into_lease(mut self) -> Lease<'a> {
        self.end_trial();
        let server = self.server();
        std::mem::forget(self);
        Lease(server)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.server().known.as_ref().filter(|_| self.on_trial) {
            known.health.give_up_trial();
        }
    }
}
