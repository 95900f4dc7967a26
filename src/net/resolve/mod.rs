//! From a host name to addresses, and from a service to the hosts that provide it.
//!
//! Nobody waits for a look-up that somebody else has made or is making, nor longer than a moment where an old answer is at
//! hand, and a name that cannot be looked up delays no other.

mod cache;
mod dns;
mod files;
mod question;
mod runtime;
mod service;
mod system;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::addr::{DnsServer, UpstreamAddr};
use crate::net::resolve::cache::{Cache, Terms};
use crate::net::resolve::dns::Dns;
use crate::net::resolve::files::{Files, ResolvConf, Snapshot};
use crate::net::resolve::question::{Failure, Kind, Question, Records};
use crate::net::resolve::service::random;
use crate::net::resolve::system::System;

pub use service::{Target, in_order};

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// When one family has an answer the other one gets so long (RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Names that are looked up ahead of the first connection, at a time.
const WARMERS: usize = 16;

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Who is asked.
    pub mode: Mode,
    /// For how long an answer is used after its time, when there is no new one. Zero for not at all.
    pub stale: Duration,
    /// For each name that is looked up.
    pub timeout: Duration,
}

/// Who is asked for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// hosts(5), and then DNS.
    Dns {
        /// DNS servers, in the order in which they are tried. Those of resolv.conf(5) if there are none.
        servers: Vec<DnsServer>,
        /// How long an answer holds at least.
        min_ttl: Duration,
        /// And at most.
        max_ttl: Duration,
    },
    /// getaddrinfo(3), with all that nsswitch.conf(5) names. It does not say how long an answer holds, and knows no services.
    System,
}

impl Default for Options {
    fn default() -> Self {
        let (min_ttl, max_ttl) = (Duration::from_secs(1), Duration::from_secs(3600));
        Self {
            mode: Mode::Dns { servers: Vec::new(), min_ttl, max_ttl },
            stale: Duration::from_secs(24 * 3600),
            timeout: Duration::from_secs(3),
        }
    }
}

/// Resolves names, and remembers the answers.
///
/// It asks nobody, and reads no file, before the first name.
pub struct Resolver {
    active: ArcSwap<Active>,
    warmers: Mutex<JoinSet<()>>,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(transparent)]
pub struct ResolveError(Reason);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Reason {
    #[error("there is no such host, or it has no address")]
    NoHost,
    #[error("there is no such service")]
    NoService,
    #[error("getaddrinfo(3) knows no services")]
    NoServices,
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<Reason> for ResolveError {
    fn from(reason: Reason) -> Self {
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

/// The addresses of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) v6: Arc<[IpAddr]>,
    pub(super) v4: Arc<[IpAddr]>,
}

/// What is known of a host by now.
pub(super) struct Host {
    pub(super) addresses: Addresses,
    /// The other family, if it takes longer.
    pub(super) late: Option<Late>,
    /// Whose turn it is, by chance: others who ask must not always meet the same one.
    pub(super) turn: usize,
}

pub(super) type Late = Pin<Box<dyn Future<Output = Addresses> + Send>>;

impl Default for Resolver {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("options", &self.active.load().options).finish_non_exhaustive()
    }
}

impl Resolver {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let active = Active::new(options, Path::new(HOSTS), Path::new(RESOLV_CONF));
        Self { active: ArcSwap::from_pointee(active), warmers: Mutex::default() }
    }

    /// Resolves by these options from now on. What it knows stays known if they are those of before.
    pub fn configure(&self, options: &Options) {
        if self.active.load().options != *options {
            self.active.store(Arc::new(Active::new(options.clone(), Path::new(HOSTS), Path::new(RESOLV_CONF))));
        }
    }

