//! Upstream: the servers behind a route. Which one a connection goes to, and failover to the next
//! one when that cannot be reached.

mod balance;
mod capacity;
mod dial;
mod error;
mod header;
mod health;
mod health_check;
mod lease;
mod options;
mod outage;
mod registry;
mod snapshot;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::addr::{ClientAddr, UpstreamAddr};
use crate::name::Alpn;
use crate::net::random;
use crate::net::{Resolver, Stream, cold};
use crate::telemetry::FailedServers;
use crate::upstream::balance::Candidate;
use crate::upstream::capacity::{Capacity, Eligible, Enqueued, WaitQueue};
use crate::upstream::dial::{Reached, dial};
use crate::upstream::error::ConnectFailure;
use crate::upstream::health::ServerHealth;
use crate::upstream::lease::Attempt;
use crate::upstream::outage::{Outage, ServerGroup};
use crate::upstream::registry::Identity;

pub use error::{ConnectError, Unsent};
pub use header::{Facts, ProxyProtocol, TerminatedSession, Tlvs};
pub use health::HealthState;
pub use health_check::{Check, CheckKey};
pub use lease::Lease;
pub use options::{
    Balance, Ejection, HealthCheck, HealthCheckKind, ServerOptions, UpstreamOptions,
};
pub use registry::Registry;
pub use snapshot::ServerSnapshot;

/// A connection tries each server once, and all of them for so many times the time limit of one: a
/// client that waits longer has gone away, and three that do not answer are no accident.
const PATIENCE: u32 = 3;

/// Of more servers that failed before one was reached the log says nothing.
const MAX_TOLD: usize = 4;

/// Servers, and which of them a connection goes to.
#[derive(Debug)]
pub struct Upstream {
    options: UpstreamOptions,
    /// The resolver of servers that are known by name.
    resolver: Arc<Resolver>,
    /// In the order of the options.
    servers: Box<[Server]>,
    /// The credit of servers, gained and not yet used; see [`balance::round_robin`].
    credit: Mutex<Box<[i64]>>,
    /// Held while a server is ejected, so that no two are ejected that together are too many.
    ejecting: Mutex<()>,
    /// Where the upstream has no name, so that it is not found again after a reload.
    outage: Outage,
    group: Option<Arc<ServerGroup>>,
}

/// A server.
#[derive(Debug)]
struct Server {
    addr: UpstreamAddr,
    /// Its number in the upstream.
    at: usize,
    /// Nothing where there is nothing to choose, to count or to remember: one server that no table
    /// describes.
    known: Option<Box<Known>>,
}

/// A server, as far as it is there for longer than the upstream.
#[derive(Debug)]
struct Known {
    capacity: Arc<Capacity>,
    health: Arc<ServerHealth>,
    /// Shared by the servers of the upstream.
    wait_queue: Arc<WaitQueue>,
    /// For [`balance::source_hash`].
    number: u64,
}

/// The first bytes for a server, and the client on whose behalf they are sent.
#[derive(Clone, Copy, Debug)]
pub struct ConnectRequest<'a> {
    /// Every byte that the client has sent so far, if they are for the server.
    pub first: &'a [u8],
    /// The protocol that the client and snigate have agreed on, which a server that speaks TLS is
    /// asked for.
    pub agreed: Option<&'a Alpn>,
    /// For whom the server is reached.
    pub origin: ClientInfo<'a>,
    /// For each server that is tried. Waiting for capacity takes no longer either, and everything
    /// together no longer than three times this.
    pub timeout: Duration,
}

/// The client as a server gets to know it.
#[derive(Clone, Copy, Debug)]
pub struct ClientInfo<'a> {
    /// Its address.
    pub client: ClientAddr,
    /// The PROXY header that the server is sent before anything else; empty if none is.
    pub header: &'a [u8],
    /// Whether the connection comes from the client's address.
    pub transparent: bool,
}

impl ClientInfo<'_> {
    /// Whether the server is told nothing.
    fn is_plain(&self) -> bool {
        self.header.is_empty() && !self.transparent
    }
}

/// How good a choice a server is; the least is the best. `bool` says that it is a backup.
type Rank = (HealthState, bool);

/// Why there is no server to try.
enum NoServer {
    /// All have been tried.
    AllTried,
    /// Those of this rank have as many connections as they may have.
    AllFull(Rank),
}

