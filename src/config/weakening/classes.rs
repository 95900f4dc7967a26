//! Addresses that stand for all whom some ranges tell apart.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::Cidr;

/// For each of `ranges` an address that lies in it and in none of the narrower ones, if there is
/// one; for each family an address that lies in none of them; and no address.
pub(super) fn representatives(ranges: &BTreeSet<Cidr>) -> Vec<Option<IpAddr>> {
    let everywhere = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::from(Ipv6Addr::UNSPECIFIED),
    ];
    let whole = everywhere.into_iter().filter_map(|ip| Cidr::of(ip, 0));
    let mut ordered: Vec<Cidr> = ranges.iter().copied().collect();
    ordered.sort_unstable_by_key(place);
    let inside = ranges
        .iter()
        .copied()
        .filter_map(|range| outside(range, &ordered));
    let nowhere = whole
        .filter(|range| !ranges.contains(range))
        .filter_map(|range| outside(range, &ordered));
    inside.chain(nowhere).map(Some).chain([None]).collect()
}

/// In this order a range follows directly behind those that contain it, and is followed by those
/// that it contains.
fn place(range: &Cidr) -> (IpAddr, u8) {
    (range.network(), range.prefix_len())
}

/// The first address of `range` that lies in none of the `others` which are narrower; they are in
/// the order of [`place`].
fn outside(range: Cidr, others: &[Cidr]) -> Option<IpAddr> {
    let behind = others.partition_point(|other| place(other) <= place(&range));
    let mut free = range.network();
    for other in others[behind..]
        .iter()
        .take_while(|other| other.network() <= range.last())
    {
        if free < other.network() {
            return Some(free);
        }
        if free <= other.last() {
            if other.last() == range.last() {
                return None;
            }
            free = next(other.last())?;
        }
    }
    Some(free)
}

fn next(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => Some(Ipv4Addr::from_bits(ip.to_bits().checked_add(1)?).into()),
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits().checked_add(1)?).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ranges: &[&str]) -> Vec<String> {
        let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let text = |ip: Option<IpAddr>| ip.map_or("none".to_owned(), |ip| ip.to_string());
        representatives(&ranges).into_iter().map(text).collect()
    }

    #[test]
    fn each_range_has_an_address_of_its_own_and_so_has_the_rest() {
        assert_eq!(of(&[]), ["0.0.0.0", "::", "none"]);
        assert_eq!(
            of(&["10.0.0.0/8", "10.0.0.0/9"]),
            ["10.128.0.0", "10.0.0.0", "0.0.0.0", "::", "none"]
        );
        assert_eq!(
            of(&["0.0.0.0/8", "0.0.0.0/32"]),
            ["0.0.0.1", "0.0.0.0", "1.0.0.0", "::", "none"]
        );
        assert_eq!(of(&["0.0.0.0/0"]), ["0.0.0.0", "::", "none"]);
        assert_eq!(
            of(&["10.0.0.0/31", "10.0.0.0", "10.0.0.1"]),
            ["10.0.0.0", "10.0.0.1", "0.0.0.0", "::", "none"]
        );
        assert_eq!(
            of(&["128.0.0.0/1", "0.0.0.0/1"]),
            ["0.0.0.0", "128.0.0.0", "::", "none"]
        );
        assert_eq!(
            of(&["::/1", "8000::/1"]),
            ["::", "8000::", "0.0.0.0", "none"]
        );
    }
}
