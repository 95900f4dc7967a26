//! The order of modules, what each of them may know, and how its documentation begins.
//!
//! Tests within the modules are left out: they may make a certificate wherever they need one.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The last module of the order that knows no clock, no file and no socket.
const LAST_PURE: &str = "x509";

/// What a pure module does not name.
const IMPURE: [&str; 10] = [
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "UnixTime::now",
    "Timestamp::now",
    "tokio",
];

/// Words that a noun phrase does not begin with.
const NO_NOUNS: [&str; 11] = [
    "What", "Who", "Whom", "Whose", "How", "Where", "When", "Why", "Which", "Whether", "From",
];

/// A source file without its tests.
struct Source {
    path: PathBuf,
    /// The names of the modules that the file is in, the outermost first: `tls`, `client`.
    modules: Vec<String>,
    text: String,
}

impl Source {
    fn module(&self) -> &str {
        &self.modules[0]
    }

    /// The lines, with where each stands.
    fn lines(&self) -> impl Iterator<Item = (String, &str)> {
        let code = self.text.lines().enumerate();
        code.map(|(at, line)| (format!("{}:{}", self.path.display(), at + 1), line.trim()))
            .filter(|(_, line)| !line.starts_with("//"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file of the product but `lib.rs` and `main.rs`.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), &[], &mut found);
    assert!(found.len() > 100, "only {} files were found", found.len());
    found
}

fn collect(directory: &Path, above: &[String], found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_of_crate = above.is_empty() && ["lib", "main"].contains(&name.as_str());
        if name == "tests" || is_of_crate {
            continue;
        }
        let mut modules = above.to_vec();
        if name != "mod" {
            modules.push(name);
        }
        if path.is_dir() {
            collect(&path, &modules, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = without_tests(&fs::read_to_string(&path).unwrap());
            found.push(Source {
                path,
                modules,
                text,
            });
        }
    }
}

/// The text up to the tests, which stand last in a file.
fn without_tests(text: &str) -> String {
    let is_tests =
        |line: &str| line.starts_with("mod tests {") || line.starts_with("pub(crate) mod tests {");
    let mut lines: Vec<&str> = text.lines().collect();
    if let Some(at) = lines.iter().position(|line| is_tests(line)) {
        lines.truncate(at);
    }
    lines.join("\n")
}

/// The modules of a line like `//! name < addr < wire`.
fn order(documentation: &str) -> Option<Vec<&str>> {
    let mut lines = documentation.lines();
    let line = lines.find(|line| line.starts_with("//! ") && line.contains(" < "))?;
    Some(line[4..].split(" < ").map(str::trim).collect())
}

fn ranks<'a>(order: &[&'a str]) -> BTreeMap<&'a str, usize> {
    let ranks: BTreeMap<_, _> = order
        .iter()
        .enumerate()
        .map(|(at, name)| (*name, at))
        .collect();
    assert_eq!(ranks.len(), order.len(), "a module stands twice: {order:?}");
    ranks
}

/// The names that follow `prefix` in a line of code.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let begins_a_path = move |at: usize| !line[..at].ends_with(|c| is_of_name(c) || c == ':');
    line.match_indices(prefix)
        .filter(move |(at, _)| begins_a_path(*at))
        .map(move |(at, _)| {
            let rest = &line[at + prefix.len()..];
            &rest[..rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())]
        })
}

fn assert_none(found: &[String], what: &str) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn a_module_uses_only_modules_that_stand_before_it() {
    let lib = fs::read_to_string(root().join("lib.rs")).unwrap();
    let ranks = ranks(&order(&lib).expect("the line with the order"));
    let rank = |name: &str| {
        *ranks
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in the order"))
    };
    let mut upward = Vec::new();
    for source in sources() {
        let own = rank(source.module());
        for (at, line) in source.lines() {
            if names_after(line, "crate::").any(|used| rank(used) > own) {
                upward.push(format!("{at}: {line}"));
            }
        }
    }
    assert_none(&upward, "these look upward");
}

/// The modules that have files in an order of their own, each with its `mod.rs`.
fn ordered(sources: &[Source]) -> Vec<(&[String], &str)> {
    let is_mod = |source: &&Source| source.path.ends_with("mod.rs");
    let mod_rs = sources
        .iter()
        .filter(is_mod)
        .map(|source| (&*source.modules, &*source.text));
    mod_rs.filter(|(_, text)| order(text).is_some()).collect()
}

