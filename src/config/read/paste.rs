//! What people bring along: the languages, keys and words of other proxies, and what each of them is here.
//!
//! It makes messages better and accepts nothing.

use std::ops::Range;

/// What is wrong with a piece of text, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remedy {
    /// The bytes that are meant.
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

/// Keys of others: the section, their names without case, `_` and `-`, and what to write.
const KEYS: &[(&str, &[&str], &str)] = &[
    ("", &["tcp", "http", "routers"], "`[routes.NAME]` for each router, and `[upstreams.NAME]` for each service"),
    ("", &["entrypoints", "entrypoint", "frontend", "frontends", "servers", "apps"], "`[listeners.NAME]`"),
    ("", &["backend", "backends", "services", "clusters", "cluster"], "`[upstreams.NAME]`"),
    ("", &["certs", "keypair", "keypairs"], "`[certificates.NAME]`"),
    ("", &["logging", "accesslog", "logs"], "`[log]`"),
    ("", &["dns", "resolvers", "nameservers"], "`[resolver]`"),
    ("", &["ca", "cas", "rootcas"], "`[trust.NAME]`"),
    (
        "routes",
        &[
            "rule",
            "host",
            "hosts",
            "hostname",
            "servername",
            "servernames",
            "domain",
            "domains",
            "match",
            "name",
            "names",
        ],
        "`sni = \"app.example.net\"`",
    ),
    (
        "routes",
        &[
            "service",
            "backend",
            "proxypass",
            "usebackend",
            "defaultbackend",
            "cluster",
            "server",
            "servers",
            "to",
            "target",
            "reverseproxy",
            "upstreams",
            "proxy",
            "address",
        ],
        "`upstream = \"192.0.2.1:8443\"`, or the name of an upstream",
    ),
    ("routes", &["entrypoints", "entrypoint", "frontend", "listen", "bind"], "`listeners = [\"edge\"]`"),
    ("routes", &["passthrough", "tlspassthrough"], "`action = \"passthrough\"`"),
    ("routes", &["mode", "type", "handler", "handle"], "`action = \"passthrough\"`, `\"terminate\"` or `\"reject\"`"),
    ("routes", &["snistrict"], "`strict_sni = true`"),
    (
        "routes",
        &["sourcerange", "clientip", "remoteip", "src", "allow", "iprange", "sources"],
        "`from = [\"10.0.0.0/8\"]`",
    ),
    (
        "routes",
        &["cert", "certificate", "certs", "sslcertificate"],
        "`certificates = [\"NAME\"]`, and a table `[certificates.NAME]`",
    ),
    ("routes", &["priority", "weight"], "nothing: of several routes the most specific one takes the client"),
    ("routes", &["middlewares", "path", "paths", "headers"], "nothing: HTTP is not looked at"),
    (
        "listeners",
        &["listen", "address", "addr", "port", "ports", "addresses", "listenaddress"],
        "`bind = \"0.0.0.0:443\"`",
    ),
    ("listeners", &["maxconn", "maxconns", "workerconnections"], "`max_connections = 10000`"),
    (
        "listeners",
        &["acceptproxy", "proxyprotocolfrom", "trustedips"],
        "`proxy_protocol = { from = [\"10.0.0.0/8\"] }`",
    ),
    ("listeners", &["from"], "`[listeners.NAME.proxy_protocol]` with `from = [\"10.0.0.0/8\"]`"),
    (
        "upstreams",
        &["server", "url", "urls", "address", "addresses", "backends", "endpoints", "hosts", "host", "targets", "to"],
        "`servers = [\"192.0.2.1:8443\"]`",
    ),
    (
        "upstreams",
        &["policy", "lbpolicy", "algorithm", "strategy", "method", "loadbalancer", "loadbalancing", "lb"],
        "`balance = \"least_connections\"`",
    ),
    ("upstreams", &["healthcheck", "check", "healthuri", "healthchecks", "activehealth"], "`health = true`"),
    ("upstreams", &["sendproxy", "sendproxyv2", "proxyprotocolversion"], "`proxy_protocol = \"v2\"`"),
    ("upstreams", &["maxfails", "passivehealth", "outlierdetection"], "`ejection = { failures = 3 }`"),
    ("upstreams", &["failtimeout"], "`ejection = { time = \"1s\" }`"),
    ("upstreams", &["timeout", "timeoutconnect", "dialtimeout", "proxyconnecttimeout"], "`connect_timeout = \"5s\"`"),
    ("upstreams", &["ssl", "https"], "`tls = true`"),
    ("upstreams", &["insecureskipverify", "tlsinsecureskipverify"], "`tls = { insecure = true }`"),
    ("upstreams", &["servername", "tlsservername"], "`tls = { server_name = \"app.internal\" }`"),
    ("upstreams", &["rootcas", "cafile", "ca", "cafiles"], "`tls = { trust = \"NAME\" }`, and a table `[trust.NAME]`"),
    ("upstreams", &["maxconn", "maxconns"], "`servers = [{ address = \"192.0.2.1:8443\", max_connections = 100 }]`"),
    (
        "tls",
        &["clientauthtype", "sslverifyclient", "verifyclient", "verify", "mode"],
        "`client_auth.mode = \"require_and_verify\"`",
    ),
    (
        "tls",
        &["cafiles", "clientca", "clientcas", "cafile", "sslclientcertificate", "trustedcacert", "trustedcacertfile"],
        "`client_auth.ca_files = [\"ca.pem\"]`",
    ),
    ("tls", &["sslcrl", "crlfile", "crlfiles"], "`client_auth.crl_files = [\"ca.crl\"]`"),
    ("tls", &["sslprotocols", "protocols", "sslminver", "tlsversion", "version"], "`min_version = \"1.2\"`"),
    ("tls", &["snistrict", "strictsni"], "`strict_sni = true`, in the route"),
    (
        "tls",
        &["certfile", "keyfile", "certificate", "certificates", "cert", "key", "sslcertificate"],
        "a table `[certificates.NAME]` with `cert_file` and `key_file`",
    ),
    (
        "tls",
        &["ciphers", "ciphersuites", "sslciphers", "curves", "curvepreferences"],
        "nothing: rustls has none that is weak",
    ),
    (
        "certificates",
        &["cert", "certificate", "sslcertificate", "crt", "fullchain", "pem", "chain", "certs", "file"],
        "`cert_file = \"app.pem\"`",
    ),
    ("certificates", &["key", "sslcertificatekey", "privatekey", "privkey"], "`key_file = \"app-key.pem\"`"),
    ("trust", &["cafile", "ca", "certfile", "rootcas", "file", "files", "path"], "`ca_files = [\"ca.pem\"]`"),
    ("timeouts", &["client", "server", "proxytimeout", "idletimeout", "tunnel", "read", "write"], "`idle = \"1h\"`"),
    ("timeouts", &["connecttimeout", "proxyconnecttimeout", "dial", "dialtimeout"], "`connect = \"5s\"`"),
    ("timeouts", &["clientfin", "serverfin"], "`half_close = \"60s\"`"),
    ("timeouts", &["shutdown", "gracetimeout", "graceperiod", "stop"], "`drain = \"30s\"`"),
    ("timeouts", &["tlshandshake", "ssl", "tls"], "`handshake = \"10s\"`"),
    ("timeouts", &["clienthello", "inspectdelay", "prereadtimeout"], "`hello = \"5s\"`"),
    ("log", &["loglevel"], "`level = \"info\"`"),
    ("log", &["accesslog"], "`access = true`"),
    ("log", &["output", "file", "path"], "nothing: the log goes to standard error"),
];

