//! `[upstreams]`: servers.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::file::{Ejection, Health, List, Servers, Spanned, TlsVersion};
use crate::upstream::Balance;

/// `[upstreams.NAME]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Addresses: `192.0.2.1:8443`, `[2001:db8::1]:8443`, `host:8443` or `unix:/path`; or a
    /// service, whose hosts and ports DNS knows: `srv:_https._tcp.app.internal`. Or tables with an
    /// `address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Servers>,
    /// Load balancing: which server a connection tries first. Default: `round_robin`. A server that
    /// cannot be reached is followed by the next choice among the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Spanned<Balance>>,
    /// When a server that fails is ejected, so that it gets no connections for a while: a table, or
    /// `"off"`. Default: a table without keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Spanned<Ejection>>,
    /// Health checks of each server, at an interval: a table, or `true` for one without keys.
    /// Default: `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Spanned<Health>>,
    /// How long to wait for each server, and for a place at one. Default: `timeouts.connect` of the
    /// route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Spanned<String>>,
    /// TLS to the servers, and how they are verified: a table, or `true` for one without keys. For
    /// routes that terminate. Default: `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Spanned<UpstreamTls>>,
    /// The PROXY header that each server is sent first, before TLS where it speaks TLS: `v1` or
    /// `v2`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<Spanned<ProxyProtocol>>,
    /// The contents of a header of version 2 beyond the addresses: `authority`, `alpn`, `ssl`,
    /// `client_certificate`, `unique_id`, `crc32c`. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol_tlvs: Option<Spanned<List>>,
    /// Whether servers see the client's address as that which a connection comes from. Default:
    /// `false`. It needs the capability `CAP_NET_RAW` (or `CAP_NET_ADMIN`), and routes by which the
    /// servers' answers come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent: Option<Spanned<bool>>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// A line of text with the addresses.
    V1,
    /// A binary header with the addresses, and more if that is wanted.
    V2,
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
    /// The host name or IP address that every server must have a certificate for. Default: that of
    /// the server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Spanned<String>>,
    /// The `[trust]` table whose CAs servers are verified against. Default: the system's trust
    /// store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<Spanned<String>>,
    /// The `[certificates]` table whose certificate is shown to a server that asks for one.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Spanned<String>>,
    /// The oldest version of TLS to speak. Default: `1.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// Protocols to offer, the preferred one first. Default: that which was agreed on with the
    /// client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<List>,
    /// Key exchange groups to offer, the preferred one first: `X25519MLKEM768`, `x25519`,
    /// `secp256r1`, `secp384r1`. Default: all of them. A hello without `X25519MLKEM768` fits into
    /// one segment, which some servers need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<List>,
    /// SHA-256 of public keys, of which the server must have one: 64 hexadecimal digits, or base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<List>,
    /// Whether any certificate will do, whichever CA issued it and for whatever name. Default:
    /// `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<Spanned<bool>>,
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
                UpstreamTlsTable::deserialize(MapAccessDeserializer::new(map))
                    .map(Box::new)
                    .map(UpstreamTls::Table)
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
