//! Inspection of certificates, keys, requests and revocation lists, and whether they belong
//! together.

mod describe;
mod judge;
mod together;

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::authz::printable;
use crate::pki::inspect::describe::{certificate, request, revocation_list};
use crate::pki::inspect::together::{FileCertificate, InspectedFile, belongs, chains, listed};
use crate::pki::object::{self, Der, Object};
use crate::pki::{Key, PkiError};

/// Files, as far as they have been read.
#[derive(Default)]
pub struct Inspection {
    certificates: Vec<FileCertificate>,
    keys: Vec<(String, Key)>,
    requests: Vec<(String, Der)>,
    lists: Vec<(String, Der)>,
    report: InspectionReport,
}

/// The findings of an inspection.
#[derive(Debug, Default)]
pub struct InspectionReport {
    /// Each object, and then how they belong together.
    pub parts: Vec<Part>,
    /// How many things do not match, have expired, or cannot be read.
    pub problems: usize,
}

/// Something with a title and lines, each of which has a label.
#[derive(Debug, Default)]
pub struct Part {
    /// Its kind, and where it stands.
    pub title: String,
    /// Labels and values. A problem has the label [`PROBLEM`].
    pub lines: Vec<(&'static str, String)>,
}

/// The label of a line that says what is wrong.
pub const PROBLEM: &str = "!";

impl Inspection {
    /// Reads a file, PEM or DER, and describes what is in it as of `now`.
    ///
    /// # Errors
    ///
    /// When it is not sound PEM; whatever else is wrong with it becomes a part of the report.
    pub fn read(&mut self, file: &str, bytes: &[u8], now: SystemTime) -> Result<(), PkiError> {
        let objects = object::read(bytes)?;
        if objects.is_empty() {
            self.describe(file, "nothing")
                .problem("there is no certificate, key, request or CRL in it");
        }
        for (position, object) in objects.into_iter().enumerate() {
            let place = if position == 0 {
                file.to_owned()
            } else {
                format!("{file} ({})", position + 1)
            };
            match object {
                Object::Certificate(der) => {
                    certificate(&mut self.describe(&place, "certificate"), &der.der, now);
                    self.certificates.push(FileCertificate {
                        file: file.to_owned(),
                        place,
                        der,
                    });
                }
                Object::Key(key) => {
                    self.describe(&place, "private key").spki(&key.public_key());
                    self.keys.push((place, key));
                }
                Object::SigningRequest(der) => {
                    request(&mut self.describe(&place, "certificate request"), &der.der);
                    self.requests.push((place, der));
                }
                Object::RevocationList(der) => {
                    revocation_list(&mut self.describe(&place, "revocation list"), &der.der, now);
                    self.lists.push((place, der));
                }
                Object::Other(label) => self
                    .describe(&place, &printable(&label))
                    .line("", "not looked into"),
                Object::Broken(kind, reason) => {
                    self.describe(&place, &kind).problem(&printable(&reason))
                }
            }
        }
        Ok(())
    }

    /// How everything that was read belongs together.
    #[must_use]
    pub fn finish(mut self, now: SystemTime) -> InspectionReport {
        let certificates = std::mem::take(&mut self.certificates);
        for placed in certificates.chunk_by(|one, other| one.file == other.file) {
            let ders: Vec<CertificateDer<'static>> = placed
                .iter()
                .map(|one| one.der.der.clone().into())
                .collect();
            judge::file(
                &mut self.describe(&placed[0].file, "as check sees it"),
                &ders,
                now,
            );
        }
        self.report.parts.retain(|part| !part.lines.is_empty());
        let parsed: Vec<InspectedFile<'_>> = certificates.iter().map(InspectedFile::of).collect();
        if self.keys.len() + self.lists.len() > 0 || parsed.len() > 1 {
            let (keys, requests, lists) = (
                std::mem::take(&mut self.keys),
                std::mem::take(&mut self.requests),
                std::mem::take(&mut self.lists),
            );
            let mut together = self.describe("together", "");
            keys.iter()
                .for_each(|(place, key)| belongs(&mut together, place, key, &parsed, &requests));
            chains(&mut together, &parsed, now);
            lists
                .iter()
                .for_each(|(place, list)| listed(&mut together, place, &list.der, &parsed));
        }
        self.report
            .parts
            .retain(|part| part.title != "together" || !part.lines.is_empty());
        self.report
    }

    fn describe(&mut self, place: &str, kind: &str) -> ReportWriter<'_> {
        let title = if kind.is_empty() {
            place.to_owned()
        } else {
            format!("{place}: {kind}")
        };
        self.report.parts.push(Part {
            title,
            lines: Vec::new(),
        });
        let part = self.report.parts.last_mut().expect("it was just pushed");
        ReportWriter {
            part,
            problems: &mut self.report.problems,
        }
    }
}

struct ReportWriter<'a> {
    part: &'a mut Part,
    problems: &'a mut usize,
}

impl ReportWriter<'_> {
    fn line(&mut self, label: &'static str, value: impl Display) {
        self.part.lines.push((label, value.to_string()));
    }

    fn problem(&mut self, what: &str) {
        *self.problems += 1;
        self.line(PROBLEM, what);
    }

    fn dates(
        &mut self,
        begin: SystemTime,
        end: Option<SystemTime>,
        now: SystemTime,
        [from, to]: [&'static str; 2],
    ) {
        self.line(from, moment(begin, now));
        if let Some(end) = end {
            self.line(to, moment(end, now));
        }
        if now < begin {
            self.problem("it is not valid yet");
        }
        if end.is_some_and(|end| end < now) {
            self.problem("it has expired");
        }
    }
}

/// A moment, and how far away from `now` it is.
#[must_use]
pub fn moment(time: SystemTime, now: SystemTime) -> String {
    let text = Timestamp::try_from(time).map_or_else(
        |_| "an unknown time".to_owned(),
        |time| format!("{time:.0}"),
    );
    let distance = |duration: Duration| match duration.as_secs() {
        seconds if seconds < 60 => "less than a minute".to_owned(),
        seconds if seconds < 2 * 3600 => format!("{} minutes", seconds / 60),
        seconds if seconds < 2 * 86400 => format!("{} hours", seconds / 3600),
        // What was just made for 90 days ends in 90 days.
        seconds => format!("{} days", (seconds + 43200) / 86400),
    };
    match time.duration_since(now) {
        Ok(ahead) => format!("{text}, in {}", distance(ahead)),
        Err(behind) => format!("{text}, {} ago", distance(behind.duration())),
    }
}