/// Words of others: the key, their words without case, `_`, `-` and `.`, and ours.
const WORDS: &[(&str, &[&str], &str)] = &[
    ("balance", &["leastconn", "leastrequest"], "least_connections"),
    ("balance", &["roundrobin", "wrr", "weightedroundrobin", "rr", "staticrr"], "round_robin"),
    ("balance", &["source", "iphash", "hash", "clientiphash", "sticky", "ringhash", "maglev"], "source_hash"),
    ("balance", &["randomchoose", "poweroftwo", "p2c"], "random"),
    ("balance", &["failover", "primary"], "first"),
    ("action", &["proxy", "forward", "tcp", "pass", "route", "allow"], "passthrough"),
    ("action", &["tls", "https", "decrypt", "tlsterminate", "ssl", "mtls"], "terminate"),
    ("action", &["deny", "block", "drop", "refuse", "abort"], "reject"),
    ("mode", &["required", "on", "require", "mutual"], "require_and_verify"),
    ("mode", &["optional"], "verify_if_given"),
    ("mode", &["optionalnoca"], "request"),
    ("mode", &["off", "no", "disabled"], "none"),
    ("min_version", &["tlsv12", "tls12", "versiontls12", "v12", "tlsv11", "tlsv1", "11", "10"], "1.2"),
    ("min_version", &["tlsv13", "tls13", "versiontls13", "v13"], "1.3"),
    ("proxy_protocol", &["1", "on", "sendproxy"], "v1"),
    ("proxy_protocol", &["2", "sendproxyv2"], "v2"),
    ("kind", &["http", "https", "ping"], "tcp"),
    ("level", &["warning"], "warn"),
    ("level", &["fatal", "panic", "crit", "critical", "emerg"], "error"),
    ("level", &["notice"], "info"),
    ("format", &["common", "console", "logfmt", "plain"], "text"),
    ("on_remove", &["kill", "reset"], "close"),
    ("on_revoke", &["kill", "reset", "drop"], "close"),
];

