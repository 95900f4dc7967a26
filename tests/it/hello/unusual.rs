//! Server names as some clients really send them.

use super::{answer, echo};
use crate::support::backend::Backend;
use crate::support::hello::{Handmade, alert, protocols};
use crate::support::proxy::{Proxy, passthrough};

#[test]
fn a_name_that_is_none_matches_no_route_not_even_the_one_for_all() {
    let backend = Backend::echo();
    let strict = passthrough("*", backend.addr);
    let long_label = format!("{}.example", "a".repeat(64));
    let long_name = format!("{}a", "a.".repeat(127));
    // To be taken for no name at all would be worse than to match nothing: there is a route for
    // that.
    for config in [format!("{strict}strict_sni = false\n"), strict] {
        let mut proxy = Proxy::start(&config);
        for name in [
            "localhost:39233",
            "a b.example",
            "[foo.example]",
            "*.example",
            "a..b",
            ".",
            &long_label,
            &long_name,
        ] {
            let bytes = Handmade::named(name.as_bytes()).bytes();
            assert_eq!(answer(&proxy, [bytes.as_slice()]), alert(112), "{name}");
            let line = proxy.next_access();
            assert_eq!(
                (&line["outcome"], &line["by"]),
                (&"no_route".into(), &"proxy".into()),
                "{line}"
            );
            assert_eq!(line["sni"], name, "the log shows what was sent");
        }
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn unusual_names_that_are_names_are_routed_and_pass_unchanged() {
    let (_backend, mut proxy) = echo("*");
    let longest = format!("{}a", "a.".repeat(126));
    let longest_label = format!("{}.example", "a".repeat(63));
    for (name, logged) in [
        ("foo_bar.example.com", "foo_bar.example.com"),
        ("A.Example.", "a.example"),
        ("localhost", "localhost"),
        ("-a-.example", "-a-.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        (&longest, &longest),
        (&longest_label, &longest_label),
    ] {
        let bytes = Handmade::named(name.as_bytes()).bytes();
        assert_eq!(answer(&proxy, [bytes.as_slice()]), bytes, "{name}");
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["sni"]),
            (&"closed".into(), &logged.into()),
            "{line}"
        );
    }
}

#[test]
fn an_exact_route_takes_a_name_with_an_underscore() {
    let (_backend, proxy) = echo("foo_bar.example.com");
    let bytes = Handmade::named(b"Foo_Bar.example.com").bytes();
    assert_eq!(answer(&proxy, [bytes.as_slice()]), bytes);
}

#[test]
fn control_characters_in_protocols_never_reach_the_log_raw() {
    let (_backend, mut proxy) = echo("*");
    let offered = protocols([&b"h2"[..], b"\x1b[31m\r\n\0", &[0x9b, 0x7f]]);
    let bytes = Handmade::named(b"a.example")
        .extension(16, &offered)
        .bytes();
    assert_eq!(answer(&proxy, [bytes.as_slice()]), bytes);
    assert_eq!(proxy.next_access()["alpn"], r"h2,\x1b[31m\r\n\x00,\x9b\x7f");
    let log = proxy.log();
    assert!(
        log.chars().all(|c| c == '\n' || !c.is_control()),
        "{}",
        log.escape_debug()
    );
}
