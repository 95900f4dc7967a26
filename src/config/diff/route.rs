//! The keys of a route, without its form as a file: there may be 100,000 of them at each reload.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use crate::config::diff::keys::{hash, hash_all};
use crate::config::diff::tables::{KeyWriter, ValueHash};
use crate::config::model::{Action, Config, Route, Timeouts};
use crate::net::Liveness;
use crate::proxy::OnRemove;
use crate::route::Rule;

/// What routes have that say nothing else.
pub(super) struct RouteDefaults<'a> {
    config: &'a Config,
    certificates: Vec<&'a Arc<str>>,
}

impl<'a> RouteDefaults<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        let shown_to_servers: BTreeSet<&Arc<str>> = config
            .routes
            .iter()
            .filter_map(|route| route.action.upstream()?.tls.as_ref())
            .filter_map(|tls| tls.options().certificate.as_ref())
            .map(|(name, _)| name)
            .collect();
        let shown_to_clients = |name: &&Arc<str>| {
            config.routes.iter().any(|route| match &route.action {
                Action::Terminate { certificates, .. } => certificates.contains(*name),
                Action::Passthrough(_) | Action::Reject => false,
            })
        };
        let certificates = config
            .certificates
            .keys()
            .filter(|name| !shown_to_servers.contains(name) || shown_to_clients(name))
            .collect();
        Self {
            config,
            certificates,
        }
    }
}

/// Writes down the values of `route`, each under the key that `show` prints it with.
pub(super) fn keys(route: &Route, inherited: &RouteDefaults<'_>, row: &mut KeyWriter<'_>) {
    let Route {
        name: _,
        rule,
        listeners,
        action,
        timeouts: own,
        on_remove,
        on_truncation,
    } = route;
    let Rule {
        names,
        from,
        alpn,
        strict_sni,
        target: _,
    } = rule;
    let mut put = |key: &str, value: u64, is_inherited: bool| {
        row.put(key, ValueHash::new(value).inherited_if(is_inherited));
    };
    put("sni", hash_all(names.iter()), false);
    if !alpn.is_empty() {
        put("alpn", hash_all(alpn.iter()), false);
    }
    if !from.is_empty() {
        put("from", hash_all(from.iter()), false);
    }
    if let Some(listeners) = listeners {
        put("listeners", hash_all(listeners.iter()), false);
    }
    put("strict_sni", hash(strict_sni), false);
    put("action", hash(discriminant(action)), false);
    if let Some(upstream) = action.upstream() {
        put("upstream", hash(&upstream.name), false);
    }
    let (mut has_tls, mut default) = (false, OnRemove::Keep);
    if let Action::Terminate {
        tls,
        certificates,
        acceptor,
        upstream: _,
    } = action
    {
        has_tls = inherited.config.tls.contains_key(tls);
        if has_tls {
            put("tls", hash(tls), **tls == *"default");
        }
        let are_inherited = certificates
            .iter()
            .eq(inherited.certificates.iter().copied());
        put("certificates", hash(certificates), are_inherited);
        put("on_truncation", hash(on_truncation), false);
        if acceptor.is_recallable() {
            default = OnRemove::Close;
        }
    }
    if !matches!(action, Action::Reject) {
        put("on_remove", hash(on_remove), *on_remove == default);
        timeouts(own, &inherited.config.timeouts, has_tls, &mut put);
    }
}

fn timeouts(own: &Timeouts, all: &Timeouts, has_tls: bool, put: &mut impl FnMut(&str, u64, bool)) {
    // Those of the listener and of the process are not the route's.
    let Timeouts {
        hello: _,
        drain: _,
        handshake,
        connect,
        idle,
        half_close,
        max_lifetime,
        liveness: Liveness {
            keepalive,
            unacknowledged,
        },
    } = own;
    let mut put = |key: &str, own: Option<Duration>, all: Option<Duration>| {
        put(key, hash(own), own == all);
    };
    if has_tls {
        put("timeouts.handshake", Some(*handshake), Some(all.handshake));
    }
    put("timeouts.connect", Some(*connect), Some(all.connect));
    put("timeouts.idle", *idle, all.idle);
    put("timeouts.half_close", *half_close, all.half_close);
    put("timeouts.max_lifetime", *max_lifetime, all.max_lifetime);
    put("timeouts.keepalive", *keepalive, all.liveness.keepalive);
    put(
        "timeouts.unacknowledged",
        *unacknowledged,
        all.liveness.unacknowledged,
    );
}
