//! `self_signed = true`: the certificate in the storage if it serves, and otherwise a new one.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::authz::AltName;
use crate::config::compile::report::Report;
use crate::config::file::{self, Action, List, Spanned};
use crate::config::files::Files;
use crate::config::model::NamedCertificate;
use crate::config::model::{SelfSignedCertificate, SelfSignedState};
use crate::config::read::{Merged, Sourced};
use crate::config::self_signed::{certificate_key, private_key_key, replaced};
use crate::name::NamePattern;
use crate::pki::PkiError;
use crate::storage::{Storage, is_name};
use crate::tls::{Certificate, SelfSigned, renew_at};
use crate::x509::date;

pub(super) fn compile(
    name: &str,
    table: &Sourced<file::Certificate>,
    (merged, storage): (&Merged, &Storage),
    files: &mut Files,
    now: SystemTime,
    report: &mut Report<'_>,
) -> Option<NamedCertificate> {
    if refuse_files(table, report) {
        return None;
    }
    if !is_name(name) {
        let message = format!(
            "a self-signed certificate is kept in a file of its name, and {name:?} cannot be one"
        );
        report.error(
            &table.span,
            message,
            "use letters, digits, `-`, `_` and `.` only".to_owned(),
        );
        return None;
    }
    let names: Vec<String> = match &table.value.names {
        Some(list) => given_names(list, &table.span, report)?,
        None => names_of_routes(name, &table.span, merged, report)?,
    };
    let cert_file = storage.path(&certificate_key(name));
    let key_file = storage.path(&private_key_key(name));
    let chosen = choose(name, &names, storage, files, now);
    let (kept, judgement, served) = chosen
        .map_err(|message| report.error(&table.span, message, None))
        .ok()?;
    let reason = match judgement {
        Judgement::Good(certificate) | Judgement::Early(certificate) => {
            if served != cert_file {
                let message = format!(
                    "{}: the self-signed certificate is not valid yet, so the one that it has replaced is served",
                    cert_file.display()
                );
                report.warning(&table.span, message, "compare the clocks".to_owned());
            }
            let own = SelfSignedCertificate {
                names,
                state: SelfSignedState::Kept,
            };
            let certificate = Arc::new(*certificate);
            return Some(NamedCertificate {
                certificate,
                later: Vec::new(),
                cert_file: served,
                key_file,
                self_signed: Some(own),
                stands_back: false,
            });
        }
        Judgement::Nothing => None,
        Judgement::Ended(reason) | Judgement::Unfit(reason) => Some(reason),
    };
    let (new, certificate) = make(&names, kept.key.as_deref(), now)
        .map_err(|error| report.error(&table.span, error, None))
        .ok()?;
    if let Some(reason) = &reason {
        let message = format!("the self-signed certificate is replaced by a new one: {reason}");
        let help = match new.key {
            Some(_) => "tell its clients the new fingerprint, which is logged",
            None => {
                "the key stays; clients that know the certificate need the new fingerprint, which is logged"
            }
        };
        report.warning(&table.span, message, help.to_owned());
    }
    let own = SelfSignedCertificate {
        names,
        state: SelfSignedState::New(new, reason),
    };
    Some(NamedCertificate {
        certificate: Arc::new(certificate),
        later: Vec::new(),
        cert_file,
        key_file,
        self_signed: Some(own),
        stands_back: false,
    })
}

/// The certificate that is kept and counts, the verdict on it, and its file.
fn choose(
    name: &str,
    names: &[String],
    storage: &Storage,
    files: &mut Files,
    now: SystemTime,
) -> Result<(Kept, Judgement, PathBuf), String> {
    let cert_file = storage.path(&certificate_key(name));
    let key_file = storage.path(&private_key_key(name));
    let kept = Kept::read(&cert_file, &key_file, files)?;
    let judgement = match kept.judge(&cert_file, &key_file, names, now) {
        // It was made when the clock was ahead, or the clock is behind.
        Judgement::Early(early) => {
            let file = storage.path(&replaced(&certificate_key(name)));
            let before = Kept::read(&file, &key_file, files)?;
            match before.judge(&file, &key_file, names, now) {
                good @ Judgement::Good(_) => return Ok((before, good, file)),
                Judgement::Ended(_) => Judgement::Unfit(too_early(&early)),
                _ => Judgement::Early(early),
            }
        }
        other => other,
    };
    Ok((kept, judgement, cert_file))
}

/// A new certificate, with the key that is kept if it can go on.
fn make(
    names: &[String],
    key: Option<&Vec<u8>>,
    now: SystemTime,
) -> Result<(SelfSigned, Certificate), PkiError> {
    let load = |new: &SelfSigned, key: &[u8]| Certificate::load(new.certificate.as_bytes(), key);
    if let Some(key) = key
        && let Ok(new) = SelfSigned::renew(names, key, now)
        && let Ok(certificate) = load(&new, key)
    {
        return Ok((new, certificate));
    }
    let new = SelfSigned::new(names, now)?;
    let key = new.key.as_ref().map_or(&[][..], |key| key.as_bytes());
    let certificate = load(&new, key).map_err(|_| PkiError::UnsupportedKey)?;
    Ok((new, certificate))
}

