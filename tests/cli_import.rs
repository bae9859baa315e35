//! `import` and `mirror` on the command line.
#![allow(clippy::disallowed_methods, reason = "tests write files on purpose")]

mod common;

use std::fs;

use common::Fixture;
use serde_json::{Value, json};

const INDEX: &str = r#"{
  "run-2:TRAINING": {"run_id": "run-2", "stage": "TRAINING", "auc": 0.580, "snapshot_seq": 1},
  "run-1:TRAINING": {"run_id": "run-1", "stage": "TRAINING", "auc": NaN, "snapshot_seq": 2},
  "run-0": {"run_id": "run-0", "auc": null}
}
"#;

#[test]
fn an_object_of_entries_is_imported_and_the_cohort_is_made_for_it() {
    let fixture = Fixture::new();
    fs::write(fixture.dir().join("snapshot_index.json"), INDEX).unwrap();
    let told = fixture.run(&["import", "json", "snapshot_index.json", "index", "--seq-from", "snapshot_seq"]);
    let told = told.says(&["made the cohort \"index\" with the fold latest"]);
    let out = told.ok();
    assert_eq!(
        out,
        "index: 3 of 3 rows taken, 0 not, the last as seq 3; 1 held NaN or an infinity, which are non-finite numbers now; \
         1 had no number in \"snapshot_seq\" and came last\n"
    );
    let log = fixture.ok(&["log", "index"]);
    let keys: Vec<Value> =
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].clone()).collect();
    assert_eq!(Value::from(keys), json!(["run-2:TRAINING", "run-1:TRAINING", "run-0"]));
    assert_eq!(
        fixture.ok(&["get", "index", "run-2:TRAINING"]),
        "{\"run_id\":\"run-2\",\"stage\":\"TRAINING\",\"auc\":0.580,\"snapshot_seq\":1}\n"
    );
}

#[test]
fn rows_are_keyed_by_fields_and_those_not_taken_are_told_and_decide_the_exit_code() {
    let fixture = Fixture::new();
    let rows = r#"[{"run_id":"a","stage":"T"},{"run_id":"b"},{"run_id":"a","stage":"T","x":1}]"#;
    let told = fixture.feed(&["import", "json", "-", "index", "--key-from", "run_id,stage", "--json"], rows);
    let told = told.fails(1, &["line 1 column 29: not taken: there is no field \"stage\""]);
    let report = &told.json()[0];
    assert_eq!(
        *report,
        json!({"dry_run": false, "rows": 3, "taken": 2, "skipped": 1, "repeated": 1, "nonfinite": 0, "unnumbered": 0,
               "seq": 2, "refused": [{"place": "line 1 column 29", "reason": "there is no field \"stage\""}]})
    );
    assert_eq!(fixture.ok(&["get", "index", "a:T"]), "{\"run_id\":\"a\",\"stage\":\"T\",\"x\":1}\n");
    // Without a key a list has no place in a state.
    fixture.feed(&["import", "json", "-", "index"], "[1]").fails(1, &["whose rows have no names"]);
    // In a log it has.
    fixture.feed(&["import", "json", "-", "events"], "[1,{}]").says(&["fold log"]).ok();
    assert_eq!(
        fixture.feed(&["import", "jsonl", "-", "events"], "2\n3\n").ok(),
        "events: 2 of 2 rows taken, 0 not, the last as seq 4\n"
    );
    assert_eq!(fixture.run(&["log", "events"]).json().len(), 4);
}

#[test]
fn a_whole_file_becomes_the_value_of_a_key() {
    let fixture = Fixture::new();
    let metrics = "{\n  \"run_id\": \"run-1\",\n  \"auc\": 0.610\n}\n";
    fs::write(fixture.dir().join("metrics.json"), metrics).unwrap();
    fixture.ok(&["import", "json", "metrics.json", "runs", "--key", "run-1"]);
    assert_eq!(fixture.ok(&["get", "runs", "run-1"]), "{\"run_id\":\"run-1\",\"auc\":0.610}\n");
}

