//! `get` and `log`: what is printed, and what is said of damage.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;

use common::{Ended, Fixture, Running, TALLYFOLD, python};
use serde_json::{Value, json};
use tallyfold::{Batch, Settings};

fn seqs(log: Ended) -> Vec<u64> {
    assert_eq!(log.code, 0, "{log:?}");
    log.json().iter().map(|record| record["seq"].as_u64().unwrap()).collect()
}

/// A log of the numbers from 1 on.
fn numbers(fixture: &Fixture, cohort: &str, up_to: u64) {
    let lines: String = (1..=up_to).map(|n| format!("{n}\n")).collect();
    fixture.feed(&["append", cohort], lines).ok();
}

/// A cohort whose first records are folded into both snapshots, and gone from the journal.
fn folded(fixture: &Fixture) {
    fixture.ok(&["create", "c"]);
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("a", "4")] {
        fixture.feed(&["append", "c", "--key", key], value).ok();
        fixture.ok(&["compact", "c"]);
    }
    fixture.feed(&["append", "c", "--key", "d"], "5").ok();
}

#[test]
fn a_value_is_printed_as_it_was_appended_but_for_white_space() {
    let fixture = Fixture::new();
    let value = r#"{ "z" : 1.50, "a" : [ 1E5 , -0 ], "text" : "a  b\u00e4 \u001b", "big" : 123456789012345678901234567890 }"#;
    let kept = r#"{"z":1.50,"a":[1E5,-0],"text":"a  b\u00e4 \u001b","big":123456789012345678901234567890}"#;
    fixture.fill("c", &[], &[("k", value)]);
    assert_eq!(fixture.ok(&["get", "c", "k"]), format!("{kept}\n"));
    fixture.ok(&["compact", "c"]);
    assert_eq!(fixture.ok(&["get", "c", "k"]), format!("{kept}\n"));
    assert_eq!(fixture.ok(&["get", "c"]), format!("{{\n\"k\":{kept}\n}}\n"));
}

#[test]
fn without_a_key_the_whole_state_is_one_object_sorted_by_key() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c", "--fold", "merge"]);
    assert_eq!(fixture.ok(&["get", "c"]), "{}\n");
    fixture.fill(
        "c",
        &["--fold", "merge"],
        &[("b", r#"{"x":1}"#), ("a\n\"", "2"), ("gone", "3"), ("b", r#"{"y":2.0}"#)],
    );
    fixture.ok(&["delete", "c", "gone"]);
    let state = fixture.ok(&["get", "c"]);
    assert_eq!(state, "{\n\"a\\n\\\"\":2,\n\"b\":{\"x\":1,\"y\":2.0}\n}\n");
    let parsed: BTreeMap<String, Value> = serde_json::from_str(&state).unwrap();
    assert_eq!(parsed["a\n\""], 2);
}

#[test]
fn a_key_that_is_not_there_ends_with_3() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "null")]);
    assert_eq!(fixture.ok(&["get", "c", "a"]), "null\n");
    let missing = fixture.run(&["get", "c", "b"]).fails(3, &["no key \"b\" in the cohort \"c\""]);
    assert_eq!(missing.out, "");
}

#[test]
fn a_log_has_no_state_and_says_where_to_look() {
    let fixture = Fixture::new();
    numbers(&fixture, "c", 2);
    let whole = fixture.run(&["get", "c"]).says(&["`tallyfold log c`"]);
    assert_eq!(whole.ok(), "{}\n");
    fixture.run(&["get", "c", "k"]).fails(3, &["has no state", "`tallyfold log c`"]);
}

