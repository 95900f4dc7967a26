//! The difference of two configurations: what is added, removed and changed, by name and key.
//!
//! What is compared is what is in effect, as `snigate show` prints it, and the contents of the
//! files that it names. Values are compared and never kept: names and keys are all there is to
//! print.

mod keys;
mod outline;
mod route;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::authz::printable;
use crate::config::read::Variables;

pub use outline::Outline;

/// A reader of a log has seen enough by then.
const MOST_CHANGES: usize = 8;

/// The same of the keys of one thing.
const MOST_KEYS: usize = 8;

/// Names may have any length, and a line of the log should not.
const MOST_CHARS: usize = 200;

/// What stands before the name of a file whose contents changed.
const CONTENTS: &str = "contents of ";

/// The difference of two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diff(Vec<Change>);

/// One thing that is added, removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What becomes of it.
    pub change: Edit,
    /// What it is.
    pub kind: TableKind,
    /// Its name, or the address of a server; nothing where there is one of the kind alone.
    pub name: Option<String>,
    /// The upstream of a server.
    pub upstream: Option<String>,
    /// The keys that changed, sorted, and the files whose contents did; none of what is added or
    /// removed.
    pub keys: Vec<String>,
}

/// What becomes of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// Only the new configuration has it.
    Added,
    /// Only the old configuration has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
}

/// What there is in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// `[listeners.NAME]`
    Listener,
    /// `[routes.NAME]`
    Route,
    /// `[upstreams.NAME]`
    Upstream,
    /// An entry of `servers` of an `[upstreams]` table.
    Server,
    /// `[resolver]`
    Resolver,
    /// `[tls.NAME]`
    Tls,
    /// `[certificates.NAME]`
    Certificate,
    /// `[storage]`
    Storage,
    /// `[trust.NAME]`, and `(system)` where the system's store counts without a table.
    Trust,
    /// `[timeouts]`
    Timeouts,
    /// `[log]`
    Log,
}

impl TableKind {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Server => "server",
            Self::Resolver => "resolver",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Storage => "storage",
            Self::Trust => "trust",
            Self::Timeouts => "timeouts",
            Self::Log => "log",
        }
    }
}

impl Diff {
    /// Whether both configurations are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By kind, in the order of the configuration's sections, and by name.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// The first changes on one line, how many more there are, or `nothing`.
    #[must_use]
    pub fn in_short(&self) -> String {
        if self.0.is_empty() {
            return "nothing".to_owned();
        }
        let shown = self.0.iter().take(MOST_CHANGES).map(Change::in_short);
        let more = self.0.len().saturating_sub(MOST_CHANGES);
        let more = (more > 0).then(|| format!("and {more} more"));
        shown.chain(more).collect::<Vec<_>>().join("; ")
    }
}

/// One change a line, without a line break at the end.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, change) in self.0.iter().enumerate() {
            let line_break = if at > 0 { "\n" } else { "" };
            write!(f, "{line_break}{change}")?;
        }
        Ok(())
    }
}

impl Change {
    /// In the order of which changes stand.
    fn place(&self) -> impl Ord + use<'_> {
        (self.kind, &self.upstream, &self.name)
    }

    fn in_short(&self) -> String {
        let more = self.keys.len().saturating_sub(MOST_KEYS);
        let more = (more > 0).then(|| format!("and {more} more"));
        let keys = self.keys.iter().take(MOST_KEYS).cloned();
        let cut = Self {
            change: self.change,
            kind: self.kind,
            name: self.name.clone(),
            upstream: self.upstream.clone(),
            keys: keys.chain(more).collect(),
        };
        let text = cut.to_string();
        match text.char_indices().nth(MOST_CHARS) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    }
}

/// `+ route ca`, `- server 192.0.2.1:443 of upstream app`, `~ timeouts: idle, drain`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.change {
            Edit::Added => '+',
            Edit::Removed => '-',
            Edit::Changed => '~',
        };
        write!(f, "{sign} {}", self.kind.word())?;
        if let Some(name) = &self.name {
            write!(f, " {}", printable(name))?;
        }
        if let Some(upstream) = &self.upstream {
            write!(f, " of upstream {}", printable(upstream))?;
        }
        if !self.keys.is_empty() {
            write!(f, ": {}", printable(&self.keys.join(", ")))?;
        }
        Ok(())
    }
}

