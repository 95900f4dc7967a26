//! What the load generator and the backend say to each other, and the bytes that both know
//! beforehand.
//!
//! A connection begins with a ClientHello, or, where the proxy has terminated TLS, without one. The
//! backend answers the hello at once with 128 bytes that prove that it came through unchanged. Then
//! it obeys commands of 16 bytes.

use std::io;
use std::sync::LazyLock;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The answer to a hello.
pub(crate) const ANSWER: usize = 128;
pub(crate) const COMMAND: usize = 16;
/// One read or write of bulk.
pub(crate) const CHUNK: usize = 256 * 1024;

/// What the client wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// The answer that a hello gets, for clients whose hello ends at the proxy.
    Answer,
    /// Everything that follows sent back, to the end of the connection.
    Echo,
    /// This many bytes.
    Get(u64),
    /// The same, from a thread that gives way to the others.
    GetBehind(u64),
    /// To send this many bytes, which are acknowledged with their number when all are there.
    Put(u64),
}

impl Command {
    pub(crate) fn encode(self) -> [u8; COMMAND] {
        let (operation, number) = match self {
            Self::Answer => (b'A', 0),
            Self::Echo => (b'E', 0),
            Self::Get(bytes) => (b'G', bytes),
            Self::GetBehind(bytes) => (b'B', bytes),
            Self::Put(bytes) => (b'P', bytes),
        };
        let mut encoded = [0; COMMAND];
        encoded[..7].copy_from_slice(MAGIC);
        encoded[7] = operation;
        encoded[8..].copy_from_slice(&number.to_be_bytes());
        encoded
    }

    pub(crate) fn decode(encoded: &[u8; COMMAND]) -> io::Result<Self> {
        let (magic, rest) = encoded.split_at(MAGIC.len());
        let number = rest[1..]
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        match rest[0] {
            _ if magic != MAGIC => Err(wrong("this is no command")),
            b'A' => Ok(Self::Answer),
            b'E' => Ok(Self::Echo),
            b'G' => Ok(Self::Get(number)),
            b'B' => Ok(Self::GetBehind(number)),
            b'P' => Ok(Self::Put(number)),
            _ => Err(wrong("this is no command")),
        }
    }
}

/// The answer to this hello, which is empty where TLS ended before the backend.
pub(crate) fn answer(hello: &[u8]) -> [u8; ANSWER] {
    let mut answer = [0; ANSWER];
    let (sum, rest) = answer.split_at_mut(8);
    sum.copy_from_slice(&checksum(hello).to_be_bytes());
    rest.copy_from_slice(pattern(0, ANSWER - 8));
    answer
}

/// Tells a changed byte, a missing one and two that have changed places; not made against anybody
/// who wants to deceive.
fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        chunk
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    });
    words.fold(bytes.len() as u64, |sum, word| {
        (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// What stands at this place of every bulk transfer.
pub(crate) fn pattern(at: u64, length: usize) -> &'static [u8] {
    let start = usize::try_from(at % PERIOD as u64).expect("it is less than the period");
    &PATTERN[start..start + length]
}

/// Sends the first `bytes` of the pattern.
pub(crate) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: u64) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes {
        let length = usize::try_from(bytes - sent).unwrap_or(CHUNK).min(CHUNK);
        sent += stream.write(pattern(sent, length)).await? as u64;
    }
    stream.flush().await
}

/// Receives `bytes`, or as long as `more` says, into `buffer`, and checks that they are the
/// pattern.
pub(crate) async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: u64,
    buffer: &mut [u8],
    more: impl Fn(u64) -> bool,
) -> io::Result<()> {
    let mut received = 0;
    while received < bytes && more(received) {
        let room = usize::try_from(bytes - received)
            .unwrap_or(usize::MAX)
            .min(buffer.len())
            .min(CHUNK);
        let read = stream.read(&mut buffer[..room]).await?;
        if read == 0 {
            return Err(wrong(&format!(
                "the connection ends {received} bytes into {bytes}"
            )));
        }
        if buffer[..read] != *pattern(received, read) {
            return Err(wrong(&format!(
                "wrong bytes, {received} bytes into the transfer"
            )));
        }
        received += read as u64;
    }
    Ok(())
}

pub(crate) fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const MAGIC: &[u8] = b"bench-1";

/// A prime, so that no buffer's size is a multiple of it and a piece that is left out or sent twice
/// is seen.
const PERIOD: usize = 65_521;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1_u32;
    let mut period = || {
        // xorshift32
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    let period: Vec<u8> = (0..PERIOD).map(|_| period()).collect();
    period
        .iter()
        .copied()
        .cycle()
        .take(PERIOD + CHUNK)
        .collect()
});