#[test]
fn a_damaged_snapshot_is_a_warning_for_it_can_be_rebuilt() {
    let fixture = Fixture::new();
    folded(&fixture);
    let (state, log) = (fixture.ok(&["get", "c"]), fixture.run(&["log", "c"]).json());
    fixture.damage("c", "snapshot.json", r#""b":{"seq":2,"value":2}"#);
    for args in [&["get", "c"][..], &["get", "c", "b"]] {
        let ended = fixture.run(args).says(&["tallyfold: warning: "]);
        assert_eq!(ended.ok(), if args.len() == 2 { state.as_str() } else { "2\n" });
    }
    assert_eq!(fixture.run(&["log", "c"]).json(), log);
}

#[test]
fn a_damaged_journal_ends_get_with_5_and_log_prints_what_is_before() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "\"one\""), ("b", "\"two\""), ("c", "\"damaged\""), ("d", "\"four\"")]);
    fixture.damage("c", "00000001.journal", "damaged");
    for args in [&["get", "c"][..], &["get", "c", "a"]] {
        let ended = fixture.run(args).fails(5, &["seq 3", "segment 1"]);
        assert_eq!(ended.out, "");
    }
    for (args, printed) in [
        (&["log", "c"][..], &[1, 2][..]),
        (&["log", "c", "--from", "2"], &[2]),
        (&["log", "c", "-n", "1"], &[2]),
        (&["log", "c", "-f"], &[1, 2]),
    ] {
        let ended = fixture.run(args).fails(5, &["seq 3"]);
        let seqs: Vec<Value> = ended.json().iter().map(|record| record["seq"].clone()).collect();
        assert_eq!(seqs, printed, "{args:?}");
    }
}

