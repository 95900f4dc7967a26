//! Digests and serial numbers, each of which names one key or one certificate. Each has several
//! spellings, and one value.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use thiserror::Error;

use crate::authz::entry::PolicyEntry;
use crate::authz::identity::Identity;

/// The SHA-256 digest of a SubjectPublicKeyInfo (RFC 7469 §2.4): 64 hexadecimal digits, perhaps
/// with colons, or its base64, perhaps after `sha256//`, as curl has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpkiDigest([u8; 32]);

/// A text is not a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a SHA-256 digest of a public key is 64 hexadecimal digits, with or without colons, or its base64; \
     `openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform der | sha256sum` prints it"
)]
pub struct SpkiError;

impl SpkiDigest {
    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for SpkiDigest {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl PolicyEntry for SpkiDigest {
    fn names(&self, identity: &Identity) -> bool {
        self.0 == identity.spki_sha256
    }
}

impl FromStr for SpkiDigest {
    type Err = SpkiError;

    fn from_str(text: &str) -> Result<Self, SpkiError> {
        let text = text.strip_prefix("sha256//").unwrap_or(text);
        let digest = hexadecimal(text)
            .filter(|digits| digits.len() == 64)
            .and_then(|digits| {
                let mut digest = [0; 32];
                for (at, byte) in digest.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
                }
                Some(digest)
            });
        // Two spellings of one digest are one too many: bits after the last byte have to be zero.
        digest
            .or_else(|| STANDARD_PAD_INDIFFERENT.decode(text).ok()?.try_into().ok())
            .map(Self)
            .ok_or(SpkiError)
    }
}

impl fmt::Display for SpkiDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A serial number (RFC 5280 §4.1.2.2) in hexadecimal. Case, colons and leading zeros do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial(String);

/// A text is not a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a serial number is written in hexadecimal, as `openssl x509 -noout -serial` prints it: `4a:0f` or `4A0F`"
)]
pub struct SerialError;

impl PolicyEntry for Serial {
    fn names(&self, identity: &Identity) -> bool {
        self.0 == without_zeros(&identity.serial)
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        hexadecimal(text)
            .map(|digits| Self(without_zeros(&digits).to_owned()))
            .ok_or(SerialError)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "0" } else { &self.0 })
    }
}

fn without_zeros(digits: &str) -> &str {
    digits.trim_start_matches('0')
}

/// The digits of `text` in lower case: digits only, or bytes of two digits with a colon between any
/// two.
fn hexadecimal(text: &str) -> Option<String> {
    let sound = !text.contains(':') || text.split(':').all(|byte| byte.len() == 2);
    let digits = text.replace(':', "").to_ascii_lowercase();
    (sound && !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .then_some(digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_digest_and_what_is_no_serial_number_is_refused() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let base64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(hex.parse::<SpkiDigest>(), base64.parse::<SpkiDigest>());
        assert_eq!(
            hex.parse::<SpkiDigest>(),
            format!("sha256//{base64}").parse::<SpkiDigest>()
        );
        assert_eq!(base64.parse::<SpkiDigest>().unwrap().to_string(), hex);
        // The last of them has bits set that stand for nothing.
        for text in [
            "",
            "e3b0",
            &hex[1..],
            &base64[1..],
            &format!("{hex}00"),
            &base64.replace("FU=", "FV="),
        ] {
            assert_eq!(text.parse::<SpkiDigest>(), Err(SpkiError), "{text}");
        }
        for text in [
            "", ":", "0x1f", "1f:", ":1f", "1:f0", "1f::f0", "12 34", "g0",
        ] {
            assert_eq!(text.parse::<Serial>(), Err(SerialError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_serial_number_is_found_however_it_is_written(bytes in prop::collection::vec(any::<u8>(), 1..20), zeros in 0..3_usize, upper: bool) {
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let leading = bytes.iter().take(bytes.len() - 1).take_while(|&&byte| byte == 0).count();
            let identity = Identity { serial: digits[leading..].concat(), ..Identity::default() };
            let bytes = [vec!["00".to_owned(); zeros], digits].concat();
            for text in [bytes.concat(), bytes.join(":")] {
                let text = if upper { text.to_uppercase() } else { text };
                let entry: Serial = text.parse().unwrap();
                prop_assert!(entry.names(&identity), "{}", text);
                prop_assert_eq!(entry.to_string().parse::<Serial>(), Ok(entry));
                let other = Identity { serial: format!("{}01", identity.serial), ..Identity::default() };
                prop_assert!(!text.parse::<Serial>().unwrap().names(&other));
            }
        }

        #[test]
        fn a_digest_is_the_same_in_every_spelling(digest: [u8; 32]) {
            let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
            let identity = Identity { spki_sha256: digest, ..Identity::default() };
            let base64 = encode(&digest);
            for text in [pairs.concat(), pairs.join(":"), format!("{base64}="), base64] {
                prop_assert!(text.parse::<SpkiDigest>().unwrap().names(&identity), "{}", text);
            }
            prop_assert!(!SpkiDigest([0x5a; 32]).names(&identity) || digest == [0x5a; 32]);
        }
    }

    /// Base64 without padding, the slow way.
    fn encode(bytes: &[u8]) -> String {
        let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digit = |bits: &[u8]| {
            let value = bits
                .iter()
                .fold(0, |value, bit| value << 1 | usize::from(bit - b'0'));
            char::from(alphabet[value << (6 - bits.len())])
        };
        bits.as_bytes().chunks(6).map(digit).collect()
    }
}
