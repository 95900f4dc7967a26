//! The configuration as it is in effect, written as a configuration file that means the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::addr::ListenAddr;
use crate::authz::{Policy, Rules};
use crate::config::compile::resolver;
use crate::config::file::{
    self, EjectionTable, File, HealthTable, List, OneOrMany, ServerTable, Short, Spanned,
    UpstreamTls,
};
use crate::config::model::{Action, Bind, Config, Listener, Route, Timeouts};
use crate::config::trust::Trust;
use crate::net::Access;
use crate::tls::{ConnectorOptions, MinVersion, Verification};
use crate::upstream::{self, Ejection, HealthCheck, ServerOptions};
use crate::x509::{Expired, Unknown};

impl Config {
    /// A file with every value spelled out: defaults, inheritance and inclusion are resolved.
    #[must_use]
    pub fn to_file(&self) -> File {
        let mut upstreams = BTreeMap::new();
        for options in self
            .routes
            .iter()
            .filter_map(|route| route.action.upstream())
            .filter(|options| options.is_named())
        {
            upstreams.insert(Spanned::from(options.name.to_string()), upstream(options));
        }
        File {
            include: None,
            listeners: self
                .listeners
                .iter()
                .map(|(name, listener)| (name.to_string().into(), listener.into()))
                .collect(),
            routes: self
                .routes
                .iter()
                .map(|route| (route.name.to_string().into(), self.route(route)))
                .collect(),
            upstreams,
            resolver: Some(Spanned::from(resolver::shown(&self.resolver, text))),
            tls: self
                .tls
                .iter()
                .map(|(name, tls)| (name.to_string().into(), tls.into()))
                .collect(),
            certificates: self
                .certificates
                .iter()
                .map(|(name, certificate)| (name.to_string().into(), certificate.into()))
                .collect(),
            storage: Some(Spanned::from(self.storage_section())),
            trust: self
                .trusts
                .named
                .iter()
                .map(|(name, trust)| (name.to_string().into(), trust.into()))
                .collect(),
            timeouts: Some(Spanned::from(timeouts(&self.timeouts))),
            log: Some(Spanned::from(self.log_section())),
        }
    }

    fn route(&self, route: &Route) -> file::Route {
        let mut shown = file::Route {
            sni: Some(list(&route.rule.names)),
            alpn: some_list(&route.rule.alpn),
            from: some_list(&route.rule.from),
            listeners: route.listeners.as_ref().map(|names| list(names)),
            strict_sni: Some(route.rule.strict_sni),
            action: Some(Spanned::from(route.action.name())),
            upstream: route.action.upstream().map(|options| {
                if options.is_named() {
                    list(&[&options.name])
                } else {
                    addresses(&options.servers)
                }
            }),
            ..file::Route::default()
        };
        if let Action::Terminate {
            tls, certificates, ..
        } = &route.action
        {
            // Naming a table that is not defined is a mistake.
            shown.tls = self
                .tls
                .contains_key(tls)
                .then(|| Spanned::from(tls.to_string()));
            shown.certificates = Some(list(certificates));
            shown.on_truncation = Some(Spanned::from(route.on_truncation));
        }
        if !matches!(route.action, Action::Reject) {
            shown.on_remove = Some(Spanned::from(route.on_remove));
            let all = timeouts(&route.timeouts);
            let handshake = if shown.tls.is_some() {
                all.handshake
            } else {
                None
            };
            shown.timeouts = Some(file::RouteTimeouts {
                handshake,
                connect: all.connect,
                idle: all.idle,
                half_close: all.half_close,
                max_lifetime: all.max_lifetime,
                keepalive: all.keepalive,
                unacknowledged: all.unacknowledged,
            });
        }
        shown
    }

    pub(super) fn storage_section(&self) -> file::Storage {
        file::Storage {
            dir: Some(Spanned::from(absolute(self.storage.dir()))),
        }
    }

