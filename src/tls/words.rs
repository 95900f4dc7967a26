//! Errors of rustls in words: each fault of a handshake as a sentence, each alert by its name in
//! RFC 8446.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::wire;

/// An alert by its name (RFC 8446 §6, RFC 5246 §7.2) and number: `unknown_ca (48)`.
pub(super) fn alert(alert: AlertDescription) -> String {
    let alert = wire::AlertDescription(u8::from(alert));
    match alert.name() {
        Some(_) => alert.to_string(),
        None => format!("an alert without a name ({alert})"),
    }
}

/// Why a handshake has failed for another reason than a certificate. `peer` is `client` or
/// `server`.
pub(super) fn protocol(error: &Error, peer: &str) -> String {
    match error {
        Error::PeerIncompatible(why) => incompatible(why, peer),
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::InvalidEncryptedClientHello(_) => {
            format!("the {peer} does not keep to the protocol (RFC 8446, RFC 5246)")
        }
        Error::InvalidMessage(why) => message(why, peer),
        Error::NoCertificatesPresented => format!("the {peer} sent no certificate"),
        Error::UnsupportedNameType => {
            format!("the name of the {peer} is of a kind that TLS does not have")
        }
        Error::DecryptError => format!(
            "a record of the {peer} does not decrypt: something on the way changes it, or the two sides have different keys"
        ),
        Error::EncryptError => {
            "a record could not be encrypted; start snigate anew, and report this".to_owned()
        }
        Error::AlertReceived(sent) => format!("the {peer} sent the alert {}", alert(*sent)),
        Error::InvalidCertificate(why) => certificate(why).to_owned(),
        Error::InvalidCertRevocationList(_) => {
            "a revocation list cannot be used; `snigate check` says which".to_owned()
        }
        Error::FailedToGetCurrentTime => "the system's clock cannot be read".to_owned(),
        Error::FailedToGetRandomBytes => "the system gives no random numbers".to_owned(),
        Error::HandshakeNotComplete => "the handshake is not complete".to_owned(),
        Error::PeerSentOversizedRecord => {
            format!("the {peer} sent a record that is larger than TLS allows (16 KiB)")
        }
        Error::NoApplicationProtocol => {
            format!(
                "the {peer} offers none of the protocols of `alpn`; add one that it offers, or remove `alpn`"
            )
        }
        Error::BadMaxFragmentSize => "the size of fragments cannot be used".to_owned(),
        Error::InconsistentKeys(_) => "a certificate and its key do not belong together".to_owned(),
        Error::General(_) | Error::Other(_) => {
            format!("the {peer} and snigate found no common ground")
        }
        // The library may get new errors.
        _ => format!("the handshake with the {peer} cannot go on"),
    }
}

/// The fault of a certificate that only rustls has looked at, in a few words.
pub(super) fn certificate(error: &CertificateError) -> &'static str {
    use CertificateError as E;
    #[allow(deprecated)]
    match error {
        E::BadEncoding => "it is not a well-formed certificate",
        E::Expired | E::ExpiredContext { .. } => "it has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet; compare the clocks",
        E::Revoked => "it has been revoked",
        E::UnhandledCriticalExtension => "it has a critical extension that is not understood",
        E::UnknownIssuer => {
            "it was issued by none of the trusted CAs, or an intermediate is missing"
        }
        E::UnknownRevocationStatus => {
            "no revocation list speaks for its issuer; add the issuer's list to crl_files"
        }
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            "the revocation list of its issuer should have been replaced; fetch a newer one"
        }
        E::BadSignature => "its key has not made the signature that came with it",
        E::UnsupportedSignatureAlgorithm
        | E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its key and the signature that came with it are of kinds that are not used together; keys may be RSA (2048 to \
             8192 bits), P-256, P-384, P-521 or Ed25519"
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => "it is for another name",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "its extended key usage is for something else"
        }
        E::InvalidOcspResponse => "its OCSP response is not valid",
        E::ApplicationVerificationFailure => "it is not allowed",
        E::Other(_) => "it cannot be used",
        // The library may get new errors.
        _ => "it cannot be verified",
    }
}

fn incompatible(why: &PeerIncompatible, peer: &str) -> String {
    use PeerIncompatible as P;
    match why {
        P::NoCipherSuitesInCommon => {
            format!("the {peer} offers no cipher suite that is used here; it has to be newer")
        }
        P::NoKxGroupsInCommon | P::NamedGroupsExtensionRequired | P::KeyShareExtensionRequired => {
            format!(
                "the {peer} offers no key exchange that is used here (X25519, P-256, P-384, X25519MLKEM768)"
            )
        }
        P::NoSignatureSchemesInCommon
        | P::NoCertificateRequestSignatureSchemesInCommon
        | P::SignatureAlgorithmsExtensionRequired => {
            format!(
                "the {peer} verifies no signature that the key of the certificate can make; add one of another kind"
            )
        }
        P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled => {
            format!(
                "the {peer} speaks no version of TLS that is allowed; see `min_version` and `max_version`"
            )
        }
        P::ExtendedMasterSecretExtensionRequired => {
            format!(
                "the {peer} lacks the extended master secret (RFC 7627), which TLS 1.2 is not safe without"
            )
        }
        P::EcPointsExtensionRequired
        | P::NoEcPointFormatsInCommon
        | P::UncompressedEcPointsRequired => {
            format!("the {peer} takes no uncompressed points of elliptic curves")
        }
        P::NullCompressionRequired => {
            format!("the {peer} insists on compression, which is not safe")
        }
        // The others are about what is not offered here; and the library may get new ones.
        _ => format!("the {peer} asks for something that is not offered here"),
    }
}

