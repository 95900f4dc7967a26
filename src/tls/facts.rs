//! Facts of a session with a client, for servers that are told of their clients.

use rustls::{CipherSuite, ServerConnection};
/// Facts of a session that are not kept, because few ask for them.
#[derive(Clone, Debug, Default)]
pub struct SessionFacts {
    /// OpenSSL's name for the cipher suite, which is the one that servers know.
    pub cipher: Option<&'static str>,
    /// The certificate that the client has shown, verified or not, as DER.
    pub certificate: Option<Vec<u8>>,
}

impl SessionFacts {
    /// Those of an established session.
    pub(super) fn of(session: &ServerConnection) -> Self {
        let cipher = session
            .negotiated_cipher_suite()
            .and_then(|suite| openssl_name(suite.suite()));
        let certificate = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|certificate| certificate.to_vec());
        Self {
            cipher,
            certificate,
        }
    }
}

/// Of the suites that the provider has. Names of TLS 1.3 are those of RFC 8446 in OpenSSL, too.
fn openssl_name(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider::provider;

    #[test]
    fn every_suite_has_its_name() {
        for suite in &provider().cipher_suites {
            assert!(openssl_name(suite.suite()).is_some(), "{suite:?}");
        }
    }
}
