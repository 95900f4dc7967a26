//! What is said of client authentication in a configuration, before anybody connects.

use crate::cli::{CERTIFICATE, LISTENER, snigate, text, with_config};

/// A configuration with one route, whose `[tls]` table, `m`, has these lines.
fn with_tls(lines: &str) -> String {
    format!(
        "{LISTENER}{CERTIFICATE}[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\ntls = \"m\"\n\
         upstream = \"10.0.0.1:1\"\n[tls.m]\n{lines}\n"
    )
}

/// What a command prints with this `[tls]` table, and whether it succeeds.
fn run(lines: &str, arguments: &[&str]) -> (bool, String) {
    let dir = with_config(&with_tls(lines));
    let output = snigate(dir.path(), arguments);
    (output.status.success(), text(&output))
}

const FILES: &str = "client_auth.ca_files = \"ca.pem\"\n";

#[test]
fn every_mode_is_known_by_its_own_name_and_by_that_of_go() {
    for (word, name, verifies) in [
        ("none", "NoClientCert", false),
        ("request", "RequestClientCert", false),
        ("require_any", "RequireAnyClientCert", false),
        ("verify_if_given", "VerifyClientCertIfGiven", true),
        ("require_and_verify", "RequireAndVerifyClientCert", true),
    ] {
        for written in [word, name] {
            let files = if verifies { FILES } else { "" };
            let lines = format!("{files}client_auth.mode = \"{written}\"");
            let (succeeds, said) = run(&lines, &["check"]);
            assert!(
                succeeds && said.contains("0 errors, 0 warnings"),
                "{written}: {said}"
            );
            let (_, shown) = run(&lines, &["show"]);
            assert!(
                shown.contains(&format!("mode = \"{word}\"")),
                "{written}: {shown}"
            );
            let (_, explained) = run(&lines, &["explain", "--sni", "a.example"]);
            assert!(
                explained.contains(&format!("client_auth  {word}")),
                "{written}: {explained}"
            );
        }
    }
}

#[test]
fn a_policy_by_which_nobody_comes_in_is_urgent_and_no_reason_to_go_on_with_one_by_which_somebody_does()
 {
    let pinned = |keys: &str| format!("client_auth.mode = \"pinned\"\n{keys}");
    let digest = "11".repeat(32);
    for (lines, expected) in [
        (
            format!("{FILES}client_auth.allow = {{}}"),
            "client_auth.allow is empty: nobody could come in",
        ),
        (
            format!("{FILES}client_auth.allow = {{ dns = [], cn = [] }}"),
            "client_auth.allow is empty: nobody could",
        ),
        (
            "client_auth.ca_files = []".to_owned(),
            "client_auth.ca_files names no file: nobody comes in",
        ),
        (
            pinned(""),
            "client_auth.mode is pinned, and no client is named: nobody comes in",
        ),
        (
            pinned("client_auth.cert_files = []"),
            "client_auth.cert_files names no file: nobody comes in",
        ),
        (
            pinned("client_auth.spki_sha256 = []"),
            "client_auth.spki_sha256 names no key: nobody comes in",
        ),
    ] {
        let (succeeds, said) = run(&lines, &["check"]);
        assert!(
            succeeds && said.contains(expected) && said.contains("0 errors, 0 warnings, 1 urgent"),
            "{lines}: {said}"
        );
    }
    // Where another one is named it is no more than odd.
    let (_, said) = run(
        &pinned(&format!(
            "client_auth.cert_files = []\nclient_auth.spki_sha256 = [\"{digest}\"]"
        )),
        &["check"],
    );
    assert!(said.contains("0 errors, 1 warning"), "{said}");
}

