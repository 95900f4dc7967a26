//! Every key that a file may have, by the tables around it, as the schema has them: where a key
//! belongs that stands in the wrong table, and which words a key takes.

use std::sync::LazyLock;

use schemars::schema_for;
use serde_json::Value;

use crate::config::file::File;
use crate::config::read::paste::plain;

/// Stands for the name of a table.
const NAME: &str = "NAME";

/// Keys whose value is a duration.
const DURATIONS: [&str; 18] = [
    "hello",
    "handshake",
    "connect",
    "idle",
    "half_close",
    "drain",
    "max_lifetime",
    "keepalive",
    "unacknowledged",
    "interval",
    "timeout",
    "time",
    "max_time",
    "per",
    "min_ttl",
    "max_ttl",
    "stale",
    "connect_timeout",
];

/// A key of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The tables around it: `tls`, [`NAME`], `client_auth`.
    pub(super) tables: Vec<String>,
    pub(super) key: String,
    /// The words that it takes, if it takes no others.
    pub(super) words: Vec<String>,
    /// Whether it takes a whole number.
    number: bool,
    /// Whether the innermost table is an entry of a list.
    pub(super) in_list: bool,
}

/// Made when the first mistake asks for it: what has none pays nothing.
static KEYS: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let root = schema_for!(File).to_value();
    let mut keys = Vec::new();
    collect(&root, &root, false, &mut Vec::new(), &mut keys);
    keys.sort_by(|a, b| {
        (a.tables.len(), &a.tables, &a.key, !a.in_list).cmp(&(
            b.tables.len(),
            &b.tables,
            &b.key,
            !b.in_list,
        ))
    });
    // What may stand alone or in a list is one key.
    keys.dedup_by(|a, b| (&a.tables, &a.key) == (&b.tables, &b.key));
    keys
});

/// Every key.
#[cfg(test)]
pub(super) fn keys() -> &'static [Known] {
    &KEYS
}

fn collect(
    schema: &Value,
    root: &Value,
    in_list: bool,
    tables: &mut Vec<String>,
    keys: &mut Vec<Known>,
) {
    let schema = resolved(schema, root);
    for variant in variants(schema) {
        collect(variant, root, in_list, tables, keys);
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let mut words = Vec::new();
        collect_words(value, root, &mut words);
        keys.push(Known {
            tables: tables.clone(),
            key: key.clone(),
            words,
            number: is_number(value),
            in_list,
        });
        tables.push(key.clone());
        collect(value, root, false, tables, keys);
        tables.pop();
    }
    if schema["additionalProperties"].is_object() {
        tables.push(NAME.to_owned());
        collect(&schema["additionalProperties"], root, false, tables, keys);
        tables.pop();
    }
    if schema["items"].is_object() {
        collect(&schema["items"], root, true, tables, keys);
    }
}

fn is_number(schema: &Value) -> bool {
    let kind = &schema["type"];
    kind == "integer"
        || kind
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == "integer"))
}

fn collect_words(schema: &Value, root: &Value, words: &mut Vec<String>) {
    let schema = resolved(schema, root);
    words.extend(schema["const"].as_str().map(str::to_owned));
    words.extend(
        schema["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned),
    );
    variants(schema).for_each(|variant| collect_words(variant, root, words));
}

fn variants(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf", "allOf"]
        .into_iter()
        .filter_map(|several| schema[several].as_array())
        .flatten()
}

fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let target = schema["$ref"]
        .as_str()
        .and_then(|target| root.pointer(target.trim_start_matches('#')));
    target.unwrap_or(schema)
}

impl Known {
    /// Whether it is a key of the table at `path`.
    fn is_in(&self, path: &[String]) -> bool {
        self.tables.len() == path.len() && begins_with(path, &self.tables)
    }
}

/// Whether `pattern`, in which [`NAME`] is any name, leads to `path` or to a table around it.
fn begins_with(path: &[String], pattern: &[String]) -> bool {
    pattern.len() <= path.len()
        && pattern
            .iter()
            .zip(path)
            .all(|(known, own)| known == NAME || known == own)
}