/// What becomes of the configuration `old` when `new` takes its place. The other way round it is
/// the same with what is added removed, and what is removed added.
#[must_use]
pub fn diff(old: &Outline, new: &Outline) -> Diff {
    let mut changes = Vec::new();
    for (kind, old_tables, new_tables) in old.named(new) {
        let of_kind = tables::compare(old_tables, new_tables);
        changes.extend(of_kind.into_iter().map(|(name, change, keys)| Change {
            change,
            kind,
            name: Some(name.to_string()),
            upstream: None,
            keys,
        }));
    }
    contents(&mut changes, old, new);
    servers(&mut changes, old, new);
    let alone = tables::compare(&old.alone, &new.alone);
    changes.extend(alone.into_iter().map(|(kind, change, keys)| Change {
        change,
        kind: *kind,
        name: None,
        upstream: None,
        keys,
    }));
    changes.sort_by(|one, other| one.place().cmp(&other.place()));
    hide(&mut changes, old, new);
    Diff(changes)
}

/// Puts the names of variables in place of their values, which addresses and names of files may
/// have.
fn hide(changes: &mut [Change], old: &Outline, new: &Outline) {
    if old.variables.is_empty() && new.variables.is_empty() {
        return;
    }
    let hiders = [&old.variables, &new.variables].map(Variables::hider);
    let hide = |text: &str| {
        hiders
            .iter()
            .fold(text.to_owned(), |text, hider| hider.hide(&text))
    };
    for change in changes {
        if change.kind == TableKind::Server {
            change.name = change.name.as_deref().map(hide);
        }
        for key in change
            .keys
            .iter_mut()
            .filter(|key| key.starts_with(CONTENTS))
        {
            *key = hide(key);
        }
    }
}

/// Adds the files whose contents changed. Of a file that only one of the configurations names the
/// key that names it has changed.
fn contents(changes: &mut Vec<Change>, old: &Outline, new: &Outline) {
    let mut changed: BTreeMap<(TableKind, &str), Vec<String>> = BTreeMap::new();
    for (place, now) in &new.contents {
        if old.contents.get(place).is_some_and(|before| before != now) {
            let keys = changed.entry((place.kind, &*place.name)).or_default();
            keys.push(format!("{CONTENTS}{}", place.file));
        }
    }
    for change in changes.iter_mut() {
        let name = change.name.as_deref().unwrap_or_default();
        change
            .keys
            .extend(changed.remove(&(change.kind, name)).unwrap_or_default());
    }
    let other = |((kind, name), keys): ((TableKind, &str), Vec<String>)| Change {
        change: Edit::Changed,
        kind,
        name: Some(name.to_owned()),
        upstream: None,
        keys,
    };
    let others: Vec<Change> = changed.into_iter().map(other).collect();
    changes.extend(others);
}

/// Adds the servers of upstreams that both configurations have. The key `servers` says nothing
/// beside them, unless the same servers stand in another order.
fn servers(changes: &mut Vec<Change>, old: &Outline, new: &Outline) {
    let name = |change: &Change| change.name.clone().unwrap_or_default();
    let whole: BTreeSet<String> = changes
        .iter()
        .filter(|change| change.kind == TableKind::Upstream && change.change != Edit::Changed)
        .map(name)
        .collect();
    let mut resized = BTreeSet::new();
    for ((upstream, address), change, keys) in tables::compare(&old.servers, &new.servers) {
        if whole.contains(&**upstream) {
            continue;
        }
        if change != Edit::Changed {
            resized.insert(upstream.to_string());
        }
        changes.push(Change {
            change,
            kind: TableKind::Server,
            name: Some(address.to_string()),
            upstream: Some(upstream.to_string()),
            keys,
        });
    }
    for change in changes.iter_mut() {
        if change.kind == TableKind::Upstream && resized.contains(&name(change)) {
            change.keys.retain(|key| key != "servers");
        }
    }
    changes.retain(|change| change.change != Edit::Changed || !change.keys.is_empty());
}

#[cfg(test)]
mod tests;