/// A certificate is either read or made.
fn refuse_files(table: &Sourced<file::Certificate>, report: &mut Report<'_>) -> bool {
    let file::Certificate {
        cert_file,
        key_file,
        dir,
        ..
    } = &table.value;
    let given = [
        ("cert_file", cert_file),
        ("key_file", key_file),
        ("dir", dir),
    ];
    let given = given
        .into_iter()
        .find_map(|(key, value)| value.as_ref().map(|value| (key, value)));
    if let Some((key, value)) = given {
        report.error(
            &value.span,
            format_args!("{key} stands beside self_signed"),
            "give one or the other".to_owned(),
        );
    }
    given.is_some()
}

/// The names as they stand in a certificate, each one once and in order.
fn given_names(
    list: &List,
    span: &std::ops::Range<usize>,
    report: &mut Report<'_>,
) -> Option<Vec<String>> {
    if list.0.is_empty() {
        let help = "leave `names` out to have those of the routes that use it".to_owned();
        report.error(span, "names is empty", help);
        return None;
    }
    let mut names = BTreeSet::new();
    let mut sound = true;
    for text in &list.0 {
        match given_name(text, report) {
            Some(name) => _ = names.insert(name),
            None => sound = false,
        }
    }
    sound.then(|| names.into_iter().collect())
}

fn given_name(text: &Spanned<String>, report: &mut Report<'_>) -> Option<String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_string());
    }
    match report.parse("names", text)? {
        NamePattern::Any => {
            report.error(
                &text.span,
                "names: a certificate cannot be for every name",
                None,
            );
            None
        }
        pattern => Some(pattern.to_string()),
    }
}

/// The names of the routes that use the certificate. One that no route uses is not made, and
/// reported elsewhere.
fn names_of_routes(
    name: &str,
    span: &std::ops::Range<usize>,
    merged: &Merged,
    report: &mut Report<'_>,
) -> Option<Vec<String>> {
    let uses = |route: &&Sourced<file::Route>| {
        let route = &route.value;
        let listed = |list: &List| list.0.iter().any(|listed| listed.value == name);
        route
            .action
            .as_ref()
            .is_some_and(|action| action.value == Action::Terminate)
            && route.certificates.as_ref().is_none_or(listed)
    };
    let mut routes = merged.routes.values().filter(uses).peekable();
    routes.peek()?;
    let texts = routes
        .filter_map(|route| route.value.sni.as_ref())
        .flat_map(|list| &list.0);
    // What does not parse is reported with its route.
    let patterns = texts.filter_map(|text| text.parse::<NamePattern>().ok());
    let names: BTreeSet<String> = patterns
        .filter(|pattern| *pattern != NamePattern::Any)
        .map(|pattern| pattern.to_string())
        .collect();
    if names.is_empty() {
        let help = "add `names = [\"app.example.net\", \"192.0.2.1\"]`".to_owned();
        report.error(
            span,
            "the routes that use it list no name that it could be for",
            help,
        );
        return None;
    }
    Some(names.into_iter().collect())
}

/// The contents of the storage. The key is overwritten when it is dropped.
struct Kept {
    certificate: Option<Zeroizing<Vec<u8>>>,
    key: Option<Zeroizing<Vec<u8>>>,
}

/// The verdict on a stored certificate.
enum Judgement {
    Good(Box<Certificate>),
    /// It has not begun, which is no reason to replace it: the clock may be wrong, now or when it
    /// was made.
    Early(Box<Certificate>),
    /// It is over, or soon will be.
    Ended(String),
    /// It cannot go on for another reason.
    Unfit(String),
    Nothing,
}

impl Kept {
    /// An error if it cannot be known: a certificate that clients trust must not be replaced
    /// because of that.
    fn read(cert_file: &Path, key_file: &Path, files: &mut Files) -> Result<Self, String> {
        let mut read = |path: &Path| match files.read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        };
        Ok(Self {
            certificate: read(cert_file)?,
            key: read(key_file)?,
        })
    }

    fn judge(
        &self,
        cert_file: &Path,
        key_file: &Path,
        names: &[String],
        now: SystemTime,
    ) -> Judgement {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return Judgement::Nothing,
            (None, Some(_)) => {
                return Judgement::Unfit(format!("{} is missing", cert_file.display()));
            }
            (Some(_), None) => {
                return Judgement::Unfit(format!("{} is missing", key_file.display()));
            }
        };
        let certificate = match Certificate::load(certificate, key) {
            Ok(certificate) => Box::new(certificate),
            Err(error) => return Judgement::Unfit(format!("{}: {error}", cert_file.display())),
        };
        let text = |name: &AltName| match name {
            AltName::Dns(name) => name.to_ascii_lowercase(),
            AltName::Ip(ip) => ip.to_string(),
            other => other.to_string(),
        };
        let own: BTreeSet<String> = certificate.names().iter().map(text).collect();
        if !own.iter().eq(names) {
            let own = own.into_iter().collect::<Vec<_>>().join(", ");
            Judgement::Unfit(format!("it is for {own}, and not for {}", names.join(", ")))
        } else if renew_at(&certificate) <= now {
            Judgement::Ended(format!(
                "it is valid until {} only",
                date(certificate.not_after())
            ))
        } else if certificate.has_begun(now) {
            Judgement::Good(certificate)
        } else {
            Judgement::Early(certificate)
        }
    }
}

fn too_early(certificate: &Certificate) -> String {
    format!(
        "it is not valid before {}, and the one before it has ended",
        date(certificate.not_before())
    )
}
