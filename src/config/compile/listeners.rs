//! Listeners: their addresses, and the table of the routes that are on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use crate::addr::{ListenAddr, Sender, UpstreamAddr};
use crate::config::compile::limits;
use crate::config::compile::report::Report;
use crate::config::compile::report::absent;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::file::{self, AcceptProxy, Spanned};
use crate::config::files::Files;
use crate::config::model::{Action, Bind, Listener, Route, Timeouts};
use crate::config::read::Merged;
use crate::name::ServerName;
use crate::route::{Overlap, Table};
use crate::upstream;

pub(super) fn compile(
    merged: &Merged,
    timeouts: &Timeouts,
    files: &mut Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> BTreeMap<Arc<str>, Listener> {
    let mut listeners = BTreeMap::new();
    let mut taken: Vec<(ListenAddr, &str)> = Vec::new();
    for (name, table) in &merged.listeners {
        let mut report = Report {
            diagnostics,
            source: &table.source,
            table: format!("listeners.{name}"),
        };
        let list: &[Spanned<file::Bind>] = table.value.bind.as_ref().map_or(&[], |list| &list.0);
        if list.is_empty() {
            let help = "add `bind = [\"0.0.0.0:443\", \"[::]:443\"]`".to_owned();
            let message = absent("bind", table.value.bind.is_some(), "address");
            report.missing(format!("listeners.{name}.bind"), &table.span, message, help);
        }
        let mut bind = Vec::new();
        for entry in list {
            let Some(new) = report.bind(entry, files) else {
                continue;
            };
            match taken.iter().find(|(other, _)| conflict(other, &new.addr)) {
                Some((other, by)) => {
                    let message = format!("bind: listeners.{by} is on {} already", other);
                    let dual = [other, &new.addr]
                        .into_iter()
                        .any(|addr| matches!(addr, ListenAddr::DualStack(_)));
                    let help = dual.then(|| {
                        "[::] with `v6only = false` takes IPv4, too: one of them is enough"
                            .to_owned()
                    });
                    report.error(&entry.span, message, help);
                }
                None => {
                    taken.push((new.addr.clone(), name));
                    bind.push(new);
                }
            }
        }
        let proxies = table
            .value
            .proxy_protocol
            .as_ref()
            .map_or_else(Vec::new, |key| proxies(key, &bind, &mut report));
        let empty = Arc::new(Table::build([]).0);
        let limits = limits::compile(&table.value, &mut report);
        let hello = table
            .value
            .timeouts
            .as_ref()
            .and_then(|timeouts| timeouts.hello.as_ref());
        let hello_timeout = hello
            .and_then(|text| report.duration("timeouts.hello", text))
            .unwrap_or(timeouts.hello);
        listeners.insert(
            name.as_str().into(),
            Listener {
                bind,
                proxies,
                table: empty,
                limits,
                hello_timeout,
            },
        );
    }
    if merged.listeners.is_empty() {
        let message = "there are no listeners, so nobody can connect";
        let help = "add a table `[listeners.edge]` with `bind = [\"0.0.0.0:443\"]`".to_owned();
        diagnostics.push(
            Diagnostic::new(Severity::Error, message)
                .help(help)
                .lacking("listeners"),
        );
    }
    listeners
}

/// From where connections begin with a PROXY header.
fn proxies(key: &Spanned<AcceptProxy>, bind: &[Bind], report: &mut Report<'_>) -> Vec<Sender> {
    let list = key.from.clone().unwrap_or_default();
    if list.0.is_empty() {
        let help = "name the proxies in front, as in `proxy_protocol = { from = [\"10.0.0.0/8\"] }`, or leave it out";
        let lacks = format!("{}.proxy_protocol.from", report.table);
        let absent = absent("proxy_protocol.from", key.from.is_some(), "address");
        let message = format_args!("{absent}: from which addresses does a header come?");
        report.missing(lacks, &key.span, message, help.to_owned());
    }
    let mut proxies = Vec::new();
    for text in &list.0 {
        let Some(sender) = report.range::<Sender>("proxy_protocol.from", text) else {
            continue;
        };
        // What systemd passes is not known here.
        let is_met = |bind: &Bind| match (sender, &bind.addr) {
            (_, ListenAddr::Systemd(_)) => true,
            (Sender::Unix, addr) => matches!(addr, ListenAddr::Unix(_)),
            (Sender::Range(range), addr) => addr
                .ips()
                .any(|ip| ip.is_ipv4() == range.network().is_ipv4()),
        };
        if let Sender::Range(range) = sender
            && range.prefix_len() == 0
        {
            let message = format!(
                "proxy_protocol.from: {range} is every address, so that whoever reaches the listener can say that it is anybody"
            );
            report.warning(
                &text.span,
                message,
                "name the addresses of the proxies in front".to_owned(),
            );
        }
        if !bind.is_empty() && !bind.iter().any(is_met) {
            let family = match sender {
                Sender::Unix => "unix socket",
                Sender::Range(range) if range.network().is_ipv4() => "IPv4 address",
                Sender::Range(_) => "IPv6 address",
            };
            let message =
                format!("proxy_protocol.from: {sender} is never met, since `bind` has no {family}");
            report.warning(&text.span, message, None);
        }
        proxies.push(sender);
    }
    proxies
}

/// Whether one socket on each cannot be: the same port, and the same address or every address; the
/// same path or name.
pub(in crate::config) fn conflict(a: &ListenAddr, b: &ListenAddr) -> bool {
    let (Some(port), Some(other)) = (a.port(), b.port()) else {
        return a == b;
    };
    if let (ListenAddr::Zoned(a), ListenAddr::Zoned(b)) = (a, b) {
        return port != 0 && a == b;
    }
    let meet = |a: IpAddr, b: IpAddr| {
        a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
    };
    port != 0 && port == other && a.ips().any(|a| b.ips().any(|b| meet(a, b)))
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
    // Listeners that have all routes, which is all listeners of most configurations, share one
    // table.
    let mut shared: Option<Arc<Table<usize>>> = None;
    for (name, listener) in listeners.iter_mut() {
        let is_here = |route: &&Route| route.listeners.as_ref().is_none_or(|on| on.contains(name));
        let here: Vec<&Route> = routes.iter().filter(is_here).collect();
        lint_families(listener, name, &here, merged, diagnostics);
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
        diagnostics.push(
            Diagnostic::new(Severity::Warning, message)
                .at(&place.source, &place.span)
                .help(help.to_owned()),
        );
    }
}

/// One report for each pair of routes, however many names they have in common.
fn report_ties(
    ties: &BTreeSet<Overlap>,
    routes: &[Route],
    merged: &Merged,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut reported = BTreeSet::new();
    for tie in ties
        .iter()
        .filter(|tie| reported.insert((tie.first, tie.second)))
    {
        let (a, b) = (&routes[tie.first].name, &routes[tie.second].name);
        let from = tie
            .from
            .map(|range| format!(" from {range}"))
            .unwrap_or_default();
        let alpn = tie
            .alpn
            .as_ref()
            .map(|alpn| format!(" offering {alpn}"))
            .unwrap_or_default();
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

/// Reports connections that come back to the listener they came from, until there are no
/// descriptors left.
fn report_circles(
    listeners: &BTreeMap<Arc<str>, Listener>,
    routes: &[Route],
    merged: &Merged,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut by_port: BTreeMap<u16, Vec<(&str, IpAddr)>> = BTreeMap::new();
    let mut by_path: BTreeMap<&Path, &str> = BTreeMap::new();
    for (name, listener) in listeners {
        for addr in listener.bind.iter().map(|bind| &bind.addr) {
            if let Some(port) = addr.port().filter(|port| *port != 0) {
                by_port
                    .entry(port)
                    .or_default()
                    .extend(addr.ips().map(|ip| (&**name, ip)));
            }
            if let ListenAddr::Unix(path) = addr {
                by_path.insert(path, name);
            }
        }
    }
    for route in routes {
        let upstream = match &route.action {
            Action::Passthrough(upstream) => upstream,
            Action::Terminate { upstream, .. } if comes_back(route, upstream) => upstream,
            _ => continue,
        };
        let own = upstream.servers.iter().find_map(|server| {
            let is_here = |name: &str| {
                route
                    .listeners
                    .as_ref()
                    .is_none_or(|on| on.iter().any(|on| &**on == name))
            };
            let server = &server.addr;
            let name = match server {
                UpstreamAddr::Socket(server) => {
                    let is_own = |(name, bind): &&(&str, IpAddr)| {
                        let every = bind.is_unspecified()
                            && bind.is_ipv4() == server.is_ipv4()
                            && server.ip().is_loopback();
                        is_here(name) && (*bind == server.ip() || every)
                    };
                    by_port.get(&server.port())?.iter().find(is_own)?.0
                }
                UpstreamAddr::Unix(path) => by_path
                    .get(path.as_path())
                    .copied()
                    .filter(|name| is_here(name))?,
                UpstreamAddr::Zoned(server) => {
                    let binds = listeners.iter().flat_map(|(name, listener)| {
                        listener.bind.iter().map(move |at| (name, at))
                    });
                    let mut own = binds.filter(|(name, at)| {
                        is_here(name) && at.addr == ListenAddr::Zoned(server.clone())
                    });
                    &**own.next()?.0
                }
                UpstreamAddr::Host(..) | UpstreamAddr::FullHost(..) | UpstreamAddr::Srv(_) => {
                    return None;
                }
            };
            Some((server, name))
        });
        let Some((server, listener)) = own else {
            continue;
        };
        let place = &merged.routes[&*route.name];
        let message = format!(
            "routes.{}: upstream {server} is listeners.{listener}, where the client came from",
            route.name
        );
        let help = "name the server behind snigate".to_owned();
        diagnostics.push(
            Diagnostic::new(Severity::Error, message)
                .at(&place.source, &place.span)
                .help(help),
        );
    }
}

/// Whether a session that snigate itself begins with these servers would be taken by the same
/// route, if they were snigate.
fn comes_back(route: &Route, upstream: &upstream::UpstreamOptions) -> bool {
    let Some(tls) = &upstream.tls else {
        return false;
    };
    upstream
        .servers
        .iter()
        .filter_map(|server| tls.name_of(&server.addr))
        .any(|name| {
            match name.to_string().parse::<ServerName>() {
                Ok(name) => route
                    .rule
                    .names
                    .iter()
                    .any(|pattern| pattern.matches(&name)),
                // An address is sent as no name.
                Err(_) => !route.rule.strict_sni,
            }
        })
}

/// A route for IPv6 clients on a listener for IPv4 waits in vain, and the other way round.
fn lint_families(
    listener: &Listener,
    name: &str,
    routes: &[&Route],
    merged: &Merged,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let has = |v6: bool| {
        listener
            .bind
            .iter()
            .any(|bind| bind.addr.ips().any(|ip| ip.is_ipv6() == v6))
    };
    let (has_v4, has_v6) = (has(false), has(true));
    // What systemd passes is not known here.
    let is_open = listener
        .bind
        .iter()
        .any(|bind| matches!(bind.addr, ListenAddr::Systemd(_)));
    // Behind another proxy there are clients of both families.
    if listener.bind.is_empty() || is_open || (has_v4 && has_v6) || !listener.proxies.is_empty() {
        return;
    }
    let reachable = |ip: IpAddr| if ip.is_ipv4() { has_v4 } else { has_v6 };
    for route in routes.iter().filter(|route| !route.rule.from.is_empty()) {
        if !route
            .rule
            .from
            .iter()
            .any(|range| reachable(range.network()))
        {
            let place = &merged.routes[&*route.name];
            let family = match (has_v4, has_v6) {
                (true, _) => "IPv4 clients only",
                (_, true) => "IPv6 clients only",
                _ => "clients of a unix socket, who have no address,",
            };
            let message = format!(
                "routes.{}: it can never match on listeners.{name}, which takes {family} and none of those in `from`",
                route.name
            );
            diagnostics
                .push(Diagnostic::new(Severity::Warning, message).at(&place.source, &place.span));
        }
    }
}
