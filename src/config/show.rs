//! The configuration as it is in effect, written as a configuration file that means the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::authz::{Policy, Rules};
use crate::config::compile::resolver;
use crate::config::file::{self, At, File, List, UpstreamTls};
use crate::config::trust::Trust;
use crate::config::{Action, Config, Route, Timeouts};
use crate::telemetry::Format;
use crate::tls::{ConnectorOptions, Depth, Expired, MinVersion, Unknown, Verification};
use crate::upstream;

impl Config {
    /// A file with every value spelled out: defaults, inheritance and inclusion are resolved.
    #[must_use]
    pub fn to_file(&self) -> File {
        let mut upstreams = BTreeMap::new();
        for options in
            self.routes.iter().filter_map(|route| route.action.upstream()).filter(|options| is_named(options))
        {
            upstreams.insert(At::from(options.name.to_string()), upstream(options));
        }
        File {
            include: None,
            listeners: self
                .listeners
                .iter()
                .map(|(name, listener)| (name.to_string().into(), file::Listener { bind: Some(list(&listener.bind)) }))
                .collect(),
            routes: self.routes.iter().map(|route| (route.name.to_string().into(), self.route(route))).collect(),
            upstreams,
            resolver: Some(At::from(resolver::shown(&self.resolver, text))),
            tls: self.tls.iter().map(|(name, tls)| (name.to_string().into(), tls.into())).collect(),
            certificates: self
                .certificates
                .iter()
                .map(|(name, certificate)| (name.to_string().into(), certificate.into()))
                .collect(),
            storage: Some(At::from(file::Storage { dir: Some(At::from(absolute(self.storage.dir()))) })),
            trust: self.trusts.named.iter().map(|(name, trust)| (name.to_string().into(), trust.into())).collect(),
            timeouts: Some(At::from(timeouts(&self.timeouts))),
            log: Some(At::from(self.log_section())),
        }
    }

    fn route(&self, route: &Route) -> file::Route {
        let mut shown = file::Route {
            sni: Some(list(&route.rule.names)),
            alpn: some_list(&route.rule.alpn),
            from: some_list(&route.rule.from),
            listeners: route.listeners.as_ref().map(|names| list(names)),
            strict_sni: Some(route.rule.strict_sni),
            action: Some(At::from(route.action.name())),
            upstream: route
                .action
                .upstream()
                .map(|options| if is_named(options) { list(&[&options.name]) } else { list(&options.servers) }),
            ..file::Route::default()
        };
        if let Action::Terminate { tls, certificates, .. } = &route.action {
            shown.tls = Some(At::from(tls.to_string()));
            shown.certificates = Some(list(certificates));
        }
        if !matches!(route.action, Action::Reject) {
            let all = timeouts(&route.timeouts);
            let handshake = if shown.tls.is_some() { all.handshake } else { None };
            shown.timeouts = Some(file::RouteTimeouts {
                handshake,
                connect: all.connect,
                idle: all.idle,
                half_close: all.half_close,
            });
        }
        shown
    }

    fn log_section(&self) -> file::Log {
        let level = match self.log.level {
            tracing::Level::ERROR => file::Level::Error,
            tracing::Level::WARN => file::Level::Warn,
            tracing::Level::INFO => file::Level::Info,
            tracing::Level::DEBUG => file::Level::Debug,
            tracing::Level::TRACE => file::Level::Trace,
        };
        let format = match self.log.format {
            Format::Text => file::Format::Text,
            Format::Json => file::Format::Json,
        };
        file::Log { level: Some(level), format: Some(format), access: Some(self.access_log) }
    }
}

/// An upstream that has no table of its own is called by its addresses.
fn is_named(options: &upstream::Options) -> bool {
    !options.name.contains(':')
}

fn upstream(options: &upstream::Options) -> file::Upstream {
    let balance = match options.balance {
        upstream::Balance::RoundRobin => file::Balance::RoundRobin,
        upstream::Balance::First => file::Balance::First,
    };
    // The timeout has been resolved into each route that uses the upstream.
    file::Upstream {
        servers: Some(list(&options.servers)),
        balance: Some(balance),
        connect_timeout: None,
        tls: options.tls.as_ref().map(|tls| At::from(upstream_tls(tls.options()))),
    }
}

