//! The record of a connection: what its access line says, and what can be asked while it is open.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::display;
use tracing::info;

use crate::addr::{ClientAddr, UpstreamAddr};
use crate::authz::ClientCertificate;
use crate::name::{Alpn, ServerName};
use crate::telemetry::Ending;
use crate::wire::RequestedName;

/// A connection as far as it has come.
///
/// Each fact is written once, by the connection's own task; any thread may read meanwhile, without
/// a lock.
#[derive(Debug)]
pub struct Record {
    /// Unique among the connections of this process and, most likely, of those before it.
    pub id: u64,
    /// The listener that accepted it.
    pub listener: Arc<str>,
    /// The address that connected.
    pub peer: ClientAddr,
    /// When it was accepted.
    pub accepted: Instant,
    /// The addresses in a PROXY header. Boxed, since there is hardly ever one.
    pub proxied: OnceLock<Box<Proxied>>,
    /// The ClientHello, as far as it is kept.
    pub hello: OnceLock<Hello>,
    /// The route that took it.
    pub route: OnceLock<Matched>,
    /// The TLS session with the client, where snigate terminates it. Boxed, like all that
    /// connections in passthrough do not have.
    pub session: OnceLock<Box<Established>>,
    /// The certificate that the client has shown.
    pub certificate: OnceLock<Box<ClientCertificate>>,
    /// The upstream, from the moment that a server of it is looked for.
    pub upstream: OnceLock<Arc<str>>,
    /// The server that was reached.
    pub server: OnceLock<UpstreamAddr>,
    /// The address of that server, where its name does not say it. Boxed, like `failed`: few have
    /// it.
    pub reached: OnceLock<Box<SocketAddr>>,
    /// The servers that were tried before, and why they were not reached.
    pub failed: FailedServers,
    /// From accept to the whole ClientHello.
    pub hello_time: Elapsed,
    /// For the handshake.
    pub handshake_time: Elapsed,
    /// For reaching a server.
    pub connect_time: Elapsed,
}

/// A connection that another proxy has made for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// The client's address there.
    pub client: ClientAddr,
    /// The address that the client connected to there, where the proxy gives it.
    pub destination: Option<SocketAddr>,
}

/// The parts of a ClientHello that are kept.
#[derive(Debug)]
pub struct Hello {
    /// The server name.
    pub server_name: RequestedName,
    /// The protocols that it offers, the first of them.
    pub alpn: Box<[Alpn]>,
}

/// A route that took a connection.
#[derive(Debug)]
pub struct Matched {
    /// Its name.
    pub route: Arc<str>,
    /// The action, in the word of the configuration.
    pub action: &'static str,
}

/// An established session with a client.
#[derive(Debug)]
pub struct Established {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The protocol that was agreed on.
    pub alpn: Option<Alpn>,
}

/// A time that something took, to the microsecond; nothing before it is over.
#[derive(Debug, Default)]
pub struct Elapsed(AtomicU64);

/// The servers that could not be reached before another one was tried, and why. Each is written as
/// it fails, so that a connection which is cut off while it waits for the next one has it, too; the
/// lock is taken for those alone.
#[derive(Debug, Default)]
pub struct FailedServers(Mutex<Option<Box<str>>>);

/// The totals of a connection at its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Bytes to the client.
    pub sent: u64,
    /// Bytes from the client.
    pub received: u64,
    /// A TLS side ended without `close_notify`.
    pub truncated: bool,
    /// From accept to the end; what is done afterwards to deliver an alert does not count.
    pub duration: Duration,
}

impl FailedServers {
    /// One more has failed.
    pub fn add(&self, told: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.take().map(|before| format!("{before}; "));
        *all = Some(format!("{}{told}", before.unwrap_or_default()).into());
    }