    /// Looks the names up in the background, so that they are known when they are needed, and logs which cannot be. What
    /// was still to be looked up of an earlier call is not any more.
    pub fn warm<'a>(&self, servers: impl IntoIterator<Item = &'a UpstreamAddr>) {
        let names: Vec<UpstreamAddr> = servers.into_iter().filter(|addr| addr.is_name()).cloned().collect();
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

    /// What is known is old from now on: it is asked for again before it is used, and used only if nobody answers.
    pub fn forget(&self) {
        match &self.active.load().backend {
            Backend::Dns { cache, .. } => cache.expire(),
            Backend::System { cache } => cache.expire(),
        }
    }

    /// The addresses of a host: those of the hosts file, or of the first of the names that DNS has which it may be short
    /// for. There is no time limit but that of DNS: bound it from outside.
    pub(super) async fn host(&self, name: HostName<'_>) -> Result<Host, ResolveError> {
        self.active.load_full().host(name).await
    }

    /// The same after an answer has led nowhere since `failed_at`: the name is asked for again unless that has been done
    /// since, or within the last second. The answer may be the same.
    pub(super) async fn host_again(&self, name: HostName<'_>, failed_at: Instant) -> Result<Host, ResolveError> {
        let active = self.active.load_full();
        active.renew(name, failed_at).await;
        active.host(name).await
    }

    /// The servers that provide a service (RFC 2782), in no order. The name is not short for another.
    ///
    /// # Errors
    ///
    /// When there are none, and when nobody answers.
    pub async fn services(&self, name: &str) -> Result<Arc<[Target]>, ResolveError> {
        self.active.load_full().services(name).await
    }

    /// The same after the answer has led nowhere since `failed_at`, like [`Self::host_again`].
    pub(super) async fn services_again(&self, name: &str, failed_at: Instant) -> Result<Arc<[Target]>, ResolveError> {
        let active = self.active.load_full();
        if let Backend::Dns { cache, .. } = &active.backend {
            cache.renew(&Question { name: name.into(), kind: Kind::Services }, failed_at).await;
        }
        active.services(name).await
    }
}

impl<'a> HostName<'a> {
    /// As it is asked for.
    pub(super) fn as_str(self) -> &'a str {
        let (Self::Short(name) | Self::Full(name)) = self;
        name
    }
}

/// A resolver as one configuration wants it.
struct Active {
    options: Options,
    backend: Backend,
}

enum Backend {
    Dns { files: Arc<Files>, cache: Arc<Cache<Dns>>, resolv: ArcSwap<ResolvConf> },
    System { cache: Cache<System> },
}

impl Host {
    fn new(addresses: Addresses, late: Option<Late>) -> Self {
        Self { addresses, late, turn: usize::try_from(random() >> 32).unwrap_or_default() }
    }
}

impl Active {
    fn new(options: Options, hosts: &Path, resolv_conf: &Path) -> Self {
        let mut terms =
            Terms { min_ttl: Duration::ZERO, max_ttl: Duration::MAX, stale: options.stale, timeout: options.timeout };
        let backend = match &options.mode {
            Mode::Dns { servers, min_ttl, max_ttl } => {
                (terms.min_ttl, terms.max_ttl) = (*min_ttl, *max_ttl);
                let files = Arc::new(Files::new(hosts, resolv_conf));
                let dns = Dns::new(Arc::clone(&files), servers.clone(), options.timeout);
                Backend::Dns { files, cache: Arc::new(Cache::new(dns, terms)), resolv: ArcSwap::default() }
            }
            Mode::System => Backend::System { cache: Cache::new(System::new(), terms) },
        };
        Self { options, backend }
    }

    async fn host(&self, name: HostName<'_>) -> Result<Host, ResolveError> {
        let (files, cache, resolv) = match &self.backend {
            Backend::Dns { files, cache, resolv } => (files, cache, resolv),
            Backend::System { cache } => {
                let question = Question { name: name.as_str().into(), kind: Kind::Both };
                let addresses = addresses(Some(cache.get(question).await.map_err(Reason::from)?));
                return if addresses.is_empty() { Err(Reason::NoHost.into()) } else { Ok(Host::new(addresses, None)) };
            }
        };
        let snapshot = look(files, cache, resolv).await;
        if let Some(addresses) = snapshot.local(name) {
            return Ok(Host::new(addresses, None));
        }
        let mut failed = Reason::NoHost;
        for candidate in snapshot.candidates(name) {
            match Self::ask(cache, &candidate).await {
                Ok(Some(host)) => return Ok(host),
                Ok(None) => {}
                // The server of that one domain may be broken; glibc goes on as well.
                Err(failure @ Failure::Server(..)) => failed = failure.into(),
                // Which of the names it is cannot be told now, and another one is another server.
                Err(failure) => return Err(Reason::from(failure).into()),
            }
        }
        Err(failed.into())
    }