/// The words of the key at `path`, the last of which is the key.
pub(super) fn words(path: &[String]) -> &'static [String] {
    let Some((key, tables)) = path.split_last() else {
        return &[];
    };
    KEYS.iter()
        .find(|known| known.key == *key && known.is_in(tables))
        .map_or(&[], |known| &known.words)
}

/// Whether the value of a key is a duration.
pub(super) fn is_duration(key: &str) -> bool {
    DURATIONS.contains(&key)
}

/// Whether a key of this name takes a whole number, in whatever table.
pub(super) fn takes_number(key: &str) -> bool {
    let key = key.rsplit('.').next().unwrap_or(key);
    KEYS.iter().any(|known| known.key == key && known.number)
}

/// Where a key belongs.
pub(super) struct Home {
    /// The text to write, or its place.
    pub(super) help: String,
    /// The keys that are missing now because it stands elsewhere, with `*` for the name of a table.
    pub(super) missed: Vec<Vec<String>>,
}

/// Where `word` belongs, which the table at `path` does not know: it may be a key of it in another
/// spelling, or one of another table.
pub(super) fn home(path: &[String], word: &str) -> Option<Home> {
    let spelled = plain(word);
    let named: Vec<&Known> = KEYS
        .iter()
        .filter(|known| plain(&known.key) == spelled)
        .collect();
    let missed = |known: &&Known| {
        let tables = known
            .tables
            .iter()
            .map(|table| if table == NAME { "*" } else { table });
        tables
            .chain([known.key.as_str()])
            .map(str::to_owned)
            .collect()
    };
    // `cert_file`, which another table has, in place of `cert_files`.
    let is_other_number = |known: &&Known| {
        let (own, here) = (spelled.trim_end_matches('s'), plain(&known.key));
        !path.is_empty()
            && known.is_in(path)
            && here != spelled
            && here.trim_end_matches('s') == own
    };
    let here = named.iter().copied().find(|known| known.is_in(path));
    let here = here.or_else(|| KEYS.iter().find(is_other_number));
    if let Some(known) = here {
        return Some(Home {
            help: format!("write `{}`", known.key),
            missed: vec![missed(&known)],
        });
    }
    let is_below = |known: &&&Known| {
        known.tables.len() > path.len()
            && begins_with(path, &known.tables[..path.len()])
            && !path.is_empty()
    };
    let below: Vec<&Known> = named.iter().filter(is_below).copied().collect();
    let meant = if below.is_empty() { named } else { below };
    let missed = meant.iter().map(missed).collect();
    let mut places: Vec<(bool, String)> = meant
        .iter()
        .map(|known| (!is_near(known, path), place(known, path)))
        .collect();
    places.sort_by_key(|(is_far, _)| *is_far);
    let places: Vec<String> = places.into_iter().map(|(_, place)| place).collect();
    let first = meant.first()?;
    let link = if places.len() == 1 {
        link(path, first)
    } else {
        None
    };
    let help = format!(
        "`{}` belongs {}{}",
        first.key,
        places.join(", or "),
        link.unwrap_or_default()
    );
    Some(Home { help, missed })
}

fn is_near(known: &Known, path: &[String]) -> bool {
    known.tables.first() == path.first()
}

/// Where a key belongs, seen from the table at `path`: a table of the same section has its name.
fn place(known: &Known, path: &[String]) -> String {
    let own_name = path.get(1).filter(|_| is_near(known, path));
    let own = |table: &String| {
        if table == NAME {
            own_name.unwrap_or(table).clone()
        } else {
            table.clone()
        }
    };
    let tables: Vec<String> = known.tables.iter().map(own).collect();
    if known.in_list {
        let (list, around) = tables
            .split_last()
            .map_or(("", &[][..]), |(list, around)| (list.as_str(), around));
        return format!(
            "in an entry of `{list}` in `[{}]`: `{{ address = \"...\", {} = ... }}`",
            around.join("."),
            known.key
        );
    }
    let has_names = || {
        KEYS.iter().any(|other| {
            other.tables.len() == 2 && other.tables[0] == known.key && other.tables[1] == NAME
        })
    };
    match tables.is_empty() {
        true if known.key == "include" => {
            "at the top of the file, before the first table".to_owned()
        }
        true if has_names() => format!("outside, as a table `[{}.{NAME}]`", known.key),
        true => format!("outside, as a table `[{}]`", known.key),
        false => format!("in `[{}]`", tables.join(".")),
    }
}

