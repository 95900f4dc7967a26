//! The configuration file as it is written: every key, still unchecked.
//!
//! Values that a diagnostic may have to point at are [`At`]: the value and where it stands.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, Range};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Tables by name.
pub type Tables<T> = BTreeMap<At<String>, T>;

/// A configuration file.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Other files to merge, relative to this one; `*` may stand in the last part of a path. A name that two files define
    /// is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<List>,
    /// Where to listen for TLS clients.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: Tables<Listener>,
    /// Which clients go where. The order of routes never matters: the most specific one takes the client.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: Tables<Route>,
    /// Servers, by the name that routes use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: Tables<Upstream>,
    /// How TLS is terminated. A route that names none uses `default`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tls: Tables<Tls>,
    /// Server certificates with their keys.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: Tables<Certificate>,
    /// Where things are kept that must outlive a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<At<Storage>>,
    /// Whom snigate believes when it is the client.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub trust: Tables<Trust>,
    /// Time limits of every listener and route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<At<Timeouts>>,
    /// What is logged, to standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<At<Log>>,
}

/// `[listeners.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// IP addresses with ports, such as `0.0.0.0:443` and `[::]:443` (which takes IPv6 only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<List>,
}

/// `[routes.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Server names: `a.example`, `*.example` (one label) or `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<List>,
    /// Only clients that offer one of these protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<List>,
    /// Only clients from these ranges of addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<List>,
    /// Only on these listeners; on all of them otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<List>,
    /// Whether the client must send a name that the route lists, and a certificate must cover it. True unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_sni: Option<bool>,
    /// `passthrough`, `terminate` or `reject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<At<Action>>,
    /// An address, a list of addresses (tried in order), or the name of an upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<List>,
    /// The `[tls]` table of a route that terminates; `default` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<At<String>>,
    /// The certificates of a route that terminates, the default one first; all of them otherwise, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<List>,
    /// Time limits of this route, where they differ from the global ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RouteTimeouts>,
}

/// What happens to the clients of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The bytes go to the upstream as they are.
    Passthrough,
    /// TLS ends here; the plaintext goes to the upstream.
    Terminate,
    /// The client is refused with the alert `access_denied`.
    Reject,
}

/// `[upstreams.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Addresses: `192.0.2.1:8443`, `[2001:db8::1]:8443`, `host:8443` or `unix:/path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<List>,
    /// Which server a connection tries first. The others follow in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// How long to wait for each server; `timeouts.connect` of the route otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<At<String>>,
    /// The servers speak TLS, and how they are verified: a table, or `true` for one without keys. For routes that terminate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<At<UpstreamTls>>,
}

/// Which server a connection tries first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// Always the first.
    First,
}

/// `tls` of an `[upstreams]` table.
#[derive(Debug)]
pub enum UpstreamTls {
    /// `true`, which is a table without keys, or `false`, which is none.
    Switch(bool),
    /// A table.
    Table(Box<UpstreamTlsTable>),
}

/// The keys of `tls` of an `[upstreams]` table.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTlsTable {
    /// The host name or IP address that every server must have a certificate for. That of the server's address unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<At<String>>,
    /// The `[trust]` table whose CAs are believed; the system's store unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<At<String>>,
    /// The `[certificates]` table whose certificate is shown to a server that asks for one. None unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<At<String>>,
    /// The oldest version of TLS to speak. 1.2 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// Protocols to offer, the preferred one first; that which was agreed on with the client unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<List>,
    /// SHA-256 of public keys, of which the server must have one: 64 hexadecimal digits, or base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<List>,
    /// Whether any certificate will do, whoever issued it and for whatever name. False unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<At<bool>>,
}

impl<'de> Deserialize<'de> for UpstreamTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TlsVisitor;
        impl<'de> Visitor<'de> for TlsVisitor {
            type Value = UpstreamTls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, true or false")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<UpstreamTls, E> {
                Ok(UpstreamTls::Switch(on))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UpstreamTls, A::Error> {
                UpstreamTlsTable::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(UpstreamTls::Table)
            }
        }
        deserializer.deserialize_any(TlsVisitor)
    }
}

impl Serialize for UpstreamTls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Switch(on) => serializer.serialize_bool(*on),
            Self::Table(table) => table.serialize(serializer),
        }
    }
}

impl JsonSchema for UpstreamTls {
    fn schema_name() -> Cow<'static, str> {
        "UpstreamTls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<UpstreamTlsTable>();
        schemars::json_schema!({ "anyOf": [{ "type": "boolean" }, table] })
    }
}

/// `[trust.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// The CAs of the system, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set. False unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<bool>,
    /// Files, or directories of files, of CAs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_files: Option<List>,
    /// CAs in PEM, here in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pem: Option<At<String>>,
}

/// `[tls.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Another `[tls]` table, whose keys count where this one has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<At<String>>,
    /// The oldest version of TLS to accept. 1.2 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// Protocols to agree on, the preferred one first. None unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<List>,
    /// Whether and how clients authenticate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// What happens to open connections when a reload withdraws the CA, the certificate or the permission by which they
    /// came in. `keep` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_revoke: Option<At<OnRevoke>>,
}

/// What happens to connections whose client would not be let in any more.
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

/// `client_auth` of a `[tls]` table.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientAuth {
    /// `require_and_verify` where there are CA files, `none` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<At<ClientAuthMode>>,
    /// Files, or directories of files, of the CAs that client certificates are verified against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_files: Option<At<List>>,
    /// Files, or directories of files, of certificate revocation lists, PEM or DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_files: Option<At<List>>,
    /// How the lists are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<At<Crl>>,
    /// Of the clients whose certificate verifies, only those that one of these entries names. Everybody unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<At<ClientRules>>,
    /// No client that one of these entries names, allowed or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<At<ClientRules>>,
}

