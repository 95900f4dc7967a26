//! `servers`, `health` and `ejection` of an `[upstreams]` table: each has a short form and a long
//! one.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::file::{Listed, OneOrMany, Spanned};
use crate::upstream::HealthCheckKind;

/// A server: its address, or a table.
pub type Server = Short<String, ServerTable>;

impl Spanned<Server> {
    /// Its address, and where it stands.
    #[must_use]
    pub fn address(&self) -> Option<Spanned<String>> {
        match &self.value {
            Short::Word(address) => Some(Spanned {
                value: address.clone(),
                span: self.span.clone(),
            }),
            Short::Table(table) => table.address.clone(),
        }
    }
}

/// `true`, which is a table without keys, or `false`, which is none; or a table.
pub type Health = Short<bool, HealthTable>;

/// `"off"`, or a table.
pub type Ejection = Short<String, EjectionTable>;

/// One server, or a list of servers.
pub type Servers = OneOrMany<Server>;

/// A server with more than an address.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTable {
    /// `192.0.2.1:8443`, `[2001:db8::1]:8443`, `[fe80::1%eth0]:8443`, `host:8443`, `unix:/path` or
    /// `srv:_https._tcp.app.internal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Spanned<String>>,
    /// Its share of the connections beside the others, up to 1000. With 0 it takes no new ones, and
    /// those that are open go on. Default: `1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Spanned<u64>>,
    /// How many connections it has at a time. Further ones go to other servers, or wait, for as
    /// long as `connect` of the timeouts says, until one ends. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<Spanned<u64>>,
    /// Whether it is used only while no other server is. Default: `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
}

/// Health checks of servers.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthTable {
    /// The kind of probe. Default: `tls` where the upstream has `tls`, otherwise `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Spanned<HealthCheckKind>>,
    /// From one check to the next, give or take a tenth. Default: `5s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Spanned<String>>,
    /// For one check. Default: `2s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Spanned<String>>,
    /// How many checks in a row must succeed before a server that is down is up. Default: `2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<Spanned<u64>>,
    /// How many checks in a row must fail before a server that is up is down. Default: `3`. The
    /// very first one counts alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall: Option<Spanned<u64>>,
}

/// When a server that fails is ejected, so that it gets no connections for a while.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EjectionTable {
    /// How many attempts to connect must fail, with none that succeeds in between. Default: `3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<Spanned<u64>>,
    /// For how long a server is ejected the first time; then one connection probes it, and as long
    /// as that fails the time is doubled. Default: `1s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Spanned<String>>,
    /// The longest time. Default: `60s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_time: Option<Spanned<String>>,
    /// How many of the servers, in percent and rounded down, may be ejected at the same time.
    /// Default: `50`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_percent: Option<Spanned<u64>>,
}

/// A text or a truth value in place of a table, or the table.
#[derive(Debug)]
pub enum Short<S, T> {
    /// The short form.
    Word(S),
    /// The table.
    Table(Box<T>),
}

/// A word in place of a table.
pub trait Word: Sized {
    /// In words, with the table.
    const EXPECTED: &'static str;

    /// From a text, if it may be one.
    fn text(text: &str) -> Option<Self>;

    /// From `true` or `false`, if it may be one of them.
    fn switch(on: bool) -> Option<Self>;
}

impl Word for String {
    const EXPECTED: &'static str = "a text or a table";

    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn switch(_: bool) -> Option<Self> {
        None
    }
}

impl Word for bool {
    const EXPECTED: &'static str = "a table, true or false";

    fn text(_: &str) -> Option<Self> {
        None
    }

    fn switch(on: bool) -> Option<Self> {
        Some(on)
    }
}

impl<'de, S: Word, T: Deserialize<'de>> Deserialize<'de> for Short<S, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShortVisitor<S, T>(PhantomData<(S, T)>);
        impl<'de, S: Word, T: Deserialize<'de>> Visitor<'de> for ShortVisitor<S, T> {
            type Value = Short<S, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(S::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let wrong = || E::invalid_type(de::Unexpected::Str(text), &self);
                S::text(text).map(Short::Word).ok_or_else(wrong)
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
                let wrong = || E::invalid_type(de::Unexpected::Bool(on), &self);
                S::switch(on).map(Short::Word).ok_or_else(wrong)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
                    .map(Box::new)
                    .map(Short::Table)
            }
        }
        deserializer.deserialize_any(ShortVisitor(PhantomData))
    }
}

impl<S: Serialize, T: Serialize> Serialize for Short<S, T> {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        match self {
            Self::Word(word) => word.serialize(serializer),
            Self::Table(table) => table.serialize(serializer),
        }
    }
}

impl<S: JsonSchema, T: JsonSchema> JsonSchema for Short<S, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Short{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (word, table) = (
            generator.subschema_for::<S>(),
            generator.subschema_for::<T>(),
        );
        schemars::json_schema!({ "anyOf": [word, table] })
    }
}

impl Listed for Server {
    const EXPECTED: &'static str = "a server or a list of servers, each a text or a table,";
    const SCHEMA_NAME: &'static str = "Servers";
    const MAY_BE_TABLE: bool = true;
}
