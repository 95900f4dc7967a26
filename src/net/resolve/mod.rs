//! Resolution of names: from a host name to addresses, and from a service to the hosts that provide
//! it.
//!
//! A look-up is made once for all connections that need it; none waits longer than a moment where
//! an old answer is at hand, and a name that cannot be looked up delays no other.

mod active;
mod addresses;
mod cache;
mod dns;
mod files;
mod question;
mod runtime;
mod service;
mod system;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::addr::{DnsServer, UpstreamAddr};
use crate::net::random;
use crate::net::resolve::active::Active;
use crate::net::resolve::question::QueryFailure;

pub(super) use addresses::Addresses;
pub use service::{ServiceTarget, in_order};

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Names that are looked up ahead of the first connection, at a time.
const WARMERS: usize = 16;

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverOptions {
    /// The sources that are asked.
    pub mode: LookupMode,
    /// For how long an answer is used after its time, when there is no new one. Zero for not at
    /// all.
    pub stale: Duration,
    /// For each name that is looked up.
    pub timeout: Duration,
}

/// The sources of names, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupMode {
    /// hosts(5), and then DNS.
    Dns {
        /// DNS servers, in the order in which they are tried. Those of resolv.conf(5) if there are
        /// none.
        servers: Vec<DnsServer>,
        /// How long an answer holds at least.
        min_ttl: Duration,
        /// And at most.
        max_ttl: Duration,
    },
    /// getaddrinfo(3), with all that nsswitch.conf(5) names. It does not say how long an answer
    /// holds, and knows no services.
    System,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        let (min_ttl, max_ttl) = (Duration::from_secs(1), Duration::from_secs(3600));
        Self {
            mode: LookupMode::Dns {
                servers: Vec::new(),
                min_ttl,
                max_ttl,
            },
            stale: Duration::from_secs(24 * 3600),
            timeout: Duration::from_secs(3),
        }
    }
}

/// Resolves names, and remembers the answers.
///
/// It asks no source, and reads no file, before the first name.
pub struct Resolver {
    active: ArcSwap<Active>,
    warmers: Mutex<JoinSet<()>>,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(transparent)]
pub struct ResolveError(ResolveReason);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum ResolveReason {
    #[error("there is no such host, or it has no address")]
    NoHost,
    #[error("there is no such service")]
    NoService,
    #[error("getaddrinfo(3) knows no services")]
    NoServices,
    #[error(transparent)]
    Failed(#[from] QueryFailure),
}

impl From<ResolveReason> for ResolveError {
    fn from(reason: ResolveReason) -> Self {
        Self(reason)
    }
}

/// The name of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostName<'a> {
    /// One that may be short for another, as resolv.conf(5) has it.
    Short(&'a str),
    /// One that is complete.
    Full(&'a str),
}

/// The state of a host's addresses by now.
pub(super) struct Host {
    pub(super) addresses: Addresses,
    /// The other family, if it takes longer.
    pub(super) late: Option<Late>,
    /// Which one's turn it is, by chance: connections must not always meet the same one.
    pub(super) turn: usize,
}

pub(super) type Late = Pin<Box<dyn Future<Output = Addresses> + Send>>;

impl Default for Resolver {
    fn default() -> Self {
        Self::new(ResolverOptions::default())
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver")
            .field("options", &self.active.load().options)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(options: ResolverOptions) -> Self {
        let active = Active::new(options, Path::new(HOSTS), Path::new(RESOLV_CONF));
        Self {
            active: ArcSwap::from_pointee(active),
            warmers: Mutex::default(),
        }
    }

    /// Resolves by these options from now on. What it knows stays known if they are those of
    /// before.
    pub fn configure(&self, options: &ResolverOptions) {
        if self.active.load().options != *options {
            self.active.store(Arc::new(Active::new(
                options.clone(),
                Path::new(HOSTS),
                Path::new(RESOLV_CONF),
            )));
        }
    }

    /// Looks the names up in the background, so that they are known when they are needed, and logs
    /// which cannot be. What was still to be looked up of an earlier call is not any more.
    pub fn warm<'a>(&self, servers: impl IntoIterator<Item = &'a UpstreamAddr>) {
        let names: Vec<UpstreamAddr> = servers
            .into_iter()
            .filter(|addr| addr.is_name())
            .cloned()
            .collect();
        let mut warmers = JoinSet::new();
        if !names.is_empty() {
            let count = names.len().min(WARMERS);
            let names = Arc::new(Mutex::new(names));
            for _ in 0..count {
                let (active, names) = (self.active.load_full(), Arc::clone(&names));
                let next = move || names.lock().unwrap_or_else(PoisonError::into_inner).pop();
                warmers.spawn(async move {
                    while let Some(name) = next() {
                        active.warm(&name).await;
                    }
                });
            }
        }
        *self.warmers.lock().unwrap_or_else(PoisonError::into_inner) = warmers;
    }

    /// Marks every answer as old: it is asked for again before it is used, and used only if no
    /// source answers.
    pub fn forget(&self) {
        self.active.load().expire();
    }

    /// The addresses of a host: those of the hosts file, or of the first of the names that DNS has
    /// which it may be short for. There is no time limit but that of DNS: bound it from outside.
    pub(super) async fn host(&self, name: HostName<'_>) -> Result<Host, ResolveError> {
        self.active.load_full().host(name).await
    }

    /// The same after an answer has led nowhere since `failed_at`: the name is asked for again
    /// unless that has been done since, or within the last second. The answer may be the same.
    pub(super) async fn host_again(
        &self,
        name: HostName<'_>,
        failed_at: Instant,
    ) -> Result<Host, ResolveError> {
        let active = self.active.load_full();
        active.renew(name, failed_at).await;
        active.host(name).await
    }

    /// The servers that provide a service (RFC 2782), in no order. The name is not short for
    /// another.
    ///
    /// # Errors
    ///
    /// When there are none, and when no source answers.
    pub async fn services(&self, name: &str) -> Result<Arc<[ServiceTarget]>, ResolveError> {
        self.active.load_full().services(name).await
    }

    /// The same after the answer has led nowhere since `failed_at`, like [`Self::host_again`].
    pub(super) async fn services_again(
        &self,
        name: &str,
        failed_at: Instant,
    ) -> Result<Arc<[ServiceTarget]>, ResolveError> {
        let active = self.active.load_full();
        active.renew_services(name, failed_at).await;
        active.services(name).await
    }
}

impl Host {
    fn new(addresses: Addresses, late: Option<Late>) -> Self {
        Self {
            addresses,
            late,
            turn: usize::try_from(random::number() >> 32).unwrap_or_default(),
        }
    }
}

impl<'a> HostName<'a> {
    /// As it is asked for.
    pub(super) fn as_str(self) -> &'a str {
        let (Self::Short(name) | Self::Full(name)) = self;
        name
    }
}
