//! The addresses of a host, by family.

use std::net::IpAddr;
use std::sync::Arc;

use crate::net::resolve::question::Records;

/// The addresses of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::net) struct Addresses {
    pub(in crate::net) v6: Arc<[IpAddr]>,
    pub(in crate::net) v4: Arc<[IpAddr]>,
}

impl Addresses {
    pub(in crate::net) fn of(list: &[IpAddr]) -> Self {
        let of = |is_family: fn(&IpAddr) -> bool| list.iter().copied().filter(is_family).collect();
        Self {
            v6: of(IpAddr::is_ipv6),
            v4: of(IpAddr::is_ipv4),
        }
    }

    pub(in crate::net) fn is_empty(&self) -> bool {
        self.v6.is_empty() && self.v4.is_empty()
    }

    /// All of them, the families in turn, IPv6 first (RFC 8305 §4). Which one of a family is first
    /// depends on `turn`.
    pub(in crate::net) fn interleaved(&self, turn: usize) -> impl Iterator<Item = IpAddr> {
        let rotated = |list: &[IpAddr]| {
            let mut list = list.to_vec();
            let by = turn % list.len().max(1);
            list.rotate_left(by);
            list.into_iter()
        };
        let (mut v6, mut v4) = (rotated(&self.v6), rotated(&self.v4));
        let pairs = std::iter::from_fn(move || match (v6.next(), v4.next()) {
            (None, None) => None,
            pair => Some([pair.0, pair.1]),
        });
        pairs.flatten().flatten()
    }
}

pub(super) fn addresses(records: impl IntoIterator<Item = Records>) -> Addresses {
    let mut all = Addresses::default();
    for records in records {
        let Records::Addresses(found) = records else {
            continue;
        };
        // DNS answers for one family at a time, whose list can be used as it is.
        if found.iter().all(IpAddr::is_ipv6) && !found.is_empty() {
            all.v6 = found;
        } else if found.iter().all(IpAddr::is_ipv4) && !found.is_empty() {
            all.v4 = found;
        } else {
            all = Addresses::of(&found);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_so_do_the_addresses_of_each() {
        let addresses = Addresses::of(&ips(&[
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
            "2001:db8::2",
            "192.0.2.3",
        ]));
        let order = |turn| addresses.interleaved(turn).collect::<Vec<_>>();
        assert_eq!(
            order(0),
            ips(&[
                "2001:db8::1",
                "192.0.2.1",
                "2001:db8::2",
                "192.0.2.2",
                "192.0.2.3"
            ])
        );
        assert_eq!(
            order(1),
            ips(&[
                "2001:db8::2",
                "192.0.2.2",
                "2001:db8::1",
                "192.0.2.3",
                "192.0.2.1"
            ])
        );
        assert_eq!(
            Addresses::of(&ips(&["192.0.2.1"])).interleaved(7).count(),
            1
        );
        assert_eq!(Addresses::default().interleaved(7).count(), 0);
    }
}