#[test]
fn a_dry_run_makes_nothing_and_says_what_would_be_done() {
    let fixture = Fixture::new();
    let args = ["import", "json", "-", "index", "--dry-run"];
    let told = fixture.feed(&args, INDEX).says(&["would make the cohort \"index\" with the fold latest"]);
    assert!(told.ok().starts_with("index: 3 of 3 rows would be taken, 0 not;"));
    assert!(!fixture.store().exists());
    fixture.ok(&["create", "index"]);
    fixture.feed(&args, "{\"a\":1,\"b\":?}").fails(1, &["line 1 column 12: not taken"]);
    assert_eq!(fixture.ok(&["log", "index"]), "");
}

#[test]
fn a_file_that_is_not_there_leaves_no_store_and_a_torn_one_is_told() {
    let fixture = Fixture::new();
    for format in ["json", "jsonl"] {
        fixture.run(&["import", format, "nowhere", "index"]).fails(1, &["cannot open nowhere"]);
    }
    assert!(!fixture.store().exists());
    let torn = &INDEX[..INDEX.len() / 2];
    let told =
        fixture.feed(&["import", "json", "-", "index"], torn).fails(1, &["the input is no JSON at line 3"]);
    assert_eq!(told.out, "index: 1 of 1 rows taken, 0 not, the last as seq 1\n");
    fixture
        .feed(&["import", "json", "-", "index", "--all-or-nothing"], "{\"k\":1,\"l\":?}")
        .fails(1, &["nothing was appended"]);
    assert_eq!(fixture.run(&["log", "index"]).json().len(), 1);
}

