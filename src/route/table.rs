//! The table: a few hash look-ups per client, however many routes there are.
//!
//! A name is looked up whole, then without its first label, then, where there are rules for every
//! name below a suffix, by each of its suffixes that is no longer than the longest of theirs, then
//! as `*`. Under each name the sources are grouped by the length of their prefix, so that a
//! client's address is looked up once per length in use, not once per range.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::addr::Cidr;
use crate::name::{Alpn, AlpnList, NamePattern, ServerName};
use crate::route::named::NamedProtocols;
use crate::route::names::{FoundNames, NameIndex};
use crate::route::sources::Sources;
use crate::route::{LookupKey, Rule};

/// An immutable index over rules.
#[derive(Clone, Debug)]
pub struct Table<T> {
    targets: Vec<T>,
    index: Arc<Index>,
}

#[derive(Debug, Default)]
struct Index {
    exact: NameIndex,
    wildcard: NameIndex,
    below: NameIndex,
    /// How many labels the longest suffix in `below` has: a client decides how many its name has.
    longest_below: usize,
    any: Sources,
    /// Rules that take clients without a name and name `*`: the most specific one wins.
    nameless_any: Sources,
    /// Other rules that take clients without a name: only a client that just one of them takes is
    /// served.
    nameless: Sources,
    nameless_rivals: Option<(usize, usize)>,
    /// The protocols that any rule is for.
    named: NamedProtocols,
}

/// Two rules that take the same clients with the same right. The numbers are their places in the
/// list given to `build`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Overlap {
    /// The rule that came first.
    pub first: usize,
    /// The rule that claims the same clients again.
    pub second: usize,
    /// The name that both list.
    pub name: NamePattern,
    /// The range that both list, where they have any.
    pub from: Option<Cidr>,
    /// The protocol that both list, where they have any.
    pub alpn: Option<Alpn>,
}

