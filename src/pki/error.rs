//! Errors of an authority and of what it issues.

use thiserror::Error;

use crate::name::NameError;
use crate::x509::pem::{BundleError, PemError};

/// Why an authority cannot be used, or cannot issue what is asked for.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A text cannot stand in a certificate. What the library says of it is about its own types.
    #[error("this cannot be written into a certificate")]
    Encoding,
    /// A name is no host name.
    #[error("{0:?}: {1}")]
    Name(String, NameError),
    /// `*` alone is no name that any client accepts.
    #[error(
        "`*` cannot stand in a certificate; a wildcard stands for one label, as in `*.example.net`"
    )]
    AnyName,
    /// RFC 5280 §A.1: ub-common-name.
    #[error("the common name {0:?} must have 1 to 64 characters, and none that cannot be printed")]
    CommonName(String),
    /// There is nothing that the certificate could be about.
    #[error("a certificate needs a name")]
    NoName,
    /// The file of the authority's certificate.
    #[error(transparent)]
    Certificates(#[from] BundleError),
    /// The file of the key is not sound PEM.
    #[error("{0}")]
    KeyFile(PemError),
    /// A file is not sound PEM.
    #[error("{0}")]
    Pem(PemError),
    /// The request cannot be granted.
    #[error("the certificate request cannot be used: {0}")]
    SigningRequest(&'static str),
    /// The revocation list cannot be continued.
    #[error("the revocation list cannot be continued: {0}")]
    RevocationList(String),
    /// A certificate of another authority, or this authority's own.
    #[error("the first certificate of the file was not issued by this CA")]
    NotIssuedHere,
    /// There is no private key in the file.
    #[error("there is no private key in the file")]
    NoKey,
    /// One key must be meant, and there are several.
    #[error("there is more than one private key in the file")]
    SeveralKeys,
    /// The key is protected by a passphrase.
    #[error("the private key is encrypted; decrypt it with `openssl pkey -in KEY -out PLAIN-KEY`")]
    EncryptedKey,
    /// The key is damaged, or of a kind that is not used here.
    #[error(
        "the key cannot be used; it must be ECDSA (P-256, P-384), Ed25519 or RSA (2048 bits or more)"
    )]
    UnsupportedKey,
    /// The key belongs to none of the certificates.
    #[error("the private key belongs to none of the CA's certificates")]
    Mismatch,
    /// The certificate is not one of an authority (RFC 5280 §4.2.1.9, §4.2.1.3).
    #[error(
        "{0} is not a CA certificate: it does not say CA:TRUE, or its key usage has no keyCertSign"
    )]
    NotAnAuthority(String),
    /// The authority's time is over, or has not come.
    #[error("the CA's certificate is not valid now: {0}")]
    NotValid(&'static str),
    /// The certificate would be valid for longer than its authority.
    #[error("the certificate would outlive the CA, which expires in {days} days")]
    Outlives {
        /// How many whole days the authority has left.
        days: u64,
    },
    /// The authority's own check of what it has issued.
    #[error(
        "what the CA issues does not verify against its certificate: its name or its key has a form that cannot be \
         written here; issue with the tool that made the CA"
    )]
    Unverifiable,
    /// A store without a password is not made.
    #[error("the password is empty")]
    NoPassword,
    /// The cipher fails.
    #[error("the store cannot be encrypted")]
    Cipher,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

impl From<rcgen::Error> for PkiError {
    fn from(_: rcgen::Error) -> Self {
        Self::Encoding
    }
}
