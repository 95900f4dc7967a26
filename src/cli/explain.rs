//! `snigate explain`: the route that a client gets, found by the table that serves, and why the
//! others do not take it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use jiff::SignedDuration;

use crate::authz::{Policy, Rules};
use crate::cli::{ConfigPath, load, print};
use crate::config::diagnostic::did_you_mean;
use crate::config::file::{ClientAuthMode, OnRevoke, TlsVersion};
use crate::config::{Action, Config, Listener, Route, Timeouts, Tls};
use crate::name::{Alpn, NamePattern, ServerName};
use crate::net::Liveness;
use crate::proxy::OnRemove;
use crate::route::{LookupKey, Mismatch};
use crate::tls::{Acceptor, ConnectorOptions, MinVersion, PeerName, Verification};
use crate::upstream::{
    self, Balance, Ejection, HealthCheck, HealthCheckKind, ProxyProtocol, ServerOptions,
};
use crate::x509::{Depth, Expired, Unknown, date};

/// No route takes the client, on any listener.
const NO_ROUTE: u8 = 3;

/// Routes that nearly took the client: more of them would not help.
const MAX_OTHERS: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigPath,
    /// The server name that the client sends; leave it out for a client that sends none.
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Protocols that the client offers, the preferred one first, separated by commas.
    #[arg(long, value_name = "PROTOCOLS", value_delimiter = ',')]
    alpn: Vec<Alpn>,
    /// The client's address.
    #[arg(long, value_name = "IP", default_value = "192.0.2.1")]
    from: IpAddr,
    /// The listener. Default: every one.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (config, variables) = load(&options.config)?;
    let name = match options.sni.as_deref() {
        None | Some("") => None,
        // As in a hello: an IP literal counts as no name.
        Some(text) if text.parse::<IpAddr>().is_ok() => None,
        Some(text) => Some(text.parse::<ServerName>().with_context(|| {
            format!("{text:?} is not a server name; a client that sends it gets the alert unrecognized_name (112)")
        })?),
    };
    let key = LookupKey {
        name: name.as_ref(),
        client: Some(options.from.to_canonical()),
        alpn: &options.alpn,
    };
    let (mut text, mut is_taken) = (String::new(), false);
    for (listener_name, listener) in listeners(&config, options.listener.as_deref())? {
        is_taken |= explain(&mut text, &config, listener_name, listener, &key);
    }
    print(&variables.hide(&text))?;
    Ok(if is_taken {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NO_ROUTE)
    })
}

fn listeners<'a>(
    config: &'a Config,
    only: Option<&str>,
) -> anyhow::Result<Vec<(&'a Arc<str>, &'a Listener)>> {
    let Some(only) = only else {
        return Ok(config.listeners.iter().collect());
    };
    let Some(found) = config.listeners.get_key_value(only) else {
        let hint = did_you_mean(only, config.listeners.keys().map(|name| &**name));
        let hint = hint.map_or_else(String::new, |hint| format!(": {hint}"));
        bail!("listener {only:?} is not defined{hint}");
    };
    Ok(vec![found])
}

/// Whether a route of the listener takes the client.
fn explain(
    text: &mut String,
    config: &Config,
    name: &str,
    listener: &Listener,
    key: &LookupKey<'_>,
) -> bool {
    let bind: Vec<String> = listener
        .bind
        .iter()
        .map(|bind| bind.addr.to_string())
        .collect();
    line(
        text,
        "listener",
        format_args!("{name} ({})", bind.join(", ")),
    );
    line(text, "client", client(key));
    let found = listener.table.lookup(key).map(|at| &config.routes[*at]);
    match found {
        Some(route) => {
            line(
                text,
                "route",
                format_args!("{}, because {}", route.name, reason(route, key)),
            );
            describe(text, config, route, key);
        }
        None => {
            line(text, "route", "none");
            line(
                text,
                "sees",
                "the alert unrecognized_name (112); the log says no_route",
            );
        }
    }
    others(text, config, name, found, key);
    text.push('\n');
    found.is_some()
}