fn upstream_tls(options: &ConnectorOptions) -> UpstreamTls {
    let ConnectorOptions { upstream: _, server_name, verification, pins, certificate, min_version, alpn } = options;
    let trust = match verification {
        Verification::Trust(name, _) => name.as_ref(),
        Verification::Insecure => None,
    };
    UpstreamTls::Table(Box::new(file::UpstreamTlsTable {
        server_name: server_name.as_ref().map(|name| At::from(name.to_string())),
        trust: trust.map(|name| At::from(name.to_string())),
        certificate: certificate.as_ref().map(|(name, _)| At::from(name.to_string())),
        min_version: Some(match min_version {
            MinVersion::Tls12 => file::TlsVersion::Tls12,
            MinVersion::Tls13 => file::TlsVersion::Tls13,
        }),
        alpn: some_list(alpn),
        pin: some_list(pins),
        insecure: Some(At::from(*verification == Verification::Insecure)),
    }))
}

impl From<&Trust> for file::Trust {
    fn from(trust: &Trust) -> Self {
        let ca_files: Vec<String> = trust.ca_files.iter().map(|path| absolute(path)).collect();
        Self { system: Some(trust.system), ca_files: some_list(&ca_files), pem: trust.pem.clone().map(At::from) }
    }
}

fn crl(tls: &crate::config::Tls) -> file::Crl {
    file::Crl {
        depth: Some(match tls.crl_depth {
            Depth::Leaf => file::CrlDepth::Leaf,
            Depth::Chain => file::CrlDepth::Chain,
        }),
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
        let Policy { allow, deny } = &tls.policy;
        let client_auth = file::ClientAuth {
            mode: Some(At::from(tls.client_auth)),
            ca_files: some_list(&ca_files).map(At::from),
            allow: allow.as_ref().map(|allow| At::from(rules(allow))),
            deny: (!deny.is_empty()).then(|| At::from(rules(deny))),
            crl_files: some_list(&crl_files).map(At::from),
            crl: (!crl_files.is_empty()).then(|| At::from(crl(tls))),
        };
        Self {
            extends: None,
            min_version: Some(tls.min_version),
            alpn: some_list(&tls.alpn),
            client_auth: Some(client_auth),
            on_revoke: Some(At::from(tls.on_revoke)),
        }
    }
}

fn rules(rules: &Rules) -> file::ClientRules {
    let Rules { dns, uri, email, cn, ou, spki_sha256, serial } = rules;
    file::ClientRules {
        dns: some_list(dns),
        uri: some_list(uri),
        email: some_list(email),
        cn: some_list(cn),
        ou: some_list(ou),
        spki_sha256: some_list(spki_sha256),
        serial: some_list(serial),
    }
}

impl From<&crate::config::NamedCertificate> for file::Certificate {
    fn from(named: &crate::config::NamedCertificate) -> Self {
        let path = |path: &Path| Some(At::from(absolute(path)));
        match &named.self_signed {
            Some(own) => Self { self_signed: Some(At::from(true)), names: Some(list(own.names())), ..Self::default() },
            None => Self { cert_file: path(&named.cert_file), key_file: path(&named.key_file), ..Self::default() },
        }
    }
}

/// What is printed may be saved anywhere, so paths must not depend on where that is.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn timeouts(timeouts: &Timeouts) -> file::Timeouts {
    let text = |duration| Some(At::from(text(duration)));
    let or_off = |duration: Option<Duration>| duration.map_or_else(|| Some(At::from("off".to_owned())), text);
    file::Timeouts {
        hello: text(timeouts.hello),
        handshake: text(timeouts.handshake),
        connect: text(timeouts.connect),
        idle: or_off(timeouts.idle),
        half_close: or_off(timeouts.half_close),
        drain: text(timeouts.drain),
    }
}

fn text(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration).map(|duration| format!("{duration:#}")).unwrap_or_default()
}

fn list<T: ToString>(items: &[T]) -> List {
    List::from(items.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn some_list<T: ToString>(items: &[T]) -> Option<List> {
    if items.is_empty() { None } else { Some(list(items)) }
}
