//! `bind` of a `[listeners]` table: where to listen.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::file::{Listed, OneOrMany, Spanned};

/// One address, or a list of addresses, each of which may be a table.
pub type Binds = OneOrMany<Bind>;

/// Where to listen.
#[derive(Debug)]
pub enum Bind {
    /// An address.
    Address(String),
    /// An address and what it needs.
    Table(Box<BindTable>),
}

/// An entry of `bind` that is a table.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BindTable {
    /// As it stands in a list of addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Spanned<String>>,
    /// Of a unix socket: who may connect, in octal, such as `0660`. Default: `0600`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Spanned<String>>,
    /// Of a unix socket: whose it is, `USER`, `USER:GROUP` or `:GROUP`, by name or number. Default:
    /// those of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Spanned<String>>,
    /// Of `[::]`: false if it is to take IPv4 clients, too. Default: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v6only: Option<Spanned<bool>>,
}

impl From<String> for Binds {
    fn from(address: String) -> Self {
        Self(vec![Bind::Address(address).into()])
    }
}

impl Listed for Bind {
    const EXPECTED: &'static str = "an address, a table with an address, or a list of those";
    const SCHEMA_NAME: &'static str = "Binds";
    const MAY_BE_TABLE: bool = true;
}

impl<'de> Deserialize<'de> for Bind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BindVisitor;
        impl<'de> Visitor<'de> for BindVisitor {
            type Value = Bind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or a table with an address")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bind, E> {
                Ok(Bind::Address(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bind, A::Error> {
                BindTable::deserialize(MapAccessDeserializer::new(map))
                    .map(Box::new)
                    .map(Bind::Table)
            }
        }
        deserializer.deserialize_any(BindVisitor)
    }
}

impl Serialize for Bind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Address(address) => serializer.serialize_str(address),
            Self::Table(table) => table.serialize(serializer),
        }
    }
}

impl JsonSchema for Bind {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bind".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<BindTable>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}
