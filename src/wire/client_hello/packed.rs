//! Records that are whole, kept in little more room than their content takes, and given back byte
//! for byte.

use std::borrow::Cow;

use super::{HANDSHAKE, TlsRecord};

/// Whole handshake records. A record of one byte takes three at most, of which it has six on the
/// wire.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// The content of all of them.
    content: Vec<u8>,
    /// Their versions and lengths. A byte below 0x80 is the length of a record of the same version
    /// as the one before it; [`WITH_VERSION`] and the length come before another version; [`LONG`]
    /// comes before a version and a length of two bytes.
    headers: Vec<u8>,
    /// The minor version of the last one.
    version: u8,
    /// How long they are on the wire.
    length: usize,
}

/// Marks a short record of another version.
const WITH_VERSION: u8 = 0x80;

/// Marks a record that is not short.
const LONG: u8 = 0xc0;

impl Packed {
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How long the records are on the wire.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// How long their content is.
    pub(super) fn content(&self) -> usize {
        self.content.len()
    }

    /// How much memory they take.
    pub(super) fn size(&self) -> usize {
        self.content.capacity() + self.headers.capacity()
    }

    /// Adds so many records, all of which are whole.
    pub(super) fn push(&mut self, bytes: &[u8], records: usize) {
        // Not twice as much as there is, as a vector would take. Short records have headers of two
        // bytes at most.
        self.content
            .reserve_exact(bytes.len().saturating_sub(TlsRecord::HEADER * records));
        self.headers.reserve_exact(2 * records);
        let mut rest = bytes;
        while let Some((&[_, _, version, high, low], behind)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            let (content, behind) = behind.split_at_checked(length).unwrap_or((behind, &[]));
            match (version == self.version, low) {
                (true, ..0x80) if high == 0 => self.headers.push(low),
                (_, ..0x40) if high == 0 => self.headers.extend([WITH_VERSION | low, version]),
                _ => self.headers.extend([LONG, version, high, low]),
            }
            self.version = version;
            append(&mut self.content, content);
            rest = behind;
        }
        self.length += bytes.len();
    }

    /// The content of the records, with that of those that come after them.
    pub(super) fn join<'a>(&self, after: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        if self.is_empty() {
            after
        } else {
            Cow::Owned([&self.content, &*after].concat())
        }
    }

    /// The records as they came, and then these bytes.
    pub(super) fn unpack(self, after: Vec<u8>) -> Vec<u8> {
        if self.is_empty() {
            return after;
        }
        let mut bytes = Vec::with_capacity(self.length + after.len());
        let (mut headers, mut content) = (self.headers.iter().copied(), self.content.as_slice());
        let mut version = 0;
        while let Some(first) = headers.next() {
            let mut next = || headers.next().unwrap_or_default();
            let (high, low) = match first {
                LONG => {
                    version = next();
                    (next(), next())
                }
                WITH_VERSION.. => {
                    version = next();
                    (0, first & !WITH_VERSION)
                }
                low => (0, low),
            };
            bytes.extend_from_slice(&[HANDSHAKE, 3, version, high, low]);
            let record = usize::from(u16::from_be_bytes([high, low]));
            let (record, behind) = content.split_at_checked(record).unwrap_or((content, &[]));
            append(&mut bytes, record);
            content = behind;
        }
        bytes.extend_from_slice(&after);
        bytes
    }
}

/// Appends a record's content. One byte, which is the most of these there can be, is no call.
fn append(to: &mut Vec<u8>, content: &[u8]) {
    if let [byte] = *content {
        to.push(byte);
    } else {
        to.extend_from_slice(content);
    }
}

/// Whether it is worth it to pack so many records, which have this length together: where most of
/// it are their headers.
pub(super) fn is_worth_it(length: usize, records: usize) -> bool {
    length >= WORTH && 2 * TlsRecord::HEADER * records > length
}

/// Records that take less than this together are kept as they came.
const WORTH: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(version: u8, content: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[HANDSHAKE, 3, version, high, low], content].concat()
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_came(
            records in prop::collection::vec((0_u8..3, prop::collection::vec(any::<u8>(), 1..300)), 0..40),
            cut in any::<prop::sample::Index>(),
            after in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let wire: Vec<Vec<u8>> = records.iter().map(|(version, content)| record(*version, content)).collect();
            let (first, second) = wire.split_at(cut.index(wire.len() + 1));
            let mut packed = Packed::default();
            packed.push(&first.concat(), first.len());
            packed.push(&second.concat(), second.len());
            prop_assert_eq!(packed.length(), wire.concat().len());
            let content: Vec<u8> = records.into_iter().flat_map(|(_, content)| content).collect();
            prop_assert_eq!(&*packed.join(Cow::Borrowed(&after)), [content, after.clone()].concat());
            prop_assert_eq!(packed.unpack(after.clone()), [wire.concat(), after].concat());
        }
    }

    #[test]
    fn records_of_one_byte_take_three_at_most_whatever_their_versions_are() {
        let mut packed = Packed::default();
        for number in 0..100_u8 {
            packed.push(
                &(0..100)
                    .flat_map(|at| record(at, &[number]))
                    .collect::<Vec<_>>(),
                100,
            );
        }
        assert!(packed.size() <= 3 * 10_000, "{}", packed.size());
        assert_eq!(packed.length(), 6 * 10_000);
    }
}