    pub(super) fn log_section(&self) -> file::Log {
        let level = match self.log.level {
            tracing::Level::ERROR => file::Level::Error,
            tracing::Level::WARN => file::Level::Warn,
            tracing::Level::INFO => file::Level::Info,
            tracing::Level::DEBUG => file::Level::Debug,
            tracing::Level::TRACE => file::Level::Trace,
        };
        let format = self.log.format;
        file::Log {
            level: Some(level),
            format: Some(format),
            access: Some(self.access_log),
        }
    }
}

fn binds(all: &[Bind]) -> file::Binds {
    let text = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let shown = |Bind {
                     addr,
                     access: Access { mode, user, group },
                 }: &Bind| {
        let address = Some(Spanned::from(addr.to_string()));
        let table = match addr {
            ListenAddr::Unix(_) => {
                let owner = match group {
                    Some(group) => Some(format!("{}:{group}", text(*user))),
                    None => user.map(|user| user.to_string()),
                };
                let mode = Some(Spanned::from(format!("{mode:04o}")));
                file::BindTable {
                    address,
                    mode,
                    owner: owner.map(Spanned::from),
                    v6only: None,
                }
            }
            ListenAddr::DualStack(_) => file::BindTable {
                address,
                v6only: Some(Spanned::from(false)),
                ..file::BindTable::default()
            },
            ListenAddr::Tcp(_) | ListenAddr::Zoned(_) | ListenAddr::Systemd(_) => {
                return Spanned::from(file::Bind::Address(addr.to_string()));
            }
        };
        Spanned::from(file::Bind::Table(Box::new(table)))
    };
    file::OneOrMany(all.iter().map(shown).collect())
}

impl From<&Listener> for file::Listener {
    fn from(listener: &Listener) -> Self {
        let Listener {
            bind,
            proxies,
            table: _,
            limits,
            hello_timeout,
        } = listener;
        let rate = limits.rate_per_source.map(|rate| file::RatePerSource {
            connections: Some(Spanned::from(rate.connections)),
            per: duration(rate.per),
            burst: Some(Spanned::from(rate.burst)),
        });
        Self {
            bind: Some(binds(bind)),
            proxy_protocol: some_list(proxies)
                .map(|from| Spanned::from(file::AcceptProxy { from: Some(from) })),
            max_connections: limits.max_connections.map(Spanned::from),
            max_pending: Some(Spanned::from(limits.max_pending)),
            pending_per_source: limits.pending_per_source.map(Spanned::from),
            max_pending_bytes: Some(Spanned::from(limits.max_pending_bytes)),
            connections_per_source: limits.connections_per_source.map(Spanned::from),
            max_handshakes: Some(Spanned::from(limits.max_handshakes)),
            rate_per_source: rate.map(Spanned::from),
            timeouts: Some(file::ListenerTimeouts {
                hello: duration(*hello_timeout),
            }),
        }
    }
}

pub(super) fn upstream(options: &upstream::UpstreamOptions) -> file::Upstream {
    let balance = options.balance;
    // The timeout has been resolved into each route that uses the upstream.
    file::Upstream {
        servers: Some(OneOrMany(
            options
                .servers
                .iter()
                .map(|one| Spanned::from(server(one, options.balance)))
                .collect(),
        )),
        balance: Some(Spanned::from(balance)),
        ejection: Some(Spanned::from(
            options
                .ejection
                .as_deref()
                .map_or(Short::Word("off".to_owned()), ejection),
        )),
        health: Some(Spanned::from(
            options.health.as_deref().map_or(Short::Word(false), health),
        )),
        connect_timeout: None,
        tls: options
            .tls
            .as_ref()
            .map(|tls| Spanned::from(upstream_tls(tls.options()))),
        proxy_protocol: options.proxy_protocol.map(|proxy_protocol| {
            Spanned::from(match proxy_protocol {
                upstream::ProxyProtocol::V1 => file::ProxyProtocol::V1,
                upstream::ProxyProtocol::V2(_) => file::ProxyProtocol::V2,
            })
        }),
        proxy_protocol_tlvs: match options.proxy_protocol {
            Some(upstream::ProxyProtocol::V2(tlvs)) => some_list(&tlvs.words()).map(Spanned::from),
            _ => None,
        },
        transparent: Some(Spanned::from(options.transparent)),
    }
}

