//! Key exchange groups (RFC 8446 §4.2.7): which of them are offered to a server.

use std::fmt;
use std::str::FromStr;

use rustls::NamedGroup;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use thiserror::Error;

use crate::tls::provider::provider;

/// A group that a key is exchanged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyExchangeGroup {
    /// ML-KEM-768 and X25519 together, which a quantum computer does not break. Its key share has
    /// 1,216 bytes, so that a ClientHello with it does not fit into one segment on an Ethernet.
    X25519MlKem768,
    /// Curve25519 (RFC 7748).
    X25519,
    /// NIST P-256.
    Secp256r1,
    /// NIST P-384.
    Secp384r1,
}

/// The text is not the name of a group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no key exchange group: write `X25519MLKEM768`, `x25519`, `secp256r1` or `secp384r1`"
)]
pub struct KeyExchangeGroupError(String);

impl KeyExchangeGroup {
    const ALL: [Self; 4] = [
        Self::X25519MlKem768,
        Self::X25519,
        Self::Secp256r1,
        Self::Secp384r1,
    ];

    /// Its name in the registry of TLS.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "x25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
        }
    }

    fn named(self) -> NamedGroup {
        match self {
            Self::X25519MlKem768 => NamedGroup::X25519MLKEM768,
            Self::X25519 => NamedGroup::X25519,
            Self::Secp256r1 => NamedGroup::secp256r1,
            Self::Secp384r1 => NamedGroup::secp384r1,
        }
    }

    fn implementation(self) -> Option<&'static dyn SupportedKxGroup> {
        provider()
            .kx_groups
            .iter()
            .copied()
            .find(|group| group.name() == self.named())
    }
}

impl FromStr for KeyExchangeGroup {
    type Err = KeyExchangeGroupError;

    fn from_str(text: &str) -> Result<Self, KeyExchangeGroupError> {
        let found = Self::ALL
            .into_iter()
            .find(|group| group.word().eq_ignore_ascii_case(text));
        found.ok_or_else(|| KeyExchangeGroupError(text.to_owned()))
    }
}

impl fmt::Display for KeyExchangeGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The provider with these groups alone, the preferred one first.
pub(super) fn limited_to(groups: &[KeyExchangeGroup]) -> CryptoProvider {
    let kx_groups = groups
        .iter()
        .filter_map(|group| group.implementation())
        .collect();
    CryptoProvider {
        kx_groups,
        ..CryptoProvider::clone(provider())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_that_has_a_name_is_implemented_and_every_one_that_is_offered_by_default_has_a_name()
     {
        for group in KeyExchangeGroup::ALL {
            assert!(group.implementation().is_some(), "{group}");
            assert_eq!(group.to_string().parse(), Ok(group));
            assert_eq!(group.to_string().to_ascii_lowercase().parse(), Ok(group));
        }
        let offered = &provider().kx_groups;
        assert!(offered.iter().all(|offered| {
            KeyExchangeGroup::ALL
                .iter()
                .any(|group| group.named() == offered.name())
        }));
        assert!(
            "P-256"
                .parse::<KeyExchangeGroup>()
                .unwrap_err()
                .to_string()
                .contains("`secp256r1`")
        );
    }
}
