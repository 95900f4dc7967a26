//! Registry of servers: their health and counts, found again by whatever upstream a reload makes of
//! them.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::addr::UpstreamAddr;
use crate::tls::Connector;
use crate::upstream::capacity::{Capacity, WaitQueue};
use crate::upstream::health::ServerHealth;
use crate::upstream::options::UpstreamOptions;
use crate::upstream::outage::ServerGroup;

/// Identity of a server: the name of its upstream, and its address. Those of upstreams without a
/// name are the same if their address is.
pub(super) type Identity = (Arc<str>, UpstreamAddr);

/// The servers that an upstream uses, or that have a connection.
#[derive(Debug, Default)]
pub struct Registry {
    known: Mutex<Known>,
}

/// Weak, so that a server that is not used any more goes away.
#[derive(Debug, Default)]
struct Known {
    capacity: HashMap<Identity, Weak<Capacity>>,
    /// A server that other authorities vouch for has yet to show that it is well.
    standings: HashMap<(Identity, Option<Arc<Connector>>), Weak<ServerHealth>>,
    lines: HashMap<Arc<str>, Weak<WaitQueue>>,
    group: HashMap<Arc<str>, Weak<ServerGroup>>,
}

impl Registry {
    pub(super) fn capacity(&self, identity: &Identity, limit: Option<NonZeroU32>) -> Arc<Capacity> {
        get(&mut self.known().capacity, identity.clone(), || {
            Capacity::new(limit)
        })
    }

    pub(super) fn health(
        &self,
        identity: &Identity,
        options: &UpstreamOptions,
    ) -> Arc<ServerHealth> {
        get(
            &mut self.known().standings,
            (identity.clone(), options.tls.clone()),
            ServerHealth::default,
        )
    }

    pub(super) fn wait_queue(&self, name: &Arc<str>) -> Arc<WaitQueue> {
        get(
            &mut self.known().lines,
            Arc::clone(name),
            WaitQueue::default,
        )
    }

    pub(super) fn group(&self, name: &Arc<str>) -> Arc<ServerGroup> {
        get(
            &mut self.known().group,
            Arc::clone(name),
            ServerGroup::default,
        )
    }

    /// Lets go of the keys of what is not there any more.
    pub fn tidy_up(&self) {
        let mut known = self.known();
        known
            .capacity
            .retain(|_, capacity| capacity.strong_count() > 0);
        known
            .standings
            .retain(|_, health| health.strong_count() > 0);
        known
            .lines
            .retain(|_, wait_queue| wait_queue.strong_count() > 0);
        known.group.retain(|_, group| group.strong_count() > 0);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn get<K: Eq + Hash, V>(
    known: &mut HashMap<K, Weak<V>>,
    key: K,
    new: impl FnOnce() -> V,
) -> Arc<V> {
    let entry = known.entry(key).or_default();
    entry.upgrade().unwrap_or_else(|| {
        let value = Arc::new(new());
        *entry = Arc::downgrade(&value);
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{ConnectorOptions, MinVersion, Verification};
    use crate::upstream::options::ServerOptions;

    #[test]
    fn a_server_is_found_again_by_name_and_address_for_as_long_as_anybody_uses_it() {
        let registry = Registry::default();
        let identity = |name: &str, addr: &str| (Arc::from(name), addr.parse().unwrap());
        let capacity = registry.capacity(&identity("u", "10.0.0.1:1"), None);
        let found =
            |name, addr| Arc::ptr_eq(&capacity, &registry.capacity(&identity(name, addr), None));
        assert!(found("u", "10.0.0.1:1"));
        assert!(!found("v", "10.0.0.1:1") && !found("u", "10.0.0.1:2"));
        registry.tidy_up();
        assert_eq!(registry.known().capacity.len(), 1);
        drop(capacity);
        registry.tidy_up();
        assert!(registry.known().capacity.is_empty());
    }

    #[test]
    fn what_is_known_of_health_counts_for_the_same_authorities_alone_and_goes_with_the_last_user() {
        let registry = Registry::default();
        let identity = (Arc::from("u"), "10.0.0.1:1".parse().unwrap());
        let options = |server_name: Option<&str>| {
            let tls = server_name.map(|name| ConnectorOptions {
                upstream: "u".into(),
                server_name: Some(name.parse().unwrap()),
                verification: Verification::Insecure,
                pins: Vec::new(),
                certificate: None,
                min_version: MinVersion::Tls12,
                groups: Vec::new(),
                alpn: Vec::new(),
            });
            let tls = tls.map(|tls| Arc::new(Connector::new(tls).unwrap()));
            UpstreamOptions {
                tls,
                ..UpstreamOptions::new("u", Vec::<ServerOptions>::new())
            }
        };
        let health = registry.health(&identity, &options(Some("a.example")));
        let wait_queue = registry.wait_queue(&identity.0);
        let found = |name| Arc::ptr_eq(&health, &registry.health(&identity, &options(name)));
        assert!(found(Some("a.example")));
        assert!(!found(Some("b.example")) && !found(None));
        registry.tidy_up();
        assert_eq!(registry.known().standings.len(), 1);
        assert_eq!(registry.known().lines.len(), 1);
        drop((health, wait_queue));
        registry.tidy_up();
        assert!(registry.known().standings.is_empty());
        assert!(registry.known().lines.is_empty());
    }
}
