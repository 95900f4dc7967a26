//! Diagnostics: what is wrong with a configuration, where, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use crate::config::material::Item;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration works, perhaps not as meant.
    Warning,
    /// Clients will refuse what this serves (a certificate that is over), but no policy is weaker
    /// for it.
    ///
    /// It does not keep the configuration from running: the route that renews the certificate may
    /// well be part of it.
    Stale,
    /// A certificate whose time has not come, for a name that no other certificate covers. It is no
    /// reason not to start (the clock may be wrong, and the route that mends it may be here), but
    /// no reason to give up the certificate that runs, either.
    Premature,
    /// The files contradict each other in a way that passes when they are halfway replaced.
    /// Refused, and tried again.
    Unsettled,
    /// The configuration is refused.
    Error,
}

impl Severity {
    /// Whether a configuration in which this was found must not run.
    #[must_use]
    pub fn refuses(self) -> bool {
        self >= Self::Unsettled
    }

    /// The word for it in messages: an `error` keeps the configuration from running, an `urgent`
    /// one keeps clients from being served.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Stale | Self::Premature => "urgent",
            Self::Unsettled | Self::Error => "error",
        }
    }
}

/// A text that diagnostics point into.
#[derive(Debug)]
pub struct Source {
    /// The file it came from, as it was named.
    pub path: PathBuf,
    /// All of it.
    pub text: Arc<str>,
    /// Where each line begins: found once, when the first position is asked for.
    lines: OnceLock<Box<[usize]>>,
}

impl Source {
    /// The text of a file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
            lines: OnceLock::new(),
        }
    }

    /// Line and column of a byte, both from 1; the column counts characters. Only the line itself
    /// is read.
    #[must_use]
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let (number, line) = self.line(byte);
        let before = byte.min(self.text.len()) - line.start;
        let line = &self.text[line];
        (
            number,
            line.get(..before).unwrap_or(line).chars().count() + 1,
        )
    }

    /// The line that a byte is in: its number from 1, and its bytes without the line break.
    fn line(&self, byte: usize) -> (usize, Range<usize>) {
        let begins = self.lines.get_or_init(|| {
            let breaks = self
                .text
                .bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect()
        });
        let number = begins.partition_point(|begin| *begin <= byte);
        let end = begins.get(number).map_or(self.text.len(), |next| next - 1);
        (number, begins[number - 1]..end)
    }
}

/// A place in a source.
#[derive(Clone, Debug)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// The bytes of it that are meant.
    pub span: Range<usize>,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The fault, beginning with the key: `routes.api: upstream "app" is not defined`.
    pub message: String,
    /// Where, if it is at one place.
    pub place: Option<Place>,
    /// Another place that is part of it, and its role.
    pub other: Option<(Place, String)>,
    /// The remedy.
    pub help: Option<String>,
    /// The keys one of which is missing, as `routes.api.action`, if that is what is wrong.
    pub lacks: Vec<String>,
    /// The item at fault, if a reload can leave that as it runs.
    pub fault_of: Option<Item>,
}

impl Diagnostic {
    /// A finding of this severity, nowhere yet.
    #[must_use]
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            place: None,
            other: None,
            help: None,
            lacks: Vec::new(),
            fault_of: None,
        }
    }

    /// The same, at a place.
    #[must_use]
    pub fn at(mut self, source: &Arc<Source>, span: &Range<usize>) -> Self {
        self.place = Some(Place {
            source: Arc::clone(source),
            span: span.clone(),
        });
        self
    }

    /// The same, with another place that is part of it.
    #[must_use]
    pub fn and_at(mut self, source: &Arc<Source>, span: &Range<usize>, role: &str) -> Self {
        self.other = Some((
            Place {
                source: Arc::clone(source),
                span: span.clone(),
            },
            role.to_owned(),
        ));
        self
    }

    /// The same, because of a key that is missing: where that was left out for another mistake,
    /// this is none.
    #[must_use]
    pub fn lacking(mut self, key: impl Into<String>) -> Self {
        self.lacks.push(key.into());
        self
    }

    /// The same, with what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// Writes it for a person: the message, the lines of the file with the place marked, the help.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let level = if self.severity == Severity::Warning {
            Level::WARNING
        } else {
            Level::ERROR
        };
        let level = level.with_name(self.severity.word());
        let title = level.primary_title(&self.message);
        let mut group = match &self.place {
            None => Group::with_title(title),
            Some(place) => title.element(snippet(place, |marked| {
                AnnotationKind::Primary.span(marked)
            })),
        };
        if let Some((place, role)) = &self.other {
            group = group.element(snippet(place, |marked| {
                AnnotationKind::Context.span(marked).label(role)
            }));
        }
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let help = self.help.as_ref();
        let help = help.map(|help| Group::with_title(Level::HELP.secondary_title(help)));
        match help {
            // Without lines of a file between them the two stand one below the other.
            Some(help) if self.place.is_none() && self.other.is_none() => {
                format!(
                    "{}\n{}",
                    renderer.render(&[group]),
                    renderer.render(&[help])
                )
            }
            help => renderer.render(&Vec::from_iter([Some(group), help].into_iter().flatten())),
        }
    }
}