fn line(text: &mut String, label: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{label:<12} {value}");
}

fn client(key: &LookupKey<'_>) -> String {
    let name = key.name.map_or_else(
        || "sends no server name".to_owned(),
        |name| format!("asks for {name}"),
    );
    let alpn: Vec<String> = key.alpn.iter().map(ToString::to_string).collect();
    let alpn = if alpn.is_empty() {
        String::new()
    } else {
        format!(", offers {}", alpn.join(", "))
    };
    let client = key
        .client
        .map_or_else(|| "unix".to_owned(), |ip| ip.to_string());
    format!("{client} {name}{alpn}")
}

/// The reason why this route is the most specific one.
fn reason(route: &Route, key: &LookupKey<'_>) -> String {
    let rule = &route.rule;
    let mut reasons = Vec::new();
    match key.name {
        Some(name) => {
            let pattern = rule.names.iter().filter(|pattern| pattern.matches(name));
            let pattern = pattern.max_by_key(|pattern| pattern.closeness());
            reasons.extend(pattern.map(|pattern| match pattern {
                NamePattern::Exact(_) => "it names the server exactly".to_owned(),
                other => format!("its pattern {other} matches"),
            }));
        }
        None if rule.names.contains(&NamePattern::Any) => {
            reasons.push("it is not strict and takes every name".to_owned());
        }
        None => {
            reasons.push("it is the only route that is not strict and takes this client".to_owned())
        }
    }
    let range = rule
        .from
        .iter()
        .filter(|range| key.client.is_some_and(|ip| range.contains(ip)))
        .max_by_key(|range| range.prefix_len());
    reasons.extend(range.map(|range| format!("the client is in {range}")));
    let alpn = key
        .alpn
        .iter()
        .find(|protocol| rule.alpn.contains(protocol));
    reasons.extend(alpn.map(|protocol| format!("it is for {protocol}")));
    reasons.join(", ")
}

fn describe(text: &mut String, config: &Config, route: &Route, key: &LookupKey<'_>) {
    line(text, "strict_sni", route.rule.strict_sni);
    match &route.action {
        Action::Reject => {
            line(text, "action", "reject");
            line(
                text,
                "sees",
                "the alert access_denied (49); the log says rejected",
            );
            return;
        }
        Action::Passthrough(_) => line(text, "action", "passthrough: the bytes are not touched"),
        Action::Terminate {
            tls,
            certificates,
            acceptor,
            ..
        } => {
            line(text, "action", "terminate");
            terms(text, config, tls);
            certificate(text, config, acceptor, certificates, key);
        }
    }
    if let Some(upstream) = route.action.upstream() {
        let is_choice = upstream.servers.len() > 1;
        let servers: Vec<String> = upstream
            .servers
            .iter()
            .map(|one| server(one, is_choice))
            .collect();
        let balance = match upstream.balance {
            _ if !is_choice => "",
            Balance::RoundRobin => " in turn",
            Balance::LeastConnections => " by the number of connections",
            Balance::Random => " at random",
            Balance::SourceHash => " by the client's address",
            Balance::First => " in this order",
        };
        line(
            text,
            "upstream",
            format_args!("{}{balance}", servers.join(", ")),
        );
        standing(text, upstream);
        told(text, upstream);
        if let Some(tls) = &upstream.tls {
            session(text, tls.options(), &upstream.servers);
        }
    }
    let Timeouts { max_lifetime, .. } = route.timeouts;
    line(text, "timeouts", timeouts(route));
    line(
        text,
        "",
        format_args!(
            "max_lifetime {}, {}",
            or_off(max_lifetime),
            liveness(&route.timeouts.liveness)
        ),
    );
    line(
        text,
        "on_remove",
        match route.on_remove {
            OnRemove::Keep => "keep: connections go on without the route",
            OnRemove::Drain => "drain: connections have the time of `timeouts.drain` to end",
            OnRemove::Close => "close: connections end with the route",
        },
    );
}

