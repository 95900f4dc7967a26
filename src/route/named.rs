//! Which of the protocols that a client offers any rule is for.

use std::collections::BTreeSet;

use crate::name::{Alpn, AlpnList};

/// The protocols that the rules of a table name.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Sorted, each once.
    protocols: Vec<Alpn>,
    /// The first bytes of each: most of what is offered differs there.
    heads: Vec<u64>,
    /// Whether any has this length.
    lengths: Lengths,
}

impl Named {
    pub(super) fn new(protocols: BTreeSet<Alpn>) -> Self {
        let heads = protocols.iter().map(|protocol| head(protocol.as_bytes())).collect();
        let mut lengths = Lengths::default();
        protocols.iter().for_each(|protocol| lengths.insert(protocol.as_bytes().len()));
        Self { protocols: protocols.into_iter().collect(), heads, lengths }
    }

    /// Of what is `offered`, in that order, each protocol that a rule names, once.
    pub(super) fn among(&self, offered: &AlpnList) -> Vec<Alpn> {
        let mut among = Vec::new();
        if self.protocols.is_empty() {
            return among;
        }
        let mut met = vec![false; self.protocols.len()];
        for protocol in offered.iter().filter(|protocol| self.lengths.contains(protocol.len())) {
            let Some(at) = self.find(protocol) else { continue };
            if !std::mem::replace(&mut met[at], true) {
                among.push(self.protocols[at].clone());
                if among.len() == self.protocols.len() {
                    break;
                }
            }
        }
        among
    }

    fn find(&self, protocol: &[u8]) -> Option<usize> {
        let head = head(protocol);
        let from = self.heads.partition_point(|known| *known < head);
        let same = self.heads.get(from..)?.iter().take_while(|known| **known == head).count();
        (from..from + same).find(|at| self.protocols[*at].as_bytes() == protocol)
    }
}

/// A set of lengths below 256.
#[derive(Debug, Default)]
struct Lengths([u64; 4]);

impl Lengths {
    fn insert(&mut self, length: usize) {
        self.0[length / 64 % 4] |= 1 << (length % 64);
    }

    fn contains(&self, length: usize) -> bool {
        self.0[length / 64 % 4] & 1 << (length % 64) != 0
    }
}

/// The first eight bytes as a number, which sorts as they do.
fn head(protocol: &[u8]) -> u64 {
    if let Some(head) = protocol.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    let head = protocol.iter().fold(0, |head, byte| head << 8 | u64::from(*byte));
    head.checked_shl(8 * (8 - u32::try_from(protocol.len()).unwrap_or(8))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alpn<T: FromIterator<Alpn>>(protocols: &[&str]) -> T {
        protocols.iter().map(|protocol| protocol.parse().unwrap()).collect()
    }

    fn list(protocols: &[&str]) -> AlpnList {
        let bytes: Vec<u8> = protocols
            .iter()
            .flat_map(|protocol| [&[u8::try_from(protocol.len()).unwrap()], protocol.as_bytes()].concat())
            .collect();
        if bytes.is_empty() { AlpnList::default() } else { AlpnList::new(&bytes).unwrap() }
    }

    #[test]
    fn what_a_rule_names_stays_in_the_clients_order_and_each_once() {
        let named = Named::new(alpn(&["h2", "acme-tls/1", "acme-tls/2", "a", "a\0", "http/1.1", "h2"]));
        for (offered, expected) in [
            (&["http/1.1", "h2", "http/1.1", "h3"][..], &["http/1.1", "h2"][..]),
            (&["acme-tls/2", "acme-tls/3", "acme-tls/1", "acme-tls/"], &["acme-tls/2", "acme-tls/1"]),
            (&["a\0\0", "a\0", "a"], &["a\0", "a"]),
            (&["h3", "H2", "h", "h2c"], &[]),
            (&[], &[]),
        ] {
            assert_eq!(named.among(&list(offered)), alpn::<Vec<Alpn>>(expected), "{offered:?}");
        }
        assert_eq!(Named::default().among(&list(&["h2"])), []);
    }
}
