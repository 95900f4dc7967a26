//! The program's commands and options, as its own help names them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

/// Runs `snigate` in a directory.
pub(crate) fn snigate(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
    command
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// What `--help` prints for a command; without one, for the program.
pub(crate) fn help(command: &[&str]) -> String {
    let arguments = [command, &["--help"]].concat();
    let output = snigate(Path::new("/"), &arguments);
    assert!(output.status.success(), "snigate {}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help names.
pub(crate) fn commands(help: &str) -> Vec<String> {
    let lines = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1);
    let names = lines.map_while(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The options that a help names, with their dashes.
fn options(help: &str) -> BTreeSet<String> {
    let lines = help
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('-'));
    let names = lines.flat_map(|line| {
        let words = line
            .split_whitespace()
            .take_while(|word| word.starts_with('-'));
        words
            .map(|word| word.trim_end_matches(',').to_owned())
            .collect::<Vec<_>>()
    });
    names.collect()
}

/// Every command, with the commands and the options that it has.
pub(crate) struct Commands(BTreeMap<Vec<String>, (Vec<String>, BTreeSet<String>)>);

impl Commands {
    pub(crate) fn new() -> Self {
        let mut all = BTreeMap::new();
        let mut next = vec![Vec::new()];
        while let Some(path) = next.pop() {
            let words: Vec<&str> = path.iter().map(String::as_str).collect();
            let help = help(&words);
            let inner = commands(&help);
            next.extend(
                inner
                    .iter()
                    .map(|name| [&path[..], std::slice::from_ref(name)].concat()),
            );
            all.insert(path, (inner, options(&help)));
        }
        Self(all)
    }

    /// The paths of all commands, the program's own first.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Vec<String>> {
        self.0.keys()
    }

    /// What is wrong with a command line, of which the name of the program has been taken.
    pub(crate) fn fault(&self, line: &str) -> Option<String> {
        // What follows is no longer an argument.
        let line = line.split(['|', '>', '#', ';']).next().unwrap_or_default();
        let mut path = Vec::new();
        for word in line.split_whitespace() {
            let word = word.trim_matches(|c| "[]()\"'".contains(c));
            let (inner, options) = &self.0[&path];
            if word == "&" {
                break;
            }
            if word.starts_with('-') {
                let name = word.split('=').next().unwrap_or_default();
                if !options.contains(name) {
                    return Some(format!("{name} is no option of snigate {}", path.join(" ")));
                }
            } else if inner.iter().any(|name| name == word) {
                path.push(word.to_owned());
            } else if !inner.is_empty() && !word.is_empty() && word != "..." {
                return Some(format!(
                    "{word} is no command of snigate {}",
                    path.join(" ")
                ));
            }
        }
        path.is_empty().then(|| "no command is named".to_owned())
    }
}
