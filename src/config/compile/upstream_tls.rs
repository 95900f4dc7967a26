//! `tls` of an upstream: how snigate is a client.

use std::sync::Arc;

use crate::addr::UpstreamAddr;
use crate::config::compile::materials::RouteMaterials;
use crate::config::compile::report::Report;
use crate::config::diagnostic::{did_you_mean, instead_of};
use crate::config::file::{self, Spanned, TlsVersion, UpstreamTls, UpstreamTlsTable};
use crate::config::read::Merged;
use crate::config::trust::Trusts;
use crate::tls::{Connector, ConnectorOptions, MinVersion, PeerName, Verification};

/// The tables that upstreams which speak TLS refer to.
pub(super) struct Context<'a> {
    pub(super) merged: &'a Merged,
    pub(super) materials: &'a RouteMaterials,
    pub(super) trusts: &'a Trusts,
}

/// The connector for sessions with `servers`. `None` after a mistake, which has been reported;
/// `Some(None)` where the servers speak no TLS.
pub(super) fn compile(
    name: &str,
    tls: Option<&Spanned<UpstreamTls>>,
    servers: &[UpstreamAddr],
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Option<Arc<Connector>>> {
    let empty = UpstreamTlsTable::default();
    let (tls, table) = match tls.map(|tls| (tls, &tls.value)) {
        None | Some((_, UpstreamTls::Switch(false))) => return Some(None),
        Some((tls, UpstreamTls::Switch(true))) => (tls, &empty),
        Some((tls, UpstreamTls::Table(table))) => (tls, &**table),
    };
    let begin = report.mark();
    let server_name = table
        .server_name
        .as_ref()
        .and_then(|text| report.parse("tls.server_name", text));
    lint_servers(servers, server_name.as_ref(), tls, report);
    let verification = verification(table, context, report);
    let certificate = table
        .certificate
        .as_ref()
        .and_then(|name| certificate(name, context, report));
    let pins = table
        .pin
        .as_ref()
        .map_or_else(Vec::new, |list| report.parse_all("tls.pin", list));
    let alpn = table
        .alpn
        .as_ref()
        .map_or_else(Vec::new, |list| report.parse_all("tls.alpn", list));
    let groups = table
        .groups
        .as_ref()
        .map_or_else(Vec::new, |list| report.parse_all("tls.groups", list));
    for (key, list) in [
        ("tls.pin", &table.pin),
        ("tls.alpn", &table.alpn),
        ("tls.groups", &table.groups),
    ] {
        if list.as_ref().is_some_and(|list| list.0.is_empty()) {
            report.error(
                &tls.span,
                format_args!("{key} is empty"),
                "leave it out".to_owned(),
            );
        }
    }
    if let Some(insecure) = table
        .insecure
        .as_ref()
        .filter(|insecure| insecure.value && pins.is_empty())
    {
        let message =
            "tls.insecure is true: whoever answers at the address of a server is believed to be it";
        let help =
            "name a `[trust]` table in `tls.trust`, or the server's key in `tls.pin`".to_owned();
        report.warning(&insecure.span, message, help);
    }
    if !report.is_sound_since(begin) {
        return None;
    }
    let options = ConnectorOptions {
        upstream: name.into(),
        server_name,
        verification: verification?,
        pins,
        certificate,
        min_version: match table.min_version {
            Some(TlsVersion::Tls13) => MinVersion::Tls13,
            Some(TlsVersion::Tls12) | None => MinVersion::Tls12,
        },
        alpn,
        groups,
    };
    let connector = Connector::new(options)
        .map_err(|error| report.error(&tls.span, format_args!("tls: {error}"), None));
    Some(Some(Arc::new(connector.ok()?)))
}

/// Every server must be reachable by TCP, and have a name that a certificate can be for.
fn lint_servers(
    servers: &[UpstreamAddr],
    server_name: Option<&PeerName>,
    tls: &Spanned<UpstreamTls>,
    report: &mut Report<'_>,
) {
    for server in servers {
        if let UpstreamAddr::Unix(_) = server {
            let help =
                "leave `tls` out: nobody listens between two processes of one machine".to_owned();
            report.error(
                &tls.span,
                format_args!("tls: {server} is a unix socket, over which there is no TLS"),
                help,
            );
        } else if server_name.is_none() && PeerName::of(server).is_none() {
            let help = "say in `server_name` what its certificate is for".to_owned();
            report.error(
                &tls.span,
                format_args!("tls: no certificate can be for the name in {server}"),
                help,
            );
        }
    }
}

fn verification(
    table: &UpstreamTlsTable,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Verification> {
    let insecure = table.insecure.as_ref().filter(|insecure| insecure.value);
    match (&table.trust, insecure) {
        (Some(_), Some(insecure)) => {
            let help = "remove one of them".to_owned();
            report.error(
                &insecure.span,
                "tls.insecure is true beside tls.trust: are servers verified, or not?",
                help,
            );
            None
        }
        (None, Some(_)) => Some(Verification::Insecure),
        // What is wrong with the store was reported when it was read.
        (None, None) => context
            .trusts
            .system
            .as_ref()
            .map(|system| Verification::Trust(None, system.trust.clone())),
        (Some(name), None) => {
            if !context.merged.trust.contains_key(&name.value) {
                let help = did_you_mean(name, context.merged.trust.keys().map(String::as_str))
                    .or_else(|| {
                        let leave_out = "; without `trust` the system's store is believed";
                        Some(format!(
                            "add a table `[trust.{}]` with `ca_files`{leave_out}",
                            name.value
                        ))
                    });
                let message = format_args!("tls.trust: trust {:?} is not defined", name.value);
                report.missing(format!("trust.{}", name.value), &name.span, message, help);
            }
            let (name, trust) = context.trusts.named.get_key_value(name.as_str())?;
            Some(Verification::Trust(
                Some(Arc::clone(name)),
                trust.trust.clone(),
            ))
        }
    }
}

fn certificate(
    name: &Spanned<String>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<(Arc<str>, Arc<crate::tls::Certificate>)> {
    let Some((found, named)) = context.materials.certificates.get_key_value(name.as_str()) else {
        // One that is defined and yet not there has been reported.
        if !context.merged.certificates.contains_key(&name.value) {
            let help = instead_of(
                name,
                "certificates",
                context.merged.certificates.keys().map(String::as_str),
            );
            let message = format_args!(
                "tls.certificate: certificate {:?} is not defined",
                name.value
            );
            report.missing(
                format!("certificates.{}", name.value),
                &name.span,
                message,
                help,
            );
        }
        return None;
    };
    if !named.certificate.is_for_clients() {
        let message = format!(
            "tls.certificate: the extended key usage of certificate {found:?} does not include clientAuth, so that servers \
             refuse it"
        );
        report.warning(
            &name.span,
            message,
            "issue one for clients; those of public CAs are for servers only".to_owned(),
        );
    }
    Some((Arc::clone(found), Arc::clone(&named.certificate)))
}

/// The `[trust]` table that an upstream's table names.
pub(super) fn trust_name(upstream: &file::Upstream) -> Option<&str> {
    match &upstream.tls.as_ref()?.value {
        UpstreamTls::Table(table) => table.trust.as_ref().map(|name| name.as_str()),
        UpstreamTls::Switch(_) => None,
    }
}
