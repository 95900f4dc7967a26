//! The ClientHello: what a client says before anything is encrypted, read from bytes that come in
//! any pieces.
//!
//! A hello need be neither one segment nor one record: post-quantum key shares outgrow a segment,
//! and a record may hold a single byte. The verdict never depends on how the bytes were cut.

mod body;
mod error;
mod extensions;
mod kinds;
mod numbers;
mod packed;

use std::borrow::Cow;

pub use body::{ClientHello, RequestedName};
pub use error::{HelloError, Malformed};
pub use numbers::Numbers;
use packed::Packed;

/// Collects what a client sends until that holds a whole ClientHello.
///
/// Every byte is kept, to be sent on as it came to the side that answers the client. A hello has at
/// most 64 KiB, which are 384 KiB on the wire if each byte comes in a record of its own; until it
/// is whole it takes no more memory than three times what there is of it, and some kilobytes.
#[derive(Debug, Default)]
pub struct HelloParser {
    /// Records that came before `received`.
    packed: Packed,
    received: Vec<u8>,
    /// Where the header of the record that is being read begins in `received`.
    record: usize,
    /// How many records are whole in `received`.
    records: usize,
    /// With fewer bytes than this in `received` there is nothing new to judge: the rest of a
    /// record's content comes.
    until: usize,
    message: HandshakeMessage,
    state: ParserState,
}

#[derive(Debug, Default)]
enum ParserState {
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

    /// Takes the next bytes that the client sent: the hello if they complete it, `None` if more are
    /// needed.
    ///
    /// The hello is handed out once; bytes that come with it or later are kept, not read, and
    /// answered with `None`. The cost is linear in the bytes fed, in whatever pieces they come, and
    /// no memory is taken for a length that is only announced.
    ///
    /// # Errors
    ///
    /// As soon as the bytes so far cannot become an acceptable hello; [`HelloError::NotTls`] at the
    /// first or second one. Every later call returns the same error and keeps nothing.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        if let ParserState::Refused(error) = self.state {
            return Err(error);
        }
        // By a quarter, where a vector would take twice as much.
        if self.received.capacity() - self.received.len() < bytes.len() {
            self.received
                .reserve_exact(bytes.len().max(self.received.len() / 4));
        }
        self.received.extend_from_slice(bytes);
        if matches!(self.state, ParserState::Complete) || self.received.len() < self.until {
            return Ok(None);
        }
        let verdict = self.read();
        match verdict {
            Ok(Some(_)) => self.state = ParserState::Complete,
            Ok(None) => self.pack(),
            Err(error) => self.state = ParserState::Refused(error),
        }
        verdict
    }

    /// The bytes fed so far that are kept as they came: all of them, unless there are thousands in
    /// tiny records.
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
            self.packed.push(
                self.received.get(..self.record).unwrap_or_default(),
                self.records,
            );
            self.received.drain(..self.record);
            self.received.shrink_to_fit();
            self.until = self.until.saturating_sub(self.record);
            (self.record, self.records) = (0, 0);
        }
    }

    fn read(&mut self) -> Result<Option<ClientHello>, HelloError> {
        match *self.received.as_slice() {
            [] | [HANDSHAKE] | [HANDSHAKE, 3, ..] => {}
            // It has begun like a hello.
            _ if !self.packed.is_empty() => {}
            [CHANGE_CIPHER_SPEC | APPLICATION_DATA | HEARTBEAT] => return Ok(None),
            [
                kind @ (CHANGE_CIPHER_SPEC | APPLICATION_DATA | HEARTBEAT),
                3,
                ..,
            ] => {
                return Err(Malformed::Preceded(kind).into());
            }
            // An alert is no more answered than another protocol (RFC 8446 §6.2).
            _ => return Err(HelloError::NotTls),
        }
        // Most hellos are whole at once, and this goes through their records once. It is done for
        // one that is not whole as long as its first record is not, which ends it at once.
        if self.packed.is_empty()
            && self.record == 0
            && let Some((message, _)) = hello(&self.received)
        {
            return parse(&message);
        }
        let Some(length) = self.scan()? else {
            return Ok(None);
        };
        let after = join(&self.received, length - self.packed.content())
            .map(|(after, _)| after)
            .unwrap_or_default();
        parse(&self.packed.join(after))
    }

    /// Goes on through the records: the length of the message, once it is whole.
    fn scan(&mut self) -> Result<Option<usize>, HelloError> {
        self.pass();
        while let Some(record) =
            TlsRecord::read(self.received.get(self.record..).unwrap_or_default())?
        {
            let length = self.message.see(record.content)?;
            let taken = self.message.taken + record.length;
            // RFC 8446 §5.1 forbids messages around a change of keys to share a record, and in no
            // version has a client more to say before the server answers. rustls refuses this, too.
            if length.is_some_and(|length| taken > length) {
                return Err(Malformed::Followed.into());
            }
            let end = self.record + TlsRecord::HEADER + record.length;
            if record.content.len() < record.length {
                self.until = if length.is_some() { end } else { 0 };
                return Ok(None);
            }
            self.message.taken = taken;
            self.record = end;
            self.records += 1;
            if length == Some(taken) {
                return Ok(length);
            }
            self.pass();
        }
        Ok(None)
    }

    /// Goes on past the records that are whole and right and leave the message incomplete. A hello
    /// has room for 65,536 of them: what each takes is kept short.
    fn pass(&mut self) {
        let Some(length) = self.message.length() else {
            return;
        };
        let mut rest = self.received.get(self.record..).unwrap_or_default();
        let mut missing = length - self.message.taken;
        while let Some((content, behind)) = TlsRecord::whole(rest)
            && content.len() < missing
        {
            missing -= content.len();
            rest = behind;
        }
        let passed = self.received.len() - rest.len() - self.record;
        let content = length - missing - self.message.taken;
        self.records += (passed - content) / TlsRecord::HEADER;
        self.record += passed;
        self.message.taken += content;
    }
}