impl fmt::Display for Diagnostic {
    /// One line, for a log:
    /// `snigate.toml:12:8: routes.api: upstream "app" is not defined (did you mean "api"?)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let (line, column) = place.source.position(place.span.start);
            write!(f, "{}:{line}:{column}: ", place.source.path.display())?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// The line of a place with what is marked of it: a renderer reads all the text that it is given,
/// and a whole table would bury the message.
fn snippet<'a>(
    place: &'a Place,
    annotate: impl FnOnce(Range<usize>) -> Annotation<'a>,
) -> Snippet<'a, Annotation<'a>> {
    let (number, line) = place.source.line(place.span.start);
    let start = place.span.start.clamp(line.start, line.end) - line.start;
    let end = place.span.end.clamp(line.start + start, line.end) - line.start;
    let path = place.source.path.to_string_lossy().into_owned();
    Snippet::source(&place.source.text[line])
        .line_start(number)
        .path(path)
        .annotation(annotate(start..end))
}

/// The worst first; then as they stand in their files.
pub(super) fn sort(diagnostics: &mut [Diagnostic]) {
    let place = |diagnostic: &Diagnostic| {
        diagnostic
            .place
            .as_ref()
            .map(|at| (at.source.path.clone(), at.span.start))
    };
    diagnostics.sort_by_cached_key(|diagnostic| {
        (std::cmp::Reverse(diagnostic.severity), place(diagnostic))
    });
}

/// How many errors, and how many warnings, are shown. An operator who has more of them mends these
/// first.
pub const SHOWN: usize = 20;

/// Diagnostics as an operator sees them: the first [`SHOWN`] errors and the first [`SHOWN`]
/// warnings, and how many there are.
#[derive(Debug)]
pub struct Excerpt<'a> {
    /// Those that are shown, in their order.
    pub shown: Vec<&'a Diagnostic>,
    /// How many there are of all that is not a warning.
    pub errors: usize,
    /// How many warnings there are.
    pub warnings: usize,
}

impl<'a> Excerpt<'a> {
    /// The first of `diagnostics`.
    #[must_use]
    pub fn of(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> Self {
        let mut excerpt = Self {
            shown: Vec::new(),
            errors: 0,
            warnings: 0,
        };
        for diagnostic in diagnostics {
            let is_warning = diagnostic.severity == Severity::Warning;
            let count = if is_warning {
                &mut excerpt.warnings
            } else {
                &mut excerpt.errors
            };
            *count += 1;
            if *count <= SHOWN {
                excerpt.shown.push(diagnostic);
            }
        }
        excerpt
    }

    /// How many of how many are shown, as `20 of 100,000 errors`, if not all of them are.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let parts: Vec<String> = [(self.errors, "errors"), (self.warnings, "warnings")]
            .into_iter()
            .filter(|(count, _)| *count > SHOWN)
            .map(|(count, what)| format!("{SHOWN} of {} {what}", grouped(count)))
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Those that are shown, and how many are not, on one line.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        let mut texts: Vec<String> = self.shown.iter().map(ToString::to_string).collect();
        texts.extend(self.left_out());
        texts.join("; ")
    }
}

/// `100,000`
#[must_use]
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many names are compared for a suggestion.
const MAX_CANDIDATES: usize = 1000;

/// The candidate that `word` was probably meant to be, as `did you mean "x"?`.
#[must_use]
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let distance = |candidate: &str| {
        strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase())
    };
    // An operator who has thousands of names does not need a guess, and guessing reads them all.
    let (best, closest) = candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .map(|c| (distance(c), c))
        .min()?;
    let near = best <= 1 + word.chars().count() / 4;
    near.then(|| format!("did you mean {closest:?}?"))
}

/// How many names are listed.
const MAX_LISTED: usize = 8;