/// Without what people write in different ways.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

/// What to write in place of a key that is not known in `section`.
pub(super) fn key(section: &str, key: &str) -> Option<String> {
    let key = plain(key);
    let found = KEYS.iter().find(|(of, theirs, _)| *of == section && theirs.contains(&key.as_str()));
    found.map(|(.., ours)| {
        if ours.starts_with("nothing") { format!("leave it out, there is {ours}") } else { format!("write {ours}") }
    })
}

/// What to write in place of a word that is not known as a value of `key`.
pub(super) fn word(key: &str, word: &str) -> Option<String> {
    let word = plain(word);
    let found = WORDS.iter().find(|(of, theirs, _)| *of == key && theirs.contains(&word.as_str()));
    found.map(|(.., ours)| format!("write `{key} = {ours:?}`"))
}

/// What to write in place of a text that is no value of `key`.
pub(in crate::config) fn text(key: &str, text: &str) -> Option<String> {
    if let Some(names) = rule(text) {
        return Some(format!("write `sni = {names}`"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        return Some(format!("write it without the scheme and the path: `{key} = {host:?}`"));
    }
    let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 && key != "pem" && !text.contains('"') {
        return Some(format!("several of them are a list: `{key} = {}`", list(&parts)));
    }
    None
}

/// The names of a rule such as ``HostSNI(`a.example`) || Host("b.example")``, as a value.
fn rule(text: &str) -> Option<String> {
    if !["HostSNI(", "Host(", "HostRegexp(", "HostSNIRegexp("].iter().any(|function| text.contains(function)) {
        return None;
    }
    let names: Vec<&str> = text.split(['`', '"', '\'']).skip(1).step_by(2).collect();
    match names[..] {
        [] => Some("\"app.example.net\"".to_owned()),
        [name] => Some(format!("{name:?}")),
        _ => Some(list(&names)),
    }
}

fn list(items: &[&str]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", quoted.join(", "))
}

/// What a file is that is in another language from its first line to its last.
pub(super) fn language(text: &str) -> Option<Remedy> {
    let lines = || lines(text).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (span, first) = lines().next()?;
    let has = |test: fn(&str) -> bool| lines().any(|(_, line)| test(line));
    let found = |language: &str, help: &str| {
        let message = format!("this is {language}, and the configuration is TOML");
        Some(Remedy { span: span.clone(), message, help: help.to_owned() })
    };
    let tables =
        "write `[routes.NAME]` for each route, and `key = \"value\"` below it; config/example.toml has every key";
    if first.starts_with('{') {
        return found("JSON", tables);
    }
    if first.starts_with('<') {
        return found("XML", tables);
    }
    if first.starts_with("traefik.") {
        return found("a list of labels for Traefik", tables);
    }
    // Of a file that has a table the rest is TOML, too.
    if has(|line| line.starts_with('[') && line.contains(']')) || has(|line| line.contains(" = ")) {
        return None;
    }
    if first == "---" || is_yaml(first) {
        return found("YAML", tables);
    }
    let is_section = |line: &str| {
        let mut words = line.split_whitespace();
        let begins = matches!(words.next(), Some("frontend" | "backend" | "listen" | "defaults" | "global"));
        begins && words.count() <= 1 && !line.ends_with('{')
    };
    if is_section(first) {
        return found("a configuration of HAProxy", tables);
    }
    if has(|line| line.ends_with('{')) {
        let language = if has(|line| line.ends_with(';')) { "a configuration of nginx" } else { "a Caddyfile" };
        return found(language, tables);
    }
    None
}

/// The lines of a text without the blanks around them, each with its place.
fn lines(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |whole| {
        let line = whole.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let start = at + whole.find(line).unwrap_or_default();
        at += whole.len();
        (start..start + line.len(), line)
    })
}

/// `key:` or `key: value`
fn is_yaml(line: &str) -> bool {
    let Some((key, value)) = line.trim_start_matches("- ").split_once(':') else { return false };
    is_key(key.trim().trim_matches('"')) && (value.is_empty() || value.starts_with(' '))
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// What is wrong in a line that is not TOML, and whether more may be said of the lines below it.
pub(super) fn line(line: &str) -> Option<(String, String, Below)> {
    let bare = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let said = |message: &str, help: String| Some((message.to_owned(), help, Below::Known));
    if bare.contains(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}']) {
        let straight = bare.replace(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}'], "\"");
        return said("these quotes are typographic", format!("write straight ones: `{straight}`"));
    }
    if ["//", ";", "--", "/*"].iter().any(|begin| bare.starts_with(begin)) && !bare.starts_with("-----") {
        return said("this is no comment", "a comment begins with `#`".to_owned());
    }
    if bare.starts_with("-----BEGIN ") {
        return Some(pem());
    }
    if let Some(name) = bare.strip_prefix('[') {
        let Some((name, _)) = name.split_once(']') else {
            return said("the name of a table ends in `]`", format!("write `{bare}]`"));
        };
        return header(name);
    }
    for end in [';', ','] {
        if let Some(rest) = bare.strip_suffix(end).map(str::trim_end)
            && rest.parse::<toml::Table>().is_ok()
        {
            return said(&format!("a line does not end in `{end}`"), format!("write `{rest}`"));
        }
    }
    let (key, value) = match joined(bare)? {
        Joined::By(word, key, value) => {
            let value = value.trim_end_matches([',', ';']);
            let help = format!("write `{key} = {}`", written(key, value));
            return said(&format!("a key and its value are joined by `=`, not by {word}"), help);
        }
        Joined::Well(key, value) => (key, value),
    };
    if value.starts_with("-----BEGIN ") || value.starts_with("\"-----BEGIN ") {
        return Some(pem());
    }
    assigned(key, value)
}

/// Whether the lines below one that is wrong mean what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    Known,
    /// They may belong to what has not been closed.
    Unknown,
}

