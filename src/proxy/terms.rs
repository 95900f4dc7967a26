//! Terms of open connections under a reload: which of them end, because their client would not be
//! admitted any more or because their route is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::{Action, Error, OnRemove, Route};
use crate::telemetry::{Ending, Outcome, Party};
use crate::tls::{Accepted, Acceptor, Admission, Refusal};

/// The routes there are, as far as open connections may depend on them.
#[derive(Debug, Default)]
pub struct RouteTerms {
    routes: HashMap<Arc<str>, Term>,
    /// For the connections of a route that is gone, where they have time.
    pub(super) drain: Duration,
}

#[derive(Debug)]
struct Term {
    action: &'static str,
    /// The acceptor, where TLS is terminated.
    acceptor: Option<Arc<Acceptor>>,
}

impl RouteTerms {
    /// Those of these routes. `before` are the terms that they replace: a connection may be of a
    /// route that has been there for long, and does not ask for anything any more. A route that
    /// terminates TLS is always among them, because a client that shakes hands during a reload is
    /// judged by it.
    #[must_use]
    pub fn new(routes: &[Arc<Route>], before: &Self, drain: Duration) -> Self {
        let terms = routes.iter().filter_map(|route| {
            let acceptor = route.acceptor().cloned();
            let is_wanted =
                acceptor.is_some() || route.is_tied() || before.routes.contains_key(&route.name);
            is_wanted.then(|| {
                (
                    Arc::clone(&route.name),
                    Term {
                        action: route.action.word(),
                        acceptor,
                    },
                )
            })
        });
        Self {
            routes: terms.collect(),
            drain,
        }
    }

    /// The acceptor of this route, if it terminates TLS.
    pub(super) fn acceptor(&self, route: &str) -> Option<&Arc<Acceptor>> {
        self.routes.get(route)?.acceptor.as_ref()
    }

    /// Why a client that `acceptor` has just admitted would not be admitted by the acceptor that
    /// has taken its place since the hello.
    pub(super) fn refuse(
        &self,
        route: &str,
        acceptor: &Arc<Acceptor>,
        accepted: &Accepted,
    ) -> Option<Refusal> {
        let current = self.acceptor(route)?;
        if Arc::ptr_eq(current, acceptor) {
            None
        } else {
            current.admits_in_place(accepted).err()
        }
    }
}

impl Route {
    /// The acceptor, where TLS is terminated.
    fn acceptor(&self) -> Option<&Arc<Acceptor>> {
        match &self.action {
            Action::Terminate(acceptor, _) => Some(acceptor),
            Action::Passthrough(_) | Action::Reject => None,
        }
    }

    /// Whether a reload can end a connection of it from the moment that it is routed. One whose
    /// client has then shown no certificate that was verified can be ended as well.
    pub(super) fn is_tied(&self) -> bool {
        self.settings.on_remove != OnRemove::Keep
            || self
                .acceptor()
                .is_some_and(|acceptor| acceptor.is_recallable())
    }
}

/// The tie of a connection to its route.
#[derive(Debug)]
pub(super) struct Tie {
    route: Arc<Route>,
    /// The admission of its client, as far as a reload may ask for it.
    pub(super) admission: OnceLock<Admission>,
    /// When it is closed, its route being gone.
    pub(super) until: Mutex<Option<Instant>>,
}

/// The fate of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TermsVerdict {
    /// It goes on.
    Stays,
    /// It has some time to end by itself.
    Drains,
    /// It is closed.
    Ends(Ending),
}

impl Tie {
    pub(super) fn new(route: &Arc<Route>) -> Self {
        Self {
            route: Arc::clone(route),
            admission: OnceLock::new(),
            until: Mutex::default(),
        }
    }

    /// The fate of the connection on these terms. A route of the same name which does something
    /// else is another one.
    pub(super) fn judge(&self, terms: &RouteTerms) -> TermsVerdict {
        let same = |term: &&Term| term.action == self.route.action.word();
        let Some(term) = terms.routes.get(&self.route.name).filter(same) else {
            return match self.route.settings.on_remove {
                OnRemove::Keep => TermsVerdict::Stays,
                OnRemove::Drain => TermsVerdict::Drains,
                OnRemove::Close => TermsVerdict::Ends(self.removed()),
            };
        };
        // The terms of now decide whether what was given is taken back.
        let recalling = term
            .acceptor
            .as_ref()
            .filter(|acceptor| acceptor.is_recallable());
        let (Some(acceptor), Some(admission)) = (recalling, self.admission.get()) else {
            return TermsVerdict::Stays;
        };
        acceptor.admits(admission).map_or_else(
            |refusal| TermsVerdict::Ends(Error::Withdrawn(Box::new(refusal)).ending()),
            |()| TermsVerdict::Stays,
        )
    }

    /// How the connection ends, its route being gone.
    pub(super) fn removed(&self) -> Ending {
        Ending::new(Outcome::RouteRemoved, Party::Proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Settings;
    use crate::relay;
    use crate::upstream::{Registry, ServerOptions, Upstream, UpstreamOptions};

    fn route(name: &str, rejects: bool, on_remove: OnRemove) -> Arc<Route> {
        let options = UpstreamOptions::new("u", Vec::<ServerOptions>::new());
        let passthrough =
            Action::Passthrough(Arc::new(Upstream::new(options, &Registry::default())));
        Arc::new(Route {
            name: name.into(),
            action: if rejects { Action::Reject } else { passthrough },
            settings: Arc::new(Settings {
                handshake_timeout: Duration::ZERO,
                connect_timeout: Duration::ZERO,
                max_lifetime: None,
                on_remove,
                relay: relay::RelayOptions::default(),
            }),
        })
    }

    #[test]
    fn the_setting_of_the_route_that_is_gone_decides() {
        let ended = || TermsVerdict::Ends(Ending::new(Outcome::RouteRemoved, Party::Proxy));
        for (on_remove, expected) in [
            (OnRemove::Keep, TermsVerdict::Stays),
            (OnRemove::Drain, TermsVerdict::Drains),
            (OnRemove::Close, ended()),
        ] {
            let old = route("a", false, on_remove);
            let tie = Tie::new(&old);
            let mut terms =
                RouteTerms::new(&[Arc::clone(&old)], &RouteTerms::default(), Duration::ZERO);
            assert_eq!(
                tie.judge(&terms),
                TermsVerdict::Stays,
                "{on_remove:?}: it is there"
            );
            // For as long as a route of that name is there, reload after reload, whatever that
            // one's setting is.
            for _ in 0..2 {
                terms =
                    RouteTerms::new(&[route("a", false, OnRemove::Keep)], &terms, Duration::ZERO);
                assert_eq!(
                    tie.judge(&terms),
                    TermsVerdict::Stays,
                    "{on_remove:?}: it is still there"
                );
            }
            let other =
                RouteTerms::new(&[route("a", true, OnRemove::Keep)], &terms, Duration::ZERO);
            assert_eq!(
                tie.judge(&other),
                expected,
                "{on_remove:?}: it does something else"
            );
            let renamed = RouteTerms::new(&[route("b", false, on_remove)], &terms, Duration::ZERO);
            assert_eq!(
                tie.judge(&renamed),
                expected,
                "{on_remove:?}: it has another name"
            );
        }
    }

    #[test]
    fn a_route_on_which_nothing_depends_is_not_remembered() {
        let terms = RouteTerms::new(
            &[route("a", false, OnRemove::Keep)],
            &RouteTerms::default(),
            Duration::ZERO,
        );
        assert!(terms.routes.is_empty());
    }
}
