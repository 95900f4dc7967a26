//! Changes of pinned clients: who is known by a key or a certificate.

use super::*;

#[test]
fn a_client_more_waits_one_fewer_is_served_and_dates_that_go_are_held() {
    let dir = directory();
    let known = |keys: &str| {
        terminate(&format!(
            "client_auth.mode = \"pinned\"\nclient_auth.{keys}"
        ))
    };
    let digests = ["ab", "cd"].map(|byte| format!("\"{}\"", byte.repeat(32)));
    let [key, other] = digests
        .clone()
        .map(|digest| known(&format!("spki_sha256 = {digest}")));
    let keys = known(&format!("spki_sha256 = [{}]", digests.join(", ")));
    let (file, files) = (
        known("cert_files = \"one.pem\""),
        known("cert_files = [\"one.pem\", \"two.pem\"]"),
    );
    let undated = known(&format!(
        "spki_sha256 = {}\nclient_auth.dates = \"ignore\"",
        digests[0]
    ));
    let authority = terminate(MTLS);
    let another = "client_auth: another client would be known by its key or certificate";
    for (old, new, expected, text) in [
        (&key, &keys, Fate::Waits, another),
        (&key, &other, Fate::Waits, another),
        (&keys, &key, Fate::Served, ""),
        (&file, &files, Fate::Waits, another),
        (&files, &file, Fate::Served, ""),
        (
            &key,
            &undated,
            Fate::Held,
            "client_auth.dates would go: a certificate would count before and after its time",
        ),
        (&undated, &key, Fate::Served, ""),
        (&authority, &key, Fate::Waits, another),
        (
            &key,
            &authority,
            Fate::Waits,
            "clients of CN=one would come in",
        ),
    ] {
        let change = change(dir.path(), old, new);
        let said = change.vanished.on_one_line() + &change.loosened.on_one_line();
        assert_eq!(fate(&change), expected, "{said}\n{old}\n=>\n{new}");
        assert_eq!(said.is_empty(), text.is_empty(), "{said}");
        assert!(said.contains(text), "{text:?} is not in {said:?}");
    }
}
