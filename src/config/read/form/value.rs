//! Keys that are not known, and values of another type than is due.

use std::sync::Arc;

use toml::de::DeValue;

use crate::config::diagnostic::{Diagnostic, Place, Severity, Source, did_you_mean};
use crate::config::read::paste;

/// Keys whose value is a duration.
const DURATIONS: [&str; 19] = [
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
    "timeouts",
];

/// What is wrong at `path`, and the key that is missing now because it was meant there.
pub(super) fn type_error(
    error: &toml::de::Error,
    path: &[String],
    value: Option<&DeValue<'_>>,
    source: &Arc<Source>,
) -> (Diagnostic, Option<Vec<String>>) {
    let message = error.message().trim();
    let place = error.span().map(|span| Place { source: Arc::clone(source), span });
    // serde's wording: unknown field `sin`, expected one of `sni`, `alpn`
    let mut quoted = message.split('`').skip(1).step_by(2);
    let section = if path.len() > 1 { path[0].as_str() } else { "" };
    let key = path.last().map_or("", String::as_str);
    let mut missed = None;
    let (message, help) = if message.starts_with("unknown field") {
        let word = quoted.next().unwrap_or_default();
        let near = did_you_mean(word, quoted);
        let table = &path[..path.len().saturating_sub(1)];
        // Whatever was meant by a word that nobody knows may be what is missing.
        let meant = near.as_deref().and_then(|near| near.split('"').nth(1));
        missed = Some(table.iter().cloned().chain(meant.map(str::to_owned)).collect());
        let foreign = paste::key(section, word);
        (message.replace("unknown field", "unknown key"), foreign.or(near))
    } else if message.starts_with("unknown variant") {
        let word = quoted.next().unwrap_or_default();
        let help = paste::word(key, word).or_else(|| did_you_mean(word, quoted));
        (message.replace("unknown variant", "unknown value"), help)
    } else if message.starts_with("invalid ") || message == "wanted string or table" {
        wrong_type(message, path, value)
    } else {
        (message.to_owned(), None)
    };
    let message = if path.is_empty() { message } else { format!("{}: {message}", path.join(".")) };
    (Diagnostic { place, help, ..Diagnostic::new(Severity::Error, message) }, missed)
}

/// serde's `invalid type: integer 60, expected a string` in the words of the file.
fn wrong_type(message: &str, path: &[String], value: Option<&DeValue<'_>>) -> (String, Option<String>) {
    let due = message.strip_prefix("wanted ").or_else(|| message.rsplit_once("expected ").map(|(_, due)| due));
    let due = due.unwrap_or("something else");
    let due = match due {
        "a string" | "str" | "string" => "a text",
        "string or table" => "a word",
        "a boolean" | "bool" => "`true` or `false`",
        "u8" | "u16" | "u32" | "u64" => "a whole number, from 0",
        "a map" => "a table",
        _ if due.starts_with("struct ") => "a table",
        _ => due,
    };
    let what = match value {
        Some(DeValue::String(_)) => "a text",
        Some(DeValue::Integer(_)) => "a number",
        Some(DeValue::Float(_)) => "a fraction",
        Some(DeValue::Boolean(_)) => "`true` or `false`",
        Some(DeValue::Datetime(_)) => "a date",
        Some(DeValue::Array(_)) => "a list",
        Some(DeValue::Table(_)) => "a table",
        None => "of another type",
    };
    (format!("this is {what}, and {due} is due"), value.and_then(|value| remedy(due, path, value)))
}

/// The whole number that a text stands for: `100`, `10_000`, `10k`, `64MiB`. Binary units count in powers of 1,024.
fn number(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let factor = match unit.trim().to_lowercase().as_str() {
        "" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    digits.replace('_', "").parse::<u64>().ok()?.checked_mul(factor)
}

/// What to write in place of a value of the wrong type.
fn remedy(due: &str, path: &[String], value: &DeValue<'_>) -> Option<String> {
    let key = path.last()?.as_str();
    let takes_text = due.contains("text") || due.contains("string") || due.contains("address") || due == "a word";
    let written = match value {
        DeValue::Integer(number) if DURATIONS.contains(&key) => format!("{key} = \"{number}s\""),
        DeValue::Integer(number) if ["bind", "address"].contains(&key) => format!("{key} = \"0.0.0.0:{number}\""),
        DeValue::Integer(number) if ["upstream", "servers"].contains(&key) => {
            format!("{key} = \"192.0.2.1:{number}\"")
        }
        DeValue::Integer(number) if takes_text => format!("{key} = \"{number}\""),
        DeValue::Float(number) if takes_text => format!("{key} = \"{number}\""),
        DeValue::Boolean(false) if DURATIONS.contains(&key) || key == "ejection" => format!("{key} = \"off\""),
        DeValue::Boolean(on) if key == "mode" => {
            format!("{key} = \"{}\"", if *on { "require_and_verify" } else { "none" })
        }
        DeValue::Boolean(_) if key == "proxy_protocol" && path[0] == "listeners" => {
            "proxy_protocol = { from = [\"10.0.0.0/8\"] }".to_owned()
        }
        DeValue::Boolean(true) if key == "proxy_protocol" => "proxy_protocol = \"v2\"".to_owned(),
        DeValue::Boolean(true) if path[0] == "routes" && key == "tls" => "action = \"terminate\"".to_owned(),
        DeValue::Boolean(_) if key == "client_auth" => "client_auth.mode = \"require_and_verify\"".to_owned(),
        DeValue::String(text) if due.contains("true") => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => format!("{key} = true"),
            "false" | "no" | "off" | "0" => format!("{key} = false"),
            _ => return None,
        },
        DeValue::String(text) if due.contains("number") => format!("{key} = {}", number(text)?),
        DeValue::String(text) if key == "client_auth" => format!("client_auth.mode = {text:?}"),
        DeValue::String(text) if key == "timeouts" => format!("timeouts.idle = {text:?}"),
        DeValue::String(text) if key == "proxy_protocol" => format!("proxy_protocol = {{ from = [{text:?}] }}"),
        DeValue::Array(items) if due == "a text" || due == "a word" => {
            let first = items.iter().find_map(|item| item.get_ref().as_str())?;
            format!("{key} = {first:?}")
        }
        DeValue::Table(inner) if key == "tls" && inner.contains_key("passthrough") => {
            "action = \"passthrough\"".to_owned()
        }
        DeValue::Table(_) if due == "a text" || due == "a word" => format!("{key} = \"NAME\""),
        _ => return None,
    };
    Some(format!("write `{written}`"))
}
