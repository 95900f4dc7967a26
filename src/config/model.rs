//! Model of a configuration: the values that a file with all that it names stands for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::addr::{ListenAddr, Sender};
use crate::authz::{Policy, SpkiDigest};
use crate::config::file::{Action as ActionName, ClientAuthMode, OnRevoke, TlsVersion};
use crate::config::material::{Keep, Materials};
use crate::config::trust::Trusts;
use crate::net::{Access, Liveness, resolve};
use crate::proxy::{Limits, OnRemove};
use crate::relay;
use crate::relay::OnTruncation;
use crate::route::{Rule, Table};
use crate::storage::Storage;
use crate::telemetry;
use crate::tls::{Acceptor, Certificate, Dates, Evidence, SelfSigned};
use crate::upstream;
use crate::x509::{Depth, Expired, Unknown};

/// A configuration that can run.
#[derive(Debug)]
pub struct Config {
    /// By name.
    pub listeners: BTreeMap<Arc<str>, Listener>,
    /// By name; the targets of the listeners' tables are positions in this list.
    pub routes: Vec<Route>,
    /// How the names of servers are looked up.
    pub resolver: resolve::ResolverOptions,
    /// The `[tls]` tables with what they inherit, for those who want to read them.
    pub tls: BTreeMap<Arc<str>, Tls>,
    /// By name.
    pub certificates: BTreeMap<Arc<str>, NamedCertificate>,
    /// Where things are kept that must outlive a restart.
    pub storage: Storage,
    /// The trust stores for servers.
    pub trusts: Trusts,
    /// The global time limits.
    pub timeouts: Timeouts,
    /// Notices that have to be logged later.
    pub notices: Vec<Notice>,
    /// Options of the log.
    pub log: telemetry::LogOptions,
    /// Whether each connection is logged when it ends.
    pub access_log: bool,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The address.
    pub addr: ListenAddr,
    /// The users that may connect, if it is a unix socket.
    pub access: Access,
}

/// A listener: where, and which routes.
#[derive(Debug)]
pub struct Listener {
    /// Addresses, at least one.
    pub bind: Vec<Bind>,
    /// From where connections begin with a PROXY header.
    pub proxies: Vec<Sender>,
    /// Positions in [`Config::routes`].
    pub table: Arc<Table<usize>>,
    /// How many connections it takes.
    pub limits: Limits,
    /// From accept to the whole ClientHello.
    pub hello_timeout: Duration,
}

/// A route.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// The clients that it takes.
    pub rule: Rule<usize>,
    /// The listeners that it is on; every one if nothing.
    pub listeners: Option<Vec<Arc<str>>>,
    /// The action.
    pub action: Action,
    /// Its time limits.
    pub timeouts: Timeouts,
    /// The fate of its connections when a reload removes it.
    pub on_remove: OnRemove,
    /// The end that a server without TLS gets of a client whose TLS ends without `close_notify`.
    pub on_truncation: OnTruncation,
}

/// The action of a route.
#[derive(Debug)]
pub enum Action {
    /// Bytes go to the upstream as they are.
    Passthrough(Arc<upstream::UpstreamOptions>),
    /// TLS ends here.
    Terminate {
        /// Where the plaintext goes.
        upstream: Arc<upstream::UpstreamOptions>,
        /// The `[tls]` table.
        tls: Arc<str>,
        /// The certificates by name, the default one first.
        certificates: Vec<Arc<str>>,
        /// All of that, ready.
        acceptor: Arc<Acceptor>,
    },
    /// Clients are refused.
    Reject,
}

impl Action {
    /// As it is written in the file.
    #[must_use]
    pub fn name(&self) -> ActionName {
        match self {
            Self::Passthrough(_) => ActionName::Passthrough,
            Self::Terminate { .. } => ActionName::Terminate,
            Self::Reject => ActionName::Reject,
        }
    }

    /// Where clients go, if they go anywhere.
    #[must_use]
    pub fn upstream(&self) -> Option<&Arc<upstream::UpstreamOptions>> {
        match self {
            Self::Passthrough(upstream) | Self::Terminate { upstream, .. } => Some(upstream),
            Self::Reject => None,
        }
    }
}