/// A name as a table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    /// One name.
    Exact(&'a str),
    /// Every name with one label before this suffix.
    Wildcard(&'a str),
    /// Every name with one label or more before this suffix.
    Below(&'a str),
    /// Every name.
    Any,
    /// No name at all.
    Nameless,
}

/// The conditions, beside its name, on which a rule takes a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a, T> {
    /// It comes from here, if this is said.
    pub from: Option<Cidr>,
    /// It offers this protocol, if one is said.
    pub alpn: Option<&'a Alpn>,
    /// The target of the rule.
    pub target: &'a T,
}

impl<T> Table<T> {
    /// Builds the table of `rules`, and reports every pair that no client could tell apart.
    ///
    /// A table that has overlaps decides them by the order of the rules and must not be used to
    /// serve.
    #[must_use]
    pub fn build(rules: impl IntoIterator<Item = Rule<T>>) -> (Self, Vec<Overlap>) {
        let rules = rules.into_iter();
        // Most have one name.
        let (most, _) = rules.size_hint();
        let mut targets = Vec::with_capacity(most);
        let mut index = Index {
            exact: NameIndex::with_room(most),
            ..Index::default()
        };
        let mut overlaps = Vec::new();
        let mut nameless = Vec::new();
        let mut named = BTreeSet::new();
        for (number, rule) in rules.enumerate() {
            for protocol in &rule.alpn {
                if !named.contains(protocol) {
                    named.insert(protocol.clone());
                }
            }
            for name in &rule.names {
                let overlap = |first, from, alpn: Option<&Alpn>| {
                    overlaps.push(Overlap {
                        first,
                        second: number,
                        name: name.clone(),
                        from,
                        alpn: alpn.cloned(),
                    });
                };
                match name {
                    NamePattern::Exact(exact) => {
                        index.exact.insert(exact.as_str(), &rule, number, overlap)
                    }
                    NamePattern::Wildcard(suffix) => {
                        index
                            .wildcard
                            .insert(suffix.as_str(), &rule, number, overlap)
                    }
                    NamePattern::Below(suffix) => {
                        index.longest_below = index.longest_below.max(suffix.labels());
                        index.below.insert(suffix.as_str(), &rule, number, overlap);
                    }
                    NamePattern::Any => index.any.insert(&rule, number, overlap),
                }
            }
            if !rule.strict_sni {
                // Of two rules that both name `*`, the overlap has been reported above.
                let sources = if rule.takes_any_name() {
                    &mut index.nameless_any
                } else {
                    &mut index.nameless
                };
                sources.insert(&rule, number, |_, _, _| ());
                if !rule.takes_any_name() {
                    nameless.push((number, rule.from));
                }
            }
            targets.push(rule.target);
        }
        [&mut index.exact, &mut index.wildcard, &mut index.below]
            .into_iter()
            .for_each(NameIndex::shrink);
        targets.shrink_to_fit();
        index.named = NamedProtocols::new(named);
        index.nameless_rivals = if index.nameless_any.takes_everybody() {
            None
        } else {
            rivals(&nameless)
        };
        (
            Self {
                targets,
                index: Arc::new(index),
            },
            overlaps,
        )
    }

    /// Of the protocols that a client offers, those that some rule is for, in the client's order
    /// and each once: no others count for [`lookup`](Self::lookup). A client may offer tens of
    /// thousands, and they are gone through once.
    #[must_use]
    pub fn relevant(&self, offered: &AlpnList) -> Vec<Alpn> {
        self.index.named.among(offered)
    }

    /// The target of the rule that takes this client, if there is one. The work grows with the
    /// protocols in `key`.
    ///
    /// A client without a name is taken by a rule that is not strict: by the most specific that
    /// names `*`, or else by the only one that takes it. Where several would, none does.
    #[must_use]
    pub fn lookup(&self, key: &LookupKey<'_>) -> Option<&T> {
        let rule = match key.name {
            Some(name) => self.index.by_name(name, key),
            None => self
                .index
                .nameless_any
                .most_specific(key)
                .or_else(|| self.index.nameless.only(key)),
        };
        self.targets.get(rule? as usize)
    }

    /// The same table with other targets. The index is shared, so this costs no more than the new
    /// targets.
    #[must_use]
    pub fn map<U>(&self, target: impl FnMut(&T) -> U) -> Table<U> {
        Table {
            targets: self.targets.iter().map(target).collect(),
            index: Arc::clone(&self.index),
        }
    }

    /// Every name that a rule lists, in no order.
    pub fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        let exact = self.index.exact.iter().map(Listed::Exact);
        let wildcard = self.index.wildcard.iter().map(Listed::Wildcard);
        let below = self.index.below.iter().map(Listed::Below);
        exact
            .chain(wildcard)
            .chain(below)
            .chain((!self.index.any.is_empty()).then_some(Listed::Any))
    }

    /// The clients that a rule takes which lists `name` itself, in no order; empty if there is no
    /// such rule.
    pub fn claims<'a>(&'a self, name: Listed<'_>) -> impl Iterator<Item = Claim<'a, T>> {
        let Index {
            exact,
            wildcard,
            any,
            nameless_any,
            nameless,
            nameless_rivals: _,
            named: _,
            below,
            longest_below: _,
        } = &*self.index;
        let (found, more) = match name {
            Listed::Exact(name) => (exact.get(name), None),
            Listed::Wildcard(suffix) => (wildcard.get(suffix), None),
            Listed::Below(suffix) => (below.get(suffix), None),
            Listed::Any => (Some(FoundNames::Several(any)), None),
            Listed::Nameless => (
                Some(FoundNames::Several(nameless_any)),
                Some(FoundNames::Several(nameless)),
            ),
        };
        let claims = found.into_iter().chain(more).flat_map(FoundNames::claims);
        claims.filter_map(|(from, alpn, rule)| {
            Some(Claim {
                from,
                alpn,
                target: self.targets.get(rule as usize)?,
            })
        })
    }

    /// Two rules that would both take some client without a name, so that none of them does.
    #[must_use]
    pub fn nameless_rivals(&self) -> Option<(usize, usize)> {
        self.index.nameless_rivals
    }
}

