//! The names of this machine: hosts(5) and resolv.conf(5), as they are now.
//!
//! They are looked at when a name is looked up, once a second at most, in a thread of their own: no
//! connection waits for a file system for longer than a moment, unless nothing is known yet.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::NameServerConfig;
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::addr::DnsServer;
use crate::net::resolve::Addresses;

/// How long what was read is believed without looking.
const BELIEVED: Duration = Duration::from_secs(1);

/// How long a look-up waits for the file system if it knows what was in the files before.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// No such file has a reason to be larger.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The grain of a file system's clock, in seconds, is not coarser.
const RECENT: u64 = 2;

/// The port of DNS (RFC 1035 §4.2).
const PORT: u16 = 53;

/// The two files.
pub(super) struct SystemFiles {
    shared: Arc<Shared>,
}

struct Shared {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    state: Mutex<FilesState>,
}

#[derive(Default)]
struct FilesState {
    known: Option<(Arc<Snapshot>, [Stamp; 2])>,
    looked: Option<Instant>,
    /// A look is under way. The other end is dropped when it is over.
    looking: Option<watch::Receiver<()>>,
}

/// The contents of the files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) hosts: Arc<Hosts>,
    pub(super) resolv: Arc<ResolvConf>,
}

/// The names of the hosts file, in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts(HashMap<Box<str>, Addresses>);

/// How to ask.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<DnsServer>,
    /// In lower case, without a dot at the end.
    pub(super) search: Vec<String>,
    pub(super) ndots: usize,
    pub(super) edns0: bool,
}

/// The stamp that the file system has for a file that has not been touched; `None` for one that is
/// not there.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