/// The name to write in place of `word`, which no table of `section` has: the nearest one, and all
/// of them.
#[must_use]
pub fn instead_of<'a>(
    word: &str,
    section: &str,
    defined: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let near = did_you_mean(word, defined.clone());
    let listed: Vec<String> = defined
        .clone()
        .take(MAX_LISTED)
        .map(|name| format!("{name:?}"))
        .collect();
    let more = match defined.skip(MAX_LISTED).count() {
        0 => String::new(),
        more => format!(" and {} more", grouped(more)),
    };
    match (near, &listed[..]) {
        (Some(near), [_]) => near,
        (Some(near), _) => format!("{near} defined are {}{more}", listed.join(", ")),
        (None, []) => format!("add a table `[{section}.{word}]`"),
        (None, _) => {
            format!(
                "write the name of one that is defined, {}{more}, or add a table for it",
                listed.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let source = Source::new("x.toml", "a = 1\nbü = \"c\"\n");
        for (byte, position) in [
            (0, (1, 1)),
            (5, (1, 6)),
            (6, (2, 1)),
            (12, (2, 6)),
            (15, (2, 9)),
            (16, (3, 1)),
            (999, (3, 1)),
        ] {
            assert_eq!(source.position(byte), position, "{byte}");
        }
        assert_eq!(Source::new("x.toml", "").position(7), (1, 1));
        assert_eq!(Source::new("x.toml", "ab").position(7), (1, 3));
    }

    #[test]
    fn a_diagnostic_reads_its_own_line_and_no_other() {
        let text = "key = 1\n".repeat(20_000);
        let source = Arc::new(Source::new("x.toml", text));
        let read: usize = source
            .text
            .match_indices('k')
            .map(|(at, _)| source.line(at).1.len())
            .sum();
        assert_eq!(
            read,
            source.text.len() - 20_000,
            "each line once, without its break"
        );
        let place = Place {
            source: Arc::clone(&source),
            span: 8 * 12_345..8 * 12_347,
        };
        assert_eq!(
            source.line(place.span.start),
            (12_346, 8 * 12_345..8 * 12_345 + 7)
        );
        let found = Diagnostic {
            place: Some(place),
            ..Diagnostic::new(Severity::Warning, "this")
        };
        assert_eq!(
            found.render(false),
            "warning: this\n     --> x.toml:12346:1\n      |\n12346 | key = 1\n      | ^^^^^^^"
        );
    }

    #[test]
    fn an_excerpt_shows_twenty_of_each_kind_and_says_how_many_there_are() {
        let of = |errors: usize, warnings: usize| -> Vec<Diagnostic> {
            let several =
                |severity, count| std::iter::repeat_n(Diagnostic::new(severity, "this"), count);
            several(Severity::Stale, errors)
                .chain(several(Severity::Warning, warnings))
                .collect()
        };
        for (errors, warnings, shown, left_out) in [
            (0, 0, 0, None),
            (20, 20, 40, None),
            (21, 1, 21, Some("20 of 21 errors")),
            (
                100_000,
                1_234,
                40,
                Some("20 of 100,000 errors, 20 of 1,234 warnings"),
            ),
        ] {
            let diagnostics = of(errors, warnings);
            let excerpt = Excerpt::of(&diagnostics);
            assert_eq!(
                (excerpt.errors, excerpt.warnings, excerpt.shown.len()),
                (errors, warnings, shown)
            );
            assert_eq!(excerpt.left_out().as_deref(), left_out);
            let texts = shown + usize::from(left_out.is_some());
            assert_eq!(
                excerpt
                    .on_one_line()
                    .split("; ")
                    .filter(|text| !text.is_empty())
                    .count(),
                texts
            );
        }
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn a_name_that_is_not_defined_is_answered_with_those_that_are() {
        let said = |word, names: &[&'static str]| instead_of(word, "tls", names.iter().copied());
        assert_eq!(said("edgy", &["edge"]), "did you mean \"edge\"?");
        assert_eq!(
            said("edgy", &["edge", "inner"]),
            "did you mean \"edge\"? defined are \"edge\", \"inner\""
        );
        assert_eq!(said("x1", &[]), "add a table `[tls.x1]`");
        assert_eq!(
            said("other", &["edge"]),
            "write the name of one that is defined, \"edge\", or add a table for it"
        );
        let many = said(
            "other",
            &["aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj"],
        );
        assert!(
            many.contains("\"hh\" and 2 more,") && !many.contains("ii"),
            "{many}"
        );
    }

    #[test]
    fn a_suggestion_is_close_or_absent() {
        assert_eq!(
            did_you_mean("upstrem", ["upstream", "tls"]).as_deref(),
            Some("did you mean \"upstream\"?")
        );
        assert_eq!(
            did_you_mean("app", ["api", "web"]).as_deref(),
            Some("did you mean \"api\"?")
        );
        assert_eq!(did_you_mean("vault", ["web", "ca"]), None);
        assert_eq!(did_you_mean("x", []), None);
    }
}
