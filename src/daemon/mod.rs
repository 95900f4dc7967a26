//! Daemon: from a configuration to running things, and from one configuration to the next without
//! losing a connection.

mod adopt;
mod bind;
mod checks;
mod counts;
mod files;
mod lifecycle;
mod loader;
mod memory;
mod notify;
mod parts;
mod reload;
mod report;

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use crate::addr::ListenAddr;
use crate::config::Bind;
use crate::control::{ListenerStatus, UpstreamStatus};
use crate::daemon::checks::Checks;
use crate::net::{
    Access, BoundSocket, Inherited, ListenSocket, SharedSocket, SocketFile, interface, locate,
};
use crate::os::words;
use crate::proxy::{self, Connections, Port, accept};

pub(crate) use parts::{CarriedOver, Parts};

pub use bind::BindError;
pub use lifecycle::{RunError, Stopped, run};

/// The identity of a listening socket over a reload: its address and, where the kernel chooses the
/// port, its place in its listener, or its place among systemd's sockets of one name.
type PortKey = (ListenAddr, Option<(Arc<str>, usize)>);

/// Something that a reload has replaced.
type Retired = Arc<dyn Any + Send + Sync>;

/// The running parts of one process.
#[derive(Debug, Default)]
pub(crate) struct Daemon {
    /// Copies of these are listened on; they themselves are kept to the end.
    inherited: Inherited,
    ports: BTreeMap<PortKey, RunningPort>,
    /// The ports that are not listened on any more, from the moment at which none is. Connections
    /// that have not been routed may still look at these.
    closed: Option<Vec<Arc<Port>>>,
    accepting: JoinSet<()>,
    carried_over: CarriedOver,
    checks: Checks,
    /// Routes and upstreams that new connections no longer meet. One that is just looking up its
    /// route may still hold it, and would be the one to free a table of 100,000 routes if nothing
    /// else held it as well.
    retired: Vec<Retired>,
    connections: Arc<Connections>,
}

#[derive(Debug)]
struct RunningPort {
    port: Arc<Port>,
    /// Of a unix socket. Dropped before the loop ends, so that no client comes after the last one
    /// that is accepted.
    file: Option<SocketFile>,
    /// Of a TCP socket.
    overlap: Option<SharedSocket>,
    /// The number of the interface, where the address is link-local.
    interface: Option<NonZeroU32>,
    access: Access,
    /// Dropping it ends the accept loop.
    _stop: oneshot::Sender<()>,
}

impl Daemon {
    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// How many sockets are listened on.
    pub(crate) fn sockets(&self) -> usize {
        self.ports.len()
    }

    pub(crate) fn carried_over(&self) -> CarriedOver {
        let spot = |(key, running): (&PortKey, &RunningPort)| {
            Some((key.clone(), running.file.as_ref()?.spot().clone()))
        };
        CarriedOver {
            spots: self.ports.iter().filter_map(spot).collect(),
            ..self.carried_over.clone()
        }
    }

    /// Connections that have not been routed.
    pub(crate) fn pending(&self) -> usize {
        self.carried_over.counts.pending()
    }

    /// The sockets that are listened on.
    pub(crate) fn listeners(&self) -> Vec<ListenerStatus> {
        let status = |running: &RunningPort| ListenerStatus {
            name: running.port.listener.load().name.to_string(),
            addr: running.port.addr.to_string(),
        };
        self.ports.values().map(status).collect()
    }

    /// The upstreams of routes, by name.
    pub(crate) fn upstreams(&self) -> Vec<UpstreamStatus> {
        let upstreams = self.carried_over.upstreams.values();
        let mut upstreams: Vec<_> = upstreams
            .map(|upstream| UpstreamStatus::of(upstream))
            .collect();
        upstreams.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        upstreams
    }

    /// With the sockets that the process was started with.
    pub(crate) fn new(inherited: Inherited) -> Self {
        Self {
            inherited,
            ..Self::default()
        }
    }