    /// Asks again for the name that a host has been found by, and for both families.
    async fn renew(&self, name: HostName<'_>, failed_at: Instant) {
        let (files, cache, resolv) = match &self.backend {
            Backend::Dns { files, cache, resolv } => (files, cache, resolv),
            Backend::System { cache } => {
                return cache.renew(&Question { name: name.as_str().into(), kind: Kind::Both }, failed_at).await;
            }
        };
        let snapshot = look(files, cache, resolv).await;
        if snapshot.local(name).is_some() {
            return;
        }
        for candidate in snapshot.candidates(name) {
            let questions = [Kind::V6, Kind::V4].map(|kind| Question { name: candidate.as_str().into(), kind });
            if questions.iter().any(|question| cache.has_records(question)) {
                let [v6, v4] = &questions;
                tokio::join!(cache.renew(v6, failed_at), cache.renew(v4, failed_at));
                return;
            }
        }
    }

    async fn services(&self, name: &str) -> Result<Arc<[Target]>, ResolveError> {
        let Backend::Dns { files, cache, resolv } = &self.backend else { return Err(Reason::NoServices.into()) };
        look(files, cache, resolv).await;
        match cache.get(Question { name: name.into(), kind: Kind::Services }).await.map_err(Reason::from)? {
            Records::Services(targets) => Ok(targets),
            Records::Addresses(_) | Records::Missing => Err(Reason::NoService.into()),
        }
    }

    /// Asks DNS for both families at once. Nothing if there is no such name.
    async fn ask(cache: &Arc<Cache<Dns>>, name: &str) -> Result<Option<Host>, Failure> {
        let name: Arc<str> = name.into();
        let ask = |kind| {
            let (cache, question) = (Arc::clone(cache), Question { name: Arc::clone(&name), kind });
            Box::pin(async move { cache.get(question).await })
        };
        let (mut v6, mut v4) = (ask(Kind::V6), ask(Kind::V4));
        let (first, mut other) = tokio::select! {
            biased;
            first = &mut v6 => (first, v4),
            first = &mut v4 => (first, v6),
        };
        if !matches!(first, Ok(Records::Addresses(_))) {
            // Some servers say that a name does not exist when it has no address of one family (RFC 4074 §4.2).
            return match (first, other.await) {
                (_, Ok(second @ Records::Addresses(_))) => Ok(Some(Host::new(addresses(Some(second)), None))),
                (Ok(_), Ok(_)) => Ok(None),
                (Err(failure), _) | (_, Err(failure)) => Err(failure),
            };
        }
        match timeout(RESOLUTION_DELAY, &mut other).await {
            Ok(second) => Ok(Some(Host::new(addresses(first.into_iter().chain(second)), None))),
            Err(_) => {
                let late: Late = Box::pin(async move { addresses(other.await) });
                Ok(Some(Host::new(addresses(first), Some(late))))
            }
        }
    }

    async fn warm(&self, addr: &UpstreamAddr) {
        let failed = match addr {
            UpstreamAddr::Host(name, _) => self.host(HostName::Short(name.as_str())).await.err(),
            UpstreamAddr::FullHost(name, _) => self.host(HostName::Full(name.as_str())).await.err(),
            UpstreamAddr::Srv(name) => self.services(name.as_str()).await.err(),
            UpstreamAddr::Socket(_) | UpstreamAddr::Zoned(_) | UpstreamAddr::Unix(_) => None,
        };
        if let Some(error) = failed {
            warn!(server = %addr, %error, "a server's name cannot be resolved now");
        }
    }
}

/// What is in the files of this machine. Where they name other DNS servers than before, what was known is asked again.
async fn look(files: &Files, cache: &Cache<Dns>, resolv: &ArcSwap<ResolvConf>) -> Arc<Snapshot> {
    let snapshot = files.read().await;
    if !Arc::ptr_eq(&resolv.load(), &snapshot.resolv) {
        resolv.store(Arc::clone(&snapshot.resolv));
        cache.expire();
    }
    snapshot
}

impl Snapshot {
    /// The addresses of a host that DNS is not asked for.
    fn local(&self, name: HostName<'_>) -> Option<Addresses> {
        self.hosts.get(name.as_str()).cloned().or_else(|| localhost(name.as_str()))
    }

    /// The names to ask DNS for, in this order.
    fn candidates(&self, name: HostName<'_>) -> impl Iterator<Item = String> {
        let (short, full) = match name {
            HostName::Short(name) => (Some(name), None),
            HostName::Full(name) => (None, Some(name.to_owned())),
        };
        short.into_iter().flat_map(|name| self.resolv.candidates(name)).chain(full)
    }
}

