//! The revocation lists of a `[tls]` table, and what there is to say about them before a client finds out.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::Notice;
use crate::config::compile::Report;
use crate::config::compile::authorities::entries;
use crate::config::compile::client_auth::{Mode, Reporter, nearest, needs_verification};
use crate::config::compile::tls::{date, read};
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

/// Reads what the nearest tables of `chain` say. Nothing of it can be used if a mistake has been reported.
pub(super) fn compile(
    chain: &[&In<file::Tls>],
    mode: &Mode<'_>,
    authorities: &[CaCertificate],
    files: &mut Files,
    reporter: &mut Reporter<'_>,
) -> Lists {
    let options = nearest(chain, |auth| auth.crl.as_ref());
    let mut lists = Lists { revocation: revocation(options.as_ref().map(|crl| &crl.at.value)), ..Lists::default() };
    let Some(found) = nearest(chain, |auth| auth.crl_files.as_ref()) else {
        if let Some(crl) = options {
            let help = "add `client_auth.crl_files = [\"ca.crl\"]`, or remove `crl`".to_owned();
            let message = "client_auth.crl says how revocation lists are used, and there are no crl_files";
            reporter.in_file(crl.source).error(&crl.at.span, message, help);
        }
        return lists;
    };
    needs_verification("crl_files", &found, mode, reporter);
    let mut report = reporter.in_file(found.source);
    let mut complete = !found.at.value.0.is_empty();
    for path in &found.at.value.0 {
        complete &= lists.read(&beside(&found.source.path, path), &path.span, files, &mut report);
    }
    if found.at.value.0.is_empty() {
        let help = "name a file, or remove it".to_owned();
        report.error(&found.at.span, "client_auth.crl_files names no file", help);
    }
    lists.judge(&found.at.span, authorities, &mut report);
    // What a file that cannot be read would have held is not known.
    if complete {
        lists.miss(&found.at.span, authorities, &mut report);
    }
    lists
}

fn revocation(crl: Option<&file::Crl>) -> Revocation {
    Revocation {
        lists: Vec::new(),
        depth: match crl.and_then(|crl| crl.depth) {
            Some(file::CrlDepth::Leaf) | None => Depth::Leaf,
            Some(file::CrlDepth::Chain) => Depth::Chain,
        },
        unknown: match crl.and_then(|crl| crl.unknown) {
            Some(file::Verdict::Deny) | None => Unknown::Deny,
            Some(file::Verdict::Allow) => Unknown::Allow,
        },
        expired: match crl.and_then(|crl| crl.expired) {
            Some(file::Verdict::Deny) | None => Expired::Deny,
            Some(file::Verdict::Allow) => Expired::Allow,
        },
    }
}

impl Lists {
    /// Reads a file, or every file of a directory, and says whether all of it could be read.
    fn read(&mut self, path: &Path, span: &Range<usize>, files: &mut Files, report: &mut Report<'_>) -> bool {
        self.paths.push(path.to_owned());
        let Some(paths) = entries("client_auth.crl_files", path, span, files, report) else { return false };
        let mut complete = true;
        for path in paths {
            let Some(bytes) = read(&path, span, files, report) else {
                complete = false;
                continue;
            };
            match Crl::parse_bundle(&bytes) {
                Ok(found) => self.revocation.lists.extend(found),
                Err(error) => {
                    report.error(span, format_args!("client_auth.crl_files: {}: {error}", path.display()), None);
                    complete = false;
                }
            }
        }
        complete
    }

    /// Says which lists cannot be right, and by when the others have to be replaced.
    fn judge(&mut self, span: &Range<usize>, authorities: &[CaCertificate], report: &mut Report<'_>) {
        let now = SystemTime::now();
        for list in self.revocation.newest() {
            if list.is_signed_by(authorities) == Some(false) {
                let issuer = list.issuer();
                let message =
                    format!("client_auth.crl_files: the list of {issuer} is not signed by the CA of that name");
                let help = "every client of this CA would be refused; fetch its list again, or, if the CA has a new key, \
                            make a list with that";
                report.error(span, message, help.to_owned());
            }
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
    }

    /// Says of which authorities there is no list.
    fn miss(&self, span: &Range<usize>, authorities: &[CaCertificate], report: &mut Report<'_>) {
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
