//! `tallyfold export`: formats and their files, what is refused, and what is left if it ends early.
#![allow(clippy::disallowed_methods, reason = "tests write and read the user's files")]
#![cfg(all(feature = "arrow", feature = "parquet"))]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Ended, Fixture, Running};
use serde_json::json;
use tallyfold::{Batch, Settings};

const ARROW_FILE: &[u8] = b"ARROW1\0\0";
const ARROW_STREAM: &[u8] = b"\xff\xff\xff\xff";
const PARQUET: &[u8] = b"PAR1";

fn index() -> Fixture {
    let fixture = Fixture::new();
    let entries = [
        ("run-1:TRAINING", r#"{"run_id":"run-1","stage":"TRAINING","auc":0.61,"step":1}"#),
        ("run-2:TRAINING", r#"{"run_id":"run-2","stage":"TRAINING","auc":0.58,"step":2}"#),
    ];
    fixture.fill("index", &[], &entries);
    fixture
}

/// A cohort of many entries, made in one moment.
fn many(fixture: &Fixture, entries: u64) {
    let cohort = fixture.library().create("many", Settings::latest()).unwrap();
    let mut batch = Batch::new();
    for i in 0..entries {
        batch.put(&format!("run-{i}"), &json!({ "step": i, "loss": 0.5, "stage": "TRAINING" })).unwrap();
        if batch.len() == 5000 || i + 1 == entries {
            cohort.append_batch(std::mem::take(&mut batch)).unwrap();
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn read(fixture: &Fixture, name: &str) -> Vec<u8> {
    fs::read(fixture.dir().join(name)).unwrap()
}

#[test]
fn standard_output_gets_the_rows_and_nothing_else() {
    let fixture = index();
    let csv = fixture.run(&["export", "index", "--format", "csv", "--key-parts", "run,part"]);
    assert_eq!(csv.err, "");
    assert_eq!(
        csv.ok(),
        "key,run,part,seq,run_id,stage,auc,step\n\
         run-1:TRAINING,run-1,TRAINING,1,run-1,TRAINING,0.61,1\n\
         run-2:TRAINING,run-2,TRAINING,2,run-2,TRAINING,0.58,2\n"
    );
    let lines = fixture.run(&["export", "index", "--format", "jsonl", "--what", "history", "-o", "-"]).json();
    assert_eq!(
        (&lines[1]["kind"], &lines[1]["epoch"], &lines[1]["value"]["step"]),
        (&json!("put"), &json!(1), &json!(2))
    );
    // With --json lines of JSON are what is meant.
    assert_eq!(fixture.run(&["export", "index", "--json"]).json()[0]["key"], "run-1:TRAINING");
}

#[test]
fn the_ending_of_a_file_says_its_format_and_a_pipe_gets_what_can_be_read_as_it_comes() {
    let fixture = index();
    for (file, begins) in [
        ("i.parquet", PARQUET),
        ("i.arrow", ARROW_FILE),
        ("i.feather", ARROW_FILE),
        ("i.csv", b"key,seq,"),
        ("i.jsonl", b"{\"key\""),
    ] {
        let said = fixture.run(&["export", "index", "-o", file]);
        assert_eq!(said.err, "");
        assert!(said.ok().starts_with("index: 2 rows up to seq 2 in "), "{file}");
        assert!(read(&fixture, file).starts_with(begins), "{file}");
    }
    let told = fixture.run(&["export", "index", "--format", "csv", "-o", "x.txt", "--json"]).json();
    assert_eq!((&told[0]["rows"], &told[0]["seq"]), (&json!(2), &json!(2)));
    assert!(read(&fixture, "x.txt").starts_with(b"key,"));

    let arrow = fixture.command(&["export", "index", "--format", "arrow"]).output().unwrap();
    assert!(arrow.status.success() && arrow.stdout.starts_with(ARROW_STREAM));
    // A shell that sends it into a file gives readers one that they can go back in.
    let mut to_file = fixture.command(&["export", "index", "--format", "arrow"]);
    let file = fs::File::create(fixture.dir().join("sent.arrow")).unwrap();
    assert!(to_file.stdout(file).status().unwrap().success());
    assert!(read(&fixture, "sent.arrow").starts_with(ARROW_FILE));
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_do_and_makes_no_file() {
    let fixture = index();
    fixture.fill("metrics", &["--fold", "log"], &[("", r#"{"loss":0.5}"#)]);
    let before = names(fixture.dir());
    fixture.run(&["export", "index"]).fails(2, &["which format?", "--format jsonl, csv, parquet or arrow"]);
    fixture.run(&["export", "index", "-o", "x.txt"]).fails(2, &["which format?"]);
    fixture
        .run(&["export", "metrics", "-o", "x.csv", "--what", "state"])
        .fails(2, &["its fold is log", "--what history"]);
    fixture
        .run(&["export", "metrics", "-o", "x.csv", "--what", "points"])
        .fails(2, &["the fold series", "tallyfold refold metrics"]);
    fixture.run(&["export", "index", "-o", "x.csv", "--key-parts", "seq"]).fails(2, &["the name \"seq\""]);
    fixture.run(&["export", "nothing", "-o", "x.csv"]).fails(3, &["nothing"]);
    fixture.run(&["export", "index", "-o", "no/such/x.csv"]).fails(1, &["no/such"]);
    fixture.run(&["export", "index", "-o", "store", "--format", "csv"]).fails(1, &["is not a regular file"]);
    assert_eq!(names(fixture.dir()), before);
}

#[test]
fn a_store_is_not_written_over() {
    let fixture = index();
    for name in ["index/cohort.json", "index/new.csv", "store.json"] {
        let path = fixture.store().join(name);
        let before = fs::read(&path).ok();
        let path = path.to_str().unwrap();
        fixture.run(&["export", "index", "--format", "csv", "-o", path]).fails(1, &["the store's own files"]);
        assert_eq!(fs::read(path).ok(), before);
    }
    let left: Vec<String> = names(&fixture.store().join("index"));
    assert!(left.iter().all(|name| !name.contains("tallyfold-")), "{left:?}");
}

#[test]
fn numbers_that_no_type_holds_are_text_and_that_is_told_once() {
    let fixture = Fixture::new();
    let rows = [("a", r#"{"hash":18446744073709551615,"n":1}"#), ("b", r#"{"hash":1,"n":2}"#)];
    fixture.fill("index", &[], &rows);
    let said =
        fixture.run(&["export", "index", "-o", "i.parquet"]).says(&["note: ", "are text", ": \"hash\"\n"]);
    assert_eq!(said.err.lines().count(), 1);
    // Where everything is text there is nothing to tell.
    assert_eq!(fixture.run(&["export", "index", "-o", "i.csv"]).err, "");
}

#[test]
fn an_export_that_fails_leaves_the_old_file_and_no_other() {
    let fixture = index();
    for key in ["run-3", "run-4", "run-5"] {
        fixture.ok(&["compact", "index"]);
        fixture.feed(&["append", "index", "--key", key], r#"{"auc":0.5}"#).ok();
    }
    fixture.ok(&["compact", "index"]);
    fs::write(fixture.dir().join("i.csv"), "old").unwrap();
    let before = names(fixture.dir());
    // There is no previous snapshot to rebuild it from, and the first records are folded away.
    fs::remove_file(fixture.file("index", "snapshot.prev.json")).unwrap();
    fixture.damage("index", "snapshot.json", "run-2");
    fixture.run(&["export", "index", "-o", "i.csv"]).fails(5, &["the snapshot is damaged"]);
    assert_eq!(read(&fixture, "i.csv"), b"old");
    assert_eq!(names(fixture.dir()), before);
}

#[test]
fn ctrl_c_leaves_the_old_file_and_no_other() {
    let fixture = Fixture::new();
    many(&fixture, 100_000);
    fs::write(fixture.dir().join("many.parquet"), "old").unwrap();
    let before = names(fixture.dir());
    let mut command = fixture.command(&["export", "many", "-o", "many.parquet"]);
    let export = Running::start(command.stderr(Stdio::piped()));
    // It has begun when its temporary file is there.
    while names(fixture.dir()) == before {
        std::thread::yield_now();
    }
    export.interrupt();
    let ended = export.ended();
    assert_eq!(names(fixture.dir()), before);
    match ended.code {
        // It was quicker.
        0 => assert!(read(&fixture, "many.parquet").starts_with(PARQUET)),
        130 => assert_eq!(read(&fixture, "many.parquet"), b"old"),
        _ => panic!("{ended:?}"),
    }
    assert_eq!(ended.err, "");
}

#[test]
fn ctrl_c_ends_an_export_that_nobody_reads() {
    let fixture = Fixture::new();
    many(&fixture, 20_000);
    let mut command = fixture.command(&["export", "many", "--format", "jsonl"]);
    let mut export = Running::start(command.stderr(Stdio::piped()));
    let mut lines = export.lines();
    assert!(lines.next().starts_with("{\"key\":\"run-0\""));
    // The pipe is full by now or soon, and stays so: the reader is there, and does not read.
    export.interrupt();
    let ended = export.ended();
    assert_eq!((ended.code, ended.err.as_str()), (130, ""));
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let fixture = Fixture::new();
    many(&fixture, 20_000);
    for format in ["jsonl", "csv", "arrow", "parquet"] {
        let mut command = fixture.command(&["export", "many", "--format", format]);
        let mut export = Running::start(command.stderr(Stdio::piped()));
        drop(export.0.stdout.take());
        let ended = export.ended();
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{format}");
    }
}

#[test]
fn two_at_once_leave_one_whole_file() {
    let fixture = Fixture::new();
    many(&fixture, 5_000);
    fixture.ok(&["export", "many", "-o", "one.csv"]);
    let start =
        || Running::start(fixture.command(&["export", "many", "-o", "both.csv"]).stderr(Stdio::piped()));
    let both = [start(), start()];
    for export in both {
        assert_eq!(export.ended().code, 0);
    }
    assert_eq!(read(&fixture, "both.csv"), read(&fixture, "one.csv"));
    assert_eq!(names(fixture.dir()), ["both.csv", "one.csv", "store"]);
}

#[test]
fn a_directory_that_may_not_be_written_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = index();
    let directory = fixture.dir().join("closed");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::File::create(directory.join("probe")).is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    fixture
        .run(&["export", "index", "-o", "closed/i.csv"])
        .fails(1, &["cannot make a temporary file", "closed"]);
}

#[test]
fn of_a_damaged_snapshot_the_rows_are_rebuilt_and_that_is_told() {
    let fixture = index();
    fixture.ok(&["compact", "index"]);
    fixture.feed(&["append", "index", "--key", "run-3"], r#"{"auc":0.5}"#).ok();
    fixture.ok(&["compact", "index"]);
    fixture.damage("index", "snapshot.json", "run-2");
    let exported =
        fixture.run(&["export", "index", "--format", "csv"]).says(&["warning: ", "nothing is missing here"]);
    assert_eq!(exported.ok().lines().count(), 4);
}

/// Runs a command where it believes to be on a terminal; `None` where `script` is missing.
fn on_a_terminal(fixture: &Fixture, line: &str) -> Option<Ended> {
    let found = Command::new("script").arg("--version").output();
    if !found.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("util-linux")) {
        println!("skipped: there is no script of util-linux here");
        return None;
    }
    let line = format!("{} --store {} {line}", common::TALLYFOLD, fixture.store().display());
    Some(fixture.bare("script", &["-qec", &line, "/dev/null"]).output().unwrap().into())
}

#[test]
fn a_terminal_gets_no_binary_format_and_no_control_characters() {
    let fixture = Fixture::new();
    fixture.fill("index", &[], &[("a", "{\"s\":\"x\\u001b[31m\\u0085\"}")]);
    for format in ["parquet", "arrow"] {
        let Some(ended) = on_a_terminal(&fixture, &format!("export index --format {format}")) else { return };
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.out.contains("nothing for a terminal: name a file with -o"), "{ended:?}");
    }
    let Some(csv) = on_a_terminal(&fixture, "export index --format csv") else { return };
    assert_eq!(csv.out, "key,seq,s\r\na,1,x\\u001b[31m\\u0085\r\n");
    // Elsewhere data stays what it is.
    assert_eq!(fixture.ok(&["export", "index", "--format", "csv"]), "key,seq,s\na,1,x\u{1b}[31m\u{85}\n");
}
