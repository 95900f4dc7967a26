//! Signature algorithms that are verified, of authorities and of peers.

use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs as webpki_algorithms;

/// Every one of them. A test of `tls` holds that rustls verifies handshakes by the same.
pub(crate) static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki_algorithms::ECDSA_P256_SHA256,
    webpki_algorithms::ECDSA_P256_SHA384,
    webpki_algorithms::ECDSA_P256_SHA512,
    webpki_algorithms::ECDSA_P384_SHA256,
    webpki_algorithms::ECDSA_P384_SHA384,
    webpki_algorithms::ECDSA_P384_SHA512,
    webpki_algorithms::ECDSA_P521_SHA256,
    webpki_algorithms::ECDSA_P521_SHA384,
    webpki_algorithms::ECDSA_P521_SHA512,
    webpki_algorithms::ED25519,
    webpki_algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki_algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki_algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    webpki_algorithms::RSA_PKCS1_2048_8192_SHA256,
    webpki_algorithms::RSA_PKCS1_2048_8192_SHA384,
    webpki_algorithms::RSA_PKCS1_2048_8192_SHA512,
    webpki_algorithms::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    webpki_algorithms::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    webpki_algorithms::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    webpki_algorithms::ML_DSA_44,
    webpki_algorithms::ML_DSA_65,
    webpki_algorithms::ML_DSA_87,
];