/// RFC 6761 §6.3: these names never leave the machine.
fn localhost(name: &str) -> Option<Addresses> {
    let is_local = name == "localhost" || name.ends_with(".localhost");
    is_local.then(|| Addresses::of(&[Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]))
}

fn addresses(records: impl IntoIterator<Item = Records>) -> Addresses {
    let mut all = Addresses::default();
    for records in records {
        let Records::Addresses(found) = records else { continue };
        // DNS answers for one family at a time, whose list can be used as it is.
        if found.iter().all(IpAddr::is_ipv6) && !found.is_empty() {
            all.v6 = found;
        } else if found.iter().all(IpAddr::is_ipv4) && !found.is_empty() {
            all.v4 = found;
        } else {
            all = Addresses::of(&found);
        }
    }
    all
}

impl Addresses {
    pub(super) fn of(list: &[IpAddr]) -> Self {
        let of = |is_family: fn(&IpAddr) -> bool| list.iter().copied().filter(is_family).collect();
        Self { v6: of(IpAddr::is_ipv6), v4: of(IpAddr::is_ipv4) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v6.is_empty() && self.v4.is_empty()
    }

    /// All of them, the families in turn, IPv6 first (RFC 8305 §4). Which one of a family is first depends on `turn`.
    pub(super) fn interleaved(&self, turn: usize) -> impl Iterator<Item = IpAddr> {
        let rotated = |list: &[IpAddr]| {
            let mut list = list.to_vec();
            let by = turn % list.len().max(1);
            list.rotate_left(by);
            list.into_iter()
        };
        let (mut v6, mut v4) = (rotated(&self.v6), rotated(&self.v4));
        let pairs = std::iter::from_fn(move || match (v6.next(), v4.next()) {
            (None, None) => None,
            pair => Some([pair.0, pair.1]),
        });
        pairs.flatten().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    /// A resolver with files of its own, and a DNS server that nobody is.
    fn active(hosts: &str, timeout: Duration) -> (TempDir, std::net::UdpSocket, Active) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("hosts"), hosts).unwrap();
        fs::write(dir.path().join("resolv.conf"), "nameserver 127.0.0.1\nsearch lan.example\n").unwrap();
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut options = Options { timeout, ..Options::default() };
        if let Mode::Dns { servers, .. } = &mut options.mode {
            servers.push(silent.local_addr().unwrap().into());
        }
        let active = Active::new(options, &dir.path().join("hosts"), &dir.path().join("resolv.conf"));
        (dir, silent, active)
    }

    #[test]
    fn families_take_turns_and_so_do_the_addresses_of_each() {
        let addresses = Addresses::of(&ips(&["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "192.0.2.3"]));
        let order = |turn| addresses.interleaved(turn).collect::<Vec<_>>();
        assert_eq!(order(0), ips(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]));
        assert_eq!(order(1), ips(&["2001:db8::2", "192.0.2.2", "2001:db8::1", "192.0.2.3", "192.0.2.1"]));
        assert_eq!(Addresses::of(&ips(&["192.0.2.1"])).interleaved(7).count(), 1);
        assert_eq!(Addresses::default().interleaved(7).count(), 0);
    }

    #[tokio::test]
    async fn the_hosts_file_comes_before_dns_and_local_names_never_get_there() {
        let (_dir, silent, active) = active("192.0.2.1 app\n192.0.2.9 localhost\n", Duration::from_secs(60));
        for (name, expected) in
            [("app", &["192.0.2.1"][..]), ("localhost", &["192.0.2.9"]), ("a.localhost", &["::1", "127.0.0.1"])]
        {
            let found = active.host(HostName::Short(name)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(found.addresses, Addresses::of(&ips(expected)), "{name}");
        }
        silent.set_nonblocking(true).unwrap();
        assert!(silent.recv(&mut [0; 512]).is_err(), "a question was sent");
    }

    #[tokio::test]
    async fn a_server_that_is_silent_is_asked_for_both_families_and_no_longer_than_the_limit() {
        let (_dir, silent, active) = active("", Duration::from_millis(50));
        let error = active.host(HostName::Short("app.example")).await.err().unwrap();
        assert_eq!(error, Reason::Failed(Failure::Late).into());
        let mut types = [0; 2].map(|_| {
            let mut question = [0; 512];
            let length = silent.recv(&mut question).unwrap();
            question[length - 3]
        });
        types.sort_unstable();
        assert_eq!(types, [1, 28], "A and AAAA");
    }
}
