//! Connection counts of listeners, carried over reloads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::addr::ListenAddr;
use crate::config::{Bind, Config};
use crate::proxy::ConnectionCounts;

/// The counts of the listeners, by name, and the names by address.
#[derive(Debug, Default)]
pub(super) struct CountsByListener {
    named: HashMap<Arc<str>, Arc<ConnectionCounts>>,
    at: HashMap<ListenAddr, Arc<str>>,
}

impl CountsByListener {
    /// Those of the listeners of `config`. A listener keeps the counts of its name; one that is
    /// renamed keeps those of its first address whose listener is gone. So a limit goes on counting
    /// the connections that are open.
    pub(super) fn of(config: &Config, before: &Self) -> Self {
        let (mut all, mut renamed) = (Self::default(), HashSet::new());
        for (name, listener) in &config.listeners {
            let gone = |bind: &Bind| {
                before
                    .at
                    .get(&bind.addr)
                    .filter(|old| !config.listeners.contains_key(*old))
            };
            let counts = before.named.get(name).or_else(|| {
                // Of several that share what one has left, the first has its counts.
                let old = listener
                    .bind
                    .iter()
                    .filter_map(gone)
                    .find(|old| !renamed.contains(*old))?;
                renamed.insert(Arc::clone(old));
                before.named.get(old)
            });
            all.named
                .insert(Arc::clone(name), counts.cloned().unwrap_or_default());
            // Where the kernel chooses the port, an address tells nothing.
            let fixed = listener
                .bind
                .iter()
                .filter(|bind| bind.addr.port() != Some(0));
            all.at
                .extend(fixed.map(|bind| (bind.addr.clone(), Arc::clone(name))));
        }
        all
    }

    /// That of the listener of this name.
    pub(super) fn get(&self, name: &str) -> Arc<ConnectionCounts> {
        self.named.get(name).cloned().unwrap_or_default()
    }

    /// Connections that have not been routed.
    pub(super) fn pending(&self) -> usize {
        self.named.values().map(|counts| counts.pending()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config;

    fn counts(listeners: &[(&str, &str)], before: &CountsByListener) -> CountsByListener {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snigate.toml");
        let table = |(name, bind): &(&str, &str)| format!("[listeners.{name}]\nbind = [{bind}]\n");
        fs::write(&path, listeners.iter().map(table).collect::<String>()).unwrap();
        let loaded = config::load(&path);
        CountsByListener::of(
            loaded
                .config
                .as_ref()
                .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)),
            before,
        )
    }

    #[test]
    fn a_gate_goes_on_under_its_name_or_at_its_address_and_never_for_two() {
        let before = counts(
            &[
                ("a", "\"127.0.0.1:1001\", \"127.0.0.1:1002\""),
                ("any", "\"127.0.0.1:0\""),
            ],
            &CountsByListener::default(),
        );
        let old = before.get("a");
        for (what, listeners, heir) in [
            ("moved", &[("a", "\"127.0.0.1:1003\"")][..], Some("a")),
            (
                "renamed",
                &[("b", "\"127.0.0.1:1003\", \"127.0.0.1:1002\"")],
                Some("b"),
            ),
            (
                "split",
                &[("b", "\"127.0.0.1:1001\""), ("c", "\"127.0.0.1:1002\"")],
                Some("b"),
            ),
            (
                "its name stays",
                &[("b", "\"127.0.0.1:1001\""), ("a", "\"127.0.0.1:1003\"")],
                Some("a"),
            ),
            (
                "another one",
                &[("b", "\"127.0.0.1:1003\""), ("other", "\"127.0.0.1:0\"")],
                None,
            ),
        ] {
            let after = counts(listeners, &before);
            for (name, _) in listeners {
                assert_eq!(
                    Arc::ptr_eq(&after.get(name), &old),
                    Some(*name) == heir,
                    "{what}: {name}"
                );
            }
            let any = before.get("any");
            assert!(
                !listeners
                    .iter()
                    .any(|(name, _)| Arc::ptr_eq(&after.get(name), &any)),
                "{what}"
            );
        }
    }
}
