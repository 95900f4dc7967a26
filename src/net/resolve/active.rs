//! A resolver as one configuration wants it: who is asked for a name, in which order.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::addr::UpstreamAddr;
use crate::net::resolve::addresses::addresses;
use crate::net::resolve::cache::{Cache, Ttls};
use crate::net::resolve::dns::Dns;
use crate::net::resolve::files::{ResolvConf, Snapshot, SystemFiles};
use crate::net::resolve::question::{QueryFailure, Question, RecordKind, Records};
use crate::net::resolve::system::System;
use crate::net::resolve::{
    Addresses, Host, HostName, Late, LookupMode, ResolveError, ResolveReason, ResolverOptions,
    ServiceTarget,
};

/// When one family has an answer the other one gets so long (RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// A resolver as one configuration wants it.
pub(super) struct Active {
    pub(super) options: ResolverOptions,
    backend: Backend,
}

enum Backend {
    Dns {
        files: Arc<SystemFiles>,
        cache: Arc<Cache<Dns>>,
        resolv: ArcSwap<ResolvConf>,
    },
    System {
        cache: Cache<System>,
    },
}

impl Active {
    pub(super) fn new(options: ResolverOptions, hosts: &Path, resolv_conf: &Path) -> Self {
        let mut terms = Ttls {
            min_ttl: Duration::ZERO,
            max_ttl: Duration::MAX,
            stale: options.stale,
            timeout: options.timeout,
        };
        let backend = match &options.mode {
            LookupMode::Dns {
                servers,
                min_ttl,
                max_ttl,
            } => {
                (terms.min_ttl, terms.max_ttl) = (*min_ttl, *max_ttl);
                let files = Arc::new(SystemFiles::new(hosts, resolv_conf));
                let dns = Dns::new(Arc::clone(&files), servers.clone(), options.timeout);
                Backend::Dns {
                    files,
                    cache: Arc::new(Cache::new(dns, terms)),
                    resolv: ArcSwap::default(),
                }
            }
            LookupMode::System => Backend::System {
                cache: Cache::new(System::new(), terms),
            },
        };
        Self { options, backend }
    }

    pub(super) async fn host(&self, name: HostName<'_>) -> Result<Host, ResolveError> {
        let (files, cache, resolv) = match &self.backend {
            Backend::Dns {
                files,
                cache,
                resolv,
            } => (files, cache, resolv),
            Backend::System { cache } => {
                let question = Question {
                    name: name.as_str().into(),
                    kind: RecordKind::Both,
                };
                let addresses = addresses(Some(
                    cache.get(question).await.map_err(ResolveReason::from)?,
                ));
                return if addresses.is_empty() {
                    Err(ResolveReason::NoHost.into())
                } else {
                    Ok(Host::new(addresses, None))
                };
            }
        };
        let snapshot = look(files, cache, resolv).await;
        if let Some(addresses) = snapshot.local(name) {
            return Ok(Host::new(addresses, None));
        }
        let mut failed = ResolveReason::NoHost;
        for candidate in snapshot.candidates(name) {
            match Self::ask(cache, &candidate).await {
                Ok(Some(host)) => return Ok(host),
                Ok(None) => {}
                // The server of that one domain may be broken; glibc goes on as well.
                Err(failure @ QueryFailure::NameServer(..)) => failed = failure.into(),
                // Which of the names it is cannot be told now, and another one is another server.
                Err(failure) => return Err(ResolveReason::from(failure).into()),
            }
        }
        Err(failed.into())
    }

    /// Asks again for the name that a host has been found by, and for both families.
    pub(super) async fn renew(&self, name: HostName<'_>, failed_at: Instant) {
        let (files, cache, resolv) = match &self.backend {
            Backend::Dns {
                files,
                cache,
                resolv,
            } => (files, cache, resolv),
            Backend::System { cache } => {
                return cache
                    .renew(
                        &Question {
                            name: name.as_str().into(),
                            kind: RecordKind::Both,
                        },
                        failed_at,
                    )
                    .await;
            }
        };
        let snapshot = look(files, cache, resolv).await;
        if snapshot.local(name).is_some() {
            return;
        }
        for candidate in snapshot.candidates(name) {
            let questions = [RecordKind::V6, RecordKind::V4].map(|kind| Question {
                name: candidate.as_str().into(),
                kind,
            });
            if questions.iter().any(|question| cache.has_records(question)) {
                let [v6, v4] = &questions;
                tokio::join!(cache.renew(v6, failed_at), cache.renew(v4, failed_at));
                return;
            }
        }
    }

    pub(super) async fn services(&self, name: &str) -> Result<Arc<[ServiceTarget]>, ResolveError> {
        let Backend::Dns {
            files,
            cache,
            resolv,
        } = &self.backend
        else {
            return Err(ResolveReason::NoServices.into());
        };
        look(files, cache, resolv).await;
        match cache
            .get(Question {
                name: name.into(),
                kind: RecordKind::Services,
            })
            .await
            .map_err(ResolveReason::from)?
        {
            Records::Services(targets) => Ok(targets),
            Records::Addresses(_) | Records::Missing => Err(ResolveReason::NoService.into()),
        }
    }

