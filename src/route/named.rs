//! Protocols that rules name, among those that a client offers.

use std::collections::BTreeSet;

use crate::name::{Alpn, AlpnList};

/// The protocols that the rules of a table name.
#[derive(Debug, Default)]
pub(super) struct NamedProtocols {
    /// Sorted, each once.
    protocols: Vec<Alpn>,
    /// The first bytes of each.
    heads: Vec<u64>,
    /// The [`AlpnList::length_bit`] of each.
    lengths: u32,
    likes: Likes,
}

impl NamedProtocols {
    pub(super) fn new(protocols: BTreeSet<Alpn>) -> Self {
        let entries: Vec<Vec<u8>> = protocols.iter().map(entry).collect();
        Self {
            heads: protocols
                .iter()
                .map(|protocol| head(protocol.as_bytes()))
                .collect(),
            lengths: entries
                .iter()
                .fold(0, |lengths, entry| lengths | AlpnList::length_bit(entry[0])),
            likes: Likes::new(&entries),
            protocols: protocols.into_iter().collect(),
        }
    }

    /// Of what is `offered`, in that order, each protocol that a rule names, once.
    pub(super) fn among(&self, offered: &AlpnList) -> Vec<Alpn> {
        let mut among = Vec::new();
        if offered.lengths() & self.lengths == 0 {
            return among;
        }
        let (mut met, mut likes) = (vec![false; self.protocols.len()], self.likes);
        let mut rest = likes.pass(offered.as_bytes());
        while let Some((&length, behind)) = rest.split_first()
            && let Some((protocol, others)) = behind.split_at_checked(length.into())
        {
            if self.meet(protocol, &mut met, &mut among) {
                if among.len() == self.protocols.len() {
                    break;
                }
                likes.leave(word(rest));
            }
            rest = likes.pass(others);
        }
        among
    }

    /// Whether a rule names the `protocol`, and it is met for the first time.
    #[inline(never)]
    fn meet(&self, protocol: &[u8], met: &mut [bool], among: &mut Vec<Alpn>) -> bool {
        let Some(at) = self
            .find(protocol)
            .filter(|at| !std::mem::replace(&mut met[*at], true))
        else {
            return false;
        };
        among.push(self.protocols[at].clone());
        true
    }

    fn find(&self, protocol: &[u8]) -> Option<usize> {
        let head = head(protocol);
        let from = self.heads.partition_point(|known| *known < head);
        let same = self
            .heads
            .get(from..)?
            .iter()
            .take_while(|known| **known == head)
            .count();
        (from..from + same).find(|at| self.protocols[*at].as_bytes() == protocol)
    }
}

/// How the protocols begin that are looked for. Each has a place, by its first bytes, and most have
/// one of their own.
#[derive(Clone, Copy, Debug)]
struct Likes {
    /// The factor by which a word's place is found. It shifts out the bytes that the shortest of
    /// them does not have.
    factor: u32,
    places: [Like; PLACES],
    /// How many of them have this place.
    left: [u32; PLACES],
}

/// A power of two, far more than tables name protocols.
const PLACES: usize = 32;

impl Likes {
    fn new(entries: &[Vec<u8>]) -> Self {
        let words: BTreeSet<Like> = entries.iter().map(|entry| Like::one(entry)).collect();
        let shift = words
            .iter()
            .map(|like| like.mask.leading_zeros())
            .max()
            .unwrap_or(0);
        let mut likes = Self {
            factor: FACTOR << shift,
            places: [Like::NONE; PLACES],
            left: [0; PLACES],
        };
        // Of half as many as there are places, or fewer, a factor is soon found that puts no two in
        // one.
        for number in 0..if words.len() > PLACES / 2 { 0 } else { 1000 } {
            likes.factor = FACTOR.wrapping_mul(2 * number + 1) << shift;
            let taken = words
                .iter()
                .fold(0_u32, |taken, like| taken | 1 << likes.place(like.word));
            if taken.count_ones() as usize == words.len() {
                break;
            }
        }
        for entry in entries {
            let (like, at) = (Like::one(entry), likes.place(word(entry)));
            let before = likes.places[at];
            likes.places[at] = if before == Like::NONE || before == like {
                like
            } else {
                Like::SEVERAL
            };
            likes.left[at] += 1;
        }
        likes
    }

    fn place(&self, word: u32) -> usize {
        (word.wrapping_mul(self.factor) >> (u32::BITS - PLACES.ilog2())) as usize
    }

    /// The `list` behind the entries that are none of these. The last one may be left that is: it
    /// is too short for a word.
    ///
    /// A client may offer tens of thousands: what each takes is kept short.
    #[inline(never)]
    fn pass<'a>(&self, list: &'a [u8]) -> &'a [u8] {
        let mut at = 0;
        // A bound that does not change is compared once in each round.
        let Some(last) = list.len().checked_sub(4) else {
            return list;
        };
        while at <= last {
            let word = word(&list[at..at + 4]);
            let [length, ..] = word.to_le_bytes();
            if self.places[self.place(word)].takes(word) {
                break;
            }
            at += 1 + usize::from(length);
        }
        list.get(at..).unwrap_or_default()
    }

    /// Looks no longer for one that begins so, unless another has its place.
    fn leave(&mut self, word: u32) {
        let at = self.place(word);
        self.left[at] -= 1;
        if self.left[at] == 0 {
            self.places[at] = Like::NONE;
        }
    }
}

