//! The backend: answers hellos, and obeys commands.
//!
//! Short exchanges and bulk are served by different threads, so that a round trip never waits for a
//! transfer of the same process to be copied.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::protocol::{self, COMMAND, Command};
use crate::spawn::{give_way, role, single_threaded};

/// Listens on `ports` ports, prints them as one line of JSON, and serves until standard input ends.
///
/// Each proxy has ports of its own, so that the ports of its connections that are in TIME_WAIT
/// stand in nobody else's way.
pub(crate) fn run(ports: usize) -> anyhow::Result<()> {
    snigate::net::raise_open_files()?;
    let listen = |_| snigate::net::listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), true);
    let listeners = (0..ports).map(listen).collect::<io::Result<Vec<_>>>()?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<io::Result<Vec<_>>>()?;
    let bulk = spawn_bulk(single_threaded()?, || Ok(()));
    let behind = spawn_bulk(single_threaded()?, give_way);
    let runtime = single_threaded()?;
    thread::spawn(move || {
        runtime.block_on(accept_all(
            listeners,
            Bulk {
                at_once: bulk,
                behind,
            },
        ))
    });
    writeln!(io::stdout(), "{}", serde_json::to_string(&ports)?)?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A process that is a backend. It ends when this is dropped.
pub(crate) struct Backend {
    process: Child,
    ports: Vec<u16>,
}

impl Backend {
    /// Starts one on `core` that listens on so many ports, and writes its complaints into `dir`.
    pub(crate) fn start(core: usize, ports: usize, dir: &Path) -> anyhow::Result<Self> {
        let log = File::create(dir.join("backend.log"))?;
        let mut process = role(core, "backend", &ports.to_string())?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("it is piped")?).read_line(&mut line)?;
        let ports = serde_json::from_str(&line).context("the backend does not start")?;
        Ok(Self { process, ports })
    }

    /// Where it listens.
    pub(crate) fn addr(&self, port: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[port]).into()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The threads that serve bulk.
#[derive(Clone)]
struct Bulk {
    at_once: UnboundedSender<(TcpStream, Command)>,
    behind: UnboundedSender<(TcpStream, Command)>,
}

fn spawn_bulk(
    runtime: runtime::Runtime,
    prepare: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> UnboundedSender<(TcpStream, Command)> {
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || {
        complain(prepare());
        runtime.block_on(serve_bulk(receiver));
    });
    sender
}

async fn accept_all(listeners: Vec<TcpListener>, bulk: Bulk) {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, bulk.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(listener: TcpListener, bulk: Bulk) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => _ = connections.spawn(serve(stream, bulk.clone())),
                Err(error) => complain(Err(error)),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection up to its first bulk transfer.
async fn serve(mut stream: tokio::net::TcpStream, bulk: Bulk) {
    complain(obey(&mut stream).await.and_then(|command| {
        let thread = match command {
            None => return Ok(()),
            Some(Command::GetBehind(_)) => bulk.behind,
            Some(_) => bulk.at_once,
        };
        thread
            .send((stream.into_std()?, command.expect("just seen")))
            .map_err(|_| protocol::wrong("no thread"))
    }));
}

/// Obeys every command until the connection ends or one is bulk, which is returned.
async fn obey(stream: &mut tokio::net::TcpStream) -> io::Result<Option<Command>> {
    let mut first = Vec::with_capacity(4096);
    let mut read = stream.read_buf(&mut first).await?;
    while read > 0 && first.len() < expected(&first) {
        read = stream.read_buf(&mut first).await?;
    }
    if let Some(length) = header(&first) {
        first.drain(..length);
        while first.len() < expected(&first) {
            read = stream.read_buf(&mut first).await?;
            if read == 0 {
                break;
            }
        }
    }
    if read == 0 {
        // Whoever only sees whether the port is open, or ends in the middle of a hello.
        return Ok(None);
    }
    let mut command = match first.first_chunk() {
        Some(command) if first[0] != HANDSHAKE => Some(Command::decode(command)?),
        _ => {
            stream.write_all(&protocol::answer(&first)).await?;
            next(stream).await?
        }
    };
    loop {
        match command {
            Some(Command::Answer) => stream.write_all(&protocol::answer(&[])).await?,
            Some(Command::Echo) => return echo(stream).await.map(|()| None),
            bulk_or_end => return Ok(bulk_or_end),
        }
        command = next(stream).await?;
    }
}

/// How many bytes a client sends before it waits for an answer.
fn expected(first: &[u8]) -> usize {
    match *first {
        [HANDSHAKE, _, _, high, low, ..] => 5 + usize::from(u16::from_be_bytes([high, low])),
        // A PROXY header: not the whole of it, and then one byte more.
        [b'\r', b'\n', ..] => header(first).unwrap_or(HEADER) + 1,
        _ => COMMAND,
    }
}

async fn next(stream: &mut tokio::net::TcpStream) -> io::Result<Option<Command>> {
    let mut command = [0; COMMAND];
    if stream.read(&mut command[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut command[1..]).await?;
    Command::decode(&command).map(Some)
}

async fn echo(stream: &mut tokio::net::TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

async fn serve_bulk(mut connections: UnboundedReceiver<(TcpStream, Command)>) {
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            connection = connections.recv() => match connection {
                Some((stream, command)) => _ = serving.spawn(transfer_all(stream, command)),
                None => return,
            },
            Some(_) = serving.join_next() => {}
        }
    }
}

async fn transfer_all(stream: TcpStream, mut command: Command) {
    let transfers = async {
        let mut stream = tokio::net::TcpStream::from_std(stream)?;
        let mut buffer = vec![0; protocol::CHUNK];
        loop {
            transfer(&mut stream, command, &mut buffer).await?;
            match next(&mut stream).await? {
                Some(next) => command = next,
                None => return Ok(()),
            }
        }
    };
    complain(transfers.await);
}

async fn transfer(
    stream: &mut tokio::net::TcpStream,
    command: Command,
    buffer: &mut [u8],
) -> io::Result<()> {
    match command {
        Command::Get(bytes) | Command::GetBehind(bytes) => protocol::send(stream, bytes).await,
        Command::Put(bytes) => {
            protocol::receive(stream, bytes, buffer, |_| true).await?;
            stream.write_all(&bytes.to_be_bytes()).await
        }
        Command::Answer | Command::Echo => Err(protocol::wrong("a short exchange after bulk")),
    }
}

/// The load generator sees every fault, too, as an end that it did not expect; here is where it is
/// said which one it was.
fn complain(result: io::Result<()>) {
    if let Err(error) = result
        && !matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        )
    {
        // There is nobody else to tell.
        let _ = writeln!(io::stderr(), "backend: {error}");
    }
}

/// The length of the PROXY header of version 2 at the beginning, if it is there as far as its
/// length.
fn header(first: &[u8]) -> Option<usize> {
    match *first {
        [b'\r', b'\n', b'\r', b'\n', ..] if first.len() >= HEADER => {
            Some(HEADER + usize::from(u16::from_be_bytes([first[14], first[15]])))
        }
        _ => None,
    }
}

const HANDSHAKE: u8 = 22;

/// Of a PROXY header of version 2, what comes before the addresses.
const HEADER: usize = 16;
