//! The revocation lists of a `[tls]` table, and what there is to say about them before a client
//! finds out.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::compile::authorities::{IfEmpty, entries};
use crate::config::compile::chain::Chain;
use crate::config::compile::door;
use crate::config::compile::mode::needs_verification;
use crate::config::compile::mode::{ModeInEffect, Reporter};
use crate::config::compile::reading::read;
use crate::config::compile::report::Report;
use crate::config::file;
use crate::config::files::Files;
use crate::config::material::{Item, ListFile, Reason};
use crate::config::model::Notice;
use crate::config::read::beside;
use crate::x509::{CaCertificate, Crl, Expired, NotSpoken, Revocation, Unknown, date};

/// A list that is due within this share of its life is worth a warning, and at the latest a week
/// before.
const SHARE: u32 = 4;
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// The revocation keys of a `[tls]` table, and the files that they name.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) revocation: Revocation,
    pub(super) paths: Vec<PathBuf>,
    pub(super) notices: Vec<Notice>,
    intermediates: Intermediates,
    /// Where each list of `revocation` is from, and whether it goes on as it runs.
    origins: Vec<(PathBuf, bool)>,
}

/// Certificates of CAs that stand beside their lists, so that it is known whose these are. They are
/// not trusted: a client has to send them.
#[derive(Default)]
struct Intermediates(Vec<CaCertificate>);

/// Reads what the nearest tables say. Nothing of it can be used if a mistake has been reported.
/// `authorities` are those of ca_files, if all of them could be read, and the files that these are
/// from.
pub(super) fn compile(
    chain: &Chain<'_>,
    mode: &ModeInEffect<'_>,
    authorities: (Option<&[CaCertificate]>, &[PathBuf]),
    files: &mut Files,
    reporter: &mut Reporter<'_>,
) -> Lists {
    let options = chain.nearest_of_clients(|auth| auth.crl.as_ref());
    let mut lists = Lists {
        revocation: revocation(options.as_ref().map(|crl| &crl.at.value)),
        ..Lists::default()
    };
    let Some(found) = chain.nearest_of_clients(|auth| auth.crl_files.as_ref()) else {
        if let Some(crl) = options.as_ref().filter(|_| !mode.effective.verifies()) {
            needs_verification("crl", crl, mode, reporter);
        } else if let Some(crl) = options {
            let help = "add `client_auth.crl_files = [\"ca.crl\"]`, or remove `crl`".to_owned();
            let message =
                "client_auth.crl says how revocation lists are used, and there are no crl_files";
            reporter.lacking(&["crl_files"], (crl.source, &crl.at.span), message, help);
        }
        return lists;
    };
    needs_verification("crl_files", &found, mode, reporter);
    if lists.revocation.unknown == Unknown::Deny {
        files
            .materials
            .denying
            .insert(reporter.table.as_str().into());
    }
    let mut report = reporter.in_file(found.source);
    let mut complete = !found.at.value.0.is_empty();
    for path in &found.at.value.0 {
        complete &= lists.read(
            &beside(&found.source.path, path),
            &path.span,
            files,
            &mut report,
        );
    }
    if found.at.value.0.is_empty() {
        let help = "name a file, or remove it".to_owned();
        report.error(&found.at.span, "client_auth.crl_files names no file", help);
    }
    // What a file that cannot be read would have held is not known, be it of a list or of a CA.
    let (authorities, ca_files) = authorities;
    if let Some(authorities) = authorities.filter(|authorities| complete && !authorities.is_empty())
        && lists.judge(&found.at.span, (authorities, ca_files), files, &mut report)
    {
        lists.miss(&found.at.span, authorities, &mut report);
    }
    lists
}

