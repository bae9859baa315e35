//! `tallyfold repair`, as its user sees it.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Fixture, TALLYFOLD};
use serde_json::json;

/// A cohort with five values, whose third is damaged.
fn damaged() -> Fixture {
    let fixture = Fixture::new();
    fixture.fill(
        "index",
        &[],
        &[
            ("a", "\"first\""),
            ("b", "\"second\""),
            ("a", "\"third\""),
            ("c", "\"fourth\""),
            ("b", "\"fifth\""),
        ],
    );
    fixture.damage("index", "00000001.journal", "third");
    fixture
}

#[test]
fn without_yes_it_says_what_would_be_lost_and_changes_nothing() {
    let fixture = damaged();
    let before = fs::read(fixture.file("index", "00000001.journal")).unwrap();
    let names = || fs::read_dir(fixture.store().join("index")).unwrap().count();
    let count = names();
    let ended = fixture.run(&["repair"]).fails(5, &["nothing was changed", "--yes"]);
    for words in [
        "index: damaged",
        "no whole frame where one was durable",
        "lost: records 3 to 5",
        "2 of them can still be read",
        "\"b\" goes back from seq 5 to seq 2",
        "\"c\", last changed by seq 4, is no more",
        "the next record gets seq 3",
    ] {
        assert!(ended.out.contains(words), "{words:?} is missing in {}", ended.out);
    }
    assert_eq!((fs::read(fixture.file("index", "00000001.journal")).unwrap(), names()), (before, count));
    let told = fixture.run(&["repair", "index", "--json"]).json();
    assert_eq!(told[0]["lost"], json!([{"first": 3, "last": 5}]));
    assert_eq!(
        (&told[0]["damaged"], &told[0]["repaired"], &told[0]["rescued"]),
        (&json!(true), &json!(false), &json!(2))
    );
}

#[test]
fn with_yes_the_cohort_goes_on_and_what_could_be_read_can_be_appended_again() {
    let fixture = damaged();
    let lost = fixture.dir().join("lost.jsonl");
    let ended = fixture.run(&["repair", "index", "--yes", "--rescue", lost.to_str().unwrap()]);
    assert_eq!(ended.code, 6, "{ended:?}");
    assert!(ended.out.contains("index: repaired: epoch 2, the next record gets seq 3"), "{}", ended.out);
    let rescued = fs::read_to_string(&lost).unwrap();
    let lines: Vec<serde_json::Value> =
        rescued.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["key"], &lines[0]["value"], &lines[1]["seq"]),
        (&json!("c"), &json!("fourth"), &json!(5))
    );
    fixture.ok(&["verify"]);
    assert_eq!(fixture.ok(&["get", "index", "b"]), "\"second\"\n");
    assert_eq!(fixture.feed(&["append", "index", "--key", "c"], "\"fourth\"").ok(), "3\n");
    assert_eq!(fixture.ok(&["repair", "index", "--yes"]), "index: nothing to repair\n");
}

