//! Upstreams: servers, and which of them a connection goes to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::UpstreamAddr;
use crate::config::compile::Report;
use crate::config::compile::origin;
use crate::config::compile::upstream_tls::{self, Context};
use crate::config::diagnostic::Diagnostic;
use crate::config::file;
use crate::config::read::In;
use crate::upstream;

/// An `[upstreams]` table.
pub(super) struct Upstream {
    pub(super) options: Arc<upstream::Options>,
    /// That of its servers, where it differs from the route's.
    pub(super) connect_timeout: Option<Duration>,
}

/// By name. Nothing where a mistake was reported.
pub(super) fn compile(context: &Context<'_>, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<String, Option<Upstream>> {
    let mut upstreams = BTreeMap::new();
    for (name, table) in &context.merged.upstreams {
        let mut report = Report { diagnostics, source: &table.source, table: format!("upstreams.{name}") };
        upstreams.insert(name.clone(), upstream(name, table, context, &mut report));
    }
    upstreams
}

fn upstream(
    name: &str,
    table: &In<file::Upstream>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Upstream> {
    if name.contains(':') {
        let message = "the name of an upstream has no colon: routes would read it as an address";
        report.error(&table.span, message, None);
    }
    let file::Upstream { servers, balance, connect_timeout, tls, .. } = &table.value;
    let list = servers.clone().unwrap_or_default();
    if list.0.is_empty() {
        report.error(&table.span, "servers is missing", "add `servers = [\"192.0.2.1:8443\"]`".to_owned());
    }
    let servers: Vec<UpstreamAddr> = report.parse_all("servers", &list);
    let balance = match balance {
        Some(file::Balance::First) => upstream::Balance::First,
        Some(file::Balance::RoundRobin) | None => upstream::Balance::RoundRobin,
    };
    let connect_timeout = connect_timeout.as_ref().and_then(|text| report.duration("connect_timeout", text));
    let complete = !servers.is_empty() && servers.len() == list.0.len();
    let tls = upstream_tls::compile(name, tls.as_ref(), &servers, context, report)?;
    let origin = origin::compile(&table.value, &servers, report)?;
    let options = Arc::new(upstream::Options {
        name: name.into(),
        servers,
        balance,
        tls,
        proxy_protocol: origin.proxy_protocol,
        transparent: origin.transparent,
    });
    complete.then_some(Upstream { options, connect_timeout })
}
