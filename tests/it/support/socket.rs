//! What tests do to sockets beyond reading and writing, and what the kernel knows of them.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::support::PATIENCE;

/// Closes with a reset.
pub(crate) fn abort(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Reads until the other side has ended, in whatever way.
pub(crate) fn read_until_closed(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            panic!("neither an end nor a reset: {error}")
        }
        _ => bytes,
    }
}

/// A connection over which data arrives slowly, because so little of it fits into the reader's
/// buffer.
pub(crate) fn connect_with_little_room(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    // Before connecting, because the window that is announced depends on it.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).expect("the proxy accepts");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// A connection from another address of this machine.
pub(crate) fn connect_from(source: [u8; 4], addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::from(source), 0)).into())
        .unwrap();
    socket.connect(&addr.into()).expect("the proxy accepts");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Accepts the next connection, and fails where none comes; its reads and writes fail instead of
/// waiting for ever, too.
pub(crate) fn accept<S: From<OwnedFd>>(listener: &impl AsFd) -> S {
    let listener = SockRef::from(listener);
    listener.set_nonblocking(false).unwrap();
    // accept(2) minds it as well (socket(7)).
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    let (stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    OwnedFd::from(stream).into()
}

/// An address that refuses connections: the socket is bound, so that nobody else gets the port, and
/// does not listen.
pub(crate) fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// What refused so far, and listens from now on. It was never closed, so that nobody else can have
/// taken its port.
pub(crate) fn listening(socket: Socket) -> TcpListener {
    socket.listen(16).unwrap();
    socket.into()
}

/// A server whose backlog is full, so that the kernel drops every SYN. It stays so while all of
/// this is kept.
pub(crate) fn unanswering() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let (socket, addr) = refusing();
    socket.listen(0).unwrap();
    let mut queued = Vec::new();
    // The second or third attempt is not answered any more.
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
        queued.push(stream);
        assert!(queued.len() < 10, "the backlog is never full");
    }
    (socket.into(), queued, addr)
}

/// Waits until everything that was written to these IPv4 connections, an end included, has arrived.
pub(crate) fn wait_until_arrived(connections: &[TcpStream]) {
    wait_for_queues(connections, |near, far, queues| {
        queues.get(&(near, far)).is_none_or(|queues| queues.0 == 0)
    });
}

/// Waits until everything that was written to the other end of this IPv4 connection has been
/// acknowledged by this one.
pub(crate) fn wait_until_acknowledged(connection: &TcpStream) {
    let connection = connection.try_clone().expect("a descriptor");
    wait_for_queues(&[connection], |near, far, queues| {
        queues.get(&(far, near)).is_none_or(|queues| queues.0 == 0)
    });
}

/// Waits until everything that was written to these IPv4 connections has been read, over the
/// loopback interface.
pub(crate) fn wait_until_read(connections: &[TcpStream]) {
    wait_until_arrived(connections);
    wait_for_queues(connections, |near, far, queues| {
        queues.get(&(far, near)).is_none_or(|queues| queues.1 == 0)
    });
}

/// How many bytes were written to this IPv4 connection and are not acknowledged.
pub(crate) fn unacknowledged(connection: &TcpStream) -> usize {
    let ports = (
        connection.local_addr().unwrap().port(),
        connection.peer_addr().unwrap().port(),
    );
    usize::try_from(queues().get(&ports).expect("an open connection").0).unwrap()
}

/// The length of both queues of a connection, not acknowledged and not read, by its local and its
/// remote port.
type Queues = HashMap<(u16, u16), (u64, u64)>;

fn wait_for_queues(connections: &[TcpStream], is_done: impl Fn(u16, u16, &Queues) -> bool) {
    let port = |addr: std::io::Result<SocketAddr>| addr.expect("an open connection").port();
    let ports: Vec<_> = connections
        .iter()
        .map(|c| (port(c.local_addr()), port(c.peer_addr())))
        .collect();
    let limit = Instant::now() + PATIENCE;
    loop {
        let queues = queues();
        if ports
            .iter()
            .all(|(near, far)| is_done(*near, *far, &queues))
        {
            return;
        }
        assert!(
            Instant::now() < limit,
            "the other side does not take what was sent"
        );
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn queues() -> Queues {
    let table = fs::read_to_string("/proc/net/tcp").expect("procfs");
    // Those in TIME_WAIT, of which other tests leave tens of thousands, have no queues.
    let lines = table
        .lines()
        .skip(1)
        .filter(|line| !line.contains(" 06 00000000:"));
    lines
        .map(|line| queues_in(line).expect("a line as proc(5) has it"))
        .collect()
}

/// From a line `0: 0100007F:C350 0100007F:01BB 01 00000000:00000000 ...`, where all numbers are
/// hexadecimal.
fn queues_in(line: &str) -> Option<((u16, u16), (u64, u64))> {
    let mut fields = line.split_ascii_whitespace();
    let mut pair = |nth| fields.nth(nth)?.split_once(':');
    let (local, remote, queues) = (pair(1)?.1, pair(0)?.1, pair(1)?);
    let port = |text| u16::from_str_radix(text, 16).ok();
    let length = |text| u64::from_str_radix(text, 16).ok();
    Some((
        (port(local)?, port(remote)?),
        (length(queues.0)?, length(queues.1)?),
    ))
}