fn pem() -> (String, String, Below) {
    let help = "save it in a file of its own, and write that file's name: `cert_file = \"app.pem\"`";
    (
        "this is the certificate or key itself, where the name of its file is due".to_owned(),
        help.to_owned(),
        Below::Unknown,
    )
}

/// What is wrong with the name of a table.
fn header(name: &str) -> Option<(String, String, Below)> {
    let (section, rest) = name.trim_matches(['[', ']']).split_once('.')?;
    let message = "a name with other characters than letters, digits, `-` and `_` stands in quotes".to_owned();
    let rest = rest.trim_matches(['"', '\'']);
    (!is_key(rest)).then(|| (message, format!("write `[{section}.{rest:?}]`"), Below::Known))
}

/// A key and a value, and what stands between them.
enum Joined<'a> {
    Well(&'a str, &'a str),
    By(&'static str, &'a str, &'a str),
}

fn joined(line: &str) -> Option<Joined<'_>> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"')))?;
    let (key, rest) = (&line[..end], line[end..].trim_start());
    // An entry of a list begins with quotes, too.
    let is_quoted = key.len() > 2 && key.starts_with('"') && key.ends_with('"');
    let key = if is_quoted { &key[1..key.len() - 1] } else { key };
    if !is_key(key) {
        return None;
    }
    for (sign, word) in [("=>", "`=>`"), (":=", "`:=`"), ("==", "`==`"), (":", "`:`")] {
        if let Some(value) = rest.strip_prefix(sign) {
            return Some(Joined::By(word, key, value.trim()));
        }
    }
    match rest.strip_prefix('=') {
        Some(value) => Some(Joined::Well(key, value.trim())),
        None if rest.is_empty() => None,
        None => Some(Joined::By("a blank", key, rest.trim())),
    }
}

