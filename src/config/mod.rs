//! The configuration: from text to values that are right, or to every reason why they are not.
//!
//! A [`Config`] exists only if every file that it names could be read, parsed, and fits the others.
//! Code that has one checks nothing again.
//!
//! # The order of files
//!
//! Each uses only those that stand before it; `tests/layers.rs` holds that.
//!
//! ```text
//! trust < file < material < model < self_signed < unreadable < left_over < files < writable < diagnostic < read < compile < show < load < diff < keep < privileges < weakening
//! ```

mod compile;
pub mod diagnostic;
pub mod diff;
pub mod file;
pub mod files;
mod keep;
mod left_over;
mod load;
pub mod material;
mod model;
mod privileges;
mod read;
mod self_signed;
mod show;
pub mod trust;
mod unreadable;
pub mod weakening;
mod writable;

pub use keep::Made;
pub use load::{Loaded, load, load_again, load_in, places};
pub use model::{
    Action, Bind, Circumstances, Config, Listener, NamedCertificate, Notice, Route,
    SelfSignedCertificate, Serving, Timeouts, Tls,
};
pub use read::Variables;
