//! Keys and words of other proxies.

/// Where certificates come from that a CA issues by itself.
const ACME: &str = "let a client of ACME (certbot, lego) write the files, and name them in `[certificates.NAME]`: a renewed \
    one is served at once";

/// Keys of others: the section, their names without case, `_` and `-`, and what to write.
const KEYS: &[(&str, &[&str], &str)] = &[
    (
        "",
        &["tcp", "http", "routers"],
        "`[routes.NAME]` for each router, and `[upstreams.NAME]` for each service",
    ),
    (
        "",
        &[
            "entrypoints",
            "entrypoint",
            "frontend",
            "frontends",
            "servers",
            "apps",
        ],
        "`[listeners.NAME]`",
    ),
    (
        "",
        &["backend", "backends", "services", "clusters", "cluster"],
        "`[upstreams.NAME]`",
    ),
    (
        "",
        &["certs", "keypair", "keypairs"],
        "`[certificates.NAME]`",
    ),
    ("", &["logging", "accesslog", "logs"], "`[log]`"),
    ("", &["dns", "resolvers", "nameservers"], "`[resolver]`"),
    ("", &["ca", "cas", "rootcas"], "`[trust.NAME]`"),
    (
        "",
        &["acme", "certificatesresolvers", "certresolver", "email"],
        ACME,
    ),
    (
        "",
        &[
            "providers",
            "api",
            "ping",
            "metrics",
            "stats",
            "admin",
            "dashboard",
            "global",
        ],
        "leave it out: snigate has none",
    ),
    (
        "",
        &[
            "worker",
            "workers",
            "workerprocesses",
            "threads",
            "nbthread",
        ],
        "leave it out: there is a thread for each processor",
    ),
    (
        "",
        &["user", "group", "daemon", "pidfile", "chroot"],
        "leave it out: the service manager does that, see packaging/snigate.service",
    ),
    (
        "routes",
        &[
            "rule",
            "host",
            "hosts",
            "hostname",
            "servername",
            "servernames",
            "hostsni",
            "serveralias",
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
    (
        "routes",
        &["entrypoints", "entrypoint", "frontend", "listen", "bind"],
        "`listeners = [\"edge\"]`",
    ),
    (
        "routes",
        &["passthrough", "tlspassthrough"],
        "`action = \"passthrough\"`",
    ),
    (
        "routes",
        &["mode", "type", "handler", "handle"],
        "`action = \"passthrough\"`, `\"terminate\"` or `\"reject\"`",
    ),
    ("routes", &["snistrict"], "`strict_sni = true`"),
    (
        "routes",
        &["acme", "certresolver", "autotls", "tlsalpn"],
        ACME,
    ),
    (
        "routes",
        &["cafiles", "cafile", "clientca", "clientcas"],
        "`client_auth.ca_files = [\"ca.crt\"]` in a table `[tls.NAME]`, and `tls = \"NAME\"` in the route",
    ),
    (
        "routes",
        &["verify", "sslverifyclient", "clientauthtype", "mtls"],
        "`tls = \"NAME\"`, and a table `[tls.NAME]` with `client_auth.ca_files`",
    ),
    (
        "routes",
        &["deny", "denylist", "block", "blocklist"],
        "a route of its own with `from = [\"192.0.2.0/24\"]` and `action = \"reject\"`",
    ),
    (
        "routes",
        &["sendproxy", "sendproxyv2"],
        "`proxy_protocol = \"v2\"` in `[upstreams.NAME]`",
    ),
    (
        "routes",
        &[
            "sourcerange",
            "clientip",
            "remoteip",
            "src",
            "allow",
            "iprange",
            "sources",
        ],
        "`from = [\"10.0.0.0/8\"]`",
    ),
    (
        "routes",
        &["cert", "certificate", "certs", "sslcertificate"],
        "`certificates = [\"NAME\"]`, and a table `[certificates.NAME]`",
    ),
    (
        "routes",
        &["priority", "order"],
        "nothing: of several routes the most specific one takes the client",
    ),
    (
        "routes",
        &["middlewares", "path", "paths", "headers"],
        "nothing: HTTP is not looked at",
    ),
    (
        "listeners",
        &[
            "listen",
            "address",
            "addr",
            "host",
            "ip",
            "port",
            "ports",
            "addresses",
            "listenaddress",
        ],
        "`bind = \"0.0.0.0:443\"`",
    ),
    (
        "listeners",
        &["maxconn", "maxconns", "workerconnections"],
        "`max_connections = 10000`",
    ),
    (
        "listeners",
        &["acceptproxy", "proxyprotocolfrom", "trustedips"],
        "`proxy_protocol = { from = [\"10.0.0.0/8\"] }`",
    ),
    (
        "listeners",
        &["acceptproxyprotocol", "proxy", "proxyprotocoltrusted"],
        "`proxy_protocol = { from = [\"10.0.0.0/8\"] }`",
    ),
    (
        "listeners",
        &[
            "ssl",
            "tlsenabled",
            "https",
            "protocol",
            "mode",
            "http2",
            "http3",
            "reuseport",
        ],
        "nothing: what connects here is TLS, and routes say what becomes of it",
    ),
    (
        "listeners",
        &["crt", "cert", "certfile", "certificate", "sslcertificate"],
        "`certificates = [\"NAME\"]` in the route, and a table `[certificates.NAME]`",
    ),
    (
        "listeners",
        &["backlog", "nodelay", "tcpnodelay"],
        "nothing: snigate sets it",
    ),
    (
        "listeners",
        &[
            "route",
            "routes",
            "defaultbackend",
            "usebackend",
            "upstream",
        ],
        "`listeners = [\"edge\"]` in the route, or nothing: a route is on every listener",
    ),
    (
        "listeners",
        &["ratelimit", "connratelimit", "limitconn", "stickcounter"],
        "`rate_per_source = { connections = 100, per = \"1s\" }`",
    ),
    (
        "listeners",
        &[
            "idletimeout",
            "keepalivetimeout",
            "clienttimeout",
            "timeoutclient",
        ],
        "`idle = \"1h\"` in `[timeouts]`",
    ),
    (
        "listeners",
        &["from"],
        "`[listeners.NAME.proxy_protocol]` with `from = [\"10.0.0.0/8\"]`",
    ),
    (
        "upstreams",
        &[
            "server",
            "url",
            "urls",
            "address",
            "addresses",
            "backends",
            "endpoints",
            "hosts",
            "host",
            "targets",
            "to",
        ],
        "`servers = [\"192.0.2.1:8443\"]`",
    ),
    (
        "upstreams",
        &[
            "policy",
            "lbpolicy",
            "algorithm",
            "strategy",
            "method",
            "loadbalancer",
            "loadbalancing",
            "lb",
        ],
        "`balance = \"least_connections\"`",
    ),
    (
        "upstreams",
        &[
            "healthcheck",
            "check",
            "healthuri",
            "healthchecks",
            "activehealth",
        ],
        "`health = true`",
    ),
    (
        "upstreams",
        &["sendproxy", "sendproxyv2", "proxyprotocolversion"],
        "`proxy_protocol = \"v2\"`",
    ),
    (
        "upstreams",
        &["maxfails", "passivehealth", "outlierdetection"],
        "`ejection = { failures = 3 }`",
    ),
    (
        "upstreams",
        &["failtimeout"],
        "`ejection = { time = \"1s\" }`",
    ),
    (
        "upstreams",
        &[
            "timeout",
            "timeoutconnect",
            "dialtimeout",
            "proxyconnecttimeout",
        ],
        "`connect_timeout = \"5s\"`",
    ),
    ("upstreams", &["ssl", "https"], "`tls = true`"),
    ("upstreams", &["timeouts"], "`connect_timeout = \"5s\"`"),
    (
        "upstreams",
        &["sticky", "hash", "iphash", "stickiness"],
        "`balance = \"source_hash\"`",
    ),
    (
        "upstreams",
        &["mode", "protocol"],
        "nothing: what goes to a server is as its client sends it",
    ),
    (
        "upstreams",
        &["keepalive", "poolsize", "maxidleconns"],
        "nothing: each client has a connection of its own",
    ),
    (
        "upstreams",
        &[
            "insecureskipverify",
            "tlsinsecureskipverify",
            "sslverify",
            "verify",
            "skipverify",
        ],
        "`tls = { trust = \"NAME\" }` with the server's CA in `[trust.NAME]`, or `tls = { insecure = true, pin = \"...\" }`, \
         which knows the server by its key",
    ),
    (
        "upstreams",
        &["servername", "tlsservername"],
        "`tls = { server_name = \"app.internal\" }`",
    ),
    (
        "upstreams",
        &["rootcas", "cafile", "ca", "cafiles"],
        "`tls = { trust = \"NAME\" }`, and a table `[trust.NAME]`",
    ),
    (
        "upstreams",
        &["maxconn", "maxconns"],
        "`servers = [{ address = \"192.0.2.1:8443\", max_connections = 100 }]`",
    ),
    (
        "tls",
        &[
            "clientauthtype",
            "sslverifyclient",
            "verifyclient",
            "verify",
            "mode",
        ],
        "`client_auth.mode = \"require_and_verify\"`",
    ),
    (
        "tls",
        &[
            "cafiles",
            "clientca",
            "clientcas",
            "cafile",
            "sslclientcertificate",
            "trustedcacert",
            "trustedcacertfile",
        ],
        "`client_auth.ca_files = [\"ca.crt\"]`",
    ),
    (
        "tls",
        &["dn", "distinguishedname", "subjectdn"],
        "`subject = \"CN=web,O=Example\"`",
    ),
    (
        "tls",
        &["issuerdn", "issuercn"],
        "`issuer = \"CN=Example CA\"`",
    ),
    ("tls", &["commonname"], "`cn = \"web\"`"),
    (
        "tls",
        &["organization", "organisation"],
        "`o = \"Example\"`",
    ),
    ("tls", &["organizationalunit"], "`ou = \"shop\"`"),
    (
        "tls",
        &[
            "san",
            "sans",
            "subjectaltname",
            "dnsname",
            "dnsnames",
            "names",
        ],
        "`dns`, `uri`, `email` or `ip`, by the kind of name",
    ),
    (
        "tls",
        &["spiffe", "spiffeid", "uris"],
        "`uri = \"spiffe://example.net/web\"`",
    ),
    (
        "tls",
        &[
            "fingerprint",
            "fingerprints",
            "sha256",
            "thumbprint",
            "sha1",
            "pin",
            "pins",
        ],
        "`spki_sha256 = \"...\"`, the digest of the public key, which `snigate pki inspect` prints",
    ),
    (
        "tls",
        &["verifydepth", "sslverifydepth", "depth"],
        "nothing: a chain has sixteen intermediates at most",
    ),
    ("tls", &["certresolver", "acme"], ACME),
    (
        "tls",
        &["sslcrl", "crlfile", "crlfiles"],
        "`client_auth.crl_files = [\"ca.crl\"]`",
    ),
    (
        "tls",
        &[
            "ocsp",
            "ocspstapling",
            "sslstapling",
            "sslstaplingverify",
            "sslocsp",
            "ocspresponder",
        ],
        "nothing: OCSP is neither asked nor answered; `client_auth.crl_files` names the revocation lists of clients",
    ),
    (
        "tls",
        &[
            "sslprotocols",
            "protocols",
            "sslminver",
            "tlsversion",
            "version",
        ],
        "`min_version = \"1.2\"`",
    ),
    (
        "tls",
        &["snistrict", "strictsni"],
        "`strict_sni = true`, in the route",
    ),
    (
        "tls",
        &[
            "certfile",
            "keyfile",
            "certificate",
            "certificates",
            "cert",
            "key",
            "sslcertificate",
        ],
        "a table `[certificates.NAME]` with `cert_file` and `key_file`",
    ),
    (
        "tls",
        &[
            "ciphers",
            "ciphersuites",
            "sslciphers",
            "curves",
            "curvepreferences",
        ],
        "nothing: every cipher suite and group on offer is strong",
    ),
    (
        "certificates",
        &[
            "cert",
            "certificate",
            "sslcertificate",
            "crt",
            "fullchain",
            "pem",
            "chain",
            "certs",
            "file",
        ],
        "`cert_file = \"app.pem\"`",
    ),
    (
        "certificates",
        &[
            "acme",
            "letsencrypt",
            "certresolver",
            "auto",
            "autocert",
            "email",
            "resolver",
        ],
        ACME,
    ),
    (
        "certificates",
        &["domain", "domains", "host", "hosts", "sans", "sni"],
        "nothing: a certificate in a file has its own names; `names` is for `self_signed = true`",
    ),
    (
        "certificates",
        &[
            "ocsp",
            "ocspstapling",
            "sslstapling",
            "ocspfile",
            "muststaple",
        ],
        "nothing: no answer of OCSP is sent with a certificate",
    ),
    (
        "certificates",
        &["selfsign", "internal", "generate", "snakeoil"],
        "`self_signed = true`",
    ),
    (
        "certificates",
        &["password", "passphrase", "keypassword"],
        "nothing: keys are not encrypted; `openssl pkey -in KEY -out app-key.pem` decrypts one",
    ),
    (
        "certificates",
        &["pfx", "p12", "pkcs12"],
        "`cert_file` and `key_file`: `openssl pkcs12 -in STORE -nodes` takes both out of a store",
    ),
    (
        "certificates",
        &["key", "sslcertificatekey", "privatekey", "privkey"],
        "`key_file = \"app-key.pem\"`",
    ),
    (
        "trust",
        &[
            "cafile", "ca", "certfile", "rootcas", "file", "files", "path",
        ],
        "`ca_files = [\"ca.crt\"]`",
    ),
    (
        "timeouts",
        &[
            "client",
            "server",
            "proxytimeout",
            "idletimeout",
            "tunnel",
            "read",
            "write",
        ],
        "`idle = \"1h\"`",
    ),
    (
        "timeouts",
        &[
            "timeout",
            "proxyreadtimeout",
            "idletime",
            "timeoutclient",
            "timeoutserver",
        ],
        "`idle = \"1h\"`",
    ),
    (
        "timeouts",
        &[
            "connecttimeout",
            "proxyconnecttimeout",
            "dial",
            "dialtimeout",
        ],
        "`connect = \"5s\"`",
    ),
    (
        "timeouts",
        &["clientfin", "serverfin"],
        "`half_close = \"60s\"`",
    ),
    (
        "timeouts",
        &["shutdown", "gracetimeout", "graceperiod", "stop"],
        "`drain = \"30s\"`",
    ),
    (
        "timeouts",
        &["tlshandshake", "ssl", "tls"],
        "`handshake = \"10s\"`",
    ),
    (
        "timeouts",
        &["clienthello", "inspectdelay", "prereadtimeout"],
        "`hello = \"5s\"`",
    ),
    ("log", &["loglevel"], "`level = \"info\"`"),
    ("log", &["accesslog"], "`access = true`"),
    (
        "log",
        &["verbosity", "verbose", "debug"],
        "`level = \"debug\"`",
    ),
    (
        "log",
        &[
            "output", "file", "path", "filepath", "errorlog", "target", "syslog",
        ],
        "nothing: the log goes to standard error",
    ),
];

/// Words of others: the key, their words without case, `_`, `-` and `.`, and ours.
const WORDS: &[(&str, &[&str], &str)] = &[
    (
        "balance",
        &["leastconn", "leastrequest"],
        "least_connections",
    ),
    (
        "balance",
        &["roundrobin", "wrr", "weightedroundrobin", "rr", "staticrr"],
        "round_robin",
    ),
    (
        "balance",
        &[
            "source",
            "iphash",
            "hash",
            "clientiphash",
            "sticky",
            "ringhash",
            "maglev",
        ],
        "source_hash",
    ),
    ("balance", &["randomchoose", "poweroftwo", "p2c"], "random"),
    ("balance", &["failover", "primary"], "first"),
    (
        "action",
        &["proxy", "forward", "tcp", "pass", "route", "allow"],
        "passthrough",
    ),
    (
        "action",
        &["tls", "https", "decrypt", "tlsterminate", "ssl", "mtls"],
        "terminate",
    ),
    (
        "action",
        &["deny", "block", "drop", "refuse", "abort"],
        "reject",
    ),
    (
        "mode",
        &["required", "on", "require", "mutual"],
        "require_and_verify",
    ),
    ("mode", &["optional"], "verify_if_given"),
    (
        "mode",
        &["requireandverify", "verify", "verifypeer", "strict"],
        "require_and_verify",
    ),
    ("mode", &["optionalnoca"], "request"),
    ("mode", &["off", "no", "disabled"], "none"),
    (
        "min_version",
        &["tlsv12", "tls12", "versiontls12", "v12"],
        "1.2",
    ),
    (
        "min_version",
        &[
            "tlsv11",
            "tls11",
            "versiontls11",
            "v11",
            "11",
            "tlsv10",
            "tlsv1",
            "tls10",
            "tls1",
            "versiontls10",
            "10",
        ],
        "1.2",
    ),
    (
        "min_version",
        &[
            "sslv3",
            "ssl3",
            "ssl30",
            "versionssl30",
            "sslv2",
            "ssl2",
            "ssl",
        ],
        "1.2",
    ),
    (
        "max_version",
        &["tlsv13", "tls13", "versiontls13", "v13"],
        "1.3",
    ),
    (
        "min_version",
        &["tlsv13", "tls13", "versiontls13", "v13"],
        "1.3",
    ),
    ("proxy_protocol", &["1", "on", "sendproxy"], "v1"),
    ("proxy_protocol", &["2", "sendproxyv2"], "v2"),
    ("kind", &["http", "https", "ping"], "tcp"),
    ("level", &["warning"], "warn"),
    (
        "level",
        &["fatal", "panic", "crit", "critical", "emerg"],
        "error",
    ),
    ("level", &["notice"], "info"),
    ("format", &["common", "console", "logfmt", "plain"], "text"),
    ("on_remove", &["kill", "reset"], "close"),
    ("on_revoke", &["kill", "reset", "drop"], "close"),
];

/// Without what people write in different ways.
pub(in crate::config::read) fn plain(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '_' | '-' | '.' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// The key to write in place of one that is not known in `section`.
pub(in crate::config::read) fn key(section: &str, key: &str) -> Option<String> {
    let key = plain(key);
    let found = KEYS
        .iter()
        .find(|(of, theirs, _)| *of == section && theirs.contains(&key.as_str()));
    found.map(|(.., ours)| match ours {
        _ if ours.starts_with("nothing") => format!("leave it out, there is {ours}"),
        _ if ours.starts_with('`') || ours.starts_with("a ") => format!("write {ours}"),
        _ => (*ours).to_owned(),
    })
}

/// The word to write in place of one that is not known as a value of `key`.
pub(in crate::config::read) fn word(key: &str, word: &str) -> Option<String> {
    let word = plain(word);
    let found = WORDS
        .iter()
        .find(|(of, theirs, _)| *of == key && theirs.contains(&word.as_str()));
    found.map(|(.., ours)| format!("write `{key} = {ours:?}`"))
}
