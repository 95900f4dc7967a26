//! The ClientHello: what a client says before anything is encrypted, read from bytes that come in any pieces.
//!
//! A hello need be neither one segment nor one record: post-quantum key shares outgrow a segment, and a record may hold
//! a single byte. The verdict never depends on how the bytes were cut.

mod body;
mod error;
mod extensions;
mod kinds;
mod numbers;
mod packed;

use std::borrow::Cow;
use std::iter;

pub use body::{ClientHello, RequestedName};
pub use error::{HelloError, Malformed};
pub use numbers::Numbers;
use packed::Packed;

/// Collects what a client sends until that holds a whole ClientHello.
///
/// Every byte is kept, to be sent on as it came to whoever answers the client. A hello has at most 64 KiB, which are
/// 384 KiB on the wire if each byte comes in a record of its own; until it is whole it takes no more memory than three times
/// what there is of it, and some kilobytes.
#[derive(Debug, Default)]
pub struct HelloParser {
    /// Records that came before `received`.
    packed: Packed,
    received: Vec<u8>,
    /// Where the header of the record that is being read begins in `received`.
    record: usize,
    /// How many records are whole in `received`.
    records: usize,
    /// How many bytes of that record's content were counted already.
    counted: usize,
    message: Message,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Reading,
    Complete,
    Refused(HelloError),
}

impl HelloParser {
    /// A parser that has received nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes that the client sent: the hello if they complete it, `None` if more are needed.
    ///
    /// The hello is handed out once; bytes that come with it or later are kept, not read, and answered with `None`.
    /// The cost is linear in the bytes fed, in whatever pieces they come, and no memory is taken for a length that
    /// is only announced.
    ///
    /// # Errors
    ///
    /// As soon as the bytes so far cannot become an acceptable hello; [`HelloError::NotTls`] at the first or second one.
    /// Every later call returns the same error and keeps nothing.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        if let State::Refused(error) = self.state {
            return Err(error);
        }
        // By a quarter, where a vector would take twice as much.
        if self.received.capacity() - self.received.len() < bytes.len() {
            self.received.reserve_exact(bytes.len().max(self.received.len() / 4));
        }
        self.received.extend_from_slice(bytes);
        if let State::Complete = self.state {
            return Ok(None);
        }
        let verdict = self.read();
        match verdict {
            Ok(Some(_)) => self.state = State::Complete,
            Ok(None) => self.pack(),
            Err(error) => self.state = State::Refused(error),
        }
        verdict
    }

    /// The bytes fed so far that are kept as they came: all of them, unless there are thousands in tiny records.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// How many bytes were fed so far, up to and including the call that returned an error.
    #[must_use]
    pub fn length(&self) -> usize {
        self.packed.length() + self.received.len()
    }

    /// How much memory the bytes take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.packed.size() + self.received.capacity()
    }

    /// Every byte fed so far, in order, for replay.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.packed.unpack(self.received)
    }

    /// Puts away the records that are whole, where their headers are most of them.
    fn pack(&mut self) {
        if packed::is_worth_it(self.record, self.records) {
            self.packed.push(self.received.get(..self.record).unwrap_or_default(), self.records);
            self.received.drain(..self.record);
            self.received.shrink_to_fit();
            (self.record, self.records) = (0, 0);
        }
    }

    fn read(&mut self) -> Result<Option<ClientHello>, HelloError> {
        match *self.received.as_slice() {
            [] | [HANDSHAKE] | [HANDSHAKE, 3, ..] => {}
            // It has begun like a hello.
            _ if !self.packed.is_empty() => {}
            [CHANGE_CIPHER_SPEC | APPLICATION_DATA | HEARTBEAT] => return Ok(None),
            [kind @ (CHANGE_CIPHER_SPEC | APPLICATION_DATA | HEARTBEAT), 3, ..] => {
                return Err(Malformed::Preceded(kind).into());
            }
            // An alert is no more answered than another protocol (RFC 8446 §6.2).
            _ => return Err(HelloError::NotTls),
        }
        let Some(end) = self.scan()? else { return Ok(None) };
        let message = self.packed.join(join(self.received.get(..end).unwrap_or_default()));
        let body = message.get(Message::HEADER..).unwrap_or_default();
        Ok(Some(ClientHello::parse(body)?))
    }

    /// Goes on through the records: where the last one of the hello ends, once it is there.
    fn scan(&mut self) -> Result<Option<usize>, HelloError> {
        while let Some(record) = Record::read(self.received.get(self.record..).unwrap_or_default())? {
            let length = self.message.take(record.content.get(self.counted..).unwrap_or_default())?;
            self.counted = record.content.len();
            let missing = record.length - self.counted;
            // RFC 8446 §5.1 forbids messages around a change of keys to share a record, and in no version has a client
            // more to say before the server answers. rustls refuses this, too.
            if length.is_some_and(|length| self.message.taken + missing > length) {
                return Err(Malformed::Followed.into());
            }
            if missing > 0 {
                return Ok(None);
            }
            self.record += Record::HEADER + record.length;
            self.records += 1;
            self.counted = 0;
            if length == Some(self.message.taken) {
                return Ok(Some(self.record));
            }
        }
        Ok(None)
    }
}

