//! The things of one kind, in little memory: of each its name, and of each key a hash of its value
//! where that is not the usual one.
//!
//! Of 100,000 routes nearly all have most of their values in common.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::config::diff::Edit;

/// Things of one kind in the order of their names, each with its keys.
#[derive(Debug)]
pub(super) struct TableOutlines<N> {
    keys: Vec<KeyOutline>,
    items: Vec<TableOutline<N>>,
    /// The values that are not the usual ones, with the positions of their keys.
    unusual: Vec<Unusual>,
}

#[derive(Debug)]
struct KeyOutline {
    /// With dots between its parts.
    path: Box<str>,
    /// The value that the first thing with this key has.
    usual: ValueHash,
}

#[derive(Debug)]
struct TableOutline<N> {
    name: N,
    /// How many keys there were when it came: it has none of the later ones.
    known: u16,
    /// Where its values end, which begin where those of the one before it end.
    end: u32,
}

/// Four bytes less than a position and a [`ValueHash`] side by side.
#[derive(Debug)]
struct Unusual {
    key: u16,
    value: [u16; 4],
}

/// What of a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValueHash(u64);

impl ValueHash {
    const ABSENT: Self = Self(0);
    const INHERITED: u64 = 1;
    const PRESENT: u64 = 2;

    /// A value by its hash.
    pub(super) fn new(hash: u64) -> Self {
        Self(hash & !Self::INHERITED | Self::PRESENT)
    }

    /// The same, of a thing that has the value of another one where the file says nothing else.
    /// Where that one changes it, this is no change of its own.
    pub(super) fn inherited_if(self, is_inherited: bool) -> Self {
        Self(self.0 | if is_inherited { Self::INHERITED } else { 0 })
    }

    fn is_absent(self) -> bool {
        self == Self::ABSENT
    }

    fn differs(self, other: Self) -> bool {
        let is_own = |value: Self| !value.is_absent() && value.0 & Self::INHERITED == 0;
        (self.0 ^ other.0) & !Self::INHERITED != 0 && (is_own(self) || is_own(other))
    }

    fn packed(self) -> [u16; 4] {
        [0, 16, 32, 48].map(|shift| (self.0 >> shift) as u16)
    }

    fn unpacked(parts: [u16; 4]) -> Self {
        let whole = parts
            .iter()
            .rev()
            .fold(0, |whole, part| whole << 16 | u64::from(*part));
        Self(whole)
    }
}

impl<N> Default for TableOutlines<N> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            items: Vec::new(),
            unusual: Vec::new(),
        }
    }
}

/// The values of one thing while they are written down.
pub(super) struct KeyWriter<'a> {
    keys: &'a mut Vec<KeyOutline>,
    values: &'a mut Vec<ValueHash>,
    /// Where the next key probably is: things of a kind have their keys in the same order.
    next: usize,
}

impl KeyWriter<'_> {
    pub(super) fn put(&mut self, path: &str, value: ValueHash) {
        let is_it = |key: &KeyOutline| &*key.path == path;
        let at = match self.keys.get(self.next) {
            Some(key) if is_it(key) => self.next,
            _ => match self.keys.iter().position(is_it) {
                Some(at) => at,
                None => {
                    self.keys.push(KeyOutline {
                        path: path.into(),
                        usual: value,
                    });
                    self.values.push(ValueHash::ABSENT);
                    self.keys.len() - 1
                }
            },
        };
        self.values[at] = value;
        self.next = at + 1;
    }
}