fn addresses(servers: &[ServerOptions]) -> List {
    list(
        &servers
            .iter()
            .map(|server| &server.addr)
            .collect::<Vec<_>>(),
    )
}

pub(super) fn server(server: &ServerOptions, balance: upstream::Balance) -> file::Server {
    let ServerOptions {
        addr,
        weight,
        max_connections,
        backup,
    } = server;
    Short::Table(Box::new(ServerTable {
        address: Some(Spanned::from(addr.to_string())),
        weight: (balance != upstream::Balance::First || *weight == 0)
            .then(|| Spanned::from(u64::from(*weight))),
        max_connections: max_connections.map(|limit| Spanned::from(u64::from(limit.get()))),
        backup: Some(*backup),
    }))
}

fn ejection(ejection: &Ejection) -> file::Ejection {
    let Ejection {
        failures,
        time,
        max_time,
        max_percent,
    } = ejection;
    Short::Table(Box::new(EjectionTable {
        failures: Some(Spanned::from(u64::from(*failures))),
        time: duration(*time),
        max_time: duration(*max_time),
        max_percent: Some(Spanned::from(u64::from(*max_percent))),
    }))
}

fn health(health: &HealthCheck) -> file::Health {
    let HealthCheck {
        kind,
        interval,
        timeout,
        rise,
        fall,
    } = health;
    Short::Table(Box::new(HealthTable {
        kind: Some(Spanned::from(*kind)),
        interval: duration(*interval),
        timeout: duration(*timeout),
        rise: Some(Spanned::from(u64::from(*rise))),
        fall: Some(Spanned::from(u64::from(*fall))),
    }))
}

fn upstream_tls(options: &ConnectorOptions) -> UpstreamTls {
    let ConnectorOptions {
        upstream: _,
        server_name,
        verification,
        pins,
        certificate,
        min_version,
        alpn,
        groups,
    } = options;
    let trust = match verification {
        Verification::Trust(name, _) => name.as_ref(),
        Verification::Insecure => None,
    };
    UpstreamTls::Table(Box::new(file::UpstreamTlsTable {
        server_name: server_name
            .as_ref()
            .map(|name| Spanned::from(name.to_string())),
        trust: trust.map(|name| Spanned::from(name.to_string())),
        certificate: certificate
            .as_ref()
            .map(|(name, _)| Spanned::from(name.to_string())),
        min_version: Some(match min_version {
            MinVersion::Tls12 => file::TlsVersion::Tls12,
            MinVersion::Tls13 => file::TlsVersion::Tls13,
        }),
        alpn: some_list(alpn),
        groups: some_list(groups),
        pin: some_list(pins),
        insecure: Some(Spanned::from(*verification == Verification::Insecure)),
    }))
}

impl From<&Trust> for file::Trust {
    fn from(trust: &Trust) -> Self {
        let ca_files: Vec<String> = trust.ca_files.iter().map(|path| absolute(path)).collect();
        Self {
            system: Some(trust.system),
            ca_files: some_list(&ca_files),
            pem: trust.pem.clone().map(Spanned::from),
        }
    }
}

fn crl(tls: &crate::config::Tls) -> file::Crl {
    file::Crl {
        depth: Some(tls.crl_depth),
        unknown: Some(match tls.crl_unknown {
            Unknown::Deny => file::Verdict::Deny,
            Unknown::Allow => file::Verdict::Allow,
        }),
        expired: Some(match tls.crl_expired {
            Expired::Deny => file::Verdict::Deny,
            Expired::Allow => file::Verdict::Allow,
        }),
    }
}

