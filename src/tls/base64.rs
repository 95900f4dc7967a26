//! Base64 (RFC 4648 §4), decoded without leaving a copy of what may be a key.

use std::mem;

use zeroize::Zeroizing;

/// What `text` stands for; white space does not count. Nothing if it is not base64 with its padding.
///
/// The result is never moved while it grows, so that whoever overwrites it has overwritten all of it.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
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
        let output = Command::new("openssl").args(["base64", "-in"]).arg(&file).output().expect("openssl is installed");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn what_is_not_base64_is_not_decoded() {
        for text in ["Z", "Zg", "Zg=", "Zg===", "====", "Zm9v!A==", "Zh==", "Zm9=", "Z=g=", "Zg==Zg==", "Zm9vä"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