#[test]
fn a_policy_that_does_not_mean_what_it_seems_to_is_refused() {
    let verify = |rest: &str| format!("{FILES}{rest}");
    for (lines, expected) in [
        ("client_auth.mode = \"verify_if_given\"".to_owned(), "client_auth.mode is verify_if_given, and there are no ca_files"),
        (verify("client_auth.mode = \"request\""), "client_auth.mode is request beside ca_files: in this mode no certificate is verified"),
        (verify("client_auth.mode = \"require_any\""), "client_auth.mode is require_any beside ca_files"),
        (verify("client_auth.mode = \"VerifyIfGiven\""), "did you mean \"verify_if_given\"?"),
        ("client_auth.mode = \"request\"\nclient_auth.allow.cn = \"a\"".to_owned(), "client_auth.allow needs a mode that verifies, and the mode is request"),
        ("client_auth.deny.cn = \"a\"".to_owned(), "client_auth.deny needs a mode that verifies, and the mode is none"),
        ("client_auth.mode = \"none\"\nclient_auth.deny = {}".to_owned(), "client_auth.deny needs a mode that verifies"),
        (verify("client_auth.allow = []"), "tls.m.client_auth.allow must be a table"),
        (verify("client_auth.deny = [[\"a\"]]"), "tls.m.client_auth.deny must be a table"),
        (verify("client_auth.allow = \"a\""), "tls.m.client_auth.allow must be a table"),
        (verify("client_auth.crl = [\"leaf\", \"allow\"]"), "tls.m.client_auth.crl must be a table"),
        (verify("client_auth.allow.spki_sha265 = \"a\""), "did you mean \"spki_sha256\"?"),
        (verify("client_auth.allow.san = \"a\""), "tls.m.client_auth.allow.san: unknown key"),
        (verify("client_auth.alow.dns = \"a\""), "did you mean \"allow\"?"),
        (verify("client_auth.allow.dns = \"*\""), "client_auth.allow.dns: `*` matches every name"),
        (verify("client_auth.deny.dns = \"a.*.b\""), "client_auth.deny.dns: a wildcard is"),
        (verify("client_auth.allow.uri = \"spiffe://example.net*\""), "`spiffe://example.net*` would match `spiffe://example.net.evil/`"),
        (verify("client_auth.allow.uri = \"example.net/a\""), "a URI begins with a scheme"),
        (verify("client_auth.allow.email = \"example.net\""), "a mail address is written `name@example.net`"),
        (verify("client_auth.allow.cn = \"\""), "client_auth.allow.cn: the text is empty"),
        (verify("client_auth.allow.ou = \"a*\""), "client_auth.allow.ou: there is no `*` here"),
        (verify("client_auth.allow.spki_sha256 = \"abc\""), "is 64 hexadecimal digits"),
        (verify("client_auth.deny.serial = \"12x4\""), "a serial number is written in hexadecimal"),
        (verify("client_auth.deny.serial = 12"), "tls.m.client_auth.deny.serial: this is a number"),
        ("extends = \"n\"\nclient_auth.mode = \"none\"\n[tls.n]\nclient_auth = { ca_files = \"ca.pem\", allow = { cn = \"a\" } }".to_owned(), "tls.m: client_auth.allow needs a mode that verifies, and the mode is none"),
        ("extends = \"n\"\nclient_auth.mode = \"require_any\"\n[tls.n]\nclient_auth = { ca_files = \"ca.pem\", deny = { cn = \"a\" } }".to_owned(), "tls.m: client_auth.deny needs a mode that verifies, and the mode is require_any"),
    ] {
        let (succeeds, said) = run(&lines, &["check"]);
        assert!(!succeeds && said.contains(expected), "{expected:?} is not in what is said of\n{lines}\n{said}");
    }
}

#[test]
fn a_mode_that_fits_nothing_beside_it_is_one_error_that_names_all_of_it() {
    let key = "11".repeat(32);
    let pins = format!("client_auth.spki_sha256 = \"{key}\"\nclient_auth.dates = \"ignore\"\n");
    let lists = "client_auth.crl_files = \"ca.crl\"\nclient_auth.crl.depth = \"leaf\"\n";
    let rules =
        "client_auth.allow.cn = \"a\"\nclient_auth.deny.cn = \"b\"\non_revoke = \"close\"\n";
    for (lines, keys, instead) in [
        (
            format!("client_auth.mode = \"none\"\n{FILES}{rules}"),
            "mode is none, in which ca_files, allow, deny, on_revoke have no effect",
            "write `mode = \"require_and_verify\"`, or remove them",
        ),
        (
            format!("client_auth.mode = \"request\"\nclient_auth.crl.depth = \"leaf\"\n{rules}"),
            "mode is request, in which allow, deny, crl, on_revoke have no effect",
            "write `mode = \"require_and_verify\"`, or remove them",
        ),
        (
            rules.to_owned(),
            "mode is none, in which allow, deny, on_revoke have no effect",
            "require_and_verify",
        ),
        (
            format!("{pins}{rules}"),
            "mode is none, in which spki_sha256, dates, allow, deny, on_revoke have no effect",
            "write `mode = \"pinned\"`, or remove them",
        ),
        (
            format!("client_auth.mode = \"require_and_verify\"\n{FILES}{pins}"),
            "mode is require_and_verify, in which spki_sha256, dates have no effect",
            "write `mode = \"pinned\"`, or remove them",
        ),
        (
            format!("client_auth.mode = \"pinned\"\n{pins}{FILES}{lists}"),
            "mode is pinned, in which ca_files, crl_files, crl have no effect",
            "remove them, or write `mode = \"require_and_verify\"`",
        ),
        (
            "client_auth.allow = {}".to_owned(),
            "client_auth.allow needs a mode that verifies",
            "require_and_verify",
        ),
    ] {
        let (_, said) = run(&lines, &["check"]);
        assert!(
            said.contains("1 error, 0 warnings") && !said.contains("urgent"),
            "{lines}\n{said}"
        );
        assert!(
            said.contains(keys) && said.contains(instead),
            "{lines}\n{said}"
        );
    }
}

#[test]
fn the_place_of_a_wrong_entry_is_that_of_the_entry() {
    let (_, said) = run(
        &format!(
            "{FILES}[tls.m.client_auth.allow]\ndns = [\n  \"a.example\",\n  \"b..example\",\n]"
        ),
        &["check"],
    );
    assert!(
        said.contains("snigate.toml:16:3")
            && said.contains("tls.m: client_auth.allow.dns: each label"),
        "{said}"
    );
}

