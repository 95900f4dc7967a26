//! Client authentication of a `[tls]` table: a reader of the file must not believe that clients are
//! verified where they are not.

use std::path::PathBuf;

use crate::authz::Policy;
use crate::config::compile::authorities::{self, Usage};
use crate::config::compile::chain::{Chain, Found};
use crate::config::compile::mode::{ModeInEffect, Reporter};
use crate::config::compile::pinned::{self, Pinned};
use crate::config::compile::policy::PolicyRules;
use crate::config::compile::revocation::{self, Lists};
use crate::config::compile::strangers;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::file::{self, ClientAuthMode, OnRevoke, Spanned};
use crate::config::files::Files;
use crate::config::model::Notice;
use crate::config::read::beside;
use crate::tls::{ClientAuth, Evidence, Verify};
use crate::x509::{CaCertificate, Purpose, Revocation};

/// A certificate among them that is no CA's would let its owner issue certificates that come in
/// here, which was never meant.
const CLIENT_CAS: Usage = Usage {
    key: "client_auth.ca_files",
    not_ca: Severity::Error,
    purpose: Purpose::Client,
};

/// The values after inheritance, and what is made of them.
pub(super) struct Compiled {
    pub(super) mode: ClientAuthMode,
    pub(super) ca_files: Vec<PathBuf>,
    pub(super) pins: Pinned,
    pub(super) crl_files: Vec<PathBuf>,
    pub(super) revocation: Revocation,
    pub(super) notices: Vec<Notice>,
    pub(super) on_revoke: OnRevoke,
    pub(super) policy: Policy,
    pub(super) evidence: Evidence,
    pub(super) client_auth: ClientAuth,
}

