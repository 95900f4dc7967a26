//! Limits of a listener: the connections that it takes.

use std::time::Duration;

use crate::config::compile::report::Report;
use crate::config::file::{self, Spanned};
use crate::proxy::{Limits, Rate};

/// Between two connections of one source.
const MIN_INTERVAL: Duration = Duration::from_micros(1);

pub(super) fn compile(listener: &file::Listener, report: &mut Report<'_>) -> Limits {
    let file::Listener {
        max_connections,
        max_pending,
        pending_per_source,
        rate_per_source,
        ..
    } = listener;
    let file::Listener {
        max_pending_bytes,
        connections_per_source,
        max_handshakes,
        ..
    } = listener;
    let mut limits = Limits {
        max_connections: count(
            ("max_connections", NO_LIMIT),
            max_connections.as_ref(),
            report,
        ),
        max_pending: Limits::MAX_PENDING,
        pending_per_source: count(
            ("pending_per_source", NO_LIMIT),
            pending_per_source.as_ref(),
            report,
        ),
        rate_per_source: rate_per_source
            .as_ref()
            .and_then(|rate| self::rate(rate, report)),
        connections_per_source: count(
            ("connections_per_source", NO_LIMIT),
            connections_per_source.as_ref(),
            report,
        ),
        max_pending_bytes: count(
            ("max_pending_bytes", DEFAULT),
            max_pending_bytes.as_ref(),
            report,
        )
        .unwrap_or(Limits::MAX_PENDING_BYTES),
        max_handshakes: count(("max_handshakes", DEFAULT), max_handshakes.as_ref(), report)
            .unwrap_or_else(Limits::usual_handshakes),
    };
    // Hellos that do not come to an end must not take every place.
    let most = limits.max_connections.map_or(Limits::MAX_PENDING, |most| {
        (most / 2).clamp(1, Limits::MAX_PENDING)
    });
    limits.max_pending =
        count(("max_pending", DEFAULT), max_pending.as_ref(), report).unwrap_or(most);
    exceeds(
        ("max_pending", max_pending.as_ref()),
        ("max_connections", limits.max_connections),
        report,
    );
    let connections = ("max_connections", limits.max_connections);
    exceeds(
        ("connections_per_source", connections_per_source.as_ref()),
        connections,
        report,
    );
    exceeds(
        ("max_handshakes", max_handshakes.as_ref()),
        connections,
        report,
    );
    let pending = ("max_pending", Some(limits.max_pending));
    exceeds(
        ("pending_per_source", pending_per_source.as_ref()),
        pending,
        report,
    );
    limits
}

/// The rule where a limit is not written.
const NO_LIMIT: &str = "without the key there is no limit";
const DEFAULT: &str = "without the key its default counts";

fn count(
    (key, without): (&str, &str),
    value: Option<&Spanned<u32>>,
    report: &mut Report<'_>,
) -> Option<u32> {
    let value = value?;
    if value.value == 0 {
        let help = format!("a listener that is to take nobody is left out; {without}");
        report.error(
            &value.span,
            format_args!("{key}: 0 would refuse everybody"),
            help,
        );
    }
    (value.value > 0).then_some(value.value)
}

/// A limit that another one lets nobody reach is a slip.
fn exceeds(
    (key, value): (&str, Option<&Spanned<u32>>),
    (other, most): (&str, Option<u32>),
    report: &mut Report<'_>,
) {
    let (Some(value), Some(most)) = (value, most) else {
        return;
    };
    if value.value > most {
        let message = format_args!(
            "{key} = {} is never reached, because {other} is {most}",
            value.value
        );
        report.error(
            &value.span,
            message,
            format!("write at most {most}, or raise {other}"),
        );
    }
}

fn rate(rate: &Spanned<file::RatePerSource>, report: &mut Report<'_>) -> Option<Rate> {
    let file::RatePerSource {
        connections,
        per,
        burst,
    } = &rate.value;
    if connections.is_none() {
        let help = "write `rate_per_source = { connections = 100, per = \"1s\" }`".to_owned();
        let key = format!("{}.rate_per_source.connections", report.table);
        report.missing(
            key,
            &rate.span,
            "rate_per_source.connections is missing",
            help,
        );
    }
    let connections = count(
        (
            "rate_per_source.connections",
            "without `rate_per_source` there is no limit",
        ),
        connections.as_ref(),
        report,
    );
    let per = match per {
        Some(text) => report.duration("rate_per_source.per", text),
        None => Some(Duration::from_secs(1)),
    };
    let burst = match burst {
        Some(burst) => count(
            (
                "rate_per_source.burst",
                "without the key it is `connections`",
            ),
            Some(burst),
            report,
        ),
        None => connections,
    };
    let (connections, per) = (connections?, per?);
    // Shorter intervals would be rounded to none, and none is no limit.
    if per / connections < MIN_INTERVAL {
        let help =
            "more than a million connections a second are no limit: leave `rate_per_source` out"
                .to_owned();
        report.error(
            &rate.span,
            "rate_per_source: the intervals between connections are below 1 \u{b5}s",
            help,
        );
        return None;
    }
    Some(Rate {
        connections,
        per,
        burst: burst?,
    })
}
