//! Routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::addr::UpstreamAddr;
use crate::authz::AltName;
use crate::config::compile::materials::{DEFAULT_TLS, RouteMaterials};
use crate::config::compile::origin;
use crate::config::compile::report::Report;
use crate::config::compile::report::absent;
use crate::config::compile::seen_by::is_left_to_servers;
use crate::config::compile::servers;
use crate::config::compile::upstream_tls::Context;
use crate::config::compile::upstreams::{self, Upstream};
use crate::config::diagnostic::{Diagnostic, Severity, did_you_mean, instead_of};
use crate::config::file::{self, List, Spanned};
use crate::config::model::{Action, Route, Timeouts};
use crate::config::read::{Merged, Sourced};
use crate::config::trust::Trusts;
use crate::name::{NamePattern, ServerName, SniPattern};
use crate::proxy::OnRemove;
use crate::route::Rule;
use crate::tls::{Acceptor, AcceptorOptions, Certificate};
use crate::upstream;

type Certificates = Vec<Arc<Certificate>>;

pub(super) fn compile(
    merged: &Merged,
    materials: &RouteMaterials,
    trusts: &Trusts,
    timeouts: &Timeouts,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Route> {
    let upstreams = upstreams::compile(
        &Context {
            merged,
            materials,
            trusts,
        },
        diagnostics,
    );
    let mut routes = Vec::with_capacity(merged.routes.len());
    for (name, table) in &merged.routes {
        let report = Report {
            diagnostics,
            source: &table.source,
            table: format!("routes.{name}"),
        };
        let mut compiler = Compiler {
            merged,
            materials,
            upstreams: &upstreams,
            table,
            report,
        };
        if let Some(mut route) = compiler.route(name, timeouts) {
            route.rule.target = routes.len();
            routes.push(route);
        }
    }
    lint_coalescing(&routes, merged, materials, diagnostics);
    routes
}

/// Warns of a certificate that a browser may take as leave to use one connection for two names (RFC
/// 9113 §9.1.1): having come in by a route without client authentication, it could ask there for a
/// name that has a route with it.
fn lint_coalescing(
    routes: &[Route],
    merged: &Merged,
    materials: &RouteMaterials,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let verifies = |tls: &str| {
        materials
            .policies
            .get(tls)
            .is_some_and(|policy| policy.shown.requires_identity())
    };
    let speaks_h2 = |tls: &str| {
        materials
            .policies
            .get(tls)
            .is_some_and(|policy| policy.shown.alpn.iter().any(|protocol| protocol == "h2"))
    };
    let mut open: BTreeMap<NamePattern, &Route> = BTreeMap::new();
    for route in routes {
        let Action::Terminate {
            tls, certificates, ..
        } = &route.action
        else {
            continue;
        };
        if verifies(tls) || !speaks_h2(tls) {
            continue;
        }
        let shown = certificates
            .iter()
            .filter_map(|name| materials.certificates.get(name));
        for name in shown.flat_map(|named| named.certificate.patterns()) {
            open.entry(name.clone()).or_insert(route);
        }
    }
    for route in routes {
        let Action::Terminate { tls, .. } = &route.action else {
            continue;
        };
        let names = route.rule.names.iter().filter(|_| verifies(tls));
        let covering = |name: &NamePattern| match name {
            NamePattern::Exact(exact) => {
                let wildcard = exact
                    .parent()
                    .and_then(|parent| parent.parse().ok())
                    .map(NamePattern::Wildcard);
                open.get(name).or_else(|| open.get(&wildcard?))
            }
            other => open.get(other),
        };
        let Some((name, other)) = names
            .filter_map(|name| covering(name).map(|other| (name, other)))
            .next()
        else {
            continue;
        };
        let message = format!(
            "routes.{}: a certificate of routes.{}, which lets in clients without a verified certificate, also covers {name}: \
             a browser may send requests for it over a connection to that route",
            route.name, other.name
        );
        let place = &merged.routes[&*route.name];
        let help = "use a certificate without this name there, or let its server refuse the name"
            .to_owned();
        diagnostics.push(
            Diagnostic::new(Severity::Warning, message)
                .at(&place.source, &place.span)
                .help(help),
        );
    }
}

struct Compiler<'a> {
    merged: &'a Merged,
    materials: &'a RouteMaterials,
    upstreams: &'a BTreeMap<String, Option<Upstream>>,
    table: &'a Sourced<file::Route>,
    report: Report<'a>,
}

