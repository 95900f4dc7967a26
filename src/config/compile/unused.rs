//! Tables that nothing refers to. One that was to protect a route, and does not, is easily overlooked.

use std::collections::BTreeSet;

use crate::config::compile::tls::DEFAULT_TLS;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::file::Action;
use crate::config::read::{In, Merged, Named};

/// Warns of each `[tls]`, `[upstreams]` and `[certificates]` table that no route uses.
pub(super) fn judge(merged: &Merged, diagnostics: &mut Vec<Diagnostic>) {
    let (mut tls, mut upstreams, mut certificates) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut open = Vec::new();
    for (name, In { value: route, .. }) in &merged.routes {
        upstreams.extend(route.upstream.iter().flat_map(|list| &list.0).map(|name| name.as_str()));
        if route.action.as_ref().is_none_or(|action| action.value != Action::Terminate) {
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
            table = merged.tls.get(name).and_then(|tls| tls.value.extends.as_ref()).map(|name| name.as_str());
        }
    }
    let unguarded =
        if open.is_empty() { String::new() } else { format!("; routes.{} names none", open.join(", routes.")) };
    report(
        "tls",
        &merged.tls,
        &tls,
        |tls| if tls.client_auth.is_some() { unguarded.clone() } else { String::new() },
        diagnostics,
    );
    report("upstreams", &merged.upstreams, &upstreams, |_| String::new(), diagnostics);
    report("certificates", &merged.certificates, &certificates, |_| String::new(), diagnostics);
}

fn report<T>(
    section: &str,
    tables: &Named<T>,
    used: &BTreeSet<&str>,
    more: impl Fn(&T) -> String,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (name, table) in tables.iter().filter(|(name, _)| !used.contains(name.as_str())) {
        let message = format!("{section}.{name}: no route uses it{}", more(&table.value));
        diagnostics.push(Diagnostic::new(Severity::Warning, message).at(&table.source, &table.span));
    }
}
