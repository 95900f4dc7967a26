//! Keys and words of other proxies.

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
pub(in crate::config::read) fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

/// What to write in place of a key that is not known in `section`.
pub(in crate::config::read) fn key(section: &str, key: &str) -> Option<String> {
    let key = plain(key);
    let found = KEYS.iter().find(|(of, theirs, _)| *of == section && theirs.contains(&key.as_str()));
    found.map(|(.., ours)| {
        if ours.starts_with("nothing") { format!("leave it out, there is {ours}") } else { format!("write {ours}") }
    })
}

/// What to write in place of a word that is not known as a value of `key`.
pub(in crate::config::read) fn word(key: &str, word: &str) -> Option<String> {
    let word = plain(word);
    let found = WORDS.iter().find(|(of, theirs, _)| *of == key && theirs.contains(&word.as_str()));
    found.map(|(.., ours)| format!("write `{key} = {ours:?}`"))
}
