//! `tallyfold backup` and `tallyfold restore`, as their user sees them.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod common;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Ended, Fixture, Running};
use serde_json::json;

fn filled() -> Fixture {
    let fixture = Fixture::new();
    fixture.fill("index", &[], &[("a", "1"), ("b", "2"), ("a", "3")]);
    fixture.fill("metrics", &["--fold", "log"], &[("", "{\"loss\":0.5}")]);
    fixture
}

fn path(fixture: &Fixture, name: &str) -> String {
    fixture.dir().join(name).to_str().unwrap().to_string()
}

#[test]
fn a_backup_is_told_checked_read_and_restored() {
    let fixture = filled();
    let (backup, again) = (path(&fixture, "backup"), path(&fixture, "again"));
    let out = fixture.ok(&["backup", &backup]);
    assert!(
        out.contains("index: backed up up to seq 3") && out.contains("metrics: backed up up to seq 1"),
        "{out}"
    );
    let told = fixture.run(&["backup", "--verify", &backup, "--json"]).json();
    assert_eq!((&told[0]["cohorts"][0]["seq"], &told[0]["damage"]), (&json!(3), &json!([])));
    let read: Ended =
        fixture.bare(common::TALLYFOLD, &["get", "index", "a", "--store", &backup]).output().unwrap().into();
    assert_eq!(read.ok(), "3\n");
    fixture.feed(&["append", "index", "--key", "a"], "4").ok();
    let restored: Ended =
        fixture.bare(common::TALLYFOLD, &["restore", &backup, "--store", &again]).output().unwrap().into();
    assert!(restored.ok().contains("index: restored up to seq 3; it goes on in epoch "));
    let read: Ended =
        fixture.bare(common::TALLYFOLD, &["get", "index", "a", "--store", &again]).output().unwrap().into();
    assert_eq!(read.ok(), "3\n");
    fixture.run(&["restore", &backup]).fails(7, &["there is something already", "--cohort"]);
    let told =
        fixture.run(&["restore", &backup, "--cohort", "index", "--as", "index-again", "--json"]).json();
    assert_eq!((&told[0]["cohort"], &told[0]["seq"]), (&json!("index-again"), &json!(3)));
    assert_eq!(fixture.feed(&["append", "index-again", "--key", "c"], "9").ok(), "4\n");
    fixture
        .run(&["restore", &backup, "--cohort", "index"])
        .fails(7, &["there is a cohort \"index\" already"]);
    fixture.run(&["restore", &backup, "--cohort", "nothing"]).fails(3, &["no cohort"]);
    fixture.run(&["backup", &backup]).fails(7, &["there is something already"]);
    fixture.ok(&["verify"]);
}

#[test]
fn a_damaged_or_missing_or_incomplete_backup_is_told() {
    let fixture = filled();
    let backup = path(&fixture, "backup");
    fixture.ok(&["backup", &backup, "index"]);
    let segment = fixture.dir().join("backup/index/00000001.journal");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[1100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fixture.run(&["backup", "--verify", &backup]).fails(5, &["not what was written", "00000001.journal"]);
    fixture.run(&["restore", &backup, "--cohort", "index", "--as", "x"]).fails(5, &["nothing was restored"]);
    fs::remove_file(fixture.dir().join("backup/backup.json")).unwrap();
    fixture.run(&["backup", "--verify", &backup]).fails(5, &["no complete backup"]);
    fixture.run(&["backup", "--verify", &path(&fixture, "nothing")]).fails(3, &["cannot open"]);
    fixture.run(&["backup"]).fails(2, &["DIR"]);
    fixture.run(&["backup", &path(&fixture, "b"), "nothing"]).fails(3, &["no cohort"]);
    assert!(!fixture.dir().join("b").exists());
}

#[test]
fn an_empty_store_is_backed_up_and_said_to_be_empty() {
    let fixture = Fixture::new();
    fixture.library();
    fixture.run(&["backup", &path(&fixture, "backup")]).says(&["there is no cohort"]).ok();
    let (other, nothing) = (path(&fixture, "other"), path(&fixture, "nothing"));
    let ended = fixture.bare(common::TALLYFOLD, &["backup", &other, "--store", &nothing]).output().unwrap();
    Ended::from(ended).fails(3, &["no store"]);
}

#[test]
fn ctrl_c_leaves_no_backup_under_the_final_name() {
    let fixture = filled();
    // Large enough that it is in the middle when the signal comes, on any machine.
    let library = fixture.library();
    let log = library.cohort("metrics").unwrap();
    let chunk = "x".repeat(8_000_000);
    for _ in 0..40 {
        log.append("k", &chunk).unwrap();
    }
    log.detach().unwrap();
    drop((log, library));
    let before = fs::read_dir(fixture.dir()).unwrap().count();
    let mut command = fixture.command(&["backup", &path(&fixture, "backup")]);
    let mut running = Running::start(command.stderr(Stdio::null()));
    let begun = Instant::now();
    // Until it has begun to copy.
    while fs::read_dir(fixture.dir()).unwrap().count() == before && begun.elapsed() < Duration::from_secs(60)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let signal = format!("kill -INT {}", running.0.id());
    assert!(std::process::Command::new("sh").args(["-c", &signal]).status().unwrap().success());
    let code = running.0.wait().unwrap().code();
    match code {
        Some(130) => assert!(!fixture.dir().join("backup").exists()),
        // It was faster.
        other => assert_eq!((other, fixture.dir().join("backup/backup.json").exists()), (Some(0), true)),
    }
}