    /// Asks again for a service.
    pub(super) async fn renew_services(&self, name: &str, failed_at: Instant) {
        if let Backend::Dns { cache, .. } = &self.backend {
            cache
                .renew(
                    &Question {
                        name: name.into(),
                        kind: RecordKind::Services,
                    },
                    failed_at,
                )
                .await;
        }
    }

    /// Has every question asked again. The answers so far are old ones.
    pub(super) fn expire(&self) {
        match &self.backend {
            Backend::Dns { cache, .. } => cache.expire(),
            Backend::System { cache } => cache.expire(),
        }
    }

    /// Asks DNS for both families at once. Nothing if there is no such name.
    async fn ask(cache: &Arc<Cache<Dns>>, name: &str) -> Result<Option<Host>, QueryFailure> {
        let name: Arc<str> = name.into();
        let ask = |kind| {
            let (cache, question) = (
                Arc::clone(cache),
                Question {
                    name: Arc::clone(&name),
                    kind,
                },
            );
            Box::pin(async move { cache.get(question).await })
        };
        let (mut v6, mut v4) = (ask(RecordKind::V6), ask(RecordKind::V4));
        let (first, mut other) = tokio::select! {
            biased;
            first = &mut v6 => (first, v4),
            first = &mut v4 => (first, v6),
        };
        if !matches!(first, Ok(Records::Addresses(_))) {
            // Some servers say that a name does not exist when it has no address of one family (RFC
            // 4074 §4.2).
            return match (first, other.await) {
                (_, Ok(second @ Records::Addresses(_))) => {
                    Ok(Some(Host::new(addresses(Some(second)), None)))
                }
                (Ok(_), Ok(_)) => Ok(None),
                (Err(failure), _) | (_, Err(failure)) => Err(failure),
            };
        }
        match timeout(RESOLUTION_DELAY, &mut other).await {
            Ok(second) => Ok(Some(Host::new(
                addresses(first.into_iter().chain(second)),
                None,
            ))),
            Err(_) => {
                let late: Late = Box::pin(async move { addresses(other.await) });
                Ok(Some(Host::new(addresses(first), Some(late))))
            }
        }
    }

    pub(super) async fn warm(&self, addr: &UpstreamAddr) {
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

/// The files of this machine, as they are now. Where they name other DNS servers than before, what
/// was known is asked again.
async fn look(
    files: &SystemFiles,
    cache: &Cache<Dns>,
    resolv: &ArcSwap<ResolvConf>,
) -> Arc<Snapshot> {
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
        self.hosts
            .get(name.as_str())
            .cloned()
            .or_else(|| localhost(name.as_str()))
    }

    /// The names to ask DNS for, in this order.
    fn candidates(&self, name: HostName<'_>) -> impl Iterator<Item = String> {
        let (short, full) = match name {
            HostName::Short(name) => (Some(name), None),
            HostName::Full(name) => (None, Some(name.to_owned())),
        };
        short
            .into_iter()
            .flat_map(|name| self.resolv.candidates(name))
            .chain(full)
    }
}

/// RFC 6761 §6.3: these names never leave the machine.
fn localhost(name: &str) -> Option<Addresses> {
    let is_local = name == "localhost" || name.ends_with(".localhost");
    is_local.then(|| Addresses::of(&[Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::IpAddr;

    use tempfile::TempDir;

    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    /// A resolver with files of its own, and a DNS server that nobody is.
    fn active(hosts: &str, timeout: Duration) -> (TempDir, std::net::UdpSocket, Active) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("hosts"), hosts).unwrap();
        fs::write(
            dir.path().join("resolv.conf"),
            "nameserver 127.0.0.1\nsearch lan.example\n",
        )
        .unwrap();
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut options = ResolverOptions {
            timeout,
            ..ResolverOptions::default()
        };
        if let LookupMode::Dns { servers, .. } = &mut options.mode {
            servers.push(silent.local_addr().unwrap().into());
        }
        let active = Active::new(
            options,
            &dir.path().join("hosts"),
            &dir.path().join("resolv.conf"),
        );
        (dir, silent, active)
    }

    #[tokio::test]
    async fn the_hosts_file_comes_before_dns_and_local_names_never_get_there() {
        let (_dir, silent, active) = active(
            "192.0.2.1 app\n192.0.2.9 localhost\n",
            Duration::from_secs(60),
        );
        for (name, expected) in [
            ("app", &["192.0.2.1"][..]),
            ("localhost", &["192.0.2.9"]),
            ("a.localhost", &["::1", "127.0.0.1"]),
        ] {
            let found = active
                .host(HostName::Short(name))
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(found.addresses, Addresses::of(&ips(expected)), "{name}");
        }
        silent.set_nonblocking(true).unwrap();
        assert!(silent.recv(&mut [0; 512]).is_err(), "a question was sent");
    }

    #[tokio::test]
    async fn a_server_that_is_silent_is_asked_for_both_families_and_no_longer_than_the_limit() {
        let (_dir, silent, active) = active("", Duration::from_millis(50));
        let error = active
            .host(HostName::Short("app.example"))
            .await
            .err()
            .unwrap();
        assert_eq!(error, ResolveReason::Failed(QueryFailure::Late).into());
        let mut types = [0; 2].map(|_| {
            let mut question = [0; 512];
            let length = silent.recv(&mut question).unwrap();
            question[length - 3]
        });
        types.sort_unstable();
        assert_eq!(types, [1, 28], "A and AAAA");
    }
}
