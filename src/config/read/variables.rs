//! `${NAME}` in values: what the environment of the process says in place of it.
//!
//! Their values must not be shown: messages and `show` have the variable's name in its place.

use std::collections::BTreeMap;
use std::env;
use std::ops::Range;
use std::time::Duration;

use jiff::SignedDuration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A shorter value is hidden only where it stands alone: too much of a message would be like it by
/// chance.
const SHORT: usize = 4;

/// The variables that a configuration has used, with their values.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, Value>);

/// A value that is never printed.
#[derive(Clone)]
struct Value(String);

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("...")
    }
}

/// A value that cannot be made: the keys on the way to it, its place in the file, what is wrong and
/// what to write.
pub(super) struct Unset {
    pub(super) path: Vec<String>,
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

impl Variables {
    /// Puts values in the place of variables in every value of `table`, which was read from `text`.
    pub(super) fn expand(&mut self, table: &mut DeTable<'_>, text: &str) -> Vec<Unset> {
        let mut unset = Vec::new();
        if text.contains("${") {
            self.table(table, text, &mut Vec::new(), &mut unset);
        }
        unset
    }

    fn table(
        &mut self,
        table: &mut DeTable<'_>,
        text: &str,
        path: &mut Vec<String>,
        unset: &mut Vec<Unset>,
    ) {
        for (key, value) in table.iter_mut() {
            path.push(key.get_ref().to_string());
            if key.get_ref().contains("${") {
                let message = "a variable stands in a value, never in a key".to_owned();
                let help = "write the name itself".to_owned();
                unset.push(Unset {
                    path: path.clone(),
                    span: key.span(),
                    message,
                    help,
                });
            } else {
                self.value(value, text, path, unset);
            }
            path.pop();
        }
    }

    fn value(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        text: &str,
        path: &mut Vec<String>,
        unset: &mut Vec<Unset>,
    ) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(inner) => self.table(inner, text, path, unset),
            DeValue::Array(items) => items
                .iter_mut()
                .for_each(|item| self.value(item, text, path, unset)),
            DeValue::String(string) if string.contains("${") => match self.text(string) {
                Ok(expanded) => *string = expanded.into(),
                Err(Wrong {
                    what,
                    message,
                    help,
                }) => {
                    let at = text
                        .get(span.clone())
                        .and_then(|written| written.find(&what));
                    let span = at.map_or(span.clone(), |at| {
                        span.start + at..span.start + at + what.len()
                    });
                    unset.push(Unset {
                        path: path.clone(),
                        span,
                        message,
                        help,
                    });
                }
            },
            _ => {}
        }
    }

    /// `text` with the values of its variables; `$${` stands for `${`.
    fn text(&mut self, text: &str) -> Result<String, Wrong> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = &from[2..];
                continue;
            }
            expanded.push_str(before);
            let inside = &from[2..];
            let end = inside.find('}').filter(|end| is_name(&inside[..*end]));
            let Some(end) = end else {
                let what = "${".to_owned();
                let message = "`${` begins a variable, and no name and `}` follow".to_owned();
                let help = "write `${NAME}`, or `$${` for the two characters themselves".to_owned();
                return Err(Wrong {
                    what,
                    message,
                    help,
                });
            };
            let name = &inside[..end];
            expanded.push_str(&self.lookup(name)?);
            rest = &inside[end + 1..];
        }
        expanded.push_str(rest);
        if super::line_of_key(&expanded).is_some() {
            let message =
                "a private key is in the variable: keys stand in files of their own".to_owned();
            let help = "write the key's file: `key_file = \"app-key.pem\"`".to_owned();
            return Err(Wrong {
                what: text.to_owned(),
                message,
                help,
            });
        }
        Ok(expanded)
    }

    fn lookup(&mut self, name: &str) -> Result<String, Wrong> {
        let wrong = |message: String| {
            let help = "set it where snigate is started; a reload does not see a change".to_owned();
            Wrong {
                what: format!("${{{name}}}"),
                message,
                help,
            }
        };
        let value = match env::var(name) {
            Ok(value) if value.is_empty() => {
                return Err(wrong(format!("the environment variable {name} is empty")));
            }
            Ok(value) => value,
            Err(env::VarError::NotPresent) => {
                return Err(wrong(format!("the environment variable {name} is not set")));
            }
            Err(env::VarError::NotUnicode(_)) => {
                return Err(wrong(format!(
                    "the environment variable {name} is not UTF-8 text"
                )));
            }
        };
        self.0.insert(name.to_owned(), Value(value.clone()));
        Ok(value)
    }

    /// Whether no variable was used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` with the names of variables in place of their values.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.hider().hide(text)
    }

    /// What hides values in many texts.
    #[must_use]
    pub fn hider(&self) -> Hider<'_> {
        Hider(self.forms())
    }

    /// The forms of values in a text, the longest first: as they are, as a debug text has them, and
    /// as the name or the duration that they may be.
    fn forms(&self) -> Vec<(String, &str)> {
        let mut forms = Vec::new();
        for (name, Value(value)) in &self.0 {
            let debug = format!("{value:?}");
            forms.push((debug[1..debug.len() - 1].to_owned(), name.as_str()));
            let trimmed = value.trim().trim_end_matches('.');
            forms.extend([value.as_str(), trimmed].map(|form| (form.to_owned(), name.as_str())));
            let duration = value
                .parse::<SignedDuration>()
                .ok()
                .and_then(|duration| Duration::try_from(duration).ok());
            if let Some(duration) =
                duration.and_then(|duration| SignedDuration::try_from(duration).ok())
            {
                forms.push((format!("{duration:#}"), name.as_str()));
            }
        }
        forms.retain(|(form, _)| !form.is_empty());
        forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        forms.dedup();
        forms
    }
}

