//! The limits of a listener, compared.

use crate::proxy::Limits;

/// The limits of a listener that would not be there any more. The others always have a value.
pub(super) fn gone_limits(old: &Limits, new: &Limits) -> Vec<&'static str> {
    let gone = [
        (
            old.max_connections.is_some() && new.max_connections.is_none(),
            "max_connections",
        ),
        (
            old.pending_per_source.is_some() && new.pending_per_source.is_none(),
            "pending_per_source",
        ),
        (
            old.rate_per_source.is_some() && new.rate_per_source.is_none(),
            "rate_per_source",
        ),
        (
            old.connections_per_source.is_some() && new.connections_per_source.is_none(),
            "connections_per_source",
        ),
    ];
    gone.into_iter()
        .filter(|(is_gone, _)| *is_gone)
        .map(|(_, key)| key)
        .collect()
}

/// The limits of a listener that take more than before, where there are any.
pub(super) fn wider_limits(old: &Limits, new: &Limits) -> Vec<&'static str> {
    // A limit that is added here has to be compared below.
    let Limits {
        max_connections,
        max_pending,
        pending_per_source,
        rate_per_source,
        connections_per_source,
        max_pending_bytes,
        max_handshakes,
    } = new;
    let is_raised =
        |old: Option<u32>, new: Option<u32>| old.zip(new).is_some_and(|(old, new)| new > old);
    let rate_is_wider = match (old.rate_per_source, rate_per_source) {
        (None, _) | (_, None) => false,
        (Some(old), Some(new)) => {
            let per_second =
                |rate: crate::proxy::Rate| f64::from(rate.connections) / rate.per.as_secs_f64();
            per_second(*new) > per_second(old) || new.burst > old.burst
        }
    };
    let wider = [
        (
            is_raised(old.max_connections, *max_connections),
            "max_connections",
        ),
        (*max_pending > old.max_pending, "max_pending"),
        (
            is_raised(old.pending_per_source, *pending_per_source),
            "pending_per_source",
        ),
        (rate_is_wider, "rate_per_source"),
        (
            is_raised(old.connections_per_source, *connections_per_source),
            "connections_per_source",
        ),
        (
            *max_pending_bytes > old.max_pending_bytes,
            "max_pending_bytes",
        ),
        (*max_handshakes > old.max_handshakes, "max_handshakes"),
    ];
    wider
        .into_iter()
        .filter(|(is_wider, _)| *is_wider)
        .map(|(_, key)| key)
        .collect()
}