/// The same bytes, which begin with a whole ClientHello, with the hello in as few records as it
/// takes.
///
/// A hello in thousands of tiny records is legal, and more than rustls buffers. Its meaning is the
/// message: record headers are not part of what a handshake authenticates (RFC 8446 §4.4.1).
#[must_use]
pub fn reframe(bytes: Vec<u8>) -> Vec<u8> {
    let Some((Cow::Owned(message), rest)) = hello(&bytes) else {
        return bytes;
    };
    let mut reframed = Vec::with_capacity(message.len() + rest.len() + 5 * TlsRecord::HEADER);
    for content in message.chunks(usize::from(MAX_RECORD)) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a chunk has at most 2^14 bytes"
        )]
        let [high, low] = (content.len() as u16).to_be_bytes();
        reframed.extend_from_slice(&[HANDSHAKE, 3, 1, high, low]);
        reframed.extend_from_slice(content);
    }
    reframed.extend_from_slice(rest);
    reframed
}

/// A handshake record (RFC 8446 §5.1): its header, and what there is of its content.
struct TlsRecord<'a> {
    length: usize,
    content: &'a [u8],
}

impl<'a> TlsRecord<'a> {
    const HEADER: usize = 5;

    /// The content of the record at the start of `bytes` and what follows it, if the record is
    /// whole and right.
    #[inline]
    fn whole(bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (header, behind) = bytes.split_first_chunk()?;
        behind.split_at_checked(Self::length(*header)?)
    }

    /// The length of the content behind a header that is right.
    #[inline]
    fn length([kind, major, _, high, low]: [u8; 5]) -> Option<usize> {
        let length = usize::from(u16::from_be_bytes([high, low]));
        // Compared as one number each.
        let is_right = u16::from_ne_bytes([kind, major]) == u16::from_ne_bytes([HANDSHAKE, 3])
            && length.wrapping_sub(1) < usize::from(MAX_RECORD);
        is_right.then_some(length)
    }

    /// The record at the start of `bytes`, `None` before its header is whole. Each field is judged
    /// when it is there.
    fn read(bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        if let [kind, ..] = *bytes
            && kind != HANDSHAKE
        {
            return Err(Malformed::Interrupted(kind));
        }
        if let [_, major, minor, ..] = *bytes {
            let version = u16::from_be_bytes([major, minor]);
            // RFC 8446 §5.1 wants the version ignored, and TLS 1.2 (RFC 5246 appendix E.1) any that
            // begins so taken.
            if major != 3 {
                return Err(Malformed::RecordVersion(version));
            }
        }
        let Some((header, content)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        if let Some(length) = Self::length(*header) {
            return Ok(Some(Self {
                length,
                content: content.get(..length).unwrap_or(content),
            }));
        }
        match u16::from_be_bytes([header[3], header[4]]) {
            0 => Err(Malformed::EmptyRecord),
            length => Err(Malformed::RecordTooLong(length)),
        }
    }
}

/// How much of the handshake message has come in whole records; its bytes stay there.
#[derive(Debug, Default)]
struct HandshakeMessage {
    header: [u8; Self::HEADER],
    taken: usize,
}

impl HandshakeMessage {
    const HEADER: usize = 4;

