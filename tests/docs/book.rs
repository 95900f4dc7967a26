//! The pages of README and of the book, and what stands in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the tree.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Markdown file of the project.
pub(crate) struct Page {
    /// Relative to the root of the tree.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A block between two fences.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) body: String,
}

/// One page by its path.
pub(crate) fn page(path: &str) -> Page {
    let text =
        fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Page {
        path: path.into(),
        text,
    }
}

/// README, the other pages at the root, and every page of the book.
pub(crate) fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ]
    .map(PathBuf::from)
    .into();
    paths.extend(book());
    paths
        .iter()
        .map(|path| page(path.to_str().unwrap()))
        .collect()
}

/// The Markdown files below `docs/`.
pub(crate) fn book() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut directories = vec![PathBuf::from("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root().join(&directory)).unwrap() {
            let path = directory.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.insert(path);
            }
        }
    }
    found
}

impl Page {
    /// The blocks of the page, in order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        blocks(&self.text)
    }

    /// The bodies of the blocks of a language, in order.
    pub(crate) fn bodies(&self, language: &str) -> Vec<String> {
        let blocks = self.blocks().into_iter();
        blocks
            .filter(|block| block.language == language)
            .map(|block| block.body)
            .collect()
    }

    /// The lines outside of blocks.
    pub(crate) fn prose(&self) -> Vec<&str> {
        let mut is_inside = false;
        let lines = self.text.lines().filter(move |line| {
            let is_fence = line.starts_with("```");
            is_inside ^= is_fence;
            !is_inside && !is_fence && !line.starts_with("    ")
        });
        lines.collect()
    }

    /// What stands in single backticks outside of blocks.
    pub(crate) fn spans(&self) -> Vec<String> {
        spans(&self.prose().join("\n"))
    }

    /// The targets of links outside of blocks and of backticks.
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.prose().join("\n");
        // What is not in backticks.
        let plain: String = prose.split('`').step_by(2).collect();
        let targets = plain
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        targets.map(str::to_owned).collect()
    }

    /// The anchors of the headings, as forges and mdBook make them.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let prose = self.prose();
        let titles = prose.iter().filter(|line| line.starts_with('#'));
        titles
            .map(|line| anchor(line.trim_start_matches('#').trim()))
            .collect()
    }
}

/// What stands in single backticks.
pub(crate) fn spans(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => {
                open = Some(Block {
                    language: language.to_owned(),
                    body: String::new(),
                })
            }
            (None, Some(block)) => block.body += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

fn anchor(title: &str) -> String {
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}