/// `client_auth.crl` of a `[tls]` table.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Crl {
    /// Which certificates of a chain are looked up. `leaf` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<CrlDepth>,
    /// What becomes of a certificate of whose issuer there is no list. `deny` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Verdict>,
    /// What becomes of a certificate whose issuer's list is older than it may be. `deny` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<Verdict>,
}

/// Which certificates of a chain are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CrlDepth {
    /// The client's own.
    Leaf,
    /// The client's own and every intermediate.
    Chain,
}

/// Whether somebody comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No.
    Deny,
    /// Yes.
    Allow,
}

/// Whether clients authenticate. Go's names, which Traefik uses, are understood, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// No certificate is asked for.
    #[serde(alias = "NoClientCert")]
    None,
    /// One is asked for. Any is taken, or none, and nothing is verified: it only stands in the log.
    #[serde(alias = "RequestClientCert")]
    Request,
    /// One must be shown. Any is taken, and nothing is verified: it only stands in the log.
    #[serde(alias = "RequireAnyClientCert")]
    RequireAny,
    /// One may be shown, and must then verify against the CA files.
    #[serde(alias = "VerifyClientCertIfGiven")]
    VerifyIfGiven,
    /// One must be shown, and must verify against the CA files.
    #[serde(alias = "RequireAndVerifyClientCert")]
    RequireAndVerify,
}

impl ClientAuthMode {
    /// Whether a certificate that is shown must verify.
    #[must_use]
    pub fn verifies(self) -> bool {
        match self {
            Self::None | Self::Request | Self::RequireAny => false,
            Self::VerifyIfGiven | Self::RequireAndVerify => true,
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
        }
    }
}

/// `client_auth.allow` and `client_auth.deny`: clients, by what their certificates say. One entry that matches is enough.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientRules {
    /// DNS names (subjectAltName): `a.example` or `*.example` (one label).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<List>,
    /// URIs (subjectAltName), or the beginning of one and `*`: `spiffe://example.net/web/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<List>,
    /// Mail addresses (subjectAltName).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<List>,
    /// Common names of the subject, in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cn: Option<List>,
    /// Organizational units of the subject, in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ou: Option<List>,
    /// SHA-256 digests of public keys (SubjectPublicKeyInfo), in hexadecimal or base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki_sha256: Option<List>,
    /// Serial numbers in hexadecimal. Each is unique among the certificates of one CA only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<List>,
}

/// `[certificates.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Certificate {
    /// The certificate and its intermediates in any order, PEM or DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<At<String>>,
    /// The private key, PEM or DER; `cert_file` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<At<String>>,
    /// A directory with `server.pem` and `server-key.pem`, and perhaps the `ca.crt` that issued them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<At<String>>,
    /// True: snigate makes the certificate itself and keeps it in the storage. Clients know it by its fingerprint, which is
    /// logged at each start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<At<bool>>,
    /// The host names, wildcards and IP addresses that a self-signed certificate is for; the names of the routes that use
    /// it unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<List>,
}

/// `[storage]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// A directory that belongs to snigate; it is made if need be. `/var/lib/snigate` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<At<String>>,
}

/// `[timeouts]`: durations such as `"5s"`, or `"off"` where that is allowed.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// From accept to the whole ClientHello. `5s` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<At<String>>,
    /// For the TLS handshake. `10s` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<At<String>>,
    /// For each server that is tried. `5s` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<At<String>>,
    /// Without a byte either way. `1h` unless given; may be `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<At<String>>,
    /// With one side finished and the other silent. `60s` unless given; may be `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_close: Option<At<String>>,
    /// For connections to end by themselves when snigate stops. `30s` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<At<String>>,
}

/// `[routes.NAME.timeouts]`: those of [`Timeouts`] that a route can still change when it is known.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTimeouts {
    /// See [`Timeouts::handshake`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<At<String>>,
    /// See [`Timeouts::connect`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<At<String>>,
    /// See [`Timeouts::idle`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<At<String>>,
    /// See [`Timeouts::half_close`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_close: Option<At<String>>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least important events to log. `info` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// `text` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether each connection is logged when it ends. True unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<bool>,
}

/// Importance of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something is wrong that the operator must mend.
    Error,
    /// Something may soon be.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Every step.
    Trace,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `time level message key=value ...`
    Text,
    /// One JSON object per line.
    Json,
}

/// One text, or a list of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(pub Vec<At<String>>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let At { value, span } = At::<OneOrMany>::deserialize(deserializer)?;
        Ok(match value {
            OneOrMany::One(value) => Self(vec![At { value, span }]),
            OneOrMany::Many(values) => Self(values),
        })
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for List {
    fn schema_name() -> Cow<'static, str> {
        "List".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

impl From<Vec<String>> for List {
    fn from(values: Vec<String>) -> Self {
        Self(values.into_iter().map(At::from).collect())
    }
}

enum OneOrMany {
    One(String),
    Many(Vec<At<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = items.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMany::Many(values))
            }
        }
        deserializer.deserialize_any(ListVisitor)
    }
}

/// A value and the bytes of its file where it stands. Equal, ordered and hashed as the value alone.
#[derive(Clone, Debug, Default)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place in the file.
    pub span: Range<usize>,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> From<T> for At<T> {
    fn from(value: T) -> Self {
        Self { value, span: 0..0 }
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T: Ord> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> Ord for At<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}

impl Borrow<str> for At<String> {
    fn borrow(&self) -> &str {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self { value: spanned.into_inner(), span })
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
