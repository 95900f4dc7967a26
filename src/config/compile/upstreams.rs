//! Upstreams: servers, and which of them a connection goes to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::UpstreamAddr;
use crate::config::compile::origin;
use crate::config::compile::report::Report;
use crate::config::compile::report::absent;
use crate::config::compile::servers;
use crate::config::compile::upstream_tls::{self, Context};
use crate::config::diagnostic::Diagnostic;
use crate::config::file;
use crate::config::read::Sourced;
use crate::upstream;

/// An `[upstreams]` table.
pub(super) struct Upstream {
    pub(super) options: Arc<upstream::UpstreamOptions>,
    /// That of its servers, where it differs from the route's.
    pub(super) connect_timeout: Option<Duration>,
}

/// By name. Nothing where a mistake was reported.
pub(super) fn compile(
    context: &Context<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Option<Upstream>> {
    let mut upstreams = BTreeMap::new();
    for (name, table) in &context.merged.upstreams {
        let mut report = Report {
            diagnostics,
            source: &table.source,
            table: format!("upstreams.{name}"),
        };
        upstreams.insert(name.clone(), upstream(name, table, context, &mut report));
    }
    upstreams
}

fn upstream(
    name: &str,
    table: &Sourced<file::Upstream>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Upstream> {
    if name.contains(':') {
        let message = "the name of an upstream has no colon: routes would read it as an address";
        report.error(&table.span, message, None);
    }
    let file::Upstream {
        servers,
        balance,
        ejection,
        health,
        connect_timeout,
        tls,
        ..
    } = &table.value;
    let empty = file::Servers::default();
    let list = servers.as_ref().unwrap_or(&empty);
    if list.0.is_empty() {
        let help = "add `servers = [\"192.0.2.1:8443\"]`".to_owned();
        let message = absent("servers", servers.is_some(), "server");
        report.missing(
            format!("{}.servers", report.table),
            &table.span,
            message,
            help,
        );
    }
    let balance = balance.as_ref().map(|balance| balance.value);
    let balance = balance.unwrap_or(upstream::Balance::RoundRobin);
    let servers = servers::servers(list, balance, report);
    let connect_timeout = connect_timeout
        .as_ref()
        .and_then(|text| report.duration("connect_timeout", text));
    let is_complete = servers.as_ref().is_some_and(|servers| !servers.is_empty());
    let mut options = upstream::UpstreamOptions::new(name, servers.unwrap_or_default());
    options.balance = balance;
    options.ejection = servers::ejection(ejection.as_ref(), options.ejection, list.0.len(), report);
    let addresses: Vec<UpstreamAddr> = options
        .servers
        .iter()
        .map(|server| server.addr.clone())
        .collect();
    let connector = upstream_tls::compile(name, tls.as_ref(), &addresses, context, report);
    // Where `tls` has a mistake, that is what is reported.
    let has_tls = connector.as_ref().is_none_or(Option::is_some);
    options.health = servers::health(health.as_ref(), has_tls, report);
    let origin = origin::compile(&table.value, &addresses, report);
    options.tls = connector?;
    let origin = origin?;
    options.proxy_protocol = origin.proxy_protocol;
    options.transparent = origin.transparent;
    is_complete.then(|| Upstream {
        options: Arc::new(options),
        connect_timeout,
    })
}