/// The facts of the client that the servers learn.
fn told(text: &mut String, upstream: &upstream::UpstreamOptions) {
    match upstream.proxy_protocol {
        None => {}
        Some(ProxyProtocol::V1) => line(text, "", "told of the client in a PROXY header, v1"),
        Some(ProxyProtocol::V2(tlvs)) => {
            let words = tlvs.words().join(", ");
            let with = if words.is_empty() {
                words
            } else {
                format!(" with {words}")
            };
            line(
                text,
                "",
                format_args!("told of the client in a PROXY header, v2{with}"),
            );
        }
    }
    if upstream.transparent {
        line(text, "", "from the client's address");
    }
}

/// A server, and what it has that others have not.
fn server(server: &ServerOptions, is_choice: bool) -> String {
    let ServerOptions {
        addr,
        weight,
        max_connections,
        backup,
    } = server;
    let weight = match weight {
        0 => Some("weight 0: no new connections".to_owned()),
        _ => (is_choice && *weight > 1).then(|| format!("weight {weight}")),
    };
    let limit = max_connections.map(|limit| format!("at most {limit} connections"));
    let notes: Vec<String> = [backup.then(|| "backup".to_owned()), weight, limit]
        .into_iter()
        .flatten()
        .collect();
    if notes.is_empty() {
        addr.to_string()
    } else {
        format!("{addr} ({})", notes.join(", "))
    }
}

/// How it is known that a server is not well.
fn standing(text: &mut String, upstream: &upstream::UpstreamOptions) {
    let duration =
        |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    if let Some(Ejection {
        failures,
        time,
        max_time,
        max_percent,
    }) = upstream.ejection.as_deref()
    {
        let (time, max_time) = (duration(*time), duration(*max_time));
        let share = format!("{max_percent} percent of them at most");
        line(
            text,
            "",
            format_args!(
                "after {failures} failures in a row left out for {time:#}, up to {max_time:#}, {share}"
            ),
        );
    }
    if let Some(HealthCheck {
        kind,
        interval,
        timeout,
        rise,
        fall,
    }) = upstream.health.as_deref()
    {
        let kind = match kind {
            HealthCheckKind::Tcp => "a connection",
            HealthCheckKind::Tls => "a TLS handshake",
        };
        let (interval, timeout) = (duration(*interval), duration(*timeout));
        let times =
            format!("{timeout:#} each, up after {rise} that succeed, down after {fall} that fail");
        line(
            text,
            "",
            format_args!("checked by {kind} every {interval:#}, {times}"),
        );
    }
}

/// How snigate is a client of these servers.
fn session(text: &mut String, options: &ConnectorOptions, servers: &[ServerOptions]) {
    let ConnectorOptions {
        server_name,
        verification,
        pins,
        certificate,
        min_version,
        alpn,
        groups,
        ..
    } = options;
    let names: BTreeSet<String> = match server_name {
        Some(name) => BTreeSet::from([name.to_string()]),
        None => servers
            .iter()
            .filter_map(|server| PeerName::of(&server.addr))
            .map(|name| name.to_string())
            .collect(),
    };
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    let mut believed = match verification {
        Verification::Trust(Some(name), _) => format!("verified against trust.{name}"),
        Verification::Trust(None, _) => "verified against the system's store".to_owned(),
        Verification::Insecure if pins.is_empty() => {
            "not verified: whoever answers is believed".to_owned()
        }
        Verification::Insecure => "verified by its key only".to_owned(),
    };
    if !pins.is_empty() {
        let _ = write!(believed, ", with a key out of {}", pins.len());
    }
    line(text, "", format_args!("over TLS as {names}, {believed}"));
    let oldest = match min_version {
        MinVersion::Tls12 => "TLS 1.2 or newer",
        MinVersion::Tls13 => "TLS 1.3",
    };
    let alpn: Vec<String> = alpn.iter().map(ToString::to_string).collect();
    let alpn = if alpn.is_empty() {
        "the client's protocol".to_owned()
    } else {
        format!("ALPN {}", alpn.join(", "))
    };
    let shown = certificate.as_ref().map_or_else(
        || "no client certificate".to_owned(),
        |(name, _)| format!("certificates.{name} for a server that asks for one"),
    );
    let groups = groups
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let groups = if groups.is_empty() {
        groups
    } else {
        format!(", key exchange in {groups}")
    };
    line(text, "", format_args!("{oldest}, {alpn}, {shown}{groups}"));
}

