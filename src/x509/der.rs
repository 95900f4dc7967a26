//! DER (X.690 §10), as far as it is taken apart here: tags, lengths, and nothing else.

/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(crate) const OID: u8 = 0x06;
/// BOOLEAN.
pub(crate) const BOOLEAN: u8 = 0x01;
/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;

/// One value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

/// The values in `0`, one after the other. Whatever is not DER is `None`, and so is the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DerReader<'a>(pub(crate) &'a [u8]);

impl<'a> DerReader<'a> {
    /// The next value, whatever it is.
    pub(crate) fn next(&mut self) -> Option<Value<'a>> {
        let bytes = self.0;
        let (&tag, rest) = bytes.split_first()?;
        // Tags above 30 are used by nothing that is read here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits
                    .iter()
                    .fold(0, |length, digit| length << 8 | usize::from(*digit));
                // The shortest form that holds it (X.690 §10.1).
                if digits[0] == 0 || length < 0x80 {
                    return None;
                }
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Value {
            tag,
            content,
            whole: &bytes[..bytes.len() - rest.len()],
        })
    }

    /// The next value, which has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Value<'a>> {
        self.next().filter(|value| value.tag == tag)
    }

    /// The next value, if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Value<'a>> {
        if self.0.first() == Some(&tag) {
            self.next()
        } else {
            None
        }
    }

    /// Whether there is nothing more.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The content of the one value of `bytes`, which has this tag.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = DerReader(bytes);
    let value = reader.expect(tag)?;
    reader.is_empty().then_some(value.content)
}

/// An algorithm with its parameters, and the bits of a key or a signature behind it (RFC 5280
/// §4.1.1.2, §4.1.2.7).
pub(crate) fn algorithm_and_bits(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = DerReader(content);
    let algorithm = reader.expect(SEQUENCE)?.content;
    let bits = bits(reader.expect(BIT_STRING)?.content)?;
    reader.is_empty().then_some((algorithm, bits))
}

/// The bytes of a BIT STRING without unused bits.
pub(crate) fn bits(content: &[u8]) -> Option<&[u8]> {
    content.strip_prefix(&[0])
}

/// An extension (RFC 5280 §4.1): its identifier's content, whether it is critical, and its value.
pub(crate) fn extension(content: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let mut reader = DerReader(content);
    let oid = reader.expect(OID)?.content;
    let critical = match reader.optional(BOOLEAN) {
        None => false,
        Some(value) => match value.content {
            [0xff] => true,
            // A default that is written out, which DER forbids and some issuers do.
            [0] => false,
            _ => return None,
        },
    };
    let value = reader.expect(OCTET_STRING)?.content;
    reader.is_empty().then_some((oid, critical, value))
}

/// An identifier in dots.
pub(crate) fn dotted(oid: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for byte in oid {
        number = number
            .saturating_mul(128)
            .saturating_add(u64::from(byte & 0x7f));
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    let Some((&first, rest)) = numbers.split_first() else {
        return "an empty identifier".to_owned();
    };
    let top = (first / 40).min(2);
    let rest = rest.iter().map(|number| format!(".{number}"));
    format!("{top}.{}", first - 40 * top) + &rest.collect::<String>()
}

/// Without the zero bytes at the front, which say nothing; one remains of nothing but zeros.
pub(crate) fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes
        .iter()
        .take(bytes.len().saturating_sub(1))
        .take_while(|&&byte| byte == 0)
        .count();
    &bytes[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_one_form_and_never_reaches_beyond_the_end() {
        let long = [&[4, 0x81, 0x80][..], &[7; 0x80]].concat();
        for (bytes, expected) in [
            (&[4, 0][..], Some(0)),
            (&[4, 2, 7, 7], Some(2)),
            (&long, Some(0x80)),
            (&[4, 0x81, 2, 7, 7], None),
            (&[4, 0x82, 0, 0x80], None),
            (&[4, 0x80], None),
            (&[4, 0x85, 1, 1, 1, 1, 1], None),
            (&[0x1f, 1, 1], None),
        ] {
            assert_eq!(
                DerReader(bytes).next().map(|value| value.content.len()),
                expected,
                "{bytes:?}"
            );
            for cut in 0..bytes.len() {
                assert!(
                    DerReader(&bytes[..cut]).next().is_none(),
                    "{cut} of {bytes:?}"
                );
            }
        }
    }

    #[test]
    fn an_identifier_is_written_in_dots() {
        for (bytes, text) in [
            (&[0x55, 0x1d, 0x1c][..], "2.5.29.28"),
            (
                &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
                "1.2.840.113549.1.1.10",
            ),
            (&[0x2b, 0x65, 0x71], "1.3.101.113"),
        ] {
            assert_eq!(dotted(bytes), text);
        }
    }
}
