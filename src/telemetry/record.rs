//! What is remembered of one connection for its access line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::display;
use tracing::info;

use crate::addr::{ClientAddr, UpstreamAddr};
use crate::authz::ClientCertificate;
use crate::name::Alpn;
use crate::telemetry::Ending;
use crate::wire::RequestedName;

/// One connection, as far as it has come.
#[derive(Debug)]
pub struct Record {
    /// Unique among the connections of this process and, most likely, of those before it.
    pub id: u64,
    /// The listener that accepted it.
    pub listener: Arc<str>,
    /// The client's address; that which a PROXY header names, where one does.
    pub client: ClientAddr,
    /// What a PROXY header has changed. Boxed, since there is hardly ever one.
    pub proxied: Option<Box<Proxied>>,
    /// When it was accepted.
    pub accepted: Instant,
    /// The server name that the client sent.
    pub server_name: RequestedName,
    /// What the client offers; after a handshake, what was agreed on.
    pub alpn: Vec<Alpn>,
    /// The route that took it, and what the route does.
    pub route: Option<(Arc<str>, &'static str)>,
    /// The version of TLS that was agreed on.
    pub tls_version: Option<&'static str>,
    /// What the client has shown of itself.
    pub certificate: Option<Box<ClientCertificate>>,
    /// The upstream, and the server that was reached.
    pub upstream: Option<(Arc<str>, Option<UpstreamAddr>)>,
    /// The address of that server, where its name does not say it. Boxed, like `failed`: few have
    /// it.
    pub reached: Option<Box<SocketAddr>>,
    /// The servers that were tried before, and why they were not reached.
    pub failed: Option<Box<str>>,
    /// Bytes to the client.
    pub sent: u64,
    /// Bytes from the client.
    pub received: u64,
    /// A TLS side ended without `close_notify`.
    pub truncated: bool,
    /// From accept to the whole ClientHello.
    pub hello: Option<Duration>,
    /// For the handshake.
    pub handshake: Option<Duration>,
    /// For reaching a server.
    pub connect: Option<Duration>,
    /// From accept to the end; what is done afterwards to deliver an alert does not count.
    pub duration: Option<Duration>,
}

/// A connection that another proxy has made for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// The other proxy.
    pub peer: ClientAddr,
    /// What the client connected to there, where the proxy says it.
    pub destination: Option<SocketAddr>,
}

impl Record {
    /// A connection of which nothing is known yet.
    #[must_use]
    pub fn new(id: u64, listener: Arc<str>, client: ClientAddr) -> Self {
        Self {
            id,
            listener,
            client,
            proxied: None,
            accepted: Instant::now(),
            server_name: RequestedName::Absent,
            alpn: Vec::new(),
            route: None,
            tls_version: None,
            certificate: None,
            upstream: None,
            reached: None,
            failed: None,
            sent: 0,
            received: 0,
            truncated: false,
            hello: None,
            handshake: None,
            connect: None,
            duration: None,
        }
    }

    /// Writes the access line.
    pub fn log(&self, ending: &Ending) {
        let sni = (!matches!(self.server_name, RequestedName::Absent))
            .then(|| display(&self.server_name));
        let alpn = (!self.alpn.is_empty()).then(|| join(&self.alpn));
        let (upstream, server) = match &self.upstream {
            Some((upstream, server)) => (Some(upstream.as_ref()), server.as_ref().map(display)),
            None => (None, None),
        };
        let identity = self.certificate.as_deref().map(ClientCertificate::claim);
        info!(
            name: "access",
            id = format_args!("{:016x}", self.id),
            listener = &*self.listener,
            client = %self.client,
            peer = self.proxied.as_ref().map(|proxied| display(proxied.peer)),
            sni,
            alpn,
            tls_version = self.tls_version,
            route = self.route.as_ref().map(|(route, _)| route.as_ref()),
            action = self.route.as_ref().map(|(_, action)| *action),
            upstream,
            server,
            server_addr = self.reached.as_ref().map(display),
            failed = self.failed.as_deref(),
            client_cert = identity.map(|identity| identity.subject.as_str()),
            client_cert_san = identity.filter(|identity| !identity.names.is_empty()).map(|identity| join(&identity.names)),
            client_cert_issuer = identity.map(|identity| identity.issuer.as_str()),
            client_cert_serial = identity.map(|identity| identity.serial.as_str()),
            client_cert_sha256 = identity.map(|identity| identity.fingerprint.as_str()),
            client_cert_verified = self.certificate.as_deref().map(|shown| shown.verified().is_some()),
            sent = self.sent,
            received = self.received,
            hello_ms = self.hello.map(milliseconds),
            handshake_ms = self.handshake.map(milliseconds),
            connect_ms = self.connect.map(milliseconds),
            duration_ms = milliseconds(self.duration.unwrap_or_else(|| self.accepted.elapsed())),
            outcome = ending.outcome.word(),
            by = ending.by.word(),
            truncated = self.truncated.then_some(true),
            detail = ending.detail.as_deref(),
            "connection"
        );
    }
}

fn join<T: std::fmt::Display>(items: &[T]) -> String {
    // A comma inside an item must not look like one between two.
    items
        .iter()
        .map(|item| item.to_string().replace(',', "\\x2c"))
        .collect::<Vec<_>>()
        .join(",")
}

/// To the microsecond: what lies below is noise.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
