//! Signature schemes: those that a client can verify, and those that a key can make.
//!
//! Several certificates may be good for one name, and not every client takes each of them. The
//! choice is made before rustls sees a byte, so it has to go by what rustls goes by: the schemes in
//! the hello, and in TLS 1.2 the cipher suites, too.

use rustls::sign::SigningKey;
use rustls::{SignatureScheme, SupportedCipherSuite};

use crate::tls::provider::provider;
use crate::wire::ClientHello;

/// A set of signature schemes (RFC 8446 §4.2.3), of those that a server's key can sign a handshake
/// with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signatures(u16);

impl Signatures {
    /// Every scheme.
    #[must_use]
    pub fn all() -> Self {
        SCHEMES.iter().copied().collect()
    }

    /// Those that can end the handshake which begins with `hello`. The work is linear in the lists
    /// of the hello, either of which may have tens of thousands of entries.
    #[must_use]
    pub fn of(hello: &ClientHello) -> Self {
        let usable = if hello.versions.contains(TLS13) {
            // RFC 8446 §4.2.3: the schemes of PKCS #1 v1.5 are for certificates only.
            Self::all().without(PKCS1.into_iter().collect())
        } else {
            let offered = provider()
                .cipher_suites
                .iter()
                .filter(|suite| hello.cipher_suites.contains(suite.suite().into()));
            offered.flat_map(signs_with).copied().collect()
        };
        let schemes = SCHEMES
            .into_iter()
            .filter(|scheme| hello.signature_schemes.contains((*scheme).into()));
        usable.both(schemes.collect())
    }

    /// Those that `key` can make.
    pub(super) fn of_key(key: &dyn SigningKey) -> Self {
        SCHEMES
            .into_iter()
            .filter(|scheme| key.choose_scheme(&[*scheme]).is_some())
            .collect()
    }

    /// Whether there is a scheme that is in both.
    #[must_use]
    pub fn meet(self, other: Self) -> bool {
        self.both(other) != Self::default()
    }

    /// Those that are in both.
    fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl FromIterator<SignatureScheme> for Signatures {
    /// Schemes that no server signs with are left out.
    fn from_iter<I: IntoIterator<Item = SignatureScheme>>(schemes: I) -> Self {
        let position = |scheme: SignatureScheme| SCHEMES.iter().position(|known| *known == scheme);
        Self(
            schemes
                .into_iter()
                .filter_map(position)
                .fold(0, |set, at| set | 1 << at),
        )
    }
}

/// In TLS 1.2 a cipher suite says by which kind of key the server is authenticated (RFC 5246
/// §7.4.2).
fn signs_with(suite: &SupportedCipherSuite) -> &'static [SignatureScheme] {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.sign,
        SupportedCipherSuite::Tls13(_) => &[],
    }
}

const TLS13: u16 = 0x0304;

const PKCS1: [SignatureScheme; 3] = [
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// All that the keys of [`Certificate`](crate::tls::Certificate) can sign with.
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    PKCS1[0],
    PKCS1[1],
    PKCS1[2],
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::AlpnList;
    use crate::wire::{Numbers, RequestedName};

    fn hello(versions: &[u16], cipher_suites: &[u16], signature_schemes: &[u16]) -> Signatures {
        Signatures::of(&ClientHello {
            server_name: RequestedName::Absent,
            alpn: AlpnList::default(),
            versions: versions.into(),
            cipher_suites: cipher_suites.into(),
            groups: Numbers::default(),
            signature_schemes: signature_schemes.into(),
            ech: false,
        })
    }

    #[test]
    fn a_client_verifies_what_it_lists_if_its_version_and_suites_allow_it() {
        use SignatureScheme as S;
        let (ecdsa, ed25519, pss, pkcs1) = (0x0403, 0x0807, 0x0804, 0x0401);
        let every = [ecdsa, ed25519, pss, pkcs1, 0x0201, 0xfefe];
        let (both, old) = (&[0x0304, 0x0303][..], &[0x0303][..]);
        for (versions, suites, schemes, expected) in [
            (
                both,
                &[0x1301][..],
                &every[..],
                &[S::ECDSA_NISTP256_SHA256, S::ED25519, S::RSA_PSS_SHA256][..],
            ),
            (both, &[0x1301, 0xc02f], &[pkcs1], &[]),
            (
                both,
                &[0x1301],
                &[pss, 0x0503],
                &[S::RSA_PSS_SHA256, S::ECDSA_NISTP384_SHA384],
            ),
            (
                old,
                &[0xc02b, 0xc02f],
                &every,
                &[
                    S::ECDSA_NISTP256_SHA256,
                    S::ED25519,
                    S::RSA_PSS_SHA256,
                    PKCS1[0],
                ],
            ),
            (
                old,
                &[0xc02b],
                &every,
                &[S::ECDSA_NISTP256_SHA256, S::ED25519],
            ),
            (old, &[0xc02f], &every, &[S::RSA_PSS_SHA256, PKCS1[0]]),
            (old, &[0x1301, 0x009c], &every, &[]),
            (old, &[0xc02b, 0xc02f], &[], &[]),
        ] {
            let row = format!("{versions:x?} {suites:x?} {schemes:x?}");
            assert_eq!(
                hello(versions, suites, schemes),
                expected.iter().copied().collect(),
                "{row}"
            );
        }
    }

    #[test]
    fn sets_meet_in_a_scheme_that_is_in_both() {
        let [one, two] =
            [SCHEMES[0], SCHEMES[1]].map(|scheme| [scheme].into_iter().collect::<Signatures>());
        assert!(one.meet(one) && one.meet(Signatures::all()) && !one.meet(two));
        assert!(!Signatures::default().meet(Signatures::all()));
    }
}
