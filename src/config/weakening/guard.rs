//! Guards of a client's session: the version of TLS, the client's authentication, and revocation of
//! open sessions.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::authz::Rules;
use crate::config::file::{ClientAuthMode, OnRevoke, TlsVersion};
use crate::config::model::Tls;
use crate::x509::{Depth, Expired, Unknown};

/// A `[tls]` table by what it asks of clients.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) table: Arc<str>,
    /// Nothing where the table is not defined, and nothing is asked.
    pub(super) tls: Option<Tls>,
}

/// One thing that would get weaker, and whether it would be gone as a whole.
pub(super) struct Loss {
    pub(super) is_gone: bool,
    pub(super) text: String,
}

impl Guard {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                let asks = |tls: &Tls| {
                    (
                        tls.min_version,
                        tls.client_auth,
                        tls.crl_depth,
                        tls.crl_unknown,
                        tls.crl_expired,
                    )
                };
                asks(one) == asks(other)
                    && one.on_revoke == other.on_revoke
                    && one.policy == other.policy
                    && one.evidence == other.evidence
            }
            _ => self.losses(other).is_empty() && other.losses(self).is_empty(),
        }
    }

    pub(super) fn mode(&self) -> ClientAuthMode {
        self.tls
            .as_ref()
            .map_or(ClientAuthMode::None, |tls| tls.client_auth)
    }

    /// The losses: what `old` asks and this one does not.
    pub(super) fn losses(&self, old: &Self) -> Vec<Loss> {
        let mut losses = Vec::new();
        let mut lost = |is_gone, text: String| losses.push(Loss { is_gone, text });
        let Some(before) = &old.tls else {
            return losses;
        };
        let table = &self.table;
        let is_weaker = asks(before)
            .into_iter()
            .zip(self.tls.as_ref().map_or([false; 4], asks))
            .any(|(a, b)| a && !b);
        if is_weaker {
            let word = before.client_auth.word();
            let now = match self.mode() {
                ClientAuthMode::None => format!("tls {table:?} sets none"),
                mode => format!("tls {table:?} sets {}", mode.word()),
            };
            lost(
                true,
                format!("client authentication ({word}) would go: {now}"),
            );
        }
        let version = self
            .tls
            .as_ref()
            .map_or(TlsVersion::Tls12, |tls| tls.min_version);
        if before.min_version == TlsVersion::Tls13 && version == TlsVersion::Tls12 {
            lost(
                true,
                format!("min_version = \"1.3\" would go: tls {table:?} takes 1.2"),
            );
        }
        let Some(now) = self
            .tls
            .as_ref()
            .filter(|now| now.client_auth.verifies() && before.client_auth.verifies())
        else {
            return losses;
        };
        if before.on_revoke == OnRevoke::Close && now.on_revoke == OnRevoke::Keep {
            lost(true, "on_revoke = \"close\" would go".to_owned());
        }
        self.policy(before, now, &mut lost);
        revocation(before, now, &mut lost);
        let more: Vec<&str> = before.evidence.missing_authorities(&now.evidence).collect();
        if let Some(subject) = more.first() {
            lost(
                false,
                format!("client_auth.ca_files: clients of {subject} would come in"),
            );
        }
        if now.evidence.knows_more(&before.evidence) {
            lost(
                false,
                "client_auth: another client would be known by its key or certificate".to_owned(),
            );
        }
        if now.evidence.ignores_dates(&before.evidence) {
            lost(
                true,
                "client_auth.dates would go: a certificate would count before and after its time"
                    .to_owned(),
            );
        }
        losses
    }

    fn policy(&self, before: &Tls, now: &Tls, lost: &mut impl FnMut(bool, String)) {
        match (&before.policy.allow, &now.policy.allow) {
            (Some(_), None) => lost(true, "client_auth.allow would go".to_owned()),
            (Some(before), Some(now)) => {
                if let Some((key, entry)) = missing(now, before) {
                    lost(false, format!("client_auth.allow.{key} would take {entry}"));
                }
            }
            (None, _) => {}
        }
        let has = |key| {
            now.policy
                .deny
                .entries()
                .iter()
                .any(|(kind, _)| *kind == key)
        };
        for (key, _) in before
            .policy
            .deny
            .entries()
            .iter()
            .filter(|(key, _)| !has(*key))
        {
            lost(true, format!("client_auth.deny.{key} would go"));
        }
        if let Some((key, entry)) =
            missing(&before.policy.deny, &now.policy.deny).filter(|(key, _)| has(*key))
        {
            lost(
                false,
                format!("client_auth.deny.{key} would no longer name {entry}"),
            );
        }
    }
}

fn revocation(before: &Tls, now: &Tls, lost: &mut impl FnMut(bool, String)) {
    if !before.evidence.has_lists() {
        return;
    }
    for (issuer, is_known) in now.evidence.lost_lists(&before.evidence) {
        let whose = match is_known {
            true => String::new(),
            false => format!(
                ", which counts if {issuer} is an intermediate whose certificate comes with a client"
            ),
        };
        lost(
            true,
            format!("the revocation list of {issuer} would go{whose}"),
        );
    }
    for issuer in now.evidence.older_lists(&before.evidence) {
        lost(
            true,
            format!("the revocation list of {issuer} would be replaced by an older one"),
        );
    }
    for issuer in now.evidence.shorter_lists(&before.evidence) {
        lost(
            false,
            format!("the revocation list of {issuer} would name fewer certificates"),
        );
    }
    // Without lists nothing is looked up, which has been said.
    if !now.evidence.has_lists() {
        return;
    }
    let weaker = [
        (
            before.crl_depth == Depth::Chain && now.crl_depth != Depth::Chain,
            "crl.depth = \"chain\"",
        ),
        (
            before.crl_unknown == Unknown::Deny && now.crl_unknown != Unknown::Deny,
            "crl.unknown = \"deny\"",
        ),
        (
            before.crl_expired == Expired::Deny && now.crl_expired != Expired::Deny,
            "crl.expired = \"deny\"",
        ),
    ];
    for (_, what) in weaker.into_iter().filter(|(is_weaker, _)| *is_weaker) {
        lost(true, format!("client_auth.{what} would go"));
    }
}

/// Whether a client is asked for a certificate, must show one, must show one that verifies if it
/// shows any, and can be nobody but who a verified certificate says.
fn asks(tls: &Tls) -> [bool; 4] {
    match tls.client_auth {
        ClientAuthMode::None => [false; 4],
        ClientAuthMode::Request => [true, false, false, false],
        ClientAuthMode::RequireAny => [true, true, false, false],
        ClientAuthMode::VerifyIfGiven => {
            let has_allow = tls.policy.allow.is_some();
            [true, has_allow, true, has_allow]
        }
        ClientAuthMode::RequireAndVerify | ClientAuthMode::Pinned => [true; 4],
    }
}

/// The first entry of `more` that `less` has not.
fn missing(more: &Rules, less: &Rules) -> Option<(&'static str, String)> {
    let known = less.entries();
    let is_known = |key, entry: &String| {
        known
            .iter()
            .any(|(kind, entries)| *kind == key && entries.contains(entry))
    };
    more.entries().into_iter().find_map(|(key, entries)| {
        let entry = entries.into_iter().find(|entry| !is_known(key, entry))?;
        let mut text = String::new();
        let _ = write!(text, "{entry}");
        Some((key, text))
    })
}