    /// Looks at what there is of the next record's content: the whole length of the message, once
    /// its header says so.
    fn see(&mut self, content: &[u8]) -> Result<Option<usize>, HelloError> {
        for (field, byte) in self.header.iter_mut().skip(self.taken).zip(content) {
            *field = *byte;
        }
        let seen = self.taken + content.len();
        if seen > 0 && self.header[0] != CLIENT_HELLO {
            return Err(Malformed::NotClientHello(self.header[0]).into());
        }
        if seen < Self::HEADER {
            return Ok(None);
        }
        let announced = message_length(self.header);
        if announced > MAX_HELLO {
            Err(HelloError::TooLarge { announced })
        } else {
            Ok(Some(announced))
        }
    }

    /// Its whole length, if its header came in whole records.
    fn length(&self) -> Option<usize> {
        (self.taken >= Self::HEADER).then(|| message_length(self.header))
    }
}

/// The length that the header of a handshake message says (RFC 8446 §4), with its own.
fn message_length([_, high, middle, low]: [u8; HandshakeMessage::HEADER]) -> usize {
    HandshakeMessage::HEADER + u32::from_be_bytes([0, high, middle, low]) as usize
}

fn parse(message: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    Ok(Some(ClientHello::parse(
        message.get(HandshakeMessage::HEADER..).unwrap_or_default(),
    )?))
}

/// The message of the ClientHello in the records at the start of `bytes`, and what follows them, if
/// all are whole and right.
fn hello(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let (mut message, mut rest) = (HandshakeMessage::default(), bytes);
    loop {
        let (content, behind) = TlsRecord::whole(rest)?;
        if let Some(length) = message.see(content).ok()? {
            return if bytes.len() > length {
                join(bytes, length)
            } else {
                None
            };
        }
        message.taken += content.len();
        rest = behind;
    }
}

/// The message of this length that the records at the start of `bytes` carry, copied only if there
/// are several, and what follows them; `None` if it does not end where a record does.
fn join(bytes: &[u8], length: usize) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let (first, mut rest) = TlsRecord::whole(bytes)?;
    if first.len() == length {
        return Some((Cow::Borrowed(first), rest));
    }
    let mut message = Vec::with_capacity(length.min(bytes.len()) + TINY);
    message.extend_from_slice(first);
    while message.len() < length {
        rest = join_tiny(rest, length, &mut message);
        if message.len() < length {
            let (content, behind) = TlsRecord::whole(rest)?;
            message.extend_from_slice(content);
            rest = behind;
        }
    }
    (message.len() == length).then_some((Cow::Owned(message), rest))
}

/// Joins the tiny records at the start of `bytes` to the `message` while it is shorter than
/// `length`. A hello has room for 65,536 of them: what each takes is kept short.
fn join_tiny<'a>(bytes: &'a [u8], length: usize, message: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = bytes;
    let mut end = message.len();
    while end < length
        && let Some((header, content)) = rest.split_first_chunk()
        && let Some(content) = content.first_chunk::<TINY>()
        && let Some(tiny) = TlsRecord::length(*header).filter(|tiny| *tiny <= TINY)
    {
        // As many bytes each time, whatever follows the content: a copy of just the content is a
        // call for each byte.
        message.truncate(end);
        message.extend_from_slice(content);
        end += tiny;
        rest = &rest[TlsRecord::HEADER + tiny..];
    }
    message.truncate(end);
    rest
}

/// A record with this many bytes of content at most is tiny.
const TINY: usize = 16;

// The content types of records (RFC 8446 §5.1, RFC 6520 §3). That of an alert is 21.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

/// The type of the handshake message (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;

/// The most bytes of content in a record, 2^14 (RFC 8446 §5.1).
const MAX_RECORD: u16 = 1 << 14;

/// The longest ClientHello in bytes, its four-byte header included. That header has room for 16
/// MiB, but rustls stops near here, no real hello comes close, and a client must not fill the
/// memory before it is known.
const MAX_HELLO: usize = 64 * 1024;

#[cfg(test)]
mod builder;

#[cfg(test)]
mod tests;
