//! What people bring along from elsewhere, and what they slip on: one mistake is one error, which
//! says where it is and what to write instead.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::cli::{snigate, with_config};

const EDGE: &str = "[listeners.edge]\nbind = \"127.0.0.1:8443\"\n";
const CERTIFICATE: &str =
    "[certificates.a]\ncert_file = \"a.example.pem\"\nkey_file = \"a.example-key.pem\"\n";

/// A route with each of its lines, but for the one whose key is that of `line`, which is in its
/// place.
fn route(line: &str) -> String {
    let key = |line: &str| {
        line.split([' ', '=', ':', '\t'])
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let mut text = format!("{EDGE}[routes.a]\n");
    let lines = [
        "sni = \"a.example\"",
        "action = \"passthrough\"",
        "upstream = \"10.0.0.1:443\"",
    ];
    lines
        .iter()
        .filter(|own| key(own) != key(line))
        .for_each(|own| text += &format!("{own}\n"));
    text + line + "\n"
}

/// The same without its name, upstream or action.
fn route_without(missing: &str, line: &str) -> String {
    let lines: Vec<String> = route(line)
        .lines()
        .filter(|own| !own.starts_with(missing))
        .map(str::to_owned)
        .collect();
    lines.join("\n") + "\n"
}

fn upstream(line: &str) -> String {
    let servers = if line.starts_with("server") || line.starts_with("url") {
        ""
    } else {
        "servers = \"10.0.0.1:1\"\n"
    };
    format!(
        "{}[upstreams.u]\n{servers}{line}\n",
        route("upstream = \"u\"")
    )
}

fn listener(line: &str) -> String {
    format!("[listeners.edge]\n{line}\n[routes.a]\nsni = \"a.example\"\naction = \"reject\"\n")
}

fn terminated(more: &str) -> String {
    format!("{}{more}\n", route("action = \"terminate\"") + CERTIFICATE)
}

fn allow(entry: &str) -> String {
    terminated(&format!(
        "[tls.default]\nclient_auth.ca_files = \"ca.pem\"\nclient_auth.allow = {{ {entry} }}"
    ))
}

/// A configuration, the line and column of its mistake, and what the error says of it.
fn pastes() -> Vec<(String, &'static str, Vec<&'static str>)> {
    let traefik = "[tcp.routers.a]\nrule = \"HostSNI(`a.example`)\"\nservice = \"u\"\n";
    let yaml = "listeners:\n  edge:\n    bind: 0.0.0.0:443\nroutes:\n  a:\n    sni: a.example\n";
    let nginx =
        "stream {\n    server {\n        listen 443;\n        proxy_pass 10.0.0.1:443;\n    }\n}\n";
    let haproxy = "frontend edge\n    bind *:443\n    mode tcp\n    default_backend ca\n";
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
    vec![
        // Other languages.
        (
            yaml.into(),
            "1:1",
            vec!["this is YAML", "write `[routes.NAME]`"],
        ),
        (format!("# mine\n---\n{yaml}"), "2:1", vec!["this is YAML"]),
        (
            "{\n  \"routes\": { \"a\": { \"sni\": \"a.example\" } }\n}\n".into(),
            "1:1",
            vec!["this is JSON"],
        ),
        (
            "a.example {\n\treverse_proxy 10.0.0.1:443\n}\n".into(),
            "1:1",
            vec!["a Caddyfile"],
        ),
        (nginx.into(), "1:1", vec!["a configuration of nginx"]),
        (haproxy.into(), "1:1", vec!["a configuration of HAProxy"]),
        (
            "traefik.tcp.routers.a.rule=HostSNI(`a.example`)\n".into(),
            "1:1",
            vec!["labels for Traefik"],
        ),
        (
            "<config>\n<a/>\n</config>\n".into(),
            "1:1",
            vec!["this is XML"],
        ),
        (
            route("sni = `a.example`"),
            "6:1",
            vec!["write `sni = \"a.example\"`"],
        ),
        (
            upstream("servers = [\n  \"10.0.0.1:1\"\n  \"10.0.0.2:1\"\n]"),
            "10:3",
            vec!["a list are apart by commas"],
        ),
        (
            format!("{EDGE}{traefik}"),
            "3:2",
            vec!["unknown key `tcp`", "`[routes.NAME]` for each router"],
        ),
        // Lines that are not TOML.
        (
            route("action = terminate"),
            "6:1",
            vec!["a text stands in quotes", "write `action = \"terminate\"`"],
        ),
        (
            route("sni = HostSNI(`b.example`)"),
            "6:1",
            vec!["write `sni = \"b.example\"`"],
        ),
        (
            route("sni = a.example, b.example"),
            "6:1",
            vec!["write `sni = [\"a.example\", \"b.example\"]`"],
        ),
        (
            route("sni = [a.example, b.example]"),
            "6:1",
            vec!["write `sni = [\"a.example\", \"b.example\"]`"],
        ),
        (
            route("sni: \"a.example\""),
            "6:1",
            vec!["joined by `=`, not by `:`", "write `sni = \"a.example\"`"],
        ),
        (
            route("sni => \"a.example\""),
            "6:1",
            vec!["write `sni = \"a.example\"`"],
        ),
        (
            route("sni a.example"),
            "6:1",
            vec!["not by a blank", "write `sni = \"a.example\"`"],
        ),
        (
            route("sni = \u{201c}a.example\u{201d}"),
            "6:1",
            vec!["typographic", "`sni = \"a.example\"`"],
        ),
        (
            route("sni = \"a.example\";"),
            "6:1",
            vec!["does not end in `;`", "write `sni = \"a.example\"`"],
        ),
        (
            route("sni = \"a.example\","),
            "6:1",
            vec!["does not end in `,`"],
        ),
        (route("// sni"), "7:1", vec!["a comment begins with `#`"]),
        (
            route("strict_sni = True"),
            "7:1",
            vec!["write `strict_sni = true`"],
        ),
        (
            route("strict_sni = yes"),
            "7:1",
            vec!["write `strict_sni = true`"],
        ),
        (
            route("strict_sni = off"),
            "7:1",
            vec!["write `strict_sni = \"off\"`"],
        ),
        (
            route("upstream = 10.0.0.1:443"),
            "6:1",
            vec!["write `upstream = \"10.0.0.1:443\"`"],
        ),
        (
            route("from = 10.0.0.0/8"),
            "7:1",
            vec!["write `from = \"10.0.0.0/8\"`"],
        ),
        (
            route("sni = \"a.example"),
            "6:1",
            vec!["the quotes are not closed"],
        ),
        (
            route("sni = [\"a.example\", \"b.example\"\nstrict_sni = true"),
            "6:1",
            vec!["the list is not closed"],
        ),
        (
            format!("{EDGE}[routes.*.example]\nsni = \"a\"\n"),
            "3:1",
            vec!["write `[routes.\"*.example\"]`"],
        ),
        (
            format!("{EDGE}[routes.a\nsni = \"a\"\n"),
            "3:1",
            vec!["write `[routes.a]`"],
        ),
        (
            listener("bind = :443"),
            "2:1",
            vec!["write `bind = \":443\"`"],
        ),
        (
            format!("{}[timeouts]\nidle = 60s\n", route("")),
            "9:1",
            vec!["write `idle = \"60s\"`"],
        ),
        (
            format!("{}[certificates.b]\ncert_file = {pem}\n", route("")),
            "9:1",
            vec!["the name of its file is due"],
        ),
        (
            format!(
                "{}[certificates.b]\ncert_file = \"C:\\certs\\b.pem\"\n",
                route("")
            ),
            "9:1",
            vec!["write `cert_file = 'C:\\certs\\b.pem'`"],
        ),
        // The grammar of TOML.
        (
            listener("bind = \"127.0.0.1:8443\"\nmax_pending = 0100"),
            "3:1",
            vec!["no number", "`max_pending = 100`"],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nmax_pending = 1,000"),
            "3:1",
            vec!["write `max_pending = 1000`"],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nmax_pending = .5"),
            "3:1",
            vec!["write its digits alone"],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nmax_pending = 1.5e3"),
            "3:15",
            vec!["and a whole number"],
        ),
        (
            route("sni = [\"a.example\""),
            "6:1",
            vec!["the list is not closed", "write `sni = [\"a.example\"]`"],
        ),
        (
            route("from = [\n  \"10.0.0.0/8\",\n"),
            "7:1",
            vec!["the list is not closed", "write `]` behind its last entry"],
        ),
        (
            route("from = [\n  \"10.0.0.0/8\"\nstrict_sni = true"),
            "7:1",
            vec!["write `]` behind its last entry"],
        ),
        (
            route("sni = [\"a.example, \"b.example\"]"),
            "6:1",
            vec!["quotes are not closed", "[\"a.example\", \"b.example\"]`"],
        ),
        (
            route("sni = [\"a.example\" \"b.example\"]"),
            "6:1",
            vec!["one comma each", "`sni = [\"a.example\", \"b.example\"]`"],
        ),
        (
            route("sni = [\"a.example\"]]"),
            "6:1",
            vec!["a `]` too many", "write `sni = [\"a.example\"]`"],
        ),
        (
            route("sni = \"a.example\"]"),
            "6:1",
            vec!["the list has no beginning", "write `sni = [\"a.example\"]`"],
        ),
        (
            route("sni = \"a.example\", \"b.example\""),
            "6:1",
            vec!["are a list", "`sni = [\"a.example\", \"b.example\"]`"],
        ),
        (
            route("sni = {\"a.example\"}"),
            "6:1",
            vec!["a list stands in brackets", "write `sni = [\"a.example\"]`"],
        ),
        (
            route("sni = \"a.example\" // mine"),
            "6:1",
            vec!["a comment begins with `#`", "`sni = \"a.example\" # mine`"],
        ),
        (
            route("sni = \"a.example\" strict_sni = true"),
            "6:1",
            vec!["a line of its own", "`strict_sni = true` below it"],
        ),
        (
            route("sni"),
            "6:4",
            vec!["the value is missing", "write `key = \"value\"`"],
        ),
        (
            route("= \"a.example\""),
            "7:1",
            vec!["a key is missing", "write its name before `=`"],
        ),
        (route("strict sni = true"), "7:1", vec!["a key is one word"]),
        (
            route("strict_sni += true"),
            "7:1",
            vec!["write `strict_sni = true`"],
        ),
        (
            route("sni = \"\"\"a.example"),
            "7:1",
            vec!["three quotes", "write the same three quotes at its end"],
        ),
        (
            route("sni = 2026-01-01"),
            "6:7",
            vec!["this is a date", "write `sni = \"2026-01-01\"`"],
        ),
        (
            format!("{}[timeouts]\nidle = 12:00\n", route("")),
            "9:8",
            vec!["this is a date", "`idle = \"5s\"`"],
        ),
        (
            format!("{}[timeouts]\nidle = 5 s\n", route("")),
            "9:1",
            vec!["write `idle = \"5s\"`"],
        ),
        (
            format!("{EDGE}routes.a]\nsni = \"a\"\n"),
            "3:1",
            vec!["begins with `[`", "write `[routes.a]`"],
        ),
        (
            format!("{EDGE}[[routes.a]\nsni = \"a\"\n"),
            "3:1",
            vec!["ends in `]`", "write `[routes.a]`"],
        ),
        (
            format!("{EDGE}[routes.a]]\nsni = \"a\"\n"),
            "3:1",
            vec!["a `]` too many", "write `[routes.a]`"],
        ),
        (
            format!("{EDGE}[routes.]\nsni = \"a\"\n"),
            "3:1",
            vec!["is missing", "write `[routes.NAME]`"],
        ),
        (
            format!("{EDGE}[routes a]\nsni = \"a\"\n"),
            "3:1",
            vec!["joined by a dot", "write `[routes.a]`"],
        ),
        (
            format!("{EDGE}[routes.a] sni = \"a\"\n"),
            "3:1",
            vec!["a line of its own", "write `[routes.a]`"],
        ),
        (
            upstream("tls = { pin = \"a\" insecure = true }"),
            "9:19",
            vec!["a comma is missing", "apart by commas"],
        ),
        (
            upstream("tls = { pin = \"a\",, insecure = true }"),
            "9:19",
            vec!["a comma too many", "remove it"],
        ),
        (
            upstream("tls = { pin \"a\" }"),
            "9:13",
            vec!["joined by `=`"],
        ),
        (
            upstream("tls = { pin = \"a\""),
            "9:1",
            vec!["the braces are not closed", "write `tls = { pin = \"a\" }`"],
        ),
        // Names and ranges as others write them.
        (
            route("sni = \"a.example:443\""),
            "6:7",
            vec!["write `sni = \"a.example\"`"],
        ),
        (
            route("sni = \" a.example\""),
            "6:7",
            vec!["write `sni = \"a.example\"`"],
        ),
        (
            route("sni = '^(www|api)\\.example$'"),
            "6:7",
            vec!["there are no regular expressions", "write each name"],
        ),
        (
            route("from = \"10.0.0.0/255.0.0.0\""),
            "7:8",
            vec!["write `from = \"10.0.0.0/8\"`"],
        ),
        (
            route("from = \"10.0.0.2-10.0.0.4\""),
            "7:8",
            vec!["write `from = [\"10.0.0.2/31\", \"10.0.0.4/32\"]`"],
        ),
        (
            route("from = \"10.0.0.0/255.0.255.0\""),
            "7:8",
            vec!["this netmask is no prefix"],
        ),
        (
            route("from = \"a.example\""),
            "7:8",
            vec!["names are not looked up here"],
        ),
        (
            format!(
                "{}[upstreams.u]\nservers = \"10.0.0.1:1\"\n",
                route("upstream = [\"u\", \"v\"]")
            ),
            "6:13",
            vec![
                "is the name of an upstream",
                "write one table `[upstreams.NAME]`",
            ],
        ),
        (
            route("upstream = [\"a.internal\", \"b.internal\"]"),
            "6:13",
            vec!["has no port", "`\"a.internal:8443\"`"],
        ),
        (
            route("upstream = \"other\""),
            "6:12",
            vec!["an address has a port", "add a table `[upstreams.other]`"],
        ),
        (
            route("listeners = \"internal\""),
            "7:13",
            vec!["one that is defined, \"edge\""],
        ),
        (
            route("listeners = \"edgy\""),
            "7:13",
            vec!["did you mean \"edge\"?"],
        ),
        (
            terminated("").replace("action", "certificates = \"other\"\naction"),
            "6:16",
            vec!["one that is defined, \"a\""],
        ),
        (
            terminated("").replace("action", "certificates = \"b.pem\"\naction"),
            "6:16",
            vec!["add `[certificates.NAME]` with `cert_file = \"b.pem\"`"],
        ),
        (
            terminated("")
                .replace("cert_file", "x")
                .replace("key_file", "cert_file")
                .replace("x =", "key_file ="),
            "9:13",
            vec!["the two are swapped"],
        ),
        (
            terminated("[tls.default]\nclient_auth.ca_files = \"https://ca.example/ca.pem\""),
            "11:24",
            vec!["nothing is fetched", "save it into a file"],
        ),
        (
            format!("include = \"/tmp\"\n{}", route("")),
            "1:11",
            vec!["is a directory", "write `*.toml` behind it"],
        ),
        (
            terminated("[tls.default]\nocsp = true"),
            "11:1",
            vec!["OCSP is neither asked nor answered"],
        ),
        (
            terminated("ocsp_stapling = true"),
            "10:1",
            vec!["no answer of OCSP is sent"],
        ),
        (
            terminated("[tls.default]\nmin_version = \"TLS1.1\""),
            "11:15",
            vec!["write `min_version = \"1.2\"`"],
        ),
        (
            route("").replace("[routes.a]", "[routes.a.example]"),
            "3:11",
            vec![
                "a name with a dot stands in quotes",
                "write `[routes.\"a.example\"]`",
            ],
        ),
        (
            route("").replace("[routes.a]", "[routes.www.a.example]"),
            "3:13",
            vec!["write `[routes.\"www.a.example\"]`"],
        ),
        // Keys of others.
        (
            route_without("sni", "rule = \"HostSNI(`a.example`)\""),
            "6:1",
            vec!["unknown key `rule`", "`sni = "],
        ),
        (
            route_without("sni", "server_name = \"a.example\""),
            "6:1",
            vec!["`sni = "],
        ),
        (
            route_without("upstream", "service = \"u\""),
            "6:1",
            vec!["unknown key `service`", "`upstream = "],
        ),
        (
            route_without("upstream", "proxy_pass = \"10.0.0.1:443\""),
            "6:1",
            vec!["`upstream = "],
        ),
        (
            route("entryPoints = [\"edge\"]"),
            "7:1",
            vec!["`listeners = "],
        ),
        (
            route("sniStrict = true"),
            "7:1",
            vec!["`strict_sni = true`"],
        ),
        (
            route("priority = 10"),
            "7:1",
            vec!["the most specific one takes the client"],
        ),
        (
            listener("listen = \"0.0.0.0:443\""),
            "2:1",
            vec!["`bind = "],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nmaxconn = 10"),
            "3:1",
            vec!["`max_connections = "],
        ),
        (
            upstream("server = \"10.0.0.1:1\""),
            "8:1",
            vec!["`servers = "],
        ),
        (
            upstream("url = \"https://10.0.0.1:1\""),
            "8:1",
            vec!["`servers = "],
        ),
        (
            upstream("lb_policy = \"random\""),
            "9:1",
            vec!["`balance = "],
        ),
        (
            upstream("send-proxy-v2 = true"),
            "9:1",
            vec!["`proxy_protocol = \"v2\"`"],
        ),
        (
            upstream("max_fails = 3"),
            "9:1",
            vec!["`ejection = { failures = 3 }`"],
        ),
        (
            upstream("insecureSkipVerify = true"),
            "9:1",
            vec!["`tls = { insecure = true, pin = "],
        ),
        (
            terminated("[tls.default]\nssl_verify_client = \"on\""),
            "11:1",
            vec!["`client_auth.mode = "],
        ),
        (
            terminated("[tls.default]\nclientAuth.caFiles = \"ca.pem\""),
            "11:1",
            vec!["write `client_auth`"],
        ),
        (
            route("action = \"terminate\"")
                + "[certificates.a]\nssl_certificate = \"a.example.pem\"\n",
            "8:1",
            vec!["`cert_file = "],
        ),
        (
            route("action = \"terminate\"")
                + "[certificates.a]\ncert_file = \"a.example.pem\"\nprivkey = \"k\"\n",
            "9:1",
            vec!["`key_file = "],
        ),
        // Tables.
        (
            route("").replace("[routes.a]", "[route.a]"),
            "3:2",
            vec!["did you mean \"routes\""],
        ),
        (
            route("").replace("[listeners.", "[listener."),
            "1:2",
            vec!["did you mean \"listeners\""],
        ),
        (
            route("").replace("[listeners.", "[entryPoints."),
            "1:2",
            vec!["`[listeners.NAME]`"],
        ),
        (
            route("").replace("[routes.a]", "[[routes]]"),
            "3:1",
            vec!["write `[routes.NAME]`"],
        ),
        (
            route("").replace("[routes.a]", "[[routes.a]]"),
            "3:1",
            vec!["write `[routes.a]`, once"],
        ),
        (
            route("").replace("[routes.a]", "[routes]"),
            "4:7",
            vec!["write `[routes.NAME]`, and `sni` below it"],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nproxy_protocol = true"),
            "3:18",
            vec!["proxy_protocol = { from ="],
        ),
        // Words of others.
        (
            route("action = \"pass\""),
            "6:10",
            vec!["unknown value `pass`", "write `action = \"passthrough\"`"],
        ),
        (
            route("action = \"deny\""),
            "6:10",
            vec!["write `action = \"reject\"`"],
        ),
        (
            upstream("balance = \"leastconn\""),
            "9:11",
            vec!["write `balance = \"least_connections\"`"],
        ),
        (
            upstream("balance = \"least_conn\""),
            "9:11",
            vec!["write `balance = \"least_connections\"`"],
        ),
        (
            upstream("balance = \"roundrobin\""),
            "9:11",
            vec!["write `balance = \"round_robin\"`"],
        ),
        (
            upstream("balance = \"source\""),
            "9:11",
            vec!["write `balance = \"source_hash\"`"],
        ),
        (
            upstream("balance = \"ip_hash\""),
            "9:11",
            vec!["write `balance = \"source_hash\"`"],
        ),
        (
            terminated("[tls.default]\nmin_version = \"TLSv1.3\""),
            "11:15",
            vec!["write `min_version = \"1.3\"`"],
        ),
        (
            terminated(
                "[tls.default]\nclient_auth.mode = \"optional\"\nclient_auth.ca_files = \"ca.pem\"",
            ),
            "11:20",
            vec!["write `mode = \"verify_if_given\"`"],
        ),
        // Values of another type.
        (
            format!("{}[timeouts]\nidle = 60\n", route("")),
            "9:8",
            vec!["this is a number", "write `idle = \"60s\"`"],
        ),
        (
            format!("{}[timeouts]\nidle = false\n", route("")),
            "9:8",
            vec!["write `idle = \"off\"`"],
        ),
        (
            route("strict_sni = \"true\""),
            "7:14",
            vec!["this is a text", "write `strict_sni = true`"],
        ),
        (
            upstream("health = \"true\""),
            "9:10",
            vec!["write `health = true`"],
        ),
        (
            listener("bind = 443"),
            "2:8",
            vec!["write `bind = \"0.0.0.0:443\"`"],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nmax_connections = \"100\""),
            "3:19",
            vec!["write `max_connections = 100`"],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nmax_connections = -1"),
            "3:19",
            vec!["a whole number"],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nmax_pending = \"10k\""),
            "3:15",
            vec!["write `max_pending = 10000`"],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nmax_pending_bytes = \"64MiB\""),
            "3:21",
            vec!["write `max_pending_bytes = 67108864`"],
        ),
        (route("sni = 7"), "6:7", vec!["write `sni = \"7\"`"]),
        (
            route("sni = { name = \"a\" }"),
            "6:7",
            vec!["this is a table"],
        ),
        (
            route("action = [\"passthrough\"]"),
            "6:10",
            vec!["write `action = \"passthrough\"`"],
        ),
        (
            route("tls = { passthrough = true }"),
            "7:7",
            vec!["write `action = \"passthrough\"`"],
        ),
        (
            terminated("[tls.default]\nmin_version = 1.2"),
            "11:15",
            vec!["write `min_version = \"1.2\"`"],
        ),
        (
            terminated("[tls.default]\nclient_auth = \"require_and_verify\""),
            "11:15",
            vec!["write `client_auth.mode = \"require_and_verify\"`"],
        ),
        (
            format!("{}[certificates.b]\ncert_file = '''{pem}'''\n", route("")),
            "9:13",
            vec!["certificates.b.cert_file: this is the certificate itself"],
        ),
        (
            upstream("health.kind = {}"),
            "9:15",
            vec!["this is a table, and `tcp` or `tls` is due"],
        ),
        (
            listener("bind = \"127.0.0.1:8443\"\nrate_per_source = 100"),
            "3:19",
            vec!["write `rate_per_source = { connections = 100, per = \"1s\" }`"],
        ),
        // Twice, or in two ways.
        (
            route("").replace("[routes.a]", "[routes.a]\n[routes.a]"),
            "4:9",
            vec!["routes.a is defined twice, first in line 3"],
        ),
        (
            route("strict_sni = true\nstrict_sni = false"),
            "8:1",
            vec!["routes.a.strict_sni is defined twice, first in line 7"],
        ),
        // What stands in the second is there twice for the same reason.
        (
            format!(
                "{}[routes.a.timeouts]\nidle = \"1m\"\n[routes.a]\nstrict_sni = true\n[routes.a.timeouts]\nidle = \"1m\"\n",
                route("strict_sni = true")
            ),
            "10:9",
            vec!["routes.a is defined twice, first in line 3"],
        ),
        // A key in the wrong table is not missing in the right one.
        (
            listener("").replace("[routes.a]", "[routes.a]\nbind = \"127.0.0.1:8443\""),
            "4:1",
            vec!["unknown key `bind`"],
        ),
        (
            upstream("tls = { pin = \"a\", pin = \"b\" }"),
            "9:20",
            vec!["upstreams.u.tls.pin is defined twice"],
        ),
        (
            terminated(
                "[tls.default]\nclient_auth = { mode = \"request\" }\nclient_auth.ca_files = \"ca.pem\"",
            ),
            "12:1",
            vec![
                "closed by its braces",
                "there, write `client_auth.mode = \"request\"`",
            ],
        ),
        // Keys of another table.
        (
            route("health = true"),
            "7:1",
            vec!["`health` belongs in `[upstreams.NAME]`, which the route names"],
        ),
        (
            route("proxy_protocol = \"v2\""),
            "7:1",
            vec!["`[listeners.NAME]`, or in `[upstreams.NAME]`"],
        ),
        (
            route("client_auth.mode = \"request\""),
            "7:1",
            vec!["`client_auth` belongs in `[tls.NAME]`"],
        ),
        (
            route("on_revoke = \"close\""),
            "7:1",
            vec!["`on_revoke` belongs in `[tls.NAME]`"],
        ),
        (
            route("timeouts.hello = \"5s\""),
            "7:10",
            vec!["`[timeouts]`, or in `[listeners.NAME.timeouts]`"],
        ),
        (
            upstream("weight = 2"),
            "9:1",
            vec!["in an entry of `servers` in `[upstreams.u]`"],
        ),
        (
            terminated("[tls.default]\non_remove = \"close\""),
            "11:1",
            vec!["`on_remove` belongs in `[routes.NAME]`"],
        ),
        (
            format!("level = \"info\"\n{}", route("")),
            "1:1",
            vec!["`level` belongs in `[log]`"],
        ),
        // Traefik, Caddy, nginx.
        (
            terminated(
                "[tls.options.strict]\nminVersion = \"VersionTLS13\"\n[tls.options.mtls]\nsniStrict = true",
            ),
            "10:6",
            vec!["a table of Traefik's", "write `[tls.NAME]`"],
        ),
        (
            route("action = \"terminate\"") + "[certificates.a]\nacme = true\n",
            "8:1",
            vec!["certbot, lego", "`[certificates.NAME]`"],
        ),
        (
            "stream {\n}\n".into(),
            "1:1",
            vec!["a configuration of nginx"],
        ),
        (
            "{\n  debug\n}\na.example {\n}\n".into(),
            "1:1",
            vec!["a Caddyfile"],
        ),
        (
            terminated(
                "[tls.default]\nclient_auth.ca_files = \"ca.pem\"\nclient_auth.deny.dn = \"CN=x\"",
            ),
            "12:18",
            vec!["write `subject = "],
        ),
        (
            route("sni = \"a.example'"),
            "6:1",
            vec!["are not the same", "write `sni = \"a.example\"`"],
        ),
        (
            route("from:\n  - 10.0.0.0/8"),
            "7:1",
            vec!["joined by `=`, not by `:`", "write `from = \"value\"`"],
        ),
        (
            route("action = \"reject\""),
            "5:12",
            vec![
                "upstream has no effect",
                "(remove it: with this action nobody comes in)",
            ],
        ),
        // Values that mean nothing.
        (
            listener("bind = \"443\""),
            "2:8",
            vec!["write `\"0.0.0.0:443\"`, and `\"[::]:443\"` for IPv6"],
        ),
        (
            listener("bind = \":443\""),
            "2:8",
            vec!["write `\"0.0.0.0:443\"`, and `\"[::]:443\"` for IPv6"],
        ),
        (
            listener("bind = \"localhost:443\""),
            "2:8",
            vec!["write `\"127.0.0.1:443\"`, and `\"[::1]:443\"` for IPv6"],
        ),
        (
            route("upstream = \"$HOST:1\""),
            "6:12",
            vec!["a variable of the environment", "write `${HOST}:1`"],
        ),
        (
            route("upstream = \"{$HOST}:1\""),
            "6:12",
            vec!["write `${HOST}:1`"],
        ),
        (
            route("sni = \"HostSNI(`b.example`)\""),
            "6:7",
            vec!["write `sni = \"b.example\"`"],
        ),
        (
            route("sni = \"a.example, b.example\""),
            "6:7",
            vec!["`sni = [\"a.example\", \"b.example\"]`"],
        ),
        (
            route("sni = \"https://a.example/\""),
            "6:7",
            vec!["`sni = \"a.example\"`"],
        ),
        (
            route("upstream = \"https://10.0.0.1:443/\""),
            "6:12",
            vec!["`upstream = \"10.0.0.1:443\"`"],
        ),
        (
            format!("{}[timeouts]\nidle = \"60\"\n", route("")),
            "9:8",
            vec!["is not a duration", "`5s`"],
        ),
        // Where a server is due and there is neither a port nor a table of that name.
        (
            route("upstream = \"/run/a.sock\""),
            "6:12",
            vec!["write `\"unix:/run/a.sock\"`"],
        ),
        (
            route("upstream = [\"10.0.0.1:1\", \"/run/a.sock\"]"),
            "6:27",
            vec!["write `\"unix:/run/a.sock\"`"],
        ),
        (
            route("upstream = \"10.0.0.1\""),
            "6:12",
            vec!["write `\"10.0.0.1:8443\"`"],
        ),
        (
            route("upstream = \"8443\""),
            "6:12",
            vec!["write `\"127.0.0.1:8443\"`"],
        ),
        (
            upstream("servers = \"/run/a.sock\""),
            "8:11",
            vec!["write `\"unix:/run/a.sock\"`"],
        ),
        // A URI has its scheme.
        (
            allow("uri = \"spiffe://x*\""),
            "12:29",
            vec!["write `client_auth.allow.uri = \"spiffe://x/*\"`"],
        ),
        (
            allow("uri = \"x/web\""),
            "12:29",
            vec!["write `client_auth.allow.uri = \"spiffe://x/web\"`"],
        ),
        (
            allow("uri = \"spiffe://*/web\""),
            "12:29",
            vec!["can stand only at the end"],
        ),
        (
            allow("dns = \"https://b.example/\""),
            "12:29",
            vec![
                "write it without the scheme",
                "`client_auth.allow.dns = \"b.example\"`",
            ],
        ),
    ]
}

