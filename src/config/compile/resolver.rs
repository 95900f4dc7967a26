//! `resolver`: how the names of servers are looked up.

use std::sync::Arc;

use crate::config::compile::report::Report;
use crate::config::diagnostic::{Diagnostic, Source};
use crate::config::file::{self, List, Resolver, ResolverMode, ResolverTable, Spanned};
use crate::config::read::{Merged, Sourced};
use crate::net::resolve::{LookupMode, ResolverOptions};

pub(super) fn compile(merged: &Merged, diagnostics: &mut Vec<Diagnostic>) -> ResolverOptions {
    let Some(section) = &merged.resolver else {
        return ResolverOptions::default();
    };
    let mode = match &section.value {
        Resolver::Mode(mode) => *mode,
        Resolver::Table(table) => table
            .mode
            .as_ref()
            .map(|mode| mode.value)
            .unwrap_or_default(),
    };
    let mut options = ResolverOptions::default();
    if let Resolver::Table(table) = &section.value {
        let mut report = Report {
            diagnostics,
            source: &section.source,
            table: "resolver".to_owned(),
        };
        options = compile_table(table, mode, &mut report);
    }
    if mode == ResolverMode::System {
        options.mode = LookupMode::System;
        refuse_services(merged, section, diagnostics);
    }
    options
}

fn compile_table(
    table: &ResolverTable,
    mode: ResolverMode,
    report: &mut Report<'_>,
) -> ResolverOptions {
    let ResolverTable {
        mode: _,
        servers: list,
        min_ttl: min,
        max_ttl: max,
        stale,
        timeout,
    } = table;
    let mut options = ResolverOptions::default();
    if let Some(stale) = stale
        .as_ref()
        .and_then(|text| report.duration_or_off("stale", text))
    {
        options.stale = stale.unwrap_or_default();
    }
    if let Some(timeout) = timeout
        .as_ref()
        .and_then(|text| report.duration("timeout", text))
    {
        options.timeout = timeout;
    }
    if mode == ResolverMode::System {
        let servers = list.as_ref().map(|list| ("servers", span(list)));
        let ttl = |key, text: &Option<Spanned<String>>| {
            text.as_ref().map(|text| (key, text.span.clone()))
        };
        for (key, span) in [servers, ttl("min_ttl", min), ttl("max_ttl", max)]
            .into_iter()
            .flatten()
        {
            let message = format!(
                "{key}: the system knows its servers, and does not say how long an answer holds"
            );
            report.error(
                &span,
                message,
                format!("remove `{key}`, or write `mode = \"dns\"`"),
            );
        }
        return options;
    }
    let LookupMode::Dns {
        servers,
        min_ttl,
        max_ttl,
    } = &mut options.mode
    else {
        return options;
    };
    if let Some(list) = list {
        if list.0.is_empty() {
            let help = "leave it out for those of /etc/resolv.conf".to_owned();
            report.error(&span(list), "servers names no DNS server", help);
        }
        *servers = report.parse_all("servers", list);
    }
    for (key, text, ttl) in [
        ("min_ttl", min, &mut *min_ttl),
        ("max_ttl", max, &mut *max_ttl),
    ] {
        if let Some(duration) = text.as_ref().and_then(|text| report.duration(key, text)) {
            *ttl = duration;
        }
    }
    if let Some(text) = min.as_ref().or(max.as_ref())
        && min_ttl > max_ttl
    {
        let message = format!("min_ttl ({min_ttl:?}) is longer than max_ttl ({max_ttl:?})");
        report.error(
            &text.span,
            message,
            "give both, the shorter one as min_ttl".to_owned(),
        );
    }
    options
}

fn span(list: &List) -> std::ops::Range<usize> {
    list.0
        .first()
        .map(|text| text.span.clone())
        .unwrap_or_default()
}

/// getaddrinfo(3) resolves hosts only.
fn refuse_services(
    merged: &Merged,
    section: &Sourced<Resolver>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut all: Vec<(String, &Arc<Source>, Spanned<String>)> = Vec::new();
    for (name, table) in &merged.upstreams {
        let servers = table.value.servers.iter().flat_map(|servers| &servers.0);
        let addresses = servers.filter_map(Spanned::address);
        all.extend(
            addresses.map(|address| (format!("upstreams.{name}: servers"), &table.source, address)),
        );
    }
    for (name, table) in &merged.routes {
        let addresses = table.value.upstream.iter().flat_map(|list| list.0.clone());
        all.extend(
            addresses.map(|address| (format!("routes.{name}: upstream"), &table.source, address)),
        );
    }
    all.retain(|(_, _, address)| address.starts_with("srv:"));
    for (key, source, text) in all {
        let message = format!(
            "{key}: {}: the system's resolver knows hosts, but no services",
            text.value
        );
        let diagnostic = Diagnostic::new(crate::config::diagnostic::Severity::Error, message)
            .at(source, &text.span);
        let diagnostic = diagnostic.and_at(
            &section.source,
            &section.span,
            "the system's resolver is wanted here",
        );
        diagnostics.push(diagnostic.help("write `host:port`, or `resolver = \"dns\"`".to_owned()));
    }
}

/// As it is written in a file.
pub(in crate::config) fn shown(
    options: &ResolverOptions,
    duration: impl Fn(std::time::Duration) -> String,
) -> file::Resolver {
    let text = |value| Some(Spanned::from(duration(value)));
    let stale = if options.stale.is_zero() {
        Some(Spanned::from("off".to_owned()))
    } else {
        text(options.stale)
    };
    let mut table = ResolverTable {
        stale,
        timeout: text(options.timeout),
        ..ResolverTable::default()
    };
    match &options.mode {
        LookupMode::System => table.mode = Some(Spanned::from(ResolverMode::System)),
        LookupMode::Dns {
            servers,
            min_ttl,
            max_ttl,
        } => {
            table.mode = Some(Spanned::from(ResolverMode::Dns));
            let list: Vec<String> = servers.iter().map(ToString::to_string).collect();
            table.servers = (!list.is_empty()).then(|| List::from(list));
            (table.min_ttl, table.max_ttl) = (text(*min_ttl), text(*max_ttl));
        }
    }
    Resolver::Table(Box::new(table))
}
