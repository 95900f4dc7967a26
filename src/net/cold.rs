//! Rare paths of a future, kept out of its size.

use std::pin::Pin;

/// Boxes the future of a path that few connections take. A connection's task has the size of its
/// largest path, and most connections are to cost no more than passthrough does.
pub fn cold<F: Future>(path: F) -> Pin<Box<F>> {
    Box::pin(path)
}
