//! Files of CAs, for those who verify clients and for those who verify servers. All of them count,
//! or none.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::compile::door;
use crate::config::compile::left_out;
use crate::config::compile::reading;
use crate::config::compile::report::Report;
use crate::config::diagnostic::Severity;
use crate::config::files::Files;
use crate::config::material::{Item, Reason};
use crate::x509::{CaCertificate, CaIssue, MAX_AUTHORITIES_OF_ONE_NAME, Purpose};

/// The use of CAs.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    /// The key that names the files.
    pub(super) key: &'static str,
    /// How bad it is that a certificate does not say that it is one of a CA.
    pub(super) not_ca: Severity,
    /// The purpose of the certificates that they verify.
    pub(super) purpose: Purpose,
}

/// The CAs of one file.
pub(super) struct Authorities {
    pub(super) path: PathBuf,
    pub(super) authorities: Vec<CaCertificate>,
}

/// Every CA of a file, or of every file of a directory; nothing after a mistake, which has been
/// reported.
pub(super) fn read(
    path: &Path,
    span: &Range<usize>,
    usage: Usage,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<Vec<Authorities>> {
    let entries = entries((usage.key, IfEmpty::Refused), path, span, files, report)?;
    // Every file is read, whatever the one before was like, so that all that is wrong is reported.
    let found: Vec<_> = entries
        .into_iter()
        .map(|entry| file(entry, span, usage, files, report))
        .collect();
    found.into_iter().collect()
}

/// The meaning of a directory in which no file counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfEmpty {
    /// It is a mistake, or lost.
    Refused,
    /// No CA is named in it any more.
    Nobody,
}

/// The file at `path`, or every file of the directory that it is. `key` names them in messages.
pub(super) fn entries(
    (key, if_empty): (&str, IfEmpty),
    path: &Path,
    span: &Range<usize>,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<Vec<PathBuf>> {
    files
        .materials
        .asked
        .entry(report.table.as_str().into())
        .or_default()
        .insert(path.to_owned());
    let item = Item::File(path.to_owned());
    if files.keep.contains_key(&item) && files.running.within(path).next().is_some() {
        // All of its files are lost.
        let _ = files.list(path);
        return Some(files.running.within(path).cloned().collect());
    }
    if !files.is_directory(path) {
        // One that was a directory: what is lost of it goes on with what is there.
        return Some(door::with_kept(path, vec![path.to_owned()], files));
    }
    let was_file = files
        .keep
        .get(&item)
        .filter(|_| files.running.is_file(path));
    if was_file.is_some_and(|reason| reason.has(Reason::BROKEN)) {
        let _ = files.list(path);
        return Some(vec![path.to_owned()]);
    }
    let was_file = was_file.map(|_| path.to_owned());
    let mark = report.mark();
    let entries = match files.list(path) {
        Ok(entries) => {
            let entries = door::with_kept(path, entries, files);
            if if_empty == IfEmpty::Nobody && !entries.iter().any(|entry| left_out::counts(entry)) {
                return Some(Vec::new());
            }
            left_out::of_directory(key, path, entries, span, report)
        }
        Err(error) => {
            report.error(
                span,
                format_args!("{key}: cannot list {}: {error}", path.display()),
                None,
            );
            None
        }
    };
    if files.running.has(&item) {
        report.blame(mark, &item);
    }
    entries.map(|entries| entries.into_iter().chain(was_file).collect())
}

fn file(
    path: PathBuf,
    span: &Range<usize>,
    usage: Usage,
    files: &mut Files,
    report: &mut Report<'_>,
) -> Option<Authorities> {
    let running = files.running.authorities.get(&path).cloned();
    let taken = door::take(
        &Item::File(path.clone()),
        &[&path],
        running,
        (&mut *files, report),
        |files, report| {
            let bytes = reading::read(&path, span, files, report)?;
            match CaCertificate::parse_bundle(&bytes) {
                Ok(authorities) => {
                    judge(
                        &authorities,
                        &path.display().to_string(),
                        span,
                        usage,
                        report,
                    );
                    Some(authorities)
                }
                Err(error) => {
                    report.error(
                        span,
                        format_args!("{}: {}: {error}", usage.key, path.display()),
                        None,
                    );
                    None
                }
            }
        },
    );
    let authorities = taken?.get().clone();
    files
        .materials
        .authorities
        .insert(path.clone(), authorities.clone());
    Some(Authorities { path, authorities })
}

/// Reports what the owner of these CAs, which stand in `place`, should know.
pub(super) fn judge(
    authorities: &[CaCertificate],
    place: &str,
    span: &Range<usize>,
    usage: Usage,
    report: &mut Report<'_>,
) {
    let now = SystemTime::now();
    for ca in authorities {
        for issue in ca.issues(now) {
            let severity = match issue {
                CaIssue::NotCa => usage.not_ca,
                CaIssue::Expired => Severity::Warning,
            };
            // Others let its owner in, and no other client, when it stands among the CAs.
            let help = (severity == Severity::Error).then(|| PIN.to_owned());
            report.push(
                severity,
                span,
                format_args!("{place}: {} {issue}", ca.subject()),
                help,
            );
        }
        for fault in ca.faults(now, Some(usage.purpose)) {
            let severity = if fault.is_fatal() {
                Severity::Stale
            } else {
                Severity::Warning
            };
            report.push(
                severity,
                span,
                format_args!("{place}: {} {fault}", ca.subject()),
                None,
            );
        }
    }
}

/// Reports names that too many of these CAs have, and whether there is one: each of a name has to
/// be tried for a peer whose certificate names it. The same certificate in two files counts once.
/// `place` is what names them, and where.
pub(super) fn lint_namesakes<'a>(
    authorities: impl IntoIterator<Item = &'a CaCertificate>,
    place: (&str, &Range<usize>),
    severity: Severity,
    report: &mut Report<'_>,
) -> bool {
    let (key, span) = place;
    let mut names = BTreeMap::<&str, BTreeSet<&[u8]>>::new();
    for ca in authorities {
        names.entry(ca.subject()).or_default().insert(ca.der());
    }
    let mut is_found = false;
    for (name, all) in names
        .into_iter()
        .filter(|(_, all)| all.len() > MAX_AUTHORITIES_OF_ONE_NAME)
    {
        let message = format_args!("{key}: {} CAs have the subject {name}", all.len());
        let help = format!(
            "{MAX_AUTHORITIES_OF_ONE_NAME} may have one; remove those that are not used any more"
        );
        report.push(severity, span, message, help);
        is_found = true;
    }
    is_found
}

const PIN: &str = "to let in exactly the owner of this certificate, write `client_auth.mode = \"pinned\"` and \
    `client_auth.cert_files` in place of ca_files; for a CA, `snigate pki init --dir certs --name \"Example CA\"` and \
    `snigate pki issue --dir certs --client --name NAME`";
