//! The documents: what they tell to type is typed, and what they show is compared with what is printed.
//!
//! A document is a story: its ```console blocks are run in one directory and one shell, from the first to the last. A line that
//! begins with `$ ` is a command, lines behind it that begin with `> ` are more of it, and the lines below are what it prints,
//! on both streams. `...` stands for what differs from one time to the next: in a line for any text, alone for any lines. A command that
//! fails must be followed by one that shows it, such as `echo $?`. A block below `<!-- file: NAME -->` is that file.
#![cfg(all(unix, feature = "cli", feature = "parquet"))]
#![allow(clippy::disallowed_methods, reason = "tests read the documents and write files of their own")]

mod documents;
mod shell;
#[path = "documents/story.rs"]
mod story;

use std::fs;
use std::path::Path;

use documents::{Document, Kind, blocks};
use serde_json::Value;
use shell::Shell;

/// What no word of a link may lead to.
const ELSEWHERE: [&str; 3] = ["https://", "http://", "mailto:"];

fn of_kind(document: &Document, kind: Kind) -> impl Iterator<Item = &documents::Block> {
    document.blocks.iter().filter(move |block| block.kind == kind)
}

#[test]
fn what_the_documents_tell_to_type_prints_what_they_show() {
    let shell = Shell::new();
    let only = std::env::var("DOCUMENT").unwrap_or_default();
    let documents: Vec<Document> =
        documents::all().into_iter().filter(|document| document.name.contains(&only)).collect();
    let results: Vec<Result<usize, String>> = std::thread::scope(|scope| {
        let stories: Vec<_> =
            documents.iter().map(|document| scope.spawn(|| story::run(&shell, document))).collect();
        stories.into_iter().map(|story| story.join().unwrap()).collect()
    });
    let wrong: Vec<String> = results.iter().filter_map(|result| result.clone().err()).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let commands: usize = results.into_iter().flatten().sum();
    assert!(commands > 0, "no command was run");
}

#[test]
fn every_json_block_parses() {
    for document in documents::all() {
        for block in of_kind(&document, Kind::Json) {
            let parsed = serde_json::from_str::<Value>(&block.lines.join("\n"));
            assert!(parsed.is_ok(), "{}:{}: {parsed:?}", document.name, block.line);
        }
        for block in of_kind(&document, Kind::Jsonl) {
            for (line, text) in (block.line..).zip(&block.lines) {
                let parsed = serde_json::from_str::<Value>(text);
                assert!(parsed.is_ok(), "{}:{line}: {parsed:?}", document.name);
            }
        }
    }
}

#[test]
fn every_document_with_rust_in_it_is_compiled_with_the_doctests() {
    let compiled = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let mut with_rust = 0;
    for document in documents::all() {
        let included = compiled.contains(&format!("include_str!(\"../{}\")", document.name));
        let rust = of_kind(&document, Kind::Rust).count();
        assert_eq!(included, rust > 0, "{}: {rust} blocks; is it in src/lib.rs?", document.name);
        with_rust += usize::from(rust > 0);
    }
    assert!(with_rust > 0, "no document holds Rust");
}

#[test]
fn what_is_told_to_build_and_install_begins_with_a_word_that_is_there() {
    let makefile = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    for document in documents::all() {
        for block in of_kind(&document, Kind::Sh) {
            for (line, text) in (block.line..).zip(&block.lines) {
                let words: Vec<&str> = text.split_whitespace().take_while(|word| *word != "#").collect();
                let there = match words.iter().find(|word| !word.contains('=')) {
                    None | Some(&"cargo" | &"pip") => true,
                    Some(&"make") => {
                        words.iter().skip_while(|word| **word != "make").skip(1).any(|target| {
                            makefile.lines().any(|rule| rule.starts_with(&format!("{target}:")))
                        })
                    }
                    Some(_) => false,
                };
                assert!(there, "{}:{line}: not run, and not known: {text}", document.name);
            }
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents::all();
    for document in &documents {
        for target in links(&document.text) {
            if ELSEWHERE.iter().any(|elsewhere| target.starts_with(elsewhere)) {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => document.path.clone(),
                path => document.path.parent().unwrap().join(path),
            };
            assert!(file.exists(), "{}: there is no {target}", document.name);
            if !anchor.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                assert!(
                    anchors(&text).any(|there| there == anchor),
                    "{}: no heading {target}",
                    document.name
                );
            }
        }
    }
}

/// The targets of `[text](target)` outside of blocks.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    let lines = text.lines().filter(move |line| {
        inside ^= line.starts_with("```");
        !inside
    });
    lines.flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()))
}

/// What GitHub makes of headings.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[test]
fn three_dots_stand_for_any_text_and_alone_for_any_lines_and_nothing_else_does() {
    for (expected, actual, fits) in [
        (&["a"][..], &["a"][..], true),
        (&["a"], &["b"], false),
        (&["a"], &[], false),
        (&[], &["a"], false),
        (&["seq ... of ..."], &["seq 1 of 3"], true),
        (&["seq ... of ..."], &["seq 1 in 3"], false),
        (&["...end"], &["the end"], true),
        (&["...end"], &["the end."], false),
        (&["a", "...", "c"], &["a", "c"], true),
        (&["a", "...", "c"], &["a", "b", "b", "c"], true),
        (&["a", "...", "c"], &["a", "b"], false),
        (&["..."], &[], true),
    ] {
        assert_eq!(story::matches(expected, actual), fits, "{expected:?} {actual:?}");
    }
}

#[test]
fn a_story_that_is_not_as_it_is_told_is_noticed() {
    let shell = Shell::new();
    let tell = |text: &str| {
        let blocks = blocks(text).unwrap();
        story::run(
            &shell,
            &Document { name: "story".into(), path: "story".into(), text: text.into(), blocks },
        )
    };
    let good = "```console\n$ mkdir d && cd d\n\n$ cat <<'END' > f\n> it's\n> END\n$ cat f\nit's\n$ false\n$ echo $?\n1\n\
                $ echo a >&2; echo b\na\nb\n```\nWords.\n```console\n$ pwd\n...d\n```\n";
    assert_eq!(tell(good), Ok(7));
    let file = "<!-- file: rows.jsonl -->\n```jsonl\n{}\n```\n```console\n$ cat rows.jsonl\n{}\n```\n";
    assert_eq!(tell(file), Ok(1));
    for (text, words) in [
        ("```console\n$ echo a\nb\n```\n", "story:2: echo a\n it says\n  b\n and is\n  a"),
        ("```console\n$ echo a\n```\n", "and is\n  a"),
        ("```console\n$ true\na\n```\n", "it says\n  a"),
        ("```console\n$ false\n$ true\n```\n", "ended with 1"),
        ("```console\n$ exit 0\n$ true\n```\n", "ended the shell"),
        ("```console\n$ echo a\na\n$ tallyfold frobnicate\n...\n```\n", "ended with 2"),
        ("```console\na\n```\n", "begins with a command"),
    ] {
        let told = tell(text).unwrap_err();
        assert!(told.contains(words), "{text}\n{told}");
    }
}

#[test]
fn a_block_of_no_known_kind_is_refused_with_its_line() {
    for (text, words) in [
        ("a\n```\nb\n```\n", "2: a block of no known kind: \"\""),
        ("```bash\nb\n```\n", "1: a block of no known kind: \"bash\""),
        ("```json\n{}\n", "1: a block that does not end"),
        ("- a\n  ```json\n", "2: a block that is indented"),
    ] {
        let refused = blocks(text).unwrap_err();
        assert!(refused.starts_with(words), "{refused}");
    }
}