fn revocation(crl: Option<&file::Crl>) -> Revocation {
    Revocation {
        lists: Vec::new(),
        depth: crl.and_then(|crl| crl.depth).unwrap_or_default(),
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
    fn read(
        &mut self,
        path: &Path,
        span: &Range<usize>,
        files: &mut Files,
        report: &mut Report<'_>,
    ) -> bool {
        self.paths.push(path.to_owned());
        let key = ("client_auth.crl_files", IfEmpty::Refused);
        let Some(paths) = entries(key, path, span, files, report) else {
            return false;
        };
        let mut complete = true;
        for path in paths {
            let running = files.running.lists.get(&path).cloned();
            let parse = |files: &mut Files, report: &mut Report<'_>| {
                let bytes = read(&path, span, files, report)?;
                let message = |error| format!("client_auth.crl_files: {}: {error}", path.display());
                let lists = Crl::parse_bundle(&bytes)
                    .map_err(|error| report.error(span, message(error), None))
                    .ok()?;
                // What else stands there has been judged with the lists.
                Some(ListFile {
                    lists,
                    beside: CaCertificate::parse_store(&bytes).0,
                })
            };
            let item = Item::File(path.clone());
            let Some(taken) = door::take(&item, &[&path], running, (&mut *files, report), parse)
            else {
                complete = false;
                continue;
            };
            let ListFile { lists, beside } = taken.get().clone();
            self.origins
                .extend(lists.iter().map(|_| (path.clone(), taken.is_kept())));
            self.revocation.lists.extend(lists);
            self.intermediates.0.extend(beside);
            files.materials.lists.insert(path, taken.get().clone());
        }
        complete
    }

    /// Says which lists cannot be right, and by when the others have to be replaced. Whether all of
    /// them can.
    ///
    /// A list that speaks for none of `authorities` is a fault of its file. If it goes on as it
    /// runs nevertheless, its CA is gone, or, where one of its name is there, has another key: then
    /// the two do not fit yet, and the CAs stay as they run.
    fn judge(
        &mut self,
        span: &Range<usize>,
        (authorities, ca_files): (&[CaCertificate], &[PathBuf]),
        files: &Files,
        report: &mut Report<'_>,
    ) -> bool {
        let covered = self.revocation.covered(authorities);
        let every_ca_has_one = authorities
            .iter()
            .all(|authority| covered.contains(&authority));
        let mut sound = true;
        for (list, (path, is_kept)) in self.revocation.lists.iter().zip(&self.origins) {
            let Err(reason) = list.speaks_for(authorities) else {
                continue;
            };
            let issuer = list.issuer();
            if reason == NotSpoken::Stranger && self.intermediates.speaks(list, authorities) {
                continue;
            }
            let message = format!(
                "client_auth.crl_files: the list of {issuer} speaks for none of ca_files: {reason}"
            );
            if reason == NotSpoken::Stranger
                && let Some(help) = harmless(issuer, *is_kept, every_ca_has_one)
            {
                report.warning(span, message, help);
                continue;
            }
            sound = false;
            let mark = report.mark();
            report.error(span, message, remedy(reason, issuer));
            let ca_files = if *is_kept { ca_files } else { &[] };
            if let Some(item) = at_fault(path, ca_files, files) {
                report.blame(mark, &item);
            }
        }
        self.lint_dates(span, authorities, report);
        sound
    }

    /// Warns of lists that have not begun, and of those that have to be replaced, now or soon; notes
    /// by when the others have to be.
    fn lint_dates(
        &mut self,
        span: &Range<usize>,
        authorities: &[CaCertificate],
        report: &mut Report<'_>,
    ) {
        let now = SystemTime::now();
        for list in self.revocation.counting(authorities, now) {
            let issuer = list.issuer();
            if list.is_early(now) {
                let begin = date(list.this_update());
                let message = format!(
                    "the revocation list of {issuer} is from the future, it begins on {begin}"
                );
                let help = "compare the clocks of this machine and of the CA; until then whom it names is refused, and of the \
                            others the list before it must say that they are good";
                report.warning(span, message, help.to_owned());
            }
            let due = list.next_update();
            let life = due.duration_since(list.this_update()).unwrap_or_default();
            let margin = WEEK.min(life / SHARE);
            let meaning = match self.revocation.expired {
                Expired::Deny => "from then on every client it is asked about is refused",
                Expired::Allow => "it counts all the same (expired = \"allow\")",
            };
            if due < now {
                let message = format!(
                    "the revocation list of {issuer} should have been replaced by {}",
                    date(due)
                );
                report.warning(span, message, format!("fetch a newer one; {meaning}"));
            } else if due - margin < now {
                let message = format!(
                    "the revocation list of {issuer} has to be replaced by {}",
                    date(due)
                );
                report.warning(span, message, format!("fetch a newer one; {meaning}"));
            } else {
                let table = &report.table;
                let message = format!(
                    "{table}: the revocation list of {issuer} has to be replaced by {}",
                    date(due)
                );
                self.notices.push(Notice {
                    at: due - margin,
                    message: format!("{message}; {meaning}"),
                });
            }
        }
    }

    /// Says of which authorities there is no list.
    fn miss(&self, span: &Range<usize>, authorities: &[CaCertificate], report: &mut Report<'_>) {
        if self.revocation.unknown != Unknown::Deny {
            return;
        }
        let covered = self.revocation.covered(authorities);
        for authority in authorities
            .iter()
            .filter(|authority| !covered.contains(authority))
        {
            let subject = authority.subject();
            let of_name = self
                .revocation
                .lists
                .iter()
                .any(|list| list.issuer() == subject);
            let key = if of_name {
                " that its key has signed: those of this name are of another key"
            } else {
                ""
            };
            let message = format!("client_auth.crl_files: there is no list of {subject}{key}");
            let help = "every client that this CA issued a certificate for is refused; add its list, or write \
                        `crl = { unknown = \"allow\" }`";
            report.warning(span, message, help.to_owned());
        }
    }
}

