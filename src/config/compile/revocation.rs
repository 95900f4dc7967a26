//! The revocation lists of a `[tls]` table, and what there is to say about them before a client finds out.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::Notice;
use crate::config::compile::Report;
use crate::config::compile::tls::{date, read};
use crate::config::diagnostic::Diagnostic;
use crate::config::file;
use crate::config::files::Files;
use crate::config::read::{In, beside};
use crate::tls::{CaCertificate, Crl, Depth, Expired, Revocation, Unknown};

/// A list that is due within this share of its life is worth a warning, and at the latest a week before.
const SHARE: u32 = 4;
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a `[tls]` table says about revocation, and the files that it names.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) revocation: Revocation,
    pub(super) paths: Vec<PathBuf>,
    pub(super) notices: Vec<Notice>,
}

/// Reads what the nearest table of `chain` says. Nothing of it can be used if a mistake has been reported.
pub(super) fn compile(
    chain: &[&In<file::Tls>],
    table: &str,
    authorities: &[CaCertificate],
    files: &mut Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> Lists {
    let mut lists = Lists { revocation: options(chain), ..Lists::default() };
    let named = chain.iter().find_map(|tls| Some((tls.value.client_auth.as_ref()?.crl_files.as_ref()?, &tls.source)));
    let Some((list, source)) = named else {
        let options = chain.iter().find_map(|tls| Some((tls.value.client_auth.as_ref()?.crl.as_ref()?, &tls.source)));
        if let Some((options, source)) = options {
            let mut report = Report { diagnostics, source, table: table.to_owned() };
            let help = "add `client_auth.crl_files = [\"ca.crl\"]`, or remove `crl`".to_owned();
            report.error(&options.span, "client_auth.crl says how lists are used, and there are no crl_files", help);
        }
        return lists;
    };
    let mut report = Report { diagnostics, source, table: table.to_owned() };
    for path in &list.0 {
        lists.path(&beside(&source.path, path), &path.span, files, &mut report);
    }
    if let Some(first) = list.0.first() {
        lists.judge(&first.span, authorities, &mut report);
    } else {
        chain_span(chain, &mut report);
    }
    lists
}

fn chain_span(chain: &[&In<file::Tls>], report: &mut Report<'_>) {
    let help = "name a file, or remove `crl_files`".to_owned();
    report.error(&chain[0].span, "client_auth.crl_files names no file", help);
}

fn options(chain: &[&In<file::Tls>]) -> Revocation {
    fn nearest<T: Copy>(chain: &[&In<file::Tls>], key: impl Fn(&file::Crl) -> Option<T>) -> Option<T> {
        chain.iter().find_map(|tls| key(tls.value.client_auth.as_ref()?.crl.as_ref()?))
    }
    Revocation {
        lists: Vec::new(),
        depth: match nearest(chain, |crl| crl.depth) {
            Some(file::CrlDepth::Leaf) | None => Depth::Leaf,
            Some(file::CrlDepth::Chain) => Depth::Chain,
        },
        unknown: match nearest(chain, |crl| crl.unknown) {
            Some(file::Verdict::Deny) | None => Unknown::Deny,
            Some(file::Verdict::Allow) => Unknown::Allow,
        },
        expired: match nearest(chain, |crl| crl.expired) {
            Some(file::Verdict::Deny) | None => Expired::Deny,
            Some(file::Verdict::Allow) => Expired::Allow,
        },
    }
}

impl Lists {
    /// Reads a file, or every file of a directory.
    fn path(&mut self, path: &Path, span: &std::ops::Range<usize>, files: &mut Files, report: &mut Report<'_>) {
        self.paths.push(path.to_owned());
        let entries = if files.is_directory(path) {
            match files.list(path) {
                Ok(entries) if entries.is_empty() => {
                    report.error(
                        span,
                        format_args!("client_auth.crl_files: there is no file in {}", path.display()),
                        None,
                    );
                    return;
                }
                Ok(entries) => entries,
                Err(error) => {
                    let message = format!("client_auth.crl_files: cannot list {}: {error}", path.display());
                    report.error(span, message, None);
                    return;
                }
            }
        } else {
            vec![path.to_owned()]
        };
        for path in entries {
            let Some(bytes) = read(&path, span, files, report) else { continue };
            match Crl::parse_bundle(&bytes) {
                Ok(found) => self.revocation.lists.extend(found),
                Err(error) => {
                    report.error(span, format_args!("client_auth.crl_files: {}: {error}", path.display()), None);
                }
            }
        }
    }

    fn judge(&mut self, span: &std::ops::Range<usize>, authorities: &[CaCertificate], report: &mut Report<'_>) {
        let now = SystemTime::now();
        for list in self.revocation.newest() {
            let Some(due) = list.next_update() else { continue };
            let life = due.duration_since(list.this_update()).unwrap_or_default();
            let margin = WEEK.min(life / SHARE);
            let meaning = match self.revocation.expired {
                Expired::Deny => "from then on every client it is asked about is refused",
                Expired::Allow => "it counts all the same (expired = \"allow\")",
            };
            let issuer = list.issuer();
            if due < now {
                let message = format!("the revocation list of {issuer} should have been replaced by {}", date(due));
                report.warning(span, message, format!("fetch a newer one; {meaning}"));
            } else if due - margin < now {
                let message = format!("the revocation list of {issuer} has to be replaced by {}", date(due));
                report.warning(span, message, format!("fetch a newer one; {meaning}"));
            } else {
                let table = &report.table;
                let message = format!("{table}: the revocation list of {issuer} has to be replaced by {}", date(due));
                self.notices.push(Notice { at: due - margin, message: format!("{message}; {meaning}") });
            }
        }
        if self.revocation.unknown == Unknown::Deny {
            for authority in authorities.iter().filter(|authority| !self.revocation.covers(authority)) {
                let message = format!("client_auth.crl_files: there is no list of {}", authority.subject());
                let help = "every client that this CA issued a certificate for is refused; add its list, or write \
                            `crl = { unknown = \"allow\" }`";
                report.warning(span, message, help.to_owned());
            }
        }
    }
}
