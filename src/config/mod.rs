//! The configuration: from text to values that are right, or to every reason why they are not.
//!
//! A [`Config`] exists only if every file that it names could be read, parsed, and fits the others.
//! Code that has one checks nothing again.

mod compile;
pub mod diagnostic;
pub mod diff;
pub mod file;
pub mod files;
pub mod material;
mod privileges;
mod read;
mod self_signed;
mod show;
pub mod trust;
mod unreadable;
pub mod weakening;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::addr::{ListenAddr, Sender};
use crate::authz::{Policy, SpkiDigest};
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::file::{Action as ActionName, ClientAuthMode, OnRevoke, TlsVersion};
use crate::config::files::{Files, Texts};
use crate::config::material::{Keep, Materials, Reason};
use crate::config::trust::Trusts;
use crate::net::{Access, Liveness, resolve};
use crate::proxy::{Limits, OnRemove};
use crate::relay;
use crate::relay::OnTruncation;
use crate::route::{Rule, Table};
use crate::storage::Storage;
use crate::telemetry;
use crate::tls::{Acceptor, Certificate, Dates, Evidence};
use crate::upstream;
use crate::x509::{Depth, Expired, Unknown};

pub use read::Variables;
pub use self_signed::{Made, SelfSignedCertificate};

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

/// The result of reading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, unless anything refuses it.
    pub config: Option<Config>,
    /// Everything there is to say about it.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file that it was made of.
    pub files: Files,
    /// The variables of the environment that it uses.
    pub variables: Variables,
    /// Diagnostics about materials in whose place those that run go on.
    pub unfit: Vec<Diagnostic>,
}

/// Reads the configuration at `path`, the files that it includes, and every certificate, key and CA
/// that it names.
#[must_use]
pub fn load(path: &Path) -> Loaded {
    load_in(path, &Circumstances::at(SystemTime::now()))
}

/// The same in circumstances of the caller's.
#[must_use]
pub fn load_in(path: &Path, circumstances: &Circumstances) -> Loaded {
    load_from(path, None, circumstances)
}

/// The same as [`load_in`], from the `texts` of a configuration that was loaded before, with the
/// certificates, keys and CAs that are there now.
#[must_use]
pub fn load_again(path: &Path, texts: Arc<Texts>, circumstances: &Circumstances) -> Loaded {
    load_from(path, Some(texts), circumstances)
}

/// Where these routes stand, of the configuration at `path`.
#[must_use]
pub fn places(path: &Path, routes: &BTreeSet<Arc<str>>) -> BTreeMap<Arc<str>, Place> {
    let Some(merged) = read::read(path, &mut Files::default(), &mut Vec::new()).merged else {
        return BTreeMap::new();
    };
    let place = |name: &Arc<str>| {
        let read::Sourced { source, span, .. } = merged.routes.get(&**name)?;
        Some((
            Arc::clone(name),
            Place {
                source: Arc::clone(source),
                span: span.clone(),
            },
        ))
    };
    routes.iter().filter_map(place).collect()
}

/// A material that cannot be used goes on as it runs, if it does; everything else counts. Where it
/// is not known which one is to blame, all of them go on but the revocation lists. Without that one
/// it is refused, for all that is wrong.
fn load_from(path: &Path, texts: Option<Arc<Texts>>, circumstances: &Circumstances) -> Loaded {
    let mut keep = circumstances.keep.clone();
    let (mut first, mut unfit) = (None, Vec::new());
    loop {
        let files = Files::new(
            texts.clone(),
            Arc::clone(&circumstances.running),
            keep.clone(),
        );
        let loaded = attempt(path, files, circumstances);
        let is_faulty = |found: &&Diagnostic| found.severity.refuses() || found.fault_of.is_some();
        let faults: Vec<Diagnostic> = loaded
            .diagnostics
            .iter()
            .filter(is_faulty)
            .cloned()
            .collect();
        if faults.is_empty() {
            return Loaded { unfit, ..loaded };
        }
        let known = keep.clone();
        let faulty = faults
            .iter()
            .map(|fault| fault.fault_of.clone())
            .collect::<Option<Vec<_>>>();
        match faulty {
            Some(faulty) => keep.extend(faulty.into_iter().map(|item| (item, Reason::BROKEN))),
            // Whatever it is a fault of, what is revoked beside it has to act.
            None => keep.extend(
                circumstances
                    .running
                    .all_but_lists()
                    .map(|item| (item, Reason::BROKEN)),
            ),
        }
        if keep == known {
            return first.unwrap_or(loaded);
        }
        unfit.extend(faults);
        first.get_or_insert(loaded);
    }
}

fn attempt(path: &Path, mut files: Files, circumstances: &Circumstances) -> Loaded {
    let mut diagnostics = Vec::new();
    let mut read = read::read(path, &mut files, &mut diagnostics);
    let compile = |merged| compile::compile(merged, &mut files, circumstances, &mut diagnostics);
    let mut config = read.merged.take().map(compile);
    diagnostics.retain(|diagnostic| !read.explains(diagnostic));
    let variables = read.variables;
    hide(&variables, &mut diagnostics);
    for notice in config.iter_mut().flat_map(|config| &mut config.notices) {
        notice.message = variables.hide(&notice.message);
    }
    let refused = diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity.refuses());
    diagnostic::sort(&mut diagnostics);
    Loaded {
        config: config.filter(|_| !refused),
        diagnostics,
        files,
        variables,
        unfit: Vec::new(),
    }
}

/// Takes the values of variables out of what is to be said.
fn hide(variables: &Variables, diagnostics: &mut [Diagnostic]) {
    if variables.is_empty() {
        return;
    }
    for diagnostic in diagnostics {
        diagnostic.message = variables.hide(&diagnostic.message);
        diagnostic.help = diagnostic.help.as_deref().map(|help| variables.hide(help));
    }
}
