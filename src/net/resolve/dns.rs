//! Names as DNS servers know them.
//!
//! The library speaks the protocol; which server is asked is decided here, as resolv.conf(5) wants
//! it: the first one, and the next one only if that fails. They need not know the same names.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::Resolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::addr::DnsServer;
use crate::net::resolve::ServiceTarget;
use crate::net::resolve::files::{ResolvConf, SystemFiles};
use crate::net::resolve::question::{
    Answer, AnswerSource, QueryFailure, Question, RecordKind, Records,
};
use crate::net::resolve::runtime::Runtime;
use crate::os;

/// Questions at a time. Each has a socket, and names whose servers are silent must not take all of
/// them.
const MAX_QUESTIONS: usize = 256;

/// A server that did not answer is waited for no longer than [`PROBE`] for so long.
const DISTRUST: Duration = Duration::from_secs(30);

/// The time that a silent server has before the next one is asked. It keeps its turn: that it was
/// silent may be one name's doing, and it may know names that the others deny.
const PROBE: Duration = Duration::from_millis(200);

/// The DNS servers of the configuration, or those of resolv.conf(5).
pub(super) struct Dns {
    files: Arc<SystemFiles>,
    /// Instead of those of the file, if there are any.
    own_servers: Vec<DnsServer>,
    timeout: Duration,
    clients: Mutex<Option<Clients>>,
    permits: Semaphore,
}

/// The clients that were made of the file as it was.
struct Clients {
    of: Arc<ResolvConf>,
    servers: Arc<[NameServer]>,
}

struct NameServer {
    addr: SocketAddr,
    client: Resolver<Runtime>,
    /// When it last did not answer, if that was the last that happened.
    silent: Mutex<Option<Instant>>,
}

impl Dns {
    pub(super) fn new(
        files: Arc<SystemFiles>,
        own_servers: Vec<DnsServer>,
        timeout: Duration,
    ) -> Self {
        Self {
            files,
            own_servers,
            timeout,
            clients: Mutex::default(),
            permits: Semaphore::new(MAX_QUESTIONS),
        }
    }

    /// The servers to ask, in this order.
    async fn servers(&self) -> Result<Arc<[NameServer]>, QueryFailure> {
        let files = self.files.read().await;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clients) = clients
            .as_ref()
            .filter(|clients| Arc::ptr_eq(&clients.of, &files.resolv))
        {
            return Ok(Arc::clone(&clients.servers));
        }
        let servers = self.connect(&files.resolv)?;
        *clients = Some(Clients {
            of: Arc::clone(&files.resolv),
            servers: Arc::clone(&servers),
        });
        Ok(servers)
    }

    fn connect(&self, resolv: &ResolvConf) -> Result<Arc<[NameServer]>, QueryFailure> {
        let addresses = if self.own_servers.is_empty() {
            &resolv.servers
        } else {
            &self.own_servers
        };
        let share = self.timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let server = |DnsServer { addr, zone }: &DnsServer| {
            let connection = |mut connection: ConnectionConfig| {
                connection.port = addr.port();
                connection
            };
            let connections = vec![
                connection(ConnectionConfig::udp()),
                connection(ConnectionConfig::tcp()),
            ];
            let config = ResolverConfig::from_name_servers(vec![NameServerConfig::new(
                addr.ip(),
                true,
                connections,
            )]);
            let mut builder = Resolver::builder_with_config(config, Runtime::new(zone.clone()));
            *builder.options_mut() = options(share, resolv.edns0);
            let client = builder.build().map_err(|error| failure(*addr, &error))?;
            Ok(NameServer {
                addr: *addr,
                client,
                silent: Mutex::default(),
            })
        };
        addresses.iter().map(server).collect()
    }
}

/// Nothing but one question and its answer: hosts(5), the search list, the cache and the order of
/// servers are ours.
fn options(timeout: Duration, edns0: bool) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    // A question over UDP is repeated within its time.
    options.attempts = 0;
    options.edns0 = edns0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options
}

