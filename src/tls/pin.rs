//! Public keys that are known beforehand.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use thiserror::Error;

/// The SHA-256 digest of a public key, as it stands in a certificate: the DER of its SubjectPublicKeyInfo (RFC 7469 §2.4).
/// Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// The text is not the digest of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a pin is the SHA-256 of a public key, 64 hexadecimal digits or 44 characters of base64; find it with `openssl x509 \
     -pubkey -noout -in CERT | openssl pkey -pubin -outform der | sha256sum`"
)]
pub struct PinError;

impl Pin {
    /// The pin of a key, whose SubjectPublicKeyInfo in DER this is.
    pub(super) fn of(spki: &[u8]) -> Self {
        let mut pin = [0; 32];
        pin.copy_from_slice(digest::digest(&digest::SHA256, spki).as_ref());
        Self(pin)
    }
}

impl FromStr for Pin {
    type Err = PinError;

    /// Reads hexadecimal digits, with colons between bytes or without, or base64, with `sha256//` before it (as curl has
    /// it) or without.
    fn from_str(text: &str) -> Result<Self, PinError> {
        let bytes = match text.strip_prefix("sha256//") {
            Some(base64) => from_base64(base64),
            None => from_hex(text).or_else(|| from_base64(text)),
        };
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(PinError)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().filter(|&c| c != ':').map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    (digits.len() == 64).then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// RFC 4648 §4, for 32 bytes: 43 characters and one `=`, which may be missing.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_suffix('=').unwrap_or(text);
    let mut bytes = Vec::with_capacity(33);
    let (mut bits, mut held) = (0_u32, 0);
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // What is left over must say nothing, or two texts would be the same pin.
    (text.len() == 43 && bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of nothing, in both spellings.
    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const BASE64: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn a_pin_is_read_from_hexadecimal_and_from_base64() {
        let pin = Pin::of(b"");
        let colons: Vec<String> =
            HEX.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase()).collect();
        for text in [HEX, &HEX.to_uppercase(), &colons.join(":"), BASE64, &BASE64[..43], &format!("sha256//{BASE64}")] {
            assert_eq!(text.parse(), Ok(pin), "{text}");
        }
        assert_eq!(pin.to_string(), HEX);
    }

    #[test]
    fn what_is_no_digest_of_32_bytes_is_no_pin() {
        let long = format!("{HEX}00");
        let unclean = BASE64.replace("U=", "V=");
        for text in ["", &HEX[1..], &long, &BASE64[1..], &unclean, "sha256//", &BASE64.replace('+', "-"), "\u{661}"] {
            assert_eq!(text.parse::<Pin>(), Err(PinError), "{text}");
        }
    }
}
