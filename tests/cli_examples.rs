//! The examples at the end of every verb's help: each is run as it stands there.
#![cfg(all(unix, feature = "cli", feature = "parquet"))]
#![allow(clippy::disallowed_methods, reason = "tests make and copy files of their own")]

mod shell;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use shell::Shell;
use tallyfold::{Batch, Settings, Store};
use tempfile::TempDir;

/// The verbs that there were when this was written. A reader of the help that finds fewer reads it wrongly.
const AT_LEAST: usize = 18;

/// Options after which a command goes on until it is stopped.
const GOING_ON: [&str; 5] = ["-f", "--follow", "--every", "--listen", "--watch"];

/// What a line ends with that goes on in the next one.
const GOES_ON_BELOW: [&str; 4] = ["\\", "|", "&&", "||"];

/// Verbs and options that show a screen, and the options with which they do not.
const SCREENS: [&str; 2] = ["top", "--watch"];
const NO_SCREEN: [&str; 2] = ["--once", "--json"];

/// How a shell tells of a program that wrote to a pipe which nobody reads: 128 and the signal.
const BROKEN_PIPE: i32 = 141;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// With 0.
    ByItself,
    /// By Ctrl-C, with 130.
    Interrupted,
    /// By Ctrl-C in a terminal, with 130.
    Screen,
}

/// An example, and the verb in whose help it stands.
struct Example {
    verb: String,
    line: String,
}

#[test]
fn every_example_of_every_verb_works_as_it_stands_there() {
    let shell = Shell::new();
    let examples = examples(&shell);
    let template = tempfile::tempdir().unwrap();
    fill(template.path());
    let (next, ran) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            while let Some(example) = examples.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(missing) = shell.lacks(&example.line) {
                    println!("skipped: there is no {missing} here: {}", example.line);
                    continue;
                }
                ran.fetch_add(1, Ordering::Relaxed);
                failures.extend(try_it(&shell, template.path(), example));
            }
            failures
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(ran.into_inner() > 0, "no example was run");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_goes_on_is_known_by_its_option_and_a_line_may_be_continued() {
    for (line, how) in [
        ("tallyfold log metrics -n 10 -f", End::Interrupted),
        ("tallyfold log metrics --from 1 -n 2 -f", End::ByItself),
        ("tallyfold compact --every 60", End::Interrupted),
        ("tallyfold stats --listen=127.0.0.1:9187", End::Interrupted),
        ("tallyfold log metrics -n 10 | grep -f patterns", End::ByItself),
        ("tallyfold log metrics | head", End::ByItself),
        ("tallyfold top", End::Screen),
        ("tallyfold top --every 5", End::Screen),
        ("tallyfold top --once", End::ByItself),
        ("tallyfold top --json", End::Interrupted),
        ("tallyfold top --json --once", End::ByItself),
    ] {
        assert_eq!(end(line), how, "{line}");
    }
    let help = "Words.\n\nExamples:\n  tallyfold a \\\n    b\n  tallyfold c |\n  jq .\n  tallyfold d\n\nMore: words.\n";
    assert_eq!(section(help), ["tallyfold a \\\n  b", "tallyfold c |\njq .", "tallyfold d"]);
    assert!(section("No such line.\n").is_empty());
    let help = "Usage: x\n\nWrite:\n  create    Make\n            it\n  run-it  Run\n\n  -h, --help  Help\n  help  Print\n";
    assert_eq!(names(help), ["create", "run-it"]);
}

/// The examples of all verbs, each of which must have some.
#[track_caller]
fn examples(shell: &Shell) -> Vec<Example> {
    let anywhere = std::env::temp_dir();
    let help = |verb: &str| {
        let ended = shell.run(&anywhere, &format!("tallyfold {verb} --help"));
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{verb}");
        ended.out
    };
    let mut verbs = names(&help(""));
    assert!(verbs.len() >= AT_LEAST, "{verbs:?}");
    let mut examples = Vec::new();
    while let Some(verb) = verbs.pop() {
        let help = help(&verb);
        if let Some((_, below)) = help.split_once("\nCommands:\n") {
            verbs.extend(names(below).iter().map(|name| format!("{verb} {name}")));
            continue;
        }
        let lines = section(&help);
        assert!(!lines.is_empty(), "{verb} has no example:\n{help}");
        for line in lines {
            examples.push(Example { verb: verb.clone(), line });
        }
    }
    examples
}

