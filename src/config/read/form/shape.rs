//! Tables, and values where a table must be.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::diagnostic::{Diagnostic, Severity, Source};

/// Whether everything that must be a table is one. A list in its place would be read as the values
/// of its keys, in an order that is not written anywhere: `client_auth = []` would be a policy.
pub(super) fn only_tables(
    file: &DeTable<'_>,
    source: &Arc<Source>,
    diagnostics: &mut Vec<Diagnostic>,
) -> bool {
    const SECTIONS: [&str; 6] = [
        "listeners",
        "routes",
        "upstreams",
        "tls",
        "certificates",
        "trust",
    ];
    let before = diagnostics.len();
    of_traefik(file, source, diagnostics);
    if diagnostics.len() > before {
        return false;
    }
    let mut require = |key: &str, value: &Spanned<DeValue<'_>>| {
        if !value.get_ref().is_table() {
            let is_named = SECTIONS.contains(&key);
            let help = match (key.split_once('.'), is_named) {
                (_, true) => {
                    format!("each has a name: write `[{key}.NAME]`, and its keys below it")
                }
                (Some((section, inner)), _)
                    if SECTIONS.contains(&section)
                        && !inner.contains('.')
                        && !value.get_ref().is_array() =>
                {
                    format!(
                        "a table of {section} has a name: write `[{section}.NAME]`, and `{inner}` below it"
                    )
                }
                _ => format!("write `[{key}]`, once, and its keys below it"),
            };
            let message = format!("{key} must be a table");
            diagnostics.push(
                Diagnostic::new(Severity::Error, message)
                    .at(source, &value.span())
                    .help(help),
            );
        }
    };
    for (section, value) in file {
        let section = section.get_ref().as_ref();
        if ["storage", "timeouts", "log"].contains(&section) || SECTIONS.contains(&section) {
            require(section, value);
        }
        let Some(tables) = value
            .get_ref()
            .as_table()
            .filter(|_| SECTIONS.contains(&section))
        else {
            continue;
        };
        // The keys of a table without a name are one mistake.
        let is_stray = |value: &Spanned<DeValue<'_>>| {
            !value.get_ref().is_table() && !value.get_ref().is_array()
        };
        let stray = tables
            .iter()
            .filter(|(_, value)| is_stray(value))
            .min_by_key(|(_, value)| value.span().start);
        if let Some((name, value)) = stray {
            require(&format!("{section}.{}", name.get_ref()), value);
        }
        for (name, table) in tables.iter().filter(|(_, value)| !is_stray(value)) {
            let name = format!("{section}.{}", name.get_ref());
            require(&name, table);
            let keys: &[&str] = match section {
                "listeners" => &["proxy_protocol", "rate_per_source", "timeouts"],
                _ => &["client_auth", "timeouts"],
            };
            for (key, inner) in entries(table, keys) {
                let key = format!("{name}.{key}");
                // A text or a number there is no mistake that would be taken for a table.
                if inner.get_ref().is_array() {
                    require(&key, inner);
                }
                for (list, inner) in entries(inner, &["allow", "deny", "crl"]) {
                    require(&format!("{key}.{list}"), inner);
                }
            }
        }
    }
    diagnostics.len() == before
}

/// Reports `[tls.options.NAME]` and its like: in Traefik they are tables of tables, and each would
/// be one of many unknown keys.
fn of_traefik(file: &DeTable<'_>, source: &Arc<Source>, diagnostics: &mut Vec<Diagnostic>) {
    const OPTIONS: &str =
        "write `[tls.NAME]` for each of its tables, and `tls = \"NAME\"` in the route";
    const CERTIFICATES: &str = "write `[certificates.NAME]` with `cert_file` and `key_file`";
    let is_table = |value: &Spanned<DeValue<'_>>| value.get_ref().is_table();
    let holds_tables = |value: &DeValue<'_>| match value {
        DeValue::Table(inner) => {
            !inner.is_empty() && inner.iter().all(|(_, value)| is_table(value))
        }
        DeValue::Array(items) => !items.is_empty() && items.iter().all(is_table),
        _ => false,
    };
    let Some(tls) = file.get("tls").and_then(|tls| tls.get_ref().as_table()) else {
        return;
    };
    for (name, help) in [
        ("options", OPTIONS),
        ("stores", CERTIFICATES),
        ("certificates", CERTIFICATES),
    ] {
        let Some((key, value)) = tls.get_key_value(name) else {
            continue;
        };
        // A policy may have this name; its own tables are these.
        let is_policy = value.get_ref().as_table().is_some_and(|table| {
            table
                .iter()
                .all(|(key, _)| ["client_auth", "clientAuth"].contains(&key.get_ref().as_ref()))
        });
        if holds_tables(value.get_ref()) && !is_policy {
            let message = format!("tls.{name} is a table of Traefik's");
            diagnostics.push(
                Diagnostic::new(Severity::Error, message)
                    .at(source, &key.span())
                    .help(help.to_owned()),
            );
        }
    }
}

/// Those of `keys` that `table` has, with their values; nothing if it is no table.
fn entries<'a, 'b>(
    table: &'a Spanned<DeValue<'b>>,
    keys: &'a [&'a str],
) -> impl Iterator<Item = (&'a str, &'a Spanned<DeValue<'b>>)> {
    let table = table.get_ref().as_table();
    keys.iter()
        .filter_map(move |&key| Some((key, table?.get(key)?)))
}