    /// All that failed, in their order; nothing while none has.
    #[must_use]
    pub fn get(&self) -> Option<Box<str>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Elapsed {
    /// It took this long.
    pub fn set(&self, time: Duration) {
        // One more, for zero says that there is none.
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros.saturating_add(1), Ordering::Relaxed);
    }

    /// How long it took.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        let micros = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_micros(micros))
    }
}

impl Record {
    /// A connection of which nothing is known yet.
    #[must_use]
    pub fn new(id: u64, listener: Arc<str>, peer: ClientAddr) -> Self {
        Self {
            id,
            listener,
            peer,
            accepted: Instant::now(),
            proxied: OnceLock::new(),
            hello: OnceLock::new(),
            route: OnceLock::new(),
            session: OnceLock::new(),
            certificate: OnceLock::new(),
            upstream: OnceLock::new(),
            server: OnceLock::new(),
            reached: OnceLock::new(),
            failed: FailedServers::default(),
            hello_time: Elapsed::default(),
            handshake_time: Elapsed::default(),
            connect_time: Elapsed::default(),
        }
    }

    /// The client's address: that which a PROXY header names, where one does.
    #[must_use]
    pub fn client(&self) -> ClientAddr {
        self.proxied
            .get()
            .map_or(self.peer, |proxied| proxied.client)
    }

    /// The address that the client connected to at another proxy, where that says it.
    #[must_use]
    pub fn proxied_destination(&self) -> Option<SocketAddr> {
        self.proxied.get()?.destination
    }

    /// The server name that the client sent, if it is one.
    #[must_use]
    pub fn server_name(&self) -> Option<&ServerName> {
        self.hello.get()?.server_name.name()
    }

    /// The protocols that the client offers; after a handshake, the one that was agreed on.
    #[must_use]
    pub fn alpn(&self) -> &[Alpn] {
        match (self.session.get(), self.hello.get()) {
            (Some(session), _) => session.alpn.as_slice(),
            (None, Some(hello)) => &hello.alpn,
            (None, None) => &[],
        }
    }

    /// Writes the access line.
    pub fn log(&self, totals: &Totals, ending: &Ending) {
        let hello = self.hello.get();
        let sni = hello
            .map(|hello| &hello.server_name)
            .filter(|name| !matches!(name, RequestedName::Absent))
            .map(display);
        let alpn = Some(self.alpn()).filter(|alpn| !alpn.is_empty()).map(join);
        let route = self.route.get();
        let certificate = self.certificate.get();
        let identity = certificate.map(|certificate| certificate.claim());
        info!(
            name: "access",
            id = format_args!("{:016x}", self.id),
            listener = &*self.listener,
            client = %self.client(),
            peer = self.proxied.get().map(|_| display(self.peer)),
            sni,
            alpn,
            tls_version = self.session.get().map(|session| session.version),
            route = route.map(|matched| &*matched.route),
            action = route.map(|matched| matched.action),
            upstream = self.upstream.get().map(AsRef::as_ref),
            server = self.server.get().map(display),
            server_addr = self.reached.get().map(display),
            failed = self.failed.get().as_deref(),
            client_cert = identity.map(|identity| identity.subject.as_str()),
            client_cert_san = identity.filter(|identity| !identity.names.is_empty()).map(|identity| join(&identity.names)),
            client_cert_issuer = identity.map(|identity| identity.issuer.as_str()),
            client_cert_serial = identity.map(|identity| identity.serial.as_str()),
            client_cert_sha256 = identity.map(|identity| identity.fingerprint.as_str()),
            client_cert_verified = certificate.map(|shown| shown.verified().is_some()),
            sent = totals.sent,
            received = totals.received,
            hello_ms = self.hello_time.get().map(milliseconds),
            handshake_ms = self.handshake_time.get().map(milliseconds),
            connect_ms = self.connect_time.get().map(milliseconds),
            duration_ms = milliseconds(totals.duration),
            outcome = ending.outcome.word(),
            by = ending.by.word(),
            truncated = totals.truncated.then_some(true),
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
