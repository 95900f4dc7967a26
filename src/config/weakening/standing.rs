//! Memory of a configuration, to compare the next one with: tables, which are shared with what
//! serves, and of each route what it asks of clients.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::Arc;

use crate::addr::Sender;
use crate::config;
use crate::config::compile::listeners::conflict;
use crate::config::file::ClientAuthMode;
use crate::config::model::{Action, Bind, Config, Serving};
use crate::config::weakening::Weakening;
use crate::config::weakening::guard::Guard;
use crate::config::weakening::upstreams;
use crate::proxy::Limits;
use crate::route::Table;
use crate::upstream;

/// The protections and routes of one configuration, as clients meet them.
#[derive(Debug)]
pub struct Standing {
    pub(super) listeners: BTreeMap<Arc<str>, Listener>,
    /// The targets of the tables are positions in this list.
    pub(super) routes: Vec<Route>,
    serving: Arc<Serving>,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) name: Arc<str>,
    pub(super) bind: Vec<Bind>,
    pub(super) proxies: Vec<Sender>,
    pub(super) limits: Limits,
    pub(super) table: Arc<Table<usize>>,
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: Arc<str>,
    pub(super) meets: Meets,
    /// Where the plaintext of a session goes, if over TLS.
    upstream: Option<Arc<upstream::UpstreamOptions>>,
    /// The plaintext of a session goes to this machine alone.
    is_local: bool,
    pub(super) is_strict: bool,
    /// It names its listeners.
    pub(super) on_some_listeners: bool,
}

/// The other side that a client meets.
#[derive(Debug)]
pub(super) enum Meets {
    /// None: it is refused.
    Nothing,
    /// A server, through which it passes.
    Server,
    /// A session with snigate.
    Session(Arc<Guard>),
}

impl Standing {
    /// The standing of `config`.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut guards: BTreeMap<&Arc<str>, Arc<Guard>> = BTreeMap::new();
        let mut guard = |table| {
            let new = || {
                Arc::new(Guard {
                    table: Arc::clone(table),
                    tls: config.tls.get(table).cloned(),
                })
            };
            Arc::clone(guards.entry(table).or_insert_with(new))
        };
        let route = |from: &config::Route, meets, upstream| Route {
            name: Arc::clone(&from.name),
            meets,
            upstream,
            is_local: from
                .action
                .upstream()
                .is_some_and(|upstream| upstreams::is_local(upstream)),
            is_strict: from.rule.strict_sni,
            on_some_listeners: from.listeners.is_some(),
        };
        let routes = config.routes.iter().map(|from| match &from.action {
            Action::Reject => route(from, Meets::Nothing, None),
            Action::Passthrough(_) => route(from, Meets::Server, None),
            Action::Terminate { upstream, tls, .. } => {
                // Of the others there is nothing to compare.
                let upstream = Some(upstream)
                    .filter(|upstream| upstream.tls.is_some())
                    .map(Arc::clone);
                route(from, Meets::Session(guard(tls)), upstream)
            }
        });
        let routes = routes.collect();
        let listener = |(name, from): (&Arc<str>, &config::Listener)| {
            let listener = Listener {
                name: Arc::clone(name),
                bind: from.bind.clone(),
                proxies: from.proxies.clone(),
                limits: from.limits.clone(),
                table: Arc::clone(&from.table),
            };
            (Arc::clone(name), listener)
        };
        let serving = Arc::new(serving(config));
        Self {
            listeners: config.listeners.iter().map(listener).collect(),
            routes,
            serving,
        }
    }

    /// The certificates that clients are shown.
    #[must_use]
    pub fn serving(&self) -> &Arc<Serving> {
        &self.serving
    }

    /// The listeners that had clients of `listener`, by any of its addresses, or else the one that
    /// had its name.
    pub(super) fn listeners(&self, name: &Arc<str>, listener: &Listener) -> Vec<&Listener> {
        let meets = |bind: &Bind| {
            listener
                .bind
                .iter()
                .any(|other| conflict(&other.addr, &bind.addr))
        };
        let by_addr: Vec<_> = self
            .listeners
            .values()
            .filter(|before| before.bind.iter().any(meets))
            .collect();
        if by_addr.is_empty() {
            self.listeners.get(name).into_iter().collect()
        } else {
            by_addr
        }
    }

    /// The listeners whose clients no listener of `new` has by an address or a name.
    pub(super) fn gone(&self, new: &Self) -> Vec<&Listener> {
        let found: Vec<_> = new
            .listeners
            .iter()
            .flat_map(|(name, listener)| self.listeners(name, listener))
            .collect();
        self.listeners
            .values()
            .filter(|before| !found.iter().any(|found| ptr::eq(*found, *before)))
            .collect()
    }
}

