//! The least that a proxy of two sockets can cost: an epoll loop that knows its one server and
//! looks at no byte.
//!
//! It accepts, connects, moves what it reads, and carries each end over; nothing is parsed,
//! bounded, timed or logged. What a connection costs here is the kernel's, whatever is written
//! around it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{Errno, read, write};
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, connect, shutdown, socket_with,
    sockopt,
};

/// Listens on `port`, and connects every client with `server`. Never returns.
pub(crate) fn run(port: u16, server: SocketAddr) -> anyhow::Result<()> {
    let listener = snigate::net::listen_tcp((Ipv4Addr::LOCALHOST, port).into(), true)?;
    sockopt::set_tcp_nodelay(&listener, true)?;
    let mut floor = Floor {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        pairs: Vec::new(),
        free: Vec::new(),
    };
    floor.watch(&listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut buffer = vec![0; BUFFER];
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(
            &floor.epoll,
            rustix::buffer::spare_capacity(&mut events),
            None,
        ) {
            Err(Errno::INTR) => continue,
            waited => _ = waited?,
        }
        for event in &events {
            match { event.data }.u64() {
                LISTENER => floor.accept(&listener, server)?,
                side => floor
                    .serve(side, event.flags, &mut buffer)
                    .context("a connection")?,
            }
        }
    }
}

struct Floor {
    epoll: OwnedFd,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
}

/// A client and its server.
struct Pair {
    sockets: [OwnedFd; 2],
    /// What the other side did not take, by receiver.
    held: [Vec<u8>; 2],
    /// Who has ended.
    ended: [bool; 2],
}

impl Floor {
    fn watch(&self, socket: impl AsFd, data: EventData, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, data, flags)?)
    }

    fn accept(&mut self, listener: impl AsFd, server: SocketAddr) -> io::Result<()> {
        let client = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Err(Errno::AGAIN | Errno::CONNABORTED) => return Ok(()),
            client => client?,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let upstream = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&upstream, true)?;
        match connect(&upstream, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        let both = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        self.watch(&client, EventData::new_u64(2 * at as u64), both)?;
        self.watch(&upstream, EventData::new_u64(2 * at as u64 + 1), both)?;
        let pair = Pair {
            sockets: [client, upstream],
            held: [Vec::new(), Vec::new()],
            ended: [false; 2],
        };
        self.pairs[at] = Some(pair);
        Ok(())
    }

    fn serve(&mut self, side: u64, flags: EventFlags, buffer: &mut [u8]) -> io::Result<()> {
        let (at, side) = (
            usize::try_from(side / 2).map_err(io::Error::other)?,
            usize::from(side % 2 == 1),
        );
        // A connection that has ended in this very round of events.
        let Some(pair) = &mut self.pairs[at] else {
            return Ok(());
        };
        let mut alive = Ok(());
        if flags.contains(EventFlags::OUT) {
            alive = pair.settle(side).and_then(|()| {
                if pair.held[side].is_empty() {
                    pair.pass(1 - side, buffer)
                } else {
                    Ok(())
                }
            });
        }
        if alive.is_ok()
            && flags
                .intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
        {
            alive = pair.pass(side, buffer);
        }
        if alive.is_err() || pair.ended == [true; 2] {
            self.pairs[at] = None;
            self.free.push(at);
        }
        Ok(())
    }
}

impl Pair {
    /// Moves what `from` has received to the other side, until there is no more or it takes no
    /// more.
    fn pass(&mut self, from: usize, buffer: &mut [u8]) -> io::Result<()> {
        let to = 1 - from;
        while !self.ended[from] && self.held[to].is_empty() {
            let length = match read(&self.sockets[from], &mut *buffer) {
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(()),
                length => length?,
            };
            if length == 0 {
                self.ended[from] = true;
                // The second end is the close itself.
                return if self.ended[to] {
                    Ok(())
                } else {
                    Ok(shutdown(&self.sockets[to], Shutdown::Write)?)
                };
            }
            let taken = put(&self.sockets[to], &buffer[..length])?;
            self.held[to].extend_from_slice(&buffer[taken..length]);
            // A short read has emptied the socket; what comes later is another event.
            if length < buffer.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes what is held for `side`.
    fn settle(&mut self, side: usize) -> io::Result<()> {
        if !self.held[side].is_empty() {
            let taken = put(&self.sockets[side], &self.held[side])?;
            self.held[side].drain(..taken);
        }
        Ok(())
    }
}

/// How much the socket takes now.
fn put(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    match write(socket, bytes) {
        // Not connected yet, or full.
        Err(Errno::AGAIN | Errno::NOTCONN) => Ok(0),
        taken => Ok(taken?),
    }
}

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 512;
const BUFFER: usize = 64 * 1024;