    /// Serves `parts` from now on. Sockets whose address stays are kept, with everything queued on
    /// them; connections that are open keep the route that they matched.
    ///
    /// # Errors
    ///
    /// Every address that could not be bound. Nothing has changed then.
    pub(crate) fn apply(&mut self, parts: Parts) -> Result<(), Vec<BindError>> {
        if self.closed.is_some() {
            self.judge_by(parts);
            return Ok(());
        }
        let wanted = self.wanted(&parts.listeners)?;
        let mut sockets = self.bind(&wanted, &parts.displaced)?;
        self.allow(&wanted, &parts.displaced)?;
        // First: who is let in by the listeners of before looks here afterwards.
        self.connections
            .set_terms(Arc::clone(&parts.carried_over.terms));
        let mut before = std::mem::take(&mut self.ports);
        for Wanted {
            listener,
            key,
            access,
        } in &wanted
        {
            let running = match (sockets.remove(key), before.remove(key)) {
                // One that was there nevertheless has lost its file.
                (Some(socket), _) => self.start(socket, listener, *access),
                (None, Some(running)) => {
                    let replaced = running.port.listener.swap(Arc::clone(listener));
                    self.retire(replaced);
                    running
                }
                (None, None) => unreachable!("every key was bound or is kept"),
            };
            self.ports.insert(key.clone(), running);
        }
        for (key, gone) in before {
            // The kernel gives its clients to it as long as it is there. Closing it could reset
            // one, and gains nothing.
            if let Some(wider) = wanted
                .iter()
                .find(|wanted| wanted.key.0.includes(&gone.port.addr))
            {
                debug!(addr = %gone.port.addr, now = %wider.key.0, "listening, as a part of another address");
                let replaced = gone.port.listener.swap(Arc::clone(wider.listener));
                self.retire(replaced);
                self.ports.insert(key, gone);
                continue;
            }
            info!(addr = %gone.port.addr, "no longer listening");
            let replaced = replace_by_name(&gone.port, &parts.listeners);
            self.retire(replaced);
        }
        // Servers that cannot be found now are looked for again when a connection needs them.
        let CarriedOver {
            resolver,
            upstreams,
            ..
        } = &parts.carried_over;
        resolver.configure(&parts.resolving);
        resolver.warm(
            upstreams
                .keys()
                .flat_map(|upstream| &upstream.servers)
                .map(|server| &server.addr),
        );
        self.checks.set(parts.checks);
        for upstream in &parts.to_activate {
            upstream.activate();
        }
        let before = std::mem::replace(&mut self.carried_over, parts.carried_over);
        self.retire(before.upstreams);
        Ok(())
    }

    /// The same once nothing is listened on any more. Nothing is opened, and no server is asked
    /// again whether it is there; but open connections are judged anew, and those that have not
    /// been routed are by these routes.
    fn judge_by(&mut self, parts: Parts) {
        self.connections
            .set_terms(Arc::clone(&parts.carried_over.terms));
        let replaced = self
            .closed
            .iter()
            .flatten()
            .map(|port| replace_by_name(port, &parts.listeners));
        for replaced in replaced.collect::<Vec<_>>() {
            self.retire(replaced);
        }
        parts.carried_over.resolver.configure(&parts.resolving);
        for upstream in &parts.to_activate {
            upstream.activate();
        }
        let before = std::mem::replace(&mut self.carried_over, parts.carried_over);
        self.retire(before.upstreams);
    }

    /// From now on the names of servers are asked for again before they are used: an operator who
    /// asks for a reload may know that they have moved.
    pub(crate) fn forget_names(&self) {
        self.carried_over.resolver.forget();
    }

    /// Keeps it once, though every address of a listener hands in the same one: otherwise the
    /// copies would be each other's users for ever.
    fn retire(&mut self, replaced: Retired) {
        if !self.retired.iter().any(|kept| Arc::ptr_eq(kept, &replaced)) {
            self.retired.push(replaced);
        }
    }