impl Default for Likes {
    fn default() -> Self {
        Self::new(&[])
    }
}

/// An odd number whose bits are mixed: 2^32 divided by the golden ratio.
const FACTOR: u32 = 0x9e37_79b1;

/// How a protocol begins, its length first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Like {
    word: u32,
    mask: u32,
}

impl Like {
    /// As no protocol does: none has the length 0.
    const NONE: Self = Self {
        word: 0,
        mask: 0xff,
    };

    /// As any does.
    const SEVERAL: Self = Self { word: 0, mask: 0 };

    /// As the one in `entry` does, which begins with its length.
    fn one(entry: &[u8]) -> Self {
        let mask: Vec<u8> = entry.iter().map(|_| 0xff).collect();
        Self {
            word: word(entry),
            mask: word(&mask),
        }
    }

    fn takes(self, word: u32) -> bool {
        (self.word ^ word) & self.mask == 0
    }
}

/// A protocol as a list has it: its length and what it is.
fn entry(protocol: &Alpn) -> Vec<u8> {
    let length = u8::try_from(protocol.as_bytes().len()).unwrap_or(u8::MAX);
    [&[length], protocol.as_bytes()].concat()
}

/// The first four bytes as a number, the first one lowest. Where there are fewer, the others are 0.
fn word(bytes: &[u8]) -> u32 {
    if let Some(word) = bytes.first_chunk() {
        return u32::from_le_bytes(*word);
    }
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The first eight bytes as a number, which sorts as they do.
fn head(protocol: &[u8]) -> u64 {
    if let Some(head) = protocol.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    let head = protocol
        .iter()
        .fold(0, |head, byte| head << 8 | u64::from(*byte));
    head.checked_shl(8 * (8 - u32::try_from(protocol.len()).unwrap_or(8)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn alpn<T: FromIterator<Alpn>>(protocols: &[&str]) -> T {
        protocols
            .iter()
            .map(|protocol| protocol.parse().unwrap())
            .collect()
    }

    fn list(protocols: &[&str]) -> AlpnList {
        let bytes: Vec<u8> = protocols
            .iter()
            .flat_map(|protocol| {
                [
                    &[u8::try_from(protocol.len()).unwrap()],
                    protocol.as_bytes(),
                ]
                .concat()
            })
            .collect();
        if bytes.is_empty() {
            AlpnList::default()
        } else {
            AlpnList::new(&bytes).unwrap()
        }
    }

    #[test]
    fn what_a_rule_names_stays_in_the_clients_order_and_each_once() {
        let named = NamedProtocols::new(alpn(&[
            "h2",
            "acme-tls/1",
            "acme-tls/2",
            "a",
            "a\0",
            "http/1.1",
            "h2",
        ]));
        for (offered, expected) in [
            (
                &["http/1.1", "h2", "http/1.1", "h3"][..],
                &["http/1.1", "h2"][..],
            ),
            (
                &["acme-tls/2", "acme-tls/3", "acme-tls/1", "acme-tls/"],
                &["acme-tls/2", "acme-tls/1"],
            ),
            (&["a\0\0", "a\0", "a"], &["a\0", "a"]),
            (&["h3", "H2", "h", "h2c"], &[]),
            (&[], &[]),
        ] {
            assert_eq!(
                named.among(&list(offered)),
                alpn::<Vec<Alpn>>(expected),
                "{offered:?}"
            );
        }
        assert_eq!(NamedProtocols::default().among(&list(&["h2"])), []);
    }

    /// Of few letters and lengths, those that a list of lengths modulo 32 or of first bytes takes
    /// for each other among them.
    fn protocol() -> impl Strategy<Value = Alpn> {
        let end = prop::collection::vec(select(&b"ab\0"[..]), 0..3);
        (
            select(&["", "a", "acme-tls", "a2345678901234567890123456789012"][..]),
            end,
        )
            .prop_filter_map("it is empty", |(begin, end)| {
                Alpn::new(&[begin.as_bytes(), &end].concat()).ok()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_agrees_with_comparing_every_protocol_with_every_other(
            known in prop::collection::btree_set(protocol(), 0..40),
            offered in prop::collection::vec(protocol(), 1..12),
        ) {
            let mut expected: Vec<Alpn> = Vec::new();
            for protocol in &offered {
                if known.contains(protocol) && !expected.contains(protocol) {
                    expected.push(protocol.clone());
                }
            }
            let offered: Vec<u8> = offered.iter().flat_map(entry).collect();
            prop_assert_eq!(NamedProtocols::new(known).among(&AlpnList::new(&offered).unwrap()), expected);
        }
    }
}