#[test]
fn a_record_is_a_line_of_json_where_no_terminal_is() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("k\n", r#"{"b": 1.50, "a": 2}"#)]);
    fixture.ok(&["delete", "c", "k\n"]);
    let log = fixture.ok(&["log", "c"]);
    let (put, delete) = log.split_once('\n').unwrap();
    let time = put.strip_prefix(r#"{"seq":1,"time":""#).unwrap().get(..27).unwrap();
    assert_eq!(put, format!(r#"{{"seq":1,"time":"{time}","key":"k\n","value":{{"b":1.50,"a":2}}}}"#));
    let pattern: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(pattern, "0000-00-00T00:00:00.000000Z");
    let delete: Value = serde_json::from_str(delete).unwrap();
    assert_eq!(delete, json!({"seq":2,"time":delete["time"],"key":"k\n","deleted":true}));
    assert_eq!(fixture.ok(&["log", "c", "--json"]), log);
}

#[test]
fn raw_bytes_and_non_finite_numbers_are_marked() {
    let fixture = Fixture::new();
    let events = fixture.library().create("events", Settings::log()).unwrap();
    let mut batch = Batch::new();
    batch.put_raw("r", b"\x00\xff\x1b").unwrap().put("n", &[f64::NAN, 1.0]).unwrap();
    events.append_batch(batch).unwrap();
    let log = fixture.run(&["log", "events"]).json();
    assert_eq!(log[0], json!({"seq":1,"time":log[0]["time"],"key":"r","raw":"00ff1b"}));
    assert_eq!(log[1], json!({"seq":2,"time":log[1]["time"],"key":"n","value":["NaN",1.0],"nonfinite":true}));

    let state = fixture.library().create("state", Settings::latest()).unwrap();
    state.append("k", &f64::INFINITY).unwrap();
    assert_eq!(fixture.run(&["get", "state", "k"]).says(&["non-finite numbers"]).ok(), "\"Infinity\"\n");
    assert_eq!(
        fixture.run(&["get", "state"]).says(&["non-finite numbers"]).ok(),
        "{\n\"k\":\"Infinity\"\n}\n"
    );
}

#[test]
fn n_is_the_last_records_and_with_from_the_first() {
    let fixture = Fixture::new();
    numbers(&fixture, "c", 10);
    for (args, expected) in [
        (&["-n", "3"][..], 8..11),
        (&["-n", "99"], 1..11),
        (&["-n", "0"], 0..0),
        (&["--from", "8"], 8..11),
        (&["--from", "0"], 1..11),
        (&["--from", "11"], 0..0),
        (&["--from", "99"], 0..0),
        (&["--from", "4", "-n", "2"], 4..6),
        (&["--from", "9", "-n", "5"], 9..11),
        (&["--from", "2", "-n", "0"], 0..0),
        (&["--from", "4", "-n", "2", "-f"], 4..6),
    ] {
        let log = fixture.run(&[&["log", "c"], args].concat());
        assert_eq!(seqs(log), expected.collect::<Vec<_>>(), "{args:?}");
    }
    let help = fixture.ok(&["log", "--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("--from SEQ -n N prints the first N from SEQ"), "{help}");
}

#[test]
fn a_follower_prints_each_record_as_it_comes() {
    for (args, first) in [
        (&["-f"][..], 1),
        (&["-f", "-n", "1"], 3),
        (&["--follow", "-n", "99"], 1),
        (&["-f", "--from", "2"], 2),
    ] {
        let fixture = Fixture::new();
        numbers(&fixture, "c", 3);
        let mut follower = Running::start(&mut fixture.command(&[&["log", "c"], args].concat()));
        let mut lines = follower.lines();
        let mut next = || serde_json::from_str::<Value>(&lines.next()).unwrap();
        for seq in first..=3 {
            assert_eq!(next()["seq"], seq, "{args:?}");
        }
        for seq in 4..6 {
            fixture.feed(&["append", "c"], "\"more\"").ok();
            let record = next();
            assert_eq!((&record["seq"], &record["value"]), (&json!(seq), &json!("more")), "{args:?}");
        }
    }
}

#[test]
fn a_follower_that_begins_ahead_waits_for_its_record() {
    let fixture = Fixture::new();
    numbers(&fixture, "c", 2);
    let follower = fixture
        .command(&["log", "c", "-f", "--from", "5", "-n", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    numbers(&fixture, "c", 6);
    let ended = Ended::from(follower.wait_with_output().unwrap());
    assert_eq!(seqs(ended), [5, 6]);
}

#[test]
fn a_follower_whose_reader_went_away_ends_quietly() {
    let fixture = Fixture::new();
    numbers(&fixture, "c", 1);
    let mut command = fixture.command(&["log", "c", "-f"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It notices while it waits: no other record has to come.
    drop(follower.stdout.take());
    let ended = Ended::from(follower.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[test]
fn asked_for_a_record_that_is_folded_away_log_names_the_first_one_kept() {
    let fixture = Fixture::new();
    folded(&fixture);
    let refused = fixture.run(&["log", "c", "--from", "1"]).fails(1, &["record 1 is folded away"]);
    assert_eq!(refused.out, "");
    let whole = fixture.run(&["log", "c"]).says(&["are folded away"]);
    let kept = seqs(whole);
    assert!(kept[0] > 1 && kept.ends_with(&[5]), "{kept:?}");
    refused.says(&[&format!("first one still there is {}", kept[0])]);
    assert_eq!(seqs(fixture.run(&["log", "c", "--from", &kept[0].to_string()])), kept);
    assert_eq!(seqs(fixture.run(&["log", "c", "-n", "1"])), [5]);
    assert_eq!(seqs(fixture.run(&["log", "c", "-n", "99"])), kept);
}

#[test]
#[cfg(unix)]
fn on_a_terminal_a_record_is_a_readable_line_without_control_characters() {
    let Some(python) = python() else { return };
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("k\x1b[2J", "\"a\u{7f}b\""), ("", "{\"x\": 1}")]);
    fixture.ok(&["delete", "c", "k"]);
    let spawns = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let run = |more: &[&str]| {
        let store = fixture.store();
        let args =
            [&["-c", spawns, TALLYFOLD, "log", "c", "--store", store.to_str().unwrap()], more].concat();
        Ended::from(fixture.bare(python, &args).env("TERM", "xterm").output().unwrap()).ok()
    };
    let colored = run(&[]);
    assert!(colored.contains("\x1b[1mk\x1b[0m") && colored.contains("\x1b[31mdeleted\x1b[0m"), "{colored:?}");
    let run = |more: &[&str]| run(&[&["--color", "never"], more].concat());
    let shown = run(&[]);
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.trim_end().split("  ").collect()).collect();
    let parts: Vec<&[&str]> = lines.iter().map(|line| &line[line.len() - 2..]).collect();
    assert_eq!(
        parts,
        [&[r"k\u001b[2J", r#""a\u007fb""#][..], &[r#""""#, r#"{"x":1}"#], &["k", "deleted"]],
        "{shown:?}"
    );
    assert!(shown.lines().next().unwrap().contains("1  2") && shown.contains("Z  "), "{shown:?}");
    // DEL may stand in JSON, and not on a terminal.
    let json = fixture.ok(&["log", "c"]).replace('\u{7f}', r"\u007f");
    assert_eq!(run(&["--json"]).replace("\r\n", "\n"), json);
}

#[test]
fn reading_needs_no_lock_and_changes_nothing() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "1")]);
    let lock = std::fs::OpenOptions::new().read(true).write(true).open(fixture.file("c", "lock")).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    let before = std::fs::read(fixture.file("c", "00000001.journal")).unwrap();
    for args in [&["get", "c"][..], &["log", "c"], &["ls"], &["stats", "c"], &["verify", "c"]] {
        fixture.ok(args);
    }
    assert!(std::fs::read(fixture.file("c", "00000001.journal")).unwrap() == before);
}