    /// Parts that reloads have replaced and that are not used any more, to be freed where nothing
    /// waits for it.
    pub(crate) fn take_unused(&mut self) -> Vec<Retired> {
        self.retired
            .extract_if(.., |retired| Arc::strong_count(retired) == 1)
            .collect()
    }

    /// Every socket that `parts` are to be served on.
    fn wanted<'a>(
        &self,
        listeners: &'a [(Arc<proxy::Listener>, Vec<Bind>)],
    ) -> Result<Vec<Wanted<'a>>, Vec<BindError>> {
        let (mut wanted, mut errors) = (Vec::new(), Vec::new());
        for (listener, bind) in listeners {
            for (at, Bind { addr, access }) in bind.iter().enumerate() {
                let mut add = |place| {
                    wanted.push(Wanted {
                        listener,
                        key: (addr.clone(), place),
                        access: *access,
                    })
                };
                match addr {
                    ListenAddr::Systemd(name) => match self.inherited.count(name) {
                        0 => errors.extend(
                            self.inherited
                                .get(name, 0)
                                .err()
                                .map(|error| BindError::inherited(&listener.name, addr, error)),
                        ),
                        count => (0..count).for_each(|nth| add(Some(("".into(), nth)))),
                    },
                    _ => add((addr.port() == Some(0)).then(|| (Arc::clone(&listener.name), at))),
                }
            }
        }
        if errors.is_empty() {
            Ok(wanted)
        } else {
            Err(errors)
        }
    }

    /// Opens the sockets that are not open yet: all of them, or none.
    ///
    /// One that overlaps with a socket that is about to go is opened beside it, so that no
    /// connection is refused in between; and after all others, so that nobody is queued on it if
    /// one of them fails.
    fn bind(
        &self,
        wanted: &[Wanted<'_>],
        displaced: &HashSet<PortKey>,
    ) -> Result<HashMap<PortKey, ListenSocket>, Vec<BindError>> {
        let (mut sockets, mut overlapping, mut errors) = (HashMap::new(), Vec::new(), Vec::new());
        let keys: HashSet<&PortKey> = wanted.iter().map(|wanted| &wanted.key).collect();
        for Wanted {
            listener,
            key,
            access,
        } in wanted
        {
            if self
                .ports
                .get(key)
                .is_some_and(|running| running.is_reachable() && !displaced.contains(key))
            {
                continue;
            }
            let (addr, place) = key;
            let socket = match (addr, place) {
                (ListenAddr::Systemd(name), Some((_, nth))) => self
                    .inherited
                    .get(name, *nth)
                    .map_err(|error| BindError::inherited(&listener.name, addr, error)),
                _ => match ListenSocket::open(addr, *access) {
                    Err(error)
                        if error.kind() == io::ErrorKind::AddrInUse
                            && self.leaves(addr, &keys).next().is_some() =>
                    {
                        overlapping.push((*listener, key));
                        continue;
                    }
                    opened => opened.map_err(|error| self.bind_error(listener, addr, error)),
                },
            };
            match socket {
                Ok(socket) => _ = sockets.insert(key.clone(), socket),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() && !overlapping.is_empty() {
            match self.bind_beside(&overlapping, &keys) {
                Ok(opened) => sockets.extend(opened),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(sockets)
        } else {
            Err(errors)
        }
    }

    /// Opens sockets that overlap with those that are about to go: all of them, or none.
    fn bind_beside(
        &self,
        overlapping: &[(&Arc<proxy::Listener>, &PortKey)],
        keys: &HashSet<&PortKey>,
    ) -> Result<Vec<(PortKey, ListenSocket)>, BindError> {
        let leaving = || {
            overlapping
                .iter()
                .flat_map(|(_, (addr, _))| self.leaves(addr, keys))
        };
        let allow = |allowed| leaving().try_for_each(|overlap| overlap.allow(allowed));
        let open = |(listener, key): &(&Arc<proxy::Listener>, &PortKey)| {
            let bound = allow(true).and_then(|()| BoundSocket::new(&key.0, true));
            bound.map_err(|error| self.bind_error(listener, &key.0, error))
        };
        let listen =
            |((listener, key), bound): (&(&Arc<proxy::Listener>, &PortKey), BoundSocket)| {
                let socket = bound
                    .listen()
                    .map_err(|error| self.bind_error(listener, &key.0, error))?;
                Ok(((*key).clone(), socket))
            };
        let bound: Result<Vec<BoundSocket>, BindError> = overlapping.iter().map(open).collect();
        let opened = bound.and_then(|bound| overlapping.iter().zip(bound).map(listen).collect());
        // Another program of this user could overlap with it as well.
        let _ = allow(false);
        opened
    }

    /// The sockets on the port of this address that are not wanted any more.
    fn leaves(
        &self,
        addr: &ListenAddr,
        keys: &HashSet<&PortKey>,
    ) -> impl Iterator<Item = &SharedSocket> {
        let port = addr.port();
        let is_on = move |running: &RunningPort| port.is_some() && running.port.addr.port() == port;
        let leaving = self.ports.iter().filter(move |(_, running)| is_on(running));
        leaving
            .filter(|(key, _)| !keys.contains(key))
            .filter_map(|(_, running)| running.overlap.as_ref())
    }

    fn bind_error(
        &self,
        listener: &proxy::Listener,
        addr: &ListenAddr,
        error: io::Error,
    ) -> BindError {
        let is_same = |running: &RunningPort| {
            addr.port().is_some() && running.port.addr.port() == addr.port()
        };
        BindError::new(
            &listener.name,
            addr,
            error,
            self.ports.values().any(is_same),
        )
    }

    /// Changes who may connect to the unix sockets that stay: to all of them, or none.
    fn allow(
        &mut self,
        wanted: &[Wanted<'_>],
        displaced: &HashSet<PortKey>,
    ) -> Result<(), Vec<BindError>> {
        let mut changed: Vec<(&PortKey, Access)> = Vec::new();
        for Wanted {
            listener,
            key,
            access,
        } in wanted
        {
            let Some(running) = self
                .ports
                .get_mut(key)
                .filter(|running| running.access != *access)
            else {
                continue;
            };
            let Some(file) = running.file.as_ref().filter(|_| !displaced.contains(key)) else {
                continue;
            };
            if let Err(error) = file.allow(*access) {
                let error = BindError::new(&listener.name, &key.0, error, false);
                for (key, before) in changed.into_iter().chain([(key, running.access)]) {
                    let Some(running) = self.ports.get_mut(key) else {
                        continue;
                    };
                    // What could be changed can be changed back; where it cannot, the error that is
                    // returned says why.
                    let _ = running.file.as_ref().map(|file| file.allow(before));
                    running.access = before;
                }
                return Err(vec![error]);
            }
            changed.push((key, std::mem::replace(&mut running.access, *access)));
        }
        Ok(())
    }

    fn start(
        &mut self,
        mut socket: ListenSocket,
        listener: &Arc<proxy::Listener>,
        access: Access,
    ) -> RunningPort {
        let addr = socket.addr().expect("a bound socket has an address");
        let (file, interface) = (socket.take_file(), socket.interface());
        // Without it this address can only be left for one that does not overlap with it.
        let overlap = socket.overlap().ok().flatten();
        let port = Arc::new(Port {
            addr: addr.clone(),
            listener: ArcSwap::new(Arc::clone(listener)),
        });
        let (stop, stopped) = oneshot::channel();
        let accepting = accept(
            socket,
            Arc::clone(&port),
            Arc::clone(&self.connections),
            stopped,
        );
        info!(listener = %listener.name, %addr, "listening");
        self.accepting.spawn(async move {
            if let Err(error) = accepting.await {
                error!(%addr, error = %words(&error), "the listener failed");
            }
        });
        RunningPort {
            port,
            file,
            overlap,
            interface,
            access,
            _stop: stop,
        }
    }

    /// Warns of sockets that are not listened on, though systemd has passed them: their clients
    /// would wait in vain.
    pub(crate) fn report_unused(&self) {
        if self.closed.is_some() {
            return;
        }
        let is_used = |name: &String| {
            self.ports
                .keys()
                .any(|(addr, _)| matches!(addr, ListenAddr::Systemd(own) if own == name))
        };
        for name in self.inherited.names().iter().filter(|name| !is_used(name)) {
            warn!(
                name,
                "systemd has passed a socket that no listener is on, so its clients wait in vain"
            );
        }
    }

    /// Stops listening, for good. Connections that were queued have been accepted when what is
    /// returned is done.
    pub(crate) fn stop_listening(&mut self) -> impl Future<Output = ()> + use<> {
        self.closed = Some(
            std::mem::take(&mut self.ports)
                .into_values()
                .map(|running| running.port)
                .collect(),
        );
        let (mut accepting, mut checks) = (
            std::mem::take(&mut self.accepting),
            std::mem::take(&mut self.checks),
        );
        async move {
            while accepting.join_next().await.is_some() {}
            checks.stop().await;
        }
    }
}

/// Gives a port that nobody listens on any more what its listener is now, if it is still there: who
/// is connected, or queued, is judged by that. What was replaced.
fn replace_by_name(
    port: &Port,
    listeners: &[(Arc<proxy::Listener>, Vec<Bind>)],
) -> Arc<proxy::Listener> {
    let before = port.listener.load_full();
    match listeners
        .iter()
        .find(|(listener, _)| listener.name == before.name)
    {
        Some((listener, _)) => port.listener.swap(Arc::clone(listener)),
        None => before,
    }
}

/// A socket that is to be listened on.
struct Wanted<'a> {
    listener: &'a Arc<proxy::Listener>,
    key: PortKey,
    access: Access,
}

impl RunningPort {
    /// Whether clients still find it: an interface that was made again has another number. (The
    /// file of a unix socket is looked for where the configuration is loaded, because a file system
    /// may hang.)
    fn is_reachable(&self) -> bool {
        match &self.port.addr {
            ListenAddr::Zoned(addr) => {
                locate(addr).is_ok_and(|now| self.interface == interface(now))
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::resolve;
    use crate::route::Table;

    fn nothing() -> Parts {
        Parts {
            listeners: Vec::new(),
            carried_over: CarriedOver::default(),
            to_activate: Vec::new(),
            displaced: HashSet::new(),
            checks: Vec::new(),
            resolving: resolve::ResolverOptions::default(),
        }
    }

    fn parts() -> Parts {
        let listener = proxy::Listener {
            name: "edge".into(),
            hello_timeout: Duration::from_secs(5),
            proxies: Box::default(),
            access_log: false,
            limits: proxy::Limits::default(),
            counts: Arc::default(),
            routes: Arc::new(Table::build([]).0),
        };
        let bind = ["127.0.0.1:0", "127.0.0.2:0"].map(|addr| Bind {
            addr: addr.parse().unwrap(),
            access: Access::default(),
        });
        Parts {
            listeners: vec![(Arc::new(listener), bind.into())],
            ..nothing()
        }
    }

    #[tokio::test]
    async fn what_a_reload_replaced_is_given_away_when_no_connection_holds_it_any_more() {
        let mut server = Daemon::default();
        server.apply(parts()).unwrap();
        server.take_unused();
        let held = server
            .ports
            .values()
            .next()
            .unwrap()
            .port
            .listener
            .load_full();
        server.apply(parts()).unwrap();
        let upstreams = 1;
        assert_eq!(
            server.take_unused().len(),
            upstreams,
            "a connection still waits for its hello"
        );
        drop(held);
        assert_eq!(
            server.take_unused().len(),
            1,
            "one listener, on two addresses"
        );
        server.apply(nothing()).unwrap();
        server.stop_listening().await;
        assert_eq!(
            server.take_unused().len(),
            1 + upstreams,
            "a listener that is gone"
        );
    }
}
