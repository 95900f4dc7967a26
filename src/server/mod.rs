//! From a configuration to running things, and from one configuration to the next without losing a connection.

mod files;
mod lifecycle;
mod loader;

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{error, info};

use crate::addr::ListenAddr;
use crate::config::{Action, Config, Route};
use crate::net::{Resolver, listen, resolve};
use crate::proxy::{self, Connections, Port, Terms, accept};
use crate::relay;
use crate::upstream::{self, Upstream};

pub use lifecycle::{RunError, run};

/// What tells one listening socket from another over a reload: its address, or, where the kernel chooses the port, its
/// place in its listener.
type PortKey = (ListenAddr, Option<(Arc<str>, usize)>);

/// The upstreams in use. One that a reload does not change goes on with its state.
type Upstreams = HashMap<upstream::Options, Arc<Upstream>>;

/// Something that a reload has replaced.
type Retired = Arc<dyn Any + Send + Sync>;

/// A listening socket could not be opened.
#[derive(Debug, Error)]
#[error("listeners.{listener}: cannot listen on {addr}: {error}{}", advice(*.addr, .error, *.own))]
pub struct BindError {
    /// The listener.
    pub listener: Arc<str>,
    /// The address.
    pub addr: ListenAddr,
    /// Why.
    #[source]
    pub error: io::Error,
    /// snigate itself listens on this port, on another address.
    pub own: bool,
}

fn advice(addr: ListenAddr, error: &io::Error, own: bool) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse if own => {
            "; snigate itself still listens on this port: remove that address first, or restart"
        }
        io::ErrorKind::PermissionDenied if addr.0.port() < 1024 => {
            "; for a port below 1024 give the program the capability CAP_NET_BIND_SERVICE, lower the sysctl \
             net.ipv4.ip_unprivileged_port_start, or listen on a higher port"
        }
        io::ErrorKind::AddrInUse => "; another program listens there",
        io::ErrorKind::AddrNotAvailable => "; no network interface has this address",
        _ => "",
    }
}

/// The running parts of one process.
#[derive(Debug, Default)]
pub(crate) struct Server {
    ports: BTreeMap<PortKey, RunningPort>,
    accepting: JoinSet<()>,
    upstreams: Arc<Upstreams>,
    /// What all upstreams find their servers with.
    resolver: Arc<Resolver>,
    /// What new connections no longer meet. A connection that waits for its hello may still hold it, and would be the one
    /// to free a table of 100,000 routes if nobody else held it as well.
    retired: Vec<Retired>,
    connections: Arc<Connections>,
}

#[derive(Debug)]
struct RunningPort {
    port: Arc<Port>,
    /// Dropping it ends the accept loop.
    _stop: oneshot::Sender<()>,
}

/// A configuration built into what serves it, but not serving yet.
pub(crate) struct Parts {
    terms: Terms,
    listeners: Vec<(Arc<proxy::Listener>, Vec<ListenAddr>)>,
    upstreams: Arc<Upstreams>,
    resolver: Arc<Resolver>,
    /// What the resolver is to do.
    resolving: resolve::Options,
}

