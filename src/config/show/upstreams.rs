//! Upstreams, as a configuration file has them.

use crate::config::show::servers::{ejection, health};

use crate::config::file::{self, List, OneOrMany, Short, Spanned, UpstreamTls};
use crate::config::show::servers::server;
use crate::config::show::value::{list, some_list};
use crate::tls::{ConnectorOptions, MinVersion, Verification};
use crate::upstream::{self, ServerOptions};

pub(in crate::config) fn upstream(options: &upstream::UpstreamOptions) -> file::Upstream {
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

pub(super) fn addresses(servers: &[ServerOptions]) -> List {
    list(
        &servers
            .iter()
            .map(|server| &server.addr)
            .collect::<Vec<_>>(),
    )
}

pub(super) fn upstream_tls(options: &ConnectorOptions) -> UpstreamTls {
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
