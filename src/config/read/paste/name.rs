//! Names of clients as other proxies write them.

use crate::name::SniPattern;

/// The name to write in `sni` in place of `text`.
pub(super) fn of_route(text: &str) -> Option<String> {
    let is_name = |name: &str| !name.is_empty() && name.parse::<SniPattern>().is_ok();
    let write = |name: &str| format!("write `sni = {name:?}`");
    let trimmed = text.trim();
    if let Some((host, port)) = trimmed.rsplit_once(':')
        && port.parse::<u16>().is_ok()
        && is_name(host)
    {
        return Some(format!("{}: no client sends a port with it", write(host)));
    }
    let host = trimmed.split('/').next().unwrap_or(trimmed);
    if host != text && is_name(host) {
        return Some(write(host));
    }
    let address = trimmed.trim_matches(['[', ']']);
    if address.parse::<std::net::IpAddr>().is_ok() {
        return Some("write the name that clients ask for".to_owned());
    }
    // Which wildcard a regular expression comes to is for its owner to say: it may take more.
    let is_expression = trimmed.contains([
        '^', '$', '|', '(', ')', '[', ']', '{', '}', '\\', '+', '?', '~',
    ]);
    is_expression.then(|| {
        "there are no regular expressions: write each name, or `*.example.net` for every name with one label before it"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_what_no_client_sends_and_never_becomes_a_wildcard() {
        for (text, expected) in [
            ("a.example:443", Some("a.example")),
            ("*.a.example:443", Some("*.a.example")),
            (" a.example ", Some("a.example")),
            ("a.example/path", Some("a.example")),
            ("[::1]", None),
            ("10.0.0.1", None),
            (r"^.*\.example$", None),
            ("~^(www|api).example$", None),
        ] {
            let said = of_route(text).unwrap_or_default();
            let written = said
                .strip_prefix("write `sni = \"")
                .and_then(|rest| rest.split('"').next());
            assert_eq!(written, expected, "{text}: {said}");
            assert!(!said.is_empty(), "{text}");
        }
        assert_eq!(of_route("a!example"), None);
    }
}