fn terms(text: &mut String, config: &Config, name: &str) {
    // A route may use `default` without there being such a table.
    let Some(tls) = config.tls.get(name) else {
        line(text, "tls", format_args!("{name}: TLS 1.2 or newer"));
        line(text, "client_auth", ClientAuthMode::None.word());
        return;
    };
    let version = match tls.min_version {
        TlsVersion::Tls12 if tls.max_version == TlsVersion::Tls12 => "TLS 1.2",
        TlsVersion::Tls12 => "TLS 1.2 or newer",
        TlsVersion::Tls13 => "TLS 1.3",
    };
    let alpn = if tls.alpn.is_empty() {
        String::new()
    } else {
        format!(", ALPN {}", tls.alpn.join(", "))
    };
    line(text, "tls", format_args!("{name}: {version}{alpn}"));
    client_auth(text, tls);
}

/// The certificate that clients have to show, and what clients see that do not.
fn client_auth(text: &mut String, tls: &Tls) {
    line(text, "client_auth", mode(tls));
    for refusal in refusals(tls) {
        line(text, "", refusal);
    }
    if !tls.crl_files.is_empty() {
        lists(text, tls);
    }
    if let Some(allow) = &tls.policy.allow {
        list(text, "allow", allow);
    }
    list(text, "deny", &tls.policy.deny);
    let on_revoke = match tls.on_revoke {
        OnRevoke::Keep => "keep: open connections go on",
        OnRevoke::Close => {
            "close: a reload ends the connections of clients that would not come in any more"
        }
    };
    if tls.client_auth != ClientAuthMode::None {
        line(text, "on_revoke", on_revoke);
    }
}

/// The mode, and what certificates are verified against.
fn mode(tls: &Tls) -> String {
    let word = tls.client_auth.word();
    match tls.client_auth {
        ClientAuthMode::None => word.to_owned(),
        ClientAuthMode::Request | ClientAuthMode::RequireAny => {
            format!("{word}: certificates are not verified, anybody comes in with one")
        }
        ClientAuthMode::VerifyIfGiven | ClientAuthMode::RequireAndVerify => {
            format!("{word} against {}", paths(&tls.ca_files))
        }
        ClientAuthMode::Pinned => {
            let keys = tls.spki_sha256.iter().map(ToString::to_string);
            let files = tls.cert_files.iter().map(|path| path.display().to_string());
            format!(
                "{word}: {}",
                keys.chain(files).collect::<Vec<_>>().join(", ")
            )
        }
    }
}

/// The refusals that clients see, and their outcomes.
fn refusals(tls: &Tls) -> Vec<&'static str> {
    let mut refusals = Vec::new();
    if tls.client_auth == ClientAuthMode::RequireAny || tls.requires_identity() {
        refusals.push("without a certificate: alert certificate_required (116), no_certificate");
    }
    if tls.client_auth == ClientAuthMode::Pinned {
        refusals.push("with one that is not pinned: alert unknown_ca (48), untrusted_certificate");
    } else if tls.client_auth.verifies() {
        refusals.push("with one of another CA: alert unknown_ca (48), untrusted_certificate");
    }
    if !tls.crl_files.is_empty() {
        refusals
            .push("with one that is revoked: alert certificate_revoked (44), revoked_certificate");
    }
    if tls.policy != Policy::default() {
        refusals.push("with one that is not allowed: alert access_denied (49), not_allowed");
    }
    refusals
}

