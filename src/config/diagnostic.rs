//! What is wrong with a configuration, where, and what to write instead.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration works, perhaps not as meant.
    Warning,
    /// Clients will refuse what this serves (a certificate that is over), but no policy is weaker for it.
    ///
    /// It is an error to `check`, but does not keep the rest of the configuration from running: the route that renews
    /// the certificate may well be part of it.
    Stale,
    /// A certificate whose time has not come, for a name that no other certificate covers. It is no reason not to start
    /// (the clock may be wrong, and the route that mends it may be here), but no reason to give up the certificate that
    /// runs, either.
    Premature,
    /// The files contradict each other in a way that passes when they are halfway replaced. Refused, and tried again.
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
}

/// A text that diagnostics point into.
#[derive(Debug)]
pub struct Source {
    /// The file it came from, as it was named.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

impl Source {
    /// Line and column of a byte, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
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
    /// What is wrong, beginning with the key: `routes.api: upstream "app" is not defined`.
    pub message: String,
    /// Where, if it is at one place.
    pub place: Option<Place>,
    /// Another place that is part of it, and its role.
    pub other: Option<(Place, String)>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding of this severity, nowhere yet.
    #[must_use]
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), place: None, other: None, help: None }
    }

    /// The same, at a place.
    #[must_use]
    pub fn at(mut self, source: &Arc<Source>, span: &Range<usize>) -> Self {
        self.place = Some(Place { source: Arc::clone(source), span: span.clone() });
        self
    }

    /// The same, with another place that is part of it.
    #[must_use]
    pub fn and_at(mut self, source: &Arc<Source>, span: &Range<usize>, role: &str) -> Self {
        self.other = Some((Place { source: Arc::clone(source), span: span.clone() }, role.to_owned()));
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
        let level = if self.severity == Severity::Warning { Level::WARNING } else { Level::ERROR };
        let title = level.primary_title(&self.message);
        let mut group = match &self.place {
            None => Group::with_title(title),
            Some(place) => title.element(snippet(place).annotation(AnnotationKind::Primary.span(marked(place)))),
        };
        if let Some((place, role)) = &self.other {
            group = group.element(snippet(place).annotation(AnnotationKind::Context.span(marked(place)).label(role)));
        }
        let mut report = vec![group];
        if let Some(help) = &self.help {
            report.push(Group::with_title(Level::HELP.secondary_title(help)));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&report)
    }
}

impl fmt::Display for Diagnostic {
    /// One line, for a log: `snigate.toml:12:8: routes.api: upstream "app" is not defined (did you mean "api"?)`.
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

fn snippet<'a, T: Clone>(place: &'a Place) -> Snippet<'a, T> {
    Snippet::source(&place.source.text).path(place.source.path.to_string_lossy().into_owned())
}

/// The place cut to its first line: a whole table would bury the message.
fn marked(place: &Place) -> Range<usize> {
    let text = &place.source.text;
    let start = place.span.start.min(text.len());
    let end = place.span.end.clamp(start, text.len());
    let end = text.get(start..end).and_then(|marked| marked.find('\n')).map_or(end, |newline| start + newline);
    start..end
}

/// The worst first; then as they stand in their files.
pub(super) fn sort(diagnostics: &mut [Diagnostic]) {
    let place = |diagnostic: &Diagnostic| diagnostic.place.as_ref().map(|at| (at.source.path.clone(), at.span.start));
    diagnostics.sort_by_cached_key(|diagnostic| (std::cmp::Reverse(diagnostic.severity), place(diagnostic)));
}

/// All diagnostics on one line.
#[must_use]
pub fn on_one_line(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{diagnostic}");
    }
    text
}

/// How many names are compared for a suggestion.
const MAX_CANDIDATES: usize = 1000;

/// The candidate that `word` was probably meant to be, as `did you mean "x"?`.
#[must_use]
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
    // Whoever has thousands of names does not need a guess, and guessing reads them all.
    let (best, closest) = candidates.into_iter().take(MAX_CANDIDATES).map(|c| (distance(c), c)).min()?;
    let near = best <= 1 + word.chars().count() / 4;
    near.then(|| format!("did you mean {closest:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let source = Source { path: "x.toml".into(), text: "a = 1\nbü = \"c\"\n".to_owned() };
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(6), (2, 1));
        assert_eq!(source.position(12), (2, 6));
        assert_eq!(source.position(999), (3, 1));
    }

    #[test]
    fn a_suggestion_is_close_or_absent() {
        assert_eq!(did_you_mean("upstrem", ["upstream", "tls"]).as_deref(), Some("did you mean \"upstream\"?"));
        assert_eq!(did_you_mean("app", ["api", "web"]).as_deref(), Some("did you mean \"api\"?"));
        assert_eq!(did_you_mean("vault", ["web", "ca"]), None);
        assert_eq!(did_you_mean("x", []), None);
    }
}