impl Index {
    fn by_name(&self, name: &ServerName, key: &LookupKey<'_>) -> Option<u32> {
        let exact = self
            .exact
            .get(name.as_str())
            .and_then(|found| found.most_specific(key));
        exact
            .or_else(|| {
                self.wildcard
                    .get(name.parent()?)
                    .and_then(|found| found.most_specific(key))
            })
            .or_else(|| self.below(name, key))
            .or_else(|| self.any.most_specific(key))
    }

    /// By the longest suffix under which there is a rule that takes the client.
    fn below(&self, name: &ServerName, key: &LookupKey<'_>) -> Option<u32> {
        if self.below.is_empty() {
            return None;
        }
        let suffixes = std::iter::successors(name.parent(), |suffix| {
            suffix.split_once('.').map(|(_, rest)| rest)
        });
        let too_long = (name.labels() - 1).saturating_sub(self.longest_below);
        suffixes
            .skip(too_long)
            .find_map(|suffix| self.below.get(suffix)?.most_specific(key))
    }
}

/// The first two of `rules` whose sources have an address in common.
fn rivals(rules: &[(usize, Vec<Cidr>)]) -> Option<(usize, usize)> {
    let everywhere = rules.iter().find(|(_, from)| from.is_empty());
    if let Some((first, _)) = everywhere {
        let second = rules.iter().find(|(index, _)| index != first)?.0;
        return Some(((*first).min(second), (*first).max(second)));
    }
    let mut ranges: Vec<(Cidr, usize)> = rules
        .iter()
        .flat_map(|(index, from)| from.iter().map(|range| (*range, *index)))
        .collect();
    // In this order a range follows directly behind the ranges that contain it.
    ranges.sort_unstable_by_key(|(range, index)| (range.network(), range.prefix_len(), *index));
    let mut enclosing: Vec<(Cidr, usize)> = Vec::new();
    for (range, index) in ranges {
        enclosing.retain(|(outer, _)| outer.contains(range.network()));
        if let Some((_, other)) = enclosing.iter().find(|(_, other)| *other != index) {
            return Some(((*other).min(index), (*other).max(index)));
        }
        enclosing.push((range, index));
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::name::SniPattern;

    fn rule(
        names: &[&str],
        from: &[&str],
        alpn: &[&str],
        strict_sni: bool,
        target: &'static str,
    ) -> Rule<&'static str> {
        Rule {
            names: names
                .iter()
                .map(|n| n.parse::<SniPattern>().unwrap().0)
                .collect(),
            from: from.iter().map(|n| n.parse().unwrap()).collect(),
            alpn: alpn.iter().map(|n| n.parse().unwrap()).collect(),
            strict_sni,
            target,
        }
    }

    fn lookup<T: Copy>(
        table: &Table<T>,
        name: Option<&str>,
        client: &str,
        alpn: &[&str],
    ) -> Option<T> {
        let name = name.map(|n| n.parse().unwrap());
        let alpn: Vec<Alpn> = alpn.iter().map(|n| n.parse().unwrap()).collect();
        table
            .lookup(&LookupKey {
                name: name.as_ref(),
                client: Some(client.parse().unwrap()),
                alpn: &alpn,
            })
            .copied()
    }

    #[test]
    fn the_most_specific_route_takes_the_client() {
        let (table, overlaps) = Table::build([
            rule(&["*"], &[], &[], true, "any"),
            rule(&["*.example.net"], &[], &[], true, "wildcard"),
            rule(&["a.example.net"], &[], &[], true, "exact"),
            rule(
                &["a.example.net"],
                &["10.0.0.0/8"],
                &[],
                true,
                "exact from /8",
            ),
            rule(
                &["a.example.net"],
                &["10.1.0.0/16"],
                &["h2"],
                true,
                "exact from /16 h2",
            ),
            rule(&["a.example.net"], &[], &["acme-tls/1"], true, "exact acme"),
            rule(&["b.example.net"], &["10.0.0.0/8"], &[], true, "b from"),
        ]);
        assert_eq!(overlaps, []);
        for (name, client, alpn, expected) in [
            ("other.example", "192.0.2.1", &[][..], "any"),
            ("x.example.net", "192.0.2.1", &[], "wildcard"),
            ("x.y.example.net", "192.0.2.1", &[], "any"),
            ("A.Example.Net.", "192.0.2.1", &[], "exact"),
            (
                "a.example.net",
                "10.2.0.1",
                &["acme-tls/1"],
                "exact from /8",
            ),
            ("a.example.net", "10.1.0.1", &[], "exact from /8"),
            (
                "a.example.net",
                "10.1.0.1",
                &["http/1.1", "h2"],
                "exact from /16 h2",
            ),
            ("a.example.net", "192.0.2.1", &["acme-tls/1"], "exact acme"),
            ("b.example.net", "10.2.0.1", &[], "b from"),
            ("b.example.net", "192.0.2.1", &[], "wildcard"),
            ("b.example.net", "2001:db8::1", &[], "wildcard"),
        ] {
            assert_eq!(
                lookup(&table, Some(name), client, alpn),
                Some(expected),
                "{name} {client} {alpn:?}"
            );
        }
        assert_eq!(lookup(&table, None, "192.0.2.1", &[]), None);
    }

    #[test]
    fn a_route_for_every_name_below_a_suffix_takes_what_no_closer_one_does() {
        let (table, overlaps) = Table::build([
            rule(&["*"], &[], &[], true, "any"),
            rule(&["**.example.net"], &[], &[], true, "example.net"),
            rule(&["**.apps.example.net"], &[], &[], true, "apps"),
            rule(&["*.apps.example.net"], &[], &[], true, "one label"),
            rule(
                &["a.b.apps.example.net"],
                &["10.0.0.0/8"],
                &[],
                true,
                "exact",
            ),
        ]);
        assert_eq!(overlaps, []);
        let deep = format!("{}apps.example.net", "a.".repeat(118));
        for (name, expected) in [
            ("example.net", "any"),
            ("www.example.net", "example.net"),
            ("apps.example.net", "example.net"),
            ("a.apps.example.net", "one label"),
            ("mail.b.apps.example.net", "apps"),
            ("a.b.apps.example.net", "apps"),
            (&deep, "apps"),
            ("net", "any"),
        ] {
            assert_eq!(
                lookup(&table, Some(name), "192.0.2.1", &[]),
                Some(expected),
                "{name}"
            );
        }
        assert_eq!(
            lookup(&table, Some("a.b.apps.example.net"), "10.0.0.1", &[]),
            Some("exact")
        );
        let tied = Table::build([
            rule(&["**.a.b"], &[], &[], true, "1"),
            rule(&["**.A.b"], &[], &[], true, "2"),
        ])
        .1;
        assert_eq!(tied.len(), 1);
    }

    #[test]
    fn of_two_protocol_routes_the_one_that_the_client_prefers_takes_it() {
        let (table, overlaps) = Table::build([
            rule(&["a.example"], &[], &["h2"], true, "h2"),
            rule(&["a.example"], &[], &["x", "y"], true, "xy"),
        ]);
        assert_eq!(overlaps, []);
        assert_eq!(
            lookup(&table, Some("a.example"), "::1", &["y", "h2"]),
            Some("xy")
        );
        assert_eq!(
            lookup(&table, Some("a.example"), "::1", &["h2", "y"]),
            Some("h2")
        );
        assert_eq!(lookup(&table, Some("a.example"), "::1", &["z"]), None);
    }

    #[test]
    fn two_routes_that_no_client_could_tell_apart_are_reported() {
        let tie = |a, b| !Table::build([a, b]).1.is_empty();
        assert!(tie(
            rule(&["a.example"], &[], &[], true, "1"),
            rule(&["b.example", "A.example."], &[], &[], true, "2")
        ));
        assert!(tie(
            rule(&["*"], &[], &[], false, "1"),
            rule(&["*"], &[], &[], true, "2")
        ));
        assert!(tie(
            rule(&["a.b"], &["10.0.0.0/8"], &[], true, "1"),
            rule(&["a.b"], &["10.0.0.1/8", "::/0"], &[], true, "2")
        ));
        assert!(tie(
            rule(&["a.b"], &[], &["h2"], true, "1"),
            rule(&["a.b"], &[], &["http/1.1", "h2"], true, "2")
        ));
        assert!(!tie(
            rule(&["a.b"], &["10.0.0.0/8"], &[], true, "1"),
            rule(&["a.b"], &["10.0.0.0/9"], &[], true, "2")
        ));
        assert!(!tie(
            rule(&["a.b"], &[], &["h2"], true, "1"),
            rule(&["a.b"], &[], &[], true, "2")
        ));
        assert!(!tie(
            rule(&["*.b.c"], &[], &[], true, "1"),
            rule(&["a.b.c"], &[], &[], true, "2")
        ));
        let (_, none) = Table::build([rule(
            &["a.b", "A.B"],
            &["10.0.0.0/8", "10.0.0.0/8"],
            &["h2", "h2"],
            true,
            "1",
        )]);
        assert_eq!(none, [], "a route does not tie with itself");
    }

    #[test]
    fn a_client_without_a_name_needs_one_route_that_is_not_strict() {
        let one = Table::build([
            rule(&["a.b"], &[], &[], false, "a"),
            rule(&["c.d"], &[], &[], true, "c"),
        ])
        .0;
        assert_eq!(lookup(&one, None, "::1", &[]), Some("a"));
        assert_eq!(one.nameless_rivals(), None);

        let two = Table::build([
            rule(&["a.b"], &[], &[], false, "a"),
            rule(&["c.d"], &[], &[], false, "c"),
        ])
        .0;
        assert_eq!(lookup(&two, None, "::1", &[]), None);
        assert_eq!(two.nameless_rivals(), Some((0, 1)));

        let any = [
            rule(&["a.b"], &[], &[], false, "a"),
            rule(&["*"], &[], &[], false, "any"),
        ];
        let any = Table::build(any).0;
        assert_eq!(lookup(&any, None, "::1", &[]), Some("any"));
        assert_eq!(any.nameless_rivals(), None);

        let sources = Table::build([
            rule(&["a.b"], &["10.0.0.0/8"], &[], false, "a"),
            rule(&["c.d"], &["10.1.0.0/16", "192.0.2.0/24"], &[], false, "c"),
        ])
        .0;
        assert_eq!(lookup(&sources, None, "10.2.0.1", &[]), Some("a"));
        assert_eq!(lookup(&sources, None, "192.0.2.1", &[]), Some("c"));
        assert_eq!(
            lookup(&sources, None, "10.1.0.1", &[]),
            None,
            "both would take it"
        );
        assert_eq!(sources.nameless_rivals(), Some((0, 1)));
    }

    /// The meaning of the table, by reading every rule.
    fn naive<'a, T>(rules: &'a [Rule<T>], key: &LookupKey<'_>) -> Option<&'a T> {
        let matching = || {
            rules
                .iter()
                .filter_map(|rule| rule.judge(key).ok().map(|specificity| (specificity, rule)))
        };
        let best = match key.name {
            Some(_) => matching().max_by_key(|(specificity, _)| *specificity),
            None => {
                match matching()
                    .filter(|(_, rule)| rule.takes_any_name())
                    .max_by_key(|(specificity, _)| *specificity)
                {
                    Some(any) => Some(any),
                    None if matching().count() == 1 => matching().next(),
                    None => None,
                }
            }
        };
        best.map(|(_, rule)| &rule.target)
    }

    const NAMES: &[&str] = &[
        "a.example",
        "b.example",
        "c.b.example",
        "*.example",
        "*.b.example",
        "**.example",
        "**.b.example",
        "*",
    ];
    const SENT: &[&str] = &[
        "a.example",
        "b.example",
        "c.b.example",
        "d.example",
        "x.b.example",
        "y.x.b.example",
        "y.d.example",
        "q",
    ];
    const RANGES: &[&str] = &[
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.1.1",
        "::/0",
        "2001:db8::/32",
    ];
    const PROTOCOLS: &[&str] = &["h2", "http/1.1", "acme-tls/1"];

    fn rules() -> impl Strategy<Value = Vec<Rule<usize>>> {
        let rule = (
            subsequence(NAMES, 1..=3),
            subsequence(RANGES, 0..=2),
            subsequence(PROTOCOLS, 0..=2),
            any::<bool>(),
        );
        prop::collection::vec(rule, 0..7).prop_map(|rules| {
            let rules = rules.into_iter().enumerate();
            rules
                .map(|(target, (names, from, alpn, strict_sni))| Rule {
                    names: names
                        .iter()
                        .map(|n| n.parse::<SniPattern>().unwrap().0)
                        .collect(),
                    from: from.iter().map(|n| n.parse().unwrap()).collect(),
                    alpn: alpn.iter().map(|n| n.parse().unwrap()).collect(),
                    strict_sni,
                    target,
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_table_agrees_with_reading_every_rule_in_any_order(
            rules in rules(),
            shuffled in any::<prop::sample::Index>(),
            name in prop::option::of(select(SENT)),
            client in select(&["10.0.0.1", "10.1.0.1", "10.1.1.1", "192.0.2.1", "2001:db8::1", "fe80::1"][..]),
            alpn in subsequence(PROTOCOLS, 0..=3).prop_shuffle(),
        ) {
            let name = name.map(|n| n.parse().unwrap());
            let offered: Vec<u8> = alpn.iter().flat_map(|n| [&[u8::try_from(n.len()).unwrap()], n.as_bytes()].concat()).collect();
            let alpn: Vec<Alpn> = alpn.iter().map(|n| n.parse().unwrap()).collect();
            let key = LookupKey { name: name.as_ref(), client: Some(client.parse().unwrap()), alpn: &alpn };
            let (table, overlaps) = Table::build(rules.clone());
            let mut reordered = rules.clone();
            let len = rules.len();
            if len > 0 {
                reordered.rotate_left(shuffled.index(len));
                reordered.swap(0, shuffled.index(len));
            }
            let (other, other_overlaps) = Table::build(reordered);
            prop_assert_eq!(overlaps.is_empty(), other_overlaps.is_empty());
            if overlaps.is_empty() {
                prop_assert_eq!(table.lookup(&key), naive(&rules, &key));
                prop_assert_eq!(table.lookup(&key), other.lookup(&key));
                let relevant = AlpnList::new(&offered).map_or_else(|_| Vec::new(), |offered| table.relevant(&offered));
                prop_assert_eq!(table.lookup(&LookupKey { alpn: &relevant, ..key }), table.lookup(&key));
                prop_assert_eq!(table.nameless_rivals().is_some(), other.nameless_rivals().is_some());
                if key.name.is_none() && table.lookup(&key).is_none() {
                    let takers = rules.iter().filter(|rule| rule.judge(&key).is_ok()).count();
                    prop_assert!(takers == 0 || table.nameless_rivals().is_some(), "refused without a warning");
                }
            }
        }
    }
}