fn message(why: &InvalidMessage, peer: &str) -> String {
    use InvalidMessage as M;
    match why {
        M::CertificatePayloadTooLarge | M::HandshakePayloadTooLarge | M::MessageTooLarge => {
            format!(
                "the {peer} sent a message that is too large: a handshake message has 64 KiB at most, its certificates included"
            )
        }
        M::UnknownProtocolVersion | M::InvalidContentType => {
            format!("what the {peer} sent is not TLS")
        }
        _ => format!("the {peer} sent a message that cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::tests::assert_readable;

    #[test]
    fn every_alert_of_the_protocol_has_its_name() {
        for number in 0..=u8::MAX {
            let known = AlertDescription::from(number);
            let unnamed = matches!(known, AlertDescription::Unknown(_));
            assert!(
                unnamed || !alert(known).contains("without a name"),
                "{known:?}"
            );
            assert_readable(&alert(known));
        }
        assert_eq!(alert(AlertDescription::UnknownCA), "unknown_ca (48)");
    }

    #[test]
    fn no_fault_of_a_handshake_is_told_in_the_words_of_the_library() {
        use rustls::pki_types::UnixTime;
        use rustls::{
            CertRevocationListError, HandshakeType, InconsistentKeys, OtherError, PeerMisbehaved,
        };

        let time = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        let other = || {
            OtherError(std::sync::Arc::new(std::io::Error::other(
                "Other(OtherError(..))",
            )))
        };
        let messages = [
            InvalidMessage::CertificatePayloadTooLarge,
            InvalidMessage::HandshakePayloadTooLarge,
            InvalidMessage::InvalidCcs,
            InvalidMessage::InvalidContentType,
            InvalidMessage::InvalidServerName,
            InvalidMessage::MessageTooShort,
            InvalidMessage::MissingData("ClientHello"),
            InvalidMessage::TrailingData("CertificatePayload"),
            InvalidMessage::UnexpectedMessage("Finished"),
            InvalidMessage::DuplicateExtension(7),
        ];
        let incompatible = [
            PeerIncompatible::EcPointsExtensionRequired,
            PeerIncompatible::ExtendedMasterSecretExtensionRequired,
            PeerIncompatible::IncorrectCertificateTypeExtension,
            PeerIncompatible::KeyShareExtensionRequired,
            PeerIncompatible::NamedGroupsExtensionRequired,
            PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
            PeerIncompatible::NoCipherSuitesInCommon,
            PeerIncompatible::NoEcPointFormatsInCommon,
            PeerIncompatible::NoKxGroupsInCommon,
            PeerIncompatible::NoSignatureSchemesInCommon,
            PeerIncompatible::NullCompressionRequired,
            PeerIncompatible::ServerDoesNotSupportTls12Or13,
            PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            PeerIncompatible::SupportedVersionsExtensionRequired,
            PeerIncompatible::Tls12NotOffered,
            PeerIncompatible::Tls12NotOfferedOrEnabled,
            PeerIncompatible::UncompressedEcPointsRequired,
            PeerIncompatible::ServerRejectedEncryptedClientHello(None),
        ];
        let certificates = [
            CertificateError::BadEncoding,
            CertificateError::Expired,
            CertificateError::ExpiredContext {
                time,
                not_after: time,
            },
            CertificateError::NotValidYet,
            CertificateError::NotValidYetContext {
                time,
                not_before: time,
            },
            CertificateError::Revoked,
            CertificateError::UnhandledCriticalExtension,
            CertificateError::UnknownIssuer,
            CertificateError::UnknownRevocationStatus,
            CertificateError::ExpiredRevocationList,
            CertificateError::ExpiredRevocationListContext {
                time,
                next_update: time,
            },
            CertificateError::BadSignature,
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![6, 9, 42],
                supported_algorithms: Vec::new(),
            },
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: vec![6, 9, 42],
                public_key_algorithm_id: vec![6, 9, 42],
            },
            CertificateError::NotValidForName,
            CertificateError::InvalidPurpose,
            CertificateError::InvalidOcspResponse,
            CertificateError::ApplicationVerificationFailure,
            CertificateError::Other(other()),
        ];
        let errors = [
            Error::InappropriateMessage {
                expect_types: Vec::new(),
                got_type: rustls::ContentType::Alert,
            },
            Error::InappropriateHandshakeMessage {
                expect_types: Vec::new(),
                got_type: HandshakeType::Finished,
            },
            Error::NoCertificatesPresented,
            Error::UnsupportedNameType,
            Error::DecryptError,
            Error::EncryptError,
            Error::PeerMisbehaved(PeerMisbehaved::IncorrectBinder),
            Error::AlertReceived(AlertDescription::InternalError),
            Error::InvalidCertRevocationList(CertRevocationListError::BadSignature),
            Error::General("General(..)".to_owned()),
            Error::FailedToGetCurrentTime,
            Error::FailedToGetRandomBytes,
            Error::HandshakeNotComplete,
            Error::PeerSentOversizedRecord,
            Error::NoApplicationProtocol,
            Error::BadMaxFragmentSize,
            Error::InconsistentKeys(InconsistentKeys::Unknown),
            Error::Other(other()),
        ];
        let errors = errors
            .into_iter()
            .chain(messages.map(Error::InvalidMessage))
            .chain(incompatible.map(Error::PeerIncompatible))
            .chain(certificates.map(Error::InvalidCertificate));
        for error in errors {
            assert_readable(&protocol(&error, "client"));
        }
    }
}
