//! Values: lists, durations and paths, as a configuration file has them.

use std::path::Path;
use std::time::Duration;

use crate::config::file::{List, Spanned};

/// The output may be saved anywhere, so paths must not depend on where that is.
pub(super) fn absolute(path: &Path) -> String {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_owned())
        .display()
        .to_string()
}

pub(in crate::config) fn text(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration)
        .map(|duration| format!("{duration:#}"))
        .unwrap_or_default()
}

pub(super) fn duration(duration: Duration) -> Option<Spanned<String>> {
    Some(Spanned::from(text(duration)))
}

pub(super) fn or_off(duration: Option<Duration>) -> Option<Spanned<String>> {
    duration.map_or_else(|| Some(Spanned::from("off".to_owned())), self::duration)
}

pub(super) fn list<T: ToString>(items: &[T]) -> List {
    List::from(items.iter().map(ToString::to_string).collect::<Vec<_>>())
}

pub(super) fn some_list<T: ToString>(items: &[T]) -> Option<List> {
    if items.is_empty() {
        None
    } else {
        Some(list(items))
    }
}
