//! A text that is not TOML: the language that it is in, or what is wrong in each line.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::read::form::{MAX_MISTAKES, grammar, twice};
use crate::config::read::paste::{self, Below};

/// Reports why a text is not TOML: the language that it is in, or what is wrong in each line, each
/// kind once.
pub(super) fn not_toml(
    source: &Arc<Source>,
    errors: &[toml::de::Error],
    diagnostics: &mut Vec<Diagnostic>,
) {
    let text = &source.text;
    if let Some(paste::Remedy {
        span,
        message,
        help,
    }) = paste::language(text)
    {
        diagnostics.push(
            Diagnostic::new(Severity::Error, message)
                .at(source, &span)
                .help(help),
        );
        return;
    }
    let mut errors: Vec<(Range<usize>, &toml::de::Error)> = errors
        .iter()
        .map(|error| (error.span().unwrap_or_default(), error))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    let (mut after, mut said) = (0, BTreeSet::new());
    let mut tables = twice::Tables::default();
    for (span, error) in errors {
        let mut start = text[..span.start.min(text.len())]
            .rfind('\n')
            .map_or(0, |at| at + 1);
        if error.message().contains("array") {
            let is_at_end = error.message().starts_with("unclosed array, ")
                || error.message() == "unclosed array";
            start = opening(text, start, &span, is_at_end).unwrap_or(start);
        }
        if start < after || said.len() >= MAX_MISTAKES {
            continue;
        }
        let line = text[start..].lines().next().unwrap_or_default();
        after = start + line.len() + 1;
        if let Some(twice) = twice::judge(source, error, &span, &mut tables) {
            diagnostics.extend(twice);
            continue;
        }
        let (diagnostic, below) = match paste::line(line) {
            Some((message, help, below)) => {
                let begin = start + line.len() - line.trim_start().len();
                let place = begin..(start + line.trim_end().len()).max(begin);
                (
                    Diagnostic::new(Severity::Error, message)
                        .at(source, &place)
                        .help(help),
                    below,
                )
            }
            None => {
                let (message, help, below) = grammar::sentence(error.message(), text, span.start);
                (
                    Diagnostic::new(Severity::Error, message)
                        .at(source, &span)
                        .help(help.to_owned()),
                    below,
                )
            }
        };
        // The same mistake all over the file is one: a reader who sees it once knows the rest.
        if said.insert(diagnostic.message.clone()) {
            diagnostics.push(diagnostic);
        }
        if below == Below::Unknown {
            return;
        }
    }
}

/// The begin of the line in which a list was opened that the line at `start`, where it is missed,
/// does not go on with.
fn opening(text: &str, start: usize, span: &Range<usize>, is_at_end: bool) -> Option<usize> {
    let is_missed = is_at_end || is_assignment(&text[start..]);
    if !is_missed
        || text
            .get(start..span.start)
            .is_none_or(|before| before.contains('['))
    {
        return None;
    }
    let open = text[..start].rfind('[')?;
    let begin = text[..open].rfind('\n').map_or(0, |at| at + 1);
    text[begin..open].contains('=').then_some(begin)
}

/// Whether a line of its own begins here, where a list that has not been closed should have ended.
fn is_assignment(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    line.starts_with('[')
        || line
            .split_once('=')
            .is_some_and(|(key, _)| !key.contains(['"', '\'', '{']))
}