impl Parts {
    /// Builds everything that can be built without touching what runs. `upstreams` and `resolver` are those in use.
    pub(crate) fn build(config: &Config, upstreams: &Upstreams, resolver: Arc<Resolver>) -> Self {
        let mut used = Upstreams::new();
        let mut upstream = |options: &Arc<upstream::Options>| {
            let upstream = used.entry((**options).clone()).or_insert_with_key(|options| {
                let new = || Arc::new(Upstream::new(options.clone()).with_resolver(Arc::clone(&resolver)));
                upstreams.get(options).map_or_else(new, Arc::clone)
            });
            Arc::clone(upstream)
        };
        let routes: Vec<Arc<proxy::Route>> = config.routes.iter().map(|r| Arc::new(route(r, &mut upstream))).collect();
        let mut tables: Vec<(_, Arc<_>)> = Vec::new();
        let mut listeners = Vec::new();
        for (name, listener) in &config.listeners {
            // Listeners that share a table in the configuration share it here.
            let shared = tables.iter().find(|(table, _)| Arc::ptr_eq(table, &listener.table)).map(|(_, built)| built);
            let table = shared.map_or_else(|| Arc::new(listener.table.map(|at| Arc::clone(&routes[*at]))), Arc::clone);
            tables.push((Arc::clone(&listener.table), Arc::clone(&table)));
            let serving = proxy::Listener {
                name: Arc::clone(name),
                hello_timeout: config.timeouts.hello,
                access_log: config.access_log,
                routes: table,
            };
            listeners.push((Arc::new(serving), listener.bind.clone()));
        }
        let terms = routes.iter().filter_map(|route| match &route.action {
            proxy::Action::Terminate(acceptor, _) if acceptor.is_recallable() => {
                Some((Arc::clone(&route.name), Arc::clone(acceptor)))
            }
            _ => None,
        });
        let resolving = config.resolver.clone();
        Self { terms: terms.collect(), listeners, upstreams: Arc::new(used), resolver, resolving }
    }
}

fn route(route: &Route, upstream: &mut impl FnMut(&Arc<upstream::Options>) -> Arc<Upstream>) -> proxy::Route {
    let action = match &route.action {
        Action::Passthrough(to) => proxy::Action::Passthrough(upstream(to)),
        Action::Terminate { upstream: to, acceptor, .. } => {
            proxy::Action::Terminate(Arc::clone(acceptor), upstream(to))
        }
        Action::Reject => proxy::Action::Reject,
    };
    proxy::Route {
        name: Arc::clone(&route.name),
        action,
        handshake_timeout: route.timeouts.handshake,
        connect_timeout: route.timeouts.connect,
        relay: relay::Options { idle: route.timeouts.idle, half_close: route.timeouts.half_close },
    }
}

impl Server {
    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    pub(crate) fn upstreams(&self) -> &Arc<Upstreams> {
        &self.upstreams
    }

    pub(crate) fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// Serves `parts` from now on. Sockets whose address stays are kept, with everything queued on them; connections
    /// that are open keep the route that they matched.
    ///
    /// # Errors
    ///
    /// Every address that could not be bound. Nothing has changed then.
    pub(crate) fn apply(&mut self, parts: Parts) -> Result<(), Vec<BindError>> {
        let mut sockets = self.bind(&parts)?;
        // First: who is let in by the listeners of before looks here afterwards.
        self.connections.set_terms(parts.terms);
        let mut before = std::mem::take(&mut self.ports);
        for (listener, key) in parts.listeners.iter().flat_map(|(listener, bind)| keys(listener, bind)) {
            let running = match (before.remove(&key), sockets.remove(&key)) {
                (Some(running), _) => {
                    let replaced = running.port.listener.swap(Arc::clone(listener));
                    self.retire(replaced);
                    running
                }
                (None, Some(socket)) => self.start(socket, listener),
                (None, None) => unreachable!("every key was bound or is kept"),
            };
            self.ports.insert(key, running);
        }
        for (_, gone) in before {
            info!(addr = %gone.port.addr, "no longer listening");
            self.retire(gone.port.listener.load_full());
        }
        // Servers that cannot be found now are looked for again when somebody wants them.
        self.resolver = parts.resolver;
        self.resolver.configure(&parts.resolving);
        self.resolver.warm(parts.upstreams.keys().flat_map(|upstream| &upstream.servers));
        let upstreams = std::mem::replace(&mut self.upstreams, parts.upstreams);
        self.retire(upstreams);
        Ok(())
    }

    /// Keeps it once, though every address of a listener hands in the same one: otherwise the copies would be each
    /// other's users for ever.
    fn retire(&mut self, replaced: Retired) {
        if !self.retired.iter().any(|kept| Arc::ptr_eq(kept, &replaced)) {
            self.retired.push(replaced);
        }
    }

