//! Ranges of addresses as other proxies write them: what is told takes in the same addresses, and
//! no other.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpSubnets, Ipv4Subnets, Ipv6Subnets};

use crate::addr::Cidr;
use crate::config::read::paste::list;

/// More entries than this are too many to copy from a message.
const MOST: usize = 8;

/// The ranges to write in the list `key` in place of `text`.
pub(super) fn of_addresses(key: &str, text: &str) -> Option<String> {
    let text = text.trim();
    let key = key.rsplit('.').next().unwrap_or(key);
    if let Some(ranges) = ranges(text) {
        return Some(match &ranges[..] {
            [one] => format!("write `{key} = {one:?}`"),
            [_, ..] if ranges.len() <= MOST => {
                format!(
                    "write `{key} = {}`",
                    list(&ranges.iter().map(String::as_str).collect::<Vec<_>>())
                )
            }
            _ => {
                format!(
                    "write the {} ranges that it consists of, the first of which is `{}`",
                    ranges.len(),
                    ranges[0]
                )
            }
        });
    }
    if text.starts_with('!') || text.starts_with("not ") {
        return Some("there are no exceptions: write the ranges that are meant".to_owned());
    }
    if let Some((_, mask)) = parts(text)
        && mask.parse::<Ipv4Addr>().is_ok()
    {
        return Some(
            "this netmask is no prefix: write the ranges that are meant, as `10.0.0.0/8`"
                .to_owned(),
        );
    }
    let is_name =
        text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains([':', '/', ',', ' ']);
    is_name.then(|| {
        "names are not looked up here: write the addresses that are meant, as `10.0.0.0/8`"
            .to_owned()
    })
}

/// An address and what follows it as its mask.
fn parts(text: &str) -> Option<(&str, &str)> {
    text.split_once('/')
        .or_else(|| text.split_once(' '))
        .map(|(address, mask)| (address, mask.trim()))
}

/// The ranges that `text` stands for, in the notation of this file.
fn ranges(text: &str) -> Option<Vec<String>> {
    let one = |range: String| range.parse::<Cidr>().is_ok().then(|| vec![range]);
    if let Some((address, mask)) = parts(text) {
        if let Ok(mask) = mask.parse::<Ipv4Addr>() {
            address.parse::<Ipv4Addr>().ok()?;
            let prefix = ipnet::ip_mask_to_prefix(IpAddr::V4(mask)).ok()?;
            return one(format!("{address}/{prefix}"));
        }
        // `10/8`
        mask.parse::<u8>().ok()?;
        return one(format!("{}/{mask}", filled(address)?));
    }
    if let Some((from, to)) = text.split_once('-') {
        let from: IpAddr = from.trim().parse().ok()?;
        let to = match (from, to.trim().parse::<IpAddr>()) {
            (_, Ok(to)) => to,
            // `10.0.0.1-9`
            (IpAddr::V4(v4), Err(_)) => {
                let [a, b, c, _] = v4.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, to.trim().parse().ok()?))
            }
            _ => return None,
        };
        let subnets = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) if from <= to => {
                IpSubnets::V4(Ipv4Subnets::new(from, to, 0))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) if from <= to => {
                IpSubnets::V6(Ipv6Subnets::new(from, to, 0))
            }
            _ => return None,
        };
        return Some(subnets.map(|net| net.to_string()).collect());
    }
    if let Some(prefix) = text.strip_suffix(".*") {
        let prefix = prefix.trim_end_matches(".*");
        let parts = prefix.split('.').count();
        return one(format!("{}/{}", filled(prefix)?, 8 * parts));
    }
    let unbracketed = text
        .strip_prefix('[')
        .and_then(|text| text.split_once(']'))
        .map(|(address, _)| address);
    let without_port = text
        .split_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .map(|(address, _)| address);
    let address = unbracketed.or(without_port)?;
    address.parse::<IpAddr>().ok()?;
    one(address.to_owned())
}

/// An IPv4 address of which the last parts are left out.
fn filled(address: &str) -> Option<Ipv4Addr> {
    let missing = 4usize.checked_sub(address.split('.').count())?;
    format!("{address}{}", ".0".repeat(missing)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_another_notation_takes_in_the_same_addresses() {
        for (text, expected) in [
            ("10.0.0.0/255.0.0.0", &["10.0.0.0/8"][..]),
            ("192.0.2.0 255.255.255.0", &["192.0.2.0/24"]),
            ("10.0.0.0-10.0.0.255", &["10.0.0.0/24"]),
            (
                "10.0.0.1-10.0.0.4",
                &["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"],
            ),
            ("10.0.0.2-3", &["10.0.0.2/31"]),
            ("10.*", &["10.0.0.0/8"]),
            ("10.0.0.*", &["10.0.0.0/24"]),
            ("10.1.*.*", &["10.1.0.0/16"]),
            ("10/8", &["10.0.0.0/8"]),
            ("10.0.0.1:443", &["10.0.0.1"]),
            ("[2001:db8::1]:443", &["2001:db8::1"]),
        ] {
            assert_eq!(ranges(text).unwrap_or_default(), expected, "{text}");
        }
        for text in [
            "10.0.0.9-10.0.0.1",
            "10.0.0.0/255.0.255.0",
            "10.0.0.0/33",
            "*",
            "any",
            "!10.0.0.0/8",
            "10.0.0.300-9",
        ] {
            assert_eq!(ranges(text), None, "{text}");
        }
    }
}