impl<N> TableOutlines<N> {
    /// Of `items` in the order of their names; `keys` writes down the values of each.
    pub(super) fn of<T>(
        items: impl Iterator<Item = (N, T)>,
        mut keys: impl FnMut(&N, T, &mut KeyWriter<'_>),
    ) -> Self {
        let (mut outlines, mut values) = (Self::default(), Vec::new());
        for (name, item) in items {
            values.clear();
            values.resize(outlines.keys.len(), ValueHash::ABSENT);
            let mut row = KeyWriter {
                keys: &mut outlines.keys,
                values: &mut values,
                next: 0,
            };
            keys(&name, item, &mut row);
            for (at, (key, value)) in outlines.keys.iter().zip(&values).enumerate() {
                if key.usual != *value {
                    outlines.unusual.push(Unusual {
                        key: at as u16,
                        value: value.packed(),
                    });
                }
            }
            outlines.items.push(TableOutline {
                name,
                known: outlines.keys.len() as u16,
                end: outlines.unusual.len() as u32,
            });
        }
        outlines.items.shrink_to_fit();
        outlines.unusual.shrink_to_fit();
        outlines
    }

    /// The values of the thing at `at`, by the positions of their keys; none of those that are not
    /// among them.
    fn values(&self, at: usize, values: &mut Vec<ValueHash>) {
        let item = &self.items[at];
        let begin = at.checked_sub(1).map_or(0, |at| self.items[at].end);
        values.clear();
        values.extend(
            self.keys[..usize::from(item.known)]
                .iter()
                .map(|key| key.usual),
        );
        for Unusual { key, value } in &self.unusual[begin as usize..item.end as usize] {
            values[usize::from(*key)] = ValueHash::unpacked(*value);
        }
    }
}

/// What becomes of the things of a kind, by name, and which keys of those change that stay.
pub(super) fn compare<'a, N: Ord>(
    old: &'a TableOutlines<N>,
    new: &'a TableOutlines<N>,
) -> Vec<(&'a N, Edit, Vec<String>)> {
    let (mut found, keys) = (Vec::new(), paired(&old.keys, &new.keys));
    let (mut before, mut now) = (Vec::new(), Vec::new());
    let (mut left, mut right) = (0, 0);
    loop {
        let order = match (old.items.get(left), new.items.get(right)) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.name.cmp(&new.name),
        };
        match order {
            Ordering::Less => found.push((&old.items[left].name, Edit::Removed, Vec::new())),
            Ordering::Greater => found.push((&new.items[right].name, Edit::Added, Vec::new())),
            Ordering::Equal => {
                old.values(left, &mut before);
                new.values(right, &mut now);
                let changed = changed(&keys, &before, &now);
                if !changed.is_empty() {
                    found.push((&new.items[right].name, Edit::Changed, changed));
                }
            }
        }
        left += usize::from(order.is_le());
        right += usize::from(order.is_ge());
    }
}

/// A key, and where it stands in the old outlines and in the new ones.
type Paired<'a> = (&'a str, Option<usize>, Option<usize>);

fn paired<'a>(old: &'a [KeyOutline], new: &'a [KeyOutline]) -> Vec<Paired<'a>> {
    let position = |keys: &[KeyOutline], path: &str| keys.iter().position(|key| &*key.path == path);
    let paths: BTreeSet<&str> = old.iter().chain(new).map(|key| &*key.path).collect();
    paths
        .into_iter()
        .map(|path| (path, position(old, path), position(new, path)))
        .collect()
}

/// The keys whose values differ. Of a table that is there or gone as a whole it is its own key.
fn changed(keys: &[Paired<'_>], old: &[ValueHash], new: &[ValueHash]) -> Vec<String> {
    let get = |values: &[ValueHash], at: Option<usize>| {
        at.and_then(|at| values.get(at).copied())
            .unwrap_or(ValueHash::ABSENT)
    };
    let values = |(_, left, right): &Paired<'_>| (get(old, *left), get(new, *right));
    let mut changed = BTreeSet::new();
    for pair in keys {
        let (before, now) = values(pair);
        if !before.differs(now) {
            continue;
        }
        let is_there = |pair: &Paired<'_>| match before.is_absent() {
            true => !values(pair).0.is_absent(),
            false => !values(pair).1.is_absent(),
        };
        let is_one_sided = before.is_absent() || now.is_absent();
        let is_whole = |table: &str| {
            let within = |path: &str| {
                path.strip_prefix(table)
                    .is_some_and(|rest| rest.starts_with('.'))
            };
            !keys.iter().any(|pair| within(pair.0) && is_there(pair))
        };
        let tables = pair.0.match_indices('.').map(|(end, _)| &pair.0[..end]);
        let table = tables
            .filter(|_| is_one_sided)
            .find(|table| is_whole(table));
        changed.insert(table.unwrap_or(pair.0).to_owned());
    }
    changed.into_iter().collect()
}

#[cfg(test)]
impl<N> TableOutlines<N> {
    /// The paths of its keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| &*key.path)
    }

    /// How many bytes each thing takes on average, what its name points to aside.
    pub(super) fn size_of_each(&self) -> usize {
        let items = self.items.capacity() * size_of::<TableOutline<N>>();
        let unusual = self.unusual.capacity() * size_of::<Unusual>();
        (items + unusual) / self.items.len().max(1)
    }
}