    /// What reloads have replaced and nobody uses any more, to be freed where nobody waits for it.
    pub(crate) fn take_unused(&mut self) -> Vec<Retired> {
        self.retired.extract_if(.., |retired| Arc::strong_count(retired) == 1).collect()
    }

    /// Opens the sockets that are not open yet: all of them, or none.
    fn bind(&self, parts: &Parts) -> Result<HashMap<PortKey, TcpListener>, Vec<BindError>> {
        let (mut sockets, mut errors) = (HashMap::new(), Vec::new());
        for (listener, key) in parts.listeners.iter().flat_map(|(listener, bind)| keys(listener, bind)) {
            if self.ports.contains_key(&key) {
                continue;
            }
            match listen(key.0).and_then(TcpListener::from_std) {
                Ok(socket) => _ = sockets.insert(key, socket),
                Err(error) => {
                    let own = self.ports.values().any(|running| running.port.addr.port() == key.0.0.port());
                    errors.push(BindError { listener: Arc::clone(&listener.name), addr: key.0, error, own });
                }
            }
        }
        if errors.is_empty() { Ok(sockets) } else { Err(errors) }
    }

    fn start(&mut self, socket: TcpListener, listener: &Arc<proxy::Listener>) -> RunningPort {
        let addr = socket.local_addr().expect("a bound socket has an address");
        let port = Arc::new(Port { addr, listener: ArcSwap::new(Arc::clone(listener)) });
        let (stop, stopped) = oneshot::channel();
        let accepting = accept(socket, Arc::clone(&port), Arc::clone(&self.connections), stopped);
        self.accepting.spawn(async move {
            if let Err(error) = accepting.await {
                error!(%addr, %error, "the listener failed");
            }
        });
        info!(listener = %listener.name, %addr, "listening");
        RunningPort { port, _stop: stop }
    }

    /// Stops listening. Connections that were queued have been accepted when this returns.
    pub(crate) async fn stop_listening(&mut self) {
        self.ports.clear();
        while self.accepting.join_next().await.is_some() {}
    }
}

fn keys<'a>(
    listener: &'a Arc<proxy::Listener>,
    bind: &'a [ListenAddr],
) -> impl Iterator<Item = (&'a Arc<proxy::Listener>, PortKey)> {
    bind.iter()
        .enumerate()
        .map(move |(at, addr)| (listener, (*addr, (addr.0.port() == 0).then(|| (Arc::clone(&listener.name), at)))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::route::Table;

    fn parts() -> Parts {
        let listener = proxy::Listener {
            name: "edge".into(),
            hello_timeout: Duration::from_secs(5),
            access_log: false,
            routes: Arc::new(Table::build([]).0),
        };
        let bind = vec!["127.0.0.1:0".parse().unwrap(), "127.0.0.2:0".parse().unwrap()];
        Parts { listeners: vec![(Arc::new(listener), bind)], ..nothing() }
    }

    fn nothing() -> Parts {
        Parts {
            terms: Terms::default(),
            listeners: Vec::new(),
            upstreams: Arc::default(),
            resolver: Arc::default(),
            resolving: resolve::Options::default(),
        }
    }

    #[tokio::test]
    async fn what_a_reload_replaced_is_given_away_when_no_connection_holds_it_any_more() {
        let mut server = Server::default();
        server.apply(parts()).unwrap();
        server.take_unused();
        let held = server.ports.values().next().unwrap().port.listener.load_full();
        server.apply(parts()).unwrap();
        let upstreams = 1;
        assert_eq!(server.take_unused().len(), upstreams, "a connection still waits for its hello");
        drop(held);
        assert_eq!(server.take_unused().len(), 1, "one listener, on two addresses");
        server.apply(nothing()).unwrap();
        server.stop_listening().await;
        assert_eq!(server.take_unused().len(), 1 + upstreams, "a listener that is gone");
    }
}
