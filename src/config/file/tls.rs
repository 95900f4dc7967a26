//! `[tls]`, `[certificates]` and `[trust]`: how snigate shows itself, and whom it believes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::{ClientAuth, List, Spanned};

/// `[tls.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Another `[tls]` table, whose keys count where this one has none. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<Spanned<String>>,
    /// The oldest version of TLS to accept. Default: `1.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// The newest version of TLS to accept, for clients whose keys cannot sign in a newer one (RSA
    /// in smartcards and TPMs without RSA-PSS). `1.2` weakens all clients of the table. Default:
    /// `1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<Spanned<TlsVersion>>,
    /// Protocols to agree on, the preferred one first. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<List>,
    /// Whether and how clients authenticate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// What happens to open connections when a reload withdraws the CA, the certificate or the
    /// permission that admitted them. Default: `keep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_revoke: Option<Spanned<OnRevoke>>,
}

/// What happens to connections whose client would be refused now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRevoke {
    /// They go on.
    #[default]
    Keep,
    /// They are closed.
    Close,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[certificates.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Certificate {
    /// The certificate and its intermediates in any order, PEM or DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<Spanned<String>>,
    /// The private key, PEM or DER. Default: `cert_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<Spanned<String>>,
    /// A directory with `server.pem` and `server-key.pem`, and perhaps the `ca.crt` that issued
    /// them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<Spanned<String>>,
    /// True: snigate makes the certificate itself and keeps it in the storage. Clients know it by
    /// its fingerprint, which is logged at each start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<Spanned<bool>>,
    /// The host names, wildcards and IP addresses that a self-signed certificate is for. Default:
    /// the names of the routes that use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<List>,
}

/// `[trust.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// The CAs of the system, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set.
    /// Default: `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<bool>,
    /// Files, or directories of files, of CAs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_files: Option<List>,
    /// CAs in PEM, here in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pem: Option<Spanned<String>>,
}
