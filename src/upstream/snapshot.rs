//! Snapshot of an upstream: its servers as they are at one moment.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::addr::UpstreamAddr;
use crate::upstream::Upstream;
use crate::upstream::health::HealthState;

/// A server of an upstream at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSnapshot {
    /// Its address.
    pub addr: UpstreamAddr,
    /// Its weight for load balancing. With 0 it takes no new connections.
    pub weight: u32,
    /// Whether it is used only where no other server can be.
    pub backup: bool,
    /// Its health, as connections and checks have found it.
    pub health: HealthState,
    /// How long it is still ejected, where it is.
    pub ejected_for: Option<Duration>,
    /// The connections that it has, where they are counted: a server that is the only one of an
    /// upstream and has no limit is not counted.
    pub connections: Option<usize>,
    /// How many it may have.
    pub max_connections: Option<NonZeroU32>,
}

impl Upstream {
    /// Its servers as they are now, in the order of the configuration.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ServerSnapshot> {
        let now = Instant::now();
        let pairs = self.servers.iter().zip(&self.options.servers);
        pairs
            .map(|(server, options)| {
                let known = server.known.as_deref();
                ServerSnapshot {
                    addr: server.addr.clone(),
                    weight: options.weight,
                    backup: options.backup,
                    health: known.map_or(HealthState::Healthy, |known| known.health.state()),
                    ejected_for: known.and_then(|known| known.health.ejected_for(now)),
                    connections: known.map(|known| known.capacity.taken()),
                    max_connections: options.max_connections,
                }
            })
            .collect()
    }

    /// How many connections wait for capacity of its servers.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queue = self.known().next().map(|known| &known.wait_queue);
        queue.map_or(0, |queue| queue.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::options::{Ejection, ServerOptions, UpstreamOptions};
    use crate::upstream::registry::Registry;

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_says_of_each_server_what_it_has_and_how_it_is() {
        let addr = |text: &str| text.parse::<UpstreamAddr>().unwrap();
        let servers = ["127.0.0.1:1", "127.0.0.1:2"].map(|text| ServerOptions::from(addr(text)));
        let upstream = Upstream::new(UpstreamOptions::new("app", servers), &Registry::default());
        let known = upstream.servers[1].known.as_deref().unwrap();
        let ejection = Ejection::default();
        while known.health.failed(&ejection, false, || true).is_none() {}
        assert!(known.capacity.take());
        let [first, second] = upstream.snapshot().try_into().unwrap();
        assert_eq!(
            (first.health, first.connections),
            (HealthState::Healthy, Some(0))
        );
        assert_eq!(first.ejected_for, None);
        assert_eq!(
            (second.health, second.connections),
            (HealthState::Ejected, Some(1))
        );
        assert_eq!(second.addr, addr("127.0.0.1:2"));
        assert!(second.ejected_for.is_some_and(|time| !time.is_zero()));
        assert_eq!(upstream.waiting(), 0);
    }
}
