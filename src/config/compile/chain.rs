//! Inheritance of `[tls]` tables: of each key the nearest table's value counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::compile::report::Report;
use crate::config::diagnostic::{Severity, Source, instead_of};
use crate::config::file;
use crate::config::read::{Merged, Sourced};

/// A `[tls]` table, the one that it extends, and so on.
pub(super) struct Chain<'a> {
    own: (&'a str, &'a Sourced<file::Tls>),
    inherited: Vec<(&'a str, &'a Sourced<file::Tls>)>,
}

/// The value of a key in the nearest table that has it.
pub(super) struct Found<'a, T> {
    pub(super) at: &'a T,
    /// The name of the table.
    pub(super) table: &'a str,
    /// 0 is the table itself, 1 the one that it extends, and so on.
    pub(super) depth: usize,
    pub(super) source: &'a Arc<Source>,
}

impl<'a> Chain<'a> {
    /// That of the table called `name`. Nothing where it extends one that is not there, or itself,
    /// which is reported.
    pub(super) fn of(
        name: &'a str,
        own: &'a Sourced<file::Tls>,
        merged: &'a Merged,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let mut chain = Self {
            own: (name, own),
            inherited: Vec::new(),
        };
        let mut names = BTreeSet::from([name]);
        let mut last = own;
        while let Some(parent) = &last.value.extends {
            let Some((parent_name, next)) = merged.tls.get_key_value(&parent.value) else {
                // Reported once, for the table that says so.
                if chain.inherited.is_empty() {
                    let others = merged
                        .tls
                        .keys()
                        .map(String::as_str)
                        .filter(|other| *other != name);
                    let help = instead_of(parent, "tls", others);
                    let message = format_args!("extends: tls {:?} is not defined", parent.value);
                    report.missing(format!("tls.{}", parent.value), &parent.span, message, help);
                }
                return None;
            };
            if !names.insert(parent_name) {
                let message = format!(
                    "extends: {} extends itself",
                    names.into_iter().collect::<Vec<_>>().join(", ")
                );
                report.push(
                    Severity::Error,
                    &own.span,
                    message,
                    "remove one `extends`".to_owned(),
                );
                return None;
            }
            chain.inherited.push((parent_name, next));
            last = next;
        }
        Some(chain)
    }

    /// The table itself.
    pub(super) fn own(&self) -> &'a Sourced<file::Tls> {
        self.own.1
    }

    /// The names of the tables, that of the table itself first.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        std::iter::once(self.own.0).chain(self.inherited.iter().map(|(name, _)| *name))
    }

    /// The value of the nearest table that has one.
    pub(super) fn nearest<T>(
        &self,
        key: impl Fn(&'a file::Tls) -> Option<&'a T>,
    ) -> Option<Found<'a, T>> {
        let tables = std::iter::once(self.own).chain(self.inherited.iter().copied());
        tables.enumerate().find_map(|(depth, (name, table))| {
            Some(Found {
                at: key(&table.value)?,
                table: name,
                depth,
                source: &table.source,
            })
        })
    }

    /// The same of a key of `client_auth`.
    pub(super) fn nearest_of_clients<T>(
        &self,
        key: impl Fn(&'a file::ClientAuth) -> Option<&'a T>,
    ) -> Option<Found<'a, T>> {
        self.nearest(|tls| key(tls.client_auth.as_ref()?))
    }
}
