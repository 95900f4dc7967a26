//! What is generated: `docs/generate` writes it, and a test compares it with the tree.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::book::{page, root};
use crate::program::{self, Commands, snigate};

/// Set by `docs/generate`.
const WRITE: &str = "SNIGATE_WRITE";

/// The tables of the file, in the order in which one meets them.
const TABLES: [&str; 10] = [
    "listeners",
    "routes",
    "upstreams",
    "resolver",
    "tls",
    "certificates",
    "trust",
    "storage",
    "timeouts",
    "log",
];

/// The cases that README has a row of.
const CASES: [&str; 5] = [
    "passthrough: connect, hello, 128 B answer, close",
    "passthrough: bulk to the client",
    "passthrough: an idle connection",
    "mutual TLS: full handshake of a new client, 128 B answer, close",
    "mutual TLS: bulk to the client",
];

/// The text of a page as it is to be; in the tree it is the same, or `docs/generate` makes it so.
pub(crate) fn is_generated(path: &str, text: &str) {
    if std::env::var_os(WRITE).is_some() {
        fs::write(root().join(path), text).unwrap();
    }
    let there = fs::read_to_string(root().join(path)).unwrap_or_default();
    let different = there
        .lines()
        .zip(text.lines())
        .find(|(there, due)| there != due);
    assert!(
        there == text,
        "{path}: run docs/generate; the first difference: {different:?}"
    );
}

/// The reference of the configuration file.
pub(crate) fn configuration() -> String {
    let output = snigate(Path::new("/"), &["schema"]);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut reference = Reference {
        schema: &schema,
        text: "# Configuration file\n\nWritten by `docs/generate` from the JSON schema that `snigate schema` prints; not edited.\n\n\
               The file is TOML. Paths are relative to the file that they stand in, except those of unix sockets, which are\n\
               absolute. Durations are written `5s`, `500ms`, `1h30m`. The order of tables never matters, and an unknown key is an error.\n\
               `snigate show` prints a file with its defaults. Every key stands in `config/example.toml`, too.\n\n## The file\n"
            .to_owned(),
        rendered: Vec::new(),
    };
    let root = &schema["properties"];
    let names: Vec<&String> = root.as_object().unwrap().keys().collect();
    let plain: Vec<&str> = names
        .iter()
        .map(|name| name.as_str())
        .filter(|name| !TABLES.contains(name))
        .collect();
    reference.table(&schema, &plain);
    for name in TABLES {
        let section = &root[name];
        assert!(!section.is_null(), "there is no table {name}");
        let named = &section["additionalProperties"];
        let (title, table) = match named.is_object() {
            true => (format!("{name}.NAME"), named),
            false => (name.to_owned(), section),
        };
        let _ = write!(
            reference.text,
            "\n## \\[{title}\\]\n\n{}\n",
            description(section)
        );
        reference.keys(&title, table);
    }
    reference.text
}

struct Reference<'a> {
    schema: &'a Value,
    text: String,
    /// Definitions that have been rendered, and where.
    rendered: Vec<(String, String)>,
}

impl<'a> Reference<'a> {
    /// The keys of a table, and those of the tables within it.
    fn keys(&mut self, title: &str, table: &'a Value) {
        let table = self.with_keys(table).unwrap();
        let names: Vec<&str> = table["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        self.table(table, &names);
        for name in names {
            let key = &table["properties"][name];
            let Some(inner) = self.with_keys(key) else {
                continue;
            };
            let title = format!("{title}.{name}");
            let _ = write!(self.text, "\n### \\[{title}\\]\n\n");
            let identity = inner["properties"].to_string();
            if let Some((_, at)) = self.rendered.iter().find(|(known, _)| *known == identity) {
                let _ = writeln!(self.text, "The keys are those of `[{at}]`.");
                continue;
            }
            self.rendered.push((identity, title.clone()));
            let _ = writeln!(self.text, "{}", description(key));
            self.keys(&title, key);
        }
    }

    fn table(&mut self, table: &'a Value, names: &[&str]) {
        self.text
            .push_str("\n| key | value | default | |\n| --- | --- | --- | --- |\n");
        for name in names {
            let key = &table["properties"][*name];
            let (mut meaning, default) = without_default(&description(key));
            for (word, says) in self.words(key) {
                let _ = write!(meaning, " `{word}`: {}", in_a_sentence(&says));
            }
            let value = self.values(key).join(" or ");
            let _ = writeln!(
                self.text,
                "| `{name}` | {value} | {default} | {} |",
                meaning.trim().replace('|', "\\|")
            );
        }
    }

    /// The alternatives of a schema, without `null`, with what they refer to in their place.
    fn alternatives(&self, schema: &'a Value) -> Vec<&'a Value> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            return self.alternatives(&self.schema["$defs"][name]);
        }
        let several = schema["anyOf"]
            .as_array()
            .or_else(|| schema["oneOf"].as_array());
        match several {
            Some(several) => several
                .iter()
                .flat_map(|one| self.alternatives(one))
                .collect(),
            None if schema["type"] == "null" => Vec::new(),
            None => vec![schema],
        }
    }

