//! Bytes, few and many: none lost, none changed, and none piled up in the process.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use super::{BLOCK, assert_all_closed, fill, is_filling, meet, start};
use crate::support::PATIENCE;
use crate::support::backend::{pattern, read_exact, read_to_end};
use crate::support::hello::hello;

/// Sends numbered blocks, and ends.
fn send(mut to: TcpStream, blocks: usize, seed: u64) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut block = pattern(BLOCK, seed);
        for number in 0..blocks {
            block[..8].copy_from_slice(&number.to_be_bytes());
            to.write_all(&block).expect("the other side reads");
        }
        to.shutdown(Shutdown::Write).unwrap();
    })
}

/// Reads them, to the end.
fn receive(mut from: TcpStream, blocks: usize, seed: u64) -> JoinHandle<()> {
    thread::spawn(move || {
        let (mut expected, mut block) = (pattern(BLOCK, seed), vec![0; BLOCK]);
        for number in 0..blocks {
            expected[..8].copy_from_slice(&number.to_be_bytes());
            from.read_exact(&mut block)
                .unwrap_or_else(|error| panic!("block {number}: {error}"));
            assert!(block == expected, "block {number} is not what was sent");
        }
        assert_eq!(
            from.read(&mut block).expect("an end in order"),
            0,
            "more than was sent"
        );
    })
}

/// Both sides send so many blocks at once; returns when both have received and ended.
fn exchange(client: &TcpStream, server: &TcpStream, blocks: usize) -> Vec<JoinHandle<()>> {
    let [client, also_client] = [(); 2].map(|()| client.try_clone().unwrap());
    let [server, also_server] = [(); 2].map(|()| server.try_clone().unwrap());
    vec![
        send(client, blocks, 1),
        receive(server, blocks, 1),
        send(also_server, blocks, 2),
        receive(also_client, blocks, 2),
    ]
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("every byte as it was sent");
    }
}

#[test]
fn what_is_sent_in_both_directions_arrives_unchanged_and_is_counted() {
    let (mut proxy, connections) = start("");
    let hello = hello("a.example");
    for length in [1, 1459, 1460, 16_384, 65_535, 65_536, 65_537, 1_000_000] {
        let (question, answer) = (pattern(length, 8), pattern(length + 1, 9));
        let mut client = proxy.connect();
        let asked = [hello.as_slice(), &question].concat();
        let mut sending = client.try_clone().unwrap();
        // The question begins in the segment in which the hello ends.
        let sending = thread::spawn(move || sending.write_all(&asked).unwrap());
        let mut server = connections.next();
        let mut answering = server.try_clone().unwrap();
        let answering = thread::spawn(move || answering.write_all(&answer).unwrap());
        assert!(
            read_exact(&mut client, length + 1) == pattern(length + 1, 9),
            "{length}"
        );
        assert!(
            read_exact(&mut server, hello.len() + length) == [hello.as_slice(), &question].concat(),
            "{length}"
        );
        sending.join().unwrap();
        answering.join().unwrap();
        drop(client);
        drop(server);
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["sent"]),
            (&"closed".into(), &(length + 1).into()),
            "{line}"
        );
        assert_eq!(line["received"], hello.len() + length, "{line}");
    }
}

#[test]
fn a_gibibyte_each_way_at_once_arrives_unchanged_through_pipes() {
    let (mut proxy, connections) = start("");
    let (sockets, pipes) = (proxy.descriptors_of("socket"), proxy.descriptors_of("pipe"));
    let blocks = (1 << 30) / BLOCK;
    let (client, server) = meet(&proxy, &connections);
    let threads = exchange(&client, &server, blocks);
    // Copying would do it as well, and no peer could tell.
    proxy.poll_until("a pipe opened", |proxy| {
        proxy.descriptors_of("pipe") > pipes
    });
    join(threads);
    drop(client);
    drop(server);
    let line = proxy.next_access();
    assert_eq!(
        (&line["outcome"], &line["sent"]),
        (&"closed".into(), &(1_u64 << 30).into()),
        "{line}"
    );
    assert_eq!(
        line["received"],
        hello("a.example").len() + (1 << 30),
        "{line}"
    );
    assert_all_closed(&proxy, sockets);
}

#[test]
fn many_connections_at_once_do_not_get_each_others_bytes() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    let pairs: Vec<_> = (0..16).map(|_| meet(&proxy, &connections)).collect();
    let threads = pairs
        .iter()
        .enumerate()
        .flat_map(|(number, (client, server))| {
            let (client, server, seed) = (
                client.try_clone().unwrap(),
                server.try_clone().unwrap(),
                100 + number as u64,
            );
            [send(client, 8, seed), receive(server, 8, seed)]
        });
    join(threads.collect());
    drop(pairs);
    for _ in 0..16 {
        assert_eq!(proxy.next_access()["outcome"], "closed");
    }
    assert_all_closed(&proxy, sockets);
}

#[test]
fn a_reader_that_stops_stops_the_sender_and_not_the_memory() {
    let (mut proxy, connections) = start("");
    let sockets = proxy.descriptors_of("socket");
    // Buffers and stacks that every process needs once.
    let (client, server) = meet(&proxy, &connections);
    join(exchange(&client, &server, 8));
    drop((client, server));
    proxy.next_access();
    let before = proxy.memory_kib("VmRSS");

    let mut pairs: Vec<_> = (0..8).map(|_| meet(&proxy, &connections)).collect();
    let filling = pairs.iter().enumerate().map(|(number, (client, server))| {
        let mut sender = if number % 2 == 0 { client } else { server }
            .try_clone()
            .unwrap();
        thread::spawn(move || fill(&mut sender))
    });
    let taken: Vec<usize> = filling
        .collect::<Vec<_>>()
        .into_iter()
        .map(|filling| filling.join().unwrap())
        .collect();
    let grown = proxy.memory_kib("VmRSS").saturating_sub(before);
    assert!(
        grown < 2048,
        "{grown} KiB more for {taken:?} bytes that nobody reads"
    );

    for ((number, (client, server)), taken) in pairs.iter_mut().enumerate().zip(taken) {
        let (sender, reader) = if number % 2 == 0 {
            (client, server)
        } else {
            (server, client)
        };
        sender.set_write_timeout(Some(PATIENCE)).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
        let received = read_to_end(reader);
        assert_eq!(
            received.len(),
            taken,
            "what was taken is delivered when the reader goes on"
        );
        assert!(is_filling(&received));
    }
    drop(pairs);
    assert_all_closed(&proxy, sockets);
}

#[test]
fn an_urgent_byte_in_a_bulk_flow_holds_nothing_up() {
    let (proxy, connections) = start("");
    let (mut client, mut server) = meet(&proxy, &connections);
    let (before, after) = (pattern(8 << 20, 1), pattern(1 << 20, 2));
    let sent = [before.clone(), after.clone()].concat();
    let reader = thread::spawn(move || read_exact(&mut server, sent.len()) == sent);
    client.write_all(&before).unwrap();
    rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB).unwrap();
    client.write_all(&after).unwrap();
    // The urgent byte itself is delivered out of band, or not at all: TCP gives proxies no better
    // choice.
    assert!(reader.join().unwrap(), "bytes are missing or wrong");
}
