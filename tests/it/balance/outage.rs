//! An upstream none of whose servers can be reached: a warning when that begins, and a word when it
//! is over.

use std::io::Write;

use crate::support::backend::{Backend, read_to_end};
use crate::support::hello::{alert, hello};
use crate::support::proxy::{Proxy, passthrough};
use crate::support::socket::{listening, refusing};

const GONE: &str = "no server of the upstream can be reached";
const BACK: &str = "a server of the upstream can be reached again";

fn ask(proxy: &Proxy) -> Vec<u8> {
    let mut client = proxy.connect();
    client.write_all(&hello("a.example")).unwrap();
    read_to_end(&mut client)
}

#[test]
fn connections_tell_once_that_no_server_can_be_reached_and_once_that_one_is_back() {
    let (socket, addr) = refusing();
    let (_other, other) = refusing();
    for upstream in [format!("\"{addr}\""), format!("[\"{addr}\", \"{other}\"]")] {
        let route = passthrough("a.example", "").replace("\"\"", &upstream);
        let proxy = Proxy::start(&route);
        for _ in 0..5 {
            assert_eq!(ask(&proxy), alert(80));
        }
        let event = proxy.wait_for(GONE);
        assert_eq!(event["level"], "warn", "{event}");
        assert!(
            event["upstream"]
                .as_str()
                .unwrap()
                .contains(&addr.to_string()),
            "{event}"
        );
        assert!(
            event["reason"].as_str().unwrap().contains("refused"),
            "{event}"
        );
        assert_eq!(
            (proxy.count(GONE), proxy.count(BACK)),
            (1, 0),
            "{}",
            proxy.log()
        );
    }
    let proxy = Proxy::start(&passthrough("a.example", addr));
    ask(&proxy);
    proxy.wait_for(GONE);
    let _server = Backend::greet_on(listening(socket), b"one");
    for _ in 0..3 {
        assert_eq!(ask(&proxy), b"one");
    }
    assert_eq!(proxy.wait_for(BACK)["level"], "info");
    assert_eq!(
        (proxy.count(GONE), proxy.count(BACK)),
        (1, 1),
        "{}",
        proxy.log()
    );
}

#[test]
fn one_server_that_can_be_reached_is_enough() {
    let (_socket, addr) = refusing();
    let server = Backend::greet(b"one");
    let proxy = Proxy::start(
        &passthrough("a.example", "")
            .replace("\"\"", &format!("[\"{addr}\", \"{}\"]", server.addr)),
    );
    for _ in 0..5 {
        assert_eq!(ask(&proxy), b"one");
    }
    assert_eq!(proxy.count(GONE), 0, "{}", proxy.log());
}

#[test]
fn checks_tell_when_the_last_server_is_down_and_when_one_is_up() {
    let ((one, first), (_two, second)) = (refusing(), refusing());
    let health = "health = { interval = \"50ms\", rise = 1, fall = 1 }";
    let upstream = format!("[upstreams.app]\nservers = [\"{first}\", \"{second}\"]\n{health}\n");
    let proxy = Proxy::start(&format!("{}{upstream}", passthrough("a.example", "app")));
    let event = proxy.wait_for(GONE);
    assert_eq!(
        (&event["level"], &event["upstream"]),
        (&"warn".into(), &"app".into()),
        "{event}"
    );
    let _server = Backend::greet_on(listening(one), b"one");
    assert_eq!(proxy.wait_for(BACK)["upstream"], "app");
    assert_eq!(ask(&proxy), b"one");
    assert_eq!(
        (proxy.count(GONE), proxy.count(BACK)),
        (1, 1),
        "{}",
        proxy.log()
    );
}
