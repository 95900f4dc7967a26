//! Listeners: their addresses, and the table of the routes that are on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::addr::{ListenAddr, UpstreamAddr};
use crate::config::compile::Report;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::read::Merged;
use crate::config::{Action, Listener, Route};
use crate::name::ServerName;
use crate::route::{Overlap, Table};
use crate::upstream;

pub(super) fn compile(merged: &Merged, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<Arc<str>, Listener> {
    let mut listeners = BTreeMap::new();
    let mut taken: Vec<(ListenAddr, &str)> = Vec::new();
    for (name, table) in &merged.listeners {
        let mut report = Report { diagnostics, source: &table.source, table: format!("listeners.{name}") };
        let list = table.value.bind.clone().unwrap_or_default();
        if list.0.is_empty() {
            report.error(&table.span, "bind is missing", "add `bind = [\"0.0.0.0:443\", \"[::]:443\"]`".to_owned());
        }
        let mut bind = Vec::new();
        for text in &list.0 {
            let Some(addr) = report.parse::<ListenAddr>("bind", text) else { continue };
            match taken.iter().find(|(other, _)| conflict(*other, addr)) {
                Some((other, by)) => {
                    report.error(&text.span, format_args!("bind: listeners.{by} is on {other} already"), None);
                }
                None => {
                    taken.push((addr, name));
                    bind.push(addr);
                }
            }
        }
        let empty = Arc::new(Table::build([]).0);
        listeners.insert(name.as_str().into(), Listener { bind, table: empty });
    }
    if merged.listeners.is_empty() {
        let message = "there are no listeners, so nobody can connect";
        let help = "add a table `[listeners.edge]` with `bind = [\"0.0.0.0:443\"]`".to_owned();
        diagnostics.push(Diagnostic::new(Severity::Error, message).help(help));
    }
    listeners
}

/// Whether one socket on each cannot be: the same port, and the same address or every address.
fn conflict(a: ListenAddr, b: ListenAddr) -> bool {
    let (a, b) = (a.0, b.0);
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && overlap
}

/// Gives each listener the table of its routes, and reports the routes that tie.
pub(super) fn fill(
    listeners: &mut BTreeMap<Arc<str>, Listener>,
    routes: &[Route],
    merged: &Merged,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut ties = BTreeSet::new();
    let mut rivals = BTreeSet::new();
    // Listeners that have all routes, which is all listeners of most configurations, share one table.
    let mut shared: Option<Arc<Table<usize>>> = None;
    for (name, listener) in listeners.iter_mut() {
        let is_here = |route: &&Route| route.listeners.as_ref().is_none_or(|on| on.contains(name));
        let here: Vec<&Route> = routes.iter().filter(is_here).collect();
        judge_families(listener, name, &here, merged, diagnostics);
        if let Some(table) = shared.as_ref().filter(|_| here.len() == routes.len()) {
            listener.table = Arc::clone(table);
            continue;
        }
        let (table, overlaps) = Table::build(here.iter().map(|route| route.rule.clone()));
        let global = |at: usize| here[at].rule.target;
        ties.extend(overlaps.into_iter().map(|tie| Overlap {
            first: global(tie.first),
            second: global(tie.second),
            ..tie
        }));
        rivals.extend(table.nameless_rivals().map(|(a, b)| (global(a), global(b))));
        listener.table = Arc::new(table);
        if here.len() == routes.len() {
            shared = Some(Arc::clone(&listener.table));
        }
    }
    report_ties(&ties, routes, merged, diagnostics);
    report_circles(listeners, routes, merged, diagnostics);
    for (a, b) in rivals {
        let (a, b) = (&routes[a].name, &routes[b].name);
        let place = &merged.routes[&**b];
        let message = format!(
            "routes.{b}: strict_sni is false here and in routes.{a}: a client without a server name that both would take is refused"
        );
        let help = "only one of them can take such clients: let it list \"*\" in `sni`, or make the others strict";
        diagnostics
            .push(Diagnostic::new(Severity::Warning, message).at(&place.source, &place.span).help(help.to_owned()));
    }
}

/// One report for each pair of routes, however many names they have in common.
fn report_ties(ties: &BTreeSet<Overlap>, routes: &[Route], merged: &Merged, diagnostics: &mut Vec<Diagnostic>) {
    let mut reported = BTreeSet::new();
    for tie in ties.iter().filter(|tie| reported.insert((tie.first, tie.second))) {
        let (a, b) = (&routes[tie.first].name, &routes[tie.second].name);
        let from = tie.from.map(|range| format!(" from {range}")).unwrap_or_default();
        let alpn = tie.alpn.as_ref().map(|alpn| format!(" offering {alpn}")).unwrap_or_default();
        let message = format!(
            "routes.{b} and routes.{a} both take clients for {}{from}{alpn}, and neither is more specific",
            tie.name
        );
        let (second, first) = (&merged.routes[&**b], &merged.routes[&**a]);
        let diagnostic = Diagnostic::new(Severity::Error, message)
            .at(&second.source, &second.span)
            .and_at(&first.source, &first.span, "the other route")
            .help("remove the name from one of them, or tell them apart by `from`, `alpn` or `listeners`".to_owned());
        diagnostics.push(diagnostic);
    }
}

/// What is sent to the listener which it came from comes back, until there are no descriptors left.
fn report_circles(
    listeners: &BTreeMap<Arc<str>, Listener>,
    routes: &[Route],
    merged: &Merged,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut by_port: BTreeMap<u16, Vec<(&str, SocketAddr)>> = BTreeMap::new();
    for (name, listener) in listeners {
        for addr in listener.bind.iter().filter(|addr| addr.0.port() != 0) {
            by_port.entry(addr.0.port()).or_default().push((name, addr.0));
        }
    }
    for route in routes {
        let upstream = match &route.action {
            Action::Passthrough(upstream) => upstream,
            Action::Terminate { upstream, .. } if comes_back(route, upstream) => upstream,
            _ => continue,
        };
        let own = upstream.servers.iter().find_map(|server| {
            let UpstreamAddr::Socket(server) = &server.addr else { return None };
            let is_own = |(name, bind): &&(&str, SocketAddr)| {
                let here = route.listeners.as_ref().is_none_or(|on| on.iter().any(|on| &**on == *name));
                let every =
                    bind.ip().is_unspecified() && bind.is_ipv4() == server.is_ipv4() && server.ip().is_loopback();
                here && (bind.ip() == server.ip() || every)
            };
            by_port.get(&server.port())?.iter().find(is_own).map(|(name, _)| (server, *name))
        });
        let Some((server, listener)) = own else { continue };
        let place = &merged.routes[&*route.name];
        let message =
            format!("routes.{}: upstream {server} is listeners.{listener}, where the client came from", route.name);
        let help = "name the server behind snigate".to_owned();
        diagnostics.push(Diagnostic::new(Severity::Error, message).at(&place.source, &place.span).help(help));
    }
}

/// Whether a session that snigate itself begins with these servers would be taken by the same route, if they were snigate.
fn comes_back(route: &Route, upstream: &upstream::Options) -> bool {
    let Some(tls) = &upstream.tls else { return false };
    upstream.servers.iter().filter_map(|server| tls.name_of(&server.addr)).any(|name| {
        match name.to_string().parse::<ServerName>() {
            Ok(name) => route.rule.names.iter().any(|pattern| pattern.matches(&name)),
            // An address is sent as no name.
            Err(_) => !route.rule.strict_sni,
        }
    })
}

/// A route for IPv6 clients on a listener for IPv4 waits in vain, and the other way round.
fn judge_families(
    listener: &Listener,
    name: &str,
    routes: &[&Route],
    merged: &Merged,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let has_v4 = listener.bind.iter().any(|addr| addr.0.is_ipv4());
    let has_v6 = listener.bind.iter().any(|addr| addr.0.is_ipv6());
    if listener.bind.is_empty() || (has_v4 && has_v6) {
        return;
    }
    let reachable = |ip: IpAddr| if ip.is_ipv4() { has_v4 } else { has_v6 };
    for route in routes.iter().filter(|route| !route.rule.from.is_empty()) {
        if !route.rule.from.iter().any(|range| reachable(range.network())) {
            let place = &merged.routes[&*route.name];
            let family = if has_v4 { "IPv4" } else { "IPv6" };
            let message = format!(
                "routes.{}: it can never match on listeners.{name}, which takes {family} clients only and none of those in `from`",
                route.name
            );
            diagnostics.push(Diagnostic::new(Severity::Warning, message).at(&place.source, &place.span));
        }
    }
}
