//! `client_auth` of a `[tls]` table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::{List, Spanned};
use crate::tls::Dates;
use crate::x509::Depth;

/// `client_auth` of a `[tls]` table.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientAuth {
    /// Whether and how clients authenticate. Default: `require_and_verify` with `ca_files`, `none`
    /// without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Spanned<ClientAuthMode>>,
    /// Files, or directories of files, of the CAs that client certificates are verified against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_files: Option<Spanned<List>>,
    /// Files, or directories of files, of certificate revocation lists, PEM or DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_files: Option<Spanned<List>>,
    /// How the revocation lists are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<Spanned<Crl>>,
    /// The clients that the mode `pinned` admits, by their keys: SHA-256 digests of public keys
    /// (SubjectPublicKeyInfo), in hexadecimal or base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki_sha256: Option<Spanned<List>>,
    /// The clients that the mode `pinned` admits, by their certificates: files, or directories of
    /// files, PEM or DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_files: Option<Spanned<List>>,
    /// Whether the dates of a pinned certificate count. Default: `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dates: Option<Spanned<Dates>>,
    /// Of the clients whose certificate verifies, only those that one of these entries names are
    /// admitted. Default: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Spanned<ClientRules>>,
    /// A client that one of these entries names is refused, allowed or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Spanned<ClientRules>>,
}

/// `client_auth.crl` of a `[tls]` table.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Crl {
    /// The certificates of a chain that are looked up. Default: `leaf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<Depth>,
    /// The verdict on a client of whose issuer there is no list. Default: `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Verdict>,
    /// The verdict on a client whose issuer's list has expired. Default: `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<Verdict>,
}

/// Whether a client is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is refused.
    Deny,
    /// It is admitted, as if there were no list.
    Allow,
}

/// Whether clients authenticate. Go's names, which Traefik uses, are understood, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// No certificate is asked for.
    #[serde(alias = "NoClientCert")]
    None,
    /// One is asked for. Any is taken, or none, and nothing is verified: it only stands in the
    /// access log.
    #[serde(alias = "RequestClientCert")]
    Request,
    /// One must be shown. Any is taken, and nothing is verified: it only stands in the access log.
    #[serde(alias = "RequireAnyClientCert")]
    RequireAny,
    /// One may be shown, and must then verify against the CA files.
    #[serde(alias = "VerifyClientCertIfGiven")]
    VerifyIfGiven,
    /// One must be shown, and must verify against the CA files.
    #[serde(alias = "RequireAndVerifyClientCert")]
    RequireAndVerify,
    /// One must be shown whose key or certificate is listed, whichever CA has issued it.
    Pinned,
}

impl ClientAuthMode {
    /// Whether a certificate that is shown says who its owner is.
    #[must_use]
    pub fn verifies(self) -> bool {
        match self {
            Self::None | Self::Request | Self::RequireAny => false,
            Self::VerifyIfGiven | Self::RequireAndVerify | Self::Pinned => true,
        }
    }

    /// As it is written in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Request => "request",
            Self::RequireAny => "require_any",
            Self::VerifyIfGiven => "verify_if_given",
            Self::RequireAndVerify => "require_and_verify",
            Self::Pinned => "pinned",
        }
    }
}

/// `client_auth.allow` and `client_auth.deny`: clients, by what their certificates say. One entry
/// that matches is enough.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientRules {
    /// DNS names (subjectAltName): `a.example` or `*.example` (one label).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<List>,
    /// URIs (subjectAltName), or the beginning of one and `*`: `spiffe://example.net/web/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<List>,
    /// IP addresses (subjectAltName), or ranges of them: `192.0.2.1`, `192.0.2.0/24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<List>,
    /// Microsoft principal names (subjectAltName, otherName): `ann@example.net`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upn: Option<List>,
    /// Mail addresses (subjectAltName). In `deny` those of the subject count, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<List>,
    /// Common names of the subject, in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cn: Option<List>,
    /// Organizational units of the subject, in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ou: Option<List>,
    /// Organizations of the subject, in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub o: Option<List>,
    /// Whole subjects in the manner of RFC 4514, as the access log has them:
    /// `CN=web,OU=shop,O=Example`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<List>,
    /// Whole names of the CA that has issued the certificate itself, in the form of `subject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<List>,
    /// SHA-256 digests of public keys (SubjectPublicKeyInfo), in hexadecimal or base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki_sha256: Option<List>,
    /// Serial numbers in hexadecimal. Each is unique among the certificates of one CA only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<List>,
}
