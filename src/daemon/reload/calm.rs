//! Calm of files: what changes waits until it is written no more, each file by itself, so that none
//! waits for another one that changes all the time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::material::Item;
use crate::daemon::reload::look::ReloadKind;

/// For this long no file may change before what it allows is allowed: a copy that is still being
/// written is longer by then.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// After this long what tightens waits no longer for files that are written again and again.
pub(super) const UNREST: Duration = Duration::from_secs(10);

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WaitingItem {
    /// Everything that the texts of the configuration allow, and the files that they name and that
    /// nothing has been made of so far.
    Texts(ReloadKind),
    /// A material that runs.
    Item(Item),
}

/// Items that wait, and their content in short.
pub(super) type WaitingItems = BTreeMap<WaitingItem, [u8; 32]>;

/// Since when what waits has been as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Calm(BTreeMap<WaitingItem, Quiet>);

#[derive(Clone, Copy, Debug)]
struct Quiet {
    digest: [u8; 32],
    /// Since when it has waited, as it is or otherwise.
    since: Instant,
    /// When it has stayed so for long enough.
    until: Instant,
}

impl Calm {
    /// Whether it has been as it is for long enough.
    pub(super) fn is_quiet(&self, waiting: &WaitingItem, digest: [u8; 32], now: Instant) -> bool {
        self.0
            .get(waiting)
            .is_some_and(|quiet| quiet.digest == digest && quiet.until <= now)
    }

    /// Whether it has waited for too long, because it has never been as it is for long enough.
    pub(super) fn is_restless(&self, waiting: &WaitingItem, now: Instant) -> bool {
        self.0
            .get(waiting)
            .is_some_and(|quiet| quiet.since + UNREST <= now)
    }

    /// When the next one will have been, of those that had not been at this time.
    pub(super) fn next(&self, after: Instant) -> Option<Instant> {
        self.0
            .values()
            .map(|quiet| quiet.until)
            .filter(|until| *until > after)
            .min()
    }

    /// Whether one has come to be quiet between these times.
    pub(super) fn has_come(&self, after: Instant, now: Instant) -> bool {
        self.next(after).is_some_and(|until| until <= now)
    }

    /// These wait, and those of before that are not `kept` do not any more. One with another
    /// content starts anew. Whether one of them has not waited before.
    pub(super) fn wait(
        &mut self,
        waits: WaitingItems,
        now: Instant,
        kept: impl Fn(&WaitingItem) -> bool,
    ) -> bool {
        let before = std::mem::take(&mut self.0);
        let is_new = waits.keys().any(|waiting| !before.contains_key(waiting));
        let quiet = |(waiting, digest): (WaitingItem, [u8; 32])| {
            let known = before.get(&waiting).copied();
            let anew = Quiet {
                digest,
                since: known.map_or(now, |known| known.since),
                until: now + QUIET,
            };
            (
                waiting,
                known.filter(|known| known.digest == digest).unwrap_or(anew),
            )
        };
        self.0 = waits.into_iter().map(quiet).collect();
        for (waiting, known) in before.iter().filter(|(waiting, _)| kept(waiting)) {
            self.0.entry(waiting.clone()).or_insert(*known);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_one_waits_for_itself_alone() {
        let file = |name: &str| WaitingItem::Item(Item::File(name.into()));
        let (mut calm, start) = (Calm::default(), Instant::now());
        assert!(calm.wait(
            WaitingItems::from([
                (file("a"), [0; 32]),
                (WaitingItem::Texts(ReloadKind::Files), [0; 32])
            ]),
            start,
            |_| false
        ));
        // Another one changes each second.
        for second in 1..=2 {
            let now = start + Duration::from_secs(second);
            let waits = WaitingItems::from([
                (file("a"), [second as u8; 32]),
                (WaitingItem::Texts(ReloadKind::Files), [0; 32]),
            ]);
            assert!(!calm.wait(waits, now, |_| false));
            assert_eq!(
                calm.is_quiet(&WaitingItem::Texts(ReloadKind::Files), [0; 32], now),
                second == 2
            );
            assert!(!calm.is_quiet(&file("a"), [second as u8; 32], now));
        }
        let now = start + Duration::from_secs(2);
        assert_eq!(
            calm.next(now),
            Some(now + QUIET),
            "what is quiet is not waited for again"
        );
        assert!(calm.has_come(start, now) && !calm.has_come(now, now));
    }
}
