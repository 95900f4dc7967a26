//! The rules of each name. However many names there are, they are three pieces of memory: a
//! configuration may have a million, and a box for each name and a set of sources for each rule
//! would be most of what a route takes.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::addr::Cidr;
use crate::name::Alpn;
use crate::route::sources::Sources;
use crate::route::{LookupKey, Rule};

/// Rules by name.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    /// The names, one behind the other.
    text: String,
    /// The hash of the name that has a place, or [`FREE`]. A name has a place in the group that its
    /// hash stands for, or, if that is full, in the next one. What a look-up passes over is only
    /// here.
    hashes: Vec<HashGroup>,
    /// The entries, each in its place.
    entries: Vec<NameEntry>,
    len: usize,
    /// Of the names that have more than one rule, or one with sources or protocols.
    several: Vec<Sources>,
    /// Has a key of its own: a client chooses the names that are looked up.
    hasher: RandomState,
}

/// As many hashes as a line of the processor's cache has, which are compared at once. They are
/// filled in order.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct HashGroup([u32; GROUP]);

const GROUP: usize = 16;

/// A name, and what there is for it.
#[derive(Clone, Copy, Debug, Default)]
struct NameEntry {
    /// The position at which the name begins in the text.
    at: u32,
    /// A place in `several`, or the number of the rule that takes everybody.
    number: u32,
    len: u8,
    is_several: bool,
}

/// The rules for a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum FoundNames<'a> {
    /// One rule, which takes everybody.
    One(u32),
    /// By source and protocol.
    Several(&'a Sources),
}

/// No name has this hash.
const FREE: u32 = 0;

impl NameIndex {
    /// Without names, and with room for as many.
    pub(super) fn with_room(names: usize) -> Self {
        let (hashes, entries) = free(groups(names));
        Self {
            hashes,
            entries,
            ..Self::default()
        }
    }

    /// Adds the rule with this number under `name`, and reports each place that another rule has
    /// already.
    pub(super) fn insert<T>(
        &mut self,
        name: &str,
        rule: &Rule<T>,
        number: usize,
        overlap: impl FnMut(usize, Option<Cidr>, Option<&Alpn>),
    ) {
        let hash = self.hash(name);
        let takes_everybody = rule.from.is_empty() && rule.alpn.is_empty();
        let place = match self.find(name, hash) {
            Some(place) => place,
            None => {
                let entry = NameEntry {
                    at: index(self.text.len()),
                    number: index(number),
                    len: length(name),
                    ..NameEntry::default()
                };
                self.text.push_str(name);
                let place = self.add(hash, entry);
                if takes_everybody {
                    return;
                }
                self.spread(place, Sources::default());
                place
            }
        };
        let NameEntry {
            number: first,
            is_several,
            ..
        } = self.entries[place];
        if !is_several {
            self.spread(place, Sources::everybody(first));
        }
        self.several[self.entries[place].number as usize].insert(rule, number, overlap);
    }

    /// Gives back what room is left.
    pub(super) fn shrink(&mut self) {
        if self.hashes.len() > groups(self.len) {
            self.resize(groups(self.len));
        }
        self.text.shrink_to_fit();
        self.several.shrink_to_fit();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn get(&self, name: &str) -> Option<FoundNames<'_>> {
        if self.len == 0 {
            return None;
        }
        self.find(name, self.hash(name))
            .map(|place| self.found(self.entries[place]))
    }

    /// Every name, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let hashes = self.hashes.iter().flat_map(|group| group.0);
        hashes
            .zip(&self.entries)
            .filter(|(hash, _)| *hash != FREE)
            .map(|(_, entry)| self.name(*entry))
    }

    fn found(&self, entry: NameEntry) -> FoundNames<'_> {
        if entry.is_several {
            FoundNames::Several(&self.several[entry.number as usize])
        } else {
            FoundNames::One(entry.number)
        }
    }

    fn name(&self, entry: NameEntry) -> &str {
        &self.text[entry.at as usize..][..entry.len.into()]
    }

    fn hash(&self, name: &str) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.as_bytes());
        // One of them is as good as two that are both free.
        ((hasher.finish() >> 32) as u32).max(FREE + 1)
    }

    fn find(&self, name: &str, hash: u32) -> Option<usize> {
        if self.hashes.is_empty() {
            return None;
        }
        let mut at = self.group(hash);
        loop {
            let group = &self.hashes[at];
            let mut same = group.same(hash);
            while same != 0 {
                let place = at * GROUP + same.trailing_zeros() as usize;
                if self.is_at(place, name) {
                    return Some(place);
                }
                same &= same - 1;
            }
            if !group.is_full() {
                return None;
            }
            at = self.behind(at);
        }
    }

    fn is_at(&self, place: usize, name: &str) -> bool {
        let entry = self.entries[place];
        usize::from(entry.len) == name.len()
            && self.text.as_bytes()[entry.at as usize..][..name.len()] == *name.as_bytes()
    }

    /// The group that a hash stands for.
    fn group(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.hashes.len() as u64) >> u32::BITS) as usize
    }

    fn behind(&self, group: usize) -> usize {
        if group + 1 == self.hashes.len() {
            0
        } else {
            group + 1
        }
    }

    /// Adds a name that is not there, and returns its place.
    fn add(&mut self, hash: u32, entry: NameEntry) -> usize {
        self.len += 1;
        if groups(self.len) > self.hashes.len() {
            self.resize(groups(self.len * 2));
        }
        self.put(hash, entry)
    }

    fn put(&mut self, hash: u32, entry: NameEntry) -> usize {
        let mut at = self.group(hash);
        loop {
            if let Some(slot) = self.hashes[at].0.iter().position(|there| *there == FREE) {
                self.hashes[at].0[slot] = hash;
                self.entries[at * GROUP + slot] = entry;
                return at * GROUP + slot;
            }
            at = self.behind(at);
        }
    }

    fn resize(&mut self, groups: usize) {
        let (hashes, entries) = free(groups);
        let hashes = std::mem::replace(&mut self.hashes, hashes)
            .into_iter()
            .flat_map(|group| group.0);
        let entries = std::mem::replace(&mut self.entries, entries);
        for (hash, entry) in hashes.zip(entries).filter(|(hash, _)| *hash != FREE) {
            self.put(hash, entry);
        }
    }

    /// Puts what there is for the name in this place aside, where there is room for more.
    fn spread(&mut self, place: usize, sources: Sources) {
        let entry = &mut self.entries[place];
        (entry.number, entry.is_several) = (index(self.several.len()), true);
        self.several.push(sources);
    }
}

