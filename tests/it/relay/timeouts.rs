//! How long a connection may be silent.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use super::{assert_all_closed, meet, start};
use crate::support::PATIENCE;
use crate::support::backend::{read_exact, read_to_end};
use crate::support::hello::hello;
use crate::support::socket::read_until_closed;

#[test]
fn a_connection_on_which_nobody_speaks_is_ended_by_the_proxy() {
    let (mut proxy, connections) = start("[timeouts]\nidle = \"300ms\"\n");
    let sockets = proxy.descriptors_of("socket");
    let (mut client, mut server) = meet(&proxy, &connections);
    assert_eq!(read_until_closed(&mut client), b"");
    assert_eq!(read_until_closed(&mut server), b"");
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"idle_timeout".into(), &"proxy".into()),
        "{line}"
    );
    assert!(line["duration_ms"].as_f64().unwrap() >= 300.0, "{line}");
    assert_all_closed(&proxy, sockets);
}

#[test]
fn a_word_now_and_then_from_either_side_keeps_a_connection_open() {
    let (mut proxy, connections) = start("[timeouts]\nidle = \"400ms\"\n");
    let (mut client, mut server) = meet(&proxy, &connections);
    for round in 0..10 {
        let (from, to) = if round % 2 == 0 {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        // Nothing comes, so that this is the pause between two words.
        from.set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        assert_eq!(
            from.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        from.write_all(b"!").unwrap();
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read_exact(to, 1), b"!");
    }
    drop(client);
    drop(server);
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["sent"]),
        (&"closed".into(), &5.into()),
        "{line}"
    );
    assert_eq!(line["received"], hello("a.example").len() + 5, "{line}");
    assert!(line["duration_ms"].as_f64().unwrap() >= 1000.0, "{line}");
}

#[test]
fn who_stays_silent_after_the_other_side_has_ended_is_given_up() {
    let (mut proxy, connections) = start("[timeouts]\nhalf_close = \"300ms\"\n");
    let sockets = proxy.descriptors_of("socket");
    for client_ends in [true, false] {
        let (client, server) = meet(&proxy, &connections);
        let (name, mut ends, mut silent) = if client_ends {
            ("server", client, server)
        } else {
            ("client", server, client)
        };
        ends.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut silent), b"");
        assert_eq!(read_until_closed(&mut ends), b"");
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"half_close_timeout".into(), &name.into()),
            "{line}"
        );
        assert!(line["duration_ms"].as_f64().unwrap() >= 300.0, "{line}");
        assert_all_closed(&proxy, sockets);
    }
}

#[test]
fn the_limit_for_silence_after_an_end_does_not_apply_before_it() {
    let (mut proxy, connections) = start("[timeouts]\nhalf_close = \"100ms\"\n");
    let (mut client, mut server) = meet(&proxy, &connections);
    client
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    assert_eq!(
        client.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    server.write_all(b"still here").unwrap();
    assert_eq!(read_exact(&mut client, 10), b"still here");
    drop(client);
    drop(server);
    assert_eq!(proxy.next_access()["outcome"], "closed");
}

#[test]
fn a_route_has_limits_of_its_own() {
    let (mut proxy, connections) =
        start("timeouts = { idle = \"200ms\" }\n[timeouts]\nidle = \"1h\"\nhalf_close = \"1h\"\n");
    let (mut client, _server) = meet(&proxy, &connections);
    assert_eq!(read_until_closed(&mut client), b"");
    assert_eq!(proxy.next_access()["outcome"], "idle_timeout");
}
