//! Ends in order: each side may finish while the other goes on.

use std::io::Write;
use std::net::Shutdown;

use super::{assert_all_closed, introduce, meet, start};
use crate::support::backend::{pattern, read_exact, read_to_end};
use crate::support::hello::hello;
use crate::support::socket::{abort, connect_with_little_room, wait_until_arrived};

#[test]
fn half_closed_client_still_receives_the_answer() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    let (mut client, mut server) = meet(&proxy, &connections);
    client.write_all(b"the question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut server), b"the question");
    for part in [&b"the "[..], b"long ", b"answer"] {
        server.write_all(part).unwrap();
        assert_eq!(read_exact(&mut client, part.len()), part);
    }
    drop(server);
    assert_eq!(read_to_end(&mut client), b"");
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"closed".into(), &"client".into()),
        "{line}"
    );
    assert_eq!(
        (&line["sent"], &line["received"]),
        (&15.into(), &(hello("a.example").len() + 12).into()),
        "{line}"
    );
    assert_all_closed(&proxy, sockets);
}

#[test]
fn half_closed_server_still_receives_what_the_client_sends() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    let (mut client, mut server) = meet(&proxy, &connections);
    server.write_all(b"that is all").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), b"that is all");
    for part in [&b"not "[..], b"for ", b"me"] {
        client.write_all(part).unwrap();
        assert_eq!(read_exact(&mut server, part.len()), part);
    }
    drop(client);
    assert_eq!(read_to_end(&mut server), b"");
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["by"]),
        (&"closed".into(), &"server".into()),
        "{line}"
    );
    assert_eq!(
        (&line["sent"], &line["received"]),
        (&11.into(), &(hello("a.example").len() + 10).into()),
        "{line}"
    );
    assert_all_closed(&proxy, sockets);
}

#[test]
fn a_client_that_closes_ends_the_server_and_the_other_way_round() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    for client_first in [true, false] {
        let (client, server) = meet(&proxy, &connections);
        let (name, first, mut second) = if client_first {
            ("client", client, server)
        } else {
            ("server", server, client)
        };
        drop(first);
        assert_eq!(read_to_end(&mut second), b"");
        drop(second);
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"closed".into(), &name.into()),
            "{line}"
        );
    }
    assert_all_closed(&proxy, sockets);
}

#[test]
fn an_answer_that_ended_arrives_whole_although_the_server_resets_afterwards() {
    let (proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    let answer = pattern(1_000_000, 3);
    let (mut client, mut server) = introduce(connect_with_little_room(proxy.addr()), &connections);
    server.write_all(&answer).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    // A reset overtakes what has not left the server yet, which no proxy can help.
    wait_until_arrived(std::slice::from_ref(&server));
    abort(server);
    assert!(read_to_end(&mut client) == answer);
    drop(client);
    assert_all_closed(&proxy, sockets);
}
