//! Mistakes that have nothing to do with each other are all told in one run, and one that has a
//! second one for its consequence is told alone.

use crate::cli::{CERTIFICATE, LISTENER, snigate, with_config};

/// A configuration in which nothing is wrong.
fn sound() -> String {
    format!(
        "{LISTENER}max_pending = 100\n\
         [routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"u\"\ntls = \"m\"\ncertificates = [\"a\"]\n\
         timeouts.connect = \"1s\"\n\
         [routes.p]\nsni = \"p.example\"\naction = \"passthrough\"\nupstream = \"10.0.0.9:1\"\nfrom = \"10.0.0.0/8\"\n\
         [upstreams.u]\nservers = [{{ address = \"10.0.0.1:1\", weight = 2, max_connections = 3 }}, \"10.0.0.2:1\"]\n\
         ejection = {{ failures = 4, time = \"2s\", max_percent = 50 }}\n\
         health = {{ interval = \"3s\", timeout = \"4s\", rise = 2 }}\n\
         {CERTIFICATE}[tls.m]\nclient_auth.ca_files = \"ca.pem\"\nclient_auth.allow = {{ dns = \"b.example\", serial = \"01\" }}\n\
         [timeouts]\nidle = \"1h\"\ndrain = \"6s\"\n"
    )
}

