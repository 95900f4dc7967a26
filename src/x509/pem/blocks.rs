//! The blocks of a PEM text (RFC 7468), each with the line that it begins on.
//!
//! Text may stand between blocks: comments, and what `openssl -text` prints. What stands there must
//! not be able to be a block that lost a character: no line may look like a mark, or like the
//! base64 of a block.

use crate::x509::pem::PemError;

/// One block, its inside as it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    /// The line of its BEGIN mark, from 1.
    pub(crate) line: usize,
    pub(crate) label: &'a str,
    pub(crate) body: &'a str,
    /// The line on which its inside begins.
    pub(crate) body_line: usize,
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// RFC 7468 §3 sets no limit; no label is as long.
const MAX_LABEL: usize = 64;

/// Every block of `text`, in order.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block<'_>>, PemError> {
    let mut blocks = Vec::new();
    let mut lines = LineNumbers {
        text,
        counted: 0,
        line: 1,
    };
    let mut at = 0;
    while let Some(found) = text[at..].find(BEGIN) {
        let begin = at + found;
        between(&text[at..begin], lines.of(at), !blocks.is_empty(), true)?;
        let line = lines.of(begin);
        let inside = begin + BEGIN.len();
        let (label, rest) = text[inside..]
            .split_once(DASHES)
            .ok_or(PemError::Mark(line))?;
        if !is_label(label) {
            return Err(PemError::Mark(line));
        }
        let unfinished = || PemError::Unfinished {
            line,
            label: label.to_owned(),
        };
        let (body, end) = rest.split_once(DASHES).ok_or_else(unfinished)?;
        let after = end
            .strip_prefix("END ")
            .and_then(|end| end.strip_prefix(label)?.strip_prefix(DASHES));
        let after = after.ok_or_else(unfinished)?;
        let body_line = lines.of(text.len() - rest.len());
        if body.contains("\\n") {
            return Err(PemError::Base64 {
                line: body_line,
                newlines: true,
            });
        }
        blocks.push(Block {
            line,
            label,
            body,
            body_line,
        });
        at = text.len() - after.len();
    }
    between(&text[at..], lines.of(at), !blocks.is_empty(), false)?;
    Ok(blocks)
}

/// The line of a byte; asked in the order of the text, which is read once.
struct LineNumbers<'a> {
    text: &'a str,
    counted: usize,
    line: usize,
}

impl LineNumbers<'_> {
    fn of(&mut self, byte: usize) -> usize {
        self.line += line_ends(&self.text[self.counted..byte]);
        self.counted = byte;
        self.line
    }
}

/// `\n`, `\r\n`, and the `\r` of old Macs.
pub(super) fn line_ends(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_end = |(at, byte): (usize, &u8)| {
        *byte == b'\n' || (*byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
    };
    bytes
        .iter()
        .enumerate()
        .filter(|found| is_end(*found))
        .count()
}

fn is_label(label: &str) -> bool {
    let is_meant = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    !label.is_empty() && label.len() <= MAX_LABEL && label.bytes().all(is_meant)
}

/// Checks the text between two blocks, before the first or after the last, which begins on line
/// `first`.
fn between(
    text: &str,
    first: usize,
    after_block: bool,
    before_block: bool,
) -> Result<(), PemError> {
    let mut line_number = first;
    let mut rest = text;
    let mut is_first = true;
    loop {
        let (line, next) = match rest.find(['\n', '\r']) {
            Some(end) => (
                &rest[..end],
                Some(rest[end..].strip_prefix("\r\n").unwrap_or(&rest[end + 1..])),
            ),
            None => (rest, None),
        };
        let is_last = next.is_none();
        // What shares its line with a mark.
        let beside_mark = (is_first && after_block) || (is_last && before_block);
        let trimmed = line.trim_ascii();
        if (beside_mark && !trimmed.is_empty())
            || looks_like_mark(trimmed)
            || (is_last && is_cut_mark(trimmed))
        {
            return Err(PemError::Mark(line_number));
        }
        if trimmed.contains('\0') {
            return Err(PemError::Zeros(line_number));
        }
        if looks_like_base64(trimmed) {
            return Err(PemError::Loose(line_number));
        }
        let Some(next) = next else { return Ok(()) };
        (rest, is_first) = (next, false);
        line_number += 1;
    }
}

/// The rest of a mark when the file was cut off in the middle of it.
fn is_cut_mark(line: &str) -> bool {
    !line.is_empty() && (BEGIN.starts_with(line) || "-----END ".starts_with(line))
}

/// Whether somebody who reads the line takes it for the mark of a block: BEGIN or END, perhaps with
/// a slip, and what of, between dashes. A heading in a row of dashes is none:
/// `---- OUR OWN CERTIFICATES ----`.
fn looks_like_mark(line: &str) -> bool {
    const NOUNS: [&str; 9] = [
        "CERT",
        "CRL",
        "KEY",
        "REQUEST",
        "PKCS",
        "CMS",
        "PARAMETERS",
        "X509",
        "TRUSTED",
    ];
    // A `?` stands for what is not ASCII: the long dashes of a word processor.
    let is_dash = |c: char| matches!(c, '-' | '?' | '=' | '_' | '~' | '*');
    if line.contains("-----BEG") || line.contains("-----END") {
        return true;
    }
    if !line.starts_with(is_dash) || !line.ends_with(is_dash) {
        return false;
    }
    let upper = line.to_ascii_uppercase();
    let mut words = upper
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let begins = words.next().is_some_and(|word| {
        ["BEGIN", "END"]
            .iter()
            .any(|mark| word.starts_with(mark) || strsim::damerau_levenshtein(word, mark) <= 1)
    });
    begins && NOUNS.iter().any(|noun| upper.contains(noun))
}

/// Whether the line is, most probably, one of the inside of a block: long, of base64 alone, in both
/// cases.
fn looks_like_base64(line: &str) -> bool {
    /// Longer than a SHA-256 digest is, with which a comment may tell a certificate.
    const SHORTEST: usize = 48;
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let has = |is_it: fn(&u8) -> bool| line.as_bytes().iter().any(is_it);
    line.len() >= SHORTEST
        && line.bytes().all(is_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
}