/// The revocation lists, and what becomes of clients that they do not speak of.
fn lists(text: &mut String, tls: &Tls) {
    line(text, "crl_files", paths(&tls.crl_files));
    let depth = match tls.crl_depth {
        Depth::Leaf => "the client's own certificate",
        Depth::Chain => "every certificate of the chain",
    };
    let word = |denied: bool| if denied { "is refused" } else { "comes in" };
    let unknown = word(tls.crl_unknown == Unknown::Deny);
    let expired = word(tls.crl_expired == Expired::Deny);
    let looked_up = format!(
        "looked up: {depth}; without a list it {unknown}, with one that is too old it {expired}"
    );
    line(text, "", looked_up);
}

fn paths(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

fn list(text: &mut String, label: &str, rules: &Rules) {
    let mut label = label;
    for (key, entries) in rules.entries() {
        line(
            text,
            std::mem::take(&mut label),
            format_args!("{key}: {}", entries.join(", ")),
        );
    }
}

fn certificate(
    text: &mut String,
    config: &Config,
    acceptor: &Acceptor,
    names: &[Arc<str>],
    key: &LookupKey<'_>,
) {
    // Chosen by what serves, for a client that can verify every kind of key.
    let shown = acceptor.select(key.name, || None).and_then(|choice| {
        let mut all = names
            .iter()
            .filter_map(|name| config.certificates.get_key_value(name));
        all.find(|(_, named)| Arc::ptr_eq(&named.certificate, choice.certificate()))
    });
    let Some((name, named)) = shown else {
        line(text, "certificate", "none covers the name");
        line(
            text,
            "sees",
            "the alert unrecognized_name (112); the log says name_not_covered",
        );
        return;
    };
    let sans: Vec<String> = named
        .certificate
        .names()
        .iter()
        .map(ToString::to_string)
        .collect();
    if named.is_to_be_made() {
        line(
            text,
            "certificate",
            format_args!("{name}: {}, self-signed", sans.join(", ")),
        );
        line(
            text,
            "",
            "not made yet: the start makes it, and logs its SHA-256 fingerprint",
        );
        return;
    }
    let until = date(named.certificate.not_after());
    line(
        text,
        "certificate",
        format_args!("{name}: {} until {until}", sans.join(", ")),
    );
    line(
        text,
        "",
        format_args!("SHA-256 {}", named.certificate.fingerprint()),
    );
}

fn text(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .map(|duration| format!("{duration:#}"))
        .unwrap_or_default()
}

fn or_off(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "off".to_owned(), text)
}

fn liveness(liveness: &Liveness) -> String {
    format!(
        "keepalive {}, unacknowledged {}",
        or_off(liveness.keepalive),
        or_off(liveness.unacknowledged)
    )
}

fn timeouts(route: &Route) -> String {
    let Timeouts {
        hello,
        handshake,
        connect,
        idle,
        half_close,
        ..
    } = route.timeouts;
    let handshake = match route.action {
        Action::Terminate { .. } => format!("handshake {}, ", text(handshake)),
        Action::Passthrough(_) | Action::Reject => String::new(),
    };
    let (idle, half_close) = (or_off(idle), or_off(half_close));
    format!(
        "hello {}, {handshake}connect {}, idle {idle}, half_close {half_close}",
        text(hello),
        text(connect)
    )
}

/// The routes that have the name, and what else they ask for.
fn others(
    text: &mut String,
    config: &Config,
    listener: &str,
    found: Option<&Route>,
    key: &LookupKey<'_>,
) {
    let is_here = |route: &&Route| {
        route
            .listeners
            .as_ref()
            .is_none_or(|on| on.iter().any(|name| &**name == listener))
    };
    let is_other = |route: &&Route| found.is_none_or(|found| found.name != route.name);
    let mut left = MAX_OTHERS;
    for route in config.routes.iter().filter(is_here).filter(is_other) {
        let why = match route.rule.judge(key) {
            Ok(_) if found.is_some() => "it is less specific".to_owned(),
            Ok(_) => "it would take the client, and so would another route".to_owned(),
            Err(Mismatch::Name | Mismatch::NoName) => continue,
            Err(mismatch) => mismatch.to_string(),
        };
        line(text, "not", format_args!("{}: {why}", route.name));
        left -= 1;
        if left == 0 {
            line(text, "not", "... and others");
            return;
        }
    }
}
