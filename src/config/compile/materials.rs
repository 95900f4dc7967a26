//! Materials of routes that terminate TLS: certificates, and `[tls]` tables ready to use.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::model::{NamedCertificate, Notice, Tls};
use crate::tls::AcceptorOptions;

/// The `[tls]` table of a route that names none. It need not be defined, unless it is named.
pub(super) const DEFAULT_TLS: &str = "default";

/// The materials of routes that terminate.
pub(super) struct RouteMaterials {
    pub(super) certificates: BTreeMap<Arc<str>, NamedCertificate>,
    pub(super) policies: BTreeMap<Arc<str>, TlsTable>,
}

/// A `[tls]` table: to read, and to use.
pub(super) struct TlsTable {
    pub(super) shown: Tls,
    pub(super) options: AcceptorOptions,
    pub(super) notices: Vec<Notice>,
}
