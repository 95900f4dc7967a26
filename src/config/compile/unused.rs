//! Tables that nothing refers to. One that was to protect a route, and does not, is easily
//! overlooked.

use std::collections::BTreeSet;

use crate::config::compile::materials::DEFAULT_TLS;
use crate::config::compile::seen_by::certificate_name;
use crate::config::compile::upstream_tls::trust_name;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::file::{Action, ClientAuth, ClientAuthMode, Route, Tls};
use crate::config::read::{Merged, Named, Sourced};

/// Reports each listener, and each `[tls]`, `[upstreams]`, `[certificates]` and `[trust]` table,
/// that no route uses. Where there are mistakes, what refers to what is not known, and only what
/// would let clients in is reported.
pub(super) fn judge(merged: &Merged, diagnostics: &mut Vec<Diagnostic>) {
    let mut refused = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity.refuses())
        .peekable();
    let is_sound = refused.peek().is_none();
    // A route that names no table, or one that is not there, may be the one that the unused table
    // is for.
    let is_told =
        refused.any(|diagnostic| diagnostic.lacks.iter().any(|key| key.starts_with("tls.")));
    let (mut tls, mut upstreams, mut certificates) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut open = Vec::new();
    for (name, Sourced { value: route, .. }) in &merged.routes {
        upstreams.extend(
            route
                .upstream
                .iter()
                .flat_map(|list| &list.0)
                .map(|name| name.as_str()),
        );
        if route
            .action
            .as_ref()
            .is_none_or(|action| action.value != Action::Terminate)
        {
            continue;
        }
        match &route.certificates {
            Some(list) => certificates.extend(list.0.iter().map(|name| name.as_str())),
            None => certificates.extend(merged.certificates.keys().map(String::as_str)),
        }
        if route.tls.is_none() {
            open.push(name.as_str());
        }
        let mut table = Some(route.tls.as_ref().map_or(DEFAULT_TLS, |name| name.as_str()));
        // What a table extends is used by it. A circle, which is an error, ends here.
        while let Some(name) = table.filter(|name| tls.insert(*name)) {
            table = merged
                .tls
                .get(name)
                .and_then(|tls| tls.value.extends.as_ref())
                .map(|name| name.as_str());
        }
    }
    let used = || {
        upstreams
            .iter()
            .filter_map(|name| merged.upstreams.get(*name))
            .map(|upstream| &upstream.value)
    };
    certificates.extend(used().filter_map(certificate_name));
    let trust = used().filter_map(trust_name).collect();
    if !is_told {
        report_unguarded(merged, &tls, &open, diagnostics);
    }
    if !is_sound {
        return;
    }
    report_empty(merged, diagnostics);
    report_idle(merged, diagnostics);
    report("tls", &merged.tls, &tls, diagnostics);
    report("upstreams", &merged.upstreams, &upstreams, diagnostics);
    report(
        "certificates",
        &merged.certificates,
        &certificates,
        diagnostics,
    );
    report("trust", &merged.trust, &trust, diagnostics);
}

/// Warns of each `[tls]` table that requires nothing: its author may believe that it protects the
/// routes that name it.
fn report_empty(merged: &Merged, diagnostics: &mut Vec<Diagnostic>) {
    for (name, table) in &merged.tls {
        let Tls {
            extends,
            min_version,
            max_version,
            alpn,
            client_auth,
            on_revoke,
        } = &table.value;
        let has_version = min_version.is_some() || max_version.is_some();
        let asks_nothing = client_auth.as_ref().is_none_or(|auth| {
            let ClientAuth {
                mode,
                ca_files,
                crl_files,
                crl,
                spki_sha256,
                cert_files,
                dates,
                allow,
                deny,
            } = auth;
            mode.is_none()
                && ca_files.is_none()
                && crl_files.is_none()
                && crl.is_none()
                && spki_sha256.is_none()
                && cert_files.is_none()
                && dates.is_none()
                && allow.is_none()
                && deny.is_none()
        });
        if asks_nothing
            && extends.is_none()
            && !has_version
            && alpn.is_none()
            && on_revoke.is_none()
        {
            let message = format!(
                "tls.{name} sets nothing: every client comes in, with or without a certificate"
            );
            let help = "write `client_auth.mode = \"none\"` if that is meant, or add `client_auth.ca_files`".to_owned();
            diagnostics.push(
                Diagnostic::new(Severity::Warning, message)
                    .at(&table.source, &table.span)
                    .help(help),
            );
        }
    }
}