impl<'a> FoundNames<'a> {
    /// The rule with the longest range, and then with the protocol that the client prefers.
    pub(super) fn most_specific(self, key: &LookupKey<'_>) -> Option<u32> {
        match self {
            Self::One(rule) => Some(rule),
            Self::Several(sources) => sources.most_specific(key),
        }
    }

    /// Every place and the rule that has it, in no order.
    pub(super) fn claims(self) -> impl Iterator<Item = (Option<Cidr>, Option<&'a Alpn>, u32)> {
        let (one, several) = match self {
            Self::One(rule) => (Some((None, None, rule)), None),
            Self::Several(sources) => (None, Some(sources)),
        };
        one.into_iter()
            .chain(several.into_iter().flat_map(Sources::claims))
    }
}

impl HashGroup {
    /// The hashes that are this one: a bit for each.
    fn same(&self, hash: u32) -> u32 {
        self.0.iter().enumerate().fold(0, |same, (slot, there)| {
            same | u32::from(*there == hash) << slot
        })
    }

    fn is_full(&self) -> bool {
        self.0[GROUP - 1] != FREE
    }
}

/// As many groups as so many names need: a third of the places stays free, so that few groups are
/// full.
fn groups(names: usize) -> usize {
    if names == 0 {
        0
    } else {
        (names + names / 2) / GROUP + 1
    }
}

fn free(groups: usize) -> (Vec<HashGroup>, Vec<NameEntry>) {
    (
        vec![HashGroup([FREE; GROUP]); groups],
        vec![NameEntry::default(); groups * GROUP],
    )
}

fn index(number: usize) -> u32 {
    u32::try_from(number)
        .expect("a configuration whose names have four gigabytes does not fit in memory")
}

fn length(name: &str) -> u8 {
    u8::try_from(name.len()).expect("a server name has 253 bytes at most")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn rule(from: &[&str]) -> Rule<()> {
        let from = from.iter().map(|range| range.parse().unwrap()).collect();
        Rule {
            names: Vec::new(),
            from,
            alpn: Vec::new(),
            strict_sni: true,
            target: (),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map_however_much_room_there_was(
            inserted in prop::collection::vec((0..400_u32, any::<bool>()), 0..600),
            room in prop_oneof![Just(0), 0..900_usize],
        ) {
            let mut names = NameIndex::with_room(room);
            let mut expected: BTreeMap<String, Vec<(Option<Cidr>, u32)>> = BTreeMap::new();
            for (number, (name, is_everybody)) in inserted.into_iter().enumerate() {
                let name = format!("{}.example", "a".repeat(1 + name as usize % 60) + &name.to_string());
                let rule = if is_everybody { rule(&[]) } else { rule(&["10.0.0.0/8"]) };
                let mut overlaps = Vec::new();
                names.insert(&name, &rule, number, |first, from, alpn| overlaps.push((first, from, alpn.cloned())));
                let rules = expected.entry(name).or_default();
                let from = rule.from.first().copied();
                match rules.iter().find(|(other, _)| *other == from) {
                    Some((_, first)) => prop_assert_eq!(overlaps, [(*first as usize, from, None)]),
                    None => {
                        prop_assert_eq!(overlaps, []);
                        rules.push((from, number as u32));
                    }
                }
            }
            names.shrink();
            prop_assert_eq!(names.is_empty(), expected.is_empty());
            let mut listed: Vec<&str> = names.iter().collect();
            listed.sort_unstable();
            prop_assert!(listed.into_iter().eq(expected.keys()));
            for (name, rules) in &mut expected {
                let claims = names.get(name).unwrap().claims().map(|(from, _, rule)| (from, rule));
                let mut claims: Vec<_> = claims.collect();
                claims.sort_unstable();
                rules.sort_unstable();
                prop_assert_eq!(&claims, rules, "{}", name);
            }
            for absent in ["a", "a0.exampl", "a400.example", ""] {
                prop_assert!(names.get(absent).is_none(), "{absent}");
            }
        }
    }

    #[test]
    fn a_name_with_one_rule_for_everybody_takes_no_memory_of_its_own() {
        let mut names = NameIndex::default();
        for number in 0..1000 {
            names.insert(
                &format!("n{number}.example"),
                &rule(&[]),
                number,
                |_, _, _| (),
            );
        }
        names.shrink();
        assert_eq!(
            (names.several.len(), names.entries.len()),
            (0, groups(1000) * GROUP)
        );
        assert_eq!(size_of::<NameEntry>() + size_of::<u32>(), 16);
    }
}
