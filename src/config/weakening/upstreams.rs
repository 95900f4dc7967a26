//! Verification of servers that are sent plaintext, compared.

use crate::addr::UpstreamAddr;
use crate::config::weakening::guard::Loss;
use crate::tls::{ConnectorOptions, MinVersion, Verification};
use crate::upstream;

/// Whether its servers are reached over unix sockets: no third party listens between two processes
/// of one machine.
pub(super) fn is_local(upstream: &upstream::UpstreamOptions) -> bool {
    upstream
        .servers
        .iter()
        .all(|server| matches!(server.addr, UpstreamAddr::Unix(_)))
}

/// The losses where servers were spoken to over TLS, and are no longer.
pub(super) fn gone() -> Vec<Loss> {
    vec![Loss {
        is_gone: true,
        text: "tls to its servers would go".to_owned(),
    }]
}

/// The losses: what `old` asks of its servers, and `new` does not.
pub(super) fn losses(
    old: &upstream::UpstreamOptions,
    new: &upstream::UpstreamOptions,
) -> Vec<Loss> {
    let name = &new.name;
    match (old.tls.as_deref(), new.tls.as_deref()) {
        (Some(old), Some(new)) => verification(name, old.options(), new.options()),
        (Some(_), None) => gone(),
        (None, _) => Vec::new(),
    }
}

fn verification(name: &str, old: &ConnectorOptions, new: &ConnectorOptions) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut lost = |is_gone, text: String| {
        losses.push(Loss {
            is_gone,
            text: format!("upstream {name:?}: {text}"),
        })
    };
    match (&old.verification, &new.verification) {
        (Verification::Insecure, _) => {}
        (Verification::Trust(..), Verification::Insecure) => {
            lost(
                true,
                "verification of servers would go: tls.insecure is true".to_owned(),
            );
        }
        (Verification::Trust(Some(table), old), Verification::Trust(None, new))
            if !new.is_within(old) =>
        {
            lost(
                true,
                format!("tls.trust = {table:?} would go: the system's store would be believed"),
            );
        }
        (Verification::Trust(_, old), Verification::Trust(_, new)) => {
            if !new.is_within(old) {
                lost(false, "servers of another CA would be believed".to_owned());
            }
        }
    }
    if !old.pins.is_empty() && new.pins.is_empty() {
        lost(true, "tls.pin would go".to_owned());
    } else if !old.pins.is_empty() && new.pins.iter().any(|pin| !old.pins.contains(pin)) {
        lost(false, "tls.pin: another key would be believed".to_owned());
    }
    if old.min_version == MinVersion::Tls13 && new.min_version != MinVersion::Tls13 {
        lost(true, "tls.min_version = \"1.3\" would go".to_owned());
    }
    if old.server_name != new.server_name {
        lost(false, "servers would have to be of another name".to_owned());
    }
    losses
}
