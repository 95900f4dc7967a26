//! Which route and which certificate a client gets by the name that it sends, or does not send.

mod certificates;
mod suffix;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::PATIENCE;
use crate::support::backend::{Backend, read_to_end};
use crate::support::hello::{Handmade, alert, hello, hello_with};
use crate::support::proxy::Proxy;

/// What a client sends that has no name: rustls sends none for an address.
fn nameless() -> Vec<u8> {
    hello("192.0.2.1")
}

/// A hello that spells the server name so, whatever rustls would make of it.
fn spelled(name: &str) -> Vec<u8> {
    Handmade::named(name.as_bytes()).bytes()
}

/// What the other side says to these first bytes before it ends.
fn answer(mut stream: TcpStream, hello: &[u8]) -> Vec<u8> {
    stream.write_all(hello).unwrap();
    read_to_end(&mut stream)
}

/// A passthrough route with these keys beside the upstream.
fn passthrough(name: &str, backend: &Backend, keys: &str) -> String {
    format!(
        "[routes.{name}]\naction = \"passthrough\"\nupstream = \"{}\"\n{keys}\n",
        backend.addr
    )
}

/// What a client of a strict and of a lenient route is told. Nothing means that it is served.
type Row<'a> = (&'a str, Vec<u8>, Option<u8>, Option<u8>);

#[test]
fn a_passthrough_route_takes_the_names_that_it_lists_and_if_it_is_lenient_clients_without_one() {
    let (strict, lenient) = (Backend::greet(b"strict"), Backend::greet(b"lenient"));
    let listeners =
        "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[listeners.lenient]\nbind = \"127.0.0.1:0\"\n";
    let mut proxy = Proxy::start(
        &[
            listeners,
            &passthrough(
                "strict",
                &strict,
                "sni = \"a.example\"\nlisteners = \"edge\"",
            ),
            &passthrough(
                "lenient",
                &lenient,
                "sni = \"a.example\"\nlisteners = \"lenient\"\nstrict_sni = false",
            ),
        ]
        .concat(),
    );
    let rows: [Row; 10] = [
        ("the name", hello("a.example"), None, None),
        ("mixed case", spelled("A.eXample"), None, None),
        ("a trailing dot", spelled("a.example."), None, None),
        (
            "mixed case and a trailing dot",
            spelled("A.EXAMPLE."),
            None,
            None,
        ),
        ("no name", nameless(), Some(112), None),
        ("an IPv4 address", spelled("127.0.0.1"), Some(112), None),
        ("an IPv6 address", spelled("2001:db8::1"), Some(112), None),
        ("an unknown name", hello("b.example"), Some(112), Some(112)),
        ("a name below", hello("a.a.example"), Some(112), Some(112)),
        (
            "a name with a port",
            spelled("a.example:443"),
            Some(112),
            Some(112),
        ),
    ];
    for (what, hello, to_strict, to_lenient) in &rows {
        for (listener, route, expected) in [
            ("edge", "strict", to_strict),
            ("lenient", "lenient", to_lenient),
        ] {
            let row = format!("{what} on the {route} route");
            let answer = answer(proxy.connect_to(listener), hello);
            let line = proxy.next_access();
            match expected {
                None => {
                    assert_eq!(String::from_utf8_lossy(&answer), route, "{row}");
                    assert_eq!(
                        (&line["outcome"], &line["route"]),
                        (&"closed".into(), &route.into()),
                        "{row}: {line}"
                    );
                }
                Some(code) => {
                    assert_eq!(answer, alert(*code), "{row}");
                    assert_eq!(
                        (&line["outcome"], &line["by"]),
                        (&"no_route".into(), &"proxy".into()),
                        "{row}: {line}"
                    );
                }
            }
        }
    }
}

