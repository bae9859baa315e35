//! `ls`, `compact`, `verify` and `stats`: one cohort or all of them, and a bad one among them.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod common;

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use common::{Ended, Fixture, python, shares_memory};
use serde_json::json;

/// Three cohorts, the one in the middle with a document that makes no sense.
fn one_of_three_is_bad() -> Fixture {
    let fixture = Fixture::new();
    for cohort in ["a", "b", "c"] {
        fixture.fill(cohort, &[], &[("k", "1"), ("k", "2")]);
    }
    fs::write(fixture.file("b", "cohort.json"), "{}").unwrap();
    fixture
}

#[test]
fn cohorts_are_listed_in_a_table_for_people() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "metrics", "--fold", "log"]);
    fixture.fill("an-index-of-runs", &[], &[("a", "1"), ("b", "2")]);
    fixture.ok(&["compact", "an-index-of-runs"]);
    fixture.feed(&["append", "an-index-of-runs", "--key", "c"], "3").ok();
    let table = fixture.ok(&["ls"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["COHORT", "FOLD", "SEQ", "WATERMARK", "ENTRIES", "TAIL", "BYTES"]);
    assert_eq!(rows[1][..5], ["an-index-of-runs", "latest", "3", "2", "2"]);
    assert_eq!(rows[2], ["metrics", "log", "0", "0", "0", "0"]);
    let widths: Vec<usize> = table.lines().map(str::len).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{table}");

    let listed = fixture.run(&["ls", "--json"]).json();
    let tail = listed[0]["tail_bytes"].as_u64().unwrap();
    let first = json!({"cohort":"an-index-of-runs","fold":"latest","seq":3,"watermark":2,"entries":2,"tail_bytes":tail});
    assert_eq!((&listed[0], listed.len()), (&first, 2));
}

#[test]
fn control_characters_in_names_do_not_reach_the_terminal() {
    let fixture = Fixture::new();
    let name = "evil\x1b]0;title\x07\n";
    fixture.feed(&["append", name, "--key", "k"], "1").ok();
    for args in [&["ls"][..], &["compact"], &["stats"], &["verify"]] {
        let shown = fixture.ok(args);
        assert!(shown.contains(r"evil\u001b]0;title\u0007\u000a"), "{args:?}: {shown:?}");
        assert!(!shown.contains('\x1b') && !shown.contains('\x07'), "{args:?}: {shown:?}");
    }
    assert_eq!(fixture.run(&["ls", "--json"]).json()[0]["cohort"], name);
}

#[test]
fn a_store_without_cohorts_is_listed_as_nothing() {
    let fixture = Fixture::new();
    fixture.library();
    for verb in ["ls", "compact", "verify", "stats"] {
        assert_eq!(fixture.run(&[verb]).says(&["there is no cohort"]).ok(), "", "{verb}");
    }
}

#[test]
fn one_bad_cohort_stops_none_of_the_others_and_decides_the_exit_code() {
    for verb in ["ls", "compact", "verify", "stats"] {
        let fixture = one_of_three_is_bad();
        let ended = fixture.run(&[verb]).fails(5, &["cohort \"b\": ", "document is damaged"]);
        assert_eq!(ended.err.lines().count(), 1, "told once: {ended:?}");
        let rows: Vec<&str> = ended
            .out
            .lines()
            .filter(|line| ["a", "b", "c"].iter().any(|name| line.starts_with(name)))
            .collect();
        assert_eq!(rows.len(), 3, "{verb}: {ended:?}");
        assert!(ended.out.contains("error: "), "{verb}: {ended:?}");

        let fixture = one_of_three_is_bad();
        let lines = fixture.run(&[verb, "--json"]).fails(5, &["\"b\""]).json();
        assert_eq!(lines.len(), 3, "{verb}");
        for (line, cohort) in lines.iter().zip(["a", "b", "c"]) {
            assert_eq!(line["cohort"], cohort, "{verb}");
            assert_eq!(line["error"].is_string(), cohort == "b", "{verb}: {line}");
        }
    }
}