#[test]
fn what_is_pasted_gets_one_error_with_its_place_and_what_to_write() {
    let mut wrong = Vec::new();
    let pastes = pastes();
    assert!(pastes.len() >= 165, "{}", pastes.len());
    for (config, place, expected) in pastes {
        let dir = with_config(&config);
        let output = snigate(dir.path(), &["check", "--json"]);
        let lines = String::from_utf8(output.stdout).unwrap();
        let findings = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        // What is worth a look beside it is another matter.
        let findings: Vec<serde_json::Value> = findings
            .filter(|finding| finding["severity"] == "error")
            .collect();
        let said = |finding: &serde_json::Value| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            format!(
                "{}:{} {} ({})",
                finding["line"],
                finding["column"],
                text("message"),
                text("help")
            )
        };
        let all: Vec<String> = findings.iter().map(said).collect();
        let [one] = &all[..] else {
            wrong.push(format!("{config}\n  {} errors: {all:#?}", all.len()));
            continue;
        };
        let is_said =
            one.starts_with(&format!("{place} ")) && expected.iter().all(|text| one.contains(text));
        if !is_said || output.status.code() != Some(1) {
            wrong.push(format!(
                "{config}\n  {place} {expected:?} is due, and this is said: {one}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

#[test]
fn what_other_editors_leave_is_no_mistake() {
    let right = route("sni = [\"a.example\"]");
    for (name, text) in [
        ("a byte order mark", format!("\u{feff}{right}")),
        ("carriage returns", right.replace('\n', "\r\n")),
        ("tabs", right.replace(" = ", "\t=\t")),
        ("one text for a list", route("listeners = \"edge\"")),
    ] {
        let dir = with_config(&text);
        let output = snigate(dir.path(), &["check", "--strict"]);
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let dir = with_config("");
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(right.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(dir.path().join("snigate.toml"), utf16).unwrap();
    let output = snigate(dir.path(), &["check"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("UTF-16"));
}

#[test]
fn a_listener_on_which_there_is_no_route_is_told() {
    let other = "[listeners.idle]\nbind = \"127.0.0.1:8444\"\n";
    for (text, expected) in [
        (
            EDGE.to_owned(),
            "there are no routes, so that every client is refused",
        ),
        (
            format!("{other}{}", route("listeners = \"edge\"")),
            "listeners.idle: no route is on it",
        ),
    ] {
        let output = snigate(with_config(&text).path(), &["check", "--strict"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains(expected) && said.contains("0 errors, 1 warning"),
            "{said}"
        );
    }
}

#[test]
fn a_certificate_without_its_key_is_no_key_that_everybody_reads() {
    let text =
        route("action = \"terminate\"") + "[certificates.a]\ncert_file = \"a.example.pem\"\n";
    let dir = with_config(&text);
    let everybody = fs::Permissions::from_mode(0o644);
    fs::set_permissions(dir.path().join("a.example.pem"), everybody).unwrap();
    let output = snigate(dir.path(), &["check"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("add `key_file = ") && said.contains("1 error, 0 warnings"),
        "{said}"
    );
}
