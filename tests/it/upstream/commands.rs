//! What the commands say of TLS to the servers.

use std::fs;
use std::process::{Command, Output};

use super::*;

fn snigate(dir: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
    command
        .args(arguments)
        .current_dir(dir.path())
        .env_remove("SSL_CERT_DIR");
    command
        .env("SSL_CERT_FILE", dir.path().join("edge.pem"))
        .output()
        .expect("it runs")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn with_config(tls: &str, more: &str) -> (Site, TempDir) {
    let (site, dir) = site();
    write(dir.path(), "inside", &site.inside());
    write(
        dir.path(),
        "edge-client",
        &site.corp.client("snigate", Validity::days(20)).unwrap(),
    );
    write_config(&dir, &config(&[&"vault.internal:8200"], tls, more));
    (site, dir)
}

fn write_config(dir: &TempDir, config: &str) {
    fs::write(
        dir.path().join("snigate.toml"),
        format!("{config}\n[listeners.edge]\nbind = \"127.0.0.1:8443\"\n"),
    )
    .unwrap();
}

const CLIENT: &str = "[certificates.edge-client]\ncert_file = \"edge-client.pem\"\nkey_file = \"edge-client-key.pem\"\n";

#[test]
fn what_would_make_servers_believed_that_should_not_be_is_refused() {
    let bad = "[trust.corp]\npem = '''\n-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n'''\n";
    let named = "tls.trust = \"corp\"";
    for (tls, more, expected) in [
        ("tls.trust = \"crop\"", TRUST, "did you mean \"corp\"?"),
        ("tls.trust = \"corp\"", "", "trust \"corp\" is not defined"),
        (
            "tls = { trust = \"corp\", insecure = true }",
            TRUST,
            "tls.insecure is true beside tls.trust",
        ),
        (
            named,
            "[trust.corp]\n",
            "there is no CA to verify servers against",
        ),
        (
            named,
            "[trust.corp]\nca_files = []\n",
            "there is no CA to verify servers against",
        ),
        (
            named,
            "[trust.corp]\nca_files = [\"no.pem\"]\n",
            "trust.corp: cannot read no.pem",
        ),
        (
            named,
            "[trust.corp]\nca_files = [\"snigate.toml\"]\n",
            "no certificate in the file",
        ),
        (
            named,
            bad,
            "trust.corp: pem: certificate 1 of 1 in the file cannot be read",
        ),
        (
            named,
            "[[trust.corp]]\nca_files = [\"corp.pem\"]\n",
            "trust.corp must be a table",
        ),
        ("tls = []", "", "upstreams.vault.tls"),
        ("tls = \"corp\"", "", "a table, true or false is due"),
        (
            "tls = { sever_name = \"x\" }",
            "",
            "did you mean \"server_name\"?",
        ),
        (
            "tls.server_name = \"a b\"",
            "",
            "tls.server_name: ' ' cannot stand in a server name",
        ),
        (
            "tls.pin = \"abcd\"",
            "",
            "tls.pin: a SHA-256 digest of a public key",
        ),
        (
            "tls = { insecure = true, pin = [] }",
            "",
            "tls.pin is empty",
        ),
        (
            "tls.certificate = \"edge\"",
            CLIENT,
            "certificate \"edge\" is not defined",
        ),
        ("tls.min_version = \"1.1\"", "", "unknown value `1.1`"),
    ] {
        let (_, dir) = with_config(tls, more);
        let output = snigate(&dir, &["check"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{tls}\n{said}");
        assert!(
            said.contains(expected),
            "{expected:?} is not in what is said of {tls}\n{more}\n{said}"
        );
    }
}

#[test]
fn a_passthrough_route_and_a_unix_socket_have_no_tls_to_servers() {
    let (_, dir) = with_config("tls = true", "");
    let config = config(&[&"vault.internal:8200"], "tls = true", "");
    write_config(
        &dir,
        &config
            .replace("\"terminate\"", "\"passthrough\"")
            .replace("certificates = [\"site\"]", ""),
    );
    let said = text(&snigate(&dir, &["check"]));
    for expected in [
        "upstreams.vault has `tls`, which would wrap",
        "write `action = \"terminate\"`, or name the server's address",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    write_config(
        &dir,
        &config.replace("vault.internal:8200", "unix:/run/vault.sock"),
    );
    let said = text(&snigate(&dir, &["check"]));
    assert!(
        said.contains("unix:/run/vault.sock is a unix socket, over which there is no TLS"),
        "{said}"
    );
    write_config(
        &dir,
        &config.replace("vault.internal:8200", "-.internal:8200"),
    );
    let said = text(&snigate(&dir, &["check"]));
    assert!(
        said.contains("no certificate can be for the name in -.internal:8200"),
        "{said}"
    );
}

#[test]
fn a_route_that_would_come_back_to_itself_is_refused() {
    let (_, dir) = site();
    for (server_name, comes_back) in [(NAME, true), (INSIDE, false)] {
        write_config(
            &dir,
            &config(
                &[&"127.0.0.1:8443"],
                &format!("tls.server_name = \"{server_name}\""),
                "",
            ),
        );
        let said = text(&snigate(&dir, &["check"]));
        assert_eq!(
            said.contains("where the client came from"),
            comes_back,
            "{said}"
        );
    }
}

#[test]
fn what_is_worth_knowing_is_said() {
    let shown = |name: &str| format!("tls = {{ trust = \"corp\", certificate = \"{name}\" }}");
    let inside =
        "[certificates.inside]\ncert_file = \"inside.pem\"\nkey_file = \"inside-key.pem\"\n";
    let leaf = "[trust.corp]\nca_files = [\"corp.pem\", \"inside.pem\"]\n";
    let pinned = format!("tls = {{ insecure = true, pin = \"{}\" }}", "ab".repeat(32));
    for (tls, more, expected) in [
        (
            shown("inside"),
            format!("{TRUST}{inside}"),
            "does not include clientAuth, so that servers refuse it",
        ),
        (shown("edge-client"), format!("{TRUST}{CLIENT}"), ""),
        (
            "tls = { insecure = true }".to_owned(),
            String::new(),
            "whoever answers at the address of a server is believed",
        ),
        (pinned, String::new(), ""),
        (corp(), leaf.to_owned(), "is not a CA certificate"),
        (
            "tls = true".to_owned(),
            TRUST.to_owned(),
            "trust.corp: no route uses it",
        ),
        ("tls = false".to_owned(), String::new(), ""),
    ] {
        let (_, dir) = with_config(&tls, &more);
        let output = snigate(&dir, &["check"]);
        let said = text(&output);
        assert!(
            output.status.success() && said.contains(expected),
            "{expected:?} is not in what is said of {tls}\n{said}"
        );
        let warnings = if expected.is_empty() {
            "0 errors, 0 warnings"
        } else {
            "0 errors, 1 warning"
        };
        assert!(said.contains(warnings), "{tls}\n{said}");
    }
}

/// It has no name, and would be the first one, by name, of a route that names none.
#[test]
fn a_certificate_for_servers_is_not_shown_to_clients() {
    let (_, dir) = with_config("", "");
    let (tls, more) = (
        "tls = { trust = \"corp\", certificate = \"edge-client\" }",
        format!("{TRUST}{CLIENT}"),
    );
    let config = config(&[&"vault.internal:8200"], tls, &more)
        .replace("certificates = [\"site\"]", "strict_sni = false");
    write_config(&dir, &config);
    let said = text(&snigate(&dir, &["explain"]));
    assert!(
        said.contains("certificate  site: dns:app.example"),
        "{said}"
    );
}

#[test]
fn explain_and_show_say_how_servers_are_verified() {
    let insecure = format!(
        "tls = {{ insecure = true, pin = [\"{}\", \"{}\"] }}",
        "ab".repeat(32),
        "cd".repeat(32)
    );
    for (tls, more, expected) in [
        (corp(), TRUST.to_owned(), "over TLS as vault.internal, verified against trust.corp\n"),
        ("tls = true".to_owned(), String::new(), "over TLS as vault.internal, verified against the system's store\n"),
        (
            "tls = { trust = \"corp\", certificate = \"edge-client\", min_version = \"1.3\", alpn = \"h2\" }"
                .to_owned(),
            format!("{TRUST}{CLIENT}"),
            "TLS 1.3, ALPN h2, certificates.edge-client for a server that asks for one\n",
        ),
        ("tls.insecure = true".to_owned(), String::new(), "not verified: whoever answers is believed\n"),
        (insecure, String::new(), "verified by its key only, with a key out of 2\n"),
    ] {
        let (_, dir) = with_config(&tls, &more);
        let said = text(&snigate(&dir, &["explain", "--sni", NAME]));
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
        let shown = snigate(&dir, &["show"]);
        assert!(shown.status.success(), "{}", text(&shown));
        fs::write(dir.path().join("snigate.toml"), &shown.stdout).unwrap();
        assert_eq!(text(&snigate(&dir, &["show"])), text(&shown), "{tls}");
        assert_eq!(text(&snigate(&dir, &["explain", "--sni", NAME])), said, "{tls}");
    }
}

#[test]
fn show_trust_lists_each_file_with_its_authorities() {
    let pem = Authority::new("inline", Validity::days(20)).unwrap();
    let more = format!(
        "[trust.corp]\nca_files = [\"corp.pem\"]\nsystem = true\npem = '''\n{}'''\n",
        pem.certificate()
    );
    let (_, dir) = with_config(&corp(), &more);
    let said = text(&snigate(&dir, &["show", "--trust"]));
    for expected in [
        "trust.corp\n",
        "  corp.pem: 1 certificate\n    CN=corp until ",
        "  the configuration (pem): 1 certificate\n    CN=inline until ",
        "edge.pem: 1 certificate\n    CN=edge until ",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
}