#[test]
fn a_mirror_is_written_by_compactions_and_on_demand_and_told_if_it_cannot_be() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "index", "--settings", r#"{"mirror":"../out/index.json"}"#]);
    fixture.feed(&["import", "json", "-", "index"], INDEX).ok();
    let told = fixture.run(&["compact", "index", "--json"]).fails(1, &["the mirror could not be written"]);
    let report = told.json().remove(0);
    assert_eq!(report["result"], "folded");
    assert!(report["mirror_failure"].as_str().unwrap().contains("cannot open the directory"));
    fs::create_dir(fixture.dir().join("out")).unwrap();
    assert_eq!(fixture.ok(&["compact", "index"]), "index: there is nothing new\n");
    let mirror = fixture.dir().join("out/index.json");
    let text = fs::read_to_string(&mirror).unwrap();
    assert!(text.starts_with("{\n\"run-0\":{"), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["run-1:TRAINING"]["auc"], "NaN");

    fixture.feed(&["append", "index", "--key", "run-9"], "9").ok();
    let told = fixture.ok(&["mirror", "index"]);
    assert!(told.starts_with("index: 4 entries up to seq 4 in "), "{told}");
    assert!(fs::read_to_string(&mirror).unwrap().contains("\n\"run-9\":9\n"));
    fixture.ok(&["mirror", "index", "--to", "nine.json", "--key", "run-9"]);
    assert_eq!(fs::read_to_string(fixture.dir().join("nine.json")).unwrap(), "9\n");
    fixture.run(&["mirror", "index", "--to", "x.json", "--key", "none"]).fails(3, &["\"none\""]);
    fixture.run(&["mirror", "index", "--key", "run-9"]).fails(2, &["--to"]);
    fixture.ok(&["create", "plain"]);
    fixture.run(&["mirror", "plain"]).fails(1, &["has no mirror in its settings"]);
    let refused = fixture.run(&["create", "l", "--fold", "log", "--settings", r#"{"mirror":"x"}"#]);
    refused.fails(1, &["`mirror` shows entries"]);
}

const OPERATIONS: [&str; 3] = [
    r#"{"op_code":0,"worker_id":"w-1","study_name":"s","directions":[1]}"#,
    r#"{"op_code":4,"worker_id":"w-1","study_id":0,"datetime_start":"2026-01-08T12:00:01.000000+00:00"}"#,
    r#"{"op_code":7,"worker_id":"w-1","trial_id":0,"step":0,"intermediate_value":NaN}"#,
];

#[test]
fn the_operations_of_optuna_become_the_records_of_a_durable_log() {
    let fixture = Fixture::new();
    let journal = OPERATIONS.map(|line| format!("{line}\n")).concat();
    let said = fixture.feed(&["import", "optuna", "-", "study"], &journal);
    assert_eq!(
        said.says(&["made the cohort \"study\" with the fold log, durable, for tallyfold.optuna"]).ok(),
        "study: 3 of 3 rows taken, 0 not, the last as seq 3; 1 held NaN or an infinity, which are non-finite numbers now\n"
    );
    let records = fixture.run(&["log", "study"]).json();
    assert_eq!(records[2]["value"]["intermediate_value"], "NaN");
    assert_eq!(
        (&records[2]["nonfinite"], &records[2]["seq"], &records[2]["key"]),
        (&json!(true), &json!(3), &json!(""))
    );
    let settings: Value =
        serde_json::from_str(&std::fs::read_to_string(fixture.file("study", "cohort.json")).unwrap())
            .unwrap();
    assert_eq!((&settings["fold"]["kind"], &settings["durable"]), (&json!("log"), &json!(true)));
}

#[test]
fn an_import_of_optuna_goes_on_where_the_last_one_ended_and_joins_nothing_else() {
    let fixture = Fixture::new();
    let [first, second, third] = OPERATIONS;
    let import = |journal: &str| fixture.feed(&["import", "optuna", "-", "study"], journal);
    import(&format!("{first}\n{}", &second[..20])).says(&["line 2: left out: it has no end"]).ok();
    let again = import(&format!("{first}\n{second}\n{third}\n")).ok();
    assert!(
        again.starts_with("study: 2 of 3 rows taken, 0 not, the last as seq 3; 1 were there already"),
        "{again}"
    );
    // White space between tokens is none of a record's.
    let spaced = format!("{}\r\n", first.replace(':', ": "));
    assert_eq!(import(&spaced).ok(), "study: 0 of 1 rows taken, 0 not; 1 were there already\n");
    let other = first.replace("\"s\"", "\"another\"") + "\n";
    import(&other).fails(7, &["record 1 is not line 1", "import it into a new cohort", "seq 1"]);
    assert_eq!(fixture.run(&["log", "study"]).json().len(), 3);
}

#[test]
fn a_broken_operation_ends_the_import_with_its_line_and_nothing_behind_it_is_taken() {
    let fixture = Fixture::new();
    let [first, second, third] = OPERATIONS;
    for (broken, words) in [
        (second[..30].to_string(), "line 2: not taken: it is no JSON"),
        (format!("{}{second}", &second[..30]), "line 2: not taken: it is no JSON"),
        (r#"{"loss":0.5}"#.to_string(), "line 2: not taken: it is no operation of Optuna"),
        ("\0\0\0\0".to_string(), "line 2: not taken: it is no JSON"),
    ] {
        let journal = format!("{first}\n{broken}\n{third}\n");
        let said = fixture
            .feed(&["import", "optuna", "-", "study"], &journal)
            .fails(1, &[words, "line 2 is broken", "import again"]);
        assert!(said.out.contains(" of 2 rows taken, 1 not"), "{said:?}");
        assert_eq!(fixture.run(&["log", "study"]).json().len(), 1);
    }
    fixture
        .feed(&["import", "optuna", "-", "other", "--dry-run"], OPERATIONS.join("\n") + "\n")
        .says(&["would make"])
        .ok();
    fixture.run(&["log", "other"]).fails(3, &["other"]);
}

#[test]
fn what_means_nothing_for_optuna_is_refused_and_so_is_a_cohort_that_python_would_not_open() {
    let fixture = Fixture::new();
    for option in
        [&["--key", "k"][..], &["--key-from", "op_code"], &["--seq-from", "op_code"], &["--all-or-nothing"]]
    {
        let args = [&["import", "optuna", "-", "study"], option].concat();
        fixture.feed(&args, OPERATIONS[0]).fails(2, &[option[0], "means nothing for optuna"]);
    }
    assert!(!fixture.store().exists());
    fixture.ok(&["create", "index"]);
    fixture.ok(&["create", "quick", "--fold", "log"]);
    for (cohort, words) in [("index", "has the fold latest"), ("quick", "is not durable")] {
        let said = fixture.feed(&["import", "optuna", "-", cohort], format!("{}\n", OPERATIONS[0]));
        said.fails(1, &[words, "choose another name"]);
    }
}
