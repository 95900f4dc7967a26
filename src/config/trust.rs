//! Trust in servers, and where it was read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::tls;
use crate::x509::CaCertificate;

/// Every store of CAs that a configuration has.
#[derive(Debug, Default)]
pub struct Trusts {
    /// The `[trust]` tables by name.
    pub named: BTreeMap<Arc<str>, Trust>,
    /// The system's store, where something uses it that names no table.
    pub system: Option<Trust>,
}

/// A store of CAs, at least one of them.
#[derive(Debug)]
pub struct Trust {
    /// All of them, ready.
    pub trust: tls::Trust,
    /// The sources, in order.
    pub sources: Vec<TrustSource>,
    /// Whether the system's store is part of it.
    pub system: bool,
    /// Files and directories, as they were named.
    pub ca_files: Vec<PathBuf>,
    /// The certificates in the table itself.
    pub pem: Option<String>,
}

/// The CAs of one file.
#[derive(Clone, Debug)]
pub struct TrustSource {
    /// Where they stand.
    pub origin: Origin,
    /// The CAs.
    pub authorities: Vec<CaCertificate>,
}

/// Where CAs stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File(PathBuf),
    /// In the configuration.
    Inline,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Inline => f.write_str("the configuration (pem)"),
        }
    }
}

/// One store, for the log: the name of the table, or `None` for the system's store, and how many
/// CAs came from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The table.
    pub name: Option<Arc<str>>,
    /// Changes with any of the CAs.
    pub trust: tls::Trust,
    /// Files, and how many certificates each of them had.
    pub sources: Vec<(Origin, usize)>,
}

impl Summary {
    /// The name of the table in the log, and that of the system's store where it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("(system)")
    }

    /// How many certificates there are in all files; one that stands in two counts twice.
    #[must_use]
    pub fn certificates(&self) -> usize {
        self.sources.iter().map(|(_, count)| count).sum()
    }

    /// The files, each with the number of its certificates.
    #[must_use]
    pub fn origins(&self) -> String {
        let shown: Vec<String> = self
            .sources
            .iter()
            .take(MOST_ORIGINS)
            .map(|(origin, count)| format!("{origin} ({count})"))
            .collect();
        match self.sources.len().saturating_sub(MOST_ORIGINS) {
            0 => shown.join(", "),
            more => format!("{} and {more} more files", shown.join(", ")),
        }
    }
}

/// The store of a system may be hundreds of files.
const MOST_ORIGINS: usize = 10;

impl Trusts {
    /// Each store with its name, the system's one last and without.
    pub fn all(&self) -> impl Iterator<Item = (Option<&Arc<str>>, &Trust)> {
        let named = self.named.iter().map(|(name, trust)| (Some(name), trust));
        named.chain(self.system.iter().map(|trust| (None, trust)))
    }

    /// The summaries to log.
    #[must_use]
    pub fn summaries(&self) -> Vec<Summary> {
        let summary = |(name, trust): (Option<&Arc<str>>, &Trust)| Summary {
            name: name.map(Arc::clone),
            trust: trust.trust.clone(),
            sources: trust
                .sources
                .iter()
                .map(|from| (from.origin.clone(), from.authorities.len()))
                .collect(),
        };
        self.all().map(summary).collect()
    }
}
