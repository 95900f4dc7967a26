//! Routes for every name below a suffix.

use super::{answer, passthrough};
use crate::cli::{CERTIFICATE, LISTENER, snigate, text, with_config};
use crate::support::backend::Backend;
use crate::support::hello::{alert, hello};
use crate::support::proxy::Proxy;

#[test]
fn a_route_for_a_suffix_takes_every_name_below_it_that_no_closer_one_does() {
    let [cluster, one, inner] = [&b"cluster"[..], b"one", b"inner"].map(Backend::greet);
    let config = [
        passthrough("cluster", &cluster, "sni = \"**.apps.example.net\""),
        passthrough("one", &one, "sni = \"*.apps.example.net\""),
        passthrough("inner", &inner, "sni = \"**.b.apps.example.net\""),
        "[routes.shut]\nsni = \"**.example.net\"\naction = \"reject\"\n".to_owned(),
    ];
    let proxy = Proxy::start(&config.concat());
    for (name, expected) in [
        ("mail.c.apps.example.net", b"cluster".to_vec()),
        ("A.B.C.Apps.Example.Net", b"cluster".to_vec()),
        ("a.apps.example.net", b"one".to_vec()),
        ("mail.b.apps.example.net", b"inner".to_vec()),
        ("b.apps.example.net", b"one".to_vec()),
        ("apps.example.net", alert(49).to_vec()),
        ("example.net", alert(112).to_vec()),
    ] {
        assert_eq!(answer(proxy.connect(), &hello(name)), expected, "{name}");
    }
}

#[test]
fn explain_says_that_a_name_is_below_a_suffix() {
    let route = "action = \"passthrough\"\nupstream = \"127.0.0.1:1\"\n";
    let dir = with_config(&format!(
        "{LISTENER}[routes.apps]\nsni = [\"**.example.net\", \"**.apps.example.net\"]\n{route}[routes.all]\nsni = \"*\"\n{route}"
    ));
    for (name, expected) in [
        (
            "mail.b.apps.example.net",
            "apps, because its pattern **.apps.example.net matches",
        ),
        (
            "www.example.net",
            "apps, because its pattern **.example.net matches",
        ),
        ("example.net", "all, because its pattern * matches"),
    ] {
        let explained = text(&snigate(dir.path(), &["explain", "--sni", name]));
        assert!(
            explained.contains(expected),
            "{expected:?} is not in:\n{explained}"
        );
    }
}

#[test]
fn what_is_no_suffix_and_where_none_can_be_says_what_to_write() {
    let passthrough = "action = \"passthrough\"\nupstream = \"127.0.0.1:1\"\n";
    let terminate = "action = \"terminate\"\nupstream = \"127.0.0.1:1\"\n";
    for (sni, action, expected) in [
        (
            ".apps.example.net",
            passthrough,
            "write `**.apps.example.net` for every name below apps.example.net",
        ),
        (
            "*.*.apps.example.net",
            passthrough,
            "write `**.apps.example.net` for every name below apps.example.net",
        ),
        ("**", passthrough, "write `*` for every name"),
        ("a.**.net", passthrough, "`**.example.net` for any number"),
        (
            "**.apps.example.net",
            terminate,
            "write `*.apps.example.net` for names with one label more",
        ),
    ] {
        let dir = with_config(&format!(
            "{LISTENER}{CERTIFICATE}[routes.a]\nsni = \"{sni}\"\n{action}"
        ));
        let output = snigate(dir.path(), &["check"]);
        let text = text(&output);
        assert!(
            !output.status.success() && text.contains(expected),
            "{sni}: {expected:?} is not in:\n{text}"
        );
        assert!(text.contains("not valid: 1 error,"), "{text}");
    }
    let tied = format!(
        "{LISTENER}[routes.a]\nsni = \"**.a.example\"\n{passthrough}[routes.b]\nsni = \"**.A.example.\"\n{passthrough}"
    );
    let output = snigate(with_config(&tied).path(), &["check"]);
    assert!(
        !output.status.success() && text(&output).contains("**.a.example"),
        "{}",
        text(&output)
    );
}
