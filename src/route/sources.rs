//! The rules under one name, told apart by where a client comes from, then by the protocols it
//! offers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use crate::addr::Cidr;
use crate::name::Alpn;
use crate::route::{LookupKey, Rule};

/// The rules under one name, by source and protocol.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    /// By prefix length, the longest first.
    by_prefix: Vec<(u8, HashMap<Cidr, Protocols>)>,
    anywhere: Protocols,
}

#[derive(Clone, Debug, Default)]
struct Protocols {
    #[expect(
        clippy::box_collection,
        reason = "most rules name no protocol, and a table may have 100,000 of these"
    )]
    by_alpn: Option<Box<HashMap<Alpn, SourceSlot>>>,
    any: Option<SourceSlot>,
}

#[derive(Clone, Copy, Debug)]
struct SourceSlot {
    rule: u32,
    /// Another rule wanted this place. Only clients without a name ever get here; see
    /// [`Sources::only`].
    contested: bool,
}

impl Sources {
    /// Those of the rule with this number, which takes everybody.
    pub(super) fn everybody(rule: u32) -> Self {
        let any = Some(SourceSlot {
            rule,
            contested: false,
        });
        Self {
            anywhere: Protocols {
                any,
                ..Protocols::default()
            },
            ..Self::default()
        }
    }

    /// Adds the rule with this number, and reports each place that another rule has already.
    pub(super) fn insert<T>(
        &mut self,
        rule: &Rule<T>,
        index: usize,
        mut overlap: impl FnMut(usize, Option<Cidr>, Option<&Alpn>),
    ) {
        if rule.from.is_empty() {
            self.anywhere
                .insert(&rule.alpn, index, |first, alpn| overlap(first, None, alpn));
        }
        for range in &rule.from {
            let at = self
                .by_prefix
                .partition_point(|(len, _)| *len > range.prefix_len());
            if self
                .by_prefix
                .get(at)
                .is_none_or(|(len, _)| *len != range.prefix_len())
            {
                self.by_prefix
                    .insert(at, (range.prefix_len(), HashMap::new()));
            }
            let protocols = self.by_prefix[at].1.entry(*range).or_default();
            protocols.insert(&rule.alpn, index, |first, alpn| {
                overlap(first, Some(*range), alpn)
            });
        }
    }

    /// Whether some rule takes every client.
    pub(super) fn takes_everybody(&self) -> bool {
        self.anywhere.any.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_prefix.is_empty() && self.anywhere.by_alpn.is_none() && self.anywhere.any.is_none()
    }

    /// Every place and the rule that has it, in no order.
    pub(super) fn claims(&self) -> impl Iterator<Item = (Option<Cidr>, Option<&Alpn>, u32)> {
        let ranges = self.by_prefix.iter().flat_map(|(_, ranges)| ranges);
        let within = ranges.flat_map(|(range, protocols)| {
            protocols
                .claims()
                .map(|(alpn, rule)| (Some(*range), alpn, rule))
        });
        within.chain(
            self.anywhere
                .claims()
                .map(|(alpn, rule)| (None, alpn, rule)),
        )
    }

    /// The rule with the longest range, and then with the protocol that the client prefers.
    pub(super) fn most_specific(&self, key: &LookupKey<'_>) -> Option<u32> {
        self.matching(key.client)
            .find_map(|protocols| protocols.matching(key.alpn).next())
            .map(|slot| slot.rule)
    }

    /// The rule that takes the client, if no other rule does.
    pub(super) fn only(&self, key: &LookupKey<'_>) -> Option<u32> {
        let mut slots = self
            .matching(key.client)
            .flat_map(|protocols| protocols.matching(key.alpn));
        let first = slots.next().filter(|slot| !slot.contested)?;
        slots
            .all(|slot| slot.rule == first.rule && !slot.contested)
            .then_some(first.rule)
    }

    /// The protocols under the client's address, the longest prefix first.
    fn matching(&self, client: Option<IpAddr>) -> impl Iterator<Item = &Protocols> {
        let by_prefix = self
            .by_prefix
            .iter()
            .filter_map(move |(len, ranges)| ranges.get(&Cidr::of(client?, *len)?));
        by_prefix.chain(std::iter::once(&self.anywhere))
    }
}

impl Protocols {
    fn insert(
        &mut self,
        alpn: &[Alpn],
        index: usize,
        mut overlap: impl FnMut(usize, Option<&Alpn>),
    ) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a configuration of four billion routes does not fit in memory"
        )]
        let slot = SourceSlot {
            rule: index as u32,
            contested: false,
        };
        if alpn.is_empty() {
            match &mut self.any {
                Some(taken) => {
                    let first = taken.rule as usize;
                    taken.contest(index, || overlap(first, None));
                }
                None => self.any = Some(slot),
            }
        }
        for protocol in alpn {
            match self.by_alpn.get_or_insert_default().entry(protocol.clone()) {
                Entry::Occupied(mut taken) => {
                    let first = taken.get().rule as usize;
                    taken
                        .get_mut()
                        .contest(index, || overlap(first, Some(protocol)));
                }
                Entry::Vacant(vacant) => _ = vacant.insert(slot),
            }
        }
    }

    fn claims(&self) -> impl Iterator<Item = (Option<&Alpn>, u32)> {
        let by_alpn = self
            .by_alpn
            .iter()
            .flat_map(|slots| slots.iter().map(|(alpn, slot)| (Some(alpn), slot.rule)));
        by_alpn.chain(self.any.map(|slot| (None, slot.rule)))
    }

    /// The slots that such a client may have: by protocol as it prefers them, then the one for
    /// every protocol.
    fn matching(&self, alpn: &[Alpn]) -> impl Iterator<Item = SourceSlot> {
        let by_alpn = self
            .by_alpn
            .iter()
            .flat_map(move |slots| alpn.iter().filter_map(|protocol| slots.get(protocol)));
        by_alpn.chain(&self.any).copied()
    }
}

impl SourceSlot {
    /// A rule that lists the same name, range or protocol twice does not contest its own place.
    fn contest(&mut self, index: usize, report: impl FnOnce()) {
        if self.rule as usize != index {
            self.contested = true;
            report();
        }
    }
}
