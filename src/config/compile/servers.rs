//! `servers`, `health` and `ejection` of an upstream.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use crate::addr::UpstreamAddr;
use crate::config::compile::report::Report;
use crate::config::file::{self, EjectionTable, HealthTable, Servers, Short, Spanned};
use crate::upstream::{self, Ejection, HealthCheck, HealthCheckKind, ServerOptions};

/// More say nothing that fewer do not: 1000 to 1 is a server that hardly takes part.
const MAX_WEIGHT: u32 = 1000;

/// More often is a load for the servers and tells nothing more: a check takes a round trip or two.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// The servers, if there is no mistake in any of them; mistakes have been reported.
pub(super) fn servers(
    list: &Servers,
    balance: upstream::Balance,
    report: &mut Report<'_>,
) -> Option<Vec<ServerOptions>> {
    let begin = report.mark();
    let servers: Vec<ServerOptions> = list
        .0
        .iter()
        .filter_map(|entry| server(entry, balance, report))
        .collect();
    refuse_twice(
        servers
            .iter()
            .map(|server| &server.addr)
            .zip(list.0.iter().map(|entry| &entry.span)),
        "servers",
        report,
    );
    if let Some(entry) = list
        .0
        .first()
        .filter(|_| !servers.is_empty() && servers.iter().all(|server| server.backup))
    {
        let help = "remove `backup` from at least one".to_owned();
        report.error(
            &entry.span,
            "servers: every server is a backup, and there is nothing that they are for",
            help,
        );
    }
    if let Some(entry) = list
        .0
        .first()
        .filter(|_| !servers.is_empty() && servers.iter().all(|server| server.weight == 0))
    {
        let help = "write a weight of 1 or more for at least one".to_owned();
        report.error(
            &entry.span,
            "servers: every server has weight 0, so that none takes a connection",
            help,
        );
    }
    report.is_sound_since(begin).then_some(servers)
}

/// Refuses addresses that stand in a list more than once.
pub(super) fn refuse_twice<'a>(
    servers: impl Iterator<Item = (&'a UpstreamAddr, &'a Range<usize>)>,
    key: &str,
    report: &mut Report<'_>,
) {
    let mut seen = HashSet::new();
    for (addr, span) in servers {
        if !seen.insert(addr) {
            let help = "remove it; in `servers` of an `[upstreams]` table `weight = 2` makes it count twice".to_owned();
            report.error(span, format_args!("{key}: {addr} stands there twice"), help);
        }
    }
}

fn server(
    entry: &Spanned<file::Server>,
    balance: upstream::Balance,
    report: &mut Report<'_>,
) -> Option<ServerOptions> {
    let table = match &entry.value {
        Short::Word(text) => {
            let text = Spanned {
                value: text.clone(),
                span: entry.span.clone(),
            };
            return report
                .parse::<UpstreamAddr>("servers", &text)
                .map(Into::into);
        }
        Short::Table(table) => table,
    };
    let file::ServerTable {
        address,
        weight,
        max_connections,
        backup,
    } = &**table;
    let Some(address) = address else {
        let help = "add `address = \"192.0.2.1:8443\"` to the table".to_owned();
        report.missing(
            format!("{}.servers", report.table),
            &entry.span,
            "servers: address is missing",
            help,
        );
        return None;
    };
    let mut server: ServerOptions = report
        .parse::<UpstreamAddr>("servers: address", address)?
        .into();
    if let Some(weight) = weight {
        server.weight =
            number_from(0, "servers: weight", weight, MAX_WEIGHT, report).unwrap_or(server.weight);
        if balance == upstream::Balance::First && server.weight > 0 {
            let help = "remove it, or choose another `balance`".to_owned();
            report.error(
                &weight.span,
                "servers: weight has no effect with balance = \"first\"",
                help,
            );
        }
    }
    if let Some(limit) = max_connections {
        server.max_connections =
            number("servers: max_connections", limit, u32::MAX, report).and_then(NonZeroU32::new);
    }
    server.backup = backup.unwrap_or(false);
    Some(server)
}

/// A whole number from 1 to `most`.
fn number(key: &str, number: &Spanned<u64>, most: u32, report: &mut Report<'_>) -> Option<u32> {
    number_from(1, key, number, most, report)
}

/// A whole number from `least` to `most`.
fn number_from(
    least: u32,
    key: &str,
    number: &Spanned<u64>,
    most: u32,
    report: &mut Report<'_>,
) -> Option<u32> {
    let fitting = u32::try_from(number.value)
        .ok()
        .filter(|number| (least..=most).contains(number));
    if fitting.is_none() {
        let message = format!(
            "{key}: {} is not a whole number from {least} to {most}",
            number.value
        );
        report.error(
            &number.span,
            message,
            "leave it out to have the default".to_owned(),
        );
    }
    fitting
}

