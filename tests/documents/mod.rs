//! The documents, taken apart into blocks of code.

use std::fs;
use std::path::{Path, PathBuf};

/// What a block holds, by the word behind its fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Commands behind `$ `, and what they print. Run by `docs.rs`.
    Console,
    /// Compiled by `cargo test --doc`.
    Rust,
    /// Run by `python/tests/test_docs.py`.
    Python,
    /// One JSON document.
    Json,
    /// A JSON document on each line.
    Jsonl,
    /// Commands that build and install, and are not run: `make`, `cargo` and `pip`.
    Sh,
    /// What is for another program: rules of Prometheus, a unit of systemd, a line of Cargo.toml. `test_docs.py` parses it.
    Other,
    /// A picture, a grammar, bytes.
    Text,
}

/// A block of code.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Where its first line stands in the document, from 1 on.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    pub(crate) lines: Vec<String>,
    /// The file that it is, by the comment `<!-- file: NAME -->` above it.
    pub(crate) file: Option<String>,
}

/// A Markdown file.
pub(crate) struct Document {
    /// The path in the repository.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Block>,
}

/// Every document of the repository that is for its users.
#[track_caller]
pub(crate) fn all() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md"), root.join("python/README.md")];
    for dir in ["docs", "docs/guides"] {
        let mut found: Vec<PathBuf> = fs::read_dir(root.join(dir))
            .unwrap_or_else(|e| panic!("{dir}: {e}"))
            .map(|item| item.expect("a directory").path())
            .filter(|path| path.extension().is_some_and(|end| end == "md"))
            .collect();
        found.sort();
        assert!(!found.is_empty(), "{dir} holds no document");
        paths.extend(found);
    }
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
            let blocks = blocks(&text).unwrap_or_else(|e| panic!("{name}:{e}"));
            Document { name, path, text, blocks }
        })
        .collect()
}

/// The blocks of a text, or the line that is wrong and why.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut file = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (Some(block), None) => block.lines.push(line.to_string()),
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(_), Some(_)) => return Err(format!("{number}: a block begins inside of one")),
            (None, Some(word)) => {
                if line.starts_with(' ') {
                    return Err(format!("{number}: a block that is indented would not be run"));
                }
                let kind =
                    kind(word).ok_or_else(|| format!("{number}: a block of no known kind: {word:?}"))?;
                open = Some(Block { line: number + 1, kind, lines: Vec::new(), file: file.take() });
            }
            (None, None) if line.is_empty() => {}
            (None, None) => {
                let named = line.strip_prefix("<!-- file: ").and_then(|rest| rest.strip_suffix(" -->"));
                file = named.map(String::from);
            }
        }
    }
    match open {
        None => Ok(blocks),
        Some(block) => Err(format!("{}: a block that does not end", block.line - 1)),
    }
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "console" => Kind::Console,
        "rust" | "rust,no_run" => Kind::Rust,
        "python" => Kind::Python,
        "json" => Kind::Json,
        "jsonl" => Kind::Jsonl,
        "sh" => Kind::Sh,
        "toml" | "yaml" | "ini" => Kind::Other,
        "text" => Kind::Text,
        _ => return None,
    })
}
