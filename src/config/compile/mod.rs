//! Compilation of a configuration: from what was written to what it means. Every rule that a
//! configuration must keep is checked here, and every breach of one is reported, not only the
//! first.
//!
//! # The order of files
//!
//! Each uses only those that stand before it; `tests/layers.rs` holds that.
//!
//! ```text
//! report < access < reading < left_out < door < authorities < bind < chain < strangers < mode < policy < revocation < pinned < client_auth < limits < listeners < materials < origin < premature < resolver < servers < upstream_tls < upstreams < seen_by < routes < certificate < self_signed < tls < trust < unused
//! ```

pub(super) mod access;
mod authorities;
mod bind;
mod certificate;
mod chain;
mod client_auth;
mod door;
pub(super) mod left_out;
mod limits;
pub(super) mod listeners;
mod materials;
mod mode;
mod origin;
mod pinned;
mod policy;
mod premature;
pub(super) mod reading;
mod report;
pub(super) mod resolver;
mod revocation;
mod routes;
mod seen_by;
mod self_signed;
mod servers;
mod strangers;
mod tls;
mod trust;
mod unused;
mod upstream_tls;
mod upstreams;

use tracing::Level;

use crate::config::compile::report::Report;
use crate::config::diagnostic::Diagnostic;
use crate::config::file::{self};
use crate::config::files::Files;
use crate::config::model::{Circumstances, Config, Timeouts};
use crate::config::read::{Merged, Sourced, beside};
use crate::storage::Storage;
use crate::telemetry;

pub(super) fn compile(
    merged: Merged,
    files: &mut Files,
    circumstances: &Circumstances,
    diagnostics: &mut Vec<Diagnostic>,
) -> Config {
    let timeouts = merged
        .timeouts
        .as_ref()
        .map_or_else(Timeouts::default, |section| timeouts(section, diagnostics));
    let (log, access_log) = log(merged.log.as_ref().map(|log| &log.value));
    if let Some(section) = merged
        .log
        .as_ref()
        .filter(|_| access_log && log.level < Level::INFO)
    {
        let mut report = Report {
            diagnostics,
            source: &section.source,
            table: "log".to_owned(),
        };
        let help = "write `access = false` if that is meant, or `level = \"info\"`".to_owned();
        report.warning(
            &section.span,
            "access lines are of level info, so this level leaves them out",
            help,
        );
    }
    let resolver = resolver::compile(&merged, diagnostics);
    let storage = storage(merged.storage.as_ref());
    let mut materials = tls::compile(&merged, &storage, files, circumstances.now, diagnostics);
    let trusts = trust::compile(&merged, files, diagnostics);
    let mut listeners = listeners::compile(&merged, &timeouts, files, diagnostics);
    let routes = routes::compile(&merged, &materials, &trusts, &timeouts, diagnostics);
    premature::judge(
        &routes,
        &merged,
        (&mut materials, files),
        circumstances,
        diagnostics,
    );
    listeners::fill(&mut listeners, &routes, &merged, diagnostics);
    unused::judge(&merged, diagnostics);
    let materials::RouteMaterials {
        certificates,
        policies,
    } = materials;
    let notices = policies
        .values()
        .flat_map(|policy| policy.notices.clone())
        .collect();
    Config {
        listeners,
        routes,
        resolver,
        tls: policies
            .into_iter()
            .map(|(name, policy)| (name, policy.shown))
            .collect(),
        certificates,
        storage,
        trusts,
        timeouts,
        notices,
        log,
        access_log,
    }
}

/// Where a daemon keeps what is its own (FHS §5.8.1).
const STORAGE: &str = "/var/lib/snigate";

fn storage(section: Option<&Sourced<file::Storage>>) -> Storage {
    let dir =
        section.and_then(|section| Some(beside(&section.source.path, section.value.dir.as_ref()?)));
    Storage::new(dir.unwrap_or_else(|| STORAGE.into()))
}

fn timeouts(section: &Sourced<file::Timeouts>, diagnostics: &mut Vec<Diagnostic>) -> Timeouts {
    let mut report = Report {
        diagnostics,
        source: &section.source,
        table: "timeouts".to_owned(),
    };
    let mut timeouts = Timeouts::default();
    let file::Timeouts {
        hello,
        handshake,
        connect,
        idle,
        half_close,
        drain,
        max_lifetime,
        keepalive,
        unacknowledged,
    } = &section.value;
    let own = [
        ("hello", hello, &mut timeouts.hello),
        ("handshake", handshake, &mut timeouts.handshake),
        ("connect", connect, &mut timeouts.connect),
        ("drain", drain, &mut timeouts.drain),
    ];
    for (key, text, timeout) in own {
        if let Some(duration) = text.as_ref().and_then(|text| report.duration(key, text)) {
            *timeout = duration;
        }
    }
    for (key, text, timeout) in [
        ("idle", idle, &mut timeouts.idle),
        ("half_close", half_close, &mut timeouts.half_close),
        ("max_lifetime", max_lifetime, &mut timeouts.max_lifetime),
    ] {
        if let Some(duration) = text
            .as_ref()
            .and_then(|text| report.duration_or_off(key, text))
        {
            *timeout = duration;
        }
    }
    report.liveness(
        "",
        keepalive.as_ref(),
        unacknowledged.as_ref(),
        &mut timeouts.liveness,
    );
    timeouts
}

fn log(section: Option<&file::Log>) -> (telemetry::LogOptions, bool) {
    let level = match section.and_then(|log| log.level) {
        Some(file::Level::Error) => Level::ERROR,
        Some(file::Level::Warn) => Level::WARN,
        Some(file::Level::Info) | None => Level::INFO,
        Some(file::Level::Debug) => Level::DEBUG,
        Some(file::Level::Trace) => Level::TRACE,
    };
    let format = section.and_then(|log| log.format);
    let format = format.unwrap_or(telemetry::Format::Text);
    (
        telemetry::LogOptions { level, format },
        section.and_then(|log| log.access).unwrap_or(true),
    )
}