/// Compiles `client_auth` of a table. Where this reports an error,
/// what it returns asks for less than was written and must not be used.
pub(super) fn compile(
    chain: &Chain<'_>,
    name: &str,
    files: &mut Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> Compiled {
    let tables = chain.names().map(str::to_owned).collect();
    let mut reporter = Reporter {
        diagnostics,
        table: format!("tls.{name}"),
        tables,
        beside: Vec::new(),
    };
    let ca_files = chain.nearest_of_clients(|auth| auth.ca_files.as_ref());
    let mut trust = TrustStore::read(ca_files.as_ref(), files, &mut reporter);
    let mode = ModeInEffect::of(chain, ca_files.as_ref());
    let pins = pinned::compile(chain, &mode, files, &mut reporter);
    if mode.effective == ClientAuthMode::Pinned {
        pinned::lint_ca_keys(chain, &mode, &mut reporter);
        trust.paths.clear();
    } else {
        lint_files(ca_files.as_ref(), &mode, &mut reporter);
    }
    let rules = PolicyRules::of(chain);
    let policy = rules.compile(&mode, &mut reporter);
    if let Some(ca_files) = &ca_files {
        lint_authorities(ca_files, &trust.authorities, &rules, &mode, &mut reporter);
    }
    let lists = if mode.effective == ClientAuthMode::Pinned {
        Lists::default()
    } else {
        revocation::compile(chain, &mode, trust.for_lists(), files, &mut reporter)
    };
    let on_revoke = on_revoke(chain, &mode, &mut reporter);
    reporter.tell_beside(&mode);
    let Lists {
        revocation,
        paths: crl_files,
        notices,
        ..
    } = lists;
    let evidence = Evidence::of(&trust.authorities, &revocation, &pins.pins);
    let verify = Verify {
        authorities: trust.authorities,
        revocation: revocation.clone(),
        policy: policy.clone(),
    };
    let client_auth = match mode.effective {
        ClientAuthMode::None => ClientAuth::None,
        ClientAuthMode::Request => ClientAuth::Request,
        ClientAuthMode::RequireAny => ClientAuth::RequireAny,
        ClientAuthMode::VerifyIfGiven => ClientAuth::VerifyIfGiven(verify),
        ClientAuthMode::RequireAndVerify => ClientAuth::RequireAndVerify(verify),
        ClientAuthMode::Pinned => ClientAuth::Pinned(pins.pins.clone(), policy.clone()),
    };
    Compiled {
        mode: mode.effective,
        ca_files: trust.paths,
        pins,
        crl_files,
        revocation,
        notices,
        on_revoke,
        policy,
        evidence,
        client_auth,
    }
}

/// The CAs that clients are verified against, and the files that they are from.
struct TrustStore {
    /// The files and directories of `ca_files`.
    paths: Vec<PathBuf>,
    /// The files that the CAs were read from, those of directories among them.
    read: Vec<PathBuf>,
    authorities: Vec<CaCertificate>,
    /// Whether every file could be read.
    complete: bool,
}

impl TrustStore {
    /// Reads every file, so that all that is wrong is reported.
    fn read(
        ca_files: Option<&Found<'_, Spanned<file::List>>>,
        files: &mut Files,
        reporter: &mut Reporter<'_>,
    ) -> Self {
        let mut store = Self {
            paths: Vec::new(),
            read: Vec::new(),
            authorities: Vec::new(),
            complete: true,
        };
        let Some(Found { at, source, .. }) = ca_files else {
            return store;
        };
        let mut report = reporter.in_file(source);
        for Spanned { value: path, span } in &at.value.0 {
            let path = beside(&source.path, path);
            let found = authorities::read(&path, span, CLIENT_CAS, files, &mut report);
            store.complete &= found.is_some();
            for file in found.unwrap_or_default() {
                store.read.push(file.path);
                store.authorities.extend(file.authorities);
            }
            store.paths.push(path);
        }
        store
    }

    /// The CAs that revocation lists are compared with, if every file could be read, and the files
    /// that these are from.
    fn for_lists(&self) -> (Option<&[CaCertificate]>, &[PathBuf]) {
        (self.complete.then_some(&*self.authorities), &self.read)
    }
}

/// Reports a mode that does not fit `ca_files`.
fn lint_files(
    ca_files: Option<&Found<'_, Spanned<file::List>>>,
    mode: &ModeInEffect<'_>,
    reporter: &mut Reporter<'_>,
) {
    let no_files = ca_files.is_none_or(|files| files.at.value.0.is_empty());
    let word = mode.effective.word();
    if mode.effective.verifies() && no_files {
        // An operator who takes the last CA away means that no client comes in by it any more.
        if let Some(Found { at, source, .. }) = ca_files {
            let message = "client_auth.ca_files names no file: nobody comes in with a certificate";
            let mut report = reporter.in_file(source);
            report.push(Severity::Stale, &at.span, message, "name one".to_owned());
            return;
        }
        let help =
            "add `client_auth.ca_files = [\"ca.crt\"]`: nobody could come in with a certificate"
                .to_owned();
        let message = format_args!("client_auth.mode is {word}, and there are no ca_files");
        reporter.lacking(&["ca_files"], (mode.source, mode.span), message, help);
    } else if !mode.effective.verifies() && !no_files && mode.beside_files {
        let help =
            "remove one of them; with ca_files alone clients must show a certificate".to_owned();
        let message = match mode.effective {
            ClientAuthMode::None => {
                "client_auth.mode is none beside ca_files: is anybody to come in, or not?"
                    .to_owned()
            }
            _ => format!(
                "client_auth.mode is {word} beside ca_files: in this mode no certificate is verified"
            ),
        };
        let diagnostic = reporter.error((mode.source, mode.span), message, help);
        reporter.beside("ca_files", &[], diagnostic);
    }
}

/// Reports CAs that are public, serial numbers that are one of each of several CAs, and CAs of one
/// name.
fn lint_authorities(
    ca_files: &Found<'_, Spanned<file::List>>,
    authorities: &[CaCertificate],
    rules: &PolicyRules<'_>,
    mode: &ModeInEffect<'_>,
    reporter: &mut Reporter<'_>,
) {
    let Found { at, source, .. } = ca_files;
    if mode.effective.verifies() && rules.allow.is_none() {
        strangers::lint_public(authorities, &at.span, &mut reporter.in_file(source));
    }
    rules.lint_serials(authorities, reporter);
    let key = ("client_auth.ca_files", &at.span);
    let report = &mut reporter.in_file(source);
    authorities::lint_namesakes(authorities, key, Severity::Error, report);
}

/// Whether connections are closed when what their client came in by is taken back.
fn on_revoke(chain: &Chain<'_>, mode: &ModeInEffect<'_>, reporter: &mut Reporter<'_>) -> OnRevoke {
    let verifies = mode.effective.verifies();
    if let Some(own) = chain
        .own()
        .value
        .on_revoke
        .as_ref()
        .filter(|own| own.value == OnRevoke::Close && !verifies)
    {
        let message = format!(
            "on_revoke is close, and client_auth.mode is {}",
            mode.effective.word()
        );
        let help = "nobody comes in by a certificate that could be revoked; remove it".to_owned();
        let diagnostic = reporter.error((&chain.own().source, &own.span), message, help);
        reporter.beside("on_revoke", &["mode", "ca_files"], diagnostic);
    }
    let nearest = chain.nearest(|tls| tls.on_revoke.as_ref());
    nearest
        .filter(|_| verifies)
        .map_or(OnRevoke::Keep, |nearest| nearest.at.value)
}