/// The verbs that a help lists: a word and, some blanks behind it, what it does.
fn names(help: &str) -> Vec<String> {
    let name = |line: &str| {
        let (name, rest) = line.strip_prefix("  ")?.split_once("  ")?;
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !name.starts_with('-');
        (is_name && !name.is_empty() && !rest.trim().is_empty() && name != "help").then(|| name.to_string())
    };
    help.lines().filter_map(name).collect()
}

/// The lines below `Example:` or `Examples:`, without their indentation; one that ends in a backslash with those that follow it.
fn section(help: &str) -> Vec<String> {
    let below = help.lines().skip_while(|line| !["Example:", "Examples:"].contains(line)).skip(1);
    let mut examples: Vec<String> = Vec::new();
    for line in below.map_while(|line| line.strip_prefix("  ")) {
        match examples.last_mut() {
            Some(last) if GOES_ON_BELOW.iter().any(|end| last.ends_with(end)) => {
                *last = format!("{last}\n{line}");
            }
            _ => examples.push(line.to_string()),
        }
    }
    examples
}

/// How the command of ours in a line ends.
fn end(line: &str) -> End {
    let ours = line.split('|').filter(|part| part.split_whitespace().next() == Some("tallyfold"));
    let words: Vec<&str> = ours
        .flat_map(str::split_whitespace)
        .map(|word| word.split_once('=').map_or(word, |(option, _)| option))
        .collect();
    let has = |word: &&str| words.contains(word);
    let screen = SCREENS.iter().any(has);
    if screen && !NO_SCREEN.iter().any(has) {
        return End::Screen;
    }
    // So many records from a place on: then it ends when there are so many.
    let enough = has(&"--once") || (has(&"--from") && has(&"-n"));
    match !enough && (screen || GOING_ON.iter().any(has)) {
        true => End::Interrupted,
        false => End::ByItself,
    }
}

/// Whether another program than this one writes to `head`.
fn others_write_to_head(line: &str) -> bool {
    let parts: Vec<&str> =
        line.split('|').map(|part| part.split_whitespace().next().unwrap_or_default()).collect();
    parts.windows(2).any(|pair| pair[0] != "tallyfold" && pair[1] == "head")
}

/// Runs an example in a place of its own, and says what is wrong with how it ended.
fn try_it(shell: &Shell, template: &Path, example: &Example) -> Option<String> {
    if !example.line.contains("tallyfold") {
        let wrapped = "wrapped, for it is too long? It may go on behind a \\";
        return Some(format!("{}: {}\n  {wrapped}", example.verb, example.line));
    }
    let dir = tempfile::tempdir().unwrap();
    copy(template, dir.path());
    let script = format!("set -e\n{}", example.line);
    let (ended, expected) = match end(&example.line) {
        End::ByItself => (shell.run(dir.path(), &script), 0),
        End::Interrupted => (shell.interrupt(dir.path(), &script), 130),
        End::Screen => match shell.interrupt_screen(dir.path(), &example.line) {
            Some(ended) => (ended, 130),
            None => return None,
        },
    };
    // Whoever writes to a program that has seen enough may be ended by that; this command may not.
    let hung_up = ended.code == Some(BROKEN_PIPE) && others_write_to_head(&example.line);
    let wrong = ended.code != Some(expected) && !hung_up;
    wrong.then(|| {
        format!(
            "{}: {}\n  ended with {:?}, not {expected}: {}{}",
            example.verb, example.line, ended.code, ended.err, ended.out
        )
    })
}

fn copy(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        let kind = item.file_type().unwrap();
        if kind.is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&item.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(item.path()).unwrap(), &target).unwrap();
        } else {
            fs::copy(item.path(), &target).unwrap();
        }
    }
}

