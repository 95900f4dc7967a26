//! What is wrong with a certificate is as bad as it is for those who are shown it, and a file that
//! is not there yet is told with the command that makes it.

use std::fs;
use std::time::{Duration, SystemTime};

use snigate::pki::{Authority, Validity};

use crate::cli::{LISTENER, snigate, text, with_config};
use crate::support::tls;

#[test]
fn an_expired_certificate_is_urgent_only_where_clients_are_shown_it() {
    let own = "[certificates.old]\ncert_file = \"old.pem\"\nkey_file = \"old-key.pem\"\n";
    let other =
        "[certificates.a]\ncert_file = \"a.example.pem\"\nkey_file = \"a.example-key.pem\"\n";
    let route = |more: &str| {
        format!(
            "{LISTENER}[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"u\"\n{more}\
             [upstreams.u]\nservers = \"10.0.0.1:1\"\n{own}{other}"
        )
    };
    let shown = |config: String| {
        let tls = "tls = { insecure = true, server_name = \"u.example\", certificate = \"old\" }\n";
        config.replace("\"10.0.0.1:1\"\n", &format!("\"10.0.0.1:1\"\n{tls}"))
    };
    let (day, now) = (Duration::from_secs(86400), SystemTime::now());
    let past = Validity {
        not_before: now - 9 * day,
        not_after: now - day,
    };
    let authority = Authority::new("ca", Validity::days(30)).unwrap();
    let server = authority.server(&["a.example"], past).unwrap();
    let client = authority.client("edge", past).unwrap();
    for (config, certificate, severity, help) in [
        (
            route("certificates = [\"old\"]\n"),
            &server,
            "urgent",
            "clients refuse it",
        ),
        (
            route("certificates = [\"a\", \"old\"]\n"),
            &server,
            "urgent",
            "clients refuse it",
        ),
        (route(""), &server, "urgent", "clients refuse it"),
        (shown(route("")), &server, "urgent", "clients refuse it"),
        (
            shown(route("")),
            &client,
            "warning",
            "servers that ask for it refuse it",
        ),
        (
            shown(route("certificates = [\"a\"]\n")),
            &server,
            "warning",
            "servers that ask for it refuse it",
        ),
        (
            route("certificates = [\"a\"]\n"),
            &server,
            "warning",
            "no route uses it",
        ),
        (
            route("certificates = [\"a\"]\n"),
            &client,
            "warning",
            "no route uses it",
        ),
        (
            route("").replace("terminate", "passthrough"),
            &server,
            "warning",
            "no route uses it",
        ),
    ] {
        let dir = with_config(&config);
        tls::write(dir.path(), "old", certificate);
        let output = snigate(dir.path(), &["check", "--json"]);
        let lines = String::from_utf8(output.stdout).unwrap();
        let findings = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let expired: Vec<_> = findings
            .filter(|found| found["message"].to_string().contains("has expired on"))
            .collect();
        let [found] = &expired[..] else {
            panic!("{config}\n{lines}")
        };
        assert!(
            found["severity"] == severity && found["help"].to_string().contains(help),
            "{config}\n{found}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_told_with_the_command_that_makes_it_and_the_command_does() {
    let recipe = format!(
        "{LISTENER}[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\ntls = \"m\"\nupstream = \"10.0.0.1:1\"\n\
         [tls.m]\nclient_auth.ca_files = [\"ca.crt\"]\nclient_auth.crl_files = [\"ca.crl\"]\n\
         [certificates.a]\ncert_file = \"vault.pem\"\nkey_file = \"vault-key.pem\"\n"
    );
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    for (file, option) in [("snigate.toml", ""), ("etc/snigate.toml", " --dir etc")] {
        fs::write(dir.path().join(file), &recipe).unwrap();
        let check = || text(&snigate(dir.path(), &["check", file]));
        for (command, left) in [("init", 4), ("crl", 3), ("issue", 2)] {
            let said = check();
            assert_eq!(
                said.matches("there is no such file").count(),
                left,
                "{said}"
            );
            let line = said
                .split('`')
                .find(|part| part.starts_with(&format!("snigate pki {command}")));
            let line = line.unwrap_or_else(|| panic!("{command} is not in\n{said}"));
            assert!(line.contains(option), "{line}");
            let arguments = line.replace("SERVER_NAME", "a.example");
            let output = snigate(
                dir.path(),
                &arguments.split(' ').skip(1).collect::<Vec<_>>(),
            );
            assert!(output.status.success(), "{}", text(&output));
        }
        assert!(
            check().contains("valid: 0 errors, 0 warnings"),
            "{}",
            check()
        );
    }
    // Elsewhere nobody knows who makes it.
    for elsewhere in ["certs/vault.pem", "/nonexistent/vault.pem", "vault.der"] {
        fs::write(
            dir.path().join("snigate.toml"),
            recipe.replace("vault.pem", elsewhere),
        )
        .unwrap();
        let said = text(&snigate(dir.path(), &["check"]));
        assert!(
            said.contains("cannot read") && !said.contains("snigate pki"),
            "{said}"
        );
    }
}