/// The errors that `check` tells, as `LINE: MESSAGE (HELP)`.
fn errors(config: &str) -> Vec<String> {
    let output = snigate(with_config(config).path(), &["check", "--json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let findings = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let errors = findings.filter(|finding| finding["severity"] != "warning");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    errors
        .map(|error| {
            format!(
                "{}: {} ({})",
                error["line"],
                text(&error["message"]),
                text(&error["help"])
            )
        })
        .collect()
}

#[test]
fn mistakes_that_have_nothing_to_do_with_each_other_are_told_in_one_run() {
    let mistakes = [
        ("max_pending = 100", "max_pending = 0", "max_pending"),
        ("tls = \"m\"", "tls = \"n\"", "tls \"n\" is not defined"),
        (
            "certificates = [\"a\"]",
            "certificates = [\"b\"]",
            "certificate \"b\" is not defined",
        ),
        (
            "timeouts.connect = \"1s\"",
            "timeouts.connect = \"1\"",
            "timeouts.connect: ",
        ),
        (
            "upstream = \"u\"",
            "upstream = \"v\"",
            "upstream \"v\" is not defined",
        ),
        ("sni = \"p.example\"", "sni = \"p example\"", "sni: "),
        ("\"10.0.0.9:1\"", "\"10.0.0.9:0\"", "routes.p: upstream: "),
        ("\"10.0.0.0/8\"", "\"10.0.0.0/80\"", "from: "),
        ("weight = 2", "weight = 2000", "servers: weight: "),
        (
            "max_connections = 3",
            "max_connections = 0",
            "servers: max_connections: ",
        ),
        (
            "\"10.0.0.2:1\"",
            "\"10.0.0.2\"",
            "servers: an address ends in a port",
        ),
        ("failures = 4", "failures = 0", "ejection.failures"),
        ("time = \"2s\"", "time = \"2\"", "ejection.time"),
        (
            "max_percent = 50",
            "max_percent = 500",
            "ejection.max_percent",
        ),
        ("interval = \"3s\"", "interval = \"3\"", "health.interval"),
        ("timeout = \"4s\"", "timeout = \"4\"", "health.timeout"),
        ("rise = 2", "rise = 0", "health.rise"),
        ("\"a.example.pem\"", "\"none.pem\"", "cannot read none.pem"),
        (
            "\"a.example-key.pem\"",
            "\"none-key.pem\"",
            "cannot read none-key.pem",
        ),
        ("\"ca.pem\"", "\"none-ca.pem\"", "cannot read none-ca.pem"),
        (
            "dns = \"b.example\"",
            "dns = \"*\"",
            "client_auth.allow.dns",
        ),
        (
            "serial = \"01\"",
            "serial = \"x\"",
            "client_auth.allow.serial",
        ),
        ("idle = \"1h\"", "idle = \"1\"", "timeouts: idle"),
        ("drain = \"6s\"", "drian = \"6s\"", "unknown key `drian`"),
    ];
    assert_eq!(errors(&sound()), <[String; 0]>::default());
    let told = |errors: &[String], expected: &str| {
        errors
            .iter()
            .filter(|error| error.contains(expected))
            .count()
    };
    for (right, wrong, expected) in mistakes {
        let config = sound().replacen(right, wrong, 1);
        let errors = errors(&config);
        assert!(
            config != sound() && errors.len() == 1 && told(&errors, expected) == 1,
            "{wrong}: {errors:#?}"
        );
    }
    let all = mistakes.iter().fold(sound(), |config, (right, wrong, _)| {
        config.replacen(right, wrong, 1)
    });
    let errors = errors(&all);
    for (_, wrong, expected) in mistakes {
        assert_eq!(
            told(&errors, expected),
            1,
            "{wrong} beside all others: {errors:#?}"
        );
    }
    assert_eq!(errors.len(), mistakes.len(), "{errors:#?}");
}

#[test]
fn a_route_that_would_let_everybody_in_is_told_beside_other_mistakes_and_not_because_of_them() {
    let open = |config: &str| config.replacen("tls = \"m\"\n", "", 1);
    let unguarded = |config: &str| {
        errors(config)
            .iter()
            .filter(|error| error.contains("would let in every client"))
            .count()
    };
    assert_eq!(unguarded(&open(&sound())), 1);
    assert_eq!(
        unguarded(&open(&sound()).replacen("idle = \"1h\"", "idle = \"1\"", 1)),
        1
    );
    for misspelt in ["tsl = \"m\"\n", "tls = \"n\"\n", "Tls = \"m\"\n"] {
        let config = sound().replacen("tls = \"m\"\n", misspelt, 1);
        let errors = errors(&config);
        assert_eq!((errors.len(), unguarded(&config)), (1, 0), "{errors:#?}");
    }
}

#[test]
fn what_stands_beside_a_misspelt_action_is_judged_all_the_same() {
    for action in ["passthru", "terminat", "rejekt"] {
        let config = sound()
            .replacen("action = \"terminate\"", &format!("action = {action:?}"), 1)
            .replacen("upstream = \"u\"", "upstream = \"v\"", 1)
            .replacen("tls = \"m\"", "tls = \"n\"", 1)
            .replacen("certificates = [\"a\"]", "certificates = [\"b\"]", 1);
        let errors = errors(&config);
        let expected = [
            format!("routes.a.action: unknown value `{action}`"),
            "routes.a: upstream \"v\" is not defined".to_owned(),
            "routes.a: tls \"n\" is not defined".to_owned(),
            "routes.a: certificate \"b\" is not defined".to_owned(),
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.contains(&expected), "{expected}: {errors:#?}");
        }
    }
}

#[test]
fn a_file_that_is_certificate_and_key_and_cannot_be_read_is_one_mistake() {
    let config = sound().replacen(
        "cert_file = \"a.example.pem\"",
        "cert_file = \"none.pem\"",
        1,
    );
    let config: String = config
        .lines()
        .filter(|line| !line.starts_with("key_file"))
        .map(|line| format!("{line}\n"))
        .collect();
    let errors = errors(&config);
    let [error] = &errors[..] else {
        panic!("{errors:#?}\n{config}");
    };
    assert!(error.contains("cannot read none.pem"), "{error}");
}

#[test]
fn a_table_whose_only_key_is_misspelt_is_one_mistake() {
    let own = |keys: &str| {
        let begin = sound();
        let (before, after) = begin.split_once("client_auth.ca_files").unwrap();
        let (_, after) = after.split_once("[timeouts]").unwrap();
        format!("{before}{keys}\n[timeouts]{after}")
    };
    let cas = "client_auth.ca_files = \"ca.pem\"\n";
    let pin = "f7".repeat(32);
    for (misspelt, config) in [
        (
            "dnz",
            own(&format!(
                "{cas}client_auth.allow = {{ dnz = \"b.example\" }}"
            )),
        ),
        (
            "serail",
            own(&format!("{cas}client_auth.deny = {{ serail = \"01\" }}")),
        ),
        ("ca_fils", own("client_auth.ca_fils = \"ca.pem\"")),
        (
            "ca_fils",
            own("client_auth.ca_fils = \"ca.pem\"\nclient_auth.allow.dns = \"b.example\""),
        ),
        (
            "ca_fils",
            own("client_auth.mode = \"require_and_verify\"\nclient_auth.ca_fils = \"ca.pem\""),
        ),
        (
            "ca_fils",
            own("client_auth.ca_fils = \"ca.pem\"\non_revoke = \"close\""),
        ),
        (
            "spki_sha",
            own(&format!(
                "client_auth.mode = \"pinned\"\nclient_auth.spki_sha = \"{pin}\""
            )),
        ),
        (
            "mod",
            own(&format!(
                "client_auth.mod = \"pinned\"\nclient_auth.spki_sha256 = \"{pin}\""
            )),
        ),
        (
            "crl_fils",
            own(&format!(
                "{cas}client_auth.crl_fils = \"ca.crl\"\nclient_auth.crl = {{ depth = \"leaf\" }}"
            )),
        ),
        // What is inherited may be what is missing, too.
        (
            "dnz",
            own(&format!(
                "extends = \"k\"\n[tls.k]\n{cas}client_auth.allow = {{ dnz = \"b.example\" }}"
            )),
        ),
        (
            "ca_fils",
            own(
                "extends = \"k\"\nclient_auth.allow.dns = \"b.example\"\n[tls.k]\nclient_auth.ca_fils = \"ca.pem\"",
            ),
        ),
        (
            "conections",
            sound().replace("max_pending = 100", "rate_per_source = { conections = 1 }"),
        ),
        (
            "form",
            sound().replace(
                "max_pending = 100",
                "proxy_protocol = { form = \"10.0.0.0/8\" }",
            ),
        ),
        (
            "adress",
            sound().replace(
                "bind = \"127.0.0.1:8443\"",
                "bind = { adress = \"127.0.0.1:8443\" }",
            ),
        ),
        ("bnd", sound().replace("bind = ", "bnd = ")),
        ("adress", sound().replace("address = ", "adress = ")),
        ("severs", sound().replace("servers = ", "severs = ")),
        (
            "trst",
            sound().replace(
                "health = ",
                "tls = { trst = \"x\", server_name = \"u.example\" }\nhealth = ",
            ),
        ),
        ("ca_fils", sound() + "[trust.x]\nca_fils = \"ca.pem\"\n"),
        ("serverz", sound() + "[resolver]\nserverz = \"10.0.0.1\"\n"),
        (
            "self_sined",
            sound() + "[certificates.b]\nself_sined = true\n",
        ),
        (
            "cert_fil",
            sound() + "[certificates.b]\ncert_fil = \"a.example.pem\"\n",
        ),
        ("dri", sound() + "[certificates.b]\ndri = \"certs\"\n"),
        ("dri", sound() + "[storage]\ndri = \"certs\"\n"),
        ("levl", sound() + "[log]\nlevl = \"info\"\n"),
    ] {
        let errors = errors(&config);
        assert!(
            errors.len() == 1 && errors[0].contains(&format!("unknown key `{misspelt}`")),
            "{config}\n{errors:#?}"
        );
    }
    // What nobody misspelt is a mistake of its own.
    let nobody = errors(&own(&format!("{cas}client_auth.allow = {{ dns = [] }}")));
    assert!(
        nobody.len() == 1 && nobody[0].contains("client_auth.allow is empty"),
        "{nobody:#?}"
    );
}

#[test]
fn what_is_said_of_a_value_is_what_was_written_and_what_to_write() {
    let of = |right: &str, wrong: &str| sound().replace(right, wrong);
    let tls = |line: &str| of("[tls.m]\n", &format!("[tls.m]\n{line}\n"));
    let limit = |line: &str| of("max_pending = 100", line);
    let rate = |keys: &str| limit(&format!("rate_per_source = {{ {keys} }}"));
    let servers =
        "servers = [{ address = \"10.0.0.1:1\", weight = 2, max_connections = 3 }, \"10.0.0.2:1\"]";
    for (config, message, help) in [
        (
            of("bind = \"127.0.0.1:8443\"", "bind = []"),
            "bind names no address",
            "add `bind =",
        ),
        (
            of(servers, "servers = []"),
            "servers names no server",
            "add `servers =",
        ),
        (
            of("sni = \"a.example\"", "sni = []"),
            "sni names no server name",
            "add `sni =",
        ),
        (
            of("upstream = \"u\"", "upstream = []"),
            "upstream names no server",
            "add `upstream =",
        ),
        (
            limit("proxy_protocol = { from = [] }"),
            "proxy_protocol.from names no address",
            "name the proxies",
        ),
        (
            tls("min_version = \"1.4\""),
            "unknown value `1.4`",
            "(write `1.2` or `1.3`)",
        ),
        (
            tls("max_version = \"1.1\""),
            "unknown value `1.1`",
            "(write `1.2` or `1.3`)",
        ),
        (
            tls("client_auth.cert_file = \"a.pem\""),
            "unknown key `cert_file`",
            "(write `cert_files`)",
        ),
        (
            of("certificates = [\"a\"]", "certificate = \"a\""),
            "unknown key `certificate`",
            "`certificates = ",
        ),
        (
            rate("connections = 0"),
            "rate_per_source.connections: 0 would",
            "without `rate_per_source` there is no limit",
        ),
        (
            rate("connections = 1, burst = 0"),
            "rate_per_source.burst: 0 would",
            "without the key it is `connections`",
        ),
        (
            limit("connections_per_source = 0"),
            "connections_per_source: 0 would",
            "without the key there is no limit",
        ),
        (
            limit("max_handshakes = 0"),
            "max_handshakes: 0 would",
            "without the key its default counts",
        ),
    ] {
        let errors = errors(&config);
        let is_told = |error: &String| error.contains(message) && error.contains(help);
        assert!(errors.iter().any(is_told), "{config}\n{errors:#?}");
    }
}

#[test]
fn whatever_is_said_has_the_file_that_it_is_said_of() {
    for (config, expected) in [
        ("", "there are no listeners"),
        (
            "[routes.a]\nsni = \"a.example\"\naction = \"reject\"\n",
            "there are no listeners",
        ),
        (LISTENER, "there are no routes"),
        ("not TOML", ""),
        ("-----BEGIN PRIVATE KEY-----\n", "a private key begins here"),
    ] {
        let output = snigate(with_config(config).path(), &["check", "--json"]);
        let lines = String::from_utf8(output.stdout).unwrap();
        let findings: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            lines.contains(expected) && !findings.is_empty(),
            "{config}: {lines}"
        );
        assert!(
            findings
                .iter()
                .all(|finding| finding["file"] == "snigate.toml"),
            "{config}: {lines}"
        );
    }
    let output = snigate(with_config("").path(), &["check", "--json", "nowhere.toml"]);
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("\"file\":\"nowhere.toml\"")
    );
}