/// A store with the cohorts that examples are about, and the files that they name.
fn fill(dir: &Path) {
    let store = Store::open(dir.join("tallyfold-store")).unwrap();
    let index = store.create("index", Settings::latest()).unwrap();
    let rows: Vec<Value> = (1..=240)
        .map(|n| {
            let auc = 0.58 + f64::from(n % 5) / 100.0;
            json!({"run_id": format!("run-{n}"), "stage": "TRAINING", "target": "fwd_ret_5d", "auc": auc, "step": 100 * n})
        })
        .collect();
    for (n, row) in (1..).zip(&rows) {
        index.append(&format!("run-{n}:TRAINING"), row).unwrap();
    }
    index.compact().unwrap();
    index.append("run-1:TRAINING", &json!({"run_id": "run-1", "stage": "TRAINING", "auc": 0.64})).unwrap();
    index.detach().unwrap();

    points(&store);
    let epochs = |n: u32| json!({"loss": 1.0 / f64::from(n), "acc": 1.0 - 0.5 / f64::from(n)});
    let curves =
        store.create("curves", Settings::from_json(r#"{"fold":{"kind":"series"}}"#).unwrap()).unwrap();
    for run in ["run-1", "run-2"] {
        for n in 1..=30 {
            curves.append(run, &epochs(n)).unwrap();
        }
    }
    curves.detach().unwrap();

    fs::write(dir.join("weights.pt"), vec![7; 100_000]).unwrap();
    fs::write(dir.join("config.yaml"), "lr: 0.1\n").unwrap();
    let models = store.create("models", Settings::latest()).unwrap();
    let mut bundle = models.bundle("run-1").unwrap();
    bundle.add_file("weights.pt", dir.join("weights.pt")).unwrap();
    bundle.commit(&json!({"auc": 0.61})).unwrap();
    models.detach().unwrap();

    let runs = store.create("runs", Settings::latest()).unwrap();
    runs.append("run-1", &rows[0]).unwrap();
    runs.detach().unwrap();
    files(dir, &rows);
}

/// `metrics`, and `events` with keys of its own.
fn points(store: &Store) {
    let metrics = store.create("metrics", Settings::log()).unwrap();
    let mut batch = Batch::new();
    for n in 1..=1200_u32 {
        let point = json!({
            "run_id": format!("run-{}", n % 3 + 1), "stage": "TRAINING", "step": n, "loss": 1.0 / f64::from(n),
            "acc": 1.0 - 0.5 / f64::from(n), "ts": 1_767_871_234.0 + f64::from(n),
        });
        batch.put("", &point).unwrap();
    }
    metrics.append_batch(batch).unwrap();
    metrics.detach().unwrap();
    let events = store.create("events", Settings::log()).unwrap();
    for n in 1..=3 {
        events.append(&format!("run-{n}"), &json!({"event": "started", "step": n})).unwrap();
    }
    events.detach().unwrap();
}

fn files(dir: &Path, rows: &[Value]) {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(dir.join("rows.jsonl"), lines).unwrap();
    fs::write(dir.join("rows.json"), json!(rows).to_string()).unwrap();
    fs::write(dir.join("metrics.json"), rows[0].to_string()).unwrap();
    let mut snapshots = serde_json::Map::new();
    for (n, row) in (1..).zip(rows) {
        let mut snapshot = row.clone();
        snapshot["snapshot_seq"] = json!(n);
        snapshots.insert(format!("run-{n}:TRAINING"), snapshot);
    }
    fs::write(dir.join("snapshot_index.json"), Value::Object(snapshots).to_string()).unwrap();
    let phases = Store::open(dir.join("phases")).unwrap().create("phases", Settings::latest()).unwrap();
    for row in rows {
        let mut row = row.clone();
        row["phase"] = row["stage"].take();
        phases.append(row["run_id"].as_str().unwrap(), &row).unwrap();
    }
    phases.mirror_to(dir.join("index.parquet"), None).unwrap();
    drop(phases);
    fs::remove_dir_all(dir.join("phases")).unwrap();
    let operation = json!({"op_code": 0, "worker_id": "w", "study_name": "study", "directions": [1]});
    fs::write(dir.join("journal.log"), format!("{operation}\n")).unwrap();
    fs::write(dir.join("genes.tsv"), "BRCA1\t17\nTP53\t17\n").unwrap();
    let vocabulary = dir.join("vocabulary.sh");
    fs::write(
        &vocabulary,
        "#!/bin/sh\ncut -f 1 \"$1\" | sed 's/.*/\"&\"/' | paste -s -d , - | sed 's/.*/[&]/'\n",
    )
    .unwrap();
    fs::set_permissions(&vocabulary, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_place_for_the_examples_is_whole() {
    let dir = TempDir::new().unwrap();
    fill(dir.path());
    let shell = Shell::new();
    let ended = shell.run(dir.path(), "tallyfold verify --json");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.out.lines().count(), 6, "{ended:?}");
}