/// The forms of the values of variables, for many texts.
#[derive(Debug)]
pub struct Hider<'a>(Vec<(String, &'a str)>);

impl Hider<'_> {
    /// `text` with the names of variables in place of their values.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for (value, name) in &self.0 {
            hidden = replace(&hidden, value, &format!("${{{name}}}"));
        }
        hidden
    }
}

/// The part of a text that cannot be expanded, why, and what to write.
struct Wrong {
    what: String,
    message: String,
    help: String,
}

fn is_name(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_first) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `text` with `name` in place of each `value`, whatever its case, but for what has been put there
/// before.
fn replace(text: &str, value: &str, name: &str) -> String {
    let (lower, needle) = (text.to_ascii_lowercase(), value.to_ascii_lowercase());
    let mut replaced = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = lower[at..].find(&needle).map(|found| at + found) {
        let end = found + needle.len();
        let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let inside_a_word =
            is_part(text[..found].chars().next_back()) || is_part(text[end..].chars().next());
        let inside_a_name = text[..found]
            .rfind("${")
            .is_some_and(|open| !text[open..found].contains('}'));
        if inside_a_name || (value.len() < SHORT && inside_a_word) {
            let next = text[found..].chars().next().map_or(1, char::len_utf8);
            replaced.push_str(&text[at..found + next]);
            at = found + next;
            continue;
        }
        replaced.push_str(&text[at..found]);
        replaced.push_str(name);
        at = end;
    }
    replaced.push_str(&text[at..]);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        Variables(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Value((*value).to_owned())))
                .collect(),
        )
    }

    #[test]
    fn two_dollars_stand_for_one() {
        let mut none = Variables::default();
        for (text, expanded) in [
            ("$${A}", "${A}"),
            ("a$b", "a$b"),
            ("$$", "$$"),
            ("x$${y$${z", "x${y${z"),
        ] {
            assert_eq!(none.text(text).ok().as_deref(), Some(expanded));
        }
        for text in ["${", "${}", "${A", "${a-b}", "${1}", "a${A B}"] {
            assert!(none.text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_hidden_in_every_form_that_it_may_take() {
        let hidden = variables(&[
            ("NAME", "Secret.Example."),
            ("TIME", "90s"),
            ("P", "7"),
            ("LONG", "se\"cret"),
        ]);
        for (text, expected) in [
            ("\"Secret.Example.\" is wrong", "\"${NAME}\" is wrong"),
            ("sni = secret.example", "sni = ${NAME}"),
            ("idle 1m 30s", "idle ${TIME}"),
            ("a port of 17 and 7", "a port of 17 and ${P}"),
            ("\"se\\\"cret\"", "\"${LONG}\""),
            ("name", "name"),
            ("\u{fc}7\u{fc} 7", "\u{fc}7\u{fc} ${P}"),
        ] {
            assert_eq!(hidden.hide(text), expected);
        }
        // A value that is another one's name takes nothing from it.
        assert_eq!(
            variables(&[("ABCD", "value"), ("B", "ABCD")]).hide("value ABCD"),
            "${ABCD} ${B}"
        );
        assert!(!format!("{hidden:?}").contains("ecret"));
    }
}