impl AnswerSource for Dns {
    async fn ask(&self, question: &Question) -> Result<Answer, QueryFailure> {
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| QueryFailure::Aborted)?;
        let name = Name::from_ascii(format!("{}.", question.name));
        // One that is too long when it has been completed is no host's.
        let Ok(name) = name else {
            return Ok(Answer {
                records: Records::Missing,
                ttl: None,
            });
        };
        let mut last = QueryFailure::Late;
        let servers = self.servers().await?;
        let has_choice = servers.iter().any(|server| !server.is_distrusted());
        for server in &*servers {
            let answer = if has_choice && server.is_distrusted() {
                timeout(PROBE, server.ask(&name, question.kind))
                    .await
                    .unwrap_or(Err(QueryFailure::Late))
            } else {
                server.ask(&name, question.kind).await
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }
}

impl NameServer {
    async fn ask(&self, name: &Name, kind: RecordKind) -> Result<Answer, QueryFailure> {
        let record_type = match kind {
            RecordKind::V4 | RecordKind::Both => RecordType::A,
            RecordKind::V6 => RecordType::AAAA,
            RecordKind::Services => RecordType::SRV,
        };
        let found = self.client.lookup(name.clone(), record_type).await;
        // One that says that it cannot answer is there.
        let is_silent = matches!(&found, Err(error) if !matches!(error, NetError::Dns(_)));
        let answer = match found {
            Ok(found) => Ok(answer(found.answers(), kind)),
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(
                    none.response_code,
                    ResponseCode::NXDomain | ResponseCode::NoError
                ) =>
            {
                let ttl = none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
                Ok(Answer {
                    records: Records::Missing,
                    ttl,
                })
            }
            Err(error) => Err(failure(self.addr, &error)),
        };
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        *silent = is_silent.then(Instant::now);
        answer
    }

    fn is_distrusted(&self) -> bool {
        self.silent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|at| at.elapsed() < DISTRUST)
    }
}

fn failure(addr: SocketAddr, error: &NetError) -> QueryFailure {
    match error {
        NetError::Timeout => QueryFailure::Late,
        NetError::Dns(DnsError::ResponseCode(code)) => {
            QueryFailure::NameServer(addr, code.to_str().into())
        }
        error => QueryFailure::NameServer(addr, words(error).into()),
    }
}

/// Why a server has not answered. The library's own words have the text of its types in them.
fn words(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.response_code.to_str().to_owned(),
        NetError::Io(error) => os::words(error).to_string(),
        NetError::Busy | NetError::NoConnections => "there is no connection to it".to_owned(),
        // What came, and why it is none: only the library can tell.
        _ => "what it sends is no answer to the question".to_owned(),
    }
}

/// The answer in the records; aliases (CNAME) on the way only limit how long it holds.
fn answer(records: &[Record], kind: RecordKind) -> Answer {
    let ttl = records
        .iter()
        .map(|record| Duration::from_secs(record.ttl.into()))
        .min();
    let records = match kind {
        RecordKind::Services => Records::Services(records.iter().filter_map(target).collect()),
        RecordKind::V4 | RecordKind::V6 | RecordKind::Both => {
            Records::Addresses(records.iter().filter_map(address).collect())
        }
    };
    let is_empty = match &records {
        Records::Addresses(addresses) => addresses.is_empty(),
        Records::Services(targets) => targets.is_empty(),
        Records::Missing => true,
    };
    Answer {
        records: if is_empty { Records::Missing } else { records },
        ttl,
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(ip) => Some(ip.0.into()),
        RData::AAAA(ip) => Some(ip.0.into()),
        _ => None,
    }
}

fn target(record: &Record) -> Option<ServiceTarget> {
    let RData::SRV(srv) = &record.data else {
        return None;
    };
    // RFC 2782: the root as a target says that there is no such service. No server listens on port
    // 0.
    if srv.target.is_root() || srv.port == 0 {
        return None;
    }
    let host = srv
        .target
        .to_ascii()
        .trim_end_matches('.')
        .to_ascii_lowercase()
        .into();
    Some(ServiceTarget {
        host,
        port: srv.port,
        priority: srv.priority,
        weight: srv.weight,
    })
}

#[cfg(test)]
mod tests {
    use hickory_resolver::net::NoRecords;
    use hickory_resolver::proto::op::Query;

    use super::*;

    #[test]
    fn no_failure_of_a_server_is_told_in_the_words_of_the_library() {
        let none = NoRecords::new(
            Query::query(Name::root(), RecordType::A),
            ResponseCode::ServFail,
        );
        for (error, expected) in [
            (
                NetError::Dns(DnsError::NoRecordsFound(none)),
                "Server Failure",
            ),
            (
                NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)),
                "Query Refused",
            ),
            (
                NetError::from(std::io::Error::from_raw_os_error(111)),
                "Connection refused",
            ),
            (NetError::NoConnections, "there is no connection to it"),
            (
                NetError::Message("Query { name: Name(\".\") }"),
                "what it sends is no answer to the question",
            ),
        ] {
            let said = failure(SocketAddr::from(([127, 0, 0, 1], 53)), &error).to_string();
            assert_eq!(
                said,
                format!("the DNS server 127.0.0.1:53 cannot answer: {expected}")
            );
        }
    }
}
