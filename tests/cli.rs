//! The command line as a whole: where the store is, how cohorts are made, and how commands end.
#![allow(clippy::disallowed_methods, reason = "tests read and damage files on purpose")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Ended, Fixture, TALLYFOLD, feed, shares_memory};
use serde_json::{Value, json};

const VERBS: [&str; 15] = [
    "create", "append", "delete", "get", "log", "history", "previous", "ls", "compact", "alter", "refold",
    "verify", "stats", "stress", "demo",
];

fn settings(fixture: &Fixture, cohort: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(fixture.file(cohort, "cohort.json")).unwrap()).unwrap()
}

#[test]
fn every_verb_has_a_description() {
    let fixture = Fixture::new();
    let all = fixture.ok(&["--help"]);
    for verb in VERBS {
        assert!(all.lines().any(|line| line.trim_start().starts_with(verb)), "{verb}: {all}");
        let help = fixture.ok(&[verb, "--help"]);
        assert!(
            help.lines().next().is_some_and(|line| !line.is_empty() && !line.starts_with("Usage")),
            "{help}"
        );
    }
    assert!(all.contains("Exit codes: 0 ") && !all.contains("demo-worker"), "{all}");
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    let fixture = Fixture::new();
    for args in [
        &["frobnicate"][..],
        &[],
        &["create"],
        &["create", "c", "--fold", "newest"],
        &["append", "c", "--key", "k", "--key-from", "f"],
        &["append", "c", "--key-from", "a,,b"],
        &["append", "c", "--batch", "0"],
        &["log", "c", "-n", "some"],
        &["--timeout", "soon", "ls"],
        &["--timeout=-1", "ls"],
    ] {
        fixture.run(args).fails(2, &[]);
        assert!(!fixture.store().exists(), "{args:?}");
    }
}

#[test]
fn the_store_is_the_one_named_else_the_one_of_the_environment_else_tallyfold_store() {
    let fixture = Fixture::new();
    let create = |cohort: &str, variable: Option<&str>, more: &[&str]| {
        let mut command = fixture.bare(TALLYFOLD, &[&["create", cohort], more].concat());
        command.envs(variable.map(|store| ("TALLYFOLD_STORE", store)));
        Ended::from(command.output().unwrap()).ok();
    };
    create("a", Some("of-environment"), &["--store", "named"]);
    create("b", Some("of-environment"), &[]);
    create("c", None, &[]);
    for place in ["named/a", "of-environment/b", "tallyfold-store/c"] {
        assert!(fixture.dir().join(place).join("cohort.json").exists(), "{place}");
    }
    // A global option may stand before the verb as well.
    let mut command = fixture.bare(TALLYFOLD, &["--store", "named", "ls", "--json"]);
    let listed = Ended::from(command.env("TALLYFOLD_STORE", "of-environment").output().unwrap());
    assert_eq!(listed.json()[0]["cohort"], "a");
}

#[test]
fn only_create_and_append_make_a_store_and_the_others_end_with_3() {
    let fixture = Fixture::new();
    for args in [
        &["get", "c"][..],
        &["log", "c"],
        &["delete", "c", "k"],
        &["ls"],
        &["compact"],
        &["verify"],
        &["stats"],
        &["compact", "c"],
        &["verify", "c"],
        &["stats", "c"],
    ] {
        fixture.run(args).fails(3, &["there is no store here"]);
        assert!(!fixture.store().exists(), "{args:?}");
    }
    fixture.run(&["create", "c"]).says(&["made the store"]).ok();
    for verb in ["get", "log", "compact", "verify", "stats"] {
        fixture.run(&[verb, "other"]).fails(3, &["there is no cohort \"other\""]);
    }
    fixture.run(&["delete", "other", "k"]).fails(3, &["there is no cohort \"other\""]);
    assert!(!fixture.store().join("other").exists());
}