impl Upstream {
    /// An upstream of which nothing is known yet but what `registry` knows of its servers.
    #[must_use]
    pub fn new(options: UpstreamOptions, registry: &Registry) -> Self {
        let is_shared = options.is_named() || options.servers.len() > 1;
        let name = if options.is_named() {
            Arc::clone(&options.name)
        } else {
            Arc::from("")
        };
        let known = |server: &ServerOptions| {
            let identity: Identity = (Arc::clone(&name), server.addr.clone());
            Box::new(Known {
                capacity: registry.capacity(&identity, server.max_connections),
                health: registry.health(&identity, &options),
                wait_queue: registry.wait_queue(&name),
                number: balance::server_number(&server.addr),
            })
        };
        let server = |(at, server): (usize, &ServerOptions)| Server {
            addr: server.addr.clone(),
            at,
            known: is_shared.then(|| known(server)),
        };
        let servers: Box<[Server]> = options.servers.iter().enumerate().map(server).collect();
        let credit = Mutex::new(vec![0; if is_shared { servers.len() } else { 0 }].into());
        let group = options.is_named().then(|| registry.group(&options.name));
        let (resolver, ejecting, outage) = (Arc::default(), Mutex::default(), Outage::default());
        Self {
            options,
            resolver,
            servers,
            credit,
            ejecting,
            outage,
            group,
        }
    }