const BESIDE: &str = "put its certificate into the file of its list";

/// What to do about a list whose CA is not in ca_files, where the clients of ca_files do not need
/// it.
fn harmless(issuer: &str, is_kept: bool, every_ca_has_one: bool) -> Option<String> {
    if is_kept {
        return Some(format!(
            "it has no effect on the clients of ca_files; remove it, unless {issuer} is an intermediate whose certificate \
             comes with a client"
        ));
    }
    // Each CA has its own, so this may be one of a CA below them.
    every_ca_has_one.then(|| {
        format!(
            "it counts only if {issuer} is an intermediate whose certificate comes with a client; {BESIDE}"
        )
    })
}

/// What to do about a list that speaks for none of ca_files.
fn remedy(reason: NotSpoken, issuer: &str) -> String {
    match reason {
        NotSpoken::Stranger => {
            format!(
                "give the lists of the CAs in ca_files; if {issuer} is an intermediate, {BESIDE}"
            )
        }
        NotSpoken::OtherName => {
            "a list has the name of its CA; fetch it again, or issue it anew".to_owned()
        }
        NotSpoken::OtherKey => {
            "fetch the list again; if the CA has a new key, add its new certificate to ca_files, \
            or make a list with the key that is there"
                .to_owned()
        }
        NotSpoken::Key(_) | NotSpoken::Signature(_) => {
            "sign by RSA (2048 to 8192 bits), ECDSA or Ed25519, with SHA-256 or more".to_owned()
        }
    }
}

/// The file at fault: of that of a list and of `ca_files`, the first that can be left as it runs, or
/// that is new in a directory.
fn at_fault(path: &Path, ca_files: &[PathBuf], files: &Files) -> Option<Item> {
    std::iter::once(path)
        .chain(ca_files.iter().map(PathBuf::as_path))
        .map(|path| Item::File(path.to_owned()))
        .filter_map(|item| door::runs_in_place(&item, files.running.has(&item), files))
        .find(|item| {
            let reason = files.keep.get(item);
            reason.is_none_or(|reason| !reason.has(Reason::BROKEN))
        })
}

impl Intermediates {
    /// Whether one of them that one of `authorities` vouches for has issued `list`.
    fn speaks(&self, list: &Crl, authorities: &[CaCertificate]) -> bool {
        let mut known = authorities.to_vec();
        let mut left: Vec<&CaCertificate> = self.0.iter().collect();
        while let Some(at) = left
            .iter()
            .position(|own| known.iter().any(|ca| own.is_issued_by(ca)))
        {
            known.push(left.swap_remove(at).clone());
        }
        list.speaks_for(&known).is_ok()
    }
}
