//! Modules stand in one order, and use only what stands before them.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The order, as the documentation of the library gives it.
fn order() -> Vec<String> {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let line = lib
        .lines()
        .find_map(|line| line.strip_prefix("//! name < "))
        .expect("the line with the order");
    std::iter::once("name")
        .chain(line.split(" < "))
        .map(|module| module.trim().to_owned())
        .collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file, with the module that it belongs to.
fn files(directory: &Path, module: Option<&str>, found: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = module.unwrap_or(&name).to_owned();
        if path.is_dir() {
            files(&path, Some(&module), found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((module, path));
        }
    }
}

#[test]
fn a_module_uses_only_modules_that_stand_before_it() {
    let order = order();
    let rank: BTreeMap<&str, usize> = order
        .iter()
        .enumerate()
        .map(|(rank, module)| (module.as_str(), rank))
        .collect();
    let mut found = Vec::new();
    files(&source(), None, &mut found);
    let mut upward = Vec::new();
    for (module, path) in found
        .iter()
        .filter(|(module, _)| module != "lib" && module != "main")
    {
        let own = *rank
            .get(module.as_str())
            .unwrap_or_else(|| panic!("{module} is not in the order: {}", path.display()));
        let text = fs::read_to_string(path).unwrap();
        for (at, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let used = *rank
                    .get(used.as_str())
                    .unwrap_or_else(|| panic!("crate::{used} in {}", path.display()));
                if used > own {
                    upward.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
                }
            }
        }
    }
    assert!(
        upward.is_empty(),
        "these look upward:\n{}",
        upward.join("\n")
    );
    assert!(found.len() > 30, "only {} files were found", found.len());
}
