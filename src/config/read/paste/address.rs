//! Addresses as other proxies write them.

use std::net::{IpAddr, Ipv6Addr};

/// Words that other proxies have behind the address of a listener.
const FLAGS: [&str; 7] = [
    "ssl",
    "http2",
    "quic",
    "reuseport",
    "default_server",
    "fastopen",
    "tfo",
];

/// The address to write in `bind` in place of `text`.
pub(super) fn to_listen_on(text: &str) -> Option<String> {
    let text = text
        .split_once("://")
        .map_or(text, |(_, rest)| rest)
        .trim_end_matches('/');
    let mut words = text.split_whitespace();
    let first = words.next()?;
    let flags: Vec<&str> = words.collect();
    if flags.iter().any(|flag| !FLAGS.contains(flag)) {
        return None;
    }
    let text = first.trim_end_matches("/tcp").trim_start_matches("tcp/");
    if text.starts_with('/') {
        return Some(format!("write `\"unix:{text}\"`"));
    }
    if let Some((from, to)) = text.rsplit(':').next()?.split_once('-')
        && let (Ok(from), Ok(_)) = (from.parse::<u16>(), to.parse::<u16>())
    {
        return Some(format!(
            "there are no ranges of ports: write an entry for each, as `\"0.0.0.0:{from}\"`"
        ));
    }
    let (host, port) = match text.rsplit_once(':') {
        // `::443` is every address and a port, for those who write `:443`.
        Some(("" | ":" | "*" | "[*]", port)) => ("*", Some(port)),
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => ("*", Some(text)),
        _ => (text, None),
    };
    let port = match port {
        Some("https") => "443",
        Some(port) if port.parse::<u16>().is_ok() => port,
        Some(_) => return None,
        None => "443",
    };
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    let both = |v4: &str, v6: &str| {
        Some(format!(
            "write `\"{v4}:{port}\"`, and `\"[{v6}]:{port}\"` for IPv6"
        ))
    };
    match ip {
        Ok(IpAddr::V4(ip)) => Some(format!("write `\"{ip}:{port}\"`")),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) if text.starts_with(":::") => both("0.0.0.0", "::"),
        Ok(IpAddr::V6(ip)) => Some(format!("write `\"[{ip}]:{port}\"`")),
        Err(_) if host == "*" => both("0.0.0.0", "::"),
        Err(_) if host == "localhost" || host == "ip6-localhost" => both("127.0.0.1", "::1"),
        Err(_) => Some(format!(
            "write the address of this machine that is meant, or `\"0.0.0.0:{port}\"` for every address of IPv4 and \
             `\"[::]:{port}\"` for IPv6"
        )),
    }
}

/// The address of a server to write in place of `text`.
pub(super) fn of_server(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if text.starts_with('/') {
        return Some(format!("write `\"unix:{text}\"`"));
    }
    if let Some((from, _)) = port.split_once('-') {
        return Some(format!(
            "there are no ranges of ports: write an entry for each, as `\"{host}:{from}\"`"
        ));
    }
    let port = if host.parse::<u16>().is_ok() {
        host
    } else {
        port
    };
    if (host.is_empty() || host == port) && port.parse::<u16>().is_ok() {
        return Some(format!(
            "write `\"127.0.0.1:{port}\"`, or the address of the server"
        ));
    }
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        // An address and a port without brackets are an address, too.
        Ok(IpAddr::V6(_)) if !text.starts_with('[') && host.parse::<Ipv6Addr>().is_ok() => {
            Some(format!("write `\"[{host}]:{port}\"` if {port} is the port"))
        }
        Ok(IpAddr::V6(ip)) => Some(format!(
            "write `\"[{ip}]:8443\"`, with the port that the server listens on"
        )),
        Ok(IpAddr::V4(ip)) => Some(format!(
            "write `\"{ip}:8443\"`, with the port that the server listens on"
        )),
        Err(_) if port == "https" => Some(format!("write `\"{host}:443\"`")),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_proxy_has_one_here() {
        let both = |v4: &str, v6: &str| format!("write `\"{v4}\"`, and `\"{v6}\"` for IPv6");
        let one = |addr: &str| format!("write `\"{addr}\"`");
        for (text, expected) in [
            ("443", both("0.0.0.0:443", "[::]:443")),
            (":443", both("0.0.0.0:443", "[::]:443")),
            ("*:8443", both("0.0.0.0:8443", "[::]:8443")),
            ("*", both("0.0.0.0:443", "[::]:443")),
            (":::443", both("0.0.0.0:443", "[::]:443")),
            ("::443", both("0.0.0.0:443", "[::]:443")),
            ("localhost:443", both("127.0.0.1:443", "[::1]:443")),
            ("localhost", both("127.0.0.1:443", "[::1]:443")),
            ("0.0.0.0", one("0.0.0.0:443")),
            ("[::]", one("[::]:443")),
            ("[::1]", one("[::1]:443")),
            ("::1:443", one("[::1]:443")),
            ("0.0.0.0:https", one("0.0.0.0:443")),
            ("tcp://127.0.0.1:443", one("127.0.0.1:443")),
            ("0.0.0.0:443/tcp", one("0.0.0.0:443")),
            ("0.0.0.0:443 ssl http2", one("0.0.0.0:443")),
            ("/run/edge.sock", one("unix:/run/edge.sock")),
        ] {
            let said = to_listen_on(text).unwrap_or_default();
            assert_eq!(said, expected, "{text}");
            // What is told is an address.
            for written in said.split('"').skip(1).step_by(2) {
                assert!(
                    written.parse::<crate::addr::ListenAddr>().is_ok(),
                    "{text}: {written}"
                );
            }
        }
        // A flag that means something here is not left out in silence.
        assert_eq!(to_listen_on("0.0.0.0:443 accept-proxy"), None);
        assert_eq!(to_listen_on("0.0.0.0:99999"), None);
    }

    #[test]
    fn a_server_of_another_proxy_has_an_address_here() {
        for (text, expected) in [
            ("/run/app.sock", "write `\"unix:/run/app.sock\"`"),
            (
                "app.example:8000-8010",
                "write an entry for each, as `\"app.example:8000\"`",
            ),
            (":8443", "write `\"127.0.0.1:8443\"`, or"),
            ("8443", "write `\"127.0.0.1:8443\"`, or"),
            ("10.0.0.1", "write `\"10.0.0.1:8443\"`, with the port"),
            ("[::1]", "write `\"[::1]:8443\"`, with the port"),
            ("::1", "write `\"[::1]:8443\"`, with the port"),
            ("::1:8443", "write `\"[::1]:8443\"` if 8443 is the port"),
            ("app.example:https", "write `\"app.example:443\"`"),
        ] {
            let said = of_server(text).unwrap_or_default();
            assert!(said.contains(expected), "{text}: {said}");
            let written = said.split('"').nth(1).unwrap();
            assert!(
                written.parse::<crate::addr::UpstreamAddr>().is_ok(),
                "{text}: {written}"
            );
        }
        assert_eq!(of_server("app.example"), None);
    }
}