    /// The same, whose servers' names are looked up by `resolver`, which others use, too.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<Resolver>) -> Self {
        Self { resolver, ..self }
    }

    /// The options that it was made of.
    #[must_use]
    pub fn options(&self) -> &UpstreamOptions {
        &self.options
    }

    /// From now on these options count for the servers, also for those who wait for one of them.
    pub fn activate(&self) {
        for (known, options) in self.known().zip(&self.options.servers) {
            known.capacity.set_limit(options.max_connections);
            match &self.options.ejection {
                Some(ejection) => known.health.shorten(ejection),
                None => _ = known.health.forgive(),
            }
            match self.options.health {
                Some(_) => known.health.expect_checks(),
                None => _ = known.health.forget_checks(),
            }
            known.wait_queue.offer(&known.capacity);
        }
        if let Some(group) = &self.group {
            group.set(
                self.known()
                    .map(|known| Arc::clone(&known.health))
                    .collect(),
            );
        }
    }

    fn outage(&self) -> &Outage {
        self.group
            .as_ref()
            .map_or(&self.outage, |group| &group.outage)
    }

    /// A connection ends here that has tried so many servers. Tells if there was none that could be
    /// reached.
    fn give_up(&self, tried: usize, error: &ConnectError) {
        if tried == self.servers.len() || self.known().all(|known| known.health.is_failing()) {
            self.outage().begin(&self.options.name, error);
        }
    }

    /// All of the servers, or none.
    fn known(&self) -> impl Iterator<Item = &Known> {
        self.servers
            .iter()
            .filter_map(|server| server.known.as_deref())
    }

    /// Connects to a server and sends it what it is to be sent first. Where the servers speak TLS
    /// the handshake is part of connecting, and what is sent goes into the session.
    ///
    /// Each server is tried once, those that are known to fail last of all, until one is reached:
    /// what comes after that is neither tried again with another one nor held against this one.
    /// Cancellation gives everything back. `failed` is told of each that another one was tried
    /// after, and why.
    ///
    /// # Errors
    ///
    /// That of the last server, when none could be reached; that all have as many connections as
    /// they may have; or that the one which was reached did not take what it was sent.
    pub async fn connect(
        &self,
        request: &ConnectRequest<'_>,
        failed: &FailedServers,
    ) -> Result<(Stream, Lease<'_>), ConnectError> {
        let begun = Instant::now();
        let (attempt, deadline) = match self.choose(request, &[]) {
            Ok(attempt) => (attempt, begun + request.timeout),
            Err(NoServer::AllTried) => return Err(ConnectError::Empty),
            Err(NoServer::AllFull(rank)) => {
                let attempt = cold(self.wait(request, rank, &[], begun)).await?;
                (attempt, Instant::now() + request.timeout)
            }
        };
        let is_hopeful = attempt.is_hopeful();
        let dialled = dial(
            &attempt.server().addr,
            &self.resolver,
            self.options.tls.as_deref(),
            request,
            deadline,
        )
        .await;
        let (reached, lease) = match self.conclude(attempt, request, dialled) {
            Ok(reached) => reached,
            Err(first) => cold(self.go_on(request, first, is_hopeful, begun, failed)).await?,
        };
        match reached.ready() {
            Ok(stream) => Ok((stream, lease)),
            Err(reached) => match cold(reached.send()).await {
                Ok(stream) => Ok((stream, lease)),
                Err(error) => Err(ConnectError::Unsent {
                    server: lease.addr().clone(),
                    error,
                }),
            },
        }
    }

    /// Remembers what came of an attempt: a server that was reached, or which one failed and why.
    fn conclude<'a, 'r>(
        &self,
        mut attempt: Attempt<'a>,
        request: &ConnectRequest<'_>,
        dialled: Result<Reached<'r>, ConnectFailure>,
    ) -> Result<(Reached<'r>, Lease<'a>), (usize, ConnectFailure)> {
        let server = attempt.server();
        match dialled {
            Ok(reached) => {
                self.outage().end(&self.options.name);
                self.succeeded(server);
                Ok((reached, attempt.into_lease()))
            }
            Err(failure) => {
                // A server may have had its reason in what it was told of a client, and no client
                // is to choose which servers the others get.
                if failure.is_the_servers(request) {
                    self.failed(server, attempt.end_trial(), &failure);
                }
                Err((server.at, failure))
            }
        }
    }

    /// Tries the other servers after the first one.
    async fn go_on<'r>(
        &self,
        request: &ConnectRequest<'r>,
        (mut at, mut failure): (usize, ConnectFailure),
        mut is_hopeful: bool,
        begun: Instant,
        failed: &FailedServers,
    ) -> Result<(Reached<'r>, Lease<'_>), ConnectError> {
        let mut end = begun + request.timeout * if is_hopeful { PATIENCE } else { 1 };
        let (mut tried, mut is_the_servers) = (Vec::new(), true);
        loop {
            tried.push(at);
            is_the_servers &= failure.is_the_servers(request);
            let told = format!("{}: {failure}", self.servers[at].addr);
            let error = failure.of(self.servers[at].addr.clone(), tried.len());
            let is_over = Instant::now() >= end;
            let attempt = match if is_over {
                Err(NoServer::AllTried)
            } else {
                self.choose(request, &tried)
            } {
                Ok(attempt) => attempt,
                Err(NoServer::AllTried) => {
                    if is_the_servers {
                        self.give_up(tried.len(), &error);
                    }
                    return Err(error);
                }
                Err(NoServer::AllFull(rank)) => self.wait(request, rank, &tried, begun).await?,
            };
            if tried.len() <= MAX_TOLD {
                failed.add(&told);
            }
            // What is known to be down is given one more chance, not one for each.
            if is_hopeful && !attempt.is_hopeful() {
                is_hopeful = false;
                end = end.min(Instant::now() + request.timeout);
            }
            let deadline = end.min(Instant::now() + request.timeout);
            let dialled = dial(
                &attempt.server().addr,
                &self.resolver,
                self.options.tls.as_deref(),
                request,
                deadline,
            )
            .await;
            (at, failure) = match self.conclude(attempt, request, dialled) {
                Ok(reached) => return Ok(reached),
                Err(failed) => failed,
            };
        }
    }

    /// The server that it is best to try now, out of those that were not tried yet.
    fn choose(
        &self,
        request: &ConnectRequest<'_>,
        tried: &[usize],
    ) -> Result<Attempt<'_>, NoServer> {
        if let [server @ Server { known: None, .. }] = &*self.servers {
            return if tried.is_empty() {
                Ok(Attempt::at(server))
            } else {
                Err(NoServer::AllTried)
            };
        }
        let known = |at: usize| self.servers[at].known.as_deref();
        let has_rank = |at: usize, rank| {
            let is_used = !tried.contains(&at) && self.options.servers[at].weight > 0;
            is_used && self.rank(&self.servers[at]) == Some(rank)
        };
        // A connection waits for servers that are well. One that is due would never be tried if no
        // other connection did.
        let is_free = |Known {
                           capacity,
                           health,
                           wait_queue,
                           ..
                       }: &Known| {
            !capacity.is_full() && (wait_queue.is_empty() || health.state() == HealthState::Probing)
        };
        loop {
            // A server of weight 0 takes no new connection.
            let is_left = |server: &&Server| {
                !tried.contains(&server.at) && self.options.servers[server.at].weight > 0
            };
            let left = self.servers.iter().filter(is_left);
            let best = left
                .filter_map(|server| self.rank(server))
                .min()
                .ok_or(NoServer::AllTried)?;
            let candidate = |at: usize| {
                let known = known(at)?;
                let weight = self.options.servers[at].weight;
                let connections = known.capacity.taken();
                (is_free(known) && has_rank(at, best)).then_some(Candidate {
                    weight,
                    connections,
                })
            };
            let chosen = self.balance(request, candidate);
            let Some((
                at,
                Known {
                    capacity, health, ..
                },
            )) = chosen.and_then(|at| Some((at, known(at)?)))
            else {
                // If another connection was faster to try one that was due, there is nothing to
                // wait for.
                let is_taken = |at: usize| {
                    has_rank(at, best) && known(at).is_some_and(|known| !is_free(known))
                };
                if !(0..self.servers.len()).any(is_taken) {
                    continue;
                }
                return Err(NoServer::AllFull(best));
            };
            if !capacity.take() {
                continue;
            }
            let mut attempt = Attempt::at(&self.servers[at]);
            if health.state() == HealthState::Probing {
                // Another connection may have been faster; then it is no candidate any more.
                if !health.begin_trial() {
                    continue;
                }
                attempt.try_out();
            }
            return Ok(attempt);
        }
    }

    /// A server that is due counts as one that is well: whoever it falls to tries it.
    fn rank(&self, server: &Server) -> Option<Rank> {
        let state = match server.known.as_ref()?.health.state() {
            HealthState::Probing => HealthState::Healthy,
            state => state,
        };
        Some((state, self.options.servers[server.at].backup))
    }

    fn balance(
        &self,
        request: &ConnectRequest<'_>,
        candidate: impl Fn(usize) -> Option<Candidate>,
    ) -> Option<usize> {
        let count = self.servers.len();
        // Nothing that may panic happens while it is held.
        let credit = || self.credit.lock().unwrap_or_else(PoisonError::into_inner);
        match self.options.balance {
            Balance::First => balance::first(count, candidate),
            _ if count == 1 => balance::first(count, candidate),
            Balance::RoundRobin => balance::round_robin(&mut credit(), candidate),
            Balance::LeastConnections => balance::least_connections(&mut credit(), candidate),
            Balance::Random => {
                balance::random(count, candidate, [random::number(), random::number()])
            }
            Balance::SourceHash => match request.origin.client.ip() {
                Some(ip) => {
                    let number = |at: usize| {
                        self.servers[at]
                            .known
                            .as_ref()
                            .map_or(0, |known| known.number)
                    };
                    balance::source_hash(count, candidate, balance::client_number(ip), number)
                }
                None => balance::round_robin(&mut credit(), candidate),
            },
        }
    }

    /// Waits for capacity of a server of this rank, or of another one once those of this one are
    /// gone.
    async fn wait(
        &self,
        request: &ConnectRequest<'_>,
        mut rank: Rank,
        tried: &[usize],
        begun: Instant,
    ) -> Result<Attempt<'_>, ConnectError> {
        let Some(wait_queue) = self.known().next().map(|known| &known.wait_queue) else {
            return Err(ConnectError::Empty);
        };
        let deadline = (Instant::now() + request.timeout).min(begun + request.timeout * PATIENCE);
        let full = || ConnectError::Full {
            waited: begun.elapsed(),
        };
        loop {
            let place = match wait_queue.enter(self.eligible(rank, tried)) {
                Enqueued::Granted(place) => place,
                Enqueued::Rejected => {
                    return Err(ConnectError::Crowded {
                        waiting: capacity::MAX_WAITING,
                    });
                }
                Enqueued::Queued(ticket) => match timeout_at(deadline, ticket.called())
                    .await
                    .map_err(|_| full())?
                {
                    Some(place) => place,
                    // None of them is well any more.
                    None => match self.choose(request, tried) {
                        Ok(attempt) => return Ok(attempt),
                        Err(NoServer::AllTried) => return Err(full()),
                        Err(NoServer::AllFull(now)) => {
                            rank = now;
                            continue;
                        }
                    },
                },
            };
            return Ok(Attempt::at(&self.servers[place.keep()]));
        }
    }

    /// The servers of this rank, as somebody waits for them.
    fn eligible(&self, rank: Rank, tried: &[usize]) -> Vec<Eligible> {
        let is_wanted = |(at, _): &(usize, &Known)| {
            let options = &self.options.servers[*at];
            !tried.contains(at) && options.weight > 0 && options.backup <= rank.1
        };
        let eligible = |(
            at,
            Known {
                capacity, health, ..
            },
        ): (usize, &Known)| Eligible {
            at,
            capacity: Arc::clone(capacity),
            health: Arc::clone(health),
            in_any_state: rank.0 != HealthState::Healthy,
        };
        self.known()
            .enumerate()
            .filter(is_wanted)
            .map(eligible)
            .collect()
    }

    /// A server was not reached. Ejects it if that is one time too often.
    fn failed(&self, server: &Server, was_trial: bool, failure: &ConnectFailure) {
        let (Some(ejection), Some(known)) = (&self.options.ejection, &server.known) else {
            return;
        };
        let _one_at_a_time = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let out = || self.known().filter(|known| known.health.is_out()).count();
        let may_eject = || out() < ejection.at_once(self.servers.len());
        let Some(time) = known.health.failed(ejection, was_trial, may_eject) else {
            return;
        };
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        warn!(upstream = &*self.options.name, server = %server.addr, time_ms, reason = %failure, "server is left out");
        known.wait_queue.let_go();
    }

    fn succeeded(&self, server: &Server) {
        let Some(known) = &server.known else { return };
        if known.health.succeeded() {
            info!(upstream = &*self.options.name, server = %server.addr, "server is used again");
            known.wait_queue.offer(&known.capacity);
        }
    }
}

#[cfg(test)]
mod tests;
