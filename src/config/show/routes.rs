//! Routes, as a configuration file has them.

use crate::config::file::{self, Spanned};
use crate::config::model::{Action, Config, Route};
use crate::config::show::settings::timeouts;
use crate::config::show::upstreams::addresses;
use crate::config::show::value::{list, some_list};

impl Config {
    pub(super) fn route(&self, route: &Route) -> file::Route {
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
}
