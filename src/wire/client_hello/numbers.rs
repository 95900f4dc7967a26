//! Lists of a hello as they stand in it: one with tens of thousands of entries costs no more than a
//! copy of its bytes.

use std::fmt;

/// The 16-bit numbers that a client offers (versions, cipher suites, groups or signature schemes),
/// in its order.
///
/// The reserved values that clients strew in to keep servers tolerant (GREASE, RFC 8701) are passed
/// over.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Numbers(Box<[[u8; 2]]>);

impl Numbers {
    /// The numbers in `list`; `None` when it has none, or half of one.
    pub(super) fn read(list: &[u8]) -> Option<Self> {
        let (pairs, []) = list.as_chunks() else {
            return None;
        };
        (!pairs.is_empty()).then(|| Self(pairs.into()))
    }

    /// Each number that means something.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0
            .iter()
            .map(|pair| u16::from_be_bytes(*pair))
            .filter(|number| !is_grease(*number))
    }

    /// Whether the client offers `number`.
    #[must_use]
    pub fn contains(&self, number: u16) -> bool {
        let wanted = number.to_be_bytes();
        // Without a way out of the loop, many are compared at once.
        self.0
            .iter()
            .fold(false, |found, pair| found | (*pair == wanted))
    }
}

impl From<&[u16]> for Numbers {
    fn from(numbers: &[u16]) -> Self {
        Self(numbers.iter().map(|number| number.to_be_bytes()).collect())
    }
}

impl fmt::Debug for Numbers {
    /// The first few, since a client may offer thousands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.iter()
                    .take(SHOWN)
                    .map(|number| format!("{number:#06x}")),
            )
            .finish()
    }
}

/// How many numbers of a list a log shows: more than any client offers of versions or groups.
const SHOWN: usize = 16;

/// Whether the value is reserved by RFC 8701 §2: 0x0a0a, 0x1a1a, and so on to 0xfafa.
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grease_is_passed_over_and_the_order_is_kept() {
        let numbers =
            Numbers::read(&[0x3a, 0x3a, 0x13, 0x01, 0xfa, 0xfa, 0xc0, 0x2b, 0x0a, 0x1a]).unwrap();
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [0x1301, 0xc02b, 0x0a1a]);
        assert!(numbers.contains(0x1301) && numbers.contains(0xc02b) && !numbers.contains(0x2bc0));
        assert!(!Numbers::default().contains(0));
    }

    #[test]
    fn a_list_is_of_whole_numbers_and_at_least_one() {
        assert_eq!(Numbers::read(&[]), None);
        assert_eq!(Numbers::read(&[3]), None);
        assert_eq!(Numbers::read(&[3, 4, 3]), None);
        assert_eq!(Numbers::read(&[3, 4]), Some(Numbers::from(&[0x0304][..])));
    }

    #[test]
    fn a_long_list_does_not_fill_the_log() {
        let shown = format!("{:?}", Numbers::from(&[0x1301; 30_000][..]));
        assert_eq!(shown.matches("0x1301").count(), SHOWN);
    }
}
