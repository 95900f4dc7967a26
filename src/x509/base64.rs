//! Base64 (RFC 4648 §4), read and written without leaving a copy of what may be a key.

use std::mem;

use zeroize::Zeroizing;

/// The bytes that `text` encodes; white space does not count. `None` if it is not base64 with its
/// padding.
///
/// The result is never moved while it grows, so that overwriting it overwrites all of it.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digits = || text.iter().filter(|byte| !byte.is_ascii_whitespace());
    let length = digits().count();
    let padding = digits().rev().take_while(|byte| **byte == b'=').count();
    if !length.is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(length / 4 * 3));
    let (mut bits, mut held) = (0_u32, 0);
    for digit in digits().take(length - padding) {
        bits = bits << 6 | u32::from(value(*digit)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    // RFC 4648 §3.5: bits that stand for nothing are zero.
    (bits & ((1 << held) - 1) == 0).then(|| mem::take(&mut *bytes))
}

fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// A PEM block (RFC 7468) with this inside.
pub(crate) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    /// RFC 7468 §2: 64 characters.
    const LINE: usize = 48;
    // Made large enough at once.
    let mut text = Zeroizing::new(String::with_capacity(
        2 * label.len() + 64 + der.len() / 3 * 4 + 4 + der.len() / LINE,
    ));
    text.extend(["-----BEGIN ", label, "-----\n"]);
    for line in der.chunks(LINE) {
        for group in line.chunks(3) {
            let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
                text.push(if place <= group.len() {
                    digit.into()
                } else {
                    '='
                });
            }
        }
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn base64_is_decoded_with_its_padding_whatever_the_lines() {
        // The examples of RFC 4648 §10, and every digit.
        for (text, expected) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            (" Zm9v\r\nYmE=\n", b"fooba"),
            ("+/+/", &[0xfb, 0xff, 0xbf]),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        for bytes in [(0..=255).collect::<Vec<u8>>(), vec![7; 1000]] {
            let text = openssl_base64(&bytes);
            let decoded = decode(text.as_bytes()).unwrap();
            assert_eq!(decoded, bytes);
            assert!(decoded.capacity() <= bytes.len() + 3, "it was made once");
        }
    }

    /// As another program writes it.
    fn openssl_base64(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("in");
        std::fs::write(&file, bytes).unwrap();
        let output = Command::new("openssl")
            .args(["base64", "-in"])
            .arg(&file)
            .output()
            .expect("openssl is installed");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_block_is_written_as_openssl_writes_it() {
        for length in (0..200).step_by(7) {
            let bytes: Vec<u8> = (0..length).collect();
            let expected = openssl_base64(&bytes);
            let expected = format!("-----BEGIN A KEY-----\n{expected}-----END A KEY-----\n");
            let text = pem("A KEY", &bytes);
            assert_eq!(*text, expected);
            assert!(
                text.capacity() < text.len() + 40,
                "it was made once: {} of {}",
                text.len(),
                text.capacity()
            );
        }
    }

    #[test]
    fn what_is_not_base64_is_not_decoded() {
        for text in [
            "Z", "Zg", "Zg=", "Zg===", "====", "Zm9v!A==", "Zh==", "Zm9=", "Z=g=", "Zg==Zg==",
            "Zm9vä",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
