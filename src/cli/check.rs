//! `snigate check`

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use crate::cli::{ConfigPath, colors, print, print_diagnostics};
use crate::config::diagnostic::{Diagnostic, Place, Severity};
use crate::config::diff::{Diff, diff};
use crate::config::weakening::{Standing, Weakening, compare};
use crate::config::{self, Loaded};

/// It would start, and `--strict` was asked to say that there is something to look at.
const NOTEWORTHY: u8 = 4;

/// The key `reload` of a finding that a reload would hold until an operator confirms it.
const HELD: &str = "held";
/// That of one that would wait until its files are quiet.
const WAITS: &str = "waits";

/// A finding about a reload, and what would become of it.
type Weaker = (Diagnostic, &'static str);

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigPath,
    /// Exit 4 if snigate would start, but there is a warning, or a certificate that clients refuse.
    #[arg(long)]
    strict: bool,
    /// Also say what differs from this configuration, what a reload from it would hold, because a
    /// protection would go, and what would wait.
    #[arg(long, value_name = "OLD")]
    against: Option<PathBuf>,
    /// Print one JSON object per finding, and with `--against` per change, each on a line of its
    /// own, and nothing else.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let path = options.config.find()?;
    let mut loaded = config::load(&path);
    loaded.mention_privileges();
    let (mut weaker, mut difference) = (Vec::new(), None);
    if let Some(old) = &options.against {
        (weaker, difference) = compared(old, &path, &loaded)?;
    }
    let found = Count::of(
        loaded
            .diagnostics
            .iter()
            .chain(weaker.iter().map(|(found, _)| found)),
    );
    if options.json {
        let own = loaded.diagnostics.iter().map(|found| (found, None));
        let weaker = weaker.iter().map(|(found, reload)| (found, Some(*reload)));
        for (diagnostic, reload) in own.chain(weaker) {
            let line = serde_json::to_string(&JsonFinding::of(diagnostic, reload, &path))
                .context("cannot write a finding")?;
            print(&format!("{line}\n"))?;
        }
        for change in difference.iter().flat_map(Diff::changes) {
            let line = serde_json::to_string(change).context("cannot write a change")?;
            print(&format!("{line}\n"))?;
        }
    } else {
        loaded
            .diagnostics
            .extend(weaker.into_iter().map(|(found, _)| found));
        print_diagnostics(
            &mut io::stdout(),
            colors(&io::stdout()),
            &loaded.diagnostics,
        );
        if let Some(old) = &options.against {
            print(&match &difference {
                None => format!(
                    "not compared with {}: {} is not valid\n",
                    old.display(),
                    path.display()
                ),
                Some(diff) if diff.is_empty() => {
                    format!("nothing differs from {}\n", old.display())
                }
                Some(diff) => format!("{diff}\n"),
            })?;
        }
        print(&format!("{}: {}\n", path.display(), found.verdict()))?;
    }
    Ok(found.exit_code(options.strict))
}

/// What a reload from the configuration at `old` to this one would hold, or wait with, and what
/// differs; nothing where this one is not valid.
fn compared(
    old: &Path,
    path: &Path,
    loaded: &Loaded,
) -> anyhow::Result<(Vec<Weaker>, Option<Diff>)> {
    // What is not valid is not served; why has been said.
    let (Some(config), Some(outline)) = (&loaded.config, loaded.outline(path, None)) else {
        return Ok((Vec::new(), None));
    };
    let mut running = config::load(old);
    let outlined = running.outline(old, None);
    let (Some(before), Some(outlined)) = (running.config.take(), outlined) else {
        let why = running
            .diagnostics
            .iter()
            .find(|found| found.severity.refuses());
        let why = why.map_or_else(|| "it is not valid".to_owned(), ToString::to_string);
        bail!("nothing can be compared with {}: {why}", old.display());
    };
    let standing = [&before, config].map(Standing::of);
    let weaker = weaker((old, running), (path, loaded), &standing);
    Ok((weaker, Some(diff(&outlined, &outline))))
}

