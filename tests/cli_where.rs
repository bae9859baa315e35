//! `--where`, `--prefix`, `--parts`, `--sort` and `--limit`: the same meaning in every verb that has them.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod common;

use std::collections::BTreeMap;

use common::Fixture;
use serde_json::{Value, json};

/// Keys, and values of every kind in the field `x`.
const ENTRIES: [(&str, &str); 10] = [
    ("a,b:1", r#"{"x":5}"#),
    ("a,b:2", r#"{"x":5.0,"y":{"z":"in"}}"#),
    ("a:1", r#"{"x":"5"}"#),
    ("b", r#"{"x":10}"#),
    ("b1", r#"{"x":9007199254740993}"#),
    ("b1:c", r#"{"x":"abc","key":"z"}"#),
    ("c", r#"{"x":null}"#),
    ("d", r#"{"x":true}"#),
    ("e", r#"{"x":[5]}"#),
    ("f", r#"{"y":1}"#),
];

fn filled() -> Fixture {
    let fixture = Fixture::new();
    fixture.fill("c", &["--settings", r#"{"retain":"all"}"#], &ENTRIES[..6]);
    // A part of the state is in the snapshot.
    fixture.ok(&["compact", "c"]);
    for (key, value) in &ENTRIES[6..] {
        fixture.feed(&["append", "c", "--key", key], value).ok();
    }
    fixture
}

#[track_caller]
fn keys(fixture: &Fixture, args: &[&str]) -> Vec<String> {
    fixture.ok(&[&["ls", "c"], args].concat()).lines().map(str::to_string).collect()
}

#[test]
fn a_condition_means_the_same_to_every_verb() {
    let fixture = filled();
    for (condition, expected) in [
        ("x=5", &["a,b:1", "a,b:2", "a:1"][..]),
        ("x=\"5\"", &["a:1"]),
        ("x!=5", &["b", "b1", "b1:c", "c", "d", "e"]),
        ("x<10", &["a,b:1", "a,b:2"]),
        ("x<=10", &["a,b:1", "a,b:2", "b"]),
        ("x>9007199254740992", &["b1"]),
        ("x>=9007199254740993", &["b1"]),
        ("x > 5", &["b", "b1"]),
        ("x>=a", &["b1:c"]),
        ("x<\"6\"", &["a:1"]),
        ("x=null", &["c"]),
        ("x=true", &["d"]),
        ("y.z=in", &["a,b:2"]),
        ("y!=7", &["a,b:2", "f"]),
        ("nothing!=1", &[]),
    ] {
        assert_eq!(keys(&fixture, &["--where", condition]), expected, "{condition}");
        let part: BTreeMap<String, Value> =
            serde_json::from_str(&fixture.ok(&["get", "c", "--where", condition])).unwrap();
        assert_eq!(part.keys().collect::<Vec<_>>(), expected, "{condition}");
        for verb in ["log", "history"] {
            let records = fixture.run(&[verb, "c", "--where", condition]).json();
            let found: Vec<&str> = records.iter().map(|record| record["key"].as_str().unwrap()).collect();
            assert_eq!(found, expected, "{verb} {condition}");
        }
        let newest = fixture.run(&["previous", "c", "--where", condition]);
        match expected.last() {
            Some(key) => assert_eq!(newest.json()[0]["key"], *key, "{condition}"),
            None => drop(newest.fails(3, &[])),
        }
        let others: Vec<&str> =
            ENTRIES.iter().map(|(key, _)| *key).filter(|key| !expected.contains(key)).collect();
        let newest = fixture.run(&["previous", "c", "--not", condition]).json();
        assert_eq!(newest[0]["key"], *others.last().unwrap(), "--not {condition}");
    }
    assert_eq!(
        keys(&fixture, &["--where", "x>=5", "--where", "x<10"]),
        ["a,b:1", "a,b:2"],
        "all have to hold"
    );
}

#[test]
fn a_condition_that_cannot_be_asked_is_refused_by_every_verb() {
    let fixture = filled();
    for verb in ["ls", "get", "log", "history", "previous"] {
        for (condition, words) in [
            ("x", "FIELD=VALUE"),
            ("x==5", "write x=5"),
            ("x..y=5", "empty name"),
            ("x<null", "more or less"),
        ] {
            fixture.run(&[verb, "c", "--where", condition]).fails(2, &[words]);
        }
    }
    fixture.run(&["get", "c", "a:1", "--where", "x=5"]).fails(2, &["cannot be used with"]);
    for option in
        [&["--where", "x=5"][..], &["--sort", "x"], &["--limit", "1"], &["--prefix", "a"], &["-o", "json"]]
    {
        fixture.run(&[&["ls"], option].concat()).fails(2, &["COHORT"]);
    }
}

#[test]
fn keys_are_found_by_their_parts_or_by_their_first_letters() {
    let fixture = filled();
    for (args, expected) in [
        (&["--prefix", "b"][..], &["b", "b1", "b1:c"][..]),
        (&["--prefix", "a,b:"], &["a,b:1", "a,b:2"]),
        (&["--prefix", ""], &["a,b:1", "a,b:2", "a:1", "b", "b1", "b1:c", "c", "d", "e", "f"]),
        (&["--prefix", "z"], &[]),
        (&["--parts", "b1"], &["b1", "b1:c"]),
        (&["--parts", "b1,c"], &["b1:c"]),
        (&["--parts", "b1", "--parts", "c"], &["b1:c"]),
        (&["--parts", "a,b"], &[]),
        (&["--parts", r"a\,b"], &["a,b:1", "a,b:2"]),
        (&["--parts", r"a\,b,2"], &["a,b:2"]),
        (&["--parts", "b1", "--prefix", "b1:"], &["b1:c"]),
        (&["--prefix", "a", "--where", "x=5", "--limit", "1"], &["a,b:1"]),
    ] {
        assert_eq!(keys(&fixture, args), expected, "{args:?}");
        if !args.contains(&"--limit") {
            let log = fixture.run(&[&["log", "c"], args].concat()).json();
            let found: Vec<&str> = log.iter().map(|record| record["key"].as_str().unwrap()).collect();
            assert_eq!(found, expected, "log {args:?}");
        }
    }
}

#[test]
fn sorting_puts_numbers_before_strings_and_what_is_missing_last() {
    let fixture = filled();
    let last = ["c", "e", "f"];
    for (args, expected) in [
        (&["--sort", "x"][..], &["a,b:1", "a,b:2", "b", "b1", "a:1", "b1:c", "d"][..]),
        (&["--sort", "x:desc"], &["b1", "b", "a,b:1", "a,b:2", "b1:c", "a:1", "d"]),
        (&["--sort", "x:asc", "--sort", "seq:desc"], &["a,b:2", "a,b:1", "b", "b1", "a:1", "b1:c", "d"]),
    ] {
        let sorted = keys(&fixture, args);
        assert_eq!(sorted[..7], *expected, "{args:?}");
        let mut behind = sorted[7..].to_vec();
        behind.sort();
        assert_eq!(behind, last, "{args:?}");
        for limit in 0..=10 {
            let first = keys(&fixture, &[args, &["--limit", &limit.to_string()]].concat());
            assert_eq!(first, sorted[..limit], "{args:?} --limit {limit}");
        }
    }
    assert_eq!(keys(&fixture, &["--sort", "x"])[7..], last, "what is alike stays in the order of keys");
    assert_eq!(keys(&fixture, &["--sort", "key:desc", "--limit", "2"]), ["f", "e"]);
    assert_eq!(keys(&fixture, &["--sort", "seq:desc", "--limit", "2"]), ["f", "e"]);
    assert_eq!(keys(&fixture, &["--sort", ".key", "--limit", "1"]), ["b1:c"], "the field of that name");
    assert_eq!(keys(&fixture, &["--limit", "2"]), ["a,b:1", "a,b:2"]);
    fixture.run(&["ls", "c", "--sort", "x:up"]).fails(2, &["asc or desc"]);
    fixture.run(&["ls", "c", "--sort", ""]).fails(2, &["empty name"]);
}

#[test]
fn the_part_of_a_state_has_the_form_of_the_state() {
    let fixture = filled();
    assert_eq!(fixture.ok(&["get", "c", "--where", "x=10"]), "{\n\"b\":{\"x\":10}\n}\n");
    assert_eq!(fixture.ok(&["get", "c", "--where", "x=11"]), "{}\n");
    assert_eq!(
        fixture.ok(&["get", "c", "--prefix", "a", "--sort", "x:desc"]),
        "{\n\"a,b:1\":{\"x\":5},\n\"a,b:2\":{\"x\":5.0,\"y\":{\"z\":\"in\"}},\n\"a:1\":{\"x\":\"5\"}\n}\n"
    );
    assert_eq!(fixture.ok(&["get", "c", "--where", "x=10", "-o", "short"]), "b  {\"x\":10}\n");
    assert_eq!(fixture.ok(&["get", "c", "--where", "x=11", "-o", "short"]), "");
    assert_eq!(
        fixture.ok(&["get", "c", "--where", "y.z=in", "-o", "pretty"]),
        "{\n  \"a,b:2\": {\n    \"x\": 5.0,\n    \"y\": {\n      \"z\": \"in\"\n    }\n  }\n}\n"
    );
    assert_eq!(fixture.ok(&["get", "c", "b", "-o", "pretty"]), "{\n  \"x\": 10\n}\n");
    assert_eq!(fixture.ok(&["get", "c", "b", "--json"]), "{\"x\":10}\n");
    assert_eq!(
        fixture.ok(&["ls", "c", "--where", "x=10", "-o", "pretty"]),
        "b  seq 4\n  {\n    \"x\": 10\n  }\n"
    );
    let entry = &fixture.run(&["ls", "c", "--where", "x=10", "-o", "json"]).json()[0];
    assert_eq!(*entry, json!({"seq": 4, "key": "b", "value": {"x": 10}}));
}

#[test]
fn a_damaged_snapshot_is_told_and_what_is_asked_for_is_found_all_the_same() {
    let fixture = filled();
    fixture.feed(&["append", "c", "--key", "z"], "{\"x\":99}").ok();
    fixture.ok(&["compact", "c"]);
    fixture.damage("c", "snapshot.json", r#""b1":{"seq":5"#);
    let found = fixture.run(&["get", "c", "--where", "x>9", "--sort", "x:desc", "--limit", "2"]);
    let found = found.says(&["tallyfold: warning: "]).ok();
    assert_eq!(found, "{\n\"b1\":{\"x\":9007199254740993},\n\"z\":{\"x\":99}\n}\n");
}