fn serving(config: &Config) -> Serving {
    let names = config
        .routes
        .iter()
        .filter_map(|route| match &route.action {
            Action::Terminate { certificates, .. } => Some(certificates),
            Action::Passthrough(_) | Action::Reject => None,
        });
    let serves = |name: &Arc<str>| {
        let named = config
            .certificates
            .get(name)
            .filter(|named| !named.stands_back)?;
        let all = std::iter::once(&named.certificate).chain(&named.later);
        Some((
            Arc::clone(name),
            all.map(|certificate| certificate.fingerprint().into())
                .collect(),
        ))
    };
    names.flatten().filter_map(serves).collect()
}

impl Route {
    /// Whether both ask the same, what their `[tls]` tables ask aside.
    pub(super) fn is_same_but_for_guard(&self, other: &Self) -> bool {
        let upstreams = match (&self.upstream, &other.upstream) {
            (None, None) => true,
            (Some(one), Some(other)) => one.tls == other.tls,
            _ => false,
        };
        upstreams
            && self.name == other.name
            && self.is_strict == other.is_strict
            && self.on_some_listeners == other.on_some_listeners
    }

    /// Finds what a client that met `old` would no longer meet by this route.
    pub(super) fn compare(&self, old: &Self, weakening: &mut Weakening) {
        let mut losses = Vec::new();
        let behind = if old.name == self.name {
            String::new()
        } else {
            format!(", for clients of routes.{}", old.name)
        };
        match (&old.meets, &self.meets) {
            (Meets::Session(before), Meets::Session(now)) => {
                losses.extend(now.losses(before));
                if let Some(before) = &old.upstream {
                    losses.extend(match &self.upstream {
                        Some(now) => upstreams::losses(before, now),
                        None if self.is_local => Vec::new(),
                        None => upstreams::gone(),
                    });
                }
                if old.is_strict && !self.is_strict {
                    weakening.vanished.add(
                        Some(&self.name),
                        format!("routes.{}{behind}: strict_sni would go", self.name),
                    );
                }
            }
            (Meets::Session(before), Meets::Server) if before.mode() != ClientAuthMode::None => {
                let (name, mode) = (&self.name, before.mode().word());
                let text = format!(
                    "routes.{name}{behind}: client authentication ({mode}) would go: clients pass through"
                );
                weakening.vanished.add(Some(name), text);
            }
            (Meets::Session(_) | Meets::Nothing, _) | (_, Meets::Nothing) => {}
            (Meets::Server, Meets::Server) => {}
            (Meets::Server, Meets::Session(_)) => {
                let text = format!(
                    "routes.{}: clients would no longer pass through to a server",
                    self.name
                );
                weakening.loosened.add(Some(&self.name), text);
            }
        }
        for loss in losses {
            let into = if loss.is_gone {
                &mut weakening.vanished
            } else {
                &mut weakening.loosened
            };
            into.add(
                Some(&self.name),
                format!("routes.{}{behind}: {}", self.name, loss.text),
            );
        }
    }
}