/// The same bytes, which begin with a whole ClientHello, with the hello in as few records as it takes.
///
/// A hello in thousands of tiny records is legal, and more than rustls buffers. Its meaning is the message: record
/// headers are not part of what a handshake authenticates (RFC 8446 §4.4.1).
#[must_use]
pub fn reframe(bytes: Vec<u8>) -> Vec<u8> {
    let mut parser = HelloParser { received: bytes, ..HelloParser::default() };
    let Ok(Some(end)) = parser.scan() else { return parser.received };
    let (records, rest) = parser.received.split_at(end);
    let Cow::Owned(message) = join(records) else { return parser.received };
    let mut reframed = Vec::with_capacity(message.len() + rest.len() + 5 * Record::HEADER);
    for content in message.chunks(usize::from(MAX_RECORD)) {
        #[expect(clippy::cast_possible_truncation, reason = "a chunk has at most 2^14 bytes")]
        let [high, low] = (content.len() as u16).to_be_bytes();
        reframed.extend_from_slice(&[HANDSHAKE, 3, 1, high, low]);
        reframed.extend_from_slice(content);
    }
    reframed.extend_from_slice(rest);
    reframed
}

/// A handshake record (RFC 8446 §5.1): its header, and what there is of its content.
struct Record<'a> {
    length: usize,
    content: &'a [u8],
}

impl<'a> Record<'a> {
    const HEADER: usize = 5;

    /// The record at the start of `bytes`, `None` before its header is whole. Each field is judged when it is there.
    fn read(bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        if let [kind, ..] = *bytes
            && kind != HANDSHAKE
        {
            return Err(Malformed::Interrupted(kind));
        }
        if let [_, major, minor, ..] = *bytes {
            let version = u16::from_be_bytes([major, minor]);
            // RFC 8446 §5.1 wants the version ignored, and TLS 1.2 (RFC 5246 appendix E.1) any that begins so taken.
            if major != 3 {
                return Err(Malformed::RecordVersion(version));
            }
        }
        let Some((&[_, _, _, high, low], content)) = bytes.split_first_chunk() else { return Ok(None) };
        match u16::from_be_bytes([high, low]) {
            0 => Err(Malformed::EmptyRecord),
            length if length > MAX_RECORD => Err(Malformed::RecordTooLong(length)),
            length => {
                let length = usize::from(length);
                Ok(Some(Self { length, content: content.get(..length).unwrap_or(content) }))
            }
        }
    }
}

/// How much of the handshake message has come; its bytes stay in the records.
#[derive(Debug, Default)]
struct Message {
    header: [u8; Self::HEADER],
    taken: usize,
}

impl Message {
    const HEADER: usize = 4;

    /// Counts the next `bytes` of the message: its whole length, once its header says so.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<usize>, HelloError> {
        if self.taken < Self::HEADER {
            for (field, byte) in self.header.iter_mut().skip(self.taken).zip(bytes) {
                *field = *byte;
            }
        }
        self.taken += bytes.len();
        let [kind, high, middle, low] = self.header;
        if self.taken > 0 && kind != CLIENT_HELLO {
            return Err(Malformed::NotClientHello(kind).into());
        }
        if self.taken < Self::HEADER {
            return Ok(None);
        }
        let announced = Self::HEADER + u32::from_be_bytes([0, high, middle, low]) as usize;
        if announced > MAX_HELLO { Err(HelloError::TooLarge { announced }) } else { Ok(Some(announced)) }
    }
}

/// The message that these whole records carry, copied only if there are several.
fn join(records: &[u8]) -> Cow<'_, [u8]> {
    let mut rest = records;
    let mut contents = iter::from_fn(|| {
        let record = Record::read(rest).ok()??;
        rest = rest.get(Record::HEADER + record.length..)?;
        Some(record.content)
    });
    let first = contents.next().unwrap_or_default();
    if Record::HEADER + first.len() == records.len() {
        return Cow::Borrowed(first);
    }
    let mut message = first.to_vec();
    contents.for_each(|content| message.extend_from_slice(content));
    Cow::Owned(message)
}

// The content types of records (RFC 8446 §5.1, RFC 6520 §3). That of an alert is 21.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

/// The type of the handshake message (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;

/// The most bytes of content in a record, 2^14 (RFC 8446 §5.1).
const MAX_RECORD: u16 = 1 << 14;

/// The longest ClientHello in bytes, its four-byte header included. That header has room for 16 MiB, but rustls stops
/// near here, no real hello comes close, and a client must not fill the memory before anybody knows it.
const MAX_HELLO: usize = 64 * 1024;

#[cfg(test)]
mod builder;

#[cfg(test)]
mod tests;
