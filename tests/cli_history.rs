//! `history`, `previous`, `alter`, `refold` and the keys of `ls`: what was before, and a cohort made otherwise.
#![allow(clippy::disallowed_methods, reason = "tests read and remove files on purpose")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::Fixture;
use serde_json::{Value, json};

fn seqs(lines: Vec<Value>) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect()
}

/// A run's snapshot, about as a pipeline writes it. Its id and its clock say nothing of the order.
fn snapshot(process: usize, i: usize) -> Value {
    let run = format!("run-{:04}", (process * 20 + i) * 7919 % 1000);
    let stage = ["TARGET_RANKING", "FEATURE_SELECTION", "TRAINING"][i % 3];
    let target = ["fwd_ret_5d", "fwd_ret_10d"][process % 2];
    json!({
        "run_id": run, "stage": stage, "target": target,
        "timestamp": format!("2026-01-08T{:02}:00:{:02}", 23 - i, process), "attempt_id": i,
        "outputs": {"metrics": {"auc": 0.5 + i as f64 / 100.0, "n_models": 5}},
        "comparison_group": {"dataset_signature": format!("{:064x}", process * 7), "seed": 42, "universe_sig": null},
    })
}

#[test]
fn six_processes_with_twenty_snapshots_each_have_120_seqs_and_every_run_finds_the_one_before_it() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "index", "--settings", r#"{"retain":"all"}"#]);
    std::thread::scope(|scope| {
        for process in 0..6 {
            let fixture = &fixture;
            scope.spawn(move || {
                let lines: String = (0..20).map(|i| format!("{}\n", snapshot(process, i))).collect();
                fixture.feed(&["append", "index", "--key-from", "run_id,stage"], lines).ok();
            });
        }
    });
    let log = fixture.run(&["log", "index"]).json();
    assert_eq!(seqs(log.clone()), (1..=120).collect::<Vec<u64>>(), "distinct, and without gaps");
    fixture.ok(&["compact", "index"]);
    let mut entries: BTreeMap<&str, &Value> = BTreeMap::new();
    for record in &log {
        entries.insert(record["key"].as_str().unwrap(), record);
    }
    assert_eq!(entries.len(), 120, "no two runs share a key");
    for (key, record) in entries.iter().step_by(7) {
        let value = &record["value"];
        let (stage, target, run) = (&value["stage"], &value["target"], &value["run_id"]);
        let text = |name: &str, value: &Value| format!("{name}={}", value.as_str().unwrap());
        let found = fixture.run(&[
            "previous",
            "index",
            "--key",
            key,
            "--where",
            &text("stage", stage),
            "--where",
            &text("target", target),
            "--where",
            "comparison_group.seed=42.0",
            "--not",
            &text("run_id", run),
        ]);
        let earlier = log.iter().filter(|other| {
            other["seq"].as_u64() < record["seq"].as_u64()
                && (&other["value"]["stage"], &other["value"]["target"]) == (stage, target)
                && other["value"]["run_id"] != *run
        });
        match earlier.max_by_key(|other| other["seq"].as_u64()) {
            None => drop(found.fails(3, &["nothing earlier"])),
            Some(expected) => {
                let found: Value = serde_json::from_str(&found.ok()).unwrap();
                assert_eq!(found["seq"], expected["seq"], "{key}");
                assert_eq!(found["key"], expected["key"]);
                assert_eq!(found["value"], expected["value"]);
            }
        }
    }
}