#[test]
fn an_allow_list_beside_verify_if_given_is_warned_of() {
    let (succeeds, said) = run(
        &format!("{FILES}client_auth.mode = \"verify_if_given\"\nclient_auth.allow.cn = \"a\""),
        &["check"],
    );
    assert!(succeeds && said.contains("0 errors, 1 warning"), "{said}");
    assert!(
        said.contains(
            "also refuses clients without a certificate, whom verify_if_given would take"
        ),
        "{said}"
    );
    let (_, said) = run(
        &format!("{FILES}client_auth.mode = \"verify_if_given\"\nclient_auth.deny.cn = \"a\""),
        &["check"],
    );
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
}

#[test]
fn nearer_ca_files_go_with_an_inherited_mode_that_verifies_and_end_one_that_does_not() {
    for (inherited, files, effective) in [
        ("verify_if_given", FILES, "verify_if_given"),
        ("require_and_verify", FILES, "require_and_verify"),
        ("request", "", "require_and_verify"),
        ("require_any", "", "require_and_verify"),
        ("none", "", "require_and_verify"),
    ] {
        let lines =
            format!("extends = \"n\"\n{FILES}[tls.n]\n{files}client_auth.mode = \"{inherited}\"");
        let (_, explained) = run(&lines, &["explain", "--sni", "a.example"]);
        assert!(
            explained.contains(&format!("client_auth  {effective} against ca.pem")),
            "{inherited}: {explained}"
        );
    }
}

#[test]
fn the_nearest_table_that_has_a_list_has_the_whole_list() {
    let lines = format!(
        "extends = \"n\"\nclient_auth.allow = {{ cn = \"near\" }}\n\
         [tls.n]\n{FILES}client_auth.allow = {{ cn = \"far\", dns = \"far.example\" }}\nclient_auth.deny = {{ serial = \"00:0A\" }}"
    );
    let (_, shown) = run(&lines, &["show"]);
    let shown: toml::Table = shown.parse().unwrap();
    let auth = |table: &str| shown["tls"][table]["client_auth"].clone();
    assert_eq!(auth("m")["allow"].to_string(), "{ cn = [\"near\"] }");
    assert_eq!(auth("m")["deny"], auth("n")["deny"]);
    assert_eq!(auth("n")["deny"].to_string(), "{ serial = [\"a\"] }");
    assert_eq!(auth("n")["allow"]["dns"].as_array().unwrap().len(), 1);

    let (_, explained) = run(&lines, &["explain", "--sni", "a.example"]);
    for expected in [
        "allow        cn: near\n",
        "deny         serial: a\n",
        "alert access_denied (49), not_allowed",
        "alert certificate_required (116), no_certificate",
    ] {
        assert!(
            explained.contains(expected),
            "{expected:?} is not in:\n{explained}"
        );
    }
    assert!(!explained.contains("far"), "{explained}");
}

#[test]
fn what_is_shown_is_a_configuration_that_means_the_same() {
    let lines = format!(
        "{FILES}client_auth.allow = {{ dns = \"*.Example.\", uri = \"spiffe://example.net/*\", email = \"a@b\", \
         cn = \"web\\nserver\", ou = \"shop\", spki_sha256 = \"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\", \
         serial = \"00:FF\" }}"
    );
    let dir = with_config(&with_tls(&lines));
    let shown = text(&snigate(dir.path(), &["show"]));
    std::fs::write(dir.path().join("snigate.toml"), &shown).unwrap();
    let again = text(&snigate(dir.path(), &["show"]));
    assert_eq!(
        shown.parse::<toml::Table>().unwrap()["tls"],
        again.parse::<toml::Table>().unwrap()["tls"]
    );
    let allow = shown.parse::<toml::Table>().unwrap()["tls"]["m"]["client_auth"]["allow"].clone();
    assert_eq!(allow["cn"][0].as_str(), Some("web\nserver"));
    for expected in [
        "*.example",
        "spiffe://example.net/*",
        "a@b",
        "shop",
        "e3b0c442",
        "\"ff\"",
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in:\n{shown}");
    }
}

#[test]
fn lists_in_a_table_that_no_route_uses_do_not_leave_a_route_open_unnoticed() {
    let (succeeds, said) = run(
        &format!("[tls.default]\n[tls.n]\n{FILES}client_auth.allow.cn = \"a\""),
        &["check"],
    );
    assert!(
        succeeds && said.contains("tls.n: no route uses it"),
        "{said}"
    );
    let open =
        with_tls(&format!("{FILES}client_auth.allow.cn = \"a\"")).replace("tls = \"m\"\n", "");
    let dir = with_config(&open);
    let said = text(&snigate(dir.path(), &["check"]));
    assert!(
        said.contains("routes.a would let in every client"),
        "{said}"
    );
}