#[test]
fn the_first_failure_decides_the_exit_code() {
    let fixture = one_of_three_is_bad();
    // What is left of a cohort whose document was removed.
    fs::create_dir(fixture.store().join("0-no-cohort")).unwrap();
    fs::write(fixture.store().join("0-no-cohort/lock"), "").unwrap();
    fixture.run(&["ls"]).fails(3, &["\"0-no-cohort\"", "\"b\""]);
    fixture.run(&["compact", "a"]).ok();
    fixture.run(&["compact", "b"]).fails(5, &["document is damaged"]);
}

#[test]
fn compacting_changes_nothing_that_can_be_read() {
    let fixture = Fixture::new();
    fixture.fill("c", &["--fold", "merge"], &[("a", r#"{"x":1}"#), ("b", "2"), ("a", r#"{"y":2}"#)]);
    let state = fixture.ok(&["get", "c"]);
    let said = fixture.ok(&["compact", "c"]);
    assert!(said.starts_with("c: folded 3 records up to seq 3: 2 entries in "), "{said}");
    assert_eq!(fixture.ok(&["compact", "c"]), "c: there is nothing new\n");
    assert_eq!(fixture.ok(&["get", "c"]), state);
    fixture.feed(&["append", "c", "--key", "b"], "3").ok();
    let again = &fixture.run(&["compact", "--json"]).json()[0];
    assert_eq!(
        (&again["result"], &again["records"], &again["seq"]),
        (&json!("folded"), &json!(1), &json!(4))
    );

    fixture.feed(&["append", "events"], "1\n2").ok();
    assert_eq!(fixture.ok(&["compact", "events"]), "events: sealed up to seq 2\n");
    assert_eq!(
        fixture.run(&["compact", "events", "--json"]).json()[0],
        json!({"cohort":"events","result":"nothing"})
    );
}

#[test]
fn a_cohort_that_another_process_compacts_is_left_to_it() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("k", "1")]);
    let lock = fs::OpenOptions::new().read(true).write(true).open(fixture.file("c", "compact.lock")).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    assert_eq!(fixture.ok(&["compact"]), "c: another process is compacting it\n");
    assert_eq!(fixture.run(&["compact", "c", "--json"]).json()[0], json!({"cohort":"c","result":"busy"}));
    fs4::FileExt::unlock(&lock).unwrap();
    assert!(fixture.ok(&["compact"]).contains("folded 1 records"));
}

#[test]
fn the_snapshot_is_json_that_python_reads() {
    let Some(python) = python() else { return };
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a\n\u{1f980}", r#"{"x": 1.50}"#), ("b", "[null]")]);
    fixture.ok(&["compact", "c"]);
    let reads = "import json, sys; d = json.load(open(sys.argv[1], encoding='utf-8')); \
                 print(d['seq'], d['state']['a\\n\\U0001f980']['value']['x'], d['state']['b']['value'])";
    let path = fixture.file("c", "snapshot.json");
    let read = Ended::from(fixture.bare(python, &["-c", reads, path.to_str().unwrap()]).output().unwrap());
    assert_eq!(read.ok(), "2 1.5 [None]\n");
}

#[test]
fn a_whole_cohort_is_verified_as_whole() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "1"), ("b", "2")]);
    fixture.ok(&["compact"]);
    let said = fixture.ok(&["verify"]);
    assert!(said.starts_with("c: whole: records 1 to 2, ") && said.lines().count() == 1, "{said}");
    let report = &fixture.run(&["verify", "c", "--json"]).json()[0];
    let expected = [
        ("damaged", json!(false)),
        ("first_seq", json!(1)),
        ("last_seq", json!(2)),
        ("entries", json!(2)),
        ("findings", json!([])),
    ];
    for (field, value) in expected {
        assert_eq!(report[field], value, "{field}");
    }
}

