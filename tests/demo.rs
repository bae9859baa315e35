//! `tallyfold demo`, as somebody runs it who wants to see what this is.
#![cfg(feature = "cli")]
#![allow(clippy::disallowed_methods, reason = "a test looks at files from outside")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn tallyfold(store: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyfold"));
    command.arg("--store").arg(store).args(args).stdin(Stdio::null()).output().unwrap()
}

/// What a demo of a few epochs prints, once it has ended well.
fn demo(store: &Path) -> String {
    let output = tallyfold(store, &["demo", "--epochs", "20"]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The numbers of `N acknowledged, N found, 0 lost`.
fn counts(last_line: &str) -> (u64, u64) {
    let (acknowledged, rest) = last_line.split_once(" acknowledged, ").unwrap();
    let found = rest.strip_suffix(" found, 0 lost").unwrap();
    (acknowledged.parse().unwrap(), found.parse().unwrap())
}

fn last_seq(store: &Path, cohort: &str) -> u64 {
    tallyfold::Store::open_existing(store).unwrap().cohort(cohort).unwrap().last_seq().unwrap()
}

#[test]
fn nothing_is_lost_though_one_is_killed_and_a_second_demo_adds_to_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("a store");
    let mut total = 0;
    for _ in 0..2 {
        let shown = demo(&store);
        let (acknowledged, found) = counts(shown.lines().last().unwrap());
        assert_eq!(acknowledged, found);
        assert!(acknowledged > 500, "{shown}");
        assert_eq!(shown.lines().filter(|line| line.starts_with("killed ")).count(), 1, "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80 || line.contains("store")), "{shown}");

        let written = last_seq(&store, "demo-metrics") + last_seq(&store, "demo-index") - total;
        // The killed process may have written one record that it did not come to acknowledge.
        assert!((acknowledged..=acknowledged + 1).contains(&written), "{written} written\n{shown}");
        total += written;
    }
    let snapshot = std::fs::read(store.join("demo-index/snapshot.json")).unwrap();
    let snapshot: serde_json::Value = serde_json::from_slice(&snapshot).unwrap();
    assert_eq!(snapshot["entries"], 16);
}

#[test]
fn programs_get_one_object_and_the_story_goes_to_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let output = tallyfold(dir.path(), &["demo", "--epochs", "5", "--json"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("8 processes: "), "{output:?}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["lost"], &told["acknowledged"], &told["faults"]),
        (&0.into(), &told["found"], &serde_json::json!([]))
    );
    let runs = told["runs"].as_array().unwrap();
    assert_eq!((runs.len(), runs.iter().filter(|run| run["killed"] == true).count()), (8, 1));
    assert!(runs.iter().all(|run| run["last"]["loss"].as_f64().is_some_and(|loss| loss > 0.0)), "{told}");
}

#[cfg(unix)]
#[test]
fn the_commands_to_try_next_can_be_pasted() {
    let dir = tempfile::tempdir().unwrap();
    let shown = demo(&dir.path().join("a store"));
    let commands: Vec<&str> = shown.lines().filter(|line| line.contains(" --store ")).collect();
    assert_eq!(commands.len(), 3, "{shown}");
    for command in commands {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{command}: {output:?}");
    }
}

#[test]
fn a_worker_whose_demo_has_ended_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    demo(dir.path());
    let before = last_seq(dir.path(), "demo-metrics");
    let store = dir.path().to_str().unwrap();
    let settings = ["--epochs", "1", "--learning-rate", "0.1", "--l2", "0", "--batch", "8", "--seed", "1"];
    let output = tallyfold(dir.path(), &[&["demo-worker"], &settings[..], &[store, "run"]].concat());
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(last_seq(dir.path(), "demo-metrics"), before);
}