/// Warns of each listener on which there is no route: whoever connects is refused.
fn report_idle(merged: &Merged, diagnostics: &mut Vec<Diagnostic>) {
    let is_on = |listener: &str, route: &Route| {
        route
            .listeners
            .as_ref()
            .is_none_or(|list| list.0.iter().any(|name| name.as_str() == listener))
    };
    let is_idle = |name: &str| {
        !merged
            .routes
            .values()
            .any(|route| is_on(name, &route.value))
    };
    for (name, table) in merged.listeners.iter().filter(|(name, _)| is_idle(name)) {
        let (message, help) = if merged.routes.is_empty() {
            let help = "add a table `[routes.NAME]` with `sni`, `action` and `upstream`".to_owned();
            (
                "there are no routes, so that every client is refused".to_owned(),
                help,
            )
        } else {
            let help = format!("add {name:?} to `listeners` of a route, or remove the listener");
            (
                format!("listeners.{name}: no route is on it, so that every client is refused"),
                help,
            )
        };
        diagnostics.push(
            Diagnostic::new(Severity::Warning, message)
                .at(&table.source, &table.span)
                .help(help),
        );
        if merged.routes.is_empty() {
            return;
        }
    }
}

/// Refuses a configuration that asks for client certificates in a table which no route uses, while
/// a route names no table: one line was forgotten, and everybody would come in.
fn report_unguarded(
    merged: &Merged,
    used: &BTreeSet<&str>,
    open: &[&str],
    diagnostics: &mut Vec<Diagnostic>,
) {
    let asks = |tls: &Sourced<Tls>| {
        tls.value.client_auth.as_ref().is_some_and(|auth| {
            auth.ca_files.is_some()
                || auth.allow.is_some()
                || auth.deny.is_some()
                || auth
                    .mode
                    .as_ref()
                    .is_some_and(|mode| mode.value != ClientAuthMode::None)
        })
    };
    let unused = merged
        .tls
        .iter()
        .find(|(name, table)| !used.contains(name.as_str()) && asks(table));
    let (Some((tls, table)), Some(route)) = (unused, open.first()) else {
        return;
    };
    let place = &merged.routes[*route];
    let message = format!(
        "routes.{route} would let in every client: it names no tls table, and tls.{tls}, which asks for client \
         certificates, is used by no route"
    );
    let help = format!(
        "add `tls = {tls:?}` to the route; if everybody may come in, add a table `[tls.{DEFAULT_TLS}]` with \
         `client_auth.mode = \"none\"`"
    );
    let diagnostic = Diagnostic::new(Severity::Error, message)
        .at(&place.source, &place.span)
        .help(help);
    let diagnostic = diagnostic.and_at(&table.source, &table.span, "not used");
    // What was left out of a route may be its table.
    let routes = merged
        .routes
        .keys()
        .map(|route| format!("routes.{route}.tls"));
    diagnostics.push(
        routes
            .chain(["routes".to_owned(), "tls".to_owned()])
            .fold(diagnostic, Diagnostic::lacking),
    );
}

fn report<T>(
    section: &str,
    tables: &Named<T>,
    used: &BTreeSet<&str>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (name, table) in tables
        .iter()
        .filter(|(name, _)| !used.contains(name.as_str()))
    {
        let message = format!("{section}.{name}: no route uses it");
        diagnostics
            .push(Diagnostic::new(Severity::Warning, message).at(&table.source, &table.span));
    }
}
