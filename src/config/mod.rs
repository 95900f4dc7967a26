//! The configuration: from text to values that are right, or to every reason why they are not.
pub mod diagnostic;
pub mod file;
pub mod files;
mod read;
