//! What `--version` says: the version, and the commit and its date where they are known.
//!
//! They are the same wherever a commit is built: the date is the commit's own, or
//! `SOURCE_DATE_EPOCH`. Builds that are not for release say nothing of a commit, so that none is
//! built again for it.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// `git archive` puts the commit and its date here.
const ARCHIVED: &str = "$Format:%h %cs$";

fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let origin = if is_release {
        origin(Path::new(&root))
    } else {
        None
    };
    if !is_release {
        println!("cargo::rerun-if-changed=build.rs");
    }
    let text = match origin {
        Some(origin) => format!("{version} ({origin})"),
        None => version,
    };
    println!("cargo::rustc-env=SNIGATE_VERSION={text}");
}

/// The commit and its date, whichever of them is known.
fn origin(root: &Path) -> Option<String> {
    let from_git = git(root);
    let packaged = fs::read_to_string(root.join(".cargo_vcs_info.json"))
        .ok()
        .and_then(|info| {
            let (_, rest) = info.split_once("\"sha1\": \"")?;
            rest.get(..12).map(|commit| (commit.to_owned(), None))
        });
    let archived = ARCHIVED
        .split_once(' ')
        .filter(|_| !ARCHIVED.starts_with('$'));
    let archived = archived.map(|(commit, date)| (commit.to_owned(), Some(date.to_owned())));
    let (commit, date) = from_git
        .or(packaged)
        .or(archived)
        .map_or((None, None), |(commit, date)| (Some(commit), date));
    let epoch = env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|seconds| seconds.parse::<i64>().ok());
    let date = epoch.map(day).or(date);
    let known: Vec<String> = [commit, date].into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.join(" "))
}

/// The commit of a checkout of this project, and its date. A tarball that is unpacked in somebody
/// else's checkout is none.
fn git(root: &Path) -> Option<(String, Option<String>)> {
    let run = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    if Path::new(&run(&["rev-parse", "--show-toplevel"])?)
        .canonicalize()
        .ok()?
        != root.canonicalize().ok()?
    {
        return None;
    }
    for path in ["HEAD", "logs/HEAD", "index"] {
        println!(
            "cargo::rerun-if-changed={}",
            root.join(run(&["rev-parse", "--git-path", path])?)
                .display()
        );
    }
    for path in ["src", "build.rs", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = run(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = run(&["status", "--porcelain", "--untracked-files=no"])?;
    let mark = if changed.is_empty() { "" } else { "+" };
    Some((
        format!("{commit}{mark}"),
        run(&["show", "-s", "--format=%cs", "HEAD"]),
    ))
}

/// The day of a time in seconds, as `2026-11-29` (the proleptic Gregorian calendar, in days of eras
/// of 400 years).
fn day(seconds: i64) -> String {
    let days = seconds.div_euclid(24 * 3600) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (
        of_year - (153 * shifted + 2) / 5 + 1,
        if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        },
    );
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
