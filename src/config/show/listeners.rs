//! Listeners, as a configuration file has them.

use crate::config::file::{self, Spanned};
use crate::config::model::Listener;
use crate::config::show::bind::binds;
use crate::config::show::value::{duration, some_list};

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