/// When servers are left out: what is written, and otherwise the default, where there are enough of
/// them for it.
pub(super) fn ejection(
    key: Option<&Spanned<file::Ejection>>,
    default: Option<Box<Ejection>>,
    servers: usize,
    report: &mut Report<'_>,
) -> Option<Box<Ejection>> {
    let Some(key) = key else { return default };
    let EjectionTable {
        failures,
        time,
        max_time,
        max_percent,
    } = match &key.value {
        Short::Word(word) if word == "off" => return None,
        Short::Word(word) => {
            let help =
                "write `ejection = \"off\"`, or a table such as `{ failures = 3, time = \"1s\" }`"
                    .to_owned();
            report.error(
                &key.span,
                format_args!("ejection: {word:?} is neither \"off\" nor a table"),
                help,
            );
            return None;
        }
        Short::Table(table) => &**table,
    };
    let mut ejection = Ejection::default();
    if let Some(failures) = failures {
        ejection.failures =
            number("ejection.failures", failures, u32::MAX, report).unwrap_or(ejection.failures);
    }
    if let Some(time) = time {
        ejection.time = report
            .duration("ejection.time", time)
            .unwrap_or(ejection.time);
        // Who asks for longer at first does not mean that it gets shorter.
        ejection.max_time = ejection.max_time.max(ejection.time);
    }
    if let Some(max_time) = max_time {
        let longest = report.duration("ejection.max_time", max_time);
        if longest.is_some_and(|longest| longest < ejection.time) {
            let help = "write the longer one in `max_time`".to_owned();
            report.error(
                &max_time.span,
                "ejection.max_time is less than ejection.time",
                help,
            );
        }
        ejection.max_time = longest.unwrap_or(ejection.max_time);
    }
    if let Some(percent) = max_percent {
        let percent = number("ejection.max_percent", percent, 100, report);
        ejection.max_percent = percent
            .and_then(|percent| percent.try_into().ok())
            .unwrap_or(ejection.max_percent);
    }
    if servers > 0 && ejection.at_once(servers) == 0 {
        let most = ejection.max_percent;
        let message = format!(
            "ejection: {most} percent of {servers} are none, so that no server is ever left out"
        );
        let help = "write a larger `max_percent`, or `ejection = \"off\"`".to_owned();
        report.error(&key.span, message, help);
    }
    Some(Box::new(ejection))
}

/// How servers are asked whether they are there, if they are to be.
pub(super) fn health(
    key: Option<&Spanned<file::Health>>,
    has_tls: bool,
    report: &mut Report<'_>,
) -> Option<Box<HealthCheck>> {
    let key = key?;
    let mut health = HealthCheck::of(if has_tls {
        HealthCheckKind::Tls
    } else {
        HealthCheckKind::Tcp
    });
    let HealthTable {
        kind,
        interval,
        timeout,
        rise,
        fall,
    } = match &key.value {
        Short::Word(false) => return None,
        Short::Word(true) => return Some(Box::new(health)),
        Short::Table(table) => &**table,
    };
    match kind.as_ref().map(|kind| (kind.value, &kind.span)) {
        Some((HealthCheckKind::Tls, span)) if !has_tls => {
            let message = "health.kind is \"tls\", and nothing says whom to believe: the upstream has no `tls`";
            let help = "write `kind = \"tcp\"`; with `action = \"passthrough\"` the servers' TLS is none of snigate's business";
            report.error(span, message, help.to_owned());
        }
        Some((HealthCheckKind::Tcp, _)) => health.kind = HealthCheckKind::Tcp,
        Some((HealthCheckKind::Tls, _)) | None => {}
    }
    if let Some(interval) = interval {
        health.interval = report
            .duration("health.interval", interval)
            .unwrap_or(health.interval);
        if health.interval < MIN_INTERVAL {
            let message = format!("health.interval: {:?} is shorter than 10ms", interval.value);
            report.error(
                &interval.span,
                message,
                "write `10ms` or more, such as `1s`".to_owned(),
            );
        }
    }
    if let Some(timeout) = timeout {
        health.timeout = report
            .duration("health.timeout", timeout)
            .unwrap_or(health.timeout);
    }
    if let Some(rise) = rise {
        health.rise = number("health.rise", rise, u32::MAX, report).unwrap_or(health.rise);
    }
    if let Some(fall) = fall {
        health.fall = number("health.fall", fall, u32::MAX, report).unwrap_or(health.fall);
    }
    Some(Box::new(health))
}
