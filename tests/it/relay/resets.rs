//! Resets: an abort is passed on as an abort, and leaves nothing behind.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::{assert_all_closed, fill, introduce, is_filling, meet, start};
use crate::support::backend::{pattern, read_exact, read_to_end};
use crate::support::socket::{abort, connect_with_little_room, read_until_closed, unacknowledged};

/// One side of a pair that is to reset the connection, and the other.
fn sides(
    client_resets: bool,
    (client, server): (TcpStream, TcpStream),
) -> (&'static str, TcpStream, TcpStream) {
    if client_resets {
        ("client", client, server)
    } else {
        ("server", server, client)
    }
}

/// Writes until that fails.
fn write_until_refused(stream: &mut TcpStream) -> ErrorKind {
    let block = pattern(64 * 1024, 1);
    loop {
        if let Err(error) = stream.write_all(&block) {
            return error.kind();
        }
    }
}

#[test]
fn a_reset_reaches_the_other_side_as_a_reset() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    for client_resets in [true, false] {
        let (name, mut resets, mut other) = sides(client_resets, meet(&proxy, &connections));
        resets.write_all(b"some words").unwrap();
        assert_eq!(read_exact(&mut other, 10), b"some words");
        abort(resets);
        assert_eq!(
            other.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::ConnectionReset,
            "by the {name}"
        );
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"reset".into(), &name.into()),
            "{line}"
        );
        assert_all_closed(&proxy, sockets);
    }
}

#[test]
fn a_receiver_that_resets_stops_the_sender_with_a_reset() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    for client_resets in [true, false] {
        let (name, mut resets, mut sender) = sides(client_resets, meet(&proxy, &connections));
        let sending = thread::spawn(move || write_until_refused(&mut sender));
        read_exact(&mut resets, 3_000_000);
        abort(resets);
        assert_eq!(
            sending.join().unwrap(),
            ErrorKind::ConnectionReset,
            "by the {name}"
        );
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"reset".into(), &name.into()),
            "{line}"
        );
        assert_all_closed(&proxy, sockets);
    }
}

#[test]
fn what_has_arrived_from_a_sender_that_resets_is_delivered_to_a_slow_receiver() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    for (client_resets, talks) in [(true, false), (false, false), (true, true), (false, true)] {
        let pair = introduce(connect_with_little_room(proxy.addr()), &connections);
        let (name, mut resets, mut receiver) = sides(client_resets, pair);
        // Every buffer on the way is full. The reset overtakes what has not left the sender, and
        // nothing else.
        let written = fill(&mut resets);
        let arrived = written - unacknowledged(&resets);
        abort(resets);
        if talks {
            // So the proxy may hear of the reset by writing, while it still has bytes for this
            // side.
            receiver
                .write_all(&pattern(500_000, 7))
                .expect("room, or somebody who throws it away");
        }
        // A reset follows where the receiver's kernel had everything by the time at which the proxy
        // heard of the reset, and an end where something was still under way.
        let received = read_until_closed(&mut receiver);
        assert!(
            received.len() >= arrived,
            "{} of {arrived} bytes from the {name}",
            received.len()
        );
        assert!(is_filling(&received), "from the {name}");
        drop(receiver);
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"reset".into(), &name.into()),
            "{line}"
        );
        assert_all_closed(&proxy, sockets);
    }
}

#[test]
fn a_reset_after_an_end_stops_the_other_side() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    for client_resets in [true, false] {
        let (name, mut resets, mut other) = sides(client_resets, meet(&proxy, &connections));
        resets.write_all(b"the question").unwrap();
        resets.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut other), b"the question");
        let sending = thread::spawn(move || write_until_refused(&mut other));
        read_exact(&mut resets, 3_000_000);
        abort(resets);
        // Which of them the kernel says depends on whether it was writing when the reset came.
        let refused = sending.join().unwrap();
        assert!(
            matches!(refused, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "by the {name}: {refused}"
        );
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"reset".into(), &name.into()),
            "{line}"
        );
        assert_all_closed(&proxy, sockets);
    }
}

#[test]
fn an_answer_before_a_reset_in_the_middle_of_bulk_arrives_whole() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    for round in 0..40 {
        let (name, mut resets, mut sender) = sides(round % 2 == 0, meet(&proxy, &connections));
        let mut writer = sender.try_clone().unwrap();
        let sending = thread::spawn(move || write_until_refused(&mut writer));
        read_exact(&mut resets, 3_000_000);
        resets.write_all(b"no more of this").unwrap();
        resets.shutdown(Shutdown::Write).unwrap();
        abort(resets);
        assert_eq!(
            read_until_closed(&mut sender),
            b"no more of this",
            "from the {name}, round {round}"
        );
        // It fails where the sender was told of the reset as one.
        let _ = sender.shutdown(Shutdown::Both);
        sending.join().unwrap();
        drop(sender);
        // Whether the proxy hears of the reset before that is open.
        proxy.next_access();
        assert_all_closed(&proxy, sockets);
    }
}

#[test]
fn a_hundred_resets_in_the_middle_of_everything_leave_nothing_behind() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    for round in 0..100 {
        let (mut client, mut server) = meet(&proxy, &connections);
        let bytes = pattern(1000 * (round + 1), 4);
        let _ = client.write_all(&bytes[..bytes.len().min(50_000)]);
        let _ = server.write_all(&bytes[..bytes.len().min(50_000)]);
        if round % 3 == 0 {
            let _ = client.shutdown(Shutdown::Write);
        }
        let (first, second) = if round % 2 == 0 {
            (client, server)
        } else {
            (server, client)
        };
        abort(first);
        abort(second);
    }
    for _ in 0..100 {
        let line = proxy.next_access();
        assert_eq!(line["outcome"], "reset", "{line}");
    }
    assert_all_closed(&proxy, sockets);
}
