//! Policy of a `[tls]` table: the clients that `allow` admits, and those that `deny` refuses.

use std::fmt::Display;
use std::str::FromStr;

use crate::authz::{Policy, Rules};
use crate::config::compile::chain::{Chain, Found};
use crate::config::compile::mode::{ModeInEffect, Reporter, needs_verification};
use crate::config::compile::report::Report;
use crate::config::compile::strangers;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::file::{self, ClientAuthMode, Spanned};
use crate::x509::CaCertificate;

/// The rules of a policy: `allow` and `deny` of the nearest tables that have them.
pub(super) struct PolicyRules<'a> {
    pub(super) allow: Option<Found<'a, Spanned<file::ClientRules>>>,
    pub(super) deny: Option<Found<'a, Spanned<file::ClientRules>>>,
}

impl<'a> PolicyRules<'a> {
    pub(super) fn of(chain: &Chain<'a>) -> Self {
        Self {
            allow: chain.nearest_of_clients(|auth| auth.allow.as_ref()),
            deny: chain.nearest_of_clients(|auth| auth.deny.as_ref()),
        }
    }

    /// The policy, without the entries that are wrong.
    pub(super) fn compile(&self, mode: &ModeInEffect<'_>, reporter: &mut Reporter<'_>) -> Policy {
        let allow = self.allow.as_ref();
        let deny = self.deny.as_ref();
        let policy = Policy {
            allow: allow.map(|allow| rules("allow", allow, mode, reporter)),
            deny: deny
                .map(|deny| rules("deny", deny, mode, reporter))
                .unwrap_or_default(),
        };
        if let Some(allow) = allow.filter(|_| mode.effective.verifies()) {
            lint_allow(allow, mode, reporter);
        }
        policy
    }

    /// Warns of serial numbers that are one of each of several CAs.
    pub(super) fn lint_serials(&self, authorities: &[CaCertificate], reporter: &mut Reporter<'_>) {
        for (key, found) in [("allow", &self.allow), ("deny", &self.deny)] {
            let Some(Found { at, source, .. }) = found else {
                continue;
            };
            strangers::lint_serials(key, &at.value, authorities, &mut reporter.in_file(source));
        }
    }
}

/// The diagnostics particular to an allow list.
fn lint_allow(
    allow: &Found<'_, Spanned<file::ClientRules>>,
    mode: &ModeInEffect<'_>,
    reporter: &mut Reporter<'_>,
) {
    if lists(&allow.at.value).iter().all(|list| list.0.is_empty()) {
        let help =
            "name somebody, or remove it if everybody with a certificate of the CAs may come in"
                .to_owned();
        let message = "client_auth.allow is empty: nobody could come in";
        let key = format!("tls.{}.client_auth.allow", allow.table);
        // An operator who takes the last entry away means that no client comes in by it any more.
        let diagnostic = Diagnostic::new(Severity::Stale, format!("{}: {message}", reporter.table));
        reporter.diagnostics.push(
            diagnostic
                .at(allow.source, &allow.at.span)
                .help(help)
                .lacking(key),
        );
    } else if mode.effective == ClientAuthMode::VerifyIfGiven {
        let message = "client_auth.allow also refuses clients without a certificate, whom verify_if_given would take";
        let help = "write `mode = \"require_and_verify\"`, which is the same here, or use `deny`"
            .to_owned();
        reporter
            .in_file(mode.source)
            .warning(mode.span, message, help);
    }
}

/// The entries of `allow` or `deny`, without those that are wrong.
fn rules(
    key: &'static str,
    found: &Found<'_, Spanned<file::ClientRules>>,
    mode: &ModeInEffect<'_>,
    reporter: &mut Reporter<'_>,
) -> Rules {
    needs_verification(key, found, mode, reporter);
    let mut report = reporter.in_file(found.source);
    let file::ClientRules {
        dns,
        uri,
        email,
        ip,
        upn,
        cn,
        ou,
        o,
        subject,
        issuer,
        spki_sha256,
        serial,
    } = &found.at.value;
    Rules {
        dns: values(key, "dns", dns.as_ref(), &mut report),
        uri: values(key, "uri", uri.as_ref(), &mut report),
        email: values(key, "email", email.as_ref(), &mut report),
        cn: values(key, "cn", cn.as_ref(), &mut report),
        ip: ip
            .as_ref()
            .map(|list| report.ranges(&format!("client_auth.{key}.ip"), list))
            .unwrap_or_default(),
        upn: values(key, "upn", upn.as_ref(), &mut report),
        ou: values(key, "ou", ou.as_ref(), &mut report),
        o: values(key, "o", o.as_ref(), &mut report),
        subject: values(key, "subject", subject.as_ref(), &mut report),
        issuer: values(key, "issuer", issuer.as_ref(), &mut report),
        spki_sha256: values(key, "spki_sha256", spki_sha256.as_ref(), &mut report),
        serial: values(key, "serial", serial.as_ref(), &mut report),
    }
}

fn values<T: FromStr<Err: Display>>(
    key: &str,
    kind: &str,
    list: Option<&file::List>,
    report: &mut Report<'_>,
) -> Vec<T> {
    let parse = |list| report.parse_all(&format!("client_auth.{key}.{kind}"), list);
    list.map(parse).unwrap_or_default()
}

fn lists(rules: &file::ClientRules) -> Vec<&file::List> {
    let file::ClientRules {
        dns,
        uri,
        email,
        ip,
        upn,
        cn,
        ou,
        o,
        subject,
        issuer,
        spki_sha256,
        serial,
    } = rules;
    [
        dns,
        uri,
        email,
        ip,
        upn,
        cn,
        ou,
        o,
        subject,
        issuer,
        spki_sha256,
        serial,
    ]
    .into_iter()
    .flatten()
    .collect()
}
