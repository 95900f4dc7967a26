//! Active health checks: periodic TCP or TLS probes of a server, independent of client traffic.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::addr::UpstreamAddr;
use crate::net::random;
use crate::net::{LINGER, Resolver, Stream, Transport, close_in_order, connect};
use crate::os::words;
use crate::tls::Connector;
use crate::upstream::Upstream;
use crate::upstream::capacity::{Capacity, WaitQueue};
use crate::upstream::dial::session;
use crate::upstream::header::ProxyProtocol;
use crate::upstream::health::ServerHealth;
use crate::upstream::options::{HealthCheck, HealthCheckKind};
use crate::upstream::outage::ServerGroup;

/// Identity of a check: a reload that does not change it lets the check go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckKey {
    upstream: Arc<str>,
    addr: UpstreamAddr,
    tls: Option<Arc<Connector>>,
    proxy_protocol: Option<ProxyProtocol>,
    health: HealthCheck,
}

/// A server that is to be asked again and again.
#[derive(Debug)]
pub struct Check {
    key: CheckKey,
    health: Arc<ServerHealth>,
    capacity: Arc<Capacity>,
    wait_queue: Arc<WaitQueue>,
    group: Option<Arc<ServerGroup>>,
    resolver: Arc<Resolver>,
}

impl Upstream {
    /// A check for each server, if they are to be checked.
    pub fn checks(&self) -> impl Iterator<Item = Check> {
        let checked = self
            .options
            .health
            .as_deref()
            .into_iter()
            .flat_map(|health| {
                let known = self
                    .servers
                    .iter()
                    .filter_map(|server| Some((server.addr.clone(), server.known.as_ref()?)));
                known.map(move |server| (health, server))
            });
        checked.map(|(health, (addr, known))| Check {
            key: CheckKey {
                upstream: Arc::clone(&self.options.name),
                addr,
                // Also where it is not made use of: what is known of a server is known of it as
                // these authorities see it.
                tls: self.options.tls.clone(),
                proxy_protocol: self.options.proxy_protocol,
                health: health.clone(),
            },
            health: Arc::clone(&known.health),
            capacity: Arc::clone(&known.capacity),
            wait_queue: Arc::clone(&known.wait_queue),
            group: self.group.clone(),
            resolver: Arc::clone(&self.resolver),
        })
    }
}

impl Check {
    /// The identity of this check.
    #[must_use]
    pub fn key(&self) -> &CheckKey {
        &self.key
    }

    /// Checks for ever, from now on; the first time at some moment of the first tenth of the
    /// interval. Cancellation closes the connection of a check that is on its way.
    pub async fn run(self) {
        let CheckKey {
            upstream,
            addr,
            health,
            ..
        } = &self.key;
        sleep(
            health
                .interval
                .mul_f64(0.1 * random::fraction(random::number())),
        )
        .await;
        loop {
            let (stream, error) = match self.ask().await {
                Ok(stream) => (stream, None),
                Err(error) => (None, Some(error)),
            };
            match self.health.checked(error.is_none(), health) {
                Some(false) => {
                    let reason = error.unwrap_or_default();
                    warn!(upstream = &**upstream, server = %addr, reason, "server is down");
                    self.wait_queue.let_go();
                    if let Some(group) = self.group.as_ref().filter(|group| group.are_failing()) {
                        group
                            .outage
                            .begin(upstream, &format_args!("{addr}: {reason}"));
                    }
                }
                Some(true) => {
                    info!(upstream = &**upstream, server = %addr, "server is up");
                    if let Some(group) = &self.group {
                        group.outage.end(upstream);
                    }
                    self.wait_queue.offer(&self.capacity);
                }
                None => {}
            }
            if let Some(mut socket) = stream {
                // A server that is reset, or hung up on with something unread, would have something
                // to log.
                close_in_order(&mut socket, Instant::now() + LINGER).await;
            }
            sleep(random::about(health.interval, 0.1)).await;
        }
    }

    /// One check: a connection that has yet to be closed, if there is one left, or what was wrong.
    async fn ask(&self) -> Result<Option<Transport>, String> {
        let CheckKey {
            addr,
            tls,
            health,
            proxy_protocol,
            ..
        } = &self.key;
        let deadline = Instant::now() + health.timeout;
        let header = proxy_protocol.map_or_else(Vec::new, ProxyProtocol::own_header);
        let via = (&*self.resolver).into();
        if let Some(tls) = tls.as_ref().filter(|_| health.kind == HealthCheckKind::Tls) {
            let session = session(tls, addr, &via, &header, None, deadline).await;
            let mut session = session.map_err(|failure| failure.to_string())?;
            // It ends with a close_notify.
            let _ = timeout_at(deadline, session.shutdown()).await;
            return Ok(Some(session.into_transport()));
        }
        let connected = connect(addr, &via, &header, deadline)
            .await
            .map_err(|error| words(&error).to_string())?;
        match connected
            .send(deadline)
            .await
            .map_err(|error| words(&error).to_string())?
        {
            Stream::Tcp(tcp) => Ok(Some(Transport::Tcp(tcp))),
            Stream::Unix(unix) => Ok(Some(Transport::Unix(unix))),
            Stream::Tls(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::capacity::{Eligible, Enqueued};
    use crate::upstream::options::{ServerOptions, UpstreamOptions};
    use crate::upstream::registry::Registry;

    #[tokio::test]
    async fn who_waits_for_a_server_that_is_down_is_called_when_checks_find_it_up() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr: UpstreamAddr = server.local_addr().unwrap().to_string().parse().unwrap();
        let health = HealthCheck {
            interval: Duration::from_millis(1),
            ..HealthCheck::of(HealthCheckKind::Tcp)
        };
        let server_options = ServerOptions {
            max_connections: std::num::NonZeroU32::new(1),
            ..addr.into()
        };
        let options = UpstreamOptions {
            health: Some(Box::new(health.clone())),
            ..UpstreamOptions::new("u", [server_options])
        };
        let upstream = Upstream::new(options, &Registry::default());
        let check = upstream.checks().next().expect("it is to be checked");
        check.health.checked(false, &health);
        let (capacity, health) = (Arc::clone(&check.capacity), Arc::clone(&check.health));
        let Enqueued::Queued(ticket) = check.wait_queue.enter(vec![Eligible {
            at: 0,
            capacity,
            health,
            in_any_state: false,
        }]) else {
            panic!("nobody is sent to a server that is down");
        };
        let place = tokio::select! {
            () = check.run() => unreachable!("it checks for ever"),
            place = timeout_at(Instant::now() + Duration::from_secs(30), ticket.called()) => place,
        };
        assert_eq!(place.expect("a call").expect("a place").keep(), 0);
    }
}