#[test]
fn previous_prints_one_line_and_ends_with_3_if_there_is_none() {
    let fixture = Fixture::new();
    fixture.fill(
        "c",
        &[],
        &[("a", r#"{"n":5,"x":1.50}"#), ("b", r#"{"n":"5"}"#), ("c", r#"{"n":5.0}"#), ("d", "1")],
    );
    let previous = |args: &[&str]| fixture.run(&[&["previous", "c"], args].concat());
    assert_eq!(previous(&["--where", "n=5"]).ok(), "{\"seq\":3,\"key\":\"c\",\"value\":{\"n\":5.0}}\n");
    assert_eq!(
        previous(&["--key", "c", "--where", "n=5"]).ok(),
        "{\"seq\":2,\"key\":\"b\",\"value\":{\"n\":\"5\"}}\n"
    );
    assert_eq!(
        previous(&["--before", "2", "--json"]).ok(),
        "{\"seq\":1,\"key\":\"a\",\"value\":{\"n\":5,\"x\":1.50}}\n"
    );
    assert_eq!(
        seqs(previous(&["--where", "n=5", "--not", "n=5"]).fails(3, &["nothing earlier"]).json()),
        [0; 0]
    );
    assert_eq!(seqs(previous(&["--not", "n=5"]).json()), [4]);
    previous(&["--before", "1"]).fails(3, &[]);
    previous(&["--key", "nothing"]).fails(3, &["no entry of the key \"nothing\""]);
    previous(&["--where", "n"]).fails(2, &["FIELD=VALUE"]);
    previous(&["--key", "a", "--before", "2"]).fails(2, &[]);
    previous(&["--where", "a..b=1"]).fails(2, &["empty name"]);
    // Of numbers that JSON cannot write it is said that they are such.
    fixture.library().cohort("c").unwrap().append("e", &BTreeMap::from([("n", f64::NAN)])).unwrap();
    assert_eq!(
        previous(&["--where", "n=NaN"]).ok(),
        "{\"seq\":5,\"key\":\"e\",\"value\":{\"n\":\"NaN\"},\"nonfinite\":true}\n"
    );
}

#[test]
fn previous_in_a_log_looks_through_the_records() {
    let fixture = Fixture::new();
    let lines = r#"{"run_id":"r1","stage":"A"}
{"run_id":"r2","stage":"B"}
{"run_id":"r2","stage":"A"}
{"run_id":"r1","stage":"A"}
"#;
    fixture.ok(&["create", "events", "--fold", "log"]);
    fixture.feed(&["append", "events", "--key-from", "run_id"], lines).ok();
    let found = fixture.run(&["previous", "events", "--key", "r1", "--where", "stage=A"]).json();
    assert_eq!(seqs(found), [3]);
    assert_eq!(seqs(fixture.run(&["previous", "events", "--before", "3", "--where", "stage=A"]).json()), [1]);
    fixture.run(&["previous", "events", "--where", "stage=C"]).fails(3, &[]);
}

#[test]
fn history_prints_the_records_of_a_key_or_a_range_as_log_does() {
    let fixture = Fixture::new();
    fixture.fill("c", &["--settings", r#"{"retain":"all"}"#], &[("a", "1"), ("b", "2"), ("a", "3")]);
    fixture.ok(&["compact", "c"]);
    fixture.ok(&["delete", "c", "a"]);
    let history = |args: &[&str]| fixture.run(&[&["history", "c"], args].concat());
    assert_eq!(history(&[]).ok(), fixture.ok(&["log", "c"]));
    let of_a = history(&["--key", "a", "--json"]).json();
    assert_eq!(seqs(of_a.clone()), [1, 3, 4]);
    assert_eq!((&of_a[1]["value"], &of_a[2]["deleted"]), (&json!(3), &json!(true)));
    assert_eq!(seqs(history(&["--from", "2", "--to", "3"]).json()), [2, 3]);
    assert_eq!(seqs(history(&["--key", "a", "--to", "2"]).json()), [1]);
    assert_eq!(history(&["--from", "9"]).ok(), "");
    assert_eq!(history(&["--key", "nothing"]).ok(), "");
    history(&["--from", "some"]).fails(2, &[]);
}

#[test]
fn history_that_is_folded_away_is_an_error_that_names_the_first_record_kept() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c"]);
    for i in 0..6 {
        fixture.feed(&["append", "c", "--key", "k"], i.to_string()).ok();
        fixture.ok(&["compact", "c"]);
    }
    let kept = seqs(fixture.run(&["history", "c"]).json());
    assert!(kept[0] > 1 && *kept.last().unwrap() == 6, "{kept:?}");
    fixture
        .run(&["history", "c", "--from", "1"])
        .fails(1, &[&format!("the first one still there is {}", kept[0])]);
}

#[test]
fn alter_changes_the_settings_named_and_says_what_cannot_be_changed() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "1")]);
    let document =
        || -> Value { serde_json::from_slice(&fs::read(fixture.file("c", "cohort.json")).unwrap()).unwrap() };
    let before = document();
    let alter = |settings: &str| fixture.run(&["alter", "c", "--settings", settings]);
    alter(r#"{"retain":{"records":7},"durable":true}"#).says(&["has other settings now"]).ok();
    let mut expected = before.clone();
    expected["retain"] = json!({"records": 7});
    expected["durable"] = json!(true);
    assert_eq!(document(), expected);
    alter(r#"{"durable":true}"#).says(&["already"]).ok();
    let printed = fixture.run(&["alter", "c", "--json", "--settings", r#"{"durable":false}"#]).json();
    assert_eq!((&printed[0]["cohort"], &printed[0]["settings"]["durable"]), (&json!("c"), &json!(false)));
    assert_eq!(printed[0]["settings"]["retain"], json!({"records": 7}));
    fs::write(fixture.dir().join("s.json"), r#"{"retain":null}"#).unwrap();
    alter("@s.json").ok();
    assert_eq!(document(), before);
    alter(r#"{"fold":{"kind":"log"}}"#).fails(1, &["fold of a cohort cannot be altered", "refold"]);
    alter(r#"{"retain":"some"}"#).fails(1, &["`retain` is"]);
    fixture.run(&["alter", "nothing", "--settings", "{}"]).fails(3, &[]);
    fixture.run(&["alter", "c"]).fails(2, &[]);
    assert_eq!(document(), before);
}

#[test]
fn refold_makes_a_cohort_with_another_fold_of_the_same_records() {
    let fixture = Fixture::new();
    fixture.fill("log", &["--fold", "log"], &[("a", r#"{"x":1}"#), ("a", r#"{"y":2}"#), ("b", "3")]);
    let sentence = fixture.ok(&["refold", "log", "merged", "--fold", "merge"]);
    assert_eq!(sentence, "merged: made of the records of log up to seq 3, with the fold merge\n");
    assert_eq!(fixture.ok(&["get", "merged"]), "{\n\"a\":{\"x\":1,\"y\":2},\n\"b\":3\n}\n");
    assert_eq!(fixture.ok(&["log", "merged"]), fixture.ok(&["log", "log"]), "with the same times");
    let printed =
        fixture.run(&["refold", "log", "latest", "--json", "--settings", r#"{"durable":true}"#]).json();
    assert_eq!(printed, [json!({"cohort": "log", "new": "latest", "fold": "latest", "seq": 3})]);
    fixture
        .run(&["refold", "log", "latest", "--fold", "merge"])
        .fails(7, &["there is a cohort \"latest\" already"]);
    fixture.run(&["refold", "nothing", "new", "--fold", "merge"]).fails(3, &["no cohort \"nothing\""]);
    fixture.run(&["refold", "log", "new"]).fails(2, &["--fold"]);
    let refused = fixture.run(&["refold", "log", "new", "--fold", "sum"]);
    refused.fails(1, &["nothing was refolded", "record 3 does not fit", "sum"]);
    assert!(!fixture.store().join("new").exists());
    fixture.ok(&["verify"]);
}

#[test]
fn ls_lists_the_keys_of_a_cohort_and_those_with_certain_first_parts() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "index"]);
    let rows: String =
        [("run-1", "TRAINING"), ("run-10", "TRAINING"), ("run-1", "a:b"), ("run-2", "TRAINING")]
            .map(|(run, stage)| format!("{}\n", json!({"run": run, "stage": stage})))
            .concat();
    fixture.feed(&["append", "index", "--key-from", "run,stage"], rows).ok();
    fixture.feed(&["append", "index", "--key", "run-1\u{1b}"], "0").ok();
    let ls = |args: &[&str]| fixture.ok(&[&["ls", "index"], args].concat());
    let all = "run-1\\u001b\nrun-10:TRAINING\nrun-1:TRAINING\nrun-1:a%3Ab\nrun-2:TRAINING\n";
    assert_eq!(ls(&[]), all);
    assert_eq!(ls(&["--parts", "run-1"]), "run-1:TRAINING\nrun-1:a%3Ab\n");
    assert_eq!(ls(&["--parts", "run-1,a:b"]), "run-1:a%3Ab\n");
    assert_eq!(ls(&["--parts", "run"]), "");
    let entry = ls(&["--parts", "run-2", "--json"]);
    assert_eq!(
        entry,
        "{\"seq\":4,\"key\":\"run-2:TRAINING\",\"value\":{\"run\":\"run-2\",\"stage\":\"TRAINING\"}}\n"
    );
    fixture.run(&["ls", "--parts", "run"]).fails(2, &[]);
    fixture.run(&["ls", "nothing"]).fails(3, &["no cohort \"nothing\""]);
}
