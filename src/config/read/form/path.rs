//! The keys on the way to a place in a file.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The value at `span` in what `path` leads to.
pub(super) fn value_at<'a, 'b>(
    table: &'a DeTable<'b>,
    path: &[String],
    span: &Range<usize>,
) -> Option<&'a DeValue<'b>> {
    let (first, rest) = path.split_first()?;
    let value = table.get(first.as_str())?;
    match (value.get_ref(), rest) {
        (DeValue::Table(inner), [_, ..]) => value_at(inner, rest, span),
        (DeValue::Array(items), _) if value.span() != *span => {
            let holds = |item: &&Spanned<DeValue<'_>>| {
                item.span().start <= span.start && span.end <= item.span().end
            };
            items
                .iter()
                .find(holds)
                .map_or(Some(value.get_ref()), |item| Some(item.get_ref()))
        }
        (other, _) => Some(other),
    }
}

/// The key of an entry of the list at `path` whose value is at `span`, and that value.
pub(super) fn in_entry<'a, 'b>(
    table: &'a DeTable<'b>,
    path: &[String],
    span: &Range<usize>,
) -> Option<(String, &'a DeValue<'b>)> {
    let DeValue::Table(entry) = value_at(table, path, span)? else {
        return None;
    };
    let (key, value) = entry.iter().find(|(_, value)| value.span() == *span)?;
    Some((key.get_ref().to_string(), value.get_ref()))
}

/// The keys on the way to the entry whose name is at `span`, or else to the innermost one that
/// holds it.
pub(super) fn path_to(table: &DeTable<'_>, span: &Range<usize>) -> Vec<String> {
    if let Some((key, _)) = table.iter().find(|(key, _)| key.span() == *span) {
        return vec![key.get_ref().to_string()];
    }
    let holds = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table {
        let name = || key.get_ref().to_string();
        if let DeValue::Table(inner) = value.get_ref() {
            let mut path = path_to(inner, span);
            if !path.is_empty() {
                path.insert(0, name());
                return path;
            }
        }
        if holds(&key.span()) || holds(&value.span()) {
            return vec![name()];
        }
    }
    Vec::new()
}

pub(super) fn remove(table: &mut DeTable<'_>, path: &[String]) {
    match path {
        [] => {}
        [key] => _ = table.remove(key.as_str()),
        [key, rest @ ..] => {
            if let Some(DeValue::Table(inner)) = table.get_mut(key.as_str()).map(Spanned::get_mut) {
                remove(inner, rest);
            }
        }
    }
}