/// The file of a module in which a name is: that of the name, or the one that it is handed on from.
fn file_of<'a>(name: &'a str, files: &[&'a str], mod_rs: &'a str) -> Option<&'a str> {
    if files.contains(&name) {
        return Some(name);
    }
    let handed_on = mod_rs
        .split("use ")
        .skip(1)
        .filter_map(|used| used.split_once(';'));
    handed_on
        .filter_map(|(path, _)| path.split_once("::"))
        .find(|(_, names)| {
            names
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|one| one == name)
        })
        .map(|(file, _)| file)
}

/// The names that a file uses of `module`, also several in braces.
fn used_of<'a>(text: &'a str, module: &str) -> Vec<&'a str> {
    let mut used = Vec::new();
    for (at, prefix) in text.match_indices(&format!("crate::{module}::")) {
        let rest = &text[at + prefix.len()..];
        let end = |text: &str| {
            text.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(text.len())
        };
        let Some(list) = rest.strip_prefix('{') else {
            used.push(&rest[..end(rest)]);
            continue;
        };
        // The first name of each item: what stands in further braces belongs to that.
        let mut depth = 0;
        let mut begins = true;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && !c.is_whitespace() => {
                    used.push(&list[at..at + end(&list[at..])]);
                    begins = false;
                }
                _ => {}
            }
        }
    }
    used
}

#[test]
fn a_file_of_an_ordered_module_uses_only_files_that_stand_before_it() {
    let sources = sources();
    let ordered = ordered(&sources);
    assert!(
        ordered.len() >= 5,
        "{} modules have an order of files",
        ordered.len()
    );
    let mut found = Vec::new();
    for (module, mod_rs) in ordered {
        let files = order(mod_rs).unwrap();
        let ranks = ranks(&files);
        let path = module.join("::");
        for source in &sources {
            let Some([file, ..]) = source.modules.strip_prefix(module) else {
                continue;
            };
            let own = ranks
                .get(&**file)
                .unwrap_or_else(|| panic!("{file} is not in the order of {path}"));
            let code: Vec<&str> = source.lines().map(|(_, line)| line).collect();
            for name in used_of(&code.join("\n"), &path) {
                let used = file_of(name, &files, mod_rs);
                if used.is_none_or(|used| ranks[used] > *own) {
                    found.push(format!("{}: {path}::{name}", source.path.display()));
                }
            }
        }
    }
    assert_none(
        &found,
        "these look upward within their module, or to its `mod.rs`",
    );
}

#[test]
fn a_module_leaves_itself_by_its_full_path_alone() {
    let mut found = Vec::new();
    for source in sources() {
        let way_out = "super::".repeat(source.modules.len());
        for (at, line) in source.lines() {
            if line.contains(&way_out) {
                found.push(format!("{at}: {line}"));
            }
        }
    }
    assert_none(&found, "these leave their module by `super`");
}

#[test]
fn what_is_pure_asks_neither_a_clock_nor_the_system() {
    let lib = fs::read_to_string(root().join("lib.rs")).unwrap();
    let order = order(&lib).expect("the line with the order");
    let last = order.iter().position(|name| *name == LAST_PURE).unwrap();
    let mut found = Vec::new();
    for source in sources() {
        if !order[..=last].contains(&source.module()) {
            continue;
        }
        for (at, line) in source.lines() {
            if IMPURE.iter().any(|word| line.contains(word)) {
                found.push(format!("{at}: {line}"));
            }
        }
    }
    assert_none(&found, "these are not pure");
}

#[test]
fn rustls_is_known_to_tls_alone() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.module() != "tls") {
        for (at, line) in source.lines() {
            if line.contains("rustls::") {
                found.push(format!("{at}: {line}"));
            }
        }
    }
    assert_none(&found, "these know rustls");
}

#[test]
fn the_documentation_of_a_module_begins_with_a_noun() {
    let mut found = Vec::new();
    for path in source_files(&root()) {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let word = first
            .strip_prefix("//! ")
            .and_then(|words| words.split(' ').next());
        if word.is_none_or(|word| NO_NOUNS.contains(&word)) {
            found.push(format!("{}: {first}", path.display()));
        }
    }
    assert_none(&found, "these do not begin with a noun");
}

/// Every source file, tests included.
fn source_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
