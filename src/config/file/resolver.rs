//! `resolver`: how the names of servers are looked up.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::file::{List, Spanned};

/// `resolver`: the mode alone, or a table.
#[derive(Debug)]
pub enum Resolver {
    /// `"dns"` or `"system"`.
    Mode(ResolverMode),
    /// `[resolver]`
    Table(Box<ResolverTable>),
}

/// The source of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResolverMode {
    /// The hosts file, and then DNS.
    #[default]
    Dns,
    /// The C library, with whatever nsswitch.conf names.
    System,
}

/// `[resolver]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResolverTable {
    /// The source of names. Default: `dns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Spanned<ResolverMode>>,
    /// DNS servers, such as `10.0.0.53:53` or `10.0.0.53`; the next one is asked if one fails.
    /// Default: those of `/etc/resolv.conf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<List>,
    /// How long an answer holds at least, whatever DNS says. Default: `1s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ttl: Option<Spanned<String>>,
    /// How long an answer holds at most. Default: `1h`. That there is no such name never holds
    /// longer than 10 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Spanned<String>>,
    /// How long an answer is used after its time when no source has a new one. Default: `24h`; may
    /// be `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<Spanned<String>>,
    /// For looking a name up, all servers and attempts together. Default: `3s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Spanned<String>>,
}

impl<'de> Deserialize<'de> for Resolver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ResolverVisitor;
        impl<'de> Visitor<'de> for ResolverVisitor {
            type Value = Resolver;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, \"dns\" or \"system\"")
            }

            fn visit_str<E: de::Error>(self, mode: &str) -> Result<Resolver, E> {
                ResolverMode::deserialize(StrDeserializer::new(mode)).map(Resolver::Mode)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Resolver, A::Error> {
                ResolverTable::deserialize(MapAccessDeserializer::new(map))
                    .map(Box::new)
                    .map(Resolver::Table)
            }
        }
        deserializer.deserialize_any(ResolverVisitor)
    }
}

impl Serialize for Resolver {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Mode(mode) => mode.serialize(serializer),
            Self::Table(table) => table.serialize(serializer),
        }
    }
}

impl JsonSchema for Resolver {
    fn schema_name() -> Cow<'static, str> {
        "Resolver".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (mode, table) = (
            generator.subschema_for::<ResolverMode>(),
            generator.subschema_for::<ResolverTable>(),
        );
        schemars::json_schema!({ "anyOf": [mode, table] })
    }
}