/// How the route at `path` refers to the table that a key belongs in.
fn link(path: &[String], known: &Known) -> Option<String> {
    let [section, ..] = path else { return None };
    let own = match known.tables.first()?.as_str() {
        "tls" => "tls = \"NAME\"",
        "upstreams" => "upstream = \"NAME\"",
        "certificates" => "certificates = [\"NAME\"]",
        _ => return None,
    };
    (section == "routes").then(|| format!(", which the route names: `{own}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(path: &str, word: &str) -> Option<String> {
        let path: Vec<String> = path
            .split('.')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        home(&path, word).map(|home| home.help)
    }

    #[test]
    fn a_key_in_the_wrong_table_is_told_the_right_one() {
        for (path, word, expected) in [
            (
                "routes.a",
                "health",
                "`health` belongs in `[upstreams.NAME]`, which the route names: `upstream = \"NAME\"`",
            ),
            (
                "routes.a",
                "client_auth",
                "`client_auth` belongs in `[tls.NAME]`, which the route names: `tls = \"NAME\"`",
            ),
            (
                "routes.a",
                "idle",
                "`idle` belongs in `[routes.a.timeouts]`",
            ),
            (
                "routes.a",
                "include",
                "`include` belongs at the top of the file, before the first table",
            ),
            (
                "routes.a.timeouts",
                "hello",
                "`hello` belongs in `[timeouts]`, or in `[listeners.NAME.timeouts]`",
            ),
            (
                "tls.m",
                "on_remove",
                "`on_remove` belongs in `[routes.NAME]`",
            ),
            (
                "tls.m.client_auth",
                "on_revoke",
                "`on_revoke` belongs in `[tls.m]`",
            ),
            (
                "tls.m",
                "ca_files",
                "`ca_files` belongs in `[tls.m.client_auth]`",
            ),
            ("tls.m", "minVersion", "write `min_version`"),
            (
                "upstreams.u",
                "weight",
                "`weight` belongs in an entry of `servers` in `[upstreams.u]`: `{ address = \"...\", weight = ... }`",
            ),
            // The table that is nearest comes first.
            (
                "upstreams.u.health",
                "max_connections",
                "`max_connections` belongs in an entry of `servers` in `[upstreams.u]`: `{ address = \"...\", max_connections = \
                 ... }`, or in `[listeners.NAME]`",
            ),
            ("", "level", "`level` belongs in `[log]`"),
            (
                "listeners.edge",
                "trust",
                "`trust` belongs outside, as a table `[trust.NAME]`, or in `[upstreams.NAME.tls]`",
            ),
        ] {
            assert_eq!(help(path, word).as_deref(), Some(expected), "{path} {word}");
        }
        assert_eq!(help("routes.a", "colour"), None);
        let places = |known: &Known| {
            help("log", &known.key).map_or(0, |help| help.matches(", or ").count() + 1)
        };
        assert_eq!(
            keys().iter().map(places).max(),
            Some(3),
            "more of them would be of no use in a message"
        );
    }

    #[test]
    fn a_key_that_takes_words_alone_has_them() {
        let path = |text: &str| -> Vec<String> { text.split('.').map(str::to_owned).collect() };
        assert_eq!(words(&path("upstreams.u.health.kind")), ["tcp", "tls"]);
        assert_eq!(
            words(&path("tls.m.client_auth.crl.unknown")),
            ["deny", "allow"]
        );
        assert!(words(&path("routes.a.sni")).is_empty());
        assert!(keys().len() > 90, "{}", keys().len());
    }
}
