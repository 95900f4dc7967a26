//! Parts that serve a configuration, built beside what runs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{Action, Bind, Config, Route};
use crate::daemon::PortKey;
use crate::daemon::counts::CountsByListener;
use crate::net::{Resolver, Spot, resolve};
use crate::proxy::{self, RouteTerms};
use crate::relay;
use crate::upstream::{self, Check, Registry, Upstream};

/// The upstreams in use. One that a reload does not change goes on with its state.
pub(super) type Upstreams = HashMap<upstream::UpstreamOptions, Arc<Upstream>>;

/// The state that goes on over a reload.
#[derive(Clone, Debug, Default)]
pub(crate) struct CarriedOver {
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) counts: Arc<CountsByListener>,
    pub(super) terms: Arc<RouteTerms>,
    /// The state of servers, those of before included.
    pub(super) registry: Arc<Registry>,
    /// The resolver of all upstreams.
    pub(super) resolver: Arc<Resolver>,
    /// The places of the files of the unix sockets that are listened on.
    pub(super) spots: Vec<(PortKey, Spot)>,
}

/// A configuration built into what serves it, but not serving yet.
pub(crate) struct Parts {
    pub(super) listeners: Vec<(Arc<proxy::Listener>, Vec<Bind>)>,
    pub(super) carried_over: CarriedOver,
    /// Those that were not in use before.
    pub(super) to_activate: Vec<Arc<Upstream>>,
    /// The unix sockets whose files have been removed or replaced, so that no client finds them.
    pub(super) displaced: HashSet<PortKey>,
    pub(super) checks: Vec<Check>,
    /// Options of the resolver.
    pub(super) resolving: resolve::ResolverOptions,
}

impl Parts {
    /// Builds everything that can be built without touching what runs. `before` is what is in use.
    pub(crate) fn build(config: &Config, before: &CarriedOver) -> Self {
        let CarriedOver {
            upstreams,
            counts,
            terms,
            registry,
            resolver,
            spots,
        } = before;
        registry.tidy_up();
        let mut used = Upstreams::new();
        let mut upstream = |options: &Arc<upstream::UpstreamOptions>| {
            if let Some(upstream) = used.get(&**options) {
                return Arc::clone(upstream);
            }
            let new = || {
                Arc::new(
                    Upstream::new((**options).clone(), registry)
                        .with_resolver(Arc::clone(resolver)),
                )
            };
            let upstream = upstreams.get(&**options).map_or_else(new, Arc::clone);
            used.insert((**options).clone(), Arc::clone(&upstream));
            upstream
        };
        let mut known = HashSet::new();
        let mut build = |from: &Route| Arc::new(route(from, &mut upstream, &mut known));
        let routes: Vec<Arc<proxy::Route>> = config.routes.iter().map(&mut build).collect();
        let counts = CountsByListener::of(config, counts);
        let listeners = listeners(config, &routes, &counts);
        let terms = RouteTerms::new(&routes, terms, config.timeouts.drain);
        let is_new =
            |(options, _): &(&upstream::UpstreamOptions, _)| !upstreams.contains_key(*options);
        let to_activate = used
            .iter()
            .filter(is_new)
            .map(|(_, upstream)| Arc::clone(upstream))
            .collect();
        let checks = used
            .values()
            .flat_map(|upstream| upstream.checks())
            .collect();
        let (registry, resolver) = (Arc::clone(registry), Arc::clone(resolver));
        let carried_over = CarriedOver {
            upstreams: Arc::new(used),
            counts: Arc::new(counts),
            terms: Arc::new(terms),
            registry,
            resolver,
            spots: Vec::new(),
        };
        let displaced = spots
            .iter()
            .filter(|(_, spot)| !spot.is_taken())
            .map(|(key, _)| key.clone())
            .collect();
        Self {
            listeners,
            carried_over,
            to_activate,
            displaced,
            checks,
            resolving: config.resolver.clone(),
        }
    }
}

/// The listeners of `config`, whose tables lead to `routes`.
fn listeners(
    config: &Config,
    routes: &[Arc<proxy::Route>],
    counts: &CountsByListener,
) -> Vec<(Arc<proxy::Listener>, Vec<Bind>)> {
    let mut tables: Vec<(_, Arc<_>)> = Vec::new();
    let mut listeners = Vec::new();
    for (name, listener) in &config.listeners {
        // Listeners that share a table in the configuration share it here.
        let shared = tables
            .iter()
            .find(|(table, _)| Arc::ptr_eq(table, &listener.table))
            .map(|(_, built)| built);
        let table = shared.map_or_else(
            || Arc::new(listener.table.map(|at| Arc::clone(&routes[*at]))),
            Arc::clone,
        );
        tables.push((Arc::clone(&listener.table), Arc::clone(&table)));
        let serving = proxy::Listener {
            name: Arc::clone(name),
            hello_timeout: listener.hello_timeout,
            proxies: listener.proxies.clone().into(),
            access_log: config.access_log,
            limits: listener.limits.clone(),
            counts: counts.get(name),
            routes: table,
        };
        listeners.push((Arc::new(serving), listener.bind.clone()));
    }
    listeners
}

/// `known` are the settings of the routes before.
fn route(
    route: &Route,
    upstream: &mut impl FnMut(&Arc<upstream::UpstreamOptions>) -> Arc<Upstream>,
    known: &mut HashSet<Arc<proxy::Settings>>,
) -> proxy::Route {
    let action = match &route.action {
        Action::Passthrough(to) => proxy::Action::Passthrough(upstream(to)),
        Action::Terminate {
            upstream: to,
            acceptor,
            ..
        } => proxy::Action::Terminate(Arc::clone(acceptor), upstream(to)),
        Action::Reject => proxy::Action::Reject,
    };
    let settings = proxy::Settings {
        handshake_timeout: route.timeouts.handshake,
        connect_timeout: route.timeouts.connect,
        max_lifetime: route.timeouts.max_lifetime,
        on_remove: route.on_remove,
        relay: relay::RelayOptions {
            idle: route.timeouts.idle,
            half_close: route.timeouts.half_close,
            liveness: route.timeouts.liveness,
            on_truncation: route.on_truncation,
        },
    };
    let settings = known.get(&settings).cloned().unwrap_or_else(|| {
        let new = Arc::new(settings);
        known.insert(Arc::clone(&new));
        new
    });
    proxy::Route {
        name: Arc::clone(&route.name),
        action,
        settings,
    }
}