impl SystemFiles {
    pub(super) fn new(hosts: &Path, resolv_conf: &Path) -> Self {
        let shared = Shared {
            hosts: hosts.into(),
            resolv_conf: resolv_conf.into(),
            state: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The contents of the files now, or a second ago. A file that is not there is empty.
    pub(super) async fn read(&self) -> Arc<Snapshot> {
        loop {
            let (known, mut looking) = {
                let mut state = self.shared.lock();
                let known = state
                    .known
                    .as_ref()
                    .map(|(snapshot, _)| Arc::clone(snapshot));
                if let Some(known) = &known
                    && state.looked.is_some_and(|at| at.elapsed() < BELIEVED)
                {
                    return Arc::clone(known);
                }
                // One that ended without a result is as good as none.
                let looking = state
                    .looking
                    .take()
                    .filter(|looking| looking.has_changed().is_ok());
                (
                    known,
                    state
                        .looking
                        .insert(looking.unwrap_or_else(|| self.look()))
                        .clone(),
                )
            };
            let over = looking.changed();
            match known {
                None => _ = over.await,
                Some(known) => {
                    if timeout(MAX_WAIT, over).await.is_err() {
                        return known;
                    }
                }
            }
        }
    }

    fn look(&self) -> watch::Receiver<()> {
        let (sender, looking) = watch::channel(());
        let shared = Arc::clone(&self.shared);
        // It takes as long as the file system takes, and is not waited for; there is one such
        // thread at a time.
        drop(spawn_blocking(move || {
            let _over = sender;
            shared.look();
        }));
        looking
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, FilesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) {
        let stamps = [stamp(&self.hosts), stamp(&self.resolv_conf)];
        let before = self
            .lock()
            .known
            .as_ref()
            .map(|(snapshot, stamps)| (Arc::clone(snapshot), *stamps));
        let read = |path: &Path| read(path).unwrap_or_default();
        let snapshot = match before {
            Some((snapshot, before)) if before == stamps && !stamps.iter().any(is_recent) => {
                snapshot
            }
            before => {
                let hosts = Arc::new(Hosts::parse(&String::from_utf8_lossy(&read(&self.hosts))));
                let resolv = Arc::new(ResolvConf::parse(&read(&self.resolv_conf)));
                // What is the same stays the same, which others compare by its place.
                let before = before.map(|(snapshot, _)| snapshot);
                let resolv = before
                    .map(|before| Arc::clone(&before.resolv))
                    .filter(|same| *same == resolv)
                    .unwrap_or(resolv);
                Arc::new(Snapshot { hosts, resolv })
            }
        };
        let mut state = self.lock();
        state.known = Some((snapshot, stamps));
        state.looked = Some(Instant::now());
        state.looking = None;
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    let (modified, changed) = (
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
    );
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        modified,
        changed,
    ))
}

/// Whether it may be written again without a trace in its times.
fn is_recent(stamp: &Stamp) -> bool {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    stamp.is_some_and(|(.., (changed, _))| {
        u64::try_from(changed).is_ok_and(|changed| changed + RECENT >= now)
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Hosts {
    fn parse(text: &str) -> Self {
        let mut lists: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let mut words = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split_ascii_whitespace();
            let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
                continue;
            };
            for name in words {
                let list = lists
                    .entry(name.trim_end_matches('.').to_ascii_lowercase().into())
                    .or_default();
                if !list.contains(&ip) {
                    list.push(ip);
                }
            }
        }
        Self(
            lists
                .into_iter()
                .map(|(name, list)| (name, Addresses::of(&list)))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&Addresses> {
        self.0.get(name)
    }
}

impl Default for ResolvConf {
    fn default() -> Self {
        let servers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into()];
        Self {
            servers,
            search: Vec::new(),
            ndots: 1,
            edns0: false,
        }
    }
}

impl ResolvConf {
    /// Without a server it is the one of this machine that is asked, as resolv.conf(5) says.
    fn parse(bytes: &[u8]) -> Self {
        let parsed = parse_resolv_conf(bytes);
        let Ok((config, options)) =
            parsed.or_else(|_| parse_resolv_conf([bytes, b"\nnameserver 127.0.0.1\n"].concat()))
        else {
            return Self::default();
        };
        // The library drops the interface of a link-local address.
        let zoned: Vec<DnsServer> = zoned_servers(bytes).collect();
        let server = |server: &NameServerConfig| {
            let addr = SocketAddr::new(server.ip, PORT);
            zoned
                .iter()
                .find(|zoned| zoned.addr == addr)
                .cloned()
                .unwrap_or_else(|| addr.into())
        };
        let domains = if config.search().is_empty() {
            config.domain().map(std::slice::from_ref)
        } else {
            None
        };
        let domains = domains.unwrap_or_else(|| config.search());
        let text = |domain: &hickory_resolver::proto::rr::Name| {
            domain.to_ascii().trim_matches('.').to_ascii_lowercase()
        };
        Self {
            servers: config.name_servers().iter().map(server).collect(),
            search: domains
                .iter()
                .map(text)
                .filter(|domain| !domain.is_empty())
                .collect(),
            ndots: options.ndots,
            edns0: options.edns0,
        }
    }

    /// The names that `name` may be short for, in the order in which they are tried.
    pub(super) fn candidates(&self, name: &str) -> impl Iterator<Item = String> {
        let qualified = self
            .search
            .iter()
            .map(move |domain| format!("{name}.{domain}"));
        let is_first = name.bytes().filter(|byte| *byte == b'.').count() >= self.ndots;
        let itself = |wanted| (wanted == is_first).then(|| name.to_owned()).into_iter();
        itself(true).chain(qualified).chain(itself(false))
    }
}

/// The lines `nameserver fe80::1%eth0`.
fn zoned_servers(bytes: &[u8]) -> impl Iterator<Item = DnsServer> {
    let words = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        (words.next()? == "nameserver").then(|| words.next())?
    });
    words
        .filter_map(|word| word.parse().ok())
        .filter(|server: &DnsServer| server.zone.is_some())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::time::{advance, pause};

    use super::*;

    fn directory(hosts: &str, resolv_conf: &str) -> (TempDir, SystemFiles) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("hosts"), hosts).unwrap();
        fs::write(dir.path().join("resolv.conf"), resolv_conf).unwrap();
        let files = SystemFiles::new(&dir.path().join("hosts"), &dir.path().join("resolv.conf"));
        (dir, files)
    }

    fn candidates(resolv_conf: &str, name: &str) -> Vec<String> {
        ResolvConf::parse(resolv_conf.as_bytes())
            .candidates(name)
            .collect()
    }

    #[test]
    fn the_hosts_file_has_every_spelling_that_hosts_5_knows() {
        let hosts = Hosts::parse(
            "# none\n192.0.2.1 A.example b # c\n\n2001:db8::1\ta.example\n192.0.2.1 b\nnot an address\n",
        );
        let a = hosts.get("a.example").unwrap();
        assert_eq!(
            (&*a.v4, &*a.v6),
            (
                &["192.0.2.1".parse().unwrap()][..],
                &["2001:db8::1".parse().unwrap()][..]
            )
        );
        assert_eq!(hosts.get("b").unwrap().v4.len(), 1);
        assert!(hosts.get("c").is_none() && hosts.get("an").is_none());
    }

    #[test]
    fn a_short_name_is_qualified_first_and_a_long_one_last() {
        let text = "nameserver 192.0.2.53\nsearch ns.svc.example svc.example\noptions ndots:2\n";
        assert_eq!(
            candidates(text, "app.ns"),
            ["app.ns.ns.svc.example", "app.ns.svc.example", "app.ns"]
        );
        assert_eq!(candidates(text, "a.b.c")[0], "a.b.c");
        assert_eq!(
            candidates("nameserver 192.0.2.53\nsearch lan\n", "app"),
            ["app.lan", "app"]
        );
        assert_eq!(
            candidates("nameserver 192.0.2.53\nsearch lan\n", "app.net"),
            ["app.net", "app.net.lan"]
        );
    }

    #[test]
    fn a_server_of_one_link_keeps_its_interface() {
        let text =
            "nameserver fe80::1%eth0\nnameserver 192.0.2.53\nnameserver\tfe80::1%3 # router\n";
        let servers = ResolvConf::parse(text.as_bytes()).servers;
        let shown: Vec<String> = servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown[..2], ["[fe80::1%eth0]:53", "192.0.2.53:53"]);
    }

    #[test]
    fn a_file_without_servers_means_the_server_of_this_machine() {
        for text in ["", "search lan\n", "nonsense\n"] {
            assert_eq!(
                ResolvConf::parse(text.as_bytes()).servers,
                ["127.0.0.1".parse().unwrap()],
                "{text:?}"
            );
        }
        assert_eq!(candidates("search lan\n", "app"), ["app.lan", "app"]);
    }

    #[tokio::test]
    async fn a_file_that_was_changed_is_read_again_within_a_second_and_one_that_was_not_is_not() {
        pause();
        let (dir, files) = directory("192.0.2.1 app\n", "nameserver 192.0.2.53\n");
        let first = files.read().await;
        advance(BELIEVED).await;
        assert!(Arc::ptr_eq(&first.resolv, &files.read().await.resolv));
        fs::write(dir.path().join("new"), "192.0.2.2 app\n").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("hosts")).unwrap();
        assert_eq!(*first, *files.read().await, "not looked at yet");
        advance(BELIEVED).await;
        let second = files.read().await;
        assert_eq!(
            &*second.hosts.get("app").unwrap().v4,
            ["192.0.2.2".parse::<IpAddr>().unwrap()]
        );
        fs::remove_file(dir.path().join("resolv.conf")).unwrap();
        advance(BELIEVED).await;
        assert_eq!(*files.read().await.resolv, ResolvConf::default());
    }
}