/// What is wrong with the value of `key = value`.
fn assigned(key: &str, value: &str) -> Option<(String, String, Below)> {
    let said = |message: &str, help: String| Some((message.to_owned(), help, Below::Known));
    let unclosed =
        |message: &str, end: char| Some((message.to_owned(), format!("write `{key} = {value}{end}`"), Below::Unknown));
    if value.starts_with('"') && value.contains('\\') {
        return said(
            "a backslash in double quotes begins an escape",
            format!("write single quotes: `{key} = '{}'`", value.trim_matches('"')),
        );
    }
    for quote in ['"', '\''] {
        if value.starts_with(quote) && value.matches(quote).count() == 1 {
            return unclosed("the quotes are not closed", quote);
        }
    }
    if value.starts_with('{') && value.contains(':') && !value.contains('=') {
        return said(
            "a key and its value are joined by `=`, not by `:`",
            format!("write `{key} = {}`", value.replace(": ", " = ")),
        );
    }
    if value.starts_with('[') && !value.contains(']') {
        return unclosed("the list is not closed", ']');
    }
    if value.is_empty() {
        return said("the value is missing", format!("write `{key} = \"value\"`"));
    }
    if value.starts_with('"') || value.starts_with('\'') || value.starts_with('{') {
        return None;
    }
    let message = if is_switch(value) { "a switch is `true` or `false`" } else { "a text stands in quotes" };
    said(message, format!("write `{key} = {}`", written(key, value)))
}

fn is_switch(value: &str) -> bool {
    ["true", "yes", "on", "false", "no"].contains(&value.to_lowercase().as_str())
}

/// A value as it is written in TOML.
fn written(key: &str, value: &str) -> String {
    let value = value.split(" #").next().unwrap_or(value).trim();
    if let Some(names) = rule(value) {
        return names;
    }
    if format!("x = {value}").parse::<toml::Table>().is_ok() {
        return value.to_owned();
    }
    match value.to_lowercase().as_str() {
        "true" | "yes" | "on" => return "true".to_owned(),
        "false" | "no" => return "false".to_owned(),
        _ => {}
    }
    let inner = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
    let items = inner.unwrap_or(value);
    let items: Vec<&str> =
        items.split([',', ' ']).map(|item| item.trim_matches(['"', '\''])).filter(|item| !item.is_empty()).collect();
    if inner.is_some() || items.len() > 1 && key != "pem" {
        return list(&items);
    }
    format!("{:?}", value.trim_matches(['"', '\'', '`']))
}
