//! What is known of servers, found again by whatever upstream a reload makes of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::addr::UpstreamAddr;
use crate::tls::Connector;
use crate::upstream::options::Options;
use crate::upstream::outage::Together;
use crate::upstream::places::{Line, Places};
use crate::upstream::standing::Standing;

/// What makes a server the same one: the name of its upstream, and its address. Those of upstreams
/// without a name are the same if their address is.
pub(super) type Identity = (Arc<str>, UpstreamAddr);

/// The servers that anybody uses, or has a connection to.
#[derive(Debug, Default)]
pub struct Registry {
    known: Mutex<Known>,
}

/// Weak, so that what nobody uses any more goes away.
#[derive(Debug, Default)]
struct Known {
    places: HashMap<Identity, Weak<Places>>,
    /// A server that other authorities vouch for has yet to show that it is well.
    standings: HashMap<(Identity, Option<Arc<Connector>>), Weak<Standing>>,
    lines: HashMap<Arc<str>, Weak<Line>>,
    together: HashMap<Arc<str>, Weak<Together>>,
}

impl Registry {
    pub(super) fn places(&self, identity: &Identity, limit: Option<NonZeroU32>) -> Arc<Places> {
        get(&mut self.known().places, identity.clone(), || {
            Places::new(limit)
        })
    }

    pub(super) fn standing(&self, identity: &Identity, options: &Options) -> Arc<Standing> {
        get(
            &mut self.known().standings,
            (identity.clone(), options.tls.clone()),
            Standing::default,
        )
    }

    pub(super) fn line(&self, name: &Arc<str>) -> Arc<Line> {
        get(&mut self.known().lines, Arc::clone(name), Line::default)
    }

    pub(super) fn together(&self, name: &Arc<str>) -> Arc<Together> {
        get(
            &mut self.known().together,
            Arc::clone(name),
            Together::default,
        )
    }

    /// Lets go of the keys of what is not there any more.
    pub fn tidy_up(&self) {
        let mut known = self.known();
        known.places.retain(|_, places| places.strong_count() > 0);
        known
            .standings
            .retain(|_, standing| standing.strong_count() > 0);
        known.lines.retain(|_, line| line.strong_count() > 0);
        known
            .together
            .retain(|_, together| together.strong_count() > 0);
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
        let places = registry.places(&identity("u", "10.0.0.1:1"), None);
        let found =
            |name, addr| Arc::ptr_eq(&places, &registry.places(&identity(name, addr), None));
        assert!(found("u", "10.0.0.1:1"));
        assert!(!found("v", "10.0.0.1:1") && !found("u", "10.0.0.1:2"));
        registry.tidy_up();
        assert_eq!(registry.known().places.len(), 1);
        drop(places);
        registry.tidy_up();
        assert!(registry.known().places.is_empty());
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
            Options {
                tls,
                ..Options::new("u", Vec::<ServerOptions>::new())
            }
        };
        let standing = registry.standing(&identity, &options(Some("a.example")));
        let line = registry.line(&identity.0);
        let found = |name| Arc::ptr_eq(&standing, &registry.standing(&identity, &options(name)));
        assert!(found(Some("a.example")));
        assert!(!found(Some("b.example")) && !found(None));
        registry.tidy_up();
        assert_eq!(registry.known().standings.len(), 1);
        assert_eq!(registry.known().lines.len(), 1);
        drop((standing, line));
        registry.tidy_up();
        assert!(registry.known().standings.is_empty());
        assert!(registry.known().lines.is_empty());
    }
}