#[test]
fn of_two_lenient_routes_none_takes_a_client_without_a_name_and_the_log_warns() {
    let [one, two, any] = [b"one", b"two", b"any"].map(|greeting| Backend::greet(greeting));
    let routes = [
        passthrough("one", &one, "sni = \"one.example\"\nstrict_sni = false"),
        passthrough("two", &two, "sni = \"two.example\"\nstrict_sni = false"),
    ]
    .concat();
    let proxy = Proxy::start(&routes);
    let warning = proxy.wait_until("configuration", |event| event["level"] == "warn");
    let text = warning["diagnostic"].as_str().unwrap();
    for words in [
        "routes.one",
        "routes.two",
        "without a server name",
        "is refused",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(answer(proxy.connect(), &nameless()), alert(112));
    assert_eq!(answer(proxy.connect(), &hello("two.example")), b"two");

    // The one that takes every name takes those who send none, too.
    proxy.reload(&(routes + &passthrough("any", &any, "sni = \"*\"\nstrict_sni = false")));
    assert_eq!(answer(proxy.connect(), &nameless()), b"any");
    assert_eq!(answer(proxy.connect(), &spelled("10.0.0.1")), b"any");
    assert_eq!(
        proxy.count("configuration"),
        1,
        "nothing to warn of any more: {}",
        proxy.log()
    );
}

#[test]
fn the_most_specific_name_wins_and_an_unknown_one_goes_to_the_route_for_every_name() {
    let [exact, wild, any] =
        [b"exact", b"wild ", b"any  "].map(|greeting| Backend::greet(greeting));
    let routes = [
        passthrough("any", &any, "sni = \"*\""),
        passthrough("wild", &wild, "sni = \"*.a.example\""),
        passthrough("exact", &exact, "sni = \"b.a.example\""),
    ];
    let proxy = Proxy::start(&routes.concat());
    for (name, expected) in [
        ("b.a.example", "exact"),
        ("B.a.Example", "exact"),
        ("c.a.example", "wild "),
        ("C.A.EXAMPLE.", "wild "),
        ("d.c.a.example", "any  "),
        ("a.example", "any  "),
        ("foo_bar.example", "any  "),
        ("localhost", "any  "),
    ] {
        assert_eq!(
            answer(proxy.connect(), &spelled(name)),
            expected.as_bytes(),
            "{name}"
        );
    }
    // It is strict: that it takes every name does not mean that it takes none, or what is not one.
    for hello in [nameless(), spelled("192.0.2.1"), spelled("b.a.example:1")] {
        assert_eq!(answer(proxy.connect(), &hello), alert(112));
    }
}

/// A connection from this address of the machine.
fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&format!("{source}:0").parse::<SocketAddr>().unwrap().into())
        .unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

#[test]
fn source_protocol_and_listener_decide_between_routes_of_one_name() {
    let greetings: [&[u8]; 5] = [b"everybody", b"source", b"range", b"protocol", b"listener"];
    let [everybody, source, range, protocol, listener] = greetings.map(Backend::greet);
    let routes = [
        "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[listeners.inner]\nbind = \"127.0.0.1:0\"\n",
        &passthrough(
            "everybody",
            &everybody,
            "sni = \"a.example\"\nlisteners = \"edge\"",
        ),
        &passthrough(
            "source",
            &source,
            "sni = \"a.example\"\nlisteners = \"edge\"\nfrom = \"127.0.0.3\"",
        ),
        &passthrough(
            "range",
            &range,
            "sni = \"a.example\"\nlisteners = \"edge\"\nfrom = \"127.0.0.2/31\"",
        ),
        &passthrough(
            "protocol",
            &protocol,
            "sni = \"a.example\"\nlisteners = \"edge\"\nalpn = [\"h2\", \"h3\"]",
        ),
        &passthrough(
            "listener",
            &listener,
            "sni = \"a.example\"\nlisteners = \"inner\"\nfrom = \"127.0.0.1\"",
        ),
    ];
    let proxy = Proxy::start(&routes.concat());
    for (to, from, alpn, expected) in [
        ("edge", "127.0.0.1", &[][..], "everybody"),
        ("edge", "127.0.0.2", &[], "range"),
        ("edge", "127.0.0.3", &[], "source"),
        ("edge", "127.0.0.4", &[], "everybody"),
        ("edge", "127.0.0.1", &["h2"], "protocol"),
        ("edge", "127.0.0.1", &["http/1.1", "h3"], "protocol"),
        ("edge", "127.0.0.1", &["http/1.1"], "everybody"),
        // Where a client comes from counts more than what it speaks.
        ("edge", "127.0.0.3", &["h2"], "source"),
        ("inner", "127.0.0.1", &["h2"], "listener"),
        ("inner", "127.0.0.2", &[], "refused"),
    ] {
        let answer = answer(
            connect_from(from, proxy.addr_of(to)),
            &hello_with("a.example", alpn),
        );
        let expected = if expected == "refused" {
            alert(112).to_vec()
        } else {
            expected.as_bytes().to_vec()
        };
        assert_eq!(answer, expected, "from {from} to {to} with {alpn:?}");
    }
}

#[test]
fn a_client_of_a_route_that_rejects_is_denied_access_and_no_other_route_takes_it() {
    let backend = Backend::greet(b"every other name");
    let mut proxy = Proxy::start(
        &[
            "[routes.blocked]\nsni = \"*.inner.example\"\naction = \"reject\"\n",
            &passthrough("any", &backend, "sni = \"*\""),
        ]
        .concat(),
    );
    assert_eq!(
        answer(proxy.connect(), &hello("a.inner.example")),
        alert(49)
    );
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"rejected".into(), &"proxy".into()),
        "{line}"
    );
    assert_eq!(
        (&line["route"], &line["action"]),
        (&"blocked".into(), &"reject".into()),
        "{line}"
    );
    assert_eq!(
        answer(proxy.connect(), &hello("inner.example")),
        b"every other name"
    );
    assert_eq!(backend.accepted(), 1);
}