#[test]
fn a_torn_tail_is_told_and_no_failure() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "1")]);
    let stats = &fixture.run(&["stats", "c", "--json"]).json()[0];
    // Two blocks of 512 bytes stand before the first frame.
    let tail = 1024 + stats["tail_bytes"].as_u64().unwrap();
    let mut journal = fs::OpenOptions::new().write(true).open(fixture.file("c", "00000001.journal")).unwrap();
    journal.seek(SeekFrom::Start(tail)).unwrap();
    journal.write_all(b"half a frame").unwrap();

    let said = fixture.ok(&["verify", "c"]);
    assert!(
        said.contains("c: whole: ")
            && said.contains("c: torn tail: ")
            && said.contains(&format!("offset {tail}")),
        "{said}"
    );
    let finding = fixture.run(&["verify", "--json"]).json()[0]["findings"][0].clone();
    assert_eq!(
        (&finding["severity"], &finding["segment"], &finding["offset"], &finding["seq"]),
        (&json!("torn tail"), &json!(1), &json!(tail), &json!(2))
    );
    assert_eq!(fixture.feed(&["append", "c", "--key", "b"], "2").ok(), "2\n");
    assert_eq!(fixture.ok(&["get", "c"]), "{\n\"a\":1,\n\"b\":2\n}\n");
}

#[test]
fn damage_ends_verify_with_5_whatever_file_it_is_in() {
    for (file, found) in [
        ("00000001.journal", "\"bbbb\""),
        ("snapshot.json", "\"bbbb\""),
        ("snapshot.prev.json", "\"bbbb\""),
        ("cohort.json", "latest"),
    ] {
        let fixture = Fixture::new();
        fixture.fill("c", &["--settings", r#"{"retain":"all"}"#], &[("a", "\"aaaa\""), ("b", "\"bbbb\"")]);
        fixture.ok(&["compact"]);
        fixture.feed(&["append", "c", "--key", "a"], "\"cccc\"").ok();
        fixture.ok(&["compact"]);
        fixture.ok(&["create", "other"]);
        fixture.damage("c", file, found);
        fixture.run(&["verify", "c"]).fails(5, &[]);
        let all = fixture.run(&["verify"]).fails(5, &["\"c\""]);
        assert!(all.out.contains("other: whole"), "{file}: {all:?}");
        if file == "cohort.json" {
            continue;
        }
        assert!(
            all.out.contains("c: damaged: ") && all.out.contains("c: damage: ") && all.out.contains(file),
            "{file}: {all:?}"
        );
        let report = &fixture.run(&["verify", "c", "--json"]).json()[0];
        assert_eq!(
            (&report["damaged"], &report["findings"][0]["severity"]),
            (&json!(true), &json!("damage"))
        );
        assert!(report["findings"][0]["path"].as_str().unwrap().ends_with(file), "{report}");
    }
}

#[test]
fn damage_counts_more_than_another_failure_that_came_first() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "\"damaged\""), ("b", "2")]);
    fixture.damage("c", "00000001.journal", "damaged");
    // What is left of a cohort whose document was removed.
    fs::create_dir(fixture.store().join("0-no-cohort")).unwrap();
    fs::write(fixture.store().join("0-no-cohort/lock"), "").unwrap();
    fixture.run(&["verify"]).fails(5, &["\"0-no-cohort\"", "damaged: \"c\""]);
}

#[test]
fn stats_say_sizes_and_positions() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "1"), ("b", "2")]);
    fixture.ok(&["compact"]);
    fixture.feed(&["append", "c", "--key", "a"], "3").ok();
    let stats = fixture.run(&["stats", "c", "--json"]).json().remove(0);
    for (field, value) in [
        ("fold", json!("latest")),
        ("seq", json!(3)),
        ("watermark", json!(2)),
        ("entries", json!(2)),
        ("poisoned", json!(false)),
    ] {
        assert_eq!(stats[field], value, "{field}");
    }
    let readable = fixture.ok(&["stats"]);
    assert!(readable.starts_with("c\n"), "{readable}");
    let lock = if shares_memory(&fixture) { "memory" } else { "file" };
    for (name, value) in [("last seq", "3"), ("watermark", "2"), ("lock", lock)] {
        let line = readable.lines().find(|line| line.trim_start().starts_with(name));
        assert!(line.is_some_and(|line| line.ends_with(&format!(" {value}"))), "{name}: {readable}");
    }
}