#[test]
fn what_can_be_read_goes_into_quarantine_unless_a_file_is_named_that_is_free() {
    let fixture = damaged();
    let taken = fixture.dir().join("taken");
    fs::write(&taken, b"mine").unwrap();
    fixture
        .run(&["repair", "index", "--yes", "--rescue", taken.to_str().unwrap()])
        .fails(1, &["nothing was changed", "--rescue"]);
    assert_eq!(fs::read(&taken).unwrap(), b"mine");
    fixture.run(&["verify"]).fails(5, &["damaged"]);
    let ended = fixture.run(&["repair", "index", "--yes", "--json"]);
    assert_eq!(ended.code, 6, "{ended:?}");
    let told = ended.json().remove(0);
    assert_eq!(
        (&told["repaired"], &told["damaged"], &told["epoch"]),
        (&json!(true), &json!(false), &json!(2))
    );
    let path = told["rescued_to"].as_str().unwrap().to_string();
    assert!(path.contains("quarantine/rescued."), "{path}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
}

#[test]
fn a_damaged_snapshot_costs_nothing_and_all_cohorts_are_seen_to() {
    let fixture = damaged();
    fixture.fill("merged", &["--fold", "merge"], &[("k", r#"{"a":1}"#)]);
    fixture.ok(&["compact", "merged"]);
    fixture.feed(&["append", "merged", "--key", "k"], r#"{"b":2}"#).ok();
    fixture.ok(&["compact", "merged"]);
    fixture.damage("merged", "snapshot.json", "epoch");
    fixture.fill("whole", &[], &[("k", "1")]);
    let ended = fixture.run(&["repair", "--yes"]);
    assert_eq!(ended.code, 6, "{ended:?}");
    assert!(
        ended.out.contains("whole: nothing to repair") && ended.out.contains("merged: repaired"),
        "{}",
        ended.out
    );
    assert_eq!(fixture.ok(&["get", "merged", "k"]), "{\"a\":1,\"b\":2}\n");
    fixture.ok(&["verify"]);
    assert_eq!(fixture.run(&["repair", "--yes"]).code, 0);
    fixture.damage("merged", "snapshot.json", "epoch");
    assert_eq!(fixture.run(&["repair", "merged", "--yes"]).code, 0, "repaired without loss");
}

#[test]
fn settings_are_given_where_nothing_tells_them() {
    let fixture = Fixture::new();
    fixture.fill("events", &["--fold", "log"], &[("k", "1")]);
    fs::write(fixture.file("events", "cohort.json"), b"{").unwrap();
    fixture.run(&["repair", "--yes"]).fails(5, &["--settings"]);
    fixture.run(&["repair", "events", "--yes", "--settings", "{\"fold\":{\"kind\":\"log\"}}"]).ok();
    assert_eq!(fixture.feed(&["append", "events"], "2").ok(), "2\n");
    fixture
        .run(&["repair", "events", "--settings", "{\"fold\":{\"kind\":\"log\"}}"])
        .fails(7, &["are whole"]);
    fixture.run(&["repair", "nothing"]).fails(3, &["no cohort"]);
    fixture.run(&["repair", "--rescue", "x"]).fails(2, &["COHORT"]);
}

#[test]
fn who_is_attached_is_waited_for_and_named() {
    let fixture = damaged();
    let lock = fs::OpenOptions::new().read(true).write(true).open(fixture.file("index", "lock")).unwrap();
    fs4::FileExt::lock_shared(&lock).unwrap();
    let lost = fixture.dir().join("lost.jsonl");
    let args = ["repair", "index", "--yes", "--timeout", "0.1", "--rescue", lost.to_str().unwrap()];
    fixture.run(&args).fails(4, &["holds it"]);
    assert!(!lost.exists(), "the name is free for the next try");
    drop(lock);
    assert_eq!(fixture.run(&["repair", "index", "--yes"]).code, 6);
}

#[test]
fn what_is_not_ours_is_told_with_what_to_do_and_stays() {
    let fixture = damaged();
    let path = fixture.file("index", "00000001.journal");
    fs::rename(&path, fixture.dir().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(fixture.dir().join("elsewhere"), &path).unwrap();
    fixture.run(&["repair", "index", "--yes"]).fails(5, &["symbolic link", "move this one away"]);
    assert!(path.is_symlink());
}

#[test]
fn control_characters_are_escaped_and_a_closed_pipe_is_quiet() {
    let fixture = damaged();
    fixture.feed(&["append", "log-\u{1b}"], "1").ok();
    fixture.feed(&["append", "log-\u{1b}"], "2").ok();
    fixture.damage("log-%1B", "cohort.json", "fold");
    let ended = fixture.run(&["repair"]);
    assert!(!ended.out.contains('\u{1b}') && !ended.err.contains('\u{1b}'), "{ended:?}");
    let script = format!("{TALLYFOLD} repair index --store store | true; exit ${{PIPESTATUS[0]}}");
    let output = fixture.bare("bash", &["-c", &script]).output().unwrap();
    let code = output.status.code().unwrap();
    assert!(code == 5 || code == 0, "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("roken pipe"), "{output:?}");
}