impl Compiler<'_> {
    /// The route, without its number; nothing after a mistake, which has been reported.
    fn route(&mut self, name: &str, timeouts: &Timeouts) -> Option<Route> {
        let route = &self.table.value;
        let names = self.names();
        let from = route
            .from
            .as_ref()
            .map_or_else(Vec::new, |list| self.report.ranges("from", list));
        let alpn = route
            .alpn
            .as_ref()
            .map_or_else(Vec::new, |list| self.report.parse_all("alpn", list));
        self.refuse_empty("from", route.from.as_ref());
        self.refuse_empty("alpn", route.alpn.as_ref());
        let strict_sni = route.strict_sni.unwrap_or(true);
        let rule = Rule {
            names,
            from,
            alpn,
            strict_sni,
            target: 0,
        };
        let listeners = self.listeners();
        let mut timeouts = *timeouts;
        let action = self.action(&rule, &mut timeouts);
        self.override_timeouts(&mut timeouts);
        let action = action?;
        let on_remove = self.on_remove(&action);
        let on_truncation = route.on_truncation.as_ref().map(|given| given.value);
        Some(Route {
            name: name.into(),
            rule,
            listeners,
            action,
            timeouts,
            on_remove,
            on_truncation: on_truncation.unwrap_or_default(),
        })
    }

    fn names(&mut self) -> Vec<NamePattern> {
        let list = self.table.value.sni.clone().unwrap_or_default();
        if list.0.is_empty() {
            let help = "add `sni = [\"app.example.net\"]`, or `sni = [\"*\"]` for every name";
            let key = format!("{}.sni", self.report.table);
            let message = absent("sni", self.table.value.sni.is_some(), "server name");
            self.report
                .missing(key, &self.table.span, message, help.to_owned());
        }
        let is_terminated = matches!(&self.table.value.action, Some(action) if action.value == file::Action::Terminate);
        let mut names = Vec::new();
        for text in &list.0 {
            match self.report.parse("sni", text) {
                Some(SniPattern(NamePattern::Below(suffix))) if is_terminated => {
                    let message = "no certificate is for names of any number of labels, so that TLS cannot be terminated";
                    let help = format!(
                        "write `*.{suffix}` for names with one label more, or `action = \"passthrough\"`"
                    );
                    self.report.error(
                        &text.span,
                        format_args!("sni: **.{suffix}: {message}"),
                        help,
                    );
                }
                name => names.extend(name.map(|SniPattern(pattern)| pattern)),
            }
        }
        names
    }

    /// A filter that lists nothing would be read as no filter at all by some and as nobody by
    /// others.
    fn refuse_empty(&mut self, key: &str, list: Option<&List>) {
        if list.is_some_and(|list| list.0.is_empty()) {
            let help = format!("leave `{key}` out to take every client");
            self.report
                .error(&self.table.span, format_args!("{key} is empty"), help);
        }
    }

    fn listeners(&mut self) -> Option<Vec<Arc<str>>> {
        let list = self.table.value.listeners.as_ref()?;
        self.refuse_empty("listeners", Some(list));
        let known = &self.merged.listeners;
        for name in list
            .0
            .iter()
            .filter(|name| !known.contains_key(&name.value))
        {
            let help = instead_of(name, "listeners", known.keys().map(String::as_str));
            let message = format_args!("listeners: listener {:?} is not defined", name.value);
            self.report.missing(
                format!("listeners.{}", name.value),
                &name.span,
                message,
                help,
            );
        }
        Some(list.0.iter().map(|name| name.as_str().into()).collect())
    }

    fn action(&mut self, rule: &Rule<usize>, timeouts: &mut Timeouts) -> Option<Action> {
        let route = &self.table.value;
        let Some(action) = &route.action else {
            let help = "add `action = \"passthrough\"`, `\"terminate\"` or `\"reject\"`";
            let key = format!("{}.action", self.report.table);
            self.report
                .missing(key, &self.table.span, "action is missing", help.to_owned());
            self.lint_without_action(timeouts);
            return None;
        };
        match action.value {
            file::Action::Passthrough => {
                self.refuse_keys("passthrough", "the server behind it has its own", false);
                let upstream = self.upstream(timeouts)?;
                self.refuse_tls_in_tls(&upstream)?;
                origin::lint_passthrough(
                    &upstream,
                    first(self.table.value.upstream.as_ref()),
                    &mut self.report,
                )?;
                Some(Action::Passthrough(upstream))
            }
            file::Action::Reject => {
                self.refuse_keys("reject", "with this action nobody comes in", true);
                Some(Action::Reject)
            }
            file::Action::Terminate => {
                let upstream = self.upstream(timeouts);
                // What is wrong with one of them says nothing of the others.
                let (tls, certificates) = (self.tls(), self.certificates());
                let ((tls, options), (names, certificates)) = (tls?, certificates?);
                self.lint_coverage(rule, &certificates);
                self.lint_protocols(rule, &options);
                let acceptor = Acceptor::new(certificates, &options, rule.strict_sni);
                let acceptor = acceptor
                    .map_err(|error| self.report.error(&action.span, error, None))
                    .ok()?;
                Some(Action::Terminate {
                    upstream: upstream?,
                    tls,
                    certificates: names,
                    acceptor: Arc::new(acceptor),
                })
            }
        }
    }

    /// A passthrough client's bytes are TLS already, and its session is with the server.
    fn refuse_tls_in_tls(&mut self, upstream: &upstream::UpstreamOptions) -> Option<()> {
        let name = first(self.table.value.upstream.as_ref()).filter(|_| upstream.tls.is_some());
        let Some(name) = name else { return Some(()) };
        let message = format!(
            "upstreams.{} has `tls`, which would wrap the client's own TLS once more: with action = \"passthrough\" the \
             session is between the client and the server",
            upstream.name
        );
        let help =
            "write `action = \"terminate\"`, or name the server's address, or an upstream without `tls`".to_owned();
        self.report.error(&name.span, message, help);
        None
    }

    /// Whatever the action should have been, the names that stand beside it are defined or not.
    fn lint_without_action(&mut self, timeouts: &mut Timeouts) {
        let route = &self.table.value;
        let (tls, certificates) = (route.tls.is_some(), route.certificates.is_some());
        if route.upstream.is_some() {
            self.upstream(timeouts);
        }
        if tls {
            self.tls();
        }
        if certificates {
            self.certificates();
        }
    }

    fn refuse_keys(&mut self, action: &str, why: &str, upstream_too: bool) {
        let route = &self.table.value;
        let mut given = Vec::new();
        given.extend(route.tls.as_ref().map(|tls| ("tls", tls.span.clone())));
        given.extend(
            route
                .on_truncation
                .as_ref()
                .map(|given| ("on_truncation", given.span.clone())),
        );
        given.extend(
            first(route.certificates.as_ref()).map(|name| ("certificates", name.span.clone())),
        );
        given.extend(
            first(route.upstream.as_ref())
                .filter(|_| upstream_too)
                .map(|name| ("upstream", name.span.clone())),
        );
        for (key, span) in given {
            // No client is let in because of a key that is too many.
            let help = match upstream_too {
                true => format!("remove it: {why}"),
                false => format!("remove it, or write `action = \"terminate\"`: {why}"),
            };
            self.report.error(
                &span,
                format_args!("{key} has no effect with action = {action:?}"),
                help,
            );
        }
    }

    /// An address, a list of addresses, or the name of an upstream: what has a colon is an address.
    fn upstream(&mut self, timeouts: &mut Timeouts) -> Option<Arc<upstream::UpstreamOptions>> {
        let list = self.table.value.upstream.clone().unwrap_or_default();
        match list.0.as_slice() {
            [] => {
                let help = "add `upstream = \"192.0.2.1:8443\"`, or the name of an upstream";
                let key = format!("{}.upstream", self.report.table);
                let message = absent("upstream", self.table.value.upstream.is_some(), "server");
                self.report
                    .missing(key, &self.table.span, message, help.to_owned());
                None
            }
            [name] if !name.contains(':') => self.named_upstream(name, timeouts),
            addresses => {
                if let Some(name) = addresses.iter().find(|address| !address.contains(':')) {
                    self.refuse_name_in_list(name);
                    return None;
                }
                let servers: Vec<UpstreamAddr> = self.report.parse_all("upstream", &list);
                let name = addresses
                    .iter()
                    .map(|address| address.as_str())
                    .collect::<Vec<_>>()
                    .join(",");
                let complete = servers.len() == addresses.len();
                let spans = addresses.iter().map(|address| &address.span);
                servers::refuse_twice(servers.iter().zip(spans), "upstream", &mut self.report);
                complete.then(|| Arc::new(upstream::UpstreamOptions::new(name, servers)))
            }
        }
    }

    /// A list has the addresses of servers, and an upstream has a name of its own.
    fn refuse_name_in_list(&mut self, name: &Spanned<String>) {
        let (what, help) = if self.upstreams.contains_key(&name.value) {
            let help = "write one table `[upstreams.NAME]` with all of their `servers`, and `upstream = \"NAME\"`";
            (
                "is the name of an upstream, of which a route has one",
                help.to_owned(),
            )
        } else {
            let help = self.report.instead("upstream", name);
            let with_port = || {
                format!(
                    "write the address with its port, as `\"{}:8443\"`",
                    name.value
                )
            };
            let what = if name.starts_with('/') {
                "is a path"
            } else {
                "has no port"
            };
            (what, help.unwrap_or_else(with_port))
        };
        self.report.error(
            &name.span,
            format_args!("upstream: {:?} {what}", name.value),
            help,
        );
    }

    fn named_upstream(
        &mut self,
        name: &Spanned<String>,
        timeouts: &mut Timeouts,
    ) -> Option<Arc<upstream::UpstreamOptions>> {
        let Some(upstream) = self.upstreams.get(&name.value) else {
            let defined = self.upstreams.keys().map(String::as_str);
            let help = did_you_mean(name, defined.clone())
                .or_else(|| self.report.instead("upstream", name));
            let help = help.unwrap_or_else(|| {
                let tables = instead_of(name, "upstreams", defined);
                format!("an address has a port, as in `192.0.2.1:8443`; for a name, {tables}")
            });
            let message = format_args!("upstream {:?} is not defined", name.value);
            self.report.missing(
                format!("upstreams.{}", name.value),
                &name.span,
                message,
                help,
            );
            return None;
        };
        let upstream = upstream.as_ref()?;
        timeouts.connect = upstream.connect_timeout.unwrap_or(timeouts.connect);
        Some(Arc::clone(&upstream.options))
    }

    fn tls(&mut self) -> Option<(Arc<str>, AcceptorOptions)> {
        let name = self.table.value.tls.as_ref();
        let table = name.map_or(DEFAULT_TLS, |name| name.as_str());
        if let Some(policy) = self.materials.policies.get(table) {
            return Some((table.into(), policy.options.clone()));
        }
        match name {
            // A table that is defined and yet not there has been reported.
            _ if self.merged.tls.contains_key(table) => None,
            Some(name) => {
                let help = instead_of(table, "tls", self.merged.tls.keys().map(String::as_str));
                let message = format_args!("tls {table:?} is not defined");
                self.report
                    .missing(format!("tls.{table}"), &name.span, message, help);
                None
            }
            None => Some((table.into(), AcceptorOptions::default())),
        }
    }

    /// The certificates by name and by value, the default one first.
    fn certificates(&mut self) -> Option<(Vec<Arc<str>>, Certificates)> {
        let known = &self.materials.certificates;
        let defined = &self.merged.certificates;
        let list = match &self.table.value.certificates {
            Some(list) => list.clone(),
            None => List::from(
                defined
                    .keys()
                    .filter(|name| !self.is_for_servers_only(name))
                    .cloned()
                    .collect::<Vec<_>>(),
            ),
        };
        if list.0.is_empty() {
            let help = "add a table `[certificates.NAME]` with `cert_file` and `key_file`";
            let message = "there is no certificate to terminate TLS with";
            self.report
                .missing("certificates", &self.table.span, message, help.to_owned());
        }
        let (mut names, mut certificates) = (Vec::new(), Vec::new());
        for name in &list.0 {
            match known.get_key_value(name.as_str()) {
                Some((name, named)) => {
                    names.push(Arc::clone(name));
                    certificates.push(Arc::clone(&named.certificate));
                    certificates.extend(named.later.iter().map(Arc::clone));
                }
                // Reported where it is defined.
                None if defined.contains_key(&name.value) => {}
                None => {
                    let help = match name.contains('/')
                        || name.ends_with(".pem")
                        || name.ends_with(".crt")
                    {
                        true => format!(
                            "a file has a table: add `[certificates.NAME]` with `cert_file = {:?}`, and write NAME here",
                            name.value
                        ),
                        false => {
                            instead_of(name, "certificates", defined.keys().map(String::as_str))
                        }
                    };
                    let message = format_args!("certificate {:?} is not defined", name.value);
                    self.report.missing(
                        format!("certificates.{}", name.value),
                        &name.span,
                        message,
                        help,
                    );
                }
            }
        }
        (!names.is_empty() && names.len() == list.0.len()).then_some((names, certificates))
    }

    /// Whether the certificate is what snigate shows to servers, and of no use to clients.
    fn is_for_servers_only(&self, name: &str) -> bool {
        let certificate = self
            .materials
            .certificates
            .get(name)
            .map(|named| &named.certificate);
        certificate.is_some_and(|certificate| is_left_to_servers(name, self.merged, certificate))
    }

    /// Warns of names that no certificate of the route covers.
    fn lint_coverage(&mut self, rule: &Rule<usize>, certificates: &[Arc<Certificate>]) {
        let covered = |name: &ServerName| {
            certificates
                .iter()
                .any(|certificate| certificate.covers(name))
        };
        let list = self.table.value.sni.clone().unwrap_or_default();
        let mut checked = 0;
        let mut uncovered = Vec::new();
        for (pattern, text) in rule.names.iter().zip(&list.0) {
            let probe = match pattern {
                NamePattern::Exact(name) => name.clone(),
                // A certificate covers every name of a wildcard only by the same wildcard, and so
                // some name at random.
                NamePattern::Wildcard(suffix) => {
                    match format!("any-name-at-all.{suffix}").parse() {
                        Ok(probe) => probe,
                        Err(_) => continue,
                    }
                }
                NamePattern::Below(_) | NamePattern::Any => continue,
            };
            checked += 1;
            if !covered(&probe) {
                let mut names = certificates
                    .iter()
                    .flat_map(|certificate| certificate.names());
                let some = names
                    .any(|name| matches!(name, AltName::Dns(name) if is_one_of(name, pattern)));
                uncovered.push((pattern, text, some));
            }
        }
        let none = uncovered.len() == checked && uncovered.iter().all(|(_, _, some)| !some);
        let never = rule.strict_sni && checked > 0 && none && checked == rule.names.len();
        for (pattern, text, some) in uncovered {
            let fate = match (rule.strict_sni, never) {
                (true, _) if some => {
                    "clients that ask for another one get the alert unrecognized_name"
                }
                (true, true) => "nor any other name of the route, so that it can never match",
                (true, false) => "its clients get the alert unrecognized_name",
                (false, _) => "its clients are shown the default certificate",
            };
            let names: Vec<String> = certificates
                .iter()
                .flat_map(|certificate| certificate.names())
                .map(ToString::to_string)
                .collect();
            let all = if some { "every name of " } else { "" };
            let message = format!("sni: no certificate covers {all}{pattern}; {fate}");
            /// A certificate may have a thousand.
            const SHOWN: usize = 8;
            let help = match &*names {
                [] => format!("use a certificate with `DNS:{pattern}` in its subjectAltName"),
                [..] => {
                    let shown = names
                        .iter()
                        .take(SHOWN)
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                        .join(", ");
                    let more = match names.len().saturating_sub(SHOWN) {
                        0 => String::new(),
                        more => format!(" and {more} more"),
                    };
                    format!("the certificates of the route are for {shown}{more}")
                }
            };
            self.report.warning(&text.span, message, help);
        }
    }

    /// Warns of a route that asks for a protocol which its TLS table will not agree on.
    fn lint_protocols(&mut self, rule: &Rule<usize>, options: &AcceptorOptions) {
        let agreed = |protocol| options.alpn.is_empty() || options.alpn.contains(protocol);
        if !rule.alpn.is_empty() && !rule.alpn.iter().any(agreed) {
            let message =
                "it can never match: the protocols in `alpn` are not among those of its tls table";
            let help = "give both the same protocols".to_owned();
            self.report.warning(&self.table.span, message, help);
        }
    }

    fn on_remove(&mut self, action: &Action) -> OnRemove {
        match (&self.table.value.on_remove, action) {
            (Some(given), _) => given.value,
            // Nothing lets their clients in any more, and they were to stay no longer than that.
            (None, Action::Terminate { acceptor, .. }) if acceptor.is_recallable() => {
                OnRemove::Close
            }
            (None, _) => OnRemove::Keep,
        }
    }

    fn override_timeouts(&mut self, timeouts: &mut Timeouts) {
        let Some(file::RouteTimeouts {
            handshake,
            connect,
            idle,
            half_close,
            max_lifetime,
            keepalive,
            unacknowledged,
        }) = &self.table.value.timeouts
        else {
            return;
        };
        let report = &mut self.report;
        if let Some(duration) = handshake
            .as_ref()
            .and_then(|text| report.duration("timeouts.handshake", text))
        {
            timeouts.handshake = duration;
        }
        if let Some(duration) = connect
            .as_ref()
            .and_then(|text| report.duration("timeouts.connect", text))
        {
            timeouts.connect = duration;
        }
        if let Some(duration) = idle
            .as_ref()
            .and_then(|text| report.duration_or_off("timeouts.idle", text))
        {
            timeouts.idle = duration;
        }
        if let Some(duration) = half_close
            .as_ref()
            .and_then(|text| report.duration_or_off("timeouts.half_close", text))
        {
            timeouts.half_close = duration;
        }
        let lifetime = max_lifetime
            .as_ref()
            .and_then(|text| report.duration_or_off("timeouts.max_lifetime", text));
        timeouts.max_lifetime = lifetime.unwrap_or(timeouts.max_lifetime);
        report.liveness(
            "timeouts.",
            keepalive.as_ref(),
            unacknowledged.as_ref(),
            &mut timeouts.liveness,
        );
    }
}

fn first(list: Option<&List>) -> Option<&Spanned<String>> {
    list.and_then(|list| list.0.first())
}

/// Whether this is the name of one server, and the pattern takes it.
fn is_one_of(name: &str, pattern: &NamePattern) -> bool {
    matches!(name.parse(), Ok(NamePattern::Exact(name)) if pattern.matches(&name))
}