    /// The table that a schema is, or may be.
    fn with_keys(&self, schema: &'a Value) -> Option<&'a Value> {
        self.alternatives(schema)
            .into_iter()
            .find(|one| one["properties"].is_object())
    }

    /// What may stand as the value, in words.
    fn values(&self, schema: &'a Value) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for one in self.alternatives(schema) {
            let word = if let Some(word) = one["const"].as_str() {
                format!("`{word}`")
            } else if let Some(several) = one["enum"].as_array() {
                let several: Vec<String> = several
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|word| format!("`{word}`"))
                    .collect();
                several.join(" or ")
            } else if one["properties"].is_object() {
                "table".to_owned()
            } else {
                let types = one["type"]
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![one["type"].clone()]);
                let kind = types
                    .iter()
                    .filter_map(Value::as_str)
                    .find(|kind| *kind != "null");
                match kind {
                    Some("string") => "text",
                    Some("integer") => "number",
                    Some("boolean") => "`true` or `false`",
                    Some("array") => "list",
                    other => panic!("{other:?} in {one}"),
                }
                .to_owned()
            };
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words
    }

    /// The words that a key takes, each with what it says.
    fn words(&self, schema: &'a Value) -> Vec<(String, String)> {
        let all = self.alternatives(schema).into_iter();
        let words =
            all.filter_map(|one| Some((one["const"].as_str()?.to_owned(), description(one))));
        words.filter(|(_, says)| !says.is_empty()).collect()
    }
}

fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A sentence that stands behind a colon, unless it begins with an abbreviation.
fn in_a_sentence(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// A text without its sentence `Default: ...`, and that sentence.
fn without_default(text: &str) -> (String, String) {
    let Some((before, rest)) = text.split_once("Default: ") else {
        return (text.to_owned(), String::new());
    };
    let mut is_code = false;
    let end = rest.char_indices().find(|(at, c)| {
        is_code ^= *c == '`';
        *c == '.'
            && !is_code
            && rest[at + 1..]
                .chars()
                .next()
                .is_none_or(char::is_whitespace)
    });
    let (default, after) = end.map_or((rest, ""), |(at, _)| (&rest[..at], &rest[at + 1..]));
    (
        format!("{}{after}", before.trim_end()),
        default.replace('|', "\\|"),
    )
}

/// The reference of the command line.
pub(crate) fn command_line() -> String {
    let mut text = "# Command line\n\nWritten by `docs/generate` from `--help`; not edited. `snigate man` prints the same as a manual page.\n".to_owned();
    for path in Commands::new().paths() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let name = [&["snigate"], &words[..]].concat().join(" ");
        let help = program::help(&words);
        let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n"));
    }
    text
}

/// The rows of the last full run that have a target or stand beside a peer, the head of the table first.
pub(crate) fn figures() -> Vec<String> {
    let results = page("benches/compare/RESULTS.md").text;
    let rows = results
        .lines()
        .skip_while(|line| !line.starts_with("| work | snigate |"));
    rows.take_while(|line| line.starts_with('|'))
        .map(str::to_owned)
        .collect()
}

/// The head, and of each of [`CASES`] one row: where a case has several, one whose target was missed.
pub(crate) fn five_figures() -> Vec<String> {
    let all = figures();
    let of_case = |case: &str| {
        let rows: Vec<&String> = all
            .iter()
            .filter(|row| {
                row.split('|')
                    .nth(1)
                    .is_some_and(|work| work.trim() == case)
            })
            .collect();
        let missed = rows
            .iter()
            .find(|row| row.contains("**missed**"))
            .or(rows.first());
        (*missed.unwrap_or_else(|| panic!("there is no row of {case:?}"))).clone()
    };
    let rows = CASES.iter().map(|case| of_case(case));
    all.iter().take(2).cloned().chain(rows).collect()
}

/// A page with these rows in the place that is marked for figures.
pub(crate) fn with_figures(path: &str, rows: &[String]) -> String {
    let text = page(path).text;
    let (before, rest) = text.split_once("<!-- figures: ").unwrap();
    let (mark, rest) = rest.split_once('\n').unwrap();
    let (_, after) = rest.split_once("<!-- end of figures -->").unwrap();
    format!(
        "{before}<!-- figures: {mark}\n\n{}\n\n<!-- end of figures -->{after}",
        rows.join("\n")
    )
}

/// README with what its commands print: the first one for a mistake, the others for the recipe.
pub(crate) fn with_outputs(text: &str) -> String {
    let recipe = page("README.md").bodies("toml").remove(0);
    let dir = tempfile::tempdir().unwrap();
    let mut is_first = true;
    let mut written = String::new();
    for part in text.split_inclusive("```console\n") {
        // The rest of what the block before has printed goes.
        let part = match written.ends_with("```console\n") {
            false => part,
            true => {
                let (block, rest) = part.split_once("```\n").unwrap();
                let command = block
                    .lines()
                    .next()
                    .and_then(|line| line.strip_prefix("$ snigate "))
                    .unwrap();
                let config = match is_first {
                    true => recipe.replace("\"passthrough\"", "\"passtrough\""),
                    false => recipe.clone(),
                };
                assert_eq!(config != recipe, is_first, "the mistake is one");
                is_first = false;
                fs::write(dir.path().join("snigate.toml"), config).unwrap();
                let arguments: Vec<&str> = command.split_whitespace().collect();
                let printed = String::from_utf8(snigate(dir.path(), &arguments).stdout).unwrap();
                let _ = write!(
                    written,
                    "$ snigate {command}\n{}\n```\n",
                    printed.trim_end()
                );
                rest
            }
        };
        written.push_str(part);
    }
    written
}
