//! Audience of a certificate: what is wrong with it matters only to clients that are shown it.

use crate::config::diagnostic::Severity;
use crate::config::file::{self, Action, UpstreamTls};
use crate::config::read::Merged;
use crate::tls::Certificate;

/// The audience of a certificate, of all the one that it matters most to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeenBy {
    /// Clients of a route: one that is no good turns them away.
    Clients,
    /// Servers alone, as snigate's own. Whether they ask for it is for them to say.
    Servers,
    /// No route and no upstream uses it.
    Nobody,
}

impl SeenBy {
    /// Of the table `name`.
    pub(super) fn of(name: &str, merged: &Merged, certificate: &Certificate) -> Self {
        let terminating = || {
            let routes = merged.routes.values().map(|route| &route.value);
            routes.filter(|route| {
                route
                    .action
                    .as_ref()
                    .is_some_and(|action| action.value == Action::Terminate)
            })
        };
        let is_listed = terminating()
            .filter_map(|route| route.certificates.as_ref())
            .any(|list| list.0.iter().any(|listed| listed.as_str() == name));
        let takes_all = || terminating().any(|route| route.certificates.is_none());
        if is_listed || (!is_left_to_servers(name, merged, certificate) && takes_all()) {
            Self::Clients
        } else if is_shown_to_servers(name, merged) {
            Self::Servers
        } else {
            Self::Nobody
        }
    }

    /// How bad it is that a peer which is shown the certificate refuses it.
    pub(super) fn refused(self) -> Severity {
        match self {
            Self::Clients => Severity::Stale,
            Self::Servers | Self::Nobody => Severity::Warning,
        }
    }

    /// The remedy for one that has expired.
    pub(super) fn renewal(self) -> &'static str {
        match self {
            Self::Clients => "renew it; clients refuse it",
            Self::Servers => "renew it; servers that ask for it refuse it",
            Self::Nobody => "no route uses it: renew it before one does, or remove it",
        }
    }
}

/// Whether a certificate is what snigate shows to servers, and of no use to clients: routes that
/// list none leave it out.
pub(super) fn is_left_to_servers(name: &str, merged: &Merged, certificate: &Certificate) -> bool {
    is_shown_to_servers(name, merged)
        && (!certificate.is_for_servers() || certificate.names().is_empty())
}

/// Whether an upstream shows this certificate to its servers.
pub(super) fn is_shown_to_servers(certificate: &str, merged: &Merged) -> bool {
    merged
        .upstreams
        .values()
        .any(|upstream| certificate_name(&upstream.value) == Some(certificate))
}

/// The certificate that an upstream's table shows to servers.
pub(super) fn certificate_name(upstream: &file::Upstream) -> Option<&str> {
    match &upstream.tls.as_ref()?.value {
        UpstreamTls::Table(table) => table.certificate.as_ref().map(|name| name.as_str()),
        UpstreamTls::Switch(_) => None,
    }
}