/// A `[tls]` table after inheritance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The oldest version of TLS.
    pub min_version: TlsVersion,
    /// The newest version of TLS.
    pub max_version: TlsVersion,
    /// Protocols, the preferred one first.
    pub alpn: Vec<String>,
    /// Whether clients authenticate.
    pub client_auth: ClientAuthMode,
    /// The CAs that they are verified against.
    pub ca_files: Vec<PathBuf>,
    /// The keys that are pinned.
    pub spki_sha256: Vec<SpkiDigest>,
    /// The files of certificates that are pinned.
    pub cert_files: Vec<PathBuf>,
    /// How the dates of a pinned certificate count.
    pub dates: Dates,
    /// The lists that revoked certificates are on.
    pub crl_files: Vec<PathBuf>,
    /// The certificates of a chain that are looked up in them.
    pub crl_depth: Depth,
    /// The verdict on one of whose issuer there is no list.
    pub crl_unknown: Unknown,
    /// The verdict on one whose issuer's list is too old.
    pub crl_expired: Expired,
    /// The fate of connections whose client would not be admitted any more.
    pub on_revoke: OnRevoke,
    /// The policy for clients whose certificate verifies.
    pub policy: Policy,
    /// The CAs and the lists themselves.
    pub evidence: Arc<Evidence>,
}

impl Tls {
    /// Whether every client that comes in has been verified.
    #[must_use]
    pub fn requires_identity(&self) -> bool {
        match self.client_auth {
            ClientAuthMode::None | ClientAuthMode::Request | ClientAuthMode::RequireAny => false,
            ClientAuthMode::VerifyIfGiven => self.policy.allow.is_some(),
            ClientAuthMode::RequireAndVerify | ClientAuthMode::Pinned => true,
        }
    }
}

/// Something to be said at a time that has not come yet, unless another configuration runs by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When.
    pub at: SystemTime,
    /// The message.
    pub message: String,
}

/// A certificate, and where it came from.
#[derive(Debug)]
pub struct NamedCertificate {
    /// The certificate with its key.
    pub certificate: Arc<Certificate>,
    /// The certificates that take its place when its time is over: others of its key and its
    /// issuers in the same file.
    pub later: Vec<Arc<Certificate>>,
    /// The file of the certificate.
    pub cert_file: PathBuf,
    /// The file of the key.
    pub key_file: PathBuf,
    /// Set if snigate makes the certificate itself.
    pub self_signed: Option<SelfSignedCertificate>,
    /// Its time has not come, and others serve meanwhile.
    pub stands_back: bool,
}

/// The certificates that serve, by their tables: the fingerprint of each, and of those that take
/// its place when its time is over. What stands back is not among them.
pub type Serving = BTreeMap<Arc<str>, Vec<Box<str>>>;

/// The circumstances that a configuration is judged by, its files aside.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// Decides what becomes of self-signed certificates and of those that have not begun.
    pub now: SystemTime,
    /// The certificates that serve so far, which a clock that is wrong gives no reason to refuse.
    pub serving: Arc<Serving>,
    /// The materials that run, for what does not fit.
    pub running: Arc<Materials>,
    /// The items that go on, whatever is there.
    pub keep: Keep,
}

impl Circumstances {
    /// At a time at which nothing is served yet.
    #[must_use]
    pub fn at(now: SystemTime) -> Self {
        Self {
            now,
            serving: Arc::default(),
            running: Arc::default(),
            keep: Keep::new(),
        }
    }
}

/// Time limits. Those without a value are off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the whole ClientHello.
    pub hello: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For each server that is tried.
    pub connect: Duration,
    /// Without a byte either way.
    pub idle: Option<Duration>,
    /// With one side finished and the other silent.
    pub half_close: Option<Duration>,
    /// For connections to end by themselves when snigate stops.
    pub drain: Duration,
    /// From accept to the end of the connection.
    pub max_lifetime: Option<Duration>,
    /// How the kernel finds out that a peer is gone.
    pub liveness: Liveness,
}

impl Default for Timeouts {
    fn default() -> Self {
        let relay = relay::RelayOptions::default();
        Self {
            hello: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            idle: relay.idle,
            half_close: relay.half_close,
            drain: Duration::from_secs(30),
            max_lifetime: None,
            liveness: relay.liveness,
        }
    }
}

/// The facts of a self-signed certificate beside itself.
#[derive(Debug)]
pub struct SelfSignedCertificate {
    pub(in crate::config) names: Vec<String>,
    pub(in crate::config) state: SelfSignedState,
}

/// Where a self-signed certificate is.
#[derive(Debug)]
pub(in crate::config) enum SelfSignedState {
    /// In the storage.
    Kept,
    /// Nowhere yet. It takes the place of another one for this reason, if there is one. Without a
    /// key of its own it has that of the other one.
    New(SelfSigned, Option<String>),
}

impl SelfSignedCertificate {
    /// The names that it is for, sorted.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl NamedCertificate {
    /// Whether it is a self-signed one that is in the storage only when the daemon that serves it
    /// has [kept](crate::config::Loaded::keep) it. Until then it is another one each time the configuration is
    /// loaded.
    #[must_use]
    pub fn is_to_be_made(&self) -> bool {
        self.self_signed
            .as_ref()
            .is_some_and(|own| matches!(own.state, SelfSignedState::New(..)))
    }
}