#[test]
fn a_cohort_is_latest_unless_told_otherwise_and_flags_override_settings() {
    let fixture = Fixture::new();
    let made = fixture.run(&["create", "plain"]).says(&["\"plain\"", "latest"]);
    assert_eq!(made.ok(), "", "nothing but data goes to standard output");
    assert_eq!(settings(&fixture, "plain")["fold"], json!({"kind":"latest"}));

    fixture.ok(&["create", "flags", "--fold", "merge", "--segment-bytes", "8192", "--durable"]);
    let flags = settings(&fixture, "flags");
    assert_eq!(
        (&flags["fold"], &flags["segment_bytes"], &flags["durable"]),
        (&json!({"kind":"merge"}), &json!(8192), &json!(true))
    );

    let json = r#"{"fold":{"kind":"log"},"retain":"none","segment_bytes":4096,"durable":false}"#;
    fixture.ok(&[
        "create",
        "both",
        "--settings",
        json,
        "--fold",
        "log",
        "--segment-bytes",
        "8192",
        "--durable",
    ]);
    let both = settings(&fixture, "both");
    assert_eq!(
        (&both["retain"], &both["segment_bytes"], &both["durable"]),
        (&json!("none"), &json!(8192), &json!(true))
    );

    fs::write(fixture.dir().join("settings.json"), " { \"retain\" : \"all\" }\n").unwrap();
    let created = fixture.run(&["create", "file", "--settings", "@settings.json", "--json"]).json();
    assert_eq!((&created[0]["cohort"], &created[0]["fold"]), (&json!("file"), &json!("latest")));
    assert_eq!(settings(&fixture, "file")["retain"], "all");
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let fixture = Fixture::new();
    for (args, code, words) in [
        (&["--settings", r#"{"colour":1}"#][..], 1, "unknown field `colour`"),
        (&["--settings", r#"{"fold":{"kind":"latest","n":1}}"#], 1, "no parameter `n`"),
        (&["--settings", r#"{"durable":true,"durable":false}"#], 1, "duplicate field `durable`"),
        (&["--settings", "[]"], 1, "the settings cannot be taken"),
        (&["--settings", "{\"durable\":"], 1, "the settings cannot be taken"),
        (&["--settings", "@missing.json"], 1, "cannot open missing.json"),
        (&["--segment-bytes", "1"], 1, "`segment_bytes` is 1"),
        (
            &["--settings", r#"{"fold":{"kind":"log"}}"#, "--fold", "merge"],
            2,
            "--fold merge and the fold log",
        ),
        (&["--fold", "top"], 1, "missing field `n`"),
    ] {
        fixture.run(&[&["create", "c"], args].concat()).fails(code, &[words]);
        assert!(!fixture.store().join("c").exists(), "{args:?}");
    }
}

#[test]
fn creating_a_cohort_again_is_well_with_the_same_settings_and_a_conflict_with_others() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c", "--fold", "merge", "--durable"]);
    fixture.feed(&["append", "c"], "1").ok();
    fixture.ok(&["create", "c", "--settings", r#"{"fold":{"kind":"merge"},"durable":true}"#]);
    fixture.run(&["create", "c", "--fold", "merge"]).fails(7, &["\"c\" exists with other settings"]);
    assert_eq!(fixture.ok(&["get", "c", ""]), "1\n");
}

#[test]
fn the_class_of_lock_may_come_from_the_environment_unless_the_settings_name_it() {
    let fixture = Fixture::new();
    let with = |lock: &str, args: &[&str]| {
        feed(
            {
                let mut command = fixture.command(args);
                command.env("TALLYFOLD_LOCK", lock);
                command
            },
            b"1\n",
        )
    };
    for (lock, words) in [("futex", "not \"futex\""), ("", "not \"\"")] {
        with(lock, &["create", "c"]).fails(1, &["TALLYFOLD_LOCK", words]);
        with(lock, &["append", "c"]).fails(1, &["TALLYFOLD_LOCK", words]);
        assert!(!fixture.store().join("c").exists(), "{lock}");
    }
    let fitting = if shares_memory(&fixture) { "memory" } else { "file" };
    for (lock, class) in [("auto", fitting), ("file", "file"), (fitting, fitting)] {
        let cohort = format!("{lock}-from-the-environment");
        with(lock, &["create", &cohort]).ok();
        assert_eq!(settings(&fixture, &cohort)["lock"], class);
    }
    with("futex", &["create", "named", "--settings", r#"{"lock":"file"}"#]).ok();
    with("futex", &["append", "named"]).ok();
}

#[test]
fn a_closed_pipe_is_the_end_and_no_failure() {
    let fixture = Fixture::new();
    let lines: String = (0..5000).map(|n| format!("{{\"n\":{n},\"key\":\"key-{n}\"}}\n")).collect();
    fixture.feed(&["append", "c", "--key-from", "key", "--batch", "1000"], lines).ok();
    for args in [&["log", "c"][..], &["get", "c"], &["ls"], &["stats", "--json"], &["verify"], &["--help"]] {
        let mut command = fixture.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = Ended::from(child.wait_with_output().unwrap());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_cannot_be_written_is_told_as_such() {
    let fixture = Fixture::new();
    fixture.feed(&["append", "c"], "1").ok();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = fixture.command(&["log", "c"]);
    let ended = Ended::from(command.stdout(full).stderr(Stdio::piped()).output().unwrap());
    ended.fails(1, &["cannot write to standard output"]);
}

#[test]
fn names_that_look_like_paths_stay_inside_the_store() {
    let fixture = Fixture::new();
    fixture.feed(&["append", "../outside", "--key", "k"], "1").ok();
    assert_eq!(fixture.ok(&["get", "../outside", "k"]), "1\n");
    assert_eq!(fs::read_dir(fixture.dir()).unwrap().count(), 1, "only the store is there");
    fixture.run(&["create", ""]).fails(1, &["name cannot be empty"]);
}