impl From<&crate::config::Tls> for file::Tls {
    fn from(tls: &crate::config::Tls) -> Self {
        let ca_files: Vec<String> = tls.ca_files.iter().map(|path| absolute(path)).collect();
        let crl_files: Vec<String> = tls.crl_files.iter().map(|path| absolute(path)).collect();
        let cert_files: Vec<String> = tls.cert_files.iter().map(|path| absolute(path)).collect();
        let Policy { allow, deny } = &tls.policy;
        let client_auth = file::ClientAuth {
            mode: Some(Spanned::from(tls.client_auth)),
            spki_sha256: some_list(&tls.spki_sha256).map(Spanned::from),
            cert_files: some_list(&cert_files).map(Spanned::from),
            dates: (tls.client_auth == file::ClientAuthMode::Pinned)
                .then(|| Spanned::from(tls.dates)),
            ca_files: some_list(&ca_files).map(Spanned::from),
            allow: allow.as_ref().map(|allow| Spanned::from(rules(allow))),
            deny: (!deny.is_empty()).then(|| Spanned::from(rules(deny))),
            crl_files: some_list(&crl_files).map(Spanned::from),
            crl: (!crl_files.is_empty()).then(|| Spanned::from(crl(tls))),
        };
        Self {
            extends: None,
            min_version: Some(tls.min_version),
            max_version: Some(Spanned::from(tls.max_version)),
            alpn: some_list(&tls.alpn),
            client_auth: Some(client_auth),
            on_revoke: Some(Spanned::from(tls.on_revoke)),
        }
    }
}

fn rules(rules: &Rules) -> file::ClientRules {
    let Rules {
        dns,
        uri,
        email,
        ip,
        upn,
        cn,
        ou,
        o,
        subject,
        issuer,
        spki_sha256,
        serial,
    } = rules;
    file::ClientRules {
        dns: some_list(dns),
        uri: some_list(uri),
        email: some_list(email),
        cn: some_list(cn),
        ip: some_list(ip),
        upn: some_list(upn),
        ou: some_list(ou),
        o: some_list(o),
        subject: some_list(subject),
        issuer: some_list(issuer),
        spki_sha256: some_list(spki_sha256),
        serial: some_list(serial),
    }
}

impl From<&crate::config::NamedCertificate> for file::Certificate {
    fn from(named: &crate::config::NamedCertificate) -> Self {
        let path = |path: &Path| Some(Spanned::from(absolute(path)));
        match &named.self_signed {
            Some(own) => Self {
                self_signed: Some(Spanned::from(true)),
                names: Some(list(own.names())),
                ..Self::default()
            },
            None => Self {
                cert_file: path(&named.cert_file),
                key_file: path(&named.key_file),
                ..Self::default()
            },
        }
    }
}

/// The output may be saved anywhere, so paths must not depend on where that is.
fn absolute(path: &Path) -> String {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_owned())
        .display()
        .to_string()
}

pub(super) fn timeouts(timeouts: &Timeouts) -> file::Timeouts {
    file::Timeouts {
        hello: duration(timeouts.hello),
        handshake: duration(timeouts.handshake),
        connect: duration(timeouts.connect),
        idle: or_off(timeouts.idle),
        half_close: or_off(timeouts.half_close),
        drain: duration(timeouts.drain),
        max_lifetime: or_off(timeouts.max_lifetime),
        keepalive: or_off(timeouts.liveness.keepalive),
        unacknowledged: or_off(timeouts.liveness.unacknowledged),
    }
}

pub(super) fn text(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration)
        .map(|duration| format!("{duration:#}"))
        .unwrap_or_default()
}

fn duration(duration: Duration) -> Option<Spanned<String>> {
    Some(Spanned::from(text(duration)))
}

fn or_off(duration: Option<Duration>) -> Option<Spanned<String>> {
    duration.map_or_else(|| Some(Spanned::from("off".to_owned())), self::duration)
}

fn list<T: ToString>(items: &[T]) -> List {
    List::from(items.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn some_list<T: ToString>(items: &[T]) -> Option<List> {
    if items.is_empty() {
        None
    } else {
        Some(list(items))
    }
}