/// What a reload would hold, or wait with, as far as clients stand as these do.
fn weaker(
    (old, mut running): (&Path, Loaded),
    (path, loaded): (&Path, &Loaded),
    [before, now]: &[Standing; 2],
) -> Vec<Weaker> {
    let mut weakening = compare(before, now);
    // The texts that run are in the place of these, wherever a copy of them is kept.
    let directory = |path: &Path| path.parent().unwrap_or(Path::new("")).to_owned();
    let texts = running
        .files
        .take_texts()
        .moved(&directory(old), &directory(path));
    weakening.lose_files(loaded.files.texts().lost(&texts));
    weakening.rephrase(|text| loaded.variables.hide(text));
    let Weakening { vanished, loosened } = weakening;
    let routes = vanished
        .iter()
        .chain(loosened.iter())
        .filter_map(|finding| finding.route.clone())
        .collect();
    let places = config::places(path, &routes);
    let help =
        "a reload holds this until somebody confirms it with SIGHUP (`systemctl reload snigate`)";
    let held = vanished
        .iter()
        .map(|finding| (HELD, finding, Some(help.to_owned())));
    let waits = loosened.iter().map(|finding| (WAITS, finding, None));
    let diagnostics = held.chain(waits).map(|(reload, finding, help)| {
        let what = match reload {
            HELD => "would be held",
            _ => "would wait until its files are quiet",
        };
        let place = finding
            .route
            .as_ref()
            .and_then(|route| places.get(route))
            .cloned();
        let found = Diagnostic {
            place,
            ..Diagnostic::new(Severity::Warning, format!("{what}: {}", finding.text))
        };
        (found.help(help), reload)
    });
    let more = [
        (vanished.more(), HELD, "would be held"),
        (loosened.more(), WAITS, "would wait"),
    ];
    let more = more.into_iter().filter(|(more, ..)| *more > 0);
    let more = more.map(|(more, reload, what)| {
        let message = format!("{more} more of the kind {what}");
        (Diagnostic::new(Severity::Warning, message), reload)
    });
    diagnostics.chain(more).collect()
}

/// How many findings there are of each weight.
#[derive(Default)]
struct Count {
    errors: usize,
    urgent: usize,
    warnings: usize,
}

impl Count {
    fn of<'a>(diagnostics: impl Iterator<Item = &'a Diagnostic>) -> Self {
        let mut count = Self::default();
        for diagnostic in diagnostics {
            *match diagnostic.severity {
                Severity::Error | Severity::Unsettled => &mut count.errors,
                Severity::Stale | Severity::Premature => &mut count.urgent,
                Severity::Warning => &mut count.warnings,
            } += 1;
        }
        count
    }

    fn verdict(&self) -> String {
        let verdict = match self {
            Self { errors: 1.., .. } => "not valid",
            Self { urgent: 1.., .. } => "valid, but clients refuse part of what it serves",
            _ => "valid",
        };
        let urgent = if self.urgent > 0 {
            format!(", {} urgent", self.urgent)
        } else {
            String::new()
        };
        format!(
            "{verdict}: {}, {}{urgent}",
            many(self.errors, "error"),
            many(self.warnings, "warning")
        )
    }

    fn exit_code(&self, strict: bool) -> ExitCode {
        match self {
            Self { errors: 1.., .. } => ExitCode::FAILURE,
            Self {
                urgent: 0,
                warnings: 0,
                ..
            } => ExitCode::SUCCESS,
            _ if strict => ExitCode::from(NOTEWORTHY),
            _ => ExitCode::SUCCESS,
        }
    }
}

fn many(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A finding as `--json` prints it. Keys are added at most; none is renamed or left out, and what
/// is not there is `null`.
#[derive(Serialize)]
struct JsonFinding<'a> {
    severity: &'static str,
    message: &'a str,
    help: Option<&'a str>,
    #[serde(flatten)]
    place: Span<'a>,
    related: Option<Related<'a>>,
    /// What a reload would do with it: `held` or `waits`, with `--against` alone.
    reload: Option<&'static str>,
}

/// Where something stands: lines and columns are counted from 1, columns in characters, and `end`
/// is the first that is no longer meant.
#[derive(Serialize)]
struct Span<'a> {
    file: Cow<'a, str>,
    line: Option<usize>,
    column: Option<usize>,
    end: Option<JsonEnd>,
}

#[derive(Serialize)]
struct JsonEnd {
    line: usize,
    column: usize,
}

#[derive(Serialize)]
struct Related<'a> {
    message: &'a str,
    #[serde(flatten)]
    place: Span<'a>,
}

impl<'a> JsonFinding<'a> {
    /// A diagnostic without a place of its own is a matter of the configuration at `path` as a
    /// whole.
    fn of(diagnostic: &'a Diagnostic, reload: Option<&'static str>, path: &'a Path) -> Self {
        let whole = || Span {
            file: path.to_string_lossy(),
            line: None,
            column: None,
            end: None,
        };
        Self {
            severity: diagnostic.severity.word(),
            message: &diagnostic.message,
            help: diagnostic.help.as_deref(),
            place: diagnostic.place.as_ref().map_or_else(whole, Span::from),
            related: diagnostic.other.as_ref().map(|(place, role)| Related {
                message: role,
                place: Span::from(place),
            }),
            reload,
        }
    }
}

impl<'a> From<&'a Place> for Span<'a> {
    fn from(place: &'a Place) -> Self {
        let (line, column) = place.source.position(place.span.start);
        let (end_line, end_column) = place.source.position(place.span.end);
        Self {
            file: place.source.path.to_string_lossy(),
            line: Some(line),
            column: Some(column),
            end: Some(JsonEnd {
                line: end_line,
                column: end_column,
            }),
        }
    }
}
